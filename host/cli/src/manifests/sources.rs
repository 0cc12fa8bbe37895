//! The texts that subjects were read from, kept to find lines in them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use kube_devops_core::Source;

use super::list::Item;
use super::locate::Places;
use super::split::{Document, Notation};

/// How many documents are kept looked through. Violations come sorted by object, so that most ask for the same as before.
const KEPT: usize = 16;

/// A file and its documents.
#[derive(Debug)]
pub(super) struct File {
    /// The name, as sources give it.
    pub name: Arc<str>,
    /// All of its text.
    pub text: String,
    /// Its documents, the first of which has the number 1.
    pub documents: Vec<Document>,
    /// The items of lists that were split, by the number of the document.
    pub items: BTreeMap<usize, Vec<Item>>,
}

/// All files with subjects in them.
#[derive(Debug, Default)]
pub(super) struct Sources {
    files: HashMap<Arc<str>, File>,
    recent: Mutex<Vec<(Key, Arc<Places>)>>,
}

/// File, document and, where the document was split, the item.
type Key = (Arc<str>, usize, Option<usize>);

/// A text that is looked through by itself.
struct Part<'a> {
    text: &'a str,
    first_line: usize,
    item: Option<usize>,
    /// JSON Pointer from the text to the object.
    pointer: String,
}

impl Sources {
    pub fn add(&mut self, file: File) {
        self.files.insert(file.name.clone(), file);
    }

    /// The line of a field of the object that came from `source`.
    pub fn line_of(&self, source: &Source, field: &str) -> usize {
        if field.is_empty() {
            return source.line;
        }
        self.part(source).and_then(|part| self.find(source, &part, field)).unwrap_or(source.line)
    }

    fn find(&self, source: &Source, part: &Part<'_>, field: &str) -> Option<usize> {
        let places = self.places((source.file.clone(), source.document, part.item), part.text);
        let line = places.line_below(&part.pointer, field)?;
        Some(line + part.first_line - 1)
    }

    fn places(&self, key: Key, text: &str) -> Arc<Places> {
        let kept = |recent: &Vec<(Key, Arc<Places>)>| {
            recent.iter().rev().find(|(known, _)| *known == key).map(|(_, places)| places.clone())
        };
        if let Some(places) = kept(&self.recent.lock().unwrap_or_else(PoisonError::into_inner)) {
            return places;
        }
        // Looked through without the lock, so that others can do the same with other documents.
        let places = Arc::new(Places::of(text));
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() == KEPT {
            recent.remove(0);
        }
        recent.push((key, places.clone()));
        places
    }

    fn part(&self, source: &Source) -> Option<Part<'_>> {
        let file = self.files.get(&source.file)?;
        let document = file.documents.get(source.document.checked_sub(1)?)?;
        let text = file.text.get(document.range.clone())?;
        let Some((items, pointer)) = file.items.get(&source.document).zip(source.pointer.strip_prefix("/items/"))
        else {
            return Some(Part { text, first_line: document.line, item: None, pointer: source.pointer.clone() });
        };
        let (index, rest) = pointer.split_at(pointer.find('/').unwrap_or(pointer.len()));
        let index: usize = index.parse().ok()?;
        let item = items.get(index)?;
        // An item in YAML stands there with its dash, as a list of one.
        let list = if document.notation == Notation::Json { "" } else { "/0" };
        Some(Part {
            text: text.get(item.range.clone())?,
            first_line: item.line + document.line - 1,
            item: Some(index),
            pointer: format!("{list}{rest}"),
        })
    }
}
