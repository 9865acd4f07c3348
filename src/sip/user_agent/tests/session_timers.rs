//! Session timers (RFC 4028) in both roles.

use std::time::Duration;

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
use crate::sip::Command;
use crate::sip::dialog::terms::SessionTimerPolicy;

fn with_policy(policy: SessionTimerPolicy) -> Bench {
    Bench::with(|config| config.trunks[0].terms.session_timer = policy)
}

/// An answered call whose INVITE said `headers`; our tag, and the 200.
fn talking(bench: &mut Bench, headers: &str) -> (String, String) {
    bench.say(&request("INVITE", 1, "b1", "", &format!("{headers}{OFFER}")));
    let leg = bench.invited();
    bench.command(accept(leg));
    let ok = bench.last().to_owned();
    let tag = to_tag(&ok);
    bench.say(&request("ACK", 1, "b2", &tag, ""));
    bench.words();
    (tag, ok)
}

#[test]
fn the_peers_timer_is_taken_and_the_peer_refreshes_where_it_can() {
    for (asked, answered, require) in [
        ("Supported: timer\nSession-Expires: 600\n", "600;refresher=uac", true),
        ("Supported: timer\nSession-Expires: 600;refresher=uas\n", "600;refresher=uas", false),
        ("Session-Expires: 600\n", "600;refresher=uas", false),
        ("Supported: timer\nx: 7200\n", "1800;refresher=uac", true),
        ("Supported: timer\nSession-Expires: 7200\nMin-SE: 3600\n", "3600;refresher=uac", true),
    ] {
        let mut bench = Bench::new();
        let (_, ok) = talking(&mut bench, asked);
        assert_eq!(header(&ok, "Session-Expires"), answered, "{asked}");
        assert_eq!(ok.contains("Require: timer"), require, "{asked}");
    }
}

#[test]
fn without_a_wish_or_against_the_trunks_will_there_is_no_timer() {
    for (policy, asked) in [
        (SessionTimerPolicy::Accept, "Supported: timer\n"),
        (SessionTimerPolicy::Off, "Supported: timer\nSession-Expires: 600\n"),
    ] {
        let mut bench = with_policy(policy);
        let (_, ok) = talking(&mut bench, asked);
        assert!(!ok.contains("Session-Expires"));
        assert!(bench.wait(Duration::from_secs(100_000)).is_empty());
    }
    let mut bench = with_policy(SessionTimerPolicy::Off);
    let invite = request("INVITE", 1, "b1", "", &format!("Require: timer\n{OFFER}"));
    assert_eq!(bench.say(&invite), ["SIP/2.0 420 Bad Extension"]);
}

#[test]
fn a_session_that_is_too_brief_is_422_with_min_se() {
    let mut bench = Bench::new();
    let brief = request("INVITE", 1, "b1", "", &format!("Supported: timer\nSession-Expires: 89\n{OFFER}"));
    assert_eq!(bench.say(&brief), ["SIP/2.0 100 Trying", "SIP/2.0 422 Session Interval Too Small"]);
    assert_eq!(header(bench.last(), "Min-SE"), "90");
    assert!(bench.events.is_empty() && bench.agent.usages() == 0);
}

#[test]
fn a_session_that_the_peer_does_not_refresh_ends_before_its_time() {
    let mut bench = Bench::new();
    talking(&mut bench, "Supported: timer\nSession-Expires: 600\n");
    assert!(bench.wait(Duration::from_secs(567)).is_empty());
    assert_eq!(bench.wait(Duration::from_secs(1)), ["BYE sip:2000@10.0.0.2:5060 SIP/2.0"], "32 s before the end");
    assert_eq!(bench.words(), ["ended SessionExpired"]);
    let mut bench = Bench::new();
    talking(&mut bench, "Supported: timer\nSession-Expires: 90\n");
    assert!(bench.wait(Duration::from_secs(59)).is_empty());
    assert_eq!(bench.wait(Duration::from_secs(1)).len(), 1, "or a third of it");
}

#[test]
fn the_peers_refresh_touches_neither_media_nor_the_call_room() {
    let mut bench = Bench::new();
    let (tag, ok) = talking(&mut bench, "Supported: timer\nSession-Expires: 600\n");
    bench.wait(Duration::from_mins(5));
    let refresh = "Supported: timer\nSession-Expires: 600;refresher=uac\n";
    assert_eq!(bench.say(&request("UPDATE", 2, "r1", &tag, &format!("{refresh}\n"))), ["SIP/2.0 200 OK"]);
    assert_eq!(header(bench.last(), "Session-Expires"), "600;refresher=uac");
    bench.wait(Duration::from_secs(500));
    let again = request("INVITE", 3, "r2", &tag, &format!("{refresh}{OFFER}"));
    assert_eq!(bench.say(&again), ["SIP/2.0 100 Trying", "SIP/2.0 200 OK"]);
    let body = |text: &str| text.split("\r\n\r\n").nth(1).unwrap().to_owned();
    assert_eq!(body(bench.last()), body(&ok), "the same description, the same o= version");
    bench.say(&request("ACK", 3, "r3", &tag, ""));
    assert!(bench.wait(Duration::from_secs(567)).is_empty());
    assert!(bench.events.is_empty());
    assert_eq!(bench.wait(Duration::from_secs(1)).len(), 1);
}

