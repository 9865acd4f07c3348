//! The INVITE server transaction (RFC 3261 17.2.1, with RFC 6026's Accepted state).

use std::collections::VecDeque;
use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;

use crate::sip::StatusCode;
use crate::sip::transaction::ServerOutput;
use crate::sip::transaction::Timing;
use crate::sip::transaction::TransactionTimer;
use crate::timer::Timers;

/// What happens to an INVITE server transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The INVITE came again.
    Retransmitted,
    /// An ACK with this transaction's key came.
    Ack,
    /// The user sends a response; for a 2xx, each of its retransmissions too.
    Respond {
        /// Its status.
        status: StatusCode,
        /// Its bytes.
        response: Bytes,
    },
}

/// The machine.
#[derive(Debug)]
pub struct ServerInvite {
    state: State,
    timing: Timing,
    reliable: bool,
    timers: Timers<TransactionTimer>,
    output: VecDeque<ServerOutput>,
}

#[derive(Debug)]
enum State {
    /// No final response yet; `latest` is the last provisional one.
    Proceeding {
        latest: Option<Bytes>,
    },
    /// 300–699 was sent; no ACK yet.
    Completed {
        response: Bytes,
        interval: Duration,
    },
    /// The ACK came; its retransmissions are absorbed.
    Confirmed,
    /// A 2xx was sent, which the user retransmits; INVITE retransmissions are absorbed.
    Accepted,
    Terminated,
}

impl ServerInvite {
    /// An INVITE came. Its user sends 100 at once, so timing of the 200 ms rule (17.2.1) is not needed here.
    pub fn new(reliable: bool, timing: Timing) -> Self {
        Self {
            state: State::Proceeding { latest: None },
            timing,
            reliable,
            timers: Timers::default(),
            output: VecDeque::new(),
        }
    }

    /// Takes what happened.
    pub fn handle(&mut self, input: Input, now: Instant) {
        match input {
            Input::Retransmitted => self.retransmitted(),
            Input::Ack => self.acknowledged(now),
            Input::Respond { status, response } => self.respond(status, response, now),
        }
    }

    fn retransmitted(&mut self) {
        match &self.state {
            State::Proceeding { latest: Some(response) } | State::Completed { response, .. } => {
                self.output.push_back(ServerOutput::Send(response.clone()));
            }
            State::Proceeding { latest: None } | State::Confirmed | State::Accepted | State::Terminated => {}
        }
    }

    fn acknowledged(&mut self, now: Instant) {
        match self.state {
            State::Completed { .. } => {
                self.timers.clear();
                if self.reliable {
                    self.state = State::Terminated;
                } else {
                    self.timers.set(TransactionTimer::I, now + self.timing.t4);
                    self.state = State::Confirmed;
                }
            }
            // A peer that reuses the INVITE's branch for the ACK of a 2xx: the ACK belongs to the dialog.
            State::Accepted => self.output.push_back(ServerOutput::AckReceived),
            State::Proceeding { .. } | State::Confirmed | State::Terminated => {}
        }
    }

    fn respond(&mut self, status: StatusCode, response: Bytes, now: Instant) {
        match self.state {
            State::Proceeding { .. } => {
                self.output.push_back(ServerOutput::Send(response.clone()));
                self.enter(status, response, now);
            }
            State::Accepted if status.is_success() => self.output.push_back(ServerOutput::Send(response)),
            State::Completed { .. } | State::Confirmed | State::Accepted | State::Terminated => {}
        }
    }

    fn enter(&mut self, status: StatusCode, response: Bytes, now: Instant) {
        if status.is_provisional() {
            self.state = State::Proceeding { latest: Some(response) };
        } else if status.is_success() {
            self.timers.set(TransactionTimer::L, now + self.timing.patience());
            self.state = State::Accepted;
        } else {
            self.timers.set(TransactionTimer::H, now + self.timing.patience());
            if !self.reliable {
                self.timers.set(TransactionTimer::G, now + self.timing.t1);
            }
            self.state = State::Completed { response, interval: self.timing.t1 };
        }
    }

