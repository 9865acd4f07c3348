//! What comes to a media port: RTP, RTCP and the digits within. Every target takes a run of packets, so that chance also
//! finds what only several of them can do.

use std::time::Duration;
use std::time::Instant;

use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::clock::Clock;
use crate::codec::TrunkCodec;
use crate::media::pipeline::Pipeline;
use crate::media::tap::TapChannel;
use crate::media::tap::TapFrame;
use crate::media::tap::TapId;
use crate::media::vocabulary::Config;
use crate::media::vocabulary::Output;
use crate::media::vocabulary::PeerPayload;
use crate::media::vocabulary::ToPeer;
use crate::media::vocabulary::TrunkAudio;
use crate::rtp::packet::Packet;
use crate::rtp::packet::is_rtcp;
use crate::rtp::rtcp::CompoundWriter;
use crate::rtp::rtcp::parse_compound;
use crate::rtp::rtcp::report::Report;
use crate::rtp::rtcp::sdes_bye::parse_bye;
use crate::rtp::rtcp::sdes_bye::parse_cname;
use crate::rtp::telephone_event::EventPayload;
use crate::rtp::telephone_event::receiver::EventReceiver;

/// A trunk as most are.
const AUDIO: TrunkAudio = TrunkAudio {
    codec: TrunkCodec::Pcmu,
    payload_type: 0,
    receive_payload_type: 0,
    telephone_event: Some(101),
    receive_telephone_event: Some(101),
    ptime_ms: 20,
    send: true,
    receive: true,
};

/// The packets of an input: before each the milliseconds that pass (one byte) and its length (two bytes, big endian). A
/// length beyond the end is cut.
fn packets(mut data: &[u8]) -> impl Iterator<Item = (Duration, &[u8])> {
    std::iter::from_fn(move || {
        let ([wait, high, low], rest) = data.split_first_chunk::<3>()?;
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (packet, rest) = rest.split_at(length);
        data = rest;
        Some((Duration::from_millis(u64::from(*wait)), packet))
    })
}

/// A packet that is read is written as one that reads the same. What a trunk sends reaches the browser in order and on
/// one clock, and the tap without going back in time.
pub fn rtp(data: &[u8]) {
    let mut call = Call::new();
    for (wait, datagram) in packets(data) {
        if let Ok(packet) = Packet::parse(datagram) {
            assert!(!is_rtcp(datagram));
            let mut written = vec![0; datagram.len()];
            let length = packet.header.write(packet.payload, &mut written);
            let again = length.and_then(|length| Packet::parse(written.get(..length)?).ok());
            assert_eq!(again, Some(packet));
        }
        call.wait(wait);
        call.pipeline.handle_trunk_rtp(datagram, call.now);
        call.drain();
    }
    call.end();
}

/// A compound's packets lie within it; a report that is read is written as one that reads the same; and whatever comes,
/// no round trip is longer than a minute.
pub fn rtcp(data: &[u8]) {
    let mut call = Call::new();
    let ssrc = call.pipeline.trunk_ssrc();
    for (wait, datagram) in packets(data) {
        for packet in parse_compound(datagram).into_iter().flatten() {
            assert!(packet.body.len() < datagram.len());
            if let Some(name) = parse_cname(&packet, ssrc) {
                assert!(name.len() <= 255);
            }
            if let Some(sources) = parse_bye(&packet) {
                assert_eq!(sources.count(), usize::from(packet.count));
            }
            if let Some(report) = Report::parse(&packet) {
                assert_eq!(report.blocks().count(), usize::from(packet.count));
                assert_written_alike(&report);
            }
        }
        call.wait(wait);
        call.pipeline.handle_trunk_rtcp(datagram, call.now);
        call.drain();
        let stats = call.pipeline.trunk_stats();
        assert!(stats.rtt_ms.is_none_or(|rtt| (0.0..=60_000.0).contains(&rtt)), "{stats:?}");
        assert!(stats.remote_loss.is_none_or(|loss| (0.0..=1.0).contains(&loss)), "{stats:?}");
    }
    call.end();
}

fn assert_written_alike(report: &Report<'_>) {
    let mut out = [0; 64];
    let mut writer = CompoundWriter::new(&mut out);
    let block = report.blocks().next();
    writer.report(report.ssrc, report.sender, block);
    let length = writer.finish().unwrap_or_default();
    let packet = parse_compound(out.get(..length).unwrap_or_default()).ok().and_then(|mut packets| packets.next());
    let again = packet.as_ref().and_then(Report::parse);
    assert_eq!(again.map(|again| (again.ssrc, again.sender)), Some((report.ssrc, report.sender)));
    assert_eq!(again.and_then(|again| again.blocks().next()), block);
}

