//! The values of a document before serialization.

/// A value of a document in its YAML notation.
#[derive(Clone)]
pub enum Node {
    /// A scalar in its notation. `FOLD` stands for a line break and the following indentation.
    Scalar(String),
    /// A block scalar: its header and its lines.
    Block(&'static str, Vec<String>),
    Map(Vec<(String, Self)>),
    List(Vec<Self>),
    /// A value with an anchor or a tag.
    With(String, Box<Self>),
}

impl Node {
    /// Reports whether it contains an alias of this anchor.
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

/// Stands for a line break and the following indentation.
pub const FOLD: char = '\u{1}';
