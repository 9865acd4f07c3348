//! The SIP task against SIPp, a foreign implementation, on the loopback: calls in both directions over UDP and TCP.

#![cfg(test)]

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tandem::clock::Clock;
use tandem::ids::{LegId, SessionId, TrunkName};
use tandem::pii::Pii;
use tandem::sip::dialog::Terms;
use tandem::sip::dialog::terms::SessionTimerPolicy;
use tandem::sip::io::{self, Transports, task};
use tandem::sip::user_agent::{Config, Listen, Target, Trunk, UserAgent};
use tandem::sip::{Body, Command, EndCause, Event, OutgoingInvite, Party, ReferTarget, StatusCode, Transport};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// `make bench` builds its own package; that its calls still end is proven here.
#[path = "../benches/signaling/src/tandem_side.rs"]
mod bench_side;

/// What is offered and answered.
const SDP: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\n";

struct Gateway {
    udp: SocketAddr,
    tcp: SocketAddr,
    handle: task::SipHandle,
    events: mpsc::Receiver<Event>,
}

/// A gateway's SIP side on the loopback, whose one trunk is 127.0.0.1 with `target`.
async fn gateway(target: Target) -> Gateway {
    gateway_with(target, Terms::default()).await
}

async fn gateway_with(target: Target, terms: Terms) -> Gateway {
    let bind = || vec![io::Bind { address: "127.0.0.1:0".parse().unwrap(), key: "test".to_owned() }];
    let sockets = io::Config { udp: bind(), tcp: bind(), is_trunk: Arc::new(|_| true), ..io::Config::default() };
    let transports = Transports::bind(sockets).await.unwrap();
    let (udp, tcp) = (transports.udp_addresses()[0], transports.tcp_addresses()[0]);
    let clock = Clock::system();
    let mut config = Config::new(clock);
    config.listen =
        vec![Listen { transport: Transport::Udp, address: udp }, Listen { transport: Transport::Tcp, address: tcp }];
    config.trunks = vec![Trunk { terms, ..Trunk::of_target(TrunkName::new("pbx"), target) }];
    let (handle, commands) = task::commands();
    let (sender, events) = mpsc::channel(64);
    let agent = UserAgent::new(config, StdRng::seed_from_u64(1));
    drop(tokio::spawn(task::run(agent, transports, commands, sender, clock, CancellationToken::new())));
    Gateway { udp, tcp, handle, events }
}

fn sipp(arguments: &[&str], directory: &std::path::Path) -> tokio::process::Child {
    tokio::process::Command::new("sipp")
        .args(arguments)
        .args(["-i", "127.0.0.1", "-nostdin", "-timeout", "30", "-timeout_error"])
        .current_dir(directory)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("SIPp is installed (Debian package sip-tester)")
}

