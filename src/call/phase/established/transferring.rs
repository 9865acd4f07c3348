//! Transfer by the agent: REFER, blind or to the agent's other call (RFC 3515, RFC 5589).
//!
//! The other side is held meanwhile. A transfer that fails gives the call back as it was.

use std::time::Duration;
use std::time::Instant;

use super::Established;
use crate::call::CallTimer;
use crate::call::Cause;
use crate::call::Consultation;
use crate::call::context::Context;
use crate::call::phase::Phase;
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
}

impl Established {
    /// Blind, under the agent's dial rights, and only where the call's own trunk leads.
    pub(super) fn transfer(self, token: RequestToken, to: String, context: &mut Context, now: Instant) -> Self {
        let Some(user) = context.config.destination_on(&context.record.trunk, &to) else {
            context.deny(token, "call.forbidden", "this number may not be dialled over the call's trunk");
            return self;
        };
        self.refer(token, to, ReferTarget { user, replaces: None }, context, now)
    }

    /// To the party of the agent's other call, which must be on the same trunk.
    pub(super) fn transfer_to(
        self,
        token: RequestToken,
        consultation: Option<Consultation>,
        context: &mut Context,
        now: Instant,
    ) -> Self {
        match consultation {
            None => {
                context.deny(token, "call.wrong_state", "the other call is not answered");
                self
            }
            Some(other) if other.trunk != context.record.trunk => {
                context.deny(token, "call.other_trunk", "the two calls are on different trunks");
                self
            }
            Some(Consultation { leg, number, .. }) => {
                let target = ReferTarget { user: number.clone(), replaces: Some(leg) };
                self.refer(token, number, target, context, now)
            }
        }
    }

    fn refer(
        mut self,
        token: RequestToken,
        to: String,
        target: ReferTarget,
        context: &mut Context,
        now: Instant,
    ) -> Self {
        if self.transfer.is_some() || self.moving.is_some() {
            context.deny(token, "call.wrong_state", "a transfer is under way");
            return self;
        }
        context.grant(token);
        let resumes = !self.hold.agent;
        self.hold_silently(context);
        let (call, leg) = (context.ids.call, context.ids.trunk_leg);
        context.sip(sip::Command::Refer { leg, to: target });
        context.start_timer(CallTimer::Transfer, context.config.transfer_timeout, now);
        context.notify(Notification::Transferring { call, to: to.clone(), sip_code: None });
        self.transfer = Some(Transfer { to, resumes });
        self
    }

    /// How the peer says that it goes.
    pub(super) fn transfer_progressed(
        mut self,
        status: StatusCode,
        is_over: bool,
        context: &mut Context,
        now: Instant,
    ) -> Phase {
        let Some(transfer) = &self.transfer else { return self.into_phase() };
        let call = context.ids.call;
        if status.is_success() {
            context.notify(Notification::Transferred { call });
            return self.end(Cause::Transferred, context, now);
        }
        if !status.is_provisional() {
            let code = status.as_u16();
            self.transfer_failed(Cause::TrunkRefused(code).word(), Some(code), context);
        } else if is_over {
            context.start_timer(CallTimer::Transfer, BYE_PATIENCE, now);
        } else {
            let (to, sip_code) = (transfer.to.clone(), Some(status.as_u16()));
            context.notify(Notification::Transferring { call, to, sip_code });
        }
        self.into_phase()
    }

    /// The call is back on the line.
    pub(super) fn transfer_failed(&mut self, reason: &str, sip_code: Option<u16>, context: &mut Context) {
        let Some(transfer) = self.transfer.take() else { return };
        context.timers.stop(CallTimer::Transfer);
        let (call, reason) = (context.ids.call, reason.to_owned());
        context.notify(Notification::TransferFailed { call, reason, sip_code });
        if transfer.resumes {
            self.resume_by_agent(context);
        }
    }
}
