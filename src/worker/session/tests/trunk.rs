//! From where a trunk's media is taken: addresses, keys, forks.

use super::*;

#[test]
fn forged_and_replayed_srtp_is_counted_and_told_at_most_every_five_seconds() {
    let mut world = World::new();
    let (call, leg) = (world.call, world.bind_trunk());
    let (keys, mut protect, _) = srtp_peer(1);
    world.hand_over(leg, false, TRUNK, &sealed(&mut protect, 0));
    world.command(Command::ConnectTrunk { call, leg, media: TrunkMedia { srtp: Some(keys), ..media() } });
    let good = sealed(&mut protect, 1);
    world.hand_over(leg, false, TRUNK, &good);
    for _ in 0..20 {
        world.hand_over(leg, false, TRUNK, &good);
        world.hand_over(leg, false, TRUNK, &packet(7));
    }
    assert_eq!(world.rejections(MediaRejection::Forged), 1);
    world.pass(Duration::from_secs(5));
    world.hand_over(leg, false, TRUNK, &packet(8));
    assert_eq!(world.rejections(MediaRejection::Forged), 2);
    world.hand_over(leg, false, TRUNK, &sealed(&mut protect, 2));
    world.pass(Duration::from_secs(5));
    let stats = world.stats(leg);
    assert_eq!((stats.packets_received, stats.packets_forged), (2, 41));
    assert_eq!(stats.packets_dropped, 42, "and the one from before the key");
}

#[test]
fn a_new_key_takes_over_while_packets_under_the_old_one_are_on_their_way() {
    let mut world = World::new();
    let (call, leg) = (world.call, world.bind_trunk());
    let (keys, mut old, mut reader) = srtp_peer(1);
    let (next, mut new, _) = srtp_peer(2);
    world.command(Command::ConnectTrunk { call, leg, media: TrunkMedia { srtp: Some(keys.clone()), ..media() } });
    world.command(Command::SetGate { call, gate: Gate { to_trunk: true, to_agent: true } });
    world.hand_over(leg, false, TRUNK, &sealed(&mut old, 1));
    let late = sealed(&mut old, 2);
    // Our own key stays, as in an answer to a re-keying offer.
    let rekeyed = SrtpKeys { send: keys.send, receive: next.receive };
    world.command(Command::ConnectTrunk { call, leg, media: TrunkMedia { srtp: Some(rekeyed), ..media() } });
    world.hand_over(leg, false, TRUNK, &late);
    world.hand_over(leg, false, TRUNK, &sealed(&mut new, 3));
    let stale = sealed(&mut old, 4);
    world.hand_over(leg, false, TRUNK, &stale);
    for _ in 0..400 {
        world.pass(Duration::from_millis(20));
    }
    let stats = world.stats(leg);
    assert_eq!((stats.packets_received, stats.packets_forged), (3, 1), "the old key ends with the first under the new");
    for (bytes, (_, from_rtcp, _)) in world.trunk_bytes.iter_mut().zip(&world.to_trunk) {
        let opened = if *from_rtcp { reader.rtcp(bytes) } else { reader.rtp(bytes) };
        assert!(opened.is_ok(), "{opened:?}");
    }
    assert!(world.to_trunk.iter().any(|(_, from_rtcp, _)| *from_rtcp) && world.to_trunk.len() > 20);
}

#[test]
fn another_port_of_the_host_is_taken_only_where_same_host_says_so() {
    for (source, taken) in [(MediaSource::Exact, 0), (MediaSource::SameHost, 1)] {
        let mut world = World::new();
        let (call, leg) = (world.call, world.bind_trunk());
        world.command(Command::ConnectTrunk { call, leg, media: TrunkMedia { source, ..media() } });
        world.hand_over(leg, false, "192.0.2.9:7777", &packet(1));
        world.hand_over(leg, false, "192.0.2.10:6000", &packet(2));
        world.pass(Duration::from_secs(5));
        let stats = world.stats(leg);
        assert_eq!((stats.packets_received, stats.packets_from_unexpected_source), (taken, 2 - taken));
        assert_eq!(world.rejections(MediaRejection::UnexpectedSource), 1);
    }
}

#[test]
fn a_symmetric_leg_locks_onto_the_first_true_source_of_its_networks() {
    let mut world = World::new();
    let (call, leg) = (world.call, world.bind_trunk());
    let network = MediaNetwork { address: "198.51.100.0".parse().unwrap(), prefix_len: 24 };
    let symmetric = TrunkMedia { source: MediaSource::Symmetric([network].into()), ..media() };
    world.command(Command::ConnectTrunk { call, leg, media: symmetric.clone() });
    world.command(Command::SetGate { call, gate: Gate { to_trunk: true, to_agent: true } });
    world.hand_over(leg, false, "203.0.113.1:9", &packet(1));
    world.hand_over(leg, false, "198.51.100.66:9", b"no RTP");
    world.hand_over(leg, false, "198.51.100.7:4444", &packet(1));
    world.hand_over(leg, false, "198.51.100.8:4444", &packet(2));
    world.hand_over(leg, false, "198.51.100.7:4444", &packet(2));
    world.pass(Duration::from_secs(10));
    let stats = world.stats(leg);
    assert_eq!((stats.packets_received, stats.packets_from_unexpected_source), (2, 2));
    assert_eq!(world.sent_to(false), Some(address("198.51.100.7:4444")));
    assert_eq!(world.sent_to(true), Some(address("198.51.100.7:4445")));
    // A negotiated move begins anew.
    world.command(Command::ConnectTrunk {
        call,
        leg,
        media: TrunkMedia { remote: address("192.0.2.9:6100"), ..symmetric },
    });
    world.hand_over(leg, false, "198.51.100.8:4444", &packet(3));
    world.pass(Duration::from_secs(1));
    assert_eq!(world.sent_to(false), Some(address("198.51.100.8:4444")));
}

