//! Reliable provisional responses (RFC 3262): ours until their PRACK, and the order of the peer's.

use std::collections::VecDeque;
use std::time::Duration;

use crate::limits;
use crate::sip::message::Headers;
use crate::sip::message::Method;
use crate::sip::message::Response;

/// One of ours that awaits its PRACK.
#[derive(Debug)]
pub struct Outstanding {
    rseq: u32,
    /// As it is sent, again and again.
    pub response: Box<Response>,
    /// The time to its next repetition.
    pub interval: Duration,
    /// Whether it bears a session description.
    pub has_sdp: bool,
}

/// Our reliable provisional responses to one INVITE: one at a time (RFC 3262 3).
#[derive(Debug)]
pub struct Reliable {
    next_rseq: u32,
    outstanding: Option<Outstanding>,
    waiting: VecDeque<Box<Response>>,
}

impl Reliable {
    /// Numbers begin at `rseq`, drawn by chance from 1 to 2^31 - 1 (RFC 3262 3).
    pub const fn new(rseq: u32) -> Self {
        Self { next_rseq: rseq, outstanding: None, waiting: VecDeque::new() }
    }

    /// Queues a response. One beyond the bound replaces the last.
    pub fn push(&mut self, response: Box<Response>) {
        if self.waiting.len() >= limits::SIP_RELIABLE_PROVISIONALS_MAX {
            self.waiting.pop_back();
        }
        self.waiting.push_back(response);
    }

    /// The next response to send, numbered; `None` while one is outstanding.
    pub fn send_next(&mut self, t1: Duration) -> Option<Box<Response>> {
        if self.outstanding.is_some() {
            return None;
        }
        let mut response = self.waiting.pop_front()?;
        response.headers.push(crate::sip::message::HeaderName::Require, "100rel");
        response.headers.push(crate::sip::message::HeaderName::RSeq, self.next_rseq.to_string());
        let has_sdp = !response.body.is_empty();
        self.outstanding =
            Some(Outstanding { rseq: self.next_rseq, response: response.clone(), interval: t1, has_sdp });
        self.next_rseq = self.next_rseq.saturating_add(1);
        Some(response)
    }

    /// What awaits its PRACK.
    pub const fn outstanding(&mut self) -> Option<&mut Outstanding> {
        self.outstanding.as_mut()
    }

    /// Whether a 2xx must wait for a PRACK (RFC 3262 3).
    pub fn holds_the_answer(&self) -> bool {
        self.outstanding.as_ref().is_some_and(|outstanding| outstanding.has_sdp)
    }

    /// Takes a PRACK's headers: what it acknowledges, if it does (RFC 3262 3).
    pub fn acknowledge(&mut self, prack: &Headers, invite_cseq: u32) -> Option<Outstanding> {
        let rack = prack.rack().ok().flatten()?;
        let matches = self.outstanding.as_ref().is_some_and(|outstanding| {
            outstanding.rseq == rack.rseq && rack.cseq.number == invite_cseq && rack.cseq.method == Method::Invite
        });
        if matches { self.outstanding.take() } else { None }
    }

    /// A final response is sent: what waits never leaves. What is outstanding may still be acknowledged.
    pub fn drop_waiting(&mut self) {
        self.waiting.clear();
    }
}

/// The order of the peer's reliable provisional responses in one early dialog (RFC 3262 4).
#[derive(Debug, Default)]
pub struct RSeqOrder {
    last: Option<u32>,
}

impl RSeqOrder {
    /// Whether this one is the first, or follows the last: others are repetitions, or came too early.
    pub fn admit(&mut self, rseq: u32) -> bool {
        let in_order = self.last.is_none_or(|last| last.checked_add(1) == Some(rseq));
        if in_order {
            self.last = Some(rseq);
        }
        in_order
    }
}
