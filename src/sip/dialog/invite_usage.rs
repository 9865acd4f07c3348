//! An INVITE usage with its dialog (RFC 3261 13 to 15): an inbound INVITE from its arrival, an outbound one from its
//! 2xx, until BYE is done with.

use std::collections::VecDeque;
use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;

use crate::ids::LegId;
use crate::sip::Body;
use crate::sip::EndCause;
use crate::sip::Event;
use crate::sip::Reason;
use crate::sip::Refusal;
use crate::sip::StatusCode;
use crate::sip::dialog::Dialog;
use crate::sip::dialog::usage::Identity;
use crate::sip::dialog::usage::Input;
use crate::sip::dialog::usage::Output;
use crate::sip::dialog::usage::UsageTimer;
use crate::sip::dialog::usage::cseq_of;
use crate::sip::dialog::usage::dialog_response;
use crate::sip::dialog::usage::sdp_of;
use crate::sip::message::HeaderName;
use crate::sip::message::Method;
use crate::sip::message::Request;
use crate::sip::message::Response;
use crate::sip::message::typed::reason_value;
use crate::sip::transaction::Timing;
use crate::sip::transaction::TransactionKey;
use crate::timer::Timers;

/// A proxy gives up an INVITE after three minutes without a provisional response (RFC 3261 13.3.1.1, timer C).
const PROVISIONAL_INTERVAL: Duration = Duration::from_secs(60);

/// An INVITE that awaits our final response.
#[derive(Debug)]
struct Unanswered {
    key: TransactionKey,
    request: Box<Request>,
}

#[derive(Debug)]
enum Phase {
    /// The inbound INVITE has no final response. `latest` is our last provisional response above 100.
    Incoming { invite: Unanswered, latest: Option<Box<Response>> },
    /// Our 2xx has no ACK. `bye` is set once the call room wants the end, which must wait for it (RFC 3261 15).
    Accepted { key: TransactionKey, cseq: u32, response: Box<Response>, interval: Duration, bye: Option<Option<Reason>> },
    /// The dialog is confirmed; perhaps a re-INVITE awaits the call room.
    Confirmed { reinvite: Option<Unanswered> },
    /// Our BYE is on its way. `told`: the call room knows the end already.
    Ending { told: bool },
    Over,
}

/// The machine.
#[derive(Debug)]
pub struct InviteUsage {
    leg: LegId,
    dialog: Dialog,
    /// Our Contact, as it stands in responses.
    contact: String,
    /// Names us in a Warning.
    agent: String,
    timing: Timing,
    phase: Phase,
    timers: Timers<UsageTimer>,
    output: VecDeque<Output>,
}

impl InviteUsage {
    /// An inbound INVITE, to be answered in transaction `key`.
    pub fn incoming(identity: Identity, dialog: Dialog, key: TransactionKey, request: Box<Request>) -> Self {
        Self::new(identity, dialog, Phase::Incoming { invite: Unanswered { key, request }, latest: None })
    }

    /// An outbound INVITE that got its 2xx, which the user agent acknowledges.
    pub fn confirmed(identity: Identity, dialog: Dialog) -> Self {
        Self::new(identity, dialog, Phase::Confirmed { reinvite: None })
    }

    fn new(identity: Identity, dialog: Dialog, phase: Phase) -> Self {
        let Identity { leg, contact, agent, timing } = identity;
        Self { leg, dialog, contact, agent, timing, phase, timers: Timers::default(), output: VecDeque::new() }
    }

    /// Its dialog.
    pub const fn dialog(&self) -> &Dialog {
        &self.dialog
    }

    /// Takes what happened.
    pub fn handle(&mut self, input: Input, now: Instant) {
        match input {
            Input::Request { key, request, chance } => self.request(key, request, chance),
            Input::Ack(request) => self.acknowledged(&request),
            Input::Cancelled { key, reason } => self.cancelled(&key, reason),
            Input::ByeDone => self.bye_done(),
            Input::Provisional(status, body) => self.provisional(status, body, now),
            Input::Accept(sdp) => self.accept(sdp, now),
            Input::Refuse(refusal) => self.refuse(&refusal),
            Input::Bye(reason) => self.bye(reason),
        }
    }

    // --- the call room's commands ---

    fn provisional(&mut self, status: StatusCode, body: Option<Body>, now: Instant) {
        let Phase::Incoming { invite, latest } = &mut self.phase else { return };
        if !status.is_provisional() || status == StatusCode::TRYING {
            return;
        }
        let mut response = dialog_response(&invite.request, status, self.dialog.id().local_tag(), &self.contact);
        if let Some(body) = body {
            response.set_body(body);
        }
        let response = Box::new(response);
        *latest = Some(response.clone());
        let key = invite.key.clone();
        self.timers.set(UsageTimer::RepeatProvisional, now + PROVISIONAL_INTERVAL);
        self.output.push_back(Output::Respond(key, response));
    }

