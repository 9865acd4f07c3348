//! Trunk → agent: tones, loss, silence, ringback.

use super::bench::AUDIO;
use super::bench::Bench;
use super::bench::amplitude;
use super::bench::loudness;
use crate::codec::TrunkCodec;
use crate::codec::g711::Law;
use crate::media::tap::TapChannel;
use crate::media::tap::TapId;
use crate::media::vocabulary::Output;
use crate::media::vocabulary::PeerAudio;
use crate::media::vocabulary::PeerCodec;
use crate::media::vocabulary::PeerPayload;
use crate::media::vocabulary::TrunkAudio;

fn trunk_talks<const N: usize>(bench: &mut Bench, packets: usize, law: Law) {
    for _ in 0..packets {
        let (sequence, timestamp, codes) = bench.trunk_frame::<N>(law);
        bench.trunk_sends(0, sequence, timestamp, &codes);
        bench.wait(N as u64 / 8);
    }
}

#[test]
fn a_tone_of_the_trunk_is_heard_at_the_browser_and_on_the_tap() {
    for (codec, law) in [(TrunkCodec::Pcmu, Law::Mu), (TrunkCodec::Pcma, Law::A)] {
        let mut bench = Bench::in_call(TrunkAudio { codec, ..AUDIO });
        trunk_talks::<160>(&mut bench, 100, law);
        let heard = bench.heard_at_browser();
        assert!((6_500.0..9_500.0).contains(&amplitude(&heard[4_000..12_000], 1_000.0)));
        assert!(amplitude(&heard[4_000..12_000], 440.0) < 100.0);
        let (_, tapped, made) = bench.tapped(TapChannel::Heard);
        assert_eq!((tapped.len(), made), (16_000, 0));
        assert!((7_800.0..8_200.0).contains(&amplitude(&tapped, 1_000.0)));
    }
}

#[test]
fn every_packet_length_of_the_trunk_becomes_frames_of_twenty_milliseconds() {
    fn run<const N: usize>() {
        let mut bench = Bench::in_call(AUDIO);
        trunk_talks::<N>(&mut bench, 24_000 / N, Law::Mu);
        assert_eq!(bench.to_peer.len(), 150, "{N}");
        for pair in bench.to_peer.windows(2) {
            assert_eq!(pair[1].sequence, pair[0].sequence + 1);
            assert_eq!(pair[1].timestamp.wrapping_sub(pair[0].timestamp), 960);
        }
        assert!(amplitude(&bench.heard_at_browser()[8_000..16_000], 1_000.0) > 6_500.0);
    }
    run::<80>();
    run::<160>();
    run::<240>();
    run::<320>();
    run::<480>();
}

#[test]
fn a_loss_on_the_trunk_is_a_gap_for_the_browser_and_concealed_for_the_tap() {
    let mut bench = Bench::in_call(AUDIO);
    trunk_talks::<160>(&mut bench, 20, Law::Mu);
    for _ in 0..3 {
        bench.trunk_frame::<160>(Law::Mu);
        bench.wait(20);
    }
    trunk_talks::<160>(&mut bench, 20, Law::Mu);
    bench.wait(30);
    assert_eq!(bench.to_peer.len(), 40);
    let (before, after) = (&bench.to_peer[19], &bench.to_peer[20]);
    assert_eq!(after.sequence - before.sequence, 4);
    assert_eq!(after.timestamp.wrapping_sub(before.timestamp), 4 * 960);
    assert_eq!(bench.pipeline.trunk_stats().packets_lost, 3);
    let (_, tapped, made) = bench.tapped(TapChannel::Heard);
    assert_eq!((tapped.len(), made), (43 * 160, 480));
    assert!(loudness(&tapped[20 * 160..21 * 160]) > 3_000.0);
}

#[test]
fn silence_of_the_trunk_is_a_later_timestamp_and_no_loss() {
    let mut bench = Bench::in_call(AUDIO);
    trunk_talks::<160>(&mut bench, 20, Law::Mu);
    bench.wait(3_000);
    bench.trunk_timestamp = bench.trunk_timestamp.wrapping_add(24_000);
    trunk_talks::<160>(&mut bench, 20, Law::Mu);
    let (before, after) = (&bench.to_peer[19], &bench.to_peer[20]);
    assert_eq!(after.sequence - before.sequence, 1);
    assert!(after.marker);
    assert_eq!(after.timestamp.wrapping_sub(before.timestamp), (24_000 + 160) * 6);
    assert_eq!(bench.tap.iter().map(|frame| frame.epoch).max(), Some(0));
}

