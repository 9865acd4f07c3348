//! Hearing a recording again: from sealed bytes and data keys to PCM on its timeline, and a WAV that exists only by range.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;

use crate::recording::container::{ChunkCodec, ChunkKind, ContainerError, FileHeader, chunk_at};
use crate::recording::seal::{DataKey, SealError};
use crate::recording::seal_body::IndexEntry;
use crate::recording::segment::{TimelineEvent, decode_flac};
use crate::recording::verify::walk;

/// Bytes of the header of a WAV file.
pub const WAV_HEADER_BYTES: u64 = 44;
/// Bytes of one sample of both channels.
const FRAME_BYTES: u64 = 4;

/// Why a recording cannot be heard.
#[derive(Debug, thiserror::Error)]
pub enum PlaybackError {
    /// The file is broken.
    #[error("the recording's file is broken")]
    Container(#[source] ContainerError),
    /// A chunk does not open, or does not decode.
    #[error("chunk {chunk_no} cannot be decoded")]
    Chunk {
        /// The chunk.
        chunk_no: u64,
        /// Why.
        #[source]
        source: SealError,
    },
    /// There is no key for an epoch.
    #[error("there is no key for epoch {epoch}")]
    NoKey {
        /// The epoch.
        epoch: u16,
    },
    /// A codec that this version does not play.
    #[error("the codec of chunk {chunk_no} is not supported")]
    Codec {
        /// The chunk.
        chunk_no: u64,
    },
}

/// One segment, with its keys.
#[derive(Debug)]
pub struct PlayableSegment {
    /// Its header.
    pub header: FileHeader,
    bytes: Bytes,
    keys: BTreeMap<u16, DataKey>,
    index: Vec<IndexEntry>,
    good_bytes: usize,
    first_sample: u64,
    next_sample: u64,
}

impl PlayableSegment {
    /// Joins a file's bytes with its keys. What is broken at the end is not played: `verify` says why.
    pub fn new(bytes: Bytes, keys: Vec<DataKey>) -> Result<Self, PlaybackError> {
        let walk = walk(&bytes).ok_or(PlaybackError::Container(ContainerError::NotARecording))?;
        let keys = keys.into_iter().map(|key| (key.scope().epoch, key)).collect();
        Ok(Self {
            header: walk.header,
            bytes,
            keys,
            index: walk.index,
            good_bytes: walk.good_bytes,
            first_sample: walk.first_sample,
            next_sample: walk.next_sample,
        })
    }

    /// Positions of its samples in the recording.
    pub const fn samples(&self) -> Range<u64> {
        self.first_sample..self.next_sample
    }

    /// The chunks' own bytes.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    fn open(&self, entry: &IndexEntry) -> Result<Vec<i16>, PlaybackError> {
        let offset = usize::try_from(entry.offset).unwrap_or(usize::MAX);
        let chunk = chunk_at(&self.bytes, offset)
            .ok_or(PlaybackError::Container(ContainerError::Short))?
            .map_err(PlaybackError::Container)?;
        let header = &chunk.header;
        if header.kind != ChunkKind::Audio {
            return Ok(vec![0; entry.n_samples as usize * 2]);
        }
        if header.codec != ChunkCodec::Flac {
            return Err(PlaybackError::Codec { chunk_no: header.chunk_no });
        }
        let key = self.keys.get(&header.key_epoch).ok_or(PlaybackError::NoKey { epoch: header.key_epoch })?;
        let frame = key.decrypt(chunk.header_bytes, header.chunk_no, chunk.body);
        let samples = frame.and_then(|frame| decode_flac(&frame).map_err(SealError::Codec));
        samples.map_err(|source| PlaybackError::Chunk { chunk_no: header.chunk_no, source })
    }

    /// Decrypts every chunk of `kind` that is not audio: its first sample and its body.
    fn bodies(&self, kind: ChunkKind) -> Result<Vec<(u64, Vec<u8>)>, PlaybackError> {
        let mut found = Vec::new();
        let mut offset = crate::recording::container::FILE_HEADER_BYTES;
        while offset < self.good_bytes {
            let Some(Ok(chunk)) = chunk_at(&self.bytes, offset) else { break };
            offset = chunk.end;
            let header = &chunk.header;
            if header.kind != kind {
                continue;
            }
            let key = self.keys.get(&header.key_epoch).ok_or(PlaybackError::NoKey { epoch: header.key_epoch })?;
            let body = key.decrypt(chunk.header_bytes, header.chunk_no, chunk.body);
            found.push((
                header.first_sample,
                body.map_err(|source| PlaybackError::Chunk { chunk_no: header.chunk_no, source })?,
            ));
        }
        Ok(found)
    }
}

/// A whole recording, ready to be heard.
#[derive(Debug)]
pub struct PlayableRecording {
    segments: Vec<PlayableSegment>,
}

impl PlayableRecording {
    /// Of its segments, in order.
    pub const fn new(segments: Vec<PlayableSegment>) -> Self {
        Self { segments }
    }

    /// Samples per second.
    pub fn sample_rate(&self) -> u32 {
        self.segments.first().map_or(8_000, |segment| segment.header.sample_rate)
    }

