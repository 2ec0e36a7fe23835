//! The card in place of a picture. The window calls it.

use fanlight_daemon::clock;
use fanlight_pixels::font::Font;
use fanlight_pixels::text::{Align, TextBlock, line_height};

use crate::canvas::{Area, Canvas, Colour};
use crate::overlay::{SMALLEST, fitted};
use crate::readings::{Readings, length, time_of_day};
use crate::scene::Card;

const BACKGROUND: Colour = 0x11_15_1c;
const ACCENT: Colour = 0xe8_9b_2d;
const TITLE: Colour = 0xf2_f4_f7;
const REASON: Colour = 0x9d_a8_b8;

/// Lines a reason may take; [`MAX_REASON`](fanlight_proto::limits::MAX_REASON) bytes fit a screen of usual shape.
const REASON_LINES: usize = 4;

/// Lines that what to do may take.
const ADVICE_LINES: usize = 3;

/// Lines that stream, screen and address may take.
const FOOT_LINES: usize = 2;

/// Fills the canvas with the card's title, reason and advice and since when it holds, and at the foot which screen this is
/// and the time. Nothing of what was there before shows through. Returns where words are.
pub(crate) fn draw(
    canvas: &mut Canvas<'_>,
    font: &mut Font,
    card: &Card,
    readings: &Readings,
) -> [Area; 2] {
    canvas.fill(BACKGROUND);
    let foot = draw_foot(canvas, font, readings);
    let room = canvas.width() * 86 / 100;
    let size = (canvas.height() / 9).min(canvas.width() / 14).max(SMALLEST);
    let title = fitted(font, &card.title, size, (room, canvas.height() * 2 / 5));
    let small = (size * 45 / 100).max(SMALLEST);
    let reason = TextBlock::wrapped(font, &card.reason, small, room, REASON_LINES);
    let advice = TextBlock::wrapped(font, &card.advice, small, room, ADVICE_LINES);
    let since = TextBlock::lines_of(&since(card), small);

    let gap = small * 3 / 5;
    let rule = (size / 16).max(1);
    let blocks = [(&reason, REASON), (&advice, TITLE), (&since, REASON)];
    let below: usize = blocks.iter().map(|(block, _)| block.height() + gap).sum();
    let total = title.height() + gap + rule + below;
    let all = Area {
        x: (canvas.width() - room) / 2,
        y: foot.y.saturating_sub(total) / 2,
        width: room,
        height: total,
    };

    let centre = Align::Centre(canvas.width());
    canvas.text(font, &title, (0, all.y), centre, TITLE);
    let width = title.width(font).max(size).min(room);
    let rule = Area {
        x: (canvas.width() - width) / 2,
        y: all.y + title.height(),
        width,
        height: rule,
    };

    canvas.fill_area(rule, ACCENT);
    let mut top = rule.y + rule.height + gap;
    for (block, colour) in blocks {
        canvas.text(font, block, (0, top), centre, colour);
        top += block.height() + gap;
    }

    [all, foot]
}

fn since(card: &Card) -> String {
    let passed = clock::now().saturating_since(card.since);
    format!("for {}, since {}", length(passed), time_of_day(card.since))
}

/// Which screen this is, and the time: people see that it runs.
fn draw_foot(canvas: &mut Canvas<'_>, font: &mut Font, readings: &Readings) -> Area {
    let size = (canvas.height() / 32).max(SMALLEST);
    let margin = canvas.width() * 7 / 100;
    let room = canvas.width() - 2 * margin;
    let time = time_of_day(clock::now());
    let time_width = font.width(&time, size);
    let left = room.saturating_sub(time_width + size);
    let identity = [&readings.stream, &readings.screen, &readings.address];
    let known = identity.into_iter().filter(|part| !part.is_empty());
    let known: Vec<&str> = known.map(String::as_str).collect();
    let identity = TextBlock::wrapped(font, &known.join(" · "), size, left, FOOT_LINES);
    let height = identity.height();
    let foot = Area {
        x: margin,
        y: canvas
            .height()
            .saturating_sub(canvas.height() / 18 + height),
        width: room,
        height,
    };

    canvas.text(font, &identity, (foot.x, foot.y), Align::Left, REASON);
    let right = foot.x + room.saturating_sub(time_width);
    let below = foot.y + height - line_height(size);
    canvas.line(font, &time, size, (right, below), REASON);
    foot
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const OLD: Colour = 0x00_fe_01;

    fn readings() -> Readings {
        Readings {
            stream: "lobby".into(),
            screen: "wall 3".into(),
            address: "192.168.1.20".into(),
            ..Readings::default()
        }
    }

    fn card(title: &str, reason: &str, advice: &str) -> Card {
        Card {
            title: title.into(),
            reason: reason.into(),
            advice: advice.into(),
            since: clock::now() - Duration::from_secs(90),
        }
    }

    fn drawn(width: usize, height: usize, card: &Card) -> (Vec<u32>, [Area; 2]) {
        let mut pixels = vec![OLD; width * height];
        let mut canvas = Canvas::new(&mut pixels, width, height);
        let areas = draw(&mut canvas, &mut Font::default(), card, &readings());
        (pixels, areas)
    }

    #[test]
    fn a_card_hides_the_last_picture_at_any_size() {
        let card = card("no signal", "camera unplugged: /dev/video0", "plug it in");
        for (width, height) in [
            (1, 1),
            (3, 200),
            (200, 3),
            (64, 48),
            (640, 480),
            (1920, 1080),
            (300, 1000),
        ] {
            let (pixels, _) = drawn(width, height, &card);
            assert!(!pixels.contains(&OLD), "{width}x{height}");
        }
    }

    #[test]
    fn its_words_stand_where_it_says_and_within_a_margin_at_any_size() {
        let long = "a long reason that needs more than a line ".repeat(3);
        let card = card("no signal", &long, "do this");
        for (width, height) in [(320, 240), (640, 360), (1280, 720), (3840, 2160)] {
            let (pixels, areas) = drawn(width, height, &card);
            let [middle, foot] = areas;
            assert!(middle.y + middle.height <= foot.y, "{width}x{height}");
            for at in (0..pixels.len()).filter(|at| pixels[*at] != BACKGROUND) {
                let (x, y) = (at % width, at / width);
                let inside = |area: &Area| {
                    (area.x..area.x + area.width).contains(&x)
                        && (area.y..area.y + area.height).contains(&y)
                };
                assert!(areas.iter().any(inside), "{width}x{height}: {x},{y}");
            }

            let margin = width / 20;
            assert!(middle.x >= margin && foot.x + foot.width <= width - margin);
            let ink = |area: Area| {
                let rows = pixels.chunks_exact(width).skip(area.y).take(area.height);
                rows.flatten().filter(|pixel| **pixel != BACKGROUND).count()
            };
            assert!(ink(middle) > 500 && ink(foot) > 100, "{width}x{height}");
        }
    }

    #[test]
    fn it_says_since_when() {
        let said = since(&card("no signal", "", ""));
        assert!(said.starts_with("for 1 min 30 s, since "), "{said}");
    }

    #[test]
    fn hostile_words_are_drawn_somehow() {
        for text in [
            "",
            "\u{0}\u{1b}[2J\u{202e}",
            &"x".repeat(10_000),
            &"漢 ".repeat(5000),
        ] {
            drawn(320, 240, &card(text, text, text));
        }
    }
}
