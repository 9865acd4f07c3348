//! Finds the call that a message is for, and begins new ones.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use rand::rngs::StdRng;
use tokio::sync::mpsc;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::call::Cause;
use crate::call::Config;
use crate::call::Consultation;
use crate::call::Input;
use crate::call::Standing;
use crate::call::io::rooms::Asked;
use crate::call::io::rooms::Control;
use crate::call::io::rooms::Events;
use crate::call::io::rooms::Rooms;
use crate::clock::Clock;
use crate::ids::CallId;
use crate::ids::Extension;
use crate::ids::LegId;
use crate::ids::SignalingId;
use crate::ids::TrunkName;
use crate::limits::CALL_ASKS;
use crate::limits::IDLE_AGENTS_MAX;
use crate::signaling;
use crate::signaling::CallRequest;
use crate::signaling::RequestToken;
use crate::sip;
use crate::telemetry::metrics::CALLS;
use crate::worker;

mod begin;
mod partners;

/// How soon a full mailbox is tried again.
const BACKLOG_RETRY: std::time::Duration = std::time::Duration::from_millis(5);
/// Inputs that may wait for one call whose mailbox is full; one more ends the call.
const BACKLOG_MAX: usize = 256;

/// One live call, as the registry sees it.
struct Entry {
    mailbox: mpsc::Sender<Input>,
    backlog: VecDeque<Input>,
    /// Every trunk leg that it has, or had.
    legs: Vec<LegId>,
    trunk: TrunkName,
    worker: usize,
    /// What its task says of it: who takes part, and whether it is over for them.
    standing: watch::Receiver<Standing>,
    /// The session that it was handed over to last, though its task may not have said so yet.
    heir: Option<SignalingId>,
}

impl Entry {
    fn counts_for(&self, extension: &Extension) -> bool {
        let standing = self.standing.borrow();
        !standing.is_ending && standing.audience.iter().any(|(_, theirs)| theirs == extension)
    }

    fn concerns(&self, session: SignalingId) -> bool {
        self.heir == Some(session) || self.standing.borrow().audience.iter().any(|(theirs, _)| *theirs == session)
    }

    fn flush(&mut self) {
        while let Some(input) = self.backlog.pop_front() {
            let Err(mpsc::error::TrySendError::Full(input)) = self.mailbox.try_send(input) else { continue };
            self.backlog.push_front(input);
            return;
        }
    }
}

/// See the [module](self).
pub struct Registry {
    rooms: Arc<dyn Rooms>,
    config: Arc<Config>,
    clock: Clock,
    rng: StdRng,
    calls: BTreeMap<CallId, Entry>,
    legs: BTreeMap<LegId, CallId>,
    /// When each agent's last call ended.
    idle_since: BTreeMap<Extension, Instant>,
    tasks: JoinSet<CallId>,
    /// What calls ask for; each has a sender.
    asks: (mpsc::Sender<Asked>, mpsc::Receiver<Asked>),
    draining: bool,
    waiting: Vec<tokio::sync::oneshot::Sender<()>>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("calls", &self.calls.len()).finish_non_exhaustive()
    }
}

impl Registry {
    /// An empty registry.
    pub fn new(rooms: Arc<dyn Rooms>, config: Arc<Config>, clock: Clock, rng: StdRng) -> Self {
        Self {
            rooms,
            config,
            clock,
            rng,
            calls: BTreeMap::new(),
            legs: BTreeMap::new(),
            idle_since: BTreeMap::new(),
            tasks: JoinSet::new(),
            asks: mpsc::channel(CALL_ASKS),
            draining: false,
            waiting: Vec::new(),
        }
    }

    /// Runs until the control channel closes.
    pub async fn run(mut self, mut events: Events) {
        loop {
            tokio::select! {
                biased;
                Some(ended) = self.tasks.join_next() => self.forget(ended),
                Some(asked) = self.asks.1.recv() => self.asked_by_call(asked),
                Some(event) = events.recorder.recv() => self.tell(event.call, Input::Recorder(event.kind)),
                Some(event) = events.worker.recv() => self.tell(event.call, Input::Worker(event)),
                Some(event) = events.sip.recv() => self.heard_from_trunk(event),
                Some(event) = events.signaling.recv() => self.heard_from_browser(event),
                control = events.control.recv() => {
                    let Some(control) = control else { return };
                    self.control(control);
                }
                // A mailbox that was full has room again without any event telling of it.
                () = tokio::time::sleep(BACKLOG_RETRY), if self.has_backlog() => {}
            }
            self.flush();
        }
    }

