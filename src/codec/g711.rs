//! G.711: µ-law and A-law as tables, made by the compiler from the algorithm of ITU-T G.711 (as in G.191).

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::indexing_slicing,
    reason = "const evaluation has neither try_from nor get; the tables cover every value of their index types"
)]

/// A companding law.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Law {
    /// µ-law: 14 bits.
    Mu,
    /// A-law: 13 bits, even bits inverted.
    A,
}

/// What a G.711 byte of silence is in each law.
impl Law {
    /// The code of a sample of value 0.
    pub const fn silence(self) -> u8 {
        match self {
            Self::Mu => 0xff,
            Self::A => 0xd5,
        }
    }

    /// One sample to its code.
    pub const fn encode(self, sample: i16) -> u8 {
        match self {
            Self::Mu => MU_ENCODE[(sample as u16 >> 2) as usize],
            Self::A => A_ENCODE[(sample as u16 >> 4) as usize],
        }
    }

    /// One code to its sample.
    pub const fn decode(self, code: u8) -> i16 {
        match self {
            Self::Mu => MU_DECODE[code as usize],
            Self::A => A_DECODE[code as usize],
        }
    }

    /// Encodes as many samples as there are in both; how many that was.
    pub fn encode_all(self, samples: &[i16], codes: &mut [u8]) -> usize {
        for (code, sample) in codes.iter_mut().zip(samples) {
            *code = self.encode(*sample);
        }
        samples.len().min(codes.len())
    }

    /// Decodes as many codes as there are in both; how many that was.
    pub fn decode_all(self, codes: &[u8], samples: &mut [i16]) -> usize {
        for (sample, code) in samples.iter_mut().zip(codes) {
            *sample = self.decode(*code);
        }
        samples.len().min(codes.len())
    }
}

static MU_ENCODE: [u8; 1 << 14] = {
    let mut table = [0; 1 << 14];
    let mut index = 0;
    while index < table.len() {
        table[index] = mu_compress(((index as u16) << 2) as i16);
        index += 1;
    }
    table
};

static A_ENCODE: [u8; 1 << 12] = {
    let mut table = [0; 1 << 12];
    let mut index = 0;
    while index < table.len() {
        table[index] = a_compress(((index as u16) << 4) as i16);
        index += 1;
    }
    table
};

static MU_DECODE: [i16; 256] = {
    let mut table = [0; 256];
    let mut code = 0;
    while code < table.len() {
        table[code] = mu_expand(code as u8);
        code += 1;
    }
    table
};

static A_DECODE: [i16; 256] = {
    let mut table = [0; 256];
    let mut code = 0;
    while code < table.len() {
        table[code] = a_expand(code as u8);
        code += 1;
    }
    table
};

/// Magnitude by one's complement, so that both signs have the same decision values (G.711 tables 2a and 2b).
const fn magnitude(sample: i16, dropped_bits: u32) -> u16 {
    (if sample < 0 { !sample } else { sample }) as u16 >> dropped_bits
}

const fn mu_compress(sample: i16) -> u8 {
    let biased = magnitude(sample, 2) + 33;
    let biased = if biased > 0x1fff { 0x1fff } else { biased };
    // The leading one is at bit 5 to 12; four bits follow it.
    let segment = 10 - biased.leading_zeros() as u16;
    let step = (biased >> (segment + 1)) & 0x0f;
    let sign = if sample < 0 { 0 } else { 0x80 };
    sign | (0x7f ^ ((segment << 4) | step) as u8)
}

const fn mu_expand(code: u8) -> i16 {
    let bits = !code;
    let segment = (bits >> 4) & 7;
    let step = (bits & 0x0f) as i16;
    let value = (((step << 1) + 33) << segment) - 33;
    (if code & 0x80 == 0 { -value } else { value }) << 2
}

const fn a_compress(sample: i16) -> u8 {
    let magnitude = magnitude(sample, 4);
    let code = if magnitude < 32 {
        magnitude
    } else {
        let segment = 12 - magnitude.leading_zeros() as u16;
        (segment << 4) | ((magnitude >> (segment - 1)) & 0x0f)
    };
    let sign = if sample < 0 { 0 } else { 0x80 };
    (sign | code as u8) ^ 0x55
}

const fn a_expand(code: u8) -> i16 {
    let bits = code ^ 0x55;
    let segment = (bits >> 4) & 7;
    let step = (bits & 0x0f) as i16;
    let value = if segment == 0 { (step << 4) + 8 } else { ((step << 4) + 0x108) << (segment - 1) };
    if bits & 0x80 == 0 { -value } else { value }
}

