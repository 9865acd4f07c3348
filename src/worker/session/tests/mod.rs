#![expect(clippy::wildcard_enum_match_arm, reason = "tests name what they look for")]

mod bridge;
mod joined;
mod joined_hold;
mod quality;
mod trunk;

use super::*;
use crate::clock::Clock;
use crate::codec::TrunkCodec;
use crate::media::tap::TapBody;
use crate::rtp::srtp::MasterKey;
use crate::rtp::srtp::Protect;
use crate::rtp::srtp::SrtpKeys;
use crate::rtp::srtp::SrtpSuite;
use crate::rtp::srtp::Unprotect;
use crate::webrtc::Certificate;
use crate::worker::LegStats;
use crate::worker::MediaNetwork;
use crate::worker::MediaRejection;
use crate::worker::MediaSource;

const OURS: &str = "127.0.0.1:40000";
const BROWSER: &str = "127.0.0.2:50000";
const TRUNK: &str = "192.0.2.9:6000";

/// A session and what it has done.
struct World {
    now: Instant,
    call: CallId,
    rng: StdRng,
    session: Session,
    browser: Option<(LegId, Peer)>,
    connected: bool,
    events: Vec<(Option<LegId>, EventKind)>,
    others: Vec<Output>,
    to_trunk: Vec<(LegId, bool, SocketAddr)>,
    trunk_bytes: Vec<Vec<u8>>,
    heard_by_browser: usize,
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn peer_config(text: &str, lite: bool) -> webrtc::Config {
    let mut config = webrtc::Config::new(Certificate::generate().unwrap(), vec![address(text)]);
    config.ice_lite = lite;
    config
}

const fn media() -> TrunkMedia {
    TrunkMedia {
        remote: SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 9)), 6_000),
        remote_rtcp: SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 9)), 6_001),
        codec: TrunkCodec::Pcmu,
        payload_type: 0,
        receive_payload_type: 0,
        telephone_event: Some(101),
        receive_telephone_event: Some(101),
        ptime_ms: 20,
        send: true,
        receive: true,
        srtp: None,
        source: MediaSource::Exact,
    }
}

impl World {
    fn new() -> Self {
        let now = Clock::system().now();
        let mut rng = StdRng::seed_from_u64(1);
        let call = CallId::generate(1, &mut rng);
        let config = Config { peer: peer_config(OURS, true), media: crate::media::vocabulary::Config::default() };
        let session = Session::new(call, config, &mut rng, now).unwrap();
        Self {
            now,
            call,
            rng,
            session,
            browser: None,
            connected: false,
            events: Vec::new(),
            others: Vec::new(),
            to_trunk: Vec::new(),
            trunk_bytes: Vec::new(),
            heard_by_browser: 0,
        }
    }

    fn leg(&mut self) -> LegId {
        LegId::generate(1, &mut self.rng)
    }

