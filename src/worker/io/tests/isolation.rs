//! One turn, without the thread: what one session does must not touch another.

use rand::SeedableRng;
use rand::rngs::StdRng;
use rustix::event::epoll;

use crate::clock::Clock;
use crate::ids::CallId;
use crate::ids::LegId;
use crate::limits::WORKER_CROSSINGS;
use crate::media::vocabulary;
use crate::webrtc;
use crate::webrtc::Certificate;
use crate::worker::Command;
use crate::worker::Event;
use crate::worker::EventKind;
use crate::worker::TapId;
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
fn a_packet_for_a_partner_that_is_not_there_or_not_joined_is_dropped_and_counted() {
    let clock = Clock::system();
    let now = clock.now();
    let (mut turn, _received) = turn(clock);
    let ((first, leg), (second, other), (absent, _)) = (ids(1), ids(2), ids(3));
    turn.command(Command::OfferPeer { call: first, leg }, now);
    turn.command(Command::OfferPeer { call: second, leg: other }, now);
    // A ringback tone is a packet every 20 ms for whoever is on the near side.
    let ring = |turn: &mut Turn, partner, worker| {
        turn.command(Command::Join { call: first, partner, worker }, now);
        turn.command(Command::SetRingback { call: first, leg, on: false }, now);
        turn.command(Command::SetRingback { call: first, leg, on: true }, now);
        assert!(!turn.take_crossings(now), "none is left");
        turn.uncrossed()
    };
    assert_eq!(ring(&mut turn, second, 0), 1, "that is not joined to us");
    assert_eq!(ring(&mut turn, absent, 0), 2, "there is no such session");
    assert_eq!(ring(&mut turn, second, 1), 3, "there is no such worker");
    turn.command(Command::Join { call: second, partner: first, worker: 0 }, now);
    assert_eq!(ring(&mut turn, second, 0), 3);
}

#[test]
fn a_turn_takes_so_many_packets_of_partners_and_what_finds_no_room_is_dropped() {
    let clock = Clock::system();
    let now = clock.now();
    let (mut turn, _received) = turn(clock);
    let ((first, leg), (second, other)) = (ids(1), ids(2));
    turn.command(Command::OfferPeer { call: first, leg }, now);
    turn.command(Command::OfferPeer { call: second, leg: other }, now);
    turn.command(Command::Join { call: first, partner: second, worker: 0 }, now);
    turn.command(Command::Join { call: second, partner: first, worker: 0 }, now);
    for _ in 0..WORKER_CROSSINGS + 6 {
        turn.command(Command::SetRingback { call: first, leg, on: true }, now);
        turn.command(Command::SetRingback { call: first, leg, on: false }, now);
    }
    assert_eq!(turn.uncrossed(), 6);
    let full_turns = (0..10).take_while(|_| turn.take_crossings(now)).count();
    assert_eq!(full_turns, WORKER_CROSSINGS / 256);
    assert_eq!(turn.uncrossed(), 6, "the others were handed over");
}

#[test]
fn the_end_of_a_tap_is_told_without_a_session_too() {
    let clock = Clock::system();
    let (mut turn, mut received) = turn(clock);
    let (call, _) = ids(1);
    turn.command(Command::StopTap { call, tap: TapId(4) }, clock.now());
    turn.end();
    let event = received.try_recv().unwrap();
    assert!(event.call == call && matches!(event.kind, EventKind::TapStopped { tap: TapId(4) }), "{event:?}");
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
