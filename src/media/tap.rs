//! The tap: a copy of what a call's legs say, for whoever listens. `media` does not know who that is.

use std::time::Instant;

use crate::limits::FRAME_SAMPLES_MAX;

/// Identifies one tap within a worker; chosen by whoever asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TapId(pub u64);

/// Which direction of the agent's leg a frame belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TapChannel {
    /// What the agent sends: channel 0.
    Sent,
    /// What the agent hears: channel 1.
    Heard,
}

/// One decoded frame, on its way from a worker to a listener. Of fixed size, so that a ring of them is allocated once.
#[derive(Debug, Clone)]
pub struct TapFrame {
    /// Whose.
    pub tap: TapId,
    /// Which direction.
    pub channel: TapChannel,
    /// RTP timestamp of the first sample, in units of 1/8000 s whatever the codec's own clock, continuous within `epoch`.
    pub timestamp: u32,
    /// Grows by one when the source's timestamps start anew (new SSRC, resync).
    pub epoch: u32,
    /// When the packet arrived.
    pub arrival: Instant,
    /// What it holds.
    pub body: TapBody,
}

/// The content of a [`TapFrame`].
#[derive(Debug, Clone)]
#[expect(
    clippy::large_enum_variant,
    reason = "in place on purpose: nearly every frame is audio, and a ring is allocated once"
)]
pub enum TapBody {
    /// Linear PCM at 8 kHz.
    Pcm8k {
        /// The samples; the first `len` count.
        samples: Samples8k,
        /// Made by concealment or comfort noise, not received.
        concealed: bool,
    },
    /// The call was put on hold or resumed: silence until the other is so, not loss.
    Hold(bool),
}

/// Up to [`FRAME_SAMPLES_MAX`] samples in place.
#[derive(Clone)]
pub struct Samples8k {
    samples: [i16; FRAME_SAMPLES_MAX],
    len: u16,
}

impl Samples8k {
    /// Copies `samples`, cut at [`FRAME_SAMPLES_MAX`].
    pub fn new(samples: &[i16]) -> Self {
        let mut held = [0; FRAME_SAMPLES_MAX];
        let len = samples.len().min(FRAME_SAMPLES_MAX);
        for (to, from) in held.iter_mut().zip(samples) {
            *to = *from;
        }
        Self { samples: held, len: u16::try_from(len).unwrap_or(0) }
    }

    /// The samples.
    pub fn as_slice(&self) -> &[i16] {
        self.samples.get(..usize::from(self.len)).unwrap_or_default()
    }
}

impl std::fmt::Debug for Samples8k {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Samples8k({} samples)", self.len)
    }
}
