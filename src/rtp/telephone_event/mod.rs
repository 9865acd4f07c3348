//! DTMF digits as RTP events (RFC 4733).

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
}
