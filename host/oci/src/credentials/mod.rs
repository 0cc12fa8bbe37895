//! Credentials for registries, from configuration files of docker and podman and from pull secrets of Kubernetes.
//!
//! Which credentials apply to a repository follows the kubelet: a key is a host, in which `*` stands for any part of a
//! label, and an optional path; all keys that match are candidates, the longest path first.

mod config;
mod helper;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::OciError;
use config::{Configuration, Entry};

/// What proves an identity.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// A user and a password.
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// An OAuth refresh token, which is exchanged for an access token.
    Identity(String),
    /// An access token.
    Access(String),
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Passwords must not appear in logs.
        match self {
            Self::Basic { user, .. } => write!(formatter, "Basic({user})"),
            Self::Identity(_) => formatter.write_str("Identity"),
            Self::Access(_) => formatter.write_str("Access"),
        }
    }
}

/// Credentials that apply to a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// The source and the user, for errors.
    pub origin: String,
    /// What proves the identity.
    pub secret: Secret,
}

/// A source of credentials.
struct Source {
    origin: String,
    configuration: Configuration,
    /// Programs are only started for the configuration of the user, never for that of a Secret.
    runs_helpers: bool,
}

/// The known credentials.
#[derive(Default)]
pub struct Keychain {
    sources: Vec<Source>,
}

impl Keychain {
    /// Returns the credentials of the user: those of `file`, of the file in `REGISTRY_AUTH_FILE`, or of the files of docker and podman.
    ///
    /// # Errors
    ///
    /// If a file cannot be read, or is not valid.
    pub fn of_user(file: Option<&Path>) -> Result<Self, OciError> {
        Self::of_files(file, |name| std::env::var_os(name))
    }

    fn of_files(file: Option<&Path>, variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, OciError> {
        let mut keychain = Self::default();
        let selected = || variable("REGISTRY_AUTH_FILE").filter(|file| !file.is_empty()).map(PathBuf::from);
        let files = match file.map(Path::to_owned).or_else(selected) {
            // Without its credentials, requests would be anonymous.
            Some(file) => vec![file],
            None => default_files(variable).into_iter().filter(|file| file.is_file()).collect(),
        };
        for file in files {
            let origin = file.display().to_string();
            let bytes = std::fs::read(&file)
                .map_err(|error| OciError::Credentials { origin: origin.clone(), reason: error.to_string() })?;
            keychain.add(origin, &bytes, true)?;
        }
        Ok(keychain)
    }

    /// Returns the credentials of a pull secret with the type `kubernetes.io/dockerconfigjson` or `kubernetes.io/dockercfg`.
    /// `name` identifies it in errors.
    ///
    /// # Errors
    ///
    /// If it has neither key, or is not valid.
    pub fn of_secret<'a>(name: &str, data: impl Fn(&str) -> Option<&'a [u8]>) -> Result<Self, OciError> {
        let origin = format!("the Secret {name}");
        let mut keychain = Self::default();
        if let Some(bytes) = data(".dockerconfigjson") {
            keychain.add(origin, bytes, false)?;
        } else if let Some(bytes) = data(".dockercfg") {
            let wrapped = [b"{\"auths\":".as_slice(), bytes, b"}"].concat();
            keychain.add(origin, &wrapped, false)?;
        } else {
            let reason =
                "it has no key .dockerconfigjson; create it with `kubectl create secret docker-registry`".to_owned();
            return Err(OciError::Credentials { origin, reason });
        }
        Ok(keychain)
    }

    fn add(&mut self, origin: String, bytes: &[u8], runs_helpers: bool) -> Result<(), OciError> {
        let configuration =
            Configuration::read(bytes).map_err(|reason| OciError::Credentials { origin: origin.clone(), reason })?;
        self.sources.push(Source { origin, configuration, runs_helpers });
        Ok(())
    }

    /// Returns all credentials that apply to a repository, the most specific ones first.
    ///
    /// # Errors
    ///
    /// If matching credentials cannot be read, or if a credential helper fails.
    pub async fn find(&self, host: &str, repository: &str) -> Result<Vec<Credential>, OciError> {
        let mut found = Vec::new();
        for source in &self.sources {
            let error = |reason| OciError::Credentials { origin: source.origin.clone(), reason };
            let mut keys: Vec<_> =
                source.configuration.auths.iter().filter(|(key, _)| matches(key, host, repository)).collect();
            keys.sort_by_key(|(key, _)| std::cmp::Reverse(path_of(key).len()));
            for (key, entry) in keys {
                if let Some(secret) = entry.secret().map_err(|reason| error(format!("{key}: {reason}")))? {
                    found.push(Credential { origin: described(&source.origin, key, &secret), secret });
                }
            }
            if source.runs_helpers
                && let Some((key, program)) = source.configuration.helper(host)
                && let Some(secret) = helper::get(&program, &key).await.map_err(error)?
            {
                let origin = format!("{} (docker-credential-{program})", source.origin);
                found.push(Credential { origin: described(&origin, &key, &secret), secret });
            }
        }
        Ok(found)
    }
}

