//! After a crash: every unsealed file is walked, cut at its last whole chunk, sealed as recovered, and indexed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use crate::clock::WallTime;
use crate::ids::RecordingId;
use crate::recording::chain::{NodeKey, is_signed_by, sha256};
use crate::recording::container::{ChunkCodec, ChunkHeader, ChunkKind, assemble};
use crate::recording::io::journal::JournalRecord;
use crate::recording::io::object_store::file_name;
use crate::recording::model::{
    FailureReason, RecordingEnded, RecordingFailed, RecordingState, SealedBy, SegmentOpened, SegmentSealed,
};
use crate::recording::seal_body::{ChannelStats, SealBody};
use crate::recording::verify::{Walk, walk};

/// How a recording ended that a crash ended.
pub const END_REASON_CRASH: &str = "gateway_crashed";

/// What the journal knows of one recording.
#[derive(Debug, Default)]
struct Known {
    opened: Vec<SegmentOpened>,
    keyed: BTreeSet<u32>,
    sealed: Vec<SegmentSealed>,
    answered: Option<WallTime>,
    is_over: bool,
    node: Option<crate::ids::NodeId>,
}

/// Recovers a spool that is locked and whose journal says `records`. What must be added to the journal.
pub fn recover(
    spool: &Path,
    records: &[JournalRecord],
    node_key: &NodeKey,
    now: WallTime,
) -> io::Result<Vec<JournalRecord>> {
    let mut known: BTreeMap<RecordingId, Known> = BTreeMap::new();
    for record in records {
        note(known.entry(record.recording()).or_default(), record);
    }
    clear_away(spool, &known)?;
    let mut found = Vec::new();
    for (recording, mut known) in known {
        if !known.is_over {
            recover_one(&Bench { spool, node_key, now }, recording, &mut known, &mut found)?;
        }
    }
    Ok(found)
}

fn note(known: &mut Known, record: &JournalRecord) {
    match record {
        JournalRecord::Intent { meta } => known.node = Some(meta.node),
        JournalRecord::Keys { keys, .. } => known.keyed.extend(keys.iter().map(|key| key.segment_no)),
        JournalRecord::Segment { opened } => known.opened.push(opened.clone()),
        JournalRecord::Answered { at, .. } => known.answered = Some(*at),
        JournalRecord::Sealed { sealed } => known.sealed.push((**sealed).clone()),
        JournalRecord::Ended { .. } | JournalRecord::Failed { .. } | JournalRecord::Done { .. } => known.is_over = true,
    }
}

/// Files that the journal does not know go to quarantine: half-made ones, and what was released before the crash.
fn clear_away(spool: &Path, known: &BTreeMap<RecordingId, Known>) -> io::Result<()> {
    let expected: BTreeSet<String> = known
        .iter()
        .flat_map(|(recording, known)| known.opened.iter().map(|opened| file_name(*recording, opened.segment_no)))
        .collect();
    for entry in fs::read_dir(spool)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_ours = Path::new(&name).extension().is_some_and(|extension| extension == "rec" || extension == "tmp");
        if is_ours && !expected.contains(&name) {
            quarantine(spool, &name)?;
        }
    }
    Ok(())
}

fn quarantine(spool: &Path, name: &str) -> io::Result<()> {
    let quarantine = spool.join("quarantine");
    fs::create_dir_all(&quarantine)?;
    tracing::warn!(file = name, "a file in the recording spool is put into quarantine");
    fs::rename(spool.join(name), quarantine.join(name))
}

/// What a recovery works with.
#[derive(Clone, Copy)]
struct Bench<'a> {
    spool: &'a Path,
    node_key: &'a NodeKey,
    now: WallTime,
}

fn recover_one(
    bench: &Bench<'_>,
    recording: RecordingId,
    known: &mut Known,
    found: &mut Vec<JournalRecord>,
) -> io::Result<()> {
    let mut lost = None;
    for opened in std::mem::take(&mut known.opened) {
        let segment_no = opened.segment_no;
        if known.sealed.iter().any(|sealed| sealed.segment_no == segment_no) {
            continue;
        }
        if !known.keyed.contains(&segment_no) {
            lost = Some((FailureReason::NoKey, "a file was found whose key is nowhere"));
            continue;
        }
        if let Some(sealed) = recover_file(bench, &opened)? {
            found.push(JournalRecord::Sealed { sealed: Box::new(sealed.clone()) });
            known.sealed.push(sealed);
        }
    }
    found.push(if known.sealed.is_empty() {
        let (reason, detail) =
            lost.unwrap_or((FailureReason::NoFile, "the intent was found without a file after a crash"));
        tracing::error!(%recording, reason = reason.as_str(), "a recording is lost");
        let failed = RecordingFailed {
            recording,
            node: bench.node_key.node(),
            at: bench.now,
            reason,
            detail: detail.to_owned(),
        };
        JournalRecord::Failed { failed: Box::new(failed) }
    } else {
        JournalRecord::Ended { ended: Box::new(end_of(bench, recording, known)) }
    });
    Ok(())
}

