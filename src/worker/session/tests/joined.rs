//! Two sessions talk to each other: what one trunk says is heard on the other, on lines that never break.

use super::bridge::Bridge;
use super::bridge::TONES;
use super::bridge::X;
use super::bridge::Y;
use super::bridge::other;
use super::bridge::with_codec;
use super::*;
use crate::media::hold_music::HoldMusic;
use crate::media::tests::bench::amplitude;
use crate::media::tests::bench::loudness;
use crate::media::vocabulary::PeerPayload;
use crate::worker::DtmfDigit;

use TrunkCodec::Pcma;
use TrunkCodec::Pcmu;

/// The partner's tone at the level at which it was said, and nothing of the own one.
fn assert_hears_partner(bridge: &Bridge, side: usize, from: usize) {
    let heard = bridge.audio(side, from);
    assert!(heard.len() >= 4_000, "{} samples", heard.len());
    let (theirs, own) = (amplitude(&heard, TONES[other(side)]), amplitude(&heard, TONES[side]));
    assert!((7_500.0..8_500.0).contains(&theirs), "side {side}: {theirs}");
    assert!(own < 100.0, "side {side}: {own}");
}

#[test]
fn each_trunk_hears_the_others_tone_at_its_level_whatever_their_laws() {
    for codecs in [[Pcmu, Pcmu], [Pcmu, Pcma], [Pcma, Pcmu], [Pcma, Pcma]] {
        let mut bridge = Bridge::joined(codecs);
        let before = bridge.sides.each_ref().map(|side| side.heard.len());
        bridge.talk(100);
        for side in [X, Y] {
            assert_hears_partner(&bridge, side, before[side] + 5);
            bridge.check_line(side);
        }
        let kinds = |from: usize| bridge.crossed.iter().filter(move |(at, ..)| *at == from).map(|(_, _, p)| p.kind);
        for (side, codec) in codecs.into_iter().enumerate() {
            let own = if codec == Pcma { PeerPayload::Pcma } else { PeerPayload::Pcmu };
            assert!(kinds(side).count() >= 99 && kinds(side).all(|kind| kind == own));
        }
    }
}

#[test]
fn between_trunks_of_one_law_no_sample_changes() {
    for codec in [Pcmu, Pcma] {
        let mut bridge = Bridge::joined([codec, codec]);
        let before = bridge.sides[Y].heard.len();
        let mut said = Vec::new();
        for _ in 0..50 {
            let frame = bridge.frame(X);
            said.extend(frame[12..].iter().map(|code| codec.law().decode(*code)));
            bridge.send(X, frame);
            bridge.pass(20);
        }
        let heard = bridge.audio(Y, before);
        let first = heard.windows(160).position(|window| window == &said[..160]).expect("the first frame arrives");
        assert!(heard.len() - first >= 48 * 160);
        assert_eq!(heard[first..], said[..heard.len() - first]);
    }
}

#[test]
fn the_line_to_each_trunk_is_one_stream_across_the_join() {
    let mut bridge = Bridge::new(&[with_codec(Pcmu), with_codec(Pcma)], &HoldMusic::default());
    bridge.talk(50);
    let before = bridge.sides.each_ref().map(|side| side.heard.len());
    bridge.join();
    bridge.talk(50);
    for side in [X, Y] {
        bridge.check_line(side);
        let sent = bridge.sides[side].heard.len() - before[side];
        assert!((48..=52).contains(&sent), "{sent}");
        let late = bridge.sides[side].heard.iter().skip(1).filter(|(header, _)| header.marker);
        assert_eq!(late.count(), 0, "nothing on the line tells of the join");
    }
}

#[test]
fn a_partner_that_is_not_joined_to_us_is_not_heard() {
    let mut bridge = Bridge::new(&[with_codec(Pcmu), with_codec(Pcmu)], &HoldMusic::default());
    bridge.join_one(X);
    bridge.talk(50);
    assert_eq!(bridge.refused, 50);
    assert!(loudness(&bridge.audio(Y, 0)) < 40.0);
    assert!(loudness(&bridge.audio(X, 0)) < 40.0, "the other has no partner yet to send to");
    bridge.join_one(Y);
    let before = bridge.sides[Y].heard.len();
    bridge.talk(50);
    assert_eq!(bridge.refused, 50);
    assert_hears_partner(&bridge, Y, before + 5);
}

#[test]
fn joined_again_nothing_changes() {
    let mut bridge = Bridge::joined([Pcmu, Pcmu]);
    bridge.talk(50);
    let before = bridge.sides.each_ref().map(|side| side.heard.len());
    let epoch = |bridge: &Bridge| bridge.sides[X].frames.last().unwrap().epoch;
    let began = epoch(&bridge);
    bridge.join();
    bridge.talk(50);
    assert_eq!(epoch(&bridge), began);
    for side in [X, Y] {
        assert_hears_partner(&bridge, side, before[side]);
    }
}

#[test]
fn a_call_that_is_joined_to_itself_hears_no_echo() {
    let mut bridge = Bridge::new(&[with_codec(Pcmu), with_codec(Pcmu)], &HoldMusic::default());
    let call = bridge.sides[X].call;
    bridge.command(X, Command::Join { call, partner: call, worker: 7 });
    bridge.talk(20);
    assert!(bridge.crossed.is_empty());
    assert!(!bridge.sides[X].session.is_joined_to(call));
}

