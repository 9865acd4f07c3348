//! What is known of a recording and its parts, as plain data: the rows of the catalogue and the records of the journal.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::clock::WallTime;
use crate::ids::{CallId, Extension, NodeId, RecordingId, SessionId, TrunkName};
use crate::recording::serial::as_hex;
use crate::recording::serial::as_hex_32;
use crate::recording::serial::as_hex_vec;
use crate::recording::serial::as_ns;
use crate::recording::serial::as_ns_option;
use crate::recording::{CallDirection, Obligation};

pub use crate::recording::filter::{ListCursor, NumberFilter, RecordingFilter};

/// How far a recording, or one of its segments, has come. Monotonic: it never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordingState {
    /// It is to be: the call may be answered once this is durable.
    Intent,
    /// Its file grows in the spool.
    Spooling,
    /// Its last chunk is a signed seal; the bytes are in the spool.
    Sealed,
    /// The object store has it, by hash. The end.
    Stored,
    /// There is no audio that can be played, and a reason says why. The end.
    Failed,
}

impl RecordingState {
    /// The word for storage and the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Intent => "intent",
            Self::Spooling => "spooling",
            Self::Sealed => "sealed",
            Self::Stored => "stored",
            Self::Failed => "failed",
        }
    }

    /// The reverse of [`Self::as_str`].
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Intent, Self::Spooling, Self::Sealed, Self::Stored, Self::Failed]
            .into_iter()
            .find(|state| state.as_str() == word)
    }

    /// Position on the way: a store may only ever write a higher one. `Failed` never replaces `Stored`.
    pub const fn rank(self) -> i16 {
        match self {
            Self::Intent => 0,
            Self::Spooling => 1,
            Self::Sealed => 2,
            Self::Failed => 3,
            Self::Stored => 4,
        }
    }
}

/// Who set the seal on a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SealedBy {
    /// The recorder, at the end of the call or of the segment.
    Live,
    /// The recovery after a crash; the tail may be cut.
    Recovered,
}

impl SealedBy {
    /// The word for storage and the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Recovered => "recovered",
        }
    }

    /// The reverse of [`Self::as_str`].
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Live, Self::Recovered].into_iter().find(|by| by.as_str() == word)
    }
}

/// What is known of a recording from its start: the catalogue's row in state `Intent`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordingMeta {
    /// Its name for ever.
    pub recording: RecordingId,
    /// The node that records.
    #[serde(with = "as_hex")]
    pub node: NodeId,
    /// The call.
    pub call: CallId,
    /// Session-ID of the call (RFC 7989).
    #[serde(with = "as_hex")]
    pub session_id: SessionId,
    /// When the call reached the gateway.
    #[serde(with = "as_ns")]
    pub started: WallTime,
    /// The agent whose participation it is: channel 0 is what the agent sends.
    pub agent: Extension,
    /// The agent's user name in the directory.
    pub agent_user: String,
    /// The agent's name, for a person to read.
    pub agent_name: String,
    /// The other party's number.
    pub remote_number: String,
    /// The other party's display name.
    pub remote_name: Option<String>,
    /// The direction, seen from the agent.
    pub direction: CallDirection,
    /// The trunk.
    pub trunk: TrunkName,
    /// How much the call depends on it.
    pub obligation: Obligation,
}

impl fmt::Debug for RecordingMeta {
    // Names and numbers are personal data: they never reach a log by way of Debug.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordingMeta")
            .field("recording", &self.recording)
            .field("call", &self.call)
            .finish_non_exhaustive()
    }
}

/// A segment's file exists in the spool: the recording is `Spooling`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentOpened {
    /// Whose.
    pub recording: RecordingId,
    /// Which, from 0.
    pub segment_no: u32,
    /// The node that records it.
    #[serde(with = "as_hex")]
    pub node: NodeId,
    /// When its first sample was.
    #[serde(with = "as_ns")]
    pub started: WallTime,
    /// Samples per second and channel.
    pub sample_rate: u32,
    /// Channels.
    pub channels: u8,
}

/// A segment has its seal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentSealed {
    /// Whose.
    pub recording: RecordingId,
    /// Which, from 0.
    pub segment_no: u32,
    /// The node that sealed it (after a recovery maybe another than recorded it).
    #[serde(with = "as_hex")]
    pub node: NodeId,
    /// When its first sample was.
    #[serde(with = "as_ns")]
    pub started: WallTime,
    /// When its last sample was.
    #[serde(with = "as_ns")]
    pub ended: WallTime,
    /// Position of its first sample in the recording.
    pub first_sample: u64,
    /// Samples per channel.
    pub samples: u64,
    /// Chunks, the seal included.
    pub chunks: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// SHA-256 of the file.
    #[serde(with = "as_hex_32")]
    pub sha256: [u8; 32],
    /// Merkle root over its chunks' hashes, as in the seal.
    #[serde(with = "as_hex_32")]
    pub merkle_root: [u8; 32],
    /// Who sealed.
    pub sealed_by: SealedBy,
}

