//! The probes of a container.

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// A probe of a container.
#[derive(Debug, Clone, Copy, Default)]
pub struct Probe {
    /// Whether it probes anything. The API server rejects a probe without a handler, which a template with an empty value results
    /// in.
    pub has_handler: bool,
}

impl<'de> Deserialize<'de> for Probe {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ProbeVisitor;

        impl<'de> Visitor<'de> for ProbeVisitor {
            type Value = Probe;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("a probe")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Probe, A::Error> {
                let mut has_handler = false;
                while let Some((ProbeKey { is_handler }, value)) = map.next_entry::<ProbeKey, Option<IgnoredAny>>()? {
                    has_handler |= is_handler && value.is_some();
                }
                Ok(Probe { has_handler })
            }
        }

        deserializer.deserialize_map(ProbeVisitor)
    }
}

/// The key of a field of a probe.
struct ProbeKey {
    is_handler: bool,
}

impl<'de> Deserialize<'de> for ProbeKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;

        impl Visitor<'_> for KeyVisitor {
            type Value = ProbeKey;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("a key")
            }

            fn visit_str<E>(self, text: &str) -> Result<ProbeKey, E> {
                Ok(ProbeKey { is_handler: matches!(text, "exec" | "grpc" | "httpGet" | "tcpSocket") })
            }
        }

        deserializer.deserialize_str(KeyVisitor)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_has_a_handler_if_it_says_what_to_probe() {
        let has_handler = |json: &str| serde_json::from_str::<Probe>(json).unwrap().has_handler;
        for handler in ["exec", "grpc", "httpGet", "tcpSocket"] {
            assert!(has_handler(&format!(r#"{{"periodSeconds":5,"{handler}":{{}}}}"#)), "{handler}");
            assert!(!has_handler(&format!(r#"{{"{handler}":null}}"#)), "{handler}");
        }
        assert!(!has_handler("{}") && !has_handler(r#"{"tcp":80}"#));
        assert!(serde_json::from_str::<Probe>("[]").is_err());
    }
}
