//! Lines: their registrations, and which call is theirs.

use std::time::Duration;
use std::time::Instant;

use rand::Rng as _;

use crate::limits;
use crate::sip::Flow;
use crate::sip::StatusCode;
use crate::sip::message::CSeq;
use crate::sip::message::HeaderName;
use crate::sip::message::Host;
use crate::sip::message::Method;
use crate::sip::message::Request;
use crate::sip::message::Response;
use crate::sip::message::SipUri;
use crate::sip::message::Uri;
use crate::sip::registration;
use crate::sip::registration::Registration;
use crate::sip::registration::State;
use crate::sip::user_agent::Output;
use crate::sip::user_agent::SipTimer;
use crate::sip::user_agent::UserAgent;
use crate::sip::user_agent::Wake;
use crate::sip::user_agent::client::Outcome;
use crate::sip::user_agent::client::Owner;
use crate::sip::user_agent::peering::Line;
use crate::sip::user_agent::peers::LineState;
use crate::sip::user_agent::peers::TrunkNotice;

/// How far the first REGISTERs of many lines lie apart, so that a registrar is not flooded at our start.
const START_SPACING: Duration = Duration::from_millis(20);

impl UserAgent {
    /// Begins every registration, spread by chance.
    pub(super) fn start_lines(&mut self, now: Instant) {
        for trunk in 0..self.config.trunks.len() {
            let lines = self.config.trunks.get(trunk).map(|trunk| trunk.peering.lines.clone()).unwrap_or_default();
            for line in lines.iter().take(limits::SIP_LINES_MAX) {
                self.add_line(trunk, line);
            }
            self.start_lines_of(trunk, now);
        }
    }

    fn add_line(&mut self, trunk: usize, line: &Line) {
        let registration = Registration::new(line.expires);
        let (call_id, tag) = (format!("{}{}", self.new_tag(), self.new_tag()), self.new_tag());
        if let Some(peer) = self.peers.get_mut(trunk) {
            peer.lines.push(LineState { registration, call_id, tag, cseq: 0, tried: 0 });
        }
    }

    /// Begins, or begins anew, the registrations of one trunk.
    pub(super) fn start_lines_of(&mut self, trunk: usize, now: Instant) {
        let Some(settings) = self.config.trunks.get(trunk) else { return };
        let registers: Vec<bool> = settings.peering.lines.iter().map(|line| line.register).collect();
        let spread = START_SPACING.saturating_mul(u32::try_from(registers.len()).unwrap_or(u32::MAX));
        for (line, _) in registers.iter().enumerate().filter(|(_, registers)| **registers) {
            let after = spread.mul_f64(self.rng.random_range(0.0..1.0));
            self.tell_line(trunk, line, registration::Input::Start { after }, now);
        }
    }

    /// Takes every registration away, as before a shutdown.
    pub(super) fn stop_lines(&mut self, now: Instant) {
        let lines: Vec<(usize, usize)> = self
            .peers
            .iter()
            .enumerate()
            .flat_map(|(trunk, peer)| (0..peer.lines.len()).map(move |line| (trunk, line)))
            .collect();
        for (trunk, line) in lines {
            self.tell_line(trunk, line, registration::Input::Stop, now);
        }
    }

    /// Whether a registrar still awaits, or owes, something of a line that was stopped.
    pub fn is_unregistering(&self) -> bool {
        let lines = || self.peers.iter().flat_map(|peer| &peer.lines);
        self.draining.is_some() && !lines().all(|line| line.registration.is_stopped())
    }

    pub(super) fn line_timeout(&mut self, trunk: usize, line: usize, now: Instant) {
        if let Some(state) = self.line(trunk, line) {
            state.registration.handle_timeout(now);
            self.pump_line(trunk, line, now);
        }
    }

    fn line(&mut self, trunk: usize, line: usize) -> Option<&mut LineState> {
        self.peers.get_mut(trunk)?.lines.get_mut(line)
    }

    fn tell_line(&mut self, trunk: usize, line: usize, input: registration::Input, now: Instant) {
        if let Some(state) = self.line(trunk, line) {
            state.registration.handle(input, now);
            self.pump_line(trunk, line, now);
        }
    }

    fn pump_line(&mut self, trunk: usize, line: usize, now: Instant) {
        while let Some(output) = self.line(trunk, line).and_then(|state| state.registration.poll_output()) {
            match output {
                registration::Output::Register { expires } => self.register(trunk, line, expires, now),
                registration::Output::Changed(state) => self.notice_line(trunk, line, state),
            }
        }
        let deadline = self.line(trunk, line).and_then(|state| state.registration.poll_timeout());
        self.schedule.set(&Wake::Line(trunk, line), deadline.map(|(at, timer)| (at, SipTimer::Line(timer))));
    }

    fn register(&mut self, trunk: usize, line: usize, expires: Duration, now: Instant) {
        match self.registering(trunk, line, expires, now) {
            Some((request, flow)) => {
                self.send_request(trunk, request, flow, Owner::Line(trunk, line), now);
            }
            None => self.line_refused(trunk, line, StatusCode::SERVICE_UNAVAILABLE, None, now),
        }
    }

