//! Sender and receiver reports (RFC 3550 6.4), and the round trip that they show.

use std::time::Duration;

use crate::rtp::rtcp::CompoundWriter;
use crate::rtp::rtcp::RECEIVER_REPORT;
use crate::rtp::rtcp::RtcpPacket;
use crate::rtp::rtcp::SENDER_REPORT;

/// Bytes of one report block.
const BLOCK_BYTES: usize = 24;

/// What a sender says of its own stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderInfo {
    /// When the report left: seconds and their 2⁻³² parts, of a clock of the sender's choice.
    pub ntp: u64,
    /// The same moment on the stream's RTP clock.
    pub rtp_timestamp: u32,
    /// Packets sent, modulo 2³².
    pub packets: u32,
    /// Payload octets sent, modulo 2³².
    pub octets: u32,
}

/// What a receiver says of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportBlock {
    /// Whose stream.
    pub ssrc: u32,
    /// Loss since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Packets lost since the beginning: 24 bits with a sign.
    pub cumulative_lost: i32,
    /// Highest sequence number with its cycles.
    pub highest_sequence: u32,
    /// Interarrival jitter in units of the stream's clock.
    pub jitter: u32,
    /// Middle 32 bits of the NTP time of the last sender report, 0 without one.
    pub last_sender_report: u32,
    /// Time since then in 1/65536 s.
    pub delay_since: u32,
}

/// A sender or receiver report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report<'a> {
    /// Who reports.
    pub ssrc: u32,
    /// What it sent, in a sender report.
    pub sender: Option<SenderInfo>,
    blocks: &'a [u8],
}

fn word(bytes: &[u8], index: usize) -> Option<u32> {
    bytes.get(index * 4..)?.first_chunk().map(|word| u32::from_be_bytes(*word))
}

impl<'a> Report<'a> {
    /// Reads a report; `None` where the packet is none, or is too short for its blocks.
    pub fn parse(packet: &RtcpPacket<'a>) -> Option<Self> {
        let is_sender = match packet.packet_type {
            SENDER_REPORT => true,
            RECEIVER_REPORT => false,
            _ => return None,
        };
        let word = |index| word(packet.body, index);
        let sender = if is_sender {
            Some(SenderInfo {
                ntp: (u64::from(word(1)?) << 32) | u64::from(word(2)?),
                rtp_timestamp: word(3)?,
                packets: word(4)?,
                octets: word(5)?,
            })
        } else {
            None
        };
        let start = if is_sender { 24 } else { 4 };
        let blocks = packet.body.get(start..start + usize::from(packet.count) * BLOCK_BYTES)?;
        Some(Self { ssrc: word(0)?, sender, blocks })
    }

    /// The report blocks.
    pub fn blocks(&self) -> impl Iterator<Item = ReportBlock> {
        self.blocks.chunks_exact(BLOCK_BYTES).filter_map(|block| {
            let lost = word(block, 1)?;
            Some(ReportBlock {
                ssrc: word(block, 0)?,
                fraction_lost: lost.to_be_bytes()[0],
                // Shifted up and down again, the 24 bits keep their sign.
                cumulative_lost: (lost << 8).cast_signed() >> 8,
                highest_sequence: word(block, 2)?,
                jitter: word(block, 3)?,
                last_sender_report: word(block, 4)?,
                delay_since: word(block, 5)?,
            })
        })
    }
}

impl CompoundWriter<'_> {
    /// Writes a sender report, or a receiver report where `sender` is `None`.
    pub fn report(&mut self, ssrc: u32, sender: Option<SenderInfo>, block: Option<ReportBlock>) {
        let packet_type = if sender.is_some() { SENDER_REPORT } else { RECEIVER_REPORT };
        self.packet(u8::from(block.is_some()), packet_type, |out| {
            out.put(&ssrc.to_be_bytes());
            if let Some(info) = sender {
                out.put(&info.ntp.to_be_bytes());
                out.put(&info.rtp_timestamp.to_be_bytes());
                out.put(&info.packets.to_be_bytes());
                out.put(&info.octets.to_be_bytes());
            }
            if let Some(block) = block {
                let [_, lost @ ..] = block.cumulative_lost.clamp(-0x80_0000, 0x7f_ffff).to_be_bytes();
                out.put(&block.ssrc.to_be_bytes());
                out.put(&[block.fraction_lost]);
                out.put(&lost);
                out.put(&block.highest_sequence.to_be_bytes());
                out.put(&block.jitter.to_be_bytes());
                out.put(&block.last_sender_report.to_be_bytes());
                out.put(&block.delay_since.to_be_bytes());
            }
        });
    }
}

