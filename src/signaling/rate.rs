//! How many messages a client may send: a token bucket.

use std::time::Instant;

/// Lets through `per_second` messages a second, and as many at once after a pause.
#[derive(Debug, Clone)]
pub struct Rate {
    per_second: u32,
    /// Messages that may come now, in thousandths.
    credit_milli: u64,
    refilled: Instant,
}

impl Rate {
    /// A full bucket of `per_second` messages.
    pub fn new(per_second: u32, now: Instant) -> Self {
        Self { per_second, credit_milli: u64::from(per_second) * 1_000, refilled: now }
    }

    /// Takes one message; `false` where it is one too many.
    pub fn take(&mut self, now: Instant) -> bool {
        let elapsed_ms = u64::try_from(now.saturating_duration_since(self.refilled).as_millis()).unwrap_or(u64::MAX);
        if elapsed_ms > 0 {
            let full = u64::from(self.per_second) * 1_000;
            let earned = elapsed_ms.saturating_mul(u64::from(self.per_second));
            self.credit_milli = self.credit_milli.saturating_add(earned).min(full);
            // Only whole milliseconds are spent, so that many calls within one lose nothing.
            self.refilled += std::time::Duration::from_millis(elapsed_ms);
        }
        match self.credit_milli.checked_sub(1_000) {
            Some(rest) => {
                self.credit_milli = rest;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use std::time::Duration;

    #[test]
    fn a_burst_is_one_second_worth_and_no_more() {
        let now = Clock::system().now();
        let mut rate = Rate::new(50, now);
        assert_eq!((0..60).filter(|_| rate.take(now)).count(), 50);
    }

    #[test]
    fn the_steady_rate_passes_for_ever() {
        let start = Clock::system().now();
        let mut rate = Rate::new(50, start);
        assert!((1..5_000).all(|n| rate.take(start + Duration::from_millis(20 * n))));
    }

    #[test]
    fn twice_the_rate_is_cut_to_the_rate() {
        let start = Clock::system().now();
        let mut rate = Rate::new(50, start);
        let passed = (0..1_000).filter(|n| rate.take(start + Duration::from_millis(10 * n))).count();
        assert!((545..=551).contains(&passed), "{passed}");
    }

    #[test]
    fn time_that_stands_still_or_goes_back_earns_nothing() {
        let earlier = Clock::system().now();
        let now = earlier + Duration::from_secs(10);
        let mut rate = Rate::new(1, now);
        assert!(rate.take(now));
        assert!(!rate.take(earlier));
        assert!(!rate.take(now));
    }
}
