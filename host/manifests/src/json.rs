//! Parses JSON to a tree.
//!
//! The parser of serde_json does not report the positions of values. But keys and strings are slices of the input, so
//! their positions are known, and with them those of all values except in lists of numbers.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::problem::Problem;
use crate::split::LineCount;
use crate::tree::{Builder, Scalar, Tree};
use crate::{explain, metadata};

/// Parses a text with a single value. `first_line` is the line of the file in which the text starts.
pub(crate) fn parse(text: &str, first_line: usize) -> Result<Tree, Problem> {
    let mut reader = Reader {
        builder: Builder::new(text.len(), 0),
        lines: LineCount::new(text, first_line),
        line: first_line,
        problem: None,
    };
    let mut parser = serde_json::Deserializer::from_str(text);
    let read = reader.deserialize(&mut parser).and_then(|()| parser.end());
    match (reader.problem.take(), read) {
        (Some(problem), _) => Err(problem),
        (None, Err(error)) => {
            let line = first_line + error.line().max(1) - 1;
            Err(Problem::at(line, explain::json_syntax(&error)).of_syntax())
        }
        (None, Ok(())) => Ok(reader.builder.finish()),
    }
}

struct Reader<'t> {
    builder: Builder,
    lines: LineCount<'t>,
    /// The line of the last key or string.
    line: usize,
    problem: Option<Problem>,
}

impl<'t> Reader<'t> {
    /// Moves to a slice of the input.
    fn move_to(&mut self, part: &str) {
        if let Some(line) = self.lines.line_of(part) {
            self.line = line;
        }
    }

    fn try_to<E: serde::de::Error>(&mut self, done: Result<(), Problem>) -> Result<(), E> {
        done.map_err(|problem| {
            self.problem = Some(problem);
            E::custom("")
        })
    }

    fn scalar<E>(&mut self, scalar: Scalar<'_>) -> Result<(), E> {
        self.builder.scalar(scalar, self.line, None);
        Ok(())
    }
}

impl<'t> DeserializeSeed<'t> for &mut Reader<'t> {
    type Value = ();

    fn deserialize<D: Deserializer<'t>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'t> Visitor<'t> for &mut Reader<'t> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.scalar(Scalar::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.scalar(Scalar::Bool(value))
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        self.scalar(Scalar::Integer(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        self.scalar(i64::try_from(number).map_or(Scalar::Unsigned(number), Scalar::Integer))
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        self.scalar(Scalar::Float(number))
    }

    fn visit_borrowed_str<E>(self, text: &'t str) -> Result<(), E> {
        self.move_to(text);
        self.scalar(Scalar::Text(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.scalar(Scalar::Text(text))
    }

    fn visit_seq<A: SeqAccess<'t>>(self, mut list: A) -> Result<(), A::Error> {
        let start = self.builder.start(false, self.line, None);
        self.try_to(start)?;
        while list.next_element_seed(&mut *self)?.is_some() {}
        let end = self.builder.end();
        self.try_to(end)
    }

    fn visit_map<A: MapAccess<'t>>(self, mut map: A) -> Result<(), A::Error> {
        let start = self.builder.start(true, self.line, None);
        self.try_to(start)?;
        let mut is_first = true;
        while let Some(Key(key)) = map.next_key()? {
            if let Cow::Borrowed(key) = key {
                if std::mem::take(&mut is_first)
                    && let Some(line) = self.lines.line_of_brace_before(key)
                {
                    self.builder.set_line(line);
                }
                self.move_to(key);
            }
            let done = self.builder.key(&key, self.line);
            self.try_to(done)?;
            map.next_value_seed(&mut *self)?;
        }
        let end = self.builder.end();
        self.try_to(end)
    }
}

/// A key, as a slice of the input if it has no escapes.
struct Key<'t>(Cow<'t, str>);

impl<'t> Deserialize<'t> for Key<'t> {
    fn deserialize<D: Deserializer<'t>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;

        impl<'t> Visitor<'t> for KeyVisitor {
            type Value = Key<'t>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a key")
            }

            fn visit_borrowed_str<E>(self, key: &'t str) -> Result<Key<'t>, E> {
                Ok(Key(Cow::Borrowed(key)))
            }

            fn visit_str<E>(self, key: &str) -> Result<Key<'t>, E> {
                Ok(Key(Cow::Owned(key.to_owned())))
            }
        }

        deserializer.deserialize_str(KeyVisitor)
    }
}

/// A list with unparsed items.
pub(crate) struct List<'t> {
    /// The `apiVersion` of the list.
    pub api_version: Cow<'t, str>,
    /// The kind of the list.
    pub kind: Cow<'t, str>,
    /// The texts of the items.
    pub items: Vec<&'t RawValue>,
}

impl<'t> List<'t> {
    /// Parses a text as a list, if it can be read item by item. A list with invalid metadata cannot.
    pub fn of(text: &'t str) -> Option<Self> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Raw<'t> {
            #[serde(borrow, default)]
            api_version: Cow<'t, str>,
            #[serde(borrow)]
            kind: Cow<'t, str>,
            #[serde(borrow)]
            items: Vec<&'t RawValue>,
            #[serde(borrow, default)]
            metadata: Option<&'t RawValue>,
        }
        memchr::memmem::find(text.as_bytes(), b"\"items\"")?;
        let Raw { api_version, kind, items, metadata } = serde_json::from_str(text).ok()?;
        if let Some(text) = metadata {
            let tree = parse(text.get(), 1).ok()?;
            tree.root().map_or(Ok(()), metadata::check_value).ok()?;
        }
        kind.ends_with("List").then_some(Self { api_version, kind, items })
    }
}
