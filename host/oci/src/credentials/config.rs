//! The configuration file of docker.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;

use super::{Entries, Secret, canonical, parts};

/// The parts of the configuration file of docker that are about credentials.
#[derive(Default, Deserialize)]
pub(super) struct Configuration {
    #[serde(default)]
    pub(super) auths: Entries,
    #[serde(default, rename = "credsStore")]
    store: Option<String>,
    #[serde(default, rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
}

/// The credentials of one key.
#[derive(Default, Deserialize)]
pub(super) struct Entry {
    #[serde(default)]
    auth: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default, rename = "identitytoken")]
    identity: String,
    #[serde(default, rename = "registrytoken")]
    access: String,
}

impl Configuration {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        // The text of an error could contain a part of a password.
        serde_json::from_slice(bytes).map_err(|error| {
            format!("it is not a configuration of docker: line {}, column {}", error.line(), error.column())
        })
    }

    /// Returns the key and the program that knows the credentials of a host.
    pub(super) fn helper(&self, host: &str) -> Option<(String, String)> {
        let own = self.helpers.iter().find(|(key, _)| canonical(parts(key).0) == canonical(host));
        if let Some((key, program)) = own {
            return Some((key.clone(), program.clone()));
        }
        let store = self.store.clone().filter(|store| !store.is_empty())?;
        // Docker stores the credentials of Docker Hub with this key.
        let key = if canonical(host) == "docker.io" { "https://index.docker.io/v1/" } else { host };
        Some((key.to_owned(), store))
    }
}

impl Entry {
    /// Returns the secret; `None` if the entry is empty, as for a host whose credentials are in a store.
    pub(super) fn secret(&self) -> Result<Option<Secret>, String> {
        if !self.access.is_empty() {
            return Ok(Some(Secret::Access(self.access.clone())));
        }
        if !self.identity.is_empty() {
            return Ok(Some(Secret::Identity(self.identity.clone())));
        }
        if !self.username.is_empty() {
            return Ok(Some(Secret::Basic { user: self.username.clone(), password: self.password.clone() }));
        }
        if self.auth.is_empty() {
            return Ok(None);
        }
        let decoded = BASE64_STANDARD.decode(self.auth.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let decoded = decoded.ok_or("auth is not valid base64")?;
        let (user, password) = decoded.split_once(':').ok_or("auth is not USER:PASSWORD in base64")?;
        Ok(Some(Secret::Basic { user: user.to_owned(), password: password.trim_matches('\0').to_owned() }))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_helper_of_a_host_precedes_the_store() {
        let configuration = Configuration::read(
            br#"{"auths": {"host.example": {}}, "credsStore": "store", "credHelpers": {"https://host.example": "helper"}}"#,
        )
        .unwrap();
        assert_eq!(configuration.helper("host.example").unwrap().1, "helper");
        assert_eq!(configuration.helper("other.example").unwrap(), ("other.example".to_owned(), "store".to_owned()));
        assert_eq!(configuration.helper("docker.io").unwrap().0, "https://index.docker.io/v1/");
        assert_eq!(configuration.auths["host.example"].secret().unwrap(), None);
    }

    #[test]
    fn errors_contain_nothing_of_the_file() {
        let error = Configuration::read(br#"{"auths": "hunter2"}"#).err().unwrap();
        assert!(!error.contains("hunter2") && error.contains("line 1"), "{error}");
    }
}
