//! The gateway's reliable provisional responses (RFC 3262): where they must be, one at a time, until their PRACK.

use std::collections::{BTreeMap, BTreeSet};

use crate::sim::reference::{branch_of, branch_of_response};
use crate::sip::message::{HeaderName, Method, Request, Response};

#[derive(Debug)]
struct Invite {
    is_required: bool,
    is_supported: bool,
    last: Option<u32>,
    /// How often it came again: each time it gets the last response once more (RFC 3261 17.2.1).
    repetitions: u32,
}

#[derive(Debug, Default)]
pub(super) struct Provisionals {
    /// The PBX's INVITEs by branch.
    invites: BTreeMap<String, Invite>,
    /// The PBX's PRACKs by branch: the call, and what is acknowledged.
    pracks: BTreeMap<String, (String, u32)>,
    acknowledged: BTreeSet<(String, u32)>,
}

impl Provisionals {
    /// A request reached the gateway.
    pub(super) fn asked(&mut self, request: &Request) {
        let headers = &request.headers;
        if request.method == Method::Invite {
            let is_required = headers.lists(&HeaderName::Require, "100rel");
            let is_supported = headers.lists(&HeaderName::Supported, "100rel");
            let invite = Invite { is_required, is_supported, last: None, repetitions: 0 };
            let known = self.invites.entry(branch_of(request)).and_modify(|known| known.repetitions += 1);
            known.or_insert(invite);
        } else if request.method == Method::Prack
            && let Some(rack) = headers.rack().ok().flatten()
        {
            let call = headers.call_id().unwrap_or_default().to_owned();
            self.pracks.insert(branch_of(request), (call, rack.rseq));
        }
    }

    /// The gateway sent a response, perhaps once more.
    pub(super) fn answers(&mut self, response: &Response, faults: &mut Vec<String>) {
        let (branch, status) = (branch_of_response(response), response.status);
        if status.is_success()
            && let Some(acknowledged) = self.pracks.get(&branch)
        {
            self.acknowledged.insert(acknowledged.clone());
        }
        let Some(invite) = self.invites.get_mut(&branch).filter(|_| status.is_provisional() && status.as_u16() > 100)
        else {
            return;
        };
        let call = response.headers.call_id().unwrap_or_default().to_owned();
        let is_reliable = response.headers.lists(&HeaderName::Require, "100rel");
        let Some(rseq) = response.headers.rseq().ok().flatten().filter(|_| is_reliable) else {
            if invite.is_required {
                faults.push(format!("an unreliable {} to an INVITE that requires 100rel", status.as_u16()));
            }
            return;
        };
        if !invite.is_required && !invite.is_supported {
            faults.push(format!("a reliable {} to a caller that cannot", status.as_u16()));
        }
        match invite.last {
            Some(last) if last == rseq => {
                if invite.repetitions > 0 {
                    invite.repetitions -= 1;
                } else if self.acknowledged.contains(&(call, rseq)) {
                    faults.push(format!("the response {rseq} is repeated after its PRACK"));
                }
            }
            Some(last) if last + 1 != rseq => faults.push(format!("the response {rseq} after {last}")),
            Some(last) if !self.acknowledged.contains(&(call, last)) => {
                faults.push(format!("the response {rseq} before the PRACK of {last}"));
            }
            Some(_) | None => {}
        }
        invite.last = Some(rseq);
    }
}
