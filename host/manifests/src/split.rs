//! Splits a text into documents, so that each can be parsed by itself and a broken one spoils no other.
//!
//! A YAML document ends at a line `---`, as for kubectl, which looks at lines and not at YAML: `--- {a: b}` is an error, and
//! `...` ends nothing. Only a text that starts with a brace is JSON.

use std::ops::Range;

use kube_devops_core::text::cut;
use memchr::memchr;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::explain;
use crate::problem::Problem;

/// The byte order mark, which some editors put before the text.
const BYTE_ORDER_MARK: &str = "\u{feff}";
/// The spaces of JSON.
const BLANK: [char; 4] = [' ', '\t', '\r', '\n'];

/// How a document is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Notation {
    /// YAML; with what a JSON parser said where it looked like JSON.
    Yaml { as_json: Option<Box<Problem>> },
    /// One JSON value.
    Json,
    /// Neither.
    Invalid(Box<Problem>),
}

/// One document of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Document {
    /// The bytes of the text that hold it.
    pub range: Range<usize>,
    /// The line of the text that it starts in, from 1.
    pub line: usize,
    /// The line of its first content: neither blank nor comment nor the mark of a document.
    pub content_line: usize,
    /// How it is written.
    pub notation: Notation,
}

impl Document {
    /// The same document from its content on, with lines that are counted from there.
    pub fn starting_at_content(&self, text: &str) -> Self {
        let content_start = self.range.end - content(&text[self.range.clone()]).len();
        let start = text[self.range.start..content_start]
            .rfind('\n')
            .map_or(self.range.start, |end| self.range.start + end + 1);
        Self { range: start..self.range.end, line: 1, content_line: 1, notation: self.notation.clone() }
    }
}

/// The documents of a text. What holds only comments is none.
///
/// A text that starts with a brace is JSON, of which one value may follow another; from the first on that is no JSON, it is
/// YAML. Behind a second value kubectl takes nothing but JSON. This is `YAMLOrJSONDecoder` of
/// <https://github.com/kubernetes/apimachinery/blob/v0.37.2/pkg/util/yaml/decoder.go>.
pub(crate) fn documents(text: &str) -> Vec<Document> {
    let mut documents = Vec::new();
    let start = text.len() - text.trim_start_matches(BYTE_ORDER_MARK).len();
    let is_json = text[start..].trim_start().starts_with('{');
    let position = if is_json { split_json(text, start, &mut documents) } else { 0 };
    split_yaml(text, position, &mut documents);
    documents
}

/// Splits what follows `position` at the lines `---`.
fn split_yaml(text: &str, position: usize, documents: &mut Vec<Document>) {
    let mut open: Option<Open> = None;
    let line_before = memchr::memchr_iter(b'\n', &text.as_bytes()[..position]).count();
    for line in Lines::new(&text[position..]) {
        let (start, number) = (position + line.start, line_before + line.number);
        let marked = line.text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line.text);
        let content_start = start + (line.text.len() - marked.len());
        match mark(marked) {
            Some(rest) => {
                let is_separator = open.is_some();
                if let Some(before) = open.take() {
                    before.close(text, start, documents);
                }
                if !is_blank_or_comment(rest) {
                    let message = format!(
                        "invalid document separator: {:?} follows `---`, which kubectl does not read; put it on a line of its own",
                        cut(rest.trim(), 40)
                    );
                    let problem = Some(Problem::at(number, message));
                    open = Some(Open { start: content_start, line: number, content_line: Some(number), problem });
                } else if !is_separator {
                    // kubectl hands this mark to its parser, and so it makes a difference: `...` can follow it.
                    open = Some(Open { start: content_start, line: number, content_line: None, problem: None });
                }
            }
            None => {
                let opened =
                    open.get_or_insert(Open { start: content_start, line: number, content_line: None, problem: None });
                if opened.content_line.is_none() && !is_blank_or_comment(marked) {
                    opened.content_line = Some(number);
                    // A byte order mark is no content, but within a document parsers take it for that.
                    if marked.len() < line.text.len() {
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

/// A document whose end is not found yet.
struct Open {
    start: usize,
    line: usize,
    content_line: Option<usize>,
    /// What is wrong with its separator.
    problem: Option<Problem>,
}

impl Open {
    /// Ends the document. One without content is none.
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

/// Splits the values at the start of a text, of which one follows another. Gives where YAML begins.
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
                        None => "behind several JSON objects, kubectl reads only JSON; separate all documents by `---`"
                            .to_owned(),
                    };
                    let notation = Notation::Invalid(Box::new(Problem::at(error.line(), message)));
                    let range = start + json.len() - content.len()..text.len();
                    documents.push(Document { range, line: content_line, content_line, notation });
                    break;
                }
                // The rest of the line of the last value, if that is blank, belongs to neither.
                let blank = rest.len() - rest.trim_start_matches(BLANK).len();
                let begin = memchr(b'\n', &rest.as_bytes()[..blank]).map_or(blank, |end| end + 1);
                return if documents.is_empty() { 0 } else { start + read_to + begin };
            }
        }
    }
    text.len()
}

/// The notation of a document that kubectl reads as YAML. What looks like JSON is still refused for what is a mistake in JSON and
/// means something else in YAML.
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

/// What is wrong with a text that is not JSON for a comment or a trailing comma. The parser stops at the next character, and
/// says something else of it.
fn json_mistake(error: &serde_json::Error, json: &str) -> Option<&'static str> {
    let lines_before: usize = json.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
    let stopped = (lines_before + error.column()).min(json.len()).saturating_sub(1);
    let (before, behind) = json.as_bytes().split_at(stopped);
    let last = before.iter().rev().find(|byte| !byte.is_ascii_whitespace());
    match (last, behind) {
        (_, [b'/', b'/' | b'*', ..]) => Some("JSON has no comments; remove the comment"),
        (Some(b','), [b']' | b'}', ..]) => Some("trailing comma; remove the comma before the closing bracket"),
        _ => None,
    }
}

/// What is left of a document without its mark, blank lines and comments at the start.
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

/// What follows the mark of a line that separates documents.
fn mark(line: &str) -> Option<&str> {
    line.strip_prefix("---")
}

fn is_blank_or_comment(line: &str) -> bool {
    let content = line.trim_start_matches([' ', '\t', '\r']);
    content.is_empty() || content.starts_with('#')
}

/// A line without its end.
pub(crate) struct Line<'a> {
    /// The offset of its first byte.
    pub start: usize,
    /// The number, from 1.
    pub number: usize,
    /// The text, without the line feed.
    pub text: &'a str,
}

/// The lines of a text, with their offsets.
pub(crate) struct Lines<'a> {
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
pub(crate) struct LineCount<'a> {
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

    /// The line of a part of the text; none of what is no part of it.
    pub fn line_of(&mut self, part: &str) -> Option<usize> {
        let offset = self.offset(part)?;
        Some(self.at(offset))
    }

    /// The line of the brace that opens the map whose first key this is.
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
