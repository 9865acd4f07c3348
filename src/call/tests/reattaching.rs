//! A page that is reloaded: its calls go on at the same agent's new session.

use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::OFFER;
use super::Stage;
use super::agent_session;
use crate::call::Cause;
use crate::call::Input;
use crate::call::Output;
use crate::ids::LegId;
use crate::ids::SignalingId;
use crate::limits::REATTACH_MAX;
use crate::recording::Obligation;
use crate::signaling;
use crate::signaling::CallRequest;
use crate::signaling::Direction;
use crate::signaling::Line;
use crate::signaling::Notification;
use crate::sip;
use crate::worker;
use crate::worker::Gate;

/// The session after the `n`th reload.
fn session(n: u64) -> SignalingId {
    SignalingId::generate(1, &mut StdRng::seed_from_u64(3_000 + n))
}

/// Its leg.
fn leg(n: u64) -> LegId {
    LegId::generate(1, &mut StdRng::seed_from_u64(4_000 + n))
}

fn reload(stage: &mut Stage, from: SignalingId, n: u64) {
    stage.tell(Input::Reattached { from, session: session(n), leg: leg(n) });
}

fn offered(stage: &mut Stage, n: u64) {
    stage.worker(leg(n), worker::EventKind::PeerOffered { sdp: format!("offer {n}") });
}

/// A page was reloaded in a call, and the new one's transport is up.
fn reloaded() -> Stage {
    let mut stage = Stage::talking();
    reload(&mut stage, agent_session(), 1);
    offered(&mut stage, 1);
    stage.ask_as(session(1), CallRequest::Transport { sdp: "answer 1".into() });
    stage.worker(leg(1), worker::EventKind::PeerConnected);
    stage
}

/// Each `call.reattach`, with whom it was told to.
fn told(stage: &Stage) -> Vec<(SignalingId, String, Line)> {
    let told = |output: &Output| match output {
        Output::Signaling {
            session,
            command: signaling::Command::Notify(Notification::Reattach { sdp, line, .. }),
        } => Some((*session, sdp.clone(), Line::clone(line))),
        _ => None,
    };
    stage.outputs.iter().filter_map(told).collect()
}

fn music(stage: &Stage) -> Option<bool> {
    let music = |output: &Output| match output {
        Output::Worker(worker::Command::PlayHold { on, .. }) => Some(*on),
        _ => None,
    };
    stage.outputs.iter().filter_map(music).next_back()
}

fn gate(stage: &Stage) -> Option<Gate> {
    let gate = |output: &Output| match output {
        Output::Worker(worker::Command::SetGate { gate, .. }) => Some(*gate),
        _ => None,
    };
    stage.outputs.iter().filter_map(gate).next_back()
}

fn closes(stage: &Stage, wanted: LegId) -> bool {
    stage.worker_got(|c| matches!(c, worker::Command::CloseLeg { leg, .. } if *leg == wanted))
}

#[test]
fn the_new_page_hears_of_the_call_and_the_other_side_hears_music() {
    let mut stage = Stage::talking();
    stage.pass(Duration::from_secs(7));
    reload(&mut stage, agent_session(), 1);
    assert!(stage.worker_got(|c| matches!(c, worker::Command::OfferPeer { leg: new, .. } if *new == leg(1))));
    assert_eq!((music(&stage), gate(&stage)), (Some(true), Some(Gate { to_trunk: true, to_agent: false })));
    assert!(told(&stage).is_empty(), "not before there is an offer");
    offered(&mut stage, 1);
    let line = Line {
        direction: Direction::Inbound,
        number: "600".into(),
        name: None,
        talked_ms: 7_000,
        held_by_agent: false,
        held_by_peer: false,
        recording: true,
    };
    assert_eq!(told(&stage), [(session(1), "offer 1".to_owned(), line)]);
    assert!(!closes(&stage, stage.ids.agent_leg), "the old leg stays until the new one is up");
    assert!(stage.sip_commands().is_empty(), "the trunk is told of nothing");
}

