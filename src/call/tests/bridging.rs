//! Transfers that the gateway carries out itself, and the calls that come of them.

use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::OFFER;
use super::Stage;
use super::transferring::consult;
use super::transferring::failed;
use super::transferring::referred;
use crate::call::CallTimer;
use crate::call::Cause;
use crate::call::Consultation;
use crate::call::DtmfMethod;
use crate::call::HoldStyle;
use crate::call::Input;
use crate::call::Output;
use crate::call::Partner;
use crate::call::PartnerWord;
use crate::call::TransferMethod;
use crate::call::call::Ground;
use crate::ids::CallId;
use crate::ids::TrunkName;
use crate::recording;
use crate::recording::Obligation;
use crate::signaling::CallRequest;
use crate::signaling::HeldBy;
use crate::signaling::Notification;
use crate::sip;
use crate::sip::EndCause;
use crate::sip::ReferTo;
use crate::sip::StatusCode;
use crate::worker;
use crate::worker::DtmfDigit;

fn other() -> Partner {
    Partner { call: CallId::generate(2, &mut StdRng::seed_from_u64(40)), worker: 3 }
}

fn hears(stage: &mut Stage, word: PartnerWord) {
    stage.tell(Input::Partner { from: other(), word });
}

/// What the other call was told.
fn told(stage: &Stage) -> Vec<PartnerWord> {
    let word = |output: &Output| match output {
        Output::Partner { to, word } if *to == other().call => Some(*word),
        _ => None,
    };
    stage.outputs.iter().filter_map(word).collect()
}

fn launched(stage: &Stage) -> Option<(String, String)> {
    stage.outputs.iter().find_map(|output| match output {
        Output::Launch { destination, .. } => Some((destination.trunk.as_str().to_owned(), destination.number.clone())),
        _ => None,
    })
}

fn is_transferred(notice: &Notification) -> bool {
    matches!(notice, Notification::Ended { reason, .. } if reason == "transferred")
}

fn joins(stage: &Stage) -> bool {
    stage.worker_got(
        |command| matches!(command, worker::Command::Join { partner, worker: 3, .. } if *partner == other().call),
    )
}

fn stops_tap(stage: &Stage) -> bool {
    stage.worker_got(|command| matches!(command, worker::Command::StopTap { .. }))
}

fn bridging_at(edit: impl Fn(&mut Ground)) -> Stage {
    let mut stage = Stage::talking_at(|ground| {
        ground.trunk.transfer = TransferMethod::Bridge;
        edit(ground);
    });
    stage.ask(CallRequest::Transfer { to: "601".into() });
    stage
}

/// A call whose agent has left it to another call's party.
fn joined_at(edit: impl Fn(&mut Ground)) -> Stage {
    let mut stage = bridging_at(edit);
    hears(&mut stage, PartnerWord::Launched);
    hears(&mut stage, PartnerWord::Joined);
    assert!(joins(&stage));
    stage.outputs.clear();
    stage
}

/// The same, recorded until the agent left.
fn recorded_and_joined(continues: bool) -> Stage {
    let mut stage = Stage::inbound_at(
        |ground| {
            super::with_dial_plan(ground);
            ground.trunk.recording = Obligation::Required;
            ground.trunk.transfer = TransferMethod::Bridge;
            ground.trunk.records_after_transfer = continues;
        },
        super::alone,
    );
    stage.legs_made();
    stage.ask(CallRequest::Alerting);
    stage.peer_connected();
    stage.ask(CallRequest::Accept);
    stage.recorder_says(recording::EventKind::Recording);
    stage.ask(CallRequest::Transfer { to: "601".into() });
    hears(&mut stage, PartnerWord::Launched);
    hears(&mut stage, PartnerWord::Joined);
    stage
}

fn party_leaves(stage: &mut Stage) {
    let leg = stage.ids.trunk_leg;
    stage.sip(sip::Event::Ended { leg, cause: EndCause::PeerBye, reason: None });
    stage.worker(stage.ids.agent_leg, worker::EventKind::Closed);
}

fn recorder_stopped(stage: &Stage) -> usize {
    let stop = |output: &&Output| matches!(output, Output::Recorder(recording::Command::Stop { .. }));
    stage.outputs.iter().filter(stop).count()
}

