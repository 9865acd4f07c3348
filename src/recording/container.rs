//! The bytes of a recording's file: a header of 256 bytes, then chunks, the last of them a seal. Little endian.
//!
//! The layout is final: `tests/golden/container/` holds a file that must come out the same, byte for byte, for ever.

use crate::ids::{NodeId, RecordingId};
use crate::recording::chain::Hash;
use crate::recording::chain::sha256;
use crate::recording::fields::{Reader, Short, Writer};

/// Bytes of the file header.
pub const FILE_HEADER_BYTES: usize = 256;
/// The header's bytes that its signature covers.
pub const SIGNED_HEADER_BYTES: usize = 144;
/// Bytes of a chunk's header.
pub const CHUNK_HEADER_BYTES: usize = 64;
/// Bytes of AES-GCM's tag.
pub const TAG_BYTES: usize = 16;
/// Bytes of the trailing CRC32C.
pub const CRC_BYTES: usize = 4;
/// Bytes of one chunk's body and tag at most: an index of a day's chunks in a seal stays far below.
pub const CHUNK_BODY_BYTES_MAX: usize = 8 << 20;
/// The first eight bytes of a file.
pub const FILE_MAGIC: [u8; 8] = *b"TNDMREC1";
/// The first four bytes of a chunk.
pub const CHUNK_MAGIC: [u8; 4] = *b"TCHK";

/// What a chunk holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChunkKind {
    /// Samples of both channels, encrypted.
    Audio,
    /// Silence of both channels, for the call is held.
    GapHold,
    /// Silence of both channels, for the recording is paused.
    GapPause,
    /// Something that happened, as JSON, encrypted.
    Event,
    /// A new key epoch begins with the next chunk.
    KeyEpoch,
    /// The waveform's peaks, encrypted.
    Wave,
    /// RTP packets as they came, encrypted.
    RtpRaw,
    /// The end, signed.
    Seal,
}

impl ChunkKind {
    /// Its code in the header.
    pub const fn code(self) -> u8 {
        match self {
            Self::Audio => 1,
            Self::GapHold => 2,
            Self::GapPause => 3,
            Self::Event => 4,
            Self::KeyEpoch => 5,
            Self::Wave => 6,
            Self::RtpRaw => 7,
            Self::Seal => 15,
        }
    }

    /// The kind with that code.
    pub const fn of_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Audio,
            2 => Self::GapHold,
            3 => Self::GapPause,
            4 => Self::Event,
            5 => Self::KeyEpoch,
            6 => Self::Wave,
            7 => Self::RtpRaw,
            15 => Self::Seal,
            _ => return None,
        })
    }

    /// Whether its body is encrypted and ends with a tag.
    pub const fn is_encrypted(self) -> bool {
        matches!(self, Self::Audio | Self::Event | Self::Wave | Self::RtpRaw)
    }

    /// Whether its samples make the recording longer.
    pub const fn is_timeline(self) -> bool {
        matches!(self, Self::Audio | Self::GapHold | Self::GapPause)
    }
}

/// How the samples of a chunk are coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChunkCodec {
    /// There are none.
    None,
    /// One FLAC frame, 16 bits, both channels.
    Flac,
    /// G.711 A-law.
    Pcma,
    /// G.711 µ-law.
    Pcmu,
    /// Opus.
    Opus,
}

impl ChunkCodec {
    /// Its code in the header.
    pub const fn code(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Flac => 1,
            Self::Pcma => 2,
            Self::Pcmu => 3,
            Self::Opus => 4,
        }
    }

    /// The codec with that code.
    pub const fn of_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::None,
            1 => Self::Flac,
            2 => Self::Pcma,
            3 => Self::Pcmu,
            4 => Self::Opus,
            _ => return None,
        })
    }
}

/// The file header, less its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileHeader {
    /// None are defined yet: zero.
    pub flags: u16,
    /// Whose.
    pub recording: RecordingId,
    /// Which segment, from 0.
    pub segment_no: u32,
    /// Who recorded.
    pub node: NodeId,
    /// Wall clock when the file was made, nanoseconds since 1970.
    pub start_utc_ns: u64,
    /// Monotonic clock at the same moment, nanoseconds since the process began.
    pub start_mono_ns: u64,
    /// Samples per second and channel.
    pub sample_rate: u32,
    /// Channels.
    pub channels: u8,
    /// What is known of the wall clock: 0 nothing, 1 synchronised.
    pub clock_state: u8,
    /// The wall clock's estimated error in microseconds.
    pub clock_err_us: u32,
    /// The key epoch of the first chunk.
    pub first_key_epoch: u32,
    /// Commitment to that epoch's data key.
    pub key_commit: Hash,
    /// Merkle root of the segment before; zero for the first.
    pub prev_segment_root: Hash,
}

