//! What becomes of an INVITE of ours: early dialogs, the 2xx of each fork, failures; and of requests within dialogs.

use std::time::Instant;

use rand::RngCore;

use crate::ids::LegId;
use crate::ids::SessionId;
use crate::limits;
use crate::sip::Event;
use crate::sip::Flow;
use crate::sip::StatusCode;
use crate::sip::dialog::Dialog;
use crate::sip::dialog::DialogId;
use crate::sip::dialog::InviteUsage;
use crate::sip::dialog::outbound_invite;
use crate::sip::dialog::outbound_invite::Failure;
use crate::sip::dialog::state::SessionPair;
use crate::sip::dialog::usage;
use crate::sip::dialog::usage::Purpose;
use crate::sip::dialog::usage::Reply;
use crate::sip::message::HeaderName;
use crate::sip::message::Host;
use crate::sip::message::Method;
use crate::sip::message::Request;
use crate::sip::message::Response;
use crate::sip::transaction::TransactionKey;
use crate::sip::user_agent::Output;
use crate::sip::user_agent::Trunk;
use crate::sip::user_agent::UserAgent;
use crate::sip::user_agent::client::Outcome;
use crate::sip::user_agent::client::Owner;
use crate::sip::user_agent::peering::Direction;
use crate::sip::user_agent::peering::NumberOf;
use crate::sip::user_agent::usages::UsageEntry;
use crate::sip::user_agent::usages::UsageMachine;

