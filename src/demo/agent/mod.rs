//! Headless agents: they log in as a browser does, answer the gateway's offers and carry real media.
//!
//! Their WebRTC stack is the crate `rtc`, which shares no code with the gateway's, so that nobody on the other side
//! of a proof is ourselves.

mod call;
mod peer;
mod signaling;
mod sound;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::demo::ladder::Ladder;
use crate::signaling::{AgentState, HeldBy};

pub use call::Heard;
pub use sound::{HEARD_RATE, Mode};

/// Events and requests that wait for their reader.
const MAILBOX: usize = 256;
/// How long an agent may take to log in.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(15);

/// Who an agent is and what they do.
#[derive(Debug, Clone)]
pub struct AgentOptions {
    /// The gateway's HTTP address.
    pub gateway: SocketAddr,
    /// Login name.
    pub user: String,
    /// Password.
    pub password: String,
    /// What they say.
    pub mode: Mode,
    /// How long it rings before they accept; None: they let it ring.
    pub answer_after: Option<Duration>,
    /// What they say of their readiness.
    pub state: AgentState,
    /// Where their signalling is noted.
    pub ladder: Option<Ladder>,
    /// The clock.
    pub clock: Clock,
}

/// What an agent tells its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentEvent {
    /// Logged in, and the gateway knows their state.
    LoggedIn,
    /// The connection is gone; the agent tries again by itself.
    Disconnected {
        /// Why.
        reason: String,
    },
    /// A call came in and rings.
    Incoming {
        /// The call.
        call_id: String,
        /// The caller.
        from: String,
    },
    /// A dialled call rings at the far side.
    Ringing {
        /// The call.
        call_id: String,
    },
    /// A call is answered: audio crosses.
    Answered {
        /// The call.
        call_id: String,
    },
    /// A call is over.
    Ended {
        /// The call.
        call_id: String,
        /// The gateway's word for it.
        reason: String,
        /// What the agent heard.
        heard: Heard,
    },
    /// A call is on hold.
    Held {
        /// The call.
        call_id: String,
        /// By whom.
        by: HeldBy,
    },
    /// A hold ended.
    Resumed {
        /// The call.
        call_id: String,
        /// Whose.
        by: HeldBy,
    },
    /// A transfer went through; the call's end follows.
    Transferred {
        /// The call.
        call_id: String,
    },
    /// A transfer failed, and the call is back on the line.
    TransferFailed {
        /// The call.
        call_id: String,
        /// The gateway's word for it.
        reason: String,
    },
    /// The other side transferred the call: who is on the line now.
    Party {
        /// The call.
        call_id: String,
        /// Their number.
        number: String,
    },
    /// What was heard since the last report, on request.
    Report {
        /// The call.
        call_id: String,
        /// Since the last report.
        heard: Heard,
    },
    /// The gateway refused a request.
    Refused {
        /// The method.
        method: String,
        /// The gateway's words.
        error: String,
    },
}

impl AgentEvent {
    /// Nobody has to read an agent's events.
    fn tell(self, owner: &mpsc::Sender<Self>) {
        if owner.try_send(self).is_err() {
            tracing::trace!("an agent's event was not read");
        }
    }
}

impl AgentEvent {
    /// What was heard, if the event is a call's end.
    pub fn heard(&self) -> Option<Heard> {
        if let Self::Ended { heard, .. } = self { Some(heard.clone()) } else { None }
    }

    /// What was heard in this call, if the event is its end.
    pub fn heard_in(&self, call: &str) -> Option<Heard> {
        if let Self::Ended { call_id, heard, .. } = self
            && call_id == call
        {
            return Some(heard.clone());
        }
        None
    }
}

/// What an agent can be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentRequest {
    /// Place a call.
    Dial {
        /// A fresh `UUIDv7`, by which its events will name it.
        call_id: String,
        /// The number.
        to: String,
    },
    /// Send digits in a call.
    Digits {
        /// The call.
        call_id: String,
        /// Which.
        digits: String,
    },
    /// Put a call on hold.
    Hold {
        /// The call.
        call_id: String,
    },
    /// End one's own hold.
    Resume {
        /// The call.
        call_id: String,
    },
    /// Hand a call over to a number.
    Transfer {
        /// The call.
        call_id: String,
        /// The number.
        to: String,
    },
    /// Hand a call over to the party of one's other call.
    TransferTo {
        /// The call.
        call_id: String,
        /// The other call.
        consult: String,
    },
    /// Tell what was heard since the last report, and forget it.
    Report {
        /// The call.
        call_id: String,
    },
    /// End a call.
    HangUp {
        /// The call.
        call_id: String,
    },
}

/// A running agent; it ends when this is dropped.
#[derive(Debug)]
pub struct Agent {
    events: mpsc::Receiver<AgentEvent>,
    requests: mpsc::Sender<AgentRequest>,
    task: JoinHandle<()>,
}

impl AgentOptions {
    /// An agent of the demo's directory, who is available, answers after 1 s and does as `mode` says.
    pub fn of(user: &str, gateway: SocketAddr, mode: Mode, clock: Clock) -> Self {
        Self {
            gateway,
            user: user.to_owned(),
            password: format!("{user}-demo"),
            mode,
            answer_after: Some(Duration::from_secs(1)),
            state: AgentState::Available,
            ladder: None,
            clock,
        }
    }
}

impl Agent {
    /// Starts an agent and waits until they are logged in.
    pub async fn log_in(options: AgentOptions) -> Result<Self> {
        let what = format!("{} to be logged in", options.user);
        let mut agent = Self::start(options);
        let logged_in = |event: &AgentEvent| (*event == AgentEvent::LoggedIn).then_some(());
        agent.wait_for(&what, LOGIN_TIMEOUT, logged_in).await?;
        Ok(agent)
    }

    /// Starts an agent. It connects, and connects again, until it is dropped.
    pub fn start(options: AgentOptions) -> Self {
        let (outbox, events) = mpsc::channel(MAILBOX);
        let (requests, inbox) = mpsc::channel(MAILBOX);
        let task = tokio::spawn(signaling::stay_connected(options, inbox, outbox));
        Self { events, requests, task }
    }

    /// The next event. Events that nobody reads are lost beyond the first 256: an echo needs no reader.
    pub async fn next_event(&mut self) -> Result<AgentEvent> {
        self.events.recv().await.context("the agent ended")
    }

    /// Waits for the first event of which `pick` makes something, for at most `limit`.
    pub async fn wait_for<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut pick: impl FnMut(&AgentEvent) -> Option<T>,
    ) -> Result<T> {
        let mut last = None;
        let found = tokio::time::timeout(limit, self.find(&mut last, &mut pick)).await;
        found.with_context(|| format!("the agent waited {limit:?} for: {what}; last event: {last:?}"))?
    }

    async fn find<T>(
        &mut self,
        last: &mut Option<AgentEvent>,
        pick: &mut impl FnMut(&AgentEvent) -> Option<T>,
    ) -> Result<T> {
        loop {
            let event = self.next_event().await?;
            let found = pick(&event);
            *last = Some(event);
            if let Some(found) = found {
                return Ok(found);
            }
        }
    }

    /// Asks the agent to do something.
    pub async fn request(&self, request: AgentRequest) -> Result<()> {
        self.requests.send(request).await.context("the agent ended")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests;
