//! Our offers within a call, and the peer's: re-INVITE, UPDATE, glare.

use std::time::Duration;

use bytes::Bytes;

use super::World;
use super::bench::Bench;
use super::bench::HOLD;
use super::bench::OFFER;
use super::bench::accept;
use super::bench::header;
use super::bench::request;
use super::bench::response;
use super::bench::response_with;
use super::bench::to_tag;
use super::invite;
use super::leg;
use crate::ids::LegId;
use crate::sip::Body;
use crate::sip::Command;
use crate::sip::Event;
use crate::sip::Refusal;
use crate::sip::StatusCode;
use crate::sip::message::Method;

fn reinvite(leg: LegId, sdp: &'static str) -> Command {
    Command::Reinvite { leg, sdp: Bytes::from_static(sdp.as_bytes()) }
}

fn answer(leg: LegId) -> Command {
    Command::AcceptReinvite { leg, sdp: Bytes::from_static(b"v=0 answer") }
}

/// Agent 0 called agent 1, and they talk. The callee's leg.
fn talking(seed: u64) -> (World, LegId) {
    let mut world = World::new(2, seed);
    world.command(0, invite(1));
    world.run(Duration::from_millis(100));
    let callee = world.invited_leg(1);
    world.command(1, accept(callee));
    world.run(Duration::from_millis(100));
    assert_eq!(world.words(0), ["accepted"]);
    assert_eq!(world.words(1), ["invited 1001", "acknowledged"]);
    (world, callee)
}

#[test]
fn our_offer_leaves_in_a_reinvite_whose_200_gets_an_ack() {
    let mut bench = Bench::new();
    let (leg, _) = bench.talking();
    assert_eq!(bench.command(reinvite(leg, "v=0 ours")), ["INVITE sip:2000@10.0.0.2:5060 SIP/2.0"]);
    let ours = bench.last().to_owned();
    assert!(ours.ends_with("\r\n\r\nv=0 ours"));
    assert!(header(&ours, "Contact").contains("10.0.0.1"));
    assert_eq!(header(&ours, "CSeq"), "1 INVITE");
    let ok = response_with(&ours, "200 OK", "Content-Type: application/sdp\n\nv=0 theirs");
    assert_eq!(bench.say(&ok), ["ACK sip:2000@10.0.0.2:5060 SIP/2.0"]);
    let ack = bench.last().to_owned();
    assert_eq!(header(&ack, "CSeq"), "1 ACK");
    let Some(Event::Renegotiated { sdp, .. }) = bench.events.last() else { panic!() };
    assert_eq!(sdp, "v=0 theirs");
    bench.say(&ok);
    assert_eq!(bench.last(), ack, "a repeated 200 gets the same ACK");
    assert_eq!(bench.words(), ["renegotiated"]);
}

#[test]
fn both_sides_change_the_session_in_turn() {
    let (mut world, callee) = talking(3);
    world.command(1, reinvite(callee, "v=0 hold"));
    world.run(Duration::from_millis(100));
    assert_eq!(world.words(0), ["reinvited"]);
    world.command(0, answer(leg(1)));
    world.run(Duration::from_millis(100));
    assert_eq!((world.words(0), world.words(1)), (vec!["acknowledged".to_owned()], vec!["renegotiated".to_owned()]));
    world.command(0, reinvite(leg(1), "v=0 resume"));
    world.run(Duration::from_millis(100));
    world.command(1, answer(callee));
    world.run(Duration::from_millis(100));
    assert_eq!(world.words(1), ["reinvited", "acknowledged"]);
    assert_eq!(world.words(0), ["renegotiated"]);
}

#[test]
fn of_offers_that_cross_one_gets_through_and_the_other_is_told() {
    let mut first = [0, 0];
    for seed in 0..40 {
        let (mut world, callee) = talking(seed);
        world.command(0, reinvite(leg(1), "v=0 a"));
        world.command(1, reinvite(callee, "v=0 b"));
        let mut heard = [Vec::new(), Vec::new()];
        for turn in 0..200 {
            world.run(Duration::from_millis(50));
            let (agent, leg) = if turn % 2 == 0 { (0, leg(1)) } else { (1, callee) };
            let words = world.words(agent);
            if words.iter().any(|word| word == "reinvited") {
                world.command(agent, answer(leg));
            }
            heard[agent].extend(words);
        }
        assert!(world.times(0, "SIP/2.0 491") + world.times(1, "SIP/2.0 491") >= 1, "seed {seed}");
        let through = [0, 1].map(|agent: usize| heard[agent].iter().filter(|word| *word == "renegotiated").count());
        assert_eq!(through[0] + through[1], 1, "seed {seed}: {heard:?}");
        let (winner, loser) = if through[0] == 1 { (0, 1) } else { (1, 0) };
        assert_eq!(heard[winner], ["renegotiated"], "seed {seed}");
        assert_eq!(heard[loser], ["renegotiation overtaken", "reinvited", "acknowledged"], "seed {seed}");
        first[winner] += 1;
    }
    // The maker of the Call-ID waits 2.1 to 4 s, the other 0 to 2 s (RFC 3261 14.1).
    assert!(first[1] > 30, "{first:?}");
}

