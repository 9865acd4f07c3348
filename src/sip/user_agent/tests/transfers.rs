//! REFER, NOTIFY and Replaces in both directions, INFO, redirects and loops.

use std::time::Duration;

use bytes::Bytes;

use super::World;
use super::bench::Bench;
use super::bench::OFFER;
use super::bench::accept;
use super::bench::header;
use super::bench::request;
use super::bench::response_with;
use super::bench::to_tag;
use super::invite;
use super::leg;
use crate::ids::LegId;
use crate::ids::TrunkName;
use crate::sip::Body;
use crate::sip::Command;
use crate::sip::Event;
use crate::sip::ReferTarget;
use crate::sip::Refusal;
use crate::sip::StatusCode;
use crate::sip::user_agent::Trunk;
use crate::sip::user_agent::peering::Direction;
use crate::sip::user_agent::peering::NumberOf;
use crate::sip::user_agent::peering::NumberRule;

fn refer(leg: LegId, user: &str, replaces: Option<LegId>) -> Command {
    Command::Refer { leg, to: ReferTarget { user: user.to_owned(), replaces } }
}

fn notify(leg: LegId, status: u16) -> Command {
    Command::NotifyRefer { leg, status: StatusCode::new(status).unwrap() }
}

/// Agent 0 called agent 1, and they talk. The callee's leg.
fn talking(seed: u64) -> (World, LegId) {
    let mut world = World::new(2, seed);
    world.command(0, invite(1));
    world.run(Duration::from_millis(100));
    let callee = world.invited_leg(1);
    world.command(1, accept(callee));
    world.run(Duration::from_millis(100));
    world.words(0);
    world.words(1);
    (world, callee)
}

#[test]
fn a_blind_transfer_is_reported_until_its_final_status() {
    let (mut world, callee) = talking(1);
    world.command(1, refer(callee, "1005", None));
    world.run(Duration::from_millis(100));
    assert_eq!(world.words(0), ["referred to 1005"]);
    world.command(0, Command::AcceptRefer { leg: leg(1) });
    world.run(Duration::from_millis(100));
    for status in [180, 183, 200] {
        world.command(0, notify(leg(1), status));
    }
    world.run(Duration::from_millis(200));
    assert_eq!(world.times(0, "SIP/2.0 202"), 1);
    assert_eq!(world.words(1), ["refer 100", "refer 180", "refer 200 over"], "one at a time, the latest wins");
    world.command(0, notify(leg(1), 486));
    world.run(Duration::from_millis(200));
    assert!(world.words(1).is_empty(), "nothing follows a final status");
}

#[test]
fn a_refused_transfer_leaves_the_call() {
    let (mut world, callee) = talking(2);
    world.command(1, refer(callee, "1005", None));
    world.run(Duration::from_millis(100));
    let refusal = Refusal::new(StatusCode::FORBIDDEN);
    world.command(0, Command::RefuseRefer { leg: leg(1), refusal });
    world.run(Duration::from_millis(100));
    assert_eq!(world.words(1), ["refer 403 over"]);
    world.command(1, refer(callee, "1006", None));
    world.run(Duration::from_millis(100));
    assert_eq!(world.words(0), ["referred to 1005", "referred to 1006"]);
    world.seconds(9);
    assert_eq!(world.words(1), ["refer 480 over"], "one that nobody answers");
}

#[test]
fn the_transferors_bye_is_not_the_end_of_its_subscription() {
    let (mut world, callee) = talking(3);
    world.command(1, refer(callee, "1005", None));
    world.run(Duration::from_millis(100));
    world.command(0, Command::AcceptRefer { leg: leg(1) });
    world.run(Duration::from_millis(100));
    world.command(1, Command::Bye { leg: callee, reason: None });
    world.run(Duration::from_millis(100));
    assert_eq!(world.words(0), ["referred to 1005", "ended PeerBye"]);
    assert_eq!(world.words(1), ["refer 100", "refer 100 over", "ended LocalBye"]);
    let before = world.times(0, "NOTIFY");
    world.command(0, notify(leg(1), 200));
    world.run(Duration::from_millis(100));
    assert_eq!(world.times(0, "NOTIFY"), before + 1);
    world.assert_idle();
}

