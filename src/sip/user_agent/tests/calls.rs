//! Whole calls between two user agents: agent 0 calls agent 1.

use std::time::Duration;

use bytes::Bytes;

use super::ANSWER;
use super::Fate;
use super::World;
use super::invite;
use super::leg;
use crate::ids::LegId;
use crate::sip::Body;
use crate::sip::Command;
use crate::sip::Event;
use crate::sip::Reason;
use crate::sip::Refusal;
use crate::sip::StatusCode;

fn accept(leg: LegId) -> Command {
    Command::Accept { leg, sdp: Bytes::from_static(ANSWER.as_bytes()) }
}

fn bye(leg: LegId) -> Command {
    let reason = Reason { protocol: "Q.850".to_owned(), cause: Some(16), text: None };
    Command::Bye { leg, reason: Some(reason) }
}

fn cancel(leg: LegId) -> Command {
    Command::Cancel { leg, reason: None }
}

/// A world in which agent 1 was invited and rings. The callee's leg.
fn ringing() -> (World, LegId) {
    let mut world = World::new(2, 1);
    world.command(0, invite(1));
    world.run(Duration::from_millis(100));
    let callee = world.invited_leg(1);
    world.command(1, Command::Provisional { leg: callee, status: StatusCode::RINGING, body: None });
    world.run(Duration::from_millis(100));
    assert_eq!(world.words(1), ["invited 1001"]);
    assert_eq!(world.words(0), ["progressed 180"]);
    (world, callee)
}

/// A world in which the call stands.
fn talking() -> (World, LegId) {
    let (mut world, callee) = ringing();
    world.command(1, accept(callee));
    world.run(Duration::from_millis(100));
    assert_eq!(world.words(0), ["accepted"]);
    assert_eq!(world.words(1), ["acknowledged"]);
    (world, callee)
}

#[test]
fn an_invitation_says_who_calls_whom() {
    let mut world = World::new(2, 1);
    world.command(0, invite(1));
    world.run(Duration::from_millis(100));
    let Event::Invited(invitation) = &world.events[1][0] else { panic!() };
    assert_eq!(invitation.called, "1001");
    assert_eq!(invitation.from.user.expose(), "2000");
    assert_eq!(invitation.from.display_name.as_ref().unwrap().expose(), "Ann \"A\" B");
    assert_eq!(invitation.offer.as_deref(), Some(super::OFFER.as_bytes()));
    assert_eq!(invitation.session_id.unwrap().as_bytes(), &[7; 16]);
    assert_eq!(invitation.local_address.to_string(), "10.0.0.2");
    assert_eq!(world.times(1, "SIP/2.0 100"), 1);
}

#[test]
fn the_caller_ends_an_answered_call() {
    let (mut world, _) = talking();
    world.command(0, bye(leg(1)));
    world.run(Duration::from_millis(100));
    let Event::Ended { reason, .. } = &world.events[1][0] else { panic!() };
    assert_eq!(reason.as_ref().unwrap().cause, Some(16));
    assert_eq!(world.words(1), ["ended PeerBye"]);
    assert_eq!(world.words(0), ["ended LocalBye"]);
    world.assert_idle();
}

#[test]
fn the_callee_ends_an_answered_call() {
    let (mut world, callee) = talking();
    world.command(1, bye(callee));
    world.run(Duration::from_millis(100));
    assert_eq!(world.words(0), ["ended PeerBye"]);
    assert_eq!(world.words(1), ["ended LocalBye"]);
    world.assert_idle();
}

#[test]
fn both_sides_end_the_call_at_once() {
    let (mut world, callee) = talking();
    world.command(1, bye(callee));
    world.command(0, bye(leg(1)));
    world.run(Duration::from_millis(200));
    assert_eq!(world.words(0), ["ended LocalBye"]);
    assert_eq!(world.words(1), ["ended LocalBye"]);
    world.assert_idle();
}

