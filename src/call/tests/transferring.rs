use std::time::Duration;

use super::Stage;
use crate::call::Cause;
use crate::call::Consultation;
use crate::call::DtmfMethod;
use crate::call::Input;
use crate::call::Output;
use crate::ids::LegId;
use crate::ids::TrunkName;
use crate::signaling;
use crate::signaling::CallRequest;
use crate::signaling::HeldBy;
use crate::signaling::Notification;
use crate::signaling::RequestToken;
use crate::sip;
use crate::sip::EndCause;
use crate::sip::StatusCode;
use crate::worker;

fn status(code: u16) -> StatusCode {
    StatusCode::new(code).unwrap()
}

fn transferring() -> Stage {
    let mut stage = Stage::talking_at(|_| {});
    stage.ask(CallRequest::Transfer { to: "601".into() });
    assert!(referred(&stage, "601", None));
    stage
}

pub(super) fn referred(stage: &Stage, user: &str, replaces: Option<LegId>) -> bool {
    stage.sip_count(|c| matches!(c, sip::Command::Refer { to, .. } if to.user == user && to.replaces == replaces)) == 1
}

fn progressed(stage: &mut Stage, code: u16, is_over: bool) {
    let leg = stage.ids.trunk_leg;
    stage.sip(sip::Event::ReferProgressed { leg, status: status(code), is_refused: false, is_over });
}

pub(super) fn failed(stage: &Stage) -> Option<(String, Option<u16>)> {
    stage.outputs.iter().find_map(|output| match output {
        Output::Signaling {
            command: signaling::Command::Notify(Notification::TransferFailed { reason, sip_code, .. }),
            ..
        } => Some((reason.clone(), *sip_code)),
        _ => None,
    })
}

#[test]
fn a_blind_transfer_holds_refers_and_ends_with_bye() {
    let mut stage = transferring();
    assert!(stage.worker_got(|c| matches!(c, worker::Command::PlayHold { on: true, .. })));
    progressed(&mut stage, 180, false);
    assert!(stage.notified(|n| matches!(n, Notification::Transferring { sip_code: Some(180), .. })));
    progressed(&mut stage, 200, true);
    assert!(stage.notified(|n| matches!(n, Notification::Transferred { .. })));
    assert!(stage.said_bye());
    stage.worker(stage.ids.agent_leg, worker::EventKind::Closed);
    assert_eq!(stage.ended_as(), Some(Cause::Transferred));
}

#[test]
fn a_transfer_that_fails_gives_the_call_back() {
    let mut stage = transferring();
    progressed(&mut stage, 486, true);
    assert_eq!(failed(&stage), Some(("busy".into(), Some(486))));
    assert!(stage.worker_got(|c| matches!(c, worker::Command::PlayHold { on: false, .. })));
    assert!(stage.notified(|n| matches!(n, Notification::Resumed { by: HeldBy::Agent, .. })));
    assert!(!stage.said_bye());
    assert_eq!(stage.call.phase_name(), "established");
    assert!(stage.call.poll_timeout().is_none());
}

#[test]
fn a_call_that_was_held_before_is_held_after_a_failed_transfer() {
    let mut stage = Stage::talking_at(|_| {});
    stage.ask(CallRequest::Hold);
    stage.ask(CallRequest::Transfer { to: "601".into() });
    progressed(&mut stage, 486, true);
    assert!(!stage.notified(|n| matches!(n, Notification::Resumed { .. })));
}

#[test]
fn a_peer_that_says_nothing_of_the_transfer_does_not_keep_the_call() {
    let mut stage = transferring();
    stage.pass(Duration::from_mins(1));
    assert_eq!(failed(&stage), Some(("no_answer".into(), None)));
}