#[cfg(test)]
#[expect(clippy::excessive_nesting, reason = "every code of every law is walked")]
mod tests {
    use super::*;

    /// The decision values of G.711 by their definition: interval widths, in the law's own units of 16-bit scale.
    fn decision_values(law: Law) -> Vec<i32> {
        // (count, width): µ-law 1 of 1, 15 of 2, then sixteen each of 4, 8, …, 256, units of 4 (table 2a);
        // A-law 32 of 1, then sixteen each of 2, 4, …, 64, units of 16 (table 1a).
        let (mut widths, unit) = match law {
            Law::Mu => (vec![(1, 1), (15, 2)], 4),
            Law::A => (vec![(32, 1)], 16),
        };
        let mut width = if law == Law::Mu { 4 } else { 2 };
        for _ in 0..if law == Law::Mu { 7 } else { 6 } {
            widths.push((16, width));
            width *= 2;
        }
        let mut values = vec![0];
        for (count, width) in widths {
            for _ in 0..count {
                values.push(values.last().unwrap() + width * unit);
            }
        }
        assert_eq!(values.len(), 129);
        values
    }

    /// The code whose interval holds the sample, counted from zero outwards, with the law's own bits flipped.
    fn code_by_definition(law: Law, sample: i16) -> u8 {
        let magnitude = i32::from(if sample < 0 { !sample } else { sample });
        let interval = decision_values(law).iter().rposition(|value| *value <= magnitude).unwrap().min(127) as u8;
        let sign = if sample < 0 { 0 } else { 0x80 };
        match law {
            Law::Mu => sign | (0x7f - interval),
            Law::A => (sign | interval) ^ 0x55,
        }
    }

    #[test]
    fn every_sample_gets_the_code_of_its_interval() {
        for law in [Law::Mu, Law::A] {
            // Computed once per magnitude, then looked up: the definition is slow on purpose.
            let values = decision_values(law);
            let mut interval = 0;
            for magnitude in 0..=i32::from(i16::MAX) {
                while interval < 127 && values[interval + 1] <= magnitude {
                    interval += 1;
                }
                for sample in [magnitude as i16, !(magnitude as i16)] {
                    let sign = if sample < 0 { 0 } else { 0x80 };
                    let code = interval as u8;
                    let expected = if law == Law::Mu { sign | (0x7f - code) } else { (sign | code) ^ 0x55 };
                    assert_eq!(law.encode(sample), expected, "{law:?} {sample}");
                }
            }
            for sample in [i16::MIN, -1, 0, 1, 100, -100, i16::MAX] {
                assert_eq!(law.encode(sample), code_by_definition(law, sample));
            }
        }
    }

    #[test]
    fn every_code_gets_the_middle_of_its_interval() {
        for law in [Law::Mu, Law::A] {
            let values = decision_values(law);
            for code in 0..=255_u8 {
                let bits = if law == Law::Mu { !code } else { code ^ 0x55 };
                let interval = usize::from(bits & 0x7f);
                // µ-law's first interval stands for 0 itself (G.711 table 2a, y1 = 0).
                let middle = if law == Law::Mu && interval == 0 {
                    0
                } else {
                    i32::midpoint(values[interval], values[interval + 1])
                };
                let positive = code & 0x80 != 0;
                assert_eq!(i32::from(law.decode(code)), if positive { middle } else { -middle }, "{law:?} {code:#x}");
            }
        }
    }

    #[test]
    fn known_values_of_the_standard() {
        assert_eq!(Law::Mu.decode(0x80), 32_124);
        assert_eq!(Law::Mu.decode(0x00), -32_124);
        assert_eq!(Law::A.decode(0xaa), 32_256);
        assert_eq!(Law::A.decode(0xd5), 8);
        for law in [Law::Mu, Law::A] {
            assert_eq!(law.encode(0), law.silence());
        }
    }

    #[test]
    fn decoded_and_encoded_again_every_code_stays() {
        for law in [Law::Mu, Law::A] {
            for code in 0..=255_u8 {
                // µ-law has two zeros; the negative one becomes the positive one.
                let expected = if law == Law::Mu && code == 0x7f { 0xff } else { code };
                assert_eq!(law.encode(law.decode(code)), expected);
            }
        }
    }
}
