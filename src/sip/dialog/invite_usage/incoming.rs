//! An INVITE of the peer's until its ACK: provisional responses, PRACK, the 2xx.

use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;

use crate::sip::Body;
use crate::sip::EndCause;
use crate::sip::Event;
use crate::sip::Reason;
use crate::sip::Refusal;
use crate::sip::StatusCode;
use crate::sip::dialog::terms::ReliableProvisionals;
use crate::sip::dialog::terms::Terms;
use crate::sip::dialog::usage::Output;
use crate::sip::dialog::usage::UsageTimer;
use crate::sip::dialog::usage::cseq_of;
use crate::sip::dialog::usage::dialog_response;
use crate::sip::dialog::usage::sdp_of;
use crate::sip::message::HeaderName;
use crate::sip::message::Headers;
use crate::sip::message::Request;
use crate::sip::message::Response;
use crate::sip::quirk::Quirk;
use crate::sip::transaction::TransactionKey;

use super::InviteUsage;
use super::PendingBye;
use super::Phase;
use super::Unanswered;

/// A proxy gives up an INVITE after three minutes without a provisional response (RFC 3261 13.3.1.1, timer C).
const PROVISIONAL_INTERVAL: Duration = Duration::from_mins(1);

impl InviteUsage {
    pub(super) fn provisional(&mut self, status: StatusCode, body: Option<Body>, now: Instant) {
        let Phase::Incoming { invite, latest } = &mut self.phase else { return };
        if !status.is_provisional() || status == StatusCode::TRYING || self.session.held.is_some() {
            return;
        }
        let mut response = dialog_response(&invite.request, status, self.dialog.id().local_tag(), &self.contact);
        let (key, is_reliable) = (invite.key.clone(), sends_reliably(&self.terms, &invite.request.headers));
        let is_withheld = !is_reliable && wants_reliably(&self.terms, &invite.request.headers);
        *latest = Some(Box::new(response.clone()));
        if let Some(body) = body {
            self.session.local = Some(body.content.clone());
            response.set_body(body);
            if !is_reliable {
                *latest = Some(Box::new(response.clone()));
            }
        }
        self.timers.set(UsageTimer::RepeatProvisional, now + PROVISIONAL_INTERVAL);
        if is_withheld {
            let detail = format!("{} is sent without 100rel", status.as_u16());
            self.output.push_back(Output::Quirk(Quirk::No100rel, detail));
        }
        if is_reliable {
            self.reliable.push(Box::new(response));
            self.send_reliable(now);
        } else {
            self.output.push_back(Output::Respond(key, Box::new(response)));
        }
    }

    /// Sends the next reliable provisional response, if none awaits its PRACK.
    fn send_reliable(&mut self, now: Instant) {
        let Phase::Incoming { invite, .. } = &self.phase else { return };
        if let Some(response) = self.reliable.send_next(self.timing.t1) {
            self.output.push_back(Output::Respond(invite.key.clone(), response));
            self.timers.set(UsageTimer::RepeatReliable, now + self.timing.t1);
            self.timers.set(UsageTimer::AwaitPrack, now + self.timing.patience());
        }
    }

    pub(super) fn repeat_reliable(&mut self, now: Instant) {
        let Phase::Incoming { invite, .. } = &self.phase else { return };
        if let Some(outstanding) = self.reliable.outstanding() {
            outstanding.interval = outstanding.interval.saturating_mul(2);
            self.output.push_back(Output::Respond(invite.key.clone(), outstanding.response.clone()));
            self.timers.set(UsageTimer::RepeatReliable, now + outstanding.interval);
        }
    }

