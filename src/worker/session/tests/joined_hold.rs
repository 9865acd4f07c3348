//! What the agents left behind when two calls were joined: holds, mutes, ringback, taps, and their own legs.

use super::bridge::Bridge;
use super::bridge::TONES;
use super::bridge::X;
use super::bridge::Y;
use super::bridge::other;
use super::bridge::with_codec;
use super::*;
use crate::media::hold_music::HoldMusic;
use crate::media::tap::TapChannel;
use crate::media::tests::bench::amplitude;
use crate::media::tests::bench::loudness;
use crate::media::tests::hold::music;

use TrunkCodec::Pcma;
use TrunkCodec::Pcmu;

const MUSIC_HZ: f64 = 600.0;

fn held(on: bool, bridge: &Bridge) -> Command {
    Command::PlayHold { call: bridge.sides[X].call, leg: bridge.sides[X].leg, on }
}

#[test]
fn the_held_side_hears_its_music_until_the_hold_is_lifted_and_then_its_partner() {
    let mut bridge = Bridge::new(&[with_codec(Pcmu), with_codec(Pcma)], &music());
    bridge.command(X, held(true, &bridge));
    bridge.talk(50);
    bridge.join();
    let before = bridge.sides[X].heard.len();
    bridge.talk(50);
    let heard = bridge.audio(X, before);
    assert!(amplitude(&heard, MUSIC_HZ) > 7_000.0, "{}", amplitude(&heard, MUSIC_HZ));
    assert!(amplitude(&heard, TONES[Y]) < 100.0, "{}", amplitude(&heard, TONES[Y]));
    assert!(loudness(&bridge.audio(Y, 0)) < 40.0, "who is held is not heard");

    bridge.command(X, held(false, &bridge));
    let before = bridge.sides.each_ref().map(|side| side.heard.len());
    bridge.talk(50);
    let heard = bridge.audio(X, before[X] + 5);
    assert!(amplitude(&heard, TONES[Y]) > 7_500.0, "{}", amplitude(&heard, TONES[Y]));
    assert!(amplitude(&heard, MUSIC_HZ) < 100.0, "{}", amplitude(&heard, MUSIC_HZ));
    assert!(amplitude(&bridge.audio(Y, before[Y] + 5), TONES[X]) > 7_500.0);
    bridge.check_line(X);
}

#[test]
fn a_shut_gate_lets_nothing_cross_in_its_direction() {
    let mut bridge = Bridge::joined([Pcmu, Pcmu]);
    let call = bridge.sides[X].call;
    bridge.command(X, Command::SetGate { call, gate: Gate { to_trunk: true, to_agent: false } });
    let before = bridge.sides.each_ref().map(|side| side.heard.len());
    bridge.talk(50);
    assert!(loudness(&bridge.audio(Y, before[Y] + 5)) < 40.0);
    assert!(amplitude(&bridge.audio(X, before[X] + 5), TONES[Y]) > 7_500.0);
}

#[test]
fn the_tap_goes_on_through_the_join_with_both_directions_on_one_timeline() {
    let mut bridge = Bridge::new(&[with_codec(Pcmu), with_codec(Pcma)], &HoldMusic::default());
    bridge.talk(50);
    let before = bridge.sides.each_ref().map(|side| side.frames.len());
    bridge.join();
    bridge.talk(100);
    for side in [X, Y] {
        let (sent, heard) =
            [TapChannel::Sent, TapChannel::Heard].map(|channel| bridge.taped(side, channel, before[side])).into();
        assert!(amplitude(&sent[1_000..], TONES[other(side)]) > 7_500.0);
        assert!(amplitude(&sent[1_000..], TONES[side]) < 100.0);
        assert!(amplitude(&heard, TONES[side]) > 7_500.0);
        assert!(amplitude(&heard, TONES[other(side)]) < 100.0);
        assert!(bridge.sides[side].frames.iter().all(|frame| frame.tap == TapId(side as u64)));
        bridge.check_tape(side, TapChannel::Sent);
        bridge.check_tape(side, TapChannel::Heard);
    }
}

