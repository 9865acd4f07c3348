//! INVITE usages: their table, the call room's commands, and what their machines want.

use std::time::Instant;

use crate::ids::LegId;
use crate::sip::Command;
use crate::sip::Event;
use crate::sip::Flow;
use crate::sip::Reason;
use crate::sip::dialog::InviteUsage;
use crate::sip::dialog::outbound_invite;
use crate::sip::dialog::usage;
use crate::sip::message::Request;
use crate::sip::message::typed::reason_value;
use crate::sip::transaction::TransactionKey;
use crate::sip::user_agent::Output;
use crate::sip::user_agent::SipTimer;
use crate::sip::user_agent::UserAgent;
use crate::sip::user_agent::Wake;
use crate::sip::user_agent::client::Owner;
use crate::sip::user_agent::outbound::Outbound;

/// One usage, and by which path its peer is reached.
#[derive(Debug)]
pub(super) struct UsageEntry {
    pub(super) machine: UsageMachine,
    pub(super) trunk: usize,
    pub(super) flow: Flow,
}

#[derive(Debug)]
pub(super) enum UsageMachine {
    Invite(Box<InviteUsage>),
    Outbound(Box<Outbound>),
}

impl UsageMachine {
    fn deadline(&self) -> Option<(Instant, SipTimer)> {
        match self {
            Self::Invite(machine) => machine.poll_timeout().map(|(at, timer)| (at, SipTimer::Usage(timer))),
            Self::Outbound(outbound) => {
                outbound.machine.poll_timeout().map(|(at, timer)| (at, SipTimer::Outbound(timer)))
            }
        }
    }

    fn is_over(&self) -> bool {
        match self {
            Self::Invite(machine) => machine.is_over(),
            Self::Outbound(outbound) => outbound.machine.is_over(),
        }
    }
}

impl UserAgent {
    pub(super) fn command(&mut self, command: Command, now: Instant) {
        match command {
            Command::Provisional { leg, status, body } => {
                self.tell_usage(leg, usage::Input::Provisional(status, body), now);
            }
            Command::Accept { leg, sdp } | Command::AcceptReinvite { leg, sdp } => {
                self.tell_usage(leg, usage::Input::Accept(sdp), now);
            }
            Command::Refuse { leg, refusal } | Command::RefuseReinvite { leg, refusal } => {
                self.tell_usage(leg, usage::Input::Refuse(refusal), now);
            }
            Command::Invite(invite) => self.place_call(invite, now),
            Command::Cancel { leg, reason } | Command::Bye { leg, reason } => self.end_call(leg, reason, now),
            Command::Reinvite { .. }
            | Command::Answer { .. }
            | Command::Refer { .. }
            | Command::AcceptRefer { .. }
            | Command::RefuseRefer { .. }
            | Command::NotifyRefer { .. }
            | Command::Info { .. } => {}
            Command::Drain { retry_after } => self.draining = Some(retry_after),
        }
    }

    /// CANCEL or BYE: the call room may not know yet that a 2xx overtook its command, or that none came.
    fn end_call(&mut self, leg: LegId, reason: Option<Reason>, now: Instant) {
        match self.usages.get(&leg).map(|entry| &entry.machine) {
            Some(UsageMachine::Outbound(_)) => self.tell_outbound(leg, outbound_invite::Input::Cancel(reason), now),
            Some(UsageMachine::Invite(_)) => self.tell_usage(leg, usage::Input::Bye(reason), now),
            None => {}
        }
    }

    /// Feeds an INVITE usage, and does what it wants.
    pub(super) fn tell_usage(&mut self, leg: LegId, input: usage::Input, now: Instant) {
        if let Some(UsageEntry { machine: UsageMachine::Invite(machine), .. }) = self.usages.get_mut(&leg) {
            machine.handle(input, now);
            self.pump_usage(leg, now);
        }
    }

    /// Feeds an outbound INVITE, and does what it wants.
    pub(super) fn tell_outbound(&mut self, leg: LegId, input: outbound_invite::Input, now: Instant) {
        if let Some(UsageEntry { machine: UsageMachine::Outbound(outbound), .. }) = self.usages.get_mut(&leg) {
            outbound.machine.handle(input, now);
            self.pump_usage(leg, now);
        }
    }

