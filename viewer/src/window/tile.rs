//! What a window shows of one stream: its scene, how that lies there, and the past while a person looks at it. The window's
//! thread owns it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_proto::message::FrameId;

use super::history::{History, Past};
use crate::canvas::{Area, Canvas, Painter};
use crate::card;
use crate::cover::Cover;
use crate::decode::Decoder;
use crate::marker::{self, Marker, Span};
use crate::overlay;
use crate::picture::Picture;
use crate::readings::{Readings, length_with_tenths};
use crate::scene::{Card, Scene, SceneSlot, Shown};
use crate::view::View;

/// How long the marker of a detection stays after it: with the tracker gone, it would lie.
pub(crate) const MARKER_LINGERS: Duration = Duration::from_millis(500);

/// A step through what was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seek {
    /// So many frames on; negative: back.
    Frames(isize),
    /// A second on.
    Forward,
    /// A second back.
    Back,
}

/// How far [`Seek::Forward`] and [`Seek::Back`] go.
const SEEK: Duration = Duration::from_secs(1);

pub(super) struct Tile {
    scenes: Arc<SceneSlot>,
    scene: Scene,
    view: View,
    /// Where it lies in the window; without pixels while it is not seen.
    area: Area,
    /// What its panels say at present.
    readings: Arc<Readings>,
    /// The frame that was taken and of which the handler does not know yet that it is on the screen.
    fresh: Option<FrameId>,
    /// The number of the drawing with which it last changed.
    changed: u64,
    history: History,
    /// Which frame of the history is shown while the picture is stopped.
    paused: Option<usize>,
    /// It is to be stopped as soon as its picture is of the right stream.
    told_to_stop: bool,
    /// A person has let it go on nevertheless.
    released: bool,
    decoder: Decoder,
}

impl Tile {
    pub(super) fn new(scenes: Arc<SceneSlot>, view: View) -> Self {
        Self {
            readings: scenes.readings(),
            scenes,
            scene: Scene::Message(Card {
                title: "One moment".into(),
                since: clock::now(),
                ..Card::default()
            }),
            view,
            area: Area::default(),
            fresh: None,
            changed: 0,
            history: History::default(),
            paused: None,
            told_to_stop: false,
            released: false,
            decoder: Decoder::new(),
        }
    }

    /// The slot that its scenes come from.
    pub(super) const fn scenes(&self) -> &Arc<SceneSlot> {
        &self.scenes
    }

    /// The frame on the screen; none while there is a card.
    pub(super) const fn shown(&self) -> Option<&Shown> {
        match &self.scene {
            Scene::Picture(shown) => Some(shown),
            Scene::Message(_) => None,
        }
    }

    /// Where it lies in the window.
    pub(super) const fn area(&self) -> Area {
        self.area
    }

    /// Whether it is seen.
    pub(super) const fn is_visible(&self) -> bool {
        self.area.width > 0 && self.area.height > 0
    }

    /// Whether a point of the window lies in it.
    pub(super) fn contains(&self, at: (f64, f64)) -> bool {
        let (x, y) = self.within(at);
        let is_within = |along: f64, length: usize| (0.0..length as f64).contains(&along);
        is_within(x, self.area.width) && is_within(y, self.area.height)
    }

    /// Puts it there in the window; an area without pixels hides it.
    pub(super) fn set_area(&mut self, area: Area) {
        self.area = area;
        self.set_target();
        self.decode_past();
    }

    /// What its panels say: beside a stopped picture nothing of how live and how old its stream is.
    pub(super) fn readings(&self) -> Cow<'_, Readings> {
        if self.paused.is_none() {
            return Cow::Borrowed(&self.readings);
        }

