//! The rig: pumps the browser's and the trunk's sockets, keeps the 20 ms clock of both tones, and collects what happens.

use std::net::SocketAddr;
use std::net::UdpSocket;
use std::time::Duration;
use std::time::Instant;

use opus::Application;
use opus::Channels;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rtc_srtp::protection_profile::ProtectionProfile;

use super::tone;
use crate::clock::Clock;
use crate::codec::TrunkCodec;
use crate::ids::CallId;
use crate::ids::LegId;
use crate::limits::WORKER_EVENTS;
use crate::media::tap::TapBody;
use crate::media::tap::TapChannel;
use crate::media::tap::TapFrame;
use crate::webrtc::Certificate;
use crate::webrtc::tests::foreign::Foreign;
use crate::webrtc::tests::foreign::Speaks;
use crate::worker::Command;
use crate::worker::Event;
use crate::worker::EventKind;
use crate::worker::MasterKey;
use crate::worker::MediaSource;
use crate::worker::SrtpKeys;
use crate::worker::SrtpSuite;
use crate::worker::TrunkMedia;
use crate::worker::io;

/// What the agent says and what the PBX says, in Hz.
pub(super) const AGENT_HZ: f64 = 440.0;
pub(super) const TRUNK_HZ: f64 = 1_000.0;
/// Payload type of µ-law.
const TRUNK_PCMU: u8 = 0;
/// Payload type of telephone-event on the trunk.
pub(super) const TRUNK_EVENT: u8 = 101;

pub(super) struct Rig {
    pub(super) clock: Clock,
    pub(super) handle: io::WorkerHandle,
    thread: io::WorkerThread,
    events_in: tokio::sync::mpsc::Receiver<Event>,
    pub(super) events: Vec<Event>,
    tap: io::TapConsumer,
    pub(super) frames: Vec<TapFrame>,
    pub(super) call: CallId,
    pub(super) agent: LegId,
    pub(super) trunk: LegId,
    browser_socket: UdpSocket,
    pub(super) foreign: Foreign,
    speaks: Speaks,
    encoder: opus::Encoder,
    pub(super) rtp: UdpSocket,
    rtcp: UdpSocket,
    pub(super) gateway_rtp: Option<SocketAddr>,
    /// The trunk's end of SRTP, by an implementation that is not ours, and the keys as the gateway sees them.
    pub(super) srtp: Option<ForeignSrtp>,
    pub(super) trunk_heard: Vec<Vec<u8>>,
    pub(super) trunk_reports: usize,
    pub(super) talking: bool,
    frames_sent: u16,
    next_frame: Instant,
}

pub(super) fn config() -> io::Config {
    io::Config::default()
}

impl Rig {
    /// With the only worker of its node.
    pub(super) fn new(host: &str, speaks: Speaks, config: io::Config, ring_frames: usize) -> Self {
        Self::at(io::partners(1).unwrap().remove(0), host, speaks, config, ring_frames)
    }

    /// With a worker at this place among the workers of a node.
    pub(super) fn at(
        partners: io::Partners,
        host: &str,
        speaks: Speaks,
        config: io::Config,
        ring_frames: usize,
    ) -> Self {
        let clock = Clock::system();
        let now = clock.now();
        let mut rng = StdRng::seed_from_u64(7);
        let (call, agent, trunk) =
            (CallId::generate(1, &mut rng), LegId::generate(2, &mut rng), LegId::generate(3, &mut rng));
        let (sender, events_in) = tokio::sync::mpsc::channel(WORKER_EVENTS);
        let (producer, tap) = io::recorder_ring::ring_of(ring_frames);
        let outlets = io::Outlets { events: sender, tap: producer, partners };
        let (handle, thread) = io::spawn(config, clock, Certificate::generate().unwrap(), rng, outlets).unwrap();
        let browser_socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        browser_socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let (rtp, rtcp) = pair(host);
        let foreign = Foreign::new(browser_socket.local_addr().unwrap(), speaks, now);
        Self {
            clock,
            handle,
            thread,
            events_in,
            events: Vec::new(),
            tap,
            frames: Vec::new(),
            call,
            agent,
            trunk,
            browser_socket,
            foreign,
            speaks,
            encoder: opus::Encoder::new(8_000, Channels::Mono, Application::Voip).unwrap(),
            rtp,
            rtcp,
            gateway_rtp: None,
            srtp: None,
            trunk_heard: Vec::new(),
            trunk_reports: 0,
            talking: false,
            frames_sent: 0,
            next_frame: now,
        }
    }

