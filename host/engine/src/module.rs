//! A loaded component with checks, and its idle instances.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube_devops_core::{CheckInfo, Needs};
use wasmtime::component::{Component, HasSelf, Linker};

use crate::bindings::check::CheckComponentWithObjectPre;
use crate::bindings::check::devops::policy::{log, object};
use crate::bindings::packed::PackedExportIndices;
use crate::idle::Pool;
use crate::instance::{Instance, State};
use crate::{CallError, Engine, LoadError, describe};

/// The most rules of an instance. More rules than that are rarely used at the same time, and their memory is never released.
const MAX_RULES: usize = 256;

/// An instance is large, and moved from and to a list with each call.
type BoxedInstance = Box<Instance>;

/// A loaded component with checks. Several threads can use it at the same time; each uses a separate instance.
pub struct Module {
    engine: Engine,
    component: CheckComponentWithObjectPre<State>,
    /// The export `packed`, if the component has it in a layout that the host writes.
    packed: Option<PackedExportIndices>,
    digest: Arc<str>,
    needs_objects: bool,
    idle: Mutex<Vec<BoxedInstance>>,
    /// By the clock of [`crate::idle::Idle`].
    last_used: AtomicU64,
    /// Whether the creation of a rule has ever exceeded the time limit.
    is_slow: AtomicBool,
    /// Whether it is no part of the program.
    is_added: bool,
}

impl Module {
    /// Links a component and calls its `describe`. Returns the metadata of its checks. `digest` identifies the module in errors
    /// and logs; `is_added` says that it is no part of the program.
    pub(crate) fn load(
        engine: &Engine,
        component: &Component,
        digest: &str,
        is_added: bool,
    ) -> Result<(Arc<Self>, Vec<CheckInfo>), LoadError> {
        describe::version(engine, component, "check")?;
        let shape = component.component_type();
        let needs_objects = shape.imports(engine.wasmtime()).any(|(name, _)| name.starts_with("devops:policy/object@"));
        let has_packed = shape.exports(engine.wasmtime()).any(|(name, _)| name.starts_with("devops:policy/packed@"));
        let contract = |error: wasmtime::Error| LoadError::Contract(format!("{error:#}"));
        let mut linker: Linker<State> = Linker::new(engine.wasmtime());
        log::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state).map_err(contract)?;
        if needs_objects {
            object::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state).map_err(contract)?;
        }
        let linked = linker.instantiate_pre(component).map_err(contract)?;
        let packed = if has_packed { Some(PackedExportIndices::new(&linked).map_err(contract)?) } else { None };
        let mut module = Self {
            engine: engine.clone(),
            component: CheckComponentWithObjectPre::new(linked).map_err(contract)?,
            packed,
            digest: digest.into(),
            needs_objects,
            idle: Mutex::default(),
            last_used: AtomicU64::new(0),
            is_slow: AtomicBool::new(false),
            is_added,
        };
        let time_limit = engine.limits().batch_time;
        let mut instance = module.instantiate(time_limit).map_err(LoadError::Describe)?;
        let infos = describe::checks(instance.describe().map_err(LoadError::Describe)?)?;
        if instance.layout().map_err(LoadError::Describe)? != Some(kube_devops_facts::LAYOUT) {
            module.packed = None;
        }
        let module = Arc::new(module);
        let pool = Arc::downgrade(&module);
        engine.idle().register(pool);
        Ok((module, infos))
    }

    /// Returns the digest that identifies the module in errors and logs.
    pub(crate) fn digest(&self) -> &str {
        &self.digest
    }

    /// Reports whether the checks read complete objects.
    pub(crate) fn needs_objects(&self) -> bool {
        self.needs_objects
    }

    /// Returns what one of the checks needs in addition to the usual facts.
    pub(crate) fn needs(&self, check: &CheckInfo) -> Needs {
        Needs { annotations: check.needs_annotations, objects: self.needs_objects }
    }

    /// Whether it is no part of the program, so that it may take all the time that it gets.
    pub(crate) fn is_added(&self) -> bool {
        self.is_added
    }

    /// Whether the creation of a rule has ever exceeded the time limit.
    pub(crate) fn is_slow(&self) -> bool {
        self.is_slow.load(Ordering::Relaxed)
    }

    /// Remembers that the creation of a rule has exceeded the time limit.
    pub(crate) fn set_slow(&self) {
        self.is_slow.store(true, Ordering::Relaxed);
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    fn instantiate(&self, time_limit: Duration) -> Result<Instance, CallError> {
        Instance::new(&self.engine, self.digest.clone(), &self.component, self.packed.as_ref(), time_limit)
    }

    /// Calls an idle instance, or a new one, and keeps it for the next call unless this one fails. The time limit is that of each
    /// function of the component that is called for it.
    pub(crate) fn with_instance<T, E: From<CallError>>(
        &self,
        time_limit: Duration,
        call: impl FnOnce(&mut Instance) -> Result<T, E>,
    ) -> Result<T, E> {
        let popped = self.lock().pop();
        let mut instance = match popped {
            Some(mut instance) => {
                self.engine.idle().removed(1);
                instance.set_time_limit(time_limit);
                instance
            }
            None => Box::new(self.instantiate(time_limit)?),
        };
        let answer = call(&mut instance)?;
        if instance.calls() < self.engine.limits().calls_for_each_instance && instance.rules() < MAX_RULES {
            self.last_used.store(self.engine.idle().tick(), Ordering::Relaxed);
            self.engine.idle().add(self.engine.limits().idle_instances, || self.lock().push(instance));
        }
        Ok(answer)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<BoxedInstance>> {
        // No holder of the lock can panic during a change.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pool for Module {
    fn last_used(&self) -> u64 {
        self.last_used.load(Ordering::Relaxed)
    }

    fn has_idle(&self) -> bool {
        !self.lock().is_empty()
    }

    fn drop_idle(&self) {
        let dropped = self.lock().pop();
        self.engine.idle().removed(usize::from(dropped.is_some()));
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        let count = self.lock().len();
        self.engine.idle().removed(count);
    }
}
