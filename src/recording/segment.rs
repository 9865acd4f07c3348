//! One segment: `OpenSegment` makes chunks from samples; `seal` consumes it. What leaves is encrypted and chained.

use flac_codec::decode::FlacStreamReader;
use flac_codec::encode::{FlacStreamWriter, Options};
use serde::{Deserialize, Serialize};

use crate::clock::WallTime;
use crate::recording::chain::{Hash, Hasher, MerkleTree, NodeKey, sha256};
use crate::recording::container::{
    CHUNK_HEADER_BYTES, ChunkCodec, ChunkHeader, ChunkKind, FILE_HEADER_BYTES, FileHeader, TAG_BYTES, assemble,
};
use crate::recording::model::{SealedBy, SegmentSealed};
use crate::recording::seal::{DataKey, SealError};
use crate::recording::seal_body::{ChannelStats, IndexEntry, SealBody};

/// Samples per channel of one chunk: 0.5 s at 8 kHz.
pub const CHUNK_SAMPLES: usize = 4_000;
/// Samples behind one pair of the waveform's peaks: 100 ms at 8 kHz.
pub const PEAK_SAMPLES: usize = 800;

/// What happened at a point of the recording; the body of an EVENT chunk, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum TimelineEvent {
    /// Who takes part: the first chunk of every segment.
    Participants {
        /// All that the catalogue knows.
        meta: Box<crate::recording::model::RecordingMeta>,
    },
    /// Ties a sample to the clocks.
    Anchor {
        /// The position.
        sample: u64,
        /// Wall clock there, nanoseconds since 1970.
        utc_ns: u64,
        /// Monotonic clock there.
        mono_ns: u64,
    },
    /// The call was answered.
    Answered {
        /// The position.
        sample: u64,
    },
    /// A channel's timestamps were tied to the clock anew.
    Resync {
        /// The channel, 0 or 1.
        channel: u8,
        /// The position.
        sample: u64,
        /// By how many samples it moved; 0 where a new epoch began.
        moved: i64,
        /// Why.
        why: ResyncReason,
    },
    /// A stretch of a channel for which nothing was received.
    Gap {
        /// The channel, 0 or 1.
        channel: u8,
        /// Its first sample.
        sample: u64,
        /// Its length.
        samples: u64,
        /// Why.
        why: GapReason,
    },
}

/// Why a channel was anchored anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResyncReason {
    /// The source's timestamps began anew.
    NewEpoch,
    /// Slot and arrival differed by more than 60 ms over 2 s.
    Drift,
    /// One packet's slot was far from its arrival.
    Jump,
}

/// Why nothing was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapReason {
    /// The source was silent, and sent nothing.
    Dtx,
    /// Packets are missing; concealment fills the stretch, or part of it.
    Loss,
    /// The call was held.
    Hold,
}

/// A segment that grows.
#[derive(Debug)]
pub struct OpenSegment {
    header: FileHeader,
    header_hash: Hash,
    started: WallTime,
    key: DataKey,
    chunk_no: u64,
    prev_hash: Hash,
    tree: MerkleTree,
    file_hash: Hasher,
    bytes: u64,
    first_sample: u64,
    next_sample: u64,
    epochs: Vec<(u32, Hash)>,
    index: Vec<IndexEntry>,
}

/// How a segment ended.
#[derive(Debug, Clone)]
pub struct SegmentEnd {
    /// When.
    pub at: WallTime,
    /// In the words of `call::Outcome`.
    pub end_reason: String,
    /// Channel 0, then 1.
    pub channels: [ChannelStats; 2],
}

/// A segment with its seal.
#[derive(Debug)]
pub struct SealedSegment {
    /// The seal, the file's last bytes.
    pub chunk: Vec<u8>,
    /// What the catalogue needs to know.
    pub facts: SegmentSealed,
}

