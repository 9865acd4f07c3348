//! Reliable provisional responses (RFC 3262), early dialogs and forks.

use std::time::Duration;

use bytes::Bytes;

use super::World;
use super::bench::Bench;
use super::bench::HOLD;
use super::bench::OFFER;
use super::bench::accept;
use super::bench::header;
use super::bench::request;
use super::bench::response_with;
use super::bench::to_tag;
use super::invite;
use super::leg;
use crate::ids::LegId;
use crate::sip::Body;
use crate::sip::Command;
use crate::sip::Event;
use crate::sip::StatusCode;
use crate::sip::dialog::terms::ReliableProvisionals;

fn ring(leg: LegId, sdp: Option<&'static str>) -> Command {
    let status = if sdp.is_some() { StatusCode::SESSION_PROGRESS } else { StatusCode::RINGING };
    Command::Provisional { leg, status, body: sdp.map(Body::sdp) }
}

/// An INVITE that requires reliable provisional responses came in.
fn invited(rest: &str) -> (Bench, LegId) {
    let mut bench = Bench::new();
    bench.say(&request("INVITE", 1, "b1", "", &format!("Require: 100rel\nAllow: UPDATE\n{rest}")));
    let leg = bench.invited();
    bench.words();
    (bench, leg)
}

/// The PRACK of our last response.
fn prack(bench: &Bench, cseq: u32, rest: &str) -> String {
    let tag = to_tag(bench.last());
    let rack =
        format!("RAck: {} 1 INVITE\n{}", header(bench.last(), "RSeq"), if rest.is_empty() { "\n" } else { rest });
    request("PRACK", cseq, &format!("prack{cseq}"), &tag, &rack)
}

#[test]
fn a_required_reliable_180_is_repeated_until_its_prack() {
    let (mut bench, leg) = invited(OFFER);
    assert_eq!(bench.command(ring(leg, None)), ["SIP/2.0 180 Ringing"]);
    assert_eq!(header(bench.last(), "Require"), "100rel");
    let rseq: u32 = header(bench.last(), "RSeq").parse().unwrap();
    assert!((1..1 << 31).contains(&rseq));
    let mut gaps = Vec::new();
    for wait in [500, 1_000, 2_000, 4_000] {
        assert!(bench.wait(Duration::from_millis(wait - 1)).is_empty());
        gaps.extend(bench.wait(Duration::from_millis(1)));
    }
    assert_eq!(gaps, ["SIP/2.0 180 Ringing"; 4]);
    let prack = prack(&bench, 2, "");
    assert_eq!(bench.say(&prack), ["SIP/2.0 200 OK"]);
    assert_eq!(header(bench.last(), "CSeq"), "2 PRACK");
    assert!(bench.wait(Duration::from_secs(20)).is_empty());
    assert_eq!(bench.command(accept(leg)), ["SIP/2.0 200 OK"]);
}

#[test]
fn a_prack_of_something_else_is_481_and_a_second_one_too() {
    let (mut bench, leg) = invited(OFFER);
    bench.command(ring(leg, None));
    let good = prack(&bench, 3, "");
    let wrong = good.replace("1 INVITE", "2 INVITE").replace("3 PRACK", "2 PRACK").replace("prack3", "prack2");
    assert_eq!(bench.say(&wrong), ["SIP/2.0 481 Call/Transaction Does Not Exist"]);
    assert_eq!(bench.say(&good), ["SIP/2.0 200 OK"]);
    let again = good.replace("3 PRACK", "4 PRACK").replace("prack3", "prack4");
    assert_eq!(bench.say(&again), ["SIP/2.0 481 Call/Transaction Does Not Exist"]);
}

#[test]
fn without_any_prack_the_invite_is_504_after_64_t1() {
    let (mut bench, leg) = invited(OFFER);
    bench.command(ring(leg, None));
    bench.wait(Duration::from_millis(31_999));
    assert!(bench.words().is_empty());
    assert!(bench.wait(Duration::from_millis(1)).contains(&"SIP/2.0 504 Server Time-out".to_owned()));
    assert_eq!(bench.words(), ["cancelled"]);
    assert_eq!(bench.agent.usages(), 0);
}

