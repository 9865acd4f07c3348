//! The cryptographic contexts of one direction each (RFC 3711 3.2), in place and without allocation per packet.

use std::collections::BTreeMap;

use crate::limits::RTP_DATAGRAM_BYTES_MAX;
use crate::limits::SRTP_SOURCES_MAX;
use crate::rtp::packet::HEADER_BYTES;
use crate::rtp::srtp::MasterKey;
use crate::rtp::srtp::transform::Position;
use crate::rtp::srtp::transform::Protocol;
use crate::rtp::srtp::transform::Transform;
use crate::rtp::srtp::window::RTP_INDICES;
use crate::rtp::srtp::window::ReplayWindow;
use crate::rtp::srtp::window::after;
use crate::rtp::srtp::window::guess;

/// Bytes that protection adds at most: a tag, and with RTCP the word of E and index.
pub const OVERHEAD_BYTES_MAX: usize = 20;
/// Bytes of an RTCP header, up to the SSRC: they stay in the clear.
const RTCP_HEADER_BYTES: usize = 8;
/// The bit that says that an SRTCP packet is encrypted.
const ENCRYPTED: u32 = 1 << 31;

/// Why a packet is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unprotected {
    /// Shorter than what it must carry, or longer than what we read.
    #[error("the packet has no room for its tag")]
    Length,
    /// Seen before, or older than the window.
    #[error("the packet is a replay")]
    Replay,
    /// The tag is wrong: another key, or forged.
    #[error("the packet's tag is wrong")]
    Authentication,
    /// More sources than [`SRTP_SOURCES_MAX`] under one key.
    #[error("too many sources under one key")]
    Sources,
}

/// What we send with.
#[derive(Debug)]
pub struct Protect {
    key: MasterKey,
    rtp: Transform,
    rtcp: Transform,
    sources: BTreeMap<u32, Sent>,
}

/// How far one source of ours has come.
#[derive(Debug, Clone, Copy, Default)]
struct Sent {
    rtp: Option<u64>,
    /// The next SRTCP index.
    rtcp: u32,
}

impl Protect {
    /// A fresh context. `None` only where the library refuses a key.
    pub fn new(key: &MasterKey) -> Option<Self> {
        let (rtp, rtcp) = (Transform::new(key, Protocol::Rtp)?, Transform::new(key, Protocol::Rtcp)?);
        Some(Self { key: key.clone(), rtp, rtcp, sources: BTreeMap::new() })
    }

    /// The key.
    pub const fn key(&self) -> &MasterKey {
        &self.key
    }

    /// Goes on with another key: the roll-over counter and the SRTCP index are not reset (RFC 3711 3.3.1).
    pub fn rekey(&mut self, key: &MasterKey) -> Option<()> {
        let sources = std::mem::take(&mut self.sources);
        *self = Self { sources, ..Self::new(key)? };
        Some(())
    }

    /// Protects the RTP packet in the first `length` bytes of `buffer`: its length then, or `None` where there is no
    /// room, no packet, or the key is used up.
    pub fn rtp(&mut self, buffer: &mut [u8], length: usize) -> Option<usize> {
        let (header_bytes, sequence, ssrc) = rtp_header(buffer.get(..length)?)?;
        let sent = source(&mut self.sources, ssrc)?;
        let index = sent.rtp.map_or(Some(u64::from(sequence)), |highest| after(highest, sequence))?;
        let protected = length + self.rtp.tag_bytes();
        let (packet, tag) = buffer.get_mut(..protected)?.split_at_mut(length);
        let (header, body) = packet.split_at_mut(header_bytes);
        let made = self.rtp.seal_rtp(Position { ssrc, index }, header, body)?;
        tag.copy_from_slice(made.get(..tag.len())?);
        sent.rtp = Some(index);
        Some(protected)
    }

