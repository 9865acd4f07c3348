//! Named timers of one machine: what is pending, and what fires next.

use std::collections::BTreeMap;
use std::time::Instant;

/// A table of deadlines, one per named timer `K`. Small by construction: its size is the number of names.
///
/// A stuck machine says what it waits for: [`Timers::next`] names the timer.
#[derive(Debug, Clone)]
pub struct Timers<K> {
    deadlines: BTreeMap<K, Instant>,
}

impl<K: Ord + Copy> Default for Timers<K> {
    fn default() -> Self {
        Self { deadlines: BTreeMap::new() }
    }
}

impl<K: Ord + Copy> Timers<K> {
    /// Starts `timer`, or moves it where it already runs.
    pub fn set(&mut self, timer: K, at: Instant) {
        self.deadlines.insert(timer, at);
    }

    /// Stops `timer`; stopping one that does not run is nothing.
    pub fn stop(&mut self, timer: K) {
        self.deadlines.remove(&timer);
    }

    /// Stops every timer.
    pub fn clear(&mut self) {
        self.deadlines.clear();
    }

    /// Whether `timer` runs.
    pub fn is_running(&self, timer: K) -> bool {
        self.deadlines.contains_key(&timer)
    }

    /// The earliest deadline and its timer.
    pub fn next(&self) -> Option<(Instant, K)> {
        self.deadlines.iter().map(|(timer, at)| (*at, *timer)).min()
    }

    /// Takes one timer that is due at `now`, the earliest first.
    pub fn pop_due(&mut self, now: Instant) -> Option<K> {
        let (at, timer) = self.next()?;
        if at > now {
            return None;
        }
        self.deadlines.remove(&timer);
        Some(timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use std::time::Duration;

    #[test]
    fn timers_fire_in_the_order_of_their_deadlines() {
        let start = Clock::system().now();
        let mut timers = Timers::default();
        timers.set('b', start + Duration::from_secs(2));
        timers.set('a', start + Duration::from_secs(1));
        assert_eq!(timers.pop_due(start), None);
        assert_eq!(timers.pop_due(start + Duration::from_secs(3)), Some('a'));
        assert_eq!(timers.pop_due(start + Duration::from_secs(3)), Some('b'));
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn a_stopped_timer_never_fires() {
        let start = Clock::system().now();
        let mut timers = Timers::default();
        timers.set('a', start);
        timers.stop('a');
        assert_eq!(timers.pop_due(start), None);
    }
}
