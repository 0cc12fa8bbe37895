//! Challenges of registries, and the tokens that answer them.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderMap, HeaderValue, Uri, header};
use http_auth::parser::ChallengeParser;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::host_of;

/// The name of this program for a token server.
const CLIENT: &str = "kube-devops";

/// What a registry asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// A user and a password with each request.
    Basic,
    /// A token of a token server.
    Bearer {
        /// The address of the token server.
        realm: String,
        /// The name of the registry for the token server.
        service: Option<String>,
    },
}

impl Challenge {
    /// Reads the challenges of an answer. A token is preferred to a password.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut found = None;
        for value in headers.get_all(header::WWW_AUTHENTICATE) {
            let Ok(text) = value.to_str() else { continue };
            for challenge in ChallengeParser::new(text).map_while(Result::ok) {
                let parameter = |name: &str| {
                    let mut parameters = challenge.params.iter();
                    parameters.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_unescaped())
                };
                if challenge.scheme.eq_ignore_ascii_case("bearer")
                    && let Some(realm) = parameter("realm")
                {
                    return Some(Self::Bearer { realm, service: parameter("service") });
                }
                if challenge.scheme.eq_ignore_ascii_case("basic") {
                    found = Some(Self::Basic);
                }
            }
        }
        found
    }
}

/// Returns the address at which a token server issues a token for `scope`.
pub(super) fn address(realm: &str, service: Option<&str>, scope: &str) -> String {
    let separator = if realm.contains('?') { '&' } else { '?' };
    let service = service.map(|service| format!("service={}&", encoded(service))).unwrap_or_default();
    format!("{realm}{separator}{service}scope={}", encoded(scope))
}

/// Returns the form that exchanges an identity token for an access token.
pub(super) fn form(identity: &str, service: Option<&str>, scope: &str) -> String {
    let service = encoded(service.unwrap_or_default());
    let (scope, identity) = (encoded(scope), encoded(identity));
    format!("grant_type=refresh_token&client_id={CLIENT}&service={service}&scope={scope}&refresh_token={identity}")
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// Returns the header for a user and a password.
pub(super) fn basic(user: &str, password: &str) -> Option<HeaderValue> {
    sensitive(&format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}"))))
}

/// Returns the header for a token.
pub(super) fn bearer(token: &str) -> Option<HeaderValue> {
    sensitive(&format!("Bearer {token}"))
}

fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Reads the token in an answer of a token server.
pub(super) fn token(answer: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Answer {
        token: Option<String>,
        access_token: Option<String>,
    }
    let answer: Answer = serde_json::from_slice(answer).ok()?;
    answer.token.or(answer.access_token).filter(|token| !token.is_empty())
}

/// Checks that credentials may be sent to a token server: with TLS, or without it for a registry without TLS. Otherwise returns what is
/// wrong with the registry.
pub(super) fn check(realm: &Uri, registry_scheme: &str) -> Result<(), String> {
    match realm.scheme_str() {
        Some("https") => Ok(()),
        Some("http") if registry_scheme == "http" => Ok(()),
        Some("http") => Err(format!(
            "its token server {} does not use TLS, and gets no credentials; the address in its configuration must start with https://",
            host_of(realm)
        )),
        _ => Err(format!("the address of its token server is not valid: {:?}", realm.to_string())),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn challenge(values: &[&str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_str(value).unwrap());
        }
        Challenge::of(&headers)
    }

    #[test]
    fn challenges_are_read_and_tokens_are_preferred() {
        let bearer =
            Challenge::Bearer { realm: "https://auth.example/token".to_owned(), service: Some("a,b".to_owned()) };
        let text = r#"Bearer realm="https://auth.example/token",service="a,b",scope="repository:x:pull""#;
        assert_eq!(challenge(&[text]), Some(bearer.clone()));
        assert_eq!(challenge(&["Basic realm=\"x\"", text]), Some(bearer));
        assert_eq!(challenge(&["basic realm=x"]), Some(Challenge::Basic));
        assert_eq!(challenge(&["Negotiate"]), None);
        assert_eq!(challenge(&[]), None);
    }

    #[test]
    fn parameters_are_encoded() {
        let address = address("https://a/t", Some("x y"), "repository:a/b:pull");
        assert_eq!(address, "https://a/t?service=x%20y&scope=repository%3Aa%2Fb%3Apull");
        assert!(super::address("https://a/t?x=1", None, "s").contains("?x=1&scope=s"));
        assert!(form("a&b", None, "s").ends_with("refresh_token=a%26b"));
    }

    #[test]
    fn a_token_has_one_of_two_names() {
        assert_eq!(token(br#"{"token": "a"}"#).as_deref(), Some("a"));
        assert_eq!(token(br#"{"access_token": "b", "expires_in": 1}"#).as_deref(), Some("b"));
        assert_eq!(token(br#"{"token": ""}"#), None);
        assert!(bearer("a\nb").is_none());
    }

    #[test]
    fn credentials_are_not_sent_without_tls_by_a_registry_with_tls() {
        let check = |realm: &str, scheme: &str| check(&realm.parse().unwrap(), scheme);
        let error = check("http://auth.example/token", "https").unwrap_err();
        assert!(error.contains("its token server auth.example does not use TLS"), "{error}");
        assert_eq!(check("http://auth.example/token", "http"), Ok(()));
        assert_eq!(check("https://auth.example", "http"), Ok(()));
        assert!(check("/token", "http").unwrap_err().contains("is not valid: \"/token\""));
    }

    proptest! {
        #[test]
        fn any_challenge_is_read_without_a_panic(text in "[ -~]{0,80}") {
            challenge(&[&text]);
        }
    }
}
