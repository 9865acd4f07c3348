//! The other side hands the call on: REFER and Replaces from the trunk.

use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::OFFER;
use super::Stage;
use super::invitation;
use crate::call::Cause;
use crate::call::Input;
use crate::ids::LegId;
use crate::ids::TrunkName;
use crate::signaling::CallRequest;
use crate::signaling::Notification;
use crate::sip;
use crate::sip::EndCause;
use crate::sip::ReferTo;
use crate::sip::StatusCode;
use crate::worker;

fn new_leg() -> LegId {
    LegId::generate(2, &mut StdRng::seed_from_u64(99))
}

fn refer(stage: &mut Stage, user: &str) {
    let leg = stage.ids.trunk_leg;
    stage.tell(Input::SpareLeg(new_leg()));
    stage.sip(sip::Event::Referred {
        leg,
        to: ReferTo { user: user.into(), replaces: None, replaces_header: None, referred_by: None },
    });
}

fn bound(stage: &mut Stage) {
    stage.worker(new_leg(), worker::EventKind::TrunkBound { local: ([127, 0, 0, 1], 20_010).into() });
}

fn referred() -> Stage {
    let mut stage = Stage::talking_at(|_| {});
    refer(&mut stage, "601");
    bound(&mut stage);
    assert_eq!(stage.sip_count(|c| matches!(c, sip::Command::Invite(i) if i.leg == new_leg() && i.called == "601")), 1);
    stage
}

fn notified(stage: &Stage, code: u16) -> usize {
    stage.sip_count(|c| matches!(c, sip::Command::NotifyRefer { status, .. } if status.as_u16() == code))
}

fn byes(stage: &Stage, to: LegId) -> usize {
    stage.sip_count(|c| matches!(c, sip::Command::Bye { leg, .. } if *leg == to))
}

fn over(stage: &mut Stage, leg: LegId) {
    stage.sip(sip::Event::Ended { leg, cause: EndCause::PeerBye, reason: None });
}

fn accept(stage: &mut Stage) {
    stage.sip(sip::Event::Accepted { leg: new_leg(), sdp: Some(OFFER.into()) });
}

#[test]
fn the_invite_of_a_refer_carries_the_replaces_of_the_targets_call_and_the_referrer() {
    let mut stage = Stage::talking_at(|_| {});
    let value = "abc@192.0.2.7;to-tag=1;from-tag=2";
    let referrer = "<sip:2000@pbx>";
    let to = ReferTo {
        user: "601".into(),
        replaces: None,
        replaces_header: Some(value.into()),
        referred_by: Some(referrer.into()),
    };
    stage.tell(Input::SpareLeg(new_leg()));
    stage.sip(sip::Event::Referred { leg: stage.ids.trunk_leg, to });
    bound(&mut stage);
    let carried = [("Replaces".to_owned(), value.to_owned()), ("Referred-By".to_owned(), referrer.to_owned())];
    assert_eq!(stage.sip_count(|c| matches!(c, sip::Command::Invite(i) if i.headers == carried)), 1);
}

#[test]
fn a_refer_calls_its_target_and_the_browser_stays() {
    let mut stage = referred();
    let old = stage.ids.trunk_leg;
    let ringing = sip::Event::Progressed { leg: new_leg(), early: 0, status: StatusCode::RINGING, sdp: None };
    stage.sip(ringing);
    accept(&mut stage);
    // The 100 goes with the 202, by the dialog itself.
    assert_eq!([100, 180, 200].map(|code| notified(&stage, code)), [0, 1, 1]);
    assert!(stage.worker_got(|c| matches!(c, worker::Command::ConnectTrunk { leg, .. } if *leg == new_leg())));
    assert!(stage.worker_got(|c| matches!(c, worker::Command::CloseLeg { leg, .. } if *leg == old)));
    assert!(stage.notified(|n| matches!(n, Notification::Party { number, .. } if number == "601")));
    over(&mut stage, old);
    assert_eq!(stage.call.phase_name(), "established", "the transferor's BYE is not the end");
    stage.ask(CallRequest::Hangup);
    assert_eq!((byes(&stage, old), byes(&stage, new_leg())), (0, 1));
}

#[test]
fn a_transferor_that_says_no_bye_gets_ours() {
    let mut stage = referred();
    accept(&mut stage);
    let old = stage.ids.trunk_leg;
    stage.pass(Duration::from_secs(4));
    assert_eq!(byes(&stage, old), 1);
    assert_eq!(stage.call.phase_name(), "established");
}

#[test]
fn a_transferor_may_leave_before_the_target_answers() {
    let mut stage = referred();
    let old = stage.ids.trunk_leg;
    over(&mut stage, old);
    assert_eq!(stage.call.phase_name(), "established");
    stage.sip(sip::Event::Progressed { leg: new_leg(), early: 0, status: StatusCode::RINGING, sdp: None });
    assert!(stage.worker_got(|c| matches!(c, worker::Command::SetRingback { on: true, .. })));
    accept(&mut stage);
    assert!(stage.worker_got(|c| matches!(c, worker::Command::SetRingback { on: false, .. })));
    stage.pass(Duration::from_mins(1));
    assert_eq!(byes(&stage, old), 0);
    assert_eq!(stage.call.phase_name(), "established");
}

