//! One turn, without the thread: what one session does must not touch another.

use rand::SeedableRng;
use rand::rngs::StdRng;
use rustix::event::epoll;

use crate::clock::Clock;
use crate::ids::CallId;
use crate::ids::LegId;
use crate::media::vocabulary;
use crate::webrtc;
use crate::webrtc::Certificate;
use crate::worker::Command;
use crate::worker::Event;
use crate::worker::EventKind;
use crate::worker::io::Config;
use crate::worker::io::Outlets;
use crate::worker::io::Partners;
use crate::worker::io::partners;
use crate::worker::io::ring;
use crate::worker::io::turn::Turn;
use crate::worker::session;

/// The only worker of its node.
fn alone() -> Partners {
    partners(1).unwrap().remove(0)
}

fn turn(clock: Clock) -> (Turn, tokio::sync::mpsc::Receiver<Event>) {
    let (events, received) = tokio::sync::mpsc::channel(8);
    let (tap, _) = ring();
    let peer = webrtc::Config::new(Certificate::generate().unwrap(), vec!["127.0.0.1:4000".parse().unwrap()]);
    let session = session::Config { peer, media: vocabulary::Config::default() };
    let queue = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    let rng = StdRng::seed_from_u64(3);
    (
        Turn::new(Config::default(), session, rng, queue, Outlets { events, tap, partners: alone() }, clock.now()),
        received,
    )
}

fn ids(seed: u64) -> (CallId, LegId) {
    let mut rng = StdRng::seed_from_u64(seed);
    (CallId::generate(seed, &mut rng), LegId::generate(seed, &mut rng))
}

#[test]
fn a_session_that_panics_ends_alone() {
    let clock = Clock::system();
    let now = clock.now();
    let (mut turn, mut received) = turn(clock);
    let ((first, first_leg), (second, second_leg)) = (ids(1), ids(2));
    turn.command(Command::OfferPeer { call: first, leg: first_leg }, now);
    turn.command(Command::OfferPeer { call: second, leg: second_leg }, now);
    turn.with_session(first, now, |_| panic!("on purpose"));
    turn.command(Command::Close { call: second }, now);
    turn.end();
    let mut seen = Vec::new();
    while let Ok(event) = received.try_recv() {
        seen.push((event.call, std::mem::discriminant(&event.kind)));
    }
    let kind = |kind: &EventKind| std::mem::discriminant(kind);
    let offered = kind(&EventKind::PeerOffered { sdp: String::new() });
    let failed = kind(&EventKind::LegFailed { reason: crate::worker::LegFailure::WorkerFull });
    let stats = kind(&EventKind::Stats(crate::worker::LegStats::default()));
    let closed = kind(&EventKind::Closed);
    assert_eq!(
        seen,
        [(first, offered), (second, offered), (first, failed), (first, closed), (second, stats), (second, closed)]
    );
}

#[test]
fn events_that_nobody_takes_wait_in_order() {
    let clock = Clock::system();
    let now = clock.now();
    let (mut turn, mut received) = turn(clock);
    let calls: Vec<_> = (0..20).map(ids).collect();
    for (call, leg) in &calls {
        turn.command(Command::OfferPeer { call: *call, leg: *leg }, now);
    }
    turn.end();
    assert!(turn.sleep(now).is_some_and(|sleep| sleep.as_millis() <= 5), "it tries again soon");
    let mut seen = Vec::new();
    while seen.len() < 20 {
        let event = received.try_recv().expect("an event a turn");
        seen.push(event.call);
        turn.end();
    }
    assert_eq!(seen, calls.iter().map(|(call, _)| *call).collect::<Vec<_>>());
}

#[test]
fn one_handshake_begins_a_turn_and_the_others_wait() {
    let clock = Clock::system();
    let now = clock.now();
    let (mut turn, _received) = turn(clock);
    for seed in 1..=3 {
        let (call, leg) = ids(seed);
        turn.command(Command::OfferPeer { call, leg }, now);
    }
    let hello = [22; 100];
    let source = "127.0.0.9:9".parse().unwrap();
    turn.begin(now);
    for seed in 1..=3 {
        turn.deliver(ids(seed), source, "127.0.0.1:4000".parse().unwrap(), &hello, now);
    }
    assert_eq!(turn.deferred_handshakes(), 2);
    assert!(turn.sleep(now).is_some_and(|sleep| sleep.is_zero()));
    turn.begin(now);
    assert_eq!(turn.deferred_handshakes(), 1);
    turn.begin(now);
    turn.begin(now);
    assert_eq!(turn.deferred_handshakes(), 0);
}
