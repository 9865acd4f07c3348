//! Outbound: the INVITE is out, and the callee's side decides.

use std::time::Instant;

use bytes::Bytes;

use crate::call::CallTimer;
use crate::call::Cause;
use crate::call::Input;
use crate::call::PartnerWord;
use crate::call::context::Context;
use crate::call::leg::TrunkLeg;
use crate::call::phase::Phase;
use crate::call::phase::decline;
use crate::call::phase::established::Established;
use crate::call::phase::prepare_again;
use crate::call::phase::terminating::Farewell;
use crate::call::phase::terminating::Terminating;
use crate::pii::Pii;
use crate::signaling::CallRequest;
use crate::signaling::Notification;
use crate::sip;
use crate::sip::Diversion;
use crate::sip::OutgoingInvite;
use crate::sip::StatusCode;
use crate::worker;
use crate::worker::Gate;

/// See the [module](self).
#[derive(Debug)]
pub struct Inviting {
    trunk: TrunkLeg,
    ringing: bool,
    ringback: bool,
    redirected: bool,
}

impl Inviting {
    /// Sends the INVITE with our offer.
    pub fn begin(mut trunk: TrunkLeg, context: &mut Context, now: Instant) -> Self {
        invite(&mut trunk, context);
        context.start_timer(CallTimer::Answer, context.config.dial_timeout, now);
        Self { trunk, ringing: false, ringback: false, redirected: false }
    }

    /// Takes one input.
    #[must_use]
    pub fn handle(self, input: Input, context: &mut Context, now: Instant) -> Phase {
        match input {
            Input::Sip(event) => self.heard_from_trunk(event, context, now),
            Input::Worker(event) => self.heard_from_worker(&event, context, now),
            Input::Request { token, request: CallRequest::Hangup | CallRequest::Reject, .. } => {
                context.grant(token);
                end(Cause::Cancelled, context, now)
            }
            Input::Request { token, request: CallRequest::Mute { muted }, .. } => {
                context.grant(token);
                let (call, leg) = (context.ids.call, context.ids.agent_leg);
                context.worker(worker::Command::SetMuted { call, leg, muted });
                Phase::Inviting(self)
            }
            Input::Recorder(event) => {
                if context.hear_recorder(event) {
                    Phase::Inviting(self)
                } else {
                    end(Cause::RecordingFailed, context, now)
                }
            }
            Input::AgentGone { .. } => end(Cause::AgentVanished, context, now),
            Input::Partner { from, word: PartnerWord::Gone(_) } if context.is_joined_to(from.call) => {
                end(Cause::Cancelled, context, now)
            }
            Input::Shutdown => end(Cause::Draining, context, now),
            other @ (Input::Request { .. }
            | Input::Consulted { .. }
            | Input::Reattached { .. }
            | Input::SpareLeg(_)
            | Input::Partner { .. }) => {
                decline(&other, context);
                Phase::Inviting(self)
            }
        }
    }

    /// The callee let it ring for too long.
    #[must_use]
    pub fn handle_timer(self, _: CallTimer, context: &mut Context, now: Instant) -> Phase {
        end(Cause::NoAnswer, context, now)
    }

    fn heard_from_trunk(mut self, event: sip::Event, context: &mut Context, now: Instant) -> Phase {
        match event {
            sip::Event::Progressed { status, sdp, .. } => {
                context.tell_partner(PartnerWord::Progressed(status));
                self.progressed(status.as_u16(), sdp, context);
                Phase::Inviting(self)
            }
            sip::Event::Accepted { sdp, .. } => self.accepted(sdp, context, now),
            sip::Event::Refused { status, .. } if status.as_u16() == 488 && self.trunk.downgrade() => {
                let (call, trunk) = (context.ids.call, &context.record.trunk);
                tracing::warn!(%call, %trunk, "SRTP was refused: RTP in the clear is offered instead");
                context.record.srtp_downgraded = true;
                invite(&mut self.trunk, context);
                Phase::Inviting(self)
            }
            sip::Event::Refused { status, redirect, .. } => self.refused(status, &redirect, context, now),
            sip::Event::Ended { .. } => Terminating::begin(Cause::PeerLost, Farewell::Silent, context, now),
            sip::Event::Invited(_)
            | sip::Event::Cancelled { .. }
            | sip::Event::Acknowledged { .. }
            | sip::Event::Reinvited { .. }
            | sip::Event::Renegotiated { .. }
            | sip::Event::RenegotiationFailed { .. }
            | sip::Event::RenegotiationOvertaken { .. }
            | sip::Event::Referred { .. }
            | sip::Event::ReferProgressed { .. }
            | sip::Event::InfoReceived { .. } => Phase::Inviting(self),
        }
    }

