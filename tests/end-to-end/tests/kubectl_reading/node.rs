//! A value of a document, before it is written.

/// A value of a document, as YAML writes it.
#[derive(Clone)]
pub enum Node {
    /// A scalar as it is written. `FOLD` stands for a line break and the indentation behind it.
    Scalar(String),
    /// A block scalar: its header and its lines.
    Block(&'static str, Vec<String>),
    Map(Vec<(String, Self)>),
    List(Vec<Self>),
    /// A value with an anchor or a tag.
    With(String, Box<Self>),
}

impl Node {
    /// Whether an alias within it is called so.
    pub fn mentions(&self, anchor: &str) -> bool {
        match self {
            Self::Scalar(scalar) => scalar.strip_prefix('*') == Some(anchor),
            Self::Block(..) => false,
            Self::Map(entries) => entries.iter().any(|(_, value)| value.mentions(anchor)),
            Self::List(items) => items.iter().any(|item| item.mentions(anchor)),
            Self::With(_, node) => node.mentions(anchor),
        }
    }
}

pub fn plain(text: &str) -> Node {
    Node::Scalar(text.to_owned())
}

/// Stands for a line break and the indentation behind it.
pub const FOLD: char = '\u{1}';
