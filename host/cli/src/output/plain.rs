//! Escaping, wrapping and cutting of untrusted text.

use std::borrow::Cow;

use kube_devops_core::text::{cut, escape_controls};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The maximum length of a name: Kubernetes allows 253 bytes, manifests are not limited.
pub const MAX_NAME_LENGTH: usize = 253;

/// Returns a text as one escaped line of at most `max_length` bytes, in which no word starts a workflow command.
pub fn one_line(text: &str, max_length: usize) -> String {
    // Escaping only lengthens a text, so it can be cut first.
    let text = cut(text, max_length);
    let words: Vec<Cow<str>> = text.split_whitespace().map(escape_command).collect();
    cut(&escape(&words.join(" ")), max_length)
}

/// Escapes workflow commands, which CI systems read from the output: `::error` at the start of a line, which can be any
/// word of a wrapped text, and `##[error]` or `##vso[...]` anywhere.
fn escape_command(word: &str) -> Cow<'_, str> {
    let is_name =
        |rest: &str, first: &[char]| rest.starts_with(|next: char| next.is_alphabetic() || first.contains(&next));
    let starts_line = word.strip_prefix("::").is_some_and(|rest| is_name(rest, &[]));
    let anywhere = word.match_indices("##").any(|(index, sign)| is_name(&word[index + sign.len()..], &['[']));
    match (starts_line, anywhere) {
        (false, false) => Cow::Borrowed(word),
        (true, false) => Cow::Owned(format!("\\{word}")),
        (false, true) => Cow::Owned(word.replace("##", "#\\#")),
        (true, true) => Cow::Owned(format!("\\{}", word.replace("##", "#\\#"))),
    }
}

/// Escapes control characters, and replaces characters that are not valid.
fn escape(text: &str) -> String {
    let is_noncharacter = |character| matches!(character, '\u{fffe}' | '\u{ffff}');
    escape_controls(text).replace(is_noncharacter, "\u{fffd}")
}

/// Returns a name as one escaped line.
pub fn name(text: &str) -> String {
    one_line(text, MAX_NAME_LENGTH)
}

/// Returns a text of several lines, such as Markdown, with each line escaped; at most `max_length` bytes.
pub fn lines(text: &str, max_length: usize) -> String {
    let text = cut(text, max_length).replace('\t', "    ");
    let lines: Vec<String> = text.trim_end().lines().map(|line| escape(line.trim_end())).collect();
    cut(&lines.join("\n"), max_length)
}

/// Escapes characters that control a terminal in a text that is already JSON or YAML, where a `\u` escape is the character.
///
/// Both formats allow unescaped C1 control characters and bidirectional control characters. ASCII control characters are
/// already escaped, except for the line feeds of the format itself.
pub fn escape_beyond_ascii(text: &str) -> Cow<'_, str> {
    let must_escape = |character: char| {
        let mut buffer = [0; 4];
        let same: &str = character.encode_utf8(&mut buffer);
        (!character.is_ascii() && escape(same) != same) || character == '\u{7f}'
    };
    // Most texts are ASCII, which needs no decoding.
    if text.bytes().all(|byte| byte < 0x7f) || !text.contains(must_escape) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if must_escape(character) {
            escaped.push_str(&format!("\\u{:04x}", u32::from(character)));
        } else {
            escaped.push(character);
        }
    }
    Cow::Owned(escaped)
}

/// Cuts a text to a number of columns.
pub fn fit(text: &str, columns: usize) -> Cow<'_, str> {
    if text.width() <= columns {
        return Cow::Borrowed(text);
    }
    let mut used = 1;
    let end = text
        .char_indices()
        .find(|(_, character)| {
            used += character.width().unwrap_or(0);
            used > columns
        })
        .map_or(text.len(), |(index, _)| index);
    Cow::Owned(format!("{}…", &text[..end]))
}

/// Wraps a line between words. A word that is longer than a line is not split, because a path must stay in one piece.
pub fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.width() + 1 + word.width() <= columns => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_escapes_and_joins_lines() {
        assert_eq!(one_line("a\r\n  b\tc\u{2028}d\u{85}e", 100), "a b c d e");
        assert_eq!(one_line("\u{1b}[31mred\u{202e}", 100), "\\u{1b}[31mred\\u{202e}");
        assert_eq!(one_line(&"x".repeat(1_000_000), 10), "xxxxxxx…");
        assert!(one_line(&"\u{1b}".repeat(100), 50).len() <= 50);
        assert_eq!(one_line("a\u{fffe}\u{ffff}", 10), "a\u{fffd}\u{fffd}");
    }

    #[test]
    fn lines_are_escaped_one_by_one() {
        assert_eq!(lines("- a \r\n\tb\u{1b}[0m\n\n", 100), "- a\n    b\\u{1b}[0m");
        assert!(lines(&"\u{202e}\n".repeat(100), 50).len() <= 50);
    }

    #[test]
    fn one_line_escapes_workflow_commands() {
        assert_eq!(one_line("::error::x a::b ::1 ::", 100), "\\::error::x a::b ::1 ::");
        assert_eq!(one_line("a##[error]b ##vso[x] C## ## 1", 100), "a#\\#[error]b #\\#vso[x] C## ## 1");
    }

    #[test]
    fn escaping_does_not_change_the_value_of_json() {
        let text = "plain grüße \u{7f}\u{9b}31m\u{202e}\u{ffff} ✓ 世界\u{85}\u{1b}\n";
        let json = serde_json::to_string(text).expect("a string serialises");
        let escaped = escape_beyond_ascii(&json);
        assert_eq!(escaped, "\"plain grüße \\u007f\\u009b31m\\u202e\\uffff ✓ 世界\\u0085\\u001b\\n\"");
        assert_eq!(serde_json::from_str::<String>(&escaped).expect("still JSON"), text);
    }

    #[test]
    fn fit_cuts_a_text_to_its_columns() {
        assert_eq!(fit("short", 5), "short");
        assert_eq!(fit("longer", 5), "long…");
        assert_eq!(fit("世界世界", 6), "世界…");
        assert_eq!(fit("世界世界", 8), "世界世界");
        assert_eq!(fit("abc", 1), "…");
    }

    #[test]
    fn wrap_breaks_lines_between_words() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("a very/long/path/of/a/file b", 6), ["a", "very/long/path/of/a/file", "b"]);
        assert_eq!(wrap("", 6), [""]);
    }
}
