//! The robot: what it knows of the trunk, the steps that it took, and what it would change.

use std::time::Duration;

use crate::call::TrunkPolicy;
use crate::cli::qualify::call::Dialling;
use crate::cli::qualify::call::NoCall;
use crate::cli::qualify::call::Placed;
use crate::cli::qualify::call::TestCall;
use crate::cli::qualify::endpoint::Endpoint;
use crate::cli::qualify::endpoint::Seen;
use crate::cli::qualify::report::Outcome;
use crate::cli::qualify::report::Proposal;
use crate::config::Config;
use crate::sip::Transport;
use crate::sip::message::HeaderName;
use crate::sip::message::Method;
use crate::sip::message::Response;
use crate::sip::quirk::Quirk;
use crate::sip::user_agent::Trunk;

/// What a flow came to, and what was seen.
pub(super) type Verdict = (Outcome, String);

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Robot<'a> {
    pub(super) config: &'a Config,
    pub(super) trunk: Trunk,
    pub(super) policy: TrunkPolicy,
    pub(super) number: String,
    pub(super) from: String,
    pub(super) patience: Duration,
    pub(super) port: u16,
    pub(super) proposal: Proposal,
    /// User-Agent or Server of the peer.
    pub(super) peer: Option<String>,
}

impl Robot<'_> {
    /// A user agent for one step; `change` is what its trunk is to be otherwise.
    pub(super) async fn endpoint(&self, change: impl FnOnce(&mut Trunk)) -> anyhow::Result<Endpoint> {
        let mut trunk = self.trunk.clone();
        trunk.terms.quirks = trunk.terms.quirks.iter().chain(self.proposal.quirks.iter().copied()).collect();
        change(&mut trunk);
        Endpoint::start(self.config, trunk, self.port).await
    }

    fn dialling(&self) -> Dialling<'_> {
        let Self { trunk, policy, number, from, patience, .. } = self;
        Dialling { trunk: &trunk.name, policy, number, from, patience: *patience }
    }

    /// Places a call and does not wait.
    pub(super) async fn place(&self, endpoint: &mut Endpoint, is_early: bool) -> anyhow::Result<Placed> {
        Placed::new(endpoint, &self.dialling(), is_early).await
    }

    /// Places a call and waits for its answer.
    pub(super) async fn call(
        &self,
        endpoint: &mut Endpoint,
        is_early: bool,
    ) -> anyhow::Result<Result<TestCall, NoCall>> {
        Ok(self.place(endpoint, is_early).await?.answered(endpoint).await)
    }

    /// Ends a step, and learns from what was seen in it.
    pub(super) async fn learn(&mut self, endpoint: Endpoint) {
        let seen = endpoint.stop().await;
        for response in seen.iter().filter(|seen| !seen.sent).filter_map(Seen::response) {
            let said =
                response.headers.get(&HeaderName::Server).or_else(|| response.headers.get(&HeaderName::UserAgent));
            if let Some(said) = said.filter(|_| self.peer.is_none()) {
                self.peer = Some(said.to_owned());
            }
        }
        self.proposal.quirks.extend(quirks_of(&seen));
    }
}

/// The quirks that the peer's own requests ask for.
fn quirks_of(seen: &[Seen]) -> Vec<Quirk> {
    let mut quirks = Vec::new();
    let mut highest: Vec<(String, u32)> = Vec::new();
    let mut known: Vec<String> = Vec::new();
    for (seen, request) in seen.iter().filter(|seen| !seen.sent).filter_map(|seen| Some((seen, seen.request()?))) {
        let (Ok(via), Ok(cseq), Ok(call)) =
            (request.headers.top_via(), request.headers.cseq(), request.headers.call_id())
        else {
            continue;
        };
        if matches!(request.method, Method::Ack | Method::Cancel) {
            continue;
        }
        let branch = via.branch().unwrap_or_default().to_owned();
        let is_repeated = known.contains(&branch);
        // It sends again what we have answered, to where its Via says: the answer does not get there.
        let said = via.port.unwrap_or_else(|| seen.flow.transport.default_port());
        let is_elsewhere = seen.flow.transport == Transport::Udp && !via.has_rport() && said != seen.flow.remote.port();
        if is_repeated && is_elsewhere {
            quirks.push(Quirk::ForceRport);
        }
        if is_repeated {
            continue;
        }
        known.push(branch);
        match highest.iter_mut().find(|(known, _)| known == call) {
            Some((_, highest)) if cseq.number <= *highest => quirks.push(Quirk::LaxCseq),
            Some((_, highest)) => *highest = cseq.number,
            None => highest.push((call.to_owned(), cseq.number)),
        }
    }
    quirks
}