#[test]
fn a_reinvite_that_meets_491_again_and_again_fails_at_last() {
    let mut bench = Bench::new();
    bench.command(invite(1));
    let ours = bench.last().to_owned();
    bench.say(&response(&ours, "200 OK", "theirs"));
    bench.words();
    bench.command(reinvite(leg(1), "v=0 x"));
    for attempt in 0..=5 {
        let ours = bench.last().to_owned();
        assert!(ours.starts_with("INVITE sip:theirs@"), "attempt {attempt}: {ours}");
        assert_eq!(header(&ours, "CSeq"), format!("{} INVITE", attempt + 2), "a new number each time");
        bench.say(&response(&ours, "491 Request Pending", "theirs"));
        assert_eq!(
            bench.wait(Duration::from_millis(2_090)).iter().filter(|line| line.starts_with("INVITE")).count(),
            0
        );
        bench.wait(Duration::from_millis(1_910));
    }
    assert_eq!(bench.words(), ["renegotiation failed 491"]);
}

#[test]
fn a_refused_offer_leaves_the_call_and_481_ends_it() {
    for (status, expected) in [
        ("488 Not Acceptable Here", vec!["renegotiation failed 488"]),
        ("200 OK", vec!["renegotiation failed 488"]),
        ("481 Gone", vec!["ended DialogLost"]),
        ("408 Silence", vec!["ended DialogLost"]),
    ] {
        let mut bench = Bench::new();
        let (leg, _) = bench.talking();
        bench.command(reinvite(leg, "v=0 ours"));
        let ours = bench.last().to_owned();
        let lines = bench.say(&response_with(&ours, status, "\n"));
        assert_eq!(lines[0].split(' ').next(), Some("ACK"), "{status}");
        assert_eq!(bench.words(), expected, "{status}");
        let ends = lines.iter().any(|line| line.starts_with("BYE"));
        assert_eq!(ends, expected[0].starts_with("ended"), "{status}");
    }
}

#[test]
fn a_second_offer_waits_for_the_first_and_a_third_takes_its_place() {
    let mut bench = Bench::new();
    let (leg, _) = bench.talking();
    bench.command(reinvite(leg, "v=0 one"));
    let first = bench.last().to_owned();
    assert!(bench.command(reinvite(leg, "v=0 two")).is_empty());
    assert!(bench.command(reinvite(leg, "v=0 three")).is_empty());
    assert_eq!(bench.words(), ["renegotiation failed 491"]);
    let lines = bench.say(&response_with(&first, "200 OK", "Content-Type: application/sdp\n\nv=0"));
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(bench.last().ends_with("v=0 three"));
}

#[test]
fn our_offer_waits_for_our_answer_to_the_peers() {
    let mut bench = Bench::new();
    let (leg, tag) = bench.talking();
    bench.say(&request("INVITE", 2, "n1", &tag, HOLD));
    bench.command(answer(leg));
    assert!(bench.command(reinvite(leg, "v=0 ours")).is_empty());
    let lines = bench.say(&request("ACK", 2, "n2", &tag, ""));
    assert_eq!(lines, ["INVITE sip:2000@10.0.0.2:5060 SIP/2.0"]);
}

#[test]
fn an_offer_made_before_our_answer_to_the_peers_never_leaves_after_it() {
    // Its o= version is the lower one (RFC 3264 8), and the answer says what we want now.
    for (method, ack) in [("INVITE", true), ("UPDATE", false)] {
        let mut bench = Bench::new();
        let (leg, tag) = bench.talking();
        bench.say(&request(method, 2, "n1", &tag, HOLD));
        bench.words();
        assert!(bench.command(reinvite(leg, "v=0 ours")).is_empty());
        bench.command(answer(leg));
        assert_eq!(bench.words(), ["renegotiation overtaken"], "{method}");
        if ack {
            assert!(bench.say(&request("ACK", 2, "n2", &tag, "")).is_empty());
        }
        bench.command(reinvite(leg, "v=0 later"));
        assert!(bench.last().ends_with("v=0 later"), "{method}");
    }
}

