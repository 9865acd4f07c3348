//! Finds the call that a message is for, and begins new ones.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use rand::RngCore;
use rand::rngs::StdRng;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::call::AgentParty;
use crate::call::Call;
use crate::call::CallIds;
use crate::call::Cause;
use crate::call::Config;
use crate::call::Input;
use crate::call::admission;
use crate::call::admission::DialRefused;
use crate::call::admission::Load;
use crate::call::call::Ground;
use crate::call::io::rooms::Control;
use crate::call::io::rooms::Events;
use crate::call::io::rooms::Rooms;
use crate::call::io::task;
use crate::call::io::task::Route;
use crate::call::record;
use crate::clock::Clock;
use crate::ids::CallId;
use crate::ids::Extension;
use crate::ids::LegId;
use crate::ids::RecordingId;
use crate::ids::SessionId;
use crate::ids::SignalingId;
use crate::limits::CALL_MAILBOX;
use crate::signaling;
use crate::signaling::CallRequest;
use crate::signaling::RequestToken;
use crate::sip;
use crate::sip::Invitation;
use crate::telemetry::metrics::{CALLS, CALLS_REFUSED};
use crate::worker;
use crate::worker::TapId;

/// How soon a full mailbox is tried again.
const BACKLOG_RETRY: std::time::Duration = std::time::Duration::from_millis(5);
/// Inputs that may wait for one call whose mailbox is full; one more ends the call.
const BACKLOG_MAX: usize = 256;

struct Entry {
    mailbox: mpsc::Sender<Input>,
    backlog: VecDeque<Input>,
    trunk_leg: LegId,
    session: SignalingId,
    extension: Extension,
    worker: usize,
    /// Set by the call's task: the agent is free again, though media closes and the recording seals.
    ending: Arc<AtomicBool>,
}

impl Entry {
    fn counts_for(&self, extension: &Extension) -> bool {
        self.extension == *extension && !self.ending.load(Ordering::Acquire)
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
    tasks: JoinSet<CallId>,
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
            tasks: JoinSet::new(),
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
            Control::EndAll => {
                let calls: Vec<CallId> = self.calls.keys().copied().collect();
                for call in calls {
                    self.tell(call, Input::Shutdown);
                }
            }
            Control::WhenEmpty(waiting) => {
                self.waiting.push(waiting);
                self.wake_waiting();
            }
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
                    self.legs.remove(&entry.trunk_leg);
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

    /// Ends on both sides what a dead call task cannot end itself.
    fn bury(&mut self, call: CallId) {
        let Some(entry) = self.calls.remove(&call) else { return };
        self.legs.remove(&entry.trunk_leg);
        let leg = entry.trunk_leg;
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
        let _full = self.rooms.worker(entry.worker, worker::Command::Close { call });
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
            self.invited(*invitation);
        } else if let Some(call) = self.legs.get(&event.leg()).copied() {
            self.tell(call, Input::Sip(event));
        }
    }

    fn invited(&mut self, invitation: Invitation) {
        let ids = self.new_ids(None, Some(invitation.leg));
        match self.admit(&invitation) {
            Ok((agent, trunk)) => {
                let ground = Ground { ids, agent, trunk, config: Arc::clone(&self.config), clock: self.clock };
                let (session, extension) = (ground.agent.session, ground.agent.extension.clone());
                let call = Call::inbound(ground, invitation, self.clock.now());
                self.begin(call, ids, session, extension);
            }
            Err(cause) => {
                let refusal = cause.refusal(self.config.retry_after);
                let leg = invitation.leg;
                let refused = record::refused_at_the_door(ids, &invitation, cause, self.clock.wall(self.clock.now()));
                self.rooms.record(refused);
                metrics::counter!(CALLS_REFUSED.name, "cause" => cause.word()).increment(1);
                if self.rooms.sip(sip::Command::Refuse { leg, refusal }).is_err() {
                    tracing::error!("a refusal found no room at the SIP task");
                }
            }
        }
    }

    fn admit(&self, invitation: &Invitation) -> Result<(AgentParty, crate::call::TrunkPolicy), Cause> {
        let extension = self.config.dial_plan.extension(&invitation.called).ok_or(Cause::UnknownExtension)?;
        let trunk = self.config.trunks.get(&invitation.trunk).ok_or(Cause::UnknownExtension)?;
        let agent = admission::admit_inbound(self.rooms.agent(&extension), self.load(&extension), &self.config)?;
        Ok((agent, trunk.clone()))
    }

