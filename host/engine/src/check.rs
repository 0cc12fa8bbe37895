//! A loaded check.

use std::sync::Arc;

use kube_devops_core::CheckInfo;
use wasmtime::component::{Component, HasSelf, Linker};

use crate::bindings::check::CheckComponentWithObjectPre;
use crate::bindings::check::devops::policy::{log, object};
use crate::instance::{self, Instance, InstanceError, State};
use crate::{Engine, LoadError, describe};

/// A loaded check with its metadata.
pub struct CheckModule {
    engine: Engine,
    component: CheckComponentWithObjectPre<State>,
    info: CheckInfo,
    digest: Arc<str>,
    needs_objects: bool,
}

impl CheckModule {
    /// Links a component and calls its `describe`. `digest` identifies the module in errors and logs.
    pub fn load(engine: &Engine, component: &Component, digest: &str) -> Result<Self, LoadError> {
        let digest: Arc<str> = digest.into();
        let needs_objects = component
            .component_type()
            .imports(engine.wasmtime())
            .any(|(name, _)| name.starts_with("devops:policy/object@"));
        let contract = |error: wasmtime::Error| LoadError::Contract(format!("{error:#}"));
        let mut linker: Linker<State> = Linker::new(engine.wasmtime());
        log::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state).map_err(contract)?;
        if needs_objects {
            object::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state).map_err(contract)?;
        }
        let linked = linker.instantiate_pre(component).map_err(contract)?;
        let component = CheckComponentWithObjectPre::new(linked).map_err(contract)?;
        let mut store = instance::store(engine, digest.clone());
        let info = instance::call(&mut store, |store| {
            component.instantiate(&mut *store)?.devops_policy_check().call_describe(&mut *store)
        });
        let info = describe::check(info.map_err(LoadError::Describe)?)?;
        Ok(Self { engine: engine.clone(), component, info, digest, needs_objects })
    }

    /// Returns the metadata of the check.
    pub fn info(&self) -> &CheckInfo {
        &self.info
    }

    /// Returns the digest that identifies the module in errors and logs.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Reports whether the check reads complete objects, which the host must then keep.
    pub fn needs_objects(&self) -> bool {
        self.needs_objects
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(crate) fn instantiate(&self, settings: &str) -> Result<Instance, InstanceError> {
        Instance::new(&self.engine, self.digest.clone(), &self.component, settings)
    }
}
