//! Two calls without agents, a phone behind each trunk, and the way between their sessions.

use super::*;
use crate::media::hold_music::HoldMusic;
use crate::media::tap::TapChannel;
use crate::media::tap::TapFrame;
use crate::media::tests::bench::tone;
use crate::media::vocabulary::ToPeer;
use crate::rtp::packet::Header;
use crate::rtp::packet::Packet;
use crate::rtp::telephone_event::EventPayload;

/// The payload type of digits on both trunks.
const EVENTS: u8 = 101;
/// How the phones are named in a [`Bridge`], and the tap of each call.
pub(super) const X: usize = 0;
pub(super) const Y: usize = 1;
/// The tones of the phones.
pub(super) const TONES: [f64; 2] = [440.0, 1_000.0];

/// One call: its session, its trunk leg, and the phone there.
pub(super) struct Side {
    pub(super) call: CallId,
    pub(super) leg: LegId,
    pub(super) session: Session,
    pub(super) media: TrunkMedia,
    hz: f64,
    samples: usize,
    sequence: u16,
    pub(super) timestamp: u32,
    pub(super) srtp: Option<(Protect, Unprotect)>,
    /// What came to the phone.
    pub(super) heard: Vec<(Header, Vec<u8>)>,
    pub(super) frames: Vec<TapFrame>,
    pub(super) events: Vec<EventKind>,
    /// The order in which frames and events came out: whether each was a frame.
    pub(super) order: Vec<bool>,
}

/// See the module.
pub(super) struct Bridge {
    pub(super) now: Instant,
    pub(super) sides: [Side; 2],
    /// What left a session for its partner: from which side, to whom.
    pub(super) crossed: Vec<(usize, CallId, ToPeer)>,
    pub(super) refused: usize,
    pub(super) rng: StdRng,
}

pub(super) const fn other(side: usize) -> usize {
    1 - side
}

pub(super) fn with_codec(codec: TrunkCodec) -> TrunkMedia {
    let payload_type = match codec {
        TrunkCodec::Pcmu => 0,
        TrunkCodec::Pcma => 8,
    };
    TrunkMedia { codec, payload_type, receive_payload_type: payload_type, ..media() }
}

impl Bridge {
    /// Two calls that are answered, tapped, and not yet joined.
    pub(super) fn new(media: &[TrunkMedia; 2], music: &HoldMusic) -> Self {
        let now = Clock::system().now();
        let mut rng = StdRng::seed_from_u64(11);
        let sides = [0, 1].map(|side| {
            let (call, leg) = (CallId::generate(side as u64, &mut rng), LegId::generate(side as u64, &mut rng));
            let hold = crate::media::vocabulary::Config { hold_music: music.clone(), ..Default::default() };
            let config = Config { peer: peer_config(OURS, true), media: hold };
            Side {
                call,
                leg,
                session: Session::new(call, config, &mut rng, now).unwrap(),
                media: media[side].clone(),
                hz: TONES[side],
                samples: 0,
                sequence: 65_500,
                timestamp: u32::MAX - 8_000,
                srtp: None,
                heard: Vec::new(),
                frames: Vec::new(),
                events: Vec::new(),
                order: Vec::new(),
            }
        });
        let mut bridge = Self { now, sides, crossed: Vec::new(), refused: 0, rng };
        for side in [X, Y] {
            bridge.connect(side);
            let (call, leg) = (bridge.sides[side].call, bridge.sides[side].leg);
            bridge.command(side, Command::StartTap { call, leg, tap: TapId(side as u64) });
            bridge.command(side, Command::SetGate { call, gate: Gate { to_trunk: true, to_agent: true } });
        }
        bridge
    }

    /// Two calls, joined after a second of talk.
    pub(super) fn joined(codecs: [TrunkCodec; 2]) -> Self {
        let mut bridge = Self::new(&codecs.map(with_codec), &HoldMusic::default());
        bridge.talk(50);
        bridge.join();
        bridge
    }

    pub(super) fn join(&mut self) {
        self.join_one(X);
        self.join_one(Y);
    }

    pub(super) fn join_one(&mut self, side: usize) {
        let (call, partner) = (self.sides[side].call, self.sides[other(side)].call);
        self.command(side, Command::Join { call, partner, worker: 7 });
    }