#[test]
fn a_changed_offer_is_no_refresh() {
    let mut bench = Bench::new();
    let (tag, _) = talking(&mut bench, "");
    bench.say(&request("INVITE", 2, "r2", &tag, HOLD));
    assert_eq!(bench.words(), ["reinvited"]);
}

#[test]
fn we_refresh_at_half_time_by_update_where_the_peer_takes_it_else_by_reinvite() {
    for (allow, method) in [("Allow: INVITE, UPDATE\n", "UPDATE"), ("Allow: INVITE, BYE\n", "INVITE"), ("", "INVITE")] {
        let mut bench = Bench::new();
        let (_, ok) = talking(&mut bench, &format!("{allow}Supported: timer\nSession-Expires: 600;refresher=uas\n"));
        assert!(bench.wait(Duration::from_secs(299)).is_empty());
        assert_eq!(bench.wait(Duration::from_secs(1)), [format!("{method} sip:2000@10.0.0.2:5060 SIP/2.0")]);
        let refresh = bench.last().to_owned();
        assert_eq!(header(&refresh, "Session-Expires"), "600;refresher=uac");
        assert_eq!(refresh.ends_with("v=0 answer"), method == "INVITE", "the same description again");
        assert!(ok.ends_with("v=0 answer"));
        bench.say(&response_with(
            &refresh,
            "200 OK",
            "Session-Expires: 600;refresher=uac\nContent-Type: application/sdp\n\nv=0",
        ));
        assert!(bench.words().is_empty());
        assert!(bench.wait(Duration::from_secs(299)).is_empty());
        assert_eq!(bench.wait(Duration::from_secs(1)).len(), 1, "and again");
    }
}

#[test]
fn a_refresh_by_update_that_the_peer_does_not_know_becomes_a_reinvite() {
    let mut bench = Bench::new();
    talking(&mut bench, "Allow: UPDATE\nSupported: timer\nSession-Expires: 600;refresher=uas\n");
    bench.wait(Duration::from_mins(5));
    let update = bench.last().to_owned();
    bench.say(&response_with(&update, "405 No", ""));
    assert_eq!(bench.wait(Duration::ZERO), ["INVITE sip:2000@10.0.0.2:5060 SIP/2.0"]);
}

#[test]
fn a_refresh_that_fails_is_tried_again_and_the_session_ends_at_its_time() {
    let mut bench = Bench::new();
    talking(&mut bench, "Allow: UPDATE\nSupported: timer\nSession-Expires: 600;refresher=uas\n");
    let mut refreshes = 0;
    let mut ended = false;
    for _ in 0..600 {
        for line in bench.wait(Duration::from_secs(1)) {
            if line.starts_with("UPDATE") {
                refreshes += 1;
                let update = bench.last().to_owned();
                bench.say(&response_with(&update, "503 Not Now", ""));
            }
            ended |= line.starts_with("BYE");
        }
    }
    assert!(refreshes > 10 && ended, "{refreshes}");
    assert_eq!(bench.words(), ["ended SessionExpired"]);
}

#[test]
fn a_required_timer_asks_and_a_422_is_answered_once_with_what_it_names() {
    let mut bench = with_policy(SessionTimerPolicy::Require);
    bench.command(invite(1));
    let ours = bench.last().to_owned();
    assert_eq!(header(&ours, "Session-Expires"), "1800");
    assert!(header(&ours, "Supported").contains("timer"));
    let too_small = response_with(&ours, "422 Session Interval Too Small", "Min-SE: 3600\n\n");
    let lines = bench.say(&too_small);
    assert!(lines[0].starts_with("ACK") && lines[1].starts_with("INVITE"), "{lines:?}");
    let ours = bench.last().to_owned();
    assert_eq!((header(&ours, "Session-Expires"), header(&ours, "Min-SE")), ("3600", "3600"));
    assert_eq!(header(&ours, "CSeq"), "2 INVITE");
    bench.say(&response_with(&ours, "422 Session Interval Too Small", "Min-SE: 3600\n\n"));
    assert_eq!(bench.words(), ["refused 422"], "the same again would change nothing");
}

#[test]
fn a_peer_without_timers_is_kept_alive_by_us_where_the_trunk_requires_it() {
    let mut bench = with_policy(SessionTimerPolicy::Require);
    bench.command(invite(1));
    let ours = bench.last().to_owned();
    bench.say(&response_with(&ours, "200 OK", "Content-Type: application/sdp\n\nv=0"));
    assert!(bench.wait(Duration::from_secs(899)).is_empty());
    assert!(bench.wait(Duration::from_secs(1))[0].starts_with("INVITE"));
}

#[test]
fn two_agents_keep_a_long_call_alive() {
    let mut world = World::with(2, 5, |config| config.trunks[0].terms.session_timer = SessionTimerPolicy::Require);
    world.command(0, invite(1));
    world.run(Duration::from_millis(100));
    let callee = world.invited_leg(1);
    world.command(1, accept(callee));
    world.seconds(10_000);
    assert_eq!(world.words(0), ["accepted"]);
    assert_eq!(world.words(1), ["invited 1001", "acknowledged"]);
    assert_eq!(world.times(0, "UPDATE") + world.times(1, "UPDATE"), 11, "every 900 s");
    world.command(0, Command::Bye { leg: leg(1), reason: None });
    world.assert_idle();
}
