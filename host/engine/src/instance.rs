//! A running instance of a component, and its state in the host.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kube_devops_core::CheckInfo;
use kube_devops_core::text::{cut, escape_controls};
use serde_json::Value;
use wasmtime::component::ResourceAny;
use wasmtime::{ResourceLimiter, Store};

use crate::bindings::check::devops::policy::{log, object, types};
use crate::bindings::check::exports::devops::policy::check::{Finding, Info};
use crate::bindings::check::{CheckComponentWithObject, CheckComponentWithObjectPre};
use crate::bindings::packed::{PackedExport, PackedExportIndices};
use crate::facts::Encoded;
use crate::object::CompleteObject;
use crate::{CallError, Engine, Limits};

/// The state of an instance in the host.
pub struct State {
    /// The digest of the module, for the log.
    module: Arc<str>,
    limits: Limits,
    memory_used: usize,
    /// Whether the current call was denied memory.
    denied_memory: bool,
    /// The time limit of each call.
    time_limit: Duration,
    log_lines: usize,
    /// The last line that the current call logged as an error.
    last_error: Option<String>,
    /// The complete objects of the evaluated subjects, for checks that import `object`.
    objects: Vec<CompleteObject>,
}

/// Creates a store for one instance of a module, with the limits of the engine.
pub fn store(engine: &Engine, module: Arc<str>) -> Store<State> {
    let limits = engine.limits().clone();
    let time_limit = limits.batch_time;
    let state = State {
        module,
        limits,
        memory_used: 0,
        denied_memory: false,
        time_limit,
        log_lines: 0,
        last_error: None,
        objects: Vec::new(),
    };
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
    let state = store.data_mut();
    (state.log_lines, state.last_error, state.denied_memory) = (0, None, false);
    function(store).map_err(|error| {
        let state = store.data();
        CallError::of(&error, state.denied_memory, &state.limits, time_limit).explained_by(state.last_error.as_deref())
    })
}

/// An instance of a component, with the rules that were created in it.
pub struct Instance {
    store: Store<State>,
    typed: CheckComponentWithObject,
    packed: Option<PackedExport>,
    /// The rules, by their ids.
    typed_rules: BTreeMap<u64, ResourceAny>,
    packed_rules: BTreeMap<u64, u32>,
    /// A buffer for the facts of a call.
    words: Vec<u32>,
    numbers: Vec<u32>,
    calls: u32,
}

/// What an instance needs to create a rule.
pub struct RuleSpec {
    /// The id, which no other rule has.
    pub id: u64,
    /// The check.
    pub check: Arc<CheckInfo>,
    /// The settings, as JSON text.
    pub settings: String,
}

/// The reason why a rule could not be created.
pub enum CreateError {
    /// The check rejects the settings.
    Settings(String),
    /// The check failed.
    Call(CallError),
}

impl From<CallError> for CreateError {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

impl CreateError {
    /// The error of a call with a rule that was created before.
    fn again(self) -> CallError {
        match self {
            Self::Settings(reason) => CallError::Trap(format!("it now rejects its settings: {reason}")),
            Self::Call(cause) => cause,
        }
    }
}

/// After an error, an instance must not be used again.
impl Instance {
    pub fn new(
        engine: &Engine,
        module: Arc<str>,
        component: &CheckComponentWithObjectPre<State>,
        packed: Option<&PackedExportIndices>,
        time_limit: Duration,
    ) -> Result<Self, CallError> {
        let mut store = store(engine, module);
        store.data_mut().time_limit = time_limit;
        let (typed, packed) = call(&mut store, |store| {
            let instance = component.instance_pre().instantiate(&mut *store)?;
            let typed = CheckComponentWithObject::new(&mut *store, &instance)?;
            let packed = packed.map(|packed| packed.load(&mut *store, &instance)).transpose()?;
            Ok((typed, packed))
        })?;
        Ok(Self {
            store,
            typed,
            packed,
            typed_rules: BTreeMap::new(),
            packed_rules: BTreeMap::new(),
            words: Vec::new(),
            numbers: Vec::new(),
            calls: 0,
        })
    }

    /// Sets the time limit of each following call.
    pub fn set_time_limit(&mut self, time_limit: Duration) {
        self.store.data_mut().time_limit = time_limit;
    }

    /// Returns the metadata of the checks, without validation.
    pub fn describe(&mut self) -> Result<Vec<Info>, CallError> {
        call(&mut self.store, |store| self.typed.devops_policy_check().call_describe(store))
    }

    /// Returns the packed layout that the component reads; `None` if it has no such export.
    pub fn layout(&mut self) -> Result<Option<u32>, CallError> {
        let Some(packed) = &self.packed else { return Ok(None) };
        call(&mut self.store, |store| packed.devops_policy_packed().call_layout(store)).map(Some)
    }

    /// Returns the number of calls so far.
    pub fn calls(&self) -> u32 {
        self.calls
    }

    /// Returns the number of rules.
    pub fn rules(&self) -> usize {
        self.typed_rules.len().max(self.packed_rules.len())
    }

    /// Creates a rule, unless it exists.
    pub fn create(&mut self, rule: &RuleSpec) -> Result<(), CreateError> {
        match &self.packed {
            Some(_) => self.packed_rule(rule).map(drop),
            None => self.typed_rule(rule).map(drop),
        }
    }