    /// One redirection is followed, to where the agent might have dialled on the same trunk (RFC 3261 8.1.3.4).
    fn refused(mut self, status: StatusCode, redirect: &[String], context: &mut Context, now: Instant) -> Phase {
        let allowed = |user: &String| context.config.destination_on(&context.record.trunk, user);
        let Some(number) = redirect.iter().find_map(allowed).filter(|_| !self.redirected) else {
            if context.take_next_trunk() {
                return prepare_again(context, now);
            }
            return Terminating::begin(Cause::TrunkRefused(status.as_u16()), Farewell::Silent, context, now);
        };
        self.redirected = true;
        self.trunk.withdraw();
        let (leg, offer) = (context.ids.trunk_leg, self.trunk.offer());
        let diversion = Diversion { user: Pii::new(context.record.remote_number.clone()), status };
        let invite = context.outgoing_invite(leg, number, offer);
        context.sip(sip::Command::Invite(OutgoingInvite { diverted_from: Some(diversion), ..invite }));
        Phase::Inviting(self)
    }

    /// A description opens the way to the agent; what is heard until the first packet is our own ringback.
    fn progressed(&mut self, status: u16, sdp: Option<Bytes>, context: &mut Context) {
        if context.partner.is_some() {
            // Whoever is transferred hears music until the answer: an announcement would be cut off by it.
            return;
        }
        let (call, leg) = (context.ids.call, context.ids.agent_leg);
        // Of several forks, the last that plays is heard; each answers the same offer of ours.
        let described = sdp.is_some_and(|answer| self.trunk.preview(&answer).is_ok());
        if let Some(media) = self.trunk.media().filter(|_| described) {
            context.worker(worker::Command::HearFork { call, leg: context.ids.trunk_leg, media });
            context.set_gate(Gate { to_trunk: false, to_agent: true });
        }
        // Until the callee's side is heard, the agent hears ours: some announce early media and send none.
        if (status == 180 || described) && !self.ringback {
            self.ringback = true;
            context.worker(worker::Command::SetRingback { call, leg, on: true });
        }
        if status == 180 && !self.ringing {
            self.ringing = true;
            context.notify(Notification::Ringing { call });
        }
    }

    fn heard_from_worker(self, event: &worker::Event, context: &mut Context, now: Instant) -> Phase {
        let call = context.ids.call;
        match &event.kind {
            worker::EventKind::TrunkMediaStarted => {
                context.notify(Notification::EarlyMedia { call });
                Phase::Inviting(self)
            }
            worker::EventKind::LegFailed { .. } => end(Cause::TransportFailed, context, now),
            worker::EventKind::Closed => end(Cause::Overloaded, context, now),
            _ => Phase::Inviting(self),
        }
    }

    /// The answer came with this response or with an earlier one; without any there is no session: BYE.
    fn accepted(mut self, sdp: Option<Bytes>, context: &mut Context, now: Instant) -> Phase {
        context.timers.stop(CallTimer::Answer);
        let settled = match sdp {
            Some(answer) => self.trunk.accept(&answer).is_ok(),
            None => false,
        };
        if !settled {
            return Terminating::begin(Cause::NotAcceptable, Farewell::Bye, context, now);
        }
        let (call, leg) = (context.ids.call, context.ids.agent_leg);
        context.worker(worker::Command::SetRingback { call, leg, on: false });
        Established::begin(self.trunk, context, now)
    }
}

/// An INVITE with the leg's offer.
fn invite(trunk: &mut TrunkLeg, context: &mut Context) {
    let offer = trunk.offer();
    let (leg, called) = (context.ids.trunk_leg, context.record.remote_number.clone());
    let invite = context.outgoing_invite(leg, called, offer);
    context.sip(sip::Command::Invite(invite));
}

fn end(cause: Cause, context: &mut Context, now: Instant) -> Phase {
    Terminating::begin(cause, Farewell::Cancel, context, now)
}
