//! The other side hands the call to somebody else: its REFER makes a new INVITE of ours, its Replaces a new one of its
//! own (RFC 3515, RFC 3891, RFC 5589). The browser leg stays; only the trunk leg changes.
//!
//! No party outside can cause trunk to trunk: there is one agent leg, and the new leg takes the old one's place.

use std::net::SocketAddr;
use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;

use super::Established;
use super::Offering;
use super::connect;
use crate::call::CallTimer;
use crate::call::Cause;
use crate::call::context::Context;
use crate::call::leg::TrunkLeg;
use crate::call::phase::Phase;
use crate::call::phase::terminating::Farewell;
use crate::call::phase::terminating::Terminating;
use crate::ids::LegId;
use crate::signaling::HeldBy;
use crate::signaling::Notification;
use crate::sip;
use crate::sip::Invitation;
use crate::sip::ReferTo;
use crate::sip::Refusal;
use crate::sip::StatusCode;
use crate::worker;

/// A transferor whose transfer is done has this long to say BYE by itself (RFC 5589 6.1).
const TRANSFEROR_BYE: Duration = Duration::from_secs(4);

/// Where the call goes.
#[derive(Debug)]
pub(super) enum Moving {
    /// The other side asked us to call somebody.
    Referred(Referred),
    /// Somebody called to take the other side's place.
    Replacing(Invitation),
}

/// See [`Moving::Referred`].
#[derive(Debug)]
pub(super) struct Referred {
    leg: LegId,
    /// On the trunk.
    number: String,
    replaces: Option<LegId>,
    /// Where the call to be replaced is the target's and none of ours: the header that says which.
    replaces_header: Option<String>,
    referrer: Option<String>,
    /// Once its port is bound, and its INVITE out.
    trunk: Option<TrunkLeg>,
    transferor_is_gone: bool,
    ringing: bool,
}

impl Moving {
    const fn leg(&self) -> LegId {
        match self {
            Self::Referred(referred) => referred.leg,
            Self::Replacing(invitation) => invitation.leg,
        }
    }
}

impl Established {
    /// Whether `leg` is the one that the call moves to.
    pub(super) fn moves_to(&self, leg: LegId) -> bool {
        self.moving.as_ref().is_some_and(|moving| moving.leg() == leg)
    }

