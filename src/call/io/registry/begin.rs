//! How a call begins: by an INVITE of a trunk, or by a number that an agent dialled.

use std::collections::VecDeque;
use std::sync::Arc;

use rand::RngCore;
use tokio::sync::mpsc;
use tokio::sync::watch;

use super::Entry;
use super::Registry;
use crate::call::Call;
use crate::call::CallIds;
use crate::call::Candidate;
use crate::call::Cause;
use crate::call::Destination;
use crate::call::Hunt;
use crate::call::Input;
use crate::call::TrunkPolicy;
use crate::call::admission;
use crate::call::admission::DialRefused;
use crate::call::admission::Load;
use crate::call::call::Ground;
use crate::call::io::task;
use crate::call::io::task::Route;
use crate::call::io::trace;
use crate::call::record;
use crate::ids::CallId;
use crate::ids::Extension;
use crate::ids::LegId;
use crate::ids::RecordingId;
use crate::ids::SessionId;
use crate::ids::SignalingId;
use crate::ids::TrunkName;
use crate::limits::CALL_MAILBOX;
use crate::limits::CALL_TRUNK_LEGS_MAX;
use crate::routing::Denied;
use crate::routing::Group;
use crate::sdp::SrtpSecret;
use crate::signaling;
use crate::signaling::RequestToken;
use crate::sip;
use crate::sip::Invitation;
use crate::sip::Refusal;
use crate::sip::StatusCode;
use crate::telemetry::metrics::ALARMS;
use crate::telemetry::metrics::CALLS_REFUSED;
use crate::worker::TapId;

impl Registry {
    pub(super) fn invited(&mut self, invitation: Invitation) {
        let ids = self.new_ids(None, Some(invitation.leg));
        trace::began(&*self.rooms, ids, Some(&invitation.sip_call_id), self.clock.now());
        match self.admit(&invitation) {
            Ok((hunt, trunk)) => self.ring(ids, hunt, trunk, invitation),
            Err(cause) => self.refuse_at_the_door(ids, &invitation, cause),
        }
    }

    /// An INVITE that takes another's place belongs to that call (RFC 3891 3).
    pub(super) fn replaced(&mut self, replaced: LegId, invitation: Box<Invitation>) {
        let leg = invitation.leg;
        if let Some(call) = self.add_leg(replaced, leg) {
            trace::joined(&*self.rooms, call, leg, &invitation.sip_call_id);
            return self.tell(call, Input::Sip(sip::Event::Invited(invitation)));
        }
        let refusal = Refusal::new(StatusCode::CALL_DOES_NOT_EXIST);
        if self.rooms.sip(sip::Command::Refuse { leg, refusal }).is_err() {
            tracing::error!("a refusal found no room at the SIP task");
        }
    }

    /// A transfer of the other side may need a further trunk leg. A call that had too many gets no name for one.
    pub(super) fn name_spare_leg(&mut self, transferor: LegId) {
        let unix_ms = self.clock.wall(self.clock.now()).unix_ms();
        let leg = LegId::generate(unix_ms, &mut self.rng);
        if let Some(call) = self.add_leg(transferor, leg) {
            self.tell(call, Input::SpareLeg(leg));
        }
    }

    /// Notes that `leg` is of the same call as `other`.
    fn add_leg(&mut self, other: LegId, leg: LegId) -> Option<CallId> {
        let call = *self.legs.get(&other)?;
        let entry = self.calls.get_mut(&call).filter(|entry| entry.legs.len() < CALL_TRUNK_LEGS_MAX)?;
        entry.legs.push(leg);
        self.legs.insert(leg, call);
        Some(call)
    }

    fn ring(&mut self, ids: CallIds, hunt: Hunt, trunk: TrunkPolicy, invitation: Invitation) {
        let Some(first) = hunt.candidates.first().cloned() else {
            return self.refuse_at_the_door(ids, &invitation, Cause::AgentUnavailable);
        };
        let ids = CallIds { agent_leg: first.leg, ..ids };
        let config = Arc::clone(&self.config);
        let ground = Ground { ids, agent: first.agent, trunk, config, clock: self.clock, emergency: None };
        let trunk = invitation.trunk.clone();
        let worker = self.worker_beside(ground.agent.session);
        let call = Call::inbound(ground, hunt, invitation, self.clock.now());
        self.begin(call, ids, trunk, worker);
    }

