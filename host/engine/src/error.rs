//! The errors of modules.

use std::time::Duration;

use wasmtime::Trap;

use crate::MemoryLimit;

/// An error when a module is loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The engine cannot be created.
    #[error("failed to create the WebAssembly engine: {0}")]
    Engine(String),
    /// The module is too large.
    #[error("the module has {size} bytes; at most {limit} are allowed")]
    TooLarge {
        /// The size of the module.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// The bytes are something else.
    #[error("the file is not WebAssembly: its first bytes are not those of a component")]
    NotWasm,
    /// The bytes are a core module.
    #[error("the file is a core WebAssembly module, and not a component; build it with `kube-devops module build`")]
    CoreModule,
    /// The module has an import that the host never provides.
    #[error("the module imports {import}; only devops:policy/log and devops:policy/object are available")]
    UnknownImport {
        /// The name of the import.
        import: String,
    },
    /// The module has an import that is not granted.
    #[error("the module imports {import}, which is not granted; add it to the grants if you trust the module")]
    NotGranted {
        /// The grant.
        import: &'static str,
    },
    /// The module is not a valid component.
    #[error("the module is not a valid WebAssembly component: {0}")]
    Compile(String),
    /// The compilation took too long.
    #[error("compiling the module took longer than {0:?}")]
    CompileTime(Duration),
    /// The compilation needs too much CPU time, also if it is repeated.
    #[error("compiling the module needs more than {0:?} of CPU time; divide it into smaller ones")]
    CompileCpuTime(Duration),
    /// The compilation needs too much memory.
    #[error("compiling the module needs more than {0}")]
    CompileMemory(MemoryLimit),
    /// The compiler cannot be run.
    #[error("failed to compile the module: {0}")]
    Compiler(String),
    /// The compiler was killed by another process or by the kernel.
    #[error("the compiler was killed, probably because the container or the node had no memory left")]
    CompilerKilled,
    /// The compiler crashed.
    #[error("the compiler crashed: {0}")]
    CompilerCrash(String),
    /// The module has imports that the host does not provide, or does not have the exports that the contract requires.
    #[error("the module does not implement the contract devops:policy: {0}")]
    Contract(String),
    /// The module implements another version of the contract.
    #[error(
        "the module implements version {found} of the contract devops:policy, and this version of kube-devops supports \
         {supported}; build it with an SDK of that version"
    )]
    Version {
        /// The version of the module.
        found: String,
        /// The version of the host.
        supported: &'static str,
    },
    /// The call of `describe` failed.
    // The message contains the cause, like those of all errors here: it is no source, which would be printed again.
    #[error("the module failed to describe itself: {0}")]
    Describe(CallError),
    /// The description is invalid.
    #[error("the module has an invalid description: {0}")]
    Description(String),
}

/// An error of a call into a module.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The call took too long.
    #[error("it exceeded its time limit of {0:?}")]
    Time(Duration),
    /// The module requested too much memory, or too large a table.
    #[error("it exceeded its memory limit of {0} bytes")]
    Memory(usize),
    /// The recursion was too deep.
    #[error("it exceeded its stack limit of {0} bytes")]
    Stack(usize),
    /// The module crashed.
    #[error("it crashed: {0}")]
    Trap(String),
    /// The module returned too many edits.
    #[error("it returned {found} edits; at most {limit} are allowed for this subject")]
    TooManyEdits {
        /// The number of edits.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// The returned value was too large.
    #[error("it returned more than {0} bytes")]
    Answer(usize),
    /// The module returned a finding of a rule that was not evaluated.
    #[error("it returned a finding of rule {rule}; {count} rules were evaluated")]
    UnknownRule {
        /// The index of the rule.
        rule: u32,
        /// The number of rules.
        count: usize,
    },
    /// The module returned a finding for a subject or container that is not in the batch.
    #[error("it returned a finding for {}, which is not in the batch", place(*subject, *container))]
    UnknownSubject {
        /// The index of the subject.
        subject: u32,
        /// The index of the container.
        container: Option<u32>,
    },
    /// The module reads complete objects, and there is none.
    #[error("it reads complete objects, and this one is not available")]
    NoObject,
}

/// The place of a finding: a subject, or one of its containers.
fn place(subject: u32, container: Option<u32>) -> String {
    match container {
        Some(container) => format!("container {container} of subject {subject}"),
        None => format!("subject {subject}"),
    }
}

impl CallError {
    /// Returns the cause of an error of wasmtime. `denied_memory` is set if the limiter of the store denied a request.
    pub(crate) fn of(
        error: &wasmtime::Error,
        denied_memory: bool,
        limits: &crate::Limits,
        time_limit: std::time::Duration,
    ) -> Self {
        match error.downcast_ref::<Trap>() {
            Some(Trap::Interrupt) => Self::Time(time_limit),
            Some(Trap::StackOverflow) => Self::Stack(limits.stack),
            _ if denied_memory => Self::Memory(limits.memory),
            Some(trap) => Self::Trap(trap.to_string()),
            None => {
                let cause = format!("{error:#}");
                // Wasmtime has no type for this error; only its text identifies it.
                if cause.contains("fuel allocated for hostcalls has been exhausted") {
                    return Self::Answer(limits.answer);
                }
                Self::Trap(kube_devops_core::text::cut(&cause, limits.message))
            }
        }
    }

    /// Adds what the module logged before it crashed, because a trap does not contain the text of a panic or an exception.
    pub(crate) fn explained_by(self, last_error: Option<&str>) -> Self {
        match (self, last_error) {
            (Self::Trap(cause), Some(line)) => Self::Trap(format!("{cause}; the last error in its log: {line}")),
            (error, _) => error,
        }
    }
}

/// An error when a rule is created.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// The settings are too large.
    #[error("the settings of check {check} have {size} bytes; at most {limit} are allowed")]
    SettingsTooLarge {
        /// The check.
        check: String,
        /// The size of the settings.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// The settings are nested too deeply.
    #[error("the settings of check {check} are nested more than {limit} levels deep")]
    SettingsTooDeep {
        /// The check.
        check: String,
        /// The limit.
        limit: usize,
    },
    /// The check rejects the settings.
    #[error("check {check} rejects the settings {settings}: {reason}")]
    Settings {
        /// The check.
        check: String,
        /// The settings, as JSON.
        settings: String,
        /// The reason that the check returned.
        reason: String,
    },
    /// The check failed to create the rule.
    #[error("check {check} (module {module}) failed to process its settings: {cause}")]
    Call {
        /// The check.
        check: String,
        /// The digest of the module.
        module: String,
        /// The cause.
        cause: CallError,
    },
    /// The deadline passed before the check was called.
    #[error("the deadline passed before check {check} processed its settings")]
    Deadline {
        /// The check.
        check: String,
    },
}

impl RuleError {
    /// Reports whether another attempt may succeed: the check crashed, or ran out of time or memory.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Call { .. } | Self::Deadline { .. })
    }

    /// Reports whether there was not enough time.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Call { cause: CallError::Time(_), .. } | Self::Deadline { .. })
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    #[test]
    fn a_cause_in_a_message_is_not_printed_again_as_its_source() {
        let error = LoadError::Describe(CallError::NoObject);
        assert!(error.to_string().ends_with(&CallError::NoObject.to_string()));
        assert!(error.source().is_none());
    }
}
