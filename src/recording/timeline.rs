//! The timeline: places both channels' frames on the monotonic clock, so that time never stops and never bends.
//!
//! A frame goes to slot = anchor + (timestamp − first timestamp). The anchor follows the arrivals' early edge: moved by
//! over 10 ms, it slides by a sample each 160 ms; by over 60 ms for 2 s, it jumps in silence. Unfilled is silence.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::media::tap::{TapBody, TapChannel, TapFrame};
use crate::recording::seal_body::ChannelStats;
use crate::recording::segment::{CHUNK_SAMPLES, GapReason, ResyncReason, TimelineEvent};

/// Samples per second.
pub const SAMPLE_RATE: u32 = 8_000;
/// How long a sample's slot stays open: 160 ms, in samples.
pub const ORDERING_SAMPLES: u64 = 1_280;
/// Beyond this difference of slot and arrival the anchor jumps: 60 ms, in samples.
const JUMP_SAMPLES: i64 = 480;
/// Beyond 10 ms (in samples) it slides, by one sample in so many: 780 ppm, more than a clock drifts, and no pitch to hear.
const SLIDE_SAMPLES: i64 = 80;
const SLIDE_PACE: i64 = 1_280;
/// A slot so far ahead of its arrival moves the anchor at once: 1 s, in samples.
const AHEAD_SAMPLES_MAX: i64 = 8_000;
/// The time over which the arrivals' early edge is taken.
const WINDOW: Duration = Duration::from_secs(2);
/// A jump waits this long for silence.
const JUMP_PATIENCE: Duration = Duration::from_secs(1);
/// Frames without which a window says nothing.
const WINDOW_FRAMES_MIN: u32 = 5;
/// A frame whose samples all stay below this is silence.
const QUIET_PEAK: u16 = 256;
/// Gaps shorter than this make no event: 100 ms, in samples.
const GAP_SAMPLES_MIN: u64 = 800;
/// Samples that may wait for their block in one channel.
const PENDING_SAMPLES_MAX: usize = 16_000;

/// A stretch of the timeline that is final.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Position of its first sample.
    pub first_sample: u64,
    /// Both channels, interleaved.
    pub interleaved: Vec<i16>,
    /// Nothing was received and the call is held.
    pub is_hold: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Timeline {
    origin: Instant,
    /// Samples that are final; every channel's pending samples begin here.
    done: u64,
    channels: [Channel; 2],
    blocks: VecDeque<Block>,
    events: VecDeque<TimelineEvent>,
}

impl Timeline {
    /// A timeline whose sample 0 is at `origin`.
    pub fn starting_at(origin: Instant) -> Self {
        Self {
            origin,
            done: 0,
            channels: [Channel::new(0), Channel::new(1)],
            blocks: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// The moment of sample 0.
    pub const fn origin(&self) -> Instant {
        self.origin
    }

    /// Samples that are final.
    pub const fn samples(&self) -> u64 {
        self.done
    }

    /// The position of `instant`; negative before the origin.
    pub fn position(&self, instant: Instant) -> i64 {
        match instant.checked_duration_since(self.origin) {
            Some(since) => samples_in(since),
            None => -samples_in(self.origin.saturating_duration_since(instant)),
        }
    }

    /// What each channel's frames were like.
    pub fn stats(&self) -> [ChannelStats; 2] {
        let [first, second] = &self.channels;
        [first.stats, second.stats]
    }

    /// Takes a frame. Time goes on to its arrival.
    pub fn frame(&mut self, frame: &TapFrame) {
        self.advance(frame.arrival);
        let arrival = self.position(frame.arrival);
        let [sent, heard] = &mut self.channels;
        let channel = match frame.channel {
            TapChannel::Sent => sent,
            TapChannel::Heard => heard,
        };
        match &frame.body {
            TapBody::Hold(held) => channel.held = *held,
            TapBody::Pcm8k { samples, concealed } => {
                let place = Arrived { samples: samples.as_slice(), concealed: *concealed, arrival, at: frame.arrival };
                if let Some(event) = channel.place(self.done, frame, &place) {
                    self.events.push_back(event);
                }
            }
        }
    }

    /// Time goes on: whole blocks whose slots have closed become final.
    pub fn advance(&mut self, now: Instant) {
        let Ok(position) = u64::try_from(self.position(now)) else { return };
        while self.done + CHUNK_SAMPLES as u64 + ORDERING_SAMPLES <= position {
            self.finish_block(CHUNK_SAMPLES);
        }
    }

    /// When the next block becomes final.
    pub fn next_block_at(&self) -> Instant {
        let samples = self.done + CHUNK_SAMPLES as u64 + ORDERING_SAMPLES;
        // 125 µs per sample, rounded up by one so that the block is due then.
        self.origin + Duration::from_micros(samples * 125 + 1)
    }

    /// The end: everything up to `at` becomes final, and whatever was placed shortly after it.
    pub fn finish(&mut self, at: Instant) {
        self.advance(at);
        let end = u64::try_from(self.position(at)).unwrap_or(0);
        let placed = self.channels.iter().map(|channel| self.done + channel.pending.len() as u64).max().unwrap_or(0);
        let end = end.max(placed.min(end + ORDERING_SAMPLES));
        while self.done < end {
            let samples = usize::try_from(end - self.done).unwrap_or(CHUNK_SAMPLES).min(CHUNK_SAMPLES);
            self.finish_block(samples);
        }
        for channel in &mut self.channels {
            self.events.extend(channel.end_gap(self.done));
        }
    }

    /// The next final block.
    pub fn pop_block(&mut self) -> Option<Block> {
        self.blocks.pop_front()
    }

    /// The next event.
    pub fn pop_event(&mut self) -> Option<TimelineEvent> {
        self.events.pop_front()
    }

    fn finish_block(&mut self, samples: usize) {
        let mut interleaved = vec![0; samples * 2];
        let mut received = false;
        for (index, channel) in self.channels.iter_mut().enumerate() {
            let (taken, is_received) = channel.take(self.done, samples, &mut self.events);
            received |= is_received;
            interleaved.iter_mut().skip(index).step_by(2).zip(taken).for_each(|(to, from)| *to = from);
        }
        let is_hold = !received && self.channels.iter().any(|channel| channel.held);
        self.blocks.push_back(Block { first_sample: self.done, interleaved, is_hold });
        self.done += samples as u64;
    }
}

fn samples_in(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos() / 125_000).unwrap_or(i64::MAX)
}

/// One frame's samples and when they came.
struct Arrived<'a> {
    samples: &'a [i16],
    concealed: bool,
    /// Position of the arrival.
    arrival: i64,
    at: Instant,
}

