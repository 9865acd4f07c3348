//! Our INVITE until its final response (RFC 3261 13.2, 9.1): targets in order, CANCEL, and who is told what.

use std::collections::VecDeque;
use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;

use crate::ids::LegId;
use crate::sip::Event;
use crate::sip::Reason;
use crate::sip::StatusCode;
use crate::sip::transaction::Timing;
use crate::sip::transaction::TransactionKey;
use crate::timer::Timers;

/// Timers of an outbound INVITE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OutboundTimer {
    /// The target answered nothing at all: take the next.
    Failover,
    /// Our CANCEL brought no final response: the INVITE counts as cancelled (9.1).
    CancelPatience,
}

/// What happens to it. Responses name the branch that they answer only implicitly: the user agent passes those of
/// the current one alone.
#[derive(Debug, Clone)]
pub enum Input {
    /// The INVITE to the target that was asked for left under this key.
    Sent(TransactionKey),
    /// The INVITE was challenged and left once more, with credentials, under this key.
    SentAgain(TransactionKey),
    /// A provisional response.
    Provisional {
        /// 100–199.
        status: StatusCode,
        /// Which early dialog.
        early: u32,
        /// Its session description.
        sdp: Option<Bytes>,
    },
    /// A final response that is no 2xx.
    Failure(Failure),
    /// A final response that asks for the same to the same target, said better: 422 (RFC 4028 7.3).
    Again,
    /// Timer B: no final response.
    TimedOut,
    /// The transport failed, or there is no way to the target.
    TransportFailed,
    /// The call room gives up.
    Cancel(Option<Reason>),
}

/// What a final response says that is no 2xx.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// 300–699.
    pub status: StatusCode,
    /// Its Reason.
    pub reason: Option<Reason>,
    /// Users that a 3xx names at this trunk.
    pub redirect: Vec<String>,
    /// Its Retry-After.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// A bare status.
    pub const fn new(status: StatusCode) -> Self {
        Self { status, reason: None, redirect: Vec::new(), retry_after: None }
    }
}

/// What it wants done.
#[derive(Debug, Clone)]
pub enum Output {
    /// Send the INVITE to the target of this index in the trunk's list, with this `CSeq`; then pass [`Input::Sent`].
    Try {
        /// Index in the list of targets.
        target: usize,
        /// The sequence number: it grows with each attempt, so that no target takes it for a merged request.
        cseq: u32,
    },
    /// Send CANCEL for this INVITE.
    Cancel {
        /// The INVITE.
        key: TransactionKey,
        /// Its Reason.
        reason: Option<Reason>,
    },
    /// Nobody waits for this INVITE any more: cancel it once it may be, and end a call that it makes.
    Abandon(TransactionKey),
    /// Tell the call room.
    Event(Event),
}

/// The machine.
#[derive(Debug)]
pub struct OutboundInvite {
    leg: LegId,
    timing: Timing,
    failover_after: Duration,
    targets: VecDeque<usize>,
    failover_on: Vec<StatusCode>,
    /// The target that was asked for last.
    current: usize,
    cseq: u32,
    phase: Phase,
    timers: Timers<OutboundTimer>,
    output: VecDeque<Output>,
}

#[derive(Debug)]
enum Phase {
    /// A target was asked for, and is not sent to yet.
    Starting,
    /// Sent; no response at all.
    Calling { key: TransactionKey },
    /// A provisional response came; `progressed` if one above 100 did.
    Proceeding { key: TransactionKey, progressed: bool },
    /// To be cancelled as soon as a provisional response comes (9.1).
    CancelPending { key: TransactionKey, reason: Option<Reason> },
    /// CANCEL was sent.
    Cancelling { key: TransactionKey },
    /// It has its final response.
    Over,
}

impl OutboundInvite {
    /// Asks for the first of `targets`, which are indices in the trunk's list.
    pub fn new(leg: LegId, targets: Vec<usize>, timing: Timing, failover_after: Duration) -> Self {
        let mut usage = Self {
            leg,
            timing,
            failover_after,
            targets: targets.into(),
            failover_on: Vec::new(),
            current: 0,
            cseq: 0,
            phase: Phase::Starting,
            timers: Timers::default(),
            output: VecDeque::new(),
        };
        usage.try_next(Failure::new(StatusCode::SERVICE_UNAVAILABLE));
        usage
    }

