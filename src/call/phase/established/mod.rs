//! Audio crosses: until somebody hangs up, the media dies, or a required recording fails.

mod attaching;
mod bridging;
mod holding;
mod keys;
mod moving;
mod transferring;

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;

use holding::Hold;
use moving::Moving;
use transferring::Transfer;
use transferring::Way;

use crate::call::CallTimer;
use crate::call::Cause;
use crate::call::Input;
use crate::call::PartnerWord;
use crate::call::context::Context;
use crate::call::digits;
use crate::call::leg::TrunkLeg;
use crate::call::phase::Phase;
use crate::call::phase::terminating::Farewell;
use crate::call::phase::terminating::Terminating;
use crate::ids::LegId;
use crate::signaling::CallRequest;
use crate::signaling::Notification;
use crate::signaling::Quality;
use crate::signaling::RequestToken;
use crate::sip;
use crate::sip::EndCause;
use crate::worker;
use crate::worker::DtmfDigit;
use crate::worker::Gate;

/// Which description of ours waits for its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Offering {
    Nothing,
    /// The one in our 200: the ACK brings the answer.
    InAck,
    /// The one in our re-INVITE.
    Reinvite,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Established {
    trunk: TrunkLeg,
    offering: Offering,
    hold: Hold,
    transfer: Option<Transfer>,
    moving: Option<Box<Moving>>,
    /// The leg that a transfer of the other side left behind, until its BYE.
    retiring: Option<LegId>,
    /// Digits that leave one by one, by INFO.
    digits: VecDeque<DtmfDigit>,
    /// The agent muted.
    muted: bool,
    /// The leg of a page that was reloaded, until its transport is up.
    attaching: Option<LegId>,
}

impl Established {
    /// Opens the way. Where our offer still waits for its answer, the trunk is connected when that comes.
    #[must_use]
    pub fn begin(trunk: TrunkLeg, context: &mut Context, now: Instant) -> Phase {
        connect(&trunk, context);
        context.set_gate(Gate { to_trunk: true, to_agent: true });
        context.answered(now);
        let offering = if trunk.is_offering() { Offering::InAck } else { Offering::Nothing };
        let mut call = Self {
            trunk,
            offering,
            hold: Hold::default(),
            transfer: None,
            moving: None,
            retiring: None,
            digits: VecDeque::new(),
            muted: false,
            attaching: None,
        };
        call.note_peers_hold(context);
        bridging::meet_partner(context, now);
        call.into_phase()
    }

    fn into_phase(self) -> Phase {
        if self.offering == Offering::Nothing { Phase::Established(self) } else { Phase::Renegotiating(self) }
    }

    /// Takes one input.
    #[must_use]
    pub fn handle(self, input: Input, context: &mut Context, now: Instant) -> Phase {
        match input {
            Input::Sip(event) => self.heard_from_trunk(event, context, now),
            Input::Worker(event) => self.heard_from_worker(&event, context, now),
            Input::Request { token, request, .. } => self.asked(token, request, context, now),
            Input::Consulted { token, consultation, .. } => {
                self.transfer_to(token, consultation, context, now).into_phase()
            }
            Input::Partner { from, word } => self.heard_from_partner(from, word, context, now),
            Input::Recorder(event) => {
                if context.hear_recorder(event) {
                    self.into_phase()
                } else {
                    self.end(Cause::RecordingFailed, context, now)
                }
            }
            Input::AgentGone { .. } => self.end(Cause::AgentVanished, context, now),
            Input::Reattached { session, leg, .. } => self.reattach(session, leg, context, now).into_phase(),
            Input::Shutdown => self.end(Cause::Draining, context, now),
            Input::SpareLeg(_) => self.into_phase(),
        }
    }

    /// A transfer, a move or a digit is due.
    #[must_use]
    pub fn handle_timer(mut self, timer: CallTimer, context: &mut Context, now: Instant) -> Phase {
        match timer {
            CallTimer::Transfer => self.transfer_failed(Cause::NoAnswer.word(), None, context),
            CallTimer::Move => return self.move_timed_out(context, now),
            CallTimer::Reattach => return self.end(Cause::AgentVanished, context, now),
            CallTimer::Retire => self.retire_left_leg(context),
            CallTimer::Joined => return self.end(Cause::TimeLimit, context, now),
            CallTimer::Digit => self.send_next_digit(context, now),
            _ => {}
        }
        self.into_phase()
    }

