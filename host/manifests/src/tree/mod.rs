//! A document as a tree of values, each with its line.
//!
//! All values of a document are in one list and all of its text is in one buffer: an alias is a reference to its
//! target, not a copy, and a document needs few allocations. The tree corresponds to the result of kubectl: scalars
//! have their types, keys are strings, aliases and merge keys are resolved.

mod builder;
mod copy;

use kube_devops_core::lines::{Lines, PointerHash};
use kube_devops_core::pointer::escape;
use memchr::memmem;

pub(crate) use builder::Builder;
pub(crate) use copy::Replacement;

/// The fields that contain one or several containers, in pods and in the templates of Argo and Tekton.
const CONTAINERS: [&str; 6] = ["container", "containers", "initContainers", "script", "sidecars", "steps"];

/// The index of a value in its tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NodeId(u32);

/// A range of the text of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    start: u32,
    end: u32,
}

/// A value. Lists and maps are chains of nodes.
#[derive(Debug, Clone, Copy)]
enum Content {
    Null,
    Bool(bool),
    Integer(i64),
    Unsigned(u64),
    Float(f64),
    Text(Span),
    List(Option<NodeId>),
    Map(Option<NodeId>),
    Alias(NodeId),
}

/// A scalar from a parser.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Scalar<'a> {
    Null,
    Bool(bool),
    Integer(i64),
    Unsigned(u64),
    Float(f64),
    Text(&'a str),
}

#[derive(Debug, Clone, Copy)]
struct Node {
    content: Content,
    /// The line in the file; for an entry of a map, the line of the key.
    line: u32,
    /// The key of an entry of a map.
    key: Option<Span>,
    /// The next node in the same list or map.
    next: Option<NodeId>,
    /// Whether the value comes from a merge key, so that its text is in another place.
    is_merged: bool,
}

/// A document.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tree {
    nodes: Vec<Node>,
    text: String,
}

impl Tree {
    /// Returns the value of the document, or `None` if it is empty.
    pub fn root(&self) -> Option<Item<'_>> {
        (!self.nodes.is_empty()).then(|| Item::new(self, NodeId(0)))
    }

    /// Reports whether a string or key may contain `part`.
    pub fn may_hold(&self, part: &str) -> bool {
        memmem::find(self.text.as_bytes(), part.as_bytes()).is_some()
    }

    fn slice(&self, span: Span) -> &str {
        &self.text[span.start as usize..span.end as usize]
    }

    fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }
}

fn push(text: &mut String, part: &str) -> Span {
    let start = text.len() as u32;
    text.push_str(part);
    Span { start, end: text.len() as u32 }
}

/// A value of a tree. Aliases are resolved.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Item<'t> {
    tree: &'t Tree,
    /// The node of the value, or of its alias.
    at: NodeId,
    content: Content,
}

/// The kind of a value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kind<'t> {
    Scalar(Scalar<'t>),
    List,
    Map,
}

impl<'t> Item<'t> {
    fn new(tree: &'t Tree, at: NodeId) -> Self {
        let mut content = tree.node(at).content;
        while let Content::Alias(target) = content {
            content = tree.node(target).content;
        }
        Self { tree, at, content }
    }

