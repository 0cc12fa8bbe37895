//! One document, or one item of a list, as an object: strictly what is to be judged, leniently everything else.

use kube_devops_core::object::{ExtractError, Object, is_builtin_workload};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_norway::Value;
use serde_path_to_error::Segment;

use super::problem::Problem;
use super::shape::Shape;
use super::split::LineCount;
use super::{Limits, explain, guard, locate};

/// The most rounds of merging: a merged map can bring a merge key of its own.
const MOST_MERGES: usize = 32;

/// The deepest nesting of lists in lists whose items are told apart.
const DEEPEST_LIST: usize = 4;

/// What a text holds.
#[derive(Debug)]
pub(super) enum Parsed {
    /// An object that is judged, or that only extraction knows to ignore.
    Object(Box<Object>),
    /// Something of this kind, which is no workload; the kind may be empty.
    Ignored(String),
    /// The items of a list that does not parse as a whole.
    Items {
        /// The kind of items that name none.
        implied_kind: String,
        /// The items.
        items: Vec<Result<Parsed, Problem>>,
    },
}

/// How a piece of text has to be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece<'a> {
    /// The text.
    pub text: &'a str,
    /// Whether the text is an item of a list, with its dash.
    pub is_item: bool,
    /// The kind of an object that names none.
    pub implied_kind: &'a str,
}

impl Piece<'_> {
    fn read<T: DeserializeOwned>(&self) -> Result<T, serde_norway::Error> {
        if self.is_item {
            serde_norway::from_str::<[T; 1]>(self.text).map(|[item]| item)
        } else {
            serde_norway::from_str(self.text)
        }
    }

    /// Parses the piece as YAML.
    pub fn parse_yaml(&self, limits: &Limits) -> Result<Parsed, Problem> {
        guard::check(self.text, limits)?;
        if guard::may_merge(self.text) {
            return self.parse_merged();
        }
        let error = match self.read::<Object>() {
            Ok(object) => return Ok(Parsed::Object(Box::new(object))),
            Err(error) => error,
        };
        let shape: Shape = self.read().map_err(|error| explain::yaml(&error, self.text).of_syntax())?;
        if shape.is_list() {
            return self.parse_merged();
        }
        self.refuse_or_ignore(&shape, || explain::yaml(&error, self.text))
    }

    /// Parses the piece as YAML with merge keys, or item by item, on the way over a tree of values.
    fn parse_merged(&self) -> Result<Parsed, Problem> {
        let mut value: Value = self.read().map_err(|error| explain::yaml(&error, self.text).of_syntax())?;
        for _ in 0..MOST_MERGES {
            if !has_merge_key(&value) {
                break;
            }
            value.apply_merge().map_err(|error| {
                Problem::new(format!("a merge key (<<) is not followed by a map or a list of maps: {error}"))
            })?;
        }
        let places = locate::Places::of(self.text);
        let start = if self.is_item { "/0" } else { "" };
        self.parse_value(&value, start, &places)
    }

    /// `at` is the JSON Pointer from the text to the value.
    fn parse_value(&self, value: &Value, at: &str, places: &locate::Places) -> Result<Parsed, Problem> {
        let error = match serde_path_to_error::deserialize::<_, Object>(value) {
            Ok(object) => return Ok(Parsed::Object(Box::new(object))),
            Err(error) => error,
        };
        let shape = Shape::deserialize(value).map_err(|error| explain::yaml(&error, self.text))?;
        if let Some(Value::Sequence(items)) = value.get("items").filter(|_| shape.is_list()) {
            let implied_kind = shape.kind().trim_end_matches("List");
            let piece = Piece { implied_kind, ..*self };
            let parse = |(index, item)| piece.parse_value(item, &format!("{at}/items/{index}"), places);
            let items = items.iter().enumerate().map(parse).collect();
            return Ok(Parsed::Items { implied_kind: implied_kind.to_owned(), items });
        }
        self.refuse_or_ignore(&shape, || {
            let line = places.line_below(at, &pointer(error.path())).or_else(|| places.line(at)).unwrap_or(1);
            Problem::at(line, in_path(&error) + explain::template_hint(self.text, line))
        })
    }

    /// Parses the piece as JSON.
    pub fn parse_json(&self) -> Result<Parsed, Problem> {
        self.parse_json_at(0)
    }

    /// Parses the items of a list each by itself.
    fn parse_json_items(&self, list: &JsonList<'_>, depth: usize) -> Parsed {
        let implied_kind = list.kind.trim_end_matches("List");
        let mut lines = LineCount::new(self.text, 1);
        let parse = |item: &&RawValue| {
            let piece = Piece { text: item.get(), implied_kind, ..*self };
            let line = lines.at(item.get().as_ptr() as usize - self.text.as_ptr() as usize);
            piece.parse_json_at(depth + 1).map_err(|problem| problem.counted_from(line))
        };
        let items = list.items.iter().map(parse).collect();
        Parsed::Items { implied_kind: implied_kind.to_owned(), items }
    }

    fn parse_json_at(&self, depth: usize) -> Result<Parsed, Problem> {
        if let Ok(object) = serde_json::from_str::<Object>(self.text) {
            return Ok(Parsed::Object(Box::new(object)));
        }
        // Parsed once more with an account of the path, which would slow down what is right.
        let mut deserializer = serde_json::Deserializer::from_str(self.text);
        let error = match serde_path_to_error::deserialize::<_, Object>(&mut deserializer) {
            Ok(object) => return Ok(Parsed::Object(Box::new(object))),
            Err(error) => error,
        };
        if let Some(list) = JsonList::of(self.text) {
            if depth == DEEPEST_LIST {
                return Err(Problem::new(ExtractError::TooDeep.to_string()));
            }
            return Ok(self.parse_json_items(&list, depth));
        }
        let line = error.inner().line().max(1);
        let shape: Shape = serde_json::from_str(self.text)
            .map_err(|error| Problem::at(error.line().max(1), explain::json_syntax(&error)))?;
        self.refuse_or_ignore(&shape, || Problem::at(line, in_path(&error)))
    }

    /// What is no proper object is an error where pods come from it, and none of our business otherwise.
    fn refuse_or_ignore(&self, shape: &Shape, problem: impl FnOnce() -> Problem) -> Result<Parsed, Problem> {
        let kind = if shape.kind().is_empty() { self.implied_kind } else { shape.kind() };
        if is_builtin_workload(kind) || !kind.is_empty() && shape.has_pod_template() {
            let problem = problem();
            return Err(Problem::at(
                problem.line,
                format!("{} is not as Kubernetes wants it: {}", shape.title(kind), problem.message),
            ));
        }
        Ok(Parsed::Ignored(kind.to_owned()))
    }
}

