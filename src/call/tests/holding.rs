use super::OFFER;
use super::Stage;
use super::offer_saying;
use crate::call::HoldStyle;
use crate::signaling::CallRequest;
use crate::signaling::HeldBy;
use crate::signaling::Notification;
use crate::sip;
use crate::sip::StatusCode;
use crate::worker;
use crate::worker::Gate;

fn talking(style: HoldStyle) -> Stage {
    Stage::talking_at(|ground| ground.trunk.hold_style = style)
}

fn music(stage: &Stage) -> Vec<bool> {
    let music = |output: &crate::call::Output| match output {
        crate::call::Output::Worker(worker::Command::PlayHold { on, .. }) => Some(*on),
        _ => None,
    };
    stage.outputs.iter().filter_map(music).collect()
}

fn last_gate(stage: &Stage) -> Option<Gate> {
    let gate = |output: &crate::call::Output| match output {
        crate::call::Output::Worker(worker::Command::SetGate { gate, .. }) => Some(*gate),
        _ => None,
    };
    stage.outputs.iter().filter_map(gate).next_back()
}

fn offers(stage: &Stage) -> Vec<String> {
    let offer = |command: &&sip::Command| match command {
        sip::Command::Reinvite { sdp, .. } => Some(String::from_utf8(sdp.to_vec()).unwrap()),
        _ => None,
    };
    stage.sip_commands().iter().filter_map(offer).collect()
}

/// The o= versions of everything that the trunk was told, in order.
fn versions(stage: &Stage) -> Vec<u64> {
    let version = |command: &&sip::Command| match command {
        sip::Command::Accept { sdp, .. }
        | sip::Command::Reinvite { sdp, .. }
        | sip::Command::AcceptReinvite { sdp, .. } => {
            let text = String::from_utf8(sdp.to_vec()).unwrap();
            let origin = text.lines().find_map(|line| line.strip_prefix("o=")).unwrap().to_owned();
            Some(origin.split(' ').nth(2).unwrap().parse().unwrap())
        }
        _ => None,
    };
    stage.sip_commands().iter().filter_map(version).collect()
}

fn held(by: HeldBy) -> impl Fn(&Notification) -> bool {
    move |notice| matches!(notice, Notification::Held { by: who, .. } if *who == by)
}

fn resumed(by: HeldBy) -> impl Fn(&Notification) -> bool {
    move |notice| matches!(notice, Notification::Resumed { by: who, .. } if *who == by)
}

fn answered(stage: &mut Stage, direction: &str) {
    let leg = stage.ids.trunk_leg;
    stage.sip(sip::Event::Renegotiated { leg, sdp: offer_saying(direction, 2) });
}

#[test]
fn a_local_hold_is_music_and_no_reinvite() {
    let mut stage = talking(HoldStyle::Local);
    stage.ask(CallRequest::Hold);
    assert_eq!(music(&stage), [true]);
    assert_eq!(last_gate(&stage), Some(Gate { to_trunk: true, to_agent: false }));
    assert!(stage.notified(held(HeldBy::Agent)));
    stage.ask(CallRequest::Resume);
    assert_eq!(music(&stage), [true, false]);
    assert_eq!(last_gate(&stage), Some(Gate { to_trunk: true, to_agent: true }));
    assert!(stage.notified(resumed(HeldBy::Agent)));
    assert!(stage.sip_commands().is_empty());
}

#[test]
fn holding_twice_is_holding_once_and_a_resume_without_a_hold_is_nothing() {
    let mut stage = talking(HoldStyle::Local);
    stage.ask(CallRequest::Resume);
    stage.ask(CallRequest::Hold);
    stage.ask(CallRequest::Hold);
    assert_eq!(music(&stage), [true]);
    assert!(stage.replies().iter().all(|(_, granted)| *granted));
}

