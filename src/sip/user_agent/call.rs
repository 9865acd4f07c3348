//! How calls begin: an INVITE that comes in, and one that goes out until its 2xx.

use std::time::Instant;

use crate::ids::LegId;
use crate::ids::SessionId;
use crate::pii::Pii;
use crate::sip::Event;
use crate::sip::Flow;
use crate::sip::Invitation;
use crate::sip::OutgoingInvite;
use crate::sip::Party;
use crate::sip::StatusCode;
use crate::sip::dialog::Dialog;
use crate::sip::dialog::DialogId;
use crate::sip::dialog::InviteUsage;
use crate::sip::dialog::OutboundInvite;
use crate::sip::dialog::outbound_invite;
use crate::sip::dialog::state::SessionPair;
use crate::sip::dialog::usage;
use crate::sip::message::HeaderName;
use crate::sip::message::Method;
use crate::sip::message::NameAddr;
use crate::sip::message::Request;
use crate::sip::message::Response;
use crate::sip::transaction::TransactionKey;
use crate::sip::user_agent::Output;
use crate::sip::user_agent::Trunk;
use crate::sip::user_agent::UserAgent;
use crate::sip::user_agent::client::Outcome;
use crate::sip::user_agent::client::Owner;
use crate::sip::user_agent::outbound::Outbound;
use crate::sip::user_agent::usages::UsageEntry;
use crate::sip::user_agent::usages::UsageMachine;

impl UserAgent {
    // --- inbound ---

