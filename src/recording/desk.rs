//! What every recording in the making shares: bounds and keys, chance, and the way out.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::CryptoRng;

use crate::clock::{Clock, WallTime};
use crate::ids::{NodeId, RecordingId};
use crate::recording::chain::NodeKey;
use crate::recording::container::FILE_HEADER_BYTES;
use crate::recording::model::{
    RecordingEnded, RecordingFailed, RecordingMeta, SegmentOpened, SegmentSealed, WrappedKey,
};
use crate::recording::seal::Recipient;
use crate::recording::{Event, RecordingSession};

/// What a recorder needs to know.
#[derive(Debug, Clone)]
pub struct RecorderConfig {
    /// The node's signing key.
    pub node_key: Arc<NodeKey>,
    /// To whom data keys are wrapped; at least one.
    pub recipients: Vec<Recipient>,
    /// Maps monotonic to wall time.
    pub clock: Clock,
    /// A data key is used no longer than this.
    pub epoch_duration_max: Duration,
    /// A segment grows no longer than this, in samples per channel.
    pub segment_samples_max: u64,
    /// A segment grows no larger than this, less what its seal needs.
    pub segment_bytes_max: u64,
    /// Chunks that are not on disk after this time fail the recording.
    pub write_timeout: Duration,
}

impl RecorderConfig {
    /// The bounds of the design: epochs of 5 min, segments of 30 min or 16 MiB, 2 s to reach the disk.
    pub const fn with_keys(node_key: Arc<NodeKey>, recipients: Vec<Recipient>, clock: Clock) -> Self {
        Self {
            node_key,
            recipients,
            clock,
            epoch_duration_max: Duration::from_mins(5),
            segment_samples_max: 30 * 60 * 8_000,
            segment_bytes_max: (16 << 20) - (256 << 10),
            write_timeout: Duration::from_secs(2),
        }
    }

    /// The node that records.
    pub fn node(&self) -> NodeId {
        self.node_key.node()
    }

    /// The wall time of `instant`.
    pub fn wall(&self, instant: Instant) -> WallTime {
        self.clock.wall(instant)
    }
}

/// What the recorder gives.
#[derive(Debug)]
pub enum Output {
    /// To the spool thread, in this order.
    Spool(SpoolOrder),
    /// To the call room.
    Event(Event),
}

/// What the spool shall do. For one recording the order of orders is the order on disk.
#[derive(Debug)]
pub enum SpoolOrder {
    /// Makes intent and keys durable in the journal, then the file with its header. Answered by `Begun`.
    Begin {
        /// The intent.
        intent: Box<RecordingMeta>,
        /// The first file.
        file: Box<NewFile>,
    },
    /// Makes keys durable. Answered by `KeysDurable`.
    Keys {
        /// Whose.
        recording: RecordingId,
        /// The epoch.
        epoch: u32,
        /// The keys.
        keys: Vec<WrappedKey>,
    },
    /// A further segment: keys, then file.
    NextSegment(Box<NewFile>),
    /// Appends a chunk. Answered, with others, by `Written`.
    Chunk {
        /// Whose.
        recording: RecordingId,
        /// The segment.
        segment_no: u32,
        /// The chunk.
        bytes: Vec<u8>,
    },
    /// Notes in the journal that the call was answered.
    Answered {
        /// Whose.
        recording: RecordingId,
        /// When.
        at: WallTime,
    },
    /// Appends the seal, and makes the file durable.
    Seal {
        /// The seal.
        chunk: Vec<u8>,
        /// For journal and catalogue.
        facts: Box<SegmentSealed>,
    },
    /// Notes the end. Answered by `Ended` once all before it is durable.
    End(Box<RecordingEnded>),
    /// Notes that there is no recording, and removes its file.
    Withdraw(Box<RecordingFailed>),
}

/// A segment's file to be made.
#[derive(Debug)]
pub struct NewFile {
    /// Its wrapped keys, to be durable before it is written.
    pub keys: Vec<WrappedKey>,
    /// For journal and catalogue.
    pub opened: SegmentOpened,
    /// Its header.
    pub header: [u8; FILE_HEADER_BYTES],
}

/// What the recorder waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RecorderTimer {
    /// A chunk's samples become final.
    Chunk,
    /// Chunks should have reached the disk.
    Write,
}

/// The generator of keys; `Debug` tells nothing of it.
pub struct Chance(pub Box<dyn CryptoRng + Send>);

impl std::fmt::Debug for Chance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Chance")
    }
}

/// What one recording borrows of its recorder.
#[derive(Debug)]
pub struct Desk<'a> {
    /// The bounds and keys.
    pub config: &'a RecorderConfig,
    /// Chance.
    pub rng: &'a mut Chance,
    /// Where orders and events go.
    pub out: &'a mut VecDeque<Output>,
}

impl Desk<'_> {
    /// Orders something of the spool.
    pub fn order(&mut self, order: SpoolOrder) {
        self.out.push_back(Output::Spool(order));
    }

    /// What the catalogue shall know of a recording from its start.
    pub fn meta_of(&self, session: RecordingSession) -> RecordingMeta {
        RecordingMeta {
            recording: session.recording,
            node: self.config.node(),
            call: session.call,
            session_id: session.session_id,
            started: self.config.wall(session.started),
            agent: session.agent,
            agent_user: session.agent_user,
            agent_name: session.agent_name,
            remote_number: session.remote_number,
            remote_name: session.remote_name,
            direction: session.direction,
            trunk: session.trunk,
            obligation: session.obligation,
        }
    }
}
