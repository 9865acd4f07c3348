//! What the registry needs of the rest of the house: ways to the other rooms, and what they report.

use tokio::sync::mpsc;

use crate::call::AgentParty;
use crate::call::CallRecord;
use crate::call::Destination;
use crate::call::PartnerWord;
use crate::call::admission::AgentStanding;
use crate::ids::CallId;
use crate::ids::Extension;
use crate::ids::SignalingId;
use crate::recording;
use crate::signaling;
use crate::sip;
use crate::trace::Observation;
use crate::worker;

/// A room's queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the {0} takes no more commands")]
pub struct Full(pub &'static str);

/// The other rooms, as the composition root wired them. No method waits.
pub trait Rooms: Send + Sync {
    /// Hands a command to the SIP task.
    fn sip(&self, command: sip::Command) -> Result<(), Full>;
    /// Hands a command to a worker.
    fn worker(&self, worker: usize, command: worker::Command) -> Result<(), Full>;
    /// How many workers there are; at least one.
    fn workers(&self) -> usize;
    /// Hands a command to the recorder.
    fn recorder(&self, command: recording::Command) -> Result<(), Full>;
    /// Tells a browser; one that is gone is told nothing.
    fn signaling(&self, session: SignalingId, command: signaling::Command);
    /// Keeps a call record.
    fn record(&self, record: CallRecord);
    /// Tells the trace what was seen of a call.
    fn trace(&self, observation: Observation);
    /// The agent at an extension, as the presence table knows them now.
    fn agent(&self, extension: &Extension) -> Option<AgentStanding>;
    /// The agent of a session.
    fn agent_of(&self, session: SignalingId) -> Option<AgentParty>;
}

/// What the other rooms report.
#[derive(Debug)]
pub struct Events {
    /// From the SIP task.
    pub sip: mpsc::Receiver<sip::Event>,
    /// From every worker.
    pub worker: mpsc::Receiver<worker::Event>,
    /// From every browser.
    pub signaling: mpsc::Receiver<signaling::Event>,
    /// From the recorder.
    pub recorder: mpsc::Receiver<recording::Event>,
    /// From whoever shuts the gateway down.
    pub control: mpsc::Receiver<Control>,
}

/// What the shutdown asks of the registry.
#[derive(Debug)]
pub enum Control {
    /// Take no new calls.
    Drain,
    /// End every call but those to emergency numbers, and say how many of these are left.
    EndOrdinary(tokio::sync::oneshot::Sender<usize>),
    /// End every call.
    EndAll,
    /// Say when no call is left.
    WhenEmpty(tokio::sync::oneshot::Sender<()>),
}

/// What a call asks of the registry.
#[derive(Debug)]
pub(super) struct Asked {
    /// Which call.
    pub(super) from: CallId,
    /// What.
    pub(super) ask: Ask,
}

/// See [`Asked`].
#[derive(Debug)]
pub(super) enum Ask {
    /// Passes a word on to another call.
    Tell {
        /// Which.
        to: CallId,
        /// What.
        word: PartnerWord,
    },
    /// Begins a call that is to be joined to this one.
    Launch {
        /// Whither.
        destination: Destination,
        /// In whose name.
        agent: Box<AgentParty>,
    },
}
