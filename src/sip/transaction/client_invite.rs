//! The INVITE client transaction (RFC 3261 17.1.1, with RFC 6026's Accepted state).

use std::collections::VecDeque;
use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;

use crate::sip::StatusCode;
use crate::sip::transaction::ClientOutput;
use crate::sip::transaction::Timing;
use crate::sip::transaction::TransactionTimer;
use crate::timer::Timers;

/// What happens to an INVITE client transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A response that matched this transaction.
    Response {
        /// Its status.
        status: StatusCode,
        /// The ACK that answers it (RFC 3261 17.1.1.3); used for 300–699 only.
        ack: Bytes,
    },
    /// The transport could not send.
    TransportFailed,
}

/// The machine. Its user passes responses with their ACK already built; the machine decides what is sent when.
#[derive(Debug)]
pub struct ClientInvite {
    state: State,
    timing: Timing,
    reliable: bool,
    timers: Timers<TransactionTimer>,
    output: VecDeque<ClientOutput>,
}

#[derive(Debug)]
enum State {
    /// No response yet.
    Calling {
        request: Bytes,
        interval: Duration,
    },
    /// A provisional response came.
    Proceeding,
    /// 300–699 came; its retransmissions get the same ACK.
    Completed {
        ack: Bytes,
    },
    /// A 2xx came; more of them go to the user, who sends the ACKs.
    Accepted,
    Terminated,
}

impl ClientInvite {
    /// Sends `request` and starts timer B, and timer A over an unreliable transport.
    pub fn new(request: Bytes, reliable: bool, timing: Timing, now: Instant) -> Self {
        let mut timers = Timers::default();
        timers.set(TransactionTimer::B, now + timing.patience());
        if !reliable {
            timers.set(TransactionTimer::A, now + timing.t1);
        }
        let output = VecDeque::from([ClientOutput::Send(request.clone())]);
        Self { state: State::Calling { request, interval: timing.t1 }, timing, reliable, timers, output }
    }

    /// Takes what happened.
    pub fn handle(&mut self, input: Input, now: Instant) {
        match input {
            Input::Response { status, .. } if status.is_provisional() => self.provisional(),
            Input::Response { status, .. } if status.is_success() => self.success(now),
            Input::Response { ack, .. } => self.failure(ack, now),
            Input::TransportFailed => self.transport_failed(),
        }
    }

    fn provisional(&mut self) {
        match self.state {
            State::Calling { .. } | State::Proceeding => {
                self.timers.clear();
                self.state = State::Proceeding;
                self.output.push_back(ClientOutput::ResponseReceived);
            }
            State::Completed { .. } | State::Accepted | State::Terminated => {}
        }
    }

    fn success(&mut self, now: Instant) {
        match self.state {
            State::Calling { .. } | State::Proceeding => {
                self.timers.clear();
                self.timers.set(TransactionTimer::M, now + self.timing.patience());
                self.state = State::Accepted;
                self.output.push_back(ClientOutput::ResponseReceived);
            }
            State::Accepted => self.output.push_back(ClientOutput::ResponseReceived),
            State::Completed { .. } | State::Terminated => {}
        }
    }

    fn failure(&mut self, ack: Bytes, now: Instant) {
        match &self.state {
            State::Calling { .. } | State::Proceeding => {
                self.timers.clear();
                self.output.push_back(ClientOutput::Send(ack.clone()));
                self.output.push_back(ClientOutput::ResponseReceived);
                if self.reliable {
                    self.state = State::Terminated;
                } else {
                    self.timers.set(TransactionTimer::D, now + self.timing.wait_for_response_retransmits());
                    self.state = State::Completed { ack };
                }
            }
            State::Completed { ack } => self.output.push_back(ClientOutput::Send(ack.clone())),
            State::Accepted | State::Terminated => {}
        }
    }

    fn transport_failed(&mut self) {
        match self.state {
            State::Calling { .. } | State::Proceeding => {
                self.output.push_back(ClientOutput::TransportFailed);
                self.terminate();
            }
            State::Completed { .. } => self.terminate(),
            // A lost ACK is answered by the next retransmitted 2xx.
            State::Accepted | State::Terminated => {}
        }
    }

    fn terminate(&mut self) {
        self.timers.clear();
        self.state = State::Terminated;
    }

