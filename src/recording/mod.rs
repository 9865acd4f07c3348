//! Compliance recording: from tapped frames to sealed, indexed, verifiable recordings.
//!
//! The rest of the house sees [`Command`] and [`Event`]; this room reports, `call` decides a call's fate.

mod anchor;
pub mod chain;
pub mod container;
pub mod desk;
pub mod fields;
pub mod filter;
pub mod io;
pub mod model;
pub mod playback;
pub mod policy;
pub mod recorder;
pub mod seal;
pub mod seal_body;
pub mod segment;
pub mod serial;
pub mod stream;
pub mod timeline;
pub mod verify;

use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::ids::{CallId, Extension, RecordingId, SessionId, TrunkName};
use crate::media::tap::TapId;

/// How much a call depends on being recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Obligation {
    /// No audio crosses unrecorded; a failure ends the call.
    Required,
    /// Recorded where possible; a failure is an alarm.
    BestEffort,
    /// Not recorded.
    Never,
}

/// Which way a call went, seen from the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallDirection {
    /// The trunk called the agent.
    Inbound,
    /// The agent called the trunk.
    Outbound,
}

/// What is known of a recording when it starts.
#[derive(Debug, Clone)]
pub struct RecordingSession {
    /// Its name for ever.
    pub recording: RecordingId,
    /// The tap that feeds it.
    pub tap: TapId,
    /// The call.
    pub call: CallId,
    /// Session-ID of the call (RFC 7989).
    pub session_id: SessionId,
    /// When the call reached the gateway.
    pub started: Instant,
    /// The agent whose participation it is: channel 0 is what the agent sends.
    pub agent: Extension,
    /// The agent's user name in the directory.
    pub agent_user: String,
    /// The agent's name, for a person to read.
    pub agent_name: String,
    /// The other party's number, as the trunk gave it or as it was dialled.
    pub remote_number: String,
    /// The other party's display name.
    pub remote_name: Option<String>,
    /// The direction.
    pub direction: CallDirection,
    /// The trunk.
    pub trunk: TrunkName,
    /// How much the call depends on it.
    pub obligation: Obligation,
}

/// What the call room asks of the recorder.
#[derive(Debug, Clone)]
pub enum Command {
    /// Makes intent, key and file durable; answered by `Recording` or `Failed`.
    Start(Box<RecordingSession>),
    /// The call was answered: the moment from which coverage counts.
    Answered {
        /// Which.
        recording: RecordingId,
        /// When.
        at: Instant,
    },
    /// The call is over: takes what is still in the ring, seals, and reports `Sealed`.
    Stop {
        /// Which.
        recording: RecordingId,
        /// When the call ended.
        at: Instant,
        /// How, in the words of `call::Outcome`.
        end_reason: &'static str,
    },
    /// The call never came to be answered: the intent is withdrawn, as "not answered", if no audio was tapped.
    Abandon {
        /// Which.
        recording: RecordingId,
        /// When.
        at: Instant,
    },
}

/// What the recorder reports of one recording.
#[derive(Debug, Clone)]
pub struct Event {
    /// Which.
    pub recording: RecordingId,
    /// Its call.
    pub call: CallId,
    /// What.
    pub kind: EventKind,
}

/// See [`Event`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventKind {
    /// Intent, key and file are durable: the gate may open.
    Recording,
    /// It cannot be, or can no longer be, recorded.
    Failed {
        /// Why, in one clause.
        reason: String,
    },
    /// Every chunk is on disk and the seal with it.
    Sealed {
        /// Length in samples of 1/8000 s.
        samples: u64,
    },
}

#[cfg(test)]
pub(crate) mod testing;