#[test]
fn a_subscription_that_nobody_ends_is_forgotten_64_t1_after_the_call() {
    let mut bench = Bench::new();
    let (leg, tag) = bench.talking();
    bench.say(&request("REFER", 2, "r1", &tag, "Refer-To: <sip:1005@10.0.0.2>\n\n"));
    bench.command(Command::AcceptRefer { leg });
    let trying = bench.last().to_owned();
    assert_eq!((header(&trying, "Event"), header(&trying, "Content-Type")), ("refer", "message/sipfrag;version=2.0"));
    assert!(header(&trying, "Subscription-State").starts_with("active;expires="));
    bench.say(&response_with(&trying, "200 OK", ""));
    bench.say(&request("BYE", 3, "r2", &tag, ""));
    bench.wait(Duration::from_millis(31_999));
    assert_eq!(bench.agent.usages(), 1);
    bench.wait(Duration::from_millis(1));
    assert_eq!(bench.agent.usages(), 0);
    bench.wait(Duration::from_mins(1));
    assert!(bench.agent.is_idle());
}

#[test]
fn an_attended_transfer_names_the_consultation_as_its_peer_sees_it() {
    let mut bench = Bench::new();
    let (first, _) = bench.talking();
    bench.command(invite(7));
    let ours = bench.last().to_owned();
    bench.say(&response_with(&ours, "200 OK", "Content-Type: application/sdp\n\nv=0"));
    bench.command(refer(first, "1001", Some(leg(7))));
    let sent = bench.last().to_owned();
    let tag = header(&ours, "From").split("tag=").nth(1).unwrap();
    let replaces = format!("{}%3Bto-tag%3Dtheirs%3Bfrom-tag%3D{tag}", header(&ours, "Call-ID"));
    assert_eq!(header(&sent, "Refer-To"), format!("<sip:2000@10.0.0.2:5060?Replaces={replaces}>"));
    assert_eq!(header(&sent, "Referred-By"), "<sip:1001@gw>");
    bench.words();
    bench.command(refer(first, "1001", Some(leg(99))));
    assert_eq!(bench.words(), ["refer 481 over"], "a consultation that is none");
}

#[test]
fn an_invite_with_replaces_names_the_call_whose_place_it_takes() {
    let mut bench = Bench::with(|config| {
        config.trunks.push(Trunk::of_target(TrunkName::new("other"), super::target("10.0.0.9:5060")));
    });
    let (first, tag) = bench.talking();
    let new = |value: &str, number: u32| {
        request("INVITE", 1, &format!("n{number}"), "", &format!("Replaces: {value}\n{OFFER}"))
            .replace("Call-ID: c1", &format!("Call-ID: n{number}"))
    };
    let named = format!("c1;to-tag={tag};from-tag=theirs");
    bench.say(&new(&named, 1));
    let Some(Event::Invited(invitation)) = bench.events.last() else { panic!() };
    assert_eq!(invitation.replaces, Some(first));
    for (value, number, expected) in [
        ("c1;to-tag=unknown;from-tag=theirs".to_owned(), 2, "481"),
        ("c1;to-tag=only".to_owned(), 3, "400"),
        (format!("{named};early-only"), 4, "486"),
    ] {
        let lines = bench.say(&new(&value, number));
        assert!(lines[1].contains(expected), "{value}: {lines:?}");
    }
    let lines = bench.say_from("10.0.0.9:5060", &new(&named, 5));
    assert!(lines[1].contains("481"), "another trunk's call is none: {lines:?}");
}

#[test]
fn a_call_that_rings_here_is_not_replaced() {
    let mut bench = Bench::new();
    bench.say(&request("INVITE", 1, "b1", "", OFFER));
    let leg = bench.invited();
    bench.command(Command::Provisional { leg, status: StatusCode::RINGING, body: None });
    let replaces = format!("Replaces: c1;to-tag={};from-tag=theirs\n{OFFER}", to_tag(bench.last()));
    let new = request("INVITE", 1, "n1", "", &replaces).replace("Call-ID: c1", "Call-ID: c2");
    assert!(bench.say(&new)[1].contains("481"));
}

