//! The container's bytes for ever, and every kind of damage by its name.
#![cfg(test)]

use super::*;
use crate::recording::container::CHUNK_HEADER_BYTES;
use crate::recording::seal::{DataKey, KeyScope};
use crate::recording::seal_body::ChannelStats;
use crate::recording::segment::{OpenSegment, SegmentEnd, TimelineEvent};
use crate::recording::testing::{CountingRng, WALL, node_key, recording, sine};
use proptest::prelude::*;

/// The file that `tests/golden/container/` holds: every kind of chunk that is written, two epochs.
fn golden() -> Vec<u8> {
    let key = |epoch| {
        DataKey::generate(
            KeyScope { recording: recording(9), segment_no: 2, epoch },
            &mut CountingRng(epoch.to_le_bytes()[0]),
        )
        .unwrap()
    };
    let first = key(3);
    let header = FileHeader {
        flags: 0,
        recording: recording(9),
        segment_no: 2,
        node: node_key().node(),
        start_utc_ns: WALL.0,
        start_mono_ns: 123_456_789,
        sample_rate: 8_000,
        channels: 2,
        clock_state: 1,
        clock_err_us: 250,
        first_key_epoch: 3,
        key_commit: *first.commit(),
        prev_segment_root: [0xab; 32],
    };
    let (mut segment, header) = OpenSegment::open(header, first, 8_000, &node_key());
    let tone: Vec<i16> = (0..4_000_u64).flat_map(|n| [sine(440.0, n), sine(1_000.0, n)]).collect();
    let mut file = header.to_vec();
    file.extend(segment.event(&TimelineEvent::Anchor { sample: 8_000, utc_ns: WALL.0, mono_ns: 1 }).unwrap());
    file.extend(segment.audio(&tone).unwrap());
    file.extend(segment.hold(4_000).unwrap());
    file.extend(segment.change_key(key(4)).unwrap());
    file.extend(segment.audio(&tone[..2_000]).unwrap());
    file.extend(segment.wave(8_000, &[[-64, 63, -64, 64]; 12]).unwrap());
    let stats = ChannelStats { frames: 1, concealed: 2, late_samples: 3, resyncs: 4 };
    let end = SegmentEnd {
        at: WALL.after(std::time::Duration::from_secs(2)),
        end_reason: "answered".to_owned(),
        channels: [stats; 2],
    };
    let sealed = segment.seal(&end, &node_key());
    file.extend(&sealed.chunk);
    assert_eq!(sealed.facts.sha256, sha256(&[&file]));
    file
}

/// Where each chunk begins, and where the file ends.
fn offsets(file: &[u8]) -> Vec<usize> {
    let mut offsets = vec![FILE_HEADER_BYTES];
    while let Some(Ok(chunk)) = chunk_at(file, *offsets.last().unwrap()) {
        offsets.push(chunk.end);
    }
    offsets
}

#[test]
fn the_bytes_are_those_of_the_golden_file() {
    let made = golden();
    let expected: &[u8] = include_bytes!("../../tests/golden/container/segment.rec");
    let first_difference = made.iter().zip(expected).position(|(made, expected)| made != expected);
    assert_eq!(first_difference, None, "the container's bytes changed, and they are final");
    assert_eq!(made.len(), expected.len());
}

#[test]
fn the_header_lies_as_the_design_says() {
    let file = golden();
    assert_eq!(&file[..8], b"TNDMREC1");
    assert_eq!(u16::from_le_bytes([file[8], file[9]]), 256);
    assert_eq!(file[12..28], [9; 16]);
    assert_eq!(file[28..32], 2_u32.to_le_bytes());
    assert_eq!(&file[32..48], node_key().node().as_bytes());
    assert_eq!(file[48..56], WALL.0.to_le_bytes());
    assert_eq!(file[64..68], 8_000_u32.to_le_bytes());
    assert_eq!(file[68..72], [2, 1, 1, 1]);
    assert_eq!(file[76..80], 3_u32.to_le_bytes());
    assert_eq!(file[112..144], [0xab; 32]);
    assert!(is_signed_by(node_key().public(), &file[..144], file[144..208].try_into().unwrap()));
    assert_eq!(file[208..256], [0; 48]);
    let chunk = &file[256..];
    assert_eq!(&chunk[..4], b"TCHK");
    assert_eq!((chunk[28], chunk[29], &chunk[30..32]), (4, 0, &3_u16.to_le_bytes()[..]));
    assert_eq!(chunk[32..64], sha256(&[&file[..256]]));
    let audio = &file[offsets(&file)[1]..];
    assert_eq!((&audio[8..16], &audio[16..24]), (&1_u64.to_le_bytes()[..], &8_000_u64.to_le_bytes()[..]));
    assert_eq!((&audio[24..28], audio[28], audio[29]), (&4_000_u32.to_le_bytes()[..], 1, 1));
}

