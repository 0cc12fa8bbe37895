//! A loaded bundle.

use kube_devops_core::{Bundle, DefaultProbe, DefaultResources, Enforcement, RuleConfig};
use wasmtime::component::{Component, HasSelf, Linker};

use crate::bindings::bundle::BundleComponentPre;
use crate::bindings::bundle::exports::devops::policy::bundle;
use crate::bindings::check::devops::policy::log;
use crate::instance::{self, State};
use crate::{Engine, LoadError, convert, describe};

/// The maximum number of checks in a bundle.
const MAX_CHECKS: usize = 1000;

/// A loaded bundle with its description.
#[derive(Debug, Clone)]
pub struct LoadedBundle {
    bundle: Bundle,
    digest: String,
}

impl LoadedBundle {
    /// Links a component and calls its `describe`. `digest` identifies the module in errors and logs.
    pub fn load(engine: &Engine, component: &Component, digest: &str) -> Result<Self, LoadError> {
        describe::version(engine, component, "bundle")?;
        let contract = |error: wasmtime::Error| LoadError::Contract(format!("{error:#}"));
        let mut linker: Linker<State> = Linker::new(engine.wasmtime());
        log::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state).map_err(contract)?;
        let linked = linker.instantiate_pre(component).map_err(contract)?;
        let component = BundleComponentPre::new(linked).map_err(contract)?;
        let mut store = instance::store(engine, digest.into());
        let info = instance::call(&mut store, |store| {
            component.instantiate(&mut *store)?.devops_policy_bundle().call_describe(&mut *store)
        });
        let bundle = validate(info.map_err(LoadError::Describe)?)?;
        Ok(Self { bundle, digest: digest.to_owned() })
    }

    /// Returns the description of the bundle.
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// Returns the digest that identifies the module in errors and logs.
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

fn validate(info: bundle::Info) -> Result<Bundle, LoadError> {
    describe::name("name", &info.name)?;
    describe::text("title", &info.title, describe::MAX_TITLE, true)?;
    describe::text("description", &info.description, describe::MAX_TEXT, false)?;
    if info.checks.len() > MAX_CHECKS {
        return Err(LoadError::Description(format!(
            "the bundle has {} checks; at most {MAX_CHECKS} are allowed",
            info.checks.len()
        )));
    }
    let rules = info.checks.into_iter().map(|selection| {
        describe::name("check", &selection.check)?;
        Ok(RuleConfig {
            settings: describe::object("settings", &selection.settings)?,
            check: selection.check,
            severity: selection.severity.map(convert::severity),
            weight: None,
        })
    });
    Ok(Bundle {
        rules: rules.collect::<Result<_, LoadError>>()?,
        name: info.name,
        title: info.title,
        description: info.description,
        enforcement: match info.enforcement {
            bundle::Enforcement::Audit => Enforcement::Audit,
            bundle::Enforcement::Enforce => Enforcement::Enforce,
        },
        default_probe: info.default_probe.map(|probe| DefaultProbe {
            tcp_port: probe.tcp_port,
            initial_delay_seconds: probe.initial_delay_seconds,
            period_seconds: probe.period_seconds,
        }),
        default_resources: info.default_resources.map(|resources| DefaultResources {
            cpu_request: resources.cpu_request,
            cpu_limit: resources.cpu_limit,
            memory_request: resources.memory_request,
            memory_limit: resources.memory_limit,
        }),
    })
}
