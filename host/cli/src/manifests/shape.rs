//! As much of a document as tells what it is, read leniently: for documents that are not what a workload looks like.

use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// The keys that are followed; everything else is passed over.
const KEYS: [&str; 9] =
    ["kind", "metadata", "namespace", "name", "spec", "template", "jobTemplate", "containers", "items"];

/// What a document looks like. Any well-formed document can be read as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shape {
    /// A text.
    Text(String),
    /// A list.
    List,
    /// A map, with the entries that matter.
    Map(Vec<(&'static str, Shape)>),
    /// A number, a truth value or nothing.
    Other,
}

impl Shape {
    /// The value at a path of keys.
    fn get(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |shape, key| match shape {
            Self::Map(entries) => entries.iter().find(|(name, _)| name == key).map(|(_, value)| value),
            _ => None,
        })
    }

    /// The kind of the object; empty where there is none.
    pub fn kind(&self) -> &str {
        self.text(&["kind"])
    }

    /// The object of this kind, as people call it.
    pub fn title(&self, kind: &str) -> String {
        match (self.text(&["metadata", "namespace"]), self.text(&["metadata", "name"])) {
            (_, "") => format!("the {kind}"),
            ("", name) => format!("{kind} {name}"),
            (namespace, name) => format!("{kind} {namespace}/{name}"),
        }
    }

    fn text(&self, path: &[&str]) -> &str {
        match self.get(path) {
            Some(Self::Text(text)) => text,
            _ => "",
        }
    }

    /// Whether it has a list of containers where pod templates have it.
    pub fn has_pod_template(&self) -> bool {
        const PLACES: [&[&str]; 2] = [
            &["spec", "template", "spec", "containers"],
            &["spec", "jobTemplate", "spec", "template", "spec", "containers"],
        ];
        PLACES.iter().any(|place| self.get(place).is_some())
    }

    /// Whether it is a list of objects.
    pub fn is_list(&self) -> bool {
        self.kind().ends_with("List") && matches!(self.get(&["items"]), Some(Self::List))
    }
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ShapeVisitor)
    }
}

struct ShapeVisitor;

impl<'de> Visitor<'de> for ShapeVisitor {
    type Value = Shape;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a document")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Shape, E> {
        Ok(Shape::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Shape, E> {
        Ok(Shape::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Shape, E> {
        Ok(Shape::Other)
    }

    fn visit_i128<E>(self, _: i128) -> Result<Shape, E> {
        Ok(Shape::Other)
    }

    fn visit_u128<E>(self, _: u128) -> Result<Shape, E> {
        Ok(Shape::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Shape, E> {
        Ok(Shape::Other)
    }

    fn visit_unit<E>(self) -> Result<Shape, E> {
        Ok(Shape::Other)
    }

    fn visit_none<E>(self) -> Result<Shape, E> {
        Ok(Shape::Other)
    }

    fn visit_str<E>(self, text: &str) -> Result<Shape, E> {
        Ok(Shape::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Shape, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Shape::List)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Shape, A::Error> {
        let mut entries = Vec::new();
        while let Some(Key(key)) = map.next_key()? {
            match key {
                Some(key) => entries.push((key, map.next_value()?)),
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Shape::Map(entries))
    }

    /// A value with a tag of its own.
    fn visit_enum<A: serde::de::EnumAccess<'de>>(self, data: A) -> Result<Shape, A::Error> {
        let (IgnoredAny, value) = data.variant()?;
        serde::de::VariantAccess::newtype_variant(value)
    }
}

/// A key of a map, of which YAML allows any value; none where it is not one of [`KEYS`].
struct Key(Option<&'static str>);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(match Shape::deserialize(deserializer)? {
            Shape::Text(key) => KEYS.into_iter().find(|known| *known == key),
            _ => None,
        }))
    }
}