#[test]
fn a_target_that_refuses_gives_the_call_back_to_the_transferor() {
    let refused = |stage: &mut Stage| {
        let status = StatusCode::new(486).unwrap();
        let leg = new_leg();
        stage.sip(sip::Event::Refused { leg, status, reason: None, redirect: Vec::new(), retry_after: None });
    };
    let mut stage = referred();
    refused(&mut stage);
    assert_eq!(notified(&stage, 486), 1);
    assert_eq!(stage.call.phase_name(), "established");
    assert!(stage.call.poll_timeout().is_none());

    let mut stage = referred();
    let old = stage.ids.trunk_leg;
    over(&mut stage, old);
    refused(&mut stage);
    stage.worker(stage.ids.agent_leg, worker::EventKind::Closed);
    assert_eq!(stage.ended_as(), Some(Cause::TrunkRefused(486)));
    assert_eq!(byes(&stage, old), 0);
}

#[test]
fn a_target_that_never_answers_is_cancelled() {
    let mut stage = referred();
    stage.pass(Duration::from_mins(3));
    assert_eq!(stage.sip_count(|c| matches!(c, sip::Command::Cancel { leg, .. } if *leg == new_leg())), 1);
    assert_eq!(notified(&stage, 408), 1);
    assert_eq!(stage.call.phase_name(), "established");
}

#[test]
fn an_agent_who_hangs_up_meanwhile_ends_every_leg() {
    let mut stage = referred();
    stage.ask(CallRequest::Hangup);
    assert_eq!(stage.sip_count(|c| matches!(c, sip::Command::Cancel { leg, .. } if *leg == new_leg())), 1);
    assert_eq!(byes(&stage, stage.ids.trunk_leg), 1);
}

#[test]
fn a_refer_goes_nowhere_that_the_agent_could_not_dial() {
    for (user, may) in [("601", true), ("1002", true), ("901", false), ("0190123456", false), ("", false)] {
        let mut stage = Stage::talking_at(|_| {});
        refer(&mut stage, user);
        assert_eq!(stage.sip_count(|c| matches!(c, sip::Command::AcceptRefer { .. })), usize::from(may), "{user}");
        let refused = |c: &sip::Command| matches!(c, sip::Command::RefuseRefer { refusal, .. } if refusal.status == StatusCode::FORBIDDEN);
        assert_eq!(stage.sip_count(refused), usize::from(!may), "{user}");
    }
}

#[test]
fn a_refer_before_the_answer_or_a_second_one_is_refused() {
    let mut stage = referred();
    refer(&mut stage, "602");
    assert_eq!(stage.sip_count(|c| matches!(c, sip::Command::RefuseRefer { .. })), 1);
    let mut stage = Stage::inbound(crate::recording::Obligation::Never, Some(OFFER));
    refer(&mut stage, "602");
    assert_eq!(stage.sip_count(|c| matches!(c, sip::Command::RefuseRefer { .. })), 1);
}

fn replacing() -> sip::Invitation {
    sip::Invitation { leg: new_leg(), replaces: Some(super::ids().trunk_leg), ..invitation(Some(OFFER)) }
}

#[test]
fn an_invite_with_replaces_takes_the_trunks_side_over() {
    let mut stage = Stage::talking_at(|_| {});
    let old = stage.ids.trunk_leg;
    stage.sip(sip::Event::Invited(Box::new(replacing())));
    bound(&mut stage);
    assert_eq!(stage.sip_count(|c| matches!(c, sip::Command::Accept { leg, .. } if *leg == new_leg())), 1);
    assert_eq!(byes(&stage, old), 1);
    assert!(stage.notified(|n| matches!(n, Notification::Party { number, .. } if number == "600")));
    stage.sip(sip::Event::Acknowledged { leg: new_leg(), sdp: None });
    over(&mut stage, old);
    assert_eq!(stage.call.phase_name(), "established");
    assert_eq!(stage.call.standing().trunk_leg, new_leg());
}

#[test]
fn a_replacement_that_cannot_be_taken_leaves_the_call_as_it_was() {
    let bad = sip::Invitation { offer: Some("rubbish".into()), ..replacing() };
    let foreign = sip::Invitation { trunk: TrunkName::new("carrier"), ..replacing() };
    for invitation in [bad, foreign] {
        let mut stage = Stage::talking_at(|_| {});
        stage.sip(sip::Event::Invited(Box::new(invitation)));
        bound(&mut stage);
        assert!(stage.refused_with().is_some());
        assert_eq!((stage.said_bye(), stage.call.phase_name()), (false, "established"));
    }
}

#[test]
fn a_replacement_of_a_call_that_only_rings_is_481() {
    let mut stage = Stage::inbound(crate::recording::Obligation::Never, Some(OFFER));
    stage.sip(sip::Event::Invited(Box::new(replacing())));
    assert_eq!(stage.refused_with(), Some(481));
}

#[test]
fn a_held_call_is_held_on_its_new_leg() {
    let mut stage = Stage::talking_at(|_| {});
    stage.ask(CallRequest::Hold);
    stage.sip(sip::Event::Invited(Box::new(replacing())));
    bound(&mut stage);
    let music = |c: &worker::Command| matches!(c, worker::Command::PlayHold { leg, on: true, .. } if *leg == new_leg());
    assert!(stage.worker_got(music));
}
