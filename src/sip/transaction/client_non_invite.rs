//! The non-INVITE client transaction (RFC 3261 17.1.2).

use std::collections::VecDeque;
use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;

use crate::sip::StatusCode;
use crate::sip::transaction::ClientOutput;
use crate::sip::transaction::Timing;
use crate::sip::transaction::TransactionTimer;
use crate::timer::Timers;

/// What happens to a non-INVITE client transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// A response that matched this transaction.
    Response(StatusCode),
    /// The transport could not send.
    TransportFailed,
}

/// The machine.
#[derive(Debug)]
pub struct ClientNonInvite {
    state: State,
    timing: Timing,
    reliable: bool,
    timers: Timers<TransactionTimer>,
    output: VecDeque<ClientOutput>,
}

#[derive(Debug)]
enum State {
    Trying { request: Bytes, interval: Duration },
    Proceeding { request: Bytes },
    Completed,
    Terminated,
}

impl ClientNonInvite {
    /// Sends `request` and starts timer F, and timer E over an unreliable transport.
    pub fn new(request: Bytes, reliable: bool, timing: Timing, now: Instant) -> Self {
        let mut timers = Timers::default();
        timers.set(TransactionTimer::F, now + timing.patience());
        if !reliable {
            timers.set(TransactionTimer::E, now + timing.t1);
        }
        let output = VecDeque::from([ClientOutput::Send(request.clone())]);
        Self { state: State::Trying { request, interval: timing.t1 }, timing, reliable, timers, output }
    }

    /// Takes what happened.
    pub fn handle(&mut self, input: Input, now: Instant) {
        if matches!(self.state, State::Completed | State::Terminated) {
            return;
        }
        match input {
            Input::Response(status) if status.is_provisional() => self.provisional(),
            Input::Response(_) => self.completed(now),
            Input::TransportFailed => {
                self.output.push_back(ClientOutput::TransportFailed);
                self.terminate();
            }
        }
    }

    fn provisional(&mut self) {
        self.output.push_back(ClientOutput::ResponseReceived);
        if let State::Trying { request, .. } = &self.state {
            self.state = State::Proceeding { request: request.clone() };
        }
    }

    fn completed(&mut self, now: Instant) {
        self.timers.clear();
        self.output.push_back(ClientOutput::ResponseReceived);
        if self.reliable {
            self.state = State::Terminated;
        } else {
            self.timers.set(TransactionTimer::K, now + self.timing.t4);
            self.state = State::Completed;
        }
    }

    fn terminate(&mut self) {
        self.timers.clear();
        self.state = State::Terminated;
    }

    /// Fires what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(timer) = self.timers.pop_due(now) {
            if timer == TransactionTimer::E {
                self.retransmit(now);
                continue;
            }
            if timer == TransactionTimer::F {
                self.output.push_back(ClientOutput::TimedOut);
            }
            self.terminate();
        }
    }

    fn retransmit(&mut self, now: Instant) {
        let (request, interval) = match &mut self.state {
            State::Trying { request, interval } => {
                *interval = self.timing.doubled(*interval);
                (request.clone(), *interval)
            }
            // After a provisional response timer E runs at T2 (RFC 3261 17.1.2.2).
            State::Proceeding { request } => (request.clone(), self.timing.t2),
            State::Completed | State::Terminated => return,
        };
        self.output.push_back(ClientOutput::Send(request));
        self.timers.set(TransactionTimer::E, now + interval);
    }

    /// When to call [`Self::handle_timeout`], and for which timer.
    pub fn poll_timeout(&self) -> Option<(Instant, TransactionTimer)> {
        self.timers.next()
    }

    /// What to do next.
    pub fn poll_output(&mut self) -> Option<ClientOutput> {
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

    fn machine(reliable: bool) -> (ClientNonInvite, Instant) {
        let now = Clock::system().now();
        (ClientNonInvite::new(Bytes::from_static(b"BYE"), reliable, Timing::default(), now), now)
    }

    fn response(code: u16) -> Input {
        Input::Response(StatusCode::new(code).unwrap())
    }

    fn drain(machine: &mut ClientNonInvite) -> Vec<ClientOutput> {
        std::iter::from_fn(|| machine.poll_output()).collect()
    }

    /// Milliseconds after `start` at which it sent, until it ended; and how it ended.
    fn run_out(machine: &mut ClientNonInvite, start: Instant) -> (Vec<u128>, Vec<ClientOutput>) {
        let mut sent_at = Vec::new();
        let mut others = Vec::new();
        while let Some((at, _)) = machine.poll_timeout() {
            machine.handle_timeout(at);
            let (sent, rest): (Vec<_>, Vec<_>) =
                drain(machine).into_iter().partition(|output| matches!(output, ClientOutput::Send(_)));
            sent_at.extend(sent.iter().map(|_| (at - start).as_millis()));
            others.extend(rest);
        }
        (sent_at, others)
    }

    #[test]
    fn timer_e_doubles_up_to_t2_until_timer_f_gives_up() {
        let (mut machine, start) = machine(false);
        drain(&mut machine);
        let (sent_at, ended) = run_out(&mut machine, start);
        assert_eq!(sent_at, [500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500]);
        assert_eq!(ended, [ClientOutput::TimedOut]);
        assert!(machine.is_terminated());
    }

    #[test]
    fn timer_e_runs_at_t2_after_a_provisional_response() {
        let (mut machine, start) = machine(false);
        drain(&mut machine);
        machine.handle(response(100), start + Duration::from_millis(100));
        assert_eq!(drain(&mut machine), [ClientOutput::ResponseReceived]);
        let (sent_at, ended) = run_out(&mut machine, start);
        assert_eq!(sent_at, [500, 4500, 8500, 12_500, 16_500, 20_500, 24_500, 28_500]);
        assert_eq!(ended, [ClientOutput::TimedOut]);
    }

    #[test]
    fn a_reliable_transport_has_no_timer_e() {
        let (mut machine, start) = machine(true);
        drain(&mut machine);
        let (sent_at, ended) = run_out(&mut machine, start);
        assert!(sent_at.is_empty());
        assert_eq!(ended, [ClientOutput::TimedOut]);
    }

    #[test]
    fn timer_k_absorbs_retransmitted_responses_for_t4() {
        let (mut machine, start) = machine(false);
        drain(&mut machine);
        machine.handle(response(200), start);
        assert_eq!(drain(&mut machine), [ClientOutput::ResponseReceived]);
        machine.handle(response(200), start + Duration::from_secs(1));
        assert_eq!(drain(&mut machine), []);
        assert_eq!(machine.poll_timeout(), Some((start + Duration::from_secs(5), TransactionTimer::K)));
        machine.handle_timeout(start + Duration::from_secs(5));
        assert!(machine.is_terminated());
        assert_eq!(drain(&mut machine), []);
    }

    #[test]
    fn timer_k_is_zero_over_a_reliable_transport() {
        let (mut machine, start) = machine(true);
        machine.handle(response(481), start);
        assert!(machine.is_terminated());
        assert_eq!(machine.poll_timeout(), None);
    }

    #[test]
    fn a_transport_error_ends_it_and_is_told() {
        let (mut machine, start) = machine(false);
        drain(&mut machine);
        machine.handle(Input::TransportFailed, start);
        assert_eq!(drain(&mut machine), [ClientOutput::TransportFailed]);
        assert!(machine.is_terminated());
    }
}
