//! DTMF in both directions: made anew, never relayed.

use super::bench::AUDIO;
use super::bench::Bench;
use super::bench::amplitude;
use super::bench::loudness;
use crate::codec::g711::Law;
use crate::media::tap::TapChannel;
use crate::media::vocabulary::Output;
use crate::media::vocabulary::PeerAudio;
use crate::media::vocabulary::PeerCodec;
use crate::media::vocabulary::PeerPacket;
use crate::media::vocabulary::PeerPayload;
use crate::media::vocabulary::TrunkAudio;
use crate::rtp::telephone_event::DtmfDigit;
use crate::rtp::telephone_event::EventPayload;

fn digits(text: &str) -> Vec<DtmfDigit> {
    text.chars().map(|digit| DtmfDigit::from_char(digit).unwrap()).collect()
}

/// The trunk presses a digit of 100 ms, its packets on the audio's timeline.
fn trunk_presses(bench: &mut Bench, event: u8, with_audio: bool) {
    let start = bench.trunk_timestamp;
    for step in 1..=7_u16 {
        let payload = EventPayload { event, end: step >= 5, volume: 10, duration: step.min(5) * 160 };
        bench.trunk_sends(96, bench.trunk_sequence, start, &payload.to_bytes());
        bench.trunk_sequence = bench.trunk_sequence.wrapping_add(1);
        if step <= 5 {
            bench.trunk_timestamp = start.wrapping_add(u32::from(step) * 160);
            if with_audio {
                bench.trunk_timestamp = start.wrapping_add(u32::from(step - 1) * 160);
                let (sequence, timestamp, codes) = bench.trunk_frame::<160>(Law::Mu);
                bench.trunk_sends(0, sequence, timestamp, &codes);
            }
            bench.wait(20);
        }
    }
}

fn heard_digits(bench: &Bench) -> Vec<(char, u32)> {
    let digits = |event: &Output| {
        if let Output::Dtmf { digit, duration_ms, .. } = event { Some((digit.as_char(), *duration_ms)) } else { None }
    };
    bench.events.iter().filter_map(digits).collect()
}

#[test]
fn a_digit_that_a_hold_or_the_gate_cuts_ends_for_the_far_side_before_the_stream_stops() {
    let hold = TrunkAudio { send: false, ..AUDIO };
    let without_events = TrunkAudio { telephone_event: None, ..hold };
    for stop in [Some(hold), Some(without_events), None] {
        let mut bench = Bench::in_call(AUDIO);
        bench.browser_talks(10);
        bench.pipeline.send_dtmf_to_trunk(&digits("59"), bench.now);
        bench.drain();
        bench.wait(45);
        match stop {
            Some(held) => bench.pipeline.connect_trunk(held, bench.now),
            None => bench.pipeline.set_gate(false, true, bench.now),
        }
        let stopped = bench.at_ms();
        bench.drain();
        bench.wait(500);
        let events: Vec<_> = bench.to_trunk.iter().filter(|sent| sent.header.payload_type == 101).collect();
        let said: Vec<_> = events.iter().map(|packet| EventPayload::parse(&packet.payload).unwrap()).collect();
        let ends: Vec<_> = events.iter().zip(&said).filter(|(_, said)| said.end).map(|(sent, _)| sent.at_ms).collect();
        assert_eq!(ends, [stopped, stopped + 20, stopped + 40], "{stop:?}");
        assert!(said.iter().all(|said| said.event == 5), "the next digit is not begun: {stop:?}");
        assert!(said.iter().rev().take(4).all(|said| said.duration == 480), "{said:?}");
        assert!(events.iter().all(|packet| packet.header.timestamp == events[0].header.timestamp));
        for pair in bench.to_trunk.windows(2) {
            assert_eq!(pair[1].header.sequence, pair[0].header.sequence.wrapping_add(1));
        }
        assert_eq!(bench.to_trunk.last().unwrap().at_ms, stopped + 40, "and then nothing: {stop:?}");
        bench.pipeline.connect_trunk(AUDIO, bench.now);
        bench.pipeline.set_gate(true, true, bench.now);
        let before = bench.to_trunk.len();
        bench.browser_talks(20);
        assert!(bench.to_trunk.len() >= before + 18, "audio goes on after the resumption: {stop:?}");
        assert!(bench.to_trunk[before..].iter().all(|sent| sent.header.payload_type == 0));
    }
}

