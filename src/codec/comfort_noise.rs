//! Comfort noise by level only (RFC 3389 with no spectral coefficients), for when a line's time must be kept.

/// Level of an idle line in −dBov: below speech by far, above a line that sounds dead.
pub const IDLE_LEVEL: u8 = 68;

/// A generator of white noise. Its own small generator, since quality does not matter and a seed must replay.
#[derive(Debug, Clone)]
pub struct ComfortNoise {
    state: u32,
}

impl ComfortNoise {
    /// A generator that starts anywhere.
    pub const fn new(seed: u32) -> Self {
        Self { state: seed }
    }

    /// Fills `out` with noise of `level` −dBov, 0–127 (RFC 3389 3.1: relative to the overload point).
    #[expect(clippy::cast_possible_truncation, reason = "the amplitude is at most 32,767")]
    pub fn fill(&mut self, level: u8, out: &mut [i16]) {
        let rms = 32_767.0 * 10.0_f32.powf(-f32::from(level.min(127)) / 20.0);
        // Uniform noise has a root mean square of its peak over √3.
        let peak = (rms * 3.0_f32.sqrt()).min(32_767.0) as i32;
        for sample in out {
            self.state = self.state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let random = i64::from((self.state >> 8) & 0xffff) - 0x8000;
            *sample = (random * i64::from(peak) / 0x8000) as i16;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_is_the_one_asked_for() {
        let mut noise = ComfortNoise::new(1);
        for level in [10, 20, 30, 40, 50] {
            let mut out = [0; 8_000];
            noise.fill(level, &mut out);
            let mean = out.iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>() / 8_000.0;
            let measured = 20.0 * (mean.sqrt() / 32_767.0).log10();
            assert!((measured + f64::from(level)).abs() < 0.5, "{level}: {measured}");
        }
    }

    #[test]
    fn the_idle_line_is_quiet_and_not_dead() {
        let mut out = [0; 160];
        ComfortNoise::new(7).fill(IDLE_LEVEL, &mut out);
        assert!(out.iter().all(|sample| sample.abs() < 32));
        assert!(out.iter().any(|sample| *sample != 0));
    }
}