#[test]
fn an_answer_and_its_early_media_reach_the_caller() {
    let mut world = World::new(2, 1);
    world.command(0, invite(1));
    world.run(Duration::from_millis(100));
    let callee = world.invited_leg(1);
    let body = Some(Body::sdp("v=0 early"));
    world.command(1, Command::Provisional { leg: callee, status: StatusCode::SESSION_PROGRESS, body });
    world.run(Duration::from_millis(50));
    world.command(1, accept(callee));
    world.run(Duration::from_millis(100));
    let answered = |event: &Event| matches!(event, Event::Accepted { sdp: Some(sdp), .. } if sdp == ANSWER.as_bytes());
    let early =
        |event: &Event| matches!(event, Event::Progressed { sdp: Some(sdp), .. } if sdp == b"v=0 early".as_slice());
    assert!(world.events[0].iter().any(answered));
    assert!(world.events[0].iter().any(early));
}

#[test]
fn a_refusal_reaches_the_caller_with_its_reason() {
    let (mut world, callee) = ringing();
    let reason = Reason { protocol: "Q.850".to_owned(), cause: Some(17), text: Some("busy".to_owned()) };
    let refusal = Refusal {
        reason: Some(reason.clone()),
        warning: Some((370, "why".to_owned())),
        retry_after: Some(Duration::from_secs(9)),
        ..Refusal::new(StatusCode::BUSY_HERE)
    };
    world.command(1, Command::Refuse { leg: callee, refusal });
    world.run(Duration::from_millis(100));
    let Event::Refused { reason: told, .. } = &world.events[0][0] else { panic!() };
    assert_eq!(told.as_ref(), Some(&reason));
    assert_eq!(world.words(0), ["refused 486"]);
    assert_eq!(world.times(0, "ACK"), 1);
    assert!(world.words(1).is_empty());
    world.assert_idle();
}

#[test]
fn a_cancel_ends_a_ringing_call_on_both_sides() {
    let (mut world, callee) = ringing();
    world.command(0, cancel(leg(1)));
    world.run(Duration::from_millis(100));
    assert_eq!(world.words(1), ["cancelled"]);
    assert_eq!(world.words(0), ["refused 487"]);
    assert_eq!((world.times(1, "SIP/2.0 487"), world.times(0, "ACK")), (1, 1));
    world.command(1, accept(callee));
    assert_eq!(world.times(1, "SIP/2.0 200"), 1, "the CANCEL's, and none for the INVITE");
    world.assert_idle();
}

#[test]
fn a_200_that_crosses_the_cancel_gets_ack_and_bye() {
    let (mut world, callee) = ringing();
    world.command(1, accept(callee));
    world.command(0, cancel(leg(1)));
    world.run(Duration::from_millis(200));
    assert_eq!(world.words(0), ["refused 487"]);
    assert_eq!(world.words(1), ["acknowledged", "ended PeerBye"]);
    world.assert_idle();
}

#[test]
fn a_cancel_after_the_200_came_in_is_a_bye() {
    let (mut world, _) = talking();
    world.command(0, cancel(leg(1)));
    world.run(Duration::from_millis(100));
    assert_eq!(world.words(1), ["ended PeerBye"]);
    world.assert_idle();
}

#[test]
fn a_lost_200_is_sent_again_until_the_ack() {
    let (mut world, callee) = ringing();
    let mut lost = 0;
    world.filter = Box::new(move |line| {
        let lose = line.starts_with("SIP/2.0 200") && lost < 3;
        lost += usize::from(lose);
        if lose { Fate::Lose } else { Fate::Pass }
    });
    world.command(1, accept(callee));
    world.run(Duration::from_millis(3_400));
    assert!(world.words(0).is_empty(), "T1, 2·T1 and 4·T1 apart: the fourth leaves after 3.5 s");
    world.run(Duration::from_millis(200));
    assert_eq!(world.words(0), ["accepted"]);
    assert_eq!(world.words(1), ["acknowledged"]);
    assert_eq!(world.times(1, "SIP/2.0 200"), 4);
    world.command(1, bye(callee));
    world.assert_idle();
}

