//! The one registry of agents and their sessions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rand::RngCore;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use crate::auth::Identity;
use crate::clock::Clock;
use crate::ids::{CallId, Extension, SignalingId};
use crate::limits::SIGNALING_QUEUE;
use crate::signaling::io::joining::Joining;
use crate::signaling::session::Opened;
use crate::signaling::{AgentState, CloseCode, Command, Config, Event, Notification};

/// What reaches a session's task.
#[derive(Debug)]
pub(super) enum Control {
    /// From the call room.
    Command(Command),
    /// The client is back, on this socket.
    Resume(Box<Joining>),
    /// The same user opened this other session.
    Replaced(SignalingId),
}

/// A session's place in the registry.
#[derive(Debug)]
struct Entry {
    identity: Identity,
    login: Option<String>,
    state: AgentState,
    connected: bool,
    calls: BTreeSet<CallId>,
    mailbox: mpsc::Sender<Control>,
}

/// An agent as they are now.
#[derive(Debug, Clone)]
pub struct AgentSnapshot {
    /// Who.
    pub identity: Identity,
    /// Whether they take calls.
    pub state: AgentState,
    /// Their sessions, newest first.
    pub sessions: Vec<SignalingId>,
    /// A socket is there. Where not, the client may be back within the grace period.
    pub connected: bool,
    /// Calls that they have, ringing ones included.
    pub calls_active: usize,
    /// Calls that they may have at once.
    pub calls_max: usize,
}

struct Table {
    sessions: BTreeMap<SignalingId, Entry>,
    rng: Box<dyn RngCore + Send>,
}

/// Who is there, and the way to them. All methods are short and never wait.
pub struct Presence {
    #[expect(
        clippy::disallowed_types,
        reason = "the one registry of this room; held for table look-ups only, never across an await"
    )]
    table: std::sync::Mutex<Table>,
    config: Config,
    clock: Clock,
    events: mpsc::Sender<Event>,
    tracker: TaskTracker,
}

impl std::fmt::Debug for Presence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Presence").field("sessions", &self.with(|table| table.sessions.len())).finish_non_exhaustive()
    }
}

impl Presence {
    /// An empty registry. Every session's events go to `events`; its tasks run in `tracker`.
    pub fn new(
        config: Config,
        clock: Clock,
        rng: Box<dyn RngCore + Send>,
        events: mpsc::Sender<Event>,
        tracker: TaskTracker,
    ) -> Arc<Self> {
        #[expect(clippy::disallowed_types, reason = "see the field")]
        let table = std::sync::Mutex::new(Table { sessions: BTreeMap::new(), rng });
        Arc::new(Self { table, config, clock, events, tracker })
    }