    fn heard_from_trunk(mut self, event: sip::Event, context: &mut Context, now: Instant) -> Phase {
        if event.leg() != context.ids.trunk_leg {
            return self.heard_from_other_leg(event, context, now);
        }
        match event {
            sip::Event::Reinvited { offer, .. } => self.renegotiate(offer, context).into_phase(),
            sip::Event::Acknowledged { sdp, .. } => self.acknowledged(sdp, context, now),
            sip::Event::Renegotiated { sdp, .. } => {
                self.renegotiated(&sdp, context);
                self.into_phase()
            }
            sip::Event::RenegotiationFailed { .. } => {
                self.renegotiation_failed(context);
                self.into_phase()
            }
            sip::Event::RenegotiationOvertaken { .. } => {
                self.renegotiation_overtaken(context);
                self.into_phase()
            }
            sip::Event::Referred { to, .. } => {
                self.referred(&to, context, now);
                self.into_phase()
            }
            sip::Event::ReferProgressed { status, is_refused: true, .. } => {
                self.refer_refused(status, context, now);
                self.into_phase()
            }
            sip::Event::ReferProgressed { status, is_over, .. } => {
                self.transfer_progressed(status, is_over, context, now)
            }
            sip::Event::InfoReceived { body, .. } => {
                keys::press(digits::pressed(&body), context);
                self.into_phase()
            }
            sip::Event::Ended { cause, .. } => self.left(cause, context, now),
            sip::Event::Invited(_)
            | sip::Event::Cancelled { .. }
            | sip::Event::Progressed { .. }
            | sip::Event::Accepted { .. }
            | sip::Event::Refused { .. } => self.into_phase(),
        }
    }

    /// The other side's usage is over. Where a transfer is under way, that is not the end of everything.
    fn left(mut self, cause: EndCause, context: &mut Context, now: Instant) -> Phase {
        if self.outlives_transferor(context) {
            return self.into_phase();
        }
        let cause = match cause {
            EndCause::PeerBye | EndCause::LocalBye if self.is_referred_away() => {
                let call = context.ids.call;
                context.notify(Notification::Transferred { call });
                Cause::Transferred
            }
            EndCause::PeerBye | EndCause::LocalBye => Cause::Hangup,
            EndCause::NoAck | EndCause::DialogLost | EndCause::SessionExpired => Cause::PeerLost,
        };
        self.let_go_of_others(context);
        Terminating::begin(cause, Farewell::Silent, context, now)
    }

    /// The browser leg never sees a trunk's re-INVITE: codec, address, port and hold are settled here.
    fn renegotiate(mut self, offer: Option<Bytes>, context: &mut Context) -> Self {
        let leg = context.ids.trunk_leg;
        let described = if let Some(offer) = offer {
            self.trunk.answer(&offer)
        } else {
            self.offering = Offering::InAck;
            Ok(self.trunk.offer())
        };
        match described {
            Ok(sdp) => {
                context.sip(sip::Command::AcceptReinvite { leg, sdp });
                connect(&self.trunk, context);
                self.note_peers_hold(context);
            }
            // The session goes on as it was (RFC 3261 14.2).
            Err(refusal) => context.sip(sip::Command::RefuseReinvite { leg, refusal }),
        }
        self
    }

    /// An answer that is missing or bad leaves no session to go on with: BYE.
    fn acknowledged(mut self, sdp: Option<Bytes>, context: &mut Context, now: Instant) -> Phase {
        if self.offering == Offering::InAck {
            let settled = sdp.is_some_and(|answer| self.trunk.accept(&answer).is_ok());
            if !settled {
                return self.end(Cause::NotAcceptable, context, now);
            }
            self.offering = Offering::Nothing;
            connect(&self.trunk, context);
            self.note_peers_hold(context);
            // The agent may have held or resumed meanwhile.
            self.describe_hold(context);
        }
        self.into_phase()
    }

