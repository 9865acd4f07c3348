//! From event packets to digits: each press once, whatever was lost or sent twice.

use std::time::Duration;
use std::time::Instant;

use crate::rtp::telephone_event::DtmfDigit;
use crate::rtp::telephone_event::EventPayload;

/// An event without a packet for this long is over, its end lost: three times the longest usual interval of 50 ms.
const EVENT_TIMEOUT: Duration = Duration::from_millis(150);

/// A digit and how long it was pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Press {
    /// Which.
    pub digit: DtmfDigit,
    /// For how long, in milliseconds.
    pub duration_ms: u32,
}

/// What an event packet did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Heard {
    /// A press that was still open, its end lost, and that this packet shows to be over.
    pub before: Option<Press>,
    /// The press that this packet ends.
    pub ended: Option<Press>,
}

#[derive(Debug, Clone, Copy)]
struct Open {
    digit: DtmfDigit,
    /// Timestamp of the running segment (RFC 4733 2.5.1.3), which names the event in its packets.
    timestamp: u32,
    /// Units of the segments before.
    before_segment: u32,
    duration: u16,
    last_packet: Instant,
}

/// One incoming sequence of events.
#[derive(Debug, Clone)]
pub struct EventReceiver {
    clock_hz: u32,
    open: Option<Open>,
    /// Timestamp of the last event that ended: its further ends, and its late packets, mean nothing.
    ended: Option<u32>,
}

impl EventReceiver {
    /// Events whose durations count `clock_hz`.
    pub const fn new(clock_hz: u32) -> Self {
        Self { clock_hz, open: None, ended: None }
    }

    /// Takes the payload of one event packet. Events that are no digits are ignored.
    pub fn handle(&mut self, timestamp: u32, payload: &[u8], now: Instant) -> Heard {
        let Some(packet) = EventPayload::parse(payload) else { return Heard::default() };
        let Some(digit) = DtmfDigit::from_event(packet.event) else { return Heard::default() };
        if self.ended.is_some_and(|ended| ended.wrapping_sub(timestamp).cast_signed() >= 0) {
            return Heard::default();
        }
        let mut heard = Heard::default();
        match &mut self.open {
            Some(open) if open.timestamp == timestamp => {
                open.duration = open.duration.max(packet.duration);
                open.last_packet = now;
            }
            Some(open) if open.continues_at(timestamp, digit) => {
                open.before_segment = open.before_segment.saturating_add(u32::from(open.duration));
                open.timestamp = timestamp;
                open.duration = packet.duration;
                open.last_packet = now;
            }
            // A packet of the segment or event before, late.
            Some(open) if open.timestamp.wrapping_sub(timestamp).cast_signed() > 0 => return heard,
            _ => {
                heard.before = self.close();
                self.open =
                    Some(Open { digit, timestamp, before_segment: 0, duration: packet.duration, last_packet: now });
            }
        }
        if packet.end {
            heard.ended = self.close();
        }
        heard
    }

    /// Ends an event whose packets stopped.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Press> {
        if self.poll_timeout()? > now {
            return None;
        }
        self.close()
    }

    /// When an event counts as over, if no packet comes.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.open.as_ref().map(|open| open.last_packet + EVENT_TIMEOUT)
    }

    /// Whether a key is down.
    pub const fn is_pressed(&self) -> bool {
        self.open.is_some()
    }

    /// Forgets the timestamps of a source that is no more; an open press ends.
    pub fn reset(&mut self) -> Option<Press> {
        let press = self.close();
        self.ended = None;
        press
    }

    fn close(&mut self) -> Option<Press> {
        let open = self.open.take()?;
        self.ended = Some(open.timestamp);
        let units = u64::from(open.before_segment) + u64::from(open.duration);
        let duration_ms = u32::try_from(units * 1_000 / u64::from(self.clock_hz.max(1))).unwrap_or(u32::MAX);
        Some(Press { digit: open.digit, duration_ms })
    }
}

impl Open {
    /// A long event goes on in a new segment, which begins where the full one ends.
    fn continues_at(&self, timestamp: u32, digit: DtmfDigit) -> bool {
        digit == self.digit
            && self.duration >= 0x8000
            && timestamp.wrapping_sub(self.timestamp) >= u32::from(self.duration)
            && timestamp.wrapping_sub(self.timestamp) <= 0xffff
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    fn payload(event: u8, end: bool, duration: u16) -> [u8; 4] {
        EventPayload { event, end, volume: 10, duration }.to_bytes()
    }

    /// A press of 100 ms as most senders have it: five updates, three ends.
    fn press(event: u8) -> Vec<[u8; 4]> {
        let mut packets: Vec<_> = (1..=5).map(|step| payload(event, false, step * 160)).collect();
        packets.extend([payload(event, true, 800); 3]);
        packets
    }

    fn run(packets: &[(u32, [u8; 4])]) -> Vec<(char, u32)> {
        let mut receiver = EventReceiver::new(8_000);
        let mut now = Clock::system().now();
        let mut seen = Vec::new();
        let mut note =
            |press: Option<Press>| seen.extend(press.map(|press| (press.digit.as_char(), press.duration_ms)));
        for (timestamp, payload) in packets {
            now += Duration::from_millis(20);
            note(receiver.handle_timeout(now));
            let heard = receiver.handle(*timestamp, payload, now);
            note(heard.before);
            note(heard.ended);
        }
        note(receiver.handle_timeout(now + Duration::from_secs(1)));
        seen
    }

    #[test]
    fn a_press_with_three_ends_is_one_digit() {
        let packets: Vec<_> = press(5).into_iter().map(|payload| (1_000, payload)).collect();
        assert_eq!(run(&packets), [('5', 100)]);
    }

    #[test]
    fn any_packet_that_is_left_makes_the_digit() {
        let all = press(7);
        for kept in 0..all.len() {
            assert_eq!(run(&[(1_000, all[kept])]).len(), 1, "only packet {kept}");
            let mut without: Vec<_> = all.iter().map(|payload| (1_000, *payload)).collect();
            without.remove(kept);
            assert_eq!(run(&without), [('7', 100)], "without packet {kept}");
        }
    }

    #[test]
    fn the_same_digit_twice_is_two_digits_even_with_all_ends_lost() {
        let mut packets: Vec<_> = press(1).into_iter().take(5).map(|payload| (1_000, payload)).collect();
        packets.extend(press(1).into_iter().take(5).map(|payload| (3_000, payload)));
        assert_eq!(run(&packets), [('1', 100), ('1', 100)]);
    }

    #[test]
    fn late_and_doubled_packets_of_an_old_event_mean_nothing() {
        let packets = [(1_000, payload(2, true, 800)), (1_000, payload(2, false, 480)), (1_000, payload(2, true, 800))];
        assert_eq!(run(&packets), [('2', 100)]);
        let mixed = [
            (1_000, payload(2, false, 800)),
            (4_000, payload(3, false, 160)),
            (1_000, payload(2, true, 800)),
            (4_000, payload(3, true, 400)),
        ];
        assert_eq!(run(&mixed), [('2', 100), ('3', 50)]);
    }

    #[test]
    fn a_long_press_in_segments_is_one_digit() {
        let packets = [
            (0, payload(9, false, 0xff00)),
            (0, payload(9, false, 0xffff)),
            (0xffff, payload(9, false, 160)),
            (0xffff, payload(9, true, 8_001)),
        ];
        assert_eq!(run(&packets), [('9', 9_192)]);
    }

    #[test]
    fn what_is_no_digit_is_ignored() {
        assert_eq!(run(&[(0, payload(16, true, 800)), (9, payload(255, false, 1))]), []);
    }
}
