//! Offers and answers on the wire (RFC 3264): none cross, an answer says no more than it may, and each has its version.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::sim::reference::{branch_of, branch_of_response};
use crate::sip::message::{Method, Request, Response};

/// A request without a response is given up after that (64·T1).
const PATIENCE: Duration = Duration::from_secs(32);

/// What a session description says of its audio.
#[derive(Debug, Clone)]
struct Description {
    sends: bool,
    receives: bool,
    formats: Vec<String>,
}

/// A change of the session that the PBX asked for.
#[derive(Debug)]
struct Asked {
    offer: Option<Description>,
    /// One of the gateway's own was open then.
    crosses: bool,
}

#[derive(Debug, Default)]
pub(super) struct Offers {
    theirs: BTreeMap<String, Asked>,
    /// The gateway's own that are open, by branch: of which call, since when.
    ours: BTreeMap<String, (String, Instant)>,
    /// The last version of each session of the gateway's, and what it said.
    versions: BTreeMap<String, (u64, String)>,
}

impl Offers {
    /// A request reached the gateway.
    pub(super) fn asked(&mut self, request: &Request, now: Instant) {
        let is_change = match request.method {
            Method::Invite => true,
            Method::Update => !request.body.is_empty(),
            _ => false,
        };
        if !is_change {
            return;
        }
        let call = request.headers.call_id().unwrap_or_default();
        let is_open =
            |(theirs, at): &(String, Instant)| theirs == call && now.saturating_duration_since(*at) < PATIENCE;
        let crosses = self.ours.values().any(is_open);
        let offer = Description::read(&request.body);
        self.theirs.entry(branch_of(request)).or_insert(Asked { offer, crosses });
    }

    /// A response reached the gateway.
    pub(super) fn answered(&mut self, response: &Response) {
        if !response.status.is_provisional() {
            self.ours.remove(&branch_of_response(response));
        }
    }

    /// The gateway sent a request.
    pub(super) fn asks(&mut self, request: &Request, now: Instant, faults: &mut Vec<String>) {
        self.versioned(&request.body, faults);
        let in_dialog = request.headers.to().is_ok_and(|to| to.tag().is_some());
        let is_offer = match request.method {
            Method::Invite => true,
            Method::Update => !request.body.is_empty(),
            _ => false,
        };
        if in_dialog && is_offer {
            let call = request.headers.call_id().unwrap_or_default().to_owned();
            self.ours.insert(branch_of(request), (call, now));
        }
    }

    /// The gateway sent a response.
    pub(super) fn answers(&mut self, response: &Response, _: Instant, faults: &mut Vec<String>) {
        self.versioned(&response.body, faults);
        let Some(asked) = self.theirs.get(&branch_of_response(response)) else { return };
        let method = response.headers.cseq().map(|cseq| cseq.method);
        if !response.status.is_success() || !matches!(method, Ok(Method::Invite | Method::Update)) {
            return;
        }
        if asked.crosses {
            faults.push("an offer that crossed the gateway's own was taken, and not 491".to_owned());
        }
        let (Some(offer), Some(answer)) = (&asked.offer, Description::read(&response.body)) else { return };
        if answer.sends && !offer.receives || answer.receives && !offer.sends {
            faults.push(format!("the offer {offer:?} was answered with {answer:?}"));
        }
        if !answer.formats.iter().all(|format| offer.formats.contains(format)) {
            faults.push(format!("the formats {:?} were answered with {:?}", offer.formats, answer.formats));
        }
    }

    /// RFC 3264 8: a changed description has the version one higher than the last that was sent, an unchanged one keeps
    /// it.
    fn versioned(&mut self, body: &Bytes, faults: &mut Vec<String>) {
        let text = String::from_utf8_lossy(body);
        let Some(origin) = text.lines().find_map(|line| line.strip_prefix("o=")) else { return };
        let mut words = origin.split(' ').skip(1);
        let (Some(session), Some(version)) = (words.next(), words.next().and_then(|word| word.parse::<u64>().ok()))
        else {
            return;
        };
        let said: String = text.lines().filter(|line| !line.starts_with("o=")).collect();
        let last = self.versions.insert(session.to_owned(), (version, said.clone()));
        let Some((last, before)) = last else { return };
        let expected = if before == said { last } else { last + 1 };
        if version != expected {
            faults.push(format!("a session description has the version {version} instead of {expected}"));
        }
    }
}

impl Description {
    fn read(body: &Bytes) -> Option<Self> {
        let text = String::from_utf8_lossy(body);
        let formats = text.lines().find_map(|line| line.strip_prefix("m=audio "))?.split(' ').skip(2);
        let direction = ["sendonly", "recvonly", "inactive"]
            .into_iter()
            .find(|direction| text.lines().any(|line| line.strip_prefix("a=") == Some(direction)));
        let is_withdrawn = text.lines().any(|line| line == "c=IN IP4 0.0.0.0");
        Some(Self {
            sends: matches!(direction, None | Some("sendonly")),
            receives: matches!(direction, None | Some("recvonly")) && !is_withdrawn,
            formats: formats.map(str::to_owned).collect(),
        })
    }
}