#[test]
fn digits_go_out_as_events_with_the_audio_kept_back() {
    let mut bench = Bench::in_call(AUDIO);
    bench.browser_talks(50);
    bench.pipeline.send_dtmf_to_trunk(&digits("15"), bench.now);
    bench.drain();
    bench.browser_talks(50);
    let events: Vec<_> = bench.to_trunk.iter().filter(|sent| sent.header.payload_type == 101).collect();
    assert_eq!(events.len(), 14);
    for (digit, packets) in [1, 5].iter().zip(events.chunks(7)) {
        assert!(packets[0].header.marker && packets[1..].iter().all(|packet| !packet.header.marker));
        assert!(packets.iter().all(|packet| packet.header.timestamp == packets[0].header.timestamp));
        let last = EventPayload::parse(&packets[6].payload).unwrap();
        assert_eq!((last.event, last.end, last.duration), (*digit, true, 800));
        assert_eq!(packets.iter().filter(|packet| EventPayload::parse(&packet.payload).unwrap().end).count(), 3);
    }
    assert_eq!(events[7].at_ms - events[0].at_ms, 160);
    assert_eq!(events[7].header.timestamp.wrapping_sub(events[0].header.timestamp), 1_280);
    let between = bench.to_trunk.iter().filter(|sent| sent.header.payload_type == 0);
    let busy = events[0].at_ms..events[0].at_ms + 320;
    assert_eq!(between.filter(|sent| busy.contains(&sent.at_ms)).count(), 0, "no audio under a digit");
    for pair in bench.to_trunk.windows(2) {
        assert_eq!(pair[1].header.sequence, pair[0].header.sequence.wrapping_add(1));
    }
    // Time goes on under the digits: what comes after is where it would have been.
    let audio: Vec<_> = bench.to_trunk.iter().filter(|sent| sent.header.payload_type == 0).collect();
    let span = audio.last().unwrap().header.timestamp.wrapping_sub(audio[0].header.timestamp);
    assert!(span.abs_diff(99 * 160) <= 320, "{span}");
    let (_, tapped, _) = bench.tapped(TapChannel::Sent);
    let at = usize::try_from(events[0].at_ms).unwrap() * 8;
    assert!(loudness(&tapped[at + 320..at + 2_080]) < 1.0, "digits are silence in the tap");
    assert!(amplitude(&tapped[at + 3_200..], 440.0) > 6_000.0);
}

#[test]
fn digits_are_refused_where_they_cannot_cross() {
    let mut bench = Bench::new();
    bench.pipeline.connect_trunk(AUDIO, bench.now);
    bench.pipeline.send_dtmf_to_trunk(&digits("1"), bench.now);
    bench.pipeline.set_gate(true, true, bench.now);
    bench.pipeline.connect_trunk(TrunkAudio { telephone_event: None, ..AUDIO }, bench.now);
    bench.pipeline.send_dtmf_to_trunk(&digits("23"), bench.now);
    bench.wait(500);
    assert!(bench.to_trunk.iter().all(|sent| sent.header.payload_type == 0));
    assert_eq!(bench.pipeline.digits_dropped(), 3);
}

#[test]
fn a_digit_of_the_trunk_is_one_event_and_silence_under_it() {
    for with_audio in [false, true] {
        let mut bench = Bench::in_call(AUDIO);
        bench.talk(50);
        trunk_presses(&mut bench, 7, with_audio);
        bench.talk(50);
        assert_eq!(heard_digits(&bench), [('7', 100)]);
        assert!(bench.to_peer.iter().all(|packet| packet.kind == PeerPayload::Opus), "never relayed");
        let (_, tapped, _) = bench.tapped(TapChannel::Heard);
        assert!(tapped.len().abs_diff(105 * 160) <= 160, "{}", tapped.len());
        assert!(loudness(&tapped[8_000..8_600]) < 1.0);
        assert!(amplitude(&tapped[10_000..16_000], 1_000.0) > 7_500.0);
        assert_eq!(bench.tap.iter().map(|frame| frame.epoch).max(), Some(0));
    }
}

#[test]
fn a_digit_whose_end_is_lost_ends_by_itself() {
    let mut bench = Bench::in_call(AUDIO);
    bench.talk(10);
    let payload = EventPayload { event: 11, end: false, volume: 10, duration: 400 };
    bench.trunk_sends(96, bench.trunk_sequence, bench.trunk_timestamp, &payload.to_bytes());
    bench.wait(140);
    assert_eq!(heard_digits(&bench), []);
    bench.wait(20);
    assert_eq!(heard_digits(&bench), [('#', 50)]);
}

#[test]
fn a_browser_that_takes_events_gets_them_made_anew() {
    let mut bench = Bench::in_call(AUDIO);
    bench.pipeline.connect_peer(PeerAudio { codec: PeerCodec::Opus, telephone_event: true }, bench.now);
    bench.talk(20);
    trunk_presses(&mut bench, 3, false);
    bench.wait(300);
    let kind = PeerPayload::TelephoneEvent { clock: 48_000 };
    let events: Vec<_> = bench.to_peer.iter().filter(|packet| packet.kind == kind).collect();
    assert_eq!(events.len(), 7);
    assert!(events[0].marker);
    assert_eq!(EventPayload::parse(&events[6].payload).unwrap().duration, 4_800);
    assert!(bench.to_peer.windows(2).all(|pair| pair[1].sequence == pair[0].sequence + 1));
}

#[test]
fn events_of_the_browser_are_counted_and_ignored() {
    let mut bench = Bench::in_call(AUDIO);
    bench.browser_talks(10);
    let kind = PeerPayload::TelephoneEvent { clock: 48_000 };
    let payload = EventPayload { event: 1, end: true, volume: 0, duration: 4_800 }.to_bytes();
    let (ssrc, sequence, timestamp) = (bench.browser_ssrc, bench.browser_sequence, bench.browser_timestamp);
    bench
        .pipeline
        .handle_peer_rtp(PeerPacket { ssrc, sequence, timestamp, marker: true, kind, payload: &payload }, bench.now);
    bench.browser_sequence = sequence.wrapping_add(1);
    bench.browser_talks(10);
    assert_eq!(bench.pipeline.peer_stats().event_packets_received, 1);
    assert_eq!(heard_digits(&bench), []);
    assert!(bench.to_trunk.iter().all(|sent| sent.header.payload_type == 0));
    bench.check_trunk_line();
}
