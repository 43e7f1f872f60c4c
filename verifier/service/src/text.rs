//! Text from outside, before it goes into a message, a log line or a terminal.

/// Text without anything that moves a cursor, breaks a line or reorders what is read: control characters become a
/// space, invisible formatting and bidirectional controls are left out.
#[must_use]
pub fn printable(text: &str) -> String {
    if text.bytes().all(|b| matches!(b, b' '..=b'~')) {
        return text.to_owned();
    }
    text.chars().filter(|c| !is_invisible(*c)).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// At most so many bytes of a text, cut between characters and marked where it was cut.
#[must_use]
pub fn shortened(text: &str, most_bytes: usize) -> String {
    const MARK: &str = "...";
    if text.len() <= most_bytes {
        return text.to_owned();
    }
    let room = most_bytes.saturating_sub(MARK.len());
    let mut short = String::new();
    for c in text.chars() {
        if short.len() + c.len_utf8() > room {
            break;
        }
        short.push(c);
    }
    short + MARK
}

fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn must_not_let_a_message_move_the_cursor_or_turn_the_text_round() {
        assert_eq!(printable("a\u{1b}[31mb\r\nc\u{202e}d\u{0}\u{200b}e\u{7f}"), "a [31mb  cd e ");
        assert_eq!(printable("ö / 漢"), "ö / 漢");
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(shortened("abcdef", 6), "abcdef");
        assert_eq!(shortened("abcdefg", 6), "abc...");
        assert_eq!(shortened("äöüäöü", 8), "äö...");
        assert!(shortened(&"x".repeat(10_000), 100).len() <= 100);
    }
}
