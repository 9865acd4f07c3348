use std::time::Duration;

use super::OFFER;
use super::Stage;
use crate::call::Cause;
use crate::call::Input;
use crate::call::Output;
use crate::pii::Pii;
use crate::recording;
use crate::recording::Obligation;
use crate::signaling::CallRequest;
use crate::signaling::HeldBy;
use crate::signaling::Notification;
use crate::sip;
use crate::sip::EndCause;
use crate::sip::Reason;
use crate::worker;

fn ringing(obligation: Obligation) -> Stage {
    let mut stage = Stage::inbound(obligation, Some(OFFER));
    stage.legs_made();
    stage.ask(CallRequest::Alerting);
    stage.ask(CallRequest::Transport { sdp: "answer".into() });
    stage
}

fn hang_up_media(stage: &mut Stage) {
    stage.worker(stage.ids.agent_leg, worker::EventKind::Closed);
}

#[test]
fn the_caller_hears_ringing_only_after_a_device_alerts() {
    let mut stage = Stage::inbound(Obligation::Required, Some(OFFER));
    stage.legs_made();
    assert!(stage.notified(|notice| matches!(notice, Notification::Incoming { .. })));
    assert!(stage.sip_commands().is_empty());
    stage.ask(CallRequest::Alerting);
    stage.ask(CallRequest::Alerting);
    let ringing = stage.sip_commands().iter().filter(|c| matches!(c, sip::Command::Provisional { .. })).count();
    assert_eq!(ringing, 1);
}

#[test]
fn an_offer_that_we_cannot_take_rings_no_phone() {
    let offer = OFFER.replace("RTP/AVP 0 101", "RTP/AVP 18").replace("a=rtpmap:0 PCMU/8000", "a=rtpmap:18 G729/8000");
    let mut stage = Stage::inbound(Obligation::Required, Some(&offer));
    stage.legs_made();
    assert_eq!(stage.refused_with(), Some(488));
    assert!(!stage.notified(|notice| matches!(notice, Notification::Incoming { .. })));
}

#[test]
fn a_device_that_says_nothing_for_two_seconds_is_skipped() {
    let mut stage = Stage::inbound(Obligation::Required, Some(OFFER));
    stage.legs_made();
    stage.pass(Duration::from_millis(1_999));
    assert_eq!(stage.refused_with(), None);
    stage.pass(Duration::from_millis(1));
    assert_eq!(stage.refused_with(), Some(480));
}

#[test]
fn nobody_accepting_is_480() {
    let mut stage = ringing(Obligation::Required);
    stage.pass(Duration::from_secs(30));
    assert_eq!(stage.refused_with(), Some(480));
    hang_up_media(&mut stage);
    assert_eq!(stage.ended_as(), Some(Cause::NoAnswer));
}

#[test]
fn a_reject_is_486() {
    let mut stage = ringing(Obligation::Required);
    stage.ask(CallRequest::Reject);
    assert_eq!(stage.refused_with(), Some(486));
}

#[test]
fn the_200_waits_for_transport_and_required_recorder() {
    let mut stage = ringing(Obligation::Required);
    stage.ask(CallRequest::Accept);
    assert!(!stage.accepted());
    stage.peer_connected();
    assert!(!stage.accepted() && !stage.gate_opened());
    stage.recorder_says(recording::EventKind::Recording);
    assert!(stage.accepted() && stage.gate_opened());
    assert!(stage.recorder_got(|command| matches!(command, recording::Command::Answered { .. })));
}

#[test]
fn without_a_recording_policy_no_recorder_is_asked() {
    let mut stage = ringing(Obligation::Never);
    stage.peer_connected();
    stage.ask(CallRequest::Accept);
    assert!(stage.accepted());
    assert!(!stage.recorder_got(|_| true));
}

#[test]
fn a_required_recorder_that_fails_refuses_the_call() {
    let mut stage = ringing(Obligation::Required);
    stage.peer_connected();
    stage.ask(CallRequest::Accept);
    stage.recorder_says(recording::EventKind::Failed { reason: "disk full".into() });
    assert_eq!(stage.refused_with(), Some(503));
    assert!(!stage.gate_opened());
}

#[test]
fn a_best_effort_recorder_that_fails_lets_the_call_go_on() {
    let mut stage = ringing(Obligation::BestEffort);
    stage.peer_connected();
    stage.ask(CallRequest::Accept);
    stage.recorder_says(recording::EventKind::Failed { reason: "disk full".into() });
    assert!(stage.accepted());
}

