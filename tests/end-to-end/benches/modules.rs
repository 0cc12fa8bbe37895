//! Fifty modules: the time to load them without and with compiled code in the cache, and their memory.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, missing_docs)]

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use end_to_end::Folder;
use end_to_end::guests::{guest, with_section};
use kube_devops_core::testing::{container, pod};
use kube_devops_engine::{Catalog, Compiler, Engine, Grants, Limits, LoadedModule, PrivateFolder};
use kube_devops_oci::{Digest, Reference, Store, store::Record};

/// The allocator of the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const COUNT: usize = 50;
/// The process that measures one start; its value is the folder of the cache.
const CHILD: &str = "BENCH_MODULES_CACHE";

fn reference(name: &str) -> Reference {
    format!("registry.example.com/checks/{name}:1").parse().unwrap()
}

/// Fills the store of pulled modules, as a registry would.
fn fill(store: &Store) -> Result<()> {
    let component = guest("labels", Path::new(env!("CARGO_TARGET_TMPDIR")))?;
    for number in 0..COUNT {
        let (name, component) = (format!("check-{number}"), with_section(&component, u8::try_from(number)?));
        let record = Record {
            repository: format!("registry.example.com/checks/{name}"),
            tags: Default::default(),
            by_digest: true,
            manifest: Digest::of(name.as_bytes()),
            component: Digest::of(&component),
            size: component.len() as u64,
            signers: Default::default(),
            pulled: 0,
        };
        store.put(&record, &component)?;
    }
    Ok(())
}

/// The resident memory of this process in MB, now and at most.
fn memory() -> Result<(f64, f64)> {
    let status = fs::read_to_string("/proc/self/status")?;
    let figure = |name: &str| -> Result<f64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).context("the figure exists")?;
        Ok(line.split_whitespace().nth(1).context("a number")?.parse::<f64>()? / 1000.0)
    };
    Ok((figure("VmRSS")?, figure("VmHWM")?))
}

/// Loads all modules from a cache, evaluates a pod with their checks, and prints the time and the memory.
fn start(cache: &Path) -> Result<()> {
    let started = Instant::now();
    let folder = PrivateFolder::open(cache)?;
    let engine = Engine::with(Limits::default(), Some(&folder), Compiler::Here)?;
    let store = Store::new(cache.to_owned());
    // The modules differ in their digests only, so that each has a catalog for itself.
    let mut catalogs = Vec::new();
    for number in 0..COUNT {
        let name = format!("check-{number}");
        let (record, component) =
            store.get(&reference(&name), &Digest::of(name.as_bytes())).context("the module is in the store")?;
        let mut catalog = Catalog::new(engine.clone(), Default::default(), []);
        catalog.add(&LoadedModule::compile(&engine, &component, record.component.as_str(), Grants::default())?)?;
        catalogs.push(catalog.checks());
    }
    let loaded = started.elapsed();
    let mut subject = pod("web");
    subject.containers = vec![container("web")];
    for checks in &catalogs {
        let outcomes = checks.rule_set(&checks.policy_of_all())?.evaluate(std::slice::from_ref(&subject));
        ensure!(outcomes.len() == 1 && outcomes[0].errors.is_empty());
    }
    let (resident, peak) = memory()?;
    println!("{:.0} ms, {resident:.0} MB after an evaluation, {peak:.0} MB peak", loaded.as_secs_f64() * 1000.0);
    Ok(())
}

fn main() -> Result<()> {
    if let Some(cache) = env::var_os(CHILD) {
        return start(Path::new(&cache));
    }
    let folder = Folder::new();
    let cache = folder.path().join("cache");
    fill(&Store::new(PrivateFolder::open(&cache)?.path().to_owned()))?;
    for name in ["cold: compiles all modules", "warm", "warm", "warm"] {
        print!("{COUNT} modules, {name}: ");
        std::io::Write::flush(&mut std::io::stdout())?;
        let status = Command::new(env::current_exe()?).env(CHILD, &cache).status()?;
        ensure!(status.success());
    }
    Ok(())
}
