//! Two calls that talk to each other through running workers: on one thread, on two, and where a browser was before.

use std::net::SocketAddr;
use std::net::UdpSocket;
use std::time::Duration;
use std::time::Instant;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::call::assert_tone;
use super::rig;
use super::rig::AGENT_HZ;
use super::rig::ForeignSrtp;
use super::rig::Rig;
use super::rig::TRUNK_HZ;
use super::tone;
use crate::clock::Clock;
use crate::codec::TrunkCodec;
use crate::ids::CallId;
use crate::ids::LegId;
use crate::limits::WORKER_EVENTS;
use crate::media::tap::TapChannel;
use crate::media::tap::TapId;
use crate::webrtc::Certificate;
use crate::webrtc::tests::foreign::Speaks;
use crate::worker::Command;
use crate::worker::Event;
use crate::worker::EventKind;
use crate::worker::Gate;
use crate::worker::MediaSource;
use crate::worker::SrtpSuite;
use crate::worker::TrunkMedia;
use crate::worker::io;

const OPEN: Gate = Gate { to_trunk: true, to_agent: true };
const FRAME: Duration = Duration::from_millis(20);
/// What the phones of a [`Node`] say, by their number.
const PHONES_HZ: [f64; 2] = [600.0, 1_500.0];

/// A call without an agent, and the phone on its trunk.
struct Phone {
    worker: usize,
    call: CallId,
    leg: LegId,
    hz: f64,
    rtp: UdpSocket,
    rtcp: UdpSocket,
    gateway: Option<SocketAddr>,
    srtp: Option<ForeignSrtp>,
    sent: u16,
    heard: Vec<Vec<u8>>,
}

/// Workers that know each other, and phones.
struct Node {
    clock: Clock,
    workers: Vec<(io::WorkerHandle, io::WorkerThread)>,
    _taps: Vec<io::TapConsumer>,
    events_in: tokio::sync::mpsc::Receiver<Event>,
    events: Vec<Event>,
    phones: Vec<Phone>,
    next_frame: Instant,
}

impl Phone {
    fn new(host: &str, number: usize, worker: usize) -> Self {
        let mut rng = StdRng::seed_from_u64(100 + number as u64);
        let [rtp, rtcp] = [(); 2].map(|()| UdpSocket::bind(format!("{host}:0")).unwrap());
        // The first phone's wait is the pace of all.
        rtp.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        rtp.set_nonblocking(number > 0).unwrap();
        rtcp.set_nonblocking(true).unwrap();
        let (call, leg) = (CallId::generate(4, &mut rng), LegId::generate(5, &mut rng));
        let hz = PHONES_HZ[number];
        Self { worker, call, leg, hz, rtp, rtcp, gateway: None, srtp: None, sent: 0, heard: Vec::new() }
    }

    fn media(&self) -> TrunkMedia {
        TrunkMedia {
            remote: self.rtp.local_addr().unwrap(),
            remote_rtcp: self.rtcp.local_addr().unwrap(),
            codec: TrunkCodec::Pcmu,
            payload_type: 0,
            receive_payload_type: 0,
            telephone_event: None,
            receive_telephone_event: None,
            ptime_ms: 20,
            send: true,
            receive: true,
            srtp: self.srtp.as_ref().map(|srtp| srtp.keys.clone()),
            source: MediaSource::Exact,
        }
    }

    fn say(&mut self) {
        let Some(to) = self.gateway else { return };
        let codes: Vec<u8> =
            tone::sine(self.hz, usize::from(self.sent) * 160, 160).into_iter().map(tone::to_ulaw).collect();
        let clear = rig::rtp(0, self.sent, u32::from(self.sent) * 160, 0x0B0B, &codes);
        self.sent += 1;
        let sealed = self.srtp.as_mut().map(|srtp| srtp.seal.encrypt_rtp(&clear).unwrap().to_vec());
        self.rtp.send_to(&sealed.unwrap_or(clear), to).unwrap();
    }

    fn listen(&mut self, until: Instant, clock: Clock) {
        let mut buffer = [0; 2_048];
        while let Ok((length, source)) = self.rtp.recv_from(&mut buffer) {
            assert_eq!(Some(source), self.gateway);
            let datagram = &buffer[..length];
            let clear = self.srtp.as_mut().map(|srtp| srtp.open.decrypt_rtp(datagram).unwrap().to_vec());
            self.heard.push(clear.unwrap_or_else(|| datagram.to_vec()));
            if clock.now() >= until {
                break;
            }
        }
        while self.rtcp.recv_from(&mut buffer).is_ok() {}
    }

