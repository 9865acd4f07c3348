//! Where a call can be. Each phase holds exactly what is valid there, and a step consumes it.
//!
//! Inbound: Routing → Alerting → Connecting → Established. Outbound: Preparing → Inviting → Established.
//! Both: Established ⇄ Renegotiating, and from anywhere → Terminating → Terminated.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a phase hears what concerns it; what else there is, and will be, it passes over"
)]

pub mod alerting;
pub mod connecting;
pub mod established;
pub mod inviting;
pub mod preparing;
pub mod routing;
pub mod terminating;

use std::time::Instant;

use crate::call::CallTimer;
use crate::call::Cause;
use crate::call::Input;
use crate::call::PartnerWord;
use crate::call::context::Context;

use alerting::Alerting;
use connecting::Connecting;
use established::Established;
use inviting::Inviting;
use preparing::Preparing;
use routing::Routing;
use terminating::Terminating;

/// See the [module](self).
#[derive(Debug)]
pub enum Phase {
    /// Inbound: the worker makes our offer for the browser and binds the trunk's port.
    Routing(Routing),
    /// Inbound: the agent's phone rings; the transport comes up meanwhile.
    Alerting(Alerting),
    /// Inbound: accepted; transport and required recorder must be up before the 200.
    Connecting(Connecting),
    /// Outbound: transport, port and recorder come up before the INVITE leaves.
    Preparing(Preparing),
    /// Outbound: the INVITE is out.
    Inviting(Inviting),
    /// Audio crosses.
    Established(Established),
    /// Our offer in answer to an offerless re-INVITE (or INVITE) waits for the ACK's answer (RFC 6337 2.2).
    Renegotiating(Established),
    /// The legs are told; media closes and the recording is sealed.
    Terminating(Terminating),
    /// Nothing more is to come.
    Terminated(Cause),
}

impl Phase {
    /// Takes one input.
    #[must_use]
    pub fn handle(self, input: Input, context: &mut Context, now: Instant) -> Self {
        match self {
            Self::Routing(phase) => phase.handle(input, context, now),
            Self::Alerting(phase) => phase.handle(input, context, now),
            Self::Connecting(phase) => phase.handle(input, context, now),
            Self::Preparing(phase) => phase.handle(input, context, now),
            Self::Inviting(phase) => phase.handle(input, context, now),
            Self::Established(phase) | Self::Renegotiating(phase) => phase.handle(input, context, now),
            Self::Terminating(phase) => phase.handle(input, context, now),
            Self::Terminated(cause) => {
                decline(&input, context);
                Self::Terminated(cause)
            }
        }
    }

    /// Takes one timer that fired.
    #[must_use]
    pub fn handle_timer(self, timer: CallTimer, context: &mut Context, now: Instant) -> Self {
        match self {
            Self::Routing(phase) => phase.handle_timer(timer, context, now),
            Self::Alerting(phase) => phase.handle_timer(timer, context, now),
            Self::Connecting(phase) => phase.handle_timer(timer, context, now),
            Self::Preparing(phase) => phase.handle_timer(timer, context, now),
            Self::Inviting(phase) => phase.handle_timer(timer, context, now),
            Self::Terminating(phase) => phase.handle_timer(timer, context),
            Self::Established(phase) | Self::Renegotiating(phase) => phase.handle_timer(timer, context, now),
            Self::Terminated(_) => self,
        }
    }

    /// Whether browsers ring, and none has the call yet.
    pub const fn rings(&self) -> bool {
        matches!(self, Self::Routing(_) | Self::Alerting(_))
    }

    /// Whether audio crosses.
    pub const fn is_answered(&self) -> bool {
        matches!(self, Self::Established(_) | Self::Renegotiating(_))
    }

    /// The phase's name.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Routing(_) => "routing",
            Self::Alerting(_) => "alerting",
            Self::Connecting(_) => "connecting",
            Self::Preparing(_) => "preparing",
            Self::Inviting(_) => "inviting",
            Self::Established(_) => "established",
            Self::Renegotiating(_) => "renegotiating",
            Self::Terminating(_) => "terminating",
            Self::Terminated(_) => "terminated",
        }
    }
}

/// An outbound call whose trunk failed it gets ready for the next: the one way back, kept where both phases are known.
pub(crate) fn prepare_again(context: &mut Context, now: Instant) -> Phase {
    Phase::Preparing(Preparing::again(context, now))
}

/// What no phase has a use for: a request still gets its answer, the rest is nothing.
pub(crate) fn decline(input: &Input, context: &mut Context) {
    match input {
        Input::Request { from, token, .. } | Input::Consulted { from, token, .. } => {
            context.deny_to(*from, *token, "call.wrong_state", "the call cannot do this now");
        }
        Input::Partner { from, word: PartnerWord::Join | PartnerWord::Launched | PartnerWord::Joined } => {
            context.tell_call(from.call, PartnerWord::Gone(Cause::NotAcceptable));
        }
        _ => {}
    }
}
