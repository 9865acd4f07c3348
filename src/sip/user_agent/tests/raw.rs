//! One user agent, spoken to in raw text from its trunk's address.

use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::ANSWER;
use super::config;
use super::first_line;
use super::invite;
use super::leg;
use super::udp;
use super::word;
use crate::clock::Clock;
use crate::ids::LegId;
use crate::sip::Command;
use crate::sip::Event;
use crate::sip::Flow;
use crate::sip::Refusal;
use crate::sip::StatusCode;
use crate::sip::user_agent::Counter;
use crate::sip::user_agent::Input;
use crate::sip::user_agent::Output;
use crate::sip::user_agent::UserAgent;

struct Bench {
    agent: UserAgent,
    now: Instant,
    sent: Vec<(Flow, String)>,
    events: Vec<Event>,
    counted: Vec<Counter>,
}

impl Bench {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut super::Config)) -> Self {
        let now = Clock::system().now();
        let mut config = config("10.0.0.1:5060", &["10.0.0.2:5060"], now);
        change(&mut config);
        let agent = UserAgent::new(config, StdRng::seed_from_u64(3));
        Self { agent, now, sent: Vec::new(), events: Vec::new(), counted: Vec::new() }
    }

    fn feed(&mut self, input: Input) -> Vec<String> {
        self.agent.handle(input, self.now);
        self.drain()
    }

    /// The start lines of what it sent.
    fn drain(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(output) = self.agent.poll_output() {
            match output {
                Output::Send { flow, bytes } => {
                    lines.push(first_line(&bytes));
                    self.sent.push((flow, String::from_utf8_lossy(&bytes).into_owned()));
                }
                Output::Event(event) => self.events.push(event),
                Output::Count(counter) => self.counted.push(counter),
            }
        }
        lines
    }

    fn say_from(&mut self, remote: &str, text: &str) -> Vec<String> {
        let bytes = Bytes::from(text.replace('\n', "\r\n"));
        self.feed(Input::Received { flow: udp("10.0.0.1:5060", remote), bytes })
    }

    fn say(&mut self, text: &str) -> Vec<String> {
        self.say_from("10.0.0.2:5060", text)
    }

    fn command(&mut self, command: Command) -> Vec<String> {
        self.feed(Input::Command(command))
    }

    fn wait(&mut self, time: Duration) -> Vec<String> {
        self.now += time;
        self.agent.handle_timeout(self.now);
        self.drain()
    }

    fn last(&self) -> &str {
        &self.sent.last().unwrap().1
    }

    fn words(&mut self) -> Vec<String> {
        self.events.drain(..).map(|event| word(&event)).collect()
    }

    fn invited(&self) -> LegId {
        self.events.iter().find_map(|event| if let Event::Invited(invitation) = event { Some(invitation.leg) } else { None }).unwrap()
    }

    /// An answered and acknowledged call; its leg and our tag.
    fn talking(&mut self) -> (LegId, String) {
        self.say(&request("INVITE", 1, "b1", "", OFFER));
        let leg = self.invited();
        self.command(accept(leg));
        let tag = to_tag(self.last());
        assert!(self.say(&request("ACK", 1, "b2", &tag, "")).is_empty());
        assert_eq!(self.words(), ["invited 1001", "acknowledged"]);
        (leg, tag)
    }
}

const OFFER: &str = "Content-Type: application/sdp\n\nv=0";

/// A request of call `c1`; `rest` ends the headers: empty, or header lines, an empty line and a body.
fn request(method: &str, cseq: u32, branch: &str, to_tag: &str, rest: &str) -> String {
    let tag = if to_tag.is_empty() { String::new() } else { format!(";tag={to_tag}") };
    let rest = if rest.is_empty() { "\n" } else { rest };
    format!(
        "{method} sip:1001@10.0.0.1 SIP/2.0\nVia: SIP/2.0/UDP 10.0.0.2:5060;branch=z9hG4bK{branch}\nMax-Forwards: 70\n\
         From: <sip:2000@pbx>;tag=theirs\nTo: <sip:1001@gw>{tag}\nCall-ID: c1\nCSeq: {cseq} {method}\n\
         Contact: <sip:2000@10.0.0.2:5060>\n{rest}"
    )
}

fn accept(leg: LegId) -> Command {
    Command::Accept { leg, sdp: Bytes::from_static(ANSWER.as_bytes()) }
}

fn header<'a>(message: &'a str, name: &str) -> &'a str {
    message.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap_or_else(|| panic!("no {name} in {message}"))
}