    /// The peer asks for a transfer. It goes where the agent might dial on the same trunk, and nowhere else.
    pub(super) fn referred(&mut self, to: &ReferTo, context: &mut Context, now: Instant) {
        let old = context.ids.trunk_leg;
        // Without an agent, nobody's dial rights allow it: that would be trunk to trunk, caused from outside.
        let has_agent = context.partner.is_none();
        let is_free = has_agent && self.moving.is_none() && self.transfer.is_none() && self.retiring.is_none();
        let number = context.config.destination_on(&context.record.trunk, &to.user);
        let (Some(number), true) = (number, is_free) else {
            let refusal = Refusal::new(StatusCode::FORBIDDEN);
            return context.sip(sip::Command::RefuseRefer { leg: old, refusal });
        };
        let Some(leg) = context.spare_leg.take() else {
            let refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE);
            return context.sip(sip::Command::RefuseRefer { leg: old, refusal });
        };
        // With its 202 goes the first report, 100.
        context.sip(sip::Command::AcceptRefer { leg: old });
        let (call, address) = (context.ids.call, context.trunk.media_address);
        context.worker(worker::Command::BindTrunk { call, leg, address });
        context.start_timer(CallTimer::Move, context.config.dial_timeout, now);
        let referred = Referred {
            leg,
            number,
            replaces: to.replaces,
            replaces_header: to.replaces_header.clone(),
            referrer: to.referred_by.clone(),
            trunk: None,
            transferor_is_gone: false,
            ringing: false,
        };
        self.moving = Some(Box::new(Moving::Referred(referred)));
    }

    /// Somebody calls in the other side's place.
    fn replaced(&mut self, invitation: Box<Invitation>, context: &mut Context) {
        let leg = invitation.leg;
        if self.moving.is_some() || self.transfer.is_some() || invitation.trunk != context.record.trunk {
            let refusal = Refusal::new(StatusCode::CALL_DOES_NOT_EXIST);
            return context.sip(sip::Command::Refuse { leg, refusal });
        }
        let (call, address) = (context.ids.call, context.trunk.media_address);
        context.worker(worker::Command::BindTrunk { call, leg, address });
        self.moving = Some(Box::new(Moving::Replacing(*invitation)));
    }

    /// What happens on a trunk leg that is not the call's: the one that it moves to, or the one that it left.
    pub(super) fn heard_from_other_leg(mut self, event: sip::Event, context: &mut Context, now: Instant) -> Phase {
        let leg = event.leg();
        if let sip::Event::Invited(invitation) = event {
            self.replaced(invitation, context);
            return self.into_phase();
        }
        if self.retiring == Some(leg) {
            if matches!(event, sip::Event::Ended { .. }) {
                self.retiring = None;
                context.timers.stop(CallTimer::Retire);
            }
            return self.into_phase();
        }
        if !self.moves_to(leg) {
            return self.into_phase();
        }
        match event {
            sip::Event::Progressed { status, .. } => self.new_leg_rings(status, context).into_phase(),
            sip::Event::Accepted { sdp, .. } => self.new_leg_answered(sdp, context, now),
            sip::Event::Refused { status, .. } => self.move_failed(status, context, now),
            // Whoever wanted to take the place gave up.
            sip::Event::Cancelled { .. } | sip::Event::Ended { .. } => {
                self.move_failed(StatusCode::REQUEST_TERMINATED, context, now)
            }
            _ => self.into_phase(),
        }
    }

    /// What the worker says of the leg that the call moves to.
    pub(super) fn heard_of_new_leg(
        self,
        leg: LegId,
        kind: &worker::EventKind,
        context: &mut Context,
        now: Instant,
    ) -> Phase {
        match kind {
            worker::EventKind::TrunkBound { local } => self.new_leg_bound(leg, *local, context),
            worker::EventKind::LegFailed { .. } => self.move_failed(StatusCode::SERVICE_UNAVAILABLE, context, now),
            _ => self.into_phase(),
        }
    }

    fn new_leg_bound(mut self, leg: LegId, local: SocketAddr, context: &mut Context) -> Phase {
        // A session description of its own (RFC 8866 5.2), named by its leg.
        let session = leg.as_uuid().as_u64_pair().1 >> 1;
        let mut trunk = TrunkLeg::new(&context.trunk, local, session, context.ids.srtp);
        trunk.set_direction(self.wanted_direction(context));
        match self.moving.take().map(|moving| *moving) {
            Some(Moving::Referred(mut referred)) => {
                let offer = trunk.offer();
                let invite = context.outgoing_invite(leg, referred.number.clone(), offer);
                let replaces = referred.replaces_header.take().map(|value| ("Replaces".to_owned(), value));
                let referrer = referred.referrer.take().map(|value| ("Referred-By".to_owned(), value));
                let headers = replaces.into_iter().chain(referrer).collect();
                let invite = sip::OutgoingInvite { replaces: referred.replaces, headers, ..invite };
                context.sip(sip::Command::Invite(invite));
                referred.trunk = Some(trunk);
                self.moving = Some(Box::new(Moving::Referred(referred)));
                self.into_phase()
            }
            Some(Moving::Replacing(invitation)) => self.take_place(&invitation, trunk, context),
            None => self.into_phase(),
        }
    }

    /// Answers the INVITE with Replaces; the leg whose place it takes gets BYE (RFC 3891 3).
    fn take_place(mut self, invitation: &Invitation, mut trunk: TrunkLeg, context: &mut Context) -> Phase {
        let (call, leg, old) = (context.ids.call, invitation.leg, context.ids.trunk_leg);
        let described = match &invitation.offer {
            Some(offer) => trunk.answer(offer),
            None => Ok(trunk.offer()),
        };
        match described {
            Err(refusal) => {
                context.sip(sip::Command::Refuse { leg, refusal });
                context.worker(worker::Command::CloseLeg { call, leg });
            }
            Ok(sdp) => {
                context.sip(sip::Command::Accept { leg, sdp });
                self.switch(leg, trunk, invitation.shown_caller(), context);
                context.sip(sip::Command::Bye { leg: old, reason: None });
            }
        }
        self.into_phase()
    }

    fn new_leg_rings(mut self, status: StatusCode, context: &mut Context) -> Self {
        if let Some(Moving::Referred(referred)) = self.moving.as_deref_mut() {
            let old = context.ids.trunk_leg;
            context.sip(sip::Command::NotifyRefer { leg: old, status });
            if status == StatusCode::RINGING && referred.transferor_is_gone && !referred.ringing {
                referred.ringing = true;
                let (call, leg) = (context.ids.call, context.ids.agent_leg);
                context.worker(worker::Command::SetRingback { call, leg, on: true });
            }
        }
        self
    }

    fn new_leg_answered(mut self, sdp: Option<Bytes>, context: &mut Context, now: Instant) -> Phase {
        let Some(Moving::Referred(Referred {
            leg, number, trunk: Some(mut trunk), transferor_is_gone, ringing, ..
        })) = self.moving.take().map(|moving| *moving)
        else {
            return self.into_phase();
        };
        let old = context.ids.trunk_leg;
        if sdp.is_none_or(|answer| trunk.accept(&answer).is_err()) {
            context.sip(sip::Command::Bye { leg, reason: Some(Cause::NotAcceptable.reason()) });
            return self.back_to_transferor(leg, StatusCode::NOT_ACCEPTABLE_HERE, transferor_is_gone, context, now);
        }
        context.timers.stop(CallTimer::Move);
        context.sip(sip::Command::NotifyRefer { leg: old, status: StatusCode::OK });
        if ringing {
            let (call, leg) = (context.ids.call, context.ids.agent_leg);
            context.worker(worker::Command::SetRingback { call, leg, on: false });
        }
        self.switch(leg, trunk, (number, None), context);
        if !transferor_is_gone {
            self.retiring = Some(old);
            context.start_timer(CallTimer::Retire, TRANSFEROR_BYE, now);
        }
        self.into_phase()
    }

    /// The call talks on the new leg from now on.
    fn switch(&mut self, leg: LegId, trunk: TrunkLeg, party: (String, Option<String>), context: &mut Context) {
        let (call, old) = (context.ids.call, context.ids.trunk_leg);
        context.worker(worker::Command::CloseLeg { call, leg: old });
        context.ids.trunk_leg = leg;
        self.offering = if trunk.is_offering() { Offering::InAck } else { Offering::Nothing };
        self.trunk = trunk;
        connect(&self.trunk, context);
        if self.hold.agent {
            self.apply_agents_hold(context);
        }
        if self.hold.peer && self.offering == Offering::InAck {
            self.hold.peer = false;
            context.notify(Notification::Resumed { call, by: HeldBy::Peer });
        }
        self.note_peers_hold(context);
        let (number, name) = party;
        context.party.clone_from(&number);
        context.party_name.clone_from(&name);
        context.notify(Notification::Party { call, number, name });
    }

    /// The new leg came to nothing.
    fn move_failed(mut self, status: StatusCode, context: &mut Context, now: Instant) -> Phase {
        match self.moving.take().map(|moving| *moving) {
            Some(Moving::Referred(Referred { leg, transferor_is_gone, .. })) => {
                self.back_to_transferor(leg, status, transferor_is_gone, context, now)
            }
            Some(Moving::Replacing(invitation)) => {
                let (call, leg) = (context.ids.call, invitation.leg);
                // Where it gave up by itself, the user agent has no more use for this.
                context.sip(sip::Command::Refuse { leg, refusal: Refusal::new(status) });
                context.worker(worker::Command::CloseLeg { call, leg });
                self.into_phase()
            }
            None => self.into_phase(),
        }
    }

    /// The transferor has the call again; where it left already, the call is over.
    fn back_to_transferor(
        self,
        leg: LegId,
        status: StatusCode,
        is_gone: bool,
        context: &mut Context,
        now: Instant,
    ) -> Phase {
        context.timers.stop(CallTimer::Move);
        let (call, old) = (context.ids.call, context.ids.trunk_leg);
        context.sip(sip::Command::NotifyRefer { leg: old, status });
        context.worker(worker::Command::CloseLeg { call, leg });
        if is_gone {
            return Terminating::begin(Cause::TrunkRefused(status.as_u16()), Farewell::Silent, context, now);
        }
        self.into_phase()
    }

    pub(super) fn move_timed_out(self, context: &mut Context, now: Instant) -> Phase {
        if let Some(moving) = &self.moving {
            context.sip(sip::Command::Cancel { leg: moving.leg(), reason: Some(Cause::NoAnswer.reason()) });
        }
        self.move_failed(StatusCode::REQUEST_TIMEOUT, context, now)
    }

    /// Whether the call goes on though its trunk leg is over: the transferor has left, and the new leg rings.
    pub(super) fn outlives_transferor(&mut self, context: &mut Context) -> bool {
        let Some(Moving::Referred(referred)) = self.moving.as_deref_mut() else { return false };
        if !referred.transferor_is_gone {
            referred.transferor_is_gone = true;
            let (call, leg) = (context.ids.call, context.ids.trunk_leg);
            context.worker(worker::Command::CloseLeg { call, leg });
        }
        true
    }

    pub(super) fn transferor_is_gone(&self) -> bool {
        matches!(self.moving.as_deref(), Some(Moving::Referred(referred)) if referred.transferor_is_gone)
    }

    /// A transferor that did not say BYE gets ours.
    pub(super) fn retire_left_leg(&mut self, context: &mut Context) {
        if let Some(leg) = self.retiring.take() {
            context.sip(sip::Command::Bye { leg, reason: None });
        }
    }

    /// The call ends: so do the legs that it has besides its own.
    pub(super) fn let_go_of_moves(&mut self, context: &mut Context) {
        self.retire_left_leg(context);
        match self.moving.take().map(|moving| *moving) {
            Some(Moving::Referred(Referred { leg, trunk: Some(_), .. })) => {
                context.sip(sip::Command::Cancel { leg, reason: None });
            }
            Some(Moving::Replacing(invitation)) => {
                let refusal = Refusal::new(StatusCode::CALL_DOES_NOT_EXIST);
                context.sip(sip::Command::Refuse { leg: invitation.leg, refusal });
            }
            Some(Moving::Referred(_)) | None => {}
        }
    }
}
