//! What may cross, and that the tap shows just that.

use proptest::prelude::*;

use super::bench::AUDIO;
use super::bench::Bench;
use super::bench::amplitude;
use super::bench::loudness;
use crate::codec::g711::Law;
use crate::media::outputs::OUTPUTS_MAX;
use crate::media::tap::TapChannel;
use crate::media::tap::TapId;
use crate::media::vocabulary::MediaTimer;
use crate::media::vocabulary::PeerPacket;
use crate::media::vocabulary::PeerPayload;
use crate::media::vocabulary::TrunkAudio;

#[test]
fn nothing_crosses_a_closed_gate() {
    let mut bench = Bench::new();
    bench.pipeline.start_tap(TapId(1), bench.now);
    bench.pipeline.connect_trunk(AUDIO, bench.now);
    bench.talk(50);
    assert!(bench.to_trunk.is_empty());
    assert!(bench.to_peer.is_empty());
    assert!(bench.tap.is_empty());
    assert_eq!(bench.pipeline.peer_stats().packets_received, 50);
    assert_eq!(bench.pipeline.trunk_stats().packets_received, 50);
}

#[test]
fn early_media_goes_to_the_agent_alone() {
    let mut bench = Bench::new();
    bench.pipeline.start_tap(TapId(1), bench.now);
    bench.pipeline.connect_trunk(AUDIO, bench.now);
    bench.pipeline.set_gate(false, true, bench.now);
    bench.talk(50);
    assert!(bench.to_trunk.is_empty());
    assert_eq!(bench.to_peer.len(), 50);
    assert!(bench.tap.iter().all(|frame| frame.channel == TapChannel::Heard));
}

#[test]
fn a_gate_that_closes_and_opens_again_keeps_the_line_and_the_time() {
    let mut bench = Bench::in_call(AUDIO);
    bench.talk(50);
    bench.pipeline.set_gate(false, false, bench.now);
    let sent = bench.to_trunk.len();
    bench.talk(50);
    assert_eq!(bench.to_trunk.len(), sent);
    bench.pipeline.set_gate(true, true, bench.now);
    bench.talk(50);
    let (before, after) = (&bench.to_trunk[sent - 1], &bench.to_trunk[sent]);
    assert_eq!(after.header.sequence, before.header.sequence.wrapping_add(1));
    let passed = after.header.timestamp.wrapping_sub(before.header.timestamp);
    assert!(passed.abs_diff(51 * 160) <= 320, "{passed}");
    assert!(after.header.marker);
}

#[test]
fn both_directions_are_tapped_at_their_level_and_in_line_with_each_other() {
    let mut bench = Bench::in_call(AUDIO);
    // Silence first, then both tones begin in the same moment.
    let (browser, trunk) = (bench.browser_hz, bench.trunk_hz);
    (bench.browser_hz, bench.trunk_hz) = (0.0, 0.0);
    bench.talk(50);
    (bench.browser_hz, bench.trunk_hz) = (browser, trunk);
    bench.talk(100);
    let onset = |channel| {
        let (first, samples, _) = bench.tapped(channel);
        let at = samples.iter().position(|sample| sample.abs() > 2_000).unwrap();
        (first, at, samples)
    };
    let (_, sent_at, sent) = onset(TapChannel::Sent);
    let (_, heard_at, heard) = onset(TapChannel::Heard);
    assert!(sent_at.abs_diff(heard_at) <= 40 * 8, "{sent_at} {heard_at}");
    assert!((6_500.0..9_500.0).contains(&amplitude(&sent[sent_at + 800..sent_at + 8_800], 440.0)));
    assert!((7_800.0..8_200.0).contains(&amplitude(&heard[heard_at + 800..heard_at + 8_800], 1_000.0)));
    // What the tap has is what the trunk hears, but for G.711's own rounding.
    let at_trunk = bench.heard_at_trunk(Law::Mu);
    for (tapped, crossed) in sent.iter().zip(&at_trunk) {
        assert_eq!(Law::Mu.decode(Law::Mu.encode(*tapped)), *crossed);
    }
}

