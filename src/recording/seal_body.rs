//! The body of a seal: what a segment held, signed. In the clear, so that anyone can check it.

use crate::recording::chain::{Hash, NodeKey, is_signed_by, node_of};
use crate::recording::container::{CHUNK_HEADER_BYTES, ContainerError};
use crate::recording::fields::Reader;
use crate::recording::model::SealedBy;

/// Goes before what is signed, so that no other signature of the node can pass for a seal's.
const SIGNATURE_DOMAIN: &[u8] = b"tandem recording seal v1";
/// The only version there is.
const VERSION: u32 = 1;
/// Bytes of the signature at the end.
const SIGNATURE_BYTES: usize = 64;

/// Where a chunk with samples lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexEntry {
    /// Its offset in the file.
    pub offset: u64,
    /// Its first sample's position in the recording.
    pub first_sample: u64,
    /// Samples per channel.
    pub n_samples: u32,
}

/// What one direction's packets were like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ChannelStats {
    /// Frames received.
    pub frames: u64,
    /// Frames made by concealment.
    pub concealed: u64,
    /// Samples that came too late to be placed.
    pub late_samples: u64,
    /// How often the timeline was anchored anew.
    pub resyncs: u64,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealBody {
    /// Who sealed.
    pub sealed_by: SealedBy,
    /// Chunks before the seal.
    pub chunk_count: u64,
    /// Position in the recording of the first sample.
    pub first_sample: u64,
    /// Samples per channel.
    pub total_samples: u64,
    /// When it ended, nanoseconds since 1970.
    pub end_utc_ns: u64,
    /// Bytes of a torn tail that the recovery cut off.
    pub cut_bytes: u64,
    /// Merkle root over the chunks' hashes.
    pub merkle_root: Hash,
    /// The signer's public key.
    pub signer: [u8; 32],
    /// Key epochs with their commitments.
    pub epochs: Vec<(u32, Hash)>,
    /// Every chunk with samples.
    pub index: Vec<IndexEntry>,
    /// Channel 0, then 1.
    pub channels: Vec<ChannelStats>,
    /// How the call ended.
    pub end_reason: String,
}

impl SealBody {
    /// Bytes of the body with its signature: needed before it is signed, as the chunk's header is signed too.
    pub fn len(&self) -> usize {
        self.unsigned_bytes().len() + SIGNATURE_BYTES
    }

    /// Never: there is always a signature.
    pub const fn is_empty(&self) -> bool {
        false
    }

    fn unsigned_bytes(&self) -> Vec<u8> {
        let sealed_by = match self.sealed_by {
            SealedBy::Live => 1_u8,
            SealedBy::Recovered => 2,
        };
        let mut out = Vec::with_capacity(256 + self.index.len() * 20);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[sealed_by, 0, 0, 0]);
        for number in [self.chunk_count, self.first_sample, self.total_samples, self.end_utc_ns, self.cut_bytes] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.merkle_root);
        out.extend_from_slice(&self.signer);
        put_count(&mut out, self.epochs.len());
        for (epoch, commit) in &self.epochs {
            out.extend_from_slice(&epoch.to_le_bytes());
            out.extend_from_slice(commit);
        }
        put_count(&mut out, self.index.len());
        for entry in &self.index {
            out.extend_from_slice(&entry.offset.to_le_bytes());
            out.extend_from_slice(&entry.first_sample.to_le_bytes());
            out.extend_from_slice(&entry.n_samples.to_le_bytes());
        }
        put_count(&mut out, self.channels.len());
        for stats in &self.channels {
            for number in [stats.frames, stats.concealed, stats.late_samples, stats.resyncs] {
                out.extend_from_slice(&number.to_le_bytes());
            }
        }
        put_count(&mut out, self.end_reason.len());
        out.extend_from_slice(self.end_reason.as_bytes());
        out
    }

    /// The body, signed together with the file header's hash and the seal's own chunk header (and so the chain).
    pub fn sign(&self, file_header: &Hash, chunk_header: &[u8; CHUNK_HEADER_BYTES], key: &NodeKey) -> Vec<u8> {
        let mut body = self.unsigned_bytes();
        let signature = key.sign(&signed_message(file_header, chunk_header, &body));
        body.extend_from_slice(&signature);
        body
    }

    /// Reads a body.
    pub fn parse(bytes: &[u8]) -> Result<Self, ContainerError> {
        let (unsigned, _signature) = split_signature(bytes)?;
        let mut from = Reader::new(unsigned);
        if from.u32()? != VERSION {
            return Err(ContainerError::Unsupported);
        }
        let [sealed_by, _, _, _] = from.take()?;
        let sealed_by = match sealed_by {
            1 => SealedBy::Live,
            2 => SealedBy::Recovered,
            _ => return Err(ContainerError::Unsupported),
        };
        let (chunk_count, first_sample, total_samples) = (from.u64()?, from.u64()?, from.u64()?);
        let (end_utc_ns, cut_bytes) = (from.u64()?, from.u64()?);
        let (merkle_root, signer) = (from.take()?, from.take()?);
        let epochs = repeat(&mut from, |from| Ok((from.u32()?, from.take()?)))?;
        let index = repeat(&mut from, |from| {
            Ok(IndexEntry { offset: from.u64()?, first_sample: from.u64()?, n_samples: from.u32()? })
        })?;
        let channels = repeat(&mut from, |from| {
            Ok(ChannelStats {
                frames: from.u64()?,
                concealed: from.u64()?,
                late_samples: from.u64()?,
                resyncs: from.u64()?,
            })
        })?;
        let reason_bytes = usize::try_from(from.u32()?).unwrap_or(usize::MAX);
        let end_reason = String::from_utf8_lossy(from.slice(reason_bytes)?).into_owned();
        if !from.is_empty() {
            return Err(ContainerError::Unsupported);
        }
        Ok(Self {
            sealed_by,
            chunk_count,
            first_sample,
            total_samples,
            end_utc_ns,
            cut_bytes,
            merkle_root,
            signer,
            epochs,
            index,
            channels,
            end_reason,
        })
    }
}

/// Whether the body's signature is good, by the public key that the body names.
pub fn is_signature_good(
    body: &[u8],
    signer: &[u8; 32],
    file_header: &Hash,
    chunk_header: &[u8; CHUNK_HEADER_BYTES],
) -> bool {
    let Ok((unsigned, signature)) = split_signature(body) else { return false };
    is_signed_by(signer, &signed_message(file_header, chunk_header, unsigned), signature)
}

/// Whether the signer is the node that the file header names.
pub fn is_same_node(signer: &[u8; 32], node: crate::ids::NodeId) -> bool {
    node_of(signer) == node
}

fn split_signature(body: &[u8]) -> Result<(&[u8], &[u8; SIGNATURE_BYTES]), ContainerError> {
    body.split_last_chunk::<SIGNATURE_BYTES>().ok_or(ContainerError::Short)
}

fn signed_message(file_header: &Hash, chunk_header: &[u8; CHUNK_HEADER_BYTES], unsigned: &[u8]) -> Vec<u8> {
    [SIGNATURE_DOMAIN, file_header, chunk_header, unsigned].concat()
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
}

/// Reads a count and as many items; the count is not trusted with memory.
fn repeat<T>(
    from: &mut Reader<'_>,
    mut item: impl FnMut(&mut Reader<'_>) -> Result<T, ContainerError>,
) -> Result<Vec<T>, ContainerError> {
    let count = from.u32()?;
    let mut items = Vec::new();
    for _ in 0..count {
        items.push(item(from)?);
    }
    Ok(items)
}
