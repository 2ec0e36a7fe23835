//! The font and the lines of text.

use fanlight_pixels::font::{Glyph, SIDE};
use fanlight_pixels::text::{Align, TextBlock, letter_width};

/// Whether each pixel is inked when `letter` is drawn in this size, row by row.
fn drawn(letter: char, size: (usize, usize)) -> Vec<bool> {
    let glyph = Glyph::of(letter);
    (0..size.0 * size.1)
        .map(|i| glyph.coverage((i % size.0, i / size.0), size) > 128)
        .collect()
}

#[test]
fn letters_have_ink_and_blanks_have_none() {
    for letter in ('!'..='~').chain("äöüßéñµ".chars()) {
        for size in [(6, 8), (9, 12), (64, 64)] {
            assert!(drawn(letter, size).contains(&true), "{letter} at {size:?}");
        }
    }
    assert!(!drawn(' ', (64, 64)).contains(&true));
}

#[test]
fn a_letter_in_its_own_size_is_drawn_dot_by_dot() {
    for letter in '!'..='~' {
        let mut dots = vec![false; SIDE * SIDE];
        for (column, row, length) in Glyph::of(letter).runs() {
            let start = row as usize * SIDE + column as usize;
            dots[start..start + length as usize].fill(true);
        }
        assert_eq!(drawn(letter, (SIDE, SIDE)), dots, "{letter}");
    }
}

#[test]
fn a_letter_the_font_lacks_is_a_question_mark() {
    assert_eq!(drawn('漢', (8, 8)), drawn('?', (8, 8)));
    assert_eq!(drawn('—', (8, 8)), drawn('-', (8, 8)));
}

fn wrapped(text: &str, columns: usize, rows: usize) -> Vec<String> {
    TextBlock::wrapped(text, 8, columns, rows).lines
}

#[test]
fn lines_break_between_words_and_within_long_ones() {
    assert_eq!(
        wrapped("camera unplugged: /dev/video0", 17, 5),
        ["camera unplugged:", "/dev/video0"]
    );
    assert_eq!(wrapped("abcdefgh", 3, 5), ["abc", "def", "gh"]);
    assert_eq!(wrapped("a\nb\u{1b}[31m\tc", 20, 5), ["a b [31m c"]);
    assert_eq!(wrapped("", 10, 5), [""]);
}

#[test]
fn what_does_not_fit_ends_in_dots() {
    assert_eq!(wrapped("one two three four", 8, 2), ["one two", "three..."]);
    assert_eq!(wrapped("one two three four", 5, 1), ["on..."]);

    for columns in 0..12 {
        for rows in 0..4 {
            let lines = wrapped(&"word ".repeat(100), columns, rows);
            assert!(lines.len() <= rows.max(1));
            let longest = lines.iter().map(|line| line.chars().count()).max();
            assert!(longest.unwrap() <= columns.max(3), "{lines:?}");
        }
    }
}

/// The pixels with ink of a text that is drawn on a canvas `right` pixels wide.
fn inked(block: &TextBlock, at: (usize, usize), align: Align, right: usize) -> Vec<(usize, usize)> {
    let mut inked = Vec::new();
    block.draw(at, align, right, |x, y, coverage| {
        inked.extend((coverage > 0).then_some((x, y)));
    });
    inked
}

#[test]
fn a_centred_letter_is_drawn_in_the_middle() {
    for size in [5, 8, 13, 32, 100] {
        let side = size * 3;
        let block = TextBlock::wrapped("#", size, 9, 1);
        let inked = inked(&block, (0, size), Align::Centre(side), side);
        assert!(!inked.is_empty(), "{size}");

        let width = letter_width(size);
        let columns = (side - width) / 2..(side - width) / 2 + width;
        let rows = size..2 * size;
        let inside = |(x, y): &(usize, usize)| columns.contains(x) && rows.contains(y);
        assert!(inked.iter().all(inside), "{size}");
    }
}

#[test]
fn letters_beyond_the_right_edge_are_not_drawn() {
    let block = TextBlock::lines_of("far too long for this", 8);
    let inked = inked(&block, (0, 0), Align::Left, 20);
    let last = inked.iter().map(|(x, _)| *x).max().unwrap();
    assert!(last < 20 + letter_width(8), "{last}");
    assert_eq!(self::inked(&block, (99, 0), Align::Left, 20), []);
}
