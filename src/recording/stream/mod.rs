//! One recording in the making: its timeline, its open segment, its keys to come.

mod ending;

use std::collections::VecDeque;
use std::time::Instant;

use crate::ids::RecordingId;
use crate::media::tap::TapFrame;
use crate::recording::chain::Hash;
use crate::recording::container::FileHeader;
use crate::recording::desk::{Desk, NewFile, Output, RecorderTimer, SpoolOrder};
use crate::recording::model::{RecordingMeta, SegmentOpened, WrappedKey};
use crate::recording::seal::{DataKey, KeyScope, SealError};
use crate::recording::seal_body::ChannelStats;
use crate::recording::segment::{OpenSegment, PEAK_SAMPLES, SegmentEnd, TimelineEvent, peaks};
use crate::recording::timeline::{Block, SAMPLE_RATE, Timeline};
use crate::recording::{Event, EventKind, RecordingSession};

/// Keys kept durable ahead: the next epoch's and one spare.
const KEYS_AHEAD: usize = 2;
/// Peaks of one WAVE chunk: 10 s.
const WAVE_PEAKS: usize = 100;
/// Samples from one tie to the clocks to the next: 60 s.
const ANCHOR_SAMPLES: u64 = 480_000;

/// See the module.
#[derive(Debug)]
pub struct RecordingStream {
    meta: RecordingMeta,
    segment: Option<OpenSegment>,
    segment_no: u32,
    timeline: Option<Timeline>,
    keys_ahead: VecDeque<KeyAhead>,
    next_epoch: u16,
    epoch_since: Instant,
    prev_segment_root: Hash,
    wave: Wave,
    next_anchor: u64,
    answered: Option<Instant>,
    has_frames: bool,
    writes: Writes,
    has_failed: bool,
}

/// A key for an epoch to come.
#[derive(Debug)]
struct KeyAhead {
    key: DataKey,
    is_durable: bool,
}

/// Peaks that wait for their WAVE chunk.
#[derive(Debug, Default)]
struct Wave {
    first_sample: u64,
    peaks: Vec<[i8; 4]>,
}

/// Chunks on their way to the disk.
#[derive(Debug, Default)]
struct Writes {
    under_way: u64,
    /// Since when nothing arrived there.
    since: Option<Instant>,
}

impl RecordingStream {
    /// Draws keys, and orders intent, keys and file.
    pub fn start(session: RecordingSession, now: Instant, desk: &mut Desk<'_>) -> Result<Self, SealError> {
        let mut stream = Self {
            meta: desk.meta_of(session),
            segment: None,
            segment_no: 0,
            timeline: None,
            keys_ahead: VecDeque::new(),
            next_epoch: 0,
            epoch_since: now,
            prev_segment_root: [0; 32],
            wave: Wave::default(),
            next_anchor: 0,
            answered: None,
            has_frames: false,
            writes: Writes::default(),
            has_failed: false,
        };
        let file = stream.open_segment(0, now, desk)?;
        desk.order(SpoolOrder::Begin { intent: Box::new(stream.meta.clone()), file });
        stream.write_participants(now, desk)?;
        Ok(stream)
    }

    /// Whether no frame came yet.
    pub const fn is_empty(&self) -> bool {
        !self.has_frames && self.answered.is_none()
    }

    fn name(&self) -> RecordingId {
        self.meta.recording
    }

    fn emit(&self, kind: EventKind, desk: &mut Desk<'_>) {
        desk.out.push_back(Output::Event(Event { recording: self.meta.recording, call: self.meta.call, kind }));
    }

