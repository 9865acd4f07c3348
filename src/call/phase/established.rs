//! Audio crosses: until somebody hangs up, the media dies, or a required recording fails.

use std::time::Instant;

use bytes::Bytes;

use crate::call::Cause;
use crate::call::Input;
use crate::call::context::Context;
use crate::call::leg::TrunkLeg;
use crate::call::phase::Phase;
use crate::call::phase::decline;
use crate::call::phase::terminating::Farewell;
use crate::call::phase::terminating::Terminating;
use crate::signaling::CallRequest;
use crate::signaling::Notification;
use crate::signaling::Quality;
use crate::signaling::RequestToken;
use crate::sip;
use crate::sip::EndCause;
use crate::worker;
use crate::worker::DtmfDigit;
use crate::worker::Gate;

/// See the [module](self).
#[derive(Debug)]
pub struct Established {
    trunk: TrunkLeg,
}

impl Established {
    /// Opens the way. Where our offer still waits for its answer, the trunk is connected when that comes.
    #[must_use]
    pub fn begin(trunk: TrunkLeg, context: &mut Context, now: Instant) -> Phase {
        connect(&trunk, context);
        context.set_gate(Gate { to_trunk: true, to_agent: true });
        context.answered(now);
        Self { trunk }.into_phase()
    }

    fn into_phase(self) -> Phase {
        if self.trunk.is_offering() { Phase::Renegotiating(self) } else { Phase::Established(self) }
    }

    /// Takes one input.
    #[must_use]
    pub fn handle(self, input: Input, context: &mut Context, now: Instant) -> Phase {
        match input {
            Input::Sip(event) => self.heard_from_trunk(event, context, now),
            Input::Worker(event) => self.heard_from_worker(&event, context, now),
            Input::Request { token, request, .. } => self.asked(token, request, context, now),
            other @ Input::Consulted { .. } => {
                decline(&other, context);
                self.into_phase()
            }
            Input::Recorder(event) => {
                if context.hear_recorder(event) {
                    self.into_phase()
                } else {
                    end(Cause::RecordingFailed, context, now)
                }
            }
            Input::AgentGone { .. } => end(Cause::AgentVanished, context, now),
            Input::Shutdown => end(Cause::Draining, context, now),
        }
    }

    fn heard_from_trunk(self, event: sip::Event, context: &mut Context, now: Instant) -> Phase {
        match event {
            sip::Event::Reinvited { offer, .. } => self.renegotiate(offer, context),
            sip::Event::Acknowledged { sdp, .. } => self.acknowledged(sdp, context, now),
            sip::Event::Ended { cause, .. } => {
                let cause = match cause {
                    EndCause::PeerBye | EndCause::LocalBye => Cause::Hangup,
                    EndCause::NoAck | EndCause::DialogLost | EndCause::SessionExpired => Cause::PeerLost,
                };
                Terminating::begin(cause, Farewell::Silent, context, now)
            }
            sip::Event::Invited(_)
            | sip::Event::Cancelled { .. }
            | sip::Event::Progressed { .. }
            | sip::Event::Accepted { .. }
            | sip::Event::Refused { .. }
            | sip::Event::Renegotiated { .. }
            | sip::Event::RenegotiationFailed { .. }
            | sip::Event::Referred { .. }
            | sip::Event::ReferProgressed { .. }
            | sip::Event::InfoReceived { .. } => self.into_phase(),
        }
    }

    /// The browser leg never sees a trunk's re-INVITE: codec, address, port and hold are settled here.
    fn renegotiate(mut self, offer: Option<Bytes>, context: &mut Context) -> Phase {
        let leg = context.ids.trunk_leg;
        let described = match offer {
            Some(offer) => self.trunk.answer(&offer),
            None => Ok(self.trunk.offer()),
        };
        match described {
            Ok(sdp) => {
                context.sip(sip::Command::AcceptReinvite { leg, sdp });
                connect(&self.trunk, context);
            }
            // The session goes on as it was (RFC 3261 14.2).
            Err(refusal) => context.sip(sip::Command::RefuseReinvite { leg, refusal }),
        }
        self.into_phase()
    }