impl UserAgent {
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
            Outcome::Response(response) if response.status.is_provisional() => {
                self.invite_progressed(leg, key, response, now);
                return;
            }
            Outcome::Response(response) => self.invite_failed(leg, key, response),
        };
        self.tell_outbound(leg, input, now);
    }

    fn invite_progressed(&mut self, leg: LegId, key: &TransactionKey, response: &Response, now: Instant) {
        let number = self.early_dialog(leg, key, response);
        let mut is_new = true;
        if let Some(UsageEntry { machine: UsageMachine::Outbound(outbound), .. }) = self.usages.get_mut(&leg)
            && let Some(usage) = number.and_then(|number| outbound.early.get_mut(number))
        {
            is_new = usage.progressed(response, now);
        }
        if is_new {
            let early = number.and_then(|number| u32::try_from(number).ok()).unwrap_or(0);
            let sdp = usage::sdp_of(&response.headers, &response.body);
            let input = outbound_invite::Input::Provisional { status: response.status, early, sdp };
            self.tell_outbound(leg, input, now);
        }
    }

    /// The early dialog that a response above 100 belongs to, made where it is new. `None` where it makes none, or
    /// where there are too many: a 2xx has its dialog all the same.
    fn early_dialog(&mut self, leg: LegId, key: &TransactionKey, response: &Response) -> Option<usize> {
        let id = DialogId::of_response(&response.headers).filter(|id| !id.remote_tag().is_empty())?;
        let entry = self.usages.get(&leg)?;
        let UsageMachine::Outbound(outbound) = &entry.machine else { return None };
        let known = outbound.early.iter().position(|usage| *usage.dialog().id() == id);
        if known.is_some() {
            return known;
        }
        let number = outbound.early.len();
        let is_full = number >= limits::SIP_EARLY_DIALOGS_MAX && !response.status.is_success();
        let sent = self.clients.get(key).filter(|_| !is_full && response.status != StatusCode::TRYING)?;
        let settings = self.config.trunks.get(entry.trunk)?;
        let identity = usage::Identity {
            leg,
            // What the INVITE named as our Contact is what the dialog keeps.
            contact: sent.request.headers.get(&HeaderName::Contact).unwrap_or_default().to_owned(),
            agent: settings.shown_host(sent.flow.local).to_string(),
            timing: self.config.timing,
            terms: settings.terms,
        };
        let dialog = Dialog::of_uac(&sent.request, response, session_of(&sent.request, response))?;
        let asked = (usage::cseq_of(&sent.request.headers), outbound.wanted.offer.clone());
        let timer = outbound.session_timer.clone();
        let usage = InviteUsage::early(identity, dialog, asked, timer);
        self.dialogs.insert(id, leg);
        if let Some(UsageEntry { machine: UsageMachine::Outbound(outbound), .. }) = self.usages.get_mut(&leg) {
            outbound.early.push(usage);
        }
        Some(number)
    }

    fn invite_accepted(&mut self, leg: LegId, key: &TransactionKey, response: &Response, now: Instant) {
        let number = self.early_dialog(leg, key, response);
        let Some(UsageEntry { machine: UsageMachine::Outbound(outbound), .. }) = self.usages.get_mut(&leg) else {
            return;
        };
        let stands = outbound.machine.accept();
        let mut early = std::mem::take(&mut outbound.early);
        let cseqs = early.iter().map(|usage| (usage.dialog().id().clone(), usage.dialog().last_cseq())).collect();
        let chosen = number.filter(|number| stands && *number < early.len()).map(|number| early.swap_remove(number));
        if let Some(sent) = self.clients.get_mut(key) {
            sent.early_cseqs = cseqs;
        }
        self.forget_dialogs(&mut early, now);
        self.pump_usage(leg, now);
        let flow = self.clients.get(key).map(|sent| (sent.trunk, sent.flow));
        let (Some(mut usage), Some((trunk, flow))) = (chosen, flow) else {
            // A 2xx that crossed our CANCEL; or one that makes no dialog, which ends the call all the same.
            if stands {
                let status = StatusCode::BAD_GATEWAY;
                let (reason, redirect, retry_after) = (None, Vec::new(), None);
                self.tell_call_room(Event::Refused { leg, status, reason, redirect, retry_after });
            }
            self.end_stray_call(key, response, now);
            return;
        };
        let sdp = usage.confirmed(key.clone(), response, now);
        self.dialogs.insert(usage.dialog().id().clone(), leg);
        self.usages.insert(leg, UsageEntry { machine: UsageMachine::Invite(Box::new(usage)), trunk, flow });
        self.pump_usage(leg, now);
        self.tell_call_room(Event::Accepted { leg, sdp });
    }

    fn invite_failed(&mut self, leg: LegId, key: &TransactionKey, response: &Response) -> outbound_invite::Input {
        let headers = &response.headers;
        if response.status == StatusCode::SESSION_INTERVAL_TOO_SMALL
            && let Some(UsageEntry { machine: UsageMachine::Outbound(outbound), .. }) = self.usages.get_mut(&leg)
            && outbound.session_timer.raise(headers)
        {
            return outbound_invite::Input::Again;
        }
        let sent = self.clients.get(key);
        let trunk = sent.and_then(|sent| self.config.trunks.get(sent.trunk));
        let is_redirect = (300..400).contains(&response.status.as_u16());
        let redirect = match (sent, trunk) {
            (Some(sent), Some(trunk)) if is_redirect => redirected_to(trunk, &sent.request, response),
            _ => Vec::new(),
        };
        outbound_invite::Input::Failure(Failure {
            status: response.status,
            reason: headers.reason().ok().flatten(),
            redirect,
            retry_after: headers.retry_after().ok().flatten(),
        })
    }

    /// A request of ours within a dialog came to something.
    pub(super) fn in_dialog_outcome(
        &mut self,
        (leg, purpose): (LegId, Purpose),
        key: &TransactionKey,
        outcome: Outcome<'_>,
        now: Instant,
    ) {
        let Some(sent) = self.clients.get(key) else { return };
        // Our tag is in From of what we send, too.
        let Some(id) = DialogId::of_response(&sent.request.headers) else { return };
        let is_invite = sent.request.method == Method::Invite;
        if let Outcome::Response(response) = outcome
            && is_invite
            && response.status.is_success()
        {
            let is_repeated = sent.acks.iter().any(|(acknowledged, _, _)| *acknowledged == id);
            let is_known = self.usages.get(&leg).is_some_and(|entry| entry.machine.in_dialog(&id).is_some());
            if is_repeated || !is_known {
                self.acknowledge(key, response);
                return;
            }
        }
        let reply = match outcome {
            Outcome::Response(response) => Reply::Response(Box::new(response.clone())),
            Outcome::TimedOut => Reply::TimedOut,
            Outcome::TransportFailed => Reply::TransportFailed,
        };
        let chance = self.rng.next_u32();
        self.tell_dialog(leg, &id, usage::Input::Outcome { purpose, key: key.clone(), reply, chance }, now);
    }

    /// A 2xx that nobody waits for: ACK, and for a dialog that we did not see before, BYE (RFC 3261 13.2.2.4).
    pub(super) fn end_stray_call(&mut self, key: &TransactionKey, response: &Response, now: Instant) {
        let Some((mut dialog, trunk, flow)) = self.acknowledge(key, response) else { return };
        let early = self.clients.get(key).map(|sent| sent.early_cseqs.as_slice()).unwrap_or_default();
        if let Some((_, cseq)) = early.iter().find(|(id, _)| id == dialog.id()) {
            dialog.go_on_after(*cseq);
        }
        let bye = dialog.request(Method::Bye);
        let hop = self.path_by(trunk, flow, dialog.next_hop(), &bye);
        self.send_request(trunk, bye, hop, Owner::Nobody, now);
    }

    /// Sends the ACK of a 2xx: the same again for a dialog that got one, none for one whose ACK waits for an answer.
    /// The dialog, where it is new.
    fn acknowledge(&mut self, key: &TransactionKey, response: &Response) -> Option<(Dialog, usize, Flow)> {
        let id = DialogId::of_response(&response.headers)?;
        let sent = self.clients.get(key)?;
        if let Some((_, flow, bytes)) = sent.acks.iter().find(|(acknowledged, _, _)| *acknowledged == id) {
            self.output.push_back(Output::Send { flow: *flow, bytes: bytes.clone() });
            return None;
        }
        if self.dialogs.contains_key(&id) {
            return None;
        }
        let dialog = Dialog::of_uac(&sent.request, response, session_of(&sent.request, response))?;
        let (trunk, flow) = (sent.trunk, sent.flow);
        let ack = dialog.ack(sent.request.headers.cseq().ok()?.number);
        let hop = self.path_by(trunk, flow, dialog.next_hop(), &ack);
        self.put_ack(trunk, hop, key, id, ack);
        Some((dialog, trunk, flow))
    }

    pub(super) fn send_ack(&mut self, leg: LegId, id: &DialogId, key: &TransactionKey, ack: Request) {
        if let Some((trunk, hop)) = self.path_in_dialog(leg, id, &ack) {
            self.put_ack(trunk, hop, key, id.clone(), ack);
        }
    }

    fn put_ack(&mut self, trunk: usize, hop: Flow, key: &TransactionKey, id: DialogId, mut ack: Request) {
        if let Some(sent) = self.clients.get(key) {
            // The INVITE's credentials stand in its ACK, which nobody can challenge (RFC 3261 22.1).
            ack.headers.copy_from(&sent.request.headers, &HeaderName::Authorization);
            ack.headers.copy_from(&sent.request.headers, &HeaderName::ProxyAuthorization);
        }
        self.put_via(trunk, &mut ack, &hop);
        ack.headers.set(HeaderName::UserAgent, self.config.product.clone());
        let bytes = ack.to_bytes();
        self.output.push_back(Output::Send { flow: hop, bytes: bytes.clone() });
        if let Some(sent) = self.clients.get_mut(key) {
            sent.acks.push((id, hop, bytes));
        }
    }
}

