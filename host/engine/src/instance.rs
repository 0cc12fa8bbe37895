//! A running instance of a check, and its state in the host.

use std::sync::Arc;
use std::time::Duration;

use kube_devops_core::text::{cut, escape_controls};
use serde_json::Value;
use wasmtime::component::ResourceAny;
use wasmtime::{ResourceLimiter, Store};

use crate::bindings::check::devops::policy::{log, object, types};
use crate::bindings::check::exports::devops::policy::check::Finding;
use crate::bindings::check::{CheckComponentWithObject, CheckComponentWithObjectPre};
use crate::{CallError, Engine, Limits};

/// The complete objects of subjects, for checks that import `object`.
pub type Objects = Arc<[Value]>;

/// The state of an instance in the host.
pub struct State {
    /// The digest of the module, for the log.
    module: Arc<str>,
    limits: Limits,
    memory_used: usize,
    denied_memory: bool,
    /// The time limit of the next call.
    time_limit: Duration,
    log_lines: usize,
    objects: Option<(Objects, Vec<usize>)>,
}

/// Creates a store for one instance of a module, with the limits of the engine.
pub fn store(engine: &Engine, module: Arc<str>) -> Store<State> {
    let limits = engine.limits().clone();
    let time_limit = limits.batch_time;
    let state = State { module, limits, memory_used: 0, denied_memory: false, time_limit, log_lines: 0, objects: None };
    let mut store = Store::new(engine.wasmtime(), state);
    store.limiter(|state| state);
    store.set_hostcall_fuel(engine.limits().answer);
    store.epoch_deadline_trap();
    store
}

/// Calls a function of an instance: sets the deadline before, and determines the cause of a failure after.
pub fn call<T>(
    store: &mut Store<State>,
    function: impl FnOnce(&mut Store<State>) -> wasmtime::Result<T>,
) -> Result<T, CallError> {
    let time_limit = store.data().time_limit;
    let ticks = store.data().limits.ticks(time_limit);
    store.set_epoch_deadline(ticks);
    store.data_mut().log_lines = 0;
    function(store).map_err(|error| CallError::of(&error, store.data().denied_memory, &store.data().limits, time_limit))
}

/// A check with its settings, ready to evaluate.
pub struct Instance {
    store: Store<State>,
    component: CheckComponentWithObject,
    rule: ResourceAny,
    calls: u32,
}

/// The reason why an instance could not be created.
pub enum InstanceError {
    /// The check rejects the settings.
    Settings(String),
    /// The check failed.
    Call(CallError),
}

impl Instance {
    pub fn new(
        engine: &Engine,
        module: Arc<str>,
        component: &CheckComponentWithObjectPre<State>,
        settings: &str,
    ) -> Result<Self, InstanceError> {
        let mut store = store(engine, module);
        let created = call(&mut store, |store| {
            let component = component.instantiate(&mut *store)?;
            let rule = component.devops_policy_check().rule().call_create(&mut *store, settings)?;
            Ok((component, rule))
        });
        let (component, rule) = created.map_err(InstanceError::Call)?;
        let longest = store.data().limits.message;
        let rule = rule.map_err(|reason| InstanceError::Settings(cut(&escape_controls(&reason), longest)))?;
        Ok(Self { store, component, rule, calls: 0 })
    }

    /// Returns the number of calls so far.
    pub fn calls(&self) -> u32 {
        self.calls
    }

    /// Returns the findings in a batch, without validation. After an error the instance must not be used again.
    pub fn evaluate(
        &mut self,
        subjects: &[types::Subject],
        objects: Option<(Objects, Vec<usize>)>,
        time_limit: Duration,
    ) -> Result<Vec<Finding>, CallError> {
        self.calls += 1;
        self.store.data_mut().time_limit = time_limit;
        self.store.data_mut().objects = objects;
        let findings = call(&mut self.store, |store| {
            self.component.devops_policy_check().rule().call_evaluate(store, self.rule, subjects)
        });
        self.store.data_mut().objects = None;
        findings
    }

    /// Returns the edits that remediate a subject, without validation. After an error the instance must not be used
    /// again.
    pub fn remediate(&mut self, subject: &types::Subject) -> Result<Vec<types::Edit>, CallError> {
        self.calls += 1;
        self.store.data_mut().time_limit = self.store.data().limits.batch_time;
        call(&mut self.store, |store| {
            self.component.devops_policy_check().rule().call_remediate(store, self.rule, subject)
        })
    }
}

impl ResourceLimiter for State {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let used = self.memory_used.saturating_add(desired.saturating_sub(current));
        let allowed = used <= self.limits.memory;
        if allowed {
            self.memory_used = used;
        } else {
            self.denied_memory = true;
        }
        Ok(allowed)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let allowed = desired <= self.limits.table_elements;
        self.denied_memory |= !allowed;
        Ok(allowed)
    }

    fn instances(&self) -> usize {
        self.limits.instances
    }

    fn tables(&self) -> usize {
        self.limits.instances
    }

    fn memories(&self) -> usize {
        self.limits.memories
    }
}

impl types::Host for State {}

impl log::Host for State {
    fn log(&mut self, level: log::Level, message: String) -> wasmtime::Result<()> {
        self.log_lines += 1;
        if self.log_lines > self.limits.log_lines {
            return Ok(());
        }
        let message = escape_controls(&cut(&message, self.limits.message));
        let module = &*self.module;
        match level {
            log::Level::Debug => tracing::debug!(module, "{message}"),
            log::Level::Info => tracing::info!(module, "{message}"),
            log::Level::Warn => tracing::warn!(module, "{message}"),
            log::Level::Error => tracing::error!(module, "{message}"),
        }
        Ok(())
    }
}

impl object::Host for State {
    fn get(&mut self, subject: u32, pointer: String) -> wasmtime::Result<Option<String>> {
        let value = self.objects.as_ref().and_then(|(objects, positions)| {
            let position = *positions.get(usize::try_from(subject).ok()?)?;
            objects.get(position)?.pointer(&pointer)
        });
        Ok(value.map(Value::to_string))
    }
}
