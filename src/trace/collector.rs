//! Puts what was seen into the trace of the call that it belongs to.
//!
//! A SIP message belongs to a call by its Call-ID. That of an inbound call is known from its invitation; that of a call
//! that we place, and of every further dialog, is learned from the first message that we send with the call's
//! Session-ID. Two calls that a proxy forked from one may share a Call-ID: there, what the Session-ID does not tell
//! apart stands in both. Two calls that are both ends of one, inside, share it as well: there each has what it sent,
//! which bears its Session-ID, and what it was sent, which does not.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::time::Instant;

use crate::clock::Clock;
use crate::ids::CallId;
use crate::ids::SessionId;
use crate::limits;
use crate::timer::Timers;
use crate::trace::CallTrace;
use crate::trace::Direction;
use crate::trace::Dropped;
use crate::trace::Entry;
use crate::trace::Event;
use crate::trace::Observation;
use crate::trace::SipMessage;
use crate::trace::SipPath;
use crate::trace::head::Head;
use crate::trace::mask;

/// What a collector waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TraceTimer {
    /// The last messages of a call that has ended.
    Linger(CallId),
}

#[derive(Debug)]
struct Live {
    trace: CallTrace,
    /// Our half of the Session-ID of each of its dialogs, the call's own first.
    sessions: Vec<SessionId>,
    sip_call_ids: Vec<String>,
    bytes: usize,
    /// Observations that were lost when the call began.
    lost_before: u64,
}

impl Live {
    /// Whether a message under a Call-ID of this call is this call's.
    fn has(&self, path: &SipPath, head: &Head) -> bool {
        let is_sender = head.session.is_some_and(|session| self.sessions.contains(&session));
        !path.is_loop() || is_sender == (path.direction == Direction::Out)
    }
}

/// What waits for the call that it is about.
#[derive(Debug)]
enum Waiting {
    Message(Box<SipMessage>, Head),
    Quirk(Event, Instant),
}

/// See the [module](self).
#[derive(Debug)]
pub struct Collector {
    clock: Clock,
    live: BTreeMap<CallId, Live>,
    by_session: BTreeMap<SessionId, CallId>,
    by_sip_call_id: BTreeMap<String, Vec<CallId>>,
    /// What no call is known for yet, by its Call-ID.
    pending: VecDeque<(String, Waiting)>,
    timers: Timers<TraceTimer>,
    bytes: usize,
    lost: u64,
    finished: VecDeque<CallTrace>,
}