    /// Fires what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(timer) = self.timers.pop_due(now) {
            if timer == TransactionTimer::G {
                self.retransmit(now);
                continue;
            }
            if timer == TransactionTimer::H {
                self.output.push_back(ServerOutput::AckTimedOut);
            }
            self.timers.clear();
            self.state = State::Terminated;
        }
    }

    fn retransmit(&mut self, now: Instant) {
        if let State::Completed { response, interval } = &mut self.state {
            *interval = self.timing.doubled(*interval);
            self.output.push_back(ServerOutput::Send(response.clone()));
            self.timers.set(TransactionTimer::G, now + *interval);
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

    /// Whether no final response was sent yet: only then has a CANCEL an effect (RFC 3261 9.2).
    pub const fn is_proceeding(&self) -> bool {
        matches!(self.state, State::Proceeding { .. })
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

    fn machine(reliable: bool) -> (ServerInvite, Instant) {
        (ServerInvite::new(reliable, Timing::default()), Clock::system().now())
    }

    fn respond(code: u16, bytes: &'static [u8]) -> Input {
        Input::Respond { status: StatusCode::new(code).unwrap(), response: Bytes::from_static(bytes) }
    }

    fn sent(bytes: &'static [u8]) -> ServerOutput {
        ServerOutput::Send(Bytes::from_static(bytes))
    }

    fn drain(machine: &mut ServerInvite) -> Vec<ServerOutput> {
        std::iter::from_fn(|| machine.poll_output()).collect()
    }

    #[test]
    fn a_retransmitted_invite_gets_the_latest_provisional() {
        let (mut machine, now) = machine(false);
        machine.handle(respond(100, b"100"), now);
        machine.handle(respond(180, b"180"), now);
        machine.handle(Input::Retransmitted, now);
        assert_eq!(drain(&mut machine), [sent(b"100"), sent(b"180"), sent(b"180")]);
        assert!(machine.is_proceeding());
    }

    #[test]
    fn timer_g_doubles_up_to_t2_until_timer_h_gives_up() {
        let (mut machine, start) = machine(false);
        machine.handle(respond(486, b"486"), start);
        assert_eq!(drain(&mut machine), [sent(b"486")]);
        let mut sent_at = Vec::new();
        let mut ended = Vec::new();
        while let Some((at, _)) = machine.poll_timeout() {
            machine.handle_timeout(at);
            let (sent, rest): (Vec<_>, Vec<_>) =
                drain(&mut machine).into_iter().partition(|output| matches!(output, ServerOutput::Send(_)));
            sent_at.extend(sent.iter().map(|_| (at - start).as_millis()));
            ended.extend(rest.into_iter().map(|output| (output, (at - start).as_secs())));
        }
        assert_eq!(sent_at, [500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500]);
        assert_eq!(ended, [(ServerOutput::AckTimedOut, 32)]);
        assert!(machine.is_terminated());
    }

    #[test]
    fn a_reliable_transport_has_no_timer_g() {
        let (mut machine, start) = machine(true);
        machine.handle(respond(486, b"486"), start);
        assert_eq!(machine.poll_timeout(), Some((start + Duration::from_secs(32), TransactionTimer::H)));
    }

    #[test]
    fn a_retransmitted_invite_gets_the_final_response_again() {
        let (mut machine, start) = machine(false);
        machine.handle(respond(486, b"486"), start);
        machine.handle(Input::Retransmitted, start);
        assert_eq!(drain(&mut machine), [sent(b"486"), sent(b"486")]);
    }

    #[test]
    fn timer_i_absorbs_retransmitted_acks_for_t4() {
        let (mut machine, start) = machine(false);
        machine.handle(respond(486, b"486"), start);
        drain(&mut machine);
        machine.handle(Input::Ack, start + Duration::from_secs(1));
        machine.handle(Input::Ack, start + Duration::from_secs(2));
        machine.handle(Input::Retransmitted, start + Duration::from_secs(2));
        assert_eq!(drain(&mut machine), []);
        assert_eq!(machine.poll_timeout(), Some((start + Duration::from_secs(6), TransactionTimer::I)));
        machine.handle_timeout(start + Duration::from_secs(6));
        assert!(machine.is_terminated());
    }

    #[test]
    fn timer_i_is_zero_over_a_reliable_transport() {
        let (mut machine, start) = machine(true);
        machine.handle(respond(486, b"486"), start);
        machine.handle(Input::Ack, start);
        assert!(machine.is_terminated());
        assert_eq!(machine.poll_timeout(), None);
    }

    #[test]
    fn timer_l_absorbs_retransmitted_invites_after_a_2xx() {
        let (mut machine, start) = machine(false);
        machine.handle(respond(200, b"200"), start);
        machine.handle(Input::Retransmitted, start);
        machine.handle(respond(200, b"200"), start + Duration::from_millis(500));
        assert_eq!(drain(&mut machine), [sent(b"200"), sent(b"200")]);
        assert_eq!(machine.poll_timeout(), Some((start + Duration::from_secs(32), TransactionTimer::L)));
        machine.handle_timeout(start + Duration::from_secs(32));
        assert!(machine.is_terminated());
        assert_eq!(drain(&mut machine), []);
    }

    #[test]
    fn timer_l_runs_over_a_reliable_transport_too() {
        let (mut machine, start) = machine(true);
        machine.handle(respond(200, b"200"), start);
        assert_eq!(machine.poll_timeout(), Some((start + Duration::from_secs(32), TransactionTimer::L)));
    }

    #[test]
    fn an_ack_after_a_2xx_goes_to_the_user() {
        let (mut machine, start) = machine(false);
        machine.handle(respond(200, b"200"), start);
        drain(&mut machine);
        machine.handle(Input::Ack, start);
        assert_eq!(drain(&mut machine), [ServerOutput::AckReceived]);
    }

    #[test]
    fn a_second_final_response_is_never_sent() {
        let (mut machine, start) = machine(false);
        machine.handle(respond(487, b"487"), start);
        machine.handle(respond(200, b"200"), start);
        assert_eq!(drain(&mut machine), [sent(b"487")]);
    }
}