#[test]
fn a_bridged_transfer_holds_calls_and_joins_without_a_word_to_the_trunk() {
    let mut stage = bridging_at(|_| {});
    assert!(stage.worker_got(|c| matches!(c, worker::Command::PlayHold { on: true, .. })));
    assert_eq!(launched(&stage), Some(("pbx".into(), "601".into())));
    hears(&mut stage, PartnerWord::Launched);
    hears(&mut stage, PartnerWord::Progressed(StatusCode::RINGING));
    assert!(stage.notified(|n| matches!(n, Notification::Transferring { sip_code: Some(180), .. })));
    assert!(!joins(&stage));
    hears(&mut stage, PartnerWord::Joined);
    assert!(stage.notified(|n| matches!(n, Notification::Transferred { .. })));
    assert!(stage.notified(is_transferred));
    assert!(joins(&stage));
    assert!(stage.worker_got(|c| matches!(c, worker::Command::PlayHold { on: false, .. })));
    let agent = stage.ids.agent_leg;
    assert!(stage.worker_got(|c| matches!(c, worker::Command::CloseLeg { leg, .. } if *leg == agent)));
    assert!(stage.call.standing().audience.is_empty(), "the agent is free");
    assert!(stage.sip_commands().is_empty());
    assert_eq!(stage.call.poll_timeout().map(|(_, timer)| timer), Some(CallTimer::Joined));
}

#[test]
fn a_hold_that_the_trunk_was_told_of_is_lifted_when_the_calls_are_joined() {
    let mut stage = Stage::talking_at(|ground| {
        ground.trunk.transfer = TransferMethod::Bridge;
        ground.trunk.hold_style = HoldStyle::SendOnly;
    });
    let (leg, reinvites) = (stage.ids.trunk_leg, |c: &sip::Command| matches!(c, sip::Command::Reinvite { .. }));
    stage.ask(CallRequest::Hold);
    stage.sip(sip::Event::Renegotiated { leg, sdp: super::offer_saying("recvonly", 2) });
    stage.ask(CallRequest::Transfer { to: "601".into() });
    assert_eq!(stage.sip_count(reinvites), 1);
    hears(&mut stage, PartnerWord::Launched);
    hears(&mut stage, PartnerWord::Joined);
    assert_eq!(stage.sip_count(reinvites), 2);
}

#[test]
fn joined_calls_talk_on_though_a_trunk_refuses_the_end_of_its_hold() {
    let mut stage = Stage::talking_at(|ground| {
        ground.trunk.transfer = TransferMethod::Bridge;
        ground.trunk.hold_style = HoldStyle::SendOnly;
    });
    let leg = stage.ids.trunk_leg;
    stage.ask(CallRequest::Hold);
    stage.sip(sip::Event::Renegotiated { leg, sdp: super::offer_saying("recvonly", 2) });
    stage.ask(CallRequest::Transfer { to: "601".into() });
    hears(&mut stage, PartnerWord::Launched);
    hears(&mut stage, PartnerWord::Joined);
    stage.outputs.clear();
    stage.sip(sip::Event::RenegotiationFailed { leg, status: StatusCode::REQUEST_PENDING });
    assert!(!stage.worker_got(|c| matches!(c, worker::Command::SetGate { .. } | worker::Command::PlayHold { .. })));
    assert_eq!(stage.call.phase_name(), "established");
}

#[test]
fn a_party_that_is_busy_gives_the_call_back() {
    let mut stage = bridging_at(|_| {});
    hears(&mut stage, PartnerWord::Launched);
    hears(&mut stage, PartnerWord::Gone(Cause::TrunkRefused(486)));
    assert_eq!(failed(&stage), Some(("busy".into(), Some(486))));
    assert!(stage.notified(|n| matches!(n, Notification::Resumed { by: HeldBy::Agent, .. })));
    assert_eq!(stage.call.phase_name(), "established");
    assert!(stage.call.poll_timeout().is_none());
}

#[test]
fn a_call_that_cannot_even_begin_gives_the_call_back() {
    let mut stage = bridging_at(|_| {});
    let own = Partner { call: stage.ids.call, worker: 0 };
    stage.tell(Input::Partner { from: own, word: PartnerWord::Gone(Cause::Overloaded) });
    assert_eq!(failed(&stage), Some(("overloaded".into(), None)));
}

