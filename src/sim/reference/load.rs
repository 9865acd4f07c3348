//! A trunk's cap refuses no more than it must.

use std::collections::BTreeSet;

use crate::sip::message::{Method, Request, Response};

/// Who sent an INVITE: within a call, both may use the same `CSeq` number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Caller {
    Pbx,
    Gateway,
}

#[derive(Debug, Default)]
pub(super) struct Load {
    calls_max: Option<usize>,
    drains: bool,
    /// Call-IDs that may still count.
    live: BTreeSet<String>,
    /// Those that a transfer or a second phone may keep after their BYE.
    lingering: BTreeSet<String>,
    /// New INVITEs that got their 100.
    taken: BTreeSet<String>,
    /// INVITEs that begin calls.
    new: BTreeSet<(Caller, String, u32)>,
}

impl Load {
    pub(super) fn new(calls_max: Option<usize>) -> Self {
        Self { calls_max, ..Self::default() }
    }

    pub(super) const fn drains(&mut self) {
        self.drains = true;
    }

    /// A request reached the gateway.
    pub(super) fn asked(&mut self, request: &Request) {
        let call = request.headers.call_id().unwrap_or_default();
        if request.method == Method::Refer {
            self.lingering.insert(call.to_owned());
        }
        self.note_new(Caller::Pbx, request);
    }

    /// The gateway sent a request.
    pub(super) fn asks(&mut self, request: &Request) {
        if self.note_new(Caller::Gateway, request) {
            self.live.insert(request.headers.call_id().unwrap_or_default().to_owned());
        }
    }

    fn note_new(&mut self, caller: Caller, request: &Request) -> bool {
        let is_new = request.method == Method::Invite && request.headers.to().is_ok_and(|to| to.tag().is_none());
        if is_new {
            let number = request.headers.cseq().map_or(0, |cseq| cseq.number);
            self.new.insert((caller, request.headers.call_id().unwrap_or_default().to_owned(), number));
        }
        is_new
    }

    /// A response reached the gateway.
    pub(super) fn answered(&mut self, response: &Response) {
        self.ended_by(Caller::Gateway, response);
        // A second phone answered: its BYE is not the other's.
        if response.status.is_success()
            && response.headers.to().is_ok_and(|to| to.tag().is_some_and(|tag| tag.ends_with("fork")))
        {
            self.lingering.insert(response.headers.call_id().unwrap_or_default().to_owned());
        }
    }

    /// The gateway sent a response.
    pub(super) fn answers(&mut self, response: &Response, faults: &mut Vec<String>) {
        let call = response.headers.call_id().unwrap_or_default().to_owned();
        if self.is_new(Caller::Pbx, response) {
            if response.status.as_u16() == 100 {
                self.taken.insert(call.clone());
                self.live.insert(call.clone());
            }
            let is_at_the_door = response.status.as_u16() == 503 && !self.taken.contains(&call);
            if is_at_the_door && !self.drains && self.calls_max.is_none_or(|max| self.live.len() < max) {
                faults.push(format!(
                    "refused for too many calls, while {} are of {:?}",
                    self.live.len(),
                    self.calls_max
                ));
            }
        }
        self.ended_by(Caller::Pbx, response);
    }

    /// The INVITE was refused, or a BYE is done with.
    fn ended_by(&mut self, caller: Caller, response: &Response) {
        let call = response.headers.call_id().unwrap_or_default();
        let is_bye = response.headers.cseq().is_ok_and(|cseq| cseq.method == Method::Bye);
        let is_refused = self.is_new(caller, response) && response.status.as_u16() >= 300;
        let ends = is_refused || (is_bye && !response.status.is_provisional());
        if ends && !self.lingering.contains(call) {
            self.live.remove(call);
        }
    }

    fn is_new(&self, caller: Caller, response: &Response) -> bool {
        let Ok(cseq) = response.headers.cseq() else { return false };
        let call = response.headers.call_id().unwrap_or_default().to_owned();
        cseq.method == Method::Invite && self.new.contains(&(caller, call, cseq.number))
    }
}
