//! References to modules in registries: `host[:port]/repository[:tag][@digest]`, with or without `oci://`.
//!
//! The grammar is that of distribution/reference, but the host is required: no registry is assumed.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use crate::Digest;

/// The scheme of references.
pub const SCHEME: &str = "oci://";
/// The longest repository.
const REPOSITORY: usize = 255;
/// The longest tag.
const TAG: usize = 128;

/// The location of a module in a registry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    host: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// A text that is not a reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a reference to a registry: {reason}; an example is oci://registry.example.com/checks/labels:1.0"
)]
pub struct InvalidReference {
    text: String,
    reason: String,
}

impl Reference {
    /// The host, with its port if there is one.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The repository within the registry.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag. It has no meaning if there is a digest.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest of the manifest.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The same repository with a digest, and without a tag.
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// What identifies the manifest in the repository: the digest or the tag.
    pub fn version(&self) -> &str {
        match &self.digest {
            Some(digest) => digest.as_str(),
            None => self.tag.as_deref().unwrap_or("latest"),
        }
    }

    /// Reports whether the host is this machine, where a connection without TLS cannot be read by others.
    pub fn is_loopback(&self) -> bool {
        is_loopback(host_name(&self.host))
    }
}

/// Reports whether a host without a port is this machine.
pub fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// Returns the host without its port.
pub(crate) fn host_name(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !name.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

impl FromStr for Reference {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        parse(text.strip_prefix(SCHEME).unwrap_or(text))
            .map_err(|reason| InvalidReference { text: without_credentials(text).chars().take(200).collect(), reason })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{SCHEME}{}/{}", self.host, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(formatter, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(formatter, "@{digest}"),
            None => Ok(()),
        }
    }
}

/// Returns a text without user and password before the host, and without everything else before the `@` that ends them.
/// The `@` before a digest ends none, also if its algorithm is in upper case.
pub fn without_credentials(text: &str) -> Cow<'_, str> {
    let starts_with =
        |text: &str, start: &str| text.get(..start.len()).is_some_and(|found| found.eq_ignore_ascii_case(start));
    let is_digest = |text: &str| ["sha256:", "sha384:", "sha512:"].iter().any(|name| starts_with(text, name));
    let Some((position, _)) = text.rmatch_indices('@').find(|(position, _)| !is_digest(&text[position + 1..])) else {
        return Cow::Borrowed(text);
    };
    let scheme = if text.starts_with(SCHEME) { SCHEME } else { "" };
    Cow::Owned(format!("{scheme}{}", &text[position + 1..]))
}

fn parse(text: &str) -> Result<Reference, String> {
    if without_credentials(text) != text {
        return Err("it contains credentials; remove them, and log in with `docker login` or `podman login`".to_owned());
    }
    if let Some((scheme, _)) = text.split_once("://") {
        return Err(format!("the scheme {scheme}:// is unknown; write oci:// or nothing in its place"));
    }
    let (name, digest) = match text.split_once('@') {
        Some((name, digest)) => (name, Some(digest.parse::<Digest>().map_err(|error| error.to_string())?)),
        None => (text, None),
    };
    let (host, path) = name.split_once('/').ok_or("it has no repository")?;
    let (repository, tag) = match path.rsplit_once(':') {
        Some((repository, tag)) => (repository, Some(tag)),
        None => (path, None),
    };
    if !is_host(host) {
        return Err(format!("{host:?} is not a host; a name with a dot or a port is required"));
    }
    if repository.len() > REPOSITORY || !repository.split('/').all(is_component) {
        return Err(format!(
            "{repository:?} is not a repository, which consists of lowercase letters, digits and . _ - /"
        ));
    }
    if let Some(tag) = tag
        && !is_tag(tag)
    {
        return Err(format!("{tag:?} is not a tag"));
    }
    let tag = match (tag, &digest) {
        (Some(tag), _) => Some(tag.to_owned()),
        (None, Some(_)) => None,
        (None, None) => Some("latest".to_owned()),
    };
    Ok(Reference { host: host.to_owned(), repository: repository.to_owned(), tag, digest })
}

fn is_host(host: &str) -> bool {
    let name = host_name(host);
    if name.starts_with('[') {
        let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
        return address.is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok());
    }
    let is_label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let port = host.strip_prefix(name).unwrap_or_default().strip_prefix(':');
    name.len() <= 253
        && name.split('.').all(is_label)
        && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
        && (name.contains('.') || port.is_some() || name == "localhost")
}

