//! Deserialization with the strictness of the API server, where serde and its formats accept more.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::marker::PhantomData;

use kube_devops_facts::Quantities;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

use crate::quantity::Quantity;

/// The requests or limits of a container.
#[derive(Debug, Clone, Copy, Default)]
pub struct ResourceMap {
    /// Whether there are any.
    pub has_entries: bool,
    /// Those of CPU and memory.
    pub quantities: Quantities,
}

impl<'de> Deserialize<'de> for ResourceMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MapVisitor;

        impl<'de> Visitor<'de> for MapVisitor {
            type Value = ResourceMap;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ResourceMap, A::Error> {
                let mut resources = ResourceMap::default();
                while let Some((Key(key), ResourceValue(value))) = map.next_entry::<Key, ResourceValue>()? {
                    resources.has_entries = true;
                    match &*key {
                        "cpu" => resources.quantities.cpu_millicores = value.map(Quantity::thousandths),
                        "memory" => resources.quantities.memory_bytes = value.map(Quantity::units),
                        _ => {}
                    }
                }
                Ok(resources)
            }
        }

        deserializer.deserialize_map(MapVisitor)
    }
}

/// A quantity, which can be a string or a number; `None` for any other value.
struct ResourceValue(Option<Quantity>);

/// The key of a map, without an allocation for known ones.
struct Key(Cow<'static, str>);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;

        impl Visitor<'_> for KeyVisitor {
            type Value = Key;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("a key")
            }

            fn visit_str<E>(self, text: &str) -> Result<Key, E> {
                let known = KEYS.into_iter().find(|known| *known == text);
                Ok(Key(known.map_or_else(|| Cow::Owned(text.to_owned()), Cow::Borrowed)))
            }
        }

        deserializer.deserialize_str(KeyVisitor)
    }
}

impl<'de> Deserialize<'de> for ResourceValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ResourceVisitor;

        impl<'de> Visitor<'de> for ResourceVisitor {
            type Value = ResourceValue;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("a quantity")
            }

            fn visit_str<E>(self, text: &str) -> Result<ResourceValue, E> {
                Ok(ResourceValue(Quantity::parse(text)))
            }

            fn visit_u64<E>(self, number: u64) -> Result<ResourceValue, E> {
                Ok(ResourceValue(Quantity::parse(&number.to_string())))
            }

            fn visit_i64<E>(self, number: i64) -> Result<ResourceValue, E> {
                Ok(ResourceValue(Quantity::parse(&number.to_string())))
            }

            fn visit_f64<E>(self, number: f64) -> Result<ResourceValue, E> {
                Ok(ResourceValue(Quantity::parse(&number.to_string())))
            }

            fn visit_bool<E>(self, _: bool) -> Result<ResourceValue, E> {
                Ok(ResourceValue(None))
            }

            // For the API server, null is the quantity 0.
            fn visit_unit<E>(self) -> Result<ResourceValue, E> {
                Ok(ResourceValue(Quantity::parse("0")))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<ResourceValue, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(ResourceValue(None))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ResourceValue, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(ResourceValue(None))
            }
        }

        deserializer.deserialize_any(ResourceVisitor)
    }
}

/// The type of a volume: the key of its source.
#[derive(Debug, Clone, Default)]
pub struct VolumeType(pub Option<Cow<'static, str>>);

/// The names of resources, and the keys of volumes.
const KEYS: [&str; 14] = [
    "cpu",
    "memory",
    "name",
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "hostPath",
    "image",
    "nfs",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

impl<'de> Deserialize<'de> for VolumeType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct VolumeVisitor;

        impl<'de> Visitor<'de> for VolumeVisitor {
            type Value = VolumeType;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("a volume")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<VolumeType, A::Error> {
                let mut volume = VolumeType(None);
                while let Some((Key(key), source)) = map.next_entry::<Key, Option<IgnoredAny>>()? {
                    if key != "name" && source.is_some() && volume.0.is_none() {
                        volume.0 = Some(key);
                    }
                }
                // Without a source, a volume is an empty directory.
                volume.0.get_or_insert(Cow::Borrowed("emptyDir"));
                Ok(volume)
            }

            fn visit_unit<E>(self) -> Result<VolumeType, E> {
                Ok(VolumeType(None))
            }
        }

        deserializer.deserialize_any(VolumeVisitor)
    }
}

/// Labels or annotations, sorted by key.
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
                formatter.write_str("a map of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Labels, A::Error> {
                let mut labels = Vec::new();
                while let Some((key, Text(value))) = map.next_entry::<String, Text>()? {
                    labels.push((key, value));
                }
                labels.sort();
                if let Some(pair) = labels.windows(2).find(|pair| pair[0].0 == pair[1].0) {
                    return Err(Error::custom(format!("duplicate key {:?}", pair[0].0)));
                }
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn quantities(json: &str) -> (bool, Option<u64>, Option<u64>) {
        let ResourceMap { has_entries, quantities } = serde_json::from_str(json).unwrap();
        (has_entries, quantities.cpu_millicores, quantities.memory_bytes)
    }

    #[test]
    fn quantities_are_strings_or_numbers() {
        assert_eq!(quantities(r#"{"cpu":"250m","memory":"1Ki","x":[1]}"#), (true, Some(250), Some(1024)));
        assert_eq!(quantities(r#"{"cpu":0.5,"memory":2048}"#), (true, Some(500), Some(2048)));
        assert_eq!(quantities(r#"{"nvidia.com/gpu":1,"cpu":null,"memory":{"a":1}}"#), (true, Some(0), None));
        assert_eq!(quantities("{}"), (false, None, None));
        assert!(serde_json::from_str::<ResourceMap>("[]").is_err());
    }

    #[test]
    fn the_type_of_a_volume_is_the_key_of_its_source() {
        let volume_type = |json: &str| serde_json::from_str::<VolumeType>(json).unwrap().0.unwrap_or_default();
        assert_eq!(volume_type(r#"{"hostPath":{"path":"/"},"name":"a"}"#), "hostPath");
        assert_eq!(volume_type(r#"{"name":"a","secret":null,"fancy":{}}"#), "fancy");
        assert_eq!(volume_type(r#"{"name":"a"}"#), "emptyDir");
        assert_eq!(volume_type("null"), "");
        assert!(serde_json::from_str::<VolumeType>("5").is_err());
    }
}
