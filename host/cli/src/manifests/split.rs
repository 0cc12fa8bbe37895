//! Splits a text into documents, so that each can be parsed by itself and a broken one spoils no other.
//!
//! The marks of documents are recognised by their column alone: YAML allows `---` and `...` at the start of a line in no
//! kind of scalar, so no tokens have to be understood to find them.

use std::ops::Range;

use memchr::memchr;
use serde_json::value::RawValue;

use super::explain;
use super::problem::Problem;

/// The byte order mark, which some editors put before the text.
const BYTE_ORDER_MARK: &str = "\u{feff}";

/// How a document is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Notation {
    /// YAML; with what a JSON parser said where it looked like JSON.
    Yaml { as_json: Option<Box<Problem>> },
    /// One JSON value.
    Json,
}

/// One document of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Document {
    /// The bytes of the text that hold it.
    pub range: Range<usize>,
    /// The line of the text that it starts in, from 1.
    pub line: usize,
    /// The line of its first content: neither blank nor comment nor the mark of a document.
    pub content_line: usize,
    /// How it is written.
    pub notation: Notation,
}

/// The documents of a text. What holds only comments is none.
pub(super) fn documents(text: &str) -> Vec<Document> {
    let mut documents = Vec::new();
    let mut open: Option<Open> = None;
    for line in Lines::new(text) {
        let marked = line.text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line.text);
        let start = line.start + (line.text.len() - marked.len());
        match mark(marked) {
            Some(Mark::Start { has_content }) => {
                let directives = open.take().and_then(|before| before.close(text, line.start, &mut documents));
                let (start, number) = directives.unwrap_or((start, line.number));
                open = Some(Open {
                    start,
                    line: number,
                    content_line: has_content.then_some(line.number),
                    has_directives: false,
                    is_marked: true,
                });
            }
            Some(Mark::End) => {
                if let Some(before) = open.take() {
                    before.close(text, line.start, &mut documents);
                }
            }
            None => {
                let opened = open.get_or_insert(Open {
                    start,
                    line: line.number,
                    content_line: None,
                    has_directives: false,
                    is_marked: false,
                });
                if opened.content_line.is_none() && !is_blank_or_comment(marked) {
                    if marked.starts_with('%') && !opened.is_marked {
                        opened.has_directives = true;
                    } else {
                        opened.content_line = Some(line.number);
                        // A byte order mark is no content, but within a document parsers take it for that.
                        if marked.len() < line.text.len() && !opened.has_directives {
                            (opened.start, opened.line) = (start, line.number);
                        }
                    }
                }
            }
        }
    }
    if let Some(last) = open {
        last.close(text, text.len(), &mut documents);
    }
    documents
}

/// A document whose end is not found yet.
struct Open {
    start: usize,
    line: usize,
    content_line: Option<usize>,
    has_directives: bool,
    /// Whether it started with `---`.
    is_marked: bool,
}

impl Open {
    /// Ends the document. One that is only directives belongs to the next one; its start is given back.
    fn close(self, text: &str, end: usize, documents: &mut Vec<Document>) -> Option<(usize, usize)> {
        let Some(content_line) = self.content_line else {
            return self.has_directives.then_some((self.start, self.line));
        };
        let range = self.start..end;
        let content = content(&text[range.clone()]);
        if !content.starts_with(['{', '[']) {
            let notation = Notation::Yaml { as_json: None };
            documents.push(Document { range, line: self.line, content_line, notation });
            return None;
        }
        let start = end - content.len();
        split_json(text, start..end, content_line, documents);
        None
    }
}