    fn refuse_at_the_door(&self, ids: CallIds, invitation: &Invitation, cause: Cause) {
        let refusal = cause.refusal(self.config.retry_after);
        let now = self.clock.now();
        self.rooms.record(record::refused_at_the_door(ids, invitation, cause, self.clock.wall(now)));
        trace::refused(&*self.rooms, ids, cause, now);
        metrics::counter!(CALLS_REFUSED.name, "cause" => cause.word()).increment(1);
        if self.rooms.sip(sip::Command::Refuse { leg: invitation.leg, refusal }).is_err() {
            tracing::error!("a refusal found no room at the SIP task");
        }
    }

    fn admit(&mut self, invitation: &Invitation) -> Result<(Hunt, TrunkPolicy), Cause> {
        let trunk = self.config.trunks.get(&invitation.trunk).ok_or(Cause::UnknownExtension)?.clone();
        let config = Arc::clone(&self.config);
        if let Some(group) = config.groups.iter().find(|group| group.extension.as_str() == invitation.called) {
            return Ok((self.admit_to_group(group)?, trunk));
        }
        let extension = config.dial_plan.extension(&invitation.called).ok_or(Cause::UnknownExtension)?;
        let admitted = admission::admit_inbound(self.rooms.agent(&extension), self.load(&extension), &config)?;
        let candidate = self.candidate(admitted);
        let ring_time = config.no_answer;
        Ok((Hunt { candidates: vec![candidate], one_by_one: false, ring_time, is_group: false }, trunk))
    }

    /// Of a group, those ring who are free.
    fn admit_to_group(&mut self, group: &Group) -> Result<Hunt, Cause> {
        let now = self.clock.now();
        let idle = |who: &Extension| self.idle_since.get(who).map(|since| now.saturating_duration_since(*since));
        let config = Arc::clone(&self.config);
        let mut candidates = Vec::new();
        for member in group.order(idle) {
            match admission::admit_inbound(self.rooms.agent(&member), self.load(&member), &config) {
                Ok(admitted) if !admitted.waiting => candidates.push(self.candidate(admitted)),
                Err(cause @ (Cause::Draining | Cause::Overloaded)) => return Err(cause),
                Ok(_) | Err(_) => {}
            }
        }
        if candidates.is_empty() {
            return Err(Cause::GroupExhausted);
        }
        let (one_by_one, ring_time) = (group.is_one_by_one(), group.ring_time);
        Ok(Hunt { candidates, one_by_one, ring_time, is_group: true })
    }

    fn candidate(&mut self, admitted: admission::Admitted) -> Candidate {
        let unix_ms = self.clock.wall(self.clock.now()).unix_ms();
        let leg = LegId::generate(unix_ms, &mut self.rng);
        Candidate { agent: admitted.party, leg, waiting: admitted.waiting }
    }

    pub(super) fn dialled(&mut self, session: SignalingId, token: RequestToken, call: CallId, to: &str) {
        let reply = |result| signaling::Command::Reply { token, result };
        if let Some(entry) = self.calls.get(&call) {
            // The client made the id: the same request again is answered again, somebody else's id is refused.
            if entry.concerns(session) {
                self.rooms.signaling(session, reply(Ok(())));
            } else {
                self.deny(session, token, ("call.unknown", "there is no such call"));
            }
            return;
        }
        let Some(agent) = self.rooms.agent_of(session) else {
            self.deny(session, token, ("agent.forbidden", "this user has no extension"));
            return;
        };
        let load = self.load(&agent.extension);
        let admitted = admission::admit_outbound(&agent.extension, to, load, &self.config);
        let routed = admitted.and_then(|found| match self.config.trunks.get(&found.trunk) {
            Some(policy) => Ok((found, policy.clone())),
            None => Err(DialRefused::Denied(Denied::NoRule)),
        });
        match routed {
            Ok((Destination { trunk, number, emergency }, policy)) => {
                self.rooms.signaling(session, reply(Ok(())));
                let ids = self.new_ids(Some(call), None);
                trace::dialled(&*self.rooms, ids, to, self.clock.now());
                let config = Arc::clone(&self.config);
                let ground = Ground { ids, agent, trunk: policy, config, clock: self.clock, emergency };
                let call = Call::outbound(ground, trunk.clone(), number, self.clock.now());
                self.begin(call, ids, trunk, self.worker_beside(session));
            }
            Err(DialRefused::Denied(Denied::Emergency)) => self.refuse_emergency(session, token, call),
            Err(DialRefused::Denied(denied)) => self.deny(session, token, ("call.forbidden", &denied.to_string())),
            Err(DialRefused::Refused(Cause::AgentBusy)) => {
                self.deny(session, token, ("agent.limit", "this agent has as many calls as allowed"));
            }
            Err(DialRefused::Refused(cause)) => self.deny(session, token, ("server.unavailable", cause.word())),
        }
    }