    /// A new segment, under a new key.
    fn open_segment(
        &mut self,
        first_sample: u64,
        now: Instant,
        desk: &mut Desk<'_>,
    ) -> Result<Box<NewFile>, SealError> {
        let (key, keys) = self.new_key(desk)?;
        let node = desk.config.node();
        let header = FileHeader {
            flags: 0,
            recording: self.name(),
            segment_no: self.segment_no,
            node,
            start_utc_ns: desk.config.wall(now).0,
            start_mono_ns: desk.config.clock.mono_ns(now),
            sample_rate: SAMPLE_RATE,
            channels: 2,
            // Whether the host's clock is synchronised is not asked yet.
            clock_state: 0,
            clock_err_us: 0,
            first_key_epoch: u32::from(key.scope().epoch),
            key_commit: *key.commit(),
            prev_segment_root: self.prev_segment_root,
        };
        let opened = SegmentOpened {
            recording: self.name(),
            segment_no: self.segment_no,
            node,
            started: desk.config.wall(now),
            sample_rate: SAMPLE_RATE,
            channels: 2,
        };
        let (segment, header) = OpenSegment::open(header, key, first_sample, &desk.config.node_key);
        self.segment = Some(segment);
        self.epoch_since = now;
        Ok(Box::new(NewFile { keys, opened, header }))
    }

    /// The next epoch's key for the present segment, and its wrappings.
    fn new_key(&mut self, desk: &mut Desk<'_>) -> Result<(DataKey, Vec<WrappedKey>), SealError> {
        let scope = KeyScope { recording: self.name(), segment_no: self.segment_no, epoch: self.next_epoch };
        self.next_epoch = self.next_epoch.wrapping_add(1);
        let rng = desk.rng.0.as_mut();
        let key = DataKey::generate(scope, rng).map_err(|_invalid| SealError::Encrypt)?;
        let node = desk.config.node();
        let keys =
            desk.config.recipients.iter().map(|recipient| key.wrap(recipient, node, rng)).collect::<Result<_, _>>()?;
        Ok((key, keys))
    }

    fn order_keys_ahead(&mut self, desk: &mut Desk<'_>) {
        while self.keys_ahead.len() < KEYS_AHEAD {
            let Ok((key, keys)) = self.new_key(desk) else { return };
            desk.order(SpoolOrder::Keys { recording: self.name(), epoch: u32::from(key.scope().epoch), keys });
            self.keys_ahead.push_back(KeyAhead { key, is_durable: false });
        }
    }

    fn write_participants(&mut self, now: Instant, desk: &mut Desk<'_>) -> Result<(), SealError> {
        let event = TimelineEvent::Participants { meta: Box::new(self.meta.clone()) };
        self.write(now, desk, |segment| segment.event(&event))
    }

    /// Makes one chunk and orders it written.
    fn write(
        &mut self,
        now: Instant,
        desk: &mut Desk<'_>,
        make: impl FnOnce(&mut OpenSegment) -> Result<Vec<u8>, SealError>,
    ) -> Result<(), SealError> {
        let Some(segment) = self.segment.as_mut() else { return Ok(()) };
        let bytes = make(segment)?;
        self.writes.under_way += 1;
        self.writes.since.get_or_insert(now);
        desk.order(SpoolOrder::Chunk { recording: self.meta.recording, segment_no: self.segment_no, bytes });
        Ok(())
    }

    /// Intent, key and file are durable.
    pub fn begun(&mut self, desk: &mut Desk<'_>) {
        self.emit(EventKind::Recording, desk);
        self.order_keys_ahead(desk);
    }

    /// The keys of `epoch` are durable.
    pub fn keys_durable(&mut self, epoch: u32) {
        for ahead in self.keys_ahead.iter_mut().filter(|ahead| u32::from(ahead.key.scope().epoch) == epoch) {
            ahead.is_durable = true;
        }
    }

    /// So many chunks reached the disk.
    pub fn written(&mut self, chunks: u64, now: Instant) {
        self.writes.under_way = self.writes.under_way.saturating_sub(chunks);
        self.writes.since = (self.writes.under_way > 0).then_some(now);
    }

