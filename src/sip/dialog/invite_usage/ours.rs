//! Our requests within the dialog: new offers, refreshes, PRACK, and what they come to.

use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;

use crate::limits;
use crate::sip::Body;
use crate::sip::Event;
use crate::sip::StatusCode;
use crate::sip::dialog::usage::ALLOW;
use crate::sip::dialog::usage::Output;
use crate::sip::dialog::usage::Purpose;
use crate::sip::dialog::usage::Reply;
use crate::sip::dialog::usage::UsageTimer;
use crate::sip::dialog::usage::cseq_of;
use crate::sip::dialog::usage::sdp_of;
use crate::sip::message::CSeq;
use crate::sip::message::HeaderName;
use crate::sip::message::Method;
use crate::sip::message::Request;
use crate::sip::message::Response;
use crate::sip::quirk::Quirk;
use crate::sip::transaction::TransactionKey;

use super::InviteUsage;
use super::LateAnswer;
use super::Phase;

/// A wish of the same offer is granted again no later than this after a 500 with Retry-After.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(10);
/// A refresh that failed is tried again after this time, until the session ends.
const REFRESH_AGAIN: Duration = Duration::from_secs(10);

/// What we want to say.
#[derive(Debug, Clone)]
struct Wanted {
    /// The call room's offer; `None` only refreshes the session.
    sdp: Option<Bytes>,
    attempts: u32,
}

#[derive(Debug)]
struct InFlight {
    wanted: Wanted,
    method: Method,
}

/// Our offers and refreshes: one on its way, and one that waits.
#[derive(Debug, Default)]
pub(super) struct Offers {
    in_flight: Option<InFlight>,
    wanted: Option<Wanted>,
}

impl Offers {
    pub(super) const fn is_in_flight(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Whether an offer is on its way, and not only a refresh by UPDATE, which has none.
    pub(super) fn has_offer_in_flight(&self) -> bool {
        self.in_flight.as_ref().is_some_and(|sent| sent.method == Method::Invite || sent.wanted.sdp.is_some())
    }
}

impl InviteUsage {
    // --- offers ---

    pub(super) fn reinvite(&mut self, sdp: Bytes) {
        if matches!(self.phase, Phase::Ending { .. } | Phase::Over) {
            self.renegotiation_failed(StatusCode::CALL_DOES_NOT_EXIST);
            return;
        }
        let before = self.offers.wanted.replace(Wanted { sdp: Some(sdp), attempts: 0 });
        self.timers.stop(UsageTimer::RetryOffer);
        if before.is_some_and(|before| before.sdp.is_some()) {
            self.renegotiation_failed(StatusCode::REQUEST_PENDING);
        }
    }

    /// The peer's offer came first: ours, which waits after a glare, no longer says what is.
    pub(super) fn overtake_retry(&mut self) {
        self.drop_wanted(|wanted| wanted.attempts > 0);
    }

    /// The call room answers the peer's offer: what it offered before that, and never left, is older than this answer,
    /// and would bring the o= line's version down again (RFC 3264 8).
    pub(super) fn overtake_unsent(&mut self) {
        self.drop_wanted(|wanted| wanted.sdp.is_some());
    }

    fn drop_wanted(&mut self, is_stale: impl FnOnce(&mut Wanted) -> bool) {
        if self.offers.wanted.take_if(is_stale).is_some_and(|wanted| wanted.sdp.is_some()) {
            self.tell(Event::RenegotiationOvertaken { leg: self.leg });
        }
        self.timers.stop(UsageTimer::RetryOffer);
    }

    fn renegotiation_failed(&mut self, status: StatusCode) {
        self.tell(Event::RenegotiationFailed { leg: self.leg, status });
    }

    /// The session's time is half over.
    pub(super) fn refresh(&mut self) {
        if self.offers.wanted.is_none() && self.offers.in_flight.is_none() {
            self.offers.wanted = Some(Wanted { sdp: None, attempts: 0 });
        }
    }