    /// Returns the kind of the value.
    pub fn kind(self) -> Kind<'t> {
        Kind::Scalar(match self.content {
            Content::Null | Content::Alias(_) => Scalar::Null,
            Content::Bool(value) => Scalar::Bool(value),
            Content::Integer(number) => Scalar::Integer(number),
            Content::Unsigned(number) => Scalar::Unsigned(number),
            Content::Float(number) => Scalar::Float(number),
            Content::Text(span) => Scalar::Text(self.tree.slice(span)),
            Content::List(_) => return Kind::List,
            Content::Map(_) => return Kind::Map,
        })
    }

    /// Returns the line in the file; for an entry of a map, the line of the key.
    pub fn line(self) -> usize {
        self.tree.node(self.at).line as usize
    }

    /// Returns the string, if the value is a string.
    pub fn text(self) -> Option<&'t str> {
        match self.content {
            Content::Text(span) => Some(self.tree.slice(span)),
            _ => None,
        }
    }

    /// Reports whether the value is null.
    pub fn is_null(self) -> bool {
        matches!(self.content, Content::Null)
    }

    /// Returns the items of a list; empty for other values.
    pub fn items(self) -> impl Iterator<Item = Self> {
        let first = if let Content::List(first) = self.content { first } else { None };
        self.chain(first)
    }

    /// Returns the entries of a map, in the order of the document; empty for other values.
    pub fn entries(self) -> impl Iterator<Item = (&'t str, Self)> {
        let first = if let Content::Map(first) = self.content { first } else { None };
        self.chain(first).map(move |item| {
            let key = item.tree.node(item.at).key.map_or("", |key| item.tree.slice(key));
            (key, item)
        })
    }

    fn chain(self, first: Option<NodeId>) -> impl Iterator<Item = Self> {
        let tree = self.tree;
        std::iter::successors(first, move |id| tree.node(*id).next).map(move |id| Self::new(tree, id))
    }

    /// Returns the value of a key.
    pub fn get(self, key: &str) -> Option<Self> {
        self.entries().find(|(known, _)| *known == key).map(|(_, item)| item)
    }

    /// Returns the value at a path of keys, joined by dots.
    pub fn at(self, path: &str) -> Option<Self> {
        path.split('.').try_fold(self, Self::get)
    }

    /// Returns the string of a key; empty if there is none.
    pub fn text_of(self, key: &str) -> &'t str {
        self.get(key).and_then(Self::text).unwrap_or_default()
    }

    /// Returns the values with containers with an image, at any depth. The status of an object runs none: it can repeat the
    /// templates of others, and the API server drops it from a manifest.
    pub fn with_containers(self) -> impl Iterator<Item = Self> {
        self.descend(|key| key != "status").map(|(_, item)| item).filter(|item| item.has_containers())
    }

    /// Reports whether the value has a container with an image in one of the fields of [`CONTAINERS`].
    fn has_containers(self) -> bool {
        let has_image = |item: Self| item.get("image").is_some_and(|image| image.text().is_some());
        let of_containers = self.entries().filter(|(key, _)| CONTAINERS.contains(key));
        of_containers.map(|(_, value)| value).any(|value| has_image(value) || value.items().any(has_image))
    }

    /// Returns the value and all values below it, with their keys. The limit of aliases also limits their number.
    pub fn below(self) -> impl Iterator<Item = (&'t str, Self)> {
        self.descend(|_| true)
    }

    fn descend(self, enters: fn(&str) -> bool) -> impl Iterator<Item = (&'t str, Self)> {
        let mut open = vec![("", self)];
        std::iter::from_fn(move || {
            let (key, item) = open.pop()?;
            open.extend(item.items().map(|item| ("", item)));
            open.extend(item.entries().filter(|(key, _)| enters(key)));
            Some((key, item))
        })
    }

    /// Calls `found` with every value at a path, and with the JSON Pointer to it. In the path, `*` matches any key or
    /// index.
    pub fn each_at(self, path: &str, pointer: &str, found: &mut dyn FnMut(Self, String)) {
        if path.is_empty() {
            return found(self, pointer.to_owned());
        }
        let (key, rest) = path.split_once('.').unwrap_or((path, ""));
        if key != "*" {
            if let Some(item) = self.get(key) {
                item.each_at(rest, &format!("{pointer}/{key}"), found);
            }
            return;
        }
        for (index, item) in self.items().enumerate() {
            item.each_at(rest, &format!("{pointer}/{index}"), found);
        }
        for (key, item) in self.entries() {
            item.each_at(rest, &format!("{pointer}/{}", escape(key)), found);
        }
    }

    /// Returns the lines of all values below. The values of an alias or merge key have the line of the alias or merge
    /// key.
    pub fn lines(self) -> Lines {
        let mut lines = Vec::with_capacity(64);
        self.collect_lines(PointerHash::ROOT, &mut lines);
        lines.into_iter().collect()
    }

    fn collect_lines(self, at: PointerHash, lines: &mut Vec<(PointerHash, u32)>) {
        let node = self.tree.node(self.at);
        lines.push((at, node.line));
        if node.is_merged {
            return;
        }
        match node.content {
            Content::List(_) => {
                self.items().enumerate().for_each(|(index, item)| item.collect_lines(at.index(index), lines));
            }
            Content::Map(_) => self.entries().for_each(|(key, item)| item.collect_lines(at.key(key), lines)),
            _ => {}
        }
    }
}