    /// The call was answered.
    pub fn answered(&mut self, at: Instant, desk: &mut Desk<'_>) {
        self.answered = Some(at);
        let position = self.timeline_from(at, desk).position(at);
        let event = TimelineEvent::Answered { sample: u64::try_from(position).unwrap_or(0) };
        desk.order(SpoolOrder::Answered { recording: self.name(), at: desk.config.wall(at) });
        let done = self.write(at, desk, |segment| segment.event(&event));
        self.or_fail(done, desk);
    }

    /// The timeline, which begins at `origin` where it has not begun.
    fn timeline_from(&mut self, origin: Instant, desk: &Desk<'_>) -> &mut Timeline {
        if self.timeline.is_none()
            && let Some(segment) = self.segment.as_mut()
        {
            segment.set_started(desk.config.wall(origin));
        }
        self.timeline.get_or_insert_with(|| Timeline::starting_at(origin))
    }

    /// A frame was tapped.
    pub fn frame(&mut self, frame: &TapFrame, desk: &mut Desk<'_>) {
        self.has_frames = true;
        self.timeline_from(frame.arrival, desk).frame(frame);
        let done = self.drain(frame.arrival, desk);
        self.or_fail(done, desk);
    }

    /// Makes what is due.
    pub fn handle_timeout(&mut self, now: Instant, desk: &mut Desk<'_>) {
        if let Some(timeline) = self.timeline.as_mut() {
            timeline.advance(now);
        }
        let done = self.drain(now, desk);
        self.or_fail(done, desk);
        let is_late = self.writes.since.is_some_and(|since| now >= since + desk.config.write_timeout);
        if is_late && !self.has_failed {
            self.fail("no chunk reached the disk in time".to_owned(), desk);
        }
        self.writes.since = self.writes.since.filter(|_since| !is_late);
    }

    /// When `handle_timeout` is due.
    pub fn poll_timeout(&self) -> Option<(Instant, RecorderTimer)> {
        self.segment.as_ref()?;
        let chunk = self.timeline.as_ref().map(|timeline| (timeline.next_block_at(), RecorderTimer::Chunk));
        // Chunks fall due twice a second, so that the write's lateness is noticed at the next of them.
        chunk.or_else(|| {
            self.writes.since.map(|since| (since + std::time::Duration::from_secs(2), RecorderTimer::Write))
        })
    }

    fn drain(&mut self, now: Instant, desk: &mut Desk<'_>) -> Result<(), SealError> {
        while let Some(event) = self.timeline.as_mut().and_then(Timeline::pop_event) {
            self.write(now, desk, |segment| segment.event(&event))?;
        }
        while let Some(block) = self.timeline.as_mut().and_then(Timeline::pop_block) {
            self.block(&block, now, desk)?;
        }
        Ok(())
    }

    fn block(&mut self, block: &Block, now: Instant, desk: &mut Desk<'_>) -> Result<(), SealError> {
        self.change_segment_if_due(block.first_sample, now, desk)?;
        if block.first_sample >= self.next_anchor {
            self.write_anchor(block.first_sample, now, desk)?;
        }
        let samples = u32::try_from(block.interleaved.len() / 2).unwrap_or(u32::MAX);
        if block.is_hold {
            self.write(now, desk, |segment| segment.hold(samples))?;
        } else {
            self.write(now, desk, |segment| segment.audio(&block.interleaved))?;
        }
        if self.wave.peaks.is_empty() {
            self.wave.first_sample = block.first_sample;
        }
        self.wave.peaks.extend(peaks(&block.interleaved));
        if self.wave.peaks.len() >= WAVE_PEAKS {
            self.write_wave(now, desk)?;
        }
        self.change_key_if_due(now, desk)
    }

    fn write_anchor(&mut self, sample: u64, now: Instant, desk: &mut Desk<'_>) -> Result<(), SealError> {
        self.next_anchor = sample + ANCHOR_SAMPLES;
        let Some(origin) = self.timeline.as_ref().map(Timeline::origin) else { return Ok(()) };
        let moment = origin + std::time::Duration::from_micros(sample * 125);
        let event = TimelineEvent::Anchor {
            sample,
            utc_ns: desk.config.wall(moment).0,
            mono_ns: desk.config.clock.mono_ns(moment),
        };
        self.write(now, desk, |segment| segment.event(&event))
    }

