//! Inbound: the agent's phone rings, and the transport comes up meanwhile, without a microphone.

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
use crate::signaling::CallRequest;
use crate::signaling::RequestToken;
use crate::sip;
use crate::sip::StatusCode;
use crate::worker;

/// See the [module](self).
#[derive(Debug)]
pub struct Alerting {
    trunk: Described,
    connected: bool,
    alerted: bool,
}

impl Alerting {
    /// Waits for the device to say that it rings, and for the agent.
    pub fn begin(trunk: Described, context: &mut Context, now: Instant) -> Self {
        context.timers.stop(CallTimer::Setup);
        context.start_timer(CallTimer::DeviceAlerts, context.config.device_timeout, now);
        context.start_timer(CallTimer::Answer, context.config.no_answer, now);
        Self { trunk, connected: false, alerted: false }
    }

    /// Takes one input.
    #[must_use]
    pub fn handle(mut self, input: Input, context: &mut Context, now: Instant) -> Phase {
        match input {
            Input::Request { token, request } => self.asked(token, request, context, now),
            Input::Worker(event) => match event.kind {
                worker::EventKind::PeerConnected => {
                    self.connected = true;
                    Phase::Alerting(self)
                }
                worker::EventKind::LegFailed { .. } => end(Cause::TransportFailed, context, now),
                _ => Phase::Alerting(self),
            },
            Input::Sip(event) => match Cause::of_giving_up(&event) {
                Some(cause) => Terminating::begin(cause, Farewell::Silent, context, now),
                None => Phase::Alerting(self),
            },
            Input::AgentGone => end(Cause::AgentUnavailable, context, now),
            Input::Shutdown => end(Cause::Draining, context, now),
            Input::Recorder(_) => Phase::Alerting(self),
        }
    }

    /// Nobody reacted.
    #[must_use]
    pub fn handle_timer(self, timer: CallTimer, context: &mut Context, now: Instant) -> Phase {
        match timer {
            CallTimer::DeviceAlerts => end(Cause::DeviceSilent, context, now),
            CallTimer::Answer => end(Cause::NoAnswer, context, now),
            CallTimer::Setup | CallTimer::Transport | CallTimer::Ending => Phase::Alerting(self),
        }
    }

    fn asked(mut self, token: RequestToken, request: CallRequest, context: &mut Context, now: Instant) -> Phase {
        let (call, leg) = (context.ids.call, context.ids.agent_leg);
        match request {
            CallRequest::Alerting => {
                context.grant(token);
                self.ring(context);
                Phase::Alerting(self)
            }
            CallRequest::Transport { sdp } => {
                context.grant(token);
                context.worker(worker::Command::AcceptPeerAnswer { call, leg, sdp });
                Phase::Alerting(self)
            }
            CallRequest::Candidate { candidate } => {
                context.grant(token);
                context.worker(worker::Command::AddPeerCandidate { call, leg, candidate });
                Phase::Alerting(self)
            }
            CallRequest::Accept => {
                context.grant(token);
                Connecting::begin(self.trunk, self.connected, context, now)
            }
            CallRequest::Reject | CallRequest::Hangup => {
                context.grant(token);
                end(Cause::Rejected, context, now)
            }
            CallRequest::Dial { .. } | CallRequest::Mute { .. } | CallRequest::Dtmf { .. } => {
                decline(&Input::Request { token, request }, context);
                Phase::Alerting(self)
            }
        }
    }

    /// Only a device that rings lets the caller hear that it rings.
    fn ring(&mut self, context: &mut Context) {
        context.timers.stop(CallTimer::DeviceAlerts);
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
