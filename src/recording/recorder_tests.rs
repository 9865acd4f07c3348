//! The recorder without a disk: what it orders is played back.
#![cfg(test)]

use std::time::Duration;

use super::*;
use crate::clock::Clock;
use crate::recording::desk::{NewFile, SpoolOrder};
use crate::recording::model::{RecordingEnded, RecordingFailed, WrappedKey};
use crate::recording::playback::{PlayableRecording, PlayableSegment};
use crate::recording::segment::{ResyncReason, TimelineEvent};
use crate::recording::testing::{
    CountingRng, config, escrow_key, goertzel, recording, session, sine, two_tones, vault_key,
};
use crate::recording::verify::verify_file;

/// A spool in memory: obeys at once.
#[derive(Debug, Default)]
struct MemorySpool {
    files: BTreeMap<(RecordingId, u32), Vec<u8>>,
    keys: Vec<WrappedKey>,
    ended: Vec<RecordingEnded>,
    withdrawn: Vec<RecordingFailed>,
    events: Vec<EventKind>,
    withhold_keys: bool,
    is_stuck: bool,
}

impl MemorySpool {
    fn drain(&mut self, recorder: &mut Recorder, now: Instant) {
        while let Some(output) = recorder.poll_output() {
            let report = match output {
                Output::Event(event) => {
                    self.events.push(event.kind);
                    continue;
                }
                Output::Spool(order) => self.obey(order),
            };
            if let Some(report) = report.filter(|_| !self.is_stuck) {
                recorder.handle(Input::Spool(report), now);
            }
        }
    }

    fn obey(&mut self, order: SpoolOrder) -> Option<SpoolReport> {
        match order {
            SpoolOrder::Begin { intent, file } => {
                self.create(*file);
                Some(SpoolReport::Begun { recording: intent.recording })
            }
            SpoolOrder::NextSegment(file) => {
                self.create(*file);
                None
            }
            SpoolOrder::Keys { recording, epoch, keys } => {
                self.keys.extend(keys);
                (!self.withhold_keys).then_some(SpoolReport::KeysDurable { recording, epoch })
            }
            SpoolOrder::Chunk { recording, segment_no, bytes } => {
                self.files.entry((recording, segment_no)).and_modify(|file| file.extend(bytes));
                Some(SpoolReport::Written { recording, chunks: 1 })
            }
            SpoolOrder::Seal { chunk, facts } => {
                let file = self.files.entry((facts.recording, facts.segment_no)).or_default();
                file.extend(chunk);
                assert_eq!((facts.bytes, facts.sha256), (file.len() as u64, crate::recording::chain::sha256(&[file])));
                None
            }
            SpoolOrder::End(ended) => {
                let recording = ended.recording;
                self.ended.push(*ended);
                Some(SpoolReport::Ended { recording })
            }
            SpoolOrder::Withdraw(failed) => {
                self.withdrawn.push(*failed);
                None
            }
            SpoolOrder::Answered { .. } => None,
        }
    }

    fn create(&mut self, file: NewFile) {
        self.keys.extend(file.keys);
        let previous = self.files.insert((file.opened.recording, file.opened.segment_no), file.header.to_vec());
        assert!(previous.is_none());
    }

    fn play(&self, recording: RecordingId, vault: &crate::recording::seal::VaultKey) -> PlayableRecording {
        let segments = self.files.iter().filter(|((of, _), _)| *of == recording).map(|((_, segment_no), bytes)| {
            let keys =
                self.keys.iter().filter(|key| key.segment_no == *segment_no && key.recipient == vault.recipient().id());
            PlayableSegment::new(bytes.clone().into(), keys.map(|key| vault.unwrap_key(key).unwrap()).collect())
                .unwrap()
        });
        PlayableRecording::new(segments.collect())
    }
}

