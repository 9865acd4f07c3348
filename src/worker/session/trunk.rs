//! A trunk leg of a session: where its media goes, from where alone it is taken, and how it is protected.

use std::net::SocketAddr;
use std::time::Duration;
use std::time::Instant;

use super::srtp::Contexts;
use super::srtp::open;
use crate::limits::SIP_EARLY_DIALOGS_MAX;
use crate::media::quality::LegQuality;
use crate::media::vocabulary::Bytes;
use crate::media::vocabulary::LegCounters;
use crate::media::vocabulary::TrunkAudio;
use crate::rtp::packet::Packet;
use crate::rtp::packet::is_rtcp;
use crate::rtp::srtp::Unprotect;
use crate::worker::LegStats;
use crate::worker::MediaRejection;
use crate::worker::MediaSource;
use crate::worker::TrunkMedia;
use crate::worker::session::vocabulary::TRUNK_DATAGRAM_BYTES_MAX;

/// Between two events of one reason.
const REJECTION_INTERVAL: Duration = Duration::from_secs(5);

/// After this long without its RTP, early media of another fork that played before is heard again.
const FORK_SILENCE: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Trunk {
    media: Option<TrunkMedia>,
    /// Kept while the leg is in the clear: its counters must not begin anew under the same key.
    contexts: Option<Contexts>,
    /// Other descriptions that answer the same offer, until the call is answered.
    forks: Vec<Fork>,
    /// When RTP was last taken.
    heard: Option<Instant>,
    /// The source that `MediaSource::Symmetric` settled on.
    locked: Option<Locked>,
    /// Datagrams from before we know address and keys.
    early: u64,
    unexpected: Rejected,
    forged: Rejected,
}

/// A phone that rings too, and may play something.
#[derive(Debug)]
struct Fork {
    media: TrunkMedia,
    /// Its own side of SRTP: what comes from its address is its own only where it opens this.
    theirs: Option<Unprotect>,
    /// It was heard before another one began.
    spoke: bool,
}

impl Fork {
    /// `theirs` is what is known of its packets, where it was heard before.
    fn new(media: TrunkMedia, theirs: Option<Unprotect>, spoke: bool) -> Self {
        let keys = media.srtp.as_ref();
        let theirs = theirs.filter(|known| keys.is_some_and(|keys| *known.key() == keys.receive));
        let theirs = theirs.or_else(|| keys.and_then(|keys| Unprotect::new(&keys.receive)));
        Self { media, theirs, spoke }
    }

    /// The length of what a datagram of its address holds; `None` where it is not the fork's, or a replay.
    fn open(&mut self, rtcp: bool, bytes: &mut [u8]) -> Option<usize> {
        if self.media.srtp.is_none() {
            return Some(bytes.len());
        }
        open(self.theirs.as_mut()?, rtcp, bytes).ok()
    }
}

#[derive(Debug, Clone, Copy)]
struct Locked {
    rtp: SocketAddr,
    rtcp: Option<SocketAddr>,
}

#[derive(Debug, Default)]
struct Rejected {
    packets: u64,
    told: Option<Instant>,
}

/// What becomes of a datagram.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// So many bytes at its start are RTP or RTCP.
    Taken(usize),
    /// The same, and it is the fork's that is heard from now on: [`Trunk::audio`] is another.
    Turned(usize),
    /// Dropped and counted.
    Dropped,
    /// The same, and it is time to say so.
    Told(MediaRejection),
}

impl Trunk {
    /// Takes what was negotiated.
    pub(super) fn connect(&mut self, media: TrunkMedia) {
        let answered = self.forks.drain(..).find(|fork| fork.media.remote == media.remote);
        self.adopt(media);
        // What the answering fork sent before counts on.
        let theirs = answered.and_then(|fork| fork.theirs);
        if let Some((contexts, theirs)) = self.contexts.as_mut().zip(theirs) {
            drop(contexts.turn(theirs));
        }
    }

