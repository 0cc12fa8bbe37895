//! Names of Kubernetes objects in arguments. They are inserted into manifests and URLs.

use kube_devops_core::names::{is_label, is_subdomain};

/// The name of a namespace: a DNS label.
/// <https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#dns-label-names>
pub fn namespace(text: &str) -> Result<String, String> {
    name(text, is_label(text), "a namespace consists of at most 63 lowercase letters, digits and dashes")
}

/// The name of a Service, which is also a part of a host name.
pub fn service_name(text: &str) -> Result<String, String> {
    let is_valid = is_label(text) && text.starts_with(|first: char| first.is_ascii_lowercase());
    let rule = "a Service name consists of at most 63 lowercase letters, digits and dashes, and begins with a letter";
    name(text, is_valid, rule)
}

/// The name of an object of most other kinds.
pub fn object_name(text: &str) -> Result<String, String> {
    name(text, is_subdomain(text), "a name consists of at most 253 lowercase letters, digits, dashes and dots")
}

/// The name of an object, or an empty text if there is none.
pub fn optional_name(text: &str) -> Result<String, String> {
    if text.is_empty() { Ok(String::new()) } else { object_name(text) }
}

fn name(text: &str, is_valid: bool, rule: &str) -> Result<String, String> {
    if is_valid { Ok(text.to_owned()) } else { Err(rule.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_the_api_server_rejects_are_rejected() {
        assert!(namespace("platform-1").is_ok() && service_name("web-1").is_ok() && object_name("a.b-1").is_ok());
        assert!(namespace("1").is_ok() && service_name("1").is_err());
        for text in ["", "Platform", "a\nb: c", "-a", "a-", "a b", "a/b", "a_b", "a,b"] {
            assert!(namespace(text).is_err() && service_name(text).is_err() && object_name(text).is_err(), "{text}");
        }
        assert!(optional_name("").is_ok() && optional_name("a b").is_err());
        assert!(namespace("a.b").is_err() && service_name("a.b").is_err());
    }
}