impl Collector {
    /// A collector without calls. Times of entries are those of `clock`.
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            live: BTreeMap::new(),
            by_session: BTreeMap::new(),
            by_sip_call_id: BTreeMap::new(),
            pending: VecDeque::new(),
            timers: Timers::default(),
            bytes: 0,
            lost: 0,
            finished: VecDeque::new(),
        }
    }

    /// Takes what was seen.
    pub fn handle(&mut self, observation: Observation, now: Instant) {
        match observation {
            Observation::Began { call, session, sip_call_id, at } => self.begin(call, session, sip_call_id, at),
            Observation::Joined { call, session, sip_call_id } => self.join(call, session, &sip_call_id),
            Observation::Message(message) => self.message(message),
            Observation::Noted { call, event, at } => self.note(call, event, at, 0),
            Observation::Quirk { sip_call_id, name, detail, at } => {
                let event = Event::Quirk { name, detail };
                let calls = self.by_sip_call_id.get(&sip_call_id).cloned().unwrap_or_default();
                if calls.is_empty() {
                    self.wait(sip_call_id, Waiting::Quirk(event, at));
                    return;
                }
                for call in calls {
                    self.note(call, event.clone(), at, 0);
                }
            }
            Observation::Ended { call, .. } => {
                if self.live.contains_key(&call) {
                    self.timers.set(TraceTimer::Linger(call), now + limits::TRACE_LINGER);
                }
            }
        }
    }

    /// Counts observations of any call that never got here.
    pub const fn lost(&mut self, observations: u64) {
        self.lost += observations;
    }

    /// Closes the traces whose calls have ended long enough ago.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(TraceTimer::Linger(call)) = self.timers.pop_due(now) {
            self.finish(call);
        }
    }

    /// When [`Self::handle_timeout`] must be called, and for what.
    pub fn poll_timeout(&self) -> Option<(Instant, TraceTimer)> {
        self.timers.next()
    }

    /// The next trace that is complete.
    pub fn poll_output(&mut self) -> Option<CallTrace> {
        self.finished.pop_front()
    }

    /// Closes every trace: nothing more is to be seen.
    pub fn finish_all(&mut self) {
        while let Some(call) = self.live.keys().next().copied() {
            self.finish(call);
        }
    }

    fn begin(&mut self, call: CallId, session: SessionId, sip_call_id: Option<String>, at: Instant) {
        if self.live.len() >= limits::TRACE_CALLS_MAX || self.live.contains_key(&call) {
            return;
        }
        let trace = CallTrace { call, started: self.clock.wall(at), entries: Vec::new(), dropped: Dropped::default() };
        let sessions = vec![session];
        let live = Live { trace, sessions, sip_call_ids: Vec::new(), bytes: 0, lost_before: self.lost };
        self.live.insert(call, live);
        self.by_session.insert(session, call);
        if let Some(sip_call_id) = sip_call_id {
            self.bind(call, &sip_call_id);
        }
    }

    fn join(&mut self, call: CallId, session: SessionId, sip_call_id: &str) {
        let Some(live) = self.live.get_mut(&call).filter(|live| live.sessions.len() < limits::TRACE_DIALOGS_MAX) else {
            return;
        };
        live.sessions.push(session);
        self.by_session.insert(session, call);
        self.bind(call, sip_call_id);
    }

    /// From now on messages of this Call-ID are the call's; those that waited for it are too.
    fn bind(&mut self, call: CallId, sip_call_id: &str) {
        let Some(live) = self.live.get_mut(&call) else { return };
        if live.sip_call_ids.len() >= limits::TRACE_DIALOGS_MAX || live.sip_call_ids.iter().any(|id| id == sip_call_id)
        {
            return;
        }
        live.sip_call_ids.push(sip_call_id.to_owned());
        self.by_sip_call_id.entry(sip_call_id.to_owned()).or_default().push(call);
        let pending = std::mem::take(&mut self.pending);
        let (ours, others) = pending.into_iter().partition(|(id, waiting)| {
            let is_ours = match waiting {
                Waiting::Message(message, head) => live.has(&message.path, head),
                Waiting::Quirk(..) => true,
            };
            id == sip_call_id && is_ours
        });
        self.pending = others;
        let ours: VecDeque<(String, Waiting)> = ours;
        for (_, waiting) in ours {
            match waiting {
                Waiting::Message(message, head) => self.attach(call, &message, &head),
                Waiting::Quirk(event, at) => self.note(call, event, at, 0),
            }
        }
    }

    fn message(&mut self, message: SipMessage) {
        let Some(head) = Head::read(&message.bytes) else { return };
        let Some(sip_call_id) = head.call_id.clone() else { return };
        let ours = head.session.filter(|_| message.path.direction == Direction::Out);
        let by_session = ours.and_then(|session| self.by_session.get(&session).copied());
        if let Some(call) = by_session {
            self.bind(call, &sip_call_id);
            self.attach(call, &message, &head);
            return;
        }
        let mut calls = self.by_sip_call_id.get(&sip_call_id).cloned().unwrap_or_default();
        calls.retain(|call| self.live.get(call).is_some_and(|live| live.has(&message.path, &head)));
        for call in &calls {
            self.attach(*call, &message, &head);
        }
        // An INVITE without a dialog may begin a second call under a known Call-ID, forked by a proxy.
        let is_first = message.path.direction == Direction::In && head.method == "INVITE" && !head.has_to_tag;
        if is_first || (calls.is_empty() && head.may_begin_a_call()) {
            self.wait(sip_call_id, Waiting::Message(Box::new(message), head));
        }
    }

    fn wait(&mut self, sip_call_id: String, waiting: Waiting) {
        self.pending.push_back((sip_call_id, waiting));
        if self.pending.len() > limits::TRACE_PENDING_MAX {
            self.pending.pop_front();
        }
    }

    fn attach(&mut self, call: CallId, message: &SipMessage, head: &Head) {
        let event = Event::Sip {
            path: message.path.clone(),
            start_line: String::from_utf8_lossy(&mask::sip(head.start_line.as_bytes())).into_owned(),
            method: head.method.clone(),
            message: mask::sip(&message.bytes),
        };
        self.note(call, event, message.at, message.cut);
    }

    fn note(&mut self, call: CallId, event: Event, at: Instant, cut: usize) {
        let at_us = self.clock.wall(at).0 / 1_000;
        let Some(live) = self.live.get_mut(&call) else { return };
        let (event, cut) = shortened(event, cut);
        let weight = event.weight();
        let fits = live.trace.entries.len() < limits::TRACE_ENTRIES_MAX
            && live.bytes + weight <= limits::TRACE_CALL_BYTES_MAX
            && self.bytes + weight <= limits::TRACE_BYTES_MAX;
        if fits {
            live.bytes += weight;
            self.bytes += weight;
            live.trace.entries.push(Entry { at_us, event, cut });
        } else {
            live.trace.dropped.entries += 1;
        }
    }

    fn finish(&mut self, call: CallId) {
        let Some(live) = self.live.remove(&call) else { return };
        let Live { mut trace, sessions, sip_call_ids, bytes, lost_before } = live;
        self.timers.stop(TraceTimer::Linger(call));
        self.bytes = self.bytes.saturating_sub(bytes);
        for session in sessions {
            self.by_session.remove(&session);
        }
        for sip_call_id in sip_call_ids {
            let Some(calls) = self.by_sip_call_id.get_mut(&sip_call_id) else { continue };
            calls.retain(|other| *other != call);
            if calls.is_empty() {
                self.by_sip_call_id.remove(&sip_call_id);
            }
        }
        trace.dropped.observations = self.lost - lost_before;
        // What several tasks saw comes in the order of their words, not of the events.
        trace.entries.sort_by_key(|entry| entry.at_us);
        self.finished.push_back(trace);
    }
}

/// Cuts what is longer than one entry may be.
fn shortened(event: Event, cut: usize) -> (Event, usize) {
    let most = limits::TRACE_ENTRY_BYTES_MAX;
    match event {
        Event::Sip { path, start_line, method, mut message } => {
            let over = message.len().saturating_sub(most);
            message.truncate(most);
            // The first line stands in the message too.
            let start_line = start_line.chars().take(512).collect();
            (Event::Sip { path, start_line, method: method.chars().take(64).collect(), message }, cut + over)
        }
        Event::Signaling { direction, name, body } => {
            let length = body.to_string().len();
            let over = length.saturating_sub(most);
            let body = if over > 0 { serde_json::Value::Null } else { body };
            (Event::Signaling { direction, name, body }, if over > 0 { length } else { cut })
        }
        plain @ (Event::Media { .. } | Event::State { .. } | Event::Quirk { .. }) => (plain, cut),
    }
}

#[cfg(test)]
#[path = "collector_tests.rs"]
mod tests;
