//! How much a trunk may ask for, and who may ask: before anything is rung.

use std::time::Duration;
use std::time::Instant;

use rand::RngCore as _;

use crate::sip::OutgoingInvite;
use crate::sip::Refusal;
use crate::sip::StatusCode;
use crate::sip::digest::server::Verdict;
use crate::sip::message::HeaderName;
use crate::sip::message::Method;
use crate::sip::message::Request;
use crate::sip::message::Response;
use crate::sip::registration::State;
use crate::sip::user_agent::UserAgent;
use crate::sip::user_agent::peers::TrunkStatus;

/// Retry-After where a trunk's configuration names none.
const RETRY_AFTER: Duration = Duration::from_secs(5);

impl UserAgent {
    /// The refusal of a request outside any dialog: 401 or 403 where the trunk must prove itself, 503 where it has
    /// enough calls. `None` lets it in.
    pub(super) fn refuse_entry(&mut self, trunk: usize, request: &Request, now: Instant) -> Option<Response> {
        // A keep-alive is asked for nothing: it tells nobody anything, and many PBXs cannot answer there.
        if request.method == Method::Options {
            return None;
        }
        self.challenge(trunk, request, now).or_else(|| {
            let wait = if request.method == Method::Invite { self.refuse_call(trunk, now)? } else { return None };
            let refusal = Refusal { retry_after: Some(wait), ..Refusal::new(StatusCode::SERVICE_UNAVAILABLE) };
            Some(Response::refusing(request, &refusal, ""))
        })
    }

    fn challenge(&mut self, trunk: usize, request: &Request, now: Instant) -> Option<Response> {
        let guard = self.config.trunks.get(trunk)?.peering.guard.as_ref()?;
        let (now_ms, chance) = (self.config.clock.wall(now).unix_ms(), self.rng.next_u64());
        match self.verifier.judge(guard, request, now_ms, chance) {
            Verdict::Granted => None,
            Verdict::Forbidden => Some(Response::for_request(request, StatusCode::FORBIDDEN)),
            Verdict::Challenged(challenges) => {
                let mut response = Response::for_request(request, StatusCode::UNAUTHORIZED);
                for challenge in challenges {
                    response.headers.push(HeaderName::WwwAuthenticate, challenge);
                }
                Some(response)
            }
        }
    }

    /// Whether one more call is too many: after how long to try again. Counts the call where it is not.
    pub(super) fn refuse_call(&mut self, trunk: usize, now: Instant) -> Option<Duration> {
        let calls = self.calls_of(trunk);
        let peering = &self.config.trunks.get(trunk)?.peering;
        let wait = Some(peering.busy_retry_after).filter(|wait| !wait.is_zero()).unwrap_or(RETRY_AFTER);
        let is_full = peering.calls_max.is_some_and(|max| calls >= max);
        let per_second = peering.calls_per_second;
        let is_fast = !is_full
            && per_second.is_some_and(|rate| !self.peers.get_mut(trunk).is_some_and(|peer| peer.take_token(rate, now)));
        (is_full || is_fast).then_some(wait)
    }

    /// Whether a call of ours goes out whatever the caps and the targets' state say.
    pub(super) fn is_emergency(&self, invite: &OutgoingInvite) -> bool {
        self.config.emergency.contains(&invite.called)
    }

    /// The targets that a call of ours takes, in order; or how long all of them are to be left alone.
    pub(super) fn targets_for(&self, trunk: usize, is_emergency: bool, now: Instant) -> Result<Vec<usize>, Duration> {
        let Some(peer) = self.peers.get(trunk) else { return Ok(Vec::new()) };
        let order = peer.order(now);
        if !order.is_empty() || peer.targets.is_empty() {
            return Ok(order);
        }
        if is_emergency {
            return Ok((0..peer.targets.len()).collect());
        }
        Err(peer.skipped_until().map_or(RETRY_AFTER, |until| until.saturating_duration_since(now)))
    }

    fn calls_of(&self, trunk: usize) -> usize {
        self.usages.values().filter(|entry| entry.trunk == trunk).count()
    }

    /// Every trunk as an operator sees it.
    pub fn trunks(&self) -> Vec<TrunkStatus> {
        let trunks = self.config.trunks.iter().zip(&self.peers).enumerate();
        trunks
            .map(|(index, (settings, peer))| {
                let targets = settings.targets.iter().zip(&peer.targets);
                let lines = settings.peering.lines.iter().enumerate();
                let state =
                    |line: usize| peer.lines.get(line).map_or(State::Unregistered, |line| line.registration.state());
                TrunkStatus {
                    name: settings.name.clone(),
                    targets: targets.map(|(target, state)| (target.address, state.is_up)).collect(),
                    lines: lines.map(|(index, line)| (line.contact_user.clone(), state(index))).collect(),
                    calls: self.calls_of(index),
                }
            })
            .collect()
    }
}