    pub(super) fn usage_timeout(&mut self, leg: LegId, now: Instant) {
        match self.usages.get_mut(&leg).map(|entry| &mut entry.machine) {
            Some(UsageMachine::Invite(machine)) => machine.handle_timeout(now),
            Some(UsageMachine::Outbound(outbound)) => outbound.machine.handle_timeout(now),
            None => return,
        }
        self.pump_usage(leg, now);
    }

    pub(super) fn bye_done(&mut self, leg: LegId, now: Instant) {
        self.tell_usage(leg, usage::Input::ByeDone, now);
    }

    /// Does what a usage wants until it wants nothing more; drops it when it is over.
    pub(super) fn pump_usage(&mut self, leg: LegId, now: Instant) {
        while self.pump_usage_once(leg, now) {}
        let Some(entry) = self.usages.get(&leg) else { return };
        let deadline = entry.machine.deadline();
        self.schedule.set(&Wake::Usage(leg), deadline);
        if entry.machine.is_over() {
            self.drop_usage(leg);
        }
    }

    fn pump_usage_once(&mut self, leg: LegId, now: Instant) -> bool {
        let Some(entry) = self.usages.get_mut(&leg) else { return false };
        match &mut entry.machine {
            UsageMachine::Invite(machine) => {
                let output = machine.poll_output();
                output.map(|output| self.do_for_usage(leg, output, now)).is_some()
            }
            UsageMachine::Outbound(outbound) => {
                let output = outbound.machine.poll_output();
                output.map(|output| self.do_for_outbound(leg, output, now)).is_some()
            }
        }
    }

    fn do_for_usage(&mut self, leg: LegId, output: usage::Output, now: Instant) {
        match output {
            usage::Output::Respond(key, response) => self.respond(&key, *response, now),
            usage::Output::SendBye(request) => self.send_bye(leg, *request, now),
            usage::Output::Answer(key, request) => self.answer(&key, &request, now),
            usage::Output::Event(event) => self.tell_call_room(event),
        }
    }

    fn do_for_outbound(&mut self, leg: LegId, output: outbound_invite::Output, now: Instant) {
        match output {
            outbound_invite::Output::Try { target, cseq } => self.try_target(leg, target, cseq, now),
            outbound_invite::Output::Cancel { key, reason } => {
                self.send_cancel(&key, reason.as_ref().map(reason_value), now);
            }
            outbound_invite::Output::Abandon(key) => self.abandon(&key),
            outbound_invite::Output::Event(event) => self.tell_call_room(event),
        }
    }

    pub(super) fn tell_call_room(&mut self, event: Event) {
        self.output.push_back(Output::Event(event));
    }

    fn send_bye(&mut self, leg: LegId, request: Request, now: Instant) {
        let Some((trunk, flow)) = self.path_in_dialog(leg) else { return };
        self.send_request(trunk, request, flow, Owner::Bye(leg), now);
    }

    /// The trunk of a confirmed usage, and the path of its next request.
    fn path_in_dialog(&self, leg: LegId) -> Option<(usize, Flow)> {
        let entry = self.usages.get(&leg)?;
        let UsageMachine::Invite(machine) = &entry.machine else { return None };
        let trunk = self.config.trunks.get(entry.trunk)?;
        Some((entry.trunk, self.config.hop(trunk, entry.flow, machine.dialog().next_hop())))
    }

    /// Leaves an INVITE to itself. One that was cancelled in vain is destroyed at once (RFC 3261 9.1).
    fn abandon(&mut self, key: &TransactionKey) {
        let Some(entry) = self.clients.get_mut(key) else { return };
        if entry.is_proceeding() {
            self.forget_client(key);
        } else {
            entry.owner = Owner::Abandoned;
        }
    }

    fn drop_usage(&mut self, leg: LegId) {
        self.schedule.set(&Wake::Usage(leg), None);
        if let Some(UsageEntry { machine: UsageMachine::Invite(machine), .. }) = self.usages.remove(&leg) {
            self.dialogs.remove(machine.dialog().id());
        }
    }
}