    fn audio(&self) -> Vec<i16> {
        self.heard.iter().flat_map(|packet| &packet[12..]).map(|code| tone::from_ulaw(*code)).collect()
    }
}

impl Node {
    /// As many workers as `places`, at the numbers that those have.
    fn new(places: Vec<io::Partners>) -> Self {
        let clock = Clock::system();
        let (sender, events_in) = tokio::sync::mpsc::channel(WORKER_EVENTS);
        let (mut workers, mut taps) = (Vec::new(), Vec::new());
        for partners in places {
            let (tap, consumer) = io::recorder_ring::ring_of(4_096);
            taps.push(consumer);
            // Workers of one process share no port.
            let first = 21_000 + u16::try_from(workers.len()).unwrap() * 1_000;
            let config = io::Config { trunk_ports: first..=first + 999, ..rig::config() };
            let outlets = io::Outlets { events: sender.clone(), tap, partners };
            let rng = StdRng::seed_from_u64(8);
            workers.push(io::spawn(config, clock, Certificate::generate().unwrap(), rng, outlets).unwrap());
        }
        let next_frame = clock.now();
        Self { clock, workers, _taps: taps, events_in, events: Vec::new(), phones: Vec::new(), next_frame }
    }

    fn send(&self, phone: usize, command: Command) {
        let worker = self.phones[phone].worker;
        self.workers[worker].0.try_send(command).unwrap();
    }

    /// A call to this phone, with both gates open.
    fn connect(&mut self, phone: Phone) {
        let (call, leg, at) = (phone.call, phone.leg, self.phones.len());
        let (address, media) = (phone.rtp.local_addr().unwrap().ip(), phone.media());
        self.phones.push(phone);
        self.send(at, Command::BindTrunk { call, leg, address });
        let bound = |node: &Self| {
            let mut mine = node.events.iter().filter(|event| event.leg == Some(leg));
            mine.find_map(|event| if let EventKind::TrunkBound { local } = event.kind { Some(local) } else { None })
        };
        self.until("a trunk port", |node| bound(node).is_some());
        self.phones[at].gateway = bound(self);
        self.send(at, Command::ConnectTrunk { call, leg, media });
        self.send(at, Command::SetGate { call, gate: OPEN });
    }

    fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let deadline = self.clock.now() + Duration::from_secs(20);
        while !done(self) {
            assert!(self.clock.now() < deadline, "not in time: {what}; {:?}", self.events);
            self.pump();
        }
    }

    /// Every phone speaks for `frames` of 20 ms.
    fn talk_for(&mut self, frames: u16) {
        let goal = self.phones[0].sent + frames;
        self.until("frames sent", |node| node.phones[0].sent >= goal);
    }

    fn pump(&mut self) {
        let now = self.clock.now();
        if now >= self.next_frame {
            self.next_frame += FRAME;
            self.phones.iter_mut().for_each(Phone::say);
        }
        for phone in &mut self.phones {
            phone.listen(self.next_frame, self.clock);
        }
        while let Ok(event) = self.events_in.try_recv() {
            self.events.push(event);
        }
    }

    fn join(&self, phone: usize, partner: usize) {
        let (call, Phone { call: partner, worker, .. }) = (self.phones[phone].call, &self.phones[partner]);
        self.send(phone, Command::Join { call, partner: *partner, worker: *worker });
    }

    fn finish(mut self) -> Vec<Event> {
        self.workers.iter().for_each(|(handle, _)| handle.shutdown());
        self.workers.into_iter().for_each(|(_, thread)| thread.join());
        while let Ok(event) = self.events_in.try_recv() {
            self.events.push(event);
        }
        self.events
    }
}

/// Two phones hear each other, after they heard nothing.
fn talk_to_each_other(host: &str, workers: [usize; 2], srtp: Option<SrtpSuite>) {
    let mut node = Node::new(io::partners(2).unwrap());
    for (number, worker) in workers.into_iter().enumerate() {
        let mut phone = Phone::new(host, number, worker);
        phone.srtp = srtp.filter(|_| number == 1).map(|suite| ForeignSrtp::new(suite, 3));
        node.connect(phone);
    }
    node.talk_for(25);
    for phone in &mut node.phones {
        assert!(tone::level(&phone.audio()) < 100.0, "not joined yet");
        phone.heard.clear();
    }
    node.join(0, 1);
    node.join(1, 0);
    node.talk_for(75);
    for (phone, hz) in node.phones.iter().zip([PHONES_HZ[1], PHONES_HZ[0]]) {
        assert_tone(&phone.audio(), hz, phone.hz, "phone");
    }
    // One that leaves is missed by nobody but its partner's ear.
    node.send(1, Command::Close { call: node.phones[1].call });
    let gone = node.phones[1].call;
    node.until("the partner gone", |node| {
        node.events.iter().any(|event| event.call == gone && matches!(event.kind, EventKind::Closed))
    });
    node.talk_for(10);
    node.phones[0].heard.clear();
    node.talk_for(25);
    let quiet = node.phones[0].audio();
    assert!(quiet.len() >= 160 * 15 && tone::level(&quiet) < 100.0, "{} samples", quiet.len());
    let events = node.finish();
    assert_eq!(events.iter().filter(|event| matches!(event.kind, EventKind::Closed)).count(), 2);
}