#[test]
fn a_recorder_that_says_nothing_counts_as_failed() {
    for (obligation, refused) in [(Obligation::Required, Some(503)), (Obligation::BestEffort, None)] {
        let mut stage = ringing(obligation);
        stage.peer_connected();
        stage.ask(CallRequest::Accept);
        stage.pass(Duration::from_secs(5));
        assert_eq!(stage.refused_with(), refused, "{obligation:?}");
    }
}

#[test]
fn a_transport_that_does_not_come_up_is_480() {
    let mut stage = ringing(Obligation::Required);
    stage.ask(CallRequest::Accept);
    stage.recorder_says(recording::EventKind::Recording);
    stage.pass(Duration::from_secs(5));
    assert_eq!(stage.refused_with(), Some(480));
    hang_up_media(&mut stage);
    assert!(stage.recorder_got(|command| matches!(command, recording::Command::Abandon { .. })));
}

#[test]
fn a_cancel_ends_the_ringing_without_another_response() {
    let mut stage = ringing(Obligation::Required);
    let leg = stage.ids.trunk_leg;
    stage.outputs.clear();
    stage.sip(sip::Event::Cancelled { leg, reason: None });
    assert!(stage.sip_commands().is_empty());
    assert!(stage.notified(|n| matches!(n, Notification::Ended { reason, .. } if reason == "cancelled")));
}

#[test]
fn a_call_completed_elsewhere_is_not_missed() {
    let mut stage = ringing(Obligation::Required);
    let leg = stage.ids.trunk_leg;
    let reason = Some(Reason { protocol: "SIP".into(), cause: Some(200), text: None });
    stage.sip(sip::Event::Cancelled { leg, reason });
    assert!(stage.notified(|n| matches!(n, Notification::Ended { reason, .. } if reason == "answered_elsewhere")));
}

#[test]
fn the_recorder_stops_only_after_the_worker_has_closed() {
    let mut stage = Stage::talking();
    stage.ask(CallRequest::Hangup);
    assert!(stage.said_bye());
    assert!(!stage.recorder_got(|command| matches!(command, recording::Command::Stop { .. })));
    hang_up_media(&mut stage);
    assert!(stage.recorder_got(|command| matches!(command, recording::Command::Stop { .. })));
    assert_eq!(stage.ended_as(), None);
    stage.recorder_says(recording::EventKind::Sealed { samples: 8_000 });
    assert_eq!(stage.ended_as(), Some(Cause::Hangup));
}

#[test]
fn a_bye_from_the_trunk_is_not_answered_with_another() {
    let mut stage = Stage::talking();
    let leg = stage.ids.trunk_leg;
    stage.sip(sip::Event::Ended { leg, cause: EndCause::PeerBye, reason: None });
    assert!(!stage.said_bye());
    assert!(stage.notified(|n| matches!(n, Notification::Ended { sip_code: None, q850: Some(16), .. })));
}

#[test]
fn a_required_recording_that_dies_ends_the_call() {
    let mut stage = Stage::talking();
    stage.recorder_says(recording::EventKind::Failed { reason: "disk full".into() });
    assert!(stage.said_bye());
}

#[test]
fn a_page_that_was_told_the_end_hears_no_more_of_the_recording() {
    let mut stage = Stage::talking();
    stage.sip(sip::Event::Ended { leg: stage.ids.trunk_leg, cause: EndCause::PeerBye, reason: None });
    stage.recorder_says(recording::EventKind::Failed { reason: "the disk is full".into() });
    assert!(!stage.notified(|told| matches!(told, Notification::Recording { active: false, .. })));
}

#[test]
fn lost_frames_end_a_required_recordings_call_and_what_there_is_gets_sealed() {
    let mut stage = Stage::talking();
    let tap = stage.ids.tap;
    stage.worker(stage.ids.agent_leg, worker::EventKind::TapOverflow { tap });
    assert!(stage.said_bye());
    hang_up_media(&mut stage);
    assert!(stage.recorder_got(|command| matches!(command, recording::Command::Stop { .. })));
    assert_eq!(stage.ended_as(), Some(Cause::RecordingFailed));
}

#[test]
fn dead_media_and_a_vanished_agent_end_the_call_with_bye() {
    let mut stage = Stage::talking();
    let silent_for = Duration::from_mins(1);
    stage.worker(stage.ids.trunk_leg, worker::EventKind::MediaTimeout { silent_for });
    assert!(stage.said_bye());
    let mut stage = Stage::talking();
    let session = stage.call.standing().audience[0].0;
    stage.tell(Input::AgentGone { session });
    assert!(stage.said_bye());
}

