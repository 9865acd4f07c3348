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
const PROVISIONAL_INTERVAL: Duration = Duration::from_mins(1);

/// An INVITE that awaits our final response.
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
    Incoming {
        invite: Unanswered,
        latest: Option<Box<Response>>,
    },
    /// Our 2xx has no ACK. `bye` is ours once the call room wants the end, which must wait for it (RFC 3261 15).
    Accepted {
        key: TransactionKey,
        cseq: u32,
        response: Box<Response>,
        interval: Duration,
        bye: Option<PendingBye>,
    },
    /// The dialog is confirmed; perhaps a re-INVITE awaits the call room.
    Confirmed {
        reinvite: Option<Unanswered>,
    },
    /// Our BYE is on its way. `told`: the call room knows the end already.
    Ending {
        told: bool,
    },
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

    /// The sequence number of a request of ours that is sent once more.
    pub fn next_cseq(&mut self) -> u32 {
        self.dialog.next_cseq()
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
            Phase::Accepted { bye, .. } => *bye = Some(PendingBye { reason }),
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
        if request.method == Method::Invite {
            self.reinvited(key, request, chance);
        } else if request.method == Method::Bye {
            self.byed(&key, &request);
        } else {
            self.output.push_back(Output::Answer(key, request));
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
            other @ (Phase::Incoming { .. }
            | Phase::Accepted { .. }
            | Phase::Confirmed { .. }
            | Phase::Ending { .. }
            | Phase::Over) => {
                self.phase = other;
            }
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
        if let Some(PendingBye { reason }) = bye {
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
            let reason = bye.take().and_then(|bye| bye.reason);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::ids::SessionId;
    use crate::sip::dialog::state::SessionPair;
    use crate::sip::message::Message;

    struct Bench {
        usage: InviteUsage,
        now: Instant,
    }

    impl Bench {
        fn ringing() -> Self {
            let invite = request("INVITE", 1);
            let session = SessionPair { local: SessionId::from_bytes([1; 16]), remote: None };
            let dialog = Dialog::of_uas(&invite, "ours", session).unwrap();
            let identity = Identity {
                leg: LegId::from_uuid(uuid::Uuid::from_u128(1)),
                contact: "<sip:us@192.0.2.1>".to_owned(),
                agent: "192.0.2.1".to_owned(),
                timing: Timing::default(),
            };
            let key = TransactionKey::server(&invite).unwrap();
            Self { usage: InviteUsage::incoming(identity, dialog, key, invite), now: Clock::system().now() }
        }

        fn talking() -> Self {
            let mut bench = Self::ringing();
            assert_eq!(bench.feed(Input::Accept(Bytes::from_static(b"v=0"))), ["200 INVITE"]);
            assert_eq!(bench.feed(Input::Ack(request("ACK", 1))), ["acknowledged"]);
            bench
        }

        fn feed(&mut self, input: Input) -> Vec<String> {
            self.usage.handle(input, self.now);
            self.drain()
        }

        fn peer(&mut self, method: &str, cseq: u32) -> Vec<String> {
            let request = request(method, cseq);
            let key = TransactionKey::server(&request).unwrap();
            self.feed(Input::Request { key, request, chance: 3 })
        }

        fn wait_until_next(&mut self) -> Vec<String> {
            self.now = self.usage.poll_timeout().unwrap().0;
            self.usage.handle_timeout(self.now);
            self.drain()
        }

        fn drain(&mut self) -> Vec<String> {
            std::iter::from_fn(|| self.usage.poll_output())
                .map(|output| match output {
                    Output::Respond(_, response) => {
                        format!("{} {}", response.status.as_u16(), response.headers.cseq().unwrap().method)
                    }
                    Output::SendBye(request) => format!("BYE {}", request.headers.cseq().unwrap().number),
                    Output::Answer(_, request) => format!("answer {}", request.method),
                    Output::Event(Event::Acknowledged { .. }) => "acknowledged".to_owned(),
                    Output::Event(Event::Cancelled { .. }) => "cancelled".to_owned(),
                    Output::Event(Event::Reinvited { .. }) => "reinvited".to_owned(),
                    Output::Event(Event::Ended { cause, .. }) => format!("ended {cause:?}"),
                    Output::Event(other) => panic!("{other:?}"),
                })
                .collect()
        }
    }

    fn request(method: &str, cseq: u32) -> Box<Request> {
        let text = format!(
            "{method} sip:us@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK{cseq}\r\n\
             From: <sip:a@b>;tag=theirs\r\nTo: <sip:c@d>\r\nCall-ID: x\r\nCSeq: {cseq} {method}\r\n\
             Contact: <sip:a@192.0.2.9>\r\n\r\n"
        );
        let Ok(Message::Request(request)) = Message::parse(text.as_bytes()) else { panic!("{text}") };
        Box::new(request)
    }

    #[test]
    fn the_2xx_is_repeated_from_t1_doubling_up_to_t2_until_64_t1() {
        let mut bench = Bench::ringing();
        let start = bench.now;
        bench.feed(Input::Accept(Bytes::from_static(b"v=0")));
        let mut sent_at = Vec::new();
        let ended = loop {
            let outputs = bench.wait_until_next();
            if outputs != ["200 INVITE"] {
                break outputs;
            }
            sent_at.push((bench.now - start).as_millis());
        };
        assert_eq!(sent_at, [500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500]);
        assert_eq!(ended, ["ended NoAck", "BYE 1"]);
        assert_eq!(bench.now - start, Duration::from_secs(32));
        assert!(bench.feed(Input::ByeDone).is_empty(), "told already");
        assert!(bench.usage.is_over());
    }

    #[test]
    fn an_ack_of_another_sequence_number_does_not_count() {
        let mut bench = Bench::ringing();
        bench.feed(Input::Accept(Bytes::from_static(b"v=0")));
        assert!(bench.feed(Input::Ack(request("ACK", 2))).is_empty());
        assert_eq!(bench.feed(Input::Ack(request("ACK", 1))), ["acknowledged"]);
        assert!(bench.feed(Input::Ack(request("ACK", 1))).is_empty(), "once");
        assert_eq!(bench.usage.poll_timeout(), None);
    }

    #[test]
    fn a_bye_before_the_ack_ends_the_call() {
        let mut bench = Bench::ringing();
        bench.feed(Input::Accept(Bytes::from_static(b"v=0")));
        assert_eq!(bench.peer("BYE", 2), ["200 BYE", "ended PeerBye"]);
        assert_eq!(bench.usage.poll_timeout(), None);
        assert!(bench.usage.is_over());
    }

    #[test]
    fn our_bye_answers_a_pending_reinvite_first() {
        let mut bench = Bench::talking();
        assert_eq!(bench.peer("INVITE", 2), ["reinvited"]);
        assert_eq!(bench.feed(Input::Bye(None)), ["487 INVITE", "BYE 1"]);
        assert_eq!(bench.feed(Input::ByeDone), ["ended LocalBye"]);
    }

    #[test]
    fn the_peers_bye_answers_a_pending_reinvite_too() {
        let mut bench = Bench::talking();
        bench.peer("INVITE", 2);
        assert_eq!(bench.peer("BYE", 3), ["200 BYE", "487 INVITE", "ended PeerBye"]);
    }

    #[test]
    fn a_cancelled_reinvite_leaves_the_call_as_it_was() {
        let mut bench = Bench::talking();
        bench.peer("INVITE", 2);
        let key = TransactionKey::server(&request("INVITE", 2)).unwrap();
        assert_eq!(bench.feed(Input::Cancelled { key, reason: None }), ["487 INVITE"]);
        assert!(bench.feed(Input::Accept(Bytes::from_static(b"v=0"))).is_empty());
        assert_eq!(bench.peer("INVITE", 3), ["reinvited"]);
    }

    #[test]
    fn a_reinvite_while_our_bye_is_under_way_is_481() {
        let mut bench = Bench::talking();
        bench.feed(Input::Bye(None));
        assert_eq!(bench.peer("INVITE", 2), ["481 INVITE"]);
        assert_eq!(bench.peer("BYE", 3), ["200 BYE"]);
        assert_eq!(bench.feed(Input::ByeDone), ["ended LocalBye"]);
    }

    #[test]
    fn commands_that_come_too_late_do_nothing() {
        let mut bench = Bench::talking();
        assert!(bench.feed(Input::Provisional(StatusCode::RINGING, None)).is_empty());
        assert!(bench.feed(Input::Refuse(Refusal::new(StatusCode::BUSY_HERE))).is_empty());
        assert!(bench.feed(Input::Accept(Bytes::from_static(b"v=0"))).is_empty());
    }

    #[test]
    fn a_call_that_is_ended_before_its_answer_is_refused() {
        let mut bench = Bench::ringing();
        assert_eq!(bench.feed(Input::Bye(None)), ["480 INVITE"]);
        assert!(bench.usage.is_over());
    }

    #[test]
    fn a_provisional_response_is_101_to_199() {
        let mut bench = Bench::ringing();
        assert!(bench.feed(Input::Provisional(StatusCode::TRYING, None)).is_empty());
        assert!(bench.feed(Input::Provisional(StatusCode::BUSY_HERE, None)).is_empty());
        assert_eq!(bench.feed(Input::Provisional(StatusCode::RINGING, None)), ["180 INVITE"]);
    }
}
