//! The SIP task: the one owner of the user agent and of its sockets.

use std::collections::VecDeque;
use std::time::Instant;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::limits;
use crate::sip::Command;
use crate::sip::Event;
use crate::sip::io::Inbound;
use crate::sip::io::Transports;
use crate::sip::user_agent::Counter;
use crate::sip::user_agent::Input;
use crate::sip::user_agent::Output;
use crate::sip::user_agent::UserAgent;

/// The way to the SIP task. Cheap to clone; the task ends when the last one is dropped.
#[derive(Debug, Clone)]
pub struct SipHandle {
    commands: mpsc::Sender<Command>,
}

/// The command was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// [`limits::SIP_COMMANDS`] commands wait already: refuse new calls.
    #[error("the SIP task is overloaded")]
    Full,
    /// The task has ended.
    #[error("the SIP task has ended")]
    Ended,
}

impl SipHandle {
    /// Hands a command over. Never waits.
    pub fn try_send(&self, command: Command) -> Result<(), SendError> {
        self.commands.try_send(command).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SendError::Full,
            mpsc::error::TrySendError::Closed(_) => SendError::Ended,
        })
    }
}

/// The two ends of the way to the SIP task: the second is for [`run`].
pub fn commands() -> (SipHandle, mpsc::Receiver<Command>) {
    let (sender, receiver) = mpsc::channel(limits::SIP_COMMANDS);
    (SipHandle { commands: sender }, receiver)
}

/// Runs the SIP side until `stop`, or until every [`SipHandle`] is dropped; then closes the sockets.
///
/// Events that `events` has no room for wait here. Where too many wait, nothing more is read: peers send again, and
/// commands wait in their channel.
pub async fn run(
    agent: UserAgent,
    transports: Transports,
    mut commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<Event>,
    clock: Clock,
    stop: CancellationToken,
) {
    let mut task = SipTask { agent, transports, events, waiting: VecDeque::new() };
    loop {
        let has_room = task.waiting.len() < limits::SIP_EVENTS_WAITING;
        let deadline = task.agent.poll_timeout().map(|(at, _)| at);
        tokio::select! {
            () = stop.cancelled() => break,
            inbound = task.transports.recv(), if has_room => task.inbound(inbound, clock.now()),
            command = commands.recv(), if has_room => match command {
                Some(command) => task.agent.handle(Input::Command(command), clock.now()),
                None => break,
            },
            permit = task.events.reserve(), if !task.waiting.is_empty() => {
                let Ok(permit) = permit else { break };
                if let Some(event) = task.waiting.pop_front() {
                    permit.send(event);
                }
            }
            () = sleep_until(deadline) => task.agent.handle_timeout(clock.now()),
        }
        task.drain();
    }
    task.transports.shutdown().await;
}

struct SipTask {
    agent: UserAgent,
    transports: Transports,
    events: mpsc::Sender<Event>,
    waiting: VecDeque<Event>,
}

impl SipTask {
    fn inbound(&mut self, inbound: Inbound, now: Instant) {
        match inbound {
            Inbound::Message { flow, bytes } => self.agent.handle(Input::Received { flow, bytes }, now),
            Inbound::Opened { flow } => tracing::debug!(peer = %flow.remote, "stream opened"),
            Inbound::Closed { flow, reason } => {
                tracing::debug!(peer = %flow.remote, %reason, "stream closed");
                self.agent.handle(Input::FlowFailed { flow }, now);
            }
            Inbound::SendFailed { flow, error } => {
                tracing::debug!(peer = %flow.remote, %error, "message not sent");
                self.agent.handle(Input::FlowFailed { flow }, now);
            }
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.agent.poll_output() {
            match output {
                Output::Send { flow, bytes } => self.transports.send(flow, bytes),
                Output::Event(event) => self.tell(event),
                Output::Count(counter) => {
                    metrics::counter!("tandem_sip_messages_total", "what" => counter_label(counter)).increment(1);
                }
            }
        }
    }

    /// Passes an event on, behind those that wait.
    fn tell(&mut self, event: Event) {
        if !self.waiting.is_empty() {
            self.waiting.push_back(event);
            return;
        }
        match self.events.try_send(event) {
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
            Err(mpsc::error::TrySendError::Full(event)) => self.waiting.push_back(event),
        }
    }
}

const fn counter_label(counter: Counter) -> &'static str {
    match counter {
        Counter::UnknownSource => "unknown_source",
        Counter::Malformed => "malformed",
        Counter::StrayResponse => "stray_response",
        Counter::Overload => "overload",
        Counter::Retransmission => "retransmission",
        Counter::Rejected => "rejected",
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
