//! Text from components and manifests on its way to people.

/// Cuts a text to at most `longest` bytes, at a character, with an ellipsis where something is missing.
pub fn cut(text: &str, longest: usize) -> String {
    const ELLIPSIS: &str = "…";
    if text.len() <= longest {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(longest.saturating_sub(ELLIPSIS.len()));
    format!("{}{ELLIPSIS}", &text[..end])
}

/// Makes a text harmless on a terminal and in a log: control characters, which could move the cursor, recolour or forge
/// lines, and characters that change the direction of writing are shown as escapes.
pub fn escape_controls(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() || is_direction_control(character) {
            escaped.extend(character.escape_unicode());
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// Characters that reorder what follows them: a message could be made to read as another one.
fn is_direction_control(character: char) -> bool {
    matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_at_a_character() {
        assert_eq!(cut("short", 5), "short");
        assert_eq!(cut("sixsix", 5), "si…");
        assert_eq!(cut("ääää", 7), "ää…");
        assert_eq!(cut("ä", 1), "…");
    }

    #[test]
    fn shows_controls() {
        assert_eq!(escape_controls("a\u{1b}[31mb\nc\u{202e}d"), "a\\u{1b}[31mb\\u{a}c\\u{202e}d");
        assert_eq!(escape_controls("grüße ✓"), "grüße ✓");
    }
}
