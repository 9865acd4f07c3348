//! Maps a source's RTP timestamps to positions on our own timeline of 8 kHz.

use crate::rtp::seq::ExtendedTimestamp;

/// Tied to the timeline by the first packet, and again after a resync.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SourceClock {
    timestamps: ExtendedTimestamp,
    /// Units of the source's clock in one sample of 8 kHz.
    per_sample: i64,
    /// Position of the source's first timestamp.
    origin: i64,
}

impl SourceClock {
    /// Ties `timestamp` to `position`.
    pub(crate) fn tie(timestamp: u32, clock_hz: u32, position: u64) -> Self {
        Self {
            timestamps: ExtendedTimestamp::starting_at(timestamp),
            per_sample: i64::from((clock_hz / 8_000).max(1)),
            origin: position.cast_signed(),
        }
    }

    /// Samples from `position` to where `timestamp` belongs: positive is a gap, negative an overlap.
    pub(crate) fn gap(&mut self, timestamp: u32, position: u64) -> i64 {
        let units = self.timestamps.extend(timestamp);
        self.origin + units.div_euclid(self.per_sample) - position.cast_signed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_of_48_khz_count_as_samples_of_8_khz_over_the_wrap() {
        let mut clock = SourceClock::tie(u32::MAX - 959, 48_000, 1_000);
        assert_eq!(clock.gap(0, 1_160), 0);
        assert_eq!(clock.gap(960, 1_160), 160);
        assert_eq!(clock.gap(0, 1_320), -160);
    }
}
