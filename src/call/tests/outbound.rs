use std::time::Duration;

use super::OFFER;
use super::Stage;
use crate::call::Cause;
use crate::call::SrtpPolicy;
use crate::recording;
use crate::recording::Obligation;
use crate::signaling::CallRequest;
use crate::signaling::Notification;
use crate::sip;
use crate::sip::StatusCode;
use crate::worker;
use crate::worker::SrtpSuite;

fn prepared() -> Stage {
    let mut stage = Stage::outbound(Obligation::Required);
    stage.legs_made();
    stage.ask(CallRequest::Transport { sdp: "answer".into() });
    stage
}

fn inviting() -> Stage {
    let mut stage = prepared();
    stage.peer_connected();
    stage.recorder_says(recording::EventKind::Recording);
    assert!(invited(&stage));
    stage.outputs.clear();
    stage
}

fn invited(stage: &Stage) -> bool {
    stage.sip_commands().iter().any(|command| matches!(command, sip::Command::Invite(_)))
}

fn progressed(stage: &Stage, status: u16, sdp: Option<&str>) -> sip::Event {
    let status = StatusCode::new(status).unwrap();
    sip::Event::Progressed { leg: stage.ids.trunk_leg, early: 0, status, sdp: sdp.map(|text| text.to_owned().into()) }
}

#[test]
fn the_invite_leaves_only_when_transport_and_recorder_are_up() {
    let mut stage = prepared();
    assert!(!invited(&stage));
    stage.peer_connected();
    assert!(!invited(&stage));
    stage.recorder_says(recording::EventKind::Recording);
    assert!(invited(&stage));
}

#[test]
fn a_required_recorder_that_fails_sends_no_invite() {
    let mut stage = prepared();
    stage.peer_connected();
    stage.recorder_says(recording::EventKind::Failed { reason: "disk full".into() });
    assert!(stage.sip_commands().is_empty());
    assert!(stage.notified(|n| matches!(n, Notification::Ended { reason, .. } if reason == "recording_failed")));
}

#[test]
fn ringing_is_local_and_no_audio_of_the_agent_crosses_before_the_200() {
    let mut stage = inviting();
    stage.sip(progressed(&stage, 180, None));
    assert!(stage.worker_got(|command| matches!(command, worker::Command::SetRingback { on: true, .. })));
    stage.sip(progressed(&stage, 183, Some(OFFER)));
    assert!(!stage.gate_opened());
    assert!(
        stage.worker_got(|c| matches!(c, worker::Command::SetGate { gate, .. } if gate.to_agent && !gate.to_trunk))
    );
}

#[test]
fn the_200_opens_both_ways() {
    let mut stage = inviting();
    let leg = stage.ids.trunk_leg;
    stage.sip(sip::Event::Accepted { leg, sdp: Some(OFFER.into()) });
    assert!(stage.gate_opened());
    assert!(stage.notified(|notice| matches!(notice, Notification::Answered { .. })));
    assert_eq!(stage.call.phase_name(), "established");
}

#[test]
fn a_200_without_a_usable_answer_is_bye() {
    for sdp in [None, Some("rubbish".into())] {
        let mut stage = inviting();
        let leg = stage.ids.trunk_leg;
        stage.sip(sip::Event::Accepted { leg, sdp });
        assert!(stage.said_bye());
    }
}

#[test]
fn a_trunks_refusal_is_told_with_its_status() {
    let mut stage = inviting();
    let leg = stage.ids.trunk_leg;
    stage.sip(sip::Event::Refused {
        leg,
        status: StatusCode::new(486).unwrap(),
        reason: None,
        redirect: Vec::new(),
        retry_after: None,
    });
    assert!(stage.notified(|n| matches!(n, Notification::Ended { sip_code: Some(486), q850: Some(17), .. })));
    assert!(stage.sip_commands().is_empty());
}