    /// Binds and connects the trunk leg of a side, as its media is now.
    pub(super) fn connect(&mut self, side: usize) {
        let (call, leg) = (self.sides[side].call, self.sides[side].leg);
        self.command(side, Command::BindTrunk { call, leg, address: address(OURS).ip() });
        self.sides[side].session.handle(Input::TrunkBound { leg, local: Some(address("127.0.0.1:20000")) }, self.now);
        let media = self.sides[side].media.clone();
        self.command(side, Command::ConnectTrunk { call, leg, media });
    }

    pub(super) fn command(&mut self, side: usize, command: Command) {
        self.sides[side].session.handle(Input::Command(command), self.now);
        self.drain();
    }

    /// Takes what the sessions want, and carries what they have for each other, until neither has more.
    pub(super) fn drain(&mut self) {
        let mut carried = self.crossed.len();
        loop {
            for side in [X, Y] {
                self.drain_side(side);
            }
            let Some((from, to, packet)) = self.crossed.get(carried).copied() else { return };
            carried += 1;
            let (partner, target) = (self.sides[from].call, &mut self.sides[other(from)]);
            assert_eq!(to, target.call);
            self.refused += usize::from(!target.session.is_joined_to(partner));
            target.session.handle(Input::FromPartner { partner, packet: &packet }, self.now);
        }
    }

    fn drain_side(&mut self, at: usize) {
        let side = &mut self.sides[at];
        while let Some(output) = side.session.poll_output() {
            match output {
                Output::ToTrunk { from_rtcp: false, bytes, .. } => {
                    let mut bytes = bytes.to_vec();
                    let opened = side.srtp.as_mut().map(|(_, reader)| reader.rtp(&mut bytes).unwrap());
                    let packet = Packet::parse(&bytes[..opened.unwrap_or(bytes.len())]).unwrap();
                    side.heard.push((packet.header, packet.payload.to_vec()));
                }
                Output::ToPartner { partner, worker, packet } => {
                    assert_eq!(worker, 7);
                    self.crossed.push((at, partner, packet));
                }
                Output::Tap(frame) => {
                    side.order.push(true);
                    side.frames.push(frame);
                }
                Output::Event(event) => {
                    side.order.push(false);
                    side.events.push(event.kind);
                }
                _ => {}
            }
        }
    }

    /// Lets time pass, every timer on its time.
    pub(super) fn pass(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        loop {
            let due = self.sides.iter().filter_map(|side| side.session.poll_timeout()).map(|(at, _)| at).min();
            let Some(at) = due.filter(|at| *at <= end) else { break };
            self.now = self.now.max(at);
            for side in &mut self.sides {
                side.session.handle_timeout(self.now);
            }
            self.drain();
        }
        self.now = end;
    }

    /// The phone's next 20 ms, as they are sent.
    pub(super) fn frame(&mut self, side: usize) -> Vec<u8> {
        let phone = &mut self.sides[side];
        let samples: [i16; 160] = tone(phone.hz, phone.samples);
        let mut codes = vec![0; 160];
        phone.media.codec.law().encode_all(&samples, &mut codes);
        phone.samples += 160;
        let datagram = self.datagram(side, self.sides[side].media.payload_type, self.sides[side].timestamp, &codes);
        self.sides[side].timestamp = self.sides[side].timestamp.wrapping_add(160);
        datagram
    }

    fn datagram(&mut self, side: usize, payload_type: u8, timestamp: u32, payload: &[u8]) -> Vec<u8> {
        let phone = &mut self.sides[side];
        let header = Header { payload_type, marker: false, sequence: phone.sequence, timestamp, ssrc: 0xabc };
        phone.sequence = phone.sequence.wrapping_add(1);
        let mut bytes = vec![0; 600];
        let mut length = header.write(payload, &mut bytes).unwrap();
        if let Some((writer, _)) = &mut phone.srtp {
            length = writer.rtp(&mut bytes, length).unwrap();
        }
        bytes.truncate(length);
        bytes
    }

