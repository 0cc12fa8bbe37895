//! Anchors that are defined twice in a document.
//!
//! YAML allows that, and the later definition counts from there on. The parser confuses such anchors with others, so that
//! something else than what was written would be judged.

use std::collections::HashSet;

use memchr::memchr_iter;
use saphyr_parser::{Event, Parser};

use super::input::line_at;

/// The line and name of the second definition.
pub(super) fn defined_twice(text: &str) -> Option<(usize, String)> {
    // Most texts have not even words that look like it.
    if !are_repeated(words(text)) {
        return None;
    }
    let offsets: Vec<usize> = text.char_indices().map(|(offset, _)| offset).collect();
    let mut seen = HashSet::new();
    let mut parser = Parser::new_from_str(text);
    while let Some(Ok((event, span))) = parser.next_event() {
        let (Event::Scalar(_, _, anchor, _) | Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _)) = event
        else {
            continue;
        };
        // The parser gives anchors numbers and keeps their names for itself; they stand before the value.
        let value = offsets.get(span.start.index()).copied().unwrap_or(text.len());
        if anchor > 0
            && let Some((position, name)) = last_word(&text[..value])
            && !seen.insert(name)
        {
            return Some((line_at(text.as_bytes(), position), name.to_owned()));
        }
    }
    None
}

/// Whether a token that consists of `sign` and a name may stand in the text, and not only in its scalars.
pub(super) fn may_hold(text: &str, sign: u8) -> bool {
    memchr_iter(sign, text.as_bytes()).any(|position| is_start(text, position))
}

fn is_start(text: &str, position: usize) -> bool {
    let bytes = text.as_bytes();
    let follows_break =
        position == 0 || matches!(bytes[position - 1], b' ' | b'\t' | b'\n' | b'\r' | b'[' | b'{' | b',' | b':');
    follows_break && bytes.get(position + 1).copied().is_some_and(is_part_of_name)
}

fn is_part_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

/// What looks like definitions of anchors.
fn words(text: &str) -> impl Iterator<Item = &str> {
    memchr_iter(b'&', text.as_bytes())
        .filter(|position| is_start(text, *position))
        .map(|position| name_at(text, position))
}

/// The last of these, and where it is.
fn last_word(text: &str) -> Option<(usize, &str)> {
    let position = memchr::memrchr_iter(b'&', text.as_bytes()).find(|position| is_start(text, *position))?;
    Some((position, name_at(text, position)))
}

fn name_at(text: &str, position: usize) -> &str {
    let name = &text[position + 1..];
    &name[..name.bytes().position(|byte| !is_part_of_name(byte)).unwrap_or(name.len())]
}

fn are_repeated<'a>(mut words: impl Iterator<Item = &'a str>) -> bool {
    let mut seen = HashSet::new();
    words.any(|word| !seen.insert(word))
}
