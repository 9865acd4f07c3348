//! RTCP towards the trunk: when a report is due, what it says, and what the trunk's reports tell us.

use std::time::Duration;
use std::time::Instant;

use rand::RngCore;

use crate::media::quality::milliseconds;
use crate::media::vocabulary::Bytes;
use crate::media::vocabulary::DATAGRAM_BYTES_MAX;
use crate::rtp::receive_stream::Reception;
use crate::rtp::rtcp::CompoundWriter;
use crate::rtp::rtcp::parse_compound;
use crate::rtp::rtcp::report::Report;
use crate::rtp::rtcp::report::ReportBlock;
use crate::rtp::rtcp::report::SenderInfo;
use crate::rtp::rtcp::report::ntp_middle;
use crate::rtp::rtcp::report::ntp_of;
use crate::rtp::rtcp::report::round_trip;

/// Random factors drawn once, used in turn: reports of many calls never fall into step.
const FACTORS: usize = 16;

/// The reporting side of one trunk leg.
#[derive(Debug)]
pub(crate) struct Reports {
    origin: Instant,
    interval: Duration,
    /// Each 0–1023.
    factors: [u16; FACTORS],
    turn: usize,
    cname: [u8; 24],
    /// When the next report is due; `None` without a trunk.
    pub(crate) next: Option<Instant>,
    /// Middle bits of the trunk's last sender report, and when it came.
    last_sender_report: Option<(u32, Instant)>,
    packets_reported: u32,
    pub(crate) rtt: Option<Duration>,
    pub(crate) remote_loss: Option<f32>,
    pub(crate) remote_jitter_ms: Option<f32>,
}

/// What our own stream adds to a report.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    pub(crate) ssrc: u32,
    pub(crate) timestamp: u32,
    pub(crate) packets: u32,
    pub(crate) octets: u32,
}

impl Reports {
    /// Draws the canonical name (96 random bits, RFC 7022 4.1) and the factors.
    pub(crate) fn new(interval: Duration, rng: &mut dyn RngCore, now: Instant) -> Self {
        let mut random = [0; 12];
        rng.fill_bytes(&mut random);
        let mut cname = [0; 24];
        let nibbles = random.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        for (digit, nibble) in cname.iter_mut().zip(nibbles) {
            *digit = if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
        }
        let factors = std::array::from_fn(|_| u16::try_from(rng.next_u32() % 1_024).unwrap_or(0));
        Self {
            origin: now,
            interval,
            factors,
            turn: 0,
            cname,
            next: None,
            last_sender_report: None,
            packets_reported: 0,
            rtt: None,
            remote_loss: None,
            remote_jitter_ms: None,
        }
    }

    /// Begins to report; the first report comes after half the usual time (RFC 3550 6.2).
    pub(crate) fn start(&mut self, now: Instant) {
        if self.next.is_none() {
            self.next = Some(now + self.draw() / 2);
        }
    }

    /// 0.5–1.5 times the interval (RFC 3550 6.3.1).
    fn draw(&mut self) -> Duration {
        self.turn = (self.turn + 1) % FACTORS;
        let factor = u32::from(self.factors.get(self.turn).copied().unwrap_or(512));
        self.interval * (512 + factor) / 1_024
    }

    /// The compound that is due: a sender report where something was sent since the last, else a receiver report.
    pub(crate) fn write(
        &mut self,
        sent: Sent,
        reception: Option<Reception>,
        bye: bool,
        now: Instant,
    ) -> Bytes<DATAGRAM_BYTES_MAX> {
        self.next = if bye { None } else { Some(now + self.draw()) };
        let active = sent.packets != self.packets_reported;
        self.packets_reported = sent.packets;
        let sender = active.then(|| SenderInfo {
            ntp: self.ntp(now),
            rtp_timestamp: sent.timestamp,
            packets: sent.packets,
            octets: sent.octets,
        });
        let block = reception.map(|reception| self.block(reception, now));
        Bytes::filled(|bytes| {
            let mut writer = CompoundWriter::new(bytes);
            writer.report(sent.ssrc, sender, block);
            writer.cname(sent.ssrc, &self.cname);
            if bye {
                writer.bye(sent.ssrc);
            }
            writer.finish().unwrap_or(0)
        })
    }

    /// Reads a compound of the trunk; `false` where it is none.
    pub(crate) fn read(&mut self, datagram: &[u8], our_ssrc: u32, now: Instant) -> bool {
        let Ok(packets) = parse_compound(datagram) else { return false };
        for packet in packets {
            let Some(report) = Report::parse(&packet) else { continue };
            if let Some(info) = report.sender {
                self.last_sender_report = Some((ntp_middle(info.ntp), now));
            }
            for block in report.blocks().filter(|block| block.ssrc == our_ssrc) {
                self.remote_loss = Some(f32::from(block.fraction_lost) / 256.0);
                self.remote_jitter_ms = Some(milliseconds(block.jitter, 8_000));
                self.rtt = round_trip(&block, self.ntp(now)).or(self.rtt);
            }
        }
        true
    }

    fn block(&self, reception: Reception, now: Instant) -> ReportBlock {
        let (last_sender_report, delay_since) = self.last_sender_report.map_or((0, 0), |(middle, at)| {
            let delay = now.saturating_duration_since(at).as_micros() * 65_536 / 1_000_000;
            (middle, u32::try_from(delay).unwrap_or(u32::MAX))
        });
        ReportBlock {
            ssrc: reception.ssrc,
            fraction_lost: reception.fraction_lost,
            cumulative_lost: reception.cumulative_lost,
            highest_sequence: reception.highest_sequence,
            jitter: reception.jitter,
            last_sender_report,
            delay_since,
        }
    }

    /// Time since the pipeline began, plus one: 0 would mean "no report yet".
    fn ntp(&self, now: Instant) -> u64 {
        ntp_of(now.saturating_duration_since(self.origin) + Duration::from_secs(1))
    }
}
