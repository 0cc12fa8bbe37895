//! The rules of a check, which policies with the same settings share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// The rules of a check, by their settings, as long as they are in use.
pub struct RuleCache<T> {
    rules: Mutex<HashMap<String, Weak<T>>>,
}

impl<T> Default for RuleCache<T> {
    fn default() -> Self {
        Self { rules: Mutex::default() }
    }
}

impl<T> RuleCache<T> {
    /// Returns the rule with these settings, or creates it.
    pub fn get_or_create<E>(&self, settings: &str, create: impl FnOnce() -> Result<Arc<T>, E>) -> Result<Arc<T>, E> {
        if let Some(rule) = self.lock().get(settings).and_then(Weak::upgrade) {
            return Ok(rule);
        }
        // The creation runs the check, for which others must not wait.
        let created = create()?;
        let mut rules = self.lock();
        if let Some(rule) = rules.get(settings).and_then(Weak::upgrade) {
            // Another thread created it at the same time.
            return Ok(rule);
        }
        rules.retain(|_, rule| rule.strong_count() > 0);
        rules.insert(settings.to_owned(), Arc::downgrade(&created));
        Ok(created)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Weak<T>>> {
        // No holder of the lock can panic during a change.
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn created(number: u8) -> Result<Arc<u8>, Infallible> {
        Ok(Arc::new(number))
    }

    #[test]
    fn a_rule_is_shared_while_it_is_in_use() {
        let cache = RuleCache::default();
        let first = cache.get_or_create("a", || created(1)).unwrap();
        assert_eq!(*cache.get_or_create("a", || created(2)).unwrap(), 1);
        assert_eq!(*cache.get_or_create("b", || created(3)).unwrap(), 3);
        drop(first);
        assert_eq!(*cache.get_or_create("a", || created(4)).unwrap(), 4);
        assert_eq!(cache.lock().len(), 1, "rules that are not used any longer are forgotten");
        assert!(cache.get_or_create("c", || Err("rejected")).is_err());
    }

    #[test]
    fn other_rules_are_created_and_found_during_a_creation() {
        let cache = RuleCache::default();
        let mut others = Vec::new();
        let slow = cache.get_or_create("slow", || {
            assert!(cache.rules.try_lock().is_ok(), "the cache is locked while a check runs");
            others.push(cache.get_or_create("other", || created(2))?);
            others.push(cache.get_or_create("slow", || created(3))?);
            created(1)
        });
        assert_eq!(*slow.unwrap(), 3, "the first of two rules with the same settings is shared");
        assert_eq!(others.iter().map(|rule| **rule).collect::<Vec<_>>(), [2, 3]);
    }
}