#[test]
fn a_lost_ack_is_sent_again_for_each_200() {
    let (mut world, callee) = ringing();
    let mut lost = 0;
    world.filter = Box::new(move |line| {
        let lose = line.starts_with("ACK") && lost < 2;
        lost += usize::from(lose);
        if lose { Fate::Lose } else { Fate::Pass }
    });
    world.command(1, accept(callee));
    world.seconds(5);
    assert_eq!(world.words(0), ["accepted"], "told once");
    assert_eq!(world.words(1), ["acknowledged"]);
    assert_eq!(world.times(0, "ACK"), 3);
    world.command(0, bye(leg(1)));
    world.assert_idle();
}

#[test]
fn without_any_ack_the_callee_says_bye_after_64_t1() {
    let (mut world, callee) = ringing();
    world.filter = Box::new(|line| if line.starts_with("ACK") { Fate::Lose } else { Fate::Pass });
    world.command(1, accept(callee));
    world.seconds(31);
    assert!(world.words(1).is_empty());
    world.seconds(2);
    assert_eq!(world.words(1), ["ended NoAck"]);
    assert_eq!(world.words(0), ["accepted", "ended PeerBye"]);
    world.assert_idle();
}

#[test]
fn a_bye_command_waits_for_the_ack() {
    let (mut world, callee) = ringing();
    world.command(1, accept(callee));
    world.command(1, bye(callee));
    assert_eq!(world.times(1, "BYE"), 0);
    world.run(Duration::from_millis(200));
    assert_eq!(world.words(1), ["acknowledged", "ended LocalBye"]);
    assert_eq!(world.words(0), ["accepted", "ended PeerBye"]);
    world.assert_idle();
}

#[test]
fn a_lost_invite_is_sent_again_and_rings_once() {
    let mut world = World::new(2, 1);
    world.duplication = 1.0;
    let mut lost = false;
    world.filter = Box::new(move |line| {
        let lose = line.starts_with("INVITE") && !lost;
        lost |= lose;
        if lose { Fate::Lose } else { Fate::Pass }
    });
    world.command(0, invite(1));
    world.seconds(1);
    assert_eq!(world.words(1), ["invited 1001"]);
    assert_eq!(world.times(0, "INVITE"), 2);
}

#[test]
fn a_ringing_call_repeats_its_180_each_minute() {
    let (mut world, callee) = ringing();
    world.seconds(125);
    assert_eq!(world.times(1, "SIP/2.0 180"), 3);
    world.command(1, Command::Refuse { leg: callee, refusal: Refusal::new(StatusCode::TEMPORARILY_UNAVAILABLE) });
    world.assert_idle();
}

#[test]
fn a_peer_that_vanished_does_not_hold_up_our_bye() {
    let (mut world, callee) = talking();
    world.filter = Box::new(|_| Fate::Lose);
    world.command(1, bye(callee));
    world.seconds(33);
    assert_eq!(world.words(1), ["ended LocalBye"]);
    assert_eq!(world.agents[1].usages(), 0);
}

#[test]
fn calls_end_cleanly_under_loss_and_duplication() {
    for seed in 0..60 {
        let mut world = World::new(2, seed);
        (world.loss, world.duplication) = (0.2, 0.2);
        world.command(0, invite(1));
        world.seconds(8);
        if world.words(1).first().is_some_and(|word| word == "invited 1001") {
            world.command(1, accept(world.agents[1].usages.keys().next().copied().unwrap()));
            world.seconds(20);
        }
        let side = usize::try_from(seed % 2).unwrap();
        for leg in world.agents[side].usages.keys().copied().collect::<Vec<_>>() {
            world.command(side, bye(leg));
        }
        world.seconds(40);
        for agent in 0..2 {
            let ends =
                world.events[agent].iter().filter(|event| matches!(event, Event::Ended { .. } | Event::Refused { .. }));
            assert!(ends.count() <= 1, "seed {seed}: {:?}", world.events[agent]);
        }
        // Where every BYE was lost the peer keeps its usage: the call room's media timeout is what ends it.
        for agent in 0..2 {
            for leg in world.agents[agent].usages.keys().copied().collect::<Vec<_>>() {
                world.command(agent, bye(leg));
            }
        }
        world.assert_idle();
    }
}
