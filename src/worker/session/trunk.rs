//! A trunk leg of a session: where its media goes, from where alone it is taken, and how it is protected.

use std::net::SocketAddr;
use std::time::Duration;
use std::time::Instant;

use super::srtp::Contexts;
use crate::limits::SIP_EARLY_DIALOGS_MAX;
use crate::media::vocabulary::Bytes;
use crate::media::vocabulary::LegCounters;
use crate::media::vocabulary::TrunkAudio;
use crate::rtp::packet::Packet;
use crate::rtp::packet::is_rtcp;
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
    /// It was heard before another one began.
    spoke: bool,
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
    /// Dropped and counted.
    Dropped,
    /// The same, and it is time to say so.
    Told(MediaRejection),
}

impl Trunk {
    /// Takes what was negotiated.
    pub(super) fn connect(&mut self, media: TrunkMedia) {
        self.forks.clear();
        self.adopt(media);
    }

    /// Takes one more description of early media. Whether it is the one that is heard now.
    pub(super) fn hear_fork(&mut self, media: TrunkMedia) -> bool {
        if self.media.as_ref().is_none_or(|current| current.remote == media.remote) {
            self.adopt(media);
            return true;
        }
        self.forks.retain(|fork| fork.media.remote != media.remote);
        if self.forks.len() >= SIP_EARLY_DIALOGS_MAX {
            self.forks.remove(0);
        }
        self.forks.push(Fork { media, spoke: false });
        false
    }

    /// A fork that begins to play takes over, as does one that goes on where the present one has fallen silent: what the
    /// pipeline is told then.
    pub(super) fn turn_to(&mut self, source: SocketAddr, now: Instant) -> Option<TrunkAudio> {
        let at = self.forks.iter().position(|fork| fork.media.remote == source)?;
        let silent = self.heard.is_none_or(|heard| now.saturating_duration_since(heard) >= FORK_SILENCE);
        if !silent && self.forks.get(at).is_some_and(|fork| fork.spoke) {
            return None;
        }
        let fork = self.forks.remove(at);
        if let Some(media) = self.media.clone() {
            self.forks.push(Fork { media, spoke: self.heard.is_some() });
        }
        self.adopt(fork.media);
        self.audio()
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
        if self.forks.iter().any(is_other) {
            self.early += 1;
            return Admission::Dropped;
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

    pub(super) const fn stats(&self, counted: &LegCounters) -> LegStats {
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
