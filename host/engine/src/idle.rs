//! The idle instances of all rules together: each reserves address space, so that their number is limited.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, Weak};

use crate::Rule;

/// How many rules are compared to find one that has not been used for long.
const SAMPLE: usize = 16;

/// The idle instances of an engine.
#[derive(Default)]
pub struct Idle {
    count: AtomicUsize,
    clock: AtomicU64,
    rules: Mutex<Rules>,
}

#[derive(Default)]
struct Rules {
    all: Vec<Weak<Rule>>,
    /// Where the next sample starts.
    next: usize,
}

impl Idle {
    /// Adds a rule, whose idle instances may be dropped for those of others.
    pub fn register(&self, rule: Weak<Rule>) {
        self.lock().all.push(rule);
    }

    /// Counts an idle instance. Drops one of a rule that has not been used for long if there are more than `limit`.
    pub fn added(&self, limit: usize) {
        if self.count.fetch_add(1, Ordering::Relaxed) >= limit {
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
        let mut rules = self.lock();
        let mut oldest: Option<std::sync::Arc<Rule>> = None;
        let mut seen = 0;
        // Rules without idle instances do not count as seen, and each rule is looked at once at most.
        for _ in 0..rules.all.len() {
            if seen == SAMPLE || rules.all.is_empty() {
                break;
            }
            let position = rules.next % rules.all.len();
            rules.next = position + 1;
            let Some(rule) = rules.all[position].upgrade() else {
                rules.all.swap_remove(position);
                rules.next = position;
                continue;
            };
            if !rule.has_idle() {
                continue;
            }
            seen += 1;
            if oldest.as_ref().is_none_or(|oldest| rule.last_used() < oldest.last_used()) {
                oldest = Some(rule);
            }
        }
        drop(rules);
        if let Some(rule) = oldest {
            rule.drop_idle();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Rules> {
        // No holder of the lock can panic during a change.
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