    pub(super) fn send(&self, command: Command) {
        self.handle.try_send(command).unwrap();
    }

    /// Runs the world until `done`, or fails at the deadline.
    pub(super) fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let deadline = self.clock.now() + Duration::from_secs(20);
        while !done(self) {
            assert!(self.clock.now() < deadline, "not in time: {what}; {:?}", self.events);
            self.pump();
        }
    }

    /// Runs the world for as long as `frames` of 20 ms take.
    pub(super) fn talk_for(&mut self, frames: u16) {
        self.talking = true;
        let goal = self.frames_sent.wrapping_add(frames);
        self.until("frames sent", |rig| rig.frames_sent == goal);
    }

    pub(super) fn pump(&mut self) {
        let mut buffer = [0; 2_048];
        // Waits for at most a millisecond: this is the rig's pace.
        while let Ok((length, source)) = self.browser_socket.recv_from(&mut buffer) {
            self.foreign.receive(source, &buffer[..length], self.clock.now());
            self.flush_browser();
            if self.clock.now() >= self.next_frame {
                break;
            }
        }
        let now = self.clock.now();
        if self.foreign.poll_timeout().is_some_and(|at| at <= now) {
            self.foreign.handle_timeout(now);
        }
        if now >= self.next_frame {
            self.next_frame += Duration::from_millis(20);
            if self.talking {
                self.say(now);
            }
        }
        self.flush_browser();
        while let Ok((length, source)) = self.rtp.recv_from(&mut buffer) {
            assert_eq!(Some(source), self.gateway_rtp);
            let datagram = &buffer[..length];
            let clear = self.srtp.as_mut().map(|srtp| srtp.open.decrypt_rtp(datagram).unwrap().to_vec());
            self.trunk_heard.push(clear.unwrap_or_else(|| datagram.to_vec()));
        }
        while let Ok((length, _)) = self.rtcp.recv_from(&mut buffer) {
            if let Some(srtp) = &mut self.srtp {
                srtp.open.decrypt_rtcp(&buffer[..length]).unwrap();
            }
            self.trunk_reports += 1;
        }
        while let Ok(event) = self.events_in.try_recv() {
            self.events.push(event);
        }
    }

    fn say(&mut self, now: Instant) {
        let index = self.frames_sent;
        let first = usize::from(index) * 160;
        self.frames_sent = self.frames_sent.wrapping_add(1);
        let agent = tone::sine(AGENT_HZ, first, 160);
        let (timestamp, payload) = match self.speaks {
            Speaks::Opus => (u32::from(index) * 960, self.encoder.encode_vec(&agent, 400).unwrap()),
            Speaks::Pcmu => (u32::from(index) * 160, agent.into_iter().map(tone::to_ulaw).collect()),
        };
        self.foreign.send_rtp(index, timestamp, &payload, now);
        let trunk: Vec<u8> = tone::sine(TRUNK_HZ, first, 160).into_iter().map(tone::to_ulaw).collect();
        self.say_on_trunk(0, index, u32::from(index) * 160, &trunk);
    }

    /// The page was reloaded: another peer connection on the same socket, for another leg of the call.
    pub(super) fn reload_page(&mut self) -> LegId {
        let old = self.agent;
        self.talking = false;
        self.agent = new_leg();
        self.foreign = Foreign::new(self.browser_socket.local_addr().unwrap(), self.speaks, self.clock.now());
        self.connect_agent();
        old
    }

    pub(super) fn say_on_trunk(&mut self, payload_type: u8, sequence: u16, timestamp: u32, payload: &[u8]) {
        if let Some(to) = self.gateway_rtp {
            let clear = rtp(payload_type, sequence, timestamp, 0x7A7A_0001, payload);
            let protected = self.srtp.as_mut().map(|srtp| srtp.seal.encrypt_rtp(&clear).unwrap().to_vec());
            self.rtp.send_to(&protected.unwrap_or(clear), to).unwrap();
        }
    }

    pub(super) const fn frames_sent(&self) -> u16 {
        self.frames_sent
    }

    pub(super) fn next_sequence(&mut self) -> u16 {
        self.frames_sent = self.frames_sent.wrapping_add(1);
        self.frames_sent.wrapping_sub(1)
    }

    fn flush_browser(&mut self) {
        while let Some((to, bytes)) = self.foreign.poll_transmit() {
            self.browser_socket.send_to(&bytes, to).unwrap();
        }
    }

    pub(super) fn drain_tap(&mut self) {
        while self.tap.pop_batch(&mut self.frames, 64) > 0 {}
    }

    pub(super) fn has(&self, what: impl Fn(&EventKind) -> bool) -> bool {
        self.events.iter().any(|event| event.call == self.call && what(&event.kind))
    }

    /// The agent's leg up, the trunk's leg bound and connected, every gate closed.
    pub(super) fn connect(&mut self) {
        self.connect_agent();
        self.connect_trunk();
    }

    pub(super) fn connect_trunk(&mut self) {
        let (call, trunk) = (self.call, self.trunk);
        self.send(Command::BindTrunk { call, leg: trunk, address: self.rtp.local_addr().unwrap().ip() });
        self.until("a trunk port", |rig| rig.bound().is_some());
        self.gateway_rtp = self.bound();
        self.send(Command::ConnectTrunk { call, leg: trunk, media: self.media() });
    }

    pub(super) fn connect_agent(&mut self) {
        let (call, agent) = (self.call, self.agent);
        self.send(Command::OfferPeer { call, leg: agent });
        self.until("an offer", |rig| rig.offer().is_some());
        let offer = self.offer().unwrap();
        let sdp = self.foreign.answer(&offer, self.clock.now());
        self.send(Command::AcceptPeerAnswer { call, leg: agent, sdp });
        let connected = |rig: &Self| {
            rig.events.iter().any(|event| event.leg == Some(agent) && matches!(event.kind, EventKind::PeerConnected))
        };
        self.until("the browser connected", |rig| connected(rig) && rig.foreign.connected);
    }

    pub(super) fn media(&self) -> TrunkMedia {
        TrunkMedia {
            remote: self.rtp.local_addr().unwrap(),
            remote_rtcp: self.rtcp.local_addr().unwrap(),
            codec: TrunkCodec::Pcmu,
            payload_type: 0,
            receive_payload_type: 0,
            telephone_event: Some(TRUNK_EVENT),
            receive_telephone_event: Some(TRUNK_EVENT),
            ptime_ms: 20,
            send: true,
            receive: true,
            srtp: self.srtp.as_ref().map(|srtp| srtp.keys.clone()),
            source: MediaSource::Exact,
        }
    }

    fn offer(&self) -> Option<String> {
        let mut mine = self.events.iter().filter(|event| event.leg == Some(self.agent));
        mine.find_map(|event| if let EventKind::PeerOffered { sdp } = &event.kind { Some(sdp.clone()) } else { None })
    }

    fn bound(&self) -> Option<SocketAddr> {
        let mut mine = self.events.iter().filter(|event| event.leg == Some(self.trunk));
        mine.find_map(|event| if let EventKind::TrunkBound { local } = event.kind { Some(local) } else { None })
    }

    /// What the agent's side heard, decoded by libopus at 8 kHz or by the formula.
    pub(super) fn agent_audio(&self) -> Vec<i16> {
        let mut decoder = opus::Decoder::new(8_000, Channels::Mono).unwrap();
        let mut samples = Vec::new();
        for heard in &self.foreign.heard {
            if heard.payload_type == 0 {
                samples.extend(heard.payload.iter().map(|code| tone::from_ulaw(*code)));
            } else {
                let mut frame = [0; 960];
                let count = decoder.decode(&heard.payload, &mut frame, false).unwrap();
                samples.extend(&frame[..count]);
            }
        }
        samples
    }

    /// What the trunk's side heard.
    pub(super) fn trunk_audio(&self) -> Vec<i16> {
        let audio = self.trunk_heard.iter().filter(|packet| packet[1] & 0x7F == TRUNK_PCMU);
        audio.flat_map(|packet| packet[12..].iter().map(|code| tone::from_ulaw(*code))).collect()
    }

    pub(super) fn tap_audio(&self, channel: TapChannel) -> Vec<i16> {
        let frames = self.frames.iter().filter(|frame| frame.channel == channel);
        let audio = frames.filter_map(|frame| {
            if let TapBody::Pcm8k { samples, .. } = &frame.body { Some(samples.as_slice()) } else { None }
        });
        audio.flatten().copied().collect()
    }

    /// Ends the worker and waits for it.
    pub(super) fn finish(self) -> Vec<Event> {
        let Self { handle, thread, mut events_in, mut events, .. } = self;
        handle.shutdown();
        thread.join();
        while let Ok(event) = events_in.try_recv() {
            events.push(event);
        }
        events
    }
}

