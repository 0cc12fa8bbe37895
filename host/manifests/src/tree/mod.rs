//! A document as a tree of values, each with its line.
//!
//! All values of a document are in one list and all of its text is in one buffer: an alias is a reference to what it stands
//! for, not a copy, and a document costs a handful of allocations. The tree is what `kubectl` would make of the document:
//! scalars have their types, keys are text, aliases and merge keys are resolved.

mod builder;

use kube_devops_core::lines::{Lines, PointerHash};
use memchr::memmem;

pub(crate) use builder::Builder;

/// The place of a value in its tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NodeId(u32);

/// A part of the text of a tree.
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

/// A scalar, as a parser gives it.
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
    /// The line of the file: that of the key, for the value of a key.
    line: u32,
    /// The key, for the value of a key.
    key: Option<Span>,
    /// The next one in the same list or map.
    next: Option<NodeId>,
    /// Whether the value came with a merge key: nothing of it is written here.
    is_merged: bool,
}

/// A document.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tree {
    nodes: Vec<Node>,
    text: String,
}

impl Tree {
    /// The value of the whole document; none where there is none.
    pub fn root(&self) -> Option<Item<'_>> {
        (!self.nodes.is_empty()).then(|| Item::new(self, NodeId(0)))
    }

    /// Changes texts that are values of the document.
    pub fn replace_texts(&mut self, mut replacement: impl FnMut(&str) -> Option<Replacement>) {
        for index in 0..self.nodes.len() {
            let Content::Text(span) = self.nodes[index].content else { continue };
            self.nodes[index].content = match replacement(self.slice(span)) {
                None => continue,
                Some(Replacement::Text(text)) => Content::Text(push(&mut self.text, &text)),
                Some(Replacement::Integer(number)) => Content::Integer(number),
                Some(Replacement::Bool(value)) => Content::Bool(value),
            };
        }
    }

    /// The value at the place of a value of the tree that this one is a copy of.
    pub fn same(&self, item: Item<'_>) -> Option<Item<'_>> {
        (item.at.0 < self.nodes.len() as u32).then(|| Item::new(self, item.at))
    }

    /// Whether a text or key may hold `part`.
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

/// What takes the place of a text.
pub(crate) enum Replacement {
    Text(String),
    Integer(i64),
    Bool(bool),
}

fn push(text: &mut String, part: &str) -> Span {
    let start = text.len() as u32;
    text.push_str(part);
    Span { start, end: text.len() as u32 }
}

/// A value of a tree. Aliases are followed wherever the value is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Item<'t> {
    tree: &'t Tree,
    /// The node that the value is written at.
    at: NodeId,
    content: Content,
}

/// What a value is.
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

    /// What the value is.
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

    /// The line of the file: that of the key, for the value of a key.
    pub fn line(self) -> usize {
        self.tree.node(self.at).line as usize
    }

    /// The text, where it is one.
    pub fn text(self) -> Option<&'t str> {
        match self.content {
            Content::Text(span) => Some(self.tree.slice(span)),
            _ => None,
        }
    }

    /// Whether it is nothing.
    pub fn is_null(self) -> bool {
        matches!(self.content, Content::Null)
    }

    /// The items of a list; none of anything else.
    pub fn items(self) -> impl Iterator<Item = Self> {
        let first = if let Content::List(first) = self.content { first } else { None };
        self.chain(first)
    }

    /// The entries of a map, in the order of the document; none of anything else.
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

    /// The value of a key.
    pub fn get(self, key: &str) -> Option<Self> {
        self.entries().find(|(known, _)| *known == key).map(|(_, item)| item)
    }

    /// The value at a path of keys, joined by dots.
    pub fn at(self, path: &str) -> Option<Self> {
        path.split('.').try_fold(self, Self::get)
    }

    /// The text of a key; empty where there is none.
    pub fn text_of(self, key: &str) -> &'t str {
        self.get(key).and_then(Self::text).unwrap_or_default()
    }

    /// Whether there is a list `containers` with an image in it, however deep.
    pub fn has_containers(self) -> bool {
        let is_image = |item: Self| item.get("image").is_some_and(|image| image.text().is_some());
        let mut below = self.below();
        below.any(|(_, item)| item.get("containers").is_some_and(|containers| containers.items().any(is_image)))
    }

    /// The value and all values below it, each with its key; what an alias stands for is found where it is written.
    pub fn below(self) -> impl Iterator<Item = (&'t str, Self)> {
        let mut open = vec![("", self)];
        std::iter::from_fn(move || {
            let (key, item) = open.pop()?;
            if !matches!(item.tree.node(item.at).content, Content::Alias(_)) {
                open.extend(item.items().map(|item| ("", item)));
                open.extend(item.entries());
            }
            Some((key, item))
        })
    }

    /// Calls `found` with every value at a path in which `*` stands for any key or index, and with the JSON Pointer to it.
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
            let key = key.replace('~', "~0").replace('/', "~1");
            item.each_at(rest, &format!("{pointer}/{key}"), found);
        }
    }

    /// The lines of all values below, as far as they are written here: what an alias or a merge key stands for is at the
    /// alias or the merge key.
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