    /// A REGISTER: the same Call-ID and From for the life of the line (RFC 3261 10.2).
    fn registering(&mut self, trunk: usize, line: usize, expires: Duration, now: Instant) -> Option<(Request, Flow)> {
        let state = self.line(trunk, line)?;
        state.cseq = state.cseq.saturating_add(1);
        let (number, tried) = (state.cseq, state.tried);
        let order = self.peers.get(trunk)?.order(now);
        let target = *order.get(tried.checked_rem(order.len())?)?;
        let (settings, state) = (self.config.trunks.get(trunk)?, self.peers.get(trunk)?.lines.get(line)?);
        let target = settings.targets.get(target)?;
        let flow = self.config.path_to(settings, target.transport, target.address)?;
        let line = settings.peering.lines.get(line)?;
        let mut from = line.address();
        from.set_tag(&state.tag);
        // The registrar is the domain of the address of record (10.2).
        let domain = line.aor.as_sip().map_or_else(|| Host::from(target.address.ip()), |uri| uri.host.clone());
        let port = line.aor.as_sip().and_then(|uri| uri.port);
        let mut request = Request::new(Method::Register, Uri::from(SipUri::new(domain, port)));
        let headers = &mut request.headers;
        headers.push(HeaderName::MaxForwards, "70");
        headers.push(HeaderName::From, from.to_string());
        headers.push(HeaderName::To, line.address().to_string());
        headers.push(HeaderName::CallId, state.call_id.clone());
        headers.push(HeaderName::CSeq, CSeq { number, method: Method::Register }.to_string());
        let contact = settings.contact(&line.contact_user, &flow);
        headers.push(HeaderName::Contact, format!("{contact};expires={}", expires.as_secs()));
        headers.push(HeaderName::Expires, expires.as_secs().to_string());
        Some((request, flow))
    }

    /// The answer to a REGISTER, or that there is none.
    pub(super) fn line_outcome(&mut self, (trunk, line): (usize, usize), outcome: Outcome<'_>, now: Instant) {
        match outcome {
            Outcome::Response(response) if response.status.is_provisional() => {}
            Outcome::Response(response) if response.status.is_success() => {
                let granted = self.granted(trunk, line, response);
                let chance = self.rng.random_range(0.0..1.0);
                if let Some(state) = self.line(trunk, line) {
                    state.tried = 0;
                }
                self.tell_line(trunk, line, registration::Input::Accepted { granted, chance }, now);
            }
            Outcome::Response(response) => self.line_refused(trunk, line, response.status, Some(response), now),
            Outcome::TimedOut => self.line_refused(trunk, line, StatusCode::REQUEST_TIMEOUT, None, now),
            Outcome::TransportFailed => self.line_refused(trunk, line, StatusCode::SERVICE_UNAVAILABLE, None, now),
        }
    }

    fn line_refused(
        &mut self,
        trunk: usize,
        line: usize,
        status: StatusCode,
        response: Option<&Response>,
        now: Instant,
    ) {
        let chance = self.rng.random_range(0.0..1.0);
        let targets = self.peers.get(trunk).map_or(0, |peer| peer.targets.len());
        let is_path = matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::REQUEST_TIMEOUT);
        let Some(state) = self.line(trunk, line) else { return };
        state.tried = if is_path { state.tried + 1 } else { state.tried };
        // Each target once, then the wait.
        let elsewhere = is_path && targets > 0 && state.tried % targets != 0;
        let headers = response.map(|response| &response.headers);
        let min_expires = headers
            .and_then(|headers| headers.get(&HeaderName::MinExpires))
            .and_then(|value| value.trim().parse().ok())
            .map(Duration::from_secs);
        let retry_after = headers.and_then(|headers| headers.retry_after().ok().flatten());
        let refused = registration::Input::Refused { status, min_expires, retry_after, elsewhere, chance };
        self.tell_line(trunk, line, refused, now);
    }

    /// The expiry that a 200 gives our Contact (RFC 3261 10.2.4): its own, else the Expires header's.
    fn granted(&self, trunk: usize, line: usize, response: &Response) -> Option<Duration> {
        let user = &self.config.trunks.get(trunk)?.peering.lines.get(line)?.contact_user;
        let contacts = response.headers.contacts().unwrap_or_default();
        let ours = contacts.iter().find(|contact| contact.uri.user_unescaped().as_ref() == Some(user));
        let of_contact = ours.and_then(|contact| contact.params.value("expires")?.parse().ok());
        let of_header = || response.headers.expires().ok().flatten().map(u64::from);
        of_contact.or_else(of_header).map(Duration::from_secs)
    }

    fn notice_line(&mut self, trunk: usize, line: usize, state: State) {
        let (Some(settings), Some(peer)) = (self.config.trunks.get(trunk), self.peers.get(trunk)) else { return };
        let Some(line) = settings.peering.lines.get(line) else { return };
        let registered = peer.lines.iter().filter(|line| line.registration.state() == State::Registered).count();
        let (trunk, line) = (settings.name.clone(), line.contact_user.clone());
        self.output.push_back(Output::Trunk(TrunkNotice::Line { trunk, line, state, registered }));
    }
}