/// The items of a list in JSON, not looked into yet.
#[derive(Deserialize)]
pub(super) struct JsonList<'a> {
    /// The kind of the list.
    pub kind: String,
    /// The texts of the items.
    #[serde(borrow)]
    pub items: Vec<&'a RawValue>,
}

impl<'a> JsonList<'a> {
    /// The list that the text holds, if it is one.
    pub fn of(text: &'a str) -> Option<Self> {
        memchr::memmem::find(text.as_bytes(), b"\"items\"")?;
        serde_json::from_str::<JsonList<'a>>(text).ok().filter(|list| list.kind.ends_with("List"))
    }
}

fn has_merge_key(value: &Value) -> bool {
    match value {
        Value::Mapping(mapping) => mapping.contains_key("<<") || mapping.values().any(has_merge_key),
        Value::Sequence(items) => items.iter().any(has_merge_key),
        Value::Tagged(tagged) => has_merge_key(&tagged.value),
        _ => false,
    }
}

fn in_path<E: std::fmt::Display>(error: &serde_path_to_error::Error<E>) -> String {
    let path = error.path().to_string();
    let said = explain::without_places(&error.inner().to_string());
    explain::value(&if path == "." { said } else { format!("{path}: {said}") })
}

/// The JSON Pointer that is written like `spec.containers[0]` elsewhere.
fn pointer(path: &serde_path_to_error::Path) -> String {
    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
            Segment::Map { key } => pointer.push_str(&format!("/{}", locate::escape(key))),
            Segment::Enum { .. } | Segment::Unknown => break,
        }
    }
    pointer
}