fn to_tag(message: &str) -> String {
    header(message, "To").split_once("tag=").unwrap().1.to_owned()
}

#[test]
fn an_unknown_source_gets_403_without_state() {
    let mut bench = Bench::new();
    assert_eq!(bench.say_from("192.0.2.66:5060", &request("INVITE", 1, "b1", "", OFFER)), ["SIP/2.0 403 Forbidden"]);
    let first = bench.last().to_owned();
    bench.say_from("192.0.2.66:5060", &request("INVITE", 1, "b1", "", OFFER));
    assert_eq!(bench.last(), first, "each copy gets the same answer");
    assert!(bench.say_from("192.0.2.66:5060", &request("ACK", 1, "b1", "x", "")).is_empty());
    assert!(bench.say_from("192.0.2.66:5060", "SIP/2.0 200 OK\nVia: x\n\n").is_empty());
    assert!(bench.say_from("192.0.2.66:5060", "nonsense").is_empty());
    assert_eq!(bench.counted, [Counter::UnknownSource; 5]);
    assert!(bench.agent.is_idle() && bench.events.is_empty());
}

#[test]
fn unknown_methods_are_405_with_allow() {
    let mut bench = Bench::new();
    for (index, method) in ["REGISTER", "UPDATE", "FROB"].iter().enumerate() {
        let lines = bench.say(&request(method, 1, &format!("m{index}"), "", ""));
        assert_eq!(lines, ["SIP/2.0 405 Method Not Allowed"]);
        assert_eq!(header(bench.last(), "Allow"), "INVITE, ACK, BYE, CANCEL, OPTIONS, INFO");
    }
    assert_eq!(bench.say(&request("RE%47IST%45R", 1, "odd", "", "")), ["SIP/2.0 501 Not Implemented"]);
}

#[test]
fn unknown_dialogs_are_481() {
    let mut bench = Bench::new();
    for (index, method) in ["BYE", "INVITE", "INFO", "OPTIONS"].iter().enumerate() {
        let lines = bench.say(&request(method, 1, &format!("u{index}"), "nobody", ""));
        assert_eq!(lines.last().unwrap(), "SIP/2.0 481 Call/Transaction Does Not Exist", "{method}");
    }
    assert_eq!(bench.say(&request("BYE", 1, "u9", "", "")), ["SIP/2.0 481 Call/Transaction Does Not Exist"]);
    assert_eq!(bench.say(&request("CANCEL", 1, "u8", "", "")), ["SIP/2.0 481 Call/Transaction Does Not Exist"]);
    assert!(bench.say(&request("ACK", 1, "u7", "nobody", "")).is_empty());
}

#[test]
fn a_required_extension_is_420_with_all_unknown_tags() {
    let mut bench = Bench::new();
    let lines = bench.say(&request("OPTIONS", 1, "r", "", "Require: foo, bar\nRequire: 100rel\n\n"));
    assert_eq!(lines, ["SIP/2.0 420 Bad Extension"]);
    assert_eq!(header(bench.last(), "Unsupported"), "foo, bar, 100rel");
}

#[test]
fn bodies_that_we_cannot_read_are_415_and_answers_that_they_cannot_are_406() {
    let mut bench = Bench::new();
    assert_eq!(bench.say(&request("INVITE", 1, "t1", "", "Content-Type: text/plain\n\nx")), ["SIP/2.0 415 Unsupported Media Type"]);
    assert_eq!(header(bench.last(), "Accept"), "application/sdp");
    let gzip = "Content-Type: application/sdp\nContent-Encoding: gzip\n\nx";
    assert_eq!(bench.say(&request("INVITE", 2, "t2", "", gzip)), ["SIP/2.0 415 Unsupported Media Type"]);
    assert_eq!(header(bench.last(), "Accept-Encoding"), "identity");
    let narrow = "Accept: text/nobodyKnowsThis\nContent-Type: application/sdp\n\nx";
    assert_eq!(bench.say(&request("INVITE", 3, "t3", "", narrow)), ["SIP/2.0 406 Not Acceptable"]);
}

#[test]
fn max_forwards_zero_is_483_for_invite_and_answered_for_options() {
    let mut bench = Bench::new();
    let zero = |method: &str, branch: &str| request(method, 1, branch, "", "").replace("Forwards: 70", "Forwards: 0");
    assert_eq!(bench.say(&zero("INVITE", "z1")), ["SIP/2.0 483 Too Many Hops"]);
    assert_eq!(bench.say(&zero("OPTIONS", "z2")), ["SIP/2.0 200 OK"]);
    assert_eq!(header(bench.last(), "Accept"), "application/sdp");
    header(bench.last(), "Allow");
    header(bench.last(), "Server");
}

