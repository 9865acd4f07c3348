//! The last notifications of a session, for a client that comes back.

use std::collections::VecDeque;
use std::time::Instant;

use crate::limits::{SIGNALING_REPLAY_AGE, SIGNALING_REPLAY_MAX};

/// Notifications by running number, bounded in count and age.
#[derive(Debug, Default)]
pub(super) struct Replay {
    last_seq: u64,
    kept: VecDeque<Kept>,
}

#[derive(Debug)]
struct Kept {
    seq: u64,
    at: Instant,
    text: String,
}

impl Replay {
    /// The number of the next notification.
    pub(super) const fn next_seq(&self) -> u64 {
        self.last_seq + 1
    }

    /// The number of the last notification; 0 before the first.
    pub(super) const fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// Keeps the notification with the number [`Self::next_seq`].
    pub(super) fn push(&mut self, text: String, now: Instant) {
        self.last_seq += 1;
        self.kept.push_back(Kept { seq: self.last_seq, at: now, text });
        if self.kept.len() > SIGNALING_REPLAY_MAX {
            self.kept.pop_front();
        }
        self.forget_old(now);
    }

    fn forget_old(&mut self, now: Instant) {
        while self.kept.front().is_some_and(|kept| now.saturating_duration_since(kept.at) > SIGNALING_REPLAY_AGE) {
            self.kept.pop_front();
        }
    }

    /// Everything after `seq`, or `None` where some of it is gone, or was never sent.
    pub(super) fn since(&mut self, seq: u64, now: Instant) -> Option<Vec<String>> {
        self.forget_old(now);
        if seq > self.last_seq {
            return None;
        }
        let oldest = self.kept.front().map_or(self.last_seq + 1, |kept| kept.seq);
        if seq + 1 < oldest {
            return None;
        }
        Some(self.kept.iter().filter(|kept| kept.seq > seq).map(|kept| kept.text.clone()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use std::time::Duration;

    fn filled(count: u64, now: Instant) -> Replay {
        let mut replay = Replay::default();
        for n in 1..=count {
            replay.push(n.to_string(), now);
        }
        replay
    }

    #[test]
    fn what_came_after_the_number_is_replayed_in_order() {
        let now = Clock::system().now();
        assert_eq!(filled(5, now).since(3, now), Some(vec!["4".to_owned(), "5".to_owned()]));
        assert_eq!(filled(5, now).since(5, now), Some(vec![]));
        assert_eq!(filled(0, now).since(0, now), Some(vec![]));
    }

    #[test]
    fn at_most_256_are_kept() {
        let now = Clock::system().now();
        let mut replay = filled(300, now);
        assert_eq!(replay.since(43, now), None);
        assert_eq!(replay.since(44, now).map(|texts| texts.len()), Some(256));
    }

    #[test]
    fn after_30_s_there_is_no_replay() {
        let now = Clock::system().now();
        assert!(filled(2, now).since(1, now + Duration::from_secs(30)).is_some());
        assert!(filled(2, now).since(1, now + Duration::from_secs(31)).is_none());
        assert_eq!(filled(2, now).since(2, now + Duration::from_secs(31)), Some(vec![]));
    }

    #[test]
    fn a_number_from_the_future_is_not_believed() {
        let now = Clock::system().now();
        assert_eq!(filled(2, now).since(3, now), None);
        assert_eq!(filled(2, now).since(u64::MAX, now), None);
    }
}