/// AES-256-GCM, the only cipher there is.
const AEAD_A256GCM: u8 = 1;
/// SHA-256, the only hash there is.
const HASH_SHA256: u8 = 1;

impl FileHeader {
    /// The 144 bytes that are signed.
    pub fn signed_bytes(&self) -> [u8; SIGNED_HEADER_BYTES] {
        let mut out = Writer::<SIGNED_HEADER_BYTES>::new();
        out.put(&FILE_MAGIC);
        out.put(&256_u16.to_le_bytes());
        out.put(&self.flags.to_le_bytes());
        out.put(self.recording.as_uuid().as_bytes());
        out.put(&self.segment_no.to_le_bytes());
        out.put(self.node.as_bytes());
        out.put(&self.start_utc_ns.to_le_bytes());
        out.put(&self.start_mono_ns.to_le_bytes());
        out.put(&self.sample_rate.to_le_bytes());
        out.put(&[self.channels, AEAD_A256GCM, HASH_SHA256, self.clock_state]);
        out.put(&self.clock_err_us.to_le_bytes());
        out.put(&self.first_key_epoch.to_le_bytes());
        out.put(&self.key_commit);
        out.put(&self.prev_segment_root);
        out.bytes
    }

    /// The whole header.
    pub fn to_bytes(&self, signature: &[u8; 64]) -> [u8; FILE_HEADER_BYTES] {
        let mut out = Writer::<FILE_HEADER_BYTES>::new();
        out.put(&self.signed_bytes());
        out.put(signature);
        out.bytes
    }

    /// Reads a header and its signature, which is not checked here.
    pub fn parse(bytes: &[u8]) -> Result<(Self, [u8; 64]), ContainerError> {
        let mut from = Reader::new(bytes.get(..FILE_HEADER_BYTES).ok_or(ContainerError::Short)?);
        if from.take::<8>()? != FILE_MAGIC || from.u16()? != 256 {
            return Err(ContainerError::NotARecording);
        }
        let flags = from.u16()?;
        let recording = RecordingId::from_uuid(uuid::Uuid::from_bytes(from.take()?));
        let segment_no = from.u32()?;
        let node = NodeId::from_bytes(from.take()?);
        let start_utc_ns = from.u64()?;
        let start_mono_ns = from.u64()?;
        let sample_rate = from.u32()?;
        let [channels, aead, hash, clock_state] = from.take()?;
        if aead != AEAD_A256GCM || hash != HASH_SHA256 || channels != 2 || sample_rate == 0 {
            return Err(ContainerError::Unsupported);
        }
        let header = Self {
            flags,
            recording,
            segment_no,
            node,
            start_utc_ns,
            start_mono_ns,
            sample_rate,
            channels,
            clock_state,
            clock_err_us: from.u32()?,
            first_key_epoch: from.u32()?,
            key_commit: from.take()?,
            prev_segment_root: from.take()?,
        };
        Ok((header, from.take()?))
    }
}

/// A chunk's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkHeader {
    /// Bytes of body and tag.
    pub len: u32,
    /// Its number in the segment, from 0.
    pub chunk_no: u64,
    /// Position in the recording of its first sample.
    pub first_sample: u64,
    /// Samples per channel that it covers.
    pub n_samples: u32,
    /// What it holds.
    pub kind: ChunkKind,
    /// How.
    pub codec: ChunkCodec,
    /// The key epoch under which it is encrypted.
    pub key_epoch: u16,
    /// Hash of the chunk before, or of the file header.
    pub prev_hash: Hash,
}

impl ChunkHeader {
    /// The 64 bytes; they are the additional data of the chunk's encryption too.
    pub fn to_bytes(&self) -> [u8; CHUNK_HEADER_BYTES] {
        let mut out = Writer::<CHUNK_HEADER_BYTES>::new();
        out.put(&CHUNK_MAGIC);
        out.put(&self.len.to_le_bytes());
        out.put(&self.chunk_no.to_le_bytes());
        out.put(&self.first_sample.to_le_bytes());
        out.put(&self.n_samples.to_le_bytes());
        out.put(&[self.kind.code(), self.codec.code()]);
        out.put(&self.key_epoch.to_le_bytes());
        out.put(&self.prev_hash);
        out.bytes
    }

