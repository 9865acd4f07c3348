//! Dialogs in raw text: order, re-INVITE, routes, forks, streams.

use std::time::Duration;

use bytes::Bytes;

use super::ANSWER;
use super::address;
use super::bench::Bench;
use super::bench::HOLD;
use super::bench::OFFER;
use super::bench::accept;
use super::bench::header;
use super::bench::request;
use super::bench::response;
use super::bench::to_tag;
use super::invite;
use super::leg;
use crate::ids::TrunkName;
use crate::sip::Command;
use crate::sip::ConnectionId;
use crate::sip::Flow;
use crate::sip::Refusal;
use crate::sip::StatusCode;
use crate::sip::Transport;
use crate::sip::user_agent::Counter;
use crate::sip::user_agent::Input;
use crate::sip::user_agent::Listen;
use crate::sip::user_agent::Trunk;

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
    assert_eq!(
        bench.say(&request("INFO", 3, "i2", &tag, "Content-Type: text/x\n\nx")),
        ["SIP/2.0 415 Unsupported Media Type"]
    );
    assert_eq!(bench.say(&request("INFO", 4, "i3", &tag, "Info-Package: x\n\n")), ["SIP/2.0 469 Bad Info Package"]);
    let digit = "Content-Type: application/dtmf-relay\n\nSignal=5";
    assert_eq!(bench.say(&request("INFO", 5, "i4", &tag, digit)), ["SIP/2.0 200 OK"]);
    assert_eq!(bench.words(), ["info application/dtmf-relay"]);
}

#[test]
fn a_reinvite_is_offered_to_the_call_and_its_200_needs_an_ack() {
    let mut bench = Bench::new();
    let (leg, tag) = bench.talking();
    let moved = request("INVITE", 2, "n1", &tag, HOLD).replace("<sip:2000@10.0.0.2:5060>", "<sip:moved@10.0.0.2:5099>");
    assert_eq!(bench.say(&moved), ["SIP/2.0 100 Trying"]);
    assert_eq!(bench.words(), ["reinvited"]);
    assert_eq!(bench.say(&request("INVITE", 3, "n2", &tag, HOLD)).last().unwrap(), "SIP/2.0 500 Server Internal Error");
    header(bench.last(), "Retry-After");
    let sdp = Bytes::from_static(ANSWER.as_bytes());
    assert_eq!(bench.command(Command::AcceptReinvite { leg, sdp }), ["SIP/2.0 200 OK"]);
    assert_eq!(bench.say(&request("INVITE", 4, "n3", &tag, HOLD)).last().unwrap(), "SIP/2.0 491 Request Pending");
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
    bench.say(&request("INVITE", 2, "n1", &tag, HOLD));
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

#[test]
fn a_second_200_of_a_fork_gets_ack_and_bye() {
    let mut bench = Bench::new();
    assert_eq!(bench.command(invite(1)), ["INVITE sip:1001@10.0.0.2:5060 SIP/2.0"]);
    let ours = bench.last().to_owned();
    assert_eq!(header(&ours, "Session-ID"), "07070707070707070707070707070707;remote=00000000000000000000000000000000");
    assert_eq!(bench.say(&response(&ours, "200 OK", "one")), ["ACK sip:one@10.0.0.2 SIP/2.0"]);
    let ack = bench.last().to_owned();
    assert_eq!(
        bench.say(&response(&ours, "200 OK", "two")),
        ["ACK sip:two@10.0.0.2 SIP/2.0", "BYE sip:two@10.0.0.2 SIP/2.0"]
    );
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

fn with_tcp() -> Bench {
    Bench::with(|config| {
        config.listen.push(Listen { transport: Transport::Tcp, address: address("10.0.0.1:5060") });
        config.trunks[0].targets[0].tcp_for_large = true;
    })
}

fn large_invite() -> Command {
    let Command::Invite(mut outgoing) = invite(1) else { unreachable!() };
    outgoing.offer = Some(Bytes::from(vec![b'x'; 1_200]));
    Command::Invite(outgoing)
}

#[test]
fn a_large_invite_goes_by_tcp_and_by_udp_where_that_fails() {
    let mut bench = with_tcp();
    bench.command(large_invite());
    let (flow, text) = bench.sent.last().unwrap().clone();
    assert_eq!((flow.transport, flow.connection), (Transport::Tcp, None));
    assert!(header(&text, "Via").starts_with("SIP/2.0/TCP 10.0.0.1:5060"));
    assert_eq!(bench.feed(Input::FlowFailed { flow }), ["INVITE sip:1001@10.0.0.2:5060 SIP/2.0"]);
    let (flow, text) = bench.sent.last().unwrap().clone();
    assert_eq!(flow.transport, Transport::Udp);
    assert!(header(&text, "Via").starts_with("SIP/2.0/UDP 10.0.0.1:5060"));
    assert_eq!(bench.wait(Duration::from_millis(500)).len(), 1, "timer A runs");
    assert!(bench.words().is_empty());
}

#[test]
fn a_small_invite_stays_on_udp() {
    let mut bench = with_tcp();
    bench.command(invite(1));
    assert_eq!(bench.sent.last().unwrap().0.transport, Transport::Udp);
}

#[test]
fn a_call_outlives_its_stream() {
    let mut bench = with_tcp();
    let local = address("10.0.0.1:5060");
    let connection = Some(ConnectionId(7));
    let stream = Flow { transport: Transport::Tcp, local, remote: address("10.0.0.2:40000"), connection };
    let text = request("INVITE", 1, "b1", "", OFFER).replace("SIP/2.0/UDP", "SIP/2.0/TCP").replace('\n', "\r\n");
    bench.feed(Input::Received { flow: stream, bytes: Bytes::from(text) });
    bench.feed(Input::FlowFailed { flow: stream });
    let leg = bench.invited();
    bench.command(accept(leg));
    let reply = bench.sent.last().unwrap().0;
    assert_eq!((reply.remote, reply.connection), (address("10.0.0.2:5060"), None), "a new stream to the sent-by port");
    let tag = to_tag(bench.last());
    bench.say(&request("ACK", 1, "b2", &tag, ""));
    bench.command(Command::Bye { leg, reason: None });
    let bye = bench.sent.last().unwrap().0;
    assert_eq!((bye.transport, bye.remote, bye.connection), (Transport::Tcp, address("10.0.0.2:5060"), None));
}

#[test]
fn another_trunk_reaches_no_call_of_this_one() {
    let mut bench = Bench::with(|config| {
        config.trunks.push(Trunk::of_target(TrunkName::new("other"), super::target("10.0.0.9:5060")));
    });
    bench.say(&request("INVITE", 1, "b1", "", OFFER));
    let cancel = request("CANCEL", 1, "b1", "", "");
    assert_eq!(bench.say_from("10.0.0.9:5060", &cancel), ["SIP/2.0 481 Call/Transaction Does Not Exist"]);
    let leg = bench.invited();
    bench.command(accept(leg));
    let tag = to_tag(bench.last());
    bench.say_from("10.0.0.9:5060", &request("ACK", 1, "b2", &tag, ""));
    assert_eq!(
        bench.say_from("10.0.0.9:5060", &request("BYE", 2, "b3", &tag, "")),
        ["SIP/2.0 481 Call/Transaction Does Not Exist"]
    );
    assert_eq!(bench.words(), ["invited 1001"]);
}