    pub(super) fn send(&mut self, side: usize, mut bytes: Vec<u8>) {
        let leg = self.sides[side].leg;
        let input = Input::TrunkDatagram { leg, rtcp: false, source: address(TRUNK), bytes: &mut bytes };
        self.sides[side].session.handle(input, self.now);
        self.drain();
    }

    pub(super) fn say(&mut self, side: usize) {
        let frame = self.frame(side);
        self.send(side, frame);
    }

    /// Both phones speak for `frames` times 20 ms.
    pub(super) fn talk(&mut self, frames: usize) {
        for _ in 0..frames {
            self.say(X);
            self.say(Y);
            self.pass(20);
        }
    }

    /// A phone presses a digit for 100 ms, and lets its tone be heard in band too.
    pub(super) fn press(&mut self, side: usize, event: u8) {
        let start = self.sides[side].timestamp;
        for step in 1..=7_u16 {
            let payload = EventPayload { event, end: step >= 5, volume: 10, duration: step.min(5) * 160 };
            let datagram = self.datagram(side, EVENTS, start, &payload.to_bytes());
            self.send(side, datagram);
            if step <= 5 {
                self.say(side);
                self.pass(20);
            }
        }
    }

    /// What came to a phone, decoded from the packet number `from` on.
    pub(super) fn audio(&self, side: usize, from: usize) -> Vec<i16> {
        let law = self.sides[side].media.codec.law();
        let audio = self.sides[side].heard[from..].iter().filter(|(header, _)| header.payload_type != EVENTS);
        audio.flat_map(|(_, codes)| codes).map(|code| law.decode(*code)).collect()
    }

    /// The digits that came to a phone, by the last packets of each.
    pub(super) fn digits(&self, side: usize) -> Vec<u8> {
        let events = self.sides[side].heard.iter().filter(|(header, _)| header.payload_type == EVENTS);
        events.filter_map(|(_, payload)| EventPayload::parse(payload)).filter(|e| e.end).map(|e| e.event).collect()
    }

    /// What a tap's channel holds, from frame number `from` on.
    pub(super) fn taped(&self, side: usize, channel: TapChannel, from: usize) -> Vec<i16> {
        let frames = self.sides[side].frames[from..].iter().filter(|frame| frame.channel == channel);
        let audio = frames.filter_map(|frame| match &frame.body {
            TapBody::Pcm8k { samples, .. } => Some(samples.as_slice()),
            TapBody::Hold(_) => None,
        });
        audio.flatten().copied().collect()
    }

    /// Audio on a tap's channel without gap or overlap in time.
    pub(super) fn check_tape(&self, side: usize, channel: TapChannel) {
        let mut next = None;
        for frame in self.sides[side].frames.iter().filter(|frame| frame.channel == channel) {
            let TapBody::Pcm8k { samples, .. } = &frame.body else { panic!("{frame:?}") };
            assert!(next.is_none_or(|next| next == frame.timestamp), "a gap in {channel:?}");
            next = Some(frame.timestamp.wrapping_add(u32::try_from(samples.as_slice().len()).unwrap()));
        }
    }

    /// One SSRC, no gap in the sequence, audio without gap or overlap in time.
    pub(super) fn check_line(&self, side: usize) {
        let heard = &self.sides[side].heard;
        for pair in heard.windows(2) {
            assert_eq!(pair[0].0.ssrc, pair[1].0.ssrc);
            assert_eq!(pair[1].0.sequence, pair[0].0.sequence.wrapping_add(1));
        }
        let mut expected = None;
        for (header, payload) in heard.iter().filter(|(header, _)| header.payload_type != EVENTS) {
            assert!(expected.is_none_or(|at| at == header.timestamp), "sequence number {}", header.sequence);
            expected = Some(header.timestamp.wrapping_add(u32::try_from(payload.len()).unwrap()));
        }
    }

    pub(super) fn stats(&self, side: usize) -> LegStats {
        let stats = self.sides[side].events.iter().rev();
        stats.into_iter().find_map(|e| if let EventKind::Stats(stats) = e { Some(*stats) } else { None }).unwrap()
    }

    pub(super) fn has(&self, side: usize, what: impl Fn(&EventKind) -> bool) -> bool {
        self.sides[side].events.iter().any(what)
    }
}