    fn write_wave(&mut self, now: Instant, desk: &mut Desk<'_>) -> Result<(), SealError> {
        if self.wave.peaks.is_empty() {
            return Ok(());
        }
        let Wave { first_sample, peaks } = std::mem::take(&mut self.wave);
        debug_assert!(first_sample % PEAK_SAMPLES as u64 == 0, "blocks begin at whole peaks");
        self.write(now, desk, |segment| segment.wave(first_sample, &peaks))
    }

    /// A new key epoch, where its key is durable; otherwise the old one goes on.
    fn change_key_if_due(&mut self, now: Instant, desk: &mut Desk<'_>) -> Result<(), SealError> {
        let is_due = now >= self.epoch_since + desk.config.epoch_duration_max;
        if !is_due || !self.keys_ahead.front().is_some_and(|ahead| ahead.is_durable) {
            return Ok(());
        }
        let Some(KeyAhead { key, .. }) = self.keys_ahead.pop_front() else { return Ok(()) };
        self.epoch_since = now;
        self.write(now, desk, |segment| segment.change_key(key))?;
        self.order_keys_ahead(desk);
        Ok(())
    }

    fn change_segment_if_due(&mut self, next_sample: u64, now: Instant, desk: &mut Desk<'_>) -> Result<(), SealError> {
        let is_due = self.segment.as_ref().is_some_and(|segment| {
            segment.bytes() >= desk.config.segment_bytes_max || segment.samples() >= desk.config.segment_samples_max
        });
        if !is_due {
            return Ok(());
        }
        self.write_wave(now, desk)?;
        self.seal_segment(now, "continued", desk);
        self.segment_no += 1;
        self.keys_ahead.clear();
        let mut file = self.open_segment(next_sample, now, desk)?;
        if let (Some(segment), Some(timeline)) = (self.segment.as_mut(), self.timeline.as_ref()) {
            let started = desk.config.wall(timeline.origin() + std::time::Duration::from_micros(next_sample * 125));
            segment.set_started(started);
            file.opened.started = started;
        }
        desk.order(SpoolOrder::NextSegment(file));
        self.next_anchor = next_sample;
        self.write_participants(now, desk)?;
        self.order_keys_ahead(desk);
        Ok(())
    }

    fn seal_segment(&mut self, at: Instant, end_reason: &str, desk: &mut Desk<'_>) {
        let Some(segment) = self.segment.take() else { return };
        let channels = self.timeline.as_ref().map_or([ChannelStats::default(); 2], Timeline::stats);
        let end = SegmentEnd { at: desk.config.wall(at), end_reason: end_reason.to_owned(), channels };
        let sealed = segment.seal(&end, &desk.config.node_key);
        self.prev_segment_root = sealed.facts.merkle_root;
        desk.order(SpoolOrder::Seal { chunk: sealed.chunk, facts: Box::new(sealed.facts) });
    }

    fn samples(&self) -> u64 {
        self.timeline.as_ref().map_or(0, Timeline::samples)
    }

    /// Every chunk, the seal and the end are durable.
    pub fn ended(&mut self, desk: &mut Desk<'_>) {
        self.emit(EventKind::Sealed { samples: self.samples() }, desk);
    }

    /// It cannot go on: said once.
    pub fn fail(&mut self, reason: String, desk: &mut Desk<'_>) {
        if !std::mem::replace(&mut self.has_failed, true) {
            self.emit(EventKind::Failed { reason }, desk);
        }
    }

    fn or_fail(&mut self, done: Result<(), SealError>, desk: &mut Desk<'_>) {
        if let Err(error) = done {
            self.fail(error.to_string(), desk);
        }
    }
}