/// Whether the peer's Contact leads elsewhere than to where it speaks from.
pub(super) fn contact_leads_elsewhere(seen: &Seen, response: &Response) -> bool {
    let contact = response.headers.contacts().ok().and_then(|contacts| contacts.into_iter().next());
    let uri = contact.as_ref().and_then(|contact| contact.uri.as_sip());
    uri.is_some_and(|uri| {
        let port = uri.port.unwrap_or_else(|| seen.flow.transport.default_port());
        uri.host.as_ip() != Some(seen.flow.remote.ip()) || port != seen.flow.remote.port()
    })
}

/// The direction of a session description: the last that it names, for there is one stream.
pub(super) fn direction_of(sdp: &[u8]) -> crate::sdp::Direction {
    let text = String::from_utf8_lossy(sdp);
    let mut named = text.lines().filter_map(|line| crate::sdp::Direction::parse(line.strip_prefix("a=")?.trim()));
    named.next_back().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::sip::Flow;
    use crate::sip::message::Message;

    fn came(from: &str, text: &str) -> Seen {
        let remote = from.parse().unwrap();
        let local = "127.0.0.1:5060".parse().unwrap();
        let flow = Flow { transport: Transport::Udp, local, remote, connection: None };
        let message = Message::parse(text.replace('\n', "\r\n").as_bytes()).unwrap();
        Seen { sent: false, flow, message, at: Clock::system().now() }
    }

    fn bye(cseq: u32, branch: &str) -> String {
        format!(
            "BYE sip:a@b SIP/2.0\nVia: SIP/2.0/UDP 10.0.0.9:5060;branch={branch}\nMax-Forwards: 70\n\
             From: <sip:p@b>;tag=1\nTo: <sip:a@b>;tag=2\nCall-ID: c\nCSeq: {cseq} BYE\nContent-Length: 0\n\n"
        )
    }

    #[test]
    fn a_request_that_comes_again_from_another_port_than_its_via_says_asks_for_force_rport() {
        let behind_nat = || came("10.0.0.9:40000", &bye(2, "z9hG4bK1"));
        assert!(quirks_of(&[behind_nat()]).is_empty(), "it may have got its answer");
        assert_eq!(quirks_of(&[behind_nat(), behind_nat()]), [Quirk::ForceRport]);
        let open = || came("10.0.0.9:5060", &bye(2, "z9hG4bK1"));
        assert!(quirks_of(&[open(), open()]).is_empty(), "what was lost was lost otherwise");
    }

    #[test]
    fn a_number_that_does_not_grow_asks_for_lax_cseq() {
        let say = |cseq, branch| came("10.0.0.9:5060", &bye(cseq, branch));
        assert!(quirks_of(&[say(1, "z9hG4bK1"), say(2, "z9hG4bK2")]).is_empty());
        assert_eq!(quirks_of(&[say(2, "z9hG4bK1"), say(2, "z9hG4bK2")]), [Quirk::LaxCseq]);
    }

    #[test]
    fn a_contact_elsewhere_is_seen() {
        let ok = |contact: &str| {
            came(
                "10.0.0.9:5060",
                &format!(
                    "SIP/2.0 200 OK\nVia: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bK1\nFrom: <sip:p@b>;tag=1\n\
                     To: <sip:a@b>;tag=2\nCall-ID: c\nCSeq: 1 INVITE\nContact: <{contact}>\nContent-Length: 0\n\n"
                ),
            )
        };
        for (contact, elsewhere) in [("sip:p@10.0.0.9", false), ("sip:p@10.0.0.9:9", true), ("sip:p@192.168.1.1", true)]
        {
            let seen = ok(contact);
            assert_eq!(contact_leads_elsewhere(&seen, seen.response().unwrap()), elsewhere, "{contact}");
        }
    }

    #[test]
    fn a_direction_is_read_and_absent_is_sendrecv() {
        use crate::sdp::Direction;
        assert_eq!(direction_of(b"v=0\r\na=inactive\r\n"), Direction::Inactive);
        assert_eq!(direction_of(b"v=0\r\na=ptime:20\r\n"), Direction::SendRecv);
    }
}
