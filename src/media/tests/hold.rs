//! Local hold: music to the trunk, nothing to the agent, a gap in the recording.

use super::bench::AUDIO;
use super::bench::Bench;
use super::bench::amplitude;
use super::bench::loudness;
use super::bench::tone;
use crate::codec::g711::Law;
use crate::media::hold_music::HoldMusic;
use crate::media::tap::TapChannel;
use crate::media::tap::TapId;
use crate::media::vocabulary::Config;
use crate::media::vocabulary::Output;
use crate::media::vocabulary::TrunkAudio;

/// 600 Hz for a second, which loops without a seam.
pub(crate) fn music() -> HoldMusic {
    let data: Vec<u8> = tone::<8_000>(600.0, 0).iter().flat_map(|sample| sample.to_le_bytes()).collect();
    let mut file = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data".to_vec();
    file.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
    file.extend(data);
    HoldMusic::from_wav(&file).unwrap()
}

fn in_call(hold_music: HoldMusic) -> Bench {
    let mut bench = Bench::with(Config { hold_music, ..Config::default() });
    bench.pipeline.start_tap(TapId(1), bench.now);
    bench.pipeline.connect_trunk(AUDIO, bench.now);
    bench.pipeline.set_gate(true, true, bench.now);
    bench.talk(50);
    bench
}

#[test]
fn a_held_trunk_hears_the_music_and_not_the_agent() {
    let mut bench = in_call(music());
    bench.pipeline.set_held(true, bench.now);
    bench.drain();
    let (before, to_peer) = (bench.to_trunk.len(), bench.to_peer.len());
    bench.talk(100);
    assert_eq!(bench.to_peer.len(), to_peer, "the agent does not hear the held caller");
    let heard = bench.heard_at_trunk(Law::Mu);
    let held = &heard[before * 160 + 800..];
    assert!(held.len() > 15_000 - 800, "{}", held.len());
    assert!(amplitude(held, 600.0) > 7_000.0, "{}", amplitude(held, 600.0));
    assert!(amplitude(held, 440.0) < 100.0, "{}", amplitude(held, 440.0));
}

#[test]
fn a_resume_brings_the_agent_back_on_the_same_line() {
    let mut bench = in_call(music());
    bench.pipeline.set_held(true, bench.now);
    bench.talk(50);
    bench.pipeline.set_held(false, bench.now);
    let (sent, to_peer) = (bench.to_trunk.len(), bench.to_peer.len());
    bench.talk(100);
    assert!(bench.to_peer.len() >= to_peer + 99);
    // One SSRC, no gap in sequence or timestamps over hold and resume.
    let heard = bench.heard_at_trunk(Law::Mu);
    let after = &heard[(sent + 5) * 160..];
    assert!(amplitude(after, 440.0) > 5_000.0, "{}", amplitude(after, 440.0));
    assert!(amplitude(after, 600.0) < 200.0, "{}", amplitude(after, 600.0));
}

#[test]
fn a_hold_is_a_gap_in_the_tap_on_both_channels() {
    let mut bench = in_call(music());
    let tapped = bench.tap.len();
    bench.pipeline.set_held(true, bench.now);
    bench.pipeline.set_held(true, bench.now);
    bench.talk(50);
    assert_eq!(bench.tap.len() - tapped, 2, "the two notices, and no audio");
    bench.pipeline.set_held(false, bench.now);
    bench.talk(5);
    for channel in [TapChannel::Sent, TapChannel::Heard] {
        assert_eq!(bench.holds(channel), [true, false], "{channel:?}");
    }
}

#[test]
fn each_side_lifts_only_its_own_hold() {
    let mut bench = in_call(music());
    bench.pipeline.set_held(true, bench.now);
    let by_peer = TrunkAudio { send: false, receive: false, ..AUDIO };
    bench.pipeline.connect_trunk(by_peer, bench.now);
    bench.drain();
    let sent = bench.to_trunk.len();
    bench.talk(10);
    assert_eq!(bench.to_trunk.len(), sent, "no music to one that does not receive");
    bench.pipeline.set_held(false, bench.now);
    bench.drain();
    assert_eq!(bench.holds(TapChannel::Sent), [true], "the trunk still holds");
    bench.pipeline.connect_trunk(AUDIO, bench.now);
    bench.talk(10);
    assert_eq!(bench.holds(TapChannel::Sent), [true, false]);
    assert!(bench.to_trunk.len() > sent);
}

#[test]
fn after_a_resume_silence_counts_anew() {
    type Step = fn(&mut Bench, TrunkAudio);
    let silent = |bench: &Bench| bench.events.iter().filter(|e| matches!(e, Output::MediaTimeout { .. })).count();
    let by_peer = TrunkAudio { send: false, ..AUDIO };
    let forms: [(&str, Step, Step); 3] = [
        (
            "ours",
            |bench, _| bench.pipeline.set_held(true, bench.now),
            |bench, _| bench.pipeline.set_held(false, bench.now),
        ),
        (
            "theirs, sendonly",
            |bench, by_peer| bench.pipeline.connect_trunk(by_peer, bench.now),
            |bench, _| bench.pipeline.connect_trunk(AUDIO, bench.now),
        ),
        (
            "theirs, inactive",
            |bench, by_peer| bench.pipeline.connect_trunk(TrunkAudio { receive: false, ..by_peer }, bench.now),
            |bench, _| bench.pipeline.connect_trunk(AUDIO, bench.now),
        ),
    ];
    for (name, hold, resume) in forms {
        let mut bench = in_call(HoldMusic::default());
        hold(&mut bench, by_peer);
        bench.wait(300_000);
        let before = silent(&bench);
        resume(&mut bench, by_peer);
        bench.wait(59_000);
        assert_eq!(silent(&bench), before, "{name}: too early");
        bench.wait(2_000);
        assert_eq!(silent(&bench), before + 1, "{name}: a dead line is told");
    }
}

#[test]
fn without_music_a_held_line_is_not_dead_and_a_mute_does_not_silence_the_music() {
    let mut bench = in_call(HoldMusic::default());
    bench.pipeline.set_held(true, bench.now);
    bench.talk(50);
    let heard = bench.heard_at_trunk(Law::Mu);
    let level = loudness(&heard[heard.len() - 4_000..]);
    assert!((1.0..500.0).contains(&level), "{level}");

    let mut bench = in_call(music());
    bench.pipeline.set_muted(true, bench.now);
    bench.pipeline.set_held(true, bench.now);
    bench.talk(50);
    let heard = bench.heard_at_trunk(Law::Mu);
    assert!(amplitude(&heard[heard.len() - 4_000..], 600.0) > 7_000.0);
}
