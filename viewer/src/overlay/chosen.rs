//! Which panels are drawn: by the settings, by keys, by a direction. The window's thread and the main thread call it.

use std::borrow::Cow;

use super::Panel;

/// Of several tiles each has a caption.
pub(crate) fn caption_several(panels: &mut Vec<Panel>, tiles: usize) {
    if tiles > 1 && !panels.contains(&Panel::Caption) {
        panels.push(Panel::Caption);
    }
}

/// What a direction wants drawn, as `overlay` in control.proto counts it; `own` is what the settings want.
pub(crate) fn of_volume(volume: u32, own: &[Panel]) -> Vec<Panel> {
    const LOUDEST: [Panel; 3] = [Panel::Caption, Panel::Figures, Panel::Statistics];
    let wanted = LOUDEST
        .into_iter()
        .take((volume as usize).saturating_sub(1));
    if volume == 0 {
        own.to_vec()
    } else {
        wanted.collect()
    }
}

/// Those that are drawn over a picture or a card. The foot of a card has what caption and name say, and these are up to a second
/// old: they may still call it live.
pub(crate) fn over(panels: &[Panel], is_card: bool) -> Cow<'_, [Panel]> {
    let is_said = |panel: &Panel| matches!(panel, Panel::Caption | Panel::Name);
    if is_card {
        panels
            .iter()
            .copied()
            .filter(|panel| !is_said(panel))
            .collect()
    } else {
        panels.into()
    }
}

/// Shows or hides a panel.
pub(crate) fn toggle(panels: &mut Vec<Panel>, panel: Panel) {
    let before = panels.len();
    panels.retain(|shown| *shown != panel);
    if panels.len() == before {
        panels.push(panel);
    }
}