    /// Whether an UPDATE may carry an offer of ours before the call is answered (RFC 3311 5.1).
    pub fn can_update(&self) -> bool {
        self.is_early() && self.session.settled && self.may_update()
    }

    /// Whether it only may not for a quirk.
    pub fn is_update_withheld(&self) -> bool {
        self.is_early() && self.session.settled && self.peer_updates && !self.may_update()
    }

    /// Whether we send UPDATE at all.
    const fn may_update(&self) -> bool {
        self.peer_updates && !self.terms.quirks.contains(Quirk::NoUpdate)
    }

    /// Sends what is wanted, once nothing is open in either direction.
    pub(super) fn try_offer(&mut self, now: Instant) {
        let is_free = self.offers.in_flight.is_none()
            && self.session.pending.is_none()
            && self.session.late.is_none()
            && !self.timers.is_running(UsageTimer::RetryOffer);
        let Some(wanted) = self.offers.wanted.clone().filter(|_| is_free) else { return };
        let method = match &self.phase {
            Phase::Confirmed { reinvite: None } if wanted.sdp.is_none() && self.may_update() => Method::Update,
            Phase::Confirmed { reinvite: None } => Method::Invite,
            Phase::Incoming { .. } | Phase::Early if self.can_update() && wanted.sdp.is_some() => Method::Update,
            Phase::Incoming { .. }
            | Phase::Early
            | Phase::Accepted { .. }
            | Phase::Confirmed { .. }
            | Phase::Ending { .. }
            | Phase::Over => return,
        };
        self.offers.wanted = None;
        if method == Method::Invite && wanted.sdp.is_none() && self.peer_updates {
            let detail = "the session is refreshed by re-INVITE, not UPDATE".to_owned();
            self.output.push_back(Output::Quirk(Quirk::NoUpdate, detail));
        }
        let mut request = self.target_refresh(method.clone());
        self.session_timer.ask(&mut request.headers);
        let body = match (&wanted.sdp, &method) {
            (Some(sdp), _) => Some(sdp.clone()),
            (None, Method::Invite) => self.session.local.clone(),
            (None, _) => None,
        };
        if let Some(sdp) = body {
            request.set_body(Body::sdp(sdp));
        }
        if method == Method::Invite {
            self.timers.set(UsageTimer::OfferPatience, now + self.timing.patience() + self.timing.t1);
        }
        self.offers.in_flight = Some(InFlight { wanted, method });
        self.send(Purpose::Offer, request);
    }

    /// A request of ours was challenged and left once more: a re-INVITE has all its time again.
    pub(super) fn sent_again(&mut self, purpose: Purpose, now: Instant) {
        if purpose == Purpose::Offer && self.timers.is_running(UsageTimer::OfferPatience) {
            self.timers.set(UsageTimer::OfferPatience, now + self.timing.patience() + self.timing.t1);
        }
    }

    /// A request that refreshes the peer's picture of us (RFC 3261 12.2.1.1).
    pub(super) fn target_refresh(&mut self, method: Method) -> Request {
        let mut request = self.dialog.request(method);
        request.headers.push(HeaderName::Contact, self.contact.clone());
        request.headers.push(HeaderName::Allow, ALLOW);
        request.headers.push(HeaderName::Supported, self.terms.supported());
        request
    }

    // --- outcomes ---

    pub(super) fn outcome(&mut self, purpose: Purpose, key: TransactionKey, reply: &Reply, chance: u32, now: Instant) {
        let status = match reply {
            Reply::Response(response) => response.status,
            Reply::TimedOut => StatusCode::REQUEST_TIMEOUT,
            Reply::TransportFailed => StatusCode::SERVICE_UNAVAILABLE,
        };
        if status.is_provisional() {
            return;
        }
        match purpose {
            Purpose::Bye => self.bye_done(now),
            Purpose::Offer => self.offer_done(key, status, reply, chance, now),
            // The callee repeats its response until a PRACK gets through, or gives the INVITE up itself.
            Purpose::Prack | Purpose::Info => {}
            Purpose::Probe => self.probe_done(key, reply, now),
            Purpose::Refer => self.refer_done(status),
            Purpose::Notify => self.notify_done(status),
        }
    }

