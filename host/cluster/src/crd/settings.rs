//! The settings of a check, which API servers accept at any depth.

use std::fmt;

use kube_devops_engine::Limits;
use serde::Deserializer;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Deserializes settings. Those that are nested more deeply than the engine accepts are cut off below: the engine rejects what remains,
/// as an error of their check. Otherwise they would exceed the limit of the parser, and the whole policy could not be read.
///
/// # Errors
///
/// If they are malformed.
pub fn settings<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    let levels = Limits::default().settings_depth + 1;
    let value = Cut { levels }.deserialize(deserializer)?;
    Ok(Some(value).filter(|value| !value.is_null()))
}

/// Reads a value with a number of levels of objects and lists. What is below is null.
#[derive(Clone, Copy)]
struct Cut {
    levels: usize,
}

impl Cut {
    fn below(self) -> Option<Self> {
        self.levels.checked_sub(1).map(|levels| Self { levels })
    }
}

impl<'de> DeserializeSeed<'de> for Cut {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Cut {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("settings")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        match self.below() {
            Some(below) => {
                while let Some(item) = items.next_element_seed(below)? {
                    list.push(item);
                }
            }
            // Values are skipped without recursion.
            None => while items.next_element::<IgnoredAny>()?.is_some() {},
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = fields.next_key::<String>()? {
            match self.below() {
                Some(below) => drop(object.insert(key, fields.next_value_seed(below)?)),
                None => drop(fields.next_value::<IgnoredAny>()?),
            }
        }
        Ok(object.into())
    }
}