        let mut readings = Readings::clone(&self.readings);
        readings.name.clone_from(&readings.stream);
        readings.caption.clone_from(&readings.stream);
        Cow::Owned(readings)
    }

    /// Notes that drawing `number` has to draw it anew.
    pub(super) const fn touch(&mut self, number: u64) {
        self.changed = number;
    }

    /// Whether it has changed since drawing `number`.
    pub(super) const fn changed_since(&self, number: u64) -> bool {
        self.changed > number
    }

    /// Whether [`Tile::refresh`] would find something new.
    pub(super) fn is_stale(&self, has_panels: bool) -> bool {
        let says_more = has_panels || self.shown().is_none();
        let has_scene = self.paused.is_none() && self.scenes.has_scene();
        self.is_visible()
            && (has_scene || says_more && !Arc::ptr_eq(&self.readings, &self.scenes.readings()))
    }

    /// Takes what is new for drawing `number`: readings, and the newest scene unless the picture is stopped. Returns whether it
    /// is a picture.
    pub(super) fn refresh(&mut self, number: u64, has_panels: bool) -> bool {
        if !self.is_stale(has_panels) {
            return false;
        }

        self.readings = self.scenes.readings();
        self.touch(number);
        if self.paused.is_none()
            && let Some(scene) = self.scenes.take()
        {
            self.replace(scene);
            if let Scene::Picture(shown) = &self.scene {
                self.history.push(clock::now(), shown);
                self.fresh = Some(shown.id);
                return true;
            }
        }

        false
    }

    /// Takes what its panels say; returns whether that is new.
    pub(super) fn refresh_readings(&mut self) -> bool {
        let readings = self.scenes.readings();
        let is_new = !Arc::ptr_eq(&self.readings, &readings);
        self.readings = readings;
        is_new
    }

    /// The screen is told anew whether the picture of this tile, which is number `at`, moves.
    pub(super) fn follow(&mut self, at: usize, cover: &Cover) {
        self.resume();
        self.released = false;
        self.told_to_stop = cover.frozen;
        self.stop_if_told(at, cover);
    }

    /// Stops the picture if it is to stop and is the right one.
    pub(super) fn stop_if_told(&mut self, at: usize, cover: &Cover) {
        let is_right = |shown: &Shown| cover.stops(at, &shown.stream);
        if self.told_to_stop && !self.released && self.shown().is_some_and(is_right) {
            self.pause();
        }
    }

    /// Whether a person has stopped the picture, or let it go on that was to be stopped.
    pub(super) const fn is_moved_by_hand(&self) -> bool {
        if self.told_to_stop {
            self.released
        } else {
            self.paused.is_some()
        }
    }

    fn replace(&mut self, scene: Scene) {
        self.scenes
            .recycle(std::mem::replace(&mut self.scene, scene));
    }

    /// The frame that is on the screen for the first time.
    pub(super) fn take_fresh(&mut self) -> Option<FrameId> {
        self.fresh.take()
    }

    pub(super) const fn is_paused(&self) -> bool {
        self.paused.is_some()
    }

    /// Stops the picture. A card is never stopped.
    pub(super) fn pause(&mut self) {
        let newest = self.history.len().checked_sub(1);
        self.paused = newest.filter(|_| self.shown().is_some());
    }

    /// A person stops the picture, or lets it go on.
    pub(super) fn pause_or_resume(&mut self) {
        self.released = self.is_paused();
        if self.is_paused() {
            self.resume();
        } else {
            self.pause();
        }
    }

    /// Shows live pictures again.
    pub(super) fn resume(&mut self) {
        self.paused = None;
    }

    /// Shows another frame of the past; stops the picture if it is live.
    pub(super) fn seek(&mut self, seek: Seek) {
        if !self.is_paused() {
            self.pause();
        }

        let Some(at) = self.paused else { return };
        let newest = self.history.len() - 1;
        let time = self.history.get(at).map_or_else(clock::now, |past| past.at);
        let to = match seek {
            Seek::Frames(by) => at.saturating_add_signed(by).min(newest),
            Seek::Forward => self.history.position(time + SEEK).max(at),
            Seek::Back => self.history.position(time - SEEK).min(at),
        };
        self.paused = Some(to);
        self.decode_past();
    }

    /// How long before the picture was stopped the frame on the screen was shown; none while it is live.
    fn paused_at(&self) -> Option<Duration> {
        let past = self.history.get(self.paused?)?;
        let newest = self.history.get(self.history.len() - 1)?;
        Some(newest.at.saturating_since(past.at))
    }

    /// Decodes the frame of the past that is to be shown, in the size that the view asks for.
    fn decode_past(&mut self) {
        let Some(past) = self.paused.and_then(|at| self.history.get(at)).cloned() else {
            return;
        };

        let mut picture = self.scenes.spare();
        let target = self.scenes.target();
        let Past {
            stream,
            id,
            rate_millihertz,
            jpeg,
            ..
        } = past;
        // It was decoded before: only what another size of it asks for can fail, and then the former picture stays.
        if self
            .decoder
            .decode_for(&jpeg, target, &mut picture)
            .is_err()
        {
            self.scenes.give_back(picture);
            return;
        }

        self.replace(Scene::Picture(Shown {
            stream,
            id,
            picture,
            rate_millihertz,
            jpeg,
        }));
    }

    /// Changes how pictures are shown.
    pub(super) fn change_view(&mut self, change: impl FnOnce(&mut View)) {
        change(&mut self.view);
        self.set_target();
        self.decode_past();
    }

    /// Says how large pictures need to be; as small as can be while they are not seen.
    fn set_target(&self) {
        let (width, height) = self.size();
        let target = if self.is_visible() {
            self.view.target((width as u32, height as u32))
        } else {
            Some((1, 1))
        };
        self.scenes.set_target(target);
    }

    /// Pixels (width, height) that it has on the screen.
    const fn size(&self) -> (usize, usize) {
        (self.area.width, self.area.height)
    }

    /// The point `at` of the window, counted from the tile's upper left corner.
    fn within(&self, at: (f64, f64)) -> (f64, f64) {
        (at.0 - self.area.x as f64, at.1 - self.area.y as f64)
    }

    /// Enlarges by `factor` at the point `at` of the window.
    pub(super) fn zoom(&mut self, factor: f64, at: (f64, f64)) {
        let frame = self.size();
        let at = self.within(at);
        if let Some(size) = self.seen_size() {
            self.change_view(|view| view.zoom(factor, at, size, frame));
        }
    }

    /// Moves the picture by so many pixels of the screen.
    pub(super) fn drag(&mut self, by: (f64, f64)) {
        if let Some(size) = self.seen_size() {
            let frame = self.size();
            self.view.drag(by, size, frame);
        }
    }

    /// The picture's size as it is seen; none while there is no picture.
    fn seen_size(&self) -> Option<(usize, usize)> {
        let shown = self.shown()?;
        Some(self.view.turned_size(shown.picture.size()))
    }

    /// Whether a person has enlarged the picture.
    pub(super) fn is_enlarged(&self) -> bool {
        self.view.is_enlarged()
    }

    /// Place and colour of the picture's pixel at the point `at` of the window, for people; none unless it is enlarged.
    pub(super) fn pixel_text(&self, at: (f64, f64)) -> Option<String> {
        let shown = self.shown().filter(|_| self.view.is_enlarged())?;
        let size = shown.picture.size();
        let (x, y) = self.view.pixel_at(self.within(at), size, self.size())?;
        let colour = shown.picture.pixels().get(y * size.0 + x)? & 0xff_ff_ff;
        Some(format!("x {x}  y {y}  #{colour:06x}"))
    }

    /// What stands over it beside the panels: that it is stopped, a note, and the pixel under the pointer.
    pub(super) fn words(&self, note: Option<&str>, point: (f64, f64)) -> String {
        let paused = self.paused_at().map(|ago| match ago {
            Duration::ZERO => "PAUSED: this is not live".to_owned(),
            ago => format!("PAUSED, {} back: this is not live", length_with_tenths(ago)),
        });
        let note = note.map(str::to_owned);
        let pixel = self.pixel_text(point);
        let words: Vec<String> = [paused, note, pixel].into_iter().flatten().collect();
        words.join("\n")
    }

    /// Draws picture or card, and a frame around a picture that is not live. Returns where the words of a card are.
    pub(super) fn paint(&self, canvas: &mut Canvas<'_>, painter: &mut Painter) -> [Area; 2] {
        match &self.scene {
            Scene::Message(card) => card::draw(canvas, &mut painter.font, card, &self.readings),
            Scene::Picture(shown) => {
                let marker = self.scenes.marker().filter(|marker| {
                    let is_fresh = clock::now().saturating_since(marker.at) < MARKER_LINGERS;
                    is_fresh && marker.id.epoch == shown.id.epoch && !self.is_paused()
                });
                paint_picture(canvas, &shown.picture, &self.view, marker.as_ref(), painter);
                if self.is_paused() {
                    overlay::frame(canvas);
                }
                <[Area; 2]>::default()
            }
        }
    }
}

/// Draws a picture as `view` has it, with the marker over it.
pub(crate) fn paint_picture(
    canvas: &mut Canvas<'_>,
    picture: &Picture,
    view: &View,
    marker: Option<&Marker>,
    painter: &mut Painter,
) {
    let Painter {
        scaler,
        font,
        turned,
    } = painter;
    let picture = if view.is_upright() {
        picture
    } else {
        view.turn_picture(picture, turned);
        turned
    };

    let size = picture.size();
    let (place, part) = view.place(size, (canvas.width(), canvas.height()));
    canvas.show(picture, (place, part), scaler);
    if let Some(marker) = marker {
        let scale = place.width as f64 / part.width.max(1.0);
        let whole = Span {
            x: (place.x as f64 - part.left * scale) as f32,
            y: (place.y as f64 - part.top * scale) as f32,
            width: (size.0 as f64 * scale) as f32,
        };
        marker::draw(canvas, whole, &view.turn_marker(marker), font);
    }
}

#[cfg(test)]
mod tests;
