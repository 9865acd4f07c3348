//! REFER and its subscription in both directions (RFC 3515), and INFO (RFC 6086).

use std::time::Instant;

use crate::limits;
use crate::sip::Body;
use crate::sip::Event;
use crate::sip::Refusal;
use crate::sip::StatusCode;
use crate::sip::dialog::refer;
use crate::sip::dialog::usage::Output;
use crate::sip::dialog::usage::Purpose;
use crate::sip::dialog::usage::UsageTimer;
use crate::sip::dialog::usage::cseq_of;
use crate::sip::dialog::usage::dialog_response;
use crate::sip::message::HeaderName;
use crate::sip::message::Method;
use crate::sip::message::NameAddr;
use crate::sip::message::Request;
use crate::sip::message::Response;
use crate::sip::transaction::TransactionKey;

use super::InviteUsage;
use super::Phase;
use super::Unanswered;

/// Media types of digits in INFO, by which PBXs without telephone-events send them.
const DIGITS: [&str; 2] = ["application/dtmf-relay", "application/dtmf"];
/// RFC 6086 4.2.2.
const BAD_INFO_PACKAGE: StatusCode = match StatusCode::new(469) {
    Some(status) => status,
    None => StatusCode::BAD_REQUEST,
};

/// Our reports on the peer's transfer: one NOTIFY at a time, so that none overtakes another.
#[derive(Debug)]
struct Subscription {
    /// The `CSeq` of its REFER, which tells it from an earlier one.
    id: Option<u32>,
    in_flight: bool,
    /// The latest status that has not left yet.
    next: Option<StatusCode>,
    /// The final status is on its way.
    is_last: bool,
}

/// Transfers of one dialog: the peer's and ours, one each at a time.
#[derive(Debug, Default)]
pub(super) struct Transfers {
    /// The peer's REFER that awaits the call room.
    pub(super) asked: Option<Unanswered>,
    /// How many REFERs of the peer's we took.
    taken: u32,
    subscription: Option<Subscription>,
    /// The latest status of our own.
    ours: Option<StatusCode>,
}

impl Transfers {
    /// Whether the peer still waits for a report, even after the call.
    pub(super) const fn is_reporting(&self) -> bool {
        self.subscription.is_some()
    }

    pub(super) fn forget(&mut self) {
        self.subscription = None;
    }
}

impl InviteUsage {
    // --- the peer's transfer ---

    pub(super) fn referred(&mut self, key: TransactionKey, request: Box<Request>, now: Instant) {
        let status = match &self.phase {
            Phase::Ending { .. } | Phase::Over => Some(StatusCode::CALL_DOES_NOT_EXIST),
            // Only an answered call can be transferred.
            Phase::Incoming { .. } | Phase::Early => Some(StatusCode::FORBIDDEN),
            Phase::Accepted { .. } | Phase::Confirmed { .. } => {
                let is_busy = self.transfers.asked.is_some() || self.transfers.is_reporting();
                let is_readable = refer::refer_to(&request.headers).is_some();
                if is_busy {
                    Some(StatusCode::REQUEST_PENDING)
                } else {
                    (!is_readable).then_some(StatusCode::BAD_REQUEST)
                }
            }
        };
        if let Some(status) = status {
            self.respond(&key, &request, status);
            return;
        }
        self.dialog.refresh_target(&request.headers);
        self.transfers.asked = Some(Unanswered { key, request: request.clone() });
        self.timers.set(UsageTimer::AwaitReferral, now + limits::SIP_UPDATE_ANSWER);
        self.output.push_back(Output::Referred(request));
    }

    pub(super) fn accept_refer(&mut self) {
        let Some(asked) = self.transfers.asked.take() else { return };
        self.timers.stop(UsageTimer::AwaitReferral);
        let tag = self.dialog.id().local_tag();
        let response = dialog_response(&asked.request, StatusCode::ACCEPTED, tag, &self.contact);
        self.output.push_back(Output::Respond(asked.key, Box::new(response)));
        self.transfers.taken += 1;
        // The first needs no id, and some peers do not know it; those after it must have one (RFC 3515 2.4.6).
        let id = (self.transfers.taken > 1).then(|| cseq_of(&asked.request.headers));
        self.transfers.subscription = Some(Subscription { id, in_flight: false, next: None, is_last: false });
        self.report(StatusCode::TRYING);
    }

    pub(super) fn refuse_refer(&mut self, refusal: &Refusal) {
        self.timers.stop(UsageTimer::AwaitReferral);
        if let Some(asked) = self.transfers.asked.take() {
            self.respond_refusing(&asked, refusal);
        }
    }

