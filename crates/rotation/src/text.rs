//! Text of users and of other systems in statuses, Events and logs: on one line and of bounded
//! length.

/// Ends a text that was cut.
const ELLIPSIS: char = '…';

/// Returns a text on one line, of at most `limit` characters. Control characters, such as line
/// breaks and those that start an escape sequence of a terminal, become spaces; so do characters
/// that change the direction of text or are invisible. A longer text ends with "…".
pub fn bounded(text: &str, limit: usize) -> String {
    let mut characters = text.chars();
    let mut cut: String = characters.by_ref().take(limit).map(printable).collect();
    if characters.next().is_some() {
        cut.pop();
        cut.push(ELLIPSIS);
    }
    cut
}

/// Returns a text as [`bounded`] does, of at most `limit` bytes.
pub fn bounded_bytes(text: &str, limit: usize) -> String {
    let line = bounded(text, limit);
    if line.len() <= limit {
        return line;
    }
    let end = line.floor_char_boundary(limit.saturating_sub(ELLIPSIS.len_utf8()));
    format!("{}{ELLIPSIS}", &line[..end])
}

fn printable(character: char) -> char {
    let is_hidden = matches!(
        character,
        '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
    );
    if is_hidden || character.is_control() { ' ' } else { character }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_at_a_number_of_characters() {
        assert_eq!(bounded("ßßß", 3), "ßßß");
        assert_eq!(bounded("ßßßß", 3), "ßß…");
        assert_eq!(bounded(&bounded("ßßßß", 3), 3), "ßß…");
    }

    #[test]
    fn cuts_at_a_number_of_bytes() {
        assert_eq!(bounded_bytes("ßßß", 6), "ßßß");
        assert_eq!(bounded_bytes("ßßßß", 6), "ß…");
        assert_eq!(bounded_bytes(&"x".repeat(2000), 1024).len(), 1024);
    }

    #[test]
    fn replaces_characters_that_change_the_line() {
        assert_eq!(
            bounded("a\r\nb\u{1b}[31mc\u{9b}\u{202e}d\u{2028}\u{feff}", 99),
            "a  b [31mc  d  "
        );
    }
}
