//! How many lines a second the workers may log about media that they dropped.

use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::limits::MEDIA_LOG_LINES_PER_SECOND;

/// Of all workers of the process.
pub(super) static LINES: LogBudget = LogBudget::new();

/// A count that begins anew each second.
#[derive(Debug)]
pub(super) struct LogBudget {
    began: OnceLock<Instant>,
    /// The second since the beginning, times 256, and the lines in it.
    taken: AtomicU64,
}

impl LogBudget {
    const fn new() -> Self {
        Self { began: OnceLock::new(), taken: AtomicU64::new(0) }
    }

    /// Whether one more line may be logged.
    pub(super) fn take(&self, now: Instant) -> bool {
        let second = now.saturating_duration_since(*self.began.get_or_init(|| now)).as_secs() << 8;
        let next = |taken: u64| {
            let taken = taken.max(second);
            (taken & 0xff < MEDIA_LOG_LINES_PER_SECOND).then_some(taken + 1)
        };
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Clock;

    #[test]
    fn ten_lines_a_second_and_no_more() {
        let (budget, start) = (LogBudget::new(), Clock::system().now());
        for second in [0, 1, 7] {
            let at = start + Duration::from_secs(second);
            assert_eq!((0..100).filter(|_| budget.take(at)).count(), 10);
        }
    }
}
