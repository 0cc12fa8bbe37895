//! A check of a loaded module.

use std::sync::Arc;
use std::time::Instant;

use kube_devops_core::{CheckInfo, Needs, RuleConfig};
use serde_json::Value;
use wasmtime::component::Component;

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
}

impl LoadedCheck {
    /// Loads a component, and returns all its checks. `digest` identifies the module in errors and logs.
    pub fn load(engine: &Engine, component: &Component, digest: &str) -> Result<Vec<Self>, LoadError> {
        let (module, infos) = Module::load(engine, component, digest)?;
        let check = |info| Self { module: module.clone(), info: Arc::new(info), rules: Arc::default() };
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

    /// Returns the rule of a configuration, which is shared by all configurations with the same settings.
    pub(crate) fn rule(&self, config: &RuleConfig, deadline: Option<Instant>) -> Result<Arc<Rule>, RuleError> {
        let settings = self.settings_text(config);
        self.rules.get_or_create(&settings, || {
            let limit = self.module.engine().limits().batch_time;
            let time_limit =
                deadline.map_or(limit, |deadline| limit.min(deadline.saturating_duration_since(Instant::now())));
            if time_limit.is_zero() {
                return Err(RuleError::Deadline { check: config.check.clone() });
            }
            Rule::new(self.module.clone(), self.info.clone(), settings.clone(), time_limit)
        })
    }

    /// Returns the settings of a configuration as JSON text, or the default settings if there are none.
    fn settings_text(&self, config: &RuleConfig) -> String {
        match &config.settings {
            Value::Object(fields) if fields.is_empty() => self.info.default_settings.to_string(),
            settings => settings.to_string(),
        }
    }
}
