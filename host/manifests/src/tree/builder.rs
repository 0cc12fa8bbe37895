//! Builds a tree from the events of a parser: rejects duplicate keys, and resolves aliases and merge keys within a
//! limit.

use std::collections::HashMap;

use super::{Content, Item, Node, NodeId, Scalar, Span, Tree, push};
use crate::problem::Problem;

/// The maximum nesting of maps and lists, far above that of any Kubernetes object.
const MAX_DEPTH: usize = 500;

/// The number of keys from which duplicate keys of a map are detected by hash.
const LARGE: usize = 32;

/// The size of a value without its text in the expansion of aliases, in bytes.
const VALUE_BYTES: usize = 16;

/// Builds a tree from the events of a parser.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    tree: Tree,
    open: Vec<Open>,
    /// The keys of all open maps.
    keys: Vec<(Span, u32)>,
    anchors: HashMap<String, Anchored>,
    /// The expansion of the aliases so far, in bytes.
    expansion: usize,
    expansion_limit: usize,
}

/// An open list or map.
#[derive(Debug)]
struct Open {
    node: NodeId,
    is_map: bool,
    last: Option<NodeId>,
    /// The key of the next value.
    key: Option<(Key, u32)>,
    has_merge: bool,
    /// The position of its first key in the keys of all open maps.
    first_key: usize,
    /// The same keys by hash, if there are many.
    index: Option<HashMap<Box<str>, u32>>,
    anchor: Option<String>,
    size: Size,
}

/// The size of a value in the expansion of an alias.
#[derive(Debug, Clone, Copy)]
struct Size {
    /// In bytes.
    bytes: usize,
    /// The maps and lists in each other, with this one.
    depth: usize,
}

#[derive(Debug, Clone, Copy)]
enum Key {
    Text(Span),
    Merge,
}

#[derive(Debug, Clone, Copy)]
struct Anchored {
    node: NodeId,
    /// The size of the value; `None` while it is open.
    size: Option<Size>,
}

impl Size {
    /// The size of a scalar with a text of `bytes`.
    fn of_scalar(bytes: usize) -> Self {
        Self { bytes: VALUE_BYTES + bytes, depth: 0 }
    }
}

impl Builder {
    /// Creates a builder for about `bytes` of text, whose aliases can expand to `expansion_limit` bytes.
    pub fn new(bytes: usize, expansion_limit: usize) -> Self {
        let mut builder = Self { expansion_limit, ..Self::default() };
        builder.tree.text.reserve(bytes);
        builder.tree.nodes.reserve(bytes / 12);
        builder
    }

    /// Returns the tree.
    pub fn finish(self) -> Tree {
        self.tree
    }

    /// Reports whether the next scalar is a key.
    pub fn awaits_key(&self) -> bool {
        self.open.last().is_some_and(|open| open.is_map && open.key.is_none())
    }

    /// Adds a key to the open map.
    pub fn key(&mut self, text: &str, line: usize) -> Result<(), Problem> {
        let line32 = line as u32;
        let span = push(&mut self.tree.text, text);
        let is_top = self.open.len() == 1;
        let Some(open) = self.open.last_mut() else { return Ok(()) };
        let keys = &self.keys[open.first_key..];
        let before = if keys.len() < LARGE {
            keys.iter().find(|(known, _)| self.tree.slice(*known) == text).map(|(_, line)| *line)
        } else {
            let tree = &self.tree;
            let known = || keys.iter().map(|(known, line)| (tree.slice(*known).into(), *line)).collect();
            open.index.get_or_insert_with(known).insert(text.into(), line32)
        };
        if let Some(before) = before {
            return Err(Problem::at(line, duplicate(text, before as usize, line, is_top)));
        }
        self.keys.push((span, line32));
        open.key = Some((Key::Text(span), line32));
        Ok(())
    }

    /// Defines an anchor for a key.
    pub fn anchor_key(&mut self, anchor: String, key: &str) {
        let content = Content::Text(push(&mut self.tree.text, key));
        let node = NodeId(self.tree.nodes.len() as u32);
        self.tree.nodes.push(Node { content, line: 0, key: None, next: None, is_merged: false });
        self.anchors.insert(anchor, Anchored { node, size: Some(Size::of_scalar(key.len())) });
    }

    /// Adds a merge key to the open map.
    pub fn merge_key(&mut self, line: usize) {
        if let Some(open) = self.open.last_mut() {
            open.has_merge = true;
            open.key = Some((Key::Merge, line as u32));
        }
    }

