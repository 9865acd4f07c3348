//! Who is let in: the answers by agent state, and the caps. Decided before anything is bound or rung.

use crate::call::AgentParty;
use crate::call::Cause;
use crate::call::Config;
use crate::call::Destination;
use crate::ids::Extension;
use crate::routing::Denied;
use crate::signaling::AgentState;

/// An agent as the presence table knows them now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentStanding {
    /// Who, and on which session.
    pub party: AgentParty,
    /// What they say of themselves.
    pub state: AgentState,
}

/// How full the node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Calls of this node.
    pub calls: usize,
    /// Calls of the agent in question.
    pub agent_calls: usize,
    /// The gateway shuts down.
    pub draining: bool,
}

/// An agent who may be rung.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    /// Who.
    pub party: AgentParty,
    /// They have a call already: this one waits.
    pub waiting: bool,
}

/// Whether an agent may take one more call from the trunk; the table of answers by agent state.
pub fn admit_inbound(standing: Option<AgentStanding>, load: Load, config: &Config) -> Result<Admitted, Cause> {
    admit_to_node(load, config)?;
    let standing = standing.ok_or(Cause::AgentUnavailable)?;
    match standing.state {
        AgentState::Offline | AgentState::WrapUp => Err(Cause::AgentUnavailable),
        AgentState::Busy => Err(Cause::AgentBusy),
        AgentState::Available if load.agent_calls >= config.lines_inbound(&standing.party.extension) => {
            Err(Cause::AgentBusy)
        }
        AgentState::Available => {
            // Whom an exception gives many lines works on all of them at once, and lets nobody wait.
            let has_many = config.lines_max_of.contains_key(&standing.party.extension);
            Ok(Admitted { party: standing.party, waiting: load.agent_calls > 0 && !has_many })
        }
    }
}

/// Whether an agent may place one more call, and where it goes.
pub fn admit_outbound(
    extension: &Extension,
    dialled: &str,
    load: Load,
    config: &Config,
) -> Result<Destination, DialRefused> {
    let destination = config.destination(dialled).map_err(DialRefused::Denied)?;
    // No cap and no drain holds up an emergency call.
    if destination.emergency.is_some() {
        return Ok(destination);
    }
    // A PBX may have a mailbox behind one's own number; here there is only oneself.
    if destination.trunk.is_internal() && destination.number == extension.as_str() {
        return Err(DialRefused::Denied(Denied::Oneself));
    }
    admit_to_node(load, config).map_err(DialRefused::Refused)?;
    if load.agent_calls >= config.lines_of(extension) {
        return Err(DialRefused::Refused(Cause::AgentBusy));
    }
    Ok(destination)
}

/// Why a dialled call does not begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DialRefused {
    /// The dial plan says no.
    #[error("the dial plan does not allow it")]
    Denied(#[source] Denied),
    /// A cap or the drain says no.
    #[error("no more calls now: {}", .0.word())]
    Refused(Cause),
}