#[test]
fn an_offer_that_waits_behind_the_peers_leaves_when_that_is_refused() {
    let mut bench = Bench::new();
    let (leg, tag) = bench.talking();
    bench.say(&request("INVITE", 2, "n1", &tag, HOLD));
    assert!(bench.command(reinvite(leg, "v=0 ours")).is_empty());
    bench.command(Command::RefuseReinvite { leg, refusal: Refusal::new(StatusCode::NOT_ACCEPTABLE_HERE) });
    assert!(bench.last().ends_with("v=0 ours"));
}

#[test]
fn a_reinvite_without_answer_ends_the_call_after_64_t1() {
    let mut bench = Bench::new();
    let (leg, _) = bench.talking();
    bench.command(reinvite(leg, "v=0 ours"));
    let ours = bench.last().to_owned();
    bench.say(&response_with(&ours, "100 Trying", "\n"));
    bench.wait(Duration::from_secs(32));
    assert!(bench.words().is_empty());
    assert!(bench.wait(Duration::from_millis(500)).iter().any(|line| line.starts_with("BYE")));
    assert_eq!(bench.words(), ["ended DialogLost"]);
}

#[test]
fn a_bye_overtakes_our_reinvite_and_its_200_still_gets_an_ack() {
    let mut bench = Bench::new();
    let (leg, tag) = bench.talking();
    bench.command(reinvite(leg, "v=0 ours"));
    let ours = bench.last().to_owned();
    bench.say(&request("BYE", 2, "y1", &tag, ""));
    assert_eq!(bench.words(), ["ended PeerBye"]);
    let lines = bench.say(&response_with(&ours, "200 OK", "Content-Type: application/sdp\n\nv=0"));
    assert_eq!(lines, ["ACK sip:2000@10.0.0.2:5060 SIP/2.0"]);
    assert!(bench.words().is_empty());
}

// --- UPDATE ---

#[test]
fn an_update_without_offer_moves_the_target_and_is_answered_alone() {
    let mut bench = Bench::new();
    let (leg, tag) = bench.talking();
    let moved = request("UPDATE", 2, "u1", &tag, "").replace("<sip:2000@10.0.0.2:5060>", "<sip:m@10.0.0.2:5099>");
    assert_eq!(bench.say(&moved), ["SIP/2.0 200 OK"]);
    assert!(header(bench.last(), "Contact").contains("10.0.0.1"));
    assert!(bench.words().is_empty());
    bench.command(Command::Bye { leg, reason: None });
    assert!(bench.last().starts_with("BYE sip:m@10.0.0.2:5099"));
}

#[test]
fn an_update_with_an_offer_is_the_call_rooms_to_answer() {
    let mut bench = Bench::new();
    let (leg, tag) = bench.talking();
    assert!(bench.say(&request("UPDATE", 2, "u1", &tag, HOLD)).is_empty());
    assert_eq!(bench.words(), ["reinvited"]);
    assert_eq!(bench.say(&request("UPDATE", 3, "u2", &tag, OFFER)), ["SIP/2.0 500 Server Internal Error"]);
    assert!(header(bench.last(), "Retry-After").parse::<u32>().unwrap() <= 10);
    assert_eq!(bench.command(answer(leg)), ["SIP/2.0 200 OK"]);
    assert!(bench.last().ends_with("v=0 answer"));
    assert!(bench.say(&request("UPDATE", 4, "u3", &tag, OFFER)).is_empty());
    let refusal = Refusal::new(StatusCode::NOT_ACCEPTABLE_HERE);
    assert_eq!(bench.command(Command::RefuseReinvite { leg, refusal }), ["SIP/2.0 488 Not Acceptable Here"]);
}

#[test]
fn an_update_that_nobody_answers_is_500_after_8_s() {
    let mut bench = Bench::new();
    let (_, tag) = bench.talking();
    bench.say(&request("UPDATE", 2, "u1", &tag, HOLD));
    assert!(bench.wait(Duration::from_millis(7_900)).is_empty());
    assert_eq!(bench.wait(Duration::from_millis(100)), ["SIP/2.0 500 Server Internal Error"]);
    header(bench.last(), "Retry-After");
}

#[test]
fn an_update_that_crosses_our_offer_is_491() {
    let mut bench = Bench::new();
    let (leg, tag) = bench.talking();
    bench.command(reinvite(leg, "v=0 ours"));
    assert_eq!(bench.say(&request("UPDATE", 2, "u1", &tag, HOLD)), ["SIP/2.0 491 Request Pending"]);
    assert_eq!(bench.say(&request("UPDATE", 3, "u2", &tag, "")), ["SIP/2.0 200 OK"], "without an offer none crosses");
}

