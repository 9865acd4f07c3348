//! A pipeline with a scripted browser on one side and a scripted trunk on the other.

use std::f64::consts::TAU;
use std::time::Duration;
use std::time::Instant;

use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::clock::Clock;
use crate::codec::TrunkCodec;
use crate::codec::g711::Law;
use crate::codec::opus;
use crate::media::pipeline::Pipeline;
use crate::media::tap::TapBody;
use crate::media::tap::TapChannel;
use crate::media::tap::TapFrame;
use crate::media::tap::TapId;
use crate::media::vocabulary::Config;
use crate::media::vocabulary::Output;
use crate::media::vocabulary::PeerPacket;
use crate::media::vocabulary::PeerPayload;
use crate::media::vocabulary::ToPeer;
use crate::media::vocabulary::TrunkAudio;
use crate::rtp::packet::Header;
use crate::rtp::packet::Packet;

pub(super) const AUDIO: TrunkAudio = TrunkAudio {
    codec: TrunkCodec::Pcmu,
    payload_type: 0,
    receive_payload_type: 0,
    telephone_event: Some(101),
    receive_telephone_event: Some(96),
    ptime_ms: 20,
    send: true,
    receive: true,
};

/// One RTP packet as the trunk sees it.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) at_ms: u64,
    pub(super) header: Header,
    pub(super) payload: Vec<u8>,
}

