//! The only place that reads a clock. Everything else takes `now` as an argument.

use std::time::{Duration, Instant, SystemTime};

/// Wall time in nanoseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallTime(pub u64);

impl WallTime {
    /// Whole milliseconds since 1970.
    pub const fn unix_ms(self) -> u64 {
        self.0 / 1_000_000
    }

    /// This time as a date in UTC. Times past the year 9999 become the epoch.
    pub fn to_utc(self) -> time::OffsetDateTime {
        time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0)).unwrap_or(time::OffsetDateTime::UNIX_EPOCH)
    }

    /// The wall time `later` after this one.
    #[must_use]
    pub fn after(self, later: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(later.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// Maps the monotonic clock to the wall clock, by one reading of both taken at start.
///
/// A call's times all follow the monotonic clock, so a step of the wall clock never bends a recording.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
    start_wall: WallTime,
}

impl Clock {
    /// Reads both clocks, now.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clocks")]
    pub fn system() -> Self {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { start: Instant::now(), start_wall: WallTime(0).after(wall) }
    }

    /// A clock that began at `start`, when the wall showed `wall`: for tests and simulation.
    pub const fn starting_at(start: Instant, wall: WallTime) -> Self {
        Self { start, start_wall: wall }
    }

    /// The monotonic time.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clocks")]
    pub fn now(&self) -> Instant {
        Instant::now()
    }

    /// The wall time that belongs to `instant`. An instant before the start gives the start.
    pub fn wall(&self, instant: Instant) -> WallTime {
        self.start_wall.after(instant.saturating_duration_since(self.start))
    }

    /// Monotonic nanoseconds since this clock's start.
    pub fn mono_ns(&self, instant: Instant) -> u64 {
        u64::try_from(instant.saturating_duration_since(self.start).as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_time_advances_with_the_monotonic_clock() {
        let start = Clock::system().now();
        let clock = Clock::starting_at(start, WallTime(5_000_000_000));
        assert_eq!(clock.wall(start + Duration::from_millis(20)), WallTime(5_020_000_000));
        assert_eq!(clock.mono_ns(start + Duration::from_millis(20)), 20_000_000);
    }
}