#[test]
fn no_200_leaves_while_a_description_awaits_its_prack() {
    let (mut bench, leg) = invited(OFFER);
    bench.command(ring(leg, Some("v=0 early")));
    let prack = prack(&bench, 2, "");
    assert!(bench.command(accept(leg)).is_empty(), "RFC 3262 3");
    assert_eq!(bench.say(&prack), ["SIP/2.0 200 OK", "SIP/2.0 200 OK"]);
    assert_eq!(header(bench.last(), "CSeq"), "1 INVITE");
    assert!(bench.last().ends_with("v=0 answer"));
}

#[test]
fn a_200_need_not_wait_for_the_prack_of_a_180() {
    let (mut bench, leg) = invited(OFFER);
    bench.command(ring(leg, None));
    let prack = prack(&bench, 2, "");
    assert_eq!(bench.command(accept(leg)), ["SIP/2.0 200 OK"]);
    assert_eq!(bench.say(&prack), ["SIP/2.0 200 OK"], "which may still come");
    assert_eq!(bench.wait(Duration::from_millis(500)), ["SIP/2.0 200 OK"], "the 180 is repeated no more");
}

#[test]
fn a_second_reliable_response_waits_for_the_first() {
    let (mut bench, leg) = invited(OFFER);
    bench.command(ring(leg, None));
    let rseq: u32 = header(bench.last(), "RSeq").parse().unwrap();
    let prack = prack(&bench, 2, "");
    assert!(bench.command(ring(leg, Some("v=0 early"))).is_empty());
    assert_eq!(bench.say(&prack), ["SIP/2.0 200 OK", "SIP/2.0 183 Session Progress"]);
    assert_eq!(header(bench.last(), "RSeq"), (rseq + 1).to_string());
}

#[test]
fn reliability_that_is_only_supported_is_used_where_the_trunk_offers_it() {
    for (terms, expected) in [(ReliableProvisionals::Required, false), (ReliableProvisionals::Offered, true)] {
        let mut bench = Bench::with(|config| config.trunks[0].terms.reliable_provisionals = terms);
        bench.say(&request("INVITE", 1, "b1", "", &format!("Supported: 100rel\n{OFFER}")));
        let leg = bench.invited();
        bench.command(ring(leg, None));
        assert_eq!(bench.last().contains("RSeq"), expected);
    }
}

#[test]
fn our_late_offer_in_a_reliable_183_is_answered_in_its_prack_and_not_made_again() {
    let (mut bench, leg) = invited("\n");
    bench.command(ring(leg, Some("v=0 our offer")));
    let prack = prack(&bench, 2, "Content-Type: application/sdp\n\nv=0 their answer");
    assert_eq!(bench.say(&prack), ["SIP/2.0 200 OK"]);
    bench.command(accept(leg));
    let tag = to_tag(bench.last());
    assert!(!bench.last().contains("v=0"), "{}", bench.last());
    bench.say(&request("ACK", 1, "b2", &tag, ""));
    let Some(Event::Acknowledged { sdp: Some(sdp), .. }) = bench.events.last() else { panic!() };
    assert_eq!(sdp, "v=0 their answer");
}

#[test]
fn a_late_offer_that_its_prack_does_not_answer_ends_the_call() {
    let (mut bench, leg) = invited("\n");
    bench.command(ring(leg, Some("v=0 our offer")));
    let prack = prack(&bench, 2, "");
    assert_eq!(bench.say(&prack), ["SIP/2.0 400 Bad Request", "SIP/2.0 488 Not Acceptable Here"]);
    assert_eq!(bench.words(), ["cancelled"]);
}