    /// Somebody needed help, and has to call it from elsewhere. Nothing is sent; whoever runs the site must know.
    fn refuse_emergency(&self, session: SignalingId, token: RequestToken, call: CallId) {
        metrics::counter!(ALARMS.name, "what" => "emergency_call_refused").increment(1);
        tracing::warn!(%call, "an emergency call was refused, as [dial] emergency_calls says");
        self.deny(session, token, ("call.emergency_refused", &Denied::Emergency.to_string()));
    }

    pub(super) fn begin(&mut self, call: Call, ids: CallIds, trunk: TrunkName, worker: usize) {
        let (mailbox, inbox) = mpsc::channel(CALL_MAILBOX);
        let (told, standing) = watch::channel(call.standing());
        let (rooms, registry) = (Arc::clone(&self.rooms), self.asks.0.clone());
        let route = Route { rooms, registry, worker, clock: self.clock, standing: told };
        let legs = vec![ids.trunk_leg];
        let entry = Entry { mailbox, backlog: VecDeque::new(), legs, trunk, worker, standing, heir: None };
        self.legs.insert(ids.trunk_leg, ids.call);
        self.calls.insert(ids.call, entry);
        tracing::info!(call = %ids.call, session_id = %ids.session, "call begins");
        self.tasks.spawn(task::run(call, ids.call, inbox, route));
        self.gauge();
    }

    /// The worker of another call of this browser, for the two may be joined; else the quietest.
    fn worker_beside(&self, session: SignalingId) -> usize {
        let other = self.calls.values().find(|entry| entry.concerns(session));
        other.map_or_else(|| self.quietest_worker(), |entry| entry.worker)
    }

    fn quietest_worker(&self) -> usize {
        let mut loads = vec![0_usize; self.rooms.workers().max(1)];
        for entry in self.calls.values() {
            if let Some(load) = loads.get_mut(entry.worker) {
                *load += 1;
            }
        }
        loads.iter().enumerate().min_by_key(|(_, load)| **load).map_or(0, |(worker, _)| worker)
    }

    pub(super) fn load(&self, extension: &Extension) -> Load {
        let agent_calls = self.calls.values().filter(|entry| entry.counts_for(extension)).count();
        Load { calls: self.calls.len(), agent_calls, draining: self.draining }
    }

    pub(super) fn new_ids(&mut self, call: Option<CallId>, trunk_leg: Option<LegId>) -> CallIds {
        let unix_ms = self.clock.wall(self.clock.now()).unix_ms();
        let rng = &mut self.rng;
        CallIds {
            call: call.unwrap_or_else(|| CallId::generate(unix_ms, rng)),
            // The user agent has put the leg's bytes into its answers as our half of the Session-ID.
            session: trunk_leg.map_or_else(|| SessionId::generate(rng), SessionId::of_leg),
            trunk_leg: trunk_leg.unwrap_or_else(|| LegId::generate(unix_ms, rng)),
            agent_leg: LegId::generate(unix_ms, rng),
            recording: RecordingId::generate(unix_ms, rng),
            tap: TapId(rng.next_u64()),
            // RFC 8866 5.2 wants a number; half the range keeps it inside what every parser takes.
            sdp_session: rng.next_u64() >> 1,
            srtp: SrtpSecret::generate(rng),
        }
    }
}