    fn accept(&mut self, sdp: Bytes, now: Instant) {
        let invite = match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Incoming { invite, .. } | Phase::Confirmed { reinvite: Some(invite) } => invite,
            other @ (Phase::Accepted { .. } | Phase::Confirmed { .. } | Phase::Ending { .. } | Phase::Over) => {
                self.phase = other;
                return;
            }
        };
        self.dialog.refresh_target(&invite.request.headers);
        let mut response =
            dialog_response(&invite.request, StatusCode::OK, self.dialog.id().local_tag(), &self.contact);
        response.set_body(Body::sdp(sdp));
        let response = Box::new(response);
        self.timers.clear();
        self.timers.set(UsageTimer::RepeatSuccess, now + self.timing.t1);
        self.timers.set(UsageTimer::AwaitAck, now + self.timing.patience());
        self.output.push_back(Output::Respond(invite.key.clone(), response.clone()));
        let cseq = cseq_of(&invite.request.headers);
        self.phase = Phase::Accepted { key: invite.key, cseq, response, interval: self.timing.t1, bye: None };
    }

    fn refuse(&mut self, refusal: &Refusal) {
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Incoming { invite, .. } => {
                self.timers.clear();
                self.respond_refusing(&invite, refusal);
            }
            Phase::Confirmed { reinvite: Some(invite) } => {
                self.phase = Phase::Confirmed { reinvite: None };
                self.respond_refusing(&invite, refusal);
            }
            other @ (Phase::Accepted { .. } | Phase::Confirmed { .. } | Phase::Ending { .. } | Phase::Over) => {
                self.phase = other;
            }
        }
    }

    fn bye(&mut self, reason: Option<Reason>) {
        match &mut self.phase {
            // A call room that ends what it never answered: the INVITE still gets its one final response.
            Phase::Incoming { .. } => {
                let refusal = Refusal { reason, ..Refusal::new(StatusCode::TEMPORARILY_UNAVAILABLE) };
                self.refuse(&refusal);
            }
            Phase::Accepted { bye, .. } => *bye = Some(reason),
            Phase::Confirmed { reinvite } => {
                if let Some(invite) = reinvite.take() {
                    self.respond_refusing(&invite, &Refusal::new(StatusCode::REQUEST_TERMINATED));
                }
                self.send_bye(reason, false);
            }
            Phase::Ending { .. } | Phase::Over => {}
        }
    }

    fn send_bye(&mut self, reason: Option<Reason>, told: bool) {
        self.timers.clear();
        let mut request = self.dialog.request(Method::Bye);
        if let Some(reason) = reason {
            request.headers.push(HeaderName::Reason, reason_value(&reason));
        }
        self.phase = Phase::Ending { told };
        self.output.push_back(Output::SendBye(Box::new(request)));
    }

    fn bye_done(&mut self) {
        if let Phase::Ending { told } = self.phase {
            if !told {
                self.ended(EndCause::LocalBye, None);
            }
            self.over();
        }
    }

    // --- the peer's requests ---

    fn request(&mut self, key: TransactionKey, request: Box<Request>, chance: u32) {
        if !self.dialog.admit(cseq_of(&request.headers)) {
            // RFC 3261 12.2.2.
            self.respond(&key, &request, StatusCode::SERVER_INTERNAL_ERROR);
            return;
        }
        match request.method {
            Method::Invite => self.reinvited(key, request, chance),
            Method::Bye => self.byed(&key, &request),
            _ => self.output.push_back(Output::Answer(key, request)),
        }
    }

    fn reinvited(&mut self, key: TransactionKey, request: Box<Request>, chance: u32) {
        match &mut self.phase {
            Phase::Confirmed { reinvite } if reinvite.is_none() => {
                let offer = sdp_of(&request.headers, &request.body);
                *reinvite = Some(Unanswered { key, request });
                self.output.push_back(Output::Event(Event::Reinvited { leg: self.leg, offer }));
            }
            // An INVITE before the one before it has its final response (RFC 3261 14.2).
            Phase::Incoming { .. } | Phase::Confirmed { .. } => {
                let mut response = Response::for_request(&request, StatusCode::SERVER_INTERNAL_ERROR);
                response.headers.push(HeaderName::RetryAfter, chance.to_string());
                self.output.push_back(Output::Respond(key, Box::new(response)));
            }
            // Our answer is not acknowledged: two offers would cross (RFC 5407 3.1.4).
            Phase::Accepted { .. } => self.respond(&key, &request, StatusCode::REQUEST_PENDING),
            Phase::Ending { .. } | Phase::Over => self.respond(&key, &request, StatusCode::CALL_DOES_NOT_EXIST),
        }
    }

    fn byed(&mut self, key: &TransactionKey, request: &Request) {
        self.respond(key, request, StatusCode::OK);
        let reason = request.headers.reason().ok().flatten();
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Incoming { invite, .. } => {
                self.respond_refusing(&invite, &Refusal::new(StatusCode::REQUEST_TERMINATED));
                self.output.push_back(Output::Event(Event::Cancelled { leg: self.leg, reason }));
            }
            Phase::Accepted { .. } => self.ended(EndCause::PeerBye, reason),
            Phase::Confirmed { reinvite } => {
                if let Some(invite) = reinvite {
                    self.respond_refusing(&invite, &Refusal::new(StatusCode::REQUEST_TERMINATED));
                }
                self.ended(EndCause::PeerBye, reason);
            }
            // Two BYEs crossed: ours still gets its own answer.
            other @ (Phase::Ending { .. } | Phase::Over) => {
                self.phase = other;
                return;
            }
        }
        self.over();
    }

    fn cancelled(&mut self, key: &TransactionKey, reason: Option<Reason>) {
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Incoming { invite, .. } if invite.key == *key => {
                self.respond_refusing(&invite, &Refusal::new(StatusCode::REQUEST_TERMINATED));
                self.output.push_back(Output::Event(Event::Cancelled { leg: self.leg, reason }));
                self.over();
            }
            Phase::Confirmed { reinvite: Some(invite) } if invite.key == *key => {
                self.phase = Phase::Confirmed { reinvite: None };
                self.respond_refusing(&invite, &Refusal::new(StatusCode::REQUEST_TERMINATED));
            }
            other => self.phase = other,
        }
    }

    fn acknowledged(&mut self, ack: &Request) {
        let Phase::Accepted { cseq, bye, .. } = &mut self.phase else { return };
        if *cseq != cseq_of(&ack.headers) {
            return;
        }
        let bye = bye.take();
        self.timers.clear();
        self.phase = Phase::Confirmed { reinvite: None };
        let sdp = sdp_of(&ack.headers, &ack.body);
        self.output.push_back(Output::Event(Event::Acknowledged { leg: self.leg, sdp }));
        if let Some(reason) = bye {
            self.send_bye(reason, false);
        }
    }

    // --- time ---

    /// Fires what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(timer) = self.timers.pop_due(now) {
            match timer {
                UsageTimer::RepeatProvisional => self.repeat_provisional(now),
                UsageTimer::RepeatSuccess => self.repeat_success(now),
                UsageTimer::AwaitAck => self.no_ack(),
            }
        }
    }

    fn repeat_provisional(&mut self, now: Instant) {
        if let Phase::Incoming { invite, latest: Some(response) } = &self.phase {
            self.output.push_back(Output::Respond(invite.key.clone(), response.clone()));
            self.timers.set(UsageTimer::RepeatProvisional, now + PROVISIONAL_INTERVAL);
        }
    }

    fn repeat_success(&mut self, now: Instant) {
        if let Phase::Accepted { key, response, interval, .. } = &mut self.phase {
            *interval = self.timing.doubled(*interval);
            self.output.push_back(Output::Respond(key.clone(), response.clone()));
            self.timers.set(UsageTimer::RepeatSuccess, now + *interval);
        }
    }

    fn no_ack(&mut self) {
        if let Phase::Accepted { bye, .. } = &mut self.phase {
            let reason = bye.take().flatten();
            self.ended(EndCause::NoAck, None);
            self.send_bye(reason, true);
        }
    }

    /// When to call [`Self::handle_timeout`], and for which timer.
    pub fn poll_timeout(&self) -> Option<(Instant, UsageTimer)> {
        self.timers.next()
    }

    /// What to do next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.output.pop_front()
    }

    /// Whether it is done with, and can be dropped.
    pub const fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    // --- building blocks ---

    fn respond(&mut self, key: &TransactionKey, request: &Request, status: StatusCode) {
        let response = Response::for_request(request, status);
        self.output.push_back(Output::Respond(key.clone(), Box::new(response)));
    }

    fn respond_refusing(&mut self, invite: &Unanswered, refusal: &Refusal) {
        let mut response = Response::refusing(&invite.request, refusal, &self.agent);
        response.set_to_tag(self.dialog.id().local_tag());
        self.output.push_back(Output::Respond(invite.key.clone(), Box::new(response)));
    }

    fn ended(&mut self, cause: EndCause, reason: Option<Reason>) {
        self.output.push_back(Output::Event(Event::Ended { leg: self.leg, cause, reason }));
    }

    fn over(&mut self) {
        self.timers.clear();
        self.phase = Phase::Over;
    }
}
