//! One client's session: its requests, its notifications, and its life beyond a lost socket.

mod calls;
mod opening;
mod replay;
mod requests;
#[cfg(test)]
mod tests;

pub use opening::{Opened, Opening, OpeningInput, OpeningOutput, OpeningTimer, Verified};

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::auth::{Identity, Role};
use crate::ids::{CallId, SignalingId};
use crate::limits::{SIGNALING_MESSAGE_BYTES_MAX, SIGNALING_PING_INTERVAL};
use crate::signaling::message::{
    AgentView, Frame, IceServer, Limits, OpenResult, RequestId, ServerNotification, StatsReport,
};
use crate::signaling::message::{notification, opened};
use crate::signaling::rate::Rate;
use crate::signaling::{AgentState, CloseCode, Command, Config, EventKind, Notification, RequestToken};
use crate::timer::Timers;
use calls::{Calls, Once};
use replay::Replay;

/// What happens to a session.
#[derive(Debug)]
pub enum Input {
    /// A text frame.
    Text(String),
    /// A binary frame: nothing of ours is binary.
    Binary,
    /// A WebSocket pong.
    Pong,
    /// What the call room wants of this client.
    Command(Command),
    /// The socket is gone. Where the client closed it with 1000, the session is over.
    SocketLost {
        /// Closed with 1000.
        goodbye: bool,
    },
    /// The client is back on a new socket.
    Resumed {
        /// Its `session.open`.
        id: RequestId,
        /// The last number that it saw.
        seq: u64,
    },
    /// The same user opened another session; which one, where that is known.
    Replaced(Option<SignalingId>),
}

/// What to do.
#[derive(Debug, Clone)]
pub enum Output {
    /// Send this text.
    Send(String),
    /// Send a WebSocket ping.
    Ping,
    /// Close the socket. The session lives on, unless [`Output::Ended`] follows.
    CloseSocket(CloseCode),
    /// Tell the call room.
    Event(EventKind),
    /// The agent's state is this from now on.
    State(AgentState),
    /// A call is this session's from now on, by dialling.
    CallBegan(CallId),
    /// A call that was dialled never came to be.
    CallFailed(CallId),
    /// The client's figures, for whoever measures.
    Stats(StatsReport),
    /// The session is over; nothing follows.
    Ended,
}

/// The timers of a [`Session`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SessionTimer {
    /// The next WebSocket ping, and the judgement of the last.
    Ping,
    /// A session without a socket ends.
    Grace,
}

/// Where the session is.
#[derive(Debug)]
enum Phase {
    /// A client is there.
    Connected {
        /// A ping awaits its pong.
        ping_unanswered: bool,
        rate: Rate,
    },
    /// The client may come back.
    Detached,
    Over,
}

/// A request that the call room has not answered yet.
#[derive(Debug)]
struct Pending {
    call: CallId,
    once: Option<Once>,
    /// Who asks: more than one where a client repeats itself; none where its socket is gone.
    ids: Vec<RequestId>,
}

/// The machine of one session, from its open to its end.
#[derive(Debug)]
pub struct Session {
    id: SignalingId,
    identity: Identity,
    state: AgentState,
    phase: Phase,
    calls: Calls,
    pending: BTreeMap<RequestToken, Pending>,
    next_token: u64,
    replay: Replay,
    timers: Timers<SessionTimer>,
    outputs: VecDeque<Output>,
    calls_max: usize,
    messages_per_second: u32,
    resume_grace: Duration,
    ice_servers: Vec<IceServer>,
    emergency_calls: bool,
}

impl Session {
    /// A session that `opened` asked for.
    pub fn new(id: SignalingId, opened: Opened, config: &Config, now: Instant) -> Self {
        let mut session = Self {
            id,
            calls_max: config.calls_max_for(opened.identity.extension.as_ref()),
            state: AgentState::Offline,
            phase: Phase::Detached,
            calls: Calls::default(),
            pending: BTreeMap::new(),
            next_token: 1,
            replay: Replay::default(),
            timers: Timers::default(),
            outputs: VecDeque::new(),
            messages_per_second: config.messages_per_second,
            resume_grace: config.resume_grace,
            ice_servers: config.ice_servers.clone(),
            emergency_calls: config.emergency_calls,
            identity: opened.identity,
        };
        session.connect(now);
        session.outputs.push_back(Output::Event(EventKind::Opened(Box::new(session.identity.clone()))));
        session.answer_open(&opened.id, None);
        session
    }

    /// Takes one input.
    pub fn handle(&mut self, input: Input, now: Instant) {
        if matches!(self.phase, Phase::Over) {
            return;
        }
        match input {
            Input::Text(text) => self.on_text(&text, now),
            Input::Binary => self.end(Some(CloseCode::BadMessage)),
            Input::Pong => self.heard(),
            Input::Command(command) => self.on_command(command, now),
            Input::SocketLost { goodbye: true } => self.end(None),
            Input::SocketLost { goodbye: false } => self.detach(now),
            Input::Resumed { id, seq } => self.on_resumed(&id, seq, now),
            Input::Replaced(by) => self.on_replaced(by, now),
        }
    }