fn described(origin: &str, key: &str, secret: &Secret) -> String {
    match secret {
        Secret::Basic { user, .. } => format!("{origin}, key {key}, user {user}"),
        Secret::Identity(_) | Secret::Access(_) => format!("{origin}, key {key}, token"),
    }
}

/// The files with credentials, the most specific first, as podman and docker read them. They need not exist.
fn default_files(variable: impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let home = variable("HOME").map(PathBuf::from);
    let docker = variable("DOCKER_CONFIG").map(PathBuf::from).or_else(|| Some(home.as_ref()?.join(".docker")));
    let runtime = variable("XDG_RUNTIME_DIR").map(|folder| PathBuf::from(folder).join("containers/auth.json"));
    let user = home.map(|home| home.join(".config/containers/auth.json"));
    [runtime, user, docker.map(|folder| folder.join("config.json"))].into_iter().flatten().collect()
}

/// Splits a key into host and path: `https://host/v1/` is the host alone.
fn parts(key: &str) -> (&str, &str) {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let (host, path) = key.split_once('/').unwrap_or((key, ""));
    let path = path.trim_matches('/');
    (host, if matches!(path, "v1" | "v2") { "" } else { path })
}

fn path_of(key: &str) -> &str {
    parts(key).1
}

/// Docker Hub has several names.
fn canonical(host: &str) -> &str {
    if matches!(host, "index.docker.io" | "registry-1.docker.io" | "docker.io") { "docker.io" } else { host }
}

fn matches(key: &str, host: &str, repository: &str) -> bool {
    let (pattern, path) = parts(key);
    let is_prefix =
        path.is_empty() || repository.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    is_prefix && host_matches(canonical(pattern), canonical(host))
}

fn host_matches(pattern: &str, host: &str) -> bool {
    if pattern == host {
        return true;
    }
    let split = |host: &str| -> (Vec<String>, String) {
        let name = crate::reference::host_name(host);
        (name.split('.').map(str::to_owned).collect(), host[name.len()..].to_owned())
    };
    let ((pattern, pattern_port), (host, port)) = (split(pattern), split(host));
    pattern_port == port
        && pattern.len() == host.len()
        && pattern.iter().zip(&host).all(|(pattern, label)| label_matches(pattern, label))
}

/// `*` stands for any number of characters of a label.
fn label_matches(pattern: &str, label: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == label,
        Some((start, rest)) => label.strip_prefix(start).is_some_and(|remaining| {
            let positions = remaining.char_indices().map(|(position, _)| position).chain([remaining.len()]);
            positions.into_iter().any(|position| label_matches(rest, &remaining[position..]))
        }),
    }
}

