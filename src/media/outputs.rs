//! What a pipeline has to say, in order and bounded, and its tap.

use std::collections::VecDeque;
use std::time::Instant;

use crate::limits::FRAME_SAMPLES_MAX;
use crate::media::tap::Samples8k;
use crate::media::tap::TapBody;
use crate::media::tap::TapChannel;
use crate::media::tap::TapFrame;
use crate::media::tap::TapId;
use crate::media::vocabulary::Output;

/// Outputs waiting at most: several times what one packet or timeout can cause. More are dropped and counted.
pub(crate) const OUTPUTS_MAX: usize = 256;

/// Where a stretch of audio stands on its channel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) channel: TapChannel,
    /// In samples of 1/8000 s.
    pub(crate) position: u64,
    pub(crate) epoch: u32,
    pub(crate) arrival: Instant,
}

/// The queue of outputs.
#[derive(Debug, Default)]
pub(crate) struct Outputs {
    queue: VecDeque<Output>,
    tap: Option<TapId>,
    dropped: u64,
}

impl Outputs {
    pub(crate) fn push(&mut self, output: Output) {
        if self.queue.len() < OUTPUTS_MAX {
            self.queue.push_back(output);
        } else {
            self.dropped += 1;
        }
    }

    pub(crate) fn pop(&mut self) -> Option<Output> {
        self.queue.pop_front()
    }

    pub(crate) const fn dropped(&self) -> u64 {
        self.dropped
    }

    pub(crate) fn set_tap(&mut self, tap: Option<TapId>) {
        self.tap = tap;
    }

    /// Gives audio to the tap, in frames of at most 60 ms.
    pub(crate) fn tap_audio(&mut self, place: Place, samples: &[i16], concealed: bool) {
        let mut position = place.position;
        for frame in samples.chunks(FRAME_SAMPLES_MAX) {
            self.tap_body(Place { position, ..place }, || TapBody::Pcm8k { samples: Samples8k::new(frame), concealed });
            position += frame.len() as u64;
        }
    }

    /// Tells the tap that a channel is held or resumed.
    pub(crate) fn tap_hold(&mut self, place: Place, held: bool) {
        self.tap_body(place, || TapBody::Hold(held));
    }

    fn tap_body(&mut self, place: Place, body: impl FnOnce() -> TapBody) {
        let Some(tap) = self.tap else { return };
        let timestamp = u32::try_from(place.position & 0xffff_ffff).unwrap_or(0);
        let Place { channel, epoch, arrival, .. } = place;
        self.push(Output::Tap(TapFrame { tap, channel, timestamp, epoch, arrival, body: body() }));
    }
}