#[test]
fn a_whole_file_is_good() {
    let report = verify_file(&golden());
    assert!(report.is_good(), "{report}");
    assert_eq!((report.chunks, report.samples, report.sealed_by), (7, 9_000, Some(SealedBy::Live)));
    assert!(report.to_string().starts_with("OK"));
    assert!(serde_json::to_string(&report).unwrap().contains("\"faults\":[]"));
}

#[test]
fn a_flipped_byte_names_its_chunk() {
    let file = golden();
    let offsets = offsets(&file);
    for (chunk_no, offset) in offsets[..7].iter().enumerate() {
        let mut damaged = file.clone();
        damaged[offset + 40] ^= 1;
        let expected = Fault::Altered { chunk_no: chunk_no as u64, offset: *offset as u64 };
        assert_eq!(verify_file(&damaged).faults[0], expected);
    }
}

#[test]
fn a_chunk_rewritten_with_its_checksum_breaks_the_chain_behind_it() {
    let file = golden();
    let offsets = offsets(&file);
    let (start, end) = (offsets[1], offsets[2]);
    let mut damaged = file;
    damaged[start + CHUNK_HEADER_BYTES] ^= 1;
    let crc = crc32c::crc32c(&damaged[start..end - 4]).to_le_bytes();
    damaged[end - 4..end].copy_from_slice(&crc);
    let expected = Fault::Chain { chunk_no: 2, found_chunk_no: 2, offset: end as u64 };
    assert_eq!(verify_file(&damaged).faults, [expected]);
}

#[test]
fn swapped_dropped_and_repeated_chunks_are_named() {
    let file = golden();
    let at = offsets(&file);
    let swapped = [&file[..at[1]], &file[at[2]..at[3]], &file[at[1]..at[2]], &file[at[3]..]].concat();
    assert_eq!(verify_file(&swapped).faults, [Fault::Chain { chunk_no: 1, found_chunk_no: 2, offset: at[1] as u64 }]);
    let dropped = [&file[..at[1]], &file[at[2]..]].concat();
    assert_eq!(verify_file(&dropped).faults, [Fault::Chain { chunk_no: 1, found_chunk_no: 2, offset: at[1] as u64 }]);
    let repeated = [&file[..at[2]], &file[at[1]..]].concat();
    assert_eq!(verify_file(&repeated).faults, [Fault::Chain { chunk_no: 2, found_chunk_no: 1, offset: at[2] as u64 }]);
}

#[test]
fn an_appended_chunk_a_torn_tail_and_a_missing_seal_are_named() {
    let file = golden();
    let at = offsets(&file);
    let appended = [&file[..], &file[at[1]..at[2]]].concat();
    assert_eq!(
        verify_file(&appended).faults,
        [Fault::AfterSeal { offset: file.len() as u64, bytes: (at[2] - at[1]) as u64 }]
    );
    let torn = &file[..at[4] + 30];
    assert_eq!(verify_file(torn).faults, [Fault::TornTail { chunk_no: 4, offset: at[4] as u64, bytes: 30 }]);
    assert_eq!(verify_file(&file[..at[6]]).faults, [Fault::NotSealed]);
    let zeros = [&file[..at[3]], &[0; 4_096]].concat();
    assert_eq!(verify_file(&zeros).faults, [Fault::Garbage { chunk_no: 3, offset: at[3] as u64 }]);
    assert_eq!(verify_file(b"RIFF").faults, [Fault::NotARecording]);
}

#[test]
fn bad_signatures_are_named() {
    let file = golden();
    let mut header = file.clone();
    header[150] ^= 1;
    // The chain hangs on the whole header, so its signature cannot be changed alone.
    assert_eq!(verify_file(&header).faults, [Fault::Chain { chunk_no: 0, found_chunk_no: 0, offset: 256 }]);
    let at = offsets(&file);
    let mut seal = file.clone();
    let (start, end) = (at[6], at[7]);
    seal[end - 10] ^= 1;
    let crc = crc32c::crc32c(&seal[start..end - 4]).to_le_bytes();
    seal[end - 4..].copy_from_slice(&crc);
    assert_eq!(verify_file(&seal).faults, [Fault::SealSignature { chunk_no: 6 }]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// No byte can change, and no bytes can make the verifier panic.
    #[test]
    fn any_change_is_found(position in any::<prop::sample::Index>(), flip in 1_u8..=255) {
        let mut file = golden();
        let position = position.index(file.len());
        file[position] ^= flip;
        prop_assert!(!verify_file(&file).is_good(), "byte {} was changed unseen", position);
    }

    #[test]
    fn arbitrary_bytes_are_reported_and_never_panic(tail in proptest::collection::vec(any::<u8>(), 0..2_000), keep in 0_usize..4_000) {
        let mut file = golden();
        file.truncate(keep.max(FILE_HEADER_BYTES));
        file.extend(tail);
        let _report = verify_file(&file);
    }
}
