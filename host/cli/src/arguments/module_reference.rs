//! The locations of modules on the command line.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use kube_devops_oci::{Reference, SCHEME, without_credentials};

/// The location of a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModuleReference {
    /// A file.
    File(PathBuf),
    /// A repository in a registry.
    Oci(Reference),
    /// A ConfigMap in a cluster.
    ConfigMap {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The key of `binaryData`; `None` for the only one.
        key: Option<String>,
    },
}

impl FromStr for ModuleReference {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const FORMS: &str = "specify file:PATH, oci://HOST/REPOSITORY:TAG or configmap:NAMESPACE/NAME/KEY";
        if text.is_empty() {
            return Err(format!("the reference is empty; {FORMS}"));
        }
        if text.starts_with(SCHEME) {
            return text.parse().map(Self::Oci).map_err(|error: kube_devops_oci::InvalidReference| error.to_string());
        }
        if let Some(path) = text.strip_prefix("file:") {
            return Ok(Self::File(path.into()));
        }
        if let Some(path) = text.strip_prefix("configmap:") {
            let parts: Vec<&str> = path.split('/').collect();
            return match parts.as_slice() {
                [namespace, name] | [namespace, name, _] if !namespace.is_empty() && !name.is_empty() => {
                    let key = parts.get(2).map(|key| (*key).to_owned());
                    Ok(Self::ConfigMap { namespace: (*namespace).to_owned(), name: (*name).to_owned(), key })
                }
                _ => Err(format!("{text:?} does not identify a ConfigMap; {FORMS}")),
            };
        }
        if text.contains("://") {
            return Err(format!("unknown scheme; {FORMS}"));
        }
        if without_credentials(text) != text && !Path::new(text).exists() {
            return Err(format!(
                "the reference contains credentials; remove them, and log in with `docker login`; {FORMS}"
            ));
        }
        Ok(Self::File(text.into()))
    }
}

impl fmt::Display for ModuleReference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(formatter, "{}", path.display()),
            Self::Oci(reference) => write!(formatter, "{reference}"),
            Self::ConfigMap { namespace, name, key } => {
                let key = key.as_ref().map(|key| format!("/{key}")).unwrap_or_default();
                write!(formatter, "configmap:{namespace}/{name}{key}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_a_file_a_repository_or_a_config_map() {
        let file = |path: &str| Ok(ModuleReference::File(path.into()));
        assert_eq!("file:a/b.wasm".parse(), file("a/b.wasm"));
        assert_eq!("./a.wasm".parse(), file("./a.wasm"));
        let map = |key: Option<&str>| {
            let (namespace, name, key) = ("shop".to_owned(), "checks".to_owned(), key.map(str::to_owned));
            Ok(ModuleReference::ConfigMap { namespace, name, key })
        };
        assert_eq!("configmap:shop/checks".parse(), map(None));
        assert_eq!("configmap:shop/checks/a.wasm".parse(), map(Some("a.wasm")));
        for text in ["oci://host.example/checks/labels:1", "a.wasm", "configmap:shop/checks/a.wasm"] {
            assert_eq!(text.parse::<ModuleReference>().map(|reference| reference.to_string()), Ok(text.to_owned()));
        }
        for text in [
            "",
            "user:secret@host.example/checks:1",
            "ftp://host/a.wasm",
            "oci://checks",
            "configmap:checks",
            "configmap:/a/b",
        ] {
            assert!(text.parse::<ModuleReference>().is_err(), "{text}");
        }
    }
}