/// The entries of a configuration, by key.
type Entries = BTreeMap<String, Entry>;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn keychain(configuration: &str) -> Keychain {
        Keychain::of_secret("pull", |key| (key == ".dockerconfigjson").then_some(configuration.as_bytes())).unwrap()
    }

    async fn users(keychain: &Keychain, host: &str, repository: &str) -> Vec<String> {
        let found = keychain.find(host, repository).await.unwrap();
        found
            .into_iter()
            .map(|credential| match credential.secret {
                Secret::Basic { user, .. } => user,
                Secret::Identity(token) | Secret::Access(token) => token,
            })
            .collect()
    }

    #[tokio::test]
    async fn keys_match_as_for_the_kubelet() {
        let keychain = keychain(
            r#"{"auths": {
                "https://registry.example.com/v2/": {"username": "host", "password": "x"},
                "registry.example.com/team": {"username": "team", "password": "x"},
                "registry.example.com/team/a": {"username": "team-a", "password": "x"},
                "*.example.org:5000": {"username": "glob", "password": "x"},
                "https://index.docker.io/v1/": {"auth": "aHViOnB3Og=="},
                "tokens.example.com": {"identitytoken": "refresh"},
                "access.example.com": {"registrytoken": "access"}
            }}"#,
        );
        assert_eq!(users(&keychain, "registry.example.com", "team/a").await, ["team-a", "team", "host"]);
        assert_eq!(users(&keychain, "registry.example.com", "team/ab").await, ["team", "host"]);
        assert_eq!(users(&keychain, "registry.example.com", "teams").await, ["host"]);
        assert_eq!(users(&keychain, "registry.example.com:443", "team").await, [""; 0]);
        assert_eq!(users(&keychain, "a.example.org:5000", "x").await, ["glob"]);
        assert_eq!(users(&keychain, "a.b.example.org:5000", "x").await, [""; 0]);
        assert_eq!(users(&keychain, "a.example.org", "x").await, [""; 0]);
        assert_eq!(users(&keychain, "docker.io", "library/x").await, ["hub"]);
        assert_eq!(users(&keychain, "tokens.example.com", "x").await, ["refresh"]);
        assert_eq!(users(&keychain, "access.example.com", "x").await, ["access"]);
        let found = keychain.find("docker.io", "x").await.unwrap();
        assert_eq!(found[0].secret, Secret::Basic { user: "hub".to_owned(), password: "pw:".to_owned() });
        assert_eq!(found[0].origin, "the Secret pull, key https://index.docker.io/v1/, user hub");
        assert!(!format!("{found:?}").contains("pw"));
    }

    #[test]
    fn a_star_is_any_part_of_a_label() {
        assert!(
            label_matches("*", "a")
                && label_matches("a*", "abc")
                && label_matches("a*c", "abc")
                && label_matches("*b*", "abc")
        );
        assert!(!label_matches("a*d", "abc") && !label_matches("", "abc") && label_matches("*", ""));
    }

    #[tokio::test]
    async fn invalid_secrets_are_errors_that_name_them() {
        let error = |data: &'static str| {
            Keychain::of_secret("pull", move |key| (key == ".dockerconfigjson").then_some(data.as_bytes()))
        };
        assert!(error("{").err().unwrap().to_string().contains("the Secret pull"));
        let none = Keychain::of_secret("pull", |_| None).err().unwrap().to_string();
        assert!(none.contains("kubectl create secret docker-registry"), "{none}");
        let broken = keychain(r#"{"auths": {"host.example": {"auth": "%%%"}}}"#);
        assert!(broken.find("host.example", "a").await.unwrap_err().to_string().contains("host.example"));
        assert_eq!(broken.find("other.example", "a").await.unwrap(), []);
        let legacy = Keychain::of_secret("pull", |key| {
            (key == ".dockercfg").then_some(br#"{"host.example": {"username": "u", "password": "p"}}"#.as_slice())
        });
        assert_eq!(users(&legacy.unwrap(), "host.example", "a").await, ["u"]);
    }

    #[tokio::test]
    async fn a_secret_starts_no_program() {
        let keychain =
            keychain(r#"{"credsStore": "does-not-exist", "credHelpers": {"host.example": "does-not-exist"}}"#);
        assert_eq!(keychain.find("host.example", "a").await.unwrap(), []);
    }

    fn variables(values: &[(&str, &str)]) -> impl Fn(&str) -> Option<OsString> + use<> {
        let values: BTreeMap<String, OsString> =
            values.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
        move |name| values.get(name).cloned()
    }

    #[test]
    fn the_files_of_podman_and_docker_are_read() {
        let all = default_files(variables(&[("HOME", "/home/x"), ("XDG_RUNTIME_DIR", "/run/1")]));
        let expected =
            ["/run/1/containers/auth.json", "/home/x/.config/containers/auth.json", "/home/x/.docker/config.json"];
        assert_eq!(all, expected.map(PathBuf::from));
        assert_eq!(default_files(variables(&[("DOCKER_CONFIG", "/d")])), [PathBuf::from("/d/config.json")]);
    }

    #[test]
    fn a_selected_file_must_exist() {
        let folder = tempfile::tempdir().unwrap();
        let (file, missing) = (folder.path().join("auth.json"), folder.path().join("missing"));
        std::fs::write(&file, "{}").unwrap();
        let sources = |selected: Option<&Path>, variable: &str| {
            let variables = variables(&[("REGISTRY_AUTH_FILE", variable), ("HOME", missing.to_str().unwrap())]);
            Keychain::of_files(selected, variables).map(|keychain| keychain.sources.len())
        };
        assert_eq!(sources(None, file.to_str().unwrap()), Ok(1));
        assert_eq!(sources(Some(&file), missing.to_str().unwrap()), Ok(1));
        assert_eq!(sources(None, ""), Ok(0));
        for error in [sources(None, missing.to_str().unwrap()), sources(Some(&missing), "")] {
            let error = error.unwrap_err().to_string();
            assert!(error.contains("missing") && error.contains("No such file"), "{error}");
        }
    }
}
