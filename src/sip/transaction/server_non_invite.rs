//! The non-INVITE server transaction (RFC 3261 17.2.2).

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;

use crate::sip::StatusCode;
use crate::sip::transaction::ServerOutput;
use crate::sip::transaction::Timing;
use crate::sip::transaction::TransactionTimer;
use crate::timer::Timers;

/// What happens to a non-INVITE server transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The request came again.
    Retransmitted,
    /// The user sends a response.
    Respond {
        /// Its status.
        status: StatusCode,
        /// Its bytes.
        response: Bytes,
    },
}

/// The machine.
#[derive(Debug)]
pub struct ServerNonInvite {
    state: State,
    timing: Timing,
    reliable: bool,
    timers: Timers<TransactionTimer>,
    output: VecDeque<ServerOutput>,
}

#[derive(Debug)]
enum State {
    Trying,
    Proceeding { latest: Bytes },
    Completed { response: Bytes },
    Terminated,
}

impl ServerNonInvite {
    /// A request came.
    pub fn new(reliable: bool, timing: Timing) -> Self {
        Self { state: State::Trying, timing, reliable, timers: Timers::default(), output: VecDeque::new() }
    }

    /// Takes what happened.
    pub fn handle(&mut self, input: Input, now: Instant) {
        match input {
            Input::Retransmitted => self.retransmitted(),
            Input::Respond { status, response } => self.respond(status, response, now),
        }
    }

    fn retransmitted(&mut self) {
        match &self.state {
            State::Proceeding { latest: response } | State::Completed { response } => {
                self.output.push_back(ServerOutput::Send(response.clone()));
            }
            State::Trying | State::Terminated => {}
        }
    }

    fn respond(&mut self, status: StatusCode, response: Bytes, now: Instant) {
        if matches!(self.state, State::Completed { .. } | State::Terminated) {
            return;
        }
        self.output.push_back(ServerOutput::Send(response.clone()));
        if status.is_provisional() {
            self.state = State::Proceeding { latest: response };
        } else if self.reliable {
            self.state = State::Terminated;
        } else {
            self.timers.set(TransactionTimer::J, now + self.timing.patience());
            self.state = State::Completed { response };
        }
    }

    /// Fires what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while self.timers.pop_due(now).is_some() {
            self.state = State::Terminated;
        }
    }

    /// When to call [`Self::handle_timeout`], and for which timer.
    pub fn poll_timeout(&self) -> Option<(Instant, TransactionTimer)> {
        self.timers.next()
    }

    /// What to do next.
    pub fn poll_output(&mut self) -> Option<ServerOutput> {
        self.output.pop_front()
    }

    /// Whether it is done with, and can be dropped.
    pub const fn is_terminated(&self) -> bool {
        matches!(self.state, State::Terminated)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use std::time::Duration;

    fn machine(reliable: bool) -> (ServerNonInvite, Instant) {
        (ServerNonInvite::new(reliable, Timing::default()), Clock::system().now())
    }

    fn respond(code: u16, bytes: &'static [u8]) -> Input {
        Input::Respond { status: StatusCode::new(code).unwrap(), response: Bytes::from_static(bytes) }
    }

    fn sent(bytes: &'static [u8]) -> ServerOutput {
        ServerOutput::Send(Bytes::from_static(bytes))
    }

    fn drain(machine: &mut ServerNonInvite) -> Vec<ServerOutput> {
        std::iter::from_fn(|| machine.poll_output()).collect()
    }

    #[test]
    fn a_retransmission_before_any_response_is_absorbed() {
        let (mut machine, now) = machine(false);
        machine.handle(Input::Retransmitted, now);
        assert_eq!(drain(&mut machine), []);
        assert_eq!(machine.poll_timeout(), None);
    }

    #[test]
    fn a_retransmission_gets_the_latest_response() {
        let (mut machine, now) = machine(false);
        machine.handle(respond(100, b"100"), now);
        machine.handle(Input::Retransmitted, now);
        machine.handle(respond(200, b"200"), now);
        machine.handle(Input::Retransmitted, now);
        assert_eq!(drain(&mut machine), [sent(b"100"), sent(b"100"), sent(b"200"), sent(b"200")]);
    }

    #[test]
    fn timer_j_absorbs_retransmissions_for_64_t1() {
        let (mut machine, start) = machine(false);
        machine.handle(respond(200, b"200"), start);
        assert_eq!(machine.poll_timeout(), Some((start + Duration::from_secs(32), TransactionTimer::J)));
        machine.handle_timeout(start + Duration::from_secs(31));
        assert!(!machine.is_terminated());
        machine.handle_timeout(start + Duration::from_secs(32));
        assert!(machine.is_terminated());
    }

    #[test]
    fn timer_j_is_zero_over_a_reliable_transport() {
        let (mut machine, start) = machine(true);
        machine.handle(respond(200, b"200"), start);
        assert_eq!(drain(&mut machine), [sent(b"200")]);
        assert!(machine.is_terminated());
        assert_eq!(machine.poll_timeout(), None);
    }

    #[test]
    fn a_second_final_response_is_never_sent() {
        let (mut machine, start) = machine(false);
        machine.handle(respond(200, b"200"), start);
        machine.handle(respond(500, b"500"), start);
        assert_eq!(drain(&mut machine), [sent(b"200")]);
    }
}
