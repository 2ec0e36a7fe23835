//! The card in place of a picture, and the text panels over one. The window and recordings call it.

use fanlight_pixels::text::{Align, TextBlock, letter_width};

use crate::canvas::{Area, Canvas, Colour};

const BACKGROUND: Colour = 0x11_15_1c;
const ACCENT: Colour = 0xe8_9b_2d;
const TITLE: Colour = 0xf2_f4_f7;
const REASON: Colour = 0x9d_a8_b8;
const PANEL: Colour = 0x00_00_00;
const PANEL_TEXT: Colour = 0xff_ff_ff;

/// Opacity of a panel's ground, of 256: the picture shimmers through, the words stay legible on any.
const PANEL_OPACITY: u32 = 176;

/// Lines a reason may take; [`MAX_REASON`](fanlight_proto::limits::MAX_REASON) bytes fit a screen of usual shape.
const REASON_LINES: usize = 6;

/// Smallest letters, in pixels: below it they cannot be read.
const SMALLEST: usize = 10;

/// The corner in which a panel lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Corner {
    UpperLeft,
    UpperRight,
    LowerLeft,
}

/// Fills the canvas with `title` and, below it, `reason`. Nothing of what was there before shows through.
pub(crate) fn draw(canvas: &mut Canvas<'_>, title: &str, reason: &str) {
    let width = canvas.width();
    let height = canvas.height();
    canvas.fill(BACKGROUND);

    let room = width * 86 / 100;
    let letters = title.chars().count().max(12);
    let title_size = (height / 8).min(room * 4 / 3 / letters).max(SMALLEST);
    let title = TextBlock::wrapped(title, title_size, room / letter_width(title_size), 2);
    let reason_size = (title_size * 45 / 100)
        .max((height / 40).min(room / 24))
        .max(SMALLEST);
    let columns = room / letter_width(reason_size);
    let reason = TextBlock::wrapped(reason, reason_size, columns, REASON_LINES);

    let gap = title.size * 7 / 10;
    let rule = Area {
        x: 0,
        y: 0,
        width: title.width().max(title.size).min(room),
        height: (title.size / 12).max(1),
    };

    let total = title.height() + gap + rule.height + gap + reason.height();
    let top = height.saturating_sub(total) / 2;
    let rule = Area {
        x: (width - rule.width) / 2,
        y: top + title.height() + gap,
        ..rule
    };

    canvas.text(&title, (0, top), Align::Centre(width), TITLE);
    canvas.fill_area(rule, ACCENT);
    let below = rule.y + rule.height + gap;
    canvas.text(&reason, (0, below), Align::Centre(width), REASON);
}

/// Writes `text`, line by line, on a dark ground in a corner, over whatever is there.
pub(crate) fn draw_panel(canvas: &mut Canvas<'_>, text: &str, corner: Corner) {
    let size = (canvas.height() / 40).clamp(SMALLEST, 32);
    let block = TextBlock::lines_of(text, size);
    if block.height() == 0 {
        return;
    }

    let width = block.width() + 2 * size;
    let height = block.height() + 2 * size;
    let right = canvas.width().saturating_sub(width + size);
    let below = canvas.height().saturating_sub(height + size);
    let (x, y) = match corner {
        Corner::UpperLeft => (size, size),
        Corner::UpperRight => (right, size),
        Corner::LowerLeft => (size, below),
    };

    let panel = Area {
        x,
        y,
        width,
        height,
    };

    canvas.shade_area(panel, PANEL, PANEL_OPACITY);
    canvas.text(&block, (x + size, y + size), Align::Left, PANEL_TEXT);
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Colour = 0x00_fe_01;

    fn card(width: usize, height: usize, title: &str, reason: &str) -> Vec<u32> {
        let mut pixels = vec![OLD; width * height];
        draw(&mut Canvas::new(&mut pixels, width, height), title, reason);
        pixels
    }

    #[test]
    fn a_card_hides_the_last_picture_at_any_size() {
        for (width, height) in [
            (1, 1),
            (3, 200),
            (200, 3),
            (64, 48),
            (640, 480),
            (1920, 1080),
            (300, 1000),
        ] {
            let pixels = card(width, height, "no signal", "camera unplugged: /dev/video0");
            assert!(!pixels.contains(&OLD), "{width}x{height}");
        }
    }

    #[test]
    fn title_and_reason_stand_in_the_middle_with_a_margin() {
        let width = 1280;
        let height = 720;
        let pixels = card(
            width,
            height,
            "no signal",
            &"a long reason that needs more than a line ".repeat(3),
        );

        let inked = |colour: Colour| {
            let at: Vec<_> = (0..pixels.len()).filter(|&i| pixels[i] == colour).collect();
            let columns = at.iter().map(|i| i % width);
            let rows = at.iter().map(|i| i / width);
            (
                columns.clone().min(),
                columns.max(),
                rows.clone().min(),
                rows.max(),
            )
        };

        let title = inked(TITLE);
        let reason = inked(REASON);

        for (left, right, top, bottom) in [title, reason] {
            let left = left.unwrap();
            let right = right.unwrap();
            assert!(
                left > width / 20 && right < width - width / 20,
                "{left}..{right}"
            );

            assert!(top.unwrap() > height / 8 && bottom.unwrap() < height * 7 / 8);
            assert!(
                (left + right).abs_diff(width) < width / 20,
                "{left}..{right} is centred"
            );
        }

        assert!(title.3 < reason.2, "the reason is below the title");
    }

    #[test]
    fn hostile_words_are_drawn_somehow() {
        for text in [
            "",
            "\u{0}\u{1b}[2J\u{202e}",
            &"x".repeat(10_000),
            &"漢 ".repeat(5000),
        ] {
            card(320, 240, text, text);
            let mut pixels = vec![OLD; 320 * 240];
            draw_panel(
                &mut Canvas::new(&mut pixels, 320, 240),
                text,
                Corner::LowerLeft,
            );
        }
    }

    #[test]
    fn a_panel_leaves_the_rest_of_the_picture() {
        let mut pixels = vec![OLD; 640 * 480];
        draw_panel(
            &mut Canvas::new(&mut pixels, 640, 480),
            "30 fps\nage 9 ms",
            Corner::UpperLeft,
        );

        assert!(pixels.contains(&PANEL_TEXT));
        assert!(pixels[640 * 240..].iter().all(|&p| p == OLD));
        let mut pixels = vec![OLD; 640 * 480];
        draw_panel(
            &mut Canvas::new(&mut pixels, 640, 480),
            "saved",
            Corner::LowerLeft,
        );

        assert!(pixels[..640 * 240].iter().all(|&p| p == OLD));
        assert!(pixels.contains(&PANEL_TEXT));
    }
}
