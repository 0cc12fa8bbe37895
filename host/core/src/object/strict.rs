//! Deserialization with the strictness of the API server, where serde and its formats accept more.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, IgnoredAny, MapAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

/// Whether a map has any entries.
#[derive(Debug, Clone, Copy, Default)]
pub struct Entries(pub bool);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor;

        impl<'de> Visitor<'de> for EntriesVisitor {
            type Value = Entries;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Entries(false);
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
                    entries = Entries(true);
                }
                Ok(entries)
            }
        }

        deserializer.deserialize_map(EntriesVisitor)
    }
}

/// Labels, sorted by key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels(pub(super) Vec<(String, String)>);

impl From<BTreeMap<String, String>> for Labels {
    fn from(labels: BTreeMap<String, String>) -> Self {
        Self(labels.into_iter().collect())
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LabelsVisitor;

        impl<'de> Visitor<'de> for LabelsVisitor {
            type Value = Labels;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("a map of labels")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Labels, A::Error> {
                let mut labels = Vec::new();
                while let Some((key, Text(value))) = map.next_entry::<String, Text>()? {
                    labels.push((key, value));
                }
                labels.sort();
                if let Some(pair) = labels.windows(2).find(|pair| pair[0].0 == pair[1].0) {
                    return Err(Error::custom(format!("duplicate label {:?}", pair[0].0)));
                }
                // The labels are kept for the lifetime of the subject, and most pods have few.
                labels.shrink_to_fit();
                Ok(Labels(labels))
            }
        }

        deserializer.deserialize_map(LabelsVisitor)
    }
}

/// Deserializes a string, and rejects scalars of other types: some YAML parsers accept `image: 5` as a string,
/// Kubernetes does not. `null` results in an empty string.
pub fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    deserializer.deserialize_any(TextVisitor { ignores_scalars: false })
}

/// Deserializes a string; a scalar of another type results in an empty string.
pub fn text_or_nothing<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    deserializer.deserialize_any(TextVisitor { ignores_scalars: true })
}

struct TextVisitor {
    /// Whether a scalar of another type results in an empty string instead of an error.
    ignores_scalars: bool,
}

impl TextVisitor {
    fn other<E: Error>(self, found: Unexpected<'_>) -> Result<String, E> {
        if self.ignores_scalars { Ok(String::new()) } else { Err(E::invalid_type(found, &self)) }
    }
}

impl Visitor<'_> for TextVisitor {
    type Value = String;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a string")
    }

    fn visit_str<E>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_string<E>(self, text: String) -> Result<String, E> {
        Ok(text)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<String, E> {
        self.other(Unexpected::Bool(value))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<String, E> {
        self.other(Unexpected::Signed(number))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<String, E> {
        self.other(Unexpected::Unsigned(number))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<String, E> {
        self.other(Unexpected::Float(number))
    }

    fn visit_unit<E>(self) -> Result<String, E> {
        Ok(String::new())
    }
}

/// The value of a label.
#[derive(Deserialize)]
#[serde(transparent)]
pub struct Text(#[serde(deserialize_with = "text")] pub String);

/// A struct that is only deserialized from a map. Serde also accepts a list of field values, Kubernetes does not.
#[derive(Debug, Clone, Default)]
pub struct Fields<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Fields<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for FieldsVisitor<T> {
            type Value = T;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }

        deserializer.deserialize_map(FieldsVisitor(PhantomData)).map(Fields)
    }
}

/// Deserializes `null` as the default value, as Kubernetes does.
pub fn null_as_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
