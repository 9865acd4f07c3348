//! An INVITE usage with its dialog (RFC 3261 13 to 15): an inbound INVITE from its arrival, an outbound one's early
//! dialog from its first response, until BYE is done with.

mod incoming;
mod ours;
mod peer;
mod probe;
#[cfg(test)]
mod tests;
mod transfer;

use std::collections::VecDeque;
use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;

use crate::ids::LegId;
use crate::sip::EndCause;
use crate::sip::Event;
use crate::sip::Reason;
use crate::sip::Refusal;
use crate::sip::StatusCode;
use crate::sip::dialog::Dialog;
use crate::sip::dialog::reliable::RSeqOrder;
use crate::sip::dialog::reliable::Reliable;
use crate::sip::dialog::session_timer::SessionTimer;
use crate::sip::dialog::terms::Terms;
use crate::sip::dialog::usage::Identity;
use crate::sip::dialog::usage::Input;
use crate::sip::dialog::usage::Output;
use crate::sip::dialog::usage::Purpose;
use crate::sip::dialog::usage::UsageTimer;
use crate::sip::dialog::usage::cseq_of;
use crate::sip::dialog::usage::sdp_of;
use crate::sip::message::HeaderName;
use crate::sip::message::Headers;
use crate::sip::message::Method;
use crate::sip::message::Request;
use crate::sip::message::Response;
use crate::sip::message::typed::reason_value;
use crate::sip::transaction::Timing;
use crate::sip::transaction::TransactionKey;
use crate::timer::Timers;

use ours::Offers;
use transfer::Transfers;

/// A request that awaits the call room's answer.
#[derive(Debug)]
struct Unanswered {
    key: TransactionKey,
    request: Box<Request>,
}

/// A BYE that waits for its time.
#[derive(Debug)]
struct PendingBye {
    reason: Option<Reason>,
}

#[derive(Debug)]
enum Phase {
    /// The inbound INVITE has no final response. `latest` is our last provisional response above 100.
    Incoming { invite: Unanswered, latest: Option<Box<Response>> },
    /// One early dialog of an INVITE of ours.
    Early,
    /// Our 2xx has no ACK. `bye` is ours once the call room wants the end, which must wait for it (RFC 3261 15). A
    /// `quiet` one answered a refresh, and the call room does not hear of it.
    Accepted {
        key: TransactionKey,
        cseq: u32,
        response: Box<Response>,
        interval: Duration,
        bye: Option<PendingBye>,
        quiet: bool,
    },
    /// The dialog is confirmed; perhaps a re-INVITE awaits the call room.
    Confirmed { reinvite: Option<Unanswered> },
    /// Our BYE is on its way. `told`: the call room knows the end already.
    Ending { told: bool },
    /// Only a transfer's subscription may be left.
    Over,
}

/// The callee's offer came in a response; our answer goes in what we hold back for it.
#[derive(Debug)]
enum LateAnswer {
    Prack(Box<Request>),
    Ack { key: TransactionKey, cseq: u32 },
}

/// How far offer and answer are (RFC 3264), and what was said last.
#[derive(Debug, Default)]
struct Session {
    /// Whether the first offer has its answer, reliably.
    settled: bool,
    local: Option<Bytes>,
    remote: Option<Bytes>,
    /// Our answer, whose 200 waits for a PRACK (RFC 3262 3).
    held: Option<Bytes>,
    /// The answer that a PRACK brought to our offer; the call room hears of it with the ACK.
    early_answer: Option<Bytes>,
    late: Option<LateAnswer>,
    /// An UPDATE or PRACK of the peer's that brought an offer.
    pending: Option<Unanswered>,
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
    terms: Terms,
    /// Whether we made the Call-ID: we wait longer after a 491 (RFC 3261 14.1).
    is_caller: bool,
    /// Whether the peer's Allow names UPDATE.
    peer_updates: bool,
    invite_cseq: u32,
    phase: Phase,
    session: Session,
    reliable: Reliable,
    heard: RSeqOrder,
    offers: Offers,
    session_timer: SessionTimer,
    transfers: Transfers,
    timers: Timers<UsageTimer>,
    output: VecDeque<Output>,
}

impl InviteUsage {
    /// An inbound INVITE, to be answered in transaction `key`. Its reliable provisional responses are numbered from
    /// `rseq`: 1 to 2^31 - 1, drawn by chance.
    pub fn incoming(identity: Identity, dialog: Dialog, key: TransactionKey, request: Box<Request>, rseq: u32) -> Self {
        let session = Session { remote: sdp_of(&request.headers, &request.body), ..Session::default() };
        let cseq = cseq_of(&request.headers);
        let headers = request.headers.clone();
        let phase = Phase::Incoming { invite: Unanswered { key, request }, latest: None };
        let mut usage = Self::new(identity, dialog, phase, session, cseq);
        usage.reliable = Reliable::new(rseq);
        usage.learn(&headers);
        usage
    }