fn end_of(bench: &Bench<'_>, recording: RecordingId, known: &Known) -> RecordingEnded {
    let ended = known.sealed.iter().map(|sealed| sealed.ended).max().unwrap_or(bench.now);
    RecordingEnded {
        recording,
        node: bench.node_key.node(),
        state: RecordingState::Sealed,
        answered: known.answered,
        ended,
        samples: known.sealed.iter().map(|sealed| sealed.first_sample + sealed.samples).max().unwrap_or(0),
        sample_rate: 8_000,
        segments: u32::try_from(known.sealed.len()).unwrap_or(u32::MAX),
        end_reason: END_REASON_CRASH.to_owned(),
        sealed_by: SealedBy::Recovered,
    }
}

/// Seals one file. `None` where there is no file, or none worth the name.
fn recover_file(bench: &Bench<'_>, opened: &SegmentOpened) -> io::Result<Option<SegmentSealed>> {
    let name = file_name(opened.recording, opened.segment_no);
    let path = bench.spool.join(&name);
    let mut bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let walked = walk(&bytes).filter(|walk| is_ours(walk, opened, bench.node_key));
    let Some(walk) = walked else {
        quarantine(bench.spool, &name)?;
        return Ok(None);
    };
    if let Some((seal, true)) = &walk.seal
        && walk.good_bytes == bytes.len()
    {
        return Ok(Some(facts(&walk, seal, opened, &bytes)));
    }
    let cut = bytes.len() - walk.good_bytes;
    let seal = seal_of(&walk, opened, cut as u64, bench.node_key);
    let chunk = seal_chunk(&walk, &seal, bench.node_key);
    let mut file = OpenOptions::new().append(true).open(&path)?;
    file.set_len(walk.good_bytes as u64)?;
    file.write_all(&chunk)?;
    file.sync_all()?;
    File::open(bench.spool)?.sync_all()?;
    bytes.truncate(walk.good_bytes);
    bytes.extend_from_slice(&chunk);
    tracing::warn!(recording = %opened.recording, segment = opened.segment_no, cut_bytes = cut, "a recording was recovered after a crash");
    Ok(Some(facts(&walk, &seal, opened, &bytes)))
}

/// Whether the header is this segment's, and signed. Another node's signature cannot be checked here, and is let pass.
fn is_ours(walk: &Walk, opened: &SegmentOpened, node_key: &NodeKey) -> bool {
    let header = &walk.header;
    let is_this = header.recording == opened.recording && header.segment_no == opened.segment_no;
    let is_signed = header.node != node_key.node()
        || is_signed_by(node_key.public(), &header.signed_bytes(), &walk.header_signature);
    is_this && is_signed
}

fn seal_of(walk: &Walk, opened: &SegmentOpened, cut_bytes: u64, node_key: &NodeKey) -> SealBody {
    let samples = walk.next_sample - walk.first_sample;
    SealBody {
        sealed_by: SealedBy::Recovered,
        chunk_count: walk.chunks,
        first_sample: walk.first_sample,
        total_samples: samples,
        end_utc_ns: opened.started.0 + samples * 125_000,
        cut_bytes,
        merkle_root: walk.merkle_root,
        signer: *node_key.public(),
        epochs: walk.epochs.clone(),
        index: walk.index.clone(),
        channels: vec![ChannelStats::default(); 2],
        end_reason: END_REASON_CRASH.to_owned(),
    }
}

fn seal_chunk(walk: &Walk, seal: &SealBody, node_key: &NodeKey) -> Vec<u8> {
    let header = ChunkHeader {
        len: u32::try_from(seal.len()).unwrap_or(u32::MAX),
        chunk_no: walk.chunks,
        first_sample: walk.next_sample,
        n_samples: 0,
        kind: ChunkKind::Seal,
        codec: ChunkCodec::None,
        key_epoch: walk.last_epoch,
        prev_hash: walk.last_hash,
    }
    .to_bytes();
    assemble(&header, &seal.sign(&walk.header_hash, &header, node_key))
}

fn facts(walk: &Walk, seal: &SealBody, opened: &SegmentOpened, bytes: &[u8]) -> SegmentSealed {
    SegmentSealed {
        recording: opened.recording,
        segment_no: opened.segment_no,
        node: crate::recording::chain::node_of(&seal.signer),
        started: opened.started,
        ended: WallTime(seal.end_utc_ns),
        first_sample: seal.first_sample,
        samples: seal.total_samples,
        chunks: walk.chunks + 1,
        bytes: bytes.len() as u64,
        sha256: sha256(&[bytes]),
        merkle_root: seal.merkle_root,
        sealed_by: seal.sealed_by,
    }
}

#[cfg(test)]
#[path = "recover_tests.rs"]
mod tests;
