//! Agent → trunk: tones, loss, order, DTX, ptime, continuity.

use super::bench::AUDIO;
use super::bench::Bench;
use super::bench::amplitude;
use super::bench::loudness;
use crate::codec::TrunkCodec;
use crate::codec::g711::Law;
use crate::codec::opus;
use crate::media::tap::TapChannel;
use crate::media::vocabulary::PeerPacket;
use crate::media::vocabulary::PeerPayload;
use crate::media::vocabulary::TrunkAudio;

#[test]
fn a_tone_of_the_browser_is_heard_at_the_trunk_in_both_laws() {
    for (codec, law, payload_type) in [(TrunkCodec::Pcmu, Law::Mu, 0), (TrunkCodec::Pcma, Law::A, 8)] {
        let mut bench = Bench::in_call(TrunkAudio { codec, payload_type, ..AUDIO });
        bench.browser_talks(100);
        let heard = bench.heard_at_trunk(law);
        assert!(bench.to_trunk.iter().all(|sent| sent.header.payload_type == payload_type));
        let middle = &heard[4_000..12_000];
        assert!((6_500.0..9_500.0).contains(&amplitude(middle, 440.0)), "{}", amplitude(middle, 440.0));
        assert!(amplitude(middle, 1_000.0) < 100.0);
    }
}

#[test]
fn audio_is_passed_on_at_its_arrival() {
    let mut bench = Bench::in_call(AUDIO);
    bench.browser_talks(10);
    for sent in &bench.to_trunk[2..] {
        assert_eq!(sent.at_ms % 20, 0, "no waiting for a playout buffer");
    }
    let before = bench.to_trunk.len();
    let frame = bench.browser_frame();
    bench.browser_sends(&frame);
    assert_eq!(bench.to_trunk.len(), before + 1);
}

#[test]
fn every_ptime_gives_packets_of_its_length() {
    for ptime_ms in [10, 20, 30, 40, 60] {
        let mut bench = Bench::in_call(TrunkAudio { ptime_ms, ..AUDIO });
        bench.browser_talks(60);
        let heard = bench.heard_at_trunk(Law::Mu);
        assert!(bench.to_trunk.iter().all(|sent| sent.payload.len() == usize::from(ptime_ms) * 8));
        assert!(heard.len() >= 59 * 160, "{ptime_ms}: {}", heard.len());
        assert!(amplitude(&heard[2_000..8_000], 440.0) > 6_500.0);
    }
}

#[test]
fn a_single_loss_is_recovered_from_the_next_packet_sample_by_sample() {
    let mut bench = Bench::in_call(AUDIO);
    bench.browser.set_loss(10).unwrap();
    let mut decoder = opus::Decoder::new().unwrap();
    let (mut expected, mut lost) = (Vec::new(), false);
    for index in 0..100 {
        let frame = bench.browser_frame();
        if index % 10 == 9 {
            lost = true;
        } else {
            if std::mem::take(&mut lost) {
                let mut recovered = [0; 160];
                decoder.recover(&frame.2, &mut recovered).unwrap();
                expected.extend(recovered);
            }
            let mut pcm = [0; 960];
            let len = decoder.decode(&frame.2, &mut pcm).unwrap();
            expected.extend(&pcm[..len]);
            bench.browser_sends(&frame);
        }
        bench.wait(20);
    }
    let heard = bench.heard_at_trunk(Law::Mu);
    let expected: Vec<i16> = expected.into_iter().map(|sample| Law::Mu.decode(Law::Mu.encode(sample))).collect();
    assert_eq!(bench.pipeline.peer_stats().packets_lost, 9);
    let before = heard.len() - expected.len();
    assert!(before <= 320, "only silence came before: {before}");
    assert_eq!(heard[before..], expected);
    let (_, _, made) = bench.tapped(TapChannel::Sent);
    assert_eq!(made, 9 * 160 + before);
}

#[test]
fn gaps_of_up_to_five_are_concealed_and_time_is_kept_through_longer_ones() {
    for gap in [2, 3, 5, 8, 50] {
        let mut bench = Bench::in_call(AUDIO);
        bench.browser_talks(50);
        for _ in 0..gap {
            bench.browser_frame();
            bench.wait(20);
        }
        bench.browser_talks(50);
        let heard = bench.heard_at_trunk(Law::Mu);
        let expected = (100 + gap) * 160;
        assert!(heard.len().abs_diff(expected) <= 480, "{gap}: {} for {expected}", heard.len());
        assert!(amplitude(&heard[heard.len() - 4_000..], 440.0) > 6_500.0);
    }
}

