//! Parses YAML to a tree, in one pass over the events of the parser.
//!
//! The syntax is that of libyaml, of which the YAML library of kubectl is a port.

use std::io::Read as _;

use libyaml_safer::{Error, EventData, MappingStyle, Parser, ScalarStyle, SequenceStyle};
use memchr::memmem;

use crate::explain;
use crate::options::Limits;
use crate::problem::Problem;
use crate::tree::{Builder, Scalar, Tree};
use crate::{scalar, split};

/// Parses a document. `first_line` is the line of the file in which the text starts.
pub(crate) fn parse(text: &str, first_line: usize, limits: &Limits) -> Result<Tree, Problem> {
    if text.len() > limits.document_bytes {
        return Err(Problem::at(
            first_line,
            format!(
                "the document has {} MiB; at most {} MiB are allowed; split it with `---`, or, if it is a list, use the format \
                 of `kubectl get -o yaml` or `-o json`",
                text.len() >> 20,
                limits.document_bytes >> 20
            ),
        ));
    }
    let content = split::content(text);
    if content.starts_with('%') {
        // The parser also compares every directive with all others.
        let line = first_line + text[..text.len() - content.len()].matches('\n').count();
        return Err(Problem::at(line, "directives (lines that start with %) are not read by kubectl; remove them"));
    }
    let read = || read(text, first_line, limits);
    // The parser could panic, which must not affect the other documents.
    match std::panic::catch_unwind(read) {
        Ok(read) => read,
        Err(_) => Err(Problem::at(first_line, "invalid YAML: the parser failed on this document").of_syntax()),
    }
}

fn read(text: &str, first_line: usize, limits: &Limits) -> Result<Tree, Problem> {
    let lines = LineBreaks::of(text, first_line);
    let mut parser = Parser::new();
    // kubectl terminates the last line, and this parser panics at a block scalar without a line break.
    let end = if text.ends_with('\n') { "" } else { "\n" };
    parser.set_input(text.as_bytes().chain(end.as_bytes()));
    let mut builder = Builder::new(text.len(), limits.expansion_bytes);
    let mut go = GoYaml::new(text);
    let hinted = |problem: Problem| {
        let hint = explain::template_hint(text, problem.line - first_line + 1);
        problem.with(hint)
    };
    loop {
        let event = parser.parse().map_err(|error| problem(&error, text, &lines))?;
        let line = lines.line(event.start_mark.line, event.start_mark.index);
        match event.data {
            EventData::DocumentEnd { implicit: false } => {
                let rest = text.get(event.end_mark.index as usize..).unwrap_or_default();
                let after = split::content(rest);
                if !after.is_empty() {
                    let line = lines.first_line + text[..text.len() - after.len()].matches('\n').count();
                    let message = "kubectl reads nothing after `...`; start the next document with a line `---`";
                    return Err(Problem::at(line, message).of_syntax());
                }
                return Ok(builder.finish());
            }
            EventData::StreamEnd => return Ok(builder.finish()),
            data => {
                go.check(&data, event.start_mark.index..event.end_mark.index)
                    .map_err(|message| Problem::at(line, message).of_syntax())?;
                add(&mut builder, data, line).map_err(hinted)?;
            }
        }
    }
}

fn add(builder: &mut Builder, data: EventData, line: usize) -> Result<(), Problem> {
    match data {
        EventData::Scalar { anchor, tag, value, plain_implicit, .. } => {
            let is_merge = value == "<<" && (plain_implicit || tag.as_deref() == Some("tag:yaml.org,2002:merge"));
            if builder.awaits_key() && is_merge {
                builder.merge_key(line);
                return Ok(());
            }
            let is_binary = tag.as_deref() == Some("tag:yaml.org,2002:binary");
            let value =
                if is_binary { scalar::binary(&value).map_err(|message| Problem::at(line, message))? } else { value };
            let scalar = scalar::resolve(&value, tag.as_deref(), plain_implicit)
                .map_err(|message| Problem::at(line, message))?;
            if builder.awaits_key() {
                let mut buffer = String::new();
                let key = scalar::key(scalar, &mut buffer)
                    .ok_or_else(|| Problem::at(line, format!("the key {value:?} is not a string; put it in quotes")))?;
                builder.key(key, line)?;
                if let Some(anchor) = anchor {
                    builder.anchor_key(anchor, key);
                }
                return Ok(());
            }
            if let Scalar::Float(number) = scalar
                && !number.is_finite()
            {
                return Err(Problem::at(line, format!("the number {value} is not finite; put it in quotes")));
            }
            builder.scalar(scalar, line, anchor);
            Ok(())
        }
        EventData::Alias { anchor } if builder.awaits_key() => builder.alias_key(&anchor, line),
        EventData::Alias { anchor } => builder.alias(&anchor, line),
        EventData::SequenceStart { anchor, .. } => builder.start(false, line, anchor),
        EventData::MappingStart { anchor, .. } => builder.start(true, line, anchor),
        EventData::SequenceEnd | EventData::MappingEnd => builder.end(),
        EventData::StreamStart { .. }
        | EventData::DocumentStart { .. }
        | EventData::DocumentEnd { .. }
        | EventData::StreamEnd => Ok(()),
    }
}