/// How a slot came to be filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fill {
    Nothing,
    Concealed,
    Received,
}

#[derive(Debug)]
struct Channel {
    number: u8,
    /// Samples from `Timeline::done` on.
    pending: VecDeque<(i16, Fill)>,
    source: Option<Source>,
    held: bool,
    stats: ChannelStats,
    gap: Option<(u64, GapReason)>,
}

/// What ties one epoch's timestamps to the timeline.
#[derive(Debug)]
struct Source {
    epoch: u32,
    last_timestamp: u32,
    /// `last_timestamp` less the first, without wrap.
    extended: i64,
    /// Position of the first timestamp.
    base: i64,
    /// How far the base still has to slide.
    slide: i64,
    /// A jump that waits for silence, and until when.
    jump: Option<(i64, Instant)>,
    window: Window,
}

/// The least delay of arrival after slot, over a window of time.
#[derive(Debug)]
struct Window {
    since: Instant,
    frames: u32,
    least: i64,
}

impl Window {
    const fn starting_at(since: Instant) -> Self {
        Self { since, frames: 0, least: i64::MAX }
    }
}

impl Channel {
    const fn new(number: u8) -> Self {
        Self {
            number,
            pending: VecDeque::new(),
            source: None,
            held: false,
            stats: ChannelStats { frames: 0, concealed: 0, late_samples: 0, resyncs: 0 },
            gap: None,
        }
    }

    fn place(&mut self, done: u64, frame: &TapFrame, arrived: &Arrived<'_>) -> Option<TimelineEvent> {
        if arrived.concealed {
            self.stats.concealed += 1;
        } else {
            self.stats.frames += 1;
        }
        // The first sample was taken one frame's length before the packet could leave.
        let due = arrived.arrival - i64::try_from(arrived.samples.len()).unwrap_or(0);
        let placed_to = i64::try_from(done + self.pending.len() as u64).unwrap_or(i64::MAX);
        let (slot, event) = if let Some(source) = self.source.as_mut().filter(|source| source.epoch == frame.epoch) {
            source.slot(frame.timestamp, due, arrived)
        } else {
            let is_first = self.source.is_none();
            // A new source goes on where the old one ended, if that is near: jitter shall not overwrite it.
            let base = if (0..JUMP_SAMPLES).contains(&(placed_to - due)) && !is_first { placed_to } else { due };
            self.source = Some(Source::starting_at(base, frame, arrived.at));
            (base, (!is_first).then_some((0, ResyncReason::NewEpoch)))
        };
        self.write(done, slot, arrived);
        event.map(|(moved, why)| {
            self.stats.resyncs += 1;
            TimelineEvent::Resync { channel: self.number, sample: u64::try_from(slot).unwrap_or(0), moved, why }
        })
    }