/// Splits values that stand one after the other. From the first on that is no JSON, the text is left to YAML, which knows
/// more ways to write maps and lists with brackets.
fn split_json(text: &str, range: Range<usize>, line: usize, documents: &mut Vec<Document>) {
    let json = text[range.clone()].trim_end_matches([' ', '\t', '\r', '\n']);
    let mut values = serde_json::Deserializer::from_str(json).into_iter::<&RawValue>();
    let mut lines = LineCount::new(json, line);
    let mut read_to = 0;
    while let Some(value) = values.next() {
        match value {
            Ok(value) => {
                read_to = values.byte_offset();
                let start = read_to - value.get().len();
                let line = lines.at(start);
                documents.push(Document {
                    range: range.start + start..range.start + read_to,
                    line,
                    content_line: line,
                    notation: Notation::Json,
                });
            }
            Err(error) => {
                let rest = content(&json[read_to..]);
                if !rest.is_empty() {
                    let start = json.len() - rest.len();
                    let error_line = line + error.line().saturating_sub(1);
                    let line = lines.at(start);
                    let problem = Problem::at(1 + error_line.saturating_sub(line), explain::json_syntax(&error));
                    documents.push(Document {
                        range: range.start + start..range.end,
                        line,
                        content_line: line,
                        notation: Notation::Yaml { as_json: Some(Box::new(problem)) },
                    });
                }
                return;
            }
        }
    }
}

/// What is left of a document without its mark, blank lines and comments at the start.
pub(super) fn content(document: &str) -> &str {
    let mut rest = document.strip_prefix(BYTE_ORDER_MARK).unwrap_or(document);
    if rest.starts_with("---") && rest[3..].starts_with([' ', '\t', '\r', '\n']) {
        rest = &rest[3..];
    }
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\r', '\n']);
        if !rest.starts_with('#') {
            return rest;
        }
        rest = memchr(b'\n', rest.as_bytes()).map_or("", |end| &rest[end..]);
    }
}

/// A line that says where documents start or end.
enum Mark {
    Start { has_content: bool },
    End,
}

fn mark(line: &str) -> Option<Mark> {
    let rest = line.strip_prefix("---").or_else(|| line.strip_prefix("..."))?;
    if !(rest.is_empty() || rest.starts_with([' ', '\t', '\r'])) {
        return None;
    }
    Some(if line.starts_with('-') { Mark::Start { has_content: !is_blank_or_comment(rest) } } else { Mark::End })
}

fn is_blank_or_comment(line: &str) -> bool {
    let content = line.trim_start_matches([' ', '\t', '\r']);
    content.is_empty() || content.starts_with('#')
}

/// A line without its end.
pub(super) struct Line<'a> {
    /// The offset of its first byte.
    pub start: usize,
    /// The number, from 1.
    pub number: usize,
    /// The text, without the line feed.
    pub text: &'a str,
}

/// The lines of a text, with their offsets.
pub(super) struct Lines<'a> {
    text: &'a str,
    position: usize,
    number: usize,
}

impl<'a> Lines<'a> {
    /// The lines of `text`, of which the first has the number 1.
    pub fn new(text: &'a str) -> Self {
        Self { text, position: 0, number: 0 }
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = Line<'a>;

    fn next(&mut self) -> Option<Line<'a>> {
        let start = self.position;
        let rest = self.text.get(start..).filter(|rest| !rest.is_empty())?;
        let length = memchr(b'\n', rest.as_bytes()).unwrap_or(rest.len());
        self.position = start + length + 1;
        self.number += 1;
        Some(Line { start, number: self.number, text: &rest[..length] })
    }
}

/// Counts the lines of a text as it is walked through.
pub(super) struct LineCount<'a> {
    text: &'a str,
    position: usize,
    line: usize,
}

impl<'a> LineCount<'a> {
    /// Counts in `text`, whose first line has the number `line`.
    pub fn new(text: &'a str, line: usize) -> Self {
        Self { text, position: 0, line }
    }

    /// The line of the byte at `position`, which must not lie before the last one asked for.
    pub fn at(&mut self, position: usize) -> usize {
        let bytes = self.text.as_bytes();
        let position = position.clamp(self.position, bytes.len());
        self.line += memchr::memchr_iter(b'\n', &bytes[self.position..position]).count();
        self.position = position;
        self.line
    }
}
