//! Image references.

/// An image reference, taken apart: `registry:port/repository:tag@digest`.
///
/// The grammar is that of the distribution project: a colon behind the last slash starts the tag, any other colon is
/// a registry's port; an `@` starts the digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reference<'a> {
    /// Registry and repository.
    pub name: &'a str,
    /// The tag, where one is given and not empty.
    pub tag: Option<&'a str>,
    /// The digest with its algorithm, such as `sha256:0123`.
    pub digest: Option<&'a str>,
}

impl<'a> Reference<'a> {
    /// Takes a reference apart. It never fails: what is malformed is for the container runtime to refuse.
    pub fn parse(reference: &'a str) -> Self {
        let reference = reference.trim();
        let (rest, digest) = match reference.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest).filter(|digest| !digest.is_empty())),
            None => (reference, None),
        };
        let path = rest.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match rest[path..].find(':') {
            Some(colon) => (&rest[..path + colon], Some(&rest[path + colon + 1..]).filter(|tag| !tag.is_empty())),
            None => (rest, None),
        };
        Self { name, tag, digest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_references_apart() {
        for (reference, name, tag, digest) in [
            ("nginx", "nginx", None, None),
            ("nginx:1.29", "nginx", Some("1.29"), None),
            ("registry:5000/nginx", "registry:5000/nginx", None, None),
            ("registry:5000/team/nginx:1", "registry:5000/team/nginx", Some("1"), None),
            ("nginx@sha256:abc", "nginx", None, Some("sha256:abc")),
            ("r:5000/nginx:latest@sha256:abc", "r:5000/nginx", Some("latest"), Some("sha256:abc")),
            ("nginx:", "nginx", None, None),
            ("nginx@", "nginx", None, None),
            ("", "", None, None),
            (" nginx:1 ", "nginx", Some("1"), None),
            (":", "", None, None),
            ("a/b/c:d:e", "a/b/c", Some("d:e"), None),
            ("ünï/cødé:läst", "ünï/cødé", Some("läst"), None),
        ] {
            assert_eq!(Reference::parse(reference), Reference { name, tag, digest }, "{reference:?}");
        }
    }
}
