//! Sequence numbers and timestamps that wrap, made to count on.

/// How far `to` lies ahead of `from` modulo 2¹⁶; negative where it lies behind.
pub const fn distance(from: u16, to: u16) -> i16 {
    to.wrapping_sub(from).cast_signed()
}

/// A counter that extends 32-bit RTP timestamps to 64 bits, however often they wrap.
///
/// Each step is taken as the shorter way round, so steps may go back as well.
#[derive(Debug, Clone, Copy)]
pub struct ExtendedTimestamp {
    last: u32,
    extended: i64,
}

impl ExtendedTimestamp {
    /// Begins at `first`, which becomes 0.
    pub const fn starting_at(first: u32) -> Self {
        Self { last: first, extended: 0 }
    }

    /// Units from the first timestamp to `timestamp`.
    pub fn extend(&mut self, timestamp: u32) -> i64 {
        self.extended += i64::from(timestamp.wrapping_sub(self.last).cast_signed());
        self.last = timestamp;
        self.extended
    }
}

/// The sequence number that one source is to use next, with its cycles counted (RFC 3550 A.1).
#[derive(Debug, Clone, Copy)]
pub struct ExtendedSequence(u64);

impl ExtendedSequence {
    /// Begins at `first`, in cycle 0.
    pub const fn starting_at(first: u16) -> Self {
        Self(first as u64)
    }

    /// Moves ahead by `steps`.
    pub const fn advance(&mut self, steps: u16) {
        self.0 += steps as u64;
    }

    /// The sequence number as on the wire.
    pub const fn wire(self) -> u16 {
        (self.0 & 0xffff) as u16
    }

    /// With its cycles.
    pub const fn extended(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_is_the_shorter_way_round() {
        assert_eq!(distance(65_535, 0), 1);
        assert_eq!(distance(0, 65_535), -1);
        assert_eq!(distance(10, 13), 3);
    }

    #[test]
    fn timestamps_count_on_over_the_wrap_and_back() {
        let mut clock = ExtendedTimestamp::starting_at(u32::MAX - 99);
        assert_eq!(clock.extend(60), 160);
        assert_eq!(clock.extend(u32::MAX - 99), 0);
        assert_eq!(clock.extend(220), 320);
    }

    #[test]
    fn sequence_numbers_carry_their_cycles() {
        let mut sequence = ExtendedSequence::starting_at(65_535);
        sequence.advance(2);
        assert_eq!((sequence.wire(), sequence.extended()), (1, 65_537));
    }
}
