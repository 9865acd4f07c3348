//! Tones made and found without any code of the gateway.
#![expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "arithmetic on samples")]

/// A sine of `hz` at 8 kHz, half of full scale, starting at sample `first`.
pub(super) fn sine(hz: f64, first: usize, count: usize) -> Vec<i16> {
    (first..first + count)
        .map(|n| ((n as f64 * hz * std::f64::consts::TAU / 8_000.0).sin() * 16_000.0) as i16)
        .collect()
}

/// Share of the signal's power that lies at `hz` (Goertzel), 0.0–1.0.
pub(super) fn share(samples: &[i16], hz: f64) -> f64 {
    let total: f64 = samples.iter().map(|sample| f64::from(*sample).powi(2)).sum();
    if total == 0.0 {
        return 0.0;
    }
    let coefficient = 2.0 * (hz * std::f64::consts::TAU / 8_000.0).cos();
    let (mut last, mut before) = (0.0, 0.0);
    for sample in samples {
        let next = f64::from(*sample) + coefficient * last - before;
        before = last;
        last = next;
    }
    let power = last * last + before * before - coefficient * last * before;
    2.0 * power / (total * samples.len() as f64)
}

/// Median of [`share`] over blocks of 50 ms: a stall of the test's own clock, which breaks the phase, spoils one block only.
pub(super) fn median_share(samples: &[i16], hz: f64) -> f64 {
    let mut shares: Vec<f64> = samples.chunks_exact(400).map(|block| share(block, hz)).collect();
    shares.sort_by(f64::total_cmp);
    shares.get(shares.len() / 2).copied().unwrap_or_default()
}

/// Root mean square.
pub(super) fn level(samples: &[i16]) -> f64 {
    (samples.iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>() / samples.len().max(1) as f64).sqrt()
}

/// G.711 µ-law, by the segment formula of the standard.
pub(super) fn to_ulaw(sample: i16) -> u8 {
    let magnitude = (i32::from(sample).abs().min(32_635)) + 132;
    let exponent = (0..8).rev().find(|exponent| magnitude & (0x80 << exponent) != 0).unwrap_or(0);
    let mantissa = (magnitude >> (exponent + 3)) & 0x0F;
    let sign = if sample < 0 { 0x80 } else { 0 };
    !u8::try_from(sign | (exponent << 4) | mantissa).unwrap()
}

/// The way back.
pub(super) fn from_ulaw(code: u8) -> i16 {
    let code = i32::from(!code);
    let magnitude = ((((code & 0x0F) << 3) + 132) << ((code >> 4) & 7)) - 132;
    i16::try_from(if code & 0x80 == 0 { magnitude } else { -magnitude }).unwrap()
}

#[test]
fn the_measure_finds_its_own_tone() {
    let tone: Vec<i16> = sine(1_000.0, 0, 1_600).into_iter().map(|sample| from_ulaw(to_ulaw(sample))).collect();
    assert!(share(&tone, 1_000.0) > 0.98);
    assert!(share(&tone, 440.0) < 0.01);
    assert!(median_share(&tone, 1_000.0) > 0.98);
    assert!(median_share(&tone, 440.0) < 0.01);
}