/// The pipeline, its surroundings and everything that came out.
pub(super) struct Bench {
    pub(super) pipeline: Pipeline,
    pub(super) start: Instant,
    pub(super) now: Instant,
    pub(super) browser: opus::Encoder,
    browser_samples: usize,
    pub(super) browser_ssrc: u32,
    pub(super) browser_sequence: u16,
    pub(super) browser_timestamp: u32,
    pub(super) browser_hz: f64,
    pub(super) trunk_ssrc: u32,
    pub(super) trunk_sequence: u16,
    pub(super) trunk_timestamp: u32,
    pub(super) trunk_hz: f64,
    trunk_samples: usize,
    pub(super) to_trunk: Vec<Sent>,
    pub(super) rtcp: Vec<Vec<u8>>,
    pub(super) to_peer: Vec<ToPeer>,
    pub(super) tap: Vec<TapFrame>,
    pub(super) events: Vec<Output>,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(Config::default())
    }

    pub(super) fn with(config: Config) -> Self {
        let now = Clock::system().now();
        let pipeline = Pipeline::new(config, &mut StdRng::seed_from_u64(5), now).unwrap();
        Self {
            pipeline,
            start: now,
            now,
            browser: opus::Encoder::new().unwrap(),
            browser_samples: 0,
            browser_ssrc: 0x0b0b,
            browser_sequence: 65_500,
            browser_timestamp: u32::MAX - 48_000,
            browser_hz: 440.0,
            trunk_ssrc: 0x0a0a,
            trunk_sequence: 65_530,
            trunk_timestamp: u32::MAX - 8_000,
            trunk_hz: 1_000.0,
            trunk_samples: 0,
            to_trunk: Vec::new(),
            rtcp: Vec::new(),
            to_peer: Vec::new(),
            tap: Vec::new(),
            events: Vec::new(),
        }
    }

    /// Connected, tapped, both gates open.
    pub(super) fn in_call(audio: TrunkAudio) -> Self {
        let mut bench = Self::new();
        bench.pipeline.start_tap(TapId(1), bench.now);
        bench.pipeline.connect_trunk(audio, bench.now);
        bench.pipeline.set_gate(true, true, bench.now);
        bench.drain();
        bench
    }

    pub(super) fn at_ms(&self) -> u64 {
        (self.now - self.start).as_millis().try_into().unwrap()
    }

    pub(super) fn drain(&mut self) {
        while let Some(output) = self.pipeline.poll_output() {
            match output {
                Output::ToTrunkRtp(datagram) => {
                    let packet = Packet::parse(&datagram).unwrap();
                    let at_ms = self.at_ms();
                    self.to_trunk.push(Sent { at_ms, header: packet.header, payload: packet.payload.to_vec() });
                }
                Output::ToTrunkRtcp(datagram) => self.rtcp.push(datagram.to_vec()),
                Output::ToPeer(packet) => self.to_peer.push(packet),
                Output::Tap(frame) => self.tap.push(frame),
                Output::Dtmf { .. } | Output::TrunkMediaStarted | Output::MediaTimeout { .. } => {
                    self.events.push(output);
                }
            }
        }
    }

    /// Lets time pass, every timer on its time.
    pub(super) fn wait(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        while let Some((at, _)) = self.pipeline.poll_timeout().filter(|(at, _)| *at <= end) {
            self.now = self.now.max(at);
            self.pipeline.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    /// The browser's next 20 ms, encoded, but not yet sent: (sequence, timestamp, payload).
    pub(super) fn browser_frame(&mut self) -> (u16, u32, Vec<u8>) {
        let frame: [i16; 160] = tone(self.browser_hz, self.browser_samples);
        self.browser_samples += 160;
        let mut payload = vec![0; 480];
        let len = self.browser.encode(&frame, &mut payload).unwrap();
        payload.truncate(len);
        let frame = (self.browser_sequence, self.browser_timestamp, payload);
        self.browser_sequence = self.browser_sequence.wrapping_add(1);
        self.browser_timestamp = self.browser_timestamp.wrapping_add(960);
        frame
    }

    pub(super) fn browser_sends(&mut self, (sequence, timestamp, payload): &(u16, u32, Vec<u8>)) {
        let ssrc = self.browser_ssrc;
        let packet = PeerPacket {
            ssrc,
            sequence: *sequence,
            timestamp: *timestamp,
            marker: false,
            kind: PeerPayload::Opus,
            payload,
        };
        self.pipeline.handle_peer_rtp(packet, self.now);
        self.drain();
    }

    pub(super) fn trunk_sends(&mut self, payload_type: u8, sequence: u16, timestamp: u32, payload: &[u8]) {
        let header = Header { payload_type, marker: false, sequence, timestamp, ssrc: self.trunk_ssrc };
        let mut datagram = [0; 1_500];
        let len = header.write(payload, &mut datagram).unwrap();
        self.pipeline.handle_trunk_rtp(&datagram[..len], self.now);
        self.drain();
    }

    /// The trunk's next `N` samples.
    pub(super) fn trunk_frame<const N: usize>(&mut self, law: Law) -> (u16, u32, Vec<u8>) {
        let samples: [i16; N] = tone(self.trunk_hz, self.trunk_samples);
        self.trunk_samples += N;
        let mut codes = vec![0; N];
        law.encode_all(&samples, &mut codes);
        let frame = (self.trunk_sequence, self.trunk_timestamp, codes);
        self.trunk_sequence = self.trunk_sequence.wrapping_add(1);
        self.trunk_timestamp = self.trunk_timestamp.wrapping_add(N as u32);
        frame
    }

    /// Both sides speak for `frames` times 20 ms.
    pub(super) fn talk(&mut self, frames: usize) {
        for _ in 0..frames {
            let frame = self.browser_frame();
            self.browser_sends(&frame);
            let (sequence, timestamp, codes) = self.trunk_frame::<160>(Law::Mu);
            self.trunk_sends(0, sequence, timestamp, &codes);
            self.wait(20);
        }
    }

    /// Only the browser speaks.
    pub(super) fn browser_talks(&mut self, frames: usize) {
        for _ in 0..frames {
            let frame = self.browser_frame();
            self.browser_sends(&frame);
            self.wait(20);
        }
    }

    /// Everything the trunk heard, decoded; fails where sequence or timestamps break.
    pub(super) fn heard_at_trunk(&self, law: Law) -> Vec<i16> {
        self.check_trunk_line();
        let codes = self.to_trunk.iter().filter(|sent| sent.header.payload_type != 101).flat_map(|sent| &sent.payload);
        codes.map(|code| law.decode(*code)).collect()
    }

    /// One SSRC, no gap in the sequence, and audio timestamps without gap or overlap.
    pub(super) fn check_trunk_line(&self) {
        let mut expected = None;
        for pair in self.to_trunk.windows(2) {
            assert_eq!(pair[0].header.ssrc, pair[1].header.ssrc);
            assert_eq!(pair[1].header.sequence, pair[0].header.sequence.wrapping_add(1));
        }
        for sent in self.to_trunk.iter().filter(|sent| sent.header.payload_type != 101) {
            assert!(expected.is_none_or(|at| at == sent.header.timestamp), "timestamp at {} ms", sent.at_ms);
            expected = Some(sent.header.timestamp.wrapping_add(sent.payload.len() as u32));
        }
    }

    /// Everything the browser heard, decoded.
    pub(super) fn heard_at_browser(&self) -> Vec<i16> {
        let mut decoder = opus::Decoder::new().unwrap();
        let mut heard = Vec::new();
        for packet in &self.to_peer {
            let mut pcm = [0; 960];
            let len = decoder.decode(&packet.payload, &mut pcm).unwrap();
            heard.extend(&pcm[..len]);
        }
        heard
    }

    /// The tap's channel as samples on its own timeline: (first timestamp, samples, how many were concealed).
    pub(super) fn tapped(&self, channel: TapChannel) -> (Option<u32>, Vec<i16>, usize) {
        let (mut first, mut all, mut made) = (None, Vec::new(), 0);
        for frame in self.tap.iter().filter(|frame| frame.channel == channel) {
            let TapBody::Pcm8k { samples, concealed } = &frame.body else { continue };
            let start = *first.get_or_insert(frame.timestamp);
            let at = frame.timestamp.wrapping_sub(start) as usize;
            assert!(at >= all.len(), "tap goes back at {at}");
            all.resize(at, 0);
            all.extend(samples.as_slice());
            made += if *concealed { samples.as_slice().len() } else { 0 };
        }
        (first, all, made)
    }

    pub(super) fn holds(&self, channel: TapChannel) -> Vec<bool> {
        let frames = self.tap.iter().filter(|frame| frame.channel == channel);
        frames.filter_map(|frame| if let TapBody::Hold(held) = frame.body { Some(held) } else { None }).collect()
    }
}

/// `N` samples of a tone of amplitude 8000, from sample `from`.
pub(crate) fn tone<const N: usize>(hz: f64, from: usize) -> [i16; N] {
    std::array::from_fn(|n| (8_000.0 * (TAU * hz * (from + n) as f64 / 8_000.0).sin()) as i16)
}

/// Amplitude of `hz` in `samples` (Goertzel).
pub(crate) fn amplitude(samples: &[i16], hz: f64) -> f64 {
    let coefficient = 2.0 * (TAU * hz / 8_000.0).cos();
    let (mut one, mut two) = (0.0, 0.0);
    for sample in samples {
        let zero = f64::from(*sample) + coefficient * one - two;
        two = one;
        one = zero;
    }
    let power = one * one + two * two - coefficient * one * two;
    2.0 * power.max(0.0).sqrt() / samples.len().max(1) as f64
}

/// Root mean square.
pub(crate) fn loudness(samples: &[i16]) -> f64 {
    (samples.iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>() / samples.len().max(1) as f64).sqrt()
}
