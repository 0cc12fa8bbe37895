//! A set of checks with one that misbehaves, for components that run within a test.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use kube_devops_engine::{Catalog, Engine, Limits, LoadedCheck};

use crate::guests::guest;

/// Returns the built-in checks with a replacement for `latest-tag` that crashes on pods named `poison`, never returns for
/// pods named `tar-pit`, and has no findings for others. It also replaces `high-restarts`, whose settings it rejects.
/// `temporary` is cargo's temporary folder for tests.
pub fn checks_of_which_one_fails(temporary: &Path) -> Result<Catalog> {
    let hostile = guest("hostile", temporary)?;
    let engine = Engine::new(Limits::default())?;
    let loaded = LoadedCheck::load(&engine, &engine.compile(&hostile)?, "sha256:hostile")?;
    let module = Arc::new(loaded.into_iter().next().context("the guest has a check")?);
    let mut modules = kube_devops_modules::checks(&engine)?;
    modules.insert("latest-tag".to_owned(), module.clone());
    modules.insert("high-restarts".to_owned(), module);
    Ok(Catalog::new(engine, modules, []))
}