/// The packets' first two bytes move the clock of their timestamps. No packet makes more than one press, and no press
/// outlasts its packets by more than the time-out.
pub fn telephone_event(data: &[u8]) {
    let mut receiver = EventReceiver::new(8_000);
    let (mut now, mut timestamp) = (Clock::system().now(), 0_u32);
    let (mut heard, mut presses) = (0, 0);
    for (wait, bytes) in packets(data) {
        let Some(([high, low], payload)) = bytes.split_first_chunk::<2>() else { continue };
        if let Some(event) = EventPayload::parse(payload) {
            assert_eq!(EventPayload::parse(&event.to_bytes()), Some(event));
        }
        now += wait;
        presses += usize::from(receiver.handle_timeout(now).is_some());
        timestamp = timestamp.wrapping_add_signed(i32::from(i16::from_be_bytes([*high, *low])));
        let packet = receiver.handle(timestamp, payload, now);
        presses += [packet.before, packet.ended].iter().flatten().count();
        heard += 1;
        assert!(presses <= heard, "{presses} presses of {heard} packets");
    }
    presses += usize::from(receiver.handle_timeout(now + Duration::from_secs(1)).is_some());
    assert!(presses <= heard && !receiver.is_pressed() && receiver.poll_timeout().is_none());
}

/// A call that talks and is tapped, and what is known of its output.
struct Call {
    pipeline: Pipeline,
    now: Instant,
    /// Sequence number and timestamp of the last packet for the browser; the latter of audio alone.
    sequence: Option<u64>,
    timestamp: Option<u32>,
    /// Epoch, and where the next frame begins at the earliest, of what the agent hears.
    tapped: Option<(u32, u32)>,
}

impl Call {
    fn new() -> Self {
        let now = Clock::system().now();
        let pipeline = Pipeline::new(Config::default(), &mut StdRng::seed_from_u64(1), now);
        let mut pipeline = pipeline.unwrap_or_else(|error| panic!("no pipeline: {error}"));
        pipeline.start_tap(TapId(1), now);
        pipeline.connect_trunk(AUDIO, now);
        pipeline.set_gate(true, true, now);
        let mut call = Self { pipeline, now, sequence: None, timestamp: None, tapped: None };
        call.drain();
        call
    }

    /// Lets time pass, each timer on its time.
    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some((at, timer)) = self.pipeline.poll_timeout().filter(|(at, _)| *at <= end) {
            self.now = self.now.max(at);
            self.pipeline.handle_timeout(self.now);
            self.drain();
            let next = self.pipeline.poll_timeout();
            assert!(next != Some((at, timer)), "{timer:?} is due again at once");
        }
        self.now = end;
    }

    fn drain(&mut self) {
        while let Some(output) = self.pipeline.poll_output() {
            match output {
                Output::ToTrunkRtp(datagram) => assert!(Packet::parse(&datagram).is_ok()),
                Output::ToTrunkRtcp(datagram) => assert!(parse_compound(&datagram).is_ok()),
                Output::ToPeer(packet) => self.heard(&packet),
                Output::Tap(frame) => self.tapped(&frame),
                Output::Dtmf { .. } | Output::TrunkMediaStarted | Output::MediaTimeout { .. } => {}
            }
        }
        assert_eq!(self.pipeline.outputs_dropped(), 0);
    }

    fn heard(&mut self, packet: &ToPeer) {
        assert!(!packet.payload.is_empty());
        let before = self.sequence.replace(packet.sequence);
        assert!(before.is_none_or(|before| before < packet.sequence), "{packet:?} after {before:?}");
        if packet.kind == PeerPayload::Opus {
            let before = self.timestamp.replace(packet.timestamp);
            let forward = |before: u32| packet.timestamp.wrapping_sub(before).cast_signed() > 0;
            assert!(before.is_none_or(forward), "{packet:?} after {before:?}");
        }
    }

    fn tapped(&mut self, frame: &TapFrame) {
        let crate::media::tap::TapBody::Pcm8k { samples, .. } = &frame.body else { return };
        if frame.channel != TapChannel::Heard {
            return;
        }
        let length = u32::try_from(samples.as_slice().len()).unwrap_or(0);
        let next = (frame.epoch, frame.timestamp.wrapping_add(length));
        if let Some((epoch, earliest)) = self.tapped.replace(next) {
            assert!(frame.epoch >= epoch, "{frame:?} is of an epoch before {epoch}");
            let late = frame.timestamp.wrapping_sub(earliest).cast_signed();
            assert!(frame.epoch > epoch || late >= 0, "{frame:?} is before {earliest}");
        }
    }

    /// A call that is over is silent.
    fn end(mut self) {
        self.wait(Duration::from_secs(1));
        self.pipeline.close(self.now);
        self.drain();
        self.pipeline.handle_timeout(self.now + Duration::from_mins(1));
        assert!(self.pipeline.poll_output().is_none() && self.pipeline.poll_timeout().is_none());
    }
}
