//! RTCP (RFC 3550 6): reports, names, goodbyes; compound packets.

pub mod report;
pub mod sdes_bye;

/// Packet type of a sender report.
const SENDER_REPORT: u8 = 200;
/// Packet type of a receiver report.
const RECEIVER_REPORT: u8 = 201;
/// Packet type of a source description.
const SOURCE_DESCRIPTION: u8 = 202;
/// Packet type of a goodbye.
const GOODBYE: u8 = 203;

/// One packet of a compound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RtcpPacket<'a> {
    /// The five bits of the first byte: report or source count.
    pub count: u8,
    /// Packet type.
    pub packet_type: u8,
    /// What follows the first word, without padding.
    pub body: &'a [u8],
}

/// Why a datagram is no compound RTCP packet (RFC 3550 A.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CompoundError {
    /// A packet is cut short, or its length reaches beyond the datagram.
    #[error("the RTCP packet is cut short")]
    Short,
    /// Not version 2.
    #[error("the version of the packet is not 2")]
    Version,
    /// The first packet is no report.
    #[error("the compound does not begin with a report")]
    NoReport,
    /// Padding in a packet that is not the last, or of a wrong length.
    #[error("the padding does not fit")]
    Padding,
}

/// Checks a whole compound before anything of it is believed, and gives its packets.
pub fn parse_compound(datagram: &[u8]) -> Result<impl Iterator<Item = RtcpPacket<'_>>, CompoundError> {
    let mut rest = datagram;
    let mut first = true;
    while first || !rest.is_empty() {
        let (packet, after) = split(rest)?;
        if first && !matches!(packet.packet_type, SENDER_REPORT | RECEIVER_REPORT) {
            return Err(CompoundError::NoReport);
        }
        if rest.first().is_some_and(|flags| flags & 0x20 != 0) && !after.is_empty() {
            return Err(CompoundError::Padding);
        }
        first = false;
        rest = after;
    }
    let mut rest = datagram;
    Ok(std::iter::from_fn(move || {
        let (packet, after) = split(rest).ok()?;
        rest = after;
        Some(packet)
    }))
}

fn split(rest: &[u8]) -> Result<(RtcpPacket<'_>, &[u8]), CompoundError> {
    let ([flags, packet_type, l0, l1], after) = rest.split_first_chunk::<4>().ok_or(CompoundError::Short)?;
    if flags >> 6 != 2 {
        return Err(CompoundError::Version);
    }
    let length = usize::from(u16::from_be_bytes([*l0, *l1])) * 4;
    let (body, after) = after.split_at_checked(length).ok_or(CompoundError::Short)?;
    let body = if flags & 0x20 == 0 { body } else { without_padding(body)? };
    Ok((RtcpPacket { count: flags & 0x1f, packet_type: *packet_type, body }, after))
}

fn without_padding(body: &[u8]) -> Result<&[u8], CompoundError> {
    let padding = usize::from(*body.last().ok_or(CompoundError::Padding)?);
    let length = body.len().checked_sub(padding).ok_or(CompoundError::Padding)?;
    if padding == 0 || !padding.is_multiple_of(4) {
        return Err(CompoundError::Padding);
    }
    body.get(..length).ok_or(CompoundError::Padding)
}

/// Writes packets one after the other into a buffer; once something did not fit, nothing more is written.
#[derive(Debug)]
pub struct CompoundWriter<'a> {
    out: &'a mut [u8],
    len: usize,
    fits: bool,
}

impl<'a> CompoundWriter<'a> {
    /// Writes to the start of `out`.
    pub fn new(out: &'a mut [u8]) -> Self {
        Self { out, len: 0, fits: true }
    }

    /// Bytes written, or `None` where the buffer was too small.
    pub fn finish(self) -> Option<usize> {
        self.fits.then_some(self.len)
    }

    /// Writes one packet, whose body `write` puts; padded to whole words by zeros.
    fn packet(&mut self, count: u8, packet_type: u8, write: impl FnOnce(&mut Self)) {
        let start = self.len;
        self.put(&[0x80 | (count & 0x1f), packet_type, 0, 0]);
        write(self);
        while !(self.len - start).is_multiple_of(4) && self.fits {
            self.put(&[0]);
        }
        let words = u16::try_from((self.len - start) / 4).unwrap_or(1).saturating_sub(1);
        if let Some(length) = self.out.get_mut(start + 2..start + 4) {
            length.copy_from_slice(&words.to_be_bytes());
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        match self.out.get_mut(self.len..self.len + bytes.len()) {
            Some(place) => {
                place.copy_from_slice(bytes);
                self.len += bytes.len();
            }
            None => self.fits = false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EMPTY_RR: [u8; 8] = [0x80, 201, 0, 1, 1, 2, 3, 4];

    fn error_of(datagram: &[u8]) -> Option<CompoundError> {
        parse_compound(datagram).err()
    }

    #[test]
    fn a_compound_begins_with_a_report_and_is_whole() {
        assert_eq!(error_of(&EMPTY_RR), None);
        assert_eq!(error_of(&[]), Some(CompoundError::Short));
        assert_eq!(error_of(&EMPTY_RR[..7]), Some(CompoundError::Short));
        assert_eq!(error_of(&[0x40, 201, 0, 1, 1, 2, 3, 4]), Some(CompoundError::Version));
        assert_eq!(error_of(&[0x81, 203, 0, 1, 1, 2, 3, 4]), Some(CompoundError::NoReport));
        assert_eq!(error_of(&[&EMPTY_RR[..], &[0x81, 203, 0, 9, 1, 2, 3, 4]].concat()), Some(CompoundError::Short));
    }

    #[test]
    fn padding_stands_in_the_last_packet_only() {
        let padded = [0xa0, 201, 0, 2, 1, 2, 3, 4, 0, 0, 0, 4];
        assert_eq!(parse_compound(&padded).unwrap().next().unwrap().body, [1, 2, 3, 4]);
        assert_eq!(error_of(&[&padded[..], &EMPTY_RR].concat()), Some(CompoundError::Padding));
        assert_eq!(error_of(&[0xa0, 201, 0, 2, 1, 2, 3, 4, 0, 0, 0, 16]), Some(CompoundError::Padding));
    }

    proptest! {
        #[test]
        fn rubbish_never_panics(mut bytes in proptest::collection::vec(any::<u8>(), 0..120), lead in any::<bool>()) {
            if lead && bytes.len() > 3 {
                bytes[0] = 0x81;
                bytes[1] = 200;
                bytes[2] = 0;
            }
            if let Ok(packets) = parse_compound(&bytes) {
                for packet in packets {
                    prop_assert!(report::Report::parse(&packet).is_none_or(|report| report.blocks().count() < 32));
                    prop_assert!(sdes_bye::parse_bye(&packet).is_none_or(|sources| sources.count() < 32));
                    prop_assert!(sdes_bye::parse_cname(&packet, 1).is_none_or(|name| name.len() < 256));
                }
            }
        }
    }
}