/// The NTP form of a time since the sender's own beginning (RFC 3550 4 allows any clock).
pub fn ntp_of(elapsed: Duration) -> u64 {
    (elapsed.as_secs() << 32) | ((u64::from(elapsed.subsec_nanos()) << 32) / 1_000_000_000)
}

/// Middle 32 bits of an NTP time: units of 1/65536 s.
pub const fn ntp_middle(ntp: u64) -> u32 {
    ((ntp >> 16) & 0xffff_ffff) as u32
}

/// The round trip that a block about our stream shows when it arrives at `now` (RFC 3550 6.4.1).
///
/// `None` without a sender report, and where the figures would make it negative or longer than a minute.
pub fn round_trip(block: &ReportBlock, now: u64) -> Option<Duration> {
    if block.last_sender_report == 0 {
        return None;
    }
    let since_report = ntp_middle(now).wrapping_sub(block.last_sender_report);
    let round_trip = since_report.checked_sub(block.delay_since)?;
    (round_trip < 60 << 16).then(|| Duration::from_micros((u64::from(round_trip) * 1_000_000) >> 16))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::rtcp::parse_compound;

    const BLOCK: ReportBlock = ReportBlock {
        ssrc: 7,
        fraction_lost: 12,
        cumulative_lost: -3,
        highest_sequence: 0x0001_0002,
        jitter: 44,
        last_sender_report: 0x1234_5678,
        delay_since: 65_536,
    };
    const INFO: SenderInfo = SenderInfo { ntp: 0x0102_0304_0506_0708, rtp_timestamp: 9, packets: 10, octets: 11 };

    #[test]
    fn what_is_written_is_read_back() {
        for (sender, block) in [(Some(INFO), Some(BLOCK)), (None, Some(BLOCK)), (Some(INFO), None), (None, None)] {
            let mut out = [0; 100];
            let mut writer = CompoundWriter::new(&mut out);
            writer.report(0xaabb_ccdd, sender, block);
            let len = writer.finish().unwrap();
            let packet = parse_compound(&out[..len]).unwrap().next().unwrap();
            let report = Report::parse(&packet).unwrap();
            assert_eq!((report.ssrc, report.sender), (0xaabb_ccdd, sender));
            assert_eq!(report.blocks().next(), block);
        }
    }

    #[test]
    fn a_sender_report_has_the_length_of_rfc_3550() {
        let mut out = [0; 100];
        let mut writer = CompoundWriter::new(&mut out);
        writer.report(1, Some(INFO), Some(BLOCK));
        assert_eq!(writer.finish(), Some(52));
        assert_eq!(out[..4], [0x81, 200, 0, 12]);
    }

    #[test]
    fn a_count_beyond_the_packet_is_refused() {
        let packet = RtcpPacket { count: 2, packet_type: RECEIVER_REPORT, body: &[0; 4 + 24] };
        assert_eq!(Report::parse(&packet), None);
    }

    #[test]
    fn a_buffer_that_is_too_small_gives_nothing() {
        let mut out = [0; 20];
        let mut writer = CompoundWriter::new(&mut out);
        writer.report(1, Some(INFO), None);
        assert_eq!(writer.finish(), None);
    }

    #[test]
    fn the_round_trip_is_that_of_the_example_in_rfc_3550() {
        // RFC 3550 figure 2: LSR 0xb705:2000, DLSR 5.250 s, arrival 0xb710:8000: 6.125 s.
        let block = ReportBlock { last_sender_report: 0xb705_2000, delay_since: 0x0005_4000, ..BLOCK };
        assert_eq!(round_trip(&block, 0x0000_b710_8000_0000), Some(Duration::from_millis(6_125)));
        assert_eq!(round_trip(&ReportBlock { last_sender_report: 0, ..block }, 1 << 40), None);
        assert_eq!(round_trip(&ReportBlock { delay_since: u32::MAX, ..block }, 0x0000_b710_8000_0000), None);
    }

    #[test]
    fn ntp_counts_in_parts_of_a_second() {
        assert_eq!(ntp_of(Duration::from_millis(1_500)), 0x0000_0001_8000_0000);
        assert_eq!(ntp_middle(ntp_of(Duration::from_millis(1_500))), 0x0001_8000);
    }
}
