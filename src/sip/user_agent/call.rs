//! How calls begin: an INVITE that comes in, and one that goes out until its 2xx.

use std::time::Duration;
use std::time::Instant;

use rand::Rng;

use crate::ids::LegId;
use crate::ids::SessionId;
use crate::sip::Event;
use crate::sip::Flow;
use crate::sip::Invitation;
use crate::sip::OutgoingInvite;
use crate::sip::StatusCode;
use crate::sip::dialog::Dialog;
use crate::sip::dialog::InviteUsage;
use crate::sip::dialog::OutboundInvite;
use crate::sip::dialog::outbound_invite;
use crate::sip::dialog::session_timer::SessionTimer;
use crate::sip::dialog::state::SessionPair;
use crate::sip::dialog::terms::MIN_SE;
use crate::sip::dialog::usage;
use crate::sip::message::HeaderName;
use crate::sip::message::Request;
use crate::sip::message::Response;
use crate::sip::transaction::TransactionKey;
use crate::sip::user_agent::Trunk;
use crate::sip::user_agent::UserAgent;
use crate::sip::user_agent::client::Owner;
use crate::sip::user_agent::identity;
use crate::sip::user_agent::outbound::Outbound;
use crate::sip::user_agent::usages::UsageEntry;
use crate::sip::user_agent::usages::UsageMachine;

impl UserAgent {
    // --- inbound ---

    /// 422 to an INVITE whose session would be too brief (RFC 4028 9). Whether it was sent.
    fn refuse_brief_session(&mut self, trunk: usize, key: &TransactionKey, request: &Request, now: Instant) -> bool {
        let is_too_brief = SessionTimer::new(&self.terms_of(trunk)).is_too_brief(&request.headers);
        if is_too_brief {
            let mut response = Response::for_request(request, StatusCode::SESSION_INTERVAL_TOO_SMALL);
            response.headers.push(HeaderName::MinSe, MIN_SE.as_secs().to_string());
            self.respond(key, response, now);
        }
        is_too_brief
    }

    /// A new INVITE from a trunk: 100, a dialog, and the call room is told.
    pub(super) fn invited(&mut self, trunk: usize, flow: Flow, key: &TransactionKey, request: Request, now: Instant) {
        let leg = LegId::generate(self.config.clock.wall(now).unix_ms(), &mut self.rng);
        let remote = request.headers.session_id().ok().flatten();
        // From the first response on.
        let session = SessionPair { local: SessionId::of_leg(leg), remote };
        if let Some(entry) = self.servers.get_mut(key) {
            entry.session = Some(session.clone());
        }
        self.respond_with(key, &request, StatusCode::TRYING, now);
        if self.refuse_brief_session(trunk, key, &request, now) {
            return;
        }
        let replaces = match self.replaced_by(trunk, &request) {
            Ok(replaces) => replaces,
            Err(status) => {
                self.respond_with(key, &request, status, now);
                return;
            }
        };
        let Some(entry) = self.servers.get_mut(key) else { return };
        entry.leg = Some(leg);
        let local_tag = entry.local_tag.clone();
        let (Some(dialog), Some(settings)) =
            (Dialog::of_uas(&request, &local_tag, session), self.config.trunks.get(trunk))
        else {
            self.respond_with(key, &request, StatusCode::BAD_REQUEST, now);
            return;
        };
        let Some(invitation) = invitation(leg, settings, &flow, &request) else {
            self.respond_with(key, &request, StatusCode::BAD_REQUEST, now);
            return;
        };
        let identity = usage::Identity {
            leg,
            contact: settings.contact_for(&invitation.called, &flow, &request.uri),
            agent: settings.shown_host(flow.local).to_string(),
            timing: self.config.timing,
            terms: settings.terms,
        };
        self.dialogs.insert(dialog.id().clone(), leg);
        let rseq = self.rng.random_range(1..1 << 31);
        let machine = InviteUsage::incoming(identity, dialog, key.clone(), Box::new(request), rseq);
        self.usages.insert(leg, UsageEntry { machine: UsageMachine::Invite(Box::new(machine)), trunk, flow });
        self.tell_call_room(Event::Invited(Box::new(Invitation { replaces, ..invitation })));
    }

    // --- outbound ---