    /// Takes the next target on these final statuses as well.
    #[must_use]
    pub fn failing_over_on(mut self, statuses: &[StatusCode]) -> Self {
        statuses.clone_into(&mut self.failover_on);
        self
    }

    /// The sequence number of an INVITE that is sent once more to the same target; `None` where nobody wants that.
    pub fn next_cseq(&mut self) -> Option<u32> {
        let is_wanted = matches!(self.phase, Phase::Calling { .. } | Phase::Proceeding { .. });
        is_wanted.then(|| {
            self.cseq += 1;
            self.cseq
        })
    }

    /// Takes what happened.
    pub fn handle(&mut self, input: Input, now: Instant) {
        match input {
            Input::Sent(key) => self.sent(key, now),
            Input::SentAgain(key) => self.sent_again(key, now),
            Input::Provisional { status, early, sdp } => self.provisional(status, early, sdp, now),
            Input::Failure(failure) => self.failed(failure),
            Input::Again => self.again(),
            Input::TimedOut => self.failed(Failure::new(StatusCode::REQUEST_TIMEOUT)),
            Input::TransportFailed => self.failed(Failure::new(StatusCode::SERVICE_UNAVAILABLE)),
            Input::Cancel(reason) => self.cancel(reason, now),
        }
    }

    /// A 2xx came. Whether the call stands: then this machine is over, and the dialog is the call's. Otherwise the 2xx
    /// crossed our CANCEL, and is to be acknowledged and ended.
    pub fn accept(&mut self) -> bool {
        let stands = matches!(self.phase, Phase::Calling { .. } | Phase::Proceeding { .. });
        if stands {
            self.end();
        } else {
            self.refused(Failure::new(StatusCode::REQUEST_TERMINATED));
        }
        stands
    }

    /// The INVITE that it waits for.
    pub const fn key(&self) -> Option<&TransactionKey> {
        match &self.phase {
            Phase::Calling { key }
            | Phase::Proceeding { key, .. }
            | Phase::CancelPending { key, .. }
            | Phase::Cancelling { key } => Some(key),
            Phase::Starting | Phase::Over => None,
        }
    }

    fn sent(&mut self, key: TransactionKey, now: Instant) {
        if matches!(self.phase, Phase::Starting) {
            if !self.targets.is_empty() {
                self.timers.set(OutboundTimer::Failover, now + self.failover_after);
            }
            self.phase = Phase::Calling { key };
        }
    }

    fn sent_again(&mut self, key: TransactionKey, now: Instant) {
        if matches!(self.phase, Phase::Calling { .. } | Phase::Proceeding { .. }) {
            self.phase = Phase::Starting;
            self.sent(key, now);
        }
    }

