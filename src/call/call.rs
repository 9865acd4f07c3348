//! The machine of one call.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crate::call::AgentParty;
use crate::call::CallIds;
use crate::call::CallRecord;
use crate::call::CallTimer;
use crate::call::Cause;
use crate::call::Config;
use crate::call::Destination;
use crate::call::Hunt;
use crate::call::Input;
use crate::call::Output;
use crate::call::Partner;
use crate::call::Standing;
use crate::call::TrunkPolicy;
use crate::call::context::Context;
use crate::call::phase::Phase;
use crate::call::phase::preparing::Preparing;
use crate::call::phase::routing::Routing;
use crate::clock::Clock;
use crate::ids::Extension;
use crate::ids::SignalingId;
use crate::ids::TrunkName;
use crate::recording::CallDirection;
use crate::recording::Obligation;
use crate::sip;
use crate::sip::Invitation;
use crate::sip::Refusal;
use crate::sip::StatusCode;
use crate::worker;

/// What a new call stands on.
#[derive(Debug, Clone)]
pub struct Ground {
    /// Names of the call's parts.
    pub ids: CallIds,
    /// The agent.
    pub agent: AgentParty,
    /// The trunk's policy.
    pub trunk: TrunkPolicy,
    /// The site's rules.
    pub config: Arc<Config>,
    /// Maps the moments of the call to wall time.
    pub clock: Clock,
    /// Of an emergency call, the trunks to try where its first fails. No recorder holds such a call up, or ends it.
    pub emergency: Option<Vec<TrunkName>>,
}

/// One call from its first message to its record. See [`Phase`] for where it can be.
#[derive(Debug)]
pub struct Call {
    context: Context,
    phase: Phase,
}

impl Call {
    /// A trunk calls agents who can take the call: those of `hunt`. The ground's agent and agent leg are its first.
    pub fn inbound(ground: Ground, hunt: Hunt, invitation: Invitation, now: Instant) -> Self {
        let mut record = inbound_record(&ground, &invitation, now);
        if hunt.is_group {
            record.extension = Extension::new(invitation.called.as_str());
            record.agent_user = None;
        }
        let Ground { ids, agent, trunk, config, clock, .. } = ground;
        let mut context = Context::new(ids, agent, trunk, config, record, (clock, now));
        (context.party, context.party_name) = invitation.shown_caller();
        let phase = Phase::Routing(Routing::begin(invitation, hunt, &mut context, now));
        Self { context, phase }
    }

    /// An agent dials `number`, which the dial plan sent to `trunk`.
    pub fn outbound(ground: Ground, trunk: TrunkName, number: String, now: Instant) -> Self {
        let record = outbound_record(&ground, trunk, number, now);
        let Ground { ids, agent, trunk, config, clock, emergency } = ground;
        let mut context = Context::new(ids, agent, trunk, config, record, (clock, now));
        context.emergency = emergency.map(VecDeque::from);
        if context.emergency.is_some() {
            context.alarm("emergency_call");
        }
        let phase = Phase::Preparing(Preparing::begin(&mut context, now));
        Self { context, phase }
    }

    /// A call to `destination` that `partner` asked for, to be joined to it when it is answered. The ground's agent, who
    /// transfers, gives it a name and takes no part.
    pub fn launched(mut ground: Ground, destination: Destination, partner: Partner, now: Instant) -> Self {
        // Whether anybody records what follows a transfer, the transferred call's trunk says.
        ground.trunk.recording = Obligation::Never;
        let Destination { trunk, number, .. } = destination;
        let record = CallRecord { joined_with: Some(partner.call), ..outbound_record(&ground, trunk, number, now) };
        let Ground { ids, agent, trunk, config, clock, .. } = ground;
        let mut context = Context::new(ids, agent, trunk, config, record, (clock, now));
        context.audience.clear();
        context.partner = Some(partner);
        let phase = Phase::Preparing(Preparing::begin(&mut context, now));
        Self { context, phase }
    }

    /// Takes one input.
    ///
    /// Once somebody has the call, only their browser may ask about it.
    pub fn handle(&mut self, input: Input, now: Instant) {
        let asker = match &input {
            Input::Request { from, .. } | Input::Consulted { from, .. } | Input::Reattached { from, .. } => Some(*from),
            Input::AgentGone { session } => Some(*session),
            Input::Sip(_)
            | Input::Worker(_)
            | Input::Recorder(_)
            | Input::SpareLeg(_)
            | Input::Partner { .. }
            | Input::Shutdown => None,
        };
        if let Input::Worker(worker::Event { leg: Some(leg), kind: worker::EventKind::Stats(stats), .. }) = &input {
            self.context.note_quality(*leg, &stats.quality);
        }
        if let Input::SpareLeg(leg) = input {
            self.context.spare_leg = Some(leg);
            return;
        }
        if asker.is_some_and(|asker| self.is_stranger(asker)) {
            if let Input::Request { from, token, .. } | Input::Consulted { from, token, .. } = input {
                self.context.deny_to(from, token, "call.unknown", "there is no such call");
            }
            return;
        }
        if let Input::Sip(event) = &input
            && !self.phase.is_answered()
            && self.refuse_out_of_place(event)
        {
            return;
        }
        // Between the two, the transport of the page that is no more is what everything waits for.
        let can_reattach = self.phase.rings() || self.phase.is_answered();
        let input = if let (Input::Reattached { from, .. }, false) = (&input, can_reattach) {
            Input::AgentGone { session: *from }
        } else {
            input
        };
        self.advance(|phase, context| phase.handle(input, context, now));
    }