#[test]
fn a_muted_agent_is_silence_on_the_trunk_and_on_the_tap() {
    let mut bench = Bench::in_call(AUDIO);
    bench.talk(50);
    bench.pipeline.set_muted(true, bench.now);
    let (sent, tapped) = (bench.to_trunk.len(), bench.tap.len());
    bench.talk(25);
    bench.wait(500);
    assert!(bench.to_trunk.len() - sent >= 46, "time is kept with and without packets of the browser");
    assert!(bench.to_trunk[sent..].iter().flat_map(|sent| &sent.payload).all(|code| *code == Law::Mu.silence()));
    for frame in bench.tap[tapped..].iter().filter(|frame| frame.channel == TapChannel::Sent) {
        let crate::media::tap::TapBody::Pcm8k { samples, .. } = &frame.body else { panic!("no hold") };
        assert!(samples.as_slice().iter().all(|sample| *sample == 0));
    }
    bench.pipeline.set_muted(false, bench.now);
    bench.browser_timestamp = bench.browser_timestamp.wrapping_add(24_000);
    bench.talk(50);
    let heard = bench.heard_at_trunk(Law::Mu);
    assert!(loudness(&heard[heard.len() - 1_600..]) > 4_000.0);
}

#[test]
fn hold_is_told_to_the_tap_and_is_no_loss_and_no_timeout() {
    let mut bench = Bench::in_call(AUDIO);
    bench.talk(10);
    bench.pipeline.connect_trunk(TrunkAudio { receive: false, ..AUDIO }, bench.now);
    bench.drain();
    assert_eq!((bench.holds(TapChannel::Sent), bench.holds(TapChannel::Heard)), (vec![], vec![true]));
    bench.pipeline.connect_trunk(TrunkAudio { receive: false, send: false, ..AUDIO }, bench.now);
    bench.drain();
    let sent = bench.to_trunk.len();
    bench.wait(200_000);
    assert_eq!(bench.to_trunk.len(), sent);
    assert!(bench.events.iter().all(|event| !matches!(event, crate::media::vocabulary::Output::MediaTimeout { .. })));
    bench.pipeline.start_tap(TapId(2), bench.now);
    bench.pipeline.connect_trunk(AUDIO, bench.now);
    bench.drain();
    assert_eq!(bench.holds(TapChannel::Sent), [true, true, false]);
    assert_eq!(bench.holds(TapChannel::Heard), [true, true, false]);
    bench.trunk_timestamp = bench.trunk_timestamp.wrapping_add(1_600_000);
    bench.browser_timestamp = bench.browser_timestamp.wrapping_add(9_600_000);
    bench.talk(50);
    assert_eq!(bench.pipeline.trunk_stats().packets_lost, 0);
    assert!(amplitude(&bench.heard_at_browser()[3_200..], 1_000.0) > 6_000.0);
}

#[test]
fn what_is_due_says_its_name() {
    let mut bench = Bench::in_call(AUDIO);
    assert_eq!(bench.pipeline.poll_timeout().unwrap().1, MediaTimer::Fill);
    bench.pipeline.close(bench.now);
    assert_eq!(bench.pipeline.poll_timeout(), None);
}

#[test]
fn outputs_that_nobody_takes_stay_bounded() {
    let mut bench = Bench::in_call(AUDIO);
    for _ in 0..2_000 {
        let frame = bench.trunk_frame::<160>(Law::Mu);
        let header = crate::rtp::packet::Header {
            payload_type: 0,
            marker: false,
            sequence: frame.0,
            timestamp: frame.1,
            ssrc: 1,
        };
        let mut datagram = [0; 200];
        let len = header.write(&frame.2, &mut datagram).unwrap();
        bench.pipeline.handle_trunk_rtp(&datagram[..len], bench.now);
    }
    assert_eq!(std::iter::from_fn(|| bench.pipeline.poll_output()).count(), OUTPUTS_MAX);
    assert!(bench.pipeline.outputs_dropped() > 0);
}

