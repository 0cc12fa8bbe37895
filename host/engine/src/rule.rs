//! A check with settings.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use kube_devops_core::text::cut;
use kube_devops_core::{CheckInfo, Edit, Needs, Subject};

use crate::bindings::check::devops::policy::types;
use crate::instance::{CreateError, RuleSpec};
use crate::module::Module;
use crate::object::CompleteObject;
use crate::{CallError, Limits, RuleError};

/// The id of the next rule.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// A check with settings, which is created in the instances of its module when they need it.
pub struct Rule {
    module: Arc<Module>,
    spec: RuleSpec,
    /// Whether it has ever failed alone: from then on it is not evaluated together with others.
    fails: AtomicBool,
}

impl Rule {
    /// Creates a rule of a check of a module, within a time limit. The check can reject the settings.
    pub fn new(
        module: Arc<Module>,
        check: Arc<CheckInfo>,
        settings: String,
        time_limit: Duration,
    ) -> Result<Arc<Self>, RuleError> {
        let id = check.id.clone();
        let Limits { settings: limit, settings_depth, message: longest, .. } = *module.engine().limits();
        if settings.len() > limit {
            return Err(RuleError::SettingsTooLarge { check: id, size: settings.len(), limit });
        }
        if depth(&settings) > settings_depth {
            return Err(RuleError::SettingsTooDeep { check: id, limit: settings_depth });
        }
        let spec = RuleSpec { id: NEXT.fetch_add(1, Ordering::Relaxed), check, settings };
        let created = module.with_instance(time_limit, |instance| instance.create(&spec));
        created.map_err(|error| match error {
            CreateError::Settings(reason) => {
                // The reason is that of the check. It becomes a part of statuses and of responses to API servers.
                let [settings, reason] = [&spec.settings, &reason].map(|text| cut(text, longest));
                RuleError::Settings { check: id.clone(), settings, reason }
            }
            CreateError::Call(cause) => {
                RuleError::Call { check: id.clone(), module: module.digest().to_owned(), cause }
            }
        })?;
        Ok(Arc::new(Self { module, spec, fails: AtomicBool::new(false) }))
    }

    /// Returns the metadata of the check.
    pub fn info(&self) -> &CheckInfo {
        &self.spec.check
    }

    /// Returns the module of the check.
    pub fn module(&self) -> &Arc<Module> {
        &self.module
    }

    /// Returns what instances need to create the rule.
    pub fn spec(&self) -> &RuleSpec {
        &self.spec
    }

    /// Returns what the check needs in addition to the usual facts.
    pub fn needs(&self) -> Needs {
        self.module.needs(&self.spec.check)
    }

    /// Whether it has ever failed alone.
    pub fn fails(&self) -> bool {
        self.fails.load(Ordering::Relaxed)
    }

    /// Remembers that it failed alone.
    pub fn failed(&self) {
        self.fails.store(true, Ordering::Relaxed);
    }

    /// Returns the edits that remediate a subject with these facts.
    pub fn remediate(&self, subject: &Subject, facts: &types::Subject) -> Result<Vec<Edit>, CallError> {
        let module = &self.module;
        let object = match module.needs_objects() {
            true => Some(CompleteObject::of(subject).ok_or(CallError::NoObject)?),
            false => None,
        };
        let time_limit = module.engine().limits().batch_time;
        let edits = module.with_instance(time_limit, |instance| instance.remediate(&self.spec, facts, object))?;
        let limit = (subject.containers.len() + 1) * module.engine().limits().findings_for_each_container;
        if edits.len() > limit {
            return Err(CallError::TooManyEdits { found: edits.len(), limit });
        }
        let check = &self.spec.check.id;
        let edit = |types::Edit { container, field, value }| Edit { check: check.clone(), container, field, value };
        Ok(edits.into_iter().map(edit).collect())
    }
}

/// The nesting of objects and lists in a JSON text.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest, mut is_text, mut is_escaped) = (0_usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => is_text = !is_text,
            b'{' | b'[' if !is_text => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !is_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_in_texts_are_no_nesting() {
        for (json, expected) in
            [("5", 0), ("{}", 1), (r#"{"a":[1,{"b":[]}],"c":[[]]}"#, 4), (r#"{"[[[":"{\"[{","\\":[]}"#, 2)]
        {
            assert_eq!(depth(json), expected, "{json}");
        }
    }
}