    /// Fires what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(timer) = self.timers.pop_due(now) {
            match timer {
                SessionTimer::Ping => self.on_ping_timer(now),
                SessionTimer::Grace => self.end(None),
            }
        }
    }

    /// When to call [`Self::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<(Instant, SessionTimer)> {
        self.timers.next()
    }

    /// What to do next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Whether this person can be called at all.
    fn is_agent(&self) -> bool {
        self.identity.has(Role::Agent) && self.identity.extension.is_some()
    }

    fn send(&mut self, text: String) {
        if matches!(self.phase, Phase::Connected { .. }) {
            self.outputs.push_back(Output::Send(text));
        }
    }

    fn connect(&mut self, now: Instant) {
        self.phase = Phase::Connected { ping_unanswered: false, rate: Rate::new(self.messages_per_second, now) };
        self.timers.stop(SessionTimer::Grace);
        self.timers.set(SessionTimer::Ping, now + SIGNALING_PING_INTERVAL);
    }

    /// The socket is gone, and the client may come back.
    fn detach(&mut self, now: Instant) {
        if !matches!(self.phase, Phase::Connected { .. }) {
            return;
        }
        self.phase = Phase::Detached;
        for pending in self.pending.values_mut() {
            pending.ids.clear();
        }
        self.timers.stop(SessionTimer::Ping);
        self.timers.set(SessionTimer::Grace, now + self.resume_grace);
        self.outputs.push_back(Output::Event(EventKind::Lost));
    }

    fn drop_socket(&mut self, code: CloseCode, now: Instant) {
        self.outputs.push_back(Output::CloseSocket(code));
        self.detach(now);
    }

    fn end(&mut self, code: Option<CloseCode>) {
        self.end_as(EventKind::Closed, code);
    }

    fn end_as(&mut self, kind: EventKind, code: Option<CloseCode>) {
        if let (Some(code), Phase::Connected { .. }) = (code, &self.phase) {
            self.outputs.push_back(Output::CloseSocket(code));
        }
        self.phase = Phase::Over;
        self.timers.clear();
        self.pending.clear();
        self.outputs.push_back(Output::Event(kind));
        self.outputs.push_back(Output::Ended);
    }

    fn heard(&mut self) {
        if let Phase::Connected { ping_unanswered, .. } = &mut self.phase {
            *ping_unanswered = false;
        }
    }

    fn on_ping_timer(&mut self, now: Instant) {
        match &mut self.phase {
            Phase::Connected { ping_unanswered: true, .. } => self.drop_socket(CloseCode::Timeout, now),
            Phase::Connected { ping_unanswered, .. } => {
                *ping_unanswered = true;
                self.outputs.push_back(Output::Ping);
                self.timers.set(SessionTimer::Ping, now + SIGNALING_PING_INTERVAL);
            }
            Phase::Detached | Phase::Over => {}
        }
    }

    fn on_text(&mut self, text: &str, now: Instant) {
        let Phase::Connected { rate, .. } = &mut self.phase else { return };
        if !rate.take(now) {
            return self.drop_socket(CloseCode::TryAgainLater, now);
        }
        self.heard();
        if text.len() > SIGNALING_MESSAGE_BYTES_MAX {
            return self.end(Some(CloseCode::BadMessage));
        }
        match Frame::read(text) {
            Frame::Request { id, request } => self.on_request(id, *request, now),
            Frame::Refused(Some(answer)) => self.send(answer),
            Frame::Refused(None) => {}
            Frame::Broken => self.end(Some(CloseCode::BadMessage)),
        }
    }

    fn on_command(&mut self, command: Command, now: Instant) {
        match command {
            Command::Reply { token, result } => self.on_reply(token, &result),
            Command::Notify(notification) => self.on_notify(notification, now),
            Command::SetState(state) => self.set_state(state, now),
            Command::Close { code } => self.end(Some(code)),
        }
    }

    fn on_notify(&mut self, notification: Notification, now: Instant) {
        if let Some(ended) = self.calls.follow(&notification) {
            self.answer_pending_of(ended);
        }
        self.notify(|seq| ServerNotification::new(seq, notification), now);
    }

    fn notify(&mut self, body: impl FnOnce(u64) -> ServerNotification, now: Instant) {
        let text = notification(&body(self.replay.next_seq()));
        self.replay.push(text.clone(), now);
        self.send(text);
    }

    fn on_resumed(&mut self, id: &RequestId, seq: u64, now: Instant) {
        // A client may be back before its old socket is known to be dead: the shell has put the new one in its place.
        self.detach(now);
        self.connect(now);
        self.outputs.push_back(Output::Event(EventKind::Resumed));
        let missed = self.replay.since(seq, now);
        self.answer_open(id, Some(missed.is_some()));
        for text in missed.unwrap_or_default() {
            self.send(text);
        }
    }

    fn on_replaced(&mut self, by: Option<SignalingId>, now: Instant) {
        self.notify(|seq| ServerNotification::Replaced { seq }, now);
        let kind = by.map_or(EventKind::Closed, |by| EventKind::Replaced { by });
        self.end_as(kind, Some(CloseCode::Replaced));
    }

    /// `resumed` says, of an earlier session that goes on, whether everything that was missed follows.
    fn answer_open(&mut self, id: &RequestId, resumed: Option<bool>) {
        let result = OpenResult {
            session_id: self.id,
            heartbeat_s: SIGNALING_PING_INTERVAL.as_secs(),
            resumed: resumed.is_some(),
            replayed: resumed.unwrap_or(false),
            seq: self.replay.last_seq(),
            ice_servers: self.ice_servers.clone(),
            emergency_calls: self.emergency_calls,
            calls: self.calls.snapshots(),
            agent: AgentView {
                user: self.identity.user.clone(),
                extension: self.identity.extension.as_ref().map(|extension| extension.as_str().to_owned()),
                name: self.identity.display_name.clone(),
                state: self.state,
            },
            limits: Limits {
                message_bytes: SIGNALING_MESSAGE_BYTES_MAX,
                messages_per_second: self.messages_per_second,
                calls: self.calls_max,
            },
        };
        self.send(opened(id, &result));
    }
}
