//! Checks of which one misbehaves, for parts of the product that are run within a test.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use kube_devops_engine::{CheckModule, Checks, Engine, Limits};

use crate::root;

/// The built-in checks with another one in the place of `latest-tag`, which crashes on pods called `poison`, never ends with
/// those called `tar-pit`, and finds nothing wrong with others. It stands for `high-restarts`, too, whose settings it
/// refuses. `temporary` is the folder that cargo gives tests.
pub fn checks_of_which_one_fails(temporary: &Path) -> Result<Checks> {
    let built = kube_devops_build_components::build(&[root().join("tests/guests")], &temporary.join("../components"))?;
    let hostile = built.iter().find(|component| component.folder == "hostile").context("the guest is built")?;
    let engine = Engine::new(Limits::default())?;
    let module = Arc::new(CheckModule::load(&engine, &engine.compile(&hostile.bytes)?, "sha256:hostile")?);
    let mut modules = kube_devops_modules::checks(&engine)?;
    modules.insert("latest-tag".to_owned(), module.clone());
    modules.insert("high-restarts".to_owned(), module);
    Ok(Checks::new(modules, engine.limits().clone()))
}