#[test]
fn a_bye_in_the_middle_of_a_transfer_is_its_success() {
    for reports_first in [false, true] {
        let mut stage = transferring();
        let leg = stage.ids.trunk_leg;
        if reports_first {
            progressed(&mut stage, 100, true);
        }
        stage.sip(sip::Event::Ended { leg, cause: EndCause::PeerBye, reason: None });
        assert!(stage.notified(|n| matches!(n, Notification::Transferred { .. })));
        assert!(!stage.said_bye());
        stage.worker(stage.ids.agent_leg, worker::EventKind::Closed);
        assert_eq!(stage.ended_as(), Some(Cause::Transferred));
    }
}

#[test]
fn reports_that_end_without_a_result_give_the_call_back_after_a_moment() {
    let mut stage = transferring();
    progressed(&mut stage, 100, true);
    assert_eq!(failed(&stage), None);
    stage.pass(Duration::from_secs(2));
    assert!(failed(&stage).is_some());
}

#[test]
fn a_transfer_goes_only_where_the_agent_may_dial_and_the_pbx_is_asked_only_on_its_own_trunk() {
    for (to, may, by_the_pbx) in [
        ("601", true, true),
        ("1002", true, true),
        ("901", true, false),
        ("0190123", false, false),
        ("x", false, false),
    ] {
        let mut stage = Stage::talking_at(|_| {});
        stage.ask(CallRequest::Transfer { to: to.into() });
        assert_eq!(stage.replies()[0].1, may, "{to}");
        assert_eq!(referred(&stage, to, None), by_the_pbx, "{to}");
    }
}

#[test]
fn one_transfer_at_a_time_and_no_resume_meanwhile() {
    let mut stage = transferring();
    stage.ask(CallRequest::Transfer { to: "602".into() });
    stage.ask(CallRequest::Resume);
    let refused = stage.replies().into_iter().rev().take(2).filter(|(_, granted)| !granted).count();
    assert_eq!(refused, 2);
}

pub(super) fn consult(stage: &mut Stage, consultation: Option<Consultation>) -> bool {
    let from = stage.call.standing().audience[0].0;
    stage.tell(Input::Consulted { from, token: RequestToken(900), consultation });
    stage.replies().into_iter().any(|(token, granted)| token == 900 && granted)
}

#[test]
fn an_attended_transfer_names_the_other_calls_dialog() {
    let leg = super::ids().agent_leg;
    let other = Consultation { call: super::ids().call, leg, trunk: TrunkName::new("pbx"), number: "602".into() };
    let mut stage = Stage::talking_at(|_| {});
    assert!(consult(&mut stage, Some(other)));
    assert!(referred(&stage, "602", Some(leg)));
    let mut stage = Stage::talking_at(|_| {});
    assert!(!consult(&mut stage, None), "a call that is not answered cannot be transferred to");
}

#[test]
fn digits_leave_by_info_one_by_one_where_the_trunk_wants_that() {
    let mut stage = Stage::talking_at(|ground| ground.trunk.dtmf = DtmfMethod::Info);
    stage.ask(CallRequest::Dtmf { digits: "12#".into() });
    let sent = |stage: &Stage| stage.sip_count(|c| matches!(c, sip::Command::Info { .. }));
    assert_eq!(sent(&stage), 1);
    stage.pass(Duration::from_millis(250));
    assert_eq!(sent(&stage), 2);
    stage.pass(Duration::from_secs(1));
    assert_eq!(sent(&stage), 3);
    assert!(!stage.worker_got(|c| matches!(c, worker::Command::SendDtmf { .. })));
    assert!(stage.call.poll_timeout().is_none());
}

#[test]
fn a_digit_that_came_by_info_reaches_the_browser() {
    let mut stage = Stage::talking_at(|_| {});
    let (leg, agent) = (stage.ids.trunk_leg, stage.ids.agent_leg);
    let body = sip::Body { content_type: "application/dtmf-relay".into(), content: "Signal=7\r\n".into() };
    stage.sip(sip::Event::InfoReceived { leg, body });
    assert!(stage.worker_got(|c| matches!(c, worker::Command::SendDtmf { leg, .. } if *leg == agent)));
}
