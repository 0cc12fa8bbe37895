//! `module push`, `pull` and `sign`: modules in registries.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use kube_devops_core::text::number;
use kube_devops_engine::{Grants, Limits, LoadedModule};
use kube_devops_oci::artifact::Module;
use kube_devops_oci::{Digest, Reference, Repository, SigningKey};

use super::super::{Outcome, print, report_file};
use crate::arguments::{ModulePullArguments, ModulePushArguments, ModuleSignArguments};
use crate::connection::runtime;
use crate::modules::{self, registry};
use crate::terminal::print_message;

/// Pushes a component. What cannot be loaded is not pushed, so that an error appears here and not in a cluster.
pub fn push(arguments: &ModulePushArguments) -> Result<Outcome> {
    let (reference, engine) = (&arguments.reference, modules::engine_in(None, &arguments.compile)?);
    ensure!(reference.digest().is_none(), "a digest cannot be pushed; specify a tag alone");
    let tag = reference.version();
    let content = modules::file(&arguments.file, engine.limits().module)
        .with_context(|| format!("failed to read the module {}", arguments.file.display()))?;
    let loaded = LoadedModule::compile(&engine, &content.bytes, &content.digest, Grants::all())
        .with_context(|| format!("failed to load the module {}", arguments.file.display()))?;
    let key = arguments.sign_key.as_deref().map(signing_key).transpose()?;
    let title = arguments.file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let module = Module {
        component: &content.bytes,
        title: title.trim_end_matches(".gz"),
        version: (tag != "latest").then_some(tag),
        imports: &loaded.imports,
        exports: &loaded.exports,
    };
    let digest = runtime()?.block_on(async {
        let repository = arguments.registry.open_to_push(reference).await?;
        let digest = repository.push(tag, &module).await?;
        if let Some(key) = &key {
            sign_digest(&repository, reference, &digest, key).await?;
        }
        anyhow::Ok(digest)
    })?;
    let signed = if key.is_some() { " and signed" } else { "" };
    print(&format!("{reference} pushed{signed}\n{}\n", reference.with_digest(digest)))
}

/// Pulls a module into the store.
pub fn pull(arguments: &ModulePullArguments) -> Result<Outcome> {
    let (reference, source) = (&arguments.reference, &arguments.source);
    let most = Limits::default().module as u64;
    let store = source.cache.store()?;
    let pull = registry::pull(Some(&store), reference, &source.registry, &source.verification, most);
    let (fetched, entered) = runtime()?.block_on(pull)?;
    if let Some(file) = &arguments.output {
        report_file::write_bytes(file, &fetched.component)?;
    }
    match entered {
        // The module is in the file.
        Err(error) if arguments.output.is_some() => {
            print_message("warning", &format!("the module was not stored: {error}"));
        }
        entered => entered.context("the module was not stored")?,
    }
    let record = &fetched.record;
    let verified = if source.verification.module_keys.is_empty() { "not verified" } else { "verified" };
    print(&format!(
        "{reference} pulled\nManifest    {}\nComponent   {}\nSize        {}\nSignature   {verified}\n",
        record.manifest,
        record.component,
        number(fetched.component.len(), "byte"),
    ))
}

/// Signs a module.
pub fn sign(arguments: &ModuleSignArguments) -> Result<Outcome> {
    let (reference, key) = (&arguments.reference, signing_key(&arguments.key)?);
    let digest = runtime()?.block_on(async {
        let repository = arguments.registry.open_to_push(reference).await?;
        let digest = repository.resolve(reference.version()).await?;
        sign_digest(&repository, reference, &digest, &key).await?;
        anyhow::Ok(digest)
    })?;
    print(&format!("{} signed\n", reference.with_digest(digest)))
}

async fn sign_digest(repository: &Repository, reference: &Reference, digest: &Digest, key: &SigningKey) -> Result<()> {
    let name = format!("{}/{}", reference.host(), reference.repository());
    repository.sign(&name, digest, key).await.context("failed to sign the module")
}

fn signing_key(file: &Path) -> Result<SigningKey> {
    SigningKey::from_pem(&registry::read(file)?).with_context(|| format!("failed to read {}", file.display()))
}