#[test]
fn a_refer_to_with_replaces_is_resolved_or_handed_on() {
    let mut bench = Bench::new();
    let (_, tag) = bench.talking();
    let named = |branch: &str, cseq: u32, to_tag: &str| {
        let replaces = format!("c1%3Bto-tag%3D{to_tag}%3Bfrom-tag%3Dtheirs");
        let rest = format!("Refer-To: <sip:1005@pbx?Replaces={replaces}>\nReferred-By: <sip:2000@pbx>\n\n");
        request("REFER", cseq, branch, &tag, &rest)
    };
    bench.say(&named("r1", 2, &tag));
    let Some(Event::Referred { leg, to }) = bench.events.last().cloned() else { panic!() };
    assert_eq!((to.user.as_str(), to.replaces, to.replaces_header), ("1005", Some(leg), None));
    assert_eq!(to.referred_by.as_deref(), Some("<sip:2000@pbx>"));
    assert_eq!(bench.say(&named("r2", 3, &tag)), ["SIP/2.0 491 Request Pending"], "one at a time");
    bench.command(Command::RefuseRefer { leg, refusal: Refusal::new(StatusCode::FORBIDDEN) });
    bench.say(&named("r3", 4, "elsewhere"));
    let Some(Event::Referred { to, .. }) = bench.events.last().cloned() else { panic!() };
    assert_eq!(to.replaces, None);
    let value = to.replaces_header.unwrap();
    assert_eq!(value, "c1;to-tag=elsewhere;from-tag=theirs");
    let Command::Invite(mut wanted) = invite(9) else { unreachable!() };
    wanted.headers =
        vec![("Replaces".to_owned(), value.clone()), ("Referred-By".to_owned(), "<sip:2000@pbx>".to_owned())];
    bench.command(Command::Invite(wanted));
    assert_eq!(header(bench.last(), "Referred-By"), "<sip:2000@pbx>", "whatever the trunk's list says");
    assert_eq!(header(bench.last(), "Replaces"), value);
    assert_eq!(header(bench.last(), "Require"), "replaces");
    assert_eq!(bench.last().matches("Replaces: ").count(), 1);
}

#[test]
fn our_own_call_is_replaced_by_its_dialog_as_the_peer_sees_it() {
    let mut bench = Bench::new();
    let (first, tag) = bench.talking();
    let Command::Invite(mut wanted) = invite(9) else { unreachable!() };
    wanted.replaces = Some(first);
    bench.command(Command::Invite(wanted));
    assert_eq!(header(bench.last(), "Replaces"), format!("c1;to-tag=theirs;from-tag={tag}"));
    let Command::Invite(mut wanted) = invite(10) else { unreachable!() };
    wanted.replaces = Some(leg(77));
    bench.words();
    bench.command(Command::Invite(wanted));
    assert_eq!(bench.words(), ["refused 481"]);
}

#[test]
fn refers_that_nobody_could_follow_are_refused_here() {
    let mut bench = Bench::new();
    bench.say(&request("INVITE", 1, "b1", "", OFFER));
    let leg = bench.invited();
    bench.command(Command::Provisional { leg, status: StatusCode::RINGING, body: None });
    let tag = to_tag(bench.last());
    let to = "Refer-To: <sip:1005@pbx>\n\n";
    assert_eq!(bench.say(&request("REFER", 2, "r1", &tag, to)), ["SIP/2.0 403 Forbidden"], "not answered yet");
    bench.command(accept(leg));
    bench.say(&request("ACK", 1, "b2", &tag, ""));
    assert_eq!(bench.say(&request("REFER", 3, "r2", &tag, "Refer-To: <http://x>\n\n")), ["SIP/2.0 400 Bad Request"]);
    assert_eq!(bench.say(&request("REFER", 4, "r3", &tag, "\n")), ["SIP/2.0 400 Bad Request"]);
    assert_eq!(bench.say(&request("REFER", 5, "r4", "", to)), ["SIP/2.0 403 Forbidden"], "outside a call");
    assert_eq!(bench.say(&request("REFER", 6, "r6", "stranger", to)), ["SIP/2.0 481 Call/Transaction Does Not Exist"]);
    let stray = "Event: refer\nSubscription-State: active\n\n";
    assert_eq!(bench.say(&request("NOTIFY", 6, "r5", &tag, stray)), ["SIP/2.0 481 Call/Transaction Does Not Exist"]);
    assert_eq!(bench.words(), ["invited 1001", "acknowledged"]);
}

#[test]
fn a_report_after_the_last_one_is_481() {
    let mut bench = Bench::new();
    let (leg, tag) = bench.talking();
    bench.command(Command::Refer { leg, to: ReferTarget { user: "1005".to_owned(), replaces: None } });
    let report = "Event: refer\nSubscription-State: terminated;reason=noresource\n\
                  Content-Type: message/sipfrag\n\nSIP/2.0 200 OK\n";
    assert_eq!(bench.say(&request("NOTIFY", 2, "n1", &tag, report)), ["SIP/2.0 200 OK"]);
    let words = bench.words();
    assert_eq!(words.last().map(String::as_str), Some("refer 200 over"), "{words:?}");
    let again = bench.say(&request("NOTIFY", 3, "n2", &tag, report));
    assert_eq!(again, ["SIP/2.0 481 Call/Transaction Does Not Exist"]);
    assert!(bench.words().is_empty(), "and the call room hears nothing of it");
}

