//! INVITE usages: their table, the call room's commands, and what their machines want.

use std::time::Instant;

use bytes::Bytes;

use crate::ids::LegId;
use crate::sip::Command;
use crate::sip::Event;
use crate::sip::Flow;
use crate::sip::Reason;
use crate::sip::StatusCode;
use crate::sip::dialog::DialogId;
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
        let own = match self {
            Self::Invite(_) => None,
            Self::Outbound(outbound) => {
                outbound.machine.poll_timeout().map(|(at, timer)| (at, SipTimer::Outbound(timer)))
            }
        };
        let dialogs =
            self.dialogs().iter().filter_map(InviteUsage::poll_timeout).map(|(at, timer)| (at, SipTimer::Usage(timer)));
        dialogs.chain(own).min_by_key(|(at, _)| *at)
    }

    fn is_over(&self) -> bool {
        match self {
            Self::Invite(machine) => machine.is_over(),
            Self::Outbound(outbound) => outbound.machine.is_over(),
        }
    }

    /// Its dialogs: several only where an INVITE of ours forked.
    pub(super) fn dialogs(&self) -> &[InviteUsage] {
        match self {
            Self::Invite(machine) => std::slice::from_ref(machine),
            Self::Outbound(outbound) => &outbound.early,
        }
    }

    fn dialogs_mut(&mut self) -> &mut [InviteUsage] {
        match self {
            Self::Invite(machine) => std::slice::from_mut(machine),
            Self::Outbound(outbound) => &mut outbound.early,
        }
    }

    /// The same, to be changed.
    pub(super) fn in_dialog_mut(&mut self, id: &DialogId) -> Option<&mut InviteUsage> {
        self.dialogs_mut().iter_mut().find(|usage| usage.dialog().id() == id)
    }

    /// The usage of one dialog.
    pub(super) fn in_dialog(&self, id: &DialogId) -> Option<&InviteUsage> {
        self.dialogs().iter().find(|usage| usage.dialog().id() == id)
    }
}

impl UserAgent {
    pub(super) fn command(&mut self, command: Command, now: Instant) {
        match command {
            Command::Provisional { leg, status, body } => {
                self.tell_usage(leg, &usage::Input::Provisional(status, body), now);
            }
            Command::Accept { leg, sdp } => self.tell_usage(leg, &usage::Input::Accept(sdp), now),
            Command::Refuse { leg, refusal } => self.tell_usage(leg, &usage::Input::Refuse(refusal), now),
            Command::AcceptReinvite { leg, sdp } => self.tell_usage(leg, &usage::Input::AcceptReinvite(sdp), now),
            Command::RefuseReinvite { leg, refusal } => {
                self.tell_usage(leg, &usage::Input::RefuseReinvite(refusal), now);
            }
            Command::Invite(invite) => self.place_call(invite, now),
            Command::Cancel { leg, reason } | Command::Bye { leg, reason } => self.end_call(leg, reason, now),
            Command::Reinvite { leg, sdp } => self.reinvite(leg, sdp, now),
            Command::Answer { leg, sdp } => self.tell_usage(leg, &usage::Input::Answer(sdp), now),
            Command::Refer { leg, to } => self.refer(leg, &to, now),
            Command::AcceptRefer { leg } => self.tell_usage(leg, &usage::Input::AcceptRefer, now),
            Command::RefuseRefer { leg, refusal } => self.tell_usage(leg, &usage::Input::RefuseRefer(refusal), now),
            Command::NotifyRefer { leg, status } => self.tell_usage(leg, &usage::Input::NotifyRefer(status), now),
            Command::Info { leg, body } => self.tell_usage(leg, &usage::Input::Info(body), now),
            Command::Probe { leg, method, headers, body } => {
                self.tell_usage(leg, &usage::Input::Probe { method, headers, body }, now);
            }
            Command::Drain { retry_after } => {
                self.draining = Some(retry_after);
                self.stop_lines(now);
            }
        }
    }

    /// CANCEL or BYE: the call room may not know yet that a 2xx overtook its command, or that none came.
    fn end_call(&mut self, leg: LegId, reason: Option<Reason>, now: Instant) {
        match self.usages.get(&leg).map(|entry| &entry.machine) {
            Some(UsageMachine::Outbound(_)) => self.tell_outbound(leg, outbound_invite::Input::Cancel(reason), now),
            Some(UsageMachine::Invite(_)) => self.tell_usage(leg, &usage::Input::Bye(reason), now),
            None => {}
        }
    }

    /// Of several early dialogs, the latest that can takes the offer.
    fn reinvite(&mut self, leg: LegId, sdp: Bytes, now: Instant) {
        let Some(entry) = self.usages.get_mut(&leg) else { return };
        let usage = match &mut entry.machine {
            UsageMachine::Invite(machine) => Some(machine.as_mut()),
            UsageMachine::Outbound(outbound) => outbound.early.iter_mut().rev().find(|usage| usage.can_update()),
        };
        if let Some(usage) = usage {
            usage.handle(usage::Input::Reinvite(sdp), now);
            self.pump_usage(leg, now);
        } else {
            self.note_withheld_update(leg);
            self.tell_call_room(Event::RenegotiationFailed { leg, status: StatusCode::REQUEST_PENDING });
        }
    }

    /// Feeds every dialog of a usage, and does what they want.
    pub(super) fn tell_usage(&mut self, leg: LegId, input: &usage::Input, now: Instant) {
        let Some(entry) = self.usages.get_mut(&leg) else { return };
        for usage in entry.machine.dialogs_mut() {
            usage.handle(input.clone(), now);
        }
        self.pump_usage(leg, now);
    }