#[test]
fn the_new_leg_takes_the_old_ones_place_and_the_recording_goes_on() {
    let stage = reloaded();
    let answered =
        |c: &worker::Command| matches!(c, worker::Command::AcceptPeerAnswer { leg: new, .. } if *new == leg(1));
    assert!(stage.worker_got(answered));
    assert!(
        stage.worker_got(|c| matches!(c, worker::Command::SetMuted { leg: new, muted: false, .. } if *new == leg(1)))
    );
    assert!(closes(&stage, stage.ids.agent_leg));
    assert_eq!((music(&stage), gate(&stage)), (Some(false), Some(Gate { to_trunk: true, to_agent: true })));
    assert!(!stage.recorder_got(|_| true), "one recording, without a break");
    let tap = |c: &worker::Command| matches!(c, worker::Command::StartTap { .. } | worker::Command::StopTap { .. });
    assert!(!stage.worker_got(tap));
    assert!(stage.sip_commands().is_empty());
    assert_eq!(stage.call.phase_name(), "established");
    assert!(stage.call.poll_timeout().is_none(), "nothing is waited for");
}

#[test]
fn the_call_is_the_new_sessions_and_no_longer_the_old_ones() {
    let mut stage = reloaded();
    stage.outputs.clear();
    stage.ask_as(agent_session(), CallRequest::Hangup);
    assert!(stage.replies().iter().all(|(_, granted)| !granted));
    stage.tell(Input::AgentGone { session: agent_session() });
    assert_eq!(stage.call.phase_name(), "established", "the old session's end is nothing to it");
    stage.ask_as(session(1), CallRequest::Hangup);
    assert!(stage.said_bye());
    assert_eq!(stage.told(|notice| matches!(notice, Notification::Ended { .. })), [session(1)]);
}

#[test]
fn a_second_reload_during_the_first_takes_over() {
    let mut stage = Stage::talking();
    reload(&mut stage, agent_session(), 1);
    offered(&mut stage, 1);
    reload(&mut stage, session(1), 2);
    assert!(closes(&stage, leg(1)));
    let gone = worker::LegFailure::IceFailed;
    for late in [leg(1), stage.ids.agent_leg] {
        stage.worker(late, worker::EventKind::LegFailed { reason: gone });
    }
    stage.worker(leg(1), worker::EventKind::PeerConnected);
    assert_eq!((stage.call.phase_name(), music(&stage)), ("established", Some(true)));
    offered(&mut stage, 2);
    stage.worker(leg(2), worker::EventKind::PeerConnected);
    assert_eq!(music(&stage), Some(false));
    let heard: Vec<SignalingId> = told(&stage).into_iter().map(|(session, ..)| session).collect();
    assert_eq!(heard, [session(1), session(2)]);
}

#[test]
fn a_page_that_does_not_come_back_in_time_is_an_agent_who_vanished() {
    let mut stage = Stage::talking();
    reload(&mut stage, agent_session(), 1);
    offered(&mut stage, 1);
    stage.pass(REATTACH_MAX.saturating_sub(Duration::from_millis(1)));
    assert_eq!(stage.call.phase_name(), "established");
    stage.pass(Duration::from_millis(1));
    assert!(stage.said_bye());
    let vanished = Cause::AgentVanished.word();
    assert!(stage.notified(|notice| matches!(notice, Notification::Ended { reason, .. } if reason == vanished)));
}

#[test]
fn a_new_page_whose_session_or_transport_fails_ends_the_call() {
    let mut stage = Stage::talking();
    reload(&mut stage, agent_session(), 1);
    stage.tell(Input::AgentGone { session: session(1) });
    assert!(stage.said_bye());
    let mut stage = Stage::talking();
    reload(&mut stage, agent_session(), 1);
    stage.worker(leg(1), worker::EventKind::LegFailed { reason: worker::LegFailure::IceFailed });
    assert!(stage.said_bye());
}

#[test]
fn a_hold_outlives_a_reload() {
    let mut stage = Stage::talking();
    stage.ask(CallRequest::Hold);
    reload(&mut stage, agent_session(), 1);
    offered(&mut stage, 1);
    assert!(told(&stage)[0].2.held_by_agent);
    stage.worker(leg(1), worker::EventKind::PeerConnected);
    assert_eq!((music(&stage), gate(&stage)), (Some(true), Some(Gate { to_trunk: true, to_agent: false })));
    stage.ask_as(session(1), CallRequest::Resume);
    assert_eq!((music(&stage), gate(&stage)), (Some(false), Some(Gate { to_trunk: true, to_agent: true })));
}

