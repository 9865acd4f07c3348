//! The timeline: places both channels' frames on the monotonic clock, so that time never stops and never bends.
//!
//! A frame goes to slot = anchor + (timestamp − first timestamp). The anchor follows the arrivals' early
//! edge. Unfilled is silence.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::media::tap::{TapBody, TapChannel, TapFrame};
use crate::recording::anchor::{Anchor, Arrived, JUMP_SAMPLES};
use crate::recording::seal_body::ChannelStats;
use crate::recording::segment::{CHUNK_SAMPLES, GapReason, ResyncReason, TimelineEvent};

/// Samples per second.
pub const SAMPLE_RATE: u32 = 8_000;
/// How long a sample's slot stays open: 160 ms, in samples.
pub const ORDERING_SAMPLES: u64 = 1_280;
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
    anchor: Option<Anchor>,
    held: bool,
    stats: ChannelStats,
    gap: Option<(u64, GapReason)>,
}

impl Channel {
    const fn new(number: u8) -> Self {
        Self {
            number,
            pending: VecDeque::new(),
            anchor: None,
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
        let (slot, event) = if let Some(anchor) = self.anchor.as_mut().filter(|anchor| anchor.is_of(frame.epoch)) {
            anchor.slot(frame.timestamp, due, arrived)
        } else {
            let is_first = self.anchor.is_none();
            // A new source goes on where the old one ended, if that is near: jitter shall not overwrite it.
            let base = if (0..JUMP_SAMPLES).contains(&(placed_to - due)) && !is_first { placed_to } else { due };
            self.anchor = Some(Anchor::starting_at(base, frame, arrived.at));
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

#[cfg(test)]
#[path = "timeline_tests.rs"]
mod tests;
