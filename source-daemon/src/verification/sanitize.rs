//! Names as viewers give them, made fit to be shown: they may say anything.

use fanlight_proto::limits::MAX_REASON;

/// Longest name or address that is kept, in bytes: what a viewer may give itself (`MAX_VIEWER_NAME`), and a long address.
pub const MAX_TEXT: usize = 64;

/// `text` cut to [`MAX_TEXT`] bytes, with a question mark for everything that could move a cursor, change a colour, turn
/// the direction of writing or break a line.
#[must_use]
pub fn sanitize(text: &str) -> String {
    sanitize_up_to(text, MAX_TEXT)
}

/// The same for a reason, which may have [`MAX_REASON`] bytes.
#[must_use]
pub fn sanitize_reason(text: &str) -> String {
    sanitize_up_to(text, MAX_REASON)
}

fn sanitize_up_to(text: &str, limit: usize) -> String {
    let plain = |character: char| if is_plain(character) { character } else { '?' };
    let mut sanitized: String = text.chars().take(limit).map(plain).collect();
    sanitized.truncate(sanitized.floor_char_boundary(limit));
    sanitized
}

fn is_plain(character: char) -> bool {
    // Marks and embeddings of direction, separators of lines, and what has no width, as Unicode's bidirectional algorithm
    // (UAX 9, section 2) and general punctuation list them.
    let hidden = matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{61c}' | '\u{ad}');
    !character.is_control() && !hidden
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_harm_a_terminal_or_a_log_becomes_a_question_mark() {
        assert_eq!(
            sanitize("hall\u{1b}[2J\nlobby\u{202e}\u{7}\u{9b}"),
            "hall?[2J?lobby???"
        );
        assert_eq!(sanitize("Küche 2"), "Küche 2");
    }

    #[test]
    fn a_name_is_cut_at_a_characters_border() {
        assert_eq!(sanitize(&"x".repeat(1000)).len(), MAX_TEXT);
        assert_eq!(sanitize(&format!("a{}", "é".repeat(1000))).len(), 63);
    }
}
