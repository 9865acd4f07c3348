//! Sending side of one RTP stream: one SSRC, one sequence, one timeline for the leg's whole life.

use rand::RngCore;

/// What goes into the header of one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Extended sequence number; its low 16 bits go on the wire.
    pub sequence: u64,
    /// RTP timestamp.
    pub timestamp: u32,
}

impl Stamp {
    /// The sequence number as on the wire.
    pub const fn wire_sequence(self) -> u16 {
        (self.sequence & 0xffff) as u16
    }
}

/// One SSRC with its counters. Positions are samples of the payload's clock since the leg began.
#[derive(Debug, Clone)]
pub struct SendStream {
    ssrc: u32,
    sequence: u64,
    origin: u32,
    packets: u32,
    octets: u32,
}

impl SendStream {
    /// A stream that starts at a random SSRC, sequence number (below 65,536) and timestamp (RFC 3550 5.1).
    pub fn new(rng: &mut dyn RngCore) -> Self {
        let origin = rng.next_u32();
        Self { ssrc: rng.next_u32(), sequence: u64::from(rng.next_u32() & 0xffff), origin, packets: 0, octets: 0 }
    }

    /// Stamps the next packet, whose first sample is at `position` and whose payload has `payload_bytes`.
    pub fn stamp(&mut self, position: u64, payload_bytes: usize) -> Stamp {
        let stamp = Stamp { sequence: self.sequence, timestamp: self.timestamp_at(position) };
        self.sequence += 1;
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(u32::try_from(payload_bytes).unwrap_or(0));
        stamp
    }

    /// Leaves out `packets` sequence numbers, so that the receiver sees a loss and conceals it.
    pub fn skip(&mut self, packets: u64) {
        self.sequence += packets;
    }

    /// The RTP timestamp of `position`.
    pub const fn timestamp_at(&self, position: u64) -> u32 {
        self.origin.wrapping_add((position & 0xffff_ffff) as u32)
    }

    /// The SSRC.
    pub const fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// Packets sent, modulo 2³² as a sender report wants it.
    pub const fn packets(&self) -> u32 {
        self.packets
    }

    /// Payload octets sent, modulo 2³².
    pub const fn octets(&self) -> u32 {
        self.octets
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    #[test]
    fn sequence_and_timestamp_start_at_random_and_go_on_without_a_break() {
        for seed in 0..50 {
            let mut stream = SendStream::new(&mut StdRng::seed_from_u64(seed));
            let first = stream.stamp(0, 160);
            assert!(first.sequence < 65_536);
            let mut last = first;
            for packet in 1..70_000_u64 {
                let stamp = stream.stamp(packet * 160, 160);
                assert_eq!(stamp.sequence, last.sequence + 1);
                assert_eq!(stamp.timestamp.wrapping_sub(last.timestamp), 160);
                assert_eq!(stamp.wire_sequence(), last.wire_sequence().wrapping_add(1));
                last = stamp;
            }
            assert_eq!(stream.packets(), 70_000);
            assert_eq!(stream.octets(), 70_000 * 160);
        }
    }

    #[test]
    fn two_streams_differ() {
        let mut rng = StdRng::seed_from_u64(3);
        let (a, b) = (SendStream::new(&mut rng), SendStream::new(&mut rng));
        assert_ne!(a.ssrc(), b.ssrc());
        assert_ne!(a.timestamp_at(0), b.timestamp_at(0));
    }

    #[test]
    fn a_skip_is_a_gap_in_the_sequence_only() {
        let mut stream = SendStream::new(&mut StdRng::seed_from_u64(4));
        let first = stream.stamp(0, 10);
        stream.skip(2);
        assert_eq!(stream.stamp(160, 10).sequence, first.sequence + 3);
        assert_eq!(stream.packets(), 2);
    }
}
