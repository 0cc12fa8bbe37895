//! Conversion of a document to subjects and errors.

use rayon::prelude::*;

use crate::found::{Found, Parts};
use crate::list::Item as ListItem;
use crate::options::Limits;
use crate::problem::Problem;
use crate::reader::Reader;
use crate::split::{Document, LineCount, Notation};
use crate::tree::{Item, Tree};
use crate::walk::{Parent, Walk};
use crate::{json, list, split, walk, yaml};

/// The number of documents or items of a list in a task for a core. Separate results for each would need too much
/// memory.
pub(crate) const BATCH: usize = 16;

impl Reader<'_> {
    /// Reads the document, and adds the results to `parts`.
    pub fn read(&self, parts: &mut Parts) {
        let text = &self.text[self.document.range.clone()];
        match &self.document.notation {
            Notation::Invalid(problem) => parts.add(self.problem(Problem::clone(problem))),
            Notation::Json => match json::List::of(text) {
                Some(list) => parts.append(self.read_json_list(text, &list)),
                None => {
                    let line = self.document.line;
                    parts.add(self.read_tree(json::parse(text, line), Parent::default(), line, false));
                }
            },
            Notation::Yaml { as_json } => match self.read_yaml_list(text) {
                Some(list) => parts.append(list),
                None => parts.add(self.read_whole_yaml(text, as_json.as_deref())),
            },
        }
    }

    /// Reads a document in YAML that is not split.
    pub fn read_whole_yaml(&self, text: &str, as_json: Option<&Problem>) -> Found {
        let tree = whole_yaml(text, self.document.line, as_json, &self.options.limits);
        self.read_tree(tree, Parent::default(), self.document.content_line, false)
    }

    fn read_json_list(&self, text: &str, list: &json::List<'_>) -> Parts {
        let line = self.document.line;
        let parent = Parent::default().items_of(&list.api_version, &list.kind);
        let mut lines = LineCount::new(text, line);
        let items: Vec<_> =
            list.items.iter().map(|item| (item.get(), lines.line_of(item.get()).unwrap_or(line))).collect();
        let read = |&(item, line): &(&str, usize)| self.read_tree(json::parse(item, line), parent, line, false);
        items.par_chunks(BATCH).map(|items| read_each(items, read)).collect()
    }

    /// Reads a list in YAML item by item, or as a whole if the items depend on each other. Returns `None` if the text
    /// cannot be split.
    fn read_yaml_list(&self, text: &str) -> Option<Parts> {
        let limits = &self.options.limits;
        let list = list::split(text)?;
        let rest = yaml::parse(&list.rest, self.document.line, limits).ok()?;
        let rest = rest.root().filter(|rest| rest.get("items").is_some_and(Item::is_null))?;
        let parent = walk::parent_of_items(rest, self.document.content_line)?;
        let read = |item: &ListItem| {
            let line = item.line + self.document.line - 1;
            let tree = yaml::parse(&text[item.range.clone()], line, limits);
            self.read_tree(tree, parent, line, true)
        };
        let parts: Parts = list.items.par_chunks(BATCH).map(|items| read_each(items, read)).collect();
        // An item that is invalid on its own may be valid as a part of the list: for example, it can use anchors of
        // other items.
        let whole = if parts.are_broken() { yaml::parse(text, self.document.line, limits).ok() } else { None };
        Some(match whole {
            Some(tree) => {
                Parts::from_iter([self.read_tree(Ok(tree), Parent::default(), self.document.content_line, false)])
            }
            None => parts,
        })
    }

    /// Reads the value of a tree. With `is_item`, the tree is a list with a single item, whose line is used.
    fn read_tree(&self, tree: Result<Tree, Problem>, parent: Parent<'_>, line: usize, is_item: bool) -> Found {
        let tree = match tree {
            Ok(tree) => tree,
            Err(problem) => return self.problem(problem),
        };
        if is_item && tree.root().is_none_or(|list| list.items().count() != 1) {
            return self.problem(Problem::at(line, "invalid YAML: this is not one item of a list").of_syntax());
        }
        let mut found = Found::default();
        let root = tree.root().and_then(|root| if is_item { root.items().next() } else { Some(root) });
        if let Some(root) = root {
            let line = if is_item { root.line() } else { line };
            let expansion = self.options.limits.expansion_bytes;
            let mut walk = Walk { reader: self, found: &mut found, has_braces: tree.may_hold("{{"), expansion };
            if let Err(problem) = walk.value(root, parent, line) {
                walk.error(problem);
            }
        }
        found
    }

    fn problem(&self, problem: Problem) -> Found {
        let mut found = Found { is_broken: problem.is_syntax, ..Found::default() };
        found.errors.push(self.error(problem));
        found
    }
}

/// Parses a document of a text as a whole.
pub(crate) fn parse(text: &str, document: &Document, limits: &Limits) -> Result<Tree, Problem> {
    let text = &text[document.range.clone()];
    match &document.notation {
        Notation::Invalid(problem) => Err(Problem::clone(problem)),
        Notation::Json => json::parse(text, document.line),
        Notation::Yaml { as_json } => whole_yaml(text, document.line, as_json.as_deref(), limits),
    }
}

fn whole_yaml(text: &str, line: usize, as_json: Option<&Problem>, limits: &Limits) -> Result<Tree, Problem> {
    match (yaml::parse(text, line, limits), as_json) {
        // A quoted key after a brace is probably JSON, so that the error of the JSON parser is more helpful.
        (Err(_), Some(as_json)) if looks_like_json(text) => Err(as_json.clone()),
        (tree, _) => tree,
    }
}

/// Reads each of the items.
fn read_each<T>(items: &[T], read: impl Fn(&T) -> Found) -> Parts {
    let mut parts = Parts::default();
    items.iter().for_each(|item| parts.add(read(item)));
    parts
}

/// Reports whether a text starts like JSON: with a quoted key, or a list of such maps.
fn looks_like_json(text: &str) -> bool {
    let content = split::content(text).trim_start_matches('[').trim_start();
    content.strip_prefix('{').is_some_and(|content| content.trim_start().starts_with(['"', '}']))
}