/// A call with a tone in each direction, of `frames` times 20 ms.
fn record(config: RecorderConfig, start: Instant, frames: u32, spool: &mut MemorySpool) {
    let mut recorder = Recorder::new(config, Box::new(CountingRng(0)));
    recorder.handle(Input::Command(Command::Start(Box::new(session(1, start)))), start);
    spool.drain(&mut recorder, start);
    recorder.handle(Input::Command(Command::Answered { recording: recording(1), at: start }), start);
    for frame in two_tones(1, start, frames) {
        let now = frame.arrival;
        recorder.handle(Input::Frame(Box::new(frame)), now);
        spool.drain(&mut recorder, now);
    }
    let end = start + Duration::from_millis(20 * u64::from(frames));
    recorder.handle(Input::Command(Command::Stop { recording: recording(1), at: end, end_reason: "answered" }), end);
    spool.drain(&mut recorder, end);
    assert!(recorder.is_idle());
}

#[test]
fn both_tones_come_back_sample_by_sample_for_each_recipient() {
    let start = Clock::system().now();
    let mut spool = MemorySpool::default();
    record(config(start), start, 250, &mut spool);
    assert_eq!(spool.events, [EventKind::Recording, EventKind::Sealed { samples: 40_000 }]);
    assert_eq!((spool.ended[0].samples, spool.ended[0].segments), (40_000, 1));
    let report = verify_file(&spool.files[&(recording(1), 0)]);
    assert!(report.is_good(), "{report}");
    for vault in [vault_key(), escrow_key()] {
        let playable = spool.play(recording(1), &vault);
        let pcm = playable.pcm(0..playable.samples()).unwrap();
        assert_eq!(pcm.len(), 80_000);
        for (index, frame) in pcm.chunks_exact(2).enumerate() {
            let index = index as u64;
            assert_eq!([frame[0], frame[1]], [sine(440.0, index), sine(1_000.0, index)], "sample {index}");
        }
        let channel = |n: usize| pcm.iter().skip(n).step_by(2).copied();
        assert!(goertzel(channel(0), 440.0) > 0.45 && goertzel(channel(0), 1_000.0) < 0.01);
        assert!(goertzel(channel(1), 1_000.0) > 0.45 && goertzel(channel(1), 440.0) < 0.01);
    }
}

#[test]
fn a_range_of_the_wav_is_the_same_bytes_as_the_whole() {
    let start = Clock::system().now();
    let mut spool = MemorySpool::default();
    record(config(start), start, 100, &mut spool);
    let playable = spool.play(recording(1), &vault_key());
    let wav = playable.wav();
    let whole = wav.read(0..wav.len()).unwrap();
    assert_eq!(whole.len() as u64, wav.len());
    assert_eq!(wav.len(), 44 + 16_000 * 4);
    assert_eq!(&whole[..4], b"RIFF");
    for range in
        [0..1, 0..44, 43..45, 44..48, 1_001..70_003, 16_043..16_049, wav.len() - 3..wav.len(), wav.len()..wav.len() + 9]
    {
        let expected = whole
            .get(usize::try_from(range.start).unwrap()..usize::try_from(range.end.min(wav.len())).unwrap())
            .unwrap();
        assert_eq!(wav.read(range.clone()).unwrap(), expected, "{range:?}");
    }
}

#[test]
fn events_and_waveform_tell_of_the_call() {
    let start = Clock::system().now();
    let mut spool = MemorySpool::default();
    record(config(start), start, 1_000, &mut spool);
    let playable = spool.play(recording(1), &vault_key());
    let events = playable.events().unwrap();
    assert!(matches!(&events[0], TimelineEvent::Participants { meta } if meta.agent_user == "alice"));
    assert!(events.contains(&TimelineEvent::Answered { sample: 0 }));
    assert!(events.iter().any(
        |e| matches!(e, TimelineEvent::Anchor { sample: 0, utc_ns, .. } if *utc_ns == crate::recording::testing::WALL.0)
    ));
    assert!(!events.iter().any(|e| matches!(e, TimelineEvent::Resync { why: ResyncReason::Drift, .. })));
    let waveform = playable.waveform().unwrap();
    assert_eq!(waveform.len(), 200, "100 ms each over 20 s");
    assert!(
        waveform.iter().all(|[low_0, high_0, low_1, high_1]| [*low_0, *low_1] == [-64; 2]
            && [high_0, high_1].iter().all(|high| (63..=64).contains(*high))),
        "{:?}",
        waveform[0]
    );
}