    fn offer_done(&mut self, key: TransactionKey, status: StatusCode, reply: &Reply, chance: u32, now: Instant) {
        let Some(InFlight { wanted, method }) = self.offers.in_flight.take() else { return };
        self.timers.stop(UsageTimer::OfferPatience);
        if let Reply::Response(response) = reply
            && status.is_success()
        {
            self.offer_accepted(key, &wanted, &method, response, now);
            return;
        }
        if matches!(self.phase, Phase::Ending { .. } | Phase::Over) {
            return;
        }
        if matches!(status, StatusCode::CALL_DOES_NOT_EXIST | StatusCode::REQUEST_TIMEOUT) {
            self.lost();
        } else if let Some(delay) = self.retry_delay(status, reply, &method, &wanted, chance) {
            let wanted = Wanted { attempts: wanted.attempts + 1, ..wanted };
            // What the call room wants since is newer than what is tried again.
            if self.offers.wanted.is_none() {
                self.offers.wanted = Some(wanted);
                self.timers.set(UsageTimer::RetryOffer, now + delay);
            } else if wanted.sdp.is_some() {
                self.renegotiation_failed(StatusCode::REQUEST_PENDING);
            }
        } else if wanted.sdp.is_some() {
            self.renegotiation_failed(status);
        } else {
            self.timers.set(UsageTimer::Refresh, now + REFRESH_AGAIN);
        }
    }

    fn offer_accepted(
        &mut self,
        key: TransactionKey,
        wanted: &Wanted,
        method: &Method,
        response: &Response,
        now: Instant,
    ) {
        self.dialog.refresh_target(&response.headers);
        self.learn(&response.headers);
        if *method == Method::Invite {
            let ack = self.dialog.ack(cseq_of(&response.headers));
            self.output.push_back(Output::Ack(key, Box::new(ack)));
        }
        if matches!(self.phase, Phase::Ending { .. } | Phase::Over) {
            return;
        }
        if !self.is_early() {
            self.session_timer.heard_answer(response);
            self.restart_session_timer(now);
        }
        let Some(offer) = &wanted.sdp else { return };
        match sdp_of(&response.headers, &response.body) {
            Some(answer) => {
                self.session.local = Some(offer.clone());
                self.session.remote = Some(answer.clone());
                self.tell(Event::Renegotiated { leg: self.leg, sdp: answer });
            }
            None => self.renegotiation_failed(StatusCode::NOT_ACCEPTABLE_HERE),
        }
    }

    /// How long to wait before the same again; `None` where that would not help.
    fn retry_delay(
        &mut self,
        status: StatusCode,
        reply: &Reply,
        method: &Method,
        wanted: &Wanted,
        chance: u32,
    ) -> Option<Duration> {
        if wanted.attempts >= limits::SIP_OFFER_RETRIES_MAX {
            return None;
        }
        let Reply::Response(response) = reply else { return None };
        let retry_after = response.headers.retry_after().ok().flatten();
        match status {
            // RFC 3261 14.1: in units of 10 ms, and the maker of the Call-ID waits longer.
            StatusCode::REQUEST_PENDING if self.is_caller => {
                Some(Duration::from_millis(2_100 + u64::from(chance % 191) * 10))
            }
            StatusCode::REQUEST_PENDING => Some(Duration::from_millis(u64::from(chance % 201) * 10)),
            StatusCode::SERVER_INTERNAL_ERROR => retry_after.filter(|delay| *delay <= RETRY_AFTER_MAX),
            StatusCode::SESSION_INTERVAL_TOO_SMALL => {
                self.session_timer.raise(&response.headers).then_some(Duration::ZERO)
            }
            // A peer that cannot UPDATE after all is refreshed by INVITE.
            StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED if *method == Method::Update => {
                self.peer_updates = false;
                wanted.sdp.is_none().then_some(Duration::ZERO)
            }
            _ => None,
        }
    }

    // --- an early dialog of ours, and its 2xx ---