    /// Adds a scalar.
    pub fn scalar(&mut self, scalar: Scalar<'_>, line: usize, anchor: Option<String>) {
        let (content, bytes) = match scalar {
            Scalar::Null => (Content::Null, 0),
            Scalar::Bool(value) => (Content::Bool(value), 0),
            Scalar::Integer(number) => (Content::Integer(number), 0),
            Scalar::Unsigned(number) => (Content::Unsigned(number), 0),
            Scalar::Float(number) => (Content::Float(number), 0),
            Scalar::Text(text) => (Content::Text(push(&mut self.tree.text, text)), text.len()),
        };
        let node = self.attach(content, line);
        let size = Size::of_scalar(bytes);
        self.count(size);
        if let Some(anchor) = anchor {
            self.anchors.insert(anchor, Anchored { node, size: Some(size) });
        }
    }

    /// Adds an alias.
    pub fn alias(&mut self, anchor: &str, line: usize) -> Result<(), Problem> {
        let target = self.resolve(anchor, line)?;
        self.attach(Content::Alias(target), line);
        Ok(())
    }

    /// Adds an alias in the place of a key.
    pub fn alias_key(&mut self, anchor: &str, line: usize) -> Result<(), Problem> {
        let target = self.resolve(anchor, line)?;
        match Item::new(&self.tree, target).text().map(str::to_owned) {
            Some(key) => self.key(&key, line),
            None => {
                Err(Problem::at(line, format!("the key *{anchor} is not a string; keys are strings in Kubernetes")))
            }
        }
    }

    fn resolve(&mut self, anchor: &str, line: usize) -> Result<NodeId, Problem> {
        let Some(&Anchored { node, size }) = self.anchors.get(anchor) else {
            let message = format!(
                "unknown anchor: there is no &{anchor} before the alias *{anchor} in this document; define it there"
            );
            return Err(Problem::at(line, message).of_syntax());
        };
        let Some(size) = size else {
            return Err(Problem::at(line, format!("the alias *{anchor} is within its own anchor &{anchor}")));
        };
        self.expand(size.bytes, line)?;
        check_depth(self.open.len() + size.depth, line)?;
        self.count(size);
        Ok(node)
    }

    fn expand(&mut self, bytes: usize, line: usize) -> Result<(), Problem> {
        self.expansion = self.expansion.saturating_add(bytes);
        if self.expansion > self.expansion_limit {
            return Err(Problem::at(
                line,
                format!(
                    "the aliases (*name) of this document expand to more than {} MiB; write out the values, or use fewer \
                     aliases",
                    self.expansion_limit >> 20
                ),
            ));
        }
        Ok(())
    }

    /// Starts a list or map.
    pub fn start(&mut self, is_map: bool, line: usize, anchor: Option<String>) -> Result<(), Problem> {
        if self.awaits_key() {
            let what = if is_map { "a map" } else { "a list" };
            return Err(Problem::at(
                line,
                format!("{what} as a key: keys are strings in Kubernetes; put braces or brackets in a value in quotes"),
            ));
        }
        check_depth(self.open.len() + 1, line)?;
        let node = self.attach(if is_map { Content::Map(None) } else { Content::List(None) }, line);
        if let Some(anchor) = &anchor {
            self.anchors.insert(anchor.clone(), Anchored { node, size: None });
        }
        let first_key = self.keys.len();
        let open = Open {
            node,
            is_map,
            last: None,
            key: None,
            has_merge: false,
            first_key,
            index: None,
            anchor,
            size: Size { bytes: VALUE_BYTES, depth: 1 },
        };
        self.open.push(open);
        Ok(())
    }

    /// Corrects the line of the innermost open list or map.
    pub fn set_line(&mut self, line: usize) {
        if let Some(open) = self.open.last()
            && self.tree.node(open.node).key.is_none()
        {
            self.tree.nodes[open.node.0 as usize].line = line as u32;
        }
    }