impl OpenSegment {
    /// Begins a segment: also the bytes of its file header. `header.key_commit` must be `key`'s.
    pub fn open(
        header: FileHeader,
        key: DataKey,
        first_sample: u64,
        node_key: &NodeKey,
    ) -> (Self, [u8; FILE_HEADER_BYTES]) {
        let bytes = header.to_bytes(&node_key.sign(&header.signed_bytes()));
        let header_hash = sha256(&[&bytes]);
        let mut file_hash = Hasher::default();
        file_hash.update(&bytes);
        let segment = Self {
            started: WallTime(header.start_utc_ns),
            epochs: vec![(header.first_key_epoch, header.key_commit)],
            header,
            header_hash,
            key,
            chunk_no: 0,
            prev_hash: header_hash,
            tree: MerkleTree::default(),
            file_hash,
            bytes: FILE_HEADER_BYTES as u64,
            first_sample,
            next_sample: first_sample,
            index: Vec::new(),
        };
        (segment, bytes)
    }

    /// Bytes so far.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Its number.
    pub const fn segment_no(&self) -> u32 {
        self.header.segment_no
    }

    /// The key epoch under which the next chunk is encrypted.
    pub const fn epoch(&self) -> u16 {
        self.key.scope().epoch
    }

    /// Samples per channel so far.
    pub const fn samples(&self) -> u64 {
        self.next_sample - self.first_sample
    }

    /// The moment of its first sample, where it differs from the file's making.
    pub const fn set_started(&mut self, started: WallTime) {
        self.started = started;
    }

    /// Adds samples of both channels, interleaved.
    pub fn audio(&mut self, interleaved: &[i16]) -> Result<Vec<u8>, SealError> {
        let body = encode_flac(self.header.sample_rate, interleaved).map_err(SealError::Codec)?;
        let n_samples = u32::try_from(interleaved.len() / 2).unwrap_or(u32::MAX);
        self.chunk(ChunkKind::Audio, ChunkCodec::Flac, n_samples, body)
    }

    /// Adds silence of both channels, for the call is held.
    pub fn hold(&mut self, n_samples: u32) -> Result<Vec<u8>, SealError> {
        self.chunk(ChunkKind::GapHold, ChunkCodec::None, n_samples, Vec::new())
    }

    /// Adds an event.
    pub fn event(&mut self, event: &TimelineEvent) -> Result<Vec<u8>, SealError> {
        // A plain enum of numbers and texts always becomes JSON.
        self.chunk(ChunkKind::Event, ChunkCodec::None, 0, serde_json::to_vec(event).unwrap_or_default())
    }

    /// Adds the waveform of the samples from `first_sample`: min and max of channel 0, then of 1, per 100 ms.
    pub fn wave(&mut self, first_sample: u64, peaks: &[[i8; 4]]) -> Result<Vec<u8>, SealError> {
        let body = peaks.as_flattened().iter().map(|peak| peak.cast_unsigned()).collect();
        let n_samples = u32::try_from(peaks.len() * PEAK_SAMPLES).unwrap_or(u32::MAX);
        self.put(ChunkKind::Wave, ChunkCodec::None, first_sample, n_samples, body)
    }

    /// Goes over to the next key. The chunk that says so is the first of the new epoch.
    pub fn change_key(&mut self, key: DataKey) -> Result<Vec<u8>, SealError> {
        self.key = key;
        let epoch = u32::from(self.epoch());
        let commit = *self.key.commit();
        self.epochs.push((epoch, commit));
        let body = [epoch.to_le_bytes().as_slice(), &commit].concat();
        self.chunk(ChunkKind::KeyEpoch, ChunkCodec::None, 0, body)
    }

    fn chunk(
        &mut self,
        kind: ChunkKind,
        codec: ChunkCodec,
        n_samples: u32,
        body: Vec<u8>,
    ) -> Result<Vec<u8>, SealError> {
        let first_sample = self.next_sample;
        if kind.is_timeline() {
            self.index.push(IndexEntry { offset: self.bytes, first_sample, n_samples });
            self.next_sample += u64::from(n_samples);
        }
        self.put(kind, codec, first_sample, n_samples, body)
    }

    fn put(
        &mut self,
        kind: ChunkKind,
        codec: ChunkCodec,
        first_sample: u64,
        n_samples: u32,
        body: Vec<u8>,
    ) -> Result<Vec<u8>, SealError> {
        let tag = if kind.is_encrypted() { TAG_BYTES } else { 0 };
        let header = self.header_of(kind, codec, first_sample, n_samples, body.len() + tag);
        let body = if kind.is_encrypted() { self.key.encrypt(&header, self.chunk_no, body)? } else { body };
        self.prev_hash = sha256(&[&header, &body]);
        self.tree.push(&self.prev_hash);
        self.chunk_no += 1;
        Ok(self.account(assemble(&header, &body)))
    }