#[test]
fn a_swapped_pair_and_duplicates_sound_as_if_nothing_had_happened() {
    let mut bench = Bench::in_call(AUDIO);
    bench.browser_talks(20);
    for _ in 0..20 {
        let (first, second) = (bench.browser_frame(), bench.browser_frame());
        bench.wait(20);
        bench.browser_sends(&second);
        bench.browser_sends(&first);
        bench.browser_sends(&second);
        bench.wait(20);
    }
    let heard = bench.heard_at_trunk(Law::Mu);
    assert_eq!(bench.pipeline.peer_stats().packets_lost, 0);
    let (_, _, made) = bench.tapped(TapChannel::Sent);
    assert!(made <= 3 * 160, "{made}");
    assert!(heard[3_200..].chunks(160).all(|frame| loudness(frame) > 4_000.0));
}

#[test]
fn dtx_is_silence_and_keeps_the_time() {
    let mut bench = Bench::in_call(AUDIO);
    bench.browser_talks(50);
    // The browser is silent for two seconds: no packets, no gap in the sequence.
    bench.browser_timestamp = bench.browser_timestamp.wrapping_add(96_000);
    let before = bench.to_trunk.len();
    bench.wait(2_000);
    assert!(bench.to_trunk.len() - before >= 96, "packets go on flowing: {}", bench.to_trunk.len() - before);
    bench.browser_talks(50);
    let heard = bench.heard_at_trunk(Law::Mu);
    assert!(heard.len().abs_diff(200 * 160) <= 480, "{}", heard.len());
    assert_eq!(bench.pipeline.peer_stats().packets_lost, 0);
    assert!(amplitude(&heard[heard.len() - 4_000..], 440.0) > 6_500.0);
}

#[test]
fn a_late_burst_does_not_stretch_time() {
    let mut bench = Bench::in_call(AUDIO);
    bench.browser_talks(50);
    let late: Vec<_> = (0..10).map(|_| bench.browser_frame()).collect();
    bench.wait(200);
    for frame in &late {
        bench.browser_sends(frame);
    }
    bench.browser_talks(100);
    let heard = bench.heard_at_trunk(Law::Mu);
    assert!(heard.len().abs_diff(160 * 160) <= 480, "{}", heard.len());
}

#[test]
fn another_ssrc_or_a_jump_begins_a_new_epoch_on_the_same_line() {
    let mut bench = Bench::in_call(AUDIO);
    bench.browser_talks(50);
    bench.browser_ssrc = 99;
    bench.browser_sequence = 3;
    bench.browser_timestamp = 77;
    bench.browser_talks(50);
    bench.browser_timestamp = bench.browser_timestamp.wrapping_add(1 << 30);
    bench.browser_talks(50);
    let heard = bench.heard_at_trunk(Law::Mu);
    assert!(heard.len().abs_diff(150 * 160) <= 480, "{}", heard.len());
    let last = bench.tap.iter().rfind(|frame| frame.channel == TapChannel::Sent).unwrap();
    assert_eq!(last.epoch, 2);
}

#[test]
fn before_the_browser_speaks_the_trunk_gets_quiet_packets() {
    let mut bench = Bench::in_call(AUDIO);
    bench.wait(1_000);
    let heard = bench.heard_at_trunk(Law::Mu);
    assert!((49..=52).contains(&bench.to_trunk.len()), "{}", bench.to_trunk.len());
    assert!(loudness(&heard) < 40.0);
    assert!(bench.to_trunk[0].header.marker);
}

#[test]
fn a_g711_browser_is_heard_too() {
    let mut bench = Bench::in_call(AUDIO);
    for _ in 0..50 {
        let (sequence, timestamp, codes) = bench.trunk_frame::<160>(Law::A);
        let packet =
            PeerPacket { ssrc: 1, sequence, timestamp, marker: false, kind: PeerPayload::Pcma, payload: &codes };
        bench.pipeline.handle_peer_rtp(packet, bench.now);
        bench.drain();
        bench.wait(20);
    }
    let heard = bench.heard_at_trunk(Law::Mu);
    assert!((7_500.0..8_500.0).contains(&amplitude(&heard[800..7_000], 1_000.0)));
}
