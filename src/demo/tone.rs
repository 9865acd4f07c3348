//! Pure tones, and how to find one: by level, by purity and by how long it lasts.

#![expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "sample arithmetic")]

use std::f64::consts::TAU;
use std::fmt;

/// Peak level of the demo's tones: 10 dB below full scale, as a person speaks.
pub const AMPLITUDE: f64 = 10_000.0;
/// A block in which less than this share of the energy is at the tone's frequency does not count.
const PURITY_MIN: f64 = 0.8;
/// A block whose tone is weaker than this does not count, in dB relative to full scale.
const LEVEL_MIN_DB: f64 = -30.0;

/// An endless sine that keeps its phase.
#[derive(Debug, Clone)]
pub struct Sine {
    step: f64,
    phase: f64,
}

impl Sine {
    /// `hz` at `rate` samples a second.
    pub fn new(hz: f64, rate: u32) -> Self {
        Self { step: TAU * hz / f64::from(rate), phase: 0.0 }
    }

    /// The next samples.
    pub fn take(&mut self, samples: usize) -> Vec<i16> {
        let mut out = Vec::with_capacity(samples);
        for _ in 0..samples {
            out.push((AMPLITUDE * self.phase.sin()) as i16);
            self.phase = (self.phase + self.step) % TAU;
        }
        out
    }
}

/// Peak amplitude of `hz` in a block of samples, by Goertzel's algorithm.
pub fn goertzel(samples: &[i16], rate: u32, hz: f64) -> f64 {
    let coefficient = 2.0 * (TAU * hz / f64::from(rate)).cos();
    let (mut before, mut last) = (0.0, 0.0);
    for &sample in samples {
        let next = f64::from(sample) + coefficient * last - before;
        before = last;
        last = next;
    }
    let power = last * last + before * before - coefficient * last * before;
    2.0 * power.max(0.0).sqrt() / (samples.len().max(1) as f64)
}

/// How much of a tone is in a piece of audio.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ToneFigure {
    /// Which tone.
    pub hz: f64,
    /// How long it is clearly there, in steps of 100 ms.
    pub seconds: f64,
    /// Its level in dB relative to full scale, where it is clearly there.
    pub level_db: f64,
    /// Share of the energy that is at this frequency, where it is clearly there.
    pub purity: f64,
    /// Where it begins, in seconds.
    pub begins_at: Option<f64>,
}

impl ToneFigure {
    /// Looks for `hz` in blocks of 100 ms.
    pub fn of(samples: &[i16], rate: u32, hz: f64) -> Self {
        let block = (rate / 10).max(1) as usize;
        let (mut blocks, mut level, mut purity) = (0.0, 0.0, 0.0);
        let mut begins_at = None;
        for (index, samples) in samples.chunks_exact(block).enumerate() {
            let amplitude = goertzel(samples, rate, hz);
            let energy: f64 = samples.iter().map(|&sample| f64::from(sample).powi(2)).sum();
            let share = amplitude * amplitude / 2.0 * block as f64 / energy.max(1.0);
            if decibel(amplitude) < LEVEL_MIN_DB || share < PURITY_MIN {
                continue;
            }
            begins_at = begins_at.or(Some(index as f64 / 10.0));
            blocks += 1.0;
            level += amplitude;
            purity += share.min(1.0);
        }
        let count = f64::max(blocks, 1.0);
        Self { hz, seconds: blocks / 10.0, level_db: decibel(level / count), purity: purity / count, begins_at }
    }
}

impl fmt::Display for ToneFigure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.begins_at.is_none() {
            return write!(f, "{:.0} Hz not heard", self.hz);
        }
        let Self { hz, seconds, level_db, purity, .. } = self;
        write!(f, "{hz:.0} Hz for {seconds:.1} s at {level_db:.1} dBFS, {:.1} % of the energy", purity * 100.0)
    }
}

/// A peak amplitude in dB relative to full scale.
fn decibel(amplitude: f64) -> f64 {
    20.0 * (amplitude.max(1.0) / 32_768.0).log10()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_is_found_with_its_level_and_length() {
        let mut samples = vec![0; 4_000];
        samples.extend(Sine::new(440.0, 8_000).take(16_000));
        let figure = ToneFigure::of(&samples, 8_000, 440.0);
        assert!((figure.seconds - 2.0).abs() < 0.01);
        assert_eq!(figure.begins_at, Some(0.5));
        assert!((figure.level_db - -10.3).abs() < 0.1, "{figure}");
        assert!(figure.purity > 0.99);
    }

    #[test]
    fn another_tone_silence_and_noise_are_not_this_tone() {
        let other = Sine::new(1_000.0, 8_000).take(8_000);
        assert_eq!(ToneFigure::of(&other, 8_000, 440.0).begins_at, None);
        assert_eq!(ToneFigure::of(&[0; 8_000], 8_000, 440.0).begins_at, None);
        let mut state = 1_u32;
        let noise: Vec<i16> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 17) as i16 - 16_384
        })
        .take(8_000)
        .collect();
        assert_eq!(ToneFigure::of(&noise, 8_000, 440.0).begins_at, None);
    }

    #[test]
    fn two_tones_at_once_are_neither() {
        let (mut a, mut b) = (Sine::new(440.0, 8_000), Sine::new(1_000.0, 8_000));
        let both: Vec<i16> = a.take(8_000).iter().zip(b.take(8_000)).map(|(a, b)| a / 2 + b / 2).collect();
        assert_eq!(ToneFigure::of(&both, 8_000, 440.0).begins_at, None);
    }
}