    pub(super) fn place_call(&mut self, invite: OutgoingInvite, now: Instant) {
        let leg = invite.leg;
        let found = self.config.trunks.iter().enumerate().find(|(_, trunk)| trunk.name == invite.trunk);
        let is_emergency = self.is_emergency(&invite);
        let is_full = self.is_full() && !is_emergency;
        let (Some((trunk, settings)), false) = (found, is_full || self.usages.contains_key(&leg)) else {
            self.refuse_at_once(leg, StatusCode::SERVICE_UNAVAILABLE, None);
            return;
        };
        let (terms, failover_on) = (settings.terms, settings.peering.failover_on.clone());
        let Ok(replaces) = self.replaces_header(trunk, &invite) else {
            self.refuse_at_once(leg, StatusCode::CALL_DOES_NOT_EXIST, None);
            return;
        };
        let too_many = if is_emergency { None } else { self.refuse_call(trunk, now) };
        let targets = match too_many.map_or_else(|| self.targets_for(trunk, is_emergency, now), Err) {
            Ok(targets) => targets,
            Err(wait) => {
                self.refuse_at_once(leg, StatusCode::SERVICE_UNAVAILABLE, Some(wait));
                return;
            }
        };
        let machine = OutboundInvite::new(leg, targets, self.config.timing, self.config.failover_after)
            .failing_over_on(&failover_on);
        let (call_id, tag) = (format!("{}{}", self.new_tag(), self.new_tag()), self.new_tag());
        let outbound = Outbound {
            machine,
            wanted: invite,
            call_id,
            tag,
            replaces,
            session_timer: SessionTimer::new(&terms),
            early: Vec::new(),
        };
        // Until a target is chosen there is no path; each attempt sets it.
        let nowhere = std::net::SocketAddr::from(([0, 0, 0, 0], 0));
        let flow = Flow { transport: crate::sip::Transport::Udp, local: nowhere, remote: nowhere, connection: None };
        self.usages.insert(leg, UsageEntry { machine: UsageMachine::Outbound(Box::new(outbound)), trunk, flow });
        self.pump_usage(leg, now);
    }

    fn refuse_at_once(&mut self, leg: LegId, status: StatusCode, retry_after: Option<Duration>) {
        self.tell_call_room(Event::Refused { leg, status, reason: None, redirect: Vec::new(), retry_after });
    }

    /// Sends the INVITE to one target. What was early at the one before is no more.
    pub(super) fn try_target(&mut self, leg: LegId, target: usize, cseq: u32, now: Instant) {
        self.forget_early(leg, now);
        match self.attempt(leg, target, cseq) {
            Some((trunk, request, flow)) => {
                self.note_shaped_invite(trunk, &request);
                if let Some(entry) = self.usages.get_mut(&leg) {
                    entry.flow = flow;
                }
                let key = self.send_request(trunk, request, flow, Owner::Invite(leg), now);
                self.tell_outbound(leg, outbound_invite::Input::Sent(key), now);
            }
            None => self.tell_outbound(leg, outbound_invite::Input::TransportFailed, now),
        }
    }

    /// The early dialogs of an INVITE that is no more.
    pub(super) fn forget_early(&mut self, leg: LegId, now: Instant) {
        if let Some(UsageEntry { machine: UsageMachine::Outbound(outbound), .. }) = self.usages.get_mut(&leg) {
            let mut early = std::mem::take(&mut outbound.early);
            self.forget_dialogs(&mut early, now);
        }
    }

    fn attempt(&self, leg: LegId, target: usize, cseq: u32) -> Option<(usize, Request, Flow)> {
        let entry = self.usages.get(&leg)?;
        let UsageMachine::Outbound(outbound) = &entry.machine else { return None };
        let trunk = self.config.trunks.get(entry.trunk)?;
        let target = trunk.targets.get(target)?;
        let flow = self.config.path_to(trunk, target.transport, target.address)?;
        Some((entry.trunk, outbound.invite(trunk, target, &flow, cseq), flow))
    }
}

/// What the call room is told of an INVITE.
fn invitation(leg: LegId, trunk: &Trunk, flow: &Flow, request: &Request) -> Option<Invitation> {
    let headers = &request.headers;
    let asserted = headers.asserted_identities().ok().filter(|_| trunk.trusts_identity);
    let from = asserted.and_then(|identities| identities.into_iter().next()).or_else(|| headers.from().ok())?;
    let mut invitation = Invitation {
        leg,
        trunk: trunk.name.clone(),
        called: request.uri.user_unescaped().unwrap_or_default(),
        from: identity::party(&from),
        to: identity::party(&headers.to().ok()?),
        sip_call_id: headers.call_id().ok()?.to_owned(),
        session_id: headers.session_id().ok().flatten(),
        local_address: flow.local.ip(),
        offer: usage::sdp_of(headers, &request.body),
        replaces: None,
        anonymous: false,
        diverted_from: Vec::new(),
        user_to_user: None,
        headers: Vec::new(),
    };
    identity::complete(&mut invitation, trunk, headers);
    Some(invitation)
}