// --- INFO, 3xx, loops ---

#[test]
fn digits_go_by_info_both_ways() {
    let (mut world, callee) = talking(4);
    let body = Body { content_type: "application/dtmf-relay".to_owned(), content: Bytes::from_static(b"Signal=1\r\n") };
    world.command(0, Command::Info { leg: leg(1), body: body.clone() });
    world.run(Duration::from_millis(100));
    let Some(Event::InfoReceived { body: heard, .. }) = world.events[1].last() else { panic!() };
    assert_eq!(heard, &body);
    world.command(1, Command::Info { leg: callee, body });
    world.run(Duration::from_millis(100));
    assert_eq!(world.words(0), ["info application/dtmf-relay"]);
}

#[test]
fn a_redirect_names_the_users_at_the_trunks_own_hosts_only() {
    let mut bench = Bench::new();
    bench.command(invite(1));
    let ours = bench.last().to_owned();
    let contacts = "Contact: <sip:1@10.0.0.2>;q=0.3, <sip:evil@192.0.2.66>, <sip:2@10.0.0.2:5070>;q=0.9, <tel:+49>\n\n";
    let moved =
        response_with(&ours, "302 Moved Temporarily", contacts).replace("Contact: <sip:2000@10.0.0.2:5060>\r\n", "");
    let moved = moved.replace("Contact: <sip:2000@10.0.0.2:5060>\n", "");
    bench.say(&moved);
    let Some(Event::Refused { status, redirect, .. }) = bench.events.last() else { panic!() };
    assert_eq!(status.as_u16(), 302);
    assert_eq!(redirect, &["2", "1"]);
}

#[test]
fn transfers_and_redirects_name_numbers_as_their_side_writes_them() {
    let rule = |direction, prefix: &str, strip, prepend: &str| NumberRule {
        direction,
        number_of: NumberOf::Called,
        prefix: prefix.to_owned(),
        digits_min: 4,
        digits_max: 15,
        strip,
        prepend: prepend.to_owned(),
    };
    let numbers = vec![rule(Direction::In, "0", 1, "+49"), rule(Direction::Out, "+49", 3, "0")];
    let mut bench = Bench::with(|config| config.trunks[0].peering.numbers = numbers);
    let (leg, tag) = bench.talking();
    bench.command(refer(leg, "+49301005", None));
    assert!(header(bench.last(), "Refer-To").contains("sip:0301005@"), "{}", bench.last());
    bench.say(&request("REFER", 2, "r1", &tag, "Refer-To: <sip:0301006@10.0.0.2>\n\n"));
    assert_eq!(bench.words(), ["referred to +49301006"]);
    bench.command(invite(1));
    let moved = response_with(bench.last(), "302 Moved Temporarily", "")
        .replace("<sip:2000@10.0.0.2:5060>\n\n", "<sip:0301007@10.0.0.2>\n\n");
    bench.say(&moved);
    let Some(Event::Refused { redirect, .. }) = bench.events.last() else { panic!() };
    assert_eq!(redirect, &["+49301007"]);
}

#[test]
fn a_refusal_says_when_to_come_back() {
    let mut bench = Bench::new();
    bench.command(invite(1));
    let ours = bench.last().to_owned();
    bench.say(&response_with(&ours, "486 Busy Here", "Retry-After: 30\n\n"));
    let Some(Event::Refused { retry_after, redirect, .. }) = bench.events.last() else { panic!() };
    assert_eq!((retry_after, redirect.len()), (&Some(Duration::from_secs(30)), 0));
}

#[test]
fn our_own_invite_that_comes_back_as_it_left_is_482_and_a_spiral_is_a_call() {
    let mut bench = Bench::new();
    bench.command(invite(1));
    let ours = bench.last().replace("\r\n", "\n");
    let via = "Via: SIP/2.0/UDP 10.0.0.2:5060;branch=z9hG4bKproxy\nVia:";
    let back = ours.replacen("Via:", via, 1);
    assert_eq!(bench.say(&back), ["SIP/2.0 482 Loop Detected"]);
    let spiral =
        back.replace("INVITE sip:1001@10.0.0.2:5060", "INVITE sip:1002@10.0.0.1").replace("bKproxy", "bKspiral");
    assert_eq!(bench.say(&spiral), ["SIP/2.0 100 Trying"]);
    assert_eq!(bench.words(), ["invited 1002"]);
}
