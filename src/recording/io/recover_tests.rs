//! Crashes at every byte: nothing whole is lost, nothing is unreadable.
#![cfg(test)]

use super::*;
use crate::recording::container::FileHeader;
use crate::recording::model::WrappedKey;
use crate::recording::playback::{PlayableRecording, PlayableSegment};
use crate::recording::seal::{DataKey, KeyScope};
use crate::recording::segment::{CHUNK_SAMPLES, OpenSegment, SegmentEnd};
use crate::recording::testing::{CountingRng, WALL, node_key, recording, sine, vault_key};
use crate::recording::verify::verify_file;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

struct Crashed {
    file: Vec<u8>,
    seal: Vec<u8>,
    /// Where each chunk ends, and the samples up to there.
    ends: Vec<(usize, u64)>,
    wrapped: WrappedKey,
    opened: SegmentOpened,
}

/// Ten seconds of a tone on both channels, not sealed.
fn crashed(n: u8) -> Crashed {
    let key =
        DataKey::generate(KeyScope { recording: recording(n), segment_no: 0, epoch: 0 }, &mut CountingRng(n)).unwrap();
    let wrapped = key.wrap(vault_key().recipient(), node_key().node(), &mut CountingRng(n)).unwrap();
    let header = FileHeader {
        flags: 0,
        recording: recording(n),
        segment_no: 0,
        node: node_key().node(),
        start_utc_ns: WALL.0,
        start_mono_ns: 0,
        sample_rate: 8_000,
        channels: 2,
        clock_state: 0,
        clock_err_us: 0,
        first_key_epoch: 0,
        key_commit: *key.commit(),
        prev_segment_root: [0; 32],
    };
    let opened = SegmentOpened {
        recording: recording(n),
        segment_no: 0,
        node: node_key().node(),
        started: WALL,
        sample_rate: 8_000,
        channels: 2,
    };
    let (mut segment, header) = OpenSegment::open(header, key, 0, &node_key());
    let mut file = header.to_vec();
    let mut ends = vec![(file.len(), 0)];
    for chunk in 0..20_u64 {
        let first = chunk * CHUNK_SAMPLES as u64;
        let tone: Vec<i16> = (first..first + CHUNK_SAMPLES as u64).flat_map(|n| [sine(440.0, n); 2]).collect();
        file.extend(segment.audio(&tone).unwrap());
        ends.push((file.len(), first + CHUNK_SAMPLES as u64));
    }
    let seal = segment.seal(
        &SegmentEnd { at: WALL, end_reason: "answered".to_owned(), channels: [ChannelStats::default(); 2] },
        &node_key(),
    );
    Crashed { file, seal: seal.chunk, ends, wrapped, opened }
}

fn records(crashed: &Crashed) -> Vec<JournalRecord> {
    vec![
        JournalRecord::Keys { recording: crashed.opened.recording, keys: vec![crashed.wrapped.clone()] },
        JournalRecord::Segment { opened: crashed.opened.clone() },
    ]
}

