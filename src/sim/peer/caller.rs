//! What the PBX asks of the gateway, and what it makes of the answers.

use std::time::{Duration, Instant};

use crate::sim::peer::asked::Asked;
use crate::sim::peer::{Act, Peer};
use crate::sim::script::{Deed, Shape};
use crate::sip::Body;
use crate::sip::StatusCode;
use crate::sip::message::via::MAGIC_COOKIE;
use crate::sip::message::{CSeq, HeaderName, Method, Request, Response};

/// How soon a CANCEL is tried again that may not go out yet.
const CANCEL_RETRY: Duration = Duration::from_millis(100);
/// How long it waits after a 491.
const AFTER_GLARE: Duration = Duration::from_millis(2_300);

impl Peer {
    pub(super) fn invite(&mut self, now: Instant) {
        let mut request = self.new_request(Method::Invite);
        self.say_habits(&mut request.headers);
        if let Some(value) = &self.replaces {
            request.headers.push(HeaderName::Replaces, value.clone());
        }
        if let Some(shape) = self.script.offer {
            request.set_body(Body::sdp(self.description(shape)));
        }
        self.ask(request, true, now);
    }

    pub(super) fn cancel(&mut self, now: Instant) {
        let Some(invite) = self.asked.iter().find(|asked| asked.is_first_invite() && asked.is_open()) else { return };
        if !invite.is_proceeding() {
            self.agenda.enter(now + CANCEL_RETRY, Act::Cancel);
            return;
        }
        let cancel = Request::cancel_for(invite.request());
        self.cancelled = true;
        self.ask(cancel, false, now);
    }

    pub(super) fn act(&mut self, deed: Deed, now: Instant) {
        if !self.confirmed || self.over {
            return;
        }
        match deed {
            Deed::Bye => {
                self.over = true;
                self.book.bye_said = true;
                let bye = self.new_request(Method::Bye);
                self.ask(bye, false, now);
            }
            Deed::Reinvite(shape) => self.reinvite(shape, now),
            Deed::Update(shape) => self.update(shape, now),
            Deed::Info => self.press_key(now),
            Deed::Refer => self.refer(now),
            Deed::Options => {
                let options = self.new_request(Method::Options);
                self.ask(options, false, now);
            }
            Deed::Unknown => {
                let unknown = self.new_request(Method::Other("JUMP".to_owned()));
                self.ask(unknown, false, now);
            }
        }
    }

    /// One INVITE at a time (RFC 3261 14.1), and none before ours is acknowledged.
    pub(super) fn reinvite(&mut self, shape: Option<Shape>, now: Instant) {
        let busy = self.asked.iter().any(|asked| asked.is_open() && *asked.method() == Method::Invite);
        if busy || self.pending.is_some() || !self.resending.is_empty() {
            return;
        }
        let mut request = self.new_request(Method::Invite);
        self.say_lifetime(&mut request.headers);
        if let Some(shape) = shape {
            request.set_body(Body::sdp(self.description(shape)));
        }
        self.ask(request, false, now);
    }

    pub(super) fn response(&mut self, response: &Response, now: Instant) {
        let (Ok(via), Ok(cseq)) = (response.headers.top_via(), response.headers.cseq()) else {
            self.book.strange.push("a response without Via or CSeq".to_owned());
            return;
        };
        let branch = via.branch().unwrap_or_default();
        let Some(at) = self.asked.iter().position(|asked| asked.is_it(branch, &cseq.method)) else { return };
        let Some(asked) = self.asked.get_mut(at) else { return };
        let is_news = asked.hear(response.status, now);
        if cseq.method == Method::Refer && is_news {
            self.refer_answered(response.status, now);
        }
        if cseq.method != Method::Invite {
            return;
        }
        if response.status.is_provisional() {
            self.hear_reliably(response, now);
            return;
        }
        let Some(asked) = self.asked.get(at) else { return };
        let (invite, is_first_invite) = (asked.request().clone(), asked.is_first_invite());
        if is_first_invite {
            self.decided(response, is_news, now);
        }
        if response.status.is_success() {
            self.acknowledge(&invite, cseq.number);
        } else {
            self.out.push_back(Request::ack_for(&invite, response).to_bytes());
        }
        if is_news && response.status == StatusCode::REQUEST_PENDING {
            // Both wanted to change the session: once more, later (RFC 3261 14.1).
            self.agenda.enter(now + AFTER_GLARE, Act::Deed(Deed::Reinvite(Some(Shape::Plain))));
        }
        if is_first_invite && is_news && response.status.is_success() {
            self.up(now);
        }
    }

    fn decided(&mut self, response: &Response, is_news: bool, now: Instant) {
        let status = response.status.as_u16();
        if !self.book.finals.contains(&status) {
            self.book.finals.push(status);
        }
        if !response.status.is_success() {
            self.over = true;
        } else if is_news {
            self.confirmed = true;
            self.hear_lifetime(&response.headers, true);
            self.remote = response.headers.get(&HeaderName::To).map(str::to_owned);
            if let Some(contact) = response.headers.contacts().ok().and_then(|contacts| contacts.into_iter().next()) {
                self.target = contact.uri;
            }
            if self.has_vanished(now) {
                self.over = true;
            }
        }
    }

    /// The 2xx crossed our CANCEL, and the call must end; or it is up.
    fn up(&mut self, now: Instant) {
        if self.cancelled {
            self.act(Deed::Bye, now);
        } else {
            self.begin_deeds(now);
        }
    }

    /// ACK of a 2xx: a request of its own, the same answer each time. Where ours was no offer, it bears our answer.
    fn acknowledge(&mut self, invite: &Request, number: u32) {
        if self.acks_to_lose > 0 {
            self.acks_to_lose -= 1;
            return;
        }
        let mut ack = self.build(Method::Ack, number);
        if invite.body.is_empty()
            && let Some(shape) = self.script.answer
        {
            ack.set_body(Body::sdp(self.description(shape)));
        }
        self.out.push_back(ack.to_bytes());
    }

    pub(super) fn ask(&mut self, request: Request, is_first_invite: bool, now: Instant) {
        let branch = request.headers.top_via().ok().and_then(|via| via.branch().map(str::to_owned)).unwrap_or_default();
        let asked = Asked::new(request, branch, is_first_invite, now);
        self.out.push_back(asked.request().to_bytes());
        self.asked.push(asked);
    }

    pub(super) fn new_request(&mut self, method: Method) -> Request {
        self.cseq += 1;
        let number = self.cseq;
        self.build(method, number)
    }

    fn build(&mut self, method: Method, number: u32) -> Request {
        self.branches += 1;
        let mut request = Request::new(method, self.target.clone());
        let via = format!("SIP/2.0/UDP 192.0.2.9:5060;branch={MAGIC_COOKIE}p{}-{}", self.number, self.branches);
        let to = self.remote.clone().unwrap_or_else(|| format!("<{}>", self.target));
        let cseq = CSeq { number, method: request.method.clone() };
        let headers = &mut request.headers;
        headers.push(HeaderName::Via, via);
        headers.push(HeaderName::MaxForwards, "70");
        headers.push(HeaderName::From, format!("\"PBX\" <sip:2000@192.0.2.9>;tag={}", self.tag));
        headers.push(HeaderName::To, to);
        headers.push(HeaderName::CallId, self.call_id.clone());
        headers.push(HeaderName::CSeq, cseq.to_string());
        headers.push(HeaderName::Contact, "<sip:2000@192.0.2.9:5060>");
        request
    }
}
