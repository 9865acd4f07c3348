//! What a PBX does besides answering and hanging up: lifetimes of sessions, UPDATE, keys by INFO, transfers.

use std::time::{Duration, Instant};

use crate::sim::peer::{Act, Peer};
use crate::sim::script::{Deed, Reliability, Shape};
use crate::sip::Body;
use crate::sip::StatusCode;
use crate::sip::message::{HeaderName, Headers, Method, Request};

const ALLOW: &str = "INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, PRACK, UPDATE, REFER, NOTIFY";
/// How soon after a REFER the first report leaves.
const FIRST_REPORT: Duration = Duration::from_millis(20);
/// How soon after the result of a transfer the PBX hangs up.
const BYE_AFTER_RESULT: Duration = Duration::from_millis(400);

impl Peer {
    /// What it says of itself in a new INVITE.
    pub(super) fn say_habits(&self, headers: &mut Headers) {
        headers.push(HeaderName::Allow, ALLOW);
        match self.script.reliability {
            Reliability::Unknown => {}
            Reliability::Supported => headers.push(HeaderName::Supported, "100rel"),
            Reliability::Required => headers.push(HeaderName::Require, "100rel"),
        }
        self.say_lifetime(headers);
    }

    /// What a request of its own asks of the session's time to live (RFC 4028 7.1).
    pub(super) fn say_lifetime(&self, headers: &mut Headers) {
        if let Some(lifetime) = self.script.lifetime {
            let refresher = if lifetime.by_gateway { "uas" } else { "uac" };
            headers.push(HeaderName::Supported, "timer");
            headers.push(HeaderName::SessionExpires, format!("{};refresher={refresher}", lifetime.expires_s));
        }
    }

    /// Headers of a 2xx to the gateway's INVITE or UPDATE.
    pub(super) fn habits_in_answer(&mut self, request: &Request) -> Vec<(HeaderName, String)> {
        let mut headers = vec![
            (HeaderName::Contact, "<sip:2000@192.0.2.9:5060>".to_owned()),
            (HeaderName::Allow, ALLOW.to_owned()),
            (HeaderName::Supported, "100rel, timer".to_owned()),
        ];
        let lifetime = self.script.lifetime.filter(|_| request.headers.lists(&HeaderName::Supported, "timer"));
        if let Some(lifetime) = lifetime {
            let refresher = if lifetime.by_gateway { "uac" } else { "uas" };
            headers.push((HeaderName::SessionExpires, format!("{};refresher={refresher}", lifetime.expires_s)));
            headers.push((HeaderName::Require, "timer".to_owned()));
            self.refreshes_after = (!lifetime.by_gateway && lifetime.kept).then(|| half_of(lifetime.expires_s));
        }
        headers
    }

    /// The gateway's 2xx says whether we refresh, and how often.
    pub(super) fn hear_lifetime(&mut self, headers: &Headers, is_uac: bool) {
        let value = headers.get(&HeaderName::SessionExpires).unwrap_or_default();
        let mut parts = value.split(';').map(str::trim);
        let expires_s = parts.next().and_then(|seconds| seconds.parse().ok());
        let ours = if is_uac { "refresher=uac" } else { "refresher=uas" };
        let keeps = self.script.lifetime.is_some_and(|lifetime| lifetime.kept) && parts.any(|part| part == ours);
        self.refreshes_after = expires_s.filter(|_| keeps).map(half_of);
    }

    pub(super) fn refresh(&mut self, now: Instant) {
        let Some(after) = self.refreshes_after.filter(|_| !self.over) else { return };
        self.agenda.enter(now + after, Act::Refresh);
        self.update(None, now);
    }

    pub(super) fn update(&mut self, shape: Option<Shape>, now: Instant) {
        let mut request = self.new_request(Method::Update);
        self.say_lifetime(&mut request.headers);
        if let Some(shape) = shape {
            request.set_body(Body::sdp(self.description(shape)));
        }
        self.ask(request, false, now);
    }

    pub(super) fn press_key(&mut self, now: Instant) {
        let mut request = self.new_request(Method::Info);
        request.set_body(Body { content_type: "application/dtmf-relay".to_owned(), content: "Signal=5\r\n".into() });
        self.ask(request, false, now);
    }

    pub(super) fn key_pressed(&mut self, request: &Request) {
        let text = String::from_utf8_lossy(&request.body).into_owned();
        let key = text.lines().find_map(|line| line.strip_prefix("Signal=")?.trim().chars().next());
        let number = request.headers.cseq().map_or(0, |cseq| cseq.number);
        match key {
            Some(key) => {
                self.book.keys.insert(number, key);
            }
            None => self.book.strange.push("INFO without a key".to_owned()),
        }
        self.respond(request, StatusCode::OK, None);
    }

    /// Speaks in a dialog that the gateway has ended: that, too, gets a response (RFC 3261 12.2.2).
    pub(super) fn speak_after_the_end(&mut self, now: Instant) {
        let bye = self.new_request(Method::Bye);
        self.ask(bye, false, now);
    }

    // --- transfers ---

    /// Whom its transfers and redirections name.
    pub(super) fn transfer_target(&self) -> String {
        format!("700{}", self.call)
    }

    pub(super) fn refer(&mut self, now: Instant) {
        if std::mem::replace(&mut self.has_referred, true) {
            return;
        }
        let mut request = self.new_request(Method::Refer);
        request.headers.push(HeaderName::ReferTo, format!("<sip:{}@192.0.2.9:5060>", self.transfer_target()));
        self.ask(request, false, now);
    }

    pub(super) fn refer_answered(&mut self, status: StatusCode, now: Instant) {
        if let Some(after) = self.script.leaves.filter(|_| status.is_success()) {
            self.agenda.enter(now + after, Act::Deed(Deed::Bye));
        }
    }

    /// The agent wants the call transferred.
    pub(super) fn asked_to_transfer(&mut self, request: &Request, now: Instant) {
        if self.over || !self.script.transfer.taken {
            self.respond(request, StatusCode::FORBIDDEN, None);
            return;
        }
        self.respond(request, StatusCode::ACCEPTED, None);
        self.agenda.enter(now + FIRST_REPORT, Act::Notify(100));
        if let Some((after, status)) = self.script.transfer.result {
            self.agenda.enter(now + FIRST_REPORT + after, Act::Notify(status));
        }
    }

    pub(super) fn report_transfer(&mut self, status: u16, now: Instant) {
        if self.over {
            return;
        }
        let mut request = self.new_request(Method::Notify);
        let state = if status < 200 { "active;expires=60" } else { "terminated;reason=noresource" };
        request.headers.push(HeaderName::Event, "refer");
        request.headers.push(HeaderName::SubscriptionState, state);
        let content = format!("SIP/2.0 {status} Whatever\r\n").into();
        request.set_body(Body { content_type: "message/sipfrag".to_owned(), content });
        self.ask(request, false, now);
        if status == 200 && self.script.transfer.says_bye {
            self.agenda.enter(now + BYE_AFTER_RESULT, Act::Deed(Deed::Bye));
        }
    }
}

fn half_of(expires_s: u32) -> Duration {
    Duration::from_secs(u64::from(expires_s) / 2)
}
