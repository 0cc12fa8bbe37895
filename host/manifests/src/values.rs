//! Deserialization of typed values from a tree, with error messages for people.

use std::fmt::{self, Display};

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, Expected, MapAccess, SeqAccess, Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;

use crate::tree::{Item, Kind, Scalar};

/// Deserializes a typed value, and ignores unknown fields.
pub(crate) fn read<T: DeserializeOwned>(item: Item<'_>) -> Result<T, ValueError> {
    T::deserialize(Reader(item)).map_err(|error| error.at(item.line()))
}

/// An error of a value.
#[derive(Debug)]
pub(crate) struct ValueError {
    message: String,
    line: Option<usize>,
    /// The path to the value, from the inside out.
    path: Vec<Step>,
}

#[derive(Debug)]
enum Step {
    Key(String),
    Index(usize),
}

impl ValueError {
    fn new(message: String) -> Self {
        Self { message, line: None, path: Vec::new() }
    }

    fn at(mut self, line: usize) -> Self {
        self.line.get_or_insert(line);
        self
    }

    fn below(mut self, line: usize, step: Step) -> Self {
        self.path.push(step);
        self.at(line)
    }

    /// Returns the line in the file.
    pub fn line(&self) -> usize {
        self.line.unwrap_or(1)
    }

    /// Returns the message, with the path from an object whose value at `pointer` was read.
    pub fn message(&self, pointer: &str) -> String {
        let mut path = String::new();
        for part in pointer.split('/').filter(|part| !part.is_empty()) {
            push_step(&mut path, part, part.bytes().all(|byte| byte.is_ascii_digit()));
        }
        for step in self.path.iter().rev() {
            match step {
                Step::Key(key) => push_step(&mut path, key, false),
                Step::Index(index) => push_step(&mut path, &index.to_string(), true),
            }
        }
        if path.is_empty() { self.message.clone() } else { format!("{path}: {}", self.message) }
    }
}

fn push_step(path: &mut String, step: &str, is_index: bool) {
    if is_index {
        path.push_str(&format!("[{step}]"));
    } else {
        path.push_str(if path.is_empty() { "" } else { "." });
        path.push_str(step);
    }
}

impl Display for ValueError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for ValueError {}

impl de::Error for ValueError {
    fn custom<T: Display>(message: T) -> Self {
        let message = message.to_string();
        // The messages of chrono only state that the text is invalid.
        let is_time = message.contains("input") || message.contains("out of range");
        Self::new(if is_time { "a time such as 2026-01-31T12:00:00Z is expected".to_owned() } else { message })
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let expected = expected.to_string();
        let hint = hint(&found, &expected);
        Self::new(format!("{} is expected, not {}{hint}", describe_expected(&expected), describe_found(&found)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let known: Vec<_> = expected.iter().copied().filter(|known| !known.is_empty()).collect();
        Self::new(format!("one of {} is expected, not the string {variant:?}", known.join(", ")))
    }
}

fn describe_found(found: &Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(value) => value.to_string(),
        Unexpected::Unsigned(number) => format!("the number {number}"),
        Unexpected::Signed(number) => format!("the number {number}"),
        Unexpected::Float(number) => format!("the number {number}"),
        Unexpected::Str(text) => format!("the string {text:?}"),
        Unexpected::Unit | Unexpected::Option => "null".to_owned(),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a map".to_owned(),
        other => other.to_string(),
    }
}

fn describe_expected(expected: &str) -> String {
    match expected {
        "u16" => "a whole number from 0 to 65535".to_owned(),
        "u32" => "a whole number from 0 to 4294967295".to_owned(),
        "i64" => "a whole number".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a boolean" => "true or false".to_owned(),
        _ if expected.starts_with("struct ") => "a map".to_owned(),
        _ if expected.contains("RFC 3339") => "a time such as 2026-01-31T12:00:00Z".to_owned(),
        _ => expected.to_owned(),
    }
}

fn hint(found: &Unexpected<'_>, expected: &str) -> &'static str {
    match (expected, found) {
        ("a string", Unexpected::Bool(_) | Unexpected::Unsigned(_) | Unexpected::Signed(_) | Unexpected::Float(_)) => {
            "; put the value in quotes"
        }
        ("u16" | "u32", Unexpected::Str(text)) if text.contains("${") || text.contains("$(") => {
            "; replace the placeholder before the manifest is evaluated, for example with envsubst"
        }
        ("u16" | "u32", Unexpected::Str(_)) => "; write the number without quotes",
        _ => "",
    }
}

struct Reader<'t>(Item<'t>);

impl<'t> Reader<'t> {
    /// Reads a number as an integer. Kubernetes accepts floats without a fraction, and Helm renders large integers as floats.
    fn integer<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.0.kind() {
            Kind::Scalar(Scalar::Float(number)) if number.fract() == 0.0 && number.abs() < BEYOND_INTEGERS => {
                visitor.visit_i64(number as i64)
            }
            _ => self.deserialize_any(visitor),
        }
    }
}

