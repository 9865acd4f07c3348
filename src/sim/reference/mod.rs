//! What must be true, whatever happens: watched on the wire, and asked of everybody's books at the end.

mod acks;
mod lifetimes;
mod load;
mod offers;
mod provisionals;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::sim::reference::acks::Acks;
use crate::sim::reference::lifetimes::Lifetimes;
use crate::sim::reference::load::Load;
use crate::sim::reference::offers::Offers;
use crate::sim::reference::provisionals::Provisionals;
use crate::sip::message::{HeaderError, Headers, Message, Method, NameAddr, Request, Response};

/// The longest that an INVITE may wait for its final response: 30 s to answer for each of three agents who ring one
/// after the other, and the devices', the transport's and the recorder's time around it.
const FINAL_WITHIN: Duration = Duration::from_secs(110);

/// An INVITE that reached the gateway.
#[derive(Debug)]
struct Asked {
    is_first: bool,
    at: Instant,
    finals: BTreeSet<u16>,
    decided_at: Option<Instant>,
}

/// What the reference saw of the gateway on the wire.
#[derive(Debug, Default)]
pub struct Reference {
    /// INVITEs that reached the gateway, by branch.
    invites: BTreeMap<String, Asked>,
    /// The highest `CSeq` number of the gateway's requests in each dialog, by Call-ID and the tag of the PBX's party:
    /// without one, of the INVITE before there was a dialog.
    cseqs: BTreeMap<(String, String), u32>,
    /// Every branch of the gateway, with its request but for the method's own rules.
    branches: BTreeMap<(String, String), Bytes>,
    /// To tags that the gateway gave, by Call-ID.
    tags: BTreeMap<String, BTreeSet<String>>,
    /// Everything that the gateway sent, to tell what it repeats.
    sent: BTreeSet<Bytes>,
    acks: Acks,
    offers: Offers,
    provisionals: Provisionals,
    lifetimes: Lifetimes,
    load: Load,
    faults: Vec<String>,
}

impl Reference {
    /// A reference of a trunk that may have so many calls at once.
    pub fn new(calls_max: Option<usize>) -> Self {
        Self { load: Load::new(calls_max), ..Self::default() }
    }

    /// The gateway drains from now on.
    pub const fn drains(&mut self) {
        self.load.drains();
    }

    /// Everything before `now` has happened.
    pub fn passed(&mut self, now: Instant) {
        self.acks.passed(now, &mut self.faults);
        self.lifetimes.passed(now, &mut self.faults);
    }

    /// A datagram reached the gateway.
    pub fn reached_gateway(&mut self, message: &Message, now: Instant) {
        if let Message::Request(request) = message
            && request.method == Method::Invite
        {
            let is_first = request.headers.to().is_ok_and(|to| to.tag().is_none());
            let asked = Asked { is_first, at: now, finals: BTreeSet::new(), decided_at: None };
            self.invites.entry(branch_of(request)).or_insert(asked);
        }
        match message {
            Message::Request(request) => {
                self.offers.asked(request, now);
                self.provisionals.asked(request);
                self.lifetimes.asked(request);
                self.load.asked(request);
            }
            Message::Response(response) => {
                self.acks.answered(response, now);
                self.offers.answered(response);
                self.lifetimes.answered(response, now);
                self.load.answered(response);
            }
        }
    }

    /// The gateway sent a datagram.
    pub fn gateway_sent(&mut self, bytes: &Bytes, now: Instant) {
        let is_new = self.sent.insert(bytes.clone());
        match Message::parse(bytes) {
            Ok(Message::Request(request)) => {
                self.request(&request, bytes);
                self.acks.acknowledges(&request);
                if is_new {
                    self.offers.asks(&request, now, &mut self.faults);
                    self.lifetimes.asked(&request);
                    self.load.asks(&request);
                }
            }
            Ok(Message::Response(response)) => {
                self.response(&response, now);
                self.provisionals.answers(&response, &mut self.faults);
                if is_new {
                    self.offers.answers(&response, now, &mut self.faults);
                    self.lifetimes.answered(&response, now);
                    self.load.answers(&response, &mut self.faults);
                }
            }
            Err(error) => self.faults.push(format!("the gateway sent what is no message: {error}")),
        }
    }