/// Rejects syntax that libyaml accepts, but its port to Go, which kubectl uses, does not.
/// <https://github.com/yaml/go-yaml/blob/v2.4.4/scannerc.go>
struct GoYaml<'t> {
    text: &'t str,
    /// Whether the text may contain the escape `\/`.
    may_escape_slash: bool,
    /// The number of open brackets.
    depth: usize,
}

impl<'t> GoYaml<'t> {
    fn new(text: &'t str) -> Self {
        Self { text, may_escape_slash: memmem::find(text.as_bytes(), br"\/").is_some(), depth: 0 }
    }

    /// Validates an event. `range` is its range in the text.
    fn check(&mut self, data: &EventData, range: std::ops::Range<u64>) -> Result<(), &'static str> {
        match data {
            EventData::SequenceStart { style, .. } if self.depth > 0 || *style == SequenceStyle::Flow => {
                self.depth += 1
            }
            EventData::MappingStart { style, .. } if self.depth > 0 || *style == MappingStyle::Flow => self.depth += 1,
            EventData::SequenceEnd | EventData::MappingEnd => self.depth = self.depth.saturating_sub(1),
            EventData::Scalar { style: ScalarStyle::Plain, value, .. } if self.depth > 0 && value.contains('?') => {
                return Err("invalid YAML: within brackets, a string with a question mark must be in quotes");
            }
            EventData::Scalar { style: ScalarStyle::DoubleQuoted, .. } if self.may_escape_slash => {
                let text = self.text.get(range.start as usize..range.end as usize).unwrap_or_default();
                let mut rest = text.bytes();
                while let Some(byte) = rest.next() {
                    if byte == b'\\' && rest.next() == Some(b'/') {
                        return Err(
                            "invalid YAML: YAML has no escape `\\/`; write `/`. A document is JSON only at the start of a file",
                        );
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// The line numbers of a text, as shown in editors. The parser also counts line breaks of YAML that editors ignore.
struct LineBreaks {
    first_line: usize,
    /// The positions of the line ends, if the line numbers of the parser are wrong.
    ends: Option<Vec<u64>>,
}

impl LineBreaks {
    fn of(text: &str, first_line: usize) -> Self {
        let ends = || memchr::memchr_iter(b'\n', text.as_bytes()).map(|end| end as u64).collect();
        Self { first_line, ends: has_other_line_breaks(text).then(ends) }
    }

    /// Returns the line of a mark of the parser.
    fn line(&self, line: u64, index: u64) -> usize {
        self.first_line
            + match &self.ends {
                None => line as usize,
                Some(ends) => ends.partition_point(|end| *end < index),
            }
    }
}

/// Reports whether a text contains line breaks of YAML that are not line breaks in editors.
pub(crate) fn has_other_line_breaks(text: &str) -> bool {
    let bytes = text.as_bytes();
    let has = |part: &str| memmem::find(bytes, part.as_bytes()).is_some();
    let has_lone_return = || memchr::memchr_iter(b'\r', bytes).any(|at| bytes.get(at + 1) != Some(&b'\n'));
    !text.is_ascii() && (has("\u{85}") || has("\u{2028}") || has("\u{2029}")) || has_lone_return()
}

/// Converts an error of the parser.
fn problem(error: &Error, text: &str, lines: &LineBreaks) -> Problem {
    let message = error.problem();
    let Some(mark) = error.problem_mark() else {
        return forbidden_character(text, lines.first_line)
            .unwrap_or_else(|| Problem::at(lines.first_line, format!("invalid YAML: {message}")))
            .of_syntax();
    };
    let line = lines.line(mark.line, mark.index);
    // An unclosed quote or bracket is detected at the end of the text, after its last line.
    let last_line = lines.first_line + text.trim_end().matches('\n').count();
    let line = line.min(last_line);
    Problem::at(line, explain::syntax(message, text, line - lines.first_line + 1)).of_syntax()
}

fn forbidden_character(text: &str, first_line: usize) -> Option<Problem> {
    let (position, character) = text.char_indices().find(|(_, character)| is_forbidden(*character))?;
    let code = u32::from(character);
    let line = first_line + text[..position].matches('\n').count();
    Some(Problem::at(
        line,
        format!(
            "the control character U+{code:04X} is not allowed in YAML; remove it or write it as an escape in double quotes"
        ),
    ))
}

/// Reports whether a character is not allowed in YAML, even in quotes.
fn is_forbidden(character: char) -> bool {
    let is_allowed_control = matches!(character, '\t' | '\n' | '\r' | '\u{85}');
    character.is_control() && !is_allowed_control || matches!(character, '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}