#[test]
fn a_merged_request_is_482_unless_it_names_another_extension() {
    let mut bench = Bench::new();
    bench.say(&request("INVITE", 1, "p1", "", OFFER));
    assert_eq!(bench.say(&request("INVITE", 1, "p2", "", OFFER)), ["SIP/2.0 482 Loop Detected"]);
    let other = request("INVITE", 1, "p3", "", OFFER).replace("INVITE sip:1001", "INVITE sip:1002");
    assert_eq!(bench.say(&other), ["SIP/2.0 100 Trying"]);
    assert_eq!(bench.words(), ["invited 1001", "invited 1002"]);
}

#[test]
fn a_draining_agent_answers_503_with_retry_after_and_keeps_its_calls() {
    let mut bench = Bench::new();
    let (_, tag) = bench.talking();
    bench.command(Command::Drain { retry_after: Duration::from_secs(30) });
    let fresh = |method: &str, branch: &str| request(method, 9, branch, "", "").replace("Call-ID: c1", "Call-ID: c2");
    for (method, branch) in [("INVITE", "d1"), ("OPTIONS", "d2")] {
        assert_eq!(bench.say(&fresh(method, branch)), ["SIP/2.0 503 Service Unavailable"]);
        assert_eq!(header(bench.last(), "Retry-After"), "30");
    }
    assert_eq!(bench.say(&request("BYE", 2, "d3", &tag, "")), ["SIP/2.0 200 OK"]);
}

#[test]
fn too_many_transactions_are_503() {
    let mut bench = Bench::with(|config| config.transactions_max = 1);
    bench.say(&request("OPTIONS", 1, "o1", "", ""));
    assert_eq!(bench.say(&request("OPTIONS", 2, "o2", "", "")), ["SIP/2.0 503 Service Unavailable"]);
    assert_eq!(header(bench.last(), "Retry-After"), "10");
    assert_eq!(bench.agent.transactions(), 1);
}

#[test]
fn responses_follow_via_received_and_rport() {
    let mut bench = Bench::new();
    let with_via = |via: &str, branch: &str| request("OPTIONS", 1, branch, "", "").replace("UDP 10.0.0.2:5060", via).replace("c1", branch);
    bench.say_from("10.0.0.2:40000", &with_via("UDP 10.0.0.2:5070", "v1"));
    assert_eq!(bench.sent.last().unwrap().0.remote.to_string(), "10.0.0.2:5070", "the sent-by port");
    assert!(!bench.last().contains("received"));
    bench.say_from("10.0.0.2:40000", &with_via("UDP pbx.example", "v2"));
    assert_eq!(bench.sent.last().unwrap().0.remote.to_string(), "10.0.0.2:5060", "the default port");
    assert!(bench.last().contains(";received=10.0.0.2"));
    let asked = with_via("UDP 192.168.1.9:5060", "v3").replace(";branch", ";rport;maddr=192.0.2.66;branch");
    bench.say_from("10.0.0.2:40000", &asked);
    assert_eq!(bench.sent.last().unwrap().0.remote.to_string(), "10.0.0.2:40000", "the source port, whatever maddr says");
    assert!(bench.last().contains(";rport=40000") && bench.last().contains(";received=10.0.0.2"));
}

#[test]
fn a_cancel_after_our_final_response_changes_nothing() {
    let mut bench = Bench::new();
    bench.say(&request("INVITE", 1, "b1", "", OFFER));
    let leg = bench.invited();
    bench.command(accept(leg));
    assert_eq!(bench.say(&request("CANCEL", 1, "b1", "", "")), ["SIP/2.0 200 OK"]);
    assert_eq!(bench.words(), ["invited 1001"]);
    assert_eq!(bench.agent.usages(), 1);
}

#[test]
fn the_cancel_and_the_invite_get_the_same_to_tag() {
    let mut bench = Bench::new();
    bench.say(&request("INVITE", 1, "b1", "", OFFER));
    let reason = "Reason: SIP;cause=200;text=\"Call completed elsewhere\"\n\n";
    assert_eq!(bench.say(&request("CANCEL", 1, "b1", "", reason)), ["SIP/2.0 200 OK", "SIP/2.0 487 Request Terminated"]);
    let tags: Vec<String> = bench.sent.iter().skip(1).map(|(_, text)| to_tag(text)).collect();
    assert_eq!(tags[0], tags[1]);
    let Some(Event::Cancelled { reason: Some(reason), .. }) = bench.events.last() else { panic!() };
    assert_eq!(reason.cause, Some(200));
}

