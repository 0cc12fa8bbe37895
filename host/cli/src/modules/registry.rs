//! Registries and the store of modules, as the options select them.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use kube_devops_cluster::clock::Now;
use kube_devops_engine::PrivateFolder;
use kube_devops_oci::fetch::{Request, fetch};
use kube_devops_oci::{Access, Fetched, Keychain, Options, PublicKey, Reference, Repository, Store};

use crate::arguments::{CacheArguments, RegistryArguments, VerificationArguments};

/// The largest file with a key, a certificate or a configuration, in bytes.
const LARGEST_FILE: u64 = 1024 * 1024;

impl RegistryArguments {
    /// Returns how to reach registries.
    pub fn options(&self) -> Result<Options> {
        let ca_bundle = self.registry_ca_file.as_deref().map(read).transpose()?.map(String::into_bytes);
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
    /// Returns the folder for pulled modules and compiled code.
    ///
    /// # Errors
    ///
    /// If there is none, or others can write in it.
    pub fn folder(&self) -> Result<PrivateFolder> {
        let path = self.cache_dir.clone().or_else(default_folder);
        let path = path
            .context("there is no folder for modules: neither HOME nor XDG_CACHE_HOME is set; specify --cache-dir")?;
        Ok(PrivateFolder::open(&path)?)
    }

    /// Returns the store of pulled modules.
    pub fn store(&self) -> Result<Store> {
        Ok(store(&self.folder()?))
    }
}

/// Returns the store of pulled modules in a folder.
pub fn store(folder: &PrivateFolder) -> Store {
    Store::new(folder.path().to_owned())
}

fn default_folder() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    // A home that does not exist, as that of some users of services, is not created.
    let home = || absolute("HOME").filter(|home| home.is_dir());
    let cache = absolute("XDG_CACHE_HOME").or_else(|| Some(home()?.join(".cache")))?;
    Some(cache.join("kube-devops"))
}

/// Fetches a module from the store or its registry.
pub async fn pull(
    store: Option<&Store>,
    reference: &Reference,
    registry: &RegistryArguments,
    verification: &VerificationArguments,
    most: u64,
) -> Result<Fetched> {
    let (options, keychain, keys) = (registry.options()?, registry.keychain()?, verification.keys()?);
    let now = Now::read().utc.timestamp();
    let request = Request { reference, options: &options, keychain: &keychain, keys: &keys, most, budget: None, now };
    Ok(fetch(store, request).await?)
}

/// Reads a small text file.
pub fn read(path: &Path) -> Result<String> {
    let read = || -> Result<String> {
        // Opening a named pipe would wait for its other end.
        ensure!(fs::metadata(path)?.is_file(), "not a file");
        let mut text = String::new();
        fs::File::open(path)?.take(LARGEST_FILE + 1).read_to_string(&mut text)?;
        ensure!(text.len() as u64 <= LARGEST_FILE, "it has more than {LARGEST_FILE} bytes");
        Ok(text)
    };
    read().with_context(|| format!("failed to read {}", path.display()))
}
