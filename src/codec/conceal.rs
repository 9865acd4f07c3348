//! Concealment of lost G.711: the last pitch period is repeated, and faded out within 100 ms.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "weighted sums of 16-bit samples stay within 16 bits"
)]

use crate::limits::CONCEALMENT_MS_MAX;

/// Samples that are remembered: two of the longest pitch periods and a window, 42.5 ms.
const HISTORY: usize = 340;
/// Shortest pitch period: 5 ms, 200 Hz. Higher voices repeat two periods.
const PERIOD_MIN: usize = 40;
/// Longest pitch period: 15 ms, 66 Hz.
const PERIOD_MAX: usize = 120;
/// Samples over which similarity is judged: 20 ms.
const WINDOW: usize = 160;
/// Samples over which real audio is blended in again: 4 ms.
const BLEND: usize = 32;
/// Concealed samples until silence.
const FADE: usize = CONCEALMENT_MS_MAX as usize * 8;

/// Remembers what was heard, and goes on from it where packets are missing.
#[derive(Debug, Clone)]
pub struct Concealer {
    history: [i16; HISTORY],
    period: usize,
    /// Samples concealed since the last real one.
    concealed: usize,
}

impl Default for Concealer {
    fn default() -> Self {
        Self { history: [0; HISTORY], period: PERIOD_MAX, concealed: 0 }
    }
}

impl Concealer {
    /// Takes real audio; after a concealed stretch its first 4 ms are blended with how that would have gone on.
    pub fn hear(&mut self, samples: &mut [i16]) {
        if self.concealed > 0 {
            let from = self.concealed;
            for (index, sample) in samples.iter_mut().take(BLEND).enumerate() {
                let guess = i32::from(self.guess(from + index));
                let weight = i32::try_from(index).unwrap_or(0);
                let mixed = guess * (BLEND as i32 - weight) + i32::from(*sample) * weight;
                *sample = (mixed / BLEND as i32) as i16;
            }
            self.concealed = 0;
        }
        let kept = samples.len().min(HISTORY);
        self.history.copy_within(kept.., 0);
        let recent = samples.get(samples.len() - kept..).unwrap_or_default();
        if let Some(end) = self.history.get_mut(HISTORY - kept..) {
            end.copy_from_slice(recent);
        }
    }

    /// Goes on for `out.len()` samples; silence once 100 ms were made up.
    pub fn conceal(&mut self, out: &mut [i16]) {
        if self.concealed == 0 {
            self.period = self.find_period();
        }
        for sample in out {
            *sample = self.guess(self.concealed);
            self.concealed = self.concealed.saturating_add(1);
        }
    }

    /// Sample `index` after the last real one.
    fn guess(&self, index: usize) -> i16 {
        let Some(left @ 1..) = FADE.checked_sub(index) else { return 0 };
        let at = HISTORY - self.period + index % self.period;
        let sample = i64::from(self.history.get(at).copied().unwrap_or(0));
        (sample * left as i64 / FADE as i64) as i16
    }

    /// The lag at which the last 20 ms resemble themselves most, by normalised correlation.
    #[expect(clippy::cast_precision_loss, reason = "sums of products of 16-bit samples; only compared")]
    fn find_period(&self) -> usize {
        let recent = self.history.get(HISTORY - WINDOW..).unwrap_or_default();
        let mut best = (0.0, PERIOD_MAX);
        for lag in PERIOD_MIN..=PERIOD_MAX {
            let before = self.history.get(HISTORY - WINDOW - lag..HISTORY - lag).unwrap_or_default();
            let (mut product, mut energy) = (0_i64, 1_i64);
            for (a, b) in recent.iter().zip(before) {
                product += i64::from(*a) * i64::from(*b);
                energy += i64::from(*b) * i64::from(*b);
            }
            let likeness = product as f64 / (energy as f64).sqrt();
            if likeness > best.0 {
                best = (likeness, lag);
            }
        }
        best.1
    }
}

#[cfg(test)]
#[expect(clippy::cast_precision_loss, reason = "tones are made in floating point")]
mod tests {
    use super::*;
    use std::f64::consts::TAU;

    fn tone(hz: f64, from: usize, count: usize) -> Vec<i16> {
        (from..from + count).map(|n| (10_000.0 * (TAU * hz * n as f64 / 8_000.0).sin()) as i16).collect()
    }

    #[test]
    fn a_periodic_sound_goes_on_in_phase() {
        for hz in [100.0, 200.0, 400.0, 800.0] {
            let mut concealer = Concealer::default();
            concealer.hear(&mut tone(hz, 0, 480));
            let mut made = [0; 80];
            concealer.conceal(&mut made);
            for (index, (made, real)) in made.iter().zip(tone(hz, 480, 80)).enumerate() {
                let faded = f64::from(real) * (1.0 - index as f64 / FADE as f64);
                assert!((f64::from(*made) - faded).abs() < 300.0, "{hz} Hz, sample {index}: {made} for {faded}");
            }
        }
    }

    #[test]
    fn it_is_silent_after_a_hundred_milliseconds() {
        let mut concealer = Concealer::default();
        concealer.hear(&mut tone(200.0, 0, 480));
        let mut made = [1; 1_600];
        concealer.conceal(&mut made);
        assert!(made[600..790].iter().any(|sample| *sample != 0));
        assert!(made[800..].iter().all(|sample| *sample == 0));
    }

    #[test]
    fn real_audio_comes_back_without_a_step() {
        let mut concealer = Concealer::default();
        concealer.hear(&mut tone(200.0, 0, 480));
        let mut made = [0; 170];
        concealer.conceal(&mut made);
        let mut back = vec![-9_000; 160];
        concealer.hear(&mut back);
        assert!((i32::from(back[0]) - i32::from(made[169])).abs() < 2_500, "{} {}", made[169], back[0]);
        assert_eq!(back[40], -9_000);
    }

    #[test]
    fn nothing_heard_gives_silence() {
        let mut made = [5; 160];
        Concealer::default().conceal(&mut made);
        assert_eq!(made, [0; 160]);
    }
}
