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
    let rows: [(&str, Happens, u16); 4] = [
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
        stage.ask(CallRequest::Alerting);
        happens(&mut stage);
        assert_eq!(stage.refused_with(), Some(answer), "{name}");
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
