//! The recorder: commands and tapped frames in, orders to the spool and events out. Pure; drained after every input.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use rand::CryptoRng;

use crate::ids::RecordingId;
use crate::media::tap::{TapFrame, TapId};
use crate::recording::desk::{Chance, Desk, Output, RecorderConfig, RecorderTimer};
use crate::recording::stream::RecordingStream;
use crate::recording::{Command, Event, EventKind, RecordingSession};

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

/// See the module.
#[derive(Debug)]
pub struct Recorder {
    config: RecorderConfig,
    rng: Chance,
    streams: BTreeMap<RecordingId, RecordingStream>,
    taps: BTreeMap<TapId, RecordingId>,
    out: VecDeque<Output>,
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
