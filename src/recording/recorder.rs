//! The recorder: commands and tapped frames in, orders to the spool and events out. Pure; drained after every input.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::CryptoRng;

use crate::clock::{Clock, WallTime};
use crate::ids::{NodeId, RecordingId};
use crate::media::tap::{TapFrame, TapId};
use crate::recording::chain::NodeKey;
use crate::recording::container::FILE_HEADER_BYTES;
use crate::recording::model::{
    RecordingEnded, RecordingFailed, RecordingMeta, SegmentOpened, SegmentSealed, WrappedKey,
};
use crate::recording::seal::Recipient;
use crate::recording::stream::RecordingStream;
use crate::recording::{Command, Event, EventKind, RecordingSession};

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

/// What the recorder takes.
#[derive(Debug)]
pub enum Input {
    /// From the call room.
    Command(Command),
    /// From a worker's ring.
    Frame(Box<TapFrame>),
    /// From the spool thread.
    Spool(SpoolReport),
}

/// What it gives.
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

/// What the spool did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpoolReport {
    /// Intent, keys and file are durable.
    Begun {
        /// Whose.
        recording: RecordingId,
    },
    /// An epoch's keys are durable.
    KeysDurable {
        /// Whose.
        recording: RecordingId,
        /// The epoch.
        epoch: u32,
    },
    /// So many more chunks are written.
    Written {
        /// Whose.
        recording: RecordingId,
        /// How many.
        chunks: u64,
    },
    /// Every chunk, the seal and the end are durable.
    Ended {
        /// Whose.
        recording: RecordingId,
    },
    /// It cannot go on.
    Failed {
        /// Whose.
        recording: RecordingId,
        /// Why, in one clause.
        reason: String,
    },
}

impl SpoolReport {
    /// The report after the sync behind it failed: what claimed durability has failed.
    #[must_use]
    pub fn or_failed(self, reason: &str) -> Self {
        match self {
            Self::Begun { recording } | Self::Ended { recording } => {
                Self::Failed { recording, reason: reason.to_owned() }
            }
            Self::KeysDurable { .. } | Self::Written { .. } | Self::Failed { .. } => self,
        }
    }
}

/// What the recorder waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RecorderTimer {
    /// A chunk's samples become final.
    Chunk,
    /// Chunks should have reached the disk.
    Write,
}

/// See the module.
#[derive(Debug)]
pub struct Recorder {
    config: RecorderConfig,
    rng: Chance,
    streams: BTreeMap<RecordingId, RecordingStream>,
    taps: BTreeMap<TapId, RecordingId>,
    out: VecDeque<Output>,
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

impl Recorder {
    /// A recorder with nothing to do. `rng` makes keys: it must be fit for that.
    pub const fn new(config: RecorderConfig, rng: Box<dyn CryptoRng + Send>) -> Self {
        Self { config, rng: Chance(rng), streams: BTreeMap::new(), taps: BTreeMap::new(), out: VecDeque::new() }
    }

    /// Takes an input.
    pub fn handle(&mut self, input: Input, now: Instant) {
        match input {
            Input::Command(Command::Start(session)) => self.start(*session, now),
            Input::Command(Command::Answered { recording, at }) => {
                self.with(recording, |stream, desk| stream.answered(at, desk));
            }
            Input::Command(Command::Stop { recording, at, end_reason }) => self.stop(recording, at, end_reason),
            Input::Command(Command::Abandon { recording, at }) => self.abandon(recording, at),
            Input::Frame(frame) => self.frame(&frame),
            Input::Spool(report) => self.spool_reported(report, now),
        }
    }

    /// Chunks that are due are made, and late writes noticed.
    pub fn handle_timeout(&mut self, now: Instant) {
        let Self { config, rng, streams, out, .. } = self;
        for stream in streams.values_mut() {
            stream.handle_timeout(now, &mut Desk { config, rng, out });
        }
    }

    /// When `handle_timeout` is due, and why.
    pub fn poll_timeout(&self) -> Option<(Instant, RecorderTimer)> {
        self.streams.values().filter_map(RecordingStream::poll_timeout).min()
    }

    /// The next order or event.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// Recordings that are not over.
    pub fn recordings(&self) -> impl Iterator<Item = RecordingId> + '_ {
        self.streams.keys().copied()
    }

    /// Whether every recording is over.
    pub fn is_idle(&self) -> bool {
        self.streams.is_empty()
    }

    fn with(&mut self, recording: RecordingId, act: impl FnOnce(&mut RecordingStream, &mut Desk<'_>)) {
        let Self { config, rng, streams, out, .. } = self;
        if let Some(stream) = streams.get_mut(&recording) {
            act(stream, &mut Desk { config, rng, out });
        }
    }

    fn start(&mut self, session: RecordingSession, now: Instant) {
        let (recording, call, tap) = (session.recording, session.call, session.tap);
        if self.streams.contains_key(&recording) {
            return;
        }
        let Self { config, rng, out, .. } = self;
        match RecordingStream::start(session, now, &mut Desk { config, rng, out }) {
            Ok(stream) => {
                self.streams.insert(recording, stream);
                self.taps.insert(tap, recording);
            }
            Err(error) => {
                let kind = EventKind::Failed { reason: format!("the recording cannot begin: {error}") };
                self.out.push_back(Output::Event(Event { recording, call, kind }));
            }
        }
    }

    fn frame(&mut self, frame: &TapFrame) {
        let Some(recording) = self.taps.get(&frame.tap).copied() else { return };
        self.with(recording, |stream, desk| stream.frame(frame, desk));
    }

    fn stop(&mut self, recording: RecordingId, at: Instant, end_reason: &str) {
        self.taps.retain(|_tap, of| *of != recording);
        self.with(recording, |stream, desk| stream.finish(at, end_reason, desk));
    }

    fn abandon(&mut self, recording: RecordingId, at: Instant) {
        let is_empty = self.streams.get(&recording).is_some_and(RecordingStream::is_empty);
        if !is_empty {
            return self.stop(recording, at, "not_answered");
        }
        self.with(recording, |stream, desk| stream.withdraw(at, desk));
        self.forget(recording);
    }

    fn spool_reported(&mut self, report: SpoolReport, now: Instant) {
        match report {
            SpoolReport::Begun { recording } => self.with(recording, RecordingStream::begun),
            SpoolReport::KeysDurable { recording, epoch } => {
                self.with(recording, |stream, _desk| stream.keys_durable(epoch));
            }
            SpoolReport::Written { recording, chunks } => {
                self.with(recording, |stream, _desk| stream.written(chunks, now));
            }
            SpoolReport::Ended { recording } => {
                self.with(recording, RecordingStream::ended);
                self.forget(recording);
            }
            SpoolReport::Failed { recording, reason } => {
                self.with(recording, |stream, desk| stream.fail(reason, desk));
                self.forget(recording);
            }
        }
    }

    fn forget(&mut self, recording: RecordingId) {
        self.streams.remove(&recording);
        self.taps.retain(|_tap, of| *of != recording);
    }
}

#[cfg(test)]
#[path = "recorder_tests.rs"]
mod tests;