#[test]
fn a_party_that_never_answers_is_given_up_and_told_so() {
    let mut stage = bridging_at(|_| {});
    hears(&mut stage, PartnerWord::Launched);
    stage.pass(Duration::from_mins(3));
    assert_eq!(failed(&stage), Some(("no_answer".into(), None)));
    assert_eq!(told(&stage), [PartnerWord::Gone(Cause::Cancelled)]);
    hears(&mut stage, PartnerWord::Joined);
    assert!(!joins(&stage), "an answer that crossed the end of the transfer joins nothing");
    assert_eq!(told(&stage).last(), Some(&PartnerWord::Gone(Cause::Cancelled)));
}

#[test]
fn whoever_hangs_up_in_the_middle_takes_the_new_call_along() {
    for agent_does in [true, false] {
        let mut stage = bridging_at(|_| {});
        hears(&mut stage, PartnerWord::Launched);
        if agent_does {
            stage.ask(CallRequest::Hangup);
            assert!(stage.said_bye());
        } else {
            party_leaves(&mut stage);
            assert!(!stage.notified(|n| matches!(n, Notification::Transferred { .. })));
        }
        assert_eq!(told(&stage), [PartnerWord::Gone(Cause::Cancelled)]);
    }
}

#[test]
fn a_call_that_begins_after_the_transferred_one_ended_is_told_so() {
    let mut stage = bridging_at(|_| {});
    stage.ask(CallRequest::Hangup);
    hears(&mut stage, PartnerWord::Launched);
    assert!(matches!(told(&stage)[..], [PartnerWord::Gone(_)]));
}

#[test]
fn a_number_on_another_trunk_is_called_by_us_whatever_the_trunks_way() {
    for method in [TransferMethod::Refer, TransferMethod::Bridge, TransferMethod::ReferThenBridge] {
        let mut stage = Stage::talking_at(|ground| ground.trunk.transfer = method);
        stage.ask(CallRequest::Transfer { to: "901".into() });
        assert_eq!(launched(&stage), Some(("carrier".into(), "901".into())), "{method:?}");
        assert!(!referred(&stage, "901", None));
    }
}

#[test]
fn where_the_pbx_refuses_to_be_asked_we_call_but_not_where_the_party_refused() {
    for (is_refused, calls) in [(true, true), (false, false)] {
        let mut stage = Stage::talking_at(|ground| ground.trunk.transfer = TransferMethod::ReferThenBridge);
        stage.ask(CallRequest::Transfer { to: "601".into() });
        assert!(referred(&stage, "601", None) && launched(&stage).is_none());
        let (leg, status) = (stage.ids.trunk_leg, StatusCode::NOT_ACCEPTABLE_HERE);
        stage.sip(sip::Event::ReferProgressed { leg, status, is_refused, is_over: true });
        assert_eq!(launched(&stage).is_some(), calls);
        assert_eq!(failed(&stage).is_none(), calls);
    }
}

#[test]
fn nobody_is_transferred_to_an_emergency_number_by_us() {
    let mut stage = Stage::talking_at(|ground| {
        ground.trunk.transfer = TransferMethod::Bridge;
        let config = std::sync::Arc::make_mut(&mut ground.config);
        config.dial_plan.emergency.numbers = vec!["112".into()];
        config.dial_plan.emergency.trunks = vec![TrunkName::new("pbx")];
    });
    stage.ask(CallRequest::Transfer { to: "112".into() });
    assert_eq!(stage.replies(), [(stage.requests(), false)]);
    assert_eq!(launched(&stage), None);
}

#[test]
fn an_attended_transfer_between_two_trunks_joins_the_agents_two_calls() {
    let mut stage = Stage::talking_at(|_| {});
    let leg = super::ids().agent_leg;
    let trunk = TrunkName::new("carrier");
    assert!(consult(&mut stage, Some(Consultation { call: other().call, leg, trunk, number: "901".into() })));
    assert_eq!(told(&stage), [PartnerWord::Join]);
    assert!(!joins(&stage), "the other call has not said yes");
    hears(&mut stage, PartnerWord::Joined);
    assert!(joins(&stage) && stage.notified(is_transferred));
}

#[test]
fn a_consulted_call_leaves_its_agent_when_it_is_asked_to() {
    let mut stage = Stage::talking_at(|_| {});
    hears(&mut stage, PartnerWord::Join);
    assert_eq!(told(&stage), [PartnerWord::Joined]);
    assert!(joins(&stage) && stage.notified(is_transferred));
    let joined_with = stage.outputs.iter().rev().find_map(|output| match output {
        Output::Record(record) => record.joined_with,
        _ => None,
    });
    assert_eq!(joined_with, Some(other().call), "the records name each other");
}