    fn heard_from_browser(&mut self, event: signaling::Event) {
        let signaling::Event { session, kind } = event;
        match kind {
            signaling::EventKind::Closed => {
                let theirs: Vec<CallId> =
                    self.calls.iter().filter(|(_, entry)| entry.session == session).map(|(call, _)| *call).collect();
                for call in theirs {
                    self.tell(call, Input::AgentGone);
                }
            }
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

    /// A foreign call is as unknown as one that never was.
    fn asked(&mut self, session: SignalingId, token: RequestToken, call: CallId, request: CallRequest) {
        if self.calls.get(&call).is_some_and(|entry| entry.session == session) {
            self.tell(call, Input::Request { token, request });
        } else {
            self.deny(session, token, ("call.unknown", "there is no such call"));
        }
    }

    fn dialled(&mut self, session: SignalingId, token: RequestToken, call: CallId, to: &str) {
        let reply = |result| signaling::Command::Reply { token, result };
        if let Some(entry) = self.calls.get(&call) {
            // The client made the id: the same request again is answered again, somebody else's id is refused.
            if entry.session == session {
                self.rooms.signaling(session, reply(Ok(())));
            } else {
                self.deny(session, token, ("call.unknown", "there is no such call"));
            }
            return;
        }
        let Some(agent) = self.rooms.agent_of(session) else {
            self.deny(session, token, ("agent.forbidden", "this user has no extension"));
            return;
        };
        let load = self.load(&agent.extension);
        let admitted = admission::admit_outbound(&agent.extension, to, load, &self.config);
        let routed = admitted.and_then(|(trunk, number)| match self.config.trunks.get(&trunk) {
            Some(policy) => Ok((trunk, number, policy.clone())),
            None => Err(DialRefused::Denied(crate::routing::Denied::NoRule)),
        });
        match routed {
            Ok((trunk, number, policy)) => {
                self.rooms.signaling(session, reply(Ok(())));
                let ids = self.new_ids(Some(call), None);
                let extension = agent.extension.clone();
                let ground = Ground { ids, agent, trunk: policy, config: Arc::clone(&self.config), clock: self.clock };
                let call = Call::outbound(ground, trunk, number, self.clock.now());
                self.begin(call, ids, session, extension);
            }
            Err(DialRefused::Denied(denied)) => self.deny(session, token, ("call.forbidden", &denied.to_string())),
            Err(DialRefused::Refused(Cause::AgentBusy)) => {
                self.deny(session, token, ("agent.limit", "this agent has as many calls as allowed"));
            }
            Err(DialRefused::Refused(cause)) => self.deny(session, token, ("server.unavailable", cause.word())),
        }
    }

    fn deny(&self, session: SignalingId, token: RequestToken, (code, message): (&str, &str)) {
        let retryable = code == "server.unavailable";
        let error = signaling::Error { code: code.to_owned(), message: message.to_owned(), retryable };
        self.rooms.signaling(session, signaling::Command::Reply { token, result: Err(error) });
    }

    fn begin(&mut self, call: Call, ids: CallIds, session: SignalingId, extension: Extension) {
        let worker = self.quietest_worker();
        let (mailbox, inbox) = mpsc::channel(CALL_MAILBOX);
        let ending = Arc::new(AtomicBool::new(false));
        let (rooms, clock) = (Arc::clone(&self.rooms), self.clock);
        let route = Route { rooms, session, worker, clock, ending: Arc::clone(&ending) };
        let (trunk_leg, backlog) = (ids.trunk_leg, VecDeque::new());
        let entry = Entry { mailbox, backlog, trunk_leg, session, extension, worker, ending };
        self.legs.insert(ids.trunk_leg, ids.call);
        self.calls.insert(ids.call, entry);
        tracing::info!(call = %ids.call, session_id = %ids.session, "call begins");
        self.tasks.spawn(task::run(call, ids.call, inbox, route));
        self.gauge();
    }

    fn quietest_worker(&self) -> usize {
        let mut loads = vec![0_usize; self.rooms.workers().max(1)];
        for entry in self.calls.values() {
            if let Some(load) = loads.get_mut(entry.worker) {
                *load += 1;
            }
        }
        loads.iter().enumerate().min_by_key(|(_, load)| **load).map_or(0, |(worker, _)| worker)
    }

    fn load(&self, extension: &Extension) -> Load {
        let agent_calls = self.calls.values().filter(|entry| entry.counts_for(extension)).count();
        Load { calls: self.calls.len(), agent_calls, draining: self.draining }
    }

    fn gauge(&self) {
        #[expect(clippy::cast_precision_loss, reason = "a gauge; calls are far below 2^52")]
        metrics::gauge!(CALLS.name).set(self.calls.len() as f64);
    }

    fn new_ids(&mut self, call: Option<CallId>, trunk_leg: Option<LegId>) -> CallIds {
        let unix_ms = self.clock.wall(self.clock.now()).unix_ms();
        let rng = &mut self.rng;
        CallIds {
            call: call.unwrap_or_else(|| CallId::generate(unix_ms, rng)),
            // The user agent has put the leg's bytes into its answers as our half of the Session-ID.
            session: trunk_leg
                .map_or_else(|| SessionId::generate(rng), |leg| SessionId::from_bytes(*leg.as_uuid().as_bytes())),
            trunk_leg: trunk_leg.unwrap_or_else(|| LegId::generate(unix_ms, rng)),
            agent_leg: LegId::generate(unix_ms, rng),
            recording: RecordingId::generate(unix_ms, rng),
            tap: TapId(rng.next_u64()),
            // RFC 8866 5.2 wants a number; half the range keeps it inside what every parser takes.
            sdp_session: rng.next_u64() >> 1,
        }
    }
}
