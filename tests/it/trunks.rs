//! What a trunk asks of a SIP peer, on the wire: SIPp is the PBX, the SIP task with real sockets the gateway's side.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use secrecy::SecretString;
use tandem::clock::Clock;
use tandem::demo::sipp::{Running, Scenario};
use tandem::ids::{LegId, SessionId, TrunkName};
use tandem::pii::Pii;
use tandem::sip::digest::Credentials;
use tandem::sip::digest::server::{Guard, UserSecret};
use tandem::sip::digest::{Hash, secret_hash};
use tandem::sip::io::task::{self, SipHandle};
use tandem::sip::io::{self, Transports};
use tandem::sip::message::Uri;
use tandem::sip::quirk::{Quirk, QuirkFired};
use tandem::sip::user_agent::peering::Line;
use tandem::sip::user_agent::{Config, Listen, Network, Target, Trunk, UserAgent};
use tandem::sip::{Command, Event, OutgoingInvite, Party, Transport};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::site::{udp_ports, wait_until};

/// How long one step may take.
const STEP: Duration = Duration::from_secs(15);
const ANSWER: &[u8] =
    b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\n";

fn at(host: u8) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(127, 0, 0, host), 5060))
}

/// SIPp as the PBX on `host`, listening: a closed port would be a failure of another kind.
async fn pbx(name: &str, host: u8, calls: u32) -> Running {
    let scenario = Scenario { calls, ..Scenario::outbound(name, at(host)) };
    let running = scenario.with(&["-timeout", "40"]).start().unwrap();
    let address = Ipv4Addr::new(127, 0, 0, host);
    wait_until("SIPp to listen", STEP, async || udp_ports(address).contains(&5060).then_some(())).await;
    running
}

struct Gateway {
    sip: SipHandle,
    events: mpsc::Receiver<Event>,
    quirks: mpsc::Receiver<QuirkFired>,
    address: SocketAddr,
}

impl Gateway {
    /// A SIP task on `host` whose trunk has these targets.
    async fn start(host: u8, targets: &[u8], change: impl FnOnce(&mut Trunk)) -> Self {
        let address = at(host);
        let (fired, quirks) = mpsc::channel(64);
        let transports = io::Config {
            quirk_tap: Arc::new(move |quirk| fired.try_send(quirk.clone()).unwrap()),
            udp: vec![io::Bind { address, key: "test".to_owned() }],
            is_trunk: Arc::new(|_| true),
            ..io::Config::default()
        };
        let transports = Transports::bind(transports).await.unwrap();
        let target = |host: &u8| Target { transport: Transport::Udp, address: at(*host), tcp_for_large: false };
        let mut trunk = Trunk::of_target(TrunkName::new("pbx"), target(&targets[0]));
        trunk.targets = targets.iter().map(target).collect();
        trunk.networks = vec![Network { address: IpAddr::V4(Ipv4Addr::LOCALHOST), prefix_len: 8 }];
        change(&mut trunk);
        let clock = Clock::system();
        let mut config = Config::new(clock);
        config.listen = vec![Listen { transport: Transport::Udp, address }];
        config.trunks = vec![trunk];
        let (sip, commands) = task::commands();
        let (sender, events) = mpsc::channel(64);
        let agent = UserAgent::new(config, StdRng::seed_from_u64(u64::from(host)));
        drop(tokio::spawn(task::run(agent, transports, commands, sender, clock, CancellationToken::new())));
        Self { sip, events, quirks, address }
    }

    async fn event(&mut self) -> Event {
        tokio::time::timeout(STEP, self.events.recv()).await.expect("no event").unwrap()
    }

    fn dial(&self, number: u128) -> LegId {
        let leg = LegId::from_uuid(uuid::Uuid::from_u128(number));
        let invite = OutgoingInvite {
            leg,
            trunk: TrunkName::new("pbx"),
            called: "600".to_owned(),
            from: Party { user: Pii::new("1001".to_owned()), display_name: None },
            session_id: SessionId::from_bytes([1; 16]),
            offer: Some(Bytes::from_static(ANSWER)),
            replaces: None,
            anonymous: false,
            headers: Vec::new(),
            user_to_user: None,
            diverted_from: None,
        };
        self.sip.try_send(Command::Invite(invite)).unwrap();
        leg
    }

    /// Hangs up, and waits for the end.
    async fn hang_up(&mut self, leg: LegId) {
        self.sip.try_send(Command::Bye { leg, reason: None }).unwrap();
        assert!(matches!(self.event().await, Event::Ended { .. }));
    }
}