    fn control(&mut self, control: Control) {
        match control {
            Control::Drain => self.draining = true,
            Control::EndOrdinary(left) => {
                self.end_calls(|entry| !entry.standing.borrow().is_emergency);
                let emergencies = self.calls.values().filter(|entry| entry.standing.borrow().is_emergency).count();
                // A shutdown that a second signal hurries needs no word.
                let _unheard = left.send(emergencies);
            }
            Control::EndAll => self.end_calls(|_| true),
            Control::WhenEmpty(waiting) => {
                self.waiting.push(waiting);
                self.wake_waiting();
            }
        }
    }

    fn end_calls(&mut self, which: impl Fn(&Entry) -> bool) {
        let calls: Vec<CallId> = self.calls.iter().filter(|(_, entry)| which(entry)).map(|(call, _)| *call).collect();
        for call in calls {
            self.tell(call, Input::Shutdown);
        }
    }

    fn wake_waiting(&mut self) {
        if self.calls.is_empty() {
            for waiting in self.waiting.drain(..) {
                // A shutdown that stopped waiting needs no word.
                let _unheard = waiting.send(());
            }
        }
    }

    fn forget(&mut self, ended: Result<CallId, tokio::task::JoinError>) {
        match ended {
            Ok(call) => {
                if let Some(entry) = self.calls.remove(&call) {
                    self.retire(&entry);
                }
            }
            // A panic in one call ends that call: its entry is the one whose mailbox has closed.
            Err(error) => {
                tracing::error!("a call's task failed: {error}");
                let dead: Vec<CallId> =
                    self.calls.iter().filter(|(_, entry)| entry.mailbox.is_closed()).map(|(call, _)| *call).collect();
                for call in dead {
                    self.bury(call);
                }
            }
        }
        self.gauge();
        self.wake_waiting();
    }

    /// Forgets a call's legs, and notes since when its agent is idle.
    fn retire(&mut self, entry: &Entry) {
        for leg in &entry.legs {
            self.legs.remove(leg);
        }
        let standing = entry.standing.borrow().clone();
        self.note_idle(standing);
    }

    /// The agents of a call that was answered are free from now on.
    fn note_idle(&mut self, standing: Standing) {
        if standing.is_answered {
            for (_, extension) in standing.audience {
                self.idle_since.insert(extension, self.clock.now());
            }
        }
        while self.idle_since.len() > IDLE_AGENTS_MAX {
            let oldest = self.idle_since.iter().min_by_key(|(_, since)| **since).map(|(who, _)| who.clone());
            let Some(oldest) = oldest else { break };
            self.idle_since.remove(&oldest);
        }
    }

    /// Ends on both sides what a dead call task cannot end itself.
    fn bury(&mut self, call: CallId) {
        let Some(entry) = self.calls.remove(&call) else { return };
        self.retire(&entry);
        for leg in entry.legs.iter().copied() {
            let refusal = Cause::Overloaded.refusal(self.config.retry_after);
            // Whichever fits the usage's state is carried out; the others are ignored by the user agent.
            let farewells = [
                sip::Command::Refuse { leg, refusal },
                sip::Command::Bye { leg, reason: None },
                sip::Command::Cancel { leg, reason: None },
            ];
            for farewell in farewells {
                let _full = self.rooms.sip(farewell);
            }
        }
        let _full = self.rooms.worker(entry.worker, worker::Command::Close { call });
        self.widow(call);
    }

    fn tell(&mut self, call: CallId, input: Input) {
        let Some(entry) = self.calls.get_mut(&call) else { return };
        if matches!(&input, Input::Worker(event) if matches!(event.kind, worker::EventKind::Stats(_))) {
            // Statistics are latest-value: one that does not fit is overtaken by the next.
            let _overtaken = entry.mailbox.try_send(input);
        } else if entry.backlog.len() < BACKLOG_MAX {
            entry.backlog.push_back(input);
        } else {
            tracing::error!(call = %call, "a call does not keep up and is ended");
            entry.backlog.clear();
            entry.backlog.push_back(Input::Shutdown);
        }
    }

