//! Checks a recording's file without any key: structure, chain, Merkle root, signatures. Names what is wrong, and where.

use std::fmt;

use serde::Serialize;

use crate::ids::{NodeId, RecordingId};
use crate::recording::chain::{Hash, MerkleTree, is_signed_by, sha256};
use crate::recording::container::{Chunk, ChunkKind, ContainerError, FILE_HEADER_BYTES, FileHeader, chunk_at};
use crate::recording::model::SealedBy;
use crate::recording::seal_body::{IndexEntry, SealBody, is_same_node, is_signature_good};
use crate::recording::serial::as_hex;
use crate::recording::serial::as_hex_32;

/// What is known of a file after its check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileReport {
    /// Whose; `None` where the header cannot be read.
    pub recording: Option<RecordingId>,
    /// Which segment.
    pub segment_no: u32,
    /// The node that recorded.
    #[serde(with = "as_hex")]
    pub node: NodeId,
    /// Chunks that are whole and in their place, the seal included.
    pub chunks: u64,
    /// Samples per channel in them.
    pub samples: u64,
    /// Samples per second.
    pub sample_rate: u32,
    /// Merkle root of the chunks found.
    #[serde(with = "as_hex_32")]
    pub merkle_root: Hash,
    /// Merkle root that the header names as the segment's before.
    #[serde(with = "as_hex_32")]
    pub prev_segment_root: Hash,
    /// Who sealed; `None` where there is no seal.
    pub sealed_by: Option<SealedBy>,
    /// How the call ended, by the seal.
    pub end_reason: Option<String>,
    /// Bytes that a recovery cut off.
    pub cut_bytes: u64,
    /// What is wrong, in the order of the file.
    pub faults: Vec<Fault>,
}

impl FileReport {
    /// Whether nothing is wrong.
    pub fn is_good(&self) -> bool {
        self.faults.is_empty()
    }
}

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum Fault {
    /// It is too short for a header, or begins otherwise.
    NotARecording,
    /// The header's signature is not that of the node that sealed the file.
    HeaderSignature,
    /// The header's signature cannot be checked: another node sealed the file, and its own key is not at hand.
    HeaderUnchecked,
    /// A chunk's checksum does not match: its bytes were altered.
    Altered {
        /// The chunk that is expected there.
        chunk_no: u64,
        /// Its offset.
        offset: u64,
    },
    /// A chunk is whole, but does not follow from the one before it: something was altered with its checksum, put in, or taken out.
    Chain {
        /// The chunk that is expected there.
        chunk_no: u64,
        /// The number that the chunk found there bears.
        found_chunk_no: u64,
        /// Its offset.
        offset: u64,
    },
    /// The file ends in the midst of a chunk.
    TornTail {
        /// The chunk that is expected there.
        chunk_no: u64,
        /// Its offset.
        offset: u64,
        /// Bytes of it.
        bytes: u64,
    },
    /// No chunk begins where one should.
    Garbage {
        /// The chunk that is expected there.
        chunk_no: u64,
        /// Its offset.
        offset: u64,
    },
    /// Bytes follow the seal.
    AfterSeal {
        /// Where they begin.
        offset: u64,
        /// How many.
        bytes: u64,
    },
    /// The file has no seal.
    NotSealed,
    /// The seal's signature does not match.
    SealSignature {
        /// The seal's number.
        chunk_no: u64,
    },
    /// The seal says otherwise than the chunks.
    SealContent {
        /// In what.
        what: &'static str,
    },
    /// The samples do not follow one another.
    Timeline {
        /// The chunk.
        chunk_no: u64,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotARecording => write!(f, "this is not a recording file"),
            Self::HeaderSignature => write!(f, "the file header's signature is bad"),
            Self::HeaderUnchecked => {
                write!(f, "the file header's signature cannot be checked: another node sealed the file")
            }
            Self::Altered { chunk_no, offset } => {
                write!(f, "chunk {chunk_no} at byte {offset} was altered: its checksum does not match")
            }
            Self::Chain { chunk_no, found_chunk_no, offset } if chunk_no == found_chunk_no => {
                write!(
                    f,
                    "chunk {chunk_no} at byte {offset} does not continue the chain: it, or the chunk before it, was replaced"
                )
            }
            Self::Chain { chunk_no, found_chunk_no, offset } => {
                write!(f, "chunk {found_chunk_no} stands at byte {offset}, in the place of chunk {chunk_no}")
            }
            Self::TornTail { chunk_no, offset, bytes } => {
                write!(f, "chunk {chunk_no} at byte {offset} is torn: the file ends after {bytes} of its bytes")
            }
            Self::Garbage { chunk_no, offset } => {
                write!(f, "there is no chunk at byte {offset}, where chunk {chunk_no} should be")
            }
            Self::AfterSeal { offset, bytes } => write!(f, "{bytes} bytes follow the seal, from byte {offset}"),
            Self::NotSealed => write!(f, "there is no seal: the file is unfinished, or its end was cut off"),
            Self::SealSignature { chunk_no } => write!(f, "the seal's signature (chunk {chunk_no}) is bad"),
            Self::SealContent { what } => write!(f, "the seal does not match the chunks in {what}"),
            Self::Timeline { chunk_no } => write!(f, "the samples of chunk {chunk_no} do not follow those before"),
        }
    }
}

