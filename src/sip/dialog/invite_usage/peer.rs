//! The peer's requests within the dialog.

use std::time::Instant;

use bytes::Bytes;

use crate::limits;
use crate::sip::Body;
use crate::sip::EndCause;
use crate::sip::Event;
use crate::sip::Refusal;
use crate::sip::StatusCode;
use crate::sip::dialog::terms::MIN_SE;
use crate::sip::dialog::usage::Output;
use crate::sip::dialog::usage::UsageTimer;
use crate::sip::dialog::usage::cseq_of;
use crate::sip::dialog::usage::sdp_of;
use crate::sip::message::HeaderName;
use crate::sip::message::Method;
use crate::sip::message::Request;
use crate::sip::message::Response;
use crate::sip::quirk::Quirk;
use crate::sip::transaction::TransactionKey;

use super::InviteUsage;
use super::Phase;
use super::Unanswered;
use super::incoming::plain_success;

impl InviteUsage {
    pub(super) fn request(&mut self, key: TransactionKey, request: Box<Request>, chance: u32, now: Instant) {
        let is_in_order = self.dialog.admit(cseq_of(&request.headers));
        if !is_in_order && self.terms.quirks.contains(Quirk::LaxCseq) {
            let detail = format!("{} is served though its CSeq did not grow", request.method.as_str());
            self.output.push_back(Output::Quirk(Quirk::LaxCseq, detail));
        } else if !is_in_order {
            // RFC 3261 12.2.2.
            self.respond(&key, &request, StatusCode::SERVER_INTERNAL_ERROR);
            return;
        }
        match &request.method {
            Method::Invite => self.reinvited(key, request, chance, now),
            Method::Bye => self.byed(&key, &request, now),
            Method::Prack => self.pracked(key, request, now),
            Method::Update => self.updated(key, request, chance, now),
            Method::Refer => self.referred(key, request, now),
            Method::Notify => self.notified(&key, &request),
            Method::Info => self.informed(key, &request),
            Method::Ack
            | Method::Cancel
            | Method::Options
            | Method::Register
            | Method::Subscribe
            | Method::Message
            | Method::Publish
            | Method::Other(_) => self.output.push_back(Output::Answer(key, request)),
        }
    }

    fn reinvited(&mut self, key: TransactionKey, request: Box<Request>, chance: u32, now: Instant) {
        let is_free = match &self.phase {
            Phase::Confirmed { reinvite } => reinvite.is_none() && self.session.pending.is_none(),
            Phase::Incoming { .. } => false,
            // Our answer is not acknowledged, or our own INVITE not answered: two offers would cross (RFC 5407 3.1.4).
            Phase::Accepted { .. } | Phase::Early => {
                self.respond(&key, &request, StatusCode::REQUEST_PENDING);
                return;
            }
            Phase::Ending { .. } | Phase::Over => {
                self.respond(&key, &request, StatusCode::CALL_DOES_NOT_EXIST);
                return;
            }
        };
        if !is_free {
            // An INVITE before the one before it has its final response (RFC 3261 14.2).
            self.come_back(&key, &request, chance);
        } else if self.offers.is_in_flight() || self.session.late.is_some() {
            self.respond(&key, &request, StatusCode::REQUEST_PENDING);
        } else if self.session_timer.is_too_brief(&request.headers) {
            self.respond_too_brief(&key, &request);
        } else {
            let offer = sdp_of(&request.headers, &request.body);
            let invite = Unanswered { key, request };
            if let Some(same) = self.refreshes(offer.as_ref()) {
                self.succeed(invite, Some(same), true, now);
            } else {
                self.overtake_retry();
                self.session.remote.clone_from(&offer);
                self.phase = Phase::Confirmed { reinvite: Some(invite) };
                self.tell(Event::Reinvited { leg: self.leg, offer });
            }
        }
    }

    /// What we said last, where the peer's offer is what it said last: nothing but the session's time is renewed
    /// (RFC 4028 7.4), and the o= version stays.
    fn refreshes(&self, offer: Option<&Bytes>) -> Option<Bytes> {
        let is_same = offer.is_some() && offer == self.session.remote.as_ref();
        if is_same { self.session.local.clone() } else { None }
    }

    fn updated(&mut self, key: TransactionKey, request: Box<Request>, chance: u32, now: Instant) {
        if matches!(self.phase, Phase::Ending { .. } | Phase::Over) {
            self.respond(&key, &request, StatusCode::CALL_DOES_NOT_EXIST);
        } else if self.session_timer.is_too_brief(&request.headers) {
            self.respond_too_brief(&key, &request);
        } else {
            let update = Unanswered { key, request };
            match sdp_of(&update.request.headers, &update.request.body) {
                None => self.succeed_update(&update, None, now),
                Some(offer) => self.updated_with(update, offer, chance, now),
            }
        }
    }

