//! A session that has a time to live is refreshed or ended before that is over (RFC 4028).

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::sim::reference::dialog_of;
use crate::sip::message::{HeaderName, Method, Request, Response};

type Dialog = (String, BTreeSet<String>);

#[derive(Debug, Default)]
pub(super) struct Lifetimes {
    ends: BTreeMap<Dialog, Instant>,
    /// Refreshes that counted, by dialog and sequence number.
    heard: BTreeSet<(Dialog, String)>,
    over: BTreeSet<Dialog>,
}

impl Lifetimes {
    /// A request, either way.
    pub(super) fn asked(&mut self, request: &Request) {
        if request.method == Method::Bye {
            let dialog = dialog_of(&request.headers);
            self.ends.remove(&dialog);
            self.over.insert(dialog);
        }
    }

    /// A response, either way.
    pub(super) fn answered(&mut self, response: &Response, now: Instant) {
        let Ok(cseq) = response.headers.cseq() else { return };
        if !response.status.is_success() || !matches!(cseq.method, Method::Invite | Method::Update) {
            return;
        }
        let dialog = dialog_of(&response.headers);
        let from = response.headers.get(&HeaderName::From).unwrap_or_default();
        if self.over.contains(&dialog) || !self.heard.insert((dialog.clone(), format!("{cseq} {from}"))) {
            return;
        }
        let value = response.headers.get(&HeaderName::SessionExpires).unwrap_or_default();
        match value.split(';').next().and_then(|seconds| seconds.trim().parse().ok()) {
            Some(seconds) => self.ends.insert(dialog, now + Duration::from_secs(seconds)),
            None => self.ends.remove(&dialog),
        };
    }

    pub(super) fn passed(&mut self, now: Instant, faults: &mut Vec<String>) {
        let late = self.ends.iter().filter(|(_, end)| **end < now);
        faults.extend(late.map(|((call, _), _)| format!("the session of {call} lives on after its time")));
        self.ends.retain(|_, end| *end >= now);
    }
}
