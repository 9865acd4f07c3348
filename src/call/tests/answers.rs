//! What a caller hears, by the state of the agent: sip.md's table, row by row.

use std::time::Duration;

use super::OFFER;
use super::Stage;
use crate::call::AgentParty;
use crate::call::Cause;
use crate::call::Config;
use crate::call::admission::AgentStanding;
use crate::call::admission::Load;
use crate::call::admission::admit_inbound;
use crate::ids::Extension;
use crate::recording::Obligation;
use crate::signaling::AgentState;
use crate::signaling::CallRequest;
use crate::signaling::Notification;
use crate::sip;
use crate::sip::Reason;

const FREE: Load = Load { calls: 0, agent_calls: 0, draining: false };

fn at_the_door(state: Option<AgentState>, agent_calls: usize, call_waiting: bool) -> u16 {
    let config = Config { call_waiting, ..Config::default() };
    let stage = Stage::inbound(Obligation::Never, Some(OFFER));
    let session = stage.call.standing().audience[0].0;
    let extension = Extension::new("1001");
    let party = AgentParty { session, user: "alice".into(), name: "Alice".into(), extension, number: "1001".into() };
    let standing = state.map(|state| AgentStanding { party, state });
    match admit_inbound(standing, Load { agent_calls, ..FREE }, &config) {
        Err(cause) => cause.sip_status(),
        Ok(admitted) if admitted.waiting => 182,
        Ok(_) => 180,
    }
}

#[test]
fn before_anything_rings() {
    let available = Some(AgentState::Available);
    for (state, calls, call_waiting, answer) in [
        (None, 0, true, 480),
        (Some(AgentState::Offline), 0, true, 480),
        (Some(AgentState::WrapUp), 0, true, 480),
        (Some(AgentState::Busy), 0, true, 486),
        (available, 0, true, 180),
        (available, 1, true, 182),
        (available, 2, true, 486),
        (available, 1, false, 486),
    ] {
        assert_eq!(at_the_door(state, calls, call_waiting), answer, "{state:?} {calls} {call_waiting}");
    }
    assert_eq!(Cause::UnknownExtension.sip_status(), 404);
    assert_eq!(Cause::GroupExhausted.sip_status(), 480);
}

#[test]
fn while_it_rings() {
    type Happens = fn(&mut Stage);
    let rows: [(&str, Happens, u16); 5] = [
        ("a device that says nothing", |stage| stage.pass(Duration::from_secs(3)), 480),
        ("reject", |stage| stage.ask(CallRequest::Reject), 486),
        ("no answer", |stage| stage.pass(Duration::from_secs(30)), 480),
        (
            "logout",
            |stage| {
                let session = stage.call.standing().audience[0].0;
                stage.tell(crate::call::Input::AgentGone { session });
            },
            480,
        ),
        ("drained", |stage| stage.tell(crate::call::Input::Shutdown), 503),
    ];
    for (name, happens, answer) in rows {
        let mut stage = Stage::inbound(Obligation::Never, Some(OFFER));
        stage.legs_made();
        let says_that_it_rings = answer != 480 || name == "no answer" || name == "logout";
        if says_that_it_rings {
            stage.ask(CallRequest::Alerting);
        }
        assert_eq!(provisionals(&stage), if says_that_it_rings { vec![180] } else { vec![] }, "{name}");
        happens(&mut stage);
        assert_eq!(stage.refused_with(), Some(answer), "{name}");
    }
}

/// The 18x that the caller got.
fn provisionals(stage: &Stage) -> Vec<u16> {
    let status = |command: &&sip::Command| match command {
        sip::Command::Provisional { status, .. } => Some(status.as_u16()),
        _ => None,
    };
    stage.sip_commands().iter().filter_map(status).collect()
}

#[test]
fn a_group_that_nobody_answers_for_is_480_whatever_its_members_did() {
    for reject in [false, true] {
        let mut stage = Stage::inbound_at(
            |_| {},
            |ground| {
                let hunt = super::alone(ground);
                crate::call::Hunt { is_group: true, ..hunt }
            },
        );
        stage.legs_made();
        stage.ask(CallRequest::Alerting);
        if reject {
            stage.ask(CallRequest::Reject);
        } else {
            stage.pass(Duration::from_secs(30));
        }
        assert_eq!(stage.refused_with(), Some(480), "rejected: {reject}");
        assert!(stage.notified(|n| matches!(n, Notification::Ended { reason, .. } if reason == "group_exhausted")));
    }
}

#[test]
fn by_option_an_agent_who_lets_it_ring_is_set_unavailable_and_one_who_rejects_is_not() {
    for (option, rejects, set) in [(true, false, true), (true, true, false), (false, false, false)] {
        let mut stage = Stage::inbound_at(
            |ground| {
                let config = Config { unavailable_after_no_answer: option, ..Config::clone(&ground.config) };
                ground.config = std::sync::Arc::new(config);
            },
            super::alone,
        );
        stage.legs_made();
        stage.ask(CallRequest::Alerting);
        if rejects {
            stage.ask(CallRequest::Reject);
        } else {
            stage.pass(Duration::from_secs(30));
        }
        let offline = |output: &crate::call::Output| {
            let crate::call::Output::Signaling { command, .. } = output else { return false };
            matches!(command, crate::signaling::Command::SetState(AgentState::Offline))
        };
        assert_eq!(stage.outputs.iter().any(offline), set, "option {option}, rejects {rejects}");
    }
}

#[test]
fn a_call_that_was_completed_elsewhere_is_not_missed() {
    for (protocol, cause, word) in [
        ("SIP", Some(200), "answered_elsewhere"),
        ("Q.850", Some(26), "answered_elsewhere"),
        ("SIP", Some(487), "cancelled"),
        ("Q.850", None, "cancelled"),
    ] {
        let reason = Some(Reason { protocol: protocol.into(), cause, text: None });
        let leg = super::ids().trunk_leg;
        let event = sip::Event::Cancelled { leg, reason };
        assert_eq!(Cause::of_giving_up(&event).map(Cause::word), Some(word), "{protocol} {cause:?}");
    }
}
