//! Every 2xx to an INVITE of the gateway's is acknowledged at once, each time that it comes (RFC 3261 13.2.2.4).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::sip::message::{Headers, Method, Request, Response};

/// So long after the first 2xx of a fork the gateway must know its INVITE (64·T1, RFC 6026 8.4), but for the way.
const KNOWN_FOR: Duration = Duration::from_secs(31);

/// Call-ID, sequence number, and the tag of who answered.
type Fork = (String, u32, String);

#[derive(Debug, Default)]
pub(super) struct Acks {
    first: BTreeMap<Fork, Instant>,
    due: BTreeMap<Fork, Instant>,
}

impl Acks {
    /// A response reached the gateway.
    pub(super) fn answered(&mut self, response: &Response, now: Instant) {
        let is_invites = response.headers.cseq().is_ok_and(|cseq| cseq.method == Method::Invite);
        if is_invites && response.status.is_success() {
            let fork = fork_of(&response.headers);
            let first = *self.first.entry(fork.clone()).or_insert(now);
            if now.saturating_duration_since(first) < KNOWN_FOR {
                self.due.insert(fork, now);
            }
        }
    }

    /// The gateway sent a request.
    pub(super) fn acknowledges(&mut self, request: &Request) {
        if request.method == Method::Ack {
            self.due.remove(&fork_of(&request.headers));
        }
    }

    pub(super) fn passed(&mut self, now: Instant, faults: &mut Vec<String>) {
        let late = self.due.iter().filter(|(_, at)| **at < now).map(|((call, number, _), _)| (call.clone(), *number));
        faults.extend(late.map(|(call, number)| format!("the 2xx to INVITE {number} of {call} got no ACK at once")));
        self.due.retain(|_, at| *at >= now);
    }
}

fn fork_of(headers: &Headers) -> Fork {
    let tag = headers.to().ok().and_then(|to| to.tag().map(str::to_owned)).unwrap_or_default();
    (headers.call_id().unwrap_or_default().to_owned(), headers.cseq().map_or(0, |cseq| cseq.number), tag)
}