fn session_of(invite: &Request, response: &Response) -> SessionPair {
    let local = invite.headers.session_id().ok().flatten().unwrap_or(SessionId::from_bytes([0; 16]));
    SessionPair { local, remote: response.headers.session_id().ok().flatten() }
}

/// The users that a 3xx names at the trunk's own hosts, the most wanted first (RFC 3261 8.1.3.4).
fn redirected_to(trunk: &Trunk, invite: &Request, response: &Response) -> Vec<String> {
    let asked = invite.uri.as_sip().map(|uri| &uri.host);
    let domain = trunk.domain.as_deref().and_then(Host::parse);
    let is_ours = |host: &Host| {
        let is_named = [asked, domain.as_ref()].into_iter().flatten().any(|known| known.matches(host));
        is_named || host.as_ip().is_some_and(|address| trunk.prefix_of(address).is_some())
    };
    let contacts = response.headers.contacts().unwrap_or_default();
    let mut users: Vec<(u32, String)> = contacts
        .into_iter()
        .take(limits::SIP_REDIRECTS_MAX)
        .filter(|contact| contact.uri.as_sip().is_some_and(|uri| is_ours(&uri.host)))
        .filter_map(|contact| {
            let user = contact.uri.user_unescaped().filter(|user| !user.is_empty())?;
            let number = trunk.peering.rewrite(Direction::In, NumberOf::Called, &user);
            Some((preference(contact.params.value("q")), number))
        })
        .collect();
    users.sort_by_key(|(preference, _)| std::cmp::Reverse(*preference));
    users.into_iter().map(|(_, user)| user).collect()
}

/// A q value (RFC 3261 20.10) in thousandths; without one, 1.
fn preference(q: Option<&str>) -> u32 {
    let Some(q) = q else { return 1_000 };
    let (whole, fraction) = q.split_once('.').unwrap_or((q, ""));
    let thousandths: u32 = format!("{fraction:0<3}").parse().unwrap_or(0);
    if whole == "1" { 1_000 } else { thousandths.min(1_000) }
}
