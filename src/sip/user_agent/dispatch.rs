//! What comes in: bytes to requests and responses, and each to its transaction.

use std::time::Duration;
use std::time::Instant;

use rand::Rng;

use crate::sip::Flow;
use crate::sip::Refusal;
use crate::sip::StatusCode;
use crate::sip::dialog::DialogId;
use crate::sip::dialog::usage;
use crate::sip::dialog::usage::ALLOW;
use crate::sip::message::HeaderName;
use crate::sip::message::Message;
use crate::sip::message::Method;
use crate::sip::message::Request;
use crate::sip::message::Response;
use crate::sip::message::sanity;
use crate::sip::message::sanity::Admission;
use crate::sip::quirk::Quirks;
use crate::sip::transaction::TransactionKey;
use crate::sip::transaction::server_invite;
use crate::sip::user_agent::Counter;
use crate::sip::user_agent::Output;
use crate::sip::user_agent::UserAgent;
use crate::sip::user_agent::inspect;
use crate::sip::user_agent::reach;
use crate::sip::user_agent::server::ServerMachine;

/// How often an unknown source is logged at most.
const WARN_INTERVAL: Duration = Duration::from_secs(10);

impl UserAgent {
    pub(super) fn received(&mut self, flow: Flow, bytes: &[u8], now: Instant) {
        self.admitted(flow, sanity::admit(bytes), now);
    }

    fn admitted(&mut self, flow: Flow, admission: Admission, now: Instant) {
        if matches!(admission, Admission::KeepAlive) {
            return;
        }
        let trunk = self.config.trunk_of(&flow);
        if trunk.is_none() {
            self.unknown_source(&flow, now);
        }
        match (admission, trunk) {
            (Admission::Message(Message::Request(request)), Some(trunk)) => self.request(trunk, flow, request, now),
            (Admission::Message(Message::Response(response)), Some(trunk)) => {
                self.response(trunk, flow, &response, now);
            }
            (Admission::Message(Message::Request(request)), None) => self.forbid(flow, request),
            (Admission::Reject { response, why }, Some(trunk)) => {
                tracing::debug!(%why, peer = %flow.remote, "malformed request refused");
                self.count(Counter::Malformed);
                let quirks = self.terms_of(trunk).quirks;
                let path = response.headers.top_via().map_or(flow, |via| reach::reply_flow(flow, &via, quirks).flow);
                self.output.push_back(Output::Send { flow: path, bytes: response.to_bytes() });
            }
            (Admission::Drop { why }, Some(_)) => {
                tracing::debug!(%why, peer = %flow.remote, "malformed message dropped");
                self.count(Counter::Malformed);
            }
            // A stranger's broken messages and responses get no answer.
            (Admission::Message(Message::Response(_)) | Admission::Reject { .. } | Admission::Drop { .. }, None)
            | (Admission::KeepAlive, _) => {}
        }
    }

    fn unknown_source(&mut self, flow: &Flow, now: Instant) {
        self.count(Counter::UnknownSource);
        if self.warned_at.is_none_or(|at| now.saturating_duration_since(at) >= WARN_INTERVAL) {
            self.warned_at = Some(now);
            tracing::warn!(peer = %flow.remote, "SIP message from outside every trunk's networks");
        }
    }

    /// 403 without state, so that a stranger costs nothing.
    fn forbid(&mut self, flow: Flow, mut request: Request) {
        if request.method == Method::Ack {
            return;
        }
        let path = reach::reply_path(flow, &mut request, Quirks::default());
        let response = Response::for_request(&request, StatusCode::FORBIDDEN);
        self.send_stateless(&path, response);
    }

    /// Sends a response that leaves nothing behind.
    fn send_stateless(&mut self, path: &reach::ReplyPath, mut response: Response) {
        response.set_to_tag(&sanity::stateless_tag(&response.headers));
        response.headers.push(HeaderName::Server, self.config.product.clone());
        self.output.push_back(Output::Send { flow: path.flow, bytes: response.to_bytes() });
    }

    fn request(&mut self, trunk: usize, flow: Flow, mut request: Request, now: Instant) {
        // The key is made of the Via as the peer wrote it.
        let Some(key) = TransactionKey::server(&request) else { return };
        let path = reach::reply_path(flow, &mut request, self.terms_of(trunk).quirks);
        if request.method == Method::Ack {
            self.ack(trunk, &key, request, now);
        } else if self.servers.contains_key(&key) {
            self.retransmitted(&key, now);
        } else if self.is_full() && !self.belongs_to_a_call(&request) {
            self.count(Counter::Overload);
            let retry_after = Some(self.config.overload_retry_after);
            let refusal = Refusal { retry_after, ..Refusal::new(StatusCode::SERVICE_UNAVAILABLE) };
            let response = Response::refusing(&request, &refusal, "");
            self.send_stateless(&path, response);
        } else {
            let refusal = self.inspect(trunk, &key, &request);
            self.note_forced_rport(trunk, &flow, &path, &request);
            self.open_server(trunk, &key, path, &request);
            match refusal {
                Some(response) => {
                    self.count(Counter::Rejected);
                    self.respond(&key, response, now);
                }
                None => self.dispatch(trunk, flow, &key, request, now),
            }
        }
    }

