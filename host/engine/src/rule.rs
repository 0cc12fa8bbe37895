//! A check with settings.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use kube_devops_core::{Edit, RuleConfig};
use serde_json::Value;

use crate::bindings::check::devops::policy::types;
use crate::instance::CreateError;
use crate::{CallError, CheckModule, RuleError};

/// The id of the next rule.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// A check with settings, which is created in the instances of its module when they need it.
pub struct Rule {
    check: Arc<CheckModule>,
    settings: String,
    id: u64,
    /// Whether it has ever failed alone: from then on it is not evaluated together with others.
    fails: AtomicBool,
}

impl Rule {
    /// Returns the settings of a configuration as JSON text, or the default settings of the check if there are none.
    pub fn settings_text(check: &CheckModule, config: &RuleConfig) -> String {
        match &config.settings {
            Value::Object(fields) if fields.is_empty() => check.info().default_settings.to_string(),
            settings => settings.to_string(),
        }
    }

    /// Creates a rule, within a time limit. The check can reject the settings.
    pub fn new(check: Arc<CheckModule>, settings: String, time_limit: Duration) -> Result<Arc<Self>, RuleError> {
        let id = || check.info().id.clone();
        let limit = check.module().engine().limits().settings;
        if settings.len() > limit {
            return Err(RuleError::SettingsTooLarge { check: id(), size: settings.len(), limit });
        }
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let rule = Arc::new(Self { check, settings, id: number, fails: AtomicBool::new(false) });
        let created = rule.check.module().with_instance(time_limit, |instance| instance.create(&rule));
        created.map_err(|error| match error {
            CreateError::Settings(reason) => {
                RuleError::Settings { check: rule.check.info().id.clone(), settings: rule.settings.clone(), reason }
            }
            CreateError::Call(cause) => {
                RuleError::Call { check: rule.check.info().id.clone(), module: rule.check.digest().to_owned(), cause }
            }
        })?;
        Ok(rule)
    }

    /// Returns the check.
    pub fn check(&self) -> &CheckModule {
        &self.check
    }

    /// Returns the settings, as JSON text.
    pub fn settings(&self) -> &str {
        &self.settings
    }

    /// Returns the id, which no other rule has.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Whether it has ever failed alone.
    pub fn fails(&self) -> bool {
        self.fails.load(Ordering::Relaxed)
    }

    /// Remembers that it failed alone.
    pub fn failed(&self) {
        self.fails.store(true, Ordering::Relaxed);
    }

    /// Returns the edits that remediate a subject.
    pub fn remediate(&self, subject: &types::Subject, object: Option<&Arc<Value>>) -> Result<Vec<Edit>, CallError> {
        let module = self.check.module();
        if module.needs_objects() && object.is_none() {
            return Err(CallError::NoObject);
        }
        let object = object.filter(|_| module.needs_objects());
        let time_limit = module.engine().limits().batch_time;
        let edits = module.with_instance(time_limit, |instance| instance.remediate(self, subject, object.cloned()))?;
        let limit = (subject.containers.len() + 1) * module.engine().limits().findings_for_each_container;
        if edits.len() > limit {
            return Err(CallError::TooManyFindings { found: edits.len(), limit });
        }
        let check = &self.check.info().id;
        let edit = |types::Edit { container, field, value }| Edit { check: check.clone(), container, field, value };
        Ok(edits.into_iter().map(edit).collect())
    }
}