#[test]
fn a_bye_before_our_answer_ends_the_invite_with_487() {
    let mut bench = Bench::new();
    bench.say(&request("INVITE", 1, "b1", "", OFFER));
    let leg = bench.invited();
    bench.command(Command::Provisional { leg, status: StatusCode::RINGING, body: None });
    let tag = to_tag(bench.last());
    assert_eq!(bench.say(&request("BYE", 2, "b2", &tag, "")), ["SIP/2.0 200 OK", "SIP/2.0 487 Request Terminated"]);
    assert_eq!(bench.words(), ["invited 1001", "cancelled"]);
}

#[test]
fn an_old_sequence_number_in_the_dialog_is_500() {
    let mut bench = Bench::new();
    let (_, tag) = bench.talking();
    assert_eq!(bench.say(&request("INFO", 5, "i1", &tag, "")), ["SIP/2.0 200 OK"]);
    assert_eq!(bench.say(&request("BYE", 4, "i2", &tag, "")), ["SIP/2.0 500 Server Internal Error"]);
    assert_eq!(bench.agent.usages(), 1);
}

#[test]
fn in_dialog_options_and_info_are_answered() {
    let mut bench = Bench::new();
    let (_, tag) = bench.talking();
    assert_eq!(bench.say(&request("OPTIONS", 2, "i1", &tag, "")), ["SIP/2.0 200 OK"]);
    assert_eq!(bench.say(&request("INFO", 3, "i2", &tag, "Content-Type: text/x\n\nx")), ["SIP/2.0 415 Unsupported Media Type"]);
    assert_eq!(bench.say(&request("INFO", 4, "i3", &tag, "Info-Package: x\n\n")), ["SIP/2.0 469 Bad Info Package"]);
    assert_eq!(bench.say(&request("UPDATE", 5, "i4", &tag, "")), ["SIP/2.0 405 Method Not Allowed"]);
}

#[test]
fn a_reinvite_is_offered_to_the_call_and_its_200_needs_an_ack() {
    let mut bench = Bench::new();
    let (leg, tag) = bench.talking();
    let moved = request("INVITE", 2, "n1", &tag, OFFER).replace("<sip:2000@10.0.0.2:5060>", "<sip:moved@10.0.0.2:5099>");
    assert_eq!(bench.say(&moved), ["SIP/2.0 100 Trying"]);
    assert_eq!(bench.words(), ["reinvited"]);
    assert_eq!(bench.say(&request("INVITE", 3, "n2", &tag, OFFER)).last().unwrap(), "SIP/2.0 500 Server Internal Error");
    header(bench.last(), "Retry-After");
    let sdp = Bytes::from_static(ANSWER.as_bytes());
    assert_eq!(bench.command(Command::AcceptReinvite { leg, sdp }), ["SIP/2.0 200 OK"]);
    assert_eq!(bench.say(&request("INVITE", 4, "n3", &tag, OFFER)).last().unwrap(), "SIP/2.0 491 Request Pending");
    assert_eq!(bench.wait(Duration::from_millis(500)).iter().filter(|line| line.contains("200")).count(), 1);
    bench.say(&request("ACK", 2, "n4", &tag, ""));
    assert_eq!(bench.words(), ["acknowledged"]);
    bench.command(Command::Bye { leg, reason: None });
    assert!(bench.last().starts_with("BYE sip:moved@10.0.0.2:5099 SIP/2.0"), "{}", bench.last());
    assert_eq!(bench.sent.last().unwrap().0.remote.to_string(), "10.0.0.2:5099");
}

#[test]
fn a_refused_reinvite_leaves_the_call_as_it_was() {
    let mut bench = Bench::new();
    let (leg, tag) = bench.talking();
    bench.say(&request("INVITE", 2, "n1", &tag, OFFER));
    let refusal = Refusal::new(StatusCode::NOT_ACCEPTABLE_HERE);
    assert_eq!(bench.command(Command::RefuseReinvite { leg, refusal }), ["SIP/2.0 488 Not Acceptable Here"]);
    assert_eq!(bench.say(&request("BYE", 3, "n2", &tag, "")), ["SIP/2.0 200 OK"]);
    assert_eq!(bench.words(), ["reinvited", "ended PeerBye"]);
}

