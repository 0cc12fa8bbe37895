//! Splits a `kind: List` in the format of kubectl into the texts of its items.
//!
//! The output of `kubectl get -o yaml` is a single document for a whole cluster. Item by item, it can be parsed on all
//! cores and in little memory, and an invalid item does not affect others.

use std::ops::Range;

use memchr::memmem;

use crate::split::Lines;
use crate::yaml::has_other_line_breaks;

/// The place of an item of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    /// The byte range in the document.
    pub range: Range<usize>,
    /// The number of the first line in the document, from 1.
    pub line: usize,
}

/// A list, split into its items and the rest of the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct List {
    /// The items, each starting with its dash.
    pub items: Vec<Item>,
    /// The text without the items.
    pub rest: String,
}

/// Splits a list in the format of kubectl: `items:` at the start of a line, followed by dashes in one column. All lines that
/// are indented deeper than the dashes belong to an item. Returns `None` if the document has another format.
///
/// A line is a key of the list, and not a part of a scalar or of brackets, only if nothing before it can be open. So every line
/// outside of the items must be complete on its own. An item in which something is open is invalid on its own.
pub(crate) fn split(text: &str) -> Option<List> {
    // Most documents are not lists.
    if !text.starts_with("items:") && memmem::find(text.as_bytes(), b"\nitems:").is_none() {
        return None;
    }
    let mut state = State::Before;
    let mut outside = Outside { last: None };
    let mut items: Vec<Item> = Vec::new();
    for line in Lines::new(text) {
        let content = line.text.trim_start_matches(' ');
        let indentation = line.text.len() - content.len();
        let content = content.trim_end_matches(['\r', ' ']);
        match state {
            State::Before => {
                if indentation == 0 && entry(content) == Some(("items", false)) {
                    // The lines of the parser must be those of this function.
                    if has_other_line_breaks(text) {
                        return None;
                    }
                    state = State::Start;
                } else if !outside.accepts(content, indentation) {
                    return None;
                }
            }
            State::Start | State::Within { .. } if is_blank_or_comment(content) => {}
            State::Start => {
                if !is_item(content) {
                    return None;
                }
                items.push(Item { range: line.start..text.len(), line: line.number });
                state = State::Within { dash: indentation };
            }
            State::Within { dash } => {
                if indentation == dash && is_item(content) {
                    close(&mut items, line.start);
                    items.push(Item { range: line.start..text.len(), line: line.number });
                } else if indentation <= dash {
                    close(&mut items, line.start);
                    outside.last = Some(Entry { indentation: 0, has_value: true });
                    if !outside.accepts(content, indentation) {
                        return None;
                    }
                    state = State::After;
                }
            }
            State::After => {
                if !outside.accepts(content, indentation) {
                    return None;
                }
            }
        }
    }
    let (start, end) = (items.first()?.range.start, items.last()?.range.end);
    let rest = format!("{}{}", &text[..start], &text[end..]);
    Some(List { items, rest })
}

/// The position of the splitter in the document.
#[derive(Clone, Copy)]
enum State {
    Before,
    Start,
    Within { dash: usize },
    After,
}

/// An entry of a map outside of the items.
struct Entry {
    indentation: usize,
    has_value: bool,
}

/// The validation of the lines before or after the items.
struct Outside {
    /// The last entry.
    last: Option<Entry>,
}

impl Outside {
    /// Reports whether a line is certainly not a part of the value of another line, and contains its whole value.
    fn accepts(&mut self, content: &str, indentation: usize) -> bool {
        if content.is_empty() || content.starts_with('#') {
            return true;
        }
        if self.last.is_none() && indentation == 0 && content.strip_prefix("---").is_some_and(is_blank_or_comment) {
            return true;
        }
        let Some((_, has_value)) = entry(content) else { return false };
        // A deeper line continues a value, unless it is in a nested map.
        let is_separate = match &self.last {
            Some(last) => indentation <= last.indentation || !last.has_value,
            None => indentation == 0,
        };
        self.last = Some(Entry { indentation, has_value });
        is_separate
    }
}

/// Returns the key of an entry, and whether its value is on the same line. `None` for everything else than a plain key with a
/// value of one line.
fn entry(content: &str) -> Option<(&str, bool)> {
    let is_of_key = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/');
    let (key, rest) = content.split_at(content.bytes().take_while(is_of_key).count());
    if !key.starts_with(|first: char| first.is_ascii_alphanumeric()) {
        return None;
    }
    let rest = rest.strip_prefix(':')?;
    if rest.is_empty() {
        return Some((key, false));
    }
    let value = rest.strip_prefix(' ')?.trim_start_matches(' ');
    if value.starts_with('#') {
        return Some((key, false));
    }
    is_complete(value).then_some((key, true))
}

/// Reports whether a value certainly ends on its line.
fn is_complete(value: &str) -> bool {
    let mut characters = value.chars();
    let after = match characters.next() {
        Some(quote @ ('"' | '\'')) => match characters.as_str().split_once(quote) {
            Some((text, after)) if !text.contains('\\') => after,
            _ => return false,
        },
        Some('{') => match characters.as_str().strip_prefix('}') {
            Some(after) => after,
            None => return false,
        },
        Some(first) => return first.is_ascii_alphanumeric(),
        None => return false,
    };
    after.is_empty() || after.starts_with(' ') && after.trim_start_matches(' ').starts_with('#')
}

fn close(items: &mut [Item], end: usize) {
    if let Some(item) = items.last_mut() {
        item.range.end = end;
    }
}

fn is_item(content: &str) -> bool {
    content == "-" || content.starts_with("- ")
}

fn is_blank_or_comment(content: &str) -> bool {
    let content = content.trim_start_matches([' ', '\t', '\r']);
    content.is_empty() || content.starts_with('#')
}
