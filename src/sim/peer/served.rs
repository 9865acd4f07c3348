//! What the PBX does with the gateway's requests.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::sim::peer::{Act, PATIENCE, Peer, T1, T2};
use crate::sim::script::Shape;
use crate::sip::Body;
use crate::sip::StatusCode;
use crate::sip::message::{HeaderName, Method, Request, Response};

/// How soon is tried again what must wait for a PRACK.
const PRACK_RETRY: Duration = Duration::from_millis(300);

/// A 2xx that is repeated until its ACK comes (RFC 3261 13.3.1.4).
#[derive(Debug)]
pub(super) struct Resending {
    number: u32,
    /// Ours in that dialog.
    tag: String,
    bytes: Bytes,
    next_at: Instant,
    interval: Duration,
    until: Instant,
}

impl Resending {
    fn new(number: u32, tag: String, bytes: Bytes, now: Instant) -> Self {
        Self { number, tag, bytes, next_at: now + T1, interval: T1, until: now + PATIENCE }
    }

    pub(super) fn next_at(&self) -> Instant {
        self.next_at.min(self.until)
    }

    pub(super) fn due(&mut self, now: Instant) -> Option<Bytes> {
        if now < self.next_at || self.until <= now {
            return None;
        }
        self.interval = (self.interval * 2).min(T2);
        self.next_at = now + self.interval;
        Some(self.bytes.clone())
    }

    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.until <= now
    }
}

impl Peer {
    pub(super) fn request(&mut self, request: Request, now: Instant) {
        let branch = request.headers.top_via().ok().and_then(|via| via.branch().map(str::to_owned)).unwrap_or_default();
        if request.method == Method::Ack {
            self.acknowledged(&request);
            return;
        }
        if let Some(bytes) = self.served.get(&(branch, request.method.clone())) {
            self.out.push_back(bytes.clone());
            return;
        }
        match request.method {
            Method::Invite if is_new(&request) => self.called(request, now),
            Method::Invite => self.changed(&request, now),
            Method::Cancel => self.cancelled_by_gateway(&request, now),
            Method::Bye => self.bye(&request, now),
            Method::Update => self.updated(&request),
            Method::Prack => self.pracked(&request),
            Method::Refer => self.asked_to_transfer(&request, now),
            Method::Info => self.key_pressed(&request),
            _ => {
                self.respond(&request, StatusCode::OK, None);
            }
        }
    }

    /// The gateway calls us.
    fn called(&mut self, request: Request, now: Instant) {
        if self.remote.is_some() {
            // A retransmission that has no response yet; anything else would be a second call under the first's name.
            if self.pending.as_ref() != Some(&request) {
                self.book.strange.push("a second INVITE without a dialog".to_owned());
            }
            return;
        }
        request.headers.call_id().unwrap_or_default().clone_into(&mut self.call_id);
        self.remote = request.headers.get(&HeaderName::From).map(str::to_owned);
        if let Some(contact) = request.headers.contacts().ok().and_then(|contacts| contacts.into_iter().next()) {
            self.target = contact.uri;
        }
        self.pending = Some(request);
        for (after, status, described) in self.script.provisionals.clone() {
            self.agenda.enter(now + after, Act::Provisional(status, described));
        }
        if let Some((after, status)) = self.script.verdict {
            self.agenda.enter(now + after, Act::Verdict(status));
        }
    }

    pub(super) fn progress(&mut self, status: u16, described: bool, now: Instant) {
        let Some(request) = self.pending.clone() else { return };
        if self.unpracked.is_some() {
            // One at a time (RFC 3262 3).
            self.agenda.enter(now + PRACK_RETRY, Act::Provisional(status, described));
            return;
        }
        let body = described.then(|| self.description(Shape::Plain));
        let Some(status) = StatusCode::new(status) else { return };
        if self.script.reliable
            && status != StatusCode::TRYING
            && request.headers.lists(&HeaderName::Supported, "100rel")
        {
            self.progress_reliably(&request, status, body, now);
        } else {
            self.respond(&request, status, body);
        }
    }

    pub(super) fn decide(&mut self, status: u16, now: Instant) {
        let Some(status) = StatusCode::new(status) else { return };
        if status.is_success() && self.unpracked.is_some() {
            self.agenda.enter(now + PRACK_RETRY, Act::Verdict(status.as_u16()));
            return;
        }
        let Some(request) = self.pending.take() else { return };
        if !status.is_success() {
            self.over = true;
            self.unpracked = None;
            self.refuse_call(&request, status);
            return;
        }
        self.book.accepted = true;
        self.confirmed = true;
        let body = self.script.answer.map(|shape| self.description(shape));
        let bytes = self.accept(&request, body.clone());
        let number = request.headers.cseq().map_or(0, |cseq| cseq.number);
        let tag = self.tag.clone();
        self.resending.push(Resending::new(number, tag, bytes, now));
        if self.script.forks {
            self.fork(&request, number, body, now);
        }
        self.begin_deeds(now);
    }