#[test]
fn a_contact_outside_the_trunk_gets_our_bye_by_the_calls_own_path() {
    let mut bench = Bench::new();
    let foreign = request("INVITE", 1, "b1", "", OFFER).replace("<sip:2000@10.0.0.2:5060>", "<sip:x@192.0.2.66>");
    bench.say(&foreign);
    let leg = bench.invited();
    bench.command(accept(leg));
    let tag = to_tag(bench.last());
    bench.say(&request("ACK", 1, "b2", &tag, ""));
    bench.command(Command::Bye { leg, reason: None });
    assert!(bench.last().starts_with("BYE sip:x@192.0.2.66 SIP/2.0"));
    assert_eq!(bench.sent.last().unwrap().0.remote.to_string(), "10.0.0.2:5060");
}

#[test]
fn the_route_set_is_followed_and_a_strict_router_takes_the_request_uri() {
    for (route, uri, routes) in [
        ("<sip:10.0.0.2:5080;lr>", "sip:2000@10.0.0.2:5060", "<sip:10.0.0.2:5080;lr>"),
        ("<sip:10.0.0.2:5080>", "sip:10.0.0.2:5080", "<sip:2000@10.0.0.2:5060>"),
    ] {
        let mut bench = Bench::new();
        bench.say(&request("INVITE", 1, "b1", "", &format!("Record-Route: {route}\n{OFFER}")));
        let leg = bench.invited();
        bench.command(accept(leg));
        assert_eq!(header(bench.last(), "Record-Route"), route);
        let tag = to_tag(bench.last());
        bench.say(&request("ACK", 1, "b2", &tag, ""));
        bench.command(Command::Bye { leg, reason: None });
        assert!(bench.last().starts_with(&format!("BYE {uri} SIP/2.0")), "{}", bench.last());
        assert_eq!(header(bench.last(), "Route"), routes);
        assert_eq!(bench.sent.last().unwrap().0.remote.port(), 5080);
    }
}

/// The response of a peer to the last request that we sent, from fork `tag`.
fn response(to: &str, status: &str, tag: &str) -> String {
    let copied = ["Via", "From", "Call-ID", "CSeq"].map(|name| format!("{name}: {}", header(to, name))).join("\n");
    format!("SIP/2.0 {status}\n{copied}\nTo: <sip:1001@10.0.0.2>;tag={tag}\nContact: <sip:{tag}@10.0.0.2>\n\n")
}

#[test]
fn a_second_200_of_a_fork_gets_ack_and_bye() {
    let mut bench = Bench::new();
    assert_eq!(bench.command(invite(1)), ["INVITE sip:1001@10.0.0.2:5060 SIP/2.0"]);
    let ours = bench.last().to_owned();
    assert_eq!(header(&ours, "Session-ID"), "07070707070707070707070707070707;remote=00000000000000000000000000000000");
    assert_eq!(bench.say(&response(&ours, "200 OK", "one")), ["ACK sip:one@10.0.0.2 SIP/2.0"]);
    let ack = bench.last().to_owned();
    assert_eq!(bench.say(&response(&ours, "200 OK", "two")), ["ACK sip:two@10.0.0.2 SIP/2.0", "BYE sip:two@10.0.0.2 SIP/2.0"]);
    bench.say(&response(&ours, "200 OK", "one"));
    assert_eq!(bench.last(), ack, "the same ACK for a retransmitted 200");
    assert_eq!(bench.say(&response(&ours, "200 OK", "two")), ["ACK sip:two@10.0.0.2 SIP/2.0"], "and no second BYE");
    assert_eq!(bench.words(), ["accepted"]);
    bench.command(Command::Bye { leg: leg(1), reason: None });
    assert!(bench.last().starts_with("BYE sip:one@10.0.0.2"));
}

#[test]
fn stray_responses_are_dropped() {
    let mut bench = Bench::new();
    bench.command(invite(1));
    let ours = bench.last().to_owned();
    assert!(bench.say(&response(&ours, "200 OK", "x").replace("branch=z9hG4bK", "branch=z9hG4bKother")).is_empty());
    assert!(bench.say(&response(&ours, "200 OK", "x").replace("1 INVITE", "1 BYE")).is_empty());
    assert_eq!(bench.counted, [Counter::StrayResponse; 2]);
    assert!(bench.events.is_empty());
}
