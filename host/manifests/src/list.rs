//! Splits a `kind: List` in the format of kubectl into the texts of its items.
//!
//! The output of `kubectl get -o yaml` is a single document for a whole cluster. Item by item, it can be parsed on all
//! cores and in little memory, and an invalid item does not affect others.

use std::ops::Range;

use memchr::memmem;

use crate::split::Lines;

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

/// Splits a document with `items:` at the start of a line, followed by dashes in one column. All lines that are
/// indented deeper than the dashes belong to an item. Returns `None` if the document has another format.
pub(crate) fn split(text: &str) -> Option<List> {
    // Every item would need the directives.
    if text.starts_with('%') {
        return None;
    }
    // Most documents are not lists.
    if !text.starts_with("items:") && memmem::find(text.as_bytes(), b"\nitems:").is_none() {
        return None;
    }
    let mut state = State::Before;
    let mut items: Vec<Item> = Vec::new();
    for line in Lines::new(text) {
        let content = line.text.trim_start_matches(' ');
        let indentation = line.text.len() - content.len();
        let content = content.trim_end_matches(['\r', ' ', '\t']);
        match state {
            State::Before => {
                if line.text.strip_prefix("items:").is_some_and(is_blank_or_comment) {
                    state = State::Start;
                }
            }
            State::Start | State::Within { .. } if is_blank_or_comment(content) => {}
            State::Start => {
                if !is_item(content) {
                    return None;
                }
                items.push(Item { range: line.start..text.len(), line: line.number });
                state = State::Within { indentation };
            }
            State::Within { indentation: dash } => {
                if indentation == dash && is_item(content) {
                    close(&mut items, line.start);
                    items.push(Item { range: line.start..text.len(), line: line.number });
                } else if indentation <= dash {
                    // Only another key of the document can follow the list.
                    if indentation > 0 {
                        return None;
                    }
                    close(&mut items, line.start);
                    state = State::After;
                }
            }
            State::After => {}
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
    Within { indentation: usize },
    After,
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