#[test]
fn a_resume_while_the_page_is_on_its_way_is_heard_once_it_is_there() {
    let mut stage = Stage::talking();
    stage.ask(CallRequest::Hold);
    reload(&mut stage, agent_session(), 1);
    offered(&mut stage, 1);
    stage.ask_as(session(1), CallRequest::Resume);
    assert_eq!(music(&stage), Some(true));
    stage.worker(leg(1), worker::EventKind::PeerConnected);
    assert_eq!(music(&stage), Some(false));
}

#[test]
fn a_page_that_is_reloaded_speaks_unless_it_mutes_anew() {
    let muted = |stage: &Stage| {
        let muted = |output: &Output| match output {
            Output::Worker(worker::Command::SetMuted { leg, muted, .. }) => Some((*leg, *muted)),
            _ => None,
        };
        stage.outputs.iter().filter_map(muted).next_back()
    };
    let mut stage = Stage::talking();
    stage.ask(CallRequest::Mute { muted: true });
    reload(&mut stage, agent_session(), 1);
    offered(&mut stage, 1);
    stage.ask_as(session(1), CallRequest::Mute { muted: true });
    assert_eq!(muted(&stage), Some((stage.ids.agent_leg, true)), "the new leg is not joined before it is up");
    stage.worker(leg(1), worker::EventKind::PeerConnected);
    assert_eq!(muted(&stage), Some((leg(1), true)));
    reload(&mut stage, session(1), 2);
    stage.worker(leg(2), worker::EventKind::PeerConnected);
    assert_eq!(muted(&stage), Some((leg(2), false)));
}

#[test]
fn the_trunk_may_renegotiate_and_hang_up_while_the_page_is_on_its_way() {
    let mut stage = Stage::talking();
    let trunk = stage.ids.trunk_leg;
    reload(&mut stage, agent_session(), 1);
    stage.sip(sip::Event::Reinvited { leg: trunk, offer: Some(super::offer_saying("sendonly", 2)) });
    offered(&mut stage, 1);
    assert!(told(&stage)[0].2.held_by_peer);
    stage.sip(sip::Event::Ended { leg: trunk, cause: sip::EndCause::PeerBye, reason: None });
    assert_eq!(stage.call.phase_name(), "terminating");
    assert_eq!(stage.told(|notice| matches!(notice, Notification::Ended { .. })), [session(1)]);
}

#[test]
fn a_call_that_rings_rings_at_the_new_page() {
    let mut stage = Stage::inbound(Obligation::Never, Some(OFFER));
    stage.legs_made();
    stage.ask(CallRequest::Alerting);
    reload(&mut stage, agent_session(), 1);
    assert!(closes(&stage, stage.ids.agent_leg));
    offered(&mut stage, 1);
    let rang = stage.told(|notice| matches!(notice, Notification::Incoming { .. }));
    assert_eq!(rang, [agent_session(), session(1)]);
    stage.ask_as(agent_session(), CallRequest::Accept);
    assert!(!stage.accepted(), "it rings at the old page no longer");
    stage.ask_as(session(1), CallRequest::Alerting);
    stage.worker(leg(1), worker::EventKind::PeerConnected);
    stage.ask_as(session(1), CallRequest::Accept);
    assert!(stage.accepted());
    assert_eq!(stage.told(|notice| matches!(notice, Notification::Answered { .. })), [session(1)]);
}

#[test]
fn a_call_that_is_dialled_ends_with_its_page() {
    let mut stage = Stage::outbound(Obligation::Never);
    stage.legs_made();
    stage.ask(CallRequest::Transport { sdp: "answer".into() });
    stage.peer_connected();
    assert_eq!(stage.call.phase_name(), "inviting");
    reload(&mut stage, agent_session(), 1);
    assert_eq!(stage.sip_count(|command| matches!(command, sip::Command::Cancel { .. })), 1);
    assert_eq!(stage.call.phase_name(), "terminating");
}
