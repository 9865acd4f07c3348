//! Which targets answer: OPTIONS at intervals (RFC 3261 11), and what every other request tells besides.

use std::time::Instant;

use rand::Rng as _;

use crate::limits;
use crate::sip::StatusCode;
use crate::sip::dialog::usage::ALLOW;
use crate::sip::message::CSeq;
use crate::sip::message::HeaderName;
use crate::sip::message::Host;
use crate::sip::message::Method;
use crate::sip::message::NameAddr;
use crate::sip::message::Request;
use crate::sip::message::SipUri;
use crate::sip::transaction::TransactionKey;
use crate::sip::user_agent::Output;
use crate::sip::user_agent::SipTimer;
use crate::sip::user_agent::UserAgent;
use crate::sip::user_agent::Wake;
use crate::sip::user_agent::client::Outcome;
use crate::sip::user_agent::client::Owner;
use crate::sip::user_agent::peers::TrunkNotice;

impl UserAgent {
    /// Begins the keep-alive of every target: the first within one interval, by chance, so that they do not go together.
    pub(super) fn start_probes(&mut self, now: Instant) {
        for trunk in 0..self.config.trunks.len() {
            self.start_probes_of(trunk, now);
        }
    }

    /// Begins the keep-alive of one trunk's targets.
    pub(super) fn start_probes_of(&mut self, index: usize, now: Instant) {
        let Some(trunk) = self.config.trunks.get(index) else { return };
        let Some(interval) = trunk.peering.options_interval else { return };
        for target in 0..trunk.targets.len() {
            let first = now + interval.mul_f64(self.rng.random_range(0.0..0.25));
            self.schedule.set(&Wake::Probe(index, target), Some((first, SipTimer::Probe)));
        }
    }

    /// Time to ask a target, or to count an OPTIONS as unanswered.
    pub(super) fn probe_timeout(&mut self, trunk: usize, target: usize, now: Instant) {
        let awaited = self
            .peers
            .get_mut(trunk)
            .and_then(|peer| peer.targets.get_mut(target))
            .and_then(|state| state.probe.take());
        if let Some(key) = awaited {
            if let Some(entry) = self.clients.get_mut(&key) {
                entry.owner = Owner::Nobody;
            }
            self.missed(trunk, target, false);
            self.schedule_probe(trunk, target, now);
            return;
        }
        let Some((request, flow)) = self.options(trunk, target) else {
            self.missed(trunk, target, false);
            self.schedule_probe(trunk, target, now);
            return;
        };
        let patience = now + self.config.failover_after;
        self.schedule.set(&Wake::Probe(trunk, target), Some((patience, SipTimer::Probe)));
        let key = self.send_request(trunk, request, flow, Owner::Probe(trunk, target), now);
        if let Some(state) = self.peers.get_mut(trunk).and_then(|peer| peer.targets.get_mut(target)) {
            state.probe = Some(key);
        }
    }

    /// The next OPTIONS: at the interval; sooner where the last one was missed and the target counts as up.
    fn schedule_probe(&mut self, trunk: usize, target: usize, now: Instant) {
        let Some(interval) = self.config.trunks.get(trunk).and_then(|trunk| trunk.peering.options_interval) else {
            return;
        };
        let state = self.peers.get(trunk).and_then(|peer| peer.targets.get(target));
        let is_doubtful = state.is_some_and(|state| state.is_up && state.misses > 0);
        let wait = if is_doubtful { interval.min(self.config.failover_after) } else { interval };
        self.schedule.set(&Wake::Probe(trunk, target), Some((now + wait, SipTimer::Probe)));
    }

    fn options(&mut self, trunk: usize, target: usize) -> Option<(Request, crate::sip::Flow)> {
        let (call_id, tag) = (format!("{}{}", self.new_tag(), self.new_tag()), self.new_tag());
        let settings = self.config.trunks.get(trunk)?;
        let target = settings.targets.get(target)?;
        let flow = self.config.path_to(settings, target.transport, target.address)?;
        let domain = settings.domain.as_deref().and_then(Host::parse);
        let port = if domain.is_some() { None } else { Some(target.address.port()) };
        let uri = SipUri::new(domain.clone().unwrap_or_else(|| Host::from(target.address.ip())), port);
        let mut from = NameAddr::new(SipUri::new(domain.unwrap_or_else(|| settings.shown_host(flow.local)), None));
        from.set_tag(&tag);
        let mut request = Request::new(Method::Options, uri.clone().into());
        let headers = &mut request.headers;
        headers.push(HeaderName::MaxForwards, "70");
        headers.push(HeaderName::From, from.to_string());
        headers.push(HeaderName::To, NameAddr::new(uri).to_string());
        headers.push(HeaderName::CallId, call_id);
        headers.push(HeaderName::CSeq, CSeq { number: 1, method: Method::Options }.to_string());
        headers.push(HeaderName::Contact, settings.contact("", &flow));
        headers.push(HeaderName::Accept, "application/sdp");
        headers.push(HeaderName::Allow, ALLOW);
        Some((request, flow))
    }