    /// A new INVITE from a trunk: 100, a dialog, and the call room is told.
    pub(super) fn invited(&mut self, trunk: usize, flow: Flow, key: &TransactionKey, request: Request, now: Instant) {
        self.respond_with(key, &request, StatusCode::TRYING, now);
        let leg = LegId::generate(self.config.clock.wall(now).unix_ms(), &mut self.rng);
        let remote = request.headers.session_id().ok().flatten();
        // Our half is the leg's own name, so that both ends of the house can find it.
        let session = SessionPair { local: SessionId::from_bytes(*leg.as_uuid().as_bytes()), remote };
        let Some(entry) = self.servers.get_mut(key) else { return };
        entry.leg = Some(leg);
        entry.session = Some(session.clone());
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
            contact: settings.contact(&invitation.called, &flow),
            agent: settings.shown_host(flow.local).to_string(),
            timing: self.config.timing,
        };
        self.dialogs.insert(dialog.id().clone(), leg);
        let machine = InviteUsage::incoming(identity, dialog, key.clone(), Box::new(request));
        self.usages.insert(leg, UsageEntry { machine: UsageMachine::Invite(Box::new(machine)), trunk, flow });
        self.tell_call_room(Event::Invited(Box::new(invitation)));
    }

    // --- outbound ---

    pub(super) fn place_call(&mut self, invite: OutgoingInvite, now: Instant) {
        let leg = invite.leg;
        let found = self.config.trunks.iter().enumerate().find(|(_, trunk)| trunk.name == invite.trunk);
        let (Some((trunk, settings)), false) = (found, self.is_full() || self.usages.contains_key(&leg)) else {
            let status = StatusCode::SERVICE_UNAVAILABLE;
            self.tell_call_room(Event::Refused { leg, status, reason: None, redirect: Vec::new(), retry_after: None });
            return;
        };
        let machine = OutboundInvite::new(leg, settings.targets.len(), self.config.timing, self.config.failover_after);
        let (call_id, tag) = (format!("{}{}", self.new_tag(), self.new_tag()), self.new_tag());
        let outbound = Outbound { machine, wanted: invite, call_id, tag };
        // Until a target is chosen there is no path; each attempt sets it.
        let nowhere = std::net::SocketAddr::from(([0, 0, 0, 0], 0));
        let flow = Flow { transport: crate::sip::Transport::Udp, local: nowhere, remote: nowhere, connection: None };
        self.usages.insert(leg, UsageEntry { machine: UsageMachine::Outbound(Box::new(outbound)), trunk, flow });
        self.pump_usage(leg, now);
    }

    /// Sends the INVITE to one target.
    pub(super) fn try_target(&mut self, leg: LegId, target: usize, cseq: u32, now: Instant) {
        match self.attempt(leg, target, cseq) {
            Some((trunk, request, flow)) => {
                if let Some(entry) = self.usages.get_mut(&leg) {
                    entry.flow = flow;
                }
                let key = self.send_request(trunk, request, flow, Owner::Invite(leg), now);
                self.tell_outbound(leg, outbound_invite::Input::Sent(key), now);
            }
            None => self.tell_outbound(leg, outbound_invite::Input::TransportFailed, now),
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

    /// An INVITE of ours came to something.
    pub(super) fn invite_outcome(&mut self, leg: LegId, key: &TransactionKey, outcome: Outcome<'_>, now: Instant) {
        let awaited = self.usages.get(&leg).is_some_and(
            |entry| matches!(&entry.machine, UsageMachine::Outbound(outbound) if outbound.machine.key() == Some(key)),
        );
        if !awaited {
            // The call is decided: what comes now is a retransmission or another fork.
            self.abandoned_outcome(key, outcome, now);
            return;
        }
        let input = match outcome {
            Outcome::TimedOut => outbound_invite::Input::TimedOut,
            Outcome::TransportFailed => outbound_invite::Input::TransportFailed,
            Outcome::Response(response) if response.status.is_success() => {
                self.invite_accepted(leg, key, response, now);
                return;
            }
            Outcome::Response(response) if response.status.is_provisional() => outbound_invite::Input::Provisional {
                status: response.status,
                sdp: usage::sdp_of(&response.headers, &response.body),
            },
            Outcome::Response(response) => outbound_invite::Input::Failure {
                status: response.status,
                reason: response.headers.reason().ok().flatten(),
            },
        };
        self.tell_outbound(leg, input, now);
    }

    fn invite_accepted(&mut self, leg: LegId, key: &TransactionKey, response: &Response, now: Instant) {
        let Some(UsageEntry { machine: UsageMachine::Outbound(outbound), .. }) = self.usages.get_mut(&leg) else {
            return;
        };
        let stands = outbound.machine.accept();
        let shown_user = outbound.wanted.from.user.expose().clone();
        self.pump_usage(leg, now);
        let dialog = if stands { self.acknowledge(key, response) } else { None };
        let settings = dialog.and_then(|found| self.config.trunks.get(found.1).map(|settings| (found, settings)));
        let Some(((dialog, trunk, flow), settings)) = settings else {
            // A 2xx that crossed our CANCEL; or one that makes no dialog, which ends the call all the same.
            if stands {
                self.tell_call_room(Event::Refused {
                    leg,
                    status: StatusCode::BAD_GATEWAY,
                    reason: None,
                    redirect: Vec::new(),
                    retry_after: None,
                });
            }
            self.end_stray_call(key, response, now);
            return;
        };
        let identity = usage::Identity {
            leg,
            contact: settings.contact(&shown_user, &flow),
            agent: settings.shown_host(flow.local).to_string(),
            timing: self.config.timing,
        };
        self.dialogs.insert(dialog.id().clone(), leg);
        let machine = UsageMachine::Invite(Box::new(InviteUsage::confirmed(identity, dialog)));
        self.usages.insert(leg, UsageEntry { machine, trunk, flow });
        self.tell_call_room(Event::Accepted { leg, sdp: usage::sdp_of(&response.headers, &response.body) });
    }

    /// A 2xx that nobody waits for: ACK, and for a dialog that we did not see before, BYE (RFC 3261 13.2.2.4).
    pub(super) fn end_stray_call(&mut self, key: &TransactionKey, response: &Response, now: Instant) {
        let Some((mut dialog, trunk, flow)) = self.acknowledge(key, response) else { return };
        let bye = dialog.request(Method::Bye);
        let hop = self.config.trunks.get(trunk).map_or(flow, |trunk| self.config.hop(trunk, flow, dialog.next_hop()));
        self.send_request(trunk, bye, hop, Owner::Nobody, now);
    }

    /// Sends the ACK of a 2xx: the same again for a dialog that got one. The dialog, where it is new.
    fn acknowledge(&mut self, key: &TransactionKey, response: &Response) -> Option<(Dialog, usize, Flow)> {
        let id = DialogId::of_response(&response.headers)?;
        let entry = self.clients.get(key)?;
        if let Some((_, flow, bytes)) = entry.acks.iter().find(|(acknowledged, _, _)| *acknowledged == id) {
            self.output.push_back(Output::Send { flow: *flow, bytes: bytes.clone() });
            return None;
        }
        let local = entry.request.headers.session_id().ok().flatten().unwrap_or(SessionId::from_bytes([0; 16]));
        let session = SessionPair { local, remote: response.headers.session_id().ok().flatten() };
        let dialog = Dialog::of_uac(&entry.request, response, session)?;
        let (trunk, flow) = (entry.trunk, entry.flow);
        let mut ack = dialog.ack(entry.request.headers.cseq().ok()?.number);
        let hop = self.config.trunks.get(trunk).map_or(flow, |trunk| self.config.hop(trunk, flow, dialog.next_hop()));
        self.put_via(trunk, &mut ack, &hop);
        ack.headers.set(HeaderName::UserAgent, self.config.product.clone());
        let bytes = ack.to_bytes();
        self.output.push_back(Output::Send { flow: hop, bytes: bytes.clone() });
        self.clients.get_mut(key)?.acks.push((id, hop, bytes));
        Some((dialog, trunk, flow))
    }
}

/// What the call room is told of an INVITE.
fn invitation(leg: LegId, trunk: &Trunk, flow: &Flow, request: &Request) -> Option<Invitation> {
    let headers = &request.headers;
    let asserted = headers.asserted_identities().ok().filter(|_| trunk.trusts_identity);
    let from = asserted.and_then(|identities| identities.into_iter().next()).or_else(|| headers.from().ok())?;
    Some(Invitation {
        leg,
        trunk: trunk.name.clone(),
        called: request.uri.user_unescaped().unwrap_or_default(),
        from: party(&from),
        to: party(&headers.to().ok()?),
        sip_call_id: headers.call_id().ok()?.to_owned(),
        session_id: headers.session_id().ok().flatten(),
        local_address: flow.local.ip(),
        offer: usage::sdp_of(headers, &request.body),
        replaces: None,
        anonymous: false,
        diverted_from: Vec::new(),
        user_to_user: None,
        headers: Vec::new(),
    })
}

fn party(address: &NameAddr) -> Party {
    Party {
        user: Pii::new(address.uri.user_unescaped().unwrap_or_default()),
        display_name: address.display_name.clone().map(Pii::new),
    }
}
