//! Ties the timestamps of one source to the timeline, by the early edge of its arrivals.
//!
//! Moved by over 10 ms for 2 s, the anchor follows: at once where there is silence, else by a sample each 160 ms. Moved by
//! over 60 ms, it jumps, where no silence comes soon, without.

use std::time::{Duration, Instant};

use crate::media::tap::TapFrame;
use crate::recording::segment::ResyncReason;

/// Beyond this difference of slot and arrival the anchor jumps: 60 ms, in samples.
pub(super) const JUMP_SAMPLES: i64 = 480;
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

/// One frame's samples and when they came.
#[derive(Debug)]
pub(super) struct Arrived<'a> {
    pub(super) samples: &'a [i16],
    pub(super) concealed: bool,
    /// Position of the arrival.
    pub(super) arrival: i64,
    pub(super) at: Instant,
}

impl Arrived<'_> {
    fn is_quiet(&self) -> bool {
        self.concealed || self.samples.iter().all(|sample| sample.unsigned_abs() < QUIET_PEAK)
    }
}

/// See the module: what ties one epoch's timestamps to the timeline.
#[derive(Debug)]
pub(super) struct Anchor {
    epoch: u32,
    last_timestamp: u32,
    /// `last_timestamp` less the first, without wrap.
    extended: i64,
    /// Position of the first timestamp.
    base: i64,
    /// How far the base still has to move.
    shift: i64,
    /// A large shift waits for silence until then; a small one slides meanwhile.
    patience: Option<Instant>,
    /// Samples of silence just before the frame that comes.
    quiet: i64,
    window: Window,
}

/// How far the anchor may move before a frame without being heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// Not at all.
    None,
    /// By a sample.
    OneSample,
    /// As far as the silence reaches.
    Silence,
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

impl Anchor {
    pub(super) const fn starting_at(base: i64, frame: &TapFrame, at: Instant) -> Self {
        Self {
            epoch: frame.epoch,
            last_timestamp: frame.timestamp,
            extended: 0,
            base,
            shift: 0,
            patience: None,
            quiet: 0,
            window: Window::starting_at(at),
        }
    }

    /// Whether its timestamps are those of `epoch`.
    pub(super) const fn is_of(&self, epoch: u32) -> bool {
        self.epoch == epoch
    }

    /// The slot of the latest frame.
    #[cfg(test)]
    pub(super) const fn latest(&self) -> i64 {
        self.base + self.extended
    }

    /// The slot of a frame that is due at `due`, and by how much the anchor jumped, where it did.
    pub(super) fn slot(
        &mut self,
        timestamp: u32,
        due: i64,
        arrived: &Arrived<'_>,
    ) -> (i64, Option<(i64, ResyncReason)>) {
        let step = timestamp.wrapping_sub(self.last_timestamp).cast_signed();
        let extended = self.extended + i64::from(step);
        let paced = step > 0 && extended / SLIDE_PACE != self.extended / SLIDE_PACE;
        if step > 0 {
            self.extended = extended;
            self.last_timestamp = timestamp;
        }
        let samples = i64::try_from(arrived.samples.len()).unwrap_or(0);
        // Where the source said nothing for a while, the silence is there without a frame.
        let untold = (i64::from(step) - samples).max(0);
        self.quiet = self.quiet.saturating_add(untold);
        let is_quiet = arrived.is_quiet();
        let delay = due - (self.base + extended);
        let pace = if is_quiet || untold > 0 {
            Pace::Silence
        } else if paced {
            Pace::OneSample
        } else {
            Pace::None
        };
        let jumped = self.follow(delay, pace, arrived.at);
        self.quiet = if is_quiet { self.quiet.saturating_add(samples) } else { 0 };
        if jumped.is_none() && !arrived.concealed {
            self.observe(delay, arrived.at);
        }
        (self.base + extended, jumped)
    }

    /// Moves the base by what is due of a shift. A jump is told; a slide is too slow to be.
    fn follow(&mut self, delay: i64, pace: Pace, at: Instant) -> Option<(i64, ResyncReason)> {
        if delay < -AHEAD_SAMPLES_MAX {
            self.shift = delay;
            return Some((self.move_by(delay, at), ResyncReason::Jump));
        }
        let overdue = self.patience.is_some_and(|until| at >= until);
        let by = if overdue {
            self.shift
        } else if pace == Pace::Silence {
            // Backwards only over silence, for what is written there is lost.
            self.shift.max(-self.quiet)
        } else {
            0
        };
        if by != 0 {
            return Some((self.move_by(by, at), ResyncReason::Drift));
        }
        if pace != Pace::None && self.patience.is_none() {
            let step = self.shift.signum();
            self.base += step;
            self.shift -= step;
        }
        None
    }

    fn move_by(&mut self, by: i64, at: Instant) -> i64 {
        self.base += by;
        self.shift -= by;
        self.quiet = (self.quiet + by).max(0);
        if self.shift == 0 {
            self.patience = None;
        }
        self.window = Window::starting_at(at);
        by
    }

    fn observe(&mut self, delay: i64, at: Instant) {
        if self.shift != 0 {
            self.window = Window::starting_at(at);
            return;
        }
        self.window.frames += 1;
        self.window.least = self.window.least.min(delay);
        if at.saturating_duration_since(self.window.since) < WINDOW || self.window.frames < WINDOW_FRAMES_MIN {
            return;
        }
        let least = self.window.least;
        if least.abs() > SLIDE_SAMPLES {
            self.shift = least;
            self.patience = (least.abs() > JUMP_SAMPLES).then(|| at + JUMP_PATIENCE);
        }
        self.window = Window::starting_at(at);
    }
}
