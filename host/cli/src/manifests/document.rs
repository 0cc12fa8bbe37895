//! One document as subjects, or as what is wrong with it.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use kube_devops_core::Source;
use kube_devops_core::object::{Context, Extracted, Object};
use kube_devops_core::report::ReportError;
use rayon::prelude::*;
use serde::de::IgnoredAny;

use super::list::{self, Item};
use super::locate::Places;
use super::parse::{JsonList, Parsed, Piece};
use super::problem::Problem;
use super::split::{Document, LineCount, Notation};
use super::{Limits, ReadOptions, guard, split};

/// What was found in a document.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Subjects and what was left out.
    pub extracted: Extracted,
    /// What is wrong.
    pub errors: Vec<ReportError>,
    /// The items of lists that were split, by the number of the document.
    pub items: BTreeMap<usize, Vec<Item>>,
    /// Whether something is not even YAML.
    is_broken: bool,
}

impl Found {
    /// Adds what was found elsewhere.
    pub fn add(&mut self, mut other: Self) {
        add(&mut self.extracted, &mut other.extracted);
        self.errors.append(&mut other.errors);
        self.items.append(&mut other.items);
        self.is_broken |= other.is_broken;
    }
}

/// Adds up two extractions.
pub(super) fn add(to: &mut Extracted, from: &mut Extracted) {
    to.subjects.append(&mut from.subjects);
    to.finished += from.finished;
    for (kind, count) in std::mem::take(&mut from.ignored) {
        *to.ignored.entry(kind).or_default() += count;
    }
}

/// A document and what is needed to read it.
pub(super) struct Reader<'a> {
    /// The text of the whole file.
    pub text: &'a str,
    /// The name of the file.
    pub file: &'a Arc<str>,
    /// The document.
    pub document: &'a Document,
    /// Its number, from 1.
    pub number: usize,
    /// The options of the whole reading.
    pub options: &'a ReadOptions,
}

/// A text that is parsed by itself, and where it comes from.
#[derive(Clone, Copy)]
struct Place<'a> {
    piece: Piece<'a>,
    /// The number of its first line in the file.
    first_line: usize,
    /// The line that stands for it in the file.
    line: usize,
    /// JSON Pointer from the document to it.
    pointer: &'a str,
}

impl Reader<'_> {
    /// Reads the document.
    pub fn read(&self) -> Found {
        let text = &self.text[self.document.range.clone()];
        match &self.document.notation {
            Notation::Json => self.read_json(text),
            Notation::Yaml { as_json } => {
                if let Some(found) = self.read_yaml_list(text) {
                    return found;
                }
                let parsed = self.whole(text).piece.parse_yaml(self.limits());
                let parsed = match (parsed, as_json) {
                    // Who gives a key in quotes behind a brace means JSON, and should hear what is wrong with that.
                    (Err(_), Some(as_json)) if means_json(text) => Err(Problem::clone(as_json)),
                    (parsed, _) => parsed,
                };
                self.found(self.whole(text), parsed)
            }
        }
    }

    fn source(&self, line: usize, pointer: &str) -> Source {
        Source { file: self.file.clone(), document: self.number, line, pointer: pointer.to_owned() }
    }

    fn error(&self, problem: Problem, pointer: &str) -> ReportError {
        ReportError { message: problem.message, check: None, source: Some(self.source(problem.line, pointer)) }
    }

    fn limits(&self) -> &Limits {
        &self.options.limits
    }

    fn whole<'t>(&self, text: &'t str) -> Place<'t> {
        Place {
            piece: Piece { text, is_item: false, implied_kind: "" },
            first_line: self.document.line,
            line: self.document.content_line,
            pointer: "",
        }
    }

    fn read_json(&self, text: &str) -> Found {
        let Some(list) = JsonList::of(text) else {
            return self.found(self.whole(text), self.whole(text).piece.parse_json());
        };
        let implied_kind = list.kind.trim_end_matches("List");
        let mut lines = LineCount::new(text, 1);
        let start = |item: &str| item.as_ptr() as usize - text.as_ptr() as usize;
        let item = |item: &str| {
            let start = start(item);
            Item { range: start..start + item.len(), line: lines.at(start) }
        };
        let items = list.items.iter().map(|raw| raw.get()).map(item).collect();
        self.read_items(text, items, implied_kind, |piece| piece.parse_json(), false)
    }

    /// Reads a list in YAML item by item; none where it cannot be split or the items depend on one another.
    fn read_yaml_list(&self, text: &str) -> Option<Found> {
        let list = list::split(text)?;
        guard::check(&list.rest, self.limits()).ok()?;
        let rest: Object = serde_norway::from_str(&list.rest).ok()?;
        if !rest.kind.ends_with("List") || rest.items.is_some() {
            return None;
        }
        let found = self.read_items(
            text,
            list.items,
            rest.kind.trim_end_matches("List"),
            |piece| piece.parse_yaml(self.limits()),
            true,
        );
        // An item that is broken by itself may be right as a part of the whole: it can use anchors of others, for one.
        let is_right =
            |text| guard::check(text, self.limits()).is_ok() && serde_norway::from_str::<IgnoredAny>(text).is_ok();
        if found.is_broken && is_right(text) { None } else { Some(found) }
    }

    fn read_items(
        &self,
        text: &str,
        items: Vec<Item>,
        implied_kind: &str,
        parse: impl Fn(Piece<'_>) -> Result<Parsed, Problem> + Sync,
        is_item: bool,
    ) -> Found {
        let read = |(index, item): (usize, &Item)| {
            let piece = Piece { text: &text[item.range.clone()], is_item, implied_kind };
            let line = item.line + self.document.line - 1;
            let place = Place { piece, first_line: line, line, pointer: &format!("/items/{index}") };
            self.found(place, parse(piece))
        };
        let parts: Vec<Found> = items.par_iter().enumerate().map(read).collect();
        let mut found = Found::default();
        for part in parts {
            found.add(part);
        }
        found.items.insert(self.number, items);
        found
    }

    fn found(&self, place: Place<'_>, parsed: Result<Parsed, Problem>) -> Found {
        let mut walk = Walk { reader: self, place, places: OnceCell::new(), found: Found::default() };
        let root = Node {
            at: if place.piece.is_item { "/0" } else { "" },
            pointer: place.pointer,
            line: place.line,
            implied_kind: place.piece.implied_kind,
        };
        walk.add(parsed, root);
        walk.found
    }
}

