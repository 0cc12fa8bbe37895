//! Splits a text into documents, so that each can be parsed separately and an invalid document does not affect others.
//!
//! A YAML document ends at a line `---`. Like kubectl, this splits by lines and does not parse YAML: `--- {a: b}` is an
//! error, and `...` does not end a document. Only a text that starts with a brace is JSON.

use std::ops::Range;

use kube_devops_core::text::cut;
use memchr::memchr;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::explain;
use crate::problem::Problem;

/// The byte order mark, with which some editors start a text.
const BYTE_ORDER_MARK: &str = "\u{feff}";
/// The white space of JSON.
const BLANK: [char; 4] = [' ', '\t', '\r', '\n'];

/// The format of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Notation {
    /// YAML; with the error of the JSON parser if it looks like JSON.
    Yaml { as_json: Option<Box<Problem>> },
    /// A JSON value.
    Json,
    /// Invalid.
    Invalid(Box<Problem>),
}

/// A document of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Document {
    /// The byte range in the text.
    pub range: Range<usize>,
    /// The first line in the text, from 1.
    pub line: usize,
    /// The first line with content, without blank lines, comments and separators.
    pub content_line: usize,
    /// The format.
    pub notation: Notation,
}

impl Document {
    /// Returns the same document without anything before its content, and with lines counted from there.
    pub fn starting_at_content(&self, text: &str) -> Self {
        let content_start = self.range.end - content(&text[self.range.clone()]).len();
        let start = text[self.range.start..content_start]
            .rfind('\n')
            .map_or(self.range.start, |end| self.range.start + end + 1);
        Self { range: start..self.range.end, line: 1, content_line: 1, notation: self.notation.clone() }
    }
}

/// Splits a text into documents, without those that only contain comments.
///
/// A text that starts with a brace is a sequence of JSON values; from the first one that is not valid JSON, it is YAML.
/// After a second value, kubectl only accepts JSON. This corresponds to `YAMLOrJSONDecoder` of
/// <https://github.com/kubernetes/apimachinery/blob/v0.37.2/pkg/util/yaml/decoder.go>.
pub(crate) fn documents(text: &str) -> Vec<Document> {
    let mut documents = Vec::new();
    let start = text.len() - text.trim_start_matches(BYTE_ORDER_MARK).len();
    let is_json = text[start..].trim_start().starts_with('{');
    let position = if is_json { split_json(text, start, &mut documents) } else { 0 };
    split_yaml(text, position, &mut documents);
    documents
}

/// Splits the text after `position` at the lines `---`.
fn split_yaml(text: &str, position: usize, documents: &mut Vec<Document>) {
    let mut open: Option<Open> = None;
    let line_before = memchr::memchr_iter(b'\n', &text.as_bytes()[..position]).count();
    for line in Lines::new(&text[position..]) {
        let (start, number) = (position + line.start, line_before + line.number);
        let unmarked = line.text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line.text);
        let content_start = start + (line.text.len() - unmarked.len());
        match after_separator(unmarked) {
            Some(rest) => {
                let is_separator = open.is_some();
                if let Some(before) = open.take() {
                    before.close(text, start, documents);
                }
                if !is_blank_or_comment(rest) {
                    let message = format!(
                        "invalid document separator: {:?} follows `---`, which kubectl does not read; put it on a separate line",
                        cut(rest.trim(), 40)
                    );
                    let problem = Some(Problem::at(number, message));
                    open = Some(Open { start: content_start, line: number, content_line: Some(number), problem });
                } else if !is_separator {
                    // kubectl passes the first separator to its parser, where it has an effect: `...` can follow it.
                    open = Some(Open { start: content_start, line: number, content_line: None, problem: None });
                }
            }
            None => {
                let opened =
                    open.get_or_insert(Open { start: content_start, line: number, content_line: None, problem: None });
                if opened.content_line.is_none() && !is_blank_or_comment(unmarked) {
                    opened.content_line = Some(number);
                    // A byte order mark is not content, but parsers treat it as content within a document.
                    if unmarked.len() < line.text.len() {
                        (opened.start, opened.line) = (content_start, number);
                    }
                }
            }
        }
    }
    if let Some(last) = open {
        last.close(text, text.len(), documents);
    }
}

/// A document whose end has not been found.
struct Open {
    start: usize,
    line: usize,
    content_line: Option<usize>,
    /// The problem of its separator.
    problem: Option<Problem>,
}

impl Open {
    /// Ends the document, and drops it if it has no content.
    fn close(self, text: &str, end: usize, documents: &mut Vec<Document>) {
        let Some(content_line) = self.content_line else { return };
        let range = self.start..end;
        let notation = match self.problem {
            Some(problem) => Notation::Invalid(Box::new(problem)),
            None => json_within_yaml(content(&text[range.clone()]), content_line),
        };
        documents.push(Document { range, line: self.line, content_line, notation });
    }
}