    /// An answer that is missing or bad leaves no session to go on with: BYE.
    fn acknowledged(mut self, sdp: Option<Bytes>, context: &mut Context, now: Instant) -> Phase {
        if self.trunk.is_offering() {
            let settled = sdp.is_some_and(|answer| self.trunk.accept(&answer).is_ok());
            if !settled {
                return end(Cause::NotAcceptable, context, now);
            }
            connect(&self.trunk, context);
        }
        self.into_phase()
    }

    fn heard_from_worker(self, event: &worker::Event, context: &mut Context, now: Instant) -> Phase {
        let agent = event.leg == Some(context.ids.agent_leg);
        match &event.kind {
            worker::EventKind::MediaTimeout { .. } => end(Cause::MediaTimeout, context, now),
            worker::EventKind::LegFailed { .. } => end(Cause::TransportFailed, context, now),
            worker::EventKind::Closed => end(Cause::Overloaded, context, now),
            worker::EventKind::TapOverflow { .. } => {
                if context.recording_failed("frames were lost on the way to the recorder".to_owned()) {
                    self.into_phase()
                } else {
                    end(Cause::RecordingFailed, context, now)
                }
            }
            worker::EventKind::Stats(stats) if agent => {
                context.notify(Notification::Quality { call: context.ids.call, quality: quality(stats) });
                self.into_phase()
            }
            _ => self.into_phase(),
        }
    }

    fn asked(self, token: RequestToken, request: CallRequest, context: &mut Context, now: Instant) -> Phase {
        let (call, leg) = (context.ids.call, context.ids.agent_leg);
        match request {
            CallRequest::Hangup | CallRequest::Reject => {
                context.grant(token);
                return end(Cause::Hangup, context, now);
            }
            CallRequest::Mute { muted } => {
                context.grant(token);
                context.worker(worker::Command::SetMuted { call, leg, muted });
            }
            CallRequest::Dtmf { digits } => send_dtmf(token, &digits, context),
            CallRequest::Candidate { candidate } => {
                context.grant(token);
                context.worker(worker::Command::AddPeerCandidate { call, leg, candidate });
            }
            CallRequest::Accept => context.grant(token),
            _ => context.deny(token, "call.wrong_state", "the call cannot do this now"),
        }
        self.into_phase()
    }
}

fn connect(trunk: &TrunkLeg, context: &mut Context) {
    if let Some(media) = trunk.media() {
        let (call, leg) = (context.ids.call, context.ids.trunk_leg);
        context.worker(worker::Command::ConnectTrunk { call, leg, media });
    }
}

/// All digits or none: a half-sent PIN is worse than a refused one.
fn send_dtmf(token: RequestToken, digits: &str, context: &mut Context) {
    let parsed: Option<Vec<DtmfDigit>> = digits.chars().map(DtmfDigit::from_char).collect();
    match parsed {
        Some(digits) if !digits.is_empty() => {
            context.grant(token);
            let (call, leg) = (context.ids.call, context.ids.trunk_leg);
            context.worker(worker::Command::SendDtmf { call, leg, digits });
        }
        _ => context.deny(token, "call.bad_digits", "digits are 0-9, *, # and A-D"),
    }
}

fn quality(stats: &worker::LegStats) -> Quality {
    let expected = stats.packets_received.saturating_add(stats.packets_lost);
    #[expect(clippy::cast_precision_loss, reason = "a share for people to read")]
    let loss = if expected == 0 { 0.0 } else { stats.packets_lost as f32 / expected as f32 };
    Quality { jitter_ms: stats.jitter_ms, loss, rtt_ms: stats.rtt_ms }
}

fn end(cause: Cause, context: &mut Context, now: Instant) -> Phase {
    Terminating::begin(cause, Farewell::Bye, context, now)
}