    /// The room's settings.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    pub(super) const fn clock(&self) -> Clock {
        self.clock
    }

    pub(super) const fn tracker(&self) -> &TaskTracker {
        &self.tracker
    }

    pub(super) const fn events(&self) -> &mpsc::Sender<Event> {
        &self.events
    }

    /// A table that a panicking thread left behind is whole: no method leaves it half changed.
    fn with<T>(&self, look: impl FnOnce(&mut Table) -> T) -> T {
        look(&mut self.table.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// The agent at `extension`, where a session of theirs is open.
    pub fn agent(&self, extension: &Extension) -> Option<AgentSnapshot> {
        self.snapshot(|identity| identity.extension.as_ref() == Some(extension))
    }

    /// The person with this user name, where a session of theirs is open.
    pub fn user(&self, user: &str) -> Option<AgentSnapshot> {
        self.snapshot(|identity| identity.user == user)
    }

    /// Everybody who has a session, by user name.
    pub fn everybody(&self) -> Vec<AgentSnapshot> {
        let users: BTreeSet<String> =
            self.with(|table| table.sessions.values().map(|entry| entry.identity.user.clone()).collect());
        users.iter().filter_map(|user| self.user(user)).collect()
    }

    fn snapshot(&self, wanted: impl Fn(&Identity) -> bool) -> Option<AgentSnapshot> {
        self.with(|table| {
            // Identifiers sort by the time of their making: the newest is last.
            let mut found = table.sessions.iter().rev().filter(|(_, entry)| wanted(&entry.identity)).peekable();
            let (_, newest) = found.peek()?;
            let mut snapshot = AgentSnapshot {
                identity: newest.identity.clone(),
                state: newest.state,
                sessions: Vec::new(),
                connected: false,
                calls_active: 0,
                calls_max: self.config.calls_max_for(newest.identity.extension.as_ref()),
            };
            for (id, entry) in found {
                snapshot.sessions.push(*id);
                snapshot.connected |= entry.connected;
                snapshot.calls_active += entry.calls.len();
            }
            Some(snapshot)
        })
    }

    /// Who is behind a session.
    pub fn identity(&self, session: SignalingId) -> Option<Identity> {
        self.with(|table| table.sessions.get(&session).map(|entry| entry.identity.clone()))
    }

    /// Hands `command` to a session. `false` where there is no such session, or its mailbox is full.
    ///
    /// A call that comes in, or comes back, counts as the agent's from this moment on, so that two at once see each other.
    pub fn send(&self, session: SignalingId, command: Command) -> bool {
        self.with(|table| {
            let Some(entry) = table.sessions.get_mut(&session) else { return false };
            let begun = match &command {
                Command::Notify(Notification::Incoming { call, .. } | Notification::Reattach { call, .. }) => {
                    Some(*call)
                }
                Command::Reply { .. } | Command::Notify(_) | Command::SetState(_) | Command::Close { .. } => None,
            };
            if let Command::Notify(Notification::Ended { call, .. }) = &command {
                entry.calls.remove(call);
            }
            let sent = entry.mailbox.try_send(Control::Command(command)).is_ok();
            entry.calls.extend(begun.filter(|_| sent));
            sent
        })
    }

    /// Tells every session that the gateway takes no new calls.
    pub fn announce_draining(&self) {
        let sessions: Vec<SignalingId> = self.with(|table| table.sessions.keys().copied().collect());
        for session in sessions {
            self.send(session, Command::Notify(Notification::Draining));
        }
    }

    /// Closes every session of a user: disabled, or no longer with any right.
    pub fn close_user(&self, user: &str, code: CloseCode) {
        self.close_where(|entry| entry.identity.user == user, code);
    }

    /// Closes the sessions of one login, by its name in [`Verified::login`](crate::signaling::session::Verified): logged out.
    pub fn close_login(&self, login: &str, code: CloseCode) {
        self.close_where(|entry| entry.login.as_deref() == Some(login), code);
    }

    /// Closes every session, as at a restart.
    pub fn close_all(&self, code: CloseCode) {
        self.close_where(|_| true, code);
    }

    fn close_where(&self, which: impl Fn(&Entry) -> bool, code: CloseCode) {
        let chosen: Vec<SignalingId> =
            self.with(|table| table.sessions.iter().filter(|(_, entry)| which(entry)).map(|(id, _)| *id).collect());
        for session in chosen {
            self.send(session, Command::Close { code });
        }
    }

    /// Enters a new session; older ones of the same user are told that they are replaced. `None` where the table is full.
    pub(super) fn attach(&self, opened: &Opened) -> Option<(SignalingId, mpsc::Receiver<Control>)> {
        let identity = &opened.identity;
        let unix_ms = self.clock.wall(self.clock.now()).unix_ms();
        let (mailbox, control) = mpsc::channel(SIGNALING_QUEUE);
        self.with(|table| {
            let others: Vec<SignalingId> = table
                .sessions
                .iter()
                .filter(|(_, entry)| entry.identity.user == identity.user)
                .map(|(id, _)| *id)
                .collect();
            if table.sessions.len() >= self.config.sessions_max && others.is_empty() {
                return None;
            }
            let id = SignalingId::generate(unix_ms, &mut *table.rng);
            // Out of the table at once: nothing new is sent to them. Where a mailbox is full, its end ends the session.
            for replaced in others.into_iter().filter_map(|other| table.sessions.remove(&other)) {
                let _told_or_full = replaced.mailbox.try_send(Control::Replaced(id));
            }
            let entry = Entry {
                identity: identity.clone(),
                login: opened.login.clone(),
                state: AgentState::Offline,
                connected: true,
                calls: BTreeSet::new(),
                mailbox,
            };
            table.sessions.insert(id, entry);
            Some((id, control))
        })
    }

    /// Takes a session out.
    pub(super) fn detach(&self, session: SignalingId) {
        self.with(|table| table.sessions.remove(&session));
    }

    /// Hands a socket to the session that it wants to go on with, if that is the same user's; gives it back otherwise.
    pub(super) fn resume(&self, session: SignalingId, joining: Box<Joining>) -> Result<(), Box<Joining>> {
        self.with(|table| {
            let Some(entry) =
                table.sessions.get(&session).filter(|entry| entry.identity.user == joining.opened.identity.user)
            else {
                return Err(joining);
            };
            let Ok(permit) = entry.mailbox.try_reserve() else { return Err(joining) };
            permit.send(Control::Resume(joining));
            Ok(())
        })
    }

    pub(super) fn set_state(&self, session: SignalingId, state: AgentState) {
        self.change(session, |entry| entry.state = state);
    }

    pub(super) fn set_connected(&self, session: SignalingId, connected: bool) {
        self.change(session, |entry| entry.connected = connected);
    }

    pub(super) fn call_began(&self, session: SignalingId, call: CallId) {
        self.change(session, |entry| {
            entry.calls.insert(call);
        });
    }

    pub(super) fn call_failed(&self, session: SignalingId, call: CallId) {
        self.change(session, |entry| {
            entry.calls.remove(&call);
        });
    }

    fn change(&self, session: SignalingId, change: impl FnOnce(&mut Entry)) {
        self.with(|table| table.sessions.get_mut(&session).map(change));
    }
}
