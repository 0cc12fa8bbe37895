//! The syntax of names in Kubernetes.

use crate::workload::group;

/// The longest uid, in bytes. The API server creates UUIDs, but accepts any text in a reference.
const MAX_UID_LENGTH: usize = 253;

/// Whether a text is a DNS subdomain, as the names of most objects are.
/// <https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#dns-subdomain-names>
pub fn is_subdomain(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(is_lowercase_label)
}

/// Whether the fields of a reference to an owner can be those of an object. The API server only requires that they are not empty:
/// the client that creates the dependent chooses the text.
pub fn is_owner(api_version: &str, kind: &str, name: &str) -> bool {
    let version = api_version.split_once('/').map_or(api_version, |(_, version)| version);
    let group = group(api_version);
    let is_group = group.is_empty() && !api_version.contains('/') || is_subdomain(group);
    // A manifest that is not from an API server may have none.
    let is_version = api_version.is_empty() || is_group && is_label(version);
    is_version && is_kind(kind) && is_subdomain(name)
}

/// Whether a text can be the uid of an object.
pub fn is_uid(uid: &str) -> bool {
    !uid.is_empty() && uid.len() <= MAX_UID_LENGTH && uid.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Whether a text is a kind, which is a DNS label in any case.
fn is_kind(kind: &str) -> bool {
    is_label(&kind.to_ascii_lowercase())
}

/// Whether a text is a DNS label of at most 63 characters, as the names of namespaces are.
/// <https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#dns-label-names>
pub fn is_label(text: &str) -> bool {
    text.len() <= 63 && is_lowercase_label(text)
}

/// Whether a text consists of lower case letters, digits and dashes, and starts and ends with a letter or digit.
fn is_lowercase_label(text: &str) -> bool {
    let is_alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let ends = [bytes.first(), bytes.last()];
    ends.into_iter().all(|end| end.is_some_and(|&end| is_alphanumeric(end)))
        && bytes.iter().all(|&byte| is_alphanumeric(byte) || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_objects_are_subdomains() {
        for name in ["a", "web-5d9", "web.example.com", "9", &"a".repeat(253)] {
            assert!(is_subdomain(name), "{name}");
        }
        for name in
            ["", "Web", "a_b", "a b", "-a", "a-", "a..b", ".a", "a/b", "a%2fb", "web?x=1", "ä", &"a".repeat(254)]
        {
            assert!(!is_subdomain(name), "{name}");
        }
    }

    #[test]
    fn an_owner_has_the_api_version_the_kind_and_the_name_of_an_object() {
        for (api_version, kind, name) in [
            ("apps/v1", "ReplicaSet", "web-5d9"),
            ("", "Job", "j"),
            ("v1", "Node", "node-1.example.com"),
            ("kafka.strimzi.io/v1beta2", "StrimziPodSet", "cluster-kafka"),
        ] {
            assert!(is_owner(api_version, kind, name), "{api_version} {kind} {name}");
        }
        let long = "A".repeat(60_000);
        for (api_version, kind, name) in [
            ("apps/v1", "Deployment", "web?x=%20<i>"),
            ("apps/v1", "Deployment", "../secrets/a"),
            ("apps/v1", "Deployment", &long),
            ("apps/v1", "Deployment", ""),
            ("apps/v1", &long, "web"),
            ("apps/v1", "De/ploy", "web"),
            ("apps/v1", "", "web"),
            (&long, "Deployment", "web"),
            ("a/b/c", "Deployment", "web"),
            ("/v1", "Deployment", "web"),
        ] {
            assert!(!is_owner(api_version, kind, name), "{kind:.20} {name:.20}");
        }
    }

    #[test]
    fn a_uid_is_a_short_printable_text() {
        assert!(is_uid("0fbb0a5e-3f5c-4b9c-a3b1-0c6f1c1f2a77"));
        for uid in ["", "a b", "a\n", "ä", &"a".repeat(254)] {
            assert!(!is_uid(uid), "{uid}");
        }
    }
}