    fn command(&mut self, command: Command) {
        self.session.handle(Input::Command(command), self.now);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Event(event) => self.events.push((event.leg, event.kind)),
                Output::ToPeer { bytes, .. } => self.carry_to_browser(&bytes),
                Output::ToTrunk { leg, from_rtcp, to, bytes } => {
                    self.to_trunk.push((leg, from_rtcp, to));
                    self.trunk_bytes.push(bytes.to_vec());
                }
                other => self.others.push(other),
            }
        }
        self.drain_browser();
    }

    fn carry_to_browser(&mut self, bytes: &[u8]) {
        let (source, local) = (address(OURS), address(BROWSER));
        if let Some((_, browser)) = &mut self.browser {
            browser.handle(webrtc::Input::Datagram { source, local, bytes }, self.now);
        }
    }

    fn drain_browser(&mut self) {
        let Some((leg, mut browser)) = self.browser.take() else { return };
        let mut sent = false;
        while let Some(output) = browser.poll_output() {
            match output {
                webrtc::Output::Transmit { bytes, .. } => {
                    sent = true;
                    let (source, local) = (address(BROWSER), address(OURS));
                    self.session.handle(Input::PeerDatagram { leg, source, local, bytes: &bytes }, self.now);
                }
                webrtc::Output::Connected(_) => self.connected = true,
                webrtc::Output::Rtp(_) => self.heard_by_browser += 1,
                _ => {}
            }
        }
        self.browser = Some((leg, browser));
        if sent {
            self.drain();
        }
    }

    /// A browser leg, answered and connected.
    fn connect_browser(&mut self) -> LegId {
        let (call, leg) = (self.call, self.leg());
        self.command(Command::OfferPeer { call, leg });
        let Some((_, EventKind::PeerOffered { sdp: offer })) = self.events.pop() else { panic!("{:?}", self.events) };
        let (browser, sdp) = Peer::answer(&peer_config(BROWSER, false), &offer, self.now).unwrap();
        self.browser = Some((leg, browser));
        self.connected = false;
        self.command(Command::AcceptPeerAnswer { call, leg, sdp });
        let deadline = self.now + Duration::from_secs(5);
        while !self.connected || !self.happened(leg, |kind| matches!(kind, EventKind::PeerConnected)) {
            assert!(self.now < deadline, "{:?}", self.events);
            self.pass(Duration::from_millis(10));
        }
        leg
    }

    fn bind_trunk(&mut self) -> LegId {
        let (call, leg) = (self.call, self.leg());
        self.command(Command::BindTrunk { call, leg, address: address(OURS).ip() });
        assert!(
            self.others.iter().any(|output| matches!(output, Output::BindTrunk { leg: asked, .. } if *asked == leg))
        );
        self.session.handle(Input::TrunkBound { leg, local: Some(address("127.0.0.1:20000")) }, self.now);
        self.drain();
        assert!(self.happened(leg, |kind| matches!(kind, EventKind::TrunkBound { local } if local.port() == 20_000)));
        leg
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.session.handle_timeout(self.now);
        if let Some((_, browser)) = &mut self.browser {
            browser.handle_timeout(self.now);
        }
        self.drain();
    }

    fn happened(&self, leg: LegId, what: impl Fn(&EventKind) -> bool) -> bool {
        self.events.iter().any(|(of, kind)| *of == Some(leg) && what(kind))
    }

    fn stats(&self, leg: LegId) -> LegStats {
        let last = self.events.iter().rev().find_map(|(of, kind)| match kind {
            EventKind::Stats(stats) if *of == Some(leg) => Some(*stats),
            _ => None,
        });
        last.expect("statistics were told")
    }

    fn trunk_datagram(&mut self, leg: LegId, rtcp: bool, source: &str) {
        let mut bytes = vec![0x80, 0, 0, 1, 0, 0, 0, 160, 0, 0, 0, 9];
        bytes.extend([0xFF; 160]);
        self.session.handle(Input::TrunkDatagram { leg, rtcp, source: address(source), bytes: &mut bytes }, self.now);
        self.drain();
    }

    fn hand_over(&mut self, leg: LegId, rtcp: bool, source: &str, bytes: &[u8]) {
        let (source, mut bytes) = (address(source), bytes.to_vec());
        self.session.handle(Input::TrunkDatagram { leg, rtcp, source, bytes: &mut bytes }, self.now);
        self.drain();
    }

    fn rejections(&self, reason: MediaRejection) -> usize {
        let told = |kind: &EventKind| matches!(kind, EventKind::MediaRejected { reason: why, .. } if *why == reason);
        self.events.iter().filter(|(_, kind)| told(kind)).count()
    }

    /// Where the last RTP and RTCP went.
    fn sent_to(&self, from_rtcp: bool) -> Option<SocketAddr> {
        self.to_trunk.iter().rev().find(|(_, rtcp, _)| *rtcp == from_rtcp).map(|(_, _, to)| *to)
    }
}

fn packet(sequence: u16) -> Vec<u8> {
    let [s0, s1] = sequence.to_be_bytes();
    let mut bytes = vec![0x80, 0, s0, s1, 0, 0, 0, 160, 0, 0, 0, 9];
    bytes.extend([0xFF; 160]);
    bytes
}

