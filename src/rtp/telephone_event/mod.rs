//! DTMF digits as RTP events (RFC 4733).

pub mod receiver;
pub mod sender;

/// A digit of RFC 4733 3.2: event codes 0–15.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DtmfDigit(u8);

impl DtmfDigit {
    /// From an event code, 0–15.
    pub const fn from_event(code: u8) -> Option<Self> {
        if code < 16 { Some(Self(code)) } else { None }
    }

    /// From `0`–`9`, `*`, `#`, `A`–`D` (either case).
    pub const fn from_char(digit: char) -> Option<Self> {
        match digit {
            '0'..='9' => Some(Self(digit as u8 - b'0')),
            '*' => Some(Self(10)),
            '#' => Some(Self(11)),
            'A'..='D' => Some(Self(digit as u8 - b'A' + 12)),
            'a'..='d' => Some(Self(digit as u8 - b'a' + 12)),
            _ => None,
        }
    }

    /// The event code.
    pub const fn event(self) -> u8 {
        self.0
    }

    /// As a character: `0`–`9`, `*`, `#`, `A`–`D`.
    pub const fn as_char(self) -> char {
        match self.0 {
            code @ 0..=9 => (b'0' + code) as char,
            10 => '*',
            11 => '#',
            code => (b'A' + code.saturating_sub(12)) as char,
        }
    }
}

/// The four bytes of one event packet (RFC 4733 2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventPayload {
    /// Event code; 0–15 are digits.
    pub event: u8,
    /// The event is over.
    pub end: bool,
    /// Power in −dBm0, 0–63.
    pub volume: u8,
    /// Time since the packet's timestamp, in the payload's clock.
    pub duration: u16,
}

impl EventPayload {
    /// Reads the first event of a payload; more than four bytes are allowed, fewer are not.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let [event, flags, d0, d1] = *payload.first_chunk::<4>()?;
        let duration = u16::from_be_bytes([d0, d1]);
        Some(Self { event, end: flags & 0x80 != 0, volume: flags & 0x3f, duration })
    }

    /// The bytes on the wire; the reserved bit is 0.
    pub const fn to_bytes(self) -> [u8; 4] {
        let [d0, d1] = self.duration.to_be_bytes();
        [self.event, ((self.end as u8) << 7) | (self.volume & 0x3f), d0, d1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_digit_has_its_character_and_its_code() {
        for (code, character) in "0123456789*#ABCD".chars().enumerate() {
            let digit = DtmfDigit::from_char(character).unwrap();
            assert_eq!(usize::from(digit.event()), code);
            assert_eq!(DtmfDigit::from_event(digit.event()).unwrap().as_char(), character);
        }
        assert_eq!(DtmfDigit::from_char('e'), None);
        assert_eq!(DtmfDigit::from_event(16), None);
    }

    #[test]
    fn the_payload_is_laid_out_as_in_rfc_4733() {
        let payload = EventPayload { event: 11, end: true, volume: 10, duration: 0x0320 };
        assert_eq!(payload.to_bytes(), [11, 0x8a, 0x03, 0x20]);
        assert_eq!(EventPayload::parse(&payload.to_bytes()), Some(payload));
        assert_eq!(EventPayload::parse(&[1, 2, 3]), None);
    }
}