    /// Takes one more description of early media. Whether it is the one that is heard now.
    pub(super) fn hear_fork(&mut self, media: TrunkMedia) -> bool {
        if self.media.as_ref().is_none_or(|current| current.remote == media.remote) {
            self.adopt(media);
            return true;
        }
        let same = self.forks.iter().position(|fork| fork.media.remote == media.remote);
        let theirs = same.and_then(|at| self.forks.remove(at).theirs);
        if self.forks.len() >= SIP_EARLY_DIALOGS_MAX {
            self.forks.remove(0);
        }
        self.forks.push(Fork::new(media, theirs, false));
        false
    }

    /// A fork that begins to play takes over, as does one that goes on where the present one has fallen silent: once a
    /// packet is truly its own, and not only of its address.
    fn turn_to(&mut self, at: usize, bytes: &mut [u8], now: Instant) -> Admission {
        let silent = self.heard.is_none_or(|heard| now.saturating_duration_since(heard) >= FORK_SILENCE);
        let waits = |fork: &&mut Fork| !is_rtcp(bytes) && (silent || !fork.spoke);
        let Some(fork) = self.forks.get_mut(at).filter(waits) else {
            self.early += 1;
            return Admission::Dropped;
        };
        let Some(length) = fork.open(false, bytes) else { return self.forged.count(MediaRejection::Forged, now) };
        let Fork { media, theirs, .. } = self.forks.remove(at);
        let left = self.media.clone();
        self.adopt(media);
        let theirs_before = self.contexts.as_mut().zip(theirs).and_then(|(contexts, theirs)| contexts.turn(theirs));
        if let Some(left) = left {
            self.forks.push(Fork::new(left, theirs_before, self.heard.is_some()));
        }
        self.heard = Some(now);
        Admission::Turned(length)
    }

    fn adopt(&mut self, media: TrunkMedia) {
        if self.media.as_ref().is_none_or(|before| before.remote != media.remote || before.source != media.source) {
            self.locked = None;
        }
        if let Some(keys) = &media.srtp {
            self.contexts = Contexts::with(self.contexts.take(), keys);
        }
        self.media = Some(media);
    }

    /// Whether a datagram is of the peer: by its address, and by its authentication where the leg is SRTP, which also
    /// decrypts it in place.
    pub(super) fn admit(&mut self, source: SocketAddr, rtcp: bool, bytes: &mut [u8], now: Instant) -> Admission {
        let Some(media) = &self.media else {
            self.early += 1;
            return Admission::Dropped;
        };
        let is_other = |fork: &Fork| source == if rtcp { fork.media.remote_rtcp } else { fork.media.remote };
        match self.forks.iter().position(is_other) {
            Some(at) if !rtcp => return self.turn_to(at, bytes, now),
            Some(_) => {
                self.early += 1;
                return Admission::Dropped;
            }
            None => {}
        }
        if !self.is_expected(media, source, rtcp) {
            return self.unexpected.count(MediaRejection::UnexpectedSource, now);
        }
        let rtcp_inside = rtcp || is_rtcp(bytes);
        let length = if media.srtp.is_some() {
            let opened = self.contexts.as_mut().and_then(|contexts| contexts.unprotect(rtcp_inside, bytes));
            let Some(length) = opened else { return self.forged.count(MediaRejection::Forged, now) };
            length
        } else {
            bytes.len()
        };
        if !rtcp_inside {
            self.heard = Some(now);
        }
        self.lock(source, rtcp, bytes.get(..length).unwrap_or_default());
        Admission::Taken(length)
    }

    /// With `a=rtcp-mux` both kinds come from one address.
    fn is_expected(&self, media: &TrunkMedia, source: SocketAddr, rtcp: bool) -> bool {
        let negotiated = if rtcp { media.remote_rtcp } else { media.remote };
        match (&media.source, self.locked) {
            (MediaSource::Exact, _) => source == negotiated,
            (MediaSource::SameHost, _) => source.ip() == negotiated.ip(),
            (MediaSource::Symmetric(_), Some(locked)) if rtcp => {
                locked.rtcp.map_or(source.ip() == locked.rtp.ip(), |known| source == known)
            }
            (MediaSource::Symmetric(_), Some(locked)) => source == locked.rtp,
            // RTCP from elsewhere waits until RTP has shown where the peer is.
            (MediaSource::Symmetric(_), None) if rtcp => source == negotiated,
            (MediaSource::Symmetric(networks), None) => {
                source == negotiated || networks.iter().any(|network| network.contains(source.ip()))
            }
        }
    }