#[test]
fn a_488_to_srtp_is_followed_by_rtp_in_the_clear_once_and_only_where_that_is_allowed() {
    for (required, downgrade, invites) in [(false, true, 2), (false, false, 1), (true, false, 1)] {
        let mut stage =
            Stage::outbound_over_srtp(SrtpPolicy { required, suites: vec![SrtpSuite::AeadAes256Gcm], downgrade });
        let leg = stage.ids.trunk_leg;
        stage.worker(leg, worker::EventKind::TrunkBound { local: "127.0.0.1:20000".parse().unwrap() });
        stage.worker(stage.ids.agent_leg, worker::EventKind::PeerConnected);
        for _ in 0..2 {
            let status = StatusCode::NOT_ACCEPTABLE_HERE;
            let (redirect, retry_after) = (Vec::new(), None);
            stage.sip(sip::Event::Refused { leg, status, reason: None, redirect, retry_after });
        }
        let offers: Vec<String> = stage
            .sip_commands()
            .iter()
            .filter_map(|command| {
                if let sip::Command::Invite(invite) = command {
                    invite.offer.as_ref().map(|offer| String::from_utf8(offer.to_vec()).unwrap())
                } else {
                    None
                }
            })
            .collect();
        assert_eq!(offers.len(), invites, "required {required}, downgrade {downgrade}");
        assert!(offers[0].contains(" RTP/SAVP ") && offers[0].contains("a=crypto:1 AEAD_AES_256_GCM inline:"));
        assert!(offers.get(1).is_none_or(|offer| offer.contains(" RTP/AVP ") && !offer.contains("crypto")));
        assert!(stage.notified(|n| matches!(n, Notification::Ended { sip_code: Some(488), .. })));
        let marked = stage.outputs.iter().rev().find_map(|output| match output {
            crate::call::Output::Record(record) => Some(record.srtp_downgraded),
            _ => None,
        });
        assert_eq!(marked, Some(invites == 2), "the record says so");
    }
}

#[test]
fn hanging_up_while_it_rings_cancels() {
    let mut stage = inviting();
    stage.ask(CallRequest::Hangup);
    assert!(stage.sip_commands().iter().any(|command| matches!(command, sip::Command::Cancel { .. })));
}

#[test]
fn hanging_up_before_the_invite_tells_the_trunk_nothing() {
    let mut stage = prepared();
    stage.ask(CallRequest::Hangup);
    assert!(stage.sip_commands().is_empty());
    stage.worker(stage.ids.agent_leg, worker::EventKind::Closed);
    assert_eq!(stage.ended_as(), Some(Cause::Hangup));
}

#[test]
fn a_callee_who_never_answers_is_cancelled() {
    let mut stage = inviting();
    stage.pass(Duration::from_mins(3));
    assert!(stage.sip_commands().iter().any(|command| matches!(command, sip::Command::Cancel { .. })));
}

fn redirected(stage: &mut Stage, to: &[&str]) {
    let (leg, redirect) = (stage.ids.trunk_leg, to.iter().map(|user| (*user).to_owned()).collect());
    let status = StatusCode::new(302).unwrap();
    stage.sip(sip::Event::Refused { leg, status, reason: None, redirect, retry_after: None });
}

#[test]
fn one_redirection_is_followed_within_the_trunk_and_the_dial_plan() {
    let mut stage = inviting();
    redirected(&mut stage, &["901", "0190123", "605"]);
    assert_eq!(stage.sip_count(|c| matches!(c, sip::Command::Invite(invite) if invite.called == "605")), 1);
    let names_the_first = |c: &sip::Command| {
        let sip::Command::Invite(invite) = c else { return false };
        let diverted = invite.diverted_from.as_ref();
        diverted.is_some_and(|from| from.user.expose() == "600" && from.status.as_u16() == 302)
    };
    assert_eq!(stage.sip_count(names_the_first), 1);
    assert_eq!(stage.call.phase_name(), "inviting");
    redirected(&mut stage, &["606"]);
    assert!(stage.notified(|n| matches!(n, Notification::Ended { sip_code: Some(302), .. })));
    let mut stage = inviting();
    redirected(&mut stage, &["901"]);
    assert!(!invited(&stage), "nowhere that the agent could not have dialled");
}