#[test]
fn the_end_of_a_tap_is_told_after_its_last_frame() {
    let mut bridge = Bridge::joined([Pcmu, Pcmu]);
    bridge.talk(20);
    let call = bridge.sides[X].call;
    let told = |bridge: &Bridge, id: u64| {
        bridge.sides[X]
            .events
            .iter()
            .filter(|e| matches!(e, EventKind::TapStopped { tap: TapId(n) } if *n == id))
            .count()
    };
    bridge.command(X, Command::StopTap { call, tap: TapId(77) });
    assert_eq!(told(&bridge, 77), 1, "a tap that does not run has no frames to come");
    let taped = bridge.sides[X].frames.len();
    bridge.talk(20);
    assert!(bridge.sides[X].frames.len() > taped, "and another's end is not ours");

    bridge.command(X, Command::StopTap { call, tap: TapId(X as u64) });
    assert_eq!(told(&bridge, X as u64), 1);
    assert_eq!(bridge.sides[X].order.last(), Some(&false), "the word is the last");
    let taped = bridge.sides[X].frames.len();
    bridge.talk(20);
    assert_eq!(bridge.sides[X].frames.len(), taped);
    assert!(bridge.sides[Y].frames.len() > taped, "the partner's tap goes on");
    bridge.command(X, Command::StopTap { call, tap: TapId(X as u64) });
    assert_eq!(told(&bridge, X as u64), 2, "asked again, answered again");
}

#[test]
fn frames_that_a_command_itself_makes_come_before_the_word_that_the_tap_has_ended() {
    let mut bridge = Bridge::joined([Pcmu, Pcmu]);
    bridge.talk(20);
    let (call, leg) = (bridge.sides[X].call, bridge.sides[X].leg);
    let taped = bridge.sides[X].frames.len();
    // Handed over at once, as in one turn of the worker: nothing is taken between the two.
    let now = bridge.now;
    let session = &mut bridge.sides[X].session;
    session.handle(Input::Command(Command::PlayHold { call, leg, on: true }), now);
    session.handle(Input::Command(Command::StopTap { call, tap: TapId(X as u64) }), now);
    bridge.drain();
    let side = &bridge.sides[X];
    assert!(side.frames[taped..].iter().any(|frame| matches!(frame.body, TapBody::Hold(true))));
    assert!(matches!(side.events.last(), Some(EventKind::TapStopped { .. })));
    assert_eq!(side.order.last(), Some(&false));
}

#[test]
fn ringback_stops_and_a_mute_is_lifted() {
    let mut bridge = Bridge::new(&[with_codec(Pcmu), with_codec(Pcmu)], &HoldMusic::default());
    let (call, agent) = (bridge.sides[X].call, LegId::generate(9, &mut bridge.rng));
    bridge.command(X, Command::OfferPeer { call, leg: agent });
    bridge.command(X, Command::SetMuted { call, leg: agent, muted: true });
    bridge.command(X, Command::SetRingback { call, leg: agent, on: true });
    bridge.pass(500);
    bridge.join();
    bridge.pass(5_000);
    assert!(bridge.crossed.is_empty(), "the partner hears no ringback of ours");
    let before = bridge.sides[X].heard.len();
    bridge.talk(50);
    assert!(amplitude(&bridge.audio(X, before + 5), TONES[Y]) > 7_500.0, "muted no longer");
}

#[test]
fn browser_legs_that_are_left_or_come_later_are_not_heard_and_end_on_their_own() {
    let mut bridge = Bridge::new(&[with_codec(Pcmu), with_codec(Pcmu)], &HoldMusic::default());
    let (call, first) = (bridge.sides[X].call, LegId::generate(9, &mut bridge.rng));
    let second = LegId::generate(10, &mut bridge.rng);
    bridge.command(X, Command::OfferPeer { call, leg: first });
    bridge.join();
    bridge.command(X, Command::OfferPeer { call, leg: second });
    for leg in [first, second] {
        bridge.command(X, Command::SetMuted { call, leg, muted: true });
        bridge.command(X, Command::StartTap { call, leg, tap: TapId(X as u64) });
    }
    let partner = bridge.sides[Y].call;
    assert!(bridge.sides[X].session.is_joined_to(partner));
    let before = bridge.sides[X].heard.len();
    bridge.talk(50);
    assert!(amplitude(&bridge.audio(X, before + 5), TONES[Y]) > 7_500.0, "a mute of theirs is none of the partner's");
    for leg in [first, second] {
        bridge.command(X, Command::CloseLeg { call, leg });
    }
    assert!(bridge.sides[X].session.is_joined_to(partner), "nor does their end part the two");
    let before = bridge.sides.each_ref().map(|side| side.heard.len());
    bridge.talk(50);
    for side in [X, Y] {
        assert!(amplitude(&bridge.audio(side, before[side]), TONES[other(side)]) > 7_500.0);
    }
}