    /// Tells the peer how the call that it asked for goes.
    pub(super) fn report(&mut self, status: StatusCode) {
        let Some(subscription) = &mut self.transfers.subscription else { return };
        if subscription.is_last {
            return;
        }
        if subscription.in_flight {
            subscription.next = Some(status);
            return;
        }
        let id = subscription.id.map(|id| format!(";id={id}")).unwrap_or_default();
        subscription.in_flight = true;
        subscription.is_last = !status.is_provisional();
        let seconds = self.timing.patience().as_secs().max(1) * 6;
        let state = if status.is_provisional() {
            format!("active;expires={seconds}")
        } else {
            "terminated;reason=noresource".to_owned()
        };
        let mut notify = self.dialog.request(Method::Notify);
        notify.headers.push(HeaderName::Contact, self.contact.clone());
        notify.headers.push(HeaderName::Event, format!("refer{id}"));
        notify.headers.push(HeaderName::SubscriptionState, state);
        notify.set_body(Body {
            content_type: "message/sipfrag;version=2.0".to_owned(),
            content: refer::sipfrag(status).into(),
        });
        self.send(Purpose::Notify, notify);
    }

    pub(super) fn notify_done(&mut self, status: StatusCode) {
        let Some(subscription) = &mut self.transfers.subscription else { return };
        subscription.in_flight = false;
        let next = subscription.next.take();
        // A peer that refuses a report wants no more of them (RFC 6665 4.2.2).
        if subscription.is_last || !status.is_success() {
            self.transfers.subscription = None;
        } else if let Some(next) = next {
            self.report(next);
        }
        if matches!(self.phase, Phase::Over) && !self.transfers.is_reporting() {
            self.timers.clear();
        }
    }

    // --- our transfer ---

    pub(super) fn refer(&mut self, refer_to: String) {
        if !matches!(self.phase, Phase::Confirmed { .. }) || self.transfers.ours.is_some() {
            let status = StatusCode::REQUEST_PENDING;
            self.tell(Event::ReferProgressed { leg: self.leg, status, is_refused: true, is_over: true });
            return;
        }
        let mut request = self.target_refresh(Method::Refer);
        request.headers.push(HeaderName::ReferTo, refer_to);
        let referrer = NameAddr::new(self.dialog.local().uri.clone());
        request.headers.push(HeaderName::ReferredBy, referrer.to_string());
        self.transfers.ours = Some(StatusCode::TRYING);
        self.send(Purpose::Refer, request);
    }

    pub(super) fn refer_done(&mut self, status: StatusCode) {
        if !status.is_success() && self.transfers.ours.take().is_some() {
            self.tell(Event::ReferProgressed { leg: self.leg, status, is_refused: true, is_over: true });
        }
    }

    pub(super) fn notified(&mut self, key: &TransactionKey, request: &Request) {
        let event = request.headers.get(&HeaderName::Event).unwrap_or_default();
        let is_refer = event.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("refer");
        let Some(latest) = self.transfers.ours.filter(|_| is_refer) else {
            self.respond(key, request, StatusCode::CALL_DOES_NOT_EXIST);
            return;
        };
        self.respond(key, request, StatusCode::OK);
        let status = refer::status_of_sipfrag(&request.body).unwrap_or(latest);
        let state = request.headers.get(&HeaderName::SubscriptionState).unwrap_or_default();
        let is_terminated = state.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("terminated");
        let is_over = is_terminated || !status.is_provisional();
        // Peers repeat themselves when the subscription ends.
        self.transfers.ours = (!is_over).then_some(status);
        self.tell(Event::ReferProgressed { leg: self.leg, status, is_refused: false, is_over });
    }

    /// The call ends before the transfer is decided.
    pub(super) fn end_transfer(&mut self) {
        if let Some(status) = self.transfers.ours.take() {
            self.tell(Event::ReferProgressed { leg: self.leg, status, is_refused: false, is_over: true });
        }
    }

    // --- INFO ---

    pub(super) fn inform(&mut self, body: Body) {
        if matches!(self.phase, Phase::Confirmed { .. } | Phase::Accepted { .. }) {
            let mut request = self.dialog.request(Method::Info);
            request.set_body(body);
            self.send(Purpose::Info, request);
        }
    }

    pub(super) fn informed(&mut self, key: TransactionKey, request: &Request) {
        if matches!(self.phase, Phase::Ending { .. } | Phase::Over) {
            self.respond(&key, request, StatusCode::CALL_DOES_NOT_EXIST);
            return;
        }
        let kind = request.headers.content_type().ok().flatten();
        let response = if request.headers.contains(&HeaderName::Other("Info-Package".to_owned())) {
            let mut response = Response::for_request(request, BAD_INFO_PACKAGE);
            "Bad Info Package".clone_into(&mut response.reason);
            response.headers.push(HeaderName::Other("Recv-Info".to_owned()), "");
            response
        } else if request.body.is_empty() {
            Response::for_request(request, StatusCode::OK)
        } else if let Some(content_type) = kind.filter(|kind| DIGITS.contains(&kind.as_str())) {
            let body = Body { content_type, content: request.body.clone() };
            self.tell(Event::InfoReceived { leg: self.leg, body });
            Response::for_request(request, StatusCode::OK)
        } else {
            let mut response = Response::for_request(request, StatusCode::UNSUPPORTED_MEDIA_TYPE);
            response.headers.push(HeaderName::Accept, DIGITS.join(", "));
            response
        };
        self.output.push_back(Output::Respond(key, Box::new(response)));
    }
}