impl fmt::Display for FileReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(recording) = self.recording else { return writeln!(f, "BROKEN  this is not a recording file") };
        let verdict = if self.is_good() { "OK    " } else { "BROKEN" };
        let seconds = self.samples / u64::from(self.sample_rate.max(1));
        write!(f, "{verdict}  {recording} segment {}: {} chunks, {seconds} s", self.segment_no, self.chunks)?;
        match self.sealed_by {
            Some(SealedBy::Live) => writeln!(f, ", sealed")?,
            Some(SealedBy::Recovered) => {
                writeln!(f, ", sealed after a crash, {} bytes of a torn tail cut off", self.cut_bytes)?;
            }
            None => writeln!(f, ", not sealed")?,
        }
        self.faults.iter().try_for_each(|fault| writeln!(f, "        {fault}"))
    }
}

/// The walk through a file's chunks, as far as they are whole and in their place.
#[derive(Debug, Clone)]
pub struct Walk {
    /// The header.
    pub header: FileHeader,
    /// The header's signature.
    pub header_signature: [u8; 64],
    /// SHA-256 of the header.
    pub header_hash: Hash,
    /// Chunks in their place, the seal not counted.
    pub chunks: u64,
    /// Where the last chunk in its place ends, a seal included.
    pub good_bytes: usize,
    /// Position of the first sample.
    pub first_sample: u64,
    /// Position after the last sample.
    pub next_sample: u64,
    /// Hash of the last chunk before the seal, or of the header.
    pub last_hash: Hash,
    /// Merkle root over the chunks before the seal.
    pub merkle_root: Hash,
    /// Key epochs with their commitments.
    pub epochs: Vec<(u32, Hash)>,
    /// Key epoch of the last chunk.
    pub last_epoch: u16,
    /// Every chunk with samples.
    pub index: Vec<IndexEntry>,
    /// The seal, where there is one that can be read, and whether its signature is good.
    pub seal: Option<(SealBody, bool)>,
    /// What is wrong so far.
    pub faults: Vec<Fault>,
}

/// Walks a file up to its seal, or to the first thing that is wrong. `None` where there is no header.
pub fn walk(file: &[u8]) -> Option<Walk> {
    let (header, header_signature) = FileHeader::parse(file).ok()?;
    let header_hash = sha256(&[file.get(..FILE_HEADER_BYTES)?]);
    let mut walk = Walk {
        epochs: vec![(header.first_key_epoch, header.key_commit)],
        last_epoch: u16::try_from(header.first_key_epoch).unwrap_or(u16::MAX),
        header,
        header_signature,
        header_hash,
        chunks: 0,
        good_bytes: FILE_HEADER_BYTES,
        first_sample: 0,
        next_sample: 0,
        last_hash: header_hash,
        merkle_root: MerkleTree::default().root(),
        index: Vec::new(),
        seal: None,
        faults: Vec::new(),
    };
    let mut tree = MerkleTree::default();
    while walk.seal.is_none() {
        let Some(found) = chunk_at(file, walk.good_bytes) else { break };
        let step = found.map_err(|error| walk.fault_of(error, file)).and_then(|chunk| walk.step(&chunk, &mut tree));
        if let Err(fault) = step {
            walk.faults.push(fault);
            break;
        }
    }
    walk.merkle_root = tree.root();
    Some(walk)
}

impl Walk {
    fn fault_of(&self, error: ContainerError, file: &[u8]) -> Fault {
        let (chunk_no, offset) = (self.chunks, self.good_bytes as u64);
        match error {
            ContainerError::Short => Fault::TornTail { chunk_no, offset, bytes: file.len() as u64 - offset },
            ContainerError::Crc => Fault::Altered { chunk_no, offset },
            ContainerError::NotARecording | ContainerError::Unsupported | ContainerError::NotAChunk => {
                Fault::Garbage { chunk_no, offset }
            }
        }
    }

