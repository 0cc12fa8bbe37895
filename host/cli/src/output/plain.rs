//! Texts of other people, made fit for one line, and for a number of columns.

use std::borrow::Cow;

use kube_devops_core::text::{cut, escape_controls};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The longest name that is shown: Kubernetes allows 253 bytes, manifests anything.
pub const LONGEST_NAME: usize = 253;

/// A text as one harmless line of at most `longest` bytes, whose beginnings of words are no commands either.
pub fn one_line(text: &str, longest: usize) -> String {
    // Escaping can only make a text longer, so what is behind the cut need not be looked at.
    let text = cut(text, longest);
    let words: Vec<Cow<str>> = text.split_whitespace().map(no_command).collect();
    cut(&harmless(&words.join(" ")), longest)
}

/// Systems that run builds take commands from the output: `::error` where a line starts, wherever it may be wrapped, and
/// `##[error]` or `##vso[...]` anywhere.
fn no_command(word: &str) -> Cow<'_, str> {
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

/// A text in which everything that does something rather than show something is escaped.
fn harmless(text: &str) -> String {
    let is_no_character = |character| matches!(character, '\u{fffe}' | '\u{ffff}');
    escape_controls(text).replace(is_no_character, "\u{fffd}")
}

/// A name as one harmless line.
pub fn name(text: &str) -> String {
    one_line(text, LONGEST_NAME)
}

/// A text of several lines, such as Markdown, with each line harmless; at most `longest` bytes.
pub fn lines(text: &str, longest: usize) -> String {
    let text = cut(text, longest).replace('\t', "    ");
    let lines: Vec<String> = text.trim_end().lines().map(|line| harmless(line.trim_end())).collect();
    cut(&lines.join("\n"), longest)
}

/// A number and what it counts.
pub fn number(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Escapes what is harmful on a terminal in a text that is already JSON or YAML, where `\u` escapes mean the character.
///
/// Both allow C1 controls or marks that change the direction of writing as they are. ASCII controls are escaped already,
/// except for the line feeds of the form itself.
pub fn escape_beyond_ascii(text: &str) -> Cow<'_, str> {
    let harmful = |character: char| {
        let mut buffer = [0; 4];
        let same: &str = character.encode_utf8(&mut buffer);
        (!character.is_ascii() && harmless(same) != same) || character == '\u{7f}'
    };
    if !text.contains(harmful) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if harmful(character) {
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

/// Breaks a line between words. A word that is longer than a line keeps its own: a path is of no use in two pieces.
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
    fn one_line_is_one_harmless_line() {
        assert_eq!(one_line("a\r\n  b\tc\u{2028}d\u{85}e", 100), "a b c d e");
        assert_eq!(one_line("\u{1b}[31mred\u{202e}", 100), "\\u{1b}[31mred\\u{202e}");
        assert_eq!(one_line(&"x".repeat(1_000_000), 10), "xxxxxxx…");
        assert!(one_line(&"\u{1b}".repeat(100), 50).len() <= 50);
        assert_eq!(one_line("a\u{fffe}\u{ffff}", 10), "a\u{fffd}\u{fffd}");
    }

    #[test]
    fn lines_stay_lines() {
        assert_eq!(lines("- a \r\n\tb\u{1b}[0m\n\n", 100), "- a\n    b\\u{1b}[0m");
        assert!(lines(&"\u{202e}\n".repeat(100), 50).len() <= 50);
    }

    #[test]
    fn one_line_holds_no_commands() {
        assert_eq!(one_line("::error::x a::b ::1 ::", 100), "\\::error::x a::b ::1 ::");
        assert_eq!(one_line("a##[error]b ##vso[x] C## ## 1", 100), "a#\\#[error]b #\\#vso[x] C## ## 1");
    }

    #[test]
    fn json_means_the_same_after_escaping() {
        let text = "plain grüße \u{7f}\u{9b}31m\u{202e}\u{ffff} ✓ 世界\u{85}\u{1b}\n";
        let json = serde_json::to_string(text).expect("a string serialises");
        let escaped = escape_beyond_ascii(&json);
        assert_eq!(escaped, "\"plain grüße \\u007f\\u009b31m\\u202e\\uffff ✓ 世界\\u0085\\u001b\\n\"");
        assert_eq!(serde_json::from_str::<String>(&escaped).expect("still JSON"), text);
    }

    #[test]
    fn fits_columns() {
        assert_eq!(fit("short", 5), "short");
        assert_eq!(fit("longer", 5), "long…");
        assert_eq!(fit("世界世界", 6), "世界…");
        assert_eq!(fit("世界世界", 8), "世界世界");
        assert_eq!(fit("abc", 1), "…");
    }

    #[test]
    fn wraps_between_words() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("a very/long/path/of/a/file b", 6), ["a", "very/long/path/of/a/file", "b"]);
        assert_eq!(wrap("", 6), [""]);
    }
}
