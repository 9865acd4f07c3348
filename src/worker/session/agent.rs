//! A browser leg of a session: its peer, in the words of the pipeline.

use std::time::Instant;

use crate::media::quality::LegQuality;
use crate::media::quality::Reported;
use crate::media::quality::milliseconds;
use crate::media::vocabulary::LegCounters;
use crate::media::vocabulary::PeerAudio;
use crate::media::vocabulary::PeerCodec;
use crate::media::vocabulary::PeerPacket;
use crate::media::vocabulary::PeerPayload;
use crate::media::vocabulary::ToPeer;
use crate::webrtc::Failure;
use crate::webrtc::Negotiated;
use crate::webrtc::PayloadKind;
use crate::webrtc::Peer;
use crate::webrtc::Rtp;
use crate::webrtc::RtpOut;
use crate::worker::LegFailure;
use crate::worker::LegStats;

/// See the module.
#[derive(Debug)]
pub(super) struct Agent {
    pub(super) peer: Peer,
    pub(super) negotiated: Option<Negotiated>,
    pub(super) muted: bool,
    /// What the pipeline had counted of this leg when a partner took its place.
    pub(super) counted: LegCounters,
}

impl Agent {
    pub(super) fn new(peer: Peer) -> Self {
        Self { peer, negotiated: None, muted: false, counted: LegCounters::default() }
    }

    /// What the pipeline sends to this browser, once that is known.
    pub(super) fn audio(&self) -> Option<PeerAudio> {
        let negotiated = self.negotiated?;
        let codec = match negotiated.audio {
            PayloadKind::Pcmu => PeerCodec::Pcmu,
            PayloadKind::Pcma => PeerCodec::Pcma,
            PayloadKind::Opus | PayloadKind::TelephoneEvent48k | PayloadKind::TelephoneEvent8k => PeerCodec::Opus,
        };
        Some(PeerAudio { codec, telephone_event: negotiated.telephone_event.is_some() })
    }

    /// Sends what the pipeline made, under the payload type that was agreed for its kind.
    pub(super) fn send(&mut self, packet: &ToPeer, now: Instant) {
        let Some(negotiated) = self.negotiated else { return };
        let payload_type = match packet.kind {
            PeerPayload::TelephoneEvent { .. } => negotiated.telephone_event,
            PeerPayload::Opus | PeerPayload::Pcmu | PeerPayload::Pcma => {
                (packet.kind == payload(negotiated.audio)).then_some(negotiated.audio_payload_type)
            }
        };
        let Some(payload_type) = payload_type else { return };
        let ToPeer { sequence, timestamp, marker, .. } = *packet;
        self.peer.write_rtp(&RtpOut { payload_type, sequence, timestamp, marker, payload: &packet.payload }, now);
    }

    /// What the browser reports of our packets.
    pub(super) fn reported(&self) -> Reported {
        let transport = self.peer.stats();
        let clock_hz = self.audio().map_or(48_000, |audio| audio.codec.clock_hz());
        let jitter_ms = transport.remote_jitter_clock_units.map(|units| milliseconds(units, clock_hz));
        Reported { loss: transport.remote_loss, jitter_ms, rtt_ms: transport.rtt_ms }
    }

    /// The leg's figures: what the pipeline counted of it, and what only the transport knows.
    pub(super) fn stats(&self, counted: &LegCounters, quality: LegQuality) -> LegStats {
        let transport = self.peer.stats();
        LegStats {
            packets_received: counted.packets_received,
            packets_sent: counted.packets_sent,
            packets_lost: counted.packets_lost,
            packets_dropped: counted.packets_dropped + self.peer.dropped(),
            packets_from_unexpected_source: 0,
            packets_forged: 0,
            jitter_ms: counted.jitter_ms,
            rtt_ms: transport.rtt_ms,
            remote_loss: transport.remote_loss,
            quality,
        }
    }
}

/// A browser's packet as the pipeline takes it.
pub(super) fn packet(rtp: &Rtp) -> PeerPacket<'_> {
    PeerPacket {
        ssrc: rtp.ssrc,
        sequence: rtp.sequence,
        timestamp: rtp.timestamp,
        marker: rtp.marker,
        kind: payload(rtp.kind),
        payload: &rtp.payload,
    }
}

pub(super) const fn failure(failure: Failure) -> LegFailure {
    match failure {
        Failure::Description(_) => LegFailure::BadDescription,
        Failure::Ice => LegFailure::IceFailed,
        Failure::Dtls => LegFailure::DtlsFailed,
    }
}

const fn payload(kind: PayloadKind) -> PeerPayload {
    match kind {
        PayloadKind::Opus => PeerPayload::Opus,
        PayloadKind::Pcmu => PeerPayload::Pcmu,
        PayloadKind::Pcma => PeerPayload::Pcma,
        PayloadKind::TelephoneEvent48k | PayloadKind::TelephoneEvent8k => {
            PeerPayload::TelephoneEvent { clock: kind.clock_hz() }
        }
    }
}