    fn provisional(&mut self, status: StatusCode, early: u32, sdp: Option<Bytes>, now: Instant) {
        self.timers.stop(OutboundTimer::Failover);
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::CancelPending { key, reason } => self.send_cancel(key, reason, now),
            Phase::Calling { key } => self.proceed(key, false, status, (early, sdp)),
            Phase::Proceeding { key, progressed } => self.proceed(key, progressed, status, (early, sdp)),
            other @ (Phase::Starting | Phase::Cancelling { .. } | Phase::Over) => self.phase = other,
        }
    }

    fn proceed(
        &mut self,
        key: TransactionKey,
        progressed: bool,
        status: StatusCode,
        (early, sdp): (u32, Option<Bytes>),
    ) {
        let progresses = status != StatusCode::TRYING;
        if progresses {
            self.output.push_back(Output::Event(Event::Progressed { leg: self.leg, early, status, sdp }));
        }
        self.phase = Phase::Proceeding { key, progressed: progressed || progresses };
    }

    fn failed(&mut self, failure: Failure) {
        let status = failure.status;
        match &self.phase {
            Phase::CancelPending { .. } | Phase::Cancelling { .. } => {
                self.refused(Failure { status: StatusCode::REQUEST_TERMINATED, ..failure });
            }
            Phase::Proceeding { progressed: true, .. } => self.refused(failure),
            // Silence after a 100 is the callee's, and not the path's.
            Phase::Proceeding { .. } if status == StatusCode::REQUEST_TIMEOUT => self.refused(failure),
            Phase::Starting | Phase::Calling { .. } | Phase::Proceeding { .. }
                if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::REQUEST_TIMEOUT)
                    || self.failover_on.contains(&status) =>
            {
                self.try_next(failure);
            }
            Phase::Starting | Phase::Calling { .. } | Phase::Proceeding { .. } => self.refused(failure),
            Phase::Over => {}
        }
    }

    fn try_next(&mut self, failure: Failure) {
        self.timers.clear();
        match self.targets.pop_front() {
            Some(target) => self.try_target(target),
            None => self.refused(failure),
        }
    }

    fn try_target(&mut self, target: usize) {
        self.cseq += 1;
        self.current = target;
        self.phase = Phase::Starting;
        self.output.push_back(Output::Try { target, cseq: self.cseq });
    }

    fn again(&mut self) {
        match &self.phase {
            Phase::CancelPending { .. } | Phase::Cancelling { .. } => {
                self.refused(Failure::new(StatusCode::REQUEST_TERMINATED));
            }
            Phase::Calling { .. } | Phase::Proceeding { .. } => {
                self.timers.clear();
                self.try_target(self.current);
            }
            Phase::Starting | Phase::Over => {}
        }
    }

    fn cancel(&mut self, reason: Option<Reason>, now: Instant) {
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Starting => self.refused(Failure::new(StatusCode::REQUEST_TERMINATED)),
            Phase::Calling { key } => {
                self.timers.stop(OutboundTimer::Failover);
                self.phase = Phase::CancelPending { key, reason };
            }
            Phase::Proceeding { key, .. } => self.send_cancel(key, reason, now),
            other @ (Phase::CancelPending { .. } | Phase::Cancelling { .. } | Phase::Over) => self.phase = other,
        }
    }

    fn send_cancel(&mut self, key: TransactionKey, reason: Option<Reason>, now: Instant) {
        self.timers.set(OutboundTimer::CancelPatience, now + self.timing.patience());
        self.output.push_back(Output::Cancel { key: key.clone(), reason });
        self.phase = Phase::Cancelling { key };
    }

    fn refused(&mut self, failure: Failure) {
        let Failure { status, reason, redirect, retry_after } = failure;
        self.output.push_back(Output::Event(Event::Refused { leg: self.leg, status, reason, redirect, retry_after }));
        self.end();
    }

    fn end(&mut self) {
        self.timers.clear();
        self.phase = Phase::Over;
    }

    /// Fires what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(timer) = self.timers.pop_due(now) {
            match timer {
                OutboundTimer::Failover => self.fail_over(),
                OutboundTimer::CancelPatience => self.cancel_in_vain(),
            }
        }
    }

    fn fail_over(&mut self) {
        if let Phase::Calling { key } = &self.phase {
            self.output.push_back(Output::Abandon(key.clone()));
            self.try_next(Failure::new(StatusCode::REQUEST_TIMEOUT));
        }
    }

    fn cancel_in_vain(&mut self) {
        if let Some(key) = self.key() {
            self.output.push_back(Output::Abandon(key.clone()));
        }
        self.refused(Failure::new(StatusCode::REQUEST_TERMINATED));
    }

    /// When to call [`Self::handle_timeout`], and for which timer.
    pub fn poll_timeout(&self) -> Option<(Instant, OutboundTimer)> {
        self.timers.next()
    }

    /// What to do next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.output.pop_front()
    }

    /// Whether it is done with, and can be dropped.
    pub const fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::sip::message::Method;

    struct Bench {
        usage: OutboundInvite,
        now: Instant,
    }

    impl Bench {
        fn with_targets(targets: usize) -> Self {
            let leg = LegId::from_uuid(uuid::Uuid::from_u128(1));
            let usage = OutboundInvite::new(leg, (0..targets).collect(), Timing::default(), Duration::from_secs(4));
            Self { usage, now: Clock::system().now() }
        }

        /// What it wants, in words; a target that it asks for is sent to at once.
        fn drain(&mut self) -> Vec<String> {
            let mut words = Vec::new();
            while let Some(output) = self.usage.poll_output() {
                words.push(self.word(&output));
            }
            words
        }

        fn word(&mut self, output: &Output) -> String {
            match output {
                Output::Try { target, cseq } => {
                    let key = TransactionKey::client(&target.to_string(), &Method::Invite);
                    self.usage.handle(Input::Sent(key), self.now);
                    format!("try {target} cseq {cseq}")
                }
                Output::Cancel { .. } => "cancel".to_owned(),
                Output::Abandon(_) => "abandon".to_owned(),
                Output::Event(Event::Refused { status, .. }) => format!("refused {}", status.as_u16()),
                Output::Event(Event::Progressed { status, .. }) => format!("progressed {}", status.as_u16()),
                Output::Event(other) => panic!("{other:?}"),
            }
        }

        fn feed(&mut self, input: Input) -> Vec<String> {
            self.usage.handle(input, self.now);
            self.drain()
        }

        fn provisional(&mut self, code: u16) -> Vec<String> {
            self.feed(Input::Provisional { status: StatusCode::new(code).unwrap(), early: 0, sdp: None })
        }

        fn failure(&mut self, code: u16) -> Vec<String> {
            self.feed(Input::Failure(Failure::new(StatusCode::new(code).unwrap())))
        }

        fn wait(&mut self, seconds: u64) -> Vec<String> {
            self.now += Duration::from_secs(seconds);
            self.usage.handle_timeout(self.now);
            self.drain()
        }
    }

    #[test]
    fn a_silent_target_is_abandoned_for_the_next_after_4_s() {
        let mut bench = Bench::with_targets(2);
        assert_eq!(bench.drain(), ["try 0 cseq 1"]);
        assert!(bench.wait(3).is_empty());
        assert_eq!(bench.wait(1), ["abandon", "try 1 cseq 2"]);
        assert_eq!(bench.usage.poll_timeout(), None, "the last target has until timer B");
        assert_eq!(bench.feed(Input::TimedOut), ["refused 408"]);
        assert!(bench.usage.is_over());
    }

    #[test]
    fn a_503_or_a_transport_error_takes_the_next_target_at_once() {
        let mut bench = Bench::with_targets(3);
        bench.drain();
        assert_eq!(bench.failure(503), ["try 1 cseq 2"]);
        assert_eq!(bench.feed(Input::TransportFailed), ["try 2 cseq 3"]);
        assert_eq!(bench.failure(503), ["refused 503"]);
    }

    #[test]
    fn no_other_failure_and_nothing_after_18x_takes_the_next_target() {
        let mut bench = Bench::with_targets(2);
        bench.drain();
        assert_eq!(bench.failure(486), ["refused 486"]);
        let mut bench = Bench::with_targets(2);
        bench.drain();
        assert_eq!(bench.provisional(180), ["progressed 180"]);
        assert!(bench.wait(5).is_empty());
        assert_eq!(bench.failure(503), ["refused 503"]);
    }

    #[test]
    fn a_503_after_100_takes_the_next_target() {
        let mut bench = Bench::with_targets(2);
        bench.drain();
        assert!(bench.provisional(100).is_empty());
        assert_eq!(bench.failure(503), ["try 1 cseq 2"]);
    }

    #[test]
    fn cancel_waits_for_a_provisional_response() {
        let mut bench = Bench::with_targets(2);
        bench.drain();
        assert!(bench.feed(Input::Cancel(None)).is_empty());
        assert!(bench.wait(5).is_empty(), "no failover of a cancelled call");
        assert_eq!(bench.provisional(100), ["cancel"]);
        assert_eq!(bench.failure(487), ["refused 487"]);
    }

    #[test]
    fn a_cancelled_invite_without_final_response_is_over_after_64_t1() {
        let mut bench = Bench::with_targets(1);
        bench.drain();
        bench.provisional(180);
        assert_eq!(bench.feed(Input::Cancel(None)), ["cancel"]);
        assert!(bench.wait(31).is_empty());
        assert_eq!(bench.wait(1), ["abandon", "refused 487"]);
        assert!(bench.usage.is_over());
    }

    #[test]
    fn a_2xx_that_crosses_the_cancel_does_not_stand() {
        let mut bench = Bench::with_targets(1);
        bench.drain();
        bench.provisional(180);
        bench.feed(Input::Cancel(None));
        assert!(!bench.usage.accept());
        assert_eq!(bench.drain(), ["refused 487"]);
    }

    #[test]
    fn a_response_that_asks_for_it_better_said_gets_it_at_the_same_target() {
        let mut bench = Bench::with_targets(2);
        bench.drain();
        assert_eq!(bench.feed(Input::Again), ["try 0 cseq 2"]);
        assert_eq!(bench.failure(503), ["try 1 cseq 3"]);
        bench.feed(Input::Cancel(None));
        assert_eq!(bench.feed(Input::Again), ["refused 487"], "not for a call that was given up");
    }

    #[test]
    fn a_trunk_without_targets_is_503() {
        let mut bench = Bench::with_targets(0);
        assert_eq!(bench.drain(), ["refused 503"]);
        assert!(bench.usage.is_over());
    }
}