    /// RFC 3262 3: the INVITE is refused with a 5xx.
    pub(super) fn no_prack(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Incoming { .. }) {
            self.refuse(&Refusal::new(StatusCode::SERVER_TIMEOUT), now);
            self.tell(Event::Cancelled { leg: self.leg, reason: None });
        }
    }

    pub(super) fn pracked(&mut self, key: TransactionKey, request: Box<Request>, now: Instant) {
        let acknowledged = match self.phase {
            Phase::Incoming { .. } | Phase::Accepted { .. } | Phase::Confirmed { .. } => {
                self.reliable.acknowledge(&request.headers, self.invite_cseq)
            }
            Phase::Early | Phase::Ending { .. } | Phase::Over => None,
        };
        let Some(acknowledged) = acknowledged else {
            self.respond(&key, &request, StatusCode::CALL_DOES_NOT_EXIST);
            return;
        };
        self.timers.stop(UsageTimer::RepeatReliable);
        self.timers.stop(UsageTimer::AwaitPrack);
        let sdp = sdp_of(&request.headers, &request.body);
        let answers_us = acknowledged.has_sdp && self.session.remote.is_none();
        if answers_us && sdp.is_none() {
            // Our offer stays without the answer that only this PRACK may bring (RFC 3262 5).
            self.respond(&key, &request, StatusCode::BAD_REQUEST);
            self.refuse(&Refusal::new(StatusCode::NOT_ACCEPTABLE_HERE), now);
            self.tell(Event::Cancelled { leg: self.leg, reason: None });
            return;
        }
        self.session.settled |= acknowledged.has_sdp;
        match sdp {
            Some(answer) if answers_us => {
                self.session.remote = Some(answer.clone());
                self.session.early_answer = Some(answer);
                self.respond(&key, &request, StatusCode::OK);
            }
            Some(offer) if self.session.settled => self.offered(Unanswered { key, request }, offer, now),
            Some(_) => self.respond(&key, &request, StatusCode::NOT_ACCEPTABLE_HERE),
            None => self.respond(&key, &request, StatusCode::OK),
        }
        match self.session.held.take() {
            Some(held) => self.accept(held, now),
            None => self.send_reliable(now),
        }
    }

    pub(super) fn accept(&mut self, sdp: Bytes, now: Instant) {
        if !matches!(self.phase, Phase::Incoming { .. }) {
            return;
        }
        self.reliable.drop_waiting();
        if self.reliable.holds_the_answer() {
            self.session.held = Some(sdp);
            return;
        }
        if let Phase::Incoming { invite, .. } = std::mem::replace(&mut self.phase, Phase::Over) {
            // An offer that was answered in a PRACK is not made again.
            let body = if self.session.early_answer.is_some() { None } else { Some(sdp) };
            self.session.settled |= self.session.remote.is_some();
            self.succeed(invite, body, false, now);
        }
    }

    /// Sends the 2xx of an INVITE or re-INVITE, until its ACK comes.
    pub(super) fn succeed(&mut self, invite: Unanswered, body: Option<Bytes>, quiet: bool, now: Instant) {
        self.dialog.refresh_target(&invite.request.headers);
        self.learn(&invite.request.headers);
        let tag = self.dialog.id().local_tag();
        let mut response = dialog_response(&invite.request, StatusCode::OK, tag, &self.contact);
        self.session_timer.answer(&invite.request, &mut response);
        if let Some(sdp) = body {
            self.session.local = Some(sdp.clone());
            response.set_body(Body::sdp(sdp));
        }
        let response = Box::new(response);
        self.stop_answering();
        self.restart_session_timer(now);
        self.timers.set(UsageTimer::RepeatSuccess, now + self.timing.t1);
        self.timers.set(UsageTimer::AwaitAck, now + self.timing.patience());
        self.output.push_back(Output::Respond(invite.key.clone(), response.clone()));
        let cseq = cseq_of(&invite.request.headers);
        let interval = self.timing.t1;
        self.phase = Phase::Accepted { key: invite.key, cseq, response, interval, bye: None, quiet };
    }

    fn stop_answering(&mut self) {
        for timer in [
            UsageTimer::RepeatProvisional,
            UsageTimer::RepeatReliable,
            UsageTimer::AwaitPrack,
            UsageTimer::RepeatSuccess,
            UsageTimer::AwaitAck,
        ] {
            self.timers.stop(timer);
        }
    }

    pub(super) fn refuse(&mut self, refusal: &Refusal, now: Instant) {
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Incoming { invite, .. } => {
                self.respond_refusing(&invite, refusal);
                self.over(now);
            }
            other @ (Phase::Early
            | Phase::Accepted { .. }
            | Phase::Confirmed { .. }
            | Phase::Ending { .. }
            | Phase::Over) => {
                self.phase = other;
            }
        }
    }

    pub(super) fn cancelled(&mut self, key: &TransactionKey, reason: Option<Reason>, now: Instant) {
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Incoming { invite, .. } if invite.key == *key => {
                self.respond_refusing(&invite, &Refusal::new(StatusCode::REQUEST_TERMINATED));
                self.tell(Event::Cancelled { leg: self.leg, reason });
                self.over(now);
            }
            Phase::Confirmed { reinvite: Some(invite) } if invite.key == *key => {
                self.phase = Phase::Confirmed { reinvite: None };
                // What was taken back was never in force: its repetition is no refresh.
                self.session.remote = None;
                self.respond_refusing(&invite, &Refusal::new(StatusCode::REQUEST_TERMINATED));
            }
            other @ (Phase::Incoming { .. }
            | Phase::Early
            | Phase::Accepted { .. }
            | Phase::Confirmed { .. }
            | Phase::Ending { .. }
            | Phase::Over) => {
                self.phase = other;
            }
        }
    }

    pub(super) fn acknowledged(&mut self, ack: &Request, _: Instant) {
        let Phase::Accepted { cseq, bye, quiet, .. } = &mut self.phase else { return };
        if *cseq != cseq_of(&ack.headers) {
            return;
        }
        let (bye, quiet) = (bye.take(), *quiet);
        self.stop_answering();
        self.phase = Phase::Confirmed { reinvite: None };
        let sdp = self.session.early_answer.take().or_else(|| sdp_of(&ack.headers, &ack.body));
        self.session.settled = true;
        if let Some(answer) = &sdp {
            self.session.remote = Some(answer.clone());
        }
        if !quiet {
            self.tell(Event::Acknowledged { leg: self.leg, sdp });
        }
        if let Some(PendingBye { reason }) = bye {
            self.send_bye(reason, false);
        }
    }

    pub(super) fn repeat_provisional(&mut self, now: Instant) {
        let Phase::Incoming { invite, latest: Some(response) } = &self.phase else { return };
        let (key, response) = (invite.key.clone(), response.clone());
        let is_reliable = sends_reliably(&self.terms, &invite.request.headers);
        self.timers.set(UsageTimer::RepeatProvisional, now + PROVISIONAL_INTERVAL);
        if is_reliable {
            self.reliable.push(response);
            self.send_reliable(now);
        } else {
            self.output.push_back(Output::Respond(key, response));
        }
    }

    pub(super) fn repeat_success(&mut self, now: Instant) {
        if let Phase::Accepted { key, response, interval, .. } = &mut self.phase {
            *interval = self.timing.doubled(*interval);
            self.output.push_back(Output::Respond(key.clone(), response.clone()));
            self.timers.set(UsageTimer::RepeatSuccess, now + *interval);
        }
    }

    pub(super) fn no_ack(&mut self) {
        if let Phase::Accepted { bye, .. } = &mut self.phase {
            let reason = bye.take().and_then(|bye| bye.reason);
            self.ended(EndCause::NoAck, None);
            self.send_bye(reason, true);
        }
    }
}

/// Whether a provisional response to an INVITE with these headers is to be sent reliably.
fn sends_reliably(terms: &Terms, headers: &Headers) -> bool {
    let is_required = headers.lists(&HeaderName::Require, "100rel");
    is_required || (wants_reliably(terms, headers) && !terms.quirks.contains(Quirk::No100rel))
}

/// Whether it would be, of our own will, but for a quirk.
fn wants_reliably(terms: &Terms, headers: &Headers) -> bool {
    terms.reliable_provisionals == ReliableProvisionals::Offered && headers.lists(&HeaderName::Supported, "100rel")
}

/// A 2xx that refreshes nothing but the session's time to live (RFC 3311 5.2, RFC 4028 9).
pub(super) fn plain_success(usage: &InviteUsage, request: &Request) -> Response {
    dialog_response(request, StatusCode::OK, usage.dialog.id().local_tag(), &usage.contact)
}
