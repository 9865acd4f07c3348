//! Inbound: the agent accepted; transport and required recorder must be up before the 200 leaves.

use std::time::Instant;

use crate::call::CallTimer;
use crate::call::Cause;
use crate::call::Input;
use crate::call::context::Context;
use crate::call::leg::Described;
use crate::call::phase::Phase;
use crate::call::phase::decline;
use crate::call::phase::established::Established;
use crate::call::phase::terminating::Farewell;
use crate::call::phase::terminating::Terminating;
use crate::recording::Obligation;
use crate::signaling::CallRequest;
use crate::sip;
use crate::worker;

/// See the [module](self).
#[derive(Debug)]
pub struct Connecting {
    trunk: Described,
    connected: bool,
}

impl Connecting {
    /// Asks for the recorder, and goes on at once where nothing is awaited.
    #[must_use]
    pub fn begin(trunk: Described, connected: bool, context: &mut Context, now: Instant) -> Phase {
        context.timers.stop(CallTimer::DeviceAlerts);
        context.timers.stop(CallTimer::Answer);
        context.start_timer(CallTimer::Transport, context.config.transport_timeout, now);
        context.start_recording();
        Self { trunk, connected }.proceed(context, now)
    }

    /// Takes one input.
    #[must_use]
    pub fn handle(mut self, input: Input, context: &mut Context, now: Instant) -> Phase {
        let (call, leg) = (context.ids.call, context.ids.agent_leg);
        match input {
            Input::Worker(event) => match event.kind {
                // Of a group, another browser's transport may come up as late as this.
                worker::EventKind::PeerConnected if event.leg == Some(leg) => {
                    self.connected = true;
                    self.proceed(context, now)
                }
                worker::EventKind::LegFailed { .. } => end(Cause::TransportFailed, context, now),
                _ => Phase::Connecting(self),
            },
            Input::Recorder(event) => {
                if context.hear_recorder(event) {
                    self.proceed(context, now)
                } else {
                    end(Cause::RecordingFailed, context, now)
                }
            }
            Input::Request { token, request: CallRequest::Transport { sdp }, .. } => {
                context.grant(token);
                context.worker(worker::Command::AcceptPeerAnswer { call, leg, sdp });
                Phase::Connecting(self)
            }
            Input::Request { token, request: CallRequest::Candidate { candidate }, .. } => {
                context.grant(token);
                context.worker(worker::Command::AddPeerCandidate { call, leg, candidate });
                Phase::Connecting(self)
            }
            // An accept may come twice: by the socket and, resent, after a resumption.
            Input::Request { token, request: CallRequest::Accept, .. } => {
                context.grant(token);
                Phase::Connecting(self)
            }
            Input::Request { token, request: CallRequest::Reject | CallRequest::Hangup, .. } => {
                context.grant(token);
                end(Cause::Rejected, context, now)
            }
            Input::Sip(event) => match Cause::of_giving_up(&event) {
                Some(cause) => Terminating::begin(cause, Farewell::Silent, context, now),
                None => Phase::Connecting(self),
            },
            Input::AgentGone { .. } => end(Cause::AgentUnavailable, context, now),
            Input::Shutdown => end(Cause::Draining, context, now),
            other @ (Input::Request { .. }
            | Input::Consulted { .. }
            | Input::Reattached { .. }
            | Input::SpareLeg(_)
            | Input::Partner { .. }) => {
                decline(&other, context);
                Phase::Connecting(self)
            }
        }
    }

    /// Transport or recorder took too long. A recorder that is only slow does not stop a best-effort call.
    #[must_use]
    pub fn handle_timer(self, _: CallTimer, context: &mut Context, now: Instant) -> Phase {
        if !self.connected {
            return end(Cause::TransportFailed, context, now);
        }
        let may_go_on = context.recording_failed("the recorder did not answer in time".to_owned());
        if may_go_on { self.proceed(context, now) } else { end(Cause::RecordingFailed, context, now) }
    }

    fn proceed(self, context: &mut Context, now: Instant) -> Phase {
        if !(self.connected && context.recording_allows_audio()) {
            return Phase::Connecting(self);
        }
        context.timers.stop(CallTimer::Transport);
        let leg = context.ids.trunk_leg;
        context.sip(sip::Command::Accept { leg, sdp: self.trunk.sdp });
        Established::begin(self.trunk.leg, context, now)
    }
}

fn end(cause: Cause, context: &mut Context, now: Instant) -> Phase {
    debug_assert!(cause != Cause::RecordingFailed || context.trunk.recording == Obligation::Required);
    Terminating::begin(cause, Farewell::refuse(cause, context), context, now)
}
