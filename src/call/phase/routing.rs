//! Inbound: the worker makes our offer for the browser and binds the trunk's port.

use std::net::SocketAddr;
use std::time::Instant;

use crate::call::CallTimer;
use crate::call::Cause;
use crate::call::Input;
use crate::call::context::Context;
use crate::call::leg::Described;
use crate::call::leg::TrunkLeg;
use crate::call::phase::Phase;
use crate::call::phase::alerting::Alerting;
use crate::call::phase::decline;
use crate::call::phase::terminating::Farewell;
use crate::call::phase::terminating::Terminating;
use crate::call::ring::Hunt;
use crate::call::ring::Ring;
use crate::sip::Invitation;
use crate::sip::Refusal;
use crate::worker;

/// See the [module](self).
#[derive(Debug)]
pub struct Routing {
    invitation: Invitation,
    ring: Ring,
    trunk: Option<Described>,
}

impl Routing {
    /// Asks the worker for both legs.
    pub fn begin(invitation: Invitation, hunt: Hunt, context: &mut Context, now: Instant) -> Self {
        let ring = Ring::begin(hunt, &invitation, context, now);
        let (call, leg, address) = (context.ids.call, context.ids.trunk_leg, context.trunk.media_address);
        context.worker(worker::Command::BindTrunk { call, leg, address });
        context.start_timer(CallTimer::Setup, context.config.transport_timeout, now);
        context.publish_record();
        Self { invitation, ring, trunk: None }
    }

    /// Takes one input.
    #[must_use]
    pub fn handle(mut self, input: Input, context: &mut Context, now: Instant) -> Phase {
        match input {
            Input::Worker(event) => self.heard_from_worker(event, context, now),
            Input::Sip(event) => match Cause::of_giving_up(&event) {
                Some(cause) => Terminating::begin(cause, Farewell::Silent, context, now),
                None => Phase::Routing(self),
            },
            Input::AgentGone { session } => {
                match self.ring.drop_session(session, Cause::AgentUnavailable, context, now) {
                    Ok(()) => Phase::Routing(self),
                    Err(cause) => end(cause, context, now),
                }
            }
            Input::Reattached { from, session, leg } => {
                self.ring.ring_anew(from, session, leg, context, now);
                Phase::Routing(self)
            }
            Input::Shutdown => end(Cause::Draining, context, now),
            other => {
                decline(&other, context);
                Phase::Routing(self)
            }
        }
    }

    /// The worker did not come forward.
    #[must_use]
    pub fn handle_timer(self, _: CallTimer, context: &mut Context, now: Instant) -> Phase {
        end(Cause::Overloaded, context, now)
    }

    fn heard_from_worker(mut self, event: worker::Event, context: &mut Context, now: Instant) -> Phase {
        match (event.kind, event.leg) {
            (worker::EventKind::PeerOffered { sdp }, Some(leg)) => {
                self.ring.offered(leg, sdp, context, now);
                self.proceed(context, now)
            }
            (worker::EventKind::TrunkBound { local }, _) => self.describe(local, context, now),
            (worker::EventKind::LegFailed { .. }, Some(leg)) if self.ring.has_leg(leg) => {
                match self.ring.drop_leg(leg, Cause::Overloaded, context, now) {
                    Ok(()) => Phase::Routing(self),
                    Err(cause) => end(cause, context, now),
                }
            }
            (worker::EventKind::LegFailed { .. }, _) => end(Cause::Overloaded, context, now),
            _ => Phase::Routing(self),
        }
    }

    /// An offer that we cannot take is refused before any phone rings.
    fn describe(mut self, local: SocketAddr, context: &mut Context, now: Instant) -> Phase {
        let mut leg = TrunkLeg::new(&context.trunk, local, context.ids.sdp_session, context.ids.srtp);
        let described = match &self.invitation.offer {
            Some(offer) => leg.answer(offer),
            None => Ok(leg.offer()),
        };
        match described {
            Ok(sdp) => {
                self.trunk = Some(Described { leg, sdp });
                self.proceed(context, now)
            }
            Err(refusal) => {
                let refusal = Refusal { reason: Some(Cause::NotAcceptable.reason()), ..refusal };
                Terminating::begin(Cause::NotAcceptable, Farewell::Refuse(refusal), context, now)
            }
        }
    }

    fn proceed(self, context: &mut Context, now: Instant) -> Phase {
        let Self { invitation, ring, trunk } = self;
        match trunk {
            Some(trunk) if ring.has_offer() => Phase::Alerting(Alerting::begin(trunk, ring, context, now)),
            trunk => Phase::Routing(Self { invitation, ring, trunk }),
        }
    }
}

fn end(cause: Cause, context: &mut Context, now: Instant) -> Phase {
    Terminating::begin(cause, Farewell::refuse(cause, context), context, now)
}