#[test]
fn epochs_and_segments_change_and_the_tone_runs_through() {
    let start = Clock::system().now();
    let mut spool = MemorySpool::default();
    let small =
        RecorderConfig { epoch_duration_max: Duration::from_secs(2), segment_samples_max: 40_000, ..config(start) };
    record(small, start, 1_000, &mut spool);
    assert_eq!(spool.files.len(), 4);
    let mut root = [0; 32];
    for (segment_no, file) in spool.files.values().enumerate() {
        let report = verify_file(file);
        assert!(report.is_good(), "{report}");
        assert_eq!((report.segment_no as usize, report.prev_segment_root), (segment_no, root));
        root = report.merkle_root;
    }
    let epochs: std::collections::BTreeSet<_> = spool.keys.iter().map(|key| (key.segment_no, key.epoch)).collect();
    assert!(epochs.len() > 8, "{epochs:?}");
    let playable = spool.play(recording(1), &vault_key());
    assert_eq!(playable.samples(), 160_000);
    let pcm = playable.pcm(0..160_000).unwrap();
    assert!(pcm.chunks_exact(2).enumerate().all(|(n, frame)| frame[0] == sine(440.0, n as u64)));
}

#[test]
fn the_old_epoch_goes_on_while_the_next_key_is_not_durable() {
    let start = Clock::system().now();
    let mut spool = MemorySpool { withhold_keys: true, ..MemorySpool::default() };
    record(RecorderConfig { epoch_duration_max: Duration::from_secs(1), ..config(start) }, start, 250, &mut spool);
    let walked = crate::recording::verify::walk(&spool.files[&(recording(1), 0)]).unwrap();
    assert_eq!(walked.epochs.len(), 1);
    assert_eq!(walked.next_sample, 40_000);
}

#[test]
fn an_unanswered_call_without_audio_is_withdrawn_and_one_with_audio_is_kept() {
    let start = Clock::system().now();
    let mut spool = MemorySpool::default();
    let mut recorder = Recorder::new(config(start), Box::new(CountingRng(0)));
    for n in [1, 2] {
        recorder.handle(Input::Command(Command::Start(Box::new(session(n, start)))), start);
    }
    for frame in two_tones(2, start, 10) {
        let now = frame.arrival;
        recorder.handle(Input::Frame(Box::new(frame)), now);
    }
    let end = start + Duration::from_secs(1);
    for n in [1, 2] {
        recorder.handle(Input::Command(Command::Abandon { recording: recording(n), at: end }), end);
    }
    spool.drain(&mut recorder, end);
    assert!(recorder.is_idle());
    assert_eq!(spool.withdrawn.iter().map(|failed| failed.recording).collect::<Vec<_>>(), [recording(1)]);
    assert_eq!(spool.ended.iter().map(|ended| ended.recording).collect::<Vec<_>>(), [recording(2)]);
}

#[test]
fn chunks_that_do_not_reach_the_disk_within_2_s_fail_the_recording_once() {
    let start = Clock::system().now();
    let mut spool = MemorySpool::default();
    let mut recorder = Recorder::new(config(start), Box::new(CountingRng(0)));
    recorder.handle(Input::Command(Command::Start(Box::new(session(1, start)))), start);
    spool.drain(&mut recorder, start);
    recorder.handle(Input::Command(Command::Answered { recording: recording(1), at: start }), start);
    spool.drain(&mut recorder, start);
    spool.is_stuck = true;
    for tick in 0..300 {
        let now = start + Duration::from_millis(20 * tick);
        recorder.handle_timeout(now);
        spool.drain(&mut recorder, now);
        let failures = spool.events.iter().filter(|event| matches!(event, EventKind::Failed { .. })).count();
        // The first chunk is made after 660 ms and is late 2 s later; the answer's event was written.
        assert_eq!(failures, usize::from(tick * 20 >= 2_660), "at {} ms", tick * 20);
    }
}
