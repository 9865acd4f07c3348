//! Cuts a continuous run of samples into packets of one length, whatever lengths it arrives in.

use crate::limits::FRAME_SAMPLES_MAX;

/// Collects samples until a packet is full.
#[derive(Debug, Clone)]
pub(crate) struct Packetizer {
    samples: [i16; FRAME_SAMPLES_MAX],
    len: usize,
    full: usize,
    start: u64,
}

impl Packetizer {
    /// Packets of `full` samples, at most [`FRAME_SAMPLES_MAX`] and at least one.
    pub(crate) fn new(full: usize) -> Self {
        Self { samples: [0; FRAME_SAMPLES_MAX], len: 0, full: full.clamp(1, FRAME_SAMPLES_MAX), start: 0 }
    }

    /// Takes the samples that still fit, the first of them at `position`; gives back the others.
    pub(crate) fn take<'a>(&mut self, samples: &'a [i16], position: u64) -> &'a [i16] {
        if self.len == 0 {
            self.start = position;
        }
        let (taken, rest) = samples.split_at(samples.len().min(self.full - self.len));
        for (to, from) in self.samples.iter_mut().skip(self.len).zip(taken) {
            *to = *from;
        }
        self.len += taken.len();
        rest
    }

    /// A full packet and the position of its first sample. [`Self::clear`] it before the next samples.
    pub(crate) fn full(&self) -> Option<(&[i16], u64)> {
        let packet = self.samples.get(..self.len)?;
        (self.len == self.full).then_some((packet, self.start))
    }

    /// Drops what is there.
    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }
}

#[cfg(test)]
#[expect(
    clippy::excessive_nesting,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "every length meets every other"
)]
mod tests {
    use super::*;

    #[test]
    fn every_length_in_gives_the_one_length_out_with_nothing_lost() {
        for full in [80, 160, 240, 320, 480] {
            for chunk in [1, 80, 160, 240, 480, 960] {
                let mut packetizer = Packetizer::new(full);
                let (mut next, mut sent) = (0_u64, 0);
                for round in 0..20_u64 {
                    let mut position = round * chunk;
                    let samples: Vec<i16> = (position..position + chunk).map(|n| n as i16).collect();
                    let mut rest = &samples[..];
                    while !rest.is_empty() {
                        let before = rest.len();
                        rest = packetizer.take(rest, position);
                        position += (before - rest.len()) as u64;
                        if let Some((packet, start)) = packetizer.full() {
                            assert_eq!((packet.len(), start), (full, next));
                            assert_eq!(i64::from(packet[0]), start as i64);
                            next += full as u64;
                            sent += 1;
                            packetizer.clear();
                        }
                    }
                }
                assert_eq!(sent, (chunk * 20) as usize / full);
            }
        }
    }
}
