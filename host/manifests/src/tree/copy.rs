//! Copies of a part of a tree, with other strings.

use super::{Content, Item, Node, NodeId, Tree, push};

/// The replacement of a string.
pub(crate) enum Replacement {
    Text(String),
    Integer(i64),
    Bool(bool),
}

impl Item<'_> {
    /// Returns a tree of this value, with the strings that `replacement` replaces. If it fails, so does this, with the
    /// line of the string. The targets of aliases are copied once for each alias, which their limit allows.
    pub fn copy<E>(
        self,
        mut replacement: impl FnMut(&str) -> Result<Option<Replacement>, E>,
    ) -> Result<Tree, (usize, E)> {
        let source = self.tree;
        let mut copy = Tree::default();
        copy.add(source, self.at);
        let mut index = 0;
        // The content of the nodes from `index` is still that of the source.
        while let Some(&Node { content, line, .. }) = copy.nodes.get(index) {
            copy.nodes[index].content = match content {
                Content::Text(span) => {
                    let text = source.slice(span);
                    match replacement(text).map_err(|error| (line as usize, error))? {
                        None => Content::Text(push(&mut copy.text, text)),
                        Some(Replacement::Text(text)) => Content::Text(push(&mut copy.text, &text)),
                        Some(Replacement::Integer(number)) => Content::Integer(number),
                        Some(Replacement::Bool(value)) => Content::Bool(value),
                    }
                }
                Content::List(first) => Content::List(copy.add_chain(source, first)),
                Content::Map(first) => Content::Map(copy.add_chain(source, first)),
                Content::Alias(target) => Content::Alias(copy.add(source, target)),
                scalar => scalar,
            };
            index += 1;
        }
        Ok(copy)
    }
}

impl Tree {
    /// Adds a node of another tree, with its key.
    fn add(&mut self, source: &Self, id: NodeId) -> NodeId {
        let node = source.node(id);
        let key = node.key.map(|key| push(&mut self.text, source.slice(key)));
        self.nodes.push(Node { key, next: None, ..*node });
        NodeId(self.nodes.len() as u32 - 1)
    }

    /// Adds the nodes of a list or map of another tree, and returns the first.
    fn add_chain(&mut self, source: &Self, first: Option<NodeId>) -> Option<NodeId> {
        let mut next = first;
        let mut last: Option<NodeId> = None;
        let first = first.map(|_| NodeId(self.nodes.len() as u32));
        while let Some(id) = next {
            let added = self.add(source, id);
            if let Some(last) = last.replace(added) {
                self.nodes[last.0 as usize].next = Some(added);
            }
            next = source.node(id).next;
        }
        first
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::{Limits, yaml};

    fn tree(text: &str) -> Tree {
        yaml::parse(text, 1, &Limits::default()).unwrap()
    }

    fn unchanged(item: Item<'_>) -> Tree {
        item.copy(|_| Ok::<_, ()>(None)).unwrap()
    }

    #[test]
    fn a_copy_has_the_values_below_and_their_lines() {
        let tree = tree("other: [1, 2, 3]\nlist: &l\n- {a: x}\n- null\n- [true, 1.5]\nalso: *l\n");
        for key in ["list", "also"] {
            let item = tree.root().unwrap().get(key).unwrap();
            let copy = unchanged(item);
            let root = copy.root().unwrap();
            assert_eq!(root.line(), item.line());
            let values = |item: Item<'_>| {
                format!("{:?}", item.below().map(|(key, item)| (key.to_owned(), item.line())).collect::<Vec<_>>())
            };
            assert_eq!(values(root), values(item));
            assert_eq!(root.items().next().unwrap().text_of("a"), "x");
        }
        // Only a copy of everything contains the numbers.
        assert_eq!(unchanged(tree.root().unwrap().get("list").unwrap()).nodes.len(), 7);
    }

    #[test]
    fn strings_are_replaced_and_errors_have_their_line() {
        let tree = tree("a: x\nb:\n- z\n- 5\n");
        let replace = |text: &str| match text {
            "x" => Ok(Some(Replacement::Integer(1))),
            text => Err(text.to_owned()),
        };
        assert_eq!(tree.root().unwrap().copy(replace).unwrap_err(), (3, "z".to_owned()));
        let copy = tree.root().unwrap().copy(|text| Ok::<_, ()>(Some(Replacement::Text(text.repeat(2))))).unwrap();
        assert_eq!(
            (copy.root().unwrap().text_of("a"), copy.root().unwrap().at("b").unwrap().items().count()),
            ("xx", 2)
        );
    }
}
