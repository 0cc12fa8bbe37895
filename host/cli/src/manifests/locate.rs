//! Finds the line of a value in a text, by the JSON Pointer to it.

use std::borrow::Cow;

use saphyr_parser::{Event, Parser};

use super::nesting;

/// Deeper documents are not looked through: the parser's time grows with the square of the nesting.
const DEEPEST: usize = 500;

/// The lines of all values of a document.
///
/// A pointer is kept as its hash alone. Two pointers with one hash would show somebody a wrong line, and nothing worse.
#[derive(Debug, Default)]
pub(super) struct Places(Vec<(PointerHash, usize)>);

impl Places {
    /// Looks through a document, in YAML or JSON, as far as it can be parsed.
    pub fn of(text: &str) -> Self {
        let mut places = Self::default();
        if nesting::may_be_deeper_than(text, DEEPEST) && nesting::deeper_than(text, DEEPEST).is_some() {
            return places;
        }
        let is_json = text.starts_with(['{', '[']);
        // JSON holds tabs only between its tokens, where YAML does not take all of them.
        let text = if is_json { Cow::Owned(text.replace('\t', " ")) } else { Cow::Borrowed(text) };
        places.look_through(&text);
        places.0.sort_unstable();
        places
    }

    /// The line of the value.
    pub fn line(&self, pointer: &str) -> Option<usize> {
        self.line_of_hash(PointerHash::of(pointer))
    }

    /// The line of a field of the value at `pointer`; that of the closest value around the field where it does not exist.
    pub fn line_below(&self, pointer: &str, mut field: &str) -> Option<usize> {
        let object = PointerHash::of(pointer);
        while !field.is_empty() {
            if let Some(line) = self.line_of_hash(object.with(field)) {
                return Some(line);
            }
            field = field.rsplit_once('/')?.0;
        }
        None
    }

    /// The last line of the value: where a key stands twice, that of the second one.
    pub fn last_line(&self, pointer: &str) -> Option<usize> {
        let hash = PointerHash::of(pointer);
        let end = self.0.partition_point(|(known, _)| *known <= hash);
        self.0[..end].last().filter(|(known, _)| *known == hash).map(|(_, line)| *line)
    }

    fn line_of_hash(&self, hash: PointerHash) -> Option<usize> {
        let found = self.0.binary_search_by_key(&hash, |(hash, _)| *hash).ok()?;
        Some(self.0[found].1)
    }

    fn look_through(&mut self, text: &str) {
        let mut parser = Parser::new_from_str(text);
        let mut open: Vec<Collection> = Vec::new();
        let mut documents = 0;
        while let Some(Ok((event, span))) = parser.next_event() {
            let line = span.start.line();
            match event {
                Event::DocumentStart(_) => {
                    documents += 1;
                    if documents > 1 {
                        return;
                    }
                }
                Event::Scalar(text, ..) => {
                    if let Some(Collection::Map { map, key: key @ None }) = open.last_mut() {
                        let hash = map.map(|map| map.child(&escape(&text)));
                        *key = Some(hash);
                        self.0.extend(hash.map(|hash| (hash, line)));
                    } else {
                        self.enter(&mut open, line);
                    }
                }
                Event::Alias(_) => {
                    if let Some(Collection::Map { key: key @ None, .. }) = open.last_mut() {
                        *key = Some(None);
                    } else {
                        self.enter(&mut open, line);
                    }
                }
                Event::SequenceStart(..) => {
                    let list = self.enter(&mut open, line);
                    open.push(Collection::List { list, next: 0 });
                }
                Event::MappingStart(..) => {
                    let map = self.enter(&mut open, line);
                    open.push(Collection::Map { map, key: None });
                }
                Event::SequenceEnd | Event::MappingEnd => {
                    open.pop();
                }
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
            }
        }
    }

    /// Starts a value: gives its pointer and leaves the collection around it ready for the next one.
    fn enter(&mut self, open: &mut [Collection], line: usize) -> Option<PointerHash> {
        match open.last_mut() {
            None => {
                let root = PointerHash::ROOT;
                self.0.push((root, line));
                Some(root)
            }
            Some(Collection::List { list, next }) => {
                let hash = list.map(|list| list.child(&next.to_string()));
                self.0.extend(hash.map(|hash| (hash, line)));
                *next += 1;
                hash
            }
            // A list or map as a key: no pointer leads there or to its value.
            Some(Collection::Map { key: key @ None, .. }) => {
                *key = Some(None);
                None
            }
            Some(Collection::Map { key, .. }) => key.take().flatten(),
        }
    }
}

/// A list or map that is not closed yet. Within the keys of maps there are no pointers.
enum Collection {
    List {
        list: Option<PointerHash>,
        next: usize,
    },
    Map {
        map: Option<PointerHash>,
        /// The pointer that the next value belongs to; none while a key is awaited.
        key: Option<Option<PointerHash>>,
    },
}

/// The FNV-1a hash of a JSON Pointer: that of a child continues that of its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct PointerHash(u64);

impl PointerHash {
    const ROOT: Self = Self(0xcbf2_9ce4_8422_2325);

    fn of(pointer: &str) -> Self {
        Self::ROOT.with(pointer)
    }

    fn child(self, segment: &str) -> Self {
        self.with("/").with(segment)
    }

    fn with(self, text: &str) -> Self {
        Self(text.bytes().fold(self.0, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)))
    }
}

/// The JSON Pointer for a path such as `spec.containers[0]`, in which no key has dots or brackets.
pub(super) fn pointer_of_path(path: &str) -> String {
    path.split(['.', '['])
        .filter(|part| !part.is_empty())
        .map(|part| format!("/{}", escape(part.trim_end_matches(']'))))
        .collect::<String>()
}

/// A key as JSON Pointers write it.
pub(super) fn escape(key: &str) -> Cow<'_, str> {
    if key.contains(['~', '/']) { Cow::Owned(key.replace('~', "~0").replace('/', "~1")) } else { Cow::Borrowed(key) }
}
