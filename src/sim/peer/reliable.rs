//! Reliable provisional responses (RFC 3262): the PBX's own until their PRACK, and its PRACKs for the gateway's.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::sim::peer::{Act, PATIENCE, Peer, T1};
use crate::sip::StatusCode;
use crate::sip::message::{HeaderName, Method, Request, Response};

/// A response that is repeated until its PRACK comes.
#[derive(Debug)]
pub(super) struct Unpracked {
    rseq: u32,
    bytes: Bytes,
    next_at: Instant,
    interval: Duration,
    until: Instant,
}

impl Unpracked {
    pub(super) fn next_at(&self) -> Instant {
        self.next_at.min(self.until)
    }
}

impl Peer {
    // --- the gateway's ---

    /// A provisional response: one that is reliable, and new, gets its PRACK.
    pub(super) fn hear_reliably(&mut self, response: &Response, now: Instant) {
        let is_reliable = response.headers.lists(&HeaderName::Require, "100rel");
        let Some(rseq) = response.headers.rseq().ok().flatten().filter(|_| is_reliable) else { return };
        if self.heard_rseq.is_some_and(|heard| rseq <= heard) {
            return;
        }
        self.heard_rseq = Some(rseq);
        self.remote = response.headers.get(&HeaderName::To).map(str::to_owned);
        if let Some(after) = self.script.prack {
            self.agenda.enter(now + after, Act::Prack(rseq));
        }
    }

    pub(super) fn prack(&mut self, rseq: u32, now: Instant) {
        let invite = self.asked.iter().find(|asked| asked.is_first_invite() && asked.is_open());
        let Some(number) = invite.and_then(|invite| invite.request().headers.cseq().ok()).map(|cseq| cseq.number)
        else {
            return;
        };
        let mut prack = self.new_request(Method::Prack);
        prack.headers.push(HeaderName::RAck, format!("{rseq} {number} INVITE"));
        self.ask(prack, false, now);
    }

    // --- its own ---

    pub(super) fn progress_reliably(
        &mut self,
        request: &Request,
        status: StatusCode,
        body: Option<String>,
        now: Instant,
    ) {
        self.rseq += 1;
        let headers = vec![
            (HeaderName::Contact, "<sip:2000@192.0.2.9:5060>".to_owned()),
            (HeaderName::Require, "100rel".to_owned()),
            (HeaderName::RSeq, self.rseq.to_string()),
        ];
        let bytes = self.respond_with(request, status, body, headers);
        let until = now + PATIENCE;
        self.unpracked = Some(Unpracked { rseq: self.rseq, bytes, next_at: now + T1, interval: T1, until });
    }

    pub(super) fn repeat_unpracked(&mut self, now: Instant) {
        let Some(unpracked) = &mut self.unpracked else { return };
        if unpracked.until <= now {
            self.unpracked = None;
            self.book.unpracked = true;
        } else if unpracked.next_at <= now {
            unpracked.interval *= 2;
            unpracked.next_at = now + unpracked.interval;
            self.out.push_back(unpracked.bytes.clone());
        }
    }

    pub(super) fn pracked(&mut self, prack: &Request) {
        let rack = prack.headers.rack().ok().flatten();
        let is_it = |unpracked: &mut Unpracked| rack.as_ref().is_some_and(|rack| rack.rseq == unpracked.rseq);
        let status = if self.unpracked.take_if(is_it).is_some() {
            StatusCode::OK
        } else {
            // It may have crossed our final response; what was never sent it cannot acknowledge.
            if rack.is_none_or(|rack| rack.rseq > self.rseq) {
                self.book.strange.push("a PRACK for nothing".to_owned());
            }
            StatusCode::CALL_DOES_NOT_EXIST
        };
        self.respond(prack, status, None);
    }
}