#[test]
fn a_digit_is_told_relayed_by_command_and_never_heard_as_audio() {
    for (from, to) in [(X, Y), (Y, X)] {
        let mut bridge = Bridge::joined([Pcmu, Pcma]);
        bridge.pass(500);
        let before = bridge.sides[to].heard.len();
        bridge.press(from, 5);
        let five = DtmfDigit::from_char('5').unwrap();
        let told = |kind: &EventKind| matches!(kind, EventKind::DtmfReceived { digit, .. } if *digit == five);
        assert_eq!(bridge.sides[from].events.iter().filter(|kind| told(kind)).count(), 1);
        bridge.pass(100);
        assert!(loudness(&bridge.audio(to, before)) < 40.0, "{}", loudness(&bridge.audio(to, before)));
        assert_eq!(bridge.digits(to), [0_u8; 0], "not before the call says so");

        // The call relays it; what the other says meanwhile waits no longer than the digit.
        let (call, leg) = (bridge.sides[to].call, bridge.sides[to].leg);
        bridge.command(to, Command::SendDtmf { call, leg, digits: vec![five] });
        let before = bridge.sides[to].heard.len();
        bridge.talk(7);
        assert!(loudness(&bridge.audio(to, before)) < 40.0, "no audio under a digit");
        let before = bridge.sides[to].heard.len();
        bridge.talk(50);
        assert_eq!(bridge.digits(to), [5, 5, 5]);
        assert_hears_partner(&bridge, to, before + 5);
        assert_eq!(bridge.digits(from), [0_u8; 0]);
    }
}

#[test]
fn a_loss_on_one_line_is_concealed_on_the_other_and_does_not_touch_the_way_back() {
    let mut bridge = Bridge::joined([Pcmu, Pcmu]);
    bridge.talk(20);
    let before = bridge.sides.each_ref().map(|side| side.heard.len());
    for index in 0..100 {
        let frame = bridge.frame(X);
        if index % 10 != 9 {
            bridge.send(X, frame);
        }
        bridge.say(Y);
        bridge.pass(20);
    }
    let heard = bridge.audio(Y, before[Y] + 5);
    assert!(heard.chunks_exact(160).all(|frame| loudness(frame) > 2_500.0), "no hole is heard");
    assert!(amplitude(&heard, TONES[X]) > 7_000.0);
    assert_hears_partner(&bridge, X, before[X]);
    bridge.check_line(Y);
    bridge.pass(5_000);
    let lost = [X, Y].map(|side| bridge.stats(side).packets_lost);
    assert_eq!(lost, [9, 0], "the tenth has no packet after it");
}

#[test]
fn srtp_on_one_trunk_and_none_on_the_other() {
    let mut rng = StdRng::seed_from_u64(5);
    let (keys, writer, reader) = srtp_peer(rng.next_u64());
    let secured = TrunkMedia { srtp: Some(keys), ..with_codec(Pcma) };
    let mut bridge = Bridge::new(&[secured, with_codec(Pcmu)], &HoldMusic::default());
    bridge.sides[X].srtp = Some((writer, reader));
    bridge.talk(20);
    bridge.join();
    let before = bridge.sides.each_ref().map(|side| side.heard.len());
    bridge.talk(100);
    for side in [X, Y] {
        assert_hears_partner(&bridge, side, before[side] + 5);
        bridge.check_line(side);
    }
}

#[test]
fn a_trunk_that_changes_its_codec_goes_on_being_heard() {
    let mut bridge = Bridge::joined([Pcmu, Pcmu]);
    bridge.talk(50);
    bridge.sides[X].media = with_codec(Pcma);
    let (call, leg, media) = (bridge.sides[X].call, bridge.sides[X].leg, bridge.sides[X].media.clone());
    bridge.command(X, Command::ConnectTrunk { call, leg, media });
    let (crossed, before) = (bridge.crossed.len(), bridge.sides.each_ref().map(|side| side.heard.len()));
    bridge.talk(50);
    let from_x = bridge.crossed[crossed..].iter().filter(|(at, ..)| *at == X);
    assert!(from_x.clone().count() >= 49 && from_x.clone().all(|(_, _, packet)| packet.kind == PeerPayload::Pcma));
    for side in [X, Y] {
        assert_hears_partner(&bridge, side, before[side] + 5);
    }
    bridge.check_line(Y);
}

#[test]
fn the_next_trunk_leg_of_a_joined_call_is_joined_too() {
    let mut bridge = Bridge::joined([Pcma, Pcma]);
    bridge.talk(50);
    let (call, leg) = (bridge.sides[X].call, bridge.sides[X].leg);
    bridge.command(X, Command::CloseLeg { call, leg });
    bridge.talk(10);
    bridge.sides[X].leg = LegId::generate(9, &mut bridge.rng);
    bridge.connect(X);
    let before = bridge.sides.each_ref().map(|side| side.heard.len());
    bridge.talk(100);
    for side in [X, Y] {
        assert_hears_partner(&bridge, side, before[side] + 8);
    }
    bridge.check_line(Y);
}

#[test]
fn a_partner_that_is_gone_leaves_a_quiet_line_and_a_call_that_goes_on() {
    let mut bridge = Bridge::joined([Pcmu, Pcmu]);
    bridge.talk(50);
    let call = bridge.sides[Y].call;
    bridge.command(Y, Command::Close { call });
    bridge.pass(200);
    let before = bridge.sides[X].heard.len();
    for _ in 0..100 {
        bridge.say(X);
        bridge.pass(20);
    }
    assert!((99..=101).contains(&(bridge.sides[X].heard.len() - before)), "time is kept");
    assert!(loudness(&bridge.audio(X, before)) < 40.0);
    bridge.check_line(X);
    bridge.pass(58_000);
    let silent = |kind: &EventKind| matches!(kind, EventKind::MediaTimeout { .. });
    assert!(!bridge.has(X, silent));
    bridge.pass(3_000);
    assert!(bridge.has(X, silent), "a trunk that falls silent is told as in every call");
    assert!(bridge.stats(X).packets_received >= 200);
}