#[test]
fn a_call_that_is_busy_with_itself_or_over_cannot_be_joined() {
    let mut stage = bridging_at(|_| {});
    hears(&mut stage, PartnerWord::Join);
    assert!(matches!(told(&stage)[..], [PartnerWord::Gone(_)]));
    let mut stage = Stage::talking_at(|_| {});
    party_leaves(&mut stage);
    hears(&mut stage, PartnerWord::Join);
    assert!(matches!(told(&stage)[..], [PartnerWord::Gone(_)]));
}

#[test]
fn either_party_ends_both_calls() {
    let mut stage = joined_at(|_| {});
    party_leaves(&mut stage);
    assert_eq!(told(&stage), [PartnerWord::Gone(Cause::Hangup)]);
    assert!(!stage.said_bye());
    assert_eq!(stage.ended_as(), Some(Cause::Hangup));

    let mut stage = joined_at(|_| {});
    hears(&mut stage, PartnerWord::Gone(Cause::Hangup));
    assert!(stage.said_bye());
    stage.worker(stage.ids.agent_leg, worker::EventKind::Closed);
    assert_eq!(stage.ended_as(), Some(Cause::Hangup));
}

#[test]
fn a_joined_call_that_nobody_ends_has_a_bound() {
    let mut stage = joined_at(|_| {});
    let leg = stage.ids.trunk_leg;
    stage.sip(sip::Event::Reinvited { leg, offer: Some(super::offer_saying("inactive", 2)) });
    stage.pass(Duration::from_hours(12));
    assert!(stage.said_bye());
    assert_eq!(told(&stage), [PartnerWord::Gone(Cause::TimeLimit)]);
}

#[test]
fn digits_reach_the_other_party_as_its_trunk_takes_them() {
    let five = DtmfDigit::from_char('5').unwrap();
    let mut stage = joined_at(|_| {});
    let leg = stage.ids.trunk_leg;
    stage.worker(leg, worker::EventKind::DtmfReceived { digit: five, duration_ms: 100 });
    let body = sip::Body { content_type: "application/dtmf-relay".into(), content: "Signal=5\r\n".into() };
    stage.sip(sip::Event::InfoReceived { leg, body });
    assert_eq!(told(&stage), [PartnerWord::Pressed(five); 2]);
    hears(&mut stage, PartnerWord::Pressed(five));
    assert!(stage.worker_got(|c| matches!(c, worker::Command::SendDtmf { leg: to, .. } if *to == leg)));

    let mut stage = joined_at(|ground| ground.trunk.dtmf = DtmfMethod::Info);
    hears(&mut stage, PartnerWord::Pressed(five));
    assert_eq!(stage.sip_count(|c| matches!(c, sip::Command::Info { .. })), 1);
}

#[test]
fn without_an_agent_nobody_outside_moves_the_call() {
    let mut stage = joined_at(|_| {});
    let leg = stage.ids.trunk_leg;
    let to = ReferTo { user: "601".into(), replaces: None, replaces_header: None, referred_by: None };
    stage.sip(sip::Event::Referred { leg, to });
    let refused = |c: &sip::Command| matches!(c, sip::Command::RefuseRefer { refusal, .. } if refusal.status == StatusCode::FORBIDDEN);
    assert_eq!(stage.sip_count(refused), 1);
}

#[test]
fn the_agent_who_left_has_nothing_to_say_any_more() {
    let mut stage = joined_at(|_| {});
    stage.ask(CallRequest::Hangup);
    assert_eq!(stage.replies(), [(stage.requests(), false)]);
    stage.tell(Input::AgentGone { session: super::agent_session() });
    stage.worker(stage.ids.agent_leg, worker::EventKind::LegFailed { reason: worker::LegFailure::IceFailed });
    assert_eq!(stage.call.phase_name(), "established");
    let leg = stage.ids.trunk_leg;
    stage.sip(sip::Event::Reinvited { leg, offer: Some(super::offer_saying("sendonly", 2)) });
    assert_eq!(stage.sip_count(|c| matches!(c, sip::Command::AcceptReinvite { .. })), 1);
    assert!(!stage.notified(|_| true), "the browser hears of nothing that happens afterwards");
}