    fn header_of(
        &self,
        kind: ChunkKind,
        codec: ChunkCodec,
        first_sample: u64,
        n_samples: u32,
        len: usize,
    ) -> [u8; CHUNK_HEADER_BYTES] {
        let header = ChunkHeader {
            len: u32::try_from(len).unwrap_or(u32::MAX),
            chunk_no: self.chunk_no,
            first_sample,
            n_samples,
            kind,
            codec,
            key_epoch: self.epoch(),
            prev_hash: self.prev_hash,
        };
        header.to_bytes()
    }

    fn account(&mut self, chunk: Vec<u8>) -> Vec<u8> {
        self.file_hash.update(&chunk);
        self.bytes += chunk.len() as u64;
        chunk
    }

    /// Ends it: the seal's bytes and the facts. The data key is wiped.
    pub fn seal(mut self, end: &SegmentEnd, node_key: &NodeKey) -> SealedSegment {
        let body = SealBody {
            sealed_by: SealedBy::Live,
            chunk_count: self.chunk_no,
            first_sample: self.first_sample,
            total_samples: self.samples(),
            end_utc_ns: end.at.0,
            cut_bytes: 0,
            merkle_root: self.tree.root(),
            signer: *node_key.public(),
            epochs: std::mem::take(&mut self.epochs),
            index: std::mem::take(&mut self.index),
            channels: end.channels.to_vec(),
            end_reason: end.end_reason.clone(),
        };
        let header = self.header_of(ChunkKind::Seal, ChunkCodec::None, self.next_sample, 0, body.len());
        let signed = body.sign(&self.header_hash, &header, node_key);
        let chunk = self.account(assemble(&header, &signed));
        let facts = SegmentSealed {
            recording: self.header.recording,
            segment_no: self.header.segment_no,
            node: node_key.node(),
            started: self.started,
            ended: end.at,
            first_sample: self.first_sample,
            samples: body.total_samples,
            chunks: self.chunk_no + 1,
            bytes: self.bytes,
            sha256: self.file_hash.finish(),
            merkle_root: body.merkle_root,
            sealed_by: SealedBy::Live,
        };
        SealedSegment { chunk, facts }
    }
}

/// One FLAC frame that decodes alone: stereo, 16 bits.
fn encode_flac(sample_rate: u32, interleaved: &[i16]) -> Result<Vec<u8>, flac_codec::Error> {
    let samples: Vec<i32> = interleaved.iter().map(|sample| i32::from(*sample)).collect();
    let mut frame = Vec::with_capacity(interleaved.len());
    FlacStreamWriter::new(&mut frame, Options::fast()).write(sample_rate, 2, 16, &samples)?;
    Ok(frame)
}

/// The interleaved samples of one FLAC frame.
pub fn decode_flac(frame: &[u8]) -> Result<Vec<i16>, flac_codec::Error> {
    let mut reader = FlacStreamReader::new(frame);
    let decoded = reader.read()?;
    Ok(decoded
        .samples
        .iter()
        .map(|sample| i16::try_from(*sample).unwrap_or(if *sample < 0 { i16::MIN } else { i16::MAX }))
        .collect())
}

/// Min and max of each channel over interleaved samples, as the upper eight bits: one pair of pairs per 100 ms.
pub fn peaks(interleaved: &[i16]) -> Vec<[i8; 4]> {
    interleaved.chunks(PEAK_SAMPLES * 2).map(peak_of).collect()
}

fn peak_of(interleaved: &[i16]) -> [i8; 4] {
    let (frames, _odd) = interleaved.as_chunks::<2>();
    let (mut low, mut high) = ([i16::MAX; 2], [i16::MIN; 2]);
    for frame in frames {
        for ((low, high), sample) in low.iter_mut().zip(high.iter_mut()).zip(frame) {
            *low = (*low).min(*sample);
            *high = (*high).max(*sample);
        }
    }
    let [[low_0, low_1], [high_0, high_1]] = [low, high];
    [low_0, high_0, low_1, high_1].map(|sample| i8::try_from(sample >> 8).unwrap_or_default())
}