    fn heard_from_worker(self, event: &worker::Event, context: &mut Context, now: Instant) -> Phase {
        let agent = event.leg == Some(context.ids.agent_leg);
        if let Some(leg) = event.leg.filter(|leg| self.moves_to(*leg)) {
            return self.heard_of_new_leg(leg, &event.kind, context, now);
        }
        if let Some(leg) = event.leg.filter(|leg| self.attaching == Some(*leg)) {
            return self.heard_of_attaching(leg, &event.kind, context, now);
        }
        match &event.kind {
            // The agent's part is over, and with it that leg.
            _ if agent && context.partner.is_some() => self.into_phase(),
            worker::EventKind::TapStopped { .. } => {
                context.tap_stopped();
                self.into_phase()
            }
            // An agent who is there gets them as events of the stream (RFC 4733).
            worker::EventKind::DtmfReceived { digit, .. } => {
                context.tell_partner(PartnerWord::Pressed(*digit));
                self.into_phase()
            }
            // Who holds may be silent for as long as they like; the session timer watches over them.
            worker::EventKind::MediaTimeout { .. } if self.hold.agent || self.hold.peer => self.into_phase(),
            worker::EventKind::MediaTimeout { .. } => self.end(Cause::MediaTimeout, context, now),
            worker::EventKind::LegFailed { .. } if self.was_let_go(event.leg, context) => self.into_phase(),
            worker::EventKind::LegFailed { .. } => self.end(Cause::TransportFailed, context, now),
            worker::EventKind::Closed => self.end(Cause::Overloaded, context, now),
            worker::EventKind::TapOverflow { .. } => {
                if context.recording_failed("frames were lost on the way to the recorder".to_owned()) {
                    self.into_phase()
                } else {
                    self.end(Cause::RecordingFailed, context, now)
                }
            }
            worker::EventKind::Stats(stats) if agent => {
                context.notify(Notification::Quality { call: context.ids.call, quality: quality(stats) });
                self.into_phase()
            }
            _ => self.into_phase(),
        }
    }

    fn asked(mut self, token: RequestToken, request: CallRequest, context: &mut Context, now: Instant) -> Phase {
        let (call, leg) = (context.ids.call, self.attaching.unwrap_or(context.ids.agent_leg));
        match request {
            CallRequest::Hangup | CallRequest::Reject => {
                context.grant(token);
                return self.end(Cause::Hangup, context, now);
            }
            CallRequest::Mute { muted } => {
                context.grant(token);
                self.mute(muted, context);
            }
            CallRequest::Dtmf { digits } => self.send_dtmf(token, &digits, context, now),
            CallRequest::Candidate { candidate } => {
                context.grant(token);
                context.worker(worker::Command::AddPeerCandidate { call, leg, candidate });
            }
            CallRequest::Transport { sdp } if self.attaching.is_some() => {
                context.grant(token);
                context.worker(worker::Command::AcceptPeerAnswer { call, leg, sdp });
            }
            CallRequest::Accept => context.grant(token),
            CallRequest::Hold if self.transfer.is_none() => {
                context.grant(token);
                self.hold_by_agent(context);
            }
            CallRequest::Resume if self.transfer.is_none() => {
                context.grant(token);
                self.resume_by_agent(context);
            }
            CallRequest::Transfer { to } => self = self.transfer(token, &to, context, now),
            CallRequest::Hold
            | CallRequest::Resume
            | CallRequest::TransferTo { .. }
            | CallRequest::Dial { .. }
            | CallRequest::Alerting
            | CallRequest::Transport { .. } => {
                context.deny(token, "call.wrong_state", "the call cannot do this now");
            }
        }
        self.into_phase()
    }

    /// The PBX was asked to take the call away.
    fn is_referred_away(&self) -> bool {
        self.transfer.as_ref().is_some_and(|transfer| matches!(transfer.way, Way::Referred { .. }))
    }

    /// The call ends: so does whatever it was about to become.
    fn let_go_of_others(&mut self, context: &mut Context) {
        self.let_go_of_moves(context);
        if let Some(transfer) = self.transfer.take() {
            Self::let_go_of_bridge(&transfer.way, context);
        }
    }

    /// Ends the call, and whatever it was about to become.
    fn end(mut self, cause: Cause, context: &mut Context, now: Instant) -> Phase {
        let farewell = if self.transferor_is_gone() { Farewell::Silent } else { Farewell::Bye };
        self.let_go_of_others(context);
        Terminating::begin(cause, farewell, context, now)
    }
}

fn connect(trunk: &TrunkLeg, context: &mut Context) {
    if let Some(media) = trunk.media() {
        let (call, leg) = (context.ids.call, context.ids.trunk_leg);
        context.worker(worker::Command::ConnectTrunk { call, leg, media });
    }
}

fn quality(stats: &worker::LegStats) -> Quality {
    let received = stats.quality.received;
    let loss = received.map_or(0.0, |received| received.loss);
    Quality { jitter_ms: stats.jitter_ms, loss, rtt_ms: stats.rtt_ms, mos: received.map(|received| received.mos) }
}