#[test]
fn two_calls_of_one_worker_talk_to_each_other() {
    talk_to_each_other("127.0.21.51", [0, 0], None);
}

#[test]
fn two_calls_of_two_workers_talk_to_each_other() {
    talk_to_each_other("127.0.21.52", [0, 1], None);
    talk_to_each_other("127.0.21.53", [1, 0], Some(SrtpSuite::AeadAes256Gcm));
}

#[test]
fn a_partner_on_another_worker_takes_the_browsers_place_and_the_line_does_not_break() {
    let [first, second] = <[io::Partners; 2]>::try_from(io::partners(2).unwrap()).unwrap();
    let mut rig = Rig::at(first, "127.0.21.54", Speaks::Opus, rig::config(), 4_096);
    let mut node = Node::new(vec![second]);
    // The node of this test has one worker, whose number is 1: the phone's commands go there by its place in the list.
    node.connect(Phone::new("127.0.21.55", 0, 0));
    rig.connect();
    rig.send(Command::SetGate { call: rig.call, gate: OPEN });
    rig.send(Command::StartTap { call: rig.call, leg: rig.agent, tap: TapId(5) });
    let both = |rig: &mut Rig, node: &mut Node, frames: u16| {
        rig.talking = true;
        let goal = rig.frames_sent() + frames;
        while rig.frames_sent() < goal {
            rig.pump();
            node.pump();
        }
    };
    both(&mut rig, &mut node, 50);
    assert_tone(&rig.trunk_audio(), AGENT_HZ, PHONES_HZ[0], "trunk, before");
    let (agents, theirs) = (rig.call, node.phones[0].call);
    rig.send(Command::Join { call: agents, partner: theirs, worker: 1 });
    node.send(0, Command::Join { call: theirs, partner: agents, worker: 0 });
    both(&mut rig, &mut node, 25);
    let (browser, said) = (rig.foreign.heard.len(), rig.trunk_audio().len());
    node.phones[0].heard.clear();
    both(&mut rig, &mut node, 60);
    assert_eq!(rig.foreign.heard.len(), browser, "the browser hears nothing any more");
    assert_tone(&rig.trunk_audio()[said..], PHONES_HZ[0], AGENT_HZ, "trunk");
    assert_tone(&node.phones[0].audio(), TRUNK_HZ, AGENT_HZ, "phone");
    rig.send(Command::CloseLeg { call: rig.call, leg: rig.agent });
    both(&mut rig, &mut node, 25);
    rig.drain_tap();
    assert_tone(&rig.tap_audio(TapChannel::Sent), PHONES_HZ[0], AGENT_HZ, "tap, sent");
    assert_tone(&rig.tap_audio(TapChannel::Heard), TRUNK_HZ, PHONES_HZ[0], "tap, heard");
    let agent = rig.agent;
    let mut told = rig.events.iter().rev().filter(|event| event.leg == Some(agent));
    let figures = told.find_map(|event| if let EventKind::Stats(stats) = event.kind { Some(stats) } else { None });
    assert!(figures.is_some_and(|stats| stats.packets_received > 40), "what the browser had sent: {figures:?}");
    rig.send(Command::StopTap { call: rig.call, tap: TapId(5) });
    rig.until("the tap's end", |rig| rig.has(|kind| matches!(kind, EventKind::TapStopped { tap: TapId(5) })));

    let word = |packet: &[u8], at: usize| u32::from_be_bytes(packet[at..at + 4].try_into().unwrap());
    for pair in rig.trunk_heard.windows(2) {
        let sequence = |packet: &[u8]| u16::from_be_bytes([packet[2], packet[3]]);
        assert_eq!(sequence(&pair[1]), sequence(&pair[0]).wrapping_add(1));
        assert_eq!(word(&pair[1], 8), word(&pair[0], 8), "one SSRC");
        assert_eq!(word(&pair[1], 4).wrapping_sub(word(&pair[0], 4)), 160, "no gap in time");
    }
    rig.finish();
    node.finish();
}
