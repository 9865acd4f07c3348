//! What somebody means to do, and when.

use std::collections::BTreeMap;
use std::time::Instant;

/// Deeds in the order of their time; of the same moment, in the order of their entry.
#[derive(Debug)]
pub struct Agenda<T> {
    entries: BTreeMap<(Instant, u64), T>,
    count: u64,
}

impl<T> Default for Agenda<T> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), count: 0 }
    }
}

impl<T> Agenda<T> {
    /// Enters a deed.
    pub fn enter(&mut self, at: Instant, deed: T) {
        self.count += 1;
        self.entries.insert((at, self.count), deed);
    }

    /// When the next is due.
    pub fn next_at(&self) -> Option<Instant> {
        self.entries.keys().next().map(|(at, _)| *at)
    }

    /// The next that is due.
    pub fn pop_due(&mut self, now: Instant) -> Option<T> {
        let due = self.entries.first_entry().filter(|entry| entry.key().0 <= now)?;
        Some(due.remove())
    }

    /// Strikes everything out.
    pub fn clear(&mut self) {
        self.entries.clear();
    }
}
