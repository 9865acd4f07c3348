//! A trunk leg of a session: where its media goes, and from where alone it is taken.

use std::net::SocketAddr;

use crate::media::vocabulary::LegCounters;
use crate::media::vocabulary::TrunkAudio;
use crate::worker::LegStats;
use crate::worker::TrunkMedia;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Trunk {
    pub(super) media: Option<TrunkMedia>,
    /// Datagrams from an address that was not negotiated.
    pub(super) foreign: u64,
}

impl Trunk {
    /// Whether a datagram's source is the negotiated one. With `a=rtcp-mux` both kinds come from one address.
    pub(super) fn admits(&mut self, source: SocketAddr, rtcp: bool) -> bool {
        let expected = self.media.as_ref().map(|media| if rtcp { media.remote_rtcp } else { media.remote });
        let admitted = expected == Some(source);
        if !admitted {
            self.foreign += 1;
        }
        admitted
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
        LegStats {
            packets_received: counted.packets_received,
            packets_sent: counted.packets_sent,
            packets_lost: counted.packets_lost,
            packets_dropped: counted.packets_dropped + self.foreign,
            packets_from_unexpected_source: self.foreign,
            packets_forged: 0,
            jitter_ms: counted.jitter_ms,
            rtt_ms: counted.rtt_ms,
            remote_loss: counted.remote_loss,
        }
    }
}