/// A segment lies in the object store, its hash checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentStored {
    /// Whose.
    pub recording: RecordingId,
    /// Which, from 0.
    pub segment_no: u32,
    /// The node that put it there.
    #[serde(with = "as_hex")]
    pub node: NodeId,
    /// The object's path in the store.
    pub object: String,
    /// Bytes of the object.
    pub bytes: u64,
    /// SHA-256 of the object.
    #[serde(with = "as_hex_32")]
    pub sha256: [u8; 32],
}

/// A recording will grow no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordingEnded {
    /// Which.
    pub recording: RecordingId,
    /// The node that says so.
    #[serde(with = "as_hex")]
    pub node: NodeId,
    /// `Sealed`, or `Stored` once every segment is.
    pub state: RecordingState,
    /// When the call was answered, where it was.
    #[serde(with = "as_ns_option")]
    pub answered: Option<WallTime>,
    /// When the recording ended.
    #[serde(with = "as_ns")]
    pub ended: WallTime,
    /// Samples per channel over all segments.
    pub samples: u64,
    /// Samples per second and channel.
    pub sample_rate: u32,
    /// How many segments there are.
    pub segments: u32,
    /// How the call ended, in the words of `call::Outcome`.
    pub end_reason: String,
    /// `Recovered` where any segment is.
    pub sealed_by: SealedBy,
}

/// A recording that was meant to be, and is not: the exception record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordingFailed {
    /// Which.
    pub recording: RecordingId,
    /// The node that says so.
    #[serde(with = "as_hex")]
    pub node: NodeId,
    /// When it was found out.
    #[serde(with = "as_ns")]
    pub at: WallTime,
    /// Why there is no recording.
    pub reason: FailureReason,
    /// More about it, in one clause.
    pub detail: String,
}

/// Why an intent has no recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureReason {
    /// The call was never answered and no audio was tapped: nothing is missing.
    NotAnswered,
    /// The intent was found without a file after a crash.
    NoFile,
    /// A file was found whose wrapped key is nowhere.
    NoKey,
    /// The spool could not be written, or has no room.
    Spool,
    /// The recorder could not keep up.
    Overload,
}

impl FailureReason {
    /// The word for storage and the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotAnswered => "not_answered",
            Self::NoFile => "no_file",
            Self::NoKey => "no_key",
            Self::Spool => "spool",
            Self::Overload => "overload",
        }
    }

    /// The reverse of [`Self::as_str`].
    pub fn parse(word: &str) -> Option<Self> {
        [Self::NotAnswered, Self::NoFile, Self::NoKey, Self::Spool, Self::Overload]
            .into_iter()
            .find(|reason| reason.as_str() == word)
    }
}

/// A data key of one epoch, sealed to one recipient's public key (HPKE, RFC 9180). Useless without the private key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrappedKey {
    /// Whose.
    pub recording: RecordingId,
    /// The segment, from 0.
    pub segment_no: u32,
    /// The key epoch.
    pub epoch: u32,
    /// The node that made it.
    #[serde(with = "as_hex")]
    pub node: NodeId,
    /// The recipient: SHA-256 of the public key, its first 16 bytes in hexadecimal.
    pub recipient: String,
    /// HPKE's encapsulated key: 32 bytes for X25519.
    #[serde(with = "as_hex_vec")]
    pub encapsulated: Vec<u8>,
    /// HPKE's ciphertext: the 32 bytes of the data key and a tag of 16.
    #[serde(with = "as_hex_vec")]
    pub ciphertext: Vec<u8>,
    /// HMAC-SHA256 under the data key's commitment key over recording, segment and epoch, as in the container.
    #[serde(with = "as_hex_32")]
    pub key_commit: [u8; 32],
}

/// One recording, as the catalogue tells it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RecordingRow {
    /// What was known at its start.
    #[serde(flatten)]
    pub meta: RecordingMeta,
    /// How far it has come.
    pub state: RecordingState,
    /// When the call was answered.
    #[serde(with = "as_ns_option")]
    pub answered: Option<WallTime>,
    /// When the recording ended.
    #[serde(with = "as_ns_option")]
    pub ended: Option<WallTime>,
    /// Samples per channel; 0 until it ended.
    pub samples: u64,
    /// Samples per second and channel; 8000 until it is known.
    pub sample_rate: u32,
    /// Segments; 0 until it ended.
    pub segments: u32,
    /// How the call ended.
    pub end_reason: Option<String>,
    /// Who sealed it.
    pub sealed_by: Option<SealedBy>,
    /// Why there is none.
    pub failure: Option<FailureReason>,
}

/// One segment, as the catalogue tells it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SegmentRow {
    /// Whose.
    pub recording: RecordingId,
    /// Which, from 0.
    pub segment_no: u32,
    /// The node that records it.
    #[serde(with = "as_hex")]
    pub node: NodeId,
    /// `Spooling`, `Sealed` or `Stored`.
    pub state: RecordingState,
    /// What the seal says, once there is one.
    pub sealed: Option<SegmentSealed>,
    /// The object's path in the store, once it is there.
    pub object: Option<String>,
}