#[test]
fn a_trunk_that_wants_to_know_gets_a_reinvite_for_hold_and_for_resume() {
    for (style, direction, answer) in
        [(HoldStyle::SendOnly, "a=sendonly", "recvonly"), (HoldStyle::Inactive, "a=inactive", "inactive")]
    {
        let mut stage = talking(style);
        stage.ask(CallRequest::Hold);
        assert!(offers(&stage)[0].contains(direction), "{style:?}");
        assert_eq!(stage.call.phase_name(), "renegotiating");
        answered(&mut stage, answer);
        assert_eq!(stage.call.phase_name(), "established");
        let receives = |c: &worker::Command| matches!(c, worker::Command::ConnectTrunk { media, .. } if media.receive);
        assert!(!stage.worker_got(receives), "{style:?}");
        assert!(!stage.notified(held(HeldBy::Peer)), "our own hold is not the peer's");
        stage.ask(CallRequest::Resume);
        assert!(offers(&stage)[1].contains("a=sendrecv"), "{style:?}");
        answered(&mut stage, "sendrecv");
        assert!(stage.worker_got(receives), "{style:?}");
        assert_eq!(stage.call.phase_name(), "established");
    }
}

#[test]
fn a_resume_before_the_hold_is_answered_is_told_afterwards() {
    let mut stage = talking(HoldStyle::SendOnly);
    stage.ask(CallRequest::Hold);
    stage.ask(CallRequest::Resume);
    assert_eq!(offers(&stage).len(), 1, "one offer at a time");
    answered(&mut stage, "recvonly");
    assert_eq!(offers(&stage).len(), 2);
    assert!(offers(&stage)[1].contains("a=sendrecv"));
}

#[test]
fn a_hold_that_the_trunk_refuses_is_a_hold_all_the_same() {
    let mut stage = talking(HoldStyle::SendOnly);
    let leg = stage.ids.trunk_leg;
    stage.ask(CallRequest::Hold);
    stage.sip(sip::Event::RenegotiationFailed { leg, status: StatusCode::NOT_ACCEPTABLE_HERE });
    assert_eq!((music(&stage), stage.call.phase_name()), (vec![true], "established"));
    stage.ask(CallRequest::Resume);
    assert_eq!(offers(&stage).len(), 1, "the trunk never heard of the hold");
    assert_eq!(last_gate(&stage), Some(Gate { to_trunk: true, to_agent: true }));
}

#[test]
fn a_resume_that_the_trunk_refuses_is_a_hold_again() {
    let mut stage = talking(HoldStyle::Inactive);
    let leg = stage.ids.trunk_leg;
    stage.ask(CallRequest::Hold);
    answered(&mut stage, "inactive");
    stage.ask(CallRequest::Resume);
    stage.outputs.clear();
    stage.sip(sip::Event::RenegotiationFailed { leg, status: StatusCode::NOT_ACCEPTABLE_HERE });
    assert!(stage.notified(held(HeldBy::Agent)));
    assert_eq!(music(&stage), [true]);
}

#[test]
fn a_resume_that_the_peers_reinvite_overtakes_is_said_by_the_answer() {
    let mut stage = talking(HoldStyle::Inactive);
    let leg = stage.ids.trunk_leg;
    stage.ask(CallRequest::Hold);
    answered(&mut stage, "inactive");
    stage.ask(CallRequest::Resume);
    stage.outputs.clear();
    // Our offer met theirs (491), and waits to be said again; theirs comes first.
    stage.sip(sip::Event::RenegotiationOvertaken { leg });
    stage.sip(sip::Event::Reinvited { leg, offer: Some(offer_saying("sendrecv", 3)) });
    stage.sip(sip::Event::RenegotiationOvertaken { leg });
    let answer = stage.sip_commands().into_iter().find_map(|command| match command {
        sip::Command::AcceptReinvite { sdp, .. } => Some(String::from_utf8(sdp.to_vec()).unwrap()),
        _ => None,
    });
    assert!(answer.unwrap().contains("a=sendrecv"));
    assert!(!stage.notified(held(HeldBy::Agent)));
    assert_eq!((stage.call.phase_name(), music(&stage)), ("established", vec![]));
}

#[test]
fn both_may_hold_and_each_resume_lifts_only_its_own() {
    let mut stage = talking(HoldStyle::Local);
    let leg = stage.ids.trunk_leg;
    stage.sip(sip::Event::Reinvited { leg, offer: Some(offer_saying("sendonly", 2)) });
    assert!(stage.notified(held(HeldBy::Peer)));
    stage.ask(CallRequest::Hold);
    stage.outputs.clear();
    stage.ask(CallRequest::Resume);
    assert!(stage.notified(resumed(HeldBy::Agent)) && !stage.notified(resumed(HeldBy::Peer)));
    stage.sip(sip::Event::Reinvited { leg, offer: Some(offer_saying("sendrecv", 3)) });
    assert!(stage.notified(resumed(HeldBy::Peer)));
}

