//! Names and goodbyes (RFC 3550 6.5, 6.6).

use crate::rtp::rtcp::CompoundWriter;
use crate::rtp::rtcp::GOODBYE;
use crate::rtp::rtcp::RtcpPacket;
use crate::rtp::rtcp::SOURCE_DESCRIPTION;

/// Item type of a canonical name.
const CNAME: u8 = 1;

impl CompoundWriter<'_> {
    /// Writes a source description with the canonical name only, cut at 255 bytes.
    pub fn cname(&mut self, ssrc: u32, name: &[u8]) {
        let name = name.get(..255).unwrap_or(name);
        self.packet(1, SOURCE_DESCRIPTION, |out| {
            out.put(&ssrc.to_be_bytes());
            out.put(&[CNAME, u8::try_from(name.len()).unwrap_or(255)]);
            out.put(name);
            // The list ends with at least one zero; `packet` fills the word.
            out.put(&[0]);
        });
    }

    /// Writes a goodbye without a reason.
    pub fn bye(&mut self, ssrc: u32) {
        self.packet(1, GOODBYE, |out| out.put(&ssrc.to_be_bytes()));
    }
}

/// The canonical name that a source description gives for `ssrc`.
pub fn parse_cname<'a>(packet: &RtcpPacket<'a>, ssrc: u32) -> Option<&'a [u8]> {
    if packet.packet_type != SOURCE_DESCRIPTION {
        return None;
    }
    let mut rest = packet.body;
    for _ in 0..packet.count {
        let (source, mut items) = rest.split_first_chunk::<4>()?;
        loop {
            let (kind, after) = items.split_first()?;
            if *kind == 0 {
                break;
            }
            let (length, after) = after.split_first()?;
            let (text, after) = after.split_at_checked(usize::from(*length))?;
            if *kind == CNAME && u32::from_be_bytes(*source) == ssrc {
                return Some(text);
            }
            items = after;
        }
        // The terminating zero and what fills the word.
        let used = packet.body.len() - items.len() + 1;
        rest = packet.body.get(used.next_multiple_of(4)..)?;
    }
    None
}

/// The sources that say goodbye; `None` where the packet is no goodbye, or too short for its count.
pub fn parse_bye<'a>(packet: &RtcpPacket<'a>) -> Option<impl Iterator<Item = u32> + use<'a>> {
    if packet.packet_type != GOODBYE {
        return None;
    }
    let sources = packet.body.get(..usize::from(packet.count) * 4)?;
    Some(sources.chunks_exact(4).filter_map(|source| source.first_chunk().map(|word| u32::from_be_bytes(*word))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::rtcp::parse_compound;

    #[test]
    fn a_name_of_every_length_is_read_back_and_ends_with_a_zero() {
        for length in 0..20 {
            let name = vec![b'x'; length];
            let mut out = [0xee; 128];
            let mut writer = CompoundWriter::new(&mut out);
            writer.report(5, None, None);
            writer.cname(5, &name);
            writer.bye(5);
            let len = writer.finish().unwrap();
            assert_eq!(len % 4, 0);
            let packets: Vec<_> = parse_compound(&out[..len]).unwrap().collect();
            assert_eq!(packets.len(), 3);
            assert_eq!(parse_cname(&packets[1], 5), Some(&name[..]));
            assert_eq!(parse_cname(&packets[1], 6), None);
            assert_eq!(packets[1].body.last(), Some(&0));
            assert_eq!(parse_bye(&packets[2]).unwrap().collect::<Vec<_>>(), [5]);
        }
    }

    #[test]
    fn the_name_of_the_second_source_is_found() {
        let body = [0, 0, 0, 1, 2, 1, b'n', 0, 0, 0, 0, 2, 1, 2, b'h', b'i', 0, 0, 0, 0];
        let packet = RtcpPacket { count: 2, packet_type: SOURCE_DESCRIPTION, body: &body };
        assert_eq!(parse_cname(&packet, 2), Some(&b"hi"[..]));
    }

    #[test]
    fn a_goodbye_of_more_sources_than_it_holds_is_refused() {
        let packet = RtcpPacket { count: 2, packet_type: GOODBYE, body: &[0, 0, 0, 1] };
        assert!(parse_bye(&packet).is_none());
    }
}