    /// The same for a compound RTCP packet.
    pub fn rtcp(&mut self, buffer: &mut [u8], length: usize) -> Option<usize> {
        let ssrc = rtcp_ssrc(buffer.get(..length)?)?;
        let sent = source(&mut self.sources, ssrc)?;
        let index = Some(sent.rtcp).filter(|index| *index < ENCRYPTED)?;
        let word = (index | ENCRYPTED).to_be_bytes();
        let (packet, rest) = buffer.split_at_mut_checked(length)?;
        let (header, body) = packet.split_at_mut(RTCP_HEADER_BYTES);
        let at = Position { ssrc, index: u64::from(index) };
        let tag_bytes = self.rtcp.tag_bytes();
        let rest = rest.get_mut(..tag_bytes + 4)?;
        let made = self.rtcp.seal_rtcp(at, header, body, word)?;
        let (word_at, tag_at) = word_and_tag(&self.rtcp, rest);
        word_at.copy_from_slice(&word);
        tag_at.copy_from_slice(made.get(..tag_bytes)?);
        sent.rtcp = index + 1;
        Some(length + tag_bytes + 4)
    }
}

/// What we receive with.
#[derive(Debug)]
pub struct Unprotect {
    key: MasterKey,
    rtp: Transform,
    rtcp: Transform,
    sources: BTreeMap<u32, Received>,
}

/// What came from one source of the peer.
#[derive(Debug, Clone, Copy, Default)]
struct Received {
    rtp: Option<ReplayWindow>,
    rtcp: Option<ReplayWindow>,
    /// How far it had come under the key before this one.
    before: Option<u64>,
}

impl Unprotect {
    /// A fresh context. `None` only where the library refuses a key.
    pub fn new(key: &MasterKey) -> Option<Self> {
        let (rtp, rtcp) = (Transform::new(key, Protocol::Rtp)?, Transform::new(key, Protocol::Rtcp)?);
        Some(Self { key: key.clone(), rtp, rtcp, sources: BTreeMap::new() })
    }

    /// A context for another key of the same peer, which knows how far each source has come: the roll-over counter
    /// goes on (RFC 3711 3.3.1). A peer that begins it anew all the same is understood.
    pub fn rekeyed(&self, key: &MasterKey) -> Option<Self> {
        let mut fresh = Self::new(key)?;
        let known = self.sources.iter().filter_map(|(ssrc, source)| {
            let before = source.rtp.map(|window| window.highest()).or(source.before)?;
            Some((*ssrc, Received { before: Some(before), ..Received::default() }))
        });
        fresh.sources = known.collect();
        Some(fresh)
    }

    /// The key.
    pub const fn key(&self) -> &MasterKey {
        &self.key
    }

    /// Unprotects the SRTP packet that `datagram` is: the length of the RTP packet at its start. Where it fails, the
    /// datagram is as it was.
    pub fn rtp(&mut self, datagram: &mut [u8]) -> Result<usize, Unprotected> {
        let length = datagram.len().checked_sub(self.rtp.tag_bytes()).ok_or(Unprotected::Length)?;
        let (header_bytes, sequence, ssrc) = datagram.get(..length).and_then(rtp_header).ok_or(Unprotected::Length)?;
        if datagram.len() > RTP_DATAGRAM_BYTES_MAX {
            return Err(Unprotected::Length);
        }
        let (packet, tag) = datagram.split_at_mut(length);
        let (header, body) = packet.split_at_mut(header_bytes);
        let known = self.sources.get(&ssrc).copied();
        if known.is_none() && self.sources.len() >= SRTP_SOURCES_MAX {
            return Err(Unprotected::Sources);
        }
        let mut received = known.unwrap_or_default();
        let mut failure = Unprotected::Authentication;
        for index in candidates(&received, sequence).into_iter().flatten() {
            if received.rtp.is_some_and(|window| !window.is_new(index)) {
                failure = Unprotected::Replay;
            } else if self.rtp.open_rtp(Position { ssrc, index }, header, body, tag) {
                mark(&mut received.rtp, index);
                self.sources.insert(ssrc, received);
                return Ok(length);
            }
        }
        Err(failure)
    }

