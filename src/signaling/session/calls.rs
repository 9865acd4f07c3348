//! The calls of one session: what its client may ask about, and what it has asked already.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::ids::CallId;
use crate::limits::SIGNALING_ENDED_CALLS;
use crate::signaling::message::{CallPhase, CallSnapshot};
use crate::signaling::{CallRequest, HeldBy, Notification};

/// A request that has its effect once, however often it is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Once {
    Dial,
    Alerting,
    Transport,
    Accept,
    Reject,
    Hangup,
}

impl Once {
    /// The kind of `request`, where it is such a one.
    pub(super) const fn of(request: &CallRequest) -> Option<Self> {
        match request {
            CallRequest::Dial { .. } => Some(Self::Dial),
            CallRequest::Alerting => Some(Self::Alerting),
            CallRequest::Transport { .. } => Some(Self::Transport),
            CallRequest::Accept => Some(Self::Accept),
            CallRequest::Reject => Some(Self::Reject),
            CallRequest::Hangup => Some(Self::Hangup),
            CallRequest::Candidate { .. }
            | CallRequest::Mute { .. }
            | CallRequest::Dtmf { .. }
            | CallRequest::Hold
            | CallRequest::Resume
            | CallRequest::Transfer { .. }
            | CallRequest::TransferTo { .. } => None,
        }
    }
}

#[derive(Debug)]
struct Known {
    snapshot: CallSnapshot,
    done: BTreeSet<Once>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Calls {
    known: BTreeMap<CallId, Known>,
    ended: VecDeque<CallId>,
}

impl Calls {
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    pub(super) fn contains(&self, call: CallId) -> bool {
        self.known.contains_key(&call)
    }

    /// Whether the call was one of this session's, not long ago.
    pub(super) fn has_ended(&self, call: CallId) -> bool {
        self.ended.contains(&call)
    }

    pub(super) fn snapshots(&self) -> Vec<CallSnapshot> {
        self.known.values().map(|known| known.snapshot.clone()).collect()
    }

    pub(super) fn dialled(&mut self, call: CallId, to: &str) {
        self.insert(call, CallPhase::Dialling, to, None);
    }

    fn insert(&mut self, call: CallId, phase: CallPhase, number: &str, name: Option<&str>) {
        let snapshot = CallSnapshot {
            call_id: call,
            phase,
            number: number.to_owned(),
            name: name.map(str::to_owned),
            recording: false,
            held: false,
            held_by_peer: false,
        };
        self.known.insert(call, Known { snapshot, done: BTreeSet::new() });
    }

    pub(super) fn is_done(&self, call: CallId, once: Once) -> bool {
        self.known.get(&call).is_some_and(|known| known.done.contains(&once))
    }

    pub(super) fn set_done(&mut self, call: CallId, once: Once) {
        if let Some(known) = self.known.get_mut(&call) {
            known.done.insert(once);
        }
    }

    /// Forgets a call that never came to be.
    pub(super) fn forget(&mut self, call: CallId) -> bool {
        self.known.remove(&call).is_some()
    }

    /// Follows what the client is told. Says whether the call ended by it.
    pub(super) fn follow(&mut self, notification: &Notification) -> Option<CallId> {
        match notification {
            Notification::Incoming { call, from, name, .. } => {
                self.insert(*call, CallPhase::Incoming, from, name.as_deref());
            }
            Notification::Reattach { call, line, .. } => {
                self.insert(*call, CallPhase::Answered, &line.number, line.name.as_deref());
                if let Some(known) = self.known.get_mut(call) {
                    known.snapshot.recording = line.recording;
                }
                self.set_held(*call, HeldBy::Agent, line.held_by_agent);
                self.set_held(*call, HeldBy::Peer, line.held_by_peer);
            }
            Notification::Ringing { call } => self.set_phase(*call, CallPhase::Ringing),
            Notification::EarlyMedia { call } => self.set_phase(*call, CallPhase::EarlyMedia),
            Notification::Answered { call } => self.set_phase(*call, CallPhase::Answered),
            Notification::Recording { call, active } => {
                if let Some(known) = self.known.get_mut(call) {
                    known.snapshot.recording = *active;
                }
            }
            Notification::Ended { call, .. } => {
                self.known.remove(call);
                self.ended.push_back(*call);
                if self.ended.len() > SIGNALING_ENDED_CALLS {
                    self.ended.pop_front();
                }
                return Some(*call);
            }
            Notification::Held { call, by } => self.set_held(*call, *by, true),
            Notification::Resumed { call, by } => self.set_held(*call, *by, false),
            Notification::Party { call, number, name } => {
                if let Some(known) = self.known.get_mut(call) {
                    known.snapshot.number.clone_from(number);
                    known.snapshot.name.clone_from(name);
                }
            }
            Notification::Offer { .. }
            | Notification::Quality { .. }
            | Notification::Transferring { .. }
            | Notification::Transferred { .. }
            | Notification::TransferFailed { .. }
            | Notification::Draining => {}
        }
        None
    }

    fn set_held(&mut self, call: CallId, by: HeldBy, held: bool) {
        let Some(known) = self.known.get_mut(&call) else { return };
        match by {
            HeldBy::Agent => known.snapshot.held = held,
            HeldBy::Peer => known.snapshot.held_by_peer = held,
        }
    }

    fn set_phase(&mut self, call: CallId, phase: CallPhase) {
        if let Some(known) = self.known.get_mut(&call) {
            known.snapshot.phase = phase;
        }
    }
}
