//! When a stream connection must act although nothing came: pings, and the three ways to lose patience.

use std::time::Duration;

use rand::Rng as _;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::time::Instant;

use crate::sip::io::CloseReason;

/// How long a connection waits, and for what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    /// From the first byte of a message to its last.
    pub(crate) message: Duration,
    /// Without any traffic.
    pub(crate) idle: Duration,
    /// Between pings of ours; `None` sends none.
    pub(crate) keep_alive: Option<Duration>,
    /// From a ping to its answer, where the peer is known to answer.
    pub(crate) pong: Duration,
    /// Whether we opened it: then pings keep it, because it is for us to keep.
    pub(crate) is_ours: bool,
}

/// What one read brought.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Took {
    /// Whole messages, good or bad, and pings of the peer.
    pub(crate) ended: usize,
    /// The answer to a ping of ours.
    pub(crate) pong: bool,
    /// A message has begun and not ended.
    pub(crate) is_mid_message: bool,
}

/// What to do now.
#[derive(Debug)]
pub(crate) enum Expired {
    Nothing,
    Ping,
    Close(CloseReason),
}

/// The clocks of one connection.
#[derive(Debug)]
pub(crate) struct Patience {
    times: Times,
    chance: StdRng,
    message_by: Option<Instant>,
    idle_at: Instant,
    ping_at: Option<Instant>,
    /// A ping is out.
    pinged: bool,
    /// The peer has answered a ping of ours.
    answers: bool,
    pong_by: Option<Instant>,
}

impl Patience {
    pub(crate) fn new(times: Times, seed: u64, now: Instant) -> Self {
        let mut patience = Self {
            times,
            chance: StdRng::seed_from_u64(seed),
            message_by: None,
            idle_at: now + times.idle,
            ping_at: None,
            pinged: false,
            answers: false,
            pong_by: None,
        };
        patience.ping_at = patience.next_ping(now);
        patience
    }

    /// A fifth sooner or later by chance, so that the connections of a restart do not ping in step.
    fn next_ping(&mut self, now: Instant) -> Option<Instant> {
        let factor = self.chance.random_range(0.8..1.2);
        self.times.keep_alive.map(|interval| now + interval.mul_f64(factor))
    }

    /// Whether a lone CRLF would be an answer.
    pub(crate) const fn awaits_pong(&self) -> bool {
        self.pinged
    }

    /// Bytes came.
    pub(crate) fn received(&mut self, took: Took, now: Instant) {
        // Whatever came shows that the peer lives.
        self.pong_by = None;
        self.ping_at = self.next_ping(now);
        if took.pong {
            self.pinged = false;
            self.answers = true;
        }
        if took.ended > 0 || (took.pong && self.times.is_ours) {
            self.idle_at = now + self.times.idle;
        }
        // The clock runs from a message's first byte; a trickle does not wind it up again.
        self.message_by = match self.message_by {
            _ if !took.is_mid_message => None,
            Some(running) if took.ended == 0 => Some(running),
            Some(_) | None => Some(now + self.times.message),
        };
    }

    /// When to ask [`Self::expire`].
    pub(crate) fn next(&self) -> Instant {
        // A message under way is traffic enough: only its own clock runs.
        let silence = if self.message_by.is_some() { None } else { Some(self.idle_at) };
        let all = [self.message_by, silence, self.ping_at, self.pong_by];
        all.into_iter().flatten().min().unwrap_or(self.idle_at)
    }