    /// A second phone of the same number answers.
    fn fork(&mut self, request: &Request, number: u32, body: Option<String>, now: Instant) {
        let tag = self.fork_tag();
        let mut response = Response::for_request(request, StatusCode::OK);
        response.set_to_tag(&tag);
        response.headers.push(HeaderName::Contact, "<sip:2001@192.0.2.9:5060>");
        if let Some(body) = body {
            response.set_body(Body::sdp(body));
        }
        let bytes = response.to_bytes();
        self.book.forked = true;
        self.out.push_back(bytes.clone());
        self.resending.push(Resending::new(number, tag, bytes, now));
    }

    fn fork_tag(&self) -> String {
        format!("{}fork", self.tag)
    }

    fn cancelled_by_gateway(&mut self, cancel: &Request, now: Instant) {
        self.respond(cancel, StatusCode::OK, None);
        if self.pending.is_none() {
            return;
        }
        self.cancelled = true;
        if self.script.answers_late {
            self.decide(200, now);
        } else {
            self.decide(487, now);
        }
    }

    fn acknowledged(&mut self, ack: &Request) {
        let number = ack.headers.cseq().map_or(0, |cseq| cseq.number);
        let tag = our_tag(ack);
        self.resending.retain(|resending| resending.number != number || resending.tag != tag);
    }

    fn bye(&mut self, request: &Request, now: Instant) {
        if !self.confirmed {
            self.book.strange.push("a BYE before any 2xx".to_owned());
            self.respond(request, StatusCode::CALL_DOES_NOT_EXIST, None);
            return;
        }
        let tag = our_tag(request);
        self.resending.retain(|resending| resending.tag != tag);
        if tag == self.fork_tag() {
            self.book.fork_ended = true;
        } else {
            self.book.bye_heard = true;
            self.over = true;
            if let Some(after) = self.script.ghost {
                self.agenda.enter(now + after, Act::Ghost);
            }
        }
        self.respond(request, StatusCode::OK, None);
    }

    /// The gateway changes the session: refused while a change of ours is under way (RFC 3261 14.2).
    fn changed(&mut self, request: &Request, now: Instant) {
        if !self.confirmed || self.over {
            self.respond(request, StatusCode::CALL_DOES_NOT_EXIST, None);
            return;
        }
        if std::mem::take(&mut self.script.glares) {
            self.reinvite(Some(Shape::Plain), now);
        }
        if self.asked.iter().any(|asked| asked.is_open() && *asked.method() == Method::Invite) {
            self.respond(request, StatusCode::REQUEST_PENDING, None);
            return;
        }
        let body = self.description(Shape::Plain);
        let bytes = self.accept(request, Some(body));
        let number = request.headers.cseq().map_or(0, |cseq| cseq.number);
        self.resending.push(Resending::new(number, our_tag(request), bytes, now));
    }

    fn updated(&mut self, request: &Request) {
        let body = (!request.body.is_empty()).then(|| self.description(Shape::Plain));
        self.accept(request, body);
    }

    fn accept(&mut self, request: &Request, body: Option<String>) -> Bytes {
        let habits = self.habits_in_answer(request);
        self.respond_with(request, StatusCode::OK, body, habits)
    }

    /// A redirection names whom to call instead.
    fn refuse_call(&mut self, request: &Request, status: StatusCode) {
        let contact = format!("<sip:{}@192.0.2.9:5060>", self.transfer_target());
        let headers = if status.as_u16() == 302 { vec![(HeaderName::Contact, contact)] } else { Vec::new() };
        self.respond_with(request, status, None, headers);
    }

    pub(super) fn respond(&mut self, request: &Request, status: StatusCode, body: Option<String>) -> Bytes {
        let contact = (HeaderName::Contact, "<sip:2000@192.0.2.9:5060>".to_owned());
        let has_contact = matches!(request.method, Method::Invite | Method::Update | Method::Refer);
        self.respond_with(request, status, body, has_contact.then_some(contact).into_iter().collect())
    }

    pub(super) fn respond_with(
        &mut self,
        request: &Request,
        status: StatusCode,
        body: Option<String>,
        headers: Vec<(HeaderName, String)>,
    ) -> Bytes {
        let mut response = Response::for_request(request, status);
        if status != StatusCode::TRYING && is_new(request) {
            response.set_to_tag(&self.tag.clone());
        }
        for (name, value) in headers {
            response.headers.push(name, value);
        }
        if let Some(body) = body {
            response.set_body(Body::sdp(body));
        }
        let branch = request.headers.top_via().ok().and_then(|via| via.branch().map(str::to_owned)).unwrap_or_default();
        let bytes = response.to_bytes();
        self.served.insert((branch, request.method.clone()), bytes.clone());
        self.out.push_back(bytes.clone());
        bytes
    }
}

fn is_new(request: &Request) -> bool {
    request.headers.to().is_ok_and(|to| to.tag().is_none())
}

/// Our tag in a request of the gateway's.
fn our_tag(request: &Request) -> String {
    request.headers.to().ok().and_then(|to| to.tag().map(str::to_owned)).unwrap_or_default()
}
