//! Display of text from components and manifests.

/// Truncates a text to at most `longest` bytes, at a character boundary and with an ellipsis.
pub fn cut(text: &str, longest: usize) -> String {
    const ELLIPSIS: &str = "…";
    if text.len() <= longest {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(longest.saturating_sub(ELLIPSIS.len()));
    format!("{}{ELLIPSIS}", &text[..end])
}

/// Sanitizes a text for a terminal or a log: control characters, which could move the cursor, change colors or forge
/// lines, and characters that change the text direction are escaped.
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

/// Reports whether a character changes the direction of the text after it, which can disguise a message as another one.
fn is_direction_control(character: char) -> bool {
    matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Formats a number with a noun, such as `2 pods` or `3 policies`.
pub fn number(count: usize, what: &str) -> String {
    // A vowel before the last letter keeps it: days.
    let stem = what.strip_suffix('y').filter(|stem| !stem.ends_with(['a', 'e', 'i', 'o', 'u']));
    match stem {
        _ if count == 1 => format!("1 {what}"),
        Some(stem) => format!("{count} {stem}ies"),
        None => format!("{count} {what}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_truncated_at_character_boundaries() {
        assert_eq!(cut("short", 5), "short");
        assert_eq!(cut("sixsix", 5), "si…");
        assert_eq!(cut("ääää", 7), "ää…");
        assert_eq!(cut("ä", 1), "…");
    }

    #[test]
    fn a_noun_has_the_form_of_its_number() {
        assert_eq!([0, 1, 2].map(|count| number(count, "more pod")), ["0 more pods", "1 more pod", "2 more pods"]);
        assert_eq!([1, 2].map(|count| number(count, "day")), ["1 day", "2 days"]);
        assert_eq!([0, 1, 2].map(|count| number(count, "policy")), ["0 policies", "1 policy", "2 policies"]);
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(escape_controls("a\u{1b}[31mb\nc\u{202e}d"), "a\\u{1b}[31mb\\u{a}c\\u{202e}d");
        assert_eq!(escape_controls("grüße ✓"), "grüße ✓");
    }
}
