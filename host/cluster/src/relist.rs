//! Watches that start anew: what is not listed again has gone meanwhile.

use std::collections::BTreeSet;

use crate::key::ObjectKey;

/// What a watch that starts anew has listed so far.
#[derive(Debug, Default)]
pub struct Relist(BTreeSet<ObjectKey>);

impl Relist {
    /// The watch starts anew.
    pub fn begin(&mut self) {
        self.0.clear();
    }

    /// This is there.
    pub fn listed(&mut self, key: ObjectKey) {
        self.0.insert(key);
    }

    /// The list is complete: which of those that were known are not in it.
    pub fn gone(&mut self, known: impl Iterator<Item = ObjectKey>) -> Vec<ObjectKey> {
        let listed = std::mem::take(&mut self.0);
        known.filter(|key| !listed.contains(key)).collect()
    }
}
