//! What can go wrong with a module.

use std::time::Duration;

use wasmtime::Trap;

/// A module that could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The engine itself.
    #[error("the WebAssembly engine could not be set up: {0}")]
    Engine(String),
    /// Too large.
    #[error("the module is {size} bytes large; at most {limit} are allowed")]
    TooLarge {
        /// Its size.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// Not a component, or not a valid one.
    #[error("the module is not a valid WebAssembly component: {0}")]
    Compile(String),
    /// Compiling took too long.
    #[error("compiling the module took longer than {0:?}")]
    CompileTime(Duration),
    /// It imports what the host does not offer, or lacks what the contract asks for.
    #[error("the module does not fit the contract devops:policy: {0}")]
    Contract(String),
    /// The call of `describe` failed.
    #[error("the module could not describe itself: {0}")]
    Describe(#[source] CallError),
    /// What it says of itself cannot be.
    #[error("what the module says of itself is not acceptable: {0}")]
    Description(String),
}

/// A call into a module that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// It took too long.
    #[error("it ran for longer than {0:?} and was stopped")]
    Time(Duration),
    /// It wanted too much memory, or too large a table.
    #[error("it wanted more memory than the {0} bytes that it may use")]
    Memory(usize),
    /// It recursed too deep.
    #[error("it recursed deeper than its stack of {0} bytes")]
    Stack(usize),
    /// It crashed.
    #[error("it crashed: {0}")]
    Trap(String),
    /// It answered with too much.
    #[error("it answered with {found} findings; at most {limit} are allowed for this batch")]
    Flood {
        /// How many there were.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// Its answer took up too many bytes.
    #[error("its answer took up more than {0} bytes")]
    Answer(usize),
    /// It spoke of something that it was not asked about.
    #[error("it answered with a finding for subject {subject}, container {container:?}, which it was not shown")]
    Stranger {
        /// The index that it gave.
        subject: u32,
        /// The index that it gave.
        container: Option<u32>,
    },
}

impl CallError {
    /// The cause of a call that wasmtime ended, with what the store's limiter saw of it.
    pub(crate) fn of(
        error: &wasmtime::Error,
        refused_memory: bool,
        limits: &crate::Limits,
        allowed: std::time::Duration,
    ) -> Self {
        match error.downcast_ref::<Trap>() {
            Some(Trap::Interrupt) => Self::Time(allowed),
            Some(Trap::StackOverflow) => Self::Stack(limits.stack),
            _ if refused_memory => Self::Memory(limits.memory),
            Some(trap) => Self::Trap(trap.to_string()),
            None => {
                let cause = format!("{error:#}");
                // Wasmtime has no type for this error; its text is all there is to tell it by.
                if cause.contains("fuel allocated for hostcalls has been exhausted") {
                    return Self::Answer(limits.answer);
                }
                Self::Trap(kube_devops_core::text::cut(&cause, limits.message))
            }
        }
    }
}

/// A rule that could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// The settings are too large.
    #[error("the settings of check {check} are {size} bytes large; at most {limit} are allowed")]
    SettingsTooLarge {
        /// The check.
        check: String,
        /// Their size.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// The check does not accept the settings.
    #[error("check {check} does not accept the settings {settings}: {reason}")]
    Settings {
        /// The check.
        check: String,
        /// The settings, as JSON.
        settings: String,
        /// What the check said.
        reason: String,
    },
    /// The check failed while it was told its settings.
    #[error("check {check} (module {module}) could not be told its settings: {cause}")]
    Call {
        /// The check.
        check: String,
        /// The digest of the module.
        module: String,
        /// Why.
        cause: CallError,
    },
    /// No such check.
    #[error("there is no check {check:?}; there are: {known}")]
    UnknownCheck {
        /// The check.
        check: String,
        /// Those that exist.
        known: String,
    },
}
