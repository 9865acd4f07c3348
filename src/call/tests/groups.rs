//! Ring groups: several browsers for one call, and one winner.

use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::Stage;
use crate::call::AgentParty;
use crate::call::Candidate;
use crate::call::Cause;
use crate::call::Hunt;
use crate::call::Input;
use crate::call::call::Ground;
use crate::ids::Extension;
use crate::ids::LegId;
use crate::ids::SignalingId;
use crate::signaling::CallRequest;
use crate::signaling::Notification;
use crate::sip;
use crate::worker;

fn session(n: u64) -> SignalingId {
    SignalingId::generate(1, &mut StdRng::seed_from_u64(1_000 + n))
}

fn leg(n: u64) -> LegId {
    LegId::generate(1, &mut StdRng::seed_from_u64(2_000 + n))
}

fn hunt(members: u64, one_by_one: bool) -> impl Fn(&Ground) -> Hunt {
    move |ground| {
        let candidate = |n| {
            let extension = Extension::new(format!("100{n}"));
            let agent = AgentParty { session: session(n), user: format!("user{n}"), extension, ..ground.agent.clone() };
            Candidate { agent, leg: leg(n), waiting: false }
        };
        let candidates = (1..=members).map(candidate).collect();
        Hunt { candidates, one_by_one, ring_time: Duration::from_secs(15), is_group: true }
    }
}

/// Members whose browsers ring.
fn ringing(members: u64, one_by_one: bool) -> Stage {
    let mut stage = Stage::inbound_at(|_| {}, hunt(members, one_by_one));
    stage.worker(stage.ids.trunk_leg, worker::EventKind::TrunkBound { local: ([127, 0, 0, 1], 20_000).into() });
    for n in 1..=members {
        offer(&mut stage, n);
    }
    stage
}

fn offer(stage: &mut Stage, n: u64) {
    let asked = stage.worker_got(|c| matches!(c, worker::Command::OfferPeer { leg: wanted, .. } if *wanted == leg(n)));
    if asked {
        stage.worker(leg(n), worker::EventKind::PeerOffered { sdp: format!("offer {n}") });
        stage.ask_as(session(n), CallRequest::Alerting);
    }
}

fn rung(stage: &Stage) -> Vec<SignalingId> {
    stage.told(|n| matches!(n, Notification::Incoming { .. }))
}

fn ended(stage: &Stage, why: &str) -> Vec<SignalingId> {
    stage.told(|n| matches!(n, Notification::Ended { reason, .. } if reason == why))
}

#[test]
fn all_ring_at_once_and_one_wins() {
    let mut stage = ringing(3, false);
    assert_eq!(rung(&stage), [session(1), session(2), session(3)]);
    assert_eq!(stage.sip_count(|c| matches!(c, sip::Command::Provisional { .. })), 1, "the caller hears one 180");
    stage.worker(leg(2), worker::EventKind::PeerConnected);
    stage.ask_as(session(2), CallRequest::Accept);
    assert!(stage.accepted());
    assert_eq!(ended(&stage, "answered_elsewhere"), [session(1), session(3)]);
    for n in [1, 3] {
        assert!(stage.worker_got(|c| matches!(c, worker::Command::CloseLeg { leg: closed, .. } if *closed == leg(n))));
    }
    let audience: Vec<_> = stage.call.standing().audience.into_iter().map(|(session, _)| session).collect();
    assert_eq!(audience, [session(2)]);
    let record = stage.outputs.iter().rev().find_map(|output| match output {
        crate::call::Output::Record(record) => Some(record.clone()),
        _ => None,
    });
    assert_eq!(record.unwrap().agent_user.as_deref(), Some("user2"));
}

#[test]
fn the_winners_audio_is_joined_and_no_other_transport_counts_as_theirs() {
    let mut stage = ringing(2, false);
    stage.ask_as(session(2), CallRequest::Accept);
    stage.worker(leg(1), worker::EventKind::PeerConnected);
    assert!(!stage.accepted(), "the first member's transport is not the winner's");
    stage.worker(leg(2), worker::EventKind::PeerConnected);
    assert!(stage.accepted());
    let joined = |c: &worker::Command| matches!(c, worker::Command::SetMuted { leg: joined, muted: false, .. } if *joined == leg(2));
    assert!(stage.worker_got(joined));
}