    /// Samples per channel, from the recording's beginning: a lost segment is silence, not a jump.
    pub fn samples(&self) -> u64 {
        self.segments.iter().map(|segment| segment.samples().end).max().unwrap_or(0)
    }

    /// The segments.
    pub fn segments(&self) -> &[PlayableSegment] {
        &self.segments
    }

    /// Interleaved samples of both channels at positions `range`. Decodes only the chunks that it touches.
    pub fn pcm(&self, range: Range<u64>) -> Result<Vec<i16>, PlaybackError> {
        let range = range.start.min(self.samples())..range.end.min(self.samples());
        let frames = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(0);
        let mut interleaved = vec![0; frames * 2];
        let entries = self.segments.iter().flat_map(|segment| segment.index.iter().map(move |entry| (segment, entry)));
        for (segment, entry) in entries {
            if entry.first_sample >= range.end || entry.first_sample + u64::from(entry.n_samples) <= range.start {
                continue;
            }
            let samples = segment.open(entry)?;
            let skip = usize::try_from(range.start.saturating_sub(entry.first_sample)).unwrap_or(0) * 2;
            let place = usize::try_from(entry.first_sample.saturating_sub(range.start)).unwrap_or(0) * 2;
            interleaved.iter_mut().skip(place).zip(samples.iter().skip(skip)).for_each(|(to, from)| *to = *from);
        }
        Ok(interleaved)
    }

    /// What happened, in order.
    pub fn events(&self) -> Result<Vec<TimelineEvent>, PlaybackError> {
        let mut events = Vec::new();
        for segment in &self.segments {
            let bodies = segment.bodies(ChunkKind::Event)?;
            events.extend(bodies.iter().filter_map(|(_, body)| serde_json::from_slice(body).ok()));
        }
        Ok(events)
    }

    /// The waveform: min and max of channel 0, then of 1, per 100 ms from the beginning. Needs no decoding.
    pub fn waveform(&self) -> Result<Vec<[i8; 4]>, PlaybackError> {
        let mut peaks = Vec::new();
        for segment in &self.segments {
            for (first_sample, body) in segment.bodies(ChunkKind::Wave)? {
                let place = usize::try_from(first_sample).unwrap_or(0) / crate::recording::segment::PEAK_SAMPLES;
                peaks.resize(place.max(peaks.len()), [0; 4]);
                let (quads, _rest) = body.as_chunks::<4>();
                peaks.extend(quads.iter().map(|quad| quad.map(u8::cast_signed)));
            }
        }
        Ok(peaks)
    }

    /// The WAV file of it.
    pub const fn wav(&self) -> VirtualWav<'_> {
        VirtualWav { recording: self }
    }
}

/// A PCM16 stereo WAV file of exact length, of which any range can be made without the rest.
#[derive(Debug)]
pub struct VirtualWav<'a> {
    recording: &'a PlayableRecording,
}

impl VirtualWav<'_> {
    /// Its length in bytes: the Content-Length.
    pub fn len(&self) -> u64 {
        WAV_HEADER_BYTES + self.recording.samples() * FRAME_BYTES
    }

    /// Never: there is always a header.
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// The bytes of `range`, cut at the end.
    pub fn read(&self, range: Range<u64>) -> Result<Vec<u8>, PlaybackError> {
        let range = range.start.min(self.len())..range.end.min(self.len());
        let header = self.header();
        let head = usize::try_from(range.start).unwrap_or(usize::MAX)
            ..usize::try_from(range.end).unwrap_or(usize::MAX).min(header.len());
        let mut bytes = header.get(head).unwrap_or_default().to_vec();
        let (start, end) =
            (range.start.max(WAV_HEADER_BYTES) - WAV_HEADER_BYTES, range.end.saturating_sub(WAV_HEADER_BYTES));
        if start < end {
            let frames = start / FRAME_BYTES..end.div_ceil(FRAME_BYTES);
            let pcm = self.recording.pcm(frames)?;
            let data = pcm.iter().flat_map(|sample| sample.to_le_bytes());
            let skip = usize::try_from(start % FRAME_BYTES).unwrap_or(0);
            bytes.extend(data.skip(skip).take(usize::try_from(end - start).unwrap_or(usize::MAX)));
        }
        Ok(bytes)
    }

    /// RIFF header of canonical PCM, 44 bytes.
    fn header(&self) -> Vec<u8> {
        let rate = self.recording.sample_rate();
        let data = u32::try_from(self.recording.samples() * FRAME_BYTES).unwrap_or(u32::MAX - 36);
        let mut header = Vec::with_capacity(44);
        header.extend_from_slice(b"RIFF");
        header.extend_from_slice(&(data + 36).to_le_bytes());
        header.extend_from_slice(b"WAVEfmt ");
        header.extend_from_slice(&16_u32.to_le_bytes());
        header.extend_from_slice(&1_u16.to_le_bytes());
        header.extend_from_slice(&2_u16.to_le_bytes());
        header.extend_from_slice(&rate.to_le_bytes());
        header.extend_from_slice(&(rate * 4).to_le_bytes());
        header.extend_from_slice(&4_u16.to_le_bytes());
        header.extend_from_slice(&16_u16.to_le_bytes());
        header.extend_from_slice(b"data");
        header.extend_from_slice(&data.to_le_bytes());
        header
    }
}