/// A leg that the call has not had.
pub(super) fn new_leg() -> LegId {
    LegId::generate(9, &mut StdRng::seed_from_u64(9))
}

/// See [`Rig::srtp`].
pub(super) struct ForeignSrtp {
    pub(super) keys: SrtpKeys,
    pub(super) seal: rtc_srtp::context::Context,
    pub(super) open: rtc_srtp::context::Context,
}

impl ForeignSrtp {
    pub(super) fn new(suite: SrtpSuite, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let (send, receive) = (MasterKey::generate(suite, &mut rng), MasterKey::generate(suite, &mut rng));
        let profile = match suite {
            SrtpSuite::AesCm128HmacSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
            SrtpSuite::AesCm128HmacSha1_32 => ProtectionProfile::Aes128CmHmacSha1_32,
            SrtpSuite::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
            SrtpSuite::AeadAes256Gcm => ProtectionProfile::AeadAes256Gcm,
        };
        let provider = rtc_srtp::crypto::default_provider().unwrap();
        let context = |key: &MasterKey| {
            let (key, salt) = key.key_and_salt().split_at(suite.key_bytes());
            rtc_srtp::context::Context::new(key, salt, profile, None, None, provider.crypto()).unwrap()
        };
        let (seal, open) = (context(&receive), context(&send));
        Self { keys: SrtpKeys { send, receive }, seal, open }
    }
}

pub(super) fn rtp(payload_type: u8, sequence: u16, timestamp: u32, ssrc: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x80, payload_type];
    bytes.extend(sequence.to_be_bytes());
    bytes.extend(timestamp.to_be_bytes());
    bytes.extend(ssrc.to_be_bytes());
    bytes.extend(payload);
    bytes
}

fn pair(host: &str) -> (UdpSocket, UdpSocket) {
    let rtp = UdpSocket::bind(format!("{host}:0")).unwrap();
    let rtcp = UdpSocket::bind(format!("{host}:0")).unwrap();
    for socket in [&rtp, &rtcp] {
        socket.set_nonblocking(true).unwrap();
    }
    (rtp, rtcp)
}