/// A peer's SRTP end, with the keys as the session sees them.
fn srtp_peer(seed: u64) -> (SrtpKeys, Protect, Unprotect) {
    let mut rng = StdRng::seed_from_u64(seed);
    let suite = SrtpSuite::AeadAes128Gcm;
    let (send, receive) = (MasterKey::generate(suite, &mut rng), MasterKey::generate(suite, &mut rng));
    let (protect, unprotect) = (Protect::new(&receive).unwrap(), Unprotect::new(&send).unwrap());
    (SrtpKeys { send, receive }, protect, unprotect)
}

fn sealed(protect: &mut Protect, sequence: u16) -> Vec<u8> {
    let mut bytes = packet(sequence);
    let length = bytes.len();
    bytes.resize(length + crate::rtp::srtp::OVERHEAD_BYTES_MAX, 0);
    let length = protect.rtp(&mut bytes, length).unwrap();
    bytes.truncate(length);
    bytes
}

#[test]
fn a_browser_leg_is_offered_opened_and_connected_without_a_trunk() {
    let mut world = World::new();
    let leg = world.connect_browser();
    assert!(
        world.others.iter().any(|output| matches!(output, Output::PeerOpened { leg: opened, .. } if *opened == leg))
    );
    assert!(world.session.is_connected(leg));
}

#[test]
fn an_answer_that_cannot_be_used_fails_the_leg_and_closes_it() {
    let mut world = World::new();
    let (call, leg) = (world.call, world.leg());
    world.command(Command::OfferPeer { call, leg });
    world.command(Command::AcceptPeerAnswer { call, leg, sdp: "v=0".into() });
    assert!(world.happened(leg, |kind| matches!(kind, EventKind::LegFailed { reason: LegFailure::BadDescription })));
    assert!(world.others.iter().any(|output| matches!(output, Output::PeerClosed { leg: closed } if *closed == leg)));
}

#[test]
fn a_browser_that_never_comes_fails_by_ice() {
    let mut world = World::new();
    let (call, leg) = (world.call, world.leg());
    world.command(Command::OfferPeer { call, leg });
    let Some((_, EventKind::PeerOffered { sdp: offer })) = world.events.pop() else { panic!() };
    let (_, sdp) = Peer::answer(&peer_config(BROWSER, false), &offer, world.now).unwrap();
    world.command(Command::AcceptPeerAnswer { call, leg, sdp });
    for _ in 0..200 {
        world.pass(Duration::from_millis(100));
    }
    assert!(world.happened(leg, |kind| matches!(kind, EventKind::LegFailed { reason: LegFailure::IceFailed })));
}

#[test]
fn no_free_port_fails_the_trunk_leg() {
    let mut world = World::new();
    let (call, leg) = (world.call, world.leg());
    world.command(Command::BindTrunk { call, leg, address: address(OURS).ip() });
    world.session.handle(Input::TrunkBound { leg, local: None }, world.now);
    world.drain();
    assert!(world.happened(leg, |kind| matches!(kind, EventKind::LegFailed { reason: LegFailure::NoPort })));
}

#[test]
fn only_the_negotiated_address_is_heard_and_the_rest_is_counted() {
    let mut world = World::new();
    let leg = world.bind_trunk();
    let call = world.call;
    world.trunk_datagram(leg, false, TRUNK); // nothing is negotiated yet
    world.command(Command::ConnectTrunk { call, leg, media: media() });
    world.trunk_datagram(leg, false, "192.0.2.9:6002");
    world.trunk_datagram(leg, false, "192.0.2.10:6000");
    world.trunk_datagram(leg, true, TRUNK); // RTCP comes from the port above
    world.trunk_datagram(leg, false, TRUNK);
    world.command(Command::CloseLeg { call, leg });
    assert_eq!(world.stats(leg).packets_dropped, 4);
    assert!(world.to_trunk.iter().all(|(_, _, to)| [media().remote, media().remote_rtcp].contains(to)));
}

#[test]
fn statistics_come_every_five_seconds() {
    let mut world = World::new();
    let agent = world.connect_browser();
    let trunk = world.bind_trunk();
    world.events.clear();
    for _ in 0..1_010 {
        world.pass(Duration::from_millis(10));
    }
    for leg in [agent, trunk] {
        let told =
            world.events.iter().filter(|(of, kind)| *of == Some(leg) && matches!(kind, EventKind::Stats(_))).count();
        assert_eq!(told, 2);
    }
}