#[test]
fn a_forged_packet_locks_nothing() {
    let mut world = World::new();
    let (call, leg) = (world.call, world.bind_trunk());
    let (keys, mut protect, _) = srtp_peer(1);
    let network = MediaNetwork { address: "198.51.100.0".parse().unwrap(), prefix_len: 24 };
    let source = MediaSource::Symmetric([network].into());
    world.command(Command::ConnectTrunk { call, leg, media: TrunkMedia { srtp: Some(keys), source, ..media() } });
    world.command(Command::SetGate { call, gate: Gate { to_trunk: true, to_agent: true } });
    world.hand_over(leg, false, "198.51.100.66:9", &packet(1));
    world.hand_over(leg, false, "198.51.100.7:4444", &sealed(&mut protect, 1));
    world.pass(Duration::from_secs(1));
    assert_eq!(world.sent_to(false), Some(address("198.51.100.7:4444")));
}

#[test]
fn of_several_forks_the_last_to_begin_is_heard_until_it_falls_silent() {
    let mut world = World::new();
    let (call, leg) = (world.call, world.bind_trunk());
    let fork = |port: u16| {
        let remote = SocketAddr::new(media().remote.ip(), port);
        TrunkMedia { remote, remote_rtcp: SocketAddr::new(remote.ip(), port + 1), ..media() }
    };
    for port in [6_000, 6_100] {
        world.command(Command::HearFork { call, leg, media: fork(port) });
    }
    let mut sequence = 0;
    let mut taken = |world: &mut World, source: &str| {
        let before = world.session.pipeline.trunk_stats().packets_received;
        sequence += 1;
        world.hand_over(leg, false, source, &packet(sequence));
        world.pass(Duration::from_millis(20));
        world.session.pipeline.trunk_stats().packets_received > before
    };
    let (first, second) = ("192.0.2.9:6000", "192.0.2.9:6100");
    assert!(taken(&mut world, first));
    assert!(taken(&mut world, second), "the second begins, and is heard");
    for _ in 0..3 {
        assert!(!taken(&mut world, first), "the first goes on in vain");
        assert!(taken(&mut world, second));
    }
    world.pass(Duration::from_secs(2));
    assert!(taken(&mut world, first), "the second has fallen silent");
    assert!(!taken(&mut world, "192.0.2.9:6200"), "a stranger is none of them");
    // The answer settles it: the other fork is a stranger from now on.
    world.command(Command::ConnectTrunk { call, leg, media: fork(6_100) });
    world.pass(Duration::from_secs(5));
    assert!(!taken(&mut world, first));
    assert!(taken(&mut world, second));
    assert!(world.rejections(MediaRejection::UnexpectedSource) > 0);
}

#[test]
fn a_packet_of_a_forks_address_turns_to_it_only_where_it_opens_under_its_key() {
    let mut world = World::new();
    let (call, leg) = (world.call, world.bind_trunk());
    let (first_keys, mut first, _) = srtp_peer(1);
    let (second_keys, mut second, _) = srtp_peer(2);
    // One offer of ours, so one key of ours; each fork answered with its own.
    let second_keys = SrtpKeys { send: first_keys.send.clone(), receive: second_keys.receive };
    let fork = |port: u16, keys: &SrtpKeys| {
        let remote = SocketAddr::new(media().remote.ip(), port);
        let remote_rtcp = SocketAddr::new(remote.ip(), port + 1);
        TrunkMedia { remote, remote_rtcp, srtp: Some(keys.clone()), ..media() }
    };
    world.command(Command::HearFork { call, leg, media: fork(6_000, &first_keys) });
    world.command(Command::HearFork { call, leg, media: fork(6_100, &second_keys) });
    let taken = |world: &mut World, source: &str, bytes: &[u8]| {
        let before = world.session.pipeline.trunk_stats().packets_received;
        world.hand_over(leg, false, source, bytes);
        world.pass(Duration::from_millis(20));
        world.session.pipeline.trunk_stats().packets_received > before
    };
    let (one, two) = ("192.0.2.9:6000", "192.0.2.9:6100");
    assert!(taken(&mut world, one, &sealed(&mut first, 1)));
    // In the clear, and under the other's key: neither turns to the second.
    assert!(!taken(&mut world, two, &packet(1)));
    assert!(!taken(&mut world, two, &sealed(&mut first, 2)));
    assert_eq!(world.rejections(MediaRejection::Forged), 1, "told once in a while");
    assert!(taken(&mut world, one, &sealed(&mut first, 3)), "the first is heard as before");
    let recorded = sealed(&mut second, 4);
    assert!(taken(&mut world, two, &recorded), "its own packet does");
    assert!(taken(&mut world, two, &sealed(&mut second, 5)));
    assert!(!taken(&mut world, one, &sealed(&mut first, 6)), "the first goes on in vain");
    // The second falls silent, and the first is heard again: what was recorded of the second is no sign of life.
    world.pass(Duration::from_secs(3));
    assert!(taken(&mut world, one, &sealed(&mut first, 7)));
    world.pass(Duration::from_secs(3));
    assert!(!taken(&mut world, two, &recorded), "a replay");
    assert!(taken(&mut world, one, &sealed(&mut first, 8)));
    // The second answers: it goes on under its key, and its replays are known.
    world.command(Command::ConnectTrunk { call, leg, media: fork(6_100, &second_keys) });
    assert!(!taken(&mut world, two, &recorded), "still a replay");
    assert!(taken(&mut world, two, &sealed(&mut second, 9)));
    world.pass(Duration::from_secs(5));
    assert_eq!(world.stats(leg).packets_forged, 4, "two strangers and two replays");
}