    /// An early dialog of our INVITE of sequence number `cseq`. `session_timer` is what was asked for.
    pub fn early(
        identity: Identity,
        dialog: Dialog,
        (cseq, offer): (u32, Option<Bytes>),
        session_timer: SessionTimer,
    ) -> Self {
        let session = Session { local: offer, ..Session::default() };
        let usage = Self::new(identity, dialog, Phase::Early, session, cseq);
        Self { is_caller: true, session_timer, ..usage }
    }

    fn new(identity: Identity, dialog: Dialog, phase: Phase, session: Session, invite_cseq: u32) -> Self {
        let Identity { leg, contact, agent, timing, terms } = identity;
        Self {
            leg,
            dialog,
            contact,
            agent,
            timing,
            terms,
            is_caller: false,
            peer_updates: false,
            invite_cseq,
            phase,
            session,
            reliable: Reliable::new(1),
            heard: RSeqOrder::default(),
            offers: Offers::default(),
            session_timer: SessionTimer::new(&terms),
            transfers: Transfers::default(),
            timers: Timers::default(),
            output: VecDeque::new(),
        }
    }

    /// Its dialog.
    pub const fn dialog(&self) -> &Dialog {
        &self.dialog
    }

    /// The sequence number of a request of ours that is sent once more.
    pub const fn next_cseq(&mut self) -> u32 {
        self.dialog.next_cseq()
    }

    /// Whether a call may take its place (RFC 3891 3): not one that rings here.
    pub const fn is_replaceable(&self) -> bool {
        matches!(self.phase, Phase::Early | Phase::Accepted { .. } | Phase::Confirmed { .. })
    }

    /// Whether it has not been answered yet.
    pub const fn is_early(&self) -> bool {
        matches!(self.phase, Phase::Early | Phase::Incoming { .. })
    }

    /// Takes what happened.
    pub fn handle(&mut self, input: Input, now: Instant) {
        match input {
            Input::Request { key, request, chance } => self.request(key, request, chance, now),
            Input::Ack(request) => self.acknowledged(&request, now),
            Input::Cancelled { key, reason } => self.cancelled(&key, reason, now),
            Input::Outcome { purpose, key, reply, chance } => self.outcome(purpose, key, &reply, chance, now),
            Input::SentAgain(purpose) => self.sent_again(purpose, now),
            Input::Provisional(status, body) => self.provisional(status, body, now),
            Input::Accept(sdp) => self.accept(sdp, now),
            Input::Refuse(refusal) => self.refuse(&refusal, now),
            Input::AcceptReinvite(sdp) => self.accept_reinvite(sdp, now),
            Input::RefuseReinvite(refusal) => self.refuse_reinvite(&refusal),
            Input::Reinvite(sdp) => self.reinvite(sdp),
            Input::Answer(sdp) => self.answer_late(Some(sdp)),
            Input::Refer(refer_to) => self.refer(refer_to),
            Input::AcceptRefer => self.accept_refer(),
            Input::RefuseRefer(refusal) => self.refuse_refer(&refusal),
            Input::NotifyRefer(status) => self.report(status),
            Input::Info(body) => self.inform(body),
            Input::Probe { method, headers, body } => self.probe(method, headers, body),
            Input::Bye(reason) => self.bye(reason, now),
        }
        self.try_offer(now);
    }

