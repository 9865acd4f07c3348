//! Hold: by the agent, by the other side, or by both. Each resume lifts only its own (sip.md, RFC 6337 5.3).

use super::Established;
use super::Offering;
use super::connect;
use crate::call::HoldStyle;
use crate::call::context::Context;
use crate::sdp::Direction;
use crate::signaling::HeldBy;
use crate::signaling::Notification;
use crate::sip;
use crate::worker;
use crate::worker::Gate;

/// Who holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Hold {
    pub(super) agent: bool,
    pub(super) peer: bool,
}

impl Established {
    /// The agent holds: the other side hears music at once, and is told where its trunk wants that.
    pub(super) fn hold_by_agent(&mut self, context: &mut Context) {
        self.hold_silently(context);
        self.describe_hold(context);
    }

    /// The same without a word to the trunk: a transfer is about to tell it more.
    pub(super) fn hold_silently(&mut self, context: &mut Context) {
        if !self.hold.agent {
            self.set_agents_hold(true, context);
        }
    }

    /// The agent resumes; where the other side holds too, it goes on holding.
    pub(super) fn resume_by_agent(&mut self, context: &mut Context) {
        if self.hold.agent {
            self.set_agents_hold(false, context);
            self.describe_hold(context);
        }
    }

    fn set_agents_hold(&mut self, held: bool, context: &mut Context) {
        self.hold.agent = held;
        self.apply_agents_hold(context);
        let (call, by) = (context.ids.call, HeldBy::Agent);
        context.notify(if held { Notification::Held { call, by } } else { Notification::Resumed { call, by } });
    }

    /// Music and gate as the hold wants them, or a page that is being reloaded. The gate to the trunk stays open: music goes that way.
    pub(super) fn apply_agents_hold(&self, context: &mut Context) {
        let on = self.hold.agent || self.attaching.is_some();
        let (call, leg) = (context.ids.call, context.ids.trunk_leg);
        context.worker(worker::Command::PlayHold { call, leg, on });
        context.set_gate(Gate { to_trunk: true, to_agent: !on });
    }

    /// What our descriptions are to say.
    pub(super) fn wanted_direction(&self, context: &Context) -> Direction {
        match (self.hold.agent, context.trunk.hold_style) {
            (false, _) | (true, HoldStyle::Local) => Direction::SendRecv,
            (true, HoldStyle::SendOnly) => Direction::SendOnly,
            (true, HoldStyle::Inactive) => Direction::Inactive,
        }
    }

    /// Tells the trunk of the agent's hold or resumption, unless an offer of ours is on its way: then once that is
    /// settled.
    pub(super) fn describe_hold(&mut self, context: &mut Context) {
        let wanted = self.wanted_direction(context);
        if self.offering != Offering::Nothing || self.trunk.direction() == wanted {
            return;
        }
        self.trunk.set_direction(wanted);
        let (leg, sdp) = (context.ids.trunk_leg, self.trunk.offer());
        self.offering = Offering::Reinvite;
        context.sip(sip::Command::Reinvite { leg, sdp });
    }

    /// The peer answered our re-INVITE. An answer that cannot be used changes nothing.
    pub(super) fn renegotiated(&mut self, answer: &[u8], context: &mut Context) {
        if self.offering != Offering::Reinvite {
            return;
        }
        if self.trunk.accept(answer).is_err() {
            return self.renegotiation_failed(context);
        }
        self.offering = Offering::Nothing;
        connect(&self.trunk, context);
        self.note_peers_hold(context);
        self.describe_hold(context);
    }

    /// The peer's own offer came first. Where the answer to it does not say what is wanted, another offer does.
    pub(super) fn renegotiation_overtaken(&mut self, context: &mut Context) {
        if self.offering == Offering::Reinvite {
            self.offering = Offering::Nothing;
            self.trunk.withdraw();
            self.describe_hold(context);
        }
    }

    /// The session goes on as it was. A hold stays ours alone; a resumption that the peer refuses is none, unless there
    /// is no agent any more who could ask for it again.
    pub(super) fn renegotiation_failed(&mut self, context: &mut Context) {
        if self.offering != Offering::Reinvite {
            return;
        }
        self.offering = Offering::Nothing;
        self.trunk.withdraw();
        let described = self.trunk.direction();
        if !self.hold.agent && described != Direction::SendRecv && context.partner.is_none() {
            self.set_agents_hold(true, context);
        }
    }

    /// What the last negotiation says of the peer's own hold, told to the page when it changes.
    pub(super) fn note_peers_hold(&mut self, context: &mut Context) {
        let Some(held) = self.trunk.is_held_by_peer().filter(|held| *held != self.hold.peer) else { return };
        self.hold.peer = held;
        let (call, by) = (context.ids.call, HeldBy::Peer);
        context.notify(if held { Notification::Held { call, by } } else { Notification::Resumed { call, by } });
    }
}