#[test]
fn closing_tells_the_last_figures_then_closed_and_gives_everything_back() {
    let mut world = World::new();
    let agent = world.connect_browser();
    let trunk = world.bind_trunk();
    let call = world.call;
    world.command(Command::Close { call });
    assert!(matches!(world.events.last(), Some((None, EventKind::Closed))));
    assert!(world.happened(agent, |kind| matches!(kind, EventKind::Stats(_))));
    assert!(world.happened(trunk, |kind| matches!(kind, EventKind::Stats(_))));
    assert!(world.others.iter().any(|output| matches!(output, Output::ReleaseTrunk { leg } if *leg == trunk)));
    assert!(world.others.iter().any(|output| matches!(output, Output::PeerClosed { leg } if *leg == agent)));
    assert!(matches!(world.others.last(), Some(Output::Ended)));
    assert_eq!(world.session.poll_timeout(), None);
    world.command(Command::OfferPeer { call, leg: agent });
    assert!(matches!(world.events.last(), Some((None, EventKind::Closed))), "nothing follows");
}

#[test]
fn commands_for_unknown_legs_are_ignored() {
    let mut world = World::new();
    let (call, leg) = (world.call, world.leg());
    for command in [
        Command::AcceptPeerAnswer { call, leg, sdp: String::new() },
        Command::AddPeerCandidate { call, leg, candidate: "candidate:".into() },
        Command::ConnectTrunk { call, leg, media: media() },
        Command::SendDtmf { call, leg, digits: vec![] },
        Command::SendData { call, leg, text: "{}".into() },
        Command::SetMuted { call, leg, muted: true },
        Command::SetRingback { call, leg, on: false },
        Command::CloseLeg { call, leg },
    ] {
        world.command(command);
    }
    assert!(world.events.is_empty(), "{:?}", world.events);
    assert!(world.others.is_empty(), "{:?}", world.others);
}

#[test]
fn legs_of_a_session_are_bounded_and_a_leg_is_made_once() {
    let mut world = World::new();
    let call = world.call;
    let first = world.leg();
    world.command(Command::OfferPeer { call, leg: first });
    world.command(Command::OfferPeer { call, leg: first });
    assert_eq!(world.events.len(), 1);
    for _ in 1..SESSION_LEGS_MAX {
        let leg = world.leg();
        world.command(Command::OfferPeer { call, leg });
    }
    let one_more = world.leg();
    world.command(Command::OfferPeer { call, leg: one_more });
    assert!(world.happened(one_more, |kind| matches!(kind, EventKind::LegFailed { reason: LegFailure::WorkerFull })));
}

#[test]
fn a_hold_is_of_a_trunk_leg_outlives_it_and_is_lifted() {
    let mut world = World::new();
    let (call, leg, stranger) = (world.call, world.bind_trunk(), world.leg());
    world.command(Command::ConnectTrunk { call, leg, media: media() });
    world.command(Command::SetGate { call, gate: Gate { to_trunk: true, to_agent: true } });
    world.command(Command::StartTap { call, leg: stranger, tap: TapId(1) });
    let holds = |world: &World| -> Vec<bool> {
        let taps =
            world.others.iter().filter_map(|output| if let Output::Tap(frame) = output { Some(frame) } else { None });
        taps.filter_map(|frame| if let TapBody::Hold(held) = frame.body { Some(held) } else { None }).collect()
    };
    world.command(Command::PlayHold { call, leg: stranger, on: true });
    assert!(holds(&world).is_empty());
    world.command(Command::PlayHold { call, leg, on: true });
    assert_eq!(holds(&world), [true, true], "both channels");
    let sent = world.to_trunk.len();
    for _ in 0..50 {
        world.pass(Duration::from_millis(20));
    }
    assert!(world.to_trunk.len() >= sent + 48, "the held trunk hears something");
    // Another trunk leg takes the place of the first: still on hold.
    world.command(Command::CloseLeg { call, leg });
    let leg = world.bind_trunk();
    world.command(Command::ConnectTrunk { call, leg, media: media() });
    assert_eq!(holds(&world).last(), Some(&true));
    world.command(Command::PlayHold { call, leg, on: false });
    assert_eq!(holds(&world).last(), Some(&false));
}
