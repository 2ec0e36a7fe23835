//! The font and the lines of text.

use fanlight_pixels::font::{Font, Layer};
use fanlight_pixels::text::{Align, TextBlock, line_height};

/// Columns, rows and coverage of the pixels of a line that is drawn at 40, 40.
fn drawn(font: &mut Font, line: &str, size: usize, layer: Layer) -> Vec<(usize, usize, u32)> {
    let mut pixels = Vec::new();
    font.draw(line, size, (40, 40), 4000, layer, |x, y, coverage| {
        pixels.push((x, y, coverage));
    });
    pixels
}

#[test]
fn letters_of_many_scripts_have_ink_and_blanks_have_none() {
    let font = &mut Font::default();
    let letters = ('!'..='~').chain("äöüßéñµŁőΩλЖя€→…✓".chars());
    let shapes: Vec<_> = letters
        .map(|letter| drawn(font, &letter.to_string(), 24, Layer::Ink))
        .collect();
    assert!(shapes.iter().all(|shape| shape.len() > 4));

    let unknown = drawn(font, "\u{fffd}", 24, Layer::Ink);
    assert!(!shapes.contains(&unknown));
    assert_eq!(drawn(font, "漢", 24, Layer::Ink), unknown);
    assert_eq!(drawn(font, " \u{7}\u{1b}", 24, Layer::Ink), []);
}

#[test]
fn letters_are_antialiased_and_whole_at_any_size() {
    let font = &mut Font::default();
    for size in [8, 12, 31, 64, 200] {
        let pixels = drawn(font, "H", size, Layer::Ink);
        assert!(
            pixels.iter().any(|(_, _, coverage)| *coverage > 180),
            "{size}"
        );
        assert!(pixels.iter().all(|(_, _, coverage)| *coverage <= 256));
        let rows = pixels.iter().map(|(_, y, _)| *y);
        let height = rows.clone().max().unwrap() - rows.min().unwrap() + 1;
        assert!(height.abs_diff(size * 73 / 100) <= 2, "{size}: {height}");
    }
    let pixels = drawn(font, "O", 64, Layer::Ink);
    assert!(
        pixels
            .iter()
            .any(|(_, _, coverage)| (64..192).contains(coverage))
    );
}

#[test]
fn the_halo_lies_around_the_ink() {
    let font = &mut Font::default();
    for size in [8, 24, 60] {
        let ink = drawn(font, "a", size, Layer::Ink);
        let halo = drawn(font, "a", size, Layer::Halo);
        assert!(halo.len() > ink.len());
        for (x, y, coverage) in ink {
            let around = halo.iter().find(|(a, b, _)| (*a, *b) == (x, y)).unwrap();
            assert!(around.2 >= coverage, "{size} at {x},{y}");
        }
    }
}

#[test]
fn all_text_can_be_drawn_and_what_is_kept_of_it_does_not_matter() {
    let font = &mut Font::default();
    let first = drawn(font, "Fanlight", 60, Layer::Halo);
    let all: String = ('\u{20}'..'\u{600}').collect();
    for size in [9, 60] {
        drawn(font, &all, size, Layer::Halo);
    }
    assert!(drawn(font, "M", 100_000, Layer::Halo).len() > 30_000);
    assert_eq!(drawn(font, "Fanlight", 60, Layer::Halo), first);
}

fn wrapped(text: &str, letters: usize, rows: usize) -> Vec<String> {
    let font = &mut Font::default();
    // All figures are as wide.
    let width = font.width(&"0".repeat(letters), 20);
    TextBlock::wrapped(font, text, 20, width, rows).lines
}

#[test]
fn lines_break_between_words_and_within_long_ones() {
    assert_eq!(wrapped("0000 /000/0000", 9, 5), ["0000", "/000/0000"]);
    assert_eq!(wrapped("00000000", 3, 5), ["000", "000", "00"]);
    assert_eq!(wrapped("ä\nb\u{1b}[31m\tc", 20, 5), ["ä b [31m c"]);
    assert_eq!(wrapped("", 10, 5), [""]);
}

#[test]
fn what_does_not_fit_ends_in_dots() {
    assert_eq!(wrapped("000 000 00000 0000", 8, 2), ["000 000", "00000…"]);

    let font = &mut Font::default();
    for width in (0..200).step_by(7) {
        for rows in 0..4 {
            let block = TextBlock::wrapped(font, &"word ".repeat(100), 10, width, rows);
            assert!(block.lines.len() <= rows.max(1));
            assert!(block.width(font) <= width.max(20), "{:?}", block.lines);
        }
    }
}

/// The pixels of a text that is drawn on a canvas `right` pixels wide.
fn inked(block: &TextBlock, at: (usize, usize), align: Align, right: usize) -> Vec<(usize, usize)> {
    let mut inked = Vec::new();
    block.draw(&mut Font::default(), at, align, right, |x, y, _| {
        inked.push((x, y));
    });
    inked
}

#[test]
fn a_centred_letter_is_drawn_in_the_middle_of_its_line() {
    for size in [9, 13, 32, 100] {
        let side = size * 3;
        let block = TextBlock::lines_of("O", size);
        let inked = inked(&block, (0, size), Align::Centre(side), side);
        let columns = inked.iter().map(|(x, _)| *x);
        let ends = columns.clone().min().unwrap() + columns.max().unwrap();
        assert!(ends.abs_diff(side) <= 3, "{size}: {ends}");
        let rows = size..size + line_height(size);
        assert!(inked.iter().all(|(_, y)| rows.contains(y)), "{size}");
    }
}

#[test]
fn letters_end_at_the_right_edge() {
    let block = TextBlock::lines_of("far too long for this", 12);
    let pixels = inked(&block, (0, 0), Align::Left, 20);
    let last = pixels.iter().map(|(x, _)| *x).max();
    assert!(
        last.is_some_and(|last| (10..20).contains(&last)),
        "{last:?}"
    );
    assert_eq!(inked(&block, (99, 0), Align::Left, 20), []);
}