#[test]
fn the_peers_reinvite_is_answered_as_held_while_the_agent_holds() {
    let mut stage = talking(HoldStyle::SendOnly);
    let leg = stage.ids.trunk_leg;
    stage.ask(CallRequest::Hold);
    answered(&mut stage, "recvonly");
    stage.sip(sip::Event::Reinvited { leg, offer: Some(offer_saying("sendrecv", 3)) });
    let answer = stage.sip_commands().into_iter().find_map(|command| match command {
        sip::Command::AcceptReinvite { sdp, .. } => Some(String::from_utf8(sdp.to_vec()).unwrap()),
        _ => None,
    });
    assert!(answer.unwrap().contains("a=sendonly"));
}

#[test]
fn an_offer_that_the_peers_overtook_leaves_no_gap_in_the_versions() {
    // RFC 3264 8. The peer's re-INVITE is on its way to us when the agent holds: our own never leaves.
    for offer in [Some(offer_saying("sendrecv", 3)), None] {
        let mut stage = talking(HoldStyle::SendOnly);
        let leg = stage.ids.trunk_leg;
        stage.outputs.clear();
        stage.ask(CallRequest::Hold);
        stage.sip(sip::Event::Reinvited { leg, offer: offer.clone() });
        stage.sip(sip::Event::RenegotiationOvertaken { leg });
        if offer.is_none() {
            stage.sip(sip::Event::Acknowledged { leg, sdp: Some(offer_saying("recvonly", 3)) });
        }
        assert_eq!((stage.call.phase_name(), offers(&stage).len()), ("established", 1), "the answer said it");
        stage.ask(CallRequest::Resume);
        let told = versions(&stage);
        let [overtaken, answered, resumed] = told.as_slice() else { panic!("{told:?}") };
        assert_eq!((*answered, *resumed), (*overtaken, overtaken + 1));
    }
}

#[test]
fn an_overtaken_offer_that_leaves_after_all_keeps_its_version() {
    // The peer's offer is refused: ours, which waited behind it, goes out.
    let mut stage = talking(HoldStyle::SendOnly);
    let leg = stage.ids.trunk_leg;
    stage.outputs.clear();
    stage.ask(CallRequest::Hold);
    stage.sip(sip::Event::Reinvited { leg, offer: Some("v=0".into()) });
    answered(&mut stage, "recvonly");
    stage.ask(CallRequest::Resume);
    let told = versions(&stage);
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(told[1], told[0] + 1);
}

#[test]
fn a_silent_hold_of_either_side_does_not_end() {
    let silent_for = std::time::Duration::from_mins(5);
    let timeout = |stage: &mut Stage| {
        stage.worker(stage.ids.trunk_leg, worker::EventKind::MediaTimeout { silent_for });
    };
    let mut stage = talking(HoldStyle::Local);
    let leg = stage.ids.trunk_leg;
    stage.sip(sip::Event::Reinvited { leg, offer: Some(offer_saying("sendonly", 2)) });
    timeout(&mut stage);
    assert_eq!(stage.call.phase_name(), "established");
    stage.sip(sip::Event::Reinvited { leg, offer: Some(offer_saying("sendrecv", 3)) });
    timeout(&mut stage);
    assert!(stage.said_bye(), "and silence without a hold does");
}

#[test]
fn a_call_on_hold_has_no_end_of_its_own() {
    let mut stage = talking(HoldStyle::Local);
    stage.ask(CallRequest::Hold);
    stage.pass(std::time::Duration::from_mins(5));
    assert_eq!(stage.call.phase_name(), "established");
    assert!(stage.call.poll_timeout().is_none());
    let leg = stage.ids.trunk_leg;
    stage.sip(sip::Event::Reinvited { leg, offer: Some(OFFER.into()) });
    assert_eq!(stage.call.phase_name(), "established");
}