/// 2^63, the first number that is not a 64-bit integer.
const BEYOND_INTEGERS: f64 = 9_223_372_036_854_775_808.0;

macro_rules! deserialize_integers {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, ValueError> {
            self.integer(visitor)
        })*
    };
}

impl<'t> Deserializer<'t> for Reader<'t> {
    type Error = ValueError;

    fn deserialize_any<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.0.kind() {
            Kind::Scalar(Scalar::Null) => visitor.visit_unit(),
            Kind::Scalar(Scalar::Bool(value)) => visitor.visit_bool(value),
            Kind::Scalar(Scalar::Integer(number)) => visitor.visit_i64(number),
            Kind::Scalar(Scalar::Unsigned(number)) => visitor.visit_u64(number),
            Kind::Scalar(Scalar::Float(number)) => visitor.visit_f64(number),
            Kind::Scalar(Scalar::Text(text)) => visitor.visit_borrowed_str(text),
            Kind::List => visitor.visit_seq(List { items: self.0.items().enumerate() }),
            Kind::Map => visitor.visit_map(Map { entries: self.0.entries(), value: None }),
        }
    }

    fn deserialize_option<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, ValueError> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    /// Rejects a list in the place of a struct. Serde accepts it, Kubernetes does not.
    fn deserialize_struct<V: Visitor<'t>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        match self.0.kind() {
            Kind::List => Err(de::Error::invalid_type(Unexpected::Seq, &visitor)),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'t>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        match (self.0.kind(), self.0.text()) {
            (_, Some(text)) => visitor
                .visit_enum(BorrowedStrDeserializer::<ValueError>::new(text))
                .map_err(|_| <ValueError as de::Error>::unknown_variant(text, variants)),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'t>>(self, _: &'static str, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_ignored_any<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_unit()
    }

    deserialize_integers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
    }

    forward_to_deserialize_any! {
        <W: Visitor<'t>>
        bool i128 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier
    }
}

struct List<I> {
    items: I,
}

impl<'t, I: Iterator<Item = (usize, Item<'t>)>> SeqAccess<'t> for List<I> {
    type Error = ValueError;

    fn next_element_seed<T: DeserializeSeed<'t>>(&mut self, seed: T) -> Result<Option<T::Value>, ValueError> {
        let Some((index, item)) = self.items.next() else { return Ok(None) };
        seed.deserialize(Reader(item)).map(Some).map_err(|error| error.below(item.line(), Step::Index(index)))
    }
}

struct Map<'t, I> {
    entries: I,
    value: Option<(&'t str, Item<'t>)>,
}

impl<'t, I: Iterator<Item = (&'t str, Item<'t>)>> MapAccess<'t> for Map<'t, I> {
    type Error = ValueError;

    fn next_key_seed<K: DeserializeSeed<'t>>(&mut self, seed: K) -> Result<Option<K::Value>, ValueError> {
        self.value = self.entries.next();
        let Some((key, item)) = self.value else { return Ok(None) };
        let key = seed.deserialize(BorrowedStrDeserializer::<ValueError>::new(key));
        key.map(Some).map_err(|error| error.at(item.line()))
    }

    fn next_value_seed<V: DeserializeSeed<'t>>(&mut self, seed: V) -> Result<V::Value, ValueError> {
        let Some((key, item)) = self.value.take() else { return Err(de::Error::custom("a value without a key")) };
        let step = || Step::Key(key.to_owned());
        seed.deserialize(Reader(item)).map_err(|error| error.below(item.line(), step()))
    }
}
