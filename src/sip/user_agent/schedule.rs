//! When which of many machines wants to be woken.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Instant;

/// A queue of deadlines, at most one per key `K`, each with a name `N` for whoever looks at a stuck machine.
#[derive(Debug)]
pub(crate) struct Schedule<K, N> {
    by_time: BTreeSet<(Instant, K)>,
    by_key: BTreeMap<K, (Instant, N)>,
}

impl<K: Ord + Clone, N: Copy + PartialEq> Schedule<K, N> {
    /// An empty queue.
    pub(crate) const fn new() -> Self {
        Self { by_time: BTreeSet::new(), by_key: BTreeMap::new() }
    }

    /// Sets, moves or (with `None`) removes the deadline of `key`.
    pub(crate) fn set(&mut self, key: &K, deadline: Option<(Instant, N)>) {
        if deadline.is_some() && self.by_key.get(key).copied() == deadline {
            return;
        }
        if let Some((at, _)) = self.by_key.remove(key) {
            self.by_time.remove(&(at, key.clone()));
        }
        if let Some((at, name)) = deadline {
            self.by_key.insert(key.clone(), (at, name));
            self.by_time.insert((at, key.clone()));
        }
    }

    /// The earliest deadline and its name.
    pub(crate) fn next(&self) -> Option<(Instant, N)> {
        let (_, key) = self.by_time.first()?;
        self.by_key.get(key).copied()
    }

    /// Takes the earliest key that is due at `now`.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<K> {
        let (at, _) = self.by_time.first()?;
        if *at > now {
            return None;
        }
        let (_, key) = self.by_time.pop_first()?;
        self.by_key.remove(&key);
        Some(key)
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.by_key.is_empty() && self.by_time.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use std::time::Duration;

    #[test]
    fn a_moved_deadline_fires_once_at_its_new_time() {
        let start = Clock::system().now();
        let mut schedule = Schedule::new();
        schedule.set(&'a', Some((start + Duration::from_secs(1), 1)));
        schedule.set(&'b', Some((start + Duration::from_secs(2), 2)));
        schedule.set(&'a', Some((start + Duration::from_secs(3), 3)));
        assert_eq!(schedule.next(), Some((start + Duration::from_secs(2), 2)));
        let end = start + Duration::from_secs(9);
        assert_eq!(schedule.pop_due(start), None);
        assert_eq!([schedule.pop_due(end), schedule.pop_due(end), schedule.pop_due(end)], [Some('b'), Some('a'), None]);
        assert!(schedule.is_empty());
    }

    #[test]
    fn a_removed_deadline_never_fires() {
        let start = Clock::system().now();
        let mut schedule = Schedule::new();
        schedule.set(&'a', Some((start, 1)));
        schedule.set(&'a', None);
        assert_eq!(schedule.pop_due(start), None);
        assert!(schedule.is_empty());
    }
}
