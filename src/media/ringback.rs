//! The ringback tone: 425 Hz, 1 s on, 4 s off (ITU-T E.180 supplement 2, as most of Europe has it).

use std::f32::consts::TAU;
use std::time::Duration;

/// Samples of one frame: 20 ms.
pub(crate) const FRAME_SAMPLES: usize = 160;
/// Peak of −20 dBm0: a sine at full scale of µ-law, 32,636, is +3.14 dBm0 (G.711 table 5).
const PEAK: f32 = 2_274.0;
/// Hz.
const TONE_HZ: u32 = 425;
/// Samples of the tone.
const ON: u32 = 8_000;
/// Samples of tone and pause.
const CYCLE: u32 = 40_000;

/// Where in its cycle the tone is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ringback {
    at: u32,
}

impl Ringback {
    /// After this long without audio of the trunk, the tone is back: some announce something and fall silent.
    pub(crate) const SILENCE: Duration = Duration::from_secs(2);

    /// The next 20 ms.
    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "within 16 bits and 24 bits")]
    pub(crate) fn frame(&mut self) -> [i16; FRAME_SAMPLES] {
        let mut frame = [0; FRAME_SAMPLES];
        for sample in &mut frame {
            if self.at < ON {
                // Whole cycles are taken off first: a float loses phase in large numbers.
                let phase = (self.at * TONE_HZ % 8_000) as f32 / 8_000.0;
                *sample = (PEAK * (TAU * phase).sin()) as i16;
            }
            self.at = (self.at + 1) % CYCLE;
        }
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_second_on_four_seconds_off() {
        let mut tone = Ringback::default();
        let loud: Vec<bool> = (0..500).map(|_| tone.frame().iter().any(|sample| sample.abs() > 2_000)).collect();
        let expected: Vec<bool> = (0..500).map(|frame| frame % 250 < 50).collect();
        assert_eq!(loud, expected);
    }
}
