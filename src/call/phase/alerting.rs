//! Inbound: one phone rings, or those of a group; transports come up meanwhile, without a microphone.

use std::time::Instant;

use crate::call::CallTimer;
use crate::call::Cause;
use crate::call::Input;
use crate::call::context::Context;
use crate::call::leg::Described;
use crate::call::phase::Phase;
use crate::call::phase::connecting::Connecting;
use crate::call::phase::decline;
use crate::call::phase::terminating::Farewell;
use crate::call::phase::terminating::Terminating;
use crate::call::ring::Ring;
use crate::ids::SignalingId;
use crate::signaling::CallRequest;
use crate::signaling::RequestToken;
use crate::sip;
use crate::sip::StatusCode;
use crate::worker;

/// See the [module](self).
#[derive(Debug)]
pub struct Alerting {
    trunk: Described,
    ring: Ring,
    alerted: bool,
}

impl Alerting {
    /// Waits for a device to say that it rings, and for an agent.
    pub fn begin(trunk: Described, mut ring: Ring, context: &mut Context, now: Instant) -> Self {
        context.timers.stop(CallTimer::Setup);
        if ring.is_waiting() {
            let leg = context.ids.trunk_leg;
            context.sip(sip::Command::Provisional { leg, status: StatusCode::QUEUED, body: None });
        }
        ring.open(context, now);
        Self { trunk, ring, alerted: false }
    }

    /// Takes one input.
    #[must_use]
    pub fn handle(mut self, input: Input, context: &mut Context, now: Instant) -> Phase {
        match input {
            Input::Request { from, token, request } => self.asked((from, token), request, context, now),
            Input::Worker(event) => self.heard_from_worker(event, context, now),
            Input::Sip(event) => match Cause::of_giving_up(&event) {
                Some(cause) => Terminating::begin(cause, Farewell::Silent, context, now),
                None => Phase::Alerting(self),
            },
            Input::AgentGone { session } => {
                let dropped = self.ring.drop_session(session, Cause::AgentUnavailable, context, now);
                self.go_on(dropped, context, now)
            }
            Input::Reattached { from, session, leg } => {
                self.ring.ring_anew(from, session, leg, context, now);
                Phase::Alerting(self)
            }
            Input::Shutdown => end(Cause::Draining, context, now),
            other @ (Input::Recorder(_) | Input::Consulted { .. } | Input::SpareLeg(_) | Input::Partner { .. }) => {
                decline(&other, context);
                Phase::Alerting(self)
            }
        }
    }

    /// Nobody reacted.
    #[must_use]
    pub fn handle_timer(mut self, timer: CallTimer, context: &mut Context, now: Instant) -> Phase {
        let dropped = match timer {
            CallTimer::DeviceAlerts => self.ring.skip_silent(context, now),
            CallTimer::Answer => self.ring.turn_over(context, now),
            _ => Ok(()),
        };
        self.go_on(dropped, context, now)
    }

    fn go_on(self, dropped: Result<(), Cause>, context: &mut Context, now: Instant) -> Phase {
        match dropped {
            Ok(()) => Phase::Alerting(self),
            Err(cause) => end(cause, context, now),
        }
    }

    fn heard_from_worker(mut self, event: worker::Event, context: &mut Context, now: Instant) -> Phase {
        let leg = event.leg.unwrap_or(context.ids.trunk_leg);
        match event.kind {
            worker::EventKind::PeerOffered { sdp } => self.ring.offered(leg, sdp, context, now),
            worker::EventKind::PeerConnected => self.ring.connected(leg),
            worker::EventKind::LegFailed { .. } if self.ring.has_leg(leg) => {
                let dropped = self.ring.drop_leg(leg, Cause::TransportFailed, context, now);
                return self.go_on(dropped, context, now);
            }
            // A leg that was closed because somebody else rings now.
            worker::EventKind::LegFailed { .. } if leg != context.ids.trunk_leg => {}
            worker::EventKind::LegFailed { .. } => return end(Cause::TransportFailed, context, now),
            _ => {}
        }
        Phase::Alerting(self)
    }

    fn asked(
        mut self,
        (from, token): (SignalingId, RequestToken),
        request: CallRequest,
        context: &mut Context,
        now: Instant,
    ) -> Phase {
        let Some(leg) = self.ring.leg_of(from) else {
            context.deny_to(from, token, "call.unknown", "there is no such call");
            return Phase::Alerting(self);
        };
        let call = context.ids.call;
        match request {
            CallRequest::Alerting => {
                context.grant_to(from, token);
                self.ring.alerts(from, context);
                self.sound(context);
                Phase::Alerting(self)
            }
            CallRequest::Transport { sdp } => {
                context.grant_to(from, token);
                context.worker(worker::Command::AcceptPeerAnswer { call, leg, sdp });
                Phase::Alerting(self)
            }
            CallRequest::Candidate { candidate } => {
                context.grant_to(from, token);
                context.worker(worker::Command::AddPeerCandidate { call, leg, candidate });
                Phase::Alerting(self)
            }
            CallRequest::Accept => {
                context.grant_to(from, token);
                match self.ring.join(from, context) {
                    Some(winner) => Connecting::begin(self.trunk, winner.connected, context, now),
                    None => end(Cause::AgentUnavailable, context, now),
                }
            }
            CallRequest::Reject | CallRequest::Hangup => {
                context.grant_to(from, token);
                let dropped = self.ring.drop_session(from, Cause::Rejected, context, now);
                self.go_on(dropped, context, now)
            }
            request => {
                decline(&Input::Request { from, token, request }, context);
                Phase::Alerting(self)
            }
        }
    }

    /// Only a device that rings lets the caller hear that it rings.
    fn sound(&mut self, context: &mut Context) {
        if !self.alerted {
            self.alerted = true;
            let leg = context.ids.trunk_leg;
            context.sip(sip::Command::Provisional { leg, status: StatusCode::RINGING, body: None });
        }
    }
}

fn end(cause: Cause, context: &mut Context, now: Instant) -> Phase {
    Terminating::begin(cause, Farewell::refuse(cause, context), context, now)
}