    /// The first true packet of a symmetric leg settles where its peer is.
    fn lock(&mut self, source: SocketAddr, rtcp: bool, packet: &[u8]) {
        if !self.media.as_ref().is_some_and(|media| matches!(media.source, MediaSource::Symmetric(_))) {
            return;
        }
        match &mut self.locked {
            None if !rtcp && Packet::parse(packet).is_ok() => self.locked = Some(Locked { rtp: source, rtcp: None }),
            Some(locked) if rtcp => locked.rtcp = Some(source),
            None | Some(_) => {}
        }
    }

    /// Where our datagram goes, whether it leaves by the RTCP port, and its protected bytes. `None` where nothing may be
    /// sent: not connected, or keys that cannot be used.
    pub(super) fn protect(&mut self, rtcp: bool, bytes: &[u8]) -> Option<Outgoing> {
        let media = self.media.as_ref()?;
        let muxed = media.remote_rtcp == media.remote;
        let to = match (self.locked, rtcp) {
            (None, true) => media.remote_rtcp,
            (None, false) => media.remote,
            (Some(locked), true) if !muxed => locked.rtcp.unwrap_or_else(|| next_port(locked.rtp)),
            (Some(locked), _) => locked.rtp,
        };
        let mut length = Some(bytes.len());
        let protected = Bytes::filled(|buffer| {
            for (to, from) in buffer.iter_mut().zip(bytes) {
                *to = *from;
            }
            if media.srtp.is_some() {
                let contexts = self.contexts.as_mut();
                length = contexts.and_then(|contexts| contexts.protect(rtcp, buffer, bytes.len()));
            }
            length.unwrap_or(0)
        });
        length.map(|_| Outgoing { from_rtcp: rtcp && !muxed, to, bytes: protected })
    }

    /// What the pipeline is told of the leg.
    pub(super) fn audio(&self) -> Option<TrunkAudio> {
        self.media.as_ref().map(|media| TrunkAudio {
            codec: media.codec,
            payload_type: media.payload_type,
            receive_payload_type: media.receive_payload_type,
            telephone_event: media.telephone_event,
            receive_telephone_event: media.receive_telephone_event,
            ptime_ms: media.ptime_ms,
            send: media.send,
            receive: media.receive,
        })
    }

    pub(super) const fn stats(&self, counted: &LegCounters, quality: LegQuality) -> LegStats {
        let (unexpected, forged) = (self.unexpected.packets, self.forged.packets);
        LegStats {
            packets_received: counted.packets_received,
            packets_sent: counted.packets_sent,
            packets_lost: counted.packets_lost,
            packets_dropped: counted.packets_dropped + self.early + unexpected + forged,
            packets_from_unexpected_source: unexpected,
            packets_forged: forged,
            jitter_ms: counted.jitter_ms,
            rtt_ms: counted.rtt_ms,
            remote_loss: counted.remote_loss,
            quality,
        }
    }
}

/// One datagram of ours.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) from_rtcp: bool,
    pub(super) to: SocketAddr,
    pub(super) bytes: Bytes<TRUNK_DATAGRAM_BYTES_MAX>,
}

impl Rejected {
    fn count(&mut self, reason: MediaRejection, now: Instant) -> Admission {
        self.packets += 1;
        if self.told.is_some_and(|at| now.saturating_duration_since(at) < REJECTION_INTERVAL) {
            return Admission::Dropped;
        }
        self.told = Some(now);
        Admission::Told(reason)
    }
}

const fn next_port(rtp: SocketAddr) -> SocketAddr {
    SocketAddr::new(rtp.ip(), rtp.port().saturating_add(1))
}