    /// Ends the innermost open list or map.
    pub fn end(&mut self) -> Result<(), Problem> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        self.keys.truncate(open.first_key);
        if open.has_merge {
            self.merge(open.node)?;
        }
        if let Some(anchored) = open.anchor.and_then(|anchor| self.anchors.get_mut(&anchor))
            && anchored.node == open.node
        {
            anchored.size = Some(open.size);
        }
        self.count(open.size);
        Ok(())
    }

    /// Adds to the size of the innermost open list or map.
    fn count(&mut self, added: Size) {
        if let Some(Open { size, .. }) = self.open.last_mut() {
            size.bytes = size.bytes.saturating_add(added.bytes);
            size.depth = size.depth.max(added.depth + 1);
        }
    }

    fn attach(&mut self, content: Content, line: usize) -> NodeId {
        let id = NodeId(self.tree.nodes.len() as u32);
        let mut node = Node { content, line: line as u32, key: None, next: None, is_merged: false };
        if let Some(open) = self.open.last_mut() {
            match open.key.take() {
                Some((Key::Text(key), line)) => (node.key, node.line) = (Some(key), line),
                Some((Key::Merge, line)) => (node.is_merged, node.line) = (true, line),
                None => {}
            }
            match open.last.replace(id) {
                Some(last) => self.tree.nodes[last.0 as usize].next = Some(id),
                None => {
                    let first = Some(id);
                    let content = if open.is_map { Content::Map(first) } else { Content::List(first) };
                    self.tree.nodes[open.node.0 as usize].content = content;
                }
            }
        }
        self.tree.nodes.push(node);
        id
    }

    /// Replaces the merge keys of a map with their entries. As in the YAML library of kubectl (go-yaml v2), entries are
    /// set in the order of the document: a merge key overrides the entries before it, and the entries after it override
    /// the merge key.
    fn merge(&mut self, map: NodeId) -> Result<(), Problem> {
        let mut entries: Vec<NodeId> = Vec::new();
        let mut places: HashMap<Box<str>, usize> = HashMap::new();
        let item = Item::new(&self.tree, map);
        let written: Vec<NodeId> = if let Content::Map(first) = item.content {
            item.chain(first).map(|item| item.at).collect()
        } else {
            Vec::new()
        };
        for id in written {
            let node = *self.tree.node(id);
            let added: Vec<NodeId> = if node.is_merged {
                let line = node.line as usize;
                let sources = merge_sources(Item::new(&self.tree, id))
                    .ok_or_else(|| Problem::at(line, "a merge key (<<) must be followed by a map or a list of maps"))?;
                let sources: Vec<NodeId> =
                    sources.into_iter().flat_map(|source| source.entries()).map(|(_, item)| item.at).collect();
                self.expand(sources.len() * VALUE_BYTES, line)?;
                let copy = |source: NodeId| {
                    let node = Node { line: node.line, next: None, is_merged: true, ..*self.tree.node(source) };
                    self.tree.nodes.push(node);
                    NodeId(self.tree.nodes.len() as u32 - 1)
                };
                sources.into_iter().map(copy).collect()
            } else {
                vec![id]
            };
            for id in added {
                let key = self.tree.node(id).key.map_or("", |key| self.tree.slice(key));
                match places.get(key) {
                    Some(&place) => entries[place] = id,
                    None => {
                        places.insert(key.into(), entries.len());
                        entries.push(id);
                    }
                }
            }
        }
        for (index, id) in entries.iter().enumerate() {
            self.tree.nodes[id.0 as usize].next = entries.get(index + 1).copied();
        }
        self.tree.nodes[map.0 as usize].content = Content::Map(entries.first().copied());
        Ok(())
    }
}

/// Limits the nesting, also by aliases: values are processed recursively.
fn check_depth(depth: usize, line: usize) -> Result<(), Problem> {
    if depth <= MAX_DEPTH {
        return Ok(());
    }
    let message = format!(
        "maps and lists are nested more than {MAX_DEPTH} deep; no Kubernetes object is, so check for a bracket that is not closed, and \
         for aliases in each other"
    );
    Err(Problem::at(line, message))
}

/// Returns the maps of a merge key, in ascending order of precedence, or `None` if its value has no maps.
fn merge_sources(value: Item<'_>) -> Option<Vec<Item<'_>>> {
    match value.content {
        Content::Map(_) => Some(vec![value]),
        Content::List(_) => {
            let mut items: Vec<_> = value.items().collect();
            items.reverse();
            items.iter().all(|item| matches!(item.content, Content::Map(_))).then_some(items)
        }
        _ => None,
    }
}

fn duplicate(key: &str, before: usize, line: usize, is_top: bool) -> String {
    let fix = if is_top && matches!(key, "apiVersion" | "kind" | "metadata") {
        "a line `---` between two objects may be missing"
    } else {
        "remove one of them"
    };
    if before == line {
        return format!("duplicate key {key:?} in one line; {fix}");
    }
    format!("duplicate key {key:?} in lines {before} and {line}; {fix}")
}