    /// Reads one.
    pub fn parse(bytes: &[u8; CHUNK_HEADER_BYTES]) -> Result<Self, ContainerError> {
        let mut from = Reader::new(bytes);
        if from.take::<4>()? != CHUNK_MAGIC {
            return Err(ContainerError::NotAChunk);
        }
        let len = from.u32()?;
        let chunk_no = from.u64()?;
        let first_sample = from.u64()?;
        let n_samples = from.u32()?;
        let [kind, codec] = from.take()?;
        let kind = ChunkKind::of_code(kind).ok_or(ContainerError::NotAChunk)?;
        let codec = ChunkCodec::of_code(codec).ok_or(ContainerError::NotAChunk)?;
        Ok(Self {
            len,
            chunk_no,
            first_sample,
            n_samples,
            kind,
            codec,
            key_epoch: from.u16()?,
            prev_hash: from.take()?,
        })
    }
}

/// One whole chunk in a file's bytes, its CRC good. Neither its place in the chain nor its tag is checked.
#[derive(Debug, Clone)]
pub struct Chunk<'a> {
    /// Its header.
    pub header: ChunkHeader,
    /// The header's bytes.
    pub header_bytes: &'a [u8; CHUNK_HEADER_BYTES],
    /// Body and tag.
    pub body: &'a [u8],
    /// Where it begins in the file.
    pub offset: usize,
    /// Where the next one begins.
    pub end: usize,
}

impl Chunk<'_> {
    /// The link of the chain: SHA-256 over header, body and tag.
    pub fn hash(&self) -> Hash {
        sha256(&[self.header_bytes, self.body])
    }
}

/// Puts a chunk's parts together and adds the CRC32C.
pub fn assemble(header: &[u8; CHUNK_HEADER_BYTES], body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(CHUNK_HEADER_BYTES + body.len() + CRC_BYTES);
    bytes.extend_from_slice(header);
    bytes.extend_from_slice(body);
    let crc = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

/// Reads the chunk that begins at `offset`. `None` at the very end of the file.
pub fn chunk_at(file: &[u8], offset: usize) -> Option<Result<Chunk<'_>, ContainerError>> {
    let rest = file.get(offset..)?;
    (!rest.is_empty()).then(|| parse_chunk(rest, offset))
}

fn parse_chunk(rest: &[u8], offset: usize) -> Result<Chunk<'_>, ContainerError> {
    let header_bytes = rest.first_chunk::<CHUNK_HEADER_BYTES>().ok_or(ContainerError::Short)?;
    let header = ChunkHeader::parse(header_bytes)?;
    let body_bytes = usize::try_from(header.len).unwrap_or(usize::MAX);
    if body_bytes > CHUNK_BODY_BYTES_MAX {
        return Err(ContainerError::NotAChunk);
    }
    let covered = CHUNK_HEADER_BYTES + body_bytes;
    let crc = rest.get(covered..covered + CRC_BYTES).ok_or(ContainerError::Short)?;
    let summed = rest.get(..covered).ok_or(ContainerError::Short)?;
    if crc32c::crc32c(summed).to_le_bytes() != crc {
        return Err(ContainerError::Crc);
    }
    let body = rest.get(CHUNK_HEADER_BYTES..covered).ok_or(ContainerError::Short)?;
    Ok(Chunk { header, header_bytes, body, offset, end: offset + covered + CRC_BYTES })
}

/// The 12 bytes of a chunk's nonce: key epoch (32 bits) and chunk number (64), big endian.
pub fn nonce(key_epoch: u16, chunk_no: u64) -> [u8; 12] {
    let mut out = Writer::<12>::new();
    out.put(&u32::from(key_epoch).to_be_bytes());
    out.put(&chunk_no.to_be_bytes());
    out.bytes
}

/// What is wrong with a file's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ContainerError {
    /// It ends in the midst.
    #[error("the bytes end too early")]
    Short,
    /// It does not begin as a recording does.
    #[error("it is not a recording file")]
    NotARecording,
    /// A later version, or another cipher.
    #[error("its version, cipher or channel count is not supported")]
    Unsupported,
    /// No chunk begins here.
    #[error("no chunk begins here")]
    NotAChunk,
    /// The chunk's CRC32C does not match.
    #[error("the checksum does not match")]
    Crc,
}

impl From<Short> for ContainerError {
    fn from(Short: Short) -> Self {
        Self::Short
    }
}
