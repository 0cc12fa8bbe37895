//! A check of a loaded module.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kube_devops_core::{CheckInfo, Needs, RuleConfig};
use serde_json::Value;
use wasmtime::component::Component;

use crate::failures::Failures;
use crate::module::Module;
use crate::rule::Rule;
use crate::rule_cache::RuleCache;
use crate::{Engine, LoadError, RuleError};

/// A check of a loaded module, with its metadata.
#[derive(Clone)]
pub struct LoadedCheck {
    module: Arc<Module>,
    info: Arc<CheckInfo>,
    /// Those that were created from the check, also by other [`crate::Checks`].
    rules: Arc<RuleCache<Rule>>,
    failures: Arc<Failures>,
}

/// Which checks are called to create rules, and for how long.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Calls {
    /// All, within their time limit.
    All,
    /// All, until a deadline.
    Within(Instant),
    /// Those that are called before a deadline, within their time limit.
    Before {
        /// The deadline.
        deadline: Instant,
        /// Without those of modules that have ever exceeded the time limit.
        only_prompt: bool,
    },
}

impl LoadedCheck {
    /// Loads a component of the program, and returns all its checks. `digest` identifies the module in errors and logs.
    ///
    /// # Errors
    ///
    /// If it does not implement the contract.
    pub fn load(engine: &Engine, component: &Component, digest: &str) -> Result<Vec<Self>, LoadError> {
        Self::load_module(engine, component, digest, false)
    }

    /// Like [`LoadedCheck::load`]; `is_added` says that it is no part of the program.
    pub(crate) fn load_module(
        engine: &Engine,
        component: &Component,
        digest: &str,
        is_added: bool,
    ) -> Result<Vec<Self>, LoadError> {
        let (module, infos) = Module::load(engine, component, digest, is_added)?;
        let check = |info| Self {
            module: module.clone(),
            info: Arc::new(info),
            rules: Arc::default(),
            failures: Arc::default(),
        };
        Ok(infos.into_iter().map(check).collect())
    }

    /// Returns the metadata of the check.
    pub fn info(&self) -> &CheckInfo {
        &self.info
    }

    /// Returns the digest that identifies the module in errors and logs.
    pub fn digest(&self) -> &str {
        self.module.digest()
    }

    /// Returns what the check needs in addition to the usual facts.
    pub fn needs(&self) -> Needs {
        self.module.needs(&self.info)
    }

    /// Returns the rule of a configuration, which is shared by all configurations with the same settings. A failure is shared as well,
    /// until the check may be called again.
    pub(crate) fn rule(&self, config: &RuleConfig, calls: Calls) -> Result<Arc<Rule>, RuleError> {
        let settings = self.settings_text(config);
        self.rules.get_or_create(&settings, || {
            let now = Instant::now();
            let limit = self.module.engine().limits().batch_time;
            let time_limit = match calls {
                Calls::All => limit,
                Calls::Within(deadline) => limit.min(deadline.saturating_duration_since(now)),
                Calls::Before { deadline, .. } if deadline <= now => Duration::ZERO,
                Calls::Before { only_prompt, .. } if only_prompt && self.module.is_slow() => Duration::ZERO,
                Calls::Before { .. } => limit,
            };
            match self.failures.of(&settings, now) {
                Some((error, is_over)) if !is_over || time_limit.is_zero() => return Err(error),
                None if time_limit.is_zero() => return Err(RuleError::Deadline { check: config.check.clone() }),
                _ => {}
            }
            let created = Rule::new(self.module.clone(), self.info.clone(), settings.clone(), time_limit);
            match &created {
                Ok(_) => self.failures.remove(&settings),
                // Less time than usual says nothing about the check.
                Err(error) if error.is_timeout() && time_limit < limit => {}
                Err(error @ RuleError::Call { .. }) => {
                    if error.is_timeout() {
                        self.module.set_slow();
                    }
                    self.failures.add(&settings, error.clone(), Instant::now());
                }
                Err(_) => {}
            }
            created
        })
    }

    /// Whether the check has failed to create the rule of a configuration.
    pub(crate) fn has_failed(&self, config: &RuleConfig) -> bool {
        self.failures.of(&self.settings_text(config), Instant::now()).is_some()
    }

    /// Returns the settings of a configuration as JSON text, or the default settings if there are none.
    fn settings_text(&self, config: &RuleConfig) -> String {
        match &config.settings {
            Value::Object(fields) if fields.is_empty() => self.info.default_settings.to_string(),
            settings => settings.to_string(),
        }
    }
}
