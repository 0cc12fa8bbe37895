//! The idle instances of all modules together: each reserves address space, so that their number is limited.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// How many modules are compared to find one that has not been used for long.
const SAMPLE: usize = 16;

/// The idle instances of one module.
pub trait Pool: Send + Sync {
    /// Returns when the module was used last, by [`Idle::tick`].
    fn last_used(&self) -> u64;

    /// Reports whether there are idle instances.
    fn has_idle(&self) -> bool;

    /// Drops an idle instance.
    fn drop_idle(&self);
}

/// The idle instances of an engine.
#[derive(Default)]
pub struct Idle {
    count: AtomicUsize,
    clock: AtomicU64,
    modules: Mutex<Modules>,
}

#[derive(Default)]
struct Modules {
    all: Vec<Weak<dyn Pool>>,
    /// Where the next sample starts.
    next: usize,
}

impl Idle {
    /// Adds a module, whose idle instances may be dropped for those of others.
    pub fn register(&self, module: Weak<dyn Pool>) {
        self.lock().all.push(module);
    }

    /// Counts an idle instance and makes it available. Drops one of a module that has not been used for long if there are more than
    /// `limit`.
    pub fn add(&self, limit: usize, make_available: impl FnOnce()) {
        // Another thread can take an instance, and count that, as soon as it is available.
        let before = self.count.fetch_add(1, Ordering::Relaxed);
        make_available();
        if before >= limit {
            self.evict();
        }
    }

    /// Counts instances that are idle no longer.
    pub fn removed(&self, count: usize) {
        self.count.fetch_sub(count, Ordering::Relaxed);
    }

    /// The number of uses so far.
    pub fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed)
    }

    fn evict(&self) {
        let mut modules = self.lock();
        let mut oldest: Option<Arc<dyn Pool>> = None;
        let mut seen = 0;
        // Modules without idle instances do not count as seen, and each module is looked at once at most.
        for _ in 0..modules.all.len() {
            if seen == SAMPLE || modules.all.is_empty() {
                break;
            }
            let position = modules.next % modules.all.len();
            modules.next = position + 1;
            let Some(module) = modules.all[position].upgrade() else {
                modules.all.swap_remove(position);
                modules.next = position;
                continue;
            };
            if !module.has_idle() {
                continue;
            }
            seen += 1;
            if oldest.as_ref().is_none_or(|oldest| module.last_used() < oldest.last_used()) {
                oldest = Some(module);
            }
        }
        drop(modules);
        if let Some(module) = oldest {
            module.drop_idle();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Modules> {
        // No holder of the lock can panic during a change.
        self.modules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_counted_before_another_thread_can_take_it() {
        let idle = Idle::default();
        let count = || idle.count.load(Ordering::Relaxed);
        idle.add(1, || {
            assert_eq!(count(), 1);
            idle.removed(1);
        });
        assert_eq!(count(), 0);
    }
}
