//! The resource limits of a module. The built-in modules use only a fraction of the default limits.

use std::time::Duration;

/// The resource limits of a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The time limit for evaluating one batch, creating a rule or describing a module, in wall time.
    /// Default: 1 s. A batch of the five built-in checks takes less than 1 ms.
    pub batch_time: Duration,
    /// The interval at which running guests are interrupted; the precision of `batch_time`. Default: 5 ms.
    pub tick: Duration,
    /// The maximum linear memory of an instance, in bytes. Default: 64 MiB; the built-in checks use 1.1 MiB, a component
    /// in JavaScript 2 MiB, and one in Python 14 MiB.
    pub memory: usize,
    /// The maximum number of elements of a table of an instance. Default: 100,000.
    pub table_elements: usize,
    /// The maximum number of core instances, and of tables, in a component. Default: 64.
    pub instances: usize,
    /// The maximum number of linear memories of a component. Default: 8.
    pub memories: usize,
    /// The maximum stack size of a guest, in bytes. Default: 512 KiB.
    pub stack: usize,
    /// The maximum number of findings of a rule that are listed about a pod, for each of its containers and one more; and of edits.
    /// What exceeds it is counted in one more finding. Default: 16.
    pub findings_for_each_container: usize,
    /// The maximum size of the message of a finding, in bytes; a longer message is truncated. Default: 1 KiB.
    pub message: usize,
    /// The maximum size of the returned value of a call, in bytes. Default: 32 MiB.
    pub answer: usize,
    /// The maximum size of the settings of a rule, in bytes. Default: 64 KiB.
    pub settings: usize,
    /// The maximum nesting of objects and lists in the settings of a rule. Default: 100.
    pub settings_depth: usize,
    /// The maximum size of a module, in bytes. Default: 32 MiB.
    pub module: usize,
    /// The maximum size of the native code of a module, in bytes. Default: 128 MiB; a component in Python has about 35 MB.
    pub native_code: usize,
    /// The time limit for compiling a module, in wall time. Default: 180 s; the interpreter of Python takes 10 to 15 s of CPU time, which
    /// may be throttled.
    pub compile_time: Duration,
    /// The limit of CPU time for compiling a module, in whole seconds. Default: 60 s.
    pub compile_cpu_time: Duration,
    /// The maximum number of subjects in a batch. Default: 256.
    pub batch_subjects: usize,
    /// The maximum number of containers in a batch of more than one subject. Default: 4,096.
    pub batch_containers: usize,
    /// The number of calls after which an instance is replaced, so that guests cannot accumulate memory.
    /// Default: 10,000.
    pub calls_for_each_instance: u32,
    /// The maximum number of idle instances of all modules together. Each reserves 4 GiB of address space, by which checks of
    /// the bounds of its memory are free. Default: 1,024.
    pub idle_instances: usize,
    /// The number of failed calls after which an evaluation stops calling a rule. Default: 32.
    ///
    /// A failed batch is halved and retried, so that a subject that causes a trap does not prevent the evaluation of
    /// the others. There is no retry after a timeout.
    pub failed_calls: usize,
    /// The maximum number of lines that a guest can log in one call; each line has at most 1 KiB. Default: 100.
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
            settings_depth: 100,
            module: 32 * MIB,
            native_code: 128 * MIB,
            compile_time: Duration::from_secs(180),
            compile_cpu_time: Duration::from_secs(60),
            batch_subjects: 256,
            batch_containers: 4096,
            calls_for_each_instance: 10_000,
            idle_instances: 1024,
            failed_calls: 32,
            log_lines: 100,
        }
    }
}

impl Limits {
    /// Returns the number of ticks in a time limit, plus one, because the first tick may follow immediately.
    pub(crate) fn ticks(&self, time: Duration) -> u64 {
        let ticks = time.as_nanos().div_ceil(self.tick.as_nanos().max(1));
        u64::try_from(ticks).unwrap_or(u64::MAX / 2).saturating_add(1)
    }
}