    /// A provisional response above 100 in this early dialog. Whether it is new: a reliable one that is repeated, or
    /// comes before its turn, is dropped (RFC 3262 4).
    pub fn progressed(&mut self, response: &Response, now: Instant) -> bool {
        let is_reliable = response.headers.lists(&HeaderName::Require, "100rel");
        let rseq = response.headers.rseq().ok().flatten().filter(|_| is_reliable);
        if rseq.is_some_and(|rseq| !self.heard.admit(rseq)) {
            return false;
        }
        self.learn(&response.headers);
        let sdp = sdp_of(&response.headers, &response.body);
        let is_offer = sdp.is_some() && self.session.local.is_none() && !self.session.settled;
        if let Some(sdp) = sdp.filter(|_| !self.session.settled) {
            self.session.remote = Some(sdp);
            self.session.settled = rseq.is_some() && !is_offer;
        }
        if let Some(rseq) = rseq {
            self.dialog.refresh_target(&response.headers);
            let mut prack = self.dialog.request(Method::Prack);
            let rack = CSeq { number: self.invite_cseq, method: Method::Invite };
            prack.headers.push(HeaderName::RAck, format!("{rseq} {rack}"));
            if is_offer && self.session.late.is_none() {
                self.session.late = Some(LateAnswer::Prack(Box::new(prack)));
                self.timers.set(UsageTimer::LateAnswer, now + limits::SIP_LATE_ANSWER);
            } else {
                self.send(Purpose::Prack, prack);
            }
        }
        true
    }

    /// The 2xx that confirms this early dialog came to the INVITE of `key`. What it, or a response before it, says of
    /// the session: the answer, or the offer where we made none, which [`super::Input::Answer`] is to follow.
    pub fn confirmed(&mut self, key: TransactionKey, response: &Response, now: Instant) -> Option<Bytes> {
        self.dialog.confirm(response);
        self.learn(&response.headers);
        self.phase = Phase::Confirmed { reinvite: None };
        self.session_timer.heard_answer(response);
        self.restart_session_timer(now);
        // RFC 3261 13.2.1: after a reliable answer, what the 2xx says counts no more.
        let said = sdp_of(&response.headers, &response.body).filter(|_| !self.session.settled);
        if said.is_some() {
            self.session.remote.clone_from(&said);
        }
        let is_offer = self.session.local.is_none() && said.is_some();
        let cseq = self.invite_cseq;
        if is_offer {
            // A PRACK that still waits for the same answer is overtaken.
            self.session.late = Some(LateAnswer::Ack { key, cseq });
            self.timers.set(UsageTimer::LateAnswer, now + limits::SIP_LATE_ANSWER);
        } else {
            self.session.settled = true;
            let ack = self.dialog.ack(cseq);
            self.output.push_back(Output::Ack(key, Box::new(ack)));
        }
        self.session.remote.clone()
    }

    /// The call room's answer to the callee's offer, or none.
    pub(super) fn answer_late(&mut self, sdp: Option<Bytes>) {
        let Some(late) = self.session.late.take() else { return };
        self.timers.stop(UsageTimer::LateAnswer);
        self.session.settled = true;
        self.session.local.clone_from(&sdp);
        match late {
            LateAnswer::Prack(mut prack) => {
                if let Some(sdp) = sdp {
                    prack.set_body(Body::sdp(sdp));
                }
                self.output.push_back(Output::Send(Purpose::Prack, prack));
            }
            LateAnswer::Ack { key, cseq } => {
                let mut ack = self.dialog.ack(cseq);
                if let Some(sdp) = sdp {
                    ack.set_body(Body::sdp(sdp));
                }
                self.output.push_back(Output::Ack(key, Box::new(ack)));
            }
        }
    }

    /// Nobody answered the callee's offer: there is no session to go on with.
    pub(super) fn no_late_answer(&mut self) {
        if matches!(self.phase, Phase::Early) {
            self.session.late = None;
            self.output.push_back(Output::GiveUp);
        } else {
            self.answer_late(None);
            self.send_bye(None, false);
        }
    }
}