    /// What is due; `held` while a call lives on the connection.
    pub(crate) fn expire(&mut self, held: bool, now: Instant) -> Expired {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if due(self.message_by) {
            return Expired::Close(CloseReason::MessageTimeout);
        }
        if due(self.pong_by) {
            return Expired::Close(CloseReason::NoPong);
        }
        if self.message_by.is_none() && self.idle_at <= now {
            if !held {
                return Expired::Close(CloseReason::Idle);
            }
            self.idle_at = now + self.times.idle;
        }
        if !due(self.ping_at) {
            return Expired::Nothing;
        }
        self.ping_at = self.next_ping(now);
        self.pinged = true;
        if self.answers {
            self.pong_by = Some(now + self.times.pong);
        }
        if self.times.is_ours {
            self.idle_at = now + self.times.idle;
        }
        Expired::Ping
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MESSAGE: Took = Took { ended: 1, pong: false, is_mid_message: false };
    const HALF: Took = Took { ended: 0, pong: false, is_mid_message: true };
    const PONG: Took = Took { ended: 0, pong: true, is_mid_message: false };

    fn times(is_ours: bool) -> Times {
        let keep_alive = Some(Duration::from_secs(30));
        Times { message: 10 * SECOND, idle: 600 * SECOND, keep_alive, pong: 10 * SECOND, is_ours }
    }

    fn begin(is_ours: bool) -> (Patience, Instant) {
        let now = Instant::now();
        (Patience::new(times(is_ours), 1, now), now)
    }

    /// The next thing that happens, and when.
    fn step(patience: &mut Patience, held: bool) -> (Instant, Expired) {
        let at = patience.next();
        (at, patience.expire(held, at))
    }

    #[test]
    fn pings_are_about_thirty_seconds_apart_and_never_in_step() {
        let (mut patience, mut last) = begin(true);
        let mut gaps = std::collections::BTreeSet::new();
        for _ in 0..100 {
            let (at, Expired::Ping) = step(&mut patience, false) else { panic!("a ping") };
            let gap = at - last;
            assert!((24 * SECOND..=36 * SECOND).contains(&gap), "{gap:?}");
            gaps.insert(gap);
            last = at;
        }
        assert!(gaps.len() > 90);
    }

    #[test]
    fn our_own_connection_is_kept_by_pings_and_the_peers_is_not() {
        let (mut ours, start) = begin(true);
        while ours.next() < start + 3600 * SECOND {
            assert!(matches!(step(&mut ours, false).1, Expired::Ping));
        }
        let (mut theirs, start) = begin(false);
        let closed = loop {
            match step(&mut theirs, false) {
                (_, Expired::Ping) => theirs.received(PONG, theirs.next()),
                (at, Expired::Close(CloseReason::Idle)) => break at,
                (at, other) => panic!("{at:?} {other:?}"),
            }
        };
        assert_eq!(closed, start + 600 * SECOND);
    }

    #[test]
    fn a_held_connection_does_not_idle_out() {
        let (mut patience, start) = begin(false);
        while patience.next() < start + 3600 * SECOND {
            assert!(!matches!(step(&mut patience, true).1, Expired::Close(_)));
        }
    }

    #[test]
    fn a_trickle_does_not_wind_the_message_clock_up_again() {
        let (mut patience, start) = begin(true);
        for second in 0..10 {
            patience.received(HALF, start + second * SECOND);
        }
        let (at, expired) = step(&mut patience, true);
        assert_eq!(at, start + 10 * SECOND);
        assert!(matches!(expired, Expired::Close(CloseReason::MessageTimeout)));
    }

    #[test]
    fn each_message_of_a_stream_has_its_own_clock() {
        let (mut patience, start) = begin(true);
        patience.received(HALF, start);
        let next_half = Took { ended: 1, ..HALF };
        patience.received(next_half, start + 9 * SECOND);
        assert_eq!(patience.next(), start + 19 * SECOND);
        patience.received(MESSAGE, start + 12 * SECOND);
        assert!(patience.next() > start + 30 * SECOND);
    }

    #[test]
    fn only_a_peer_that_once_answered_a_ping_must_answer_the_next() {
        let (mut patience, _) = begin(true);
        for _ in 0..5 {
            assert!(matches!(step(&mut patience, false).1, Expired::Ping), "a peer of RFC 3261 alone");
        }
        assert!(patience.awaits_pong());
        let now = patience.next();
        patience.received(PONG, now);
        assert!(!patience.awaits_pong());
        let (at, Expired::Ping) = step(&mut patience, false) else { panic!("a ping") };
        let (closed, expired) = step(&mut patience, true);
        assert_eq!(closed, at + 10 * SECOND);
        assert!(matches!(expired, Expired::Close(CloseReason::NoPong)));
    }
}