    fn step(&mut self, chunk: &Chunk<'_>, tree: &mut MerkleTree) -> Result<(), Fault> {
        let header = &chunk.header;
        if header.chunk_no != self.chunks || header.prev_hash != self.last_hash {
            return Err(Fault::Chain {
                chunk_no: self.chunks,
                found_chunk_no: header.chunk_no,
                offset: chunk.offset as u64,
            });
        }
        if header.kind == ChunkKind::Seal {
            let body = SealBody::parse(chunk.body).map_err(|_error| Fault::SealContent { what: "its form" })?;
            let is_good = is_signature_good(chunk.body, &body.signer, &self.header_hash, chunk.header_bytes);
            self.seal = Some((body, is_good));
            self.good_bytes = chunk.end;
            return Ok(());
        }
        self.follow_samples(chunk)?;
        if header.kind == ChunkKind::KeyEpoch
            && let Some((epoch, commit)) = chunk.body.split_first_chunk::<4>()
            && let Ok(commit) = Hash::try_from(commit)
        {
            self.epochs.push((u32::from_le_bytes(*epoch), commit));
        }
        self.last_epoch = header.key_epoch;
        self.last_hash = chunk.hash();
        tree.push(&self.last_hash);
        self.chunks += 1;
        self.good_bytes = chunk.end;
        Ok(())
    }

    fn follow_samples(&mut self, chunk: &Chunk<'_>) -> Result<(), Fault> {
        let header = &chunk.header;
        if !header.kind.is_timeline() {
            return Ok(());
        }
        if self.index.is_empty() {
            (self.first_sample, self.next_sample) = (header.first_sample, header.first_sample);
        }
        if header.first_sample != self.next_sample {
            return Err(Fault::Timeline { chunk_no: header.chunk_no });
        }
        self.next_sample += u64::from(header.n_samples);
        self.index.push(IndexEntry {
            offset: chunk.offset as u64,
            first_sample: header.first_sample,
            n_samples: header.n_samples,
        });
        Ok(())
    }

    /// Compares the seal with what was found.
    fn check_seal(&mut self, file: &[u8]) {
        let Some((seal, is_signed)) = &self.seal else {
            if self.faults.is_empty() {
                self.faults.push(Fault::NotSealed);
            }
            return;
        };
        if !is_signed {
            self.faults.push(Fault::SealSignature { chunk_no: self.chunks });
        }
        let contents = [
            ("the number of chunks", seal.chunk_count == self.chunks),
            ("the number of samples", seal.total_samples == self.next_sample - self.first_sample),
            ("the Merkle root", seal.merkle_root == self.merkle_root),
            ("the key epochs", seal.epochs == self.epochs),
            ("the index", seal.index == self.index),
        ];
        self.faults.extend(contents.iter().filter(|(_, same)| !same).map(|(what, _)| Fault::SealContent { what }));
        if !is_same_node(&seal.signer, self.header.node) {
            self.faults.push(Fault::HeaderUnchecked);
        } else if !is_signed_by(&seal.signer, &self.header.signed_bytes(), &self.header_signature) {
            self.faults.push(Fault::HeaderSignature);
        }
        if self.good_bytes < file.len() {
            self.faults.push(Fault::AfterSeal {
                offset: self.good_bytes as u64,
                bytes: (file.len() - self.good_bytes) as u64,
            });
        }
    }
}

/// Checks one file.
pub fn verify_file(file: &[u8]) -> FileReport {
    let Some(mut walk) = walk(file) else { return FileReport::of_garbage() };
    walk.check_seal(file);
    let sealed = walk.seal.as_ref().map(|(seal, _)| seal);
    FileReport {
        recording: Some(walk.header.recording),
        segment_no: walk.header.segment_no,
        node: walk.header.node,
        chunks: walk.chunks + u64::from(sealed.is_some()),
        samples: walk.next_sample - walk.first_sample,
        sample_rate: walk.header.sample_rate,
        merkle_root: walk.merkle_root,
        prev_segment_root: walk.header.prev_segment_root,
        sealed_by: sealed.map(|seal| seal.sealed_by),
        end_reason: sealed.map(|seal| seal.end_reason.clone()),
        cut_bytes: sealed.map_or(0, |seal| seal.cut_bytes),
        faults: walk.faults,
    }
}

impl FileReport {
    fn of_garbage() -> Self {
        Self {
            recording: None,
            segment_no: 0,
            node: NodeId::from_bytes([0; 16]),
            chunks: 0,
            samples: 0,
            sample_rate: 0,
            merkle_root: [0; 32],
            prev_segment_root: [0; 32],
            sealed_by: None,
            end_reason: None,
            cut_bytes: 0,
            faults: vec![Fault::NotARecording],
        }
    }
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