    /// Feeds one dialog of a usage, and does what it wants.
    pub(super) fn tell_dialog(&mut self, leg: LegId, id: &DialogId, input: usage::Input, now: Instant) {
        let Some(entry) = self.usages.get_mut(&leg) else { return };
        if let Some(usage) = entry.machine.in_dialog_mut(id) {
            usage.handle(input, now);
            self.pump_usage(leg, now);
        }
    }

    /// Whose dialog this is, on that trunk.
    pub(super) fn leg_of(&self, trunk: usize, id: &DialogId) -> Option<LegId> {
        let leg = self.dialogs.get(id).copied()?;
        self.usages.get(&leg).is_some_and(|entry| entry.trunk == trunk).then_some(leg)
    }

    /// Feeds an outbound INVITE, and does what it wants.
    pub(super) fn tell_outbound(&mut self, leg: LegId, input: outbound_invite::Input, now: Instant) {
        if let Some(UsageEntry { machine: UsageMachine::Outbound(outbound), .. }) = self.usages.get_mut(&leg) {
            outbound.machine.handle(input, now);
            self.pump_usage(leg, now);
        }
    }

    pub(super) fn usage_timeout(&mut self, leg: LegId, now: Instant) {
        let Some(entry) = self.usages.get_mut(&leg) else { return };
        if let UsageMachine::Outbound(outbound) = &mut entry.machine {
            outbound.machine.handle_timeout(now);
        }
        for usage in entry.machine.dialogs_mut() {
            usage.handle_timeout(now);
        }
        self.pump_usage(leg, now);
    }

    /// Does what a usage wants until it wants nothing more; drops it when it is over.
    pub(super) fn pump_usage(&mut self, leg: LegId, now: Instant) {
        while self.pump_usage_once(leg, now) {}
        let Some(entry) = self.usages.get(&leg) else { return };
        let deadline = entry.machine.deadline();
        self.schedule.set(&Wake::Usage(leg), deadline);
        if entry.machine.is_over() {
            self.drop_usage(leg, now);
        }
    }

    fn pump_usage_once(&mut self, leg: LegId, now: Instant) -> bool {
        let Some(entry) = self.usages.get_mut(&leg) else { return false };
        if let UsageMachine::Outbound(outbound) = &mut entry.machine
            && let Some(output) = outbound.machine.poll_output()
        {
            self.do_for_outbound(leg, output, now);
            return true;
        }
        let wanted = entry.machine.dialogs_mut().iter_mut().find_map(|usage| {
            let output = usage.poll_output()?;
            Some((usage.dialog().id().clone(), output))
        });
        wanted.map(|(id, output)| self.do_for_usage(leg, &id, output, now)).is_some()
    }

    fn do_for_usage(&mut self, leg: LegId, id: &DialogId, output: usage::Output, now: Instant) {
        match output {
            usage::Output::Respond(key, response) => self.respond(&key, *response, now),
            usage::Output::Send(purpose, request) => {
                if let Some((trunk, flow)) = self.path_in_dialog(leg, id, &request) {
                    self.send_request(trunk, *request, flow, Owner::InDialog(leg, purpose), now);
                }
            }
            usage::Output::Ack(key, request) => self.send_ack(leg, id, &key, *request),
            usage::Output::Answer(key, request) => self.answer(&key, &request, now),
            usage::Output::Referred(request) => self.tell_referral(leg, &request),
            usage::Output::GiveUp => self.tell_outbound(leg, outbound_invite::Input::Cancel(None), now),
            usage::Output::Quirk(quirk, detail) => {
                if let Some(trunk) = self.usages.get(&leg).map(|entry| entry.trunk) {
                    self.fire(trunk, quirk, id.call_id(), detail);
                }
            }
            usage::Output::Event(event) => self.tell_call_room(event),
        }
    }

    fn do_for_outbound(&mut self, leg: LegId, output: outbound_invite::Output, now: Instant) {
        match output {
            outbound_invite::Output::Try { target, cseq } => self.try_target(leg, target, cseq, now),
            outbound_invite::Output::Cancel { key, reason } => {
                self.send_cancel(&key, reason.as_ref().map(reason_value), now);
            }
            outbound_invite::Output::Abandon(key) => {
                self.observe_silence(&key);
                self.abandon(&key);
            }
            outbound_invite::Output::Event(event) => self.tell_call_room(event),
        }
    }

    pub(super) fn tell_call_room(&mut self, event: Event) {
        self.output.push_back(Output::Event(event));
    }

    /// The trunk of a usage, and the path of the next request in one of its dialogs.
    pub(super) fn path_in_dialog(&mut self, leg: LegId, id: &DialogId, request: &Request) -> Option<(usize, Flow)> {
        let entry = self.usages.get(&leg)?;
        let hop = entry.machine.in_dialog(id)?.dialog().next_hop().clone();
        let (trunk, flow) = (entry.trunk, entry.flow);
        Some((trunk, self.path_by(trunk, flow, &hop, request)))
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

    fn drop_usage(&mut self, leg: LegId, now: Instant) {
        self.schedule.set(&Wake::Usage(leg), None);
        if let Some(mut entry) = self.usages.remove(&leg) {
            self.forget_dialogs(entry.machine.dialogs_mut(), now);
        }
    }

    /// Drops dialogs; requests of theirs that wait for the call room are answered.
    pub(super) fn forget_dialogs(&mut self, usages: &mut [InviteUsage], now: Instant) {
        for usage in usages {
            self.dialogs.remove(usage.dialog().id());
            self.refuse_waiting(usage, now);
        }
    }

    fn refuse_waiting(&mut self, usage: &mut InviteUsage, now: Instant) {
        usage.refuse_waiting();
        while let Some(output) = usage.poll_output() {
            let usage::Output::Respond(key, response) = output else { continue };
            self.respond(&key, *response, now);
        }
    }
}