/// A component consists of lowercase letters and digits, separated by a dot, one or two underscores, or dashes.
fn is_component(component: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let (bytes, mut position) = (component.as_bytes(), 0);
    loop {
        let start = position;
        while position < bytes.len() && is_word(bytes[position]) {
            position += 1;
        }
        if position == start {
            return false;
        }
        if position == bytes.len() {
            return true;
        }
        let separator = position;
        while position < bytes.len() && !is_word(bytes[position]) {
            position += 1;
        }
        let separator = &component[separator..position];
        if !matches!(separator, "." | "_" | "__") && !separator.bytes().all(|byte| byte == b'-') {
            return false;
        }
    }
}

fn is_tag(tag: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=TAG).contains(&tag.len())
        && tag.bytes().enumerate().all(|(index, byte)| is_word(byte) || (index > 0 && matches!(byte, b'.' | b'-')))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DIGEST: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_reference_has_a_host_a_repository_and_a_tag_or_a_digest() {
        let reference: Reference = "oci://registry.example.com:5000/checks/labels:1.0".parse().unwrap();
        assert_eq!(
            (reference.host(), reference.repository(), reference.tag(), reference.digest()),
            ("registry.example.com:5000", "checks/labels", Some("1.0"), None)
        );
        let pinned: Reference = format!("ghcr.io/a/b@{DIGEST}").parse().unwrap();
        assert_eq!((pinned.tag(), pinned.version()), (None, DIGEST));
        let both: Reference = format!("oci://[::1]:5000/a:1@{DIGEST}").parse().unwrap();
        assert_eq!((both.host(), both.tag(), both.version()), ("[::1]:5000", Some("1"), DIGEST));
        assert_eq!("localhost/a".parse::<Reference>().unwrap().to_string(), "oci://localhost/a:latest");
        assert_eq!(both.to_string(), format!("oci://[::1]:5000/a:1@{DIGEST}"));
    }

    #[test]
    fn invalid_references_are_errors_with_a_reason() {
        let invalid = [
            ("labels", "no repository"),
            ("registry://host.example/a:1", "write oci:// or nothing"),
            ("https://host.example/a:1", "write oci:// or nothing"),
            ("checks/labels:1", "is not a host"),
            ("oci://host.example/Labels", "is not a repository"),
            ("host.example/a//b", "is not a repository"),
            ("host.example/a___b", "is not a repository"),
            ("host.example/a-", "is not a repository"),
            ("host.example/a:", "is not a tag"),
            ("host.example/a:.1", "is not a tag"),
            ("host.example/a@sha256:12", "is not a digest"),
            (
                "oci://host.example:5000/a:1.0@SHA256:12",
                "\"oci://host.example:5000/a:1.0@SHA256:12\" is not a reference",
            ),
            ("host.example:5000/a:1.0@SHA256:12", "is not a digest"),
            ("host.example:99999/a", "is not a host"),
            ("host.example/a?x=1", "is not a repository"),
            ("", "no repository"),
        ];
        for (text, reason) in invalid {
            let error = text.parse::<Reference>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn credentials_in_a_reference_are_rejected_and_not_repeated() {
        for text in [
            "oci://user:secret@host.example/checks:1",
            "user:secret@host.example/checks",
            "https://a:secret@b/c",
            "a:secret@b",
            "oci://user:secret/secret@host.example/checks",
            "oci://oci://user:secret@h/x",
            "user:secret@h/p://x",
            "user:secret@host.example/checks@sha256:12",
        ] {
            let error = text.parse::<Reference>().unwrap_err().to_string();
            assert!(!error.contains("secret") && error.contains("docker login"), "{error}");
        }
        let error = "oci://user:secret@host.example/checks:1".parse::<Reference>().unwrap_err().to_string();
        assert!(error.starts_with("\"oci://host.example/checks:1\""), "{error}");
        let error = "labels@sha256:12".parse::<Reference>().unwrap_err().to_string();
        assert!(error.contains("is not a digest") || error.contains("no repository"), "{error}");
    }

    #[test]
    fn loopback_is_this_machine_only() {
        let is_loopback = |text: &str| text.parse::<Reference>().unwrap().is_loopback();
        assert!(is_loopback("127.0.0.1:5000/a") && is_loopback("localhost/a") && is_loopback("[::1]:5000/a"));
        assert!(
            !is_loopback("127.0.0.1.example.com/a")
                && !is_loopback("10.0.0.1/a")
                && !is_loopback("localhost.example/a")
        );
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_a_valid_reference_is_read_as_it_is_written(text in "(oci://)?[a-z0-9.:/@_A-Z\\[\\]-]{0,60}") {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(reference.to_string().parse::<Reference>().unwrap(), reference);
            }
        }
    }
}
