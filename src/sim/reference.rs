//! What must be true, whatever happens: watched on the wire, and asked of everybody's books at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::sip::message::{Message, Method, Request, Response};

/// The longest that an INVITE may wait for its final response: the agent's 30 s to answer, and the device's, the
/// transport's and the recorder's time around it.
const FINAL_WITHIN: Duration = Duration::from_secs(50);

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
    /// The highest `CSeq` number of the gateway's requests in each call.
    cseqs: BTreeMap<String, u32>,
    /// Every branch of the gateway, with its request but for the method's own rules.
    branches: BTreeMap<(String, String), Bytes>,
    /// To tags that the gateway gave, by Call-ID.
    tags: BTreeMap<String, BTreeSet<String>>,
    faults: Vec<String>,
}

impl Reference {
    /// A datagram reached the gateway.
    pub fn reached_gateway(&mut self, message: &Message, now: Instant) {
        if let Message::Request(request) = message
            && request.method == Method::Invite
        {
            let is_first = request.headers.to().is_ok_and(|to| to.tag().is_none());
            let asked = Asked { is_first, at: now, finals: BTreeSet::new(), decided_at: None };
            self.invites.entry(branch_of(request)).or_insert(asked);
        }
    }

    /// The gateway sent a datagram.
    pub fn gateway_sent(&mut self, bytes: &Bytes, now: Instant) {
        match Message::parse(bytes) {
            Ok(Message::Request(request)) => self.request(&request, bytes),
            Ok(Message::Response(response)) => self.response(&response, now),
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
        let highest = self.cseqs.entry(call).or_default();
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
            asked.finals.insert(response.status.as_u16());
            asked.decided_at.get_or_insert(now);
        }
    }
}

fn branch_of(request: &Request) -> String {
    request.headers.top_via().ok().and_then(|via| via.branch().map(str::to_owned)).unwrap_or_default()
}
