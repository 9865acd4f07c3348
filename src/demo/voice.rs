//! A voice for extension 601: vowels sung by formants, so that the demo needs no recording of anybody.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "sample arithmetic"
)]

use std::f64::consts::{PI, TAU};

/// First three formants of five vowels, in hertz (rounded from the usual textbook values for a low voice).
const VOWELS: [[f64; 3]; 5] = [
    [730.0, 1_090.0, 2_440.0],
    [530.0, 1_840.0, 2_480.0],
    [270.0, 2_290.0, 3_010.0],
    [570.0, 840.0, 2_410.0],
    [300.0, 870.0, 2_240.0],
];
/// Bandwidth of a formant, in hertz.
const BANDWIDTH: f64 = 90.0;
/// Length of one vowel and of the rest after it, in seconds.
const VOWEL_SECONDS: f64 = 0.6;
/// Peak level.
const AMPLITUDE: f64 = 9_000.0;

/// A resonator of two poles.
struct Formant {
    gain: f64,
    near: f64,
    far: f64,
    last: [f64; 2],
}

impl Formant {
    fn new(hz: f64, rate: f64) -> Self {
        let radius = (-PI * BANDWIDTH / rate).exp();
        Self { gain: 1.0 - radius, near: 2.0 * radius * (TAU * hz / rate).cos(), far: radius * radius, last: [0.0; 2] }
    }

    fn next(&mut self, input: f64) -> f64 {
        let [near, far] = self.last;
        let output = self.gain * input + self.near * near - self.far * far;
        self.last = [output, near];
        output
    }
}

/// "Ah, eh, ee, oh, oo", each followed by a rest.
pub(super) fn vowels(rate: u32) -> Vec<i16> {
    let mut out = Vec::new();
    let length = (VOWEL_SECONDS * f64::from(rate)) as usize;
    for (index, formants) in VOWELS.iter().enumerate() {
        out.extend(vowel(*formants, 110.0 + 8.0 * index as f64, rate, length));
        out.extend(std::iter::repeat_n(0, length / 2));
    }
    out
}

fn vowel(formants: [f64; 3], pitch: f64, rate: u32, length: usize) -> Vec<i16> {
    let rate = f64::from(rate);
    let mut throat = formants.map(|hz| Formant::new(hz, rate));
    let mut glottis = 0.0;
    let mut raw = Vec::with_capacity(length);
    for index in 0..length {
        glottis += pitch / rate;
        let pulse = if glottis >= 1.0 { 1.0 } else { 0.0 };
        glottis %= 1.0;
        let envelope = (PI * index as f64 / length as f64).sin();
        raw.push(envelope * throat.iter_mut().map(|formant| formant.next(pulse)).sum::<f64>());
    }
    let peak = raw.iter().fold(1e-9, |peak: f64, sample| peak.max(sample.abs()));
    raw.iter().map(|sample| (AMPLITUDE * sample / peak) as i16).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_voice_speaks_and_rests_within_its_level() {
        let samples = vowels(8_000);
        assert_eq!(samples.len(), 5 * (4_800 + 2_400));
        assert!(samples.iter().all(|sample| sample.abs() <= 9_000));
        assert!(samples[2_000..3_000].iter().any(|sample| sample.abs() > 3_000));
        assert!(samples[4_800..7_200].iter().all(|&sample| sample == 0));
    }
}