    /// Whether it is none of this browser's business. A call that is joined to another one has no agent.
    fn is_stranger(&self, asker: SignalingId) -> bool {
        self.context.partner.is_some() || (!self.phase.rings() && asker != self.context.agent.session)
    }

    /// Fires the timers that are due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(timer) = self.context.timers.pop_due(now) {
            self.advance(|phase, context| phase.handle_timer(timer, context, now));
        }
    }

    /// When [`Call::handle_timeout`] must be called, and what is waited for.
    pub fn poll_timeout(&self) -> Option<(Instant, CallTimer)> {
        self.context.timers.next()
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.context.poll_output()
    }

    /// How it ended, once nothing more is to come.
    pub const fn outcome(&self) -> Option<Cause> {
        if let Phase::Terminated(cause) = self.phase { Some(cause) } else { None }
    }

    /// Whether both sides have been told that it is over.
    pub const fn is_ending(&self) -> bool {
        matches!(self.phase, Phase::Terminating(_) | Phase::Terminated(_))
    }

    /// What others must know of it.
    pub fn standing(&self) -> Standing {
        Standing {
            is_ending: self.is_ending(),
            is_answered: self.context.record.answered.is_some(),
            is_emergency: self.context.emergency.is_some(),
            audience: self.context.audience.clone(),
            trunk_leg: self.context.ids.trunk_leg,
            number: self.context.party.clone(),
            partner: self.context.partner.map(|partner| partner.call),
        }
    }

    /// Where the call is, for a person.
    pub const fn phase_name(&self) -> &'static str {
        self.phase.name()
    }

    /// Requests of the peer that only an answered call can serve. Each gets its answer all the same.
    fn refuse_out_of_place(&mut self, event: &sip::Event) -> bool {
        let no = |status| Refusal::new(status);
        let command = match event {
            sip::Event::Invited(invitation) => {
                sip::Command::Refuse { leg: invitation.leg, refusal: no(StatusCode::CALL_DOES_NOT_EXIST) }
            }
            sip::Event::Referred { leg, .. } => {
                sip::Command::RefuseRefer { leg: *leg, refusal: no(StatusCode::FORBIDDEN) }
            }
            sip::Event::Reinvited { leg, .. } => {
                sip::Command::RefuseReinvite { leg: *leg, refusal: no(StatusCode::NOT_ACCEPTABLE_HERE) }
            }
            sip::Event::Cancelled { .. }
            | sip::Event::Acknowledged { .. }
            | sip::Event::Progressed { .. }
            | sip::Event::Accepted { .. }
            | sip::Event::Refused { .. }
            | sip::Event::Renegotiated { .. }
            | sip::Event::RenegotiationFailed { .. }
            | sip::Event::RenegotiationOvertaken { .. }
            | sip::Event::ReferProgressed { .. }
            | sip::Event::InfoReceived { .. }
            | sip::Event::Ended { .. } => return false,
        };
        self.context.sip(command);
        true
    }

    fn advance(&mut self, step: impl FnOnce(Phase, &mut Context) -> Phase) {
        // A phase is consumed by its step; the placeholder is never seen, for the step always gives one back.
        let phase = std::mem::replace(&mut self.phase, Phase::Terminated(Cause::Hangup));
        self.phase = step(phase, &mut self.context);
    }
}

fn inbound_record(ground: &Ground, invitation: &Invitation, now: Instant) -> CallRecord {
    CallRecord {
        call: ground.ids.call,
        session_id: ground.ids.session,
        sip_call_id: Some(invitation.sip_call_id.clone()),
        direction: CallDirection::Inbound,
        trunk: invitation.trunk.clone(),
        extension: ground.agent.extension.clone(),
        agent_user: Some(ground.agent.user.clone()),
        remote_number: invitation.from.user.expose().clone(),
        remote_name: invitation.from.display_name.as_ref().map(|name| name.expose().clone()),
        started: ground.clock.wall(now),
        answered: None,
        ended: None,
        end_reason: None,
        sip_status: None,
        q850: None,
        recording: None,
        recording_exception: None,
        srtp_downgraded: false,
        joined_with: None,
        quality: None,
    }
}

fn outbound_record(ground: &Ground, trunk: TrunkName, number: String, now: Instant) -> CallRecord {
    CallRecord {
        call: ground.ids.call,
        session_id: ground.ids.session,
        sip_call_id: None,
        direction: CallDirection::Outbound,
        trunk,
        extension: ground.agent.extension.clone(),
        agent_user: Some(ground.agent.user.clone()),
        remote_number: number,
        remote_name: None,
        started: ground.clock.wall(now),
        answered: None,
        ended: None,
        end_reason: None,
        sip_status: None,
        q850: None,
        recording: None,
        recording_exception: None,
        srtp_downgraded: false,
        joined_with: None,
        quality: None,
    }
}
