//! Transfer by the agent, blind or to the agent's other call: the PBX is asked (REFER, RFC 3515, RFC 5589), or the
//! gateway does it itself (see `bridging`).
//!
//! The other side is held meanwhile. A transfer that fails gives the call back as it was.

use std::time::Duration;
use std::time::Instant;

use super::Established;
use crate::call::CallTimer;
use crate::call::Cause;
use crate::call::Consultation;
use crate::call::Destination;
use crate::call::TransferMethod;
use crate::call::context::Context;
use crate::call::phase::Phase;
use crate::ids::CallId;
use crate::signaling::Notification;
use crate::signaling::RequestToken;
use crate::sip;
use crate::sip::ReferTarget;
use crate::sip::StatusCode;

/// A peer that ends its reports without a result may be about to hang up, for the transfer is done.
const BYE_PATIENCE: Duration = Duration::from_secs(2);

/// A transfer that is under way.
#[derive(Debug)]
pub(super) struct Transfer {
    /// As shown to the agent.
    to: String,
    /// The agent had not held before.
    resumes: bool,
    pub(super) way: Way,
}

/// Who carries a transfer out.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// The PBX; where it refuses to be asked, what is done instead.
    Referred {
        /// See there.
        instead: Option<Bridge>,
    },
    /// We, with this call; `None` until the one that we asked for has a name.
    Bridged(Option<CallId>),
}

/// With whom the call is to be joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Bridge {
    /// With a party that we call.
    Dial(Destination),
    /// With the agent's other call.
    Join(CallId),
}

impl Established {
    /// Blind, under the agent's dial rights. The PBX is asked only for what its own trunk reaches.
    pub(super) fn transfer(mut self, token: RequestToken, to: &str, context: &mut Context, now: Instant) -> Self {
        let destination = match context.config.destination(to) {
            Ok(destination) => destination,
            Err(denied) => {
                context.deny(token, "call.forbidden", &denied.to_string());
                return self;
            }
        };
        let there = context.config.destination_on(&context.record.trunk, to);
        let method = if there.is_some() { context.trunk.transfer } else { TransferMethod::Bridge };
        if method != TransferMethod::Refer && destination.emergency.is_some() {
            context.deny(token, "call.forbidden", "nobody is transferred to an emergency number");
            return self;
        }
        if self.begin_transfer(token, to, context) {
            let user = there.unwrap_or_else(|| destination.number.clone());
            self.carry_out(method, ReferTarget { user, replaces: None }, Bridge::Dial(destination), context, now);
        }
        self
    }

    /// To the party of the agent's other call.
    pub(super) fn transfer_to(
        mut self,
        token: RequestToken,
        consultation: Option<Consultation>,
        context: &mut Context,
        now: Instant,
    ) -> Self {
        let Some(Consultation { call, leg, trunk, number }) = consultation else {
            context.deny(token, "call.wrong_state", "the other call is not answered");
            return self;
        };
        let method = context.transfer_method(&trunk);
        if self.begin_transfer(token, &number, context) {
            let target = ReferTarget { user: number, replaces: Some(leg) };
            self.carry_out(method, target, Bridge::Join(call), context, now);
        }
        self
    }

    /// Grants the request, and holds the other side for the transfer to come. Only one can be under way.
    fn begin_transfer(&mut self, token: RequestToken, to: &str, context: &mut Context) -> bool {
        if self.transfer.is_some() || self.moving.is_some() {
            context.deny(token, "call.wrong_state", "a transfer is under way");
            return false;
        }
        context.grant(token);
        let (call, to, resumes) = (context.ids.call, to.to_owned(), !self.hold.agent);
        self.hold_silently(context);
        context.notify(Notification::Transferring { call, to: to.clone(), sip_code: None });
        self.transfer = Some(Transfer { to, resumes, way: Way::Referred { instead: None } });
        true
    }

    fn carry_out(
        &mut self,
        method: TransferMethod,
        target: ReferTarget,
        bridge: Bridge,
        context: &mut Context,
        now: Instant,
    ) {
        let instead = match method {
            TransferMethod::Bridge => return self.bridge(bridge, context, now),
            TransferMethod::Refer => None,
            TransferMethod::ReferThenBridge => Some(bridge),
        };
        if let Some(transfer) = &mut self.transfer {
            transfer.way = Way::Referred { instead };
        }
        let leg = context.ids.trunk_leg;
        context.sip(sip::Command::Refer { leg, to: target });
        context.start_timer(CallTimer::Transfer, context.config.transfer_timeout, now);
    }

    /// The PBX refused the REFER itself: where its trunk allows that, the gateway does what was asked for.
    pub(super) fn refer_refused(&mut self, status: StatusCode, context: &mut Context, now: Instant) {
        let Some(Transfer { way: Way::Referred { instead }, .. }) = &mut self.transfer else { return };
        match instead.take() {
            Some(bridge) => self.bridge(bridge, context, now),
            None => self.refused_transfer(status, context),
        }
    }

    fn refused_transfer(&mut self, status: StatusCode, context: &mut Context) {
        let code = status.as_u16();
        self.transfer_failed(Cause::TrunkRefused(code).word(), Some(code), context);
    }

    /// The party that the call is transferred to rings, or goes on.
    pub(super) fn tell_progress(&self, status: StatusCode, context: &mut Context) {
        if let Some(transfer) = &self.transfer {
            let (call, to, sip_code) = (context.ids.call, transfer.to.clone(), Some(status.as_u16()));
            context.notify(Notification::Transferring { call, to, sip_code });
        }
    }

    /// How the peer says that it goes.
    pub(super) fn transfer_progressed(
        mut self,
        status: StatusCode,
        is_over: bool,
        context: &mut Context,
        now: Instant,
    ) -> Phase {
        if !matches!(&self.transfer, Some(Transfer { way: Way::Referred { .. }, .. })) {
            return self.into_phase();
        }
        let call = context.ids.call;
        if status.is_success() {
            context.notify(Notification::Transferred { call });
            return self.end(Cause::Transferred, context, now);
        }
        if !status.is_provisional() {
            self.refused_transfer(status, context);
        } else if is_over {
            context.start_timer(CallTimer::Transfer, BYE_PATIENCE, now);
        } else {
            self.tell_progress(status, context);
        }
        self.into_phase()
    }

    /// The call is back on the line.
    pub(super) fn transfer_failed(&mut self, reason: &str, sip_code: Option<u16>, context: &mut Context) {
        let Some(transfer) = self.transfer.take() else { return };
        context.timers.stop(CallTimer::Transfer);
        Self::let_go_of_bridge(&transfer.way, context);
        let (call, reason) = (context.ids.call, reason.to_owned());
        context.notify(Notification::TransferFailed { call, reason, sip_code });
        if transfer.resumes {
            self.resume_by_agent(context);
        }
    }
}