    /// Whether a request is about a call that we have: it is served even when nothing new is.
    fn belongs_to_a_call(&self, request: &Request) -> bool {
        let cancelled =
            || TransactionKey::cancelled_by(request).is_some_and(|invite| self.servers.contains_key(&invite));
        let in_dialog = DialogId::of_request(&request.headers).is_some_and(|id| self.dialogs.contains_key(&id));
        in_dialog || (request.method == Method::Cancel && cancelled())
    }

    fn dispatch(&mut self, trunk: usize, flow: Flow, key: &TransactionKey, request: Request, now: Instant) {
        let in_dialog = request.headers.to_tag().is_some();
        if request.method == Method::Cancel {
            self.cancel(trunk, key, &request, now);
        } else if in_dialog {
            self.in_dialog(trunk, key, request, now);
        } else if let Some(refusal) = self.refuse_entry(trunk, &request, now) {
            self.count(Counter::Rejected);
            self.respond(key, refusal, now);
        } else if request.method == Method::Invite {
            self.invited(trunk, flow, key, request, now);
        } else if request.method == Method::Options {
            self.answer(key, &request, now);
        } else if request.method == Method::Refer {
            // Outside a call it asks for a call that nobody here began: toll fraud, where anything.
            self.respond_with(key, &request, StatusCode::FORBIDDEN, now);
        } else {
            self.respond_with(key, &request, StatusCode::CALL_DOES_NOT_EXIST, now);
        }
    }

    fn ack(&mut self, trunk: usize, key: &TransactionKey, ack: Request, now: Instant) {
        if let Some(entry) = self.servers.get_mut(key)
            && let ServerMachine::Invite(machine) = &mut entry.machine
        {
            machine.handle(server_invite::Input::Ack, now);
            if !self.pump_server(key) {
                return;
            }
        }
        let Some(id) = DialogId::of_request(&ack.headers) else { return };
        if let Some(leg) = self.leg_of(trunk, &id) {
            self.tell_dialog(leg, &id, usage::Input::Ack(Box::new(ack)), now);
        }
    }

    fn cancel(&mut self, trunk: usize, key: &TransactionKey, request: &Request, now: Instant) {
        let invite = TransactionKey::cancelled_by(request);
        let found = invite.and_then(|invite| self.servers.get(&invite).map(|entry| (invite, entry)));
        let Some((invite, entry)) = found.filter(|(_, entry)| entry.trunk == trunk) else {
            self.respond_with(key, request, StatusCode::CALL_DOES_NOT_EXIST, now);
            return;
        };
        let (tag, leg, session) = (entry.local_tag.clone(), entry.leg, entry.session.clone());
        let has_effect = matches!(&entry.machine, ServerMachine::Invite(machine) if machine.is_proceeding());
        let mut response = Response::for_request(request, StatusCode::OK);
        response.set_to_tag(&tag);
        if let Some(entry) = self.servers.get_mut(key) {
            entry.session = session;
        }
        self.respond(key, response, now);
        if let Some(leg) = leg.filter(|_| has_effect) {
            let reason = request.headers.reason().ok().flatten();
            self.tell_usage(leg, &usage::Input::Cancelled { key: invite, reason }, now);
        }
    }

    fn in_dialog(&mut self, trunk: usize, key: &TransactionKey, request: Request, now: Instant) {
        let found = DialogId::of_request(&request.headers).and_then(|id| Some((self.leg_of(trunk, &id)?, id)));
        let session = found
            .as_ref()
            .and_then(|(leg, id)| Some(self.usages.get(leg)?.machine.in_dialog(id)?.dialog().session().clone()));
        let (Some((leg, id)), Some(session)) = (found, session) else {
            self.respond_with(key, &request, StatusCode::CALL_DOES_NOT_EXIST, now);
            return;
        };
        let is_invite = request.method == Method::Invite;
        if let Some(entry) = self.servers.get_mut(key) {
            entry.leg = Some(leg);
            entry.session = Some(session);
        }
        if is_invite {
            self.respond_with(key, &request, StatusCode::TRYING, now);
        }
        let chance = self.rng.random_range(0..=10);
        self.tell_dialog(leg, &id, usage::Input::Request { key: key.clone(), request: Box::new(request), chance }, now);
    }

    /// Answers a request that changes nothing: OPTIONS (RFC 3261 11.2).
    pub(super) fn answer(&mut self, key: &TransactionKey, request: &Request, now: Instant) {
        let response = if request.method == Method::Options {
            let mut response = Response::for_request(request, StatusCode::OK);
            response.headers.push(HeaderName::Accept, "application/sdp");
            response.headers.push(HeaderName::AcceptEncoding, "identity");
            let terms = self.servers.get(key).map(|entry| self.terms_of(entry.trunk)).unwrap_or_default();
            response.headers.push(HeaderName::Allow, ALLOW);
            response.headers.push(HeaderName::Supported, terms.supported());
            response
        } else if request.body.is_empty() {
            Response::for_request(request, StatusCode::OK)
        } else {
            inspect::unsupported_media(request, HeaderName::Accept, "")
        };
        self.respond(key, response, now);
    }
}