/// Whether the text starts as JSON does, with a key in quotes or a list of such maps.
fn means_json(text: &str) -> bool {
    let content = split::content(text).trim_start_matches('[').trim_start();
    content.strip_prefix('{').is_some_and(|content| content.trim_start().starts_with(['"', '}']))
}

/// The way through what one text holds: an object, or lists of objects.
struct Walk<'a> {
    reader: &'a Reader<'a>,
    place: Place<'a>,
    /// Where the items of lists are; most texts are no lists.
    places: OnceCell<Places>,
    found: Found,
}

/// An object on the way.
#[derive(Clone, Copy)]
struct Node<'a> {
    /// JSON Pointer from the text to it.
    at: &'a str,
    /// JSON Pointer from the document to it.
    pointer: &'a str,
    /// Its line in the file.
    line: usize,
    implied_kind: &'a str,
}

impl Walk<'_> {
    fn add(&mut self, parsed: Result<Parsed, Problem>, node: Node<'_>) {
        match parsed {
            Ok(Parsed::Object(object)) => self.extract(*object, node),
            Ok(Parsed::Ignored(kind)) => *self.found.extracted.ignored.entry(kind).or_default() += 1,
            Ok(Parsed::Items { implied_kind, items }) => {
                self.each(items, Node { implied_kind: &implied_kind, ..node }, Self::add);
            }
            Err(problem) => {
                self.found.is_broken |= problem.is_syntax;
                let problem = problem.counted_from(self.place.first_line);
                self.found.errors.push(self.reader.error(problem, node.pointer));
            }
        }
    }

    fn extract(&mut self, mut object: Object, node: Node<'_>) {
        if object.kind.is_empty() {
            object.kind = node.implied_kind.to_owned();
        }
        // The innermost lists are left to the extraction, which knows where to stop.
        if let Some(items) = object.items.take_if(|_| object.kind.ends_with("List") && node.pointer.is_empty()) {
            let implied_kind = object.kind.trim_end_matches("List");
            self.each(items, Node { implied_kind, ..node }, Self::extract);
            return;
        }
        let options = self.reader.options;
        let context = Context {
            now: options.now,
            default_namespace: options.default_namespace.clone(),
            source: Some(self.reader.source(node.line, "")),
        };
        let before = self.found.extracted.subjects.len();
        let errors = object.extract(&context, &mut self.found.extracted);
        for source in self.found.extracted.subjects[before..].iter_mut().filter_map(|subject| subject.source.as_mut()) {
            source.pointer.insert_str(0, node.pointer);
        }
        for error in errors {
            let problem = Problem::at(node.line, error.to_string());
            self.found.errors.push(self.reader.error(problem, node.pointer));
        }
    }

    /// Goes on with the items of a list.
    fn each<T>(&mut self, items: Vec<T>, list: Node<'_>, then: fn(&mut Self, T, Node<'_>)) {
        for (index, item) in items.into_iter().enumerate() {
            let at = format!("{}/items/{index}", list.at);
            let places = self.places.get_or_init(|| Places::of(self.place.piece.text));
            let line = places.line(&at).map_or(list.line, |line| line + self.place.first_line - 1);
            let pointer = format!("{}/items/{index}", list.pointer);
            then(self, item, Node { at: &at, pointer: &pointer, line, implied_kind: list.implied_kind });
        }
    }
}