    /// The same for SRTCP.
    pub fn rtcp(&mut self, datagram: &mut [u8]) -> Result<usize, Unprotected> {
        let ssrc = rtcp_ssrc(datagram).ok_or(Unprotected::Length)?;
        let length = datagram.len().checked_sub(self.rtcp.tag_bytes() + 4).ok_or(Unprotected::Length)?;
        if length < RTCP_HEADER_BYTES || datagram.len() > RTP_DATAGRAM_BYTES_MAX {
            return Err(Unprotected::Length);
        }
        let (packet, rest) = datagram.split_at_mut(length);
        let (header, body) = packet.split_at_mut(RTCP_HEADER_BYTES);
        let (word, tag) = word_and_tag(&self.rtcp, rest);
        let word: [u8; 4] = (&*word).try_into().unwrap_or_default();
        let index = u64::from(u32::from_be_bytes(word) & !ENCRYPTED);
        let known = self.sources.get(&ssrc).copied();
        if known.is_none() && self.sources.len() >= SRTP_SOURCES_MAX {
            return Err(Unprotected::Sources);
        }
        let mut received = known.unwrap_or_default();
        if received.rtcp.is_some_and(|window| !window.is_new(index)) {
            return Err(Unprotected::Replay);
        }
        if !self.rtcp.open_rtcp(Position { ssrc, index }, (header, body), word, tag) {
            return Err(Unprotected::Authentication);
        }
        mark(&mut received.rtcp, index);
        self.sources.insert(ssrc, received);
        Ok(length)
    }
}

/// The indices that a sequence number may mean, the likeliest first. For a source that is known: the guess, and one
/// cycle more, as after a long hold in which it counted on. For a new one: where it was under the key before, the first
/// cycle, or the second, where the first packets of all were lost around a wrap.
fn candidates(received: &Received, sequence: u16) -> [Option<u64>; 3] {
    let next = |index: u64| Some(index + 0x1_0000).filter(|index| *index < RTP_INDICES);
    let first = u64::from(sequence);
    match (received.rtp, received.before) {
        (Some(window), _) => {
            let guessed = guess(window.highest(), sequence);
            [guessed, guessed.filter(|guessed| *guessed > window.highest()).and_then(next), None]
        }
        (None, Some(before)) => {
            let guessed = guess(before, sequence);
            [guessed, guessed.and_then(next), Some(first).filter(|first| Some(*first) != guessed)]
        }
        (None, None) => [Some(first), Some(first).filter(|first| *first < 0x8000).and_then(next), None],
    }
}

fn mark(window: &mut Option<ReplayWindow>, index: u64) {
    match window {
        Some(window) => window.mark(index),
        None => *window = Some(ReplayWindow::new(index)),
    }
}

/// The tail of an SRTCP packet: the word of E and index, then the tag (RFC 3711 3.4); with GCM the tag is the end of the
/// ciphertext and stands first (RFC 7714 9.2).
fn word_and_tag<'a>(transform: &Transform, tail: &'a mut [u8]) -> (&'a mut [u8], &'a mut [u8]) {
    match transform {
        Transform::Cm { .. } => tail.split_at_mut(4.min(tail.len())),
        Transform::Gcm { .. } => {
            let (tag, word) = tail.split_at_mut(tail.len().saturating_sub(4));
            (word, tag)
        }
    }
}

fn source(sources: &mut BTreeMap<u32, Sent>, ssrc: u32) -> Option<&mut Sent> {
    if !sources.contains_key(&ssrc) && sources.len() >= SRTP_SOURCES_MAX {
        return None;
    }
    Some(sources.entry(ssrc).or_default())
}

/// Bytes in the clear (header, CSRC, extension), sequence number and SSRC of an RTP packet.
fn rtp_header(packet: &[u8]) -> Option<(usize, u16, u32)> {
    let ([flags, _, s0, s1, _, _, _, _, x0, x1, x2, x3], _) = packet.split_first_chunk::<HEADER_BYTES>()?;
    let mut bytes = HEADER_BYTES + usize::from(flags & 0x0f) * 4;
    if flags & 0x10 != 0 {
        let (_, words) = packet.get(bytes..bytes + 4)?.split_last_chunk::<2>()?;
        bytes += 4 + usize::from(u16::from_be_bytes(*words)) * 4;
    }
    let sequence = u16::from_be_bytes([*s0, *s1]);
    (flags >> 6 == 2 && bytes <= packet.len()).then_some((bytes, sequence, u32::from_be_bytes([*x0, *x1, *x2, *x3])))
}

fn rtcp_ssrc(packet: &[u8]) -> Option<u32> {
    let ([flags, _, _, _, x0, x1, x2, x3], _) = packet.split_first_chunk::<RTCP_HEADER_BYTES>()?;
    (flags >> 6 == 2).then_some(u32::from_be_bytes([*x0, *x1, *x2, *x3]))
}

#[cfg(test)]
mod tests;