#[test]
fn a_hold_by_the_trunk_reaches_the_worker_and_the_browser_only_by_name() {
    let mut stage = Stage::talking();
    let leg = stage.ids.trunk_leg;
    let hold = format!("{OFFER}a=sendonly\r\n").replace("o=pbx 1 1", "o=pbx 1 2");
    stage.sip(sip::Event::Reinvited { leg, offer: Some(hold.into()) });
    assert!(stage.sip_commands().iter().any(|command| matches!(command, sip::Command::AcceptReinvite { .. })));
    assert!(stage.worker_got(
        |command| matches!(command, worker::Command::ConnectTrunk { media, .. } if !media.send && media.receive)
    ));
    let held = |n: &Notification| matches!(n, Notification::Held { by: HeldBy::Peer, .. });
    assert!(stage.notified(held) && !stage.notified(|notice| !held(notice)));
}

#[test]
fn a_reinvite_that_cannot_be_taken_leaves_the_session_as_it_was() {
    let mut stage = Stage::talking();
    let leg = stage.ids.trunk_leg;
    stage.sip(sip::Event::Reinvited { leg, offer: Some("rubbish".into()) });
    assert!(stage.sip_commands().iter().any(|command| matches!(command, sip::Command::RefuseReinvite { .. })));
    assert_eq!(stage.call.phase_name(), "established");
}

#[test]
fn an_offerless_reinvite_is_offered_and_settled_by_the_ack() {
    let mut stage = Stage::talking();
    let leg = stage.ids.trunk_leg;
    stage.sip(sip::Event::Reinvited { leg, offer: None });
    assert_eq!(stage.call.phase_name(), "renegotiating");
    stage.sip(sip::Event::Acknowledged { leg, sdp: Some(OFFER.into()) });
    assert_eq!(stage.call.phase_name(), "established");
}

#[test]
fn an_ack_without_the_answer_that_was_due_is_bye() {
    let mut stage = Stage::talking();
    let leg = stage.ids.trunk_leg;
    stage.sip(sip::Event::Reinvited { leg, offer: None });
    stage.sip(sip::Event::Acknowledged { leg, sdp: None });
    assert!(stage.said_bye());
}

#[test]
fn a_late_offer_is_settled_by_the_first_ack() {
    let mut stage = Stage::inbound(Obligation::Never, None);
    stage.legs_made();
    stage.ask(CallRequest::Alerting);
    stage.peer_connected();
    stage.ask(CallRequest::Accept);
    assert_eq!(stage.call.phase_name(), "renegotiating");
    let leg = stage.ids.trunk_leg;
    stage.sip(sip::Event::Acknowledged { leg, sdp: Some(OFFER.into()) });
    assert!(stage.worker_got(|command| matches!(command, worker::Command::ConnectTrunk { .. })));
}

#[test]
fn digits_are_sent_whole_or_not_at_all() {
    let mut stage = Stage::talking();
    stage.ask(CallRequest::Dtmf { digits: "12#".into() });
    stage.ask(CallRequest::Dtmf { digits: "12x".into() });
    let granted: Vec<bool> = stage.replies().into_iter().map(|(_, granted)| granted).collect();
    assert_eq!(granted, [true, false]);
    let sent =
        |command: &worker::Command| matches!(command, worker::Command::SendDtmf { digits, .. } if digits.len() == 3);
    assert!(stage.worker_got(sent));
}

#[test]
fn somebody_who_wants_to_stay_unknown_is_on_no_page_and_in_the_record() {
    let change = |invitation: &mut sip::Invitation| {
        invitation.anonymous = true;
        invitation.from.display_name = Some(Pii::new("Boss".to_owned()));
    };
    let mut stage = Stage::inbound_as(change);
    stage.legs_made();
    let shown = |n: &Notification| matches!(n, Notification::Incoming { from, name: None, .. } if from.is_empty());
    assert!(stage.notified(shown));
    assert_eq!(stage.call.standing().number, "");
    stage.sip(sip::Event::Cancelled { leg: stage.ids.trunk_leg, reason: None });
    hang_up_media(&mut stage);
    let is_kept = |output: &Output| matches!(output, Output::Record(record) if record.remote_number == "600");
    assert!(stage.outputs.iter().any(is_kept));
}