#[test]
fn who_accepts_second_hears_that_there_is_no_such_call() {
    let mut stage = ringing(2, false);
    stage.ask_as(session(1), CallRequest::Accept);
    stage.ask_as(session(2), CallRequest::Accept);
    let granted: Vec<bool> = stage.replies().into_iter().rev().take(2).map(|(_, granted)| granted).collect();
    assert_eq!(granted, [false, true]);
    stage.worker(leg(1), worker::EventKind::PeerConnected);
    stage.ask_as(session(2), CallRequest::Hangup);
    assert!(!stage.said_bye(), "a member who lost cannot end the winner's call");
}

#[test]
fn one_after_the_other_has_its_time_and_an_exhausted_group_is_480() {
    let mut stage = ringing(2, true);
    assert_eq!(rung(&stage), [session(1)]);
    stage.pass(Duration::from_secs(15));
    assert_eq!(ended(&stage, "no_answer"), [session(1)]);
    offer(&mut stage, 2);
    assert_eq!(rung(&stage), [session(1), session(2)]);
    assert_eq!(stage.refused_with(), None);
    stage.pass(Duration::from_secs(15));
    assert_eq!(stage.refused_with(), Some(480));
    assert_eq!(ended(&stage, "group_exhausted"), [session(2)]);
    stage.worker(leg(1), worker::EventKind::Closed);
    assert_eq!(stage.ended_as(), Some(Cause::GroupExhausted));
}

#[test]
fn a_rejection_a_silent_device_and_a_logout_pass_the_call_on() {
    let mut stage = ringing(4, true);
    stage.ask_as(session(1), CallRequest::Reject);
    stage.worker(leg(2), worker::EventKind::PeerOffered { sdp: "offer".into() });
    stage.pass(Duration::from_secs(2));
    assert_eq!(ended(&stage, "device_silent"), [session(2)]);
    offer(&mut stage, 3);
    stage.tell(Input::AgentGone { session: session(3) });
    offer(&mut stage, 4);
    assert_eq!(rung(&stage).len(), 4);
    assert_eq!(stage.refused_with(), None);
    stage.ask_as(session(4), CallRequest::Reject);
    assert_eq!(stage.refused_with(), Some(480), "a group is never busy because its last member rejects");
}

#[test]
fn one_member_whose_browser_fails_does_not_end_a_parallel_group() {
    let mut stage = ringing(2, false);
    stage.worker(leg(1), worker::EventKind::LegFailed { reason: worker::LegFailure::IceFailed });
    assert_eq!(stage.refused_with(), None);
    stage.worker(leg(2), worker::EventKind::LegFailed { reason: worker::LegFailure::IceFailed });
    assert_eq!(stage.refused_with(), Some(480));
}

#[test]
fn a_caller_who_gives_up_is_told_to_everybody() {
    let mut stage = ringing(3, false);
    let leg = stage.ids.trunk_leg;
    stage.sip(sip::Event::Cancelled { leg, reason: None });
    assert_eq!(ended(&stage, "cancelled").len(), 3);
}

#[test]
fn more_members_than_may_ring_at_once_ring_in_the_next_wave() {
    let mut stage = ringing(9, false);
    assert_eq!(rung(&stage).len(), 8);
    stage.pass(Duration::from_secs(15));
    offer(&mut stage, 9);
    assert_eq!(rung(&stage).len(), 9);
}

#[test]
fn a_second_call_waits_and_the_caller_hears_so() {
    let waiting = |ground: &Ground| {
        let mut hunt = hunt(1, false)(ground);
        hunt.is_group = false;
        hunt.candidates[0].waiting = true;
        hunt
    };
    let mut stage = Stage::inbound_at(|_| {}, waiting);
    stage.worker(stage.ids.trunk_leg, worker::EventKind::TrunkBound { local: ([127, 0, 0, 1], 20_000).into() });
    offer(&mut stage, 1);
    assert!(stage.notified(|n| matches!(n, Notification::Incoming { waiting: true, .. })));
    let said: Vec<u16> = stage
        .sip_commands()
        .into_iter()
        .filter_map(|c| if let sip::Command::Provisional { status, .. } = c { Some(status.as_u16()) } else { None })
        .collect();
    assert_eq!(said, [182, 180]);
}