#[test]
fn a_new_offer_in_a_prack_and_one_in_an_update_are_the_call_rooms_to_answer() {
    let (mut bench, leg) = invited(OFFER);
    bench.command(ring(leg, Some("v=0 early")));
    let tag = to_tag(bench.last());
    let prack = prack(&bench, 2, HOLD);
    assert!(bench.say(&prack).is_empty());
    let sdp = Bytes::from_static(b"v=0 more");
    assert_eq!(bench.command(Command::AcceptReinvite { leg, sdp: sdp.clone() }), ["SIP/2.0 200 OK"]);
    assert_eq!(header(bench.last(), "CSeq"), "2 PRACK");
    let offer = "Content-Type: application/sdp\n\nv=0 third";
    assert!(bench.say(&request("UPDATE", 3, "u3", &tag, offer)).is_empty());
    bench.command(Command::AcceptReinvite { leg, sdp });
    assert_eq!(header(bench.last(), "CSeq"), "3 UPDATE");
    assert_eq!(bench.words(), ["reinvited", "reinvited"]);
}

#[test]
fn our_offer_before_the_answer_goes_by_update() {
    let (mut bench, leg) = invited(OFFER);
    bench.command(ring(leg, Some("v=0 early")));
    let sdp = Bytes::from_static(b"v=0 changed");
    assert!(bench.command(Command::Reinvite { leg, sdp }).is_empty(), "the first answer has no PRACK");
    let prack = prack(&bench, 2, "");
    let lines = bench.say(&prack);
    assert_eq!(lines[1], "UPDATE sip:2000@10.0.0.2:5060 SIP/2.0");
    let update = bench.last().to_owned();
    bench.say(&response_with(&update, "200 OK", "Content-Type: application/sdp\n\nv=0 fine"));
    assert_eq!(bench.words(), ["renegotiated"]);
}

// --- the caller's side ---

/// A reliable response of fork `tag` to our INVITE.
fn reliable(ours: &str, status: &str, tag: &str, rseq: u32, rest: &str) -> String {
    let rest = if rest.is_empty() { "\n" } else { rest };
    response_with(ours, status, &format!("Require: 100rel\nRSeq: {rseq}\nAllow: INVITE, UPDATE, PRACK\n{rest}"))
        .replace(";tag=theirs", &format!(";tag={tag}"))
}

const EARLY: &str = "Content-Type: application/sdp\n\nv=0 early";

#[test]
fn each_reliable_response_gets_its_prack_once_and_in_order() {
    let mut bench = Bench::new();
    bench.command(invite(1));
    let ours = bench.last().to_owned();
    assert!(header(&ours, "Supported").contains("100rel"));
    assert_eq!(
        bench.say(&reliable(&ours, "183 Session Progress", "a", 7, EARLY)),
        ["PRACK sip:2000@10.0.0.2:5060 SIP/2.0"]
    );
    assert_eq!(header(bench.last(), "RAck"), "7 1 INVITE");
    assert_eq!(header(bench.last(), "CSeq"), "2 PRACK");
    assert!(header(bench.last(), "To").ends_with(";tag=a"));
    let prack = bench.last().to_owned();
    bench.say(&response_with(&prack, "200 OK", ""));
    assert!(bench.say(&reliable(&ours, "183 Session Progress", "a", 7, EARLY)).is_empty(), "a repetition");
    assert!(bench.say(&reliable(&ours, "180 Ringing", "a", 9, "")).is_empty(), "8 is missing");
    assert_eq!(bench.say(&reliable(&ours, "180 Ringing", "a", 8, "")).len(), 1);
    assert_eq!(header(bench.last(), "CSeq"), "3 PRACK");
    assert_eq!(bench.words(), ["progressed 183", "progressed 180"]);
}