/// What may happen to a pipeline, in any order.
#[derive(Debug, Clone)]
enum Step {
    Trunk(Vec<u8>),
    TrunkRtp(u8, u16, u32, Vec<u8>),
    Rtcp(Vec<u8>),
    Peer(u8, u16, u32, Vec<u8>),
    Gate(bool, bool),
    Connect(bool, bool, u8),
    Wait(u64),
    Mute(bool),
    Digit(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..300);
    prop_oneof![
        bytes().prop_map(Step::Trunk),
        (0_u8..128, any::<u16>(), any::<u32>(), bytes()).prop_map(|(a, b, c, d)| Step::TrunkRtp(a, b, c, d)),
        (0_u16..50, 0_u32..8_000, bytes()).prop_map(|(b, c, d)| Step::TrunkRtp(0, b, c, d)),
        (0_u16..50, 0_u32..8_000, bytes()).prop_map(|(b, c, d)| Step::TrunkRtp(96, b, c, d)),
        bytes().prop_map(Step::Rtcp),
        (0_u8..4, any::<u16>(), any::<u32>(), bytes()).prop_map(|(a, b, c, d)| Step::Peer(a, b, c, d)),
        (0_u8..4, 0_u16..50, 0_u32..48_000, bytes()).prop_map(|(a, b, c, d)| Step::Peer(a, b, c, d)),
        any::<(bool, bool)>().prop_map(|(a, b)| Step::Gate(a, b)),
        (any::<(bool, bool)>(), any::<u8>()).prop_map(|((a, b), c)| Step::Connect(a, b, c)),
        (0_u64..3_000).prop_map(Step::Wait),
        any::<bool>().prop_map(Step::Mute),
        (0_u8..16).prop_map(Step::Digit),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn rubbish_in_any_order_never_panics_and_what_leaves_stays_bounded(steps in proptest::collection::vec(step(), 1..80)) {
        let mut bench = Bench::in_call(AUDIO);
        for step in steps {
            let now = bench.now;
            match step {
                Step::Trunk(bytes) => bench.pipeline.handle_trunk_rtp(&bytes, now),
                Step::TrunkRtp(kind, sequence, timestamp, payload) => bench.trunk_sends(kind, sequence, timestamp, &payload),
                Step::Rtcp(bytes) => bench.pipeline.handle_trunk_rtcp(&bytes, now),
                Step::Peer(kind, sequence, timestamp, payload) => {
                    let kind = match kind {
                        0 => PeerPayload::Opus,
                        1 => PeerPayload::Pcmu,
                        2 => PeerPayload::Pcma,
                        _ => PeerPayload::TelephoneEvent { clock: 8_000 },
                    };
                    let packet = PeerPacket { ssrc: 1, sequence, timestamp, marker: false, kind, payload: &payload };
                    bench.pipeline.handle_peer_rtp(packet, now);
                }
                Step::Gate(to_trunk, to_agent) => bench.pipeline.set_gate(to_trunk, to_agent, now),
                Step::Connect(send, receive, ptime_ms) => {
                    bench.pipeline.connect_trunk(TrunkAudio { ptime_ms, send, receive, ..AUDIO }, now);
                }
                Step::Wait(ms) => bench.wait(ms),
                Step::Mute(muted) => bench.pipeline.set_muted(muted, now),
                Step::Digit(code) => {
                    let digit = crate::rtp::telephone_event::DtmfDigit::from_event(code).unwrap();
                    bench.pipeline.send_dtmf_to_trunk(&[digit], now);
                }
            }
            bench.drain();
        }
        prop_assert_eq!(bench.pipeline.outputs_dropped(), 0);
        let elapsed_frames = usize::try_from(bench.at_ms() / 10).unwrap();
        prop_assert!(bench.to_trunk.len() <= elapsed_frames + 80 * 60, "{}", bench.to_trunk.len());
    }
}