    /// Fires what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(timer) = self.timers.pop_due(now) {
            if timer == TransactionTimer::A {
                self.retransmit(now);
                continue;
            }
            if timer == TransactionTimer::B {
                self.output.push_back(ClientOutput::TimedOut);
            }
            self.terminate();
        }
    }

    fn retransmit(&mut self, now: Instant) {
        if let State::Calling { request, interval } = &mut self.state {
            // Timer A doubles without a ceiling (RFC 3261 17.1.1.2); timer B ends it.
            *interval = interval.saturating_mul(2);
            self.output.push_back(ClientOutput::Send(request.clone()));
            self.timers.set(TransactionTimer::A, now + *interval);
        }
    }

    /// When to call [`Self::handle_timeout`], and for which timer.
    pub fn poll_timeout(&self) -> Option<(Instant, TransactionTimer)> {
        self.timers.next()
    }

    /// What to do next.
    pub fn poll_output(&mut self) -> Option<ClientOutput> {
        self.output.pop_front()
    }

    /// Whether a provisional response came and no final one: only then may a CANCEL be sent (RFC 3261 9.1).
    pub const fn is_proceeding(&self) -> bool {
        matches!(self.state, State::Proceeding)
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

    fn machine(reliable: bool) -> (ClientInvite, Instant) {
        let now = Clock::system().now();
        (ClientInvite::new(Bytes::from_static(b"INVITE"), reliable, Timing::default(), now), now)
    }

    fn response(code: u16) -> Input {
        Input::Response { status: StatusCode::new(code).unwrap(), ack: Bytes::from_static(b"ACK") }
    }

    fn drain(machine: &mut ClientInvite) -> Vec<ClientOutput> {
        std::iter::from_fn(|| machine.poll_output()).collect()
    }

    fn is_send(output: &ClientOutput) -> bool {
        matches!(output, ClientOutput::Send(_))
    }

    fn sent(bytes: &'static [u8]) -> ClientOutput {
        ClientOutput::Send(Bytes::from_static(bytes))
    }

    #[test]
    fn timer_a_doubles_until_timer_b_gives_up() {
        let (mut machine, start) = machine(false);
        assert_eq!(drain(&mut machine), [sent(b"INVITE")]);
        let (mut sent_at, mut ended) = (Vec::new(), Vec::new());
        while let Some((at, _)) = machine.poll_timeout() {
            machine.handle_timeout(at);
            let (sent, others): (Vec<_>, Vec<_>) = drain(&mut machine).into_iter().partition(is_send);
            sent_at.extend(sent.iter().map(|_| (at - start).as_millis()));
            ended.extend(others.into_iter().map(|output| (output, (at - start).as_secs())));
        }
        assert_eq!(ended, [(ClientOutput::TimedOut, 32)]);
        assert_eq!(sent_at, [500, 1500, 3500, 7500, 15_500, 31_500]);
        assert!(machine.is_terminated());
    }

    #[test]
    fn a_reliable_transport_has_no_timer_a() {
        let (mut machine, start) = machine(true);
        drain(&mut machine);
        assert_eq!(machine.poll_timeout(), Some((start + Duration::from_secs(32), TransactionTimer::B)));
        machine.handle_timeout(start + Duration::from_secs(32));
        assert_eq!(drain(&mut machine), [ClientOutput::TimedOut]);
        assert!(machine.is_terminated());
    }

    #[test]
    fn a_provisional_response_stops_timers_a_and_b() {
        let (mut machine, start) = machine(false);
        drain(&mut machine);
        machine.handle(response(180), start);
        assert_eq!(drain(&mut machine), [ClientOutput::ResponseReceived]);
        assert_eq!(machine.poll_timeout(), None);
        assert!(machine.is_proceeding());
    }

    #[test]
    fn timer_d_absorbs_retransmitted_failures_with_the_same_ack() {
        let (mut machine, start) = machine(false);
        drain(&mut machine);
        machine.handle(response(486), start);
        assert_eq!(drain(&mut machine), [sent(b"ACK"), ClientOutput::ResponseReceived]);
        machine.handle(response(486), start + Duration::from_secs(1));
        assert_eq!(drain(&mut machine), [sent(b"ACK")]);
        assert_eq!(machine.poll_timeout(), Some((start + Duration::from_secs(32), TransactionTimer::D)));
        machine.handle_timeout(start + Duration::from_secs(32));
        assert!(machine.is_terminated());
        assert_eq!(drain(&mut machine), []);
    }

    #[test]
    fn timer_d_is_zero_over_a_reliable_transport() {
        let (mut machine, start) = machine(true);
        drain(&mut machine);
        machine.handle(response(486), start);
        assert_eq!(drain(&mut machine), [sent(b"ACK"), ClientOutput::ResponseReceived]);
        assert!(machine.is_terminated());
    }

    #[test]
    fn timer_m_passes_every_2xx_up_until_it_fires() {
        let (mut machine, start) = machine(false);
        drain(&mut machine);
        machine.handle(response(200), start);
        machine.handle(response(200), start + Duration::from_secs(1));
        assert_eq!(drain(&mut machine), [ClientOutput::ResponseReceived, ClientOutput::ResponseReceived]);
        machine.handle(response(486), start + Duration::from_secs(2));
        machine.handle(response(180), start + Duration::from_secs(2));
        assert_eq!(drain(&mut machine), []);
        assert_eq!(machine.poll_timeout(), Some((start + Duration::from_secs(32), TransactionTimer::M)));
        machine.handle_timeout(start + Duration::from_secs(32));
        assert!(machine.is_terminated());
    }

    #[test]
    fn a_transport_error_while_calling_ends_it_and_is_told() {
        let (mut machine, start) = machine(true);
        drain(&mut machine);
        machine.handle(Input::TransportFailed, start);
        assert_eq!(drain(&mut machine), [ClientOutput::TransportFailed]);
        assert!(machine.is_terminated());
        assert_eq!(machine.poll_timeout(), None);
    }

    #[test]
    fn a_transport_error_after_a_2xx_changes_nothing() {
        let (mut machine, start) = machine(false);
        machine.handle(response(200), start);
        drain(&mut machine);
        machine.handle(Input::TransportFailed, start);
        assert_eq!(drain(&mut machine), []);
        assert!(!machine.is_terminated());
    }
}