fn credentials(username: &str, password: &str) -> Credentials {
    let password = SecretString::from(password.to_owned());
    Credentials { username: username.to_owned(), password, realm: Some("pbx".to_owned()) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_registers_with_sipp_as_registrar_and_goes_at_the_drain() {
    let registrar = pbx("uas_registrar", 62, 1).await;
    let gateway = Gateway::start(61, &[62], |trunk| {
        trunk.peering.lines = vec![Line {
            aor: Uri::parse("sip:2001@pbx.test").unwrap(),
            contact_user: "2001".to_owned(),
            extension: "1001".to_owned(),
            credentials: Some(credentials("2001", "line-secret")),
            register: true,
            expires: Duration::from_mins(1),
        }];
    })
    .await;
    // Three round trips on the loopback; what matters is that the drain comes after them.
    tokio::time::sleep(Duration::from_secs(3)).await;
    gateway.sip.try_send(Command::Drain { retry_after: Duration::from_secs(5) }).unwrap();
    registrar.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenged_call_goes_through_with_a_fresh_nonce_and_its_bye_as_well() {
    let peer = pbx("uas_challenges", 64, 1).await;
    let mut gateway =
        Gateway::start(63, &[64], |trunk| trunk.peering.credentials = Some(credentials("tandem", "trunk-secret")))
            .await;
    let leg = gateway.dial(1);
    assert!(matches!(gateway.event().await, Event::Accepted { sdp: Some(_), .. }));
    gateway.hang_up(leg).await;
    peer.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_not_tried_again() {
    let peer = pbx("uas_refuses_password", 66, 1).await;
    let mut gateway =
        Gateway::start(65, &[66], |trunk| trunk.peering.credentials = Some(credentials("tandem", "x"))).await;
    gateway.dial(1);
    let Event::Refused { status, .. } = gateway.event().await else { panic!("not refused") };
    assert_eq!(status.as_u16(), 401);
    peer.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_503_takes_the_next_target_at_once_and_the_first_is_left_alone_afterwards() {
    let first = pbx("uas_unavailable", 68, 1).await;
    let second = pbx("uas_answered", 69, 2).await;
    let mut gateway = Gateway::start(67, &[68, 69], |_| {}).await;
    let clock = Clock::system();
    let began = clock.now();
    let leg = gateway.dial(1);
    first.finish().await.unwrap();
    while !matches!(gateway.event().await, Event::Accepted { .. }) {}
    let took = clock.now() - began;
    assert!(took < Duration::from_secs(3), "{took:?}");
    gateway.hang_up(leg).await;
    // SIPp's first target has ended: were it asked, the call would wait.
    let leg = gateway.dial(2);
    while !matches!(gateway.event().await, Event::Accepted { .. }) {}
    gateway.hang_up(leg).await;
    second.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_whose_contact_leads_nowhere_is_reached_by_a_quirk_that_is_told() {
    let peer = pbx("uas_contact_elsewhere", 83, 1).await;
    let quirk = |trunk: &mut Trunk| trunk.terms.quirks = [Quirk::ContactFromSource].into_iter().collect();
    let mut gateway = Gateway::start(82, &[83], quirk).await;
    let leg = gateway.dial(1);
    while !matches!(gateway.event().await, Event::Accepted { .. }) {}
    gateway.hang_up(leg).await;
    peer.finish().await.unwrap();
    let fired: Vec<QuirkFired> = std::iter::from_fn(|| gateway.quirks.try_recv().ok()).collect();
    let details: Vec<&str> = fired.iter().map(|fired| fired.detail.as_str()).collect();
    let says = |method: &str| format!("{method} goes to 127.0.0.83:5060, not to 127.0.0.83:9");
    assert_eq!(details, [says("ACK"), says("BYE")]);
    assert!(fired.iter().all(|fired| fired.quirk == Quirk::ContactFromSource && fired.trunk.as_str() == "pbx"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_is_asked_by_options() {
    let peer = pbx("uas_keep_alive", 71, 1).await;
    let gateway =
        Gateway::start(70, &[71], |trunk| trunk.peering.options_interval = Some(Duration::from_secs(2))).await;
    peer.finish().await.unwrap();
    drop(gateway);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trunk_that_must_prove_itself_gets_in_with_the_right_password_alone() {
    let mut gateway = Gateway::start(72, &[73], |trunk| {
        let md5 = secret_hash(Hash::Md5, "pbx", "tandem", &SecretString::from("secret".to_owned()));
        let users = BTreeMap::from([("pbx".to_owned(), UserSecret::Hashed { md5, sha256: None })]);
        trunk.peering.guard = Some(Guard { realm: "tandem".to_owned(), users });
    })
    .await;
    let call = |password: &str| {
        Scenario::inbound("uac_authenticates", 73, gateway.address, "1001")
            .with(&["-au", "pbx", "-ap", password, "-timeout", "10"])
            .start()
            .unwrap()
    };
    assert!(call("guess").finish().await.is_err());
    let caller = call("secret");
    let Event::Invited(invitation) = gateway.event().await else { panic!("not invited") };
    gateway.sip.try_send(Command::Accept { leg: invitation.leg, sdp: Bytes::from_static(ANSWER) }).unwrap();
    caller.finish().await.unwrap();
}
