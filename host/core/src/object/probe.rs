//! The probes of a container.

use serde::Deserialize;
use serde::de::IgnoredAny;

/// A probe of a container: its handlers, which say what is probed.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Probe {
    exec: Option<IgnoredAny>,
    grpc: Option<IgnoredAny>,
    http_get: Option<IgnoredAny>,
    tcp_socket: Option<IgnoredAny>,
}

impl Probe {
    /// Whether there is a handler. The API server rejects a probe without one, which a template with an empty value results in.
    pub fn has_handler(&self) -> bool {
        [&self.exec, &self.grpc, &self.http_get, &self.tcp_socket].into_iter().any(Option::is_some)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::strict::Fields;
    use super::*;

    #[test]
    fn a_probe_has_a_handler_if_it_says_what_to_probe() {
        let has_handler = |json: &str| serde_json::from_str::<Fields<Probe>>(json).unwrap().0.has_handler();
        for handler in ["exec", "grpc", "httpGet", "tcpSocket"] {
            assert!(has_handler(&format!(r#"{{"periodSeconds":5,"{handler}":{{}}}}"#)), "{handler}");
            assert!(!has_handler(&format!(r#"{{"{handler}":null}}"#)), "{handler}");
        }
        assert!(!has_handler("{}") && !has_handler(r#"{"tcp":80}"#));
        assert!(serde_json::from_str::<Fields<Probe>>("[]").is_err());
    }
}
