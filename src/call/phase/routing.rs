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
use crate::signaling::Notification;
use crate::sip::Invitation;
use crate::sip::Refusal;
use crate::worker;

/// See the [module](self).
#[derive(Debug)]
pub struct Routing {
    invitation: Invitation,
    peer_offer: Option<String>,
    trunk: Option<Described>,
}

impl Routing {
    /// Asks the worker for both legs.
    pub fn begin(invitation: Invitation, context: &mut Context, now: Instant) -> Self {
        let (call, leg) = (context.ids.call, context.ids.agent_leg);
        context.worker(worker::Command::OfferPeer { call, leg });
        let (leg, address) = (context.ids.trunk_leg, context.trunk.media_address);
        context.worker(worker::Command::BindTrunk { call, leg, address });
        context.start_timer(CallTimer::Setup, context.config.transport_timeout, now);
        context.publish_record();
        Self { invitation, peer_offer: None, trunk: None }
    }

    /// Takes one input.
    #[must_use]
    pub fn handle(mut self, input: Input, context: &mut Context, now: Instant) -> Phase {
        match input {
            Input::Worker(event) => match event.kind {
                worker::EventKind::PeerOffered { sdp } => {
                    self.peer_offer = Some(sdp);
                    self.proceed(context, now)
                }
                worker::EventKind::TrunkBound { local } => self.describe(local, context, now),
                worker::EventKind::LegFailed { .. } => end(Cause::Overloaded, context, now),
                _ => Phase::Routing(self),
            },
            Input::Sip(event) => match Cause::of_giving_up(&event) {
                Some(cause) => Terminating::begin(cause, Farewell::Silent, context, now),
                None => Phase::Routing(self),
            },
            Input::AgentGone => end(Cause::AgentUnavailable, context, now),
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
        let Self { invitation, peer_offer, trunk } = self;
        match (peer_offer, trunk) {
            (Some(sdp), Some(trunk)) => {
                context.notify(incoming(&invitation, sdp, context));
                Phase::Alerting(Alerting::begin(trunk, context, now))
            }
            (peer_offer, trunk) => Phase::Routing(Self { invitation, peer_offer, trunk }),
        }
    }
}

fn incoming(invitation: &Invitation, sdp: String, context: &Context) -> Notification {
    Notification::Incoming {
        call: context.ids.call,
        from: invitation.from.user.expose().clone(),
        to: invitation.called.clone(),
        name: invitation.from.display_name.as_ref().map(|name| name.expose().clone()),
        trunk: invitation.trunk.to_string(),
        sdp,
    }
}

fn end(cause: Cause, context: &mut Context, now: Instant) -> Phase {
    Terminating::begin(cause, Farewell::refuse(cause, context), context, now)
}