#[test]
fn timestamps_that_make_no_sense_begin_a_new_epoch_and_are_heard() {
    let mut bench = Bench::in_call(AUDIO);
    trunk_talks::<160>(&mut bench, 20, Law::Mu);
    bench.trunk_timestamp = bench.trunk_timestamp.wrapping_add(1 << 30);
    trunk_talks::<160>(&mut bench, 20, Law::Mu);
    bench.trunk_timestamp = bench.trunk_timestamp.wrapping_sub(1 << 29);
    trunk_talks::<160>(&mut bench, 20, Law::Mu);
    bench.trunk_ssrc = 5;
    trunk_talks::<160>(&mut bench, 20, Law::Mu);
    let last = bench.tap.iter().rfind(|frame| frame.channel == TapChannel::Heard).unwrap();
    assert_eq!(last.epoch, 3);
    let (first, last) = (bench.to_peer.first().unwrap(), bench.to_peer.last().unwrap());
    let span = last.timestamp.wrapping_sub(first.timestamp) / 6;
    assert!(span.abs_diff(79 * 160) <= 320, "time went on as on the clock: {span}");
}

#[test]
fn a_sender_whose_timestamp_stands_still_is_heard() {
    let mut bench = Bench::in_call(AUDIO);
    for _ in 0..50 {
        let (sequence, _, codes) = bench.trunk_frame::<160>(Law::Mu);
        bench.trunk_sends(0, sequence, 4_000, &codes);
        bench.wait(20);
    }
    assert!(bench.to_peer.len() >= 45, "{}", bench.to_peer.len());
}

#[test]
fn the_ringback_tone_plays_until_the_trunk_is_heard() {
    let mut bench = Bench::new();
    bench.pipeline.start_tap(TapId(1), bench.now);
    bench.pipeline.connect_trunk(AUDIO, bench.now);
    bench.pipeline.set_ringback(true, bench.now);
    bench.drain();
    bench.wait(5_980);
    assert_eq!(bench.to_peer.len(), 300);
    let heard = bench.heard_at_browser();
    // −20 dBm0 is an amplitude of 2274.
    assert!((1_800.0..2_700.0).contains(&amplitude(&heard[1_600..7_200], 425.0)));
    assert!(loudness(&heard[9_600..39_000]) < 20.0);
    assert!(amplitude(&heard[40_800..47_000], 425.0) > 1_800.0);
    bench.pipeline.set_gate(false, true, bench.now);
    trunk_talks::<160>(&mut bench, 50, Law::Mu);
    assert_eq!(bench.to_peer.len(), 350, "the tone has stopped");
    assert!(bench.to_peer.windows(2).all(|pair| pair[1].sequence == pair[0].sequence + 1));
    assert!(matches!(bench.events[..], [Output::TrunkMediaStarted]));
    assert!(bench.to_trunk.is_empty(), "early media goes one way");
    let heard = bench.heard_at_browser();
    assert!(amplitude(&heard[heard.len() - 4_000..], 1_000.0) > 6_500.0);
}

#[test]
fn the_ringback_tone_is_back_after_two_seconds_without_the_trunk() {
    let mut bench = Bench::new();
    bench.pipeline.connect_trunk(AUDIO, bench.now);
    bench.pipeline.set_gate(false, true, bench.now);
    bench.pipeline.set_ringback(true, bench.now);
    trunk_talks::<160>(&mut bench, 50, Law::Mu);
    let spoken = bench.to_peer.len();
    bench.wait(1_900);
    assert_eq!(bench.to_peer.len(), spoken, "an announcement may pause");
    bench.wait(1_000);
    assert!(bench.to_peer.len() > spoken + 40, "{} of {spoken}", bench.to_peer.len());
    let heard = bench.heard_at_browser();
    assert!(amplitude(&heard[heard.len() - 4_000..], 425.0) > 1_800.0, "from the beginning of the tone");
    let before = bench.to_peer.len();
    trunk_talks::<160>(&mut bench, 50, Law::Mu);
    assert_eq!(bench.to_peer.len(), before + 50, "and gives way again");
}

#[test]
fn ringback_ends_when_it_is_told_to() {
    let mut bench = Bench::new();
    bench.pipeline.set_ringback(true, bench.now);
    bench.wait(200);
    bench.pipeline.set_ringback(false, bench.now);
    bench.drain();
    let sent = bench.to_peer.len();
    bench.wait(1_000);
    assert_eq!(bench.to_peer.len(), sent);
}

#[test]
fn a_g711_browser_gets_g711() {
    let mut bench = Bench::in_call(AUDIO);
    bench.pipeline.connect_peer(PeerAudio { codec: PeerCodec::Pcma, telephone_event: false }, bench.now);
    trunk_talks::<160>(&mut bench, 50, Law::Mu);
    assert!(bench.to_peer.iter().all(|packet| packet.kind == PeerPayload::Pcma && packet.payload.len() == 160));
    assert_eq!(bench.to_peer[1].timestamp.wrapping_sub(bench.to_peer[0].timestamp), 160);
    let heard: Vec<i16> =
        bench.to_peer.iter().flat_map(|p| p.payload.to_vec()).map(|code| Law::A.decode(code)).collect();
    assert!((7_700.0..8_300.0).contains(&amplitude(&heard, 1_000.0)));
}
