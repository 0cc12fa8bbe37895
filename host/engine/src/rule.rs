//! A check with settings, and its idle instances.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube_devops_core::{Edit, Finding, RuleConfig};

use crate::bindings::check::devops::policy::types;
use crate::bindings::check::exports::devops::policy::check;
use crate::instance::{Instance, InstanceError, Objects};
use crate::{CallError, CheckModule, RuleError};

/// A check with settings. It can be evaluated by several threads at the same time; each uses a separate instance.
pub struct Rule {
    module: Arc<CheckModule>,
    settings: String,
    idle: Mutex<Vec<Instance>>,
    /// By the clock of [`crate::idle::Idle`].
    last_used: AtomicU64,
}

impl Rule {
    /// Returns the settings of a configuration as JSON text, or the default settings of the check if there are none.
    pub(crate) fn settings_text(module: &CheckModule, config: &RuleConfig) -> String {
        match &config.settings {
            serde_json::Value::Object(fields) if fields.is_empty() => module.info().default_settings.to_string(),
            settings => settings.to_string(),
        }
    }

    /// Creates a rule. The check can reject the settings.
    pub(crate) fn new(module: Arc<CheckModule>, settings: String) -> Result<Arc<Self>, RuleError> {
        let check = || module.info().id.clone();
        let limit = module.engine().limits().settings;
        if settings.len() > limit {
            return Err(RuleError::SettingsTooLarge { check: check(), size: settings.len(), limit });
        }
        let instance = module.instantiate(&settings).map_err(|error| match error {
            InstanceError::Settings(reason) => {
                RuleError::Settings { check: check(), settings: settings.clone(), reason }
            }
            InstanceError::Call(cause) => RuleError::Call { check: check(), module: module.digest().to_owned(), cause },
        })?;
        let rule = Self { module, settings, idle: Mutex::default(), last_used: AtomicU64::new(0) };
        let rule = Arc::new(rule);
        rule.module.engine().idle().register(Arc::downgrade(&rule));
        rule.keep(instance);
        Ok(rule)
    }

    /// Returns the check.
    pub fn module(&self) -> &CheckModule {
        &self.module
    }

    /// Evaluates subjects in one call with a time limit. The subjects of the findings are positions in `subjects`.
    pub(crate) fn call(
        &self,
        subjects: &[types::Subject],
        objects: Option<(Objects, Vec<usize>)>,
        time_limit: Duration,
    ) -> Result<Vec<Finding>, CallError> {
        let findings = self.with_instance(|instance| instance.evaluate(subjects, objects, time_limit))?;
        self.validate(subjects, findings)
    }

    /// Returns the edits that remediate a subject.
    pub(crate) fn remediate(&self, subject: &types::Subject) -> Result<Vec<Edit>, CallError> {
        let edits = self.with_instance(|instance| instance.remediate(subject))?;
        let limit = (subject.containers.len() + 1) * self.module.engine().limits().findings_for_each_container;
        if edits.len() > limit {
            return Err(CallError::Flood { found: edits.len(), limit });
        }
        let check = &self.module.info().id;
        let edit = |types::Edit { container, field, value }| Edit { check: check.clone(), container, field, value };
        Ok(edits.into_iter().map(edit).collect())
    }

    /// Calls an idle instance, or a new one, and keeps it for the next call unless this one fails.
    fn with_instance<T>(&self, call: impl FnOnce(&mut Instance) -> Result<T, CallError>) -> Result<T, CallError> {
        let popped = self.lock().pop();
        let mut instance = match popped {
            Some(instance) => {
                self.module.engine().idle().removed(1);
                instance
            }
            None => self.module.instantiate(&self.settings).map_err(|error| match error {
                InstanceError::Settings(reason) => CallError::Trap(format!("it now rejects its settings: {reason}")),
                InstanceError::Call(cause) => cause,
            })?,
        };
        let answer = call(&mut instance)?;
        if instance.calls() < self.module.engine().limits().calls_for_each_instance {
            self.keep(instance);
        }
        Ok(answer)
    }

    /// Keeps an instance for the next call.
    fn keep(&self, instance: Instance) {
        let engine = self.module.engine();
        self.last_used.store(engine.idle().tick(), Ordering::Relaxed);
        self.lock().push(instance);
        engine.idle().added(engine.limits().idle_instances);
    }

    /// Returns when the rule was used last, by the clock of all rules.
    pub(crate) fn last_used(&self) -> u64 {
        self.last_used.load(Ordering::Relaxed)
    }

    /// Reports whether the rule has idle instances.
    pub(crate) fn has_idle(&self) -> bool {
        !self.lock().is_empty()
    }

    /// Drops an idle instance.
    pub(crate) fn drop_idle(&self) {
        let dropped = self.lock().pop();
        self.module.engine().idle().removed(usize::from(dropped.is_some()));
    }

    /// Validates the number of findings, and that they are about subjects and containers of the batch.
    fn validate(&self, subjects: &[types::Subject], findings: Vec<check::Finding>) -> Result<Vec<Finding>, CallError> {
        let limits = self.module.engine().limits();
        let places: usize = subjects.iter().map(|subject| subject.containers.len() + 1).sum();
        let limit = places.saturating_mul(limits.findings_for_each_container);
        if findings.len() > limit {
            return Err(CallError::Flood { found: findings.len(), limit });
        }
        let mut valid = findings
            .into_iter()
            .map(|finding| {
                let stranger = CallError::Stranger { subject: finding.subject, container: finding.container };
                let Some(subject) = subjects.get(finding.subject as usize) else { return Err(stranger) };
                if finding.container.is_some_and(|container| container as usize >= subject.containers.len()) {
                    return Err(stranger);
                }
                Ok(Finding {
                    subject: finding.subject as usize,
                    container: finding.container.map(|container| container as usize),
                    field: finding.field.filter(|field| is_pointer(field)),
                    message: kube_devops_core::text::cut(&finding.message, limits.message).into(),
                    magnitude: finding.magnitude,
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        valid.sort_by_key(|finding| finding.subject);
        Ok(valid)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Instance>> {
        // No holder of the lock can panic during a change.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Rule {
    fn drop(&mut self) {
        let count = self.lock().len();
        self.module.engine().idle().removed(count);
    }
}

/// Reports whether a text can be a JSON Pointer to a field; other texts are dropped from findings.
fn is_pointer(field: &str) -> bool {
    const MAX_LENGTH: usize = 512;
    field.starts_with('/') && field.len() <= MAX_LENGTH && !field.chars().any(char::is_control)
}
