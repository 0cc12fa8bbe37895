//! What a module may use. Each limit has a default that the built-in modules stay far below.

use std::time::Duration;

/// What a module may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The longest that evaluating one batch, creating a rule or describing a module may take, in wall time.
    /// Default: 1 s. A batch of the five built-in checks takes less than 1 ms.
    pub batch_time: Duration,
    /// The period in which running guests are looked at; the precision of `batch_time`. Default: 5 ms.
    pub tick: Duration,
    /// The most linear memory of an instance, in bytes. Default: 64 MiB; the built-in checks use 1.1 MiB, components made
    /// from JavaScript or Python some 20 MiB.
    pub memory: usize,
    /// The most elements of a table of an instance. Default: 100,000.
    pub table_elements: usize,
    /// The most core instances, and the most tables, in a component. Default: 64.
    pub instances: usize,
    /// The most linear memories of a component. Default: 8.
    pub memories: usize,
    /// The stack of a guest, in bytes. Default: 512 KiB.
    pub stack: usize,
    /// The most findings for each container, and for each pod beside those of its containers, in a batch. Default: 16.
    pub findings_for_each_container: usize,
    /// The longest message of a finding, in bytes; a longer one is cut. Default: 1 KiB.
    pub message: usize,
    /// The most bytes that one answer of a module may take up. Default: 32 MiB.
    pub answer: usize,
    /// The most bytes that the settings of a rule may take up. Default: 64 KiB.
    pub settings: usize,
    /// The most bytes of a module. Default: 32 MiB.
    pub module: usize,
    /// The longest that compiling a module may take. Default: 60 s.
    pub compile_time: Duration,
    /// The most subjects of a batch. Default: 256.
    pub batch_subjects: usize,
    /// The most containers in a batch of more than one subject. Default: 4,096.
    pub batch_containers: usize,
    /// After how many calls an instance is replaced by a fresh one, so that no guest can hoard memory for ever.
    /// Default: 10,000.
    pub calls_for_each_instance: u32,
    /// How many failed calls of a rule one evaluation puts up with before it gives up on the rule. Default: 32.
    ///
    /// A batch that fails is halved and tried again, so that one subject that makes a check trap does not cost the
    /// judgement of its neighbours. A call that ran out of time is not tried again.
    pub failed_calls: usize,
    /// The most lines that a guest may log in one call, and of each line the most bytes. Default: 100 and 1 KiB.
    pub log_lines: usize,
}

impl Default for Limits {
    fn default() -> Self {
        const MIB: usize = 1024 * 1024;
        Self {
            batch_time: Duration::from_secs(1),
            tick: Duration::from_millis(5),
            memory: 64 * MIB,
            table_elements: 100_000,
            instances: 64,
            memories: 8,
            stack: MIB / 2,
            findings_for_each_container: 16,
            message: 1024,
            answer: 32 * MIB,
            settings: 64 * 1024,
            module: 32 * MIB,
            compile_time: Duration::from_secs(60),
            batch_subjects: 256,
            batch_containers: 4096,
            calls_for_each_instance: 10_000,
            failed_calls: 32,
            log_lines: 100,
        }
    }
}

impl Limits {
    /// How many ticks a time lasts. One is added, since the first tick may come at once.
    pub(crate) fn ticks(&self, time: Duration) -> u64 {
        let ticks = time.as_nanos().div_ceil(self.tick.as_nanos().max(1));
        u64::try_from(ticks).unwrap_or(u64::MAX / 2).saturating_add(1)
    }
}
