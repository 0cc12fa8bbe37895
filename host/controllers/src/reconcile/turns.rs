//! The turns of the policies: if the API server is slow, every policy gets its share of the requests.

use std::collections::BTreeMap;
use std::ops::Bound;

/// Whose turn is next.
#[derive(Debug)]
pub struct Turns<K> {
    /// The first entry that was not served completely; `None` to begin with the first one.
    next: Option<K>,
}

impl<K> Default for Turns<K> {
    fn default() -> Self {
        Self { next: None }
    }
}

/// Returns the next request of an entry, if one is due.
pub type Source<'a, K, V, R> = &'a dyn Fn(&K, &mut V) -> Option<R>;

impl<K: Ord + Clone> Turns<K> {
    /// Takes at most `most` requests, up to one of each source per entry. The next call continues where this one ends.
    pub fn take<V, R>(&mut self, entries: &mut BTreeMap<K, V>, most: usize, sources: &[Source<'_, K, V, R>]) -> Vec<R> {
        let next = self.next.take();
        let (from, to) = match &next {
            Some(next) => (Bound::Included(next), Some(Bound::Excluded(next))),
            None => (Bound::Unbounded, None),
        };
        let mut taken = Vec::new();
        for range in [Some((from, Bound::Unbounded)), to.map(|to| (Bound::Unbounded, to))].into_iter().flatten() {
            for (key, entry) in entries.range_mut(range) {
                for source in sources {
                    if taken.len() == most {
                        self.next = Some(key.clone());
                        return taken;
                    }
                    taken.extend(source(key, entry));
                }
            }
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes the requests of entries that always have one of each kind.
    fn take(turns: &mut Turns<char>, entries: &str, most: usize) -> String {
        let mut entries: BTreeMap<char, ()> = entries.chars().map(|entry| (entry, ())).collect();
        let (write, job) =
            (|key: &char, (): &mut ()| Some(*key), |key: &char, (): &mut ()| Some(key.to_ascii_uppercase()));
        turns.take(&mut entries, most, &[&write, &job]).into_iter().collect()
    }

    #[test]
    fn every_entry_has_its_turn_and_the_limit_is_exact() {
        let mut turns = Turns::default();
        let taken: Vec<String> = (0..5).map(|_| take(&mut turns, "abc", 3)).collect();
        assert_eq!(taken, ["aAb", "bBc", "cCa", "aAb", "bBc"]);
        assert_eq!(take(&mut turns, "abc", 0), "");
        assert_eq!(take(&mut turns, "abc", 6), "cCaAbB", "each entry is served once");
        assert_eq!(take(&mut turns, "abc", 9), "aAbBcC");
    }

    #[test]
    fn entries_without_requests_take_no_turns_and_removed_ones_stop_nothing() {
        let mut turns = Turns::default();
        let mut entries = BTreeMap::from([('a', 0), ('b', 1), ('c', 0), ('d', 2)]);
        let source = |key: &char, left: &mut u32| {
            *left = left.checked_sub(1)?;
            Some(*key)
        };
        assert_eq!(turns.take(&mut entries, 1, &[&source]), ['b']);
        entries.remove(&'c');
        assert_eq!(turns.take(&mut entries, 2, &[&source]), ['d']);
        assert_eq!(turns.take(&mut entries, 2, &[&source]), ['d']);
    }
}
