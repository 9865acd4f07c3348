//! Requests that are sent to see what the peer does, past every rule on what may be open at once.

use std::time::Instant;

use crate::limits;
use crate::sip::Body;
use crate::sip::Event;
use crate::sip::dialog::usage::Output;
use crate::sip::dialog::usage::Purpose;
use crate::sip::dialog::usage::Reply;
use crate::sip::dialog::usage::UsageTimer;
use crate::sip::dialog::usage::cseq_of;
use crate::sip::dialog::usage::sdp_of;
use crate::sip::message::HeaderName;
use crate::sip::message::Method;
use crate::sip::transaction::TransactionKey;

use super::InviteUsage;
use super::LateAnswer;
use super::Phase;

impl InviteUsage {
    pub(super) fn probe(&mut self, method: Method, headers: Vec<(HeaderName, String)>, body: Option<Body>) {
        if !matches!(self.phase, Phase::Confirmed { .. }) {
            return;
        }
        let body = body.filter(|_| method != Method::Invite);
        let mut request = self.target_refresh(method);
        for (name, value) in headers {
            request.headers.push(name, value);
        }
        if let Some(body) = body {
            request.set_body(body);
        }
        self.send(Purpose::Probe, request);
    }

    /// What a probe came to: a 2xx to an INVITE brings the peer's offer, and its ACK waits for our answer.
    pub(super) fn probe_done(&mut self, key: TransactionKey, reply: &Reply, now: Instant) {
        let Reply::Response(response) = reply else { return };
        let is_invite = response.headers.cseq().is_ok_and(|cseq| cseq.method == Method::Invite);
        if !is_invite || !response.status.is_success() {
            return;
        }
        self.dialog.refresh_target(&response.headers);
        let cseq = cseq_of(&response.headers);
        match sdp_of(&response.headers, &response.body) {
            Some(offer) if matches!(self.phase, Phase::Confirmed { .. }) => {
                self.session.remote = Some(offer.clone());
                self.session.late = Some(LateAnswer::Ack { key, cseq });
                self.timers.set(UsageTimer::LateAnswer, now + limits::SIP_LATE_ANSWER);
                self.tell(Event::Renegotiated { leg: self.leg, sdp: offer });
            }
            Some(_) | None => {
                let ack = self.dialog.ack(cseq);
                self.output.push_back(Output::Ack(key, Box::new(ack)));
            }
        }
    }
}