    /// RFC 3311 5.2: 491 where an offer of ours is open, 500 where one of the peer's is.
    fn updated_with(&mut self, update: Unanswered, offer: Bytes, chance: u32, now: Instant) {
        let ours_is_open = match self.phase {
            Phase::Early | Phase::Accepted { .. } => !self.session.settled,
            Phase::Incoming { .. } => !self.session.settled && self.session.remote.is_none(),
            Phase::Confirmed { .. } | Phase::Ending { .. } | Phase::Over => false,
        };
        let theirs_is_open = match &self.phase {
            Phase::Incoming { .. } => !self.session.settled,
            Phase::Confirmed { reinvite } => reinvite.is_some(),
            Phase::Early | Phase::Accepted { .. } | Phase::Ending { .. } | Phase::Over => false,
        };
        if self.session.pending.is_some() || (theirs_is_open && !ours_is_open) {
            self.come_back(&update.key, &update.request, chance);
        } else if ours_is_open || self.offers.has_offer_in_flight() || self.session.late.is_some() {
            self.respond(&update.key, &update.request, StatusCode::REQUEST_PENDING);
        } else if let Some(same) = self.refreshes(Some(&offer)) {
            self.succeed_update(&update, Some(same), now);
        } else {
            self.offered(update, offer, now);
        }
    }

    /// The call room is to answer an offer that came in an UPDATE or PRACK.
    pub(super) fn offered(&mut self, request: Unanswered, offer: Bytes, now: Instant) {
        self.overtake_retry();
        self.session.remote = Some(offer.clone());
        self.session.pending = Some(request);
        self.timers.set(UsageTimer::AwaitCallRoom, now + limits::SIP_UPDATE_ANSWER);
        self.tell(Event::Reinvited { leg: self.leg, offer: Some(offer) });
    }

    fn succeed_update(&mut self, update: &Unanswered, sdp: Option<Bytes>, now: Instant) {
        let request = &update.request;
        let mut response = plain_success(self, request);
        if request.method == Method::Update {
            self.dialog.refresh_target(&request.headers);
            self.learn(&request.headers);
            if !self.is_early() {
                self.session_timer.answer(request, &mut response);
                self.restart_session_timer(now);
            }
        }
        if let Some(sdp) = sdp {
            self.session.local = Some(sdp.clone());
            response.set_body(Body::sdp(sdp));
        }
        self.output.push_back(Output::Respond(update.key.clone(), Box::new(response)));
    }

    pub(super) fn accept_reinvite(&mut self, sdp: Bytes, now: Instant) {
        if let Some(update) = self.session.pending.take() {
            self.timers.stop(UsageTimer::AwaitCallRoom);
            self.overtake_unsent();
            self.succeed_update(&update, Some(sdp), now);
        } else if let Phase::Confirmed { reinvite } = &mut self.phase
            && let Some(invite) = reinvite.take()
        {
            self.session.settled = sdp_of(&invite.request.headers, &invite.request.body).is_some();
            self.overtake_unsent();
            self.succeed(invite, Some(sdp), false, now);
        }
    }

    pub(super) fn refuse_reinvite(&mut self, refusal: &Refusal) {
        self.timers.stop(UsageTimer::AwaitCallRoom);
        let refused = match &mut self.phase {
            _ if self.session.pending.is_some() => self.session.pending.take(),
            Phase::Confirmed { reinvite } => reinvite.take(),
            Phase::Incoming { .. } | Phase::Early | Phase::Accepted { .. } | Phase::Ending { .. } | Phase::Over => None,
        };
        if let Some(refused) = refused {
            // What was refused was never in force: its repetition is no refresh.
            self.session.remote = None;
            self.respond_refusing(&refused, refusal);
        }
    }

    fn byed(&mut self, key: &TransactionKey, request: &Request, now: Instant) {
        let reason = request.headers.reason().ok().flatten();
        let status = if matches!(self.phase, Phase::Early | Phase::Over) {
            StatusCode::CALL_DOES_NOT_EXIST
        } else {
            StatusCode::OK
        };
        self.respond(key, request, status);
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Incoming { invite, .. } => {
                self.respond_refusing(&invite, &Refusal::new(StatusCode::REQUEST_TERMINATED));
                self.tell(Event::Cancelled { leg: self.leg, reason });
            }
            Phase::Accepted { .. } => self.ended(EndCause::PeerBye, reason),
            Phase::Confirmed { reinvite } => {
                if let Some(invite) = reinvite {
                    self.respond_refusing(&invite, &Refusal::new(StatusCode::REQUEST_TERMINATED));
                }
                self.answer_late(None);
                self.ended(EndCause::PeerBye, reason);
            }
            // Two BYEs crossed: ours still gets its own answer.
            other @ (Phase::Early | Phase::Ending { .. } | Phase::Over) => {
                self.phase = other;
                return;
            }
        }
        self.over(now);
    }

    /// 500 with a Retry-After of 0 to 10 s (RFC 3261 14.2, RFC 3311 5.2).
    fn come_back(&mut self, key: &TransactionKey, request: &Request, chance: u32) {
        let mut response = Response::for_request(request, StatusCode::SERVER_INTERNAL_ERROR);
        response.headers.push(HeaderName::RetryAfter, chance.to_string());
        self.output.push_back(Output::Respond(key.clone(), Box::new(response)));
    }

    fn respond_too_brief(&mut self, key: &TransactionKey, request: &Request) {
        let mut response = Response::for_request(request, StatusCode::SESSION_INTERVAL_TOO_SMALL);
        response.headers.push(HeaderName::MinSe, MIN_SE.as_secs().to_string());
        self.output.push_back(Output::Respond(key.clone(), Box::new(response)));
    }
}
