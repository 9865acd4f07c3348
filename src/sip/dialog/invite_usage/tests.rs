//! The usage of an inbound INVITE under virtual time.

use super::*;
use crate::clock::Clock;
use crate::ids::SessionId;
use crate::sip::dialog::state::SessionPair;
use crate::sip::dialog::usage::Reply;
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
            terms: Terms::default(),
        };
        let key = TransactionKey::server(&invite).unwrap();
        Self { usage: InviteUsage::incoming(identity, dialog, key, invite, 1), now: Clock::system().now() }
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
                Output::Send(_, request) => format!("{} {}", request.method, request.headers.cseq().unwrap().number),
                Output::Ack(..) => "ACK".to_owned(),
                Output::Referred(_) => "referred".to_owned(),
                Output::Quirk(quirk, _) => format!("quirk {quirk}"),
                Output::GiveUp => "give up".to_owned(),
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
    assert!(bench.feed(bye_done()).is_empty(), "told already");
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
    assert_eq!(bench.feed(bye_done()), ["ended LocalBye"]);
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
    assert_eq!(bench.feed(bye_done()), ["ended LocalBye"]);
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

/// Our BYE brought nothing.
fn bye_done() -> Input {
    let key = TransactionKey::client("x", &Method::Bye);
    Input::Outcome { purpose: Purpose::Bye, key, reply: Reply::TimedOut, chance: 0 }
}
