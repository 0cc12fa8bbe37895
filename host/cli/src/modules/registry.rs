//! Registries and the store of modules, as the options select them.

use std::ffi::OsString;
use std::fs;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use kube_devops_engine::PrivateFolder;
use kube_devops_oci::client::check_ca_bundle;
use kube_devops_oci::fetch::{self, Request};
use kube_devops_oci::{Access, Fetched, Keychain, OciError, Options, PublicKey, Reference, Repository, Store};
use kube_devops_runtime::clock::Now;

use crate::arguments::{CacheArguments, RegistryArguments, VerificationArguments};

/// The largest file with a key, a certificate or a configuration, in bytes.
const MAX_FILE_SIZE: u64 = 1024 * 1024;

impl RegistryArguments {
    /// Returns how to reach registries.
    pub fn options(&self) -> Result<Options> {
        let ca_bundle = self.registry_ca_file.as_deref().map(ca_bundle).transpose()?;
        Ok(Options { ca_bundle, plain_http: self.registry_plain_http, ..Options::default() })
    }

    /// Returns the credentials for registries.
    pub fn keychain(&self) -> Result<Keychain> {
        Ok(Keychain::of_user(self.registry_config.as_deref())?)
    }

    /// Opens the repository of a reference to write in it.
    pub async fn open_to_push(&self, reference: &Reference) -> Result<Repository> {
        Ok(Repository::open(reference, &self.keychain()?, &self.options()?, Access::Push).await?)
    }
}

impl VerificationArguments {
    /// Returns the keys of which one must have signed a module.
    pub fn keys(&self) -> Result<Vec<PublicKey>> {
        let key = |file: &PathBuf| {
            let key = PublicKey::from_pem(&read(file)?);
            key.with_context(|| format!("failed to read {}", file.display()))
        };
        self.module_keys.iter().map(key).collect()
    }
}

impl CacheArguments {
    /// Returns the selected folder. An empty variable selects none.
    pub fn selected(&self) -> Option<&Path> {
        self.cache_dir.as_deref().filter(|folder| !folder.as_os_str().is_empty())
    }

    /// Returns the path of the folder for pulled modules and compiled code.
    pub fn path(&self) -> Result<PathBuf> {
        match self.selected() {
            Some(folder) => Ok(folder.to_owned()),
            None => default_folder(|name| std::env::var_os(name))
                .map_err(|reason| anyhow!("there is no folder for modules: {reason}; specify --cache-dir")),
        }
    }

    /// Returns the folder for pulled modules and compiled code.
    ///
    /// # Errors
    ///
    /// If there is none, or others can write in it.
    pub fn folder(&self) -> Result<PrivateFolder> {
        Ok(PrivateFolder::open(&self.path()?)?)
    }

    /// Returns the store of pulled modules.
    pub fn store(&self) -> Result<Store> {
        Ok(store(&self.folder()?))
    }
}

/// Reads the certificates in a file.
fn ca_bundle(file: &Path) -> Result<Vec<u8>> {
    let bundle = read(file)?.into_bytes();
    check_ca_bundle(&bundle).with_context(|| format!("failed to read {}", file.display()))?;
    Ok(bundle)
}

/// Returns the store of pulled modules in a folder.
pub fn store(folder: &PrivateFolder) -> Store {
    Store::new(folder.path().to_owned())
}

/// Returns the folder in the cache of the user, or why there is none.
fn default_folder(variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, String> {
    let path = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    // The specification of XDG_CACHE_HOME ignores relative paths.
    if let Some(cache) = path("XDG_CACHE_HOME").filter(|path| path.is_absolute()) {
        return Ok(cache.join("kube-devops"));
    }
    let home = path("HOME").ok_or("neither HOME nor XDG_CACHE_HOME is set")?;
    if !home.is_absolute() {
        return Err(format!("HOME is {}, which is not an absolute path", home.display()));
    }
    // A home that does not exist, as that of some users of services, is not created.
    if !home.is_dir() {
        return Err(format!("the folder {} in HOME does not exist", home.display()));
    }
    Ok(home.join(".cache/kube-devops"))
}

/// Fetches a module from the store or its registry, and returns whether it could be stored.
pub async fn pull(
    store: Option<&Store>,
    reference: &Reference,
    registry: &RegistryArguments,
    verification: &VerificationArguments,
    most: u64,
) -> Result<(Fetched, Result<(), OciError>)> {
    let (options, keychain, keys) = (registry.options()?, registry.keychain()?, verification.keys()?);
    let now = Now::read().utc.timestamp();
    let request = Request { reference, options: &options, keychain: &keychain, keys: &keys, most, budget: None, now };
    Ok(fetch::pull(store, request).await?)
}

/// Reads a small text file.
pub fn read(path: &Path) -> Result<String> {
    let read = || -> Result<String> {
        // Opening a named pipe would wait for its other end.
        ensure!(fs::metadata(path)?.is_file(), "not a file");
        let mut text = String::new();
        let read = fs::File::open(path)?.take(MAX_FILE_SIZE + 1).read_to_string(&mut text);
        if read.as_ref().is_err_and(|error| error.kind() == ErrorKind::InvalidData) {
            bail!("it is not text; keys and certificates must be in PEM format, to which openssl converts DER");
        }
        read?;
        ensure!(text.len() as u64 <= MAX_FILE_SIZE, "it has more than {MAX_FILE_SIZE} bytes");
        Ok(text)
    };
    read().with_context(|| format!("failed to read {}", path.display()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_default_folder_is_in_the_cache_of_the_user() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path().to_str().unwrap();
        let folder = |values: [&str; 2]| {
            let names = ["XDG_CACHE_HOME", "HOME"];
            default_folder(|name| {
                let position = names.iter().position(|known| *known == name)?;
                (values[position] != "unset").then(|| values[position].into())
            })
        };
        let cache = Path::new(home).join(".cache/kube-devops");
        assert_eq!(folder(["/cache", "unset"]), Ok("/cache/kube-devops".into()));
        for ignored in ["unset", "", "relative"] {
            assert_eq!(folder([ignored, home]), Ok(cache.clone()), "{ignored}");
        }
        for (home, reason) in [
            ("unset", "neither HOME nor XDG_CACHE_HOME is set"),
            ("", "neither HOME nor XDG_CACHE_HOME is set"),
            ("home", "HOME is home, which is not an absolute path"),
            ("/nonexistent-home", "the folder /nonexistent-home in HOME does not exist"),
        ] {
            assert_eq!(folder(["unset", home]).unwrap_err(), reason);
        }
    }

    #[test]
    fn an_empty_folder_selects_none() {
        #[derive(clap::Parser)]
        struct Command {
            #[command(flatten)]
            cache: CacheArguments,
        }
        let parsed = |folder: &str| <Command as clap::Parser>::try_parse_from(["test", "--cache-dir", folder]).unwrap();
        assert_eq!(parsed("").cache.selected(), None);
        assert_eq!(parsed("/cache").cache.path().unwrap(), Path::new("/cache"));
    }

    #[test]
    fn a_file_that_is_not_text_must_be_converted() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), b"\x30\x59\xff").unwrap();
        let error = format!("{:#}", read(file.path()).unwrap_err());
        assert!(error.contains("PEM format"), "{error}");
    }

    #[test]
    fn an_invalid_ca_bundle_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = format!("{:#}", ca_bundle(file.path()).unwrap_err());
        assert!(error.contains(file.path().to_str().unwrap()) && error.contains("no certificate"), "{error}");
    }
}