/// Whether the node may have one more call.
pub fn admit_to_node(load: Load, config: &Config) -> Result<(), Cause> {
    if load.draining {
        Err(Cause::Draining)
    } else if load.calls >= config.calls_max {
        Err(Cause::Overloaded)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::SignalingId;
    use crate::ids::TrunkName;
    use uuid::Uuid;

    const IDLE: Load = Load { calls: 0, agent_calls: 0, draining: false };

    fn standing(state: AgentState) -> AgentStanding {
        let party = AgentParty {
            session: SignalingId::from_uuid(Uuid::nil()),
            user: "alice".into(),
            name: "Alice".into(),
            extension: Extension::new("1001"),
            number: "1001".into(),
        };
        AgentStanding { party, state }
    }

    fn answer(state: AgentState, load: Load) -> u16 {
        admit_inbound(Some(standing(state)), load, &Config::default()).map_or_else(Cause::sip_status, |_| 180)
    }

    #[test]
    fn the_answer_follows_the_agents_state() {
        assert_eq!(answer(AgentState::Available, IDLE), 180);
        assert_eq!(answer(AgentState::Busy, IDLE), 486);
        assert_eq!(answer(AgentState::WrapUp, IDLE), 480);
        assert_eq!(answer(AgentState::Offline, IDLE), 480);
        assert_eq!(admit_inbound(None, IDLE, &Config::default()), Err(Cause::AgentUnavailable));
    }

    #[test]
    fn an_agent_in_a_call_gets_a_second_one_that_waits_and_no_third() {
        let one = Load { agent_calls: 1, ..IDLE };
        let admitted = admit_inbound(Some(standing(AgentState::Available)), one, &Config::default()).unwrap();
        assert!(admitted.waiting);
        assert_eq!(answer(AgentState::Available, Load { agent_calls: 2, ..IDLE }), 486);
    }

    #[test]
    fn without_call_waiting_an_agent_in_a_call_is_busy_and_may_still_dial_a_second() {
        let config = Config { call_waiting: false, ..Config::default() };
        let one = Load { agent_calls: 1, ..IDLE };
        assert_eq!(admit_inbound(Some(standing(AgentState::Available)), one, &config), Err(Cause::AgentBusy));
        assert_eq!(config.lines_of(&Extension::new("1001")), 2);
    }

    #[test]
    fn an_exception_raises_one_agents_limit() {
        let lines_max_of = [(Extension::new("1001"), 3)].into();
        let config = Config { lines_max_of, call_waiting: false, ..Config::default() };
        let load = Load { agent_calls: 2, ..IDLE };
        let admitted = admit_inbound(Some(standing(AgentState::Available)), load, &config).unwrap();
        assert!(!admitted.waiting, "who has many lines lets nobody wait");
    }

    #[test]
    fn a_colleague_is_called_by_the_trunk_that_brings_them_back() {
        let mut dial_plan = crate::routing::DialPlan::default();
        dial_plan.extensions.extend(crate::routing::ExtensionRange::new("1000", "1999"));
        let mut config = Config { dial_plan, ..Config::default() };
        let dial = |config: &Config, to: &str| admit_outbound(&Extension::new("1001"), to, IDLE, config);
        assert!(dial(&config, "1002").is_err(), "without a trunk for it, nothing is dialled that no rule names");
        config.internal_trunk = Some(TrunkName::new("pbx"));
        let found = dial(&config, "1002").unwrap();
        assert_eq!((found.trunk, found.number.as_str()), (TrunkName::new("pbx"), "1002"));
        assert!(dial(&config, "2002").is_err());
        assert!(dial(&config, "1001").is_ok(), "what the PBX does with one's own number is its own business");
    }

    #[test]
    fn nobody_calls_themselves_inside() {
        let mut dial_plan = crate::routing::DialPlan::default();
        dial_plan.extensions.extend(crate::routing::ExtensionRange::new("1000", "1999"));
        let internal_trunk = Some(TrunkName::new(TrunkName::INTERNAL));
        let config = Config { dial_plan, internal_trunk, ..Config::default() };
        let dial = |to: &str| admit_outbound(&Extension::new("1001"), to, IDLE, &config);
        assert_eq!(dial("1001"), Err(DialRefused::Denied(Denied::Oneself)));
        assert_eq!(dial("1002").unwrap().trunk.as_str(), "internal");
    }

    #[test]
    fn a_full_or_draining_node_takes_nobody() {
        assert_eq!(answer(AgentState::Available, Load { draining: true, ..IDLE }), 503);
        assert_eq!(answer(AgentState::Available, Load { calls: 1_000, ..IDLE }), 503);
    }

    #[test]
    fn what_the_dial_plan_does_not_name_is_not_dialled() {
        let refused = admit_outbound(&Extension::new("1001"), "600", IDLE, &Config::default());
        assert_eq!(refused, Err(DialRefused::Denied(Denied::NoRule)));
    }
}
