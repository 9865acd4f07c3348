//! Outbound calls of agent 0 over several targets, and forks.

use std::time::Duration;

use bytes::Bytes;

use super::ANSWER;
use super::Fate;
use super::World;
use super::invite;
use super::leg;
use crate::ids::TrunkName;
use crate::sip::Command;
use crate::sip::OutgoingInvite;
use crate::sip::Refusal;
use crate::sip::StatusCode;
use crate::sip::user_agent::Input;

fn accept_at(world: &mut World, agent: usize) {
    let leg = world.invited_leg(agent);
    world.command(agent, Command::Accept { leg, sdp: Bytes::from_static(ANSWER.as_bytes()) });
}

#[test]
fn a_503_goes_to_the_next_target() {
    let mut world = World::new(3, 1);
    world.command(0, invite(1));
    world.run(Duration::from_millis(50));
    let leg = world.invited_leg(1);
    world.command(1, Command::Refuse { leg, refusal: Refusal::new(StatusCode::SERVICE_UNAVAILABLE) });
    world.run(Duration::from_millis(50));
    accept_at(&mut world, 2);
    world.run(Duration::from_millis(50));
    assert_eq!(world.words(0), ["accepted"]);
}

#[test]
fn a_busy_target_ends_the_attempt() {
    let mut world = World::new(3, 1);
    world.command(0, invite(1));
    world.run(Duration::from_millis(50));
    let leg = world.invited_leg(1);
    world.command(1, Command::Refuse { leg, refusal: Refusal::new(StatusCode::BUSY_HERE) });
    world.seconds(5);
    assert_eq!(world.words(0), ["refused 486"]);
    assert!(world.events[2].is_empty());
    world.assert_idle();
}

#[test]
fn a_failed_path_goes_to_the_next_target() {
    let mut world = World::new(3, 1);
    world.command(0, invite(1));
    let flow = super::udp("10.0.0.1:5060", "10.0.0.2:5060");
    let now = world.now;
    world.agents[0].handle(Input::FlowFailed { flow }, now);
    world.command(0, Command::Cancel { leg: leg(99), reason: None });
    world.run(Duration::from_millis(50));
    accept_at(&mut world, 2);
    world.run(Duration::from_millis(50));
    assert_eq!(world.words(0), ["accepted"]);
}

#[test]
fn a_late_200_of_an_abandoned_target_gets_ack_and_bye() {
    let mut world = World::new(3, 1);
    // Whatever agent 1 answers is lost for the first four seconds.
    world.command(0, invite(1));
    world.filter = Box::new(|line| if line.starts_with("SIP/2.0 100") { Fate::Lose } else { Fate::Pass });
    world.run(Duration::from_millis(4_100));
    assert_eq!(world.words(2), ["invited 1001"]);
    accept_at(&mut world, 1);
    world.run(Duration::from_millis(100));
    // On a wire that reorders, the BYE may come before the ACK.
    assert_eq!(world.words(1).last().unwrap(), "ended PeerBye");
    assert_eq!((world.times(0, "ACK"), world.times(0, "BYE")), (1, 1));
    assert!(world.words(0).is_empty(), "the second target is still asked");
    world.command(0, Command::Cancel { leg: leg(1), reason: None });
}

#[test]
fn a_late_180_of_an_abandoned_target_is_cancelled() {
    let mut world = World::new(3, 1);
    world.command(0, invite(1));
    world.filter = Box::new(|line| if line.starts_with("SIP/2.0 100") { Fate::Lose } else { Fate::Pass });
    world.run(Duration::from_millis(4_100));
    let leg = world.invited_leg(1);
    world.command(1, Command::Provisional { leg, status: StatusCode::RINGING, body: None });
    world.run(Duration::from_millis(100));
    assert_eq!(world.words(1), ["invited 1001", "cancelled"]);
    assert!(world.words(0).is_empty());
}

#[test]
fn silence_everywhere_is_408() {
    let mut world = World::new(3, 1);
    world.filter = Box::new(|_| Fate::Lose);
    world.command(0, invite(1));
    world.seconds(35);
    assert!(world.words(0).is_empty());
    world.seconds(2);
    assert_eq!(world.words(0), ["refused 408"]);
    world.assert_idle();
}

#[test]
fn a_cancel_before_any_response_waits_for_one() {
    let mut world = World::new(2, 1);
    world.command(0, invite(1));
    world.command(0, Command::Cancel { leg: leg(1), reason: None });
    assert_eq!(world.times(0, "CANCEL"), 0);
    world.run(Duration::from_millis(200));
    assert_eq!(world.words(1), ["invited 1001", "cancelled"]);
    assert_eq!(world.words(0), ["refused 487"]);
    world.assert_idle();
}

#[test]
fn an_unknown_trunk_is_503() {
    let mut world = World::new(2, 1);
    let Command::Invite(outgoing) = invite(1) else { unreachable!() };
    world.command(0, Command::Invite(OutgoingInvite { trunk: TrunkName::new("nowhere"), ..outgoing }));
    assert_eq!(world.words(0), ["refused 503"]);
    world.assert_idle();
}