#[test]
fn forks_are_told_apart_and_each_gets_its_pracks() {
    let mut bench = Bench::new();
    bench.command(invite(1));
    let ours = bench.last().to_owned();
    bench.say(&reliable(&ours, "183 Session Progress", "a", 1, EARLY));
    bench.say(&reliable(&ours, "183 Session Progress", "b", 70, EARLY));
    assert!(header(bench.last(), "To").ends_with(";tag=b"));
    assert_eq!(header(bench.last(), "CSeq"), "2 PRACK", "each dialog counts for itself");
    bench.say(&reliable(&ours, "180 Ringing", "a", 2, ""));
    let early = |event: &Event| if let Event::Progressed { early, .. } = event { Some(*early) } else { None };
    assert_eq!(bench.events.iter().filter_map(early).collect::<Vec<_>>(), [0, 1, 0]);
    let ok = response_with(&ours, "200 OK", "").replace(";tag=theirs", ";tag=b");
    bench.say(&ok);
    let Some(Event::Accepted { sdp: Some(sdp), .. }) = bench.events.last() else { panic!() };
    assert_eq!(sdp, "v=0 early", "the answer came before");
    bench.command(Command::Bye { leg: leg(1), reason: None });
    assert_eq!(header(bench.last(), "CSeq"), "3 BYE", "the early dialog's numbers go on");
    let tag = header(&ours, "From").split("tag=").nth(1).unwrap().to_owned();
    let stale = request("UPDATE", 9, "late", &tag, "")
        .replace(";tag=theirs", ";tag=a")
        .replace("Call-ID: c1", &format!("Call-ID: {}", header(&ours, "Call-ID")));
    assert_eq!(bench.say(&stale), ["SIP/2.0 481 Call/Transaction Does Not Exist"], "the other fork is no more");
}

#[test]
fn a_reliable_answer_counts_and_what_the_200_says_then_does_not() {
    for (first, expected) in [(true, "v=0 early"), (false, "v=0 final")] {
        let mut bench = Bench::new();
        bench.command(invite(1));
        let ours = bench.last().to_owned();
        let early = if first {
            reliable(&ours, "183 Session Progress", "theirs", 1, EARLY)
        } else {
            response_with(&ours, "183 Session Progress", EARLY)
        };
        bench.say(&early);
        bench.say(&response_with(&ours, "200 OK", "Content-Type: application/sdp\n\nv=0 final"));
        let Some(Event::Accepted { sdp: Some(sdp), .. }) = bench.events.last() else { panic!() };
        assert_eq!(sdp, expected);
    }
}

#[test]
fn an_early_update_of_the_callee_is_answered_in_its_dialog() {
    let mut bench = Bench::new();
    bench.command(invite(1));
    let ours = bench.last().to_owned();
    let (call_id, tag) = (header(&ours, "Call-ID").to_owned(), to_our_tag(&ours));
    let update = |cseq: u32, branch: &str| {
        request("UPDATE", cseq, branch, &tag, HOLD).replace("Call-ID: c1", &format!("Call-ID: {call_id}"))
    };
    bench.say(&response_with(&ours, "180 Ringing", ""));
    assert_eq!(bench.say(&update(1, "u1")), ["SIP/2.0 491 Request Pending"], "our offer has no answer");
    bench.say(&reliable(&ours, "183 Session Progress", "theirs", 1, EARLY));
    assert!(bench.say(&update(2, "u2")).is_empty());
    let sdp = Bytes::from_static(b"v=0 ok");
    assert_eq!(bench.command(Command::AcceptReinvite { leg: leg(1), sdp }), ["SIP/2.0 200 OK"]);
    assert_eq!(bench.words(), ["progressed 180", "progressed 183", "reinvited"]);
    let sdp = Bytes::from_static(b"v=0 hold");
    assert_eq!(bench.command(Command::Reinvite { leg: leg(1), sdp }), ["UPDATE sip:2000@10.0.0.2:5060 SIP/2.0"]);
}

fn to_our_tag(ours: &str) -> String {
    header(ours, "From").split("tag=").nth(1).unwrap().to_owned()
}