    /// What was seen to be wrong; and each INVITE without a final response.
    pub fn faults(self) -> Vec<String> {
        let mut faults = self.faults;
        for asked in self.invites.values() {
            let which = if asked.is_first { "an INVITE" } else { "a re-INVITE" };
            if asked.finals.len() != 1 {
                faults.push(format!("{which} got the final responses {:?}", asked.finals));
            }
            let waited = asked.decided_at.map(|at| at.saturating_duration_since(asked.at));
            if waited.is_some_and(|waited| waited > FINAL_WITHIN) {
                faults.push(format!("{which} waited {waited:?} for its final response"));
            }
        }
        for (call, tags) in &self.tags {
            if tags.len() > 1 {
                faults.push(format!("call {call} has {} To tags of ours", tags.len()));
            }
        }
        faults
    }

    fn request(&mut self, request: &Request, bytes: &Bytes) {
        let call = request.headers.call_id().unwrap_or_default().to_owned();
        let branch = branch_of(request);
        if branch.is_empty() {
            self.faults.push(format!("a {} without branch", request.method));
        }
        // CANCEL, and the ACK of a refusal, have their INVITE's branch (RFC 3261 9.1, 17.1.1.3).
        let key = (branch, request.method.to_string());
        match self.branches.get(&key) {
            Some(earlier) if earlier == bytes => return,
            Some(_) if request.method != Method::Ack => {
                self.faults.push(format!("two different {} under one branch", request.method));
            }
            Some(_) => return,
            None => {}
        }
        self.branches.insert(key, bytes.clone());
        let Ok(cseq) = request.headers.cseq() else {
            self.faults.push(format!("a {} without CSeq", request.method));
            return;
        };
        let tag = request.headers.to().ok().and_then(|to| to.tag().map(str::to_owned)).unwrap_or_default();
        let begin = self.cseqs.get(&(call.clone(), String::new())).copied().unwrap_or_default();
        let highest = self.cseqs.entry((call, tag)).or_insert(begin);
        if request.method == Method::Ack || request.method == Method::Cancel {
            if cseq.number > *highest {
                self.faults.push(format!("a {} for an INVITE that never was", request.method));
            }
        } else if cseq.number <= *highest {
            self.faults.push(format!("a {} with CSeq {} after {}", request.method, cseq.number, *highest));
        } else {
            *highest = cseq.number;
        }
    }

    fn response(&mut self, response: &Response, now: Instant) {
        let (Ok(via), Ok(cseq), Ok(to)) = (response.headers.top_via(), response.headers.cseq(), response.headers.to())
        else {
            self.faults.push("a response without Via, CSeq or To".to_owned());
            return;
        };
        if cseq.method != Method::Invite {
            return;
        }
        let call = response.headers.call_id().unwrap_or_default().to_owned();
        if response.status.is_success() || (response.status.is_provisional() && response.status.as_u16() > 100) {
            let tag = to.tag().unwrap_or_default().to_owned();
            self.tags.entry(call).or_default().insert(tag);
        }
        if !response.status.is_provisional() {
            let Some(asked) = self.invites.get_mut(via.branch().unwrap_or_default()) else {
                self.faults.push("a response to an INVITE that never came".to_owned());
                return;
            };
            if response.status.as_u16() >= 600 {
                self.faults.push(format!("the gateway ended every fork with {}", response.status.as_u16()));
            }
            asked.finals.insert(response.status.as_u16());
            asked.decided_at.get_or_insert(now);
        }
    }
}

fn branch_of(request: &Request) -> String {
    request.headers.top_via().ok().and_then(|via| via.branch().map(str::to_owned)).unwrap_or_default()
}

fn branch_of_response(response: &Response) -> String {
    response.headers.top_via().ok().and_then(|via| via.branch().map(str::to_owned)).unwrap_or_default()
}

/// Call-ID and both tags, whoever speaks.
fn dialog_of(headers: &Headers) -> (String, BTreeSet<String>) {
    let tag = |party: Result<NameAddr, HeaderError>| party.ok().and_then(|party| party.tag().map(str::to_owned));
    let tags = [tag(headers.from()), tag(headers.to())].into_iter().flatten().collect();
    (headers.call_id().unwrap_or_default().to_owned(), tags)
}