    fn has_backlog(&self) -> bool {
        self.calls.values().any(|entry| !entry.backlog.is_empty())
    }

    /// Moves what waits into the mailboxes that have room.
    fn flush(&mut self) {
        self.calls.values_mut().for_each(Entry::flush);
    }

    fn heard_from_trunk(&mut self, event: sip::Event) {
        if let sip::Event::Invited(invitation) = event {
            match invitation.replaces {
                Some(replaced) => self.replaced(replaced, invitation),
                None => self.invited(*invitation),
            }
            return;
        }
        if let sip::Event::Referred { leg, .. } = &event {
            self.name_spare_leg(*leg);
        }
        if let Some(call) = self.legs.get(&event.leg()).copied() {
            self.tell(call, Input::Sip(event));
        }
    }

    fn heard_from_browser(&mut self, event: signaling::Event) {
        let signaling::Event { session, kind } = event;
        match kind {
            signaling::EventKind::Closed => {
                for call in self.calls_of(session) {
                    self.tell(call, Input::AgentGone { session });
                }
            }
            signaling::EventKind::Replaced { by } => self.hand_over(session, by),
            signaling::EventKind::Request { token, call, request } => {
                if let CallRequest::Dial { to } = request {
                    self.dialled(session, token, call, &to);
                } else {
                    self.asked(session, token, call, request);
                }
            }
            // The presence table keeps these; a call goes on through them.
            signaling::EventKind::Opened(_) | signaling::EventKind::Lost | signaling::EventKind::Resumed => {}
        }
    }

    fn calls_of(&self, session: SignalingId) -> Vec<CallId> {
        self.calls.iter().filter(|(_, entry)| entry.concerns(session)).map(|(call, _)| *call).collect()
    }

    /// The same person's newer session takes their calls over. Where that is over already, or they are reached elsewhere
    /// now, the calls have lost their agent.
    fn hand_over(&mut self, old: SignalingId, new: SignalingId) {
        let extension = self.rooms.agent_of(new).map(|agent| agent.extension);
        for call in self.calls_of(old) {
            let leg = LegId::generate(self.clock.wall(self.clock.now()).unix_ms(), &mut self.rng);
            let Some(entry) = self.calls.get_mut(&call) else { continue };
            if extension.as_ref().is_some_and(|extension| entry.counts_for(extension)) {
                tracing::info!(%call, session = %new, "another page of the same agent takes the call over");
                entry.heir = Some(new);
                self.tell(call, Input::Reattached { from: old, session: new, leg });
            } else {
                self.tell(call, Input::AgentGone { session: old });
            }
        }
    }

    /// A foreign call is as unknown as one that never was.
    fn asked(&mut self, session: SignalingId, token: RequestToken, call: CallId, request: CallRequest) {
        if !self.calls.get(&call).is_some_and(|entry| entry.concerns(session)) {
            self.deny(session, token, ("call.unknown", "there is no such call"));
            return;
        }
        if let CallRequest::TransferTo { consult } = request {
            self.consulted(session, token, call, consult);
        } else {
            self.tell(call, Input::Request { from: session, token, request });
        }
    }

    /// An attended transfer needs to know of the agent's other call.
    fn consulted(&mut self, session: SignalingId, token: RequestToken, call: CallId, consult: CallId) {
        let Some(other) = self.calls.get(&consult).filter(|entry| entry.concerns(session) && consult != call) else {
            self.deny(session, token, ("call.unknown", "there is no such call"));
            return;
        };
        let standing = other.standing.borrow().clone();
        let consultation = (standing.is_answered && !standing.is_ending).then(|| Consultation {
            call: consult,
            leg: standing.trunk_leg,
            trunk: other.trunk.clone(),
            number: standing.number,
        });
        self.tell(call, Input::Consulted { from: session, token, consultation });
    }

    fn deny(&self, session: SignalingId, token: RequestToken, (code, message): (&str, &str)) {
        let retryable = code == "server.unavailable";
        let error = signaling::Error { code: code.to_owned(), message: message.to_owned(), retryable };
        self.rooms.signaling(session, signaling::Command::Reply { token, result: Err(error) });
    }

    fn gauge(&self) {
        #[expect(clippy::cast_precision_loss, reason = "a gauge; calls are far below 2^52")]
        metrics::gauge!(CALLS.name).set(self.calls.len() as f64);
    }
}

#[cfg(test)]
mod tests;
