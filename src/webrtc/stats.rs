//! What str0m counts, gathered into one record a peer.

use str0m::stats::MediaEgressStats;
use str0m::stats::MediaIngressStats;
use str0m::stats::PeerStats as TransportStats;

/// Counters of one peer since it began; figures that the browser reports are `None` until its first report.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct PeerStats {
    /// RTP packets taken.
    pub packets_received: u64,
    /// RTP packets sent.
    pub packets_sent: u64,
    /// Jitter of what the browser sends, in units of the RTP clock (RFC 3550 6.4.1).
    pub jitter_clock_units: u32,
    /// Share of our packets that the browser reported lost, over the last interval, 0.0–1.0.
    pub remote_loss: Option<f32>,
    /// Jitter that the browser reports of our packets, in units of the RTP clock.
    pub remote_jitter_clock_units: Option<u32>,
    /// Round-trip time in milliseconds: from RTCP, else from ICE.
    pub rtt_ms: Option<f32>,
    /// Share of the browser's packets that we reported lost, 0.0–1.0.
    pub local_loss: Option<f32>,
}

impl PeerStats {
    pub(super) fn take_egress(&mut self, stats: &MediaEgressStats) {
        self.packets_sent = stats.packets;
        if stats.loss.is_some() {
            self.remote_loss = stats.loss;
        }
        self.remote_jitter_clock_units =
            stats.remote.as_ref().map(|remote| remote.jitter).or(self.remote_jitter_clock_units);
        self.rtt_ms = stats.rtt.map(|rtt| rtt.as_secs_f32() * 1_000.0).or(self.rtt_ms);
    }

    pub(super) fn take_ingress(&mut self, stats: &MediaIngressStats) {
        self.packets_received = stats.packets;
        self.jitter_clock_units = stats.jitter;
        if stats.loss.is_some() {
            self.local_loss = stats.loss;
        }
    }

    pub(super) fn take_transport(&mut self, stats: &TransportStats) {
        let path = stats.selected_candidate_pair.as_ref().and_then(|pair| pair.current_round_trip_time);
        if self.rtt_ms.is_none() {
            self.rtt_ms = path.map(|rtt| rtt.as_secs_f32() * 1_000.0);
        }
    }
}