    fn write(&mut self, done: u64, slot: i64, arrived: &Arrived<'_>) {
        let offset = slot - i64::try_from(done).unwrap_or(i64::MAX);
        let late = usize::try_from(-offset).unwrap_or(0).min(arrived.samples.len());
        if !arrived.concealed {
            self.stats.late_samples += late as u64;
        }
        let start = usize::try_from(offset).unwrap_or(0);
        let end = (start + arrived.samples.len() - late).min(PENDING_SAMPLES_MAX);
        if start >= end {
            return;
        }
        self.bridge(start);
        if self.pending.len() < end {
            self.pending.resize(end, (0, Fill::Nothing));
        }
        let fill = if arrived.concealed { Fill::Concealed } else { Fill::Received };
        let places = self.pending.range_mut(start..end);
        for (place, sample) in places.zip(arrived.samples.iter().skip(late)) {
            // What was received is better than what was made up.
            if !(arrived.concealed && place.1 == Fill::Received) {
                *place = (*sample, fill);
            }
        }
    }

    /// A slide leaves a hole of one sample between frames: the sample before it fills it.
    fn bridge(&mut self, start: usize) {
        if self.pending.len() + 1 == start
            && let Some(last) = self.pending.back().copied()
        {
            self.pending.push_back(last);
        }
    }

    /// Takes the next `samples`, and whether anything was received among them.
    fn take(&mut self, done: u64, samples: usize, events: &mut VecDeque<TimelineEvent>) -> (Vec<i16>, bool) {
        let mut received = false;
        let mut taken = Vec::with_capacity(samples);
        let count = samples.min(self.pending.len());
        let filled = self.pending.drain(..count).collect::<Vec<_>>();
        let slots = filled.into_iter().chain(std::iter::repeat((0, Fill::Nothing))).take(samples);
        for ((sample, fill), position) in slots.zip(done..) {
            taken.push(sample);
            received |= fill != Fill::Nothing;
            if fill == Fill::Received {
                events.extend(self.end_gap(position));
            } else if self.gap.is_none() {
                let why = match (fill, self.held) {
                    (Fill::Concealed, _) => GapReason::Loss,
                    (_, true) => GapReason::Hold,
                    (_, false) => GapReason::Dtx,
                };
                self.gap = Some((position, why));
            }
        }
        (taken, received)
    }

    /// The gap that ends at `position`, where there was one of some length.
    fn end_gap(&mut self, position: u64) -> Option<TimelineEvent> {
        let (sample, why) = self.gap.take()?;
        let samples = position.saturating_sub(sample);
        (samples >= GAP_SAMPLES_MIN).then_some(TimelineEvent::Gap { channel: self.number, sample, samples, why })
    }
}

impl Source {
    const fn starting_at(base: i64, frame: &TapFrame, at: Instant) -> Self {
        Self {
            epoch: frame.epoch,
            last_timestamp: frame.timestamp,
            extended: 0,
            base,
            slide: 0,
            jump: None,
            window: Window::starting_at(at),
        }
    }

    /// The slot of a frame that is due at `due`, and by how much the anchor jumped, where it did.
    fn slot(&mut self, timestamp: u32, due: i64, arrived: &Arrived<'_>) -> (i64, Option<(i64, ResyncReason)>) {
        let step = timestamp.wrapping_sub(self.last_timestamp).cast_signed();
        let extended = self.extended + i64::from(step);
        if step > 0 {
            self.extended = extended;
            self.last_timestamp = timestamp;
        }
        if self.slide != 0 && step > 0 && extended / SLIDE_PACE != (extended - i64::from(step)) / SLIDE_PACE {
            self.base += self.slide.signum();
            self.slide -= self.slide.signum();
        }
        let delay = due - (self.base + extended);
        let jumped = self.jump(delay, arrived);
        if jumped.is_none() && !arrived.concealed {
            self.observe(delay, arrived.at);
        }
        (self.base + extended, jumped)
    }

    fn jump(&mut self, delay: i64, arrived: &Arrived<'_>) -> Option<(i64, ResyncReason)> {
        let is_quiet = || arrived.concealed || arrived.samples.iter().all(|sample| sample.unsigned_abs() < QUIET_PEAK);
        let (moved, why) = match self.jump {
            _ if delay < -AHEAD_SAMPLES_MAX => (delay, ResyncReason::Jump),
            Some((by, until)) if arrived.at >= until || is_quiet() => (by, ResyncReason::Drift),
            _ => return None,
        };
        self.base += moved;
        self.jump = None;
        self.slide = 0;
        self.window = Window::starting_at(arrived.at);
        Some((moved, why))
    }

    fn observe(&mut self, delay: i64, at: Instant) {
        if self.slide != 0 || self.jump.is_some() {
            self.window = Window::starting_at(at);
            return;
        }
        self.window.frames += 1;
        self.window.least = self.window.least.min(delay);
        if at.saturating_duration_since(self.window.since) < WINDOW || self.window.frames < WINDOW_FRAMES_MIN {
            return;
        }
        let least = self.window.least;
        if least.abs() > JUMP_SAMPLES {
            self.jump = Some((least, at + JUMP_PATIENCE));
        } else if least.abs() > SLIDE_SAMPLES {
            self.slide = least;
        }
        self.window = Window::starting_at(at);
    }
}

#[cfg(test)]
#[path = "timeline_tests.rs"]
mod tests;
