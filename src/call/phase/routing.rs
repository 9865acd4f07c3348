//! Inbound: the worker makes our offer for the browser and binds the trunk's port.

use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;

use crate::call::CallTimer;
use crate::call::Cause;
use crate::call::Input;
use crate::call::context::Context;
use crate::call::leg::TrunkLeg;
use crate::call::phase::Phase;
use crate::call::phase::alerting::Alerting;
use crate::call::phase::decline;
use crate::call::phase::terminating::Farewell;
use crate::call::phase::terminating::Terminating;
use crate::signaling::Notification;
use crate::sip;
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

/// The trunk leg with the description that our 200 will carry.
#[derive(Debug)]
pub struct Described {
    /// The leg.
    pub leg: TrunkLeg,
    /// Our answer, or our offer where the INVITE had none.
    pub sdp: Bytes,
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
            Input::Sip(event) => match given_up(&event) {
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
        let mut leg = TrunkLeg::new(&context.trunk, local, context.ids.sdp_session);
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

/// What it means when the trunk's usage ends before our final response, if this event says that it did.
///
/// A caller who gave up because another fork answered has not been missed (RFC 3326 2: SIP 200, or Q.850 cause 26).
pub(crate) fn given_up(event: &sip::Event) -> Option<Cause> {
    match event {
        sip::Event::Cancelled { reason, .. } | sip::Event::Ended { reason, .. } => {
            let elsewhere = reason.as_ref().is_some_and(|reason| {
                let protocol = reason.protocol.to_ascii_uppercase();
                matches!((protocol.as_str(), reason.cause), ("SIP", Some(200)) | ("Q.850", Some(26)))
            });
            Some(if elsewhere { Cause::AnsweredElsewhere } else { Cause::Cancelled })
        }
        sip::Event::Invited(_)
        | sip::Event::Acknowledged { .. }
        | sip::Event::Progressed { .. }
        | sip::Event::Accepted { .. }
        | sip::Event::Refused { .. }
        | sip::Event::Reinvited { .. } => None,
    }
}
