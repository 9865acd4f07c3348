//! What an agent says and hears: an echo, or a tone of its own and a measured ear.

use anyhow::Result;
use bytes::Bytes;

use crate::demo::tone::Sine;

/// Samples in 20 ms at Opus's clock.
pub(super) const FRAME_48K: u32 = 960;
/// The ear listens at the rate at which trunks speak.
pub const HEARD_RATE: u32 = 8_000;
/// The ear keeps this much, in samples: two minutes.
const HEARD_MAX: usize = 960_000;

/// What an agent does once it has accepted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mode {
    /// Sends back what it hears, packet by packet.
    Echo,
    /// Sends a tone of this frequency and keeps what it hears.
    Tone {
        /// In hertz.
        hz: f64,
    },
}

/// An audio packet to send.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) payload: Bytes,
    pub(super) timestamp: u32,
    pub(super) marker: bool,
}

/// One call's sound.
pub(super) enum Sound {
    Echo { last: Option<u32>, timestamp: u32 },
    Tone { sine: Sine, encoder: opus::Encoder, ear: Ear, timestamp: u32 },
}

/// Decodes and keeps what is heard, at [`HEARD_RATE`].
pub(super) struct Ear {
    decoder: opus::Decoder,
    heard: Vec<i16>,
}

impl Sound {
    /// The sound of a call in `mode`; `timestamp` is where the outgoing RTP clock starts.
    pub(super) fn new(mode: Mode, timestamp: u32) -> Result<Self> {
        match mode {
            Mode::Echo => Ok(Self::Echo { last: None, timestamp }),
            Mode::Tone { hz } => {
                let mut encoder = opus::Encoder::new(48_000, opus::Channels::Mono, opus::Application::Voip)?;
                encoder.set_bitrate(opus::Bitrate::Bits(32_000))?;
                encoder.set_complexity(3)?;
                let ear = Ear { decoder: opus::Decoder::new(HEARD_RATE, opus::Channels::Mono)?, heard: Vec::new() };
                Ok(Self::Tone { sine: Sine::new(hz, 48_000), encoder, ear, timestamp })
            }
        }
    }

    /// Whether [`Self::next_frame`] has something to say every 20 ms.
    pub(super) const fn speaks(&self) -> bool {
        matches!(self, Self::Tone { .. })
    }

    /// The next 20 ms.
    pub(super) fn next_frame(&mut self) -> Result<Option<Outgoing>> {
        let Self::Tone { sine, encoder, timestamp, .. } = self else { return Ok(None) };
        let samples = sine.take(FRAME_48K as usize);
        let payload = Bytes::from(encoder.encode_vec(&samples, 400)?);
        let now = *timestamp;
        *timestamp = timestamp.wrapping_add(FRAME_48K);
        Ok(Some(Outgoing { payload, timestamp: now, marker: false }))
    }

    /// A packet was heard; the echo of it, where there is one to send.
    pub(super) fn hear(&mut self, payload: Bytes, heard_at: u32, marker: bool) -> Option<Outgoing> {
        match self {
            Self::Echo { last, timestamp } => {
                // The far side's pace, on our own clock: a pause of theirs stays as long in the echo.
                let step = last.map_or(0, |last| heard_at.wrapping_sub(last));
                *last = Some(heard_at);
                *timestamp = timestamp.wrapping_add(step);
                Some(Outgoing { payload, timestamp: *timestamp, marker })
            }
            Self::Tone { ear, .. } => {
                ear.hear(&payload);
                None
            }
        }
    }

    /// What was heard since this was last asked, at [`HEARD_RATE`].
    pub(super) fn take_heard(&mut self) -> Vec<i16> {
        match self {
            Self::Echo { .. } => Vec::new(),
            Self::Tone { ear, .. } => std::mem::take(&mut ear.heard),
        }
    }
}

impl Ear {
    fn hear(&mut self, payload: &[u8]) {
        let mut frame = [0_i16; 960];
        match self.decoder.decode(payload, &mut frame, false) {
            Ok(samples) if self.heard.len() < HEARD_MAX => self.heard.extend(frame.iter().take(samples)),
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "the agent heard a packet that is no Opus"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::tone::ToneFigure;

    #[test]
    fn a_tone_survives_the_codec_and_the_ear() {
        let mut speaker = Sound::new(Mode::Tone { hz: 440.0 }, 0).unwrap();
        let mut listener = Sound::new(Mode::Tone { hz: 1_000.0 }, 0).unwrap();
        for _ in 0..100 {
            let frame = speaker.next_frame().unwrap().unwrap();
            assert!(listener.hear(frame.payload, frame.timestamp, frame.marker).is_none());
        }
        let figure = ToneFigure::of(&listener.take_heard(), HEARD_RATE, 440.0);
        assert!(figure.seconds >= 1.8, "{figure:?}");
    }

    #[test]
    fn an_echo_keeps_the_far_sides_pace_on_its_own_clock() {
        let mut echo = Sound::new(Mode::Echo, u32::MAX).unwrap();
        let mut at = |heard_at| echo.hear(Bytes::new(), heard_at, false).unwrap().timestamp;
        assert_eq!(at(5_000), u32::MAX);
        assert_eq!(at(5_960), 959);
        assert_eq!(at(10_760), 5_759);
    }
}