#[test]
fn the_recording_is_sealed_with_the_agents_part_when_its_last_frame_has_come() {
    let mut stage = recorded_and_joined(false);
    assert!(stops_tap(&stage));
    assert_eq!(recorder_stopped(&stage), 0, "frames may still be on their way");
    let tap = stage.ids.tap;
    stage.worker(stage.ids.trunk_leg, worker::EventKind::TapStopped { tap });
    assert_eq!(recorder_stopped(&stage), 1);
    stage.recorder_says(recording::EventKind::Sealed { samples: 1 });
    party_leaves(&mut stage);
    assert_eq!((recorder_stopped(&stage), stage.ended_as()), (1, Some(Cause::Hangup)));
}

#[test]
fn a_recording_that_cannot_be_sealed_after_the_agent_left_is_not_stopped_again() {
    let mut stage = recorded_and_joined(false);
    let tap = stage.ids.tap;
    stage.worker(stage.ids.trunk_leg, worker::EventKind::TapStopped { tap });
    assert_eq!(recorder_stopped(&stage), 1);
    stage.recorder_says(recording::EventKind::Failed { reason: "disk".into() });
    party_leaves(&mut stage);
    assert_eq!((recorder_stopped(&stage), stage.ended_as()), (1, Some(Cause::Hangup)));
}

#[test]
fn a_recorder_that_fails_after_the_agent_left_ends_nothing() {
    let mut stage = recorded_and_joined(false);
    stage.recorder_says(recording::EventKind::Failed { reason: "disk".into() });
    assert_eq!(stage.call.phase_name(), "established");
}

#[test]
fn a_call_that_ends_before_the_tap_stopped_is_sealed_all_the_same() {
    let mut stage = recorded_and_joined(false);
    party_leaves(&mut stage);
    assert_eq!((recorder_stopped(&stage), stage.ended_as()), (1, None));
    stage.recorder_says(recording::EventKind::Sealed { samples: 1 });
    assert_eq!(stage.ended_as(), Some(Cause::Hangup));
}

#[test]
fn a_recording_that_goes_on_is_sealed_at_the_calls_end() {
    let mut stage = recorded_and_joined(true);
    assert!(!stops_tap(&stage));
    party_leaves(&mut stage);
    assert_eq!(recorder_stopped(&stage), 1);
    stage.recorder_says(recording::EventKind::Sealed { samples: 1 });
    assert_eq!(stage.ended_as(), Some(Cause::Hangup));
}

#[test]
fn a_launched_call_needs_no_browser_and_says_when_it_rings_and_is_answered() {
    let mut stage = Stage::launched(other());
    assert!(!stage.worker_got(|c| matches!(c, worker::Command::OfferPeer { .. })));
    let leg = stage.ids.trunk_leg;
    stage.worker(leg, worker::EventKind::TrunkBound { local: ([127, 0, 0, 1], 20_000).into() });
    assert_eq!(stage.sip_count(|c| matches!(c, sip::Command::Invite(_))), 1);
    stage.sip(sip::Event::Progressed { leg, status: StatusCode::RINGING, sdp: None, early: 0 });
    stage.sip(sip::Event::Accepted { leg, sdp: Some(OFFER.into()) });
    assert_eq!(told(&stage), [PartnerWord::Progressed(StatusCode::RINGING), PartnerWord::Joined]);
    assert!(joins(&stage) && stage.gate_opened());
    assert!(!stage.recorder_got(|_| true), "what follows a transfer is the transferred call's to record");
    assert!(!stage.notified(|_| true));
    party_leaves(&mut stage);
    assert_eq!(stage.ended_as(), Some(Cause::Hangup));
}

#[test]
fn a_launched_call_that_is_refused_or_given_up_says_so_or_is_cancelled() {
    let bound = || {
        let mut stage = Stage::launched(other());
        let leg = stage.ids.trunk_leg;
        stage.worker(leg, worker::EventKind::TrunkBound { local: ([127, 0, 0, 1], 20_000).into() });
        stage
    };
    let mut stage = bound();
    let (leg, status) = (stage.ids.trunk_leg, StatusCode::BUSY_HERE);
    stage.sip(sip::Event::Refused { leg, status, reason: None, redirect: Vec::new(), retry_after: None });
    assert_eq!(told(&stage), [PartnerWord::Gone(Cause::TrunkRefused(486))]);

    let mut stage = bound();
    hears(&mut stage, PartnerWord::Gone(Cause::Cancelled));
    assert_eq!(stage.sip_count(|c| matches!(c, sip::Command::Cancel { .. })), 1);

    let mut stage = Stage::launched(other());
    hears(&mut stage, PartnerWord::Gone(Cause::Cancelled));
    assert_eq!(stage.sip_commands().len(), 0, "no INVITE has left");
}