    fn packed_rule(&mut self, rule: &RuleSpec) -> Result<u32, CreateError> {
        if let Some(number) = self.packed_rules.get(&rule.id) {
            return Ok(*number);
        }
        let Some(packed) = &self.packed else { return Ok(0) };
        let created = call(&mut self.store, |store| {
            packed.devops_policy_packed().call_create(store, rule.check.id.as_str(), &rule.settings)
        })?;
        let number = created.map_err(|reason| self.rejected(&reason))?;
        self.packed_rules.insert(rule.id, number);
        Ok(number)
    }

    fn typed_rule(&mut self, rule: &RuleSpec) -> Result<ResourceAny, CreateError> {
        if let Some(resource) = self.typed_rules.get(&rule.id) {
            return Ok(*resource);
        }
        let created = call(&mut self.store, |store| {
            let check = rule.check.id.as_str();
            self.typed.devops_policy_check().rule().call_create(store, check, &rule.settings)
        })?;
        let resource = created.map_err(|reason| self.rejected(&reason))?;
        self.typed_rules.insert(rule.id, resource);
        Ok(resource)
    }

    fn rejected(&self, reason: &str) -> CreateError {
        CreateError::Settings(cut(&escape_controls(reason), self.store.data().limits.message))
    }

    /// Returns the findings of rules in the subjects at `positions`, or in all subjects, without validation.
    pub fn evaluate(
        &mut self,
        rules: &[&RuleSpec],
        facts: &dyn Encoded,
        positions: Option<&[usize]>,
        objects: Vec<CompleteObject>,
    ) -> Result<Vec<Finding>, CallError> {
        self.calls += 1;
        if self.packed.is_some() {
            self.numbers.clear();
            for rule in rules {
                let number = self.packed_rule(rule).map_err(CreateError::again)?;
                self.numbers.push(number);
            }
        }
        self.store.data_mut().objects = objects;
        let findings = match &self.packed {
            Some(packed) => {
                let (facts, numbers) = (facts.packed(), self.numbers.iter().copied());
                match positions {
                    Some(positions) => facts.words_for(numbers, positions, &mut self.words),
                    None => facts.words_for_all(numbers, &mut self.words),
                }
                call(&mut self.store, |store| {
                    packed.devops_policy_packed().call_evaluate(store, &self.words, facts.text())
                })
            }
            None => self.evaluate_typed(rules, facts.typed(), positions),
        };
        self.store.data_mut().objects = Vec::new();
        findings
    }

    fn evaluate_typed(
        &mut self,
        rules: &[&RuleSpec],
        subjects: &[types::Subject],
        positions: Option<&[usize]>,
    ) -> Result<Vec<Finding>, CallError> {
        let mut resources = Vec::with_capacity(rules.len());
        for rule in rules {
            resources.push(self.typed_rule(rule).map_err(CreateError::again)?);
        }
        let selected: Vec<types::Subject>;
        let subjects = match positions {
            Some(positions) => {
                selected = positions.iter().map(|&position| subjects[position].clone()).collect();
                &selected
            }
            None => subjects,
        };
        call(&mut self.store, |store| self.typed.devops_policy_check().call_evaluate(store, &resources, subjects))
    }

    /// Returns the edits that remediate a subject, without validation. `object` is the complete object, if it is available.
    pub fn remediate(
        &mut self,
        rule: &RuleSpec,
        subject: &types::Subject,
        object: Option<CompleteObject>,
    ) -> Result<Vec<types::Edit>, CallError> {
        self.calls += 1;
        let resource = self.typed_rule(rule).map_err(CreateError::again)?;
        self.store.data_mut().objects = object.into_iter().collect();
        let edits = call(&mut self.store, |store| {
            self.typed.devops_policy_check().rule().call_remediate(store, resource, subject)
        });
        self.store.data_mut().objects = Vec::new();
        edits
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
            log::Level::Error => {
                tracing::error!(module, "{message}");
                self.last_error = Some(message);
            }
        }
        Ok(())
    }
}

impl object::Host for State {
    fn get(&mut self, subject: u32, pointer: String) -> wasmtime::Result<Option<String>> {
        let object = usize::try_from(subject).ok().and_then(|subject| self.objects.get(subject));
        Ok(object.and_then(|object| object.get(&pointer)).map(Value::to_string))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use wasmtime::Trap;

    use super::*;

    #[test]
    fn a_trap_is_not_explained_by_memory_that_was_denied_in_an_earlier_call() {
        let limits = Limits::default();
        let mut store = store(&Engine::new(limits.clone()).unwrap(), "test".into());
        let trap = || wasmtime::Error::from(Trap::UnreachableCodeReached);
        let grow = |store: &mut Store<State>| store.data_mut().memory_growing(0, limits.memory + 1, None);
        let denied: Result<(), CallError> = call(&mut store, |store| if grow(store)? { Ok(()) } else { Err(trap()) });
        assert_eq!(denied, Err(CallError::Memory(limits.memory)));
        let survived = call(&mut store, grow);
        assert_eq!(survived, Ok(false));
        let crashed: Result<(), CallError> = call(&mut store, |_| Err(trap()));
        assert!(matches!(crashed, Err(CallError::Trap(_))), "{crashed:?}");
    }
}