#[test]
fn an_early_update_of_a_fork_that_loses_is_answered_all_the_same() {
    let mut bench = Bench::new();
    bench.command(invite(1));
    let ours = bench.last().to_owned();
    bench.say(&reliable(&ours, "183 Session Progress", "a", 1, EARLY));
    let update = request("UPDATE", 1, "u1", &to_our_tag(&ours), HOLD)
        .replace(";tag=theirs", ";tag=a")
        .replace("Call-ID: c1", &format!("Call-ID: {}", header(&ours, "Call-ID")));
    assert!(bench.say(&update).is_empty());
    let lines = bench.say(&response_with(&ours, "200 OK", "Content-Type: application/sdp\n\nv=0"));
    assert_eq!(lines, ["SIP/2.0 487 Request Terminated", "ACK sip:2000@10.0.0.2:5060 SIP/2.0"]);
}

#[test]
fn the_bye_of_a_late_2xx_goes_on_after_the_pracks_of_its_early_dialog() {
    for is_cancelled in [true, false] {
        let mut bench = Bench::new();
        bench.command(invite(1));
        let ours = bench.last().to_owned();
        bench.say(&reliable(&ours, "183 Session Progress", "a", 1, EARLY));
        assert_eq!(header(bench.last(), "CSeq"), "2 PRACK");
        if is_cancelled {
            assert!(bench.command(Command::Cancel { leg: leg(1), reason: None })[0].starts_with("CANCEL"));
        } else {
            bench.say(&response_with(&ours, "200 OK", "Content-Type: application/sdp\n\nv=0"));
        }
        let late = response_with(&ours, "200 OK", "").replace(";tag=theirs", ";tag=a");
        let lines = bench.say(&late);
        assert!(lines[0].starts_with("ACK") && lines[1].starts_with("BYE"), "{lines:?}");
        assert_eq!(header(bench.last(), "CSeq"), "3 BYE");
    }
}

#[test]
fn a_callees_reliable_offer_is_answered_in_the_prack() {
    let mut bench = Bench::new();
    let Command::Invite(mut wanted) = invite(1) else { unreachable!() };
    wanted.offer = None;
    bench.command(Command::Invite(wanted));
    let ours = bench.last().to_owned();
    assert!(bench.say(&reliable(&ours, "183 Session Progress", "theirs", 1, EARLY)).is_empty(), "it waits");
    let sdp = Bytes::from_static(b"v=0 in the prack");
    assert_eq!(bench.command(Command::Answer { leg: leg(1), sdp }), ["PRACK sip:2000@10.0.0.2:5060 SIP/2.0"]);
    assert!(bench.last().ends_with("v=0 in the prack"));
    assert!(bench.say(&response_with(&ours, "200 OK", ""))[0].starts_with("ACK"), "nothing is left to answer");
    let Some(Event::Accepted { sdp: Some(sdp), .. }) = bench.events.last() else { panic!() };
    assert_eq!(sdp, "v=0 early");
}

#[test]
fn a_callees_reliable_offer_that_nobody_answers_is_cancelled() {
    let mut bench = Bench::new();
    let Command::Invite(mut wanted) = invite(1) else { unreachable!() };
    wanted.offer = None;
    bench.command(Command::Invite(wanted));
    let ours = bench.last().to_owned();
    bench.say(&reliable(&ours, "183 Session Progress", "theirs", 1, EARLY));
    assert!(bench.wait(Duration::from_secs(8))[0].starts_with("CANCEL"));
}

#[test]
fn reliable_ringing_works_between_two_agents_under_loss() {
    for seed in 0..30 {
        let mut world = World::with(2, seed, |config| {
            config.trunks[0].terms.reliable_provisionals = ReliableProvisionals::Offered;
        });
        world.loss = 0.15;
        world.duplication = 0.1;
        world.command(0, invite(1));
        world.seconds(10);
        if !world.events[1].iter().any(|event| matches!(event, Event::Invited(_))) {
            continue;
        }
        let callee = world.invited_leg(1);
        world.command(1, ring(callee, None));
        world.command(1, ring(callee, Some("v=0 early")));
        world.seconds(20);
        world.command(1, accept(callee));
        world.seconds(20);
        let words = world.words(0);
        assert_eq!(words, ["progressed 180", "progressed 183", "accepted"], "seed {seed}");
        world.command(0, Command::Bye { leg: leg(1), reason: None });
        world.assert_idle();
    }
}
