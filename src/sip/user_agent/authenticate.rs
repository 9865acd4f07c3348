//! Digest as a client: a challenged request is sent once more, with credentials, and later ones bring them along.

use std::time::Instant;

use crate::sip::Flow;
use crate::sip::dialog::DialogId;
use crate::sip::dialog::outbound_invite;
use crate::sip::dialog::usage;
use crate::sip::digest::Credentials;
use crate::sip::digest::client::Asker;
use crate::sip::digest::client::Attempts;
use crate::sip::digest::client::Challenge;
use crate::sip::digest::client::Session;
use crate::sip::message::CSeq;
use crate::sip::message::HeaderName;
use crate::sip::message::Method;
use crate::sip::message::Request;
use crate::sip::message::Response;
use crate::sip::transaction::TransactionKey;
use crate::sip::user_agent::Trunk;
use crate::sip::user_agent::UserAgent;
use crate::sip::user_agent::client::Owner;
use crate::sip::user_agent::usages::UsageMachine;

impl UserAgent {
    /// Answers a challenge where it may be answered. Whether the request is under way again: then its owner is not told.
    ///
    /// The response came from the trunk's own networks, or it would not be here; so credentials go nowhere else.
    pub(super) fn authenticate(
        &mut self,
        owner: Owner,
        key: &TransactionKey,
        response: &Response,
        now: Instant,
    ) -> bool {
        let Some(retry) = self.credentialed(owner, key, response) else { return false };
        let Retry { trunk, request, flow, attempts } = retry;
        let again = self.send_request(trunk, request, flow, owner, now);
        if let Some(entry) = self.clients.get_mut(&again) {
            entry.attempts = attempts;
        }
        self.follow(owner, again, now);
        true
    }

    fn credentialed(&mut self, owner: Owner, key: &TransactionKey, response: &Response) -> Option<Retry> {
        let asker = Asker::of(response.status)?;
        let entry = self.clients.get(key).filter(|_| owner != Owner::Abandoned)?;
        if matches!(entry.request.method, Method::Cancel | Method::Ack) {
            return None;
        }
        let (trunk, flow, mut attempts) = (entry.trunk, entry.flow, entry.attempts.clone());
        let settings = self.config.trunks.get(trunk)?;
        let line = line_of(settings, &entry.request);
        let Some(challenge) = credentials(settings, line)
            .and_then(|credentials| Some((Challenge::strongest(response, credentials)?, credentials.clone())))
            .filter(|(challenge, _)| attempts.may_answer(challenge))
        else {
            // The next request begins without what was refused.
            self.peers.get_mut(trunk)?.forget_session(flow.remote, line, asker);
            return None;
        };
        let (challenge, credentials) = challenge;
        let mut request = entry.request.clone();
        let number = self.next_cseq(owner, &request)?;
        let chance = rand::RngCore::next_u64(&mut self.rng);
        let mut session = Session::new(challenge, &credentials, chance);
        request.headers.remove(&HeaderName::Via);
        let cseq = CSeq { number, method: request.method.clone() };
        request.headers.set(HeaderName::CSeq, cseq.to_string());
        session.authorize(&mut request);
        attempts.count(&session, false);
        let peer = self.peers.get_mut(trunk)?;
        // What the other asker got already counts on: a nonce count is never used twice.
        for other in peer.sessions(flow.remote, line) {
            if other.asker() != asker && request.headers.contains(&other.asker().credentials_header()) {
                other.authorize(&mut request);
            }
        }
        peer.remember(flow.remote, line, session);
        Some(Retry { trunk, request, flow, attempts })
    }

    /// The sequence number of a request that is sent once more; `None` where nobody wants it any longer.
    fn next_cseq(&mut self, owner: Owner, request: &Request) -> Option<u32> {
        match owner {
            Owner::Invite(leg) => match &mut self.usages.get_mut(&leg)?.machine {
                UsageMachine::Outbound(outbound) => outbound.machine.next_cseq(),
                UsageMachine::Invite(_) => None,
            },
            Owner::InDialog(leg, _) => {
                let id = own_dialog(request)?;
                Some(self.usages.get_mut(&leg)?.machine.in_dialog_mut(&id)?.next_cseq())
            }
            Owner::Line(trunk, line) => {
                let line = self.peers.get_mut(trunk)?.lines.get_mut(line)?;
                line.cseq = line.cseq.saturating_add(1);
                Some(line.cseq)
            }
            Owner::Probe(..) | Owner::Abandoned | Owner::Nobody => Some(request.headers.cseq().ok()?.number + 1),
        }
    }

    /// Tells who waits for a request under which key it is under way now.
    fn follow(&mut self, owner: Owner, key: TransactionKey, now: Instant) {
        match owner {
            Owner::Invite(leg) => {
                // The INVITE that made them is refused.
                self.forget_early(leg, now);
                self.tell_outbound(leg, outbound_invite::Input::SentAgain(key), now);
            }
            Owner::InDialog(leg, purpose) => {
                let id = self.clients.get(&key).and_then(|entry| own_dialog(&entry.request));
                if let Some(id) = id {
                    self.tell_dialog(leg, &id, usage::Input::SentAgain(purpose), now);
                }
            }
            Owner::Probe(trunk, target) => {
                if let Some(target) = self.peers.get_mut(trunk).and_then(|peer| peer.targets.get_mut(target)) {
                    target.probe = Some(key);
                }
            }
            Owner::Line(..) | Owner::Abandoned | Owner::Nobody => {}
        }
    }

    /// Puts the credentials of an earlier challenge into a new request, so that it is not challenged again
    /// (RFC 7616 3.6). What that counts for.
    pub(super) fn volunteer(&mut self, trunk: usize, request: &mut Request, flow: &Flow) -> Attempts {
        let mut attempts = Attempts::default();
        let has_credentials = [HeaderName::Authorization, HeaderName::ProxyAuthorization]
            .iter()
            .any(|name| request.headers.contains(name));
        if has_credentials || matches!(request.method, Method::Cancel | Method::Ack) {
            return attempts;
        }
        let line = self.config.trunks.get(trunk).and_then(|trunk| line_of(trunk, request));
        if let Some(peer) = self.peers.get_mut(trunk) {
            peer.sessions(flow.remote, line).for_each(|session| {
                session.authorize(request);
                attempts.count(session, true);
            });
        }
        attempts
    }
}

/// The dialog of a request of ours: its From bears our tag, as in the responses to it.
fn own_dialog(request: &Request) -> Option<DialogId> {
    DialogId::of_response(&request.headers)
}

struct Retry {
    trunk: usize,
    request: Request,
    flow: Flow,
    attempts: Attempts,
}

/// The line that a request of ours speaks for.
fn line_of(trunk: &Trunk, request: &Request) -> Option<usize> {
    if trunk.peering.lines.is_empty() {
        return None;
    }
    let user = request.headers.from().ok()?.uri.user_unescaped()?;
    trunk.peering.lines.iter().position(|line| line.is_named(&user))
}

fn credentials(trunk: &Trunk, line: Option<usize>) -> Option<&Credentials> {
    let of_line = line.and_then(|line| trunk.peering.lines.get(line)).and_then(|line| line.credentials.as_ref());
    of_line.or(trunk.peering.credentials.as_ref())
}
