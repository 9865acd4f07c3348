//! Transfer by the agent where the gateway itself joins two calls: the call's, and one that it makes for it, or that the
//! agent has besides (a transfer between two trunks, or where the trunk's PBX is not asked).
//!
//! The caller hears music until the new party answers. A transfer that fails gives the call back as it was. Once joined,
//! the call goes on without an agent, until either party hangs up.

use std::time::Instant;

use super::Established;
use super::transferring::Bridge;
use super::transferring::Way;
use crate::call::CallTimer;
use crate::call::Cause;
use crate::call::Partner;
use crate::call::PartnerWord;
use crate::call::context::Context;
use crate::call::phase::Phase;
use crate::ids::CallId;
use crate::limits::JOINED_CALL_MAX;
use crate::signaling::Notification;
use crate::worker;
use crate::worker::DtmfDigit;
use crate::worker::Gate;

impl Established {
    /// Begins to carry out the agent's transfer here.
    pub(super) fn bridge(&mut self, bridge: Bridge, context: &mut Context, now: Instant) {
        let Some(transfer) = &mut self.transfer else { return };
        let patience = match bridge {
            Bridge::Dial(destination) => {
                transfer.way = Way::Bridged(None);
                context.launch(destination);
                context.config.dial_timeout
            }
            Bridge::Join(partner) => {
                transfer.way = Way::Bridged(Some(partner));
                context.tell_call(partner, PartnerWord::Join);
                context.config.transfer_timeout
            }
        };
        context.start_timer(CallTimer::Transfer, patience, now);
    }

    /// What another call says: the one that this is joined to, that it is to be joined to, or that asks for it.
    pub(super) fn heard_from_partner(
        mut self,
        from: Partner,
        word: PartnerWord,
        context: &mut Context,
        now: Instant,
    ) -> Phase {
        if context.is_joined_to(from.call) {
            match word {
                PartnerWord::Gone(_) => return self.end(Cause::Hangup, context, now),
                PartnerWord::Pressed(digit) => self.press_for_party(digit, context, now),
                PartnerWord::Join | PartnerWord::Launched | PartnerWord::Progressed(_) | PartnerWord::Joined => {}
            }
            return self.into_phase();
        }
        match word {
            PartnerWord::Join if self.can_be_joined(context) => {
                context.tell_call(from.call, PartnerWord::Joined);
                self.join(from, context, now);
            }
            PartnerWord::Join => context.tell_call(from.call, PartnerWord::Gone(Cause::NotAcceptable)),
            PartnerWord::Launched if self.is_launching() => {
                if let Some(transfer) = &mut self.transfer {
                    transfer.way = Way::Bridged(Some(from.call));
                }
            }
            PartnerWord::Progressed(status) if self.bridges_to(from.call) => self.tell_progress(status, context),
            PartnerWord::Joined if self.bridges_to(from.call) => {
                let call = context.ids.call;
                context.timers.stop(CallTimer::Transfer);
                self.transfer = None;
                context.notify(Notification::Transferred { call });
                self.join(from, context, now);
            }
            // The transfer that it was made for is over.
            PartnerWord::Launched | PartnerWord::Joined => {
                context.tell_call(from.call, PartnerWord::Gone(Cause::Cancelled));
            }
            // A call that could not begin has no name: word of it comes in this call's own.
            PartnerWord::Gone(cause)
                if self.bridges_to(from.call) || (self.is_launching() && from.call == context.ids.call) =>
            {
                let sip_code = if let Cause::TrunkRefused(status) = cause { Some(status) } else { None };
                self.transfer_failed(cause.word(), sip_code, context);
            }
            PartnerWord::Progressed(_) | PartnerWord::Pressed(_) | PartnerWord::Gone(_) => {}
        }
        self.into_phase()
    }

    /// The bridge's other call is no longer wanted, for the transfer or this call is over.
    pub(super) fn let_go_of_bridge(way: &Way, context: &mut Context) {
        if let Way::Bridged(Some(partner)) = way {
            context.tell_call(*partner, PartnerWord::Gone(Cause::Cancelled));
        }
    }

    /// Whether `from` is the call of the transfer that is under way.
    fn bridges_to(&self, from: CallId) -> bool {
        self.transfer.as_ref().is_some_and(|transfer| transfer.way == Way::Bridged(Some(from)))
    }

    /// Whether the call that a transfer asked for has not said its name yet.
    fn is_launching(&self) -> bool {
        self.transfer.as_ref().is_some_and(|transfer| transfer.way == Way::Bridged(None))
    }

    fn can_be_joined(&self, context: &Context) -> bool {
        self.transfer.is_none() && self.moving.is_none() && context.partner.is_none()
    }

    /// The agent leaves, and the partner's party takes their place. The trunk is told of nothing, unless it was told of
    /// a hold.
    fn join(&mut self, partner: Partner, context: &mut Context, now: Instant) {
        let (call, leg, agent_leg) = (context.ids.call, context.ids.trunk_leg, context.ids.agent_leg);
        if !context.trunk.records_after_transfer {
            context.stop_recording(now);
        }
        context.start_timer(CallTimer::Joined, JOINED_CALL_MAX, now);
        context.part_with_agent(Cause::Transferred, partner);
        context.join_media(partner);
        context.worker(worker::Command::CloseLeg { call, leg: agent_leg });
        let was_attaching = self.stop_attaching(context);
        if self.hold.agent || was_attaching {
            self.hold.agent = false;
            context.worker(worker::Command::PlayHold { call, leg, on: false });
            self.describe_hold(context);
        }
        context.set_gate(Gate { to_trunk: true, to_agent: true });
    }

    /// A digit of the party pressed by the partner's, or by the agent: on this trunk as it takes them.
    fn press_for_party(&mut self, digit: DtmfDigit, context: &mut Context, now: Instant) {
        // A full queue loses the digit, as a keypad that is hammered on does.
        let _full = self.queue_digits(vec![digit], context, now);
    }
}

/// A call that was made to be joined is answered: its partner learns of it, and they talk.
pub(super) fn meet_partner(context: &mut Context, now: Instant) {
    if let Some(partner) = context.partner {
        context.join_media(partner);
        context.tell_partner(PartnerWord::Joined);
        context.start_timer(CallTimer::Joined, JOINED_CALL_MAX, now);
    }
}