#[test]
fn two_hundred_crashes_at_random_bytes_lose_at_most_the_last_chunk() {
    let mut rng = StdRng::seed_from_u64(20_261_122);
    let crashed = crashed(1);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(file_name(recording(1), 0));
    for round in 0..200 {
        let cut = rng.random_range(256..=crashed.file.len());
        let mut bytes = crashed.file[..cut].to_vec();
        // After a power loss, pages of zeros or noise may follow what was written.
        match round % 4 {
            1 => bytes.extend([0; 4_096]),
            2 => bytes.extend((0..777).map(|_| rng.random::<u8>())),
            _ => {}
        }
        fs::write(&path, &bytes).unwrap();
        let found = recover(dir.path(), &records(&crashed), &node_key(), WALL).unwrap();
        let [JournalRecord::Sealed { sealed }, JournalRecord::Ended { ended }] = &found[..] else {
            panic!("{found:?}")
        };
        let (whole, samples) = *crashed.ends.iter().rfind(|(end, _)| *end <= cut).unwrap();
        assert_eq!(
            (sealed.samples, ended.samples, sealed.sealed_by),
            (samples, samples, SealedBy::Recovered),
            "cut at {cut}"
        );
        let file = fs::read(&path).unwrap();
        assert_eq!(sealed.sha256, sha256(&[&file]));
        let report = verify_file(&file);
        assert!(report.is_good(), "{report}");
        assert_eq!(report.cut_bytes, (bytes.len() - whole) as u64);
        let key = vault_key().unwrap_key(&crashed.wrapped).unwrap();
        let playable = PlayableRecording::new(vec![PlayableSegment::new(file.into(), vec![key]).unwrap()]);
        let pcm = playable.pcm(0..samples).unwrap();
        assert!(pcm.chunks_exact(2).enumerate().all(|(n, frame)| frame[0] == sine(440.0, n as u64)));
    }
}

#[test]
fn a_crash_between_seal_and_journal_keeps_the_live_seal() {
    let crashed = crashed(1);
    let dir = tempfile::tempdir().unwrap();
    let file = [&crashed.file[..], &crashed.seal].concat();
    fs::write(dir.path().join(file_name(recording(1), 0)), &file).unwrap();
    let found = recover(dir.path(), &records(&crashed), &node_key(), WALL).unwrap();
    assert!(
        matches!(&found[0], JournalRecord::Sealed { sealed } if sealed.sealed_by == SealedBy::Live && sealed.sha256 == sha256(&[&file]))
    );
}

#[test]
fn a_crash_in_the_recovery_is_recovered_again() {
    let crashed = crashed(1);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(file_name(recording(1), 0));
    fs::write(&path, &crashed.file[..crashed.file.len() - 5]).unwrap();
    drop(recover(dir.path(), &records(&crashed), &node_key(), WALL).unwrap());
    let sealed = fs::read(&path).unwrap();
    fs::write(&path, &sealed[..sealed.len() - 30]).unwrap();
    drop(recover(dir.path(), &records(&crashed), &node_key(), WALL).unwrap());
    let report = verify_file(&fs::read(&path).unwrap());
    assert!(report.is_good() && report.samples == 19 * 4_000, "{report}");
}

#[test]
fn an_intent_without_file_and_a_file_without_key_are_exceptions() {
    let crashed = crashed(1);
    let dir = tempfile::tempdir().unwrap();
    let found = recover(dir.path(), &records(&crashed), &node_key(), WALL).unwrap();
    assert!(
        matches!(&found[..], [JournalRecord::Failed { failed }] if failed.reason == FailureReason::NoFile),
        "{found:?}"
    );
    fs::write(dir.path().join(file_name(recording(1), 0)), &crashed.file).unwrap();
    let found = recover(dir.path(), &records(&crashed)[1..], &node_key(), WALL).unwrap();
    assert!(
        matches!(&found[..], [JournalRecord::Failed { failed }] if failed.reason == FailureReason::NoKey),
        "{found:?}"
    );
}

#[test]
fn strange_and_badly_signed_files_go_to_quarantine() {
    let crashed = crashed(1);
    let dir = tempfile::tempdir().unwrap();
    let name = file_name(recording(1), 0);
    let mut forged = crashed.file.clone();
    forged[200] ^= 1;
    fs::write(dir.path().join(&name), &forged).unwrap();
    fs::write(dir.path().join("half.tmp"), b"half").unwrap();
    let found = recover(dir.path(), &records(&crashed), &node_key(), WALL).unwrap();
    assert!(matches!(&found[..], [JournalRecord::Failed { .. }]), "{found:?}");
    for file in [&name, "half.tmp"] {
        assert!(dir.path().join("quarantine").join(file).exists() && !dir.path().join(file).exists());
    }
}
