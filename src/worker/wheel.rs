//! A tick wheel: one shared clockwork instead of a timer per call. Pure.
//!
//! An entry is a hint, not a promise: its owner looks whether it is really due, and schedules anew where it is not.

use std::time::Duration;
use std::time::Instant;

/// Width of a slot. Everything due within it fires together.
const TICK: Duration = Duration::from_millis(2);
/// Slots: one turn of the wheel is about one second; what lies further is looked at once a turn.
const SLOTS: u64 = 512;

/// See the module.
#[derive(Debug)]
pub struct Wheel<K> {
    slots: Vec<Vec<K>>,
    start: Instant,
    /// The next tick to fire.
    cursor: u64,
    pending: usize,
}

impl<K> Wheel<K> {
    /// An empty wheel that stands at `start`.
    pub fn new(start: Instant) -> Self {
        Self { slots: (0..SLOTS).map(|_| Vec::new()).collect(), start, cursor: 0, pending: 0 }
    }

    /// Puts `key` into the first slot that is not before `at`; beyond one turn, into the last.
    pub fn schedule(&mut self, key: K, at: Instant) {
        let tick = self.tick_after(at).clamp(self.cursor, self.cursor + SLOTS - 1);
        if let Some(slot) = self.slot(tick) {
            slot.push(key);
            self.pending += 1;
        }
    }

    /// Takes one key whose slot has been reached at `now`.
    pub fn pop_due(&mut self, now: Instant) -> Option<K> {
        let reached = self.tick_before(now);
        if self.pending == 0 {
            self.cursor = self.cursor.max(reached);
            return None;
        }
        while self.cursor <= reached {
            if let Some(key) = self.slot(self.cursor).and_then(Vec::pop) {
                self.pending -= 1;
                return Some(key);
            }
            self.cursor += 1;
        }
        None
    }

    /// When the next slot that holds anything is reached.
    pub fn next(&self) -> Option<Instant> {
        if self.pending == 0 {
            return None;
        }
        let held = |tick: &u64| {
            self.slots.get(usize::try_from(tick % SLOTS).unwrap_or_default()).is_some_and(|slot| !slot.is_empty())
        };
        let tick = (self.cursor..self.cursor + SLOTS).find(held)?;
        Some(self.start + TICK.saturating_mul(u32::try_from(tick).unwrap_or(u32::MAX)))
    }

    fn slot(&mut self, tick: u64) -> Option<&mut Vec<K>> {
        self.slots.get_mut(usize::try_from(tick % SLOTS).ok()?)
    }

    fn tick_before(&self, at: Instant) -> u64 {
        let passed = at.saturating_duration_since(self.start).as_nanos() / TICK.as_nanos();
        u64::try_from(passed).unwrap_or(u64::MAX)
    }

    fn tick_after(&self, at: Instant) -> u64 {
        let passed = at.saturating_duration_since(self.start).as_nanos().div_ceil(TICK.as_nanos());
        u64::try_from(passed).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    const fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn an_entry_fires_not_before_its_time_and_within_one_slot() {
        let start = Clock::system().now();
        let mut wheel = Wheel::new(start);
        wheel.schedule('a', start + ms(21));
        assert_eq!(wheel.pop_due(start + ms(20)), None);
        assert_eq!(wheel.next(), Some(start + ms(22)));
        assert_eq!(wheel.pop_due(start + ms(22)), Some('a'));
        assert_eq!(wheel.next(), None);
    }

    #[test]
    fn entries_fire_in_the_order_of_their_slots() {
        let start = Clock::system().now();
        let mut wheel = Wheel::new(start);
        wheel.schedule('c', start + ms(900));
        wheel.schedule('a', start + ms(2));
        wheel.schedule('b', start + ms(40));
        let late = start + ms(1_000);
        assert_eq!([wheel.pop_due(late), wheel.pop_due(late), wheel.pop_due(late)], [Some('a'), Some('b'), Some('c')]);
        assert_eq!(wheel.pop_due(late), None);
    }

    #[test]
    fn what_lies_beyond_a_turn_is_looked_at_within_it() {
        let start = Clock::system().now();
        let mut wheel = Wheel::new(start);
        wheel.schedule('a', start + ms(60_000));
        let first_look = wheel.next().unwrap();
        assert!(first_look <= start + ms(1_024));
        assert_eq!(wheel.pop_due(first_look), Some('a'));
    }

    #[test]
    fn an_entry_in_the_past_fires_at_once_even_after_a_long_idle_time() {
        let start = Clock::system().now();
        let mut wheel = Wheel::new(start);
        assert_eq!(wheel.pop_due(start + ms(500_000)), None);
        wheel.schedule('a', start);
        assert_eq!(wheel.pop_due(start + ms(500_000)), Some('a'));
        wheel.schedule('b', start + ms(500_010));
        assert_eq!(wheel.pop_due(start + ms(500_009)), None);
        assert_eq!(wheel.pop_due(start + ms(500_010)), Some('b'));
    }
}