/// Splits the sequence of JSON values at the start of a text. Returns the position where YAML starts.
fn split_json(text: &str, start: usize, documents: &mut Vec<Document>) -> usize {
    let json = text[start..].trim_end_matches(BLANK);
    let mut values = serde_json::Deserializer::from_str(json).into_iter::<&RawValue>();
    let mut lines = LineCount::new(json, 1);
    let mut read_to = 0;
    while let Some(value) = values.next() {
        match value {
            Ok(value) => {
                read_to = values.byte_offset();
                let value_start = read_to - value.get().len();
                let line = lines.at(value_start);
                let range = start + value_start..start + read_to;
                documents.push(Document { range, line, content_line: line, notation: Notation::Json });
            }
            Err(error) => {
                let rest = &json[read_to..];
                let content = content(rest);
                if content.is_empty() {
                    break;
                }
                let content_line = lines.at(json.len() - content.len());
                if documents.len() > 1 {
                    let message = match json_mistake(&error, json) {
                        Some(mistake) => format!("invalid JSON: {mistake}"),
                        None => "after several JSON objects, kubectl only reads JSON; separate all documents by `---`"
                            .to_owned(),
                    };
                    let notation = Notation::Invalid(Box::new(Problem::at(error.line(), message)));
                    let range = start + json.len() - content.len()..text.len();
                    documents.push(Document { range, line: content_line, content_line, notation });
                    break;
                }
                // If the rest of the line of the last value is blank, it belongs to no document.
                let blank = rest.len() - rest.trim_start_matches(BLANK).len();
                let begin = memchr(b'\n', &rest.as_bytes()[..blank]).map_or(blank, |end| end + 1);
                return if documents.is_empty() { 0 } else { start + read_to + begin };
            }
        }
    }
    text.len()
}

/// Returns the format of a document that kubectl reads as YAML. A document that looks like JSON is rejected for
/// mistakes that would have another meaning in YAML.
fn json_within_yaml(content: &str, line: usize) -> Notation {
    if !content.starts_with(['{', '[']) {
        return Notation::Yaml { as_json: None };
    }
    let content = content.trim_end_matches(BLANK);
    let Some(Err(error)) = serde_json::Deserializer::from_str(content).into_iter::<IgnoredAny>().next() else {
        return Notation::Yaml { as_json: None };
    };
    let error_line = line + error.line().saturating_sub(1);
    match json_mistake(&error, content) {
        Some(mistake) => Notation::Invalid(Box::new(Problem::at(error_line, format!("invalid JSON: {mistake}")))),
        None => Notation::Yaml { as_json: Some(Box::new(Problem::at(error_line, explain::json_syntax(&error)))) },
    }
}

/// Returns the message about a comment or trailing comma in JSON. The message of the parser is about the next
/// character.
fn json_mistake(error: &serde_json::Error, json: &str) -> Option<&'static str> {
    let lines_before: usize = json.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
    let position = (lines_before + error.column()).min(json.len()).saturating_sub(1);
    let (before, after) = json.as_bytes().split_at(position);
    let last = before.iter().rev().find(|byte| !byte.is_ascii_whitespace());
    match (last, after) {
        (_, [b'/', b'/' | b'*', ..]) => Some("JSON has no comments; remove the comment"),
        (Some(b','), [b']' | b'}', ..]) => Some("trailing comma; remove the comma before the closing bracket"),
        _ => None,
    }
}

/// Returns a document without the separator, blank lines and comments at its start.
pub(crate) fn content(document: &str) -> &str {
    let mut rest = document.strip_prefix(BYTE_ORDER_MARK).unwrap_or(document);
    if rest.starts_with("---") && rest[3..].starts_with(BLANK) {
        rest = &rest[3..];
    }
    loop {
        rest = rest.trim_start_matches(BLANK);
        if !rest.starts_with('#') {
            return rest;
        }
        rest = memchr(b'\n', rest.as_bytes()).map_or("", |end| &rest[end..]);
    }
}

/// Returns the rest of a line that separates documents.
fn after_separator(line: &str) -> Option<&str> {
    line.strip_prefix("---")
}

fn is_blank_or_comment(line: &str) -> bool {
    let content = line.trim_start_matches([' ', '\t', '\r']);
    content.is_empty() || content.starts_with('#')
}

/// A line of a text.
pub(crate) struct Line<'a> {
    /// The offset of its first byte.
    pub start: usize,
    /// The number, from 1.
    pub number: usize,
    /// The text, without the line feed.
    pub text: &'a str,
}

/// An iterator over the lines of a text.
pub(crate) struct Lines<'a> {
    text: &'a str,
    position: usize,
    number: usize,
}

impl<'a> Lines<'a> {
    /// Creates an iterator over the lines of `text`. The first line has the number 1.
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

/// Counts the lines of a text from start to end.
pub(crate) struct LineCount<'a> {
    text: &'a str,
    position: usize,
    line: usize,
}

impl<'a> LineCount<'a> {
    /// Creates a counter for `text`, whose first line has the number `line`.
    pub fn new(text: &'a str, line: usize) -> Self {
        Self { text, position: 0, line }
    }

    /// Returns the line of the byte at `position`, which must not be before the previous position.
    pub fn at(&mut self, position: usize) -> usize {
        let bytes = self.text.as_bytes();
        let position = position.clamp(self.position, bytes.len());
        self.line += memchr::memchr_iter(b'\n', &bytes[self.position..position]).count();
        self.position = position;
        self.line
    }

    /// Returns the line of a slice of the text, or `None` if it is not a slice of the text.
    pub fn line_of(&mut self, part: &str) -> Option<usize> {
        let offset = self.offset(part)?;
        Some(self.at(offset))
    }

    /// Returns the line of the opening brace of the map with this first key.
    pub fn line_of_brace_before(&mut self, key: &str) -> Option<usize> {
        let before = self.text.get(..self.offset(key)?)?.strip_suffix('"')?;
        let before = before.trim_end_matches(BLANK);
        before.ends_with('{').then(|| self.at(before.len() - 1))
    }

    fn offset(&self, part: &str) -> Option<usize> {
        let offset = (part.as_ptr() as usize).checked_sub(self.text.as_ptr() as usize)?;
        (offset <= self.text.len()).then_some(offset)
    }
}