    /// The answer to an OPTIONS, or that there is none.
    pub(super) fn probe_outcome(&mut self, trunk: usize, target: usize, outcome: Outcome<'_>, now: Instant) {
        if matches!(outcome, Outcome::Response(response) if response.status.is_provisional()) {
            return;
        }
        if let Some(state) = self.peers.get_mut(trunk).and_then(|peer| peer.targets.get_mut(target)) {
            state.probe = None;
        }
        // A 503 without Retry-After says that it takes no calls; with one, `observe` skips it for that long.
        if let Outcome::Response(response) = outcome
            && response.status == StatusCode::SERVICE_UNAVAILABLE
            && !response.headers.contains(&HeaderName::RetryAfter)
        {
            self.missed(trunk, target, false);
        }
        self.schedule_probe(trunk, target, now);
    }

    /// What any request's outcome says of the target that it went to.
    pub(super) fn observe(&mut self, key: &TransactionKey, outcome: Outcome<'_>, now: Instant) {
        let Some((trunk, target)) = self.target_of(key) else { return };
        match outcome {
            Outcome::Response(response) if response.status == StatusCode::SERVICE_UNAVAILABLE => {
                let wait = response.headers.retry_after().ok().flatten();
                if let (Some(state), Some(wait)) =
                    (self.peers.get_mut(trunk).and_then(|peer| peer.targets.get_mut(target)), wait)
                {
                    state.skip_until = Some(now + wait.min(limits::SIP_RETRY_AFTER_MAX));
                }
            }
            Outcome::Response(_) => self.answered(trunk, target),
            Outcome::TransportFailed => self.missed(trunk, target, true),
            Outcome::TimedOut => self.missed(trunk, target, false),
        }
    }

    /// The target of this request said nothing for so long that another was taken.
    pub(super) fn observe_silence(&mut self, key: &TransactionKey) {
        if let Some((trunk, target)) = self.target_of(key) {
            self.missed(trunk, target, false);
        }
    }

    fn target_of(&self, key: &TransactionKey) -> Option<(usize, usize)> {
        let entry = self.clients.get(key)?;
        // We are always there for ourselves: a call of ours that is too many says nothing of the next.
        let targets = &self.config.trunks.get(entry.trunk).filter(|trunk| !trunk.is_internal())?.targets;
        let target = targets.iter().position(|target| target.address == entry.flow.remote)?;
        Some((entry.trunk, target))
    }

    fn answered(&mut self, trunk: usize, target: usize) {
        let Some(state) = self.peers.get_mut(trunk).and_then(|peer| peer.targets.get_mut(target)) else { return };
        state.misses = 0;
        if !std::mem::replace(&mut state.is_up, true) {
            self.notice_target(trunk, target, true);
        }
    }

    /// Counts a silence. Only a target that is asked by OPTIONS goes down: nothing else would bring it up again.
    fn missed(&mut self, trunk: usize, target: usize, is_certain: bool) {
        let Some(peering) = self.config.trunks.get(trunk).map(|trunk| &trunk.peering) else { return };
        if peering.options_interval.is_none() {
            return;
        }
        let misses_max = peering.options_misses.max(1);
        let Some(state) = self.peers.get_mut(trunk).and_then(|peer| peer.targets.get_mut(target)) else { return };
        state.misses = state.misses.saturating_add(1);
        if (is_certain || state.misses >= misses_max) && std::mem::replace(&mut state.is_up, false) {
            self.notice_target(trunk, target, false);
        }
    }

    fn notice_target(&mut self, trunk: usize, target: usize, is_up: bool) {
        let Some(settings) = self.config.trunks.get(trunk) else { return };
        let Some(target) = settings.targets.get(target) else { return };
        let notice = TrunkNotice::Target { trunk: settings.name.clone(), address: target.address, is_up };
        self.output.push_back(Output::Trunk(notice));
    }
}
