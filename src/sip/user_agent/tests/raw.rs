//! Requests in raw text from a trunk's address: what is refused, and how.

use std::time::Duration;

use super::bench::Bench;
use super::bench::OFFER;
use super::bench::accept;
use super::bench::header;
use super::bench::request;
use super::bench::to_tag;
use crate::sip::Command;
use crate::sip::Event;
use crate::sip::user_agent::Counter;

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
    for (index, method) in ["REGISTER", "SUBSCRIBE", "FROB"].iter().enumerate() {
        let lines = bench.say(&request(method, 1, &format!("m{index}"), "", ""));
        assert_eq!(lines, ["SIP/2.0 405 Method Not Allowed"]);
        assert_eq!(
            header(bench.last(), "Allow"),
            "INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, PRACK, UPDATE, REFER, NOTIFY"
        );
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
    let lines =
        bench.say(&request("OPTIONS", 1, "r", "", "Require: foo, 100rel, timer\nRequire: norefersub, replaces\n\n"));
    assert_eq!(lines, ["SIP/2.0 420 Bad Extension"]);
    assert_eq!(header(bench.last(), "Unsupported"), "foo, norefersub");
}

#[test]
fn bodies_that_we_cannot_read_are_415_and_answers_that_they_cannot_are_406() {
    let mut bench = Bench::new();
    assert_eq!(
        bench.say(&request("INVITE", 1, "t1", "", "Content-Type: text/plain\n\nx")),
        ["SIP/2.0 415 Unsupported Media Type"]
    );
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
    let with_via = |via: &str, branch: &str| {
        request("OPTIONS", 1, branch, "", "").replace("UDP 10.0.0.2:5060", via).replace("c1", branch)
    };
    bench.say_from("10.0.0.2:40000", &with_via("UDP 10.0.0.2:5070", "v1"));
    assert_eq!(bench.sent.last().unwrap().0.remote.to_string(), "10.0.0.2:5070", "the sent-by port");
    assert!(!bench.last().contains("received"));
    bench.say_from("10.0.0.2:40000", &with_via("UDP pbx.example", "v2"));
    assert_eq!(bench.sent.last().unwrap().0.remote.to_string(), "10.0.0.2:5060", "the default port");
    assert!(bench.last().contains(";received=10.0.0.2"));
    let asked = with_via("UDP 192.168.1.9:5060", "v3").replace(";branch", ";rport;maddr=192.0.2.66;branch");
    bench.say_from("10.0.0.2:40000", &asked);
    assert_eq!(
        bench.sent.last().unwrap().0.remote.to_string(),
        "10.0.0.2:40000",
        "the source port, whatever maddr says"
    );
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
    assert_eq!(
        bench.say(&request("CANCEL", 1, "b1", "", reason)),
        ["SIP/2.0 200 OK", "SIP/2.0 487 Request Terminated"]
    );
    let tags: Vec<String> = bench.sent.iter().skip(1).map(|(_, text)| to_tag(text)).collect();
    assert_eq!(tags[0], tags[1]);
    let Some(Event::Cancelled { reason: Some(reason), .. }) = bench.events.last() else { panic!() };
    assert_eq!(reason.cause, Some(200));
}

#[test]
fn an_overloaded_agent_still_ends_its_calls() {
    let mut bench = Bench::with(|config| config.transactions_max = 1);
    let (_, tag) = bench.talking();
    assert_eq!(bench.say(&request("OPTIONS", 2, "x1", "", "")), ["SIP/2.0 503 Service Unavailable"]);
    assert_eq!(bench.say(&request("CANCEL", 2, "x2", "", "")), ["SIP/2.0 503 Service Unavailable"]);
    assert_eq!(bench.say(&request("BYE", 2, "x3", &tag, "")), ["SIP/2.0 200 OK"]);
}

#[test]
fn an_invite_of_rfc_2543_is_answered_and_acknowledged() {
    let mut bench = Bench::new();
    let old = |method: &str, tag: &str| {
        let rest = if method == "INVITE" { OFFER } else { "" };
        request(method, 1, "", tag, rest)
            .replace(";branch=z9hG4bK", "")
            .replace(";tag=theirs", "")
            .replace("Contact: <sip:2000@10.0.0.2:5060>\n", "")
    };
    assert_eq!(bench.say(&old("INVITE", "")), ["SIP/2.0 100 Trying"]);
    assert_eq!(bench.say(&old("INVITE", "")), ["SIP/2.0 100 Trying"], "a retransmission");
    let leg = bench.invited();
    bench.command(accept(leg));
    let tag = to_tag(bench.last());
    assert!(bench.say(&old("ACK", &tag)).is_empty());
    assert_eq!(bench.words(), ["invited 1001", "acknowledged"]);
}
