//! Outbound: transport, port and recorder come up before the INVITE leaves, so that no callee hears silence.

use std::time::Instant;

use crate::call::CallTimer;
use crate::call::Cause;
use crate::call::Input;
use crate::call::PartnerWord;
use crate::call::context::Context;
use crate::call::leg::TrunkLeg;
use crate::call::phase::Phase;
use crate::call::phase::decline;
use crate::call::phase::inviting::Inviting;
use crate::call::phase::terminating::Farewell;
use crate::call::phase::terminating::Terminating;
use crate::signaling::CallRequest;
use crate::signaling::Notification;
use crate::worker;

/// See the [module](self).
#[derive(Debug)]
pub struct Preparing {
    trunk: Option<TrunkLeg>,
    connected: bool,
}

impl Preparing {
    /// Asks the worker for both legs. A call that will be joined to another one has no agent, and needs no browser leg.
    pub fn begin(context: &mut Context, now: Instant) -> Self {
        let (call, leg) = (context.ids.call, context.ids.agent_leg);
        let has_agent = context.partner.is_none();
        if has_agent {
            context.worker(worker::Command::OfferPeer { call, leg });
        }
        let (leg, address) = (context.ids.trunk_leg, context.trunk.media_address);
        context.worker(worker::Command::BindTrunk { call, leg, address });
        // The browser's first answer waits for a person who grants the microphone: twice the usual time.
        context.start_timer(CallTimer::Setup, context.config.transport_timeout * 2, now);
        context.publish_record();
        Self { trunk: None, connected: !has_agent }
    }

    /// The trunk of an emergency call failed it: another one is tried, with a port of its own.
    pub fn again(context: &mut Context, now: Instant) -> Self {
        let (call, leg, address) = (context.ids.call, context.ids.trunk_leg, context.trunk.media_address);
        context.worker(worker::Command::CloseLeg { call, leg });
        context.worker(worker::Command::BindTrunk { call, leg, address });
        context.timers.stop(CallTimer::Answer);
        context.start_timer(CallTimer::Setup, context.config.transport_timeout, now);
        context.publish_record();
        Self { trunk: None, connected: true }
    }

    /// Takes one input.
    #[must_use]
    pub fn handle(self, input: Input, context: &mut Context, now: Instant) -> Phase {
        match input {
            Input::Worker(event) => return self.heard_from_worker(event, context, now),
            Input::Recorder(event) => {
                if !context.hear_recorder(event) {
                    return end(Cause::RecordingFailed, context, now);
                }
            }
            Input::Request { from, token, request } => match request {
                CallRequest::Transport { sdp } => {
                    context.grant(token);
                    let (call, leg) = (context.ids.call, context.ids.agent_leg);
                    context.worker(worker::Command::AcceptPeerAnswer { call, leg, sdp });
                }
                CallRequest::Candidate { candidate } => {
                    context.grant(token);
                    let (call, leg) = (context.ids.call, context.ids.agent_leg);
                    context.worker(worker::Command::AddPeerCandidate { call, leg, candidate });
                }
                CallRequest::Hangup | CallRequest::Reject => {
                    context.grant(token);
                    return end(Cause::Hangup, context, now);
                }
                request => decline(&Input::Request { from, token, request }, context),
            },
            Input::AgentGone { .. } => return end(Cause::AgentVanished, context, now),
            Input::Partner { from, word: PartnerWord::Gone(_) } if context.is_joined_to(from.call) => {
                return end(Cause::Cancelled, context, now);
            }
            Input::Shutdown => return end(Cause::Draining, context, now),
            Input::Sip(_) => {}
            other @ (Input::Consulted { .. }
            | Input::Reattached { .. }
            | Input::SpareLeg(_)
            | Input::Partner { .. }) => decline(&other, context),
        }
        self.proceed(context, now)
    }

    /// Transport or recorder took too long.
    #[must_use]
    pub fn handle_timer(self, _: CallTimer, context: &mut Context, now: Instant) -> Phase {
        if !self.connected || self.trunk.is_none() {
            return end(Cause::TransportFailed, context, now);
        }
        let may_go_on = context.recording_failed("the recorder did not answer in time".to_owned());
        if may_go_on { self.proceed(context, now) } else { end(Cause::RecordingFailed, context, now) }
    }

    fn heard_from_worker(mut self, event: worker::Event, context: &mut Context, now: Instant) -> Phase {
        match event.kind {
            worker::EventKind::PeerOffered { sdp } => {
                let call = context.ids.call;
                context.notify(Notification::Offer { call, sdp });
            }
            worker::EventKind::PeerConnected => {
                self.connected = true;
                context.start_recording();
            }
            worker::EventKind::TrunkBound { local } => {
                self.trunk = Some(TrunkLeg::new(&context.trunk, local, context.ids.sdp_session, context.ids.srtp));
            }
            worker::EventKind::LegFailed { reason } => {
                let cause = match reason {
                    worker::LegFailure::NoPort | worker::LegFailure::WorkerFull => Cause::Overloaded,
                    worker::LegFailure::BadDescription
                    | worker::LegFailure::IceFailed
                    | worker::LegFailure::DtlsFailed => Cause::TransportFailed,
                };
                return end(cause, context, now);
            }
            _ => {}
        }
        self.proceed(context, now)
    }

    fn proceed(self, context: &mut Context, now: Instant) -> Phase {
        match self.trunk {
            Some(trunk) if self.connected && context.recording_allows_audio() => {
                context.timers.stop(CallTimer::Setup);
                Phase::Inviting(Inviting::begin(trunk, context, now))
            }
            trunk => Phase::Preparing(Self { trunk, connected: self.connected }),
        }
    }
}

/// No INVITE has left, so the trunk is told nothing.
fn end(cause: Cause, context: &mut Context, now: Instant) -> Phase {
    Terminating::begin(cause, Farewell::Silent, context, now)
}
