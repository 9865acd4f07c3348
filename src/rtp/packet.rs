//! The RTP packet (RFC 3550 5.1): read without copying, written into a buffer of the caller.

/// Bytes of an RTP header without CSRC and extension.
pub const HEADER_BYTES: usize = 12;

/// The fields of an RTP header that mean something to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Payload type, 0–127.
    pub payload_type: u8,
    /// First packet after a silence, or of an event.
    pub marker: bool,
    /// Sequence number.
    pub sequence: u16,
    /// Timestamp, in the payload's clock.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
}

/// A packet as it arrived: its header and its payload, without CSRC, extension and padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The header.
    pub header: Header,
    /// The payload.
    pub payload: &'a [u8],
}

/// Why a datagram is no RTP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Shorter than its header says.
    #[error("the RTP packet is cut short")]
    Short,
    /// Not version 2.
    #[error("the version of the packet is not 2")]
    Version,
    /// The payload type is one that RTCP uses (RFC 5761 4).
    #[error("this is an RTCP packet")]
    Rtcp,
    /// The padding's length is 0 or longer than the payload.
    #[error("the padding does not fit into the packet")]
    Padding,
}

/// Whether a datagram on a port that carries both is RTCP (RFC 5761 4): packet types 192–223.
pub fn is_rtcp(datagram: &[u8]) -> bool {
    matches!(datagram.get(1), Some(192..=223))
}

impl<'a> Packet<'a> {
    /// Reads a datagram.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, ParseError> {
        let (head, rest) = datagram.split_first_chunk::<HEADER_BYTES>().ok_or(ParseError::Short)?;
        let [flags, kind, s0, s1, t0, t1, t2, t3, x0, x1, x2, x3] = *head;
        if flags >> 6 != 2 {
            return Err(ParseError::Version);
        }
        if is_rtcp(datagram) {
            return Err(ParseError::Rtcp);
        }
        let rest = rest.get(usize::from(flags & 0x0f) * 4..).ok_or(ParseError::Short)?;
        let rest = if flags & 0x10 == 0 { rest } else { after_extension(rest)? };
        let payload = if flags & 0x20 == 0 { rest } else { before_padding(rest)? };
        Ok(Self {
            header: Header {
                payload_type: kind & 0x7f,
                marker: kind & 0x80 != 0,
                sequence: u16::from_be_bytes([s0, s1]),
                timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
                ssrc: u32::from_be_bytes([x0, x1, x2, x3]),
            },
            payload,
        })
    }
}

/// Skips a header extension (RFC 3550 5.3.1): 16 bits of profile, 16 bits of length in words.
fn after_extension(rest: &[u8]) -> Result<&[u8], ParseError> {
    let ([_, _, l0, l1], rest) = rest.split_first_chunk::<4>().ok_or(ParseError::Short)?;
    rest.get(usize::from(u16::from_be_bytes([*l0, *l1])) * 4..).ok_or(ParseError::Short)
}

/// Cuts the padding, whose last byte counts it, itself included.
fn before_padding(rest: &[u8]) -> Result<&[u8], ParseError> {
    let padding = usize::from(*rest.last().ok_or(ParseError::Padding)?);
    let payload = rest.len().checked_sub(padding).ok_or(ParseError::Padding)?;
    if padding == 0 {
        return Err(ParseError::Padding);
    }
    rest.get(..payload).ok_or(ParseError::Padding)
}

impl Header {
    /// Writes header and payload to the start of `out`; the bytes written, or `None` where they do not fit.
    pub fn write(&self, payload: &[u8], out: &mut [u8]) -> Option<usize> {
        let total = HEADER_BYTES + payload.len();
        let (head, body) = out.get_mut(..total)?.split_first_chunk_mut::<HEADER_BYTES>()?;
        let [s0, s1] = self.sequence.to_be_bytes();
        let [t0, t1, t2, t3] = self.timestamp.to_be_bytes();
        let [x0, x1, x2, x3] = self.ssrc.to_be_bytes();
        let kind = (u8::from(self.marker) << 7) | (self.payload_type & 0x7f);
        *head = [0x80, kind, s0, s1, t0, t1, t2, t3, x0, x1, x2, x3];
        body.copy_from_slice(payload);
        Some(total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEADER: Header =
        Header { payload_type: 8, marker: true, sequence: 0xfffe, timestamp: 0xdead_beef, ssrc: 0x0102_0304 };

    #[test]
    fn what_is_written_is_read_back() {
        let mut out = [0; 64];
        let len = HEADER.write(b"hello", &mut out).unwrap();
        let packet = Packet::parse(&out[..len]).unwrap();
        assert_eq!(packet, Packet { header: HEADER, payload: b"hello" });
        assert_eq!(HEADER.write(b"hello", &mut [0; 16]), None);
    }

    #[test]
    fn the_bytes_are_those_of_rfc_3550() {
        let mut out = [0; 13];
        HEADER.write(&[0x55], &mut out).unwrap();
        assert_eq!(out, [0x80, 0x88, 0xff, 0xfe, 0xde, 0xad, 0xbe, 0xef, 1, 2, 3, 4, 0x55]);
    }

    #[test]
    fn csrc_extension_and_padding_are_taken_off() {
        let mut datagram = vec![0x80 | 0x20 | 0x10 | 2, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
        datagram.extend([0xaa; 8]);
        datagram.extend([0xbe, 0xde, 0, 1, 1, 2, 3, 4]);
        datagram.extend([7, 8, 9]);
        datagram.extend([0, 0, 3]);
        assert_eq!(Packet::parse(&datagram).unwrap().payload, [7, 8, 9]);
    }

    #[test]
    fn lies_about_lengths_are_refused() {
        let head = |flags: u8, tail: &[u8]| [&[flags, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3], tail].concat();
        assert_eq!(Packet::parse(&head(0x80, &[])[..11]), Err(ParseError::Short));
        assert_eq!(Packet::parse(&head(0x40, &[1])), Err(ParseError::Version));
        assert_eq!(Packet::parse(&head(0x8f, &[0; 59])), Err(ParseError::Short));
        assert_eq!(Packet::parse(&head(0x90, &[0, 0, 0, 2, 1, 2, 3, 4])), Err(ParseError::Short));
        assert_eq!(Packet::parse(&head(0xa0, &[])), Err(ParseError::Padding));
        assert_eq!(Packet::parse(&head(0xa0, &[1, 2, 0])), Err(ParseError::Padding));
        assert_eq!(Packet::parse(&head(0xa0, &[1, 2, 4])), Err(ParseError::Padding));
        assert_eq!(Packet::parse(&[0x80, 200, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0]), Err(ParseError::Rtcp));
    }

    proptest! {
        #[test]
        fn rubbish_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(packet) = Packet::parse(&bytes) {
                prop_assert!(packet.payload.len() + HEADER_BYTES <= bytes.len());
            }
        }
    }
}