#[test]
fn an_update_before_our_answer_is_500_while_the_first_offer_is_open() {
    let mut bench = Bench::new();
    bench.say(&request("INVITE", 1, "b1", "", OFFER));
    let leg = bench.invited();
    bench.command(Command::Provisional { leg, status: StatusCode::RINGING, body: None });
    let tag = to_tag(bench.last());
    assert_eq!(bench.say(&request("UPDATE", 2, "u1", &tag, HOLD)), ["SIP/2.0 500 Server Internal Error"]);
}

// --- late offers ---

fn late_invite() -> Command {
    let Command::Invite(mut wanted) = invite(1) else { unreachable!() };
    wanted.offer = None;
    Command::Invite(wanted)
}

#[test]
fn the_answer_to_a_late_offer_goes_in_the_ack() {
    let mut bench = Bench::new();
    bench.command(late_invite());
    let ours = bench.last().to_owned();
    assert!(!ours.contains("Content-Type"));
    let ok =
        response_with(&ours, "200 OK", "Content-Type: application/sdp\n\nv=0 theirs").replace("tag=theirs", "tag=t");
    assert!(bench.say(&ok).is_empty(), "the ACK waits");
    let Some(Event::Accepted { sdp: Some(sdp), .. }) = bench.events.last() else { panic!() };
    assert_eq!(sdp, "v=0 theirs");
    assert!(bench.say(&ok).is_empty(), "for a repeated 200, too");
    let sdp = Bytes::from_static(b"v=0 late answer");
    let lines = bench.command(Command::Answer { leg: leg(1), sdp });
    assert!(lines.len() == 1 && lines[0].starts_with("ACK"), "{lines:?}");
    assert!(bench.last().ends_with("v=0 late answer"));
    assert!(bench.say(&ok)[0].starts_with("ACK"));
    assert_eq!(bench.words(), ["accepted"]);
}

#[test]
fn a_late_offer_that_nobody_answers_ends_in_ack_and_bye() {
    let mut bench = Bench::new();
    bench.command(late_invite());
    let ours = bench.last().to_owned();
    bench.say(&response_with(&ours, "200 OK", "Content-Type: application/sdp\n\nv=0 theirs"));
    assert!(bench.wait(Duration::from_millis(7_999)).is_empty());
    let lines = bench.wait(Duration::from_millis(1));
    assert!(lines[0].starts_with("ACK") && lines[1].starts_with("BYE"), "{lines:?}");
}

#[test]
fn a_probing_invite_asks_for_an_offer_and_its_ack_brings_our_answer() {
    let mut bench = Bench::new();
    let (leg, _) = bench.talking();
    let probe = |method, body| Command::Probe { leg, method, headers: Vec::new(), body };
    assert_eq!(bench.command(probe(Method::Invite, None)), ["INVITE sip:2000@10.0.0.2:5060 SIP/2.0"]);
    assert!(bench.last().ends_with("Content-Length: 0\r\n\r\n"), "{}", bench.last());
    let sent = bench.last().to_owned();
    let offered = "Content-Type: application/sdp\n\nv=0 theirs";
    assert!(bench.say(&response_with(&sent, "200 OK", offered)).is_empty(), "the ACK waits");
    assert_eq!(bench.words(), ["renegotiated"]);
    let update = bench.command(probe(Method::Update, Some(Body::sdp("v=0 crossing"))));
    assert_eq!(update, ["UPDATE sip:2000@10.0.0.2:5060 SIP/2.0"], "past the rule that one offer is open at a time");
    assert_eq!(bench.command(Command::Answer { leg, sdp: "v=0 ours".into() }), ["ACK sip:2000@10.0.0.2:5060 SIP/2.0"]);
    assert!(bench.last().ends_with("v=0 ours"), "{}", bench.last());
    assert_eq!(header(bench.last(), "CSeq"), "1 ACK");
}

#[test]
fn a_probing_invite_that_brings_nothing_is_acknowledged_at_once() {
    let mut bench = Bench::new();
    let (leg, _) = bench.talking();
    bench.command(Command::Probe { leg, method: Method::Invite, headers: Vec::new(), body: None });
    let sent = bench.last().to_owned();
    assert_eq!(bench.say(&response_with(&sent, "200 OK", "")), ["ACK sip:2000@10.0.0.2:5060 SIP/2.0"]);
    assert!(bench.words().is_empty());
}