    /// Fires what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(timer) = self.timers.pop_due(now) {
            match timer {
                UsageTimer::RepeatProvisional => self.repeat_provisional(now),
                UsageTimer::RepeatReliable => self.repeat_reliable(now),
                UsageTimer::AwaitPrack => self.no_prack(now),
                UsageTimer::RepeatSuccess => self.repeat_success(now),
                UsageTimer::AwaitAck => self.no_ack(),
                UsageTimer::RetryOffer => {}
                UsageTimer::OfferPatience => self.lost(),
                UsageTimer::AwaitCallRoom => self.refuse_reinvite(&Refusal {
                    retry_after: Some(Duration::from_secs(1)),
                    ..Refusal::new(StatusCode::SERVER_INTERNAL_ERROR)
                }),
                UsageTimer::LateAnswer => self.no_late_answer(),
                UsageTimer::Refresh => self.refresh(),
                UsageTimer::SessionExpiry => self.session_expired(),
                UsageTimer::AwaitReferral => {
                    self.refuse_refer(&Refusal::new(StatusCode::TEMPORARILY_UNAVAILABLE));
                }
                UsageTimer::Linger => self.transfers.forget(),
            }
        }
        self.try_offer(now);
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
        matches!(self.phase, Phase::Over) && !self.transfers.is_reporting()
    }

    // --- the end ---

    fn bye(&mut self, reason: Option<Reason>, now: Instant) {
        match &mut self.phase {
            // A call room that ends what it never answered: the INVITE still gets its one final response.
            Phase::Incoming { .. } => {
                let refusal = Refusal { reason, ..Refusal::new(StatusCode::TEMPORARILY_UNAVAILABLE) };
                self.refuse(&refusal, now);
            }
            Phase::Accepted { bye, .. } => *bye = Some(PendingBye { reason }),
            Phase::Confirmed { reinvite } => {
                if let Some(invite) = reinvite.take() {
                    self.respond_refusing(&invite, &Refusal::new(StatusCode::REQUEST_TERMINATED));
                }
                self.answer_late(None);
                self.send_bye(reason, false);
            }
            Phase::Early | Phase::Ending { .. } | Phase::Over => {}
        }
    }

    fn send_bye(&mut self, reason: Option<Reason>, told: bool) {
        self.timers.clear();
        self.refuse_waiting();
        let mut request = self.dialog.request(Method::Bye);
        if let Some(reason) = reason {
            request.headers.push(HeaderName::Reason, reason_value(&reason));
        }
        self.phase = Phase::Ending { told };
        self.send(Purpose::Bye, request);
    }

    fn bye_done(&mut self, now: Instant) {
        if let Phase::Ending { told } = self.phase {
            if !told {
                self.ended(EndCause::LocalBye, None);
            }
            self.over(now);
        }
    }

    /// The peer knows nothing of the dialog any more, or answers nothing (RFC 3261 12.2.1.2).
    fn lost(&mut self) {
        if matches!(self.phase, Phase::Confirmed { .. }) {
            self.ended(EndCause::DialogLost, None);
            self.answer_late(None);
            self.send_bye(None, true);
        }
    }

    fn ended(&mut self, cause: EndCause, reason: Option<Reason>) {
        self.end_transfer();
        self.output.push_back(Output::Event(Event::Ended { leg: self.leg, cause, reason }));
    }

    fn over(&mut self, now: Instant) {
        self.timers.clear();
        self.refuse_waiting();
        self.phase = Phase::Over;
        if self.transfers.is_reporting() {
            self.timers.set(UsageTimer::Linger, now + self.timing.patience());
        }
    }

    /// Requests that wait for the call room get a response before the dialog goes.
    pub fn refuse_waiting(&mut self) {
        for waiting in [self.session.pending.take(), self.transfers.asked.take()].into_iter().flatten() {
            self.respond_refusing(&waiting, &Refusal::new(StatusCode::REQUEST_TERMINATED));
        }
    }

    // --- building blocks ---

    fn send(&mut self, purpose: Purpose, request: Request) {
        self.output.push_back(Output::Send(purpose, Box::new(request)));
    }

    fn tell(&mut self, event: Event) {
        self.output.push_back(Output::Event(event));
    }

    fn respond(&mut self, key: &TransactionKey, request: &Request, status: StatusCode) {
        let response = Response::for_request(request, status);
        self.output.push_back(Output::Respond(key.clone(), Box::new(response)));
    }

    fn respond_refusing(&mut self, refused: &Unanswered, refusal: &Refusal) {
        let mut response = Response::refusing(&refused.request, refusal, &self.agent);
        response.set_to_tag(self.dialog.id().local_tag());
        self.output.push_back(Output::Respond(refused.key.clone(), Box::new(response)));
    }

    /// What the peer says of itself in any message.
    fn learn(&mut self, headers: &Headers) {
        if headers.contains(&HeaderName::Allow) {
            self.peer_updates = headers.lists(&HeaderName::Allow, "UPDATE");
        }
    }

    /// The session's time to live begins anew.
    fn restart_session_timer(&mut self, now: Instant) {
        self.timers.stop(UsageTimer::Refresh);
        self.timers.stop(UsageTimer::SessionExpiry);
        if let Some(delays) = self.session_timer.delays() {
            self.timers.set(UsageTimer::SessionExpiry, now + delays.bye);
            if let Some(refresh) = delays.refresh {
                self.timers.set(UsageTimer::Refresh, now + refresh);
            }
        }
    }

    fn session_expired(&mut self) {
        if matches!(self.phase, Phase::Confirmed { .. } | Phase::Accepted { .. }) {
            self.ended(EndCause::SessionExpired, None);
            self.answer_late(None);
            let reason = Reason {
                protocol: "SIP".to_owned(),
                cause: Some(StatusCode::REQUEST_TIMEOUT.as_u16()),
                text: Some("session timer expired".to_owned()),
            };
            self.send_bye(Some(reason), true);
        }
    }
}