fn free_port() -> u16 {
    std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

async fn sipp_calls_us(transport: Transport) {
    let target = Target { transport: Transport::Udp, address: "127.0.0.1:9".parse().unwrap(), tcp_for_large: false };
    let mut gateway = gateway(target).await;
    let directory = tempfile::tempdir().unwrap();
    let (address, mode) = if transport == Transport::Udp { (gateway.udp, "u1") } else { (gateway.tcp, "t1") };
    let (address, port) = (address.to_string(), free_port().to_string());
    let mut sipp = sipp(
        &["-sn", "uac", "-t", mode, "-p", &port, "-s", "1001", "-m", "20", "-r", "20", &address],
        directory.path(),
    );
    let mut ended = 0;
    let status = loop {
        tokio::select! {
            status = sipp.wait() => break status.unwrap(),
            event = gateway.events.recv() => ended += answer(&gateway.handle, event.unwrap()),
        }
    };
    while let Ok(event) = gateway.events.try_recv() {
        ended += answer(&gateway.handle, event);
    }
    assert!(status.success(), "{status}");
    assert_eq!(ended, 20);
}

/// Rings and answers; how many calls this event ended.
fn answer(handle: &task::SipHandle, event: Event) -> usize {
    match event {
        Event::Invited(invitation) => {
            let leg = invitation.leg;
            assert_eq!(invitation.called, "1001");
            handle.try_send(Command::Provisional { leg, status: StatusCode::RINGING, body: None }).unwrap();
            handle.try_send(Command::Accept { leg, sdp: Bytes::from_static(SDP.as_bytes()) }).unwrap();
            0
        }
        Event::Acknowledged { .. } => 0,
        Event::Ended { cause, .. } => {
            assert_eq!(cause, EndCause::PeerBye);
            1
        }
        other @ (Event::Cancelled { .. }
        | Event::Progressed { .. }
        | Event::Accepted { .. }
        | Event::Refused { .. }
        | Event::Reinvited { .. }
        | Event::Renegotiated { .. }
        | Event::RenegotiationFailed { .. }
        | Event::RenegotiationOvertaken { .. }
        | Event::Referred { .. }
        | Event::ReferProgressed { .. }
        | Event::InfoReceived { .. }) => panic!("{other:?}"),
    }
}

async fn we_call_sipp(transport: Transport) {
    let port = free_port();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut gateway = gateway(Target { transport, address, tcp_for_large: false }).await;
    let directory = tempfile::tempdir().unwrap();
    let mode = if transport == Transport::Udp { "u1" } else { "t1" };
    let mut sipp = sipp(&["-sn", "uas", "-t", mode, "-p", &port.to_string(), "-m", "1"], directory.path());
    // SIPp says nothing when it listens; over TCP a call that comes too early is 503, and is placed again.
    let leg = 'placed: {
        for number in 1..100 {
            let leg = LegId::from_uuid(uuid::Uuid::from_u128(number));
            gateway.handle.try_send(Command::Invite(invite(leg))).unwrap();
            if is_accepted(&mut gateway.events).await {
                break 'placed leg;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("SIPp never listened");
    };
    gateway.handle.try_send(Command::Bye { leg, reason: None }).unwrap();
    let ended = gateway.events.recv().await.unwrap();
    assert!(matches!(ended, Event::Ended { cause: EndCause::LocalBye, .. }), "{ended:?}");
    assert!(sipp.wait().await.unwrap().success());
}

async fn is_accepted(events: &mut mpsc::Receiver<Event>) -> bool {
    loop {
        let event = events.recv().await.unwrap();
        if matches!(event, Event::Accepted { .. } | Event::Refused { .. }) {
            return matches!(event, Event::Accepted { .. });
        }
    }
}

fn invite(leg: LegId) -> OutgoingInvite {
    OutgoingInvite {
        leg,
        trunk: TrunkName::new("pbx"),
        called: "600".to_owned(),
        from: Party { user: Pii::new("1001".to_owned()), display_name: None },
        session_id: SessionId::from_bytes([9; 16]),
        offer: Some(Bytes::from_static(SDP.as_bytes())),
        replaces: None,
        anonymous: false,
        headers: Vec::new(),
        user_to_user: None,
        diverted_from: None,
    }
}

#[tokio::test]
async fn sipp_calls_us_over_udp() {
    sipp_calls_us(Transport::Udp).await;
}

#[tokio::test]
async fn sipp_calls_us_over_tcp() {
    sipp_calls_us(Transport::Tcp).await;
}

#[tokio::test]
async fn we_call_sipp_over_udp() {
    we_call_sipp(Transport::Udp).await;
}

#[tokio::test]
async fn we_call_sipp_over_tcp() {
    we_call_sipp(Transport::Tcp).await;
}

// --- the scenarios of sip-tests/, with a call room of a few lines ---

/// Early media and the answer for whoever calls; what the peer asks for within the call is granted.
fn grant(handle: &task::SipHandle, event: &Event) {
    let send = |command| handle.try_send(command).unwrap();
    let sdp = || Bytes::from_static(SDP.as_bytes());
    match event {
        Event::Invited(invitation) => {
            let (leg, body) = (invitation.leg, invitation.offer.as_ref().map(|_| Body::sdp(SDP.as_bytes())));
            send(Command::Provisional { leg, status: StatusCode::SESSION_PROGRESS, body });
            send(Command::Accept { leg, sdp: sdp() });
        }
        Event::Reinvited { leg, .. } => send(Command::AcceptReinvite { leg: *leg, sdp: sdp() }),
        Event::Referred { leg, to, .. } => {
            assert_eq!(to.user, "1005");
            send(Command::AcceptRefer { leg: *leg });
            send(Command::NotifyRefer { leg: *leg, status: StatusCode::OK });
        }
        Event::Cancelled { .. }
        | Event::Acknowledged { .. }
        | Event::Progressed { .. }
        | Event::Accepted { .. }
        | Event::Refused { .. }
        | Event::Renegotiated { .. }
        | Event::RenegotiationFailed { .. }
        | Event::RenegotiationOvertaken { .. }
        | Event::ReferProgressed { .. }
        | Event::InfoReceived { .. }
        | Event::Ended { .. } => {}
    }
}

fn scenario(name: &str) -> String {
    format!("{}/sip-tests/{name}.xml", env!("CARGO_MANIFEST_DIR"))
}

/// SIPp calls us and plays `name`.
async fn inbound(name: &str) {
    let target = Target { transport: Transport::Udp, address: "127.0.0.1:9".parse().unwrap(), tcp_for_large: false };
    let mut gateway = gateway(target).await;
    let directory = tempfile::tempdir().unwrap();
    let (address, port) = (gateway.udp.to_string(), free_port().to_string());
    let mut sipp = sipp(&["-sf", &scenario(name), "-p", &port, "-s", "1001", "-m", "1", &address], directory.path());
    let status = loop {
        tokio::select! {
            status = sipp.wait() => break status.unwrap(),
            event = gateway.events.recv() => grant(&gateway.handle, &event.unwrap()),
        }
    };
    assert!(status.success(), "{name}: {status}");
}

/// We call SIPp, which plays `name`; `react` is the call room. Returns the names of what happened.
async fn outbound(name: &str, terms: Terms, wanted: OutgoingInvite, react: impl Fn(&task::SipHandle, &Event)) {
    let port = free_port();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let target = Target { transport: Transport::Udp, address, tcp_for_large: false };
    let mut gateway = gateway_with(target, terms).await;
    let directory = tempfile::tempdir().unwrap();
    let mut sipp = sipp(&["-sf", &scenario(name), "-p", &port.to_string(), "-m", "1"], directory.path());
    // Timer A sends the INVITE again until SIPp listens.
    gateway.handle.try_send(Command::Invite(wanted)).unwrap();
    let status = loop {
        tokio::select! {
            status = sipp.wait() => break status.unwrap(),
            event = gateway.events.recv() => react(&gateway.handle, &event.unwrap()),
        }
    };
    assert!(status.success(), "{name}: {status}");
}

fn first_leg() -> LegId {
    LegId::from_uuid(uuid::Uuid::from_u128(1))
}

fn hang_up(handle: &task::SipHandle) {
    handle.try_send(Command::Bye { leg: first_leg(), reason: None }).unwrap();
}

#[tokio::test]
async fn a_pbx_rings_reliably_updates_holds_refreshes_and_transfers() {
    for name in [
        "uac_prack",
        "uac_update",
        "uac_session_timer",
        "uac_hold",
        "uac_late_offer",
        "uac_offerless_reinvite",
        "uac_refer",
        "uac_info",
        "uac_replaces_unknown",
    ] {
        inbound(name).await;
    }
}

#[tokio::test]
async fn our_call_is_rung_reliably() {
    outbound("uas_prack", Terms::default(), invite(first_leg()), |handle, event| {
        if let Event::Accepted { sdp, .. } = event {
            assert!(sdp.is_some(), "the answer came with the 183");
            hang_up(handle);
        }
    })
    .await;
}

#[tokio::test]
async fn of_two_callees_that_answer_the_second_gets_a_bye() {
    outbound("uas_forked_200", Terms::default(), invite(first_leg()), |_, event| {
        assert!(!matches!(event, Event::Refused { .. }), "{event:?}");
    })
    .await;
}

#[tokio::test]
async fn our_late_offer_is_answered_in_the_ack() {
    let wanted = OutgoingInvite { offer: None, ..invite(first_leg()) };
    outbound("uas_late_offer", Terms::default(), wanted, |handle, event| {
        if let Event::Accepted { leg, .. } = event {
            handle.try_send(Command::Answer { leg: *leg, sdp: Bytes::from_static(SDP.as_bytes()) }).unwrap();
            hang_up(handle);
        }
    })
    .await;
}

#[tokio::test]
async fn our_reinvite_gets_through_after_a_491() {
    outbound("uas_reinvited", Terms::default(), invite(first_leg()), |handle, event| {
        assert!(!matches!(event, Event::RenegotiationFailed { .. }), "{event:?}");
        if let Event::Accepted { leg, .. } = event {
            handle.try_send(Command::Reinvite { leg: *leg, sdp: Bytes::from_static(SDP.as_bytes()) }).unwrap();
        } else if matches!(event, Event::Renegotiated { .. }) {
            hang_up(handle);
        }
    })
    .await;
}

#[tokio::test]
async fn our_transfer_is_reported_to_its_end() {
    outbound("uas_referred", Terms::default(), invite(first_leg()), |handle, event| {
        if let Event::Accepted { leg, .. } = event {
            let to = ReferTarget { user: "1005".to_owned(), replaces: None };
            handle.try_send(Command::Refer { leg: *leg, to }).unwrap();
        } else if let Event::ReferProgressed { is_over: true, status, .. } = event {
            assert_eq!(*status, StatusCode::OK);
            hang_up(handle);
        }
    })
    .await;
}

#[tokio::test]
async fn a_session_that_is_too_brief_for_the_callee_is_asked_for_longer() {
    let expires = Duration::from_secs(90);
    let terms = Terms { session_timer: SessionTimerPolicy::Require, session_expires: expires, ..Terms::default() };
    outbound("uas_session_timer", terms, invite(first_leg()), |handle, event| {
        if matches!(event, Event::Accepted { .. }) {
            hang_up(handle);
        }
    })
    .await;
}

#[tokio::test]
async fn the_calls_that_the_benchmark_measures_end() {
    let options = "OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP c;branch=z9hG4bK1\r\nFrom: <sip:d@e>;tag=1\r\nTo: <sip:a@b>\r\n\
                   Call-ID: 1\r\nCSeq: 1 OPTIONS\r\n\r\n";
    assert_eq!(bench_side::parse(options.as_bytes()).unwrap().method.as_str(), "OPTIONS");
    let mut pair = bench_side::Pair::new();
    (0..3).for_each(|_| pair.call().unwrap());
    pair.idle(Duration::from_mins(1));
    let mut shells = bench_side::Shells::start().await.unwrap();
    tokio::time::timeout(Duration::from_secs(30), shells.calls(10, 4)).await.unwrap().unwrap();
}