#[test]
fn a_callee_that_announces_early_media_and_sends_none_is_heard_ringing() {
    let mut stage = inviting();
    stage.sip(progressed(&stage, 183, Some(OFFER)));
    assert!(stage.worker_got(|command| matches!(command, worker::Command::SetRingback { on: true, .. })));
    assert!(!stage.notified(|n| matches!(n, Notification::EarlyMedia { .. })));
    stage.worker(stage.ids.trunk_leg, worker::EventKind::TrunkMediaStarted);
    assert!(stage.notified(|n| matches!(n, Notification::EarlyMedia { .. })));
}

#[test]
fn of_several_forks_each_may_be_heard_and_the_answer_settles_it() {
    let mut stage = inviting();
    let leg = stage.ids.trunk_leg;
    for (early, port) in [(0, "4000"), (1, "4100")] {
        let sdp = Some(OFFER.replace("4000", port).into());
        stage.sip(sip::Event::Progressed { leg, early, status: StatusCode::SESSION_PROGRESS, sdp });
    }
    let connected: Vec<u16> = stage
        .outputs
        .iter()
        .filter_map(|output| match output {
            crate::call::Output::Worker(worker::Command::HearFork { media, .. }) => Some(media.remote.port()),
            _ => None,
        })
        .collect();
    assert_eq!(connected, [4000, 4100]);
    stage.sip(sip::Event::Accepted { leg, sdp: Some(OFFER.into()) });
    let settled =
        |c: &worker::Command| matches!(c, worker::Command::ConnectTrunk { media, .. } if media.remote.port() == 4000);
    assert!(stage.worker_got(settled));
    assert!(stage.gate_opened(), "and the 200 of the first is taken all the same");
}

fn emergency() -> Stage {
    let mut stage = Stage::emergency(&["second"]);
    stage.legs_made();
    stage.ask(CallRequest::Transport { sdp: "answer".into() });
    stage
}

#[test]
fn an_emergency_call_waits_for_no_recorder_and_outlives_it() {
    let mut stage = emergency();
    let told = |output: &crate::call::Output| matches!(output, crate::call::Output::Alarm("emergency_call"));
    assert!(stage.outputs.iter().any(told), "an operator hears of it");
    stage.peer_connected();
    assert!(invited(&stage), "the recorder was asked, and has not answered");
    assert!(stage.recorder_got(|command| matches!(command, recording::Command::Start(_))));
    stage.recorder_says(recording::EventKind::Failed { reason: "disk full".into() });
    let leg = stage.ids.trunk_leg;
    stage.sip(sip::Event::Accepted { leg, sdp: Some(OFFER.into()) });
    assert!(stage.gate_opened());
    assert!(!stage.said_bye());
    assert_eq!(stage.call.phase_name(), "established");
}

#[test]
fn a_recorder_that_comes_late_records_the_rest_of_an_emergency_call() {
    let mut stage = emergency();
    stage.peer_connected();
    let leg = stage.ids.trunk_leg;
    stage.sip(sip::Event::Accepted { leg, sdp: Some(OFFER.into()) });
    stage.recorder_says(recording::EventKind::Recording);
    assert!(stage.worker_got(|command| matches!(command, worker::Command::StartTap { .. })));
    assert!(stage.recorder_got(|command| matches!(command, recording::Command::Answered { .. })));
}

#[test]
fn an_emergency_call_that_its_trunk_fails_takes_the_next() {
    let mut stage = emergency();
    stage.peer_connected();
    stage.outputs.clear();
    redirected(&mut stage, &[]);
    assert_eq!(stage.call.phase_name(), "preparing");
    let local = ([127, 0, 0, 2], 20_000).into();
    stage.worker(stage.ids.trunk_leg, worker::EventKind::TrunkBound { local });
    assert_eq!(stage.sip_count(|c| matches!(c, sip::Command::Invite(invite) if invite.trunk.as_str() == "second")), 1);
    redirected(&mut stage, &[]);
    assert!(stage.notified(|n| matches!(n, Notification::Ended { .. })), "there is no third");
}
