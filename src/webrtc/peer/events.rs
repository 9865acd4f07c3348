//! What str0m says, in our words.

use std::time::Duration;
use std::time::Instant;

use str0m::IceConnectionState;
use str0m::channel::ChannelId;
use str0m::rtp::RtpPacket;

use super::CHANNEL_LABEL;
use super::Failure;
use super::Output;
use super::Peer;
use super::Phase;
use super::Rtp;
use crate::limits::DATA_MESSAGE_BYTES_MAX;

impl Peer {
    pub(super) fn drain(&mut self, now: Instant) {
        // A failed handshake leaves str0m dead, and a garbled datagram only reports itself: both come as an error.
        loop {
            match self.rtc.poll_output() {
                Ok(str0m::Output::Timeout(at)) => {
                    self.wake_at = at;
                    break;
                }
                Ok(str0m::Output::Transmit(transmit)) => {
                    let (from, to) = (transmit.source, transmit.destination);
                    self.outputs.push_back(Output::Transmit { from, to, bytes: transmit.contents.into() });
                }
                Ok(str0m::Output::Event(event)) => self.take_event(event),
                Err(error) => {
                    tracing::debug!(%error, "peer output");
                    self.wake_at = now + Duration::from_millis(10);
                    break;
                }
            }
        }
        // The figures of one interval come as several events: told once, when all are in.
        if std::mem::take(&mut self.stats_due) {
            self.outputs.push_back(Output::Stats(self.stats));
        }
        if !self.rtc.is_alive() && !self.is_ended() {
            if self.is_connected() {
                self.set_reachable(false);
                self.phase = Phase::Ended;
            } else {
                self.fail(Failure::Dtls);
            }
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "foreign and non-exhaustive: what we do not name is nothing to us"
    )]
    fn take_event(&mut self, event: str0m::Event) {
        match event {
            str0m::Event::RtpPacket(packet) => self.take_rtp(packet),
            str0m::Event::Connected => self.take_connected(),
            str0m::Event::IceConnectionStateChange(state) => self.take_ice(state),
            str0m::Event::ChannelOpen(id, label) if label == CHANNEL_LABEL => self.channel = Some(id),
            str0m::Event::ChannelClose(id) if self.channel == Some(id) => self.channel = None,
            str0m::Event::ChannelData(data) => self.take_data(data.id, data.data),
            str0m::Event::Closed => self.set_reachable(false),
            str0m::Event::MediaEgressStats(stats) => self.stats.take_egress(&stats),
            str0m::Event::MediaIngressStats(stats) => self.stats.take_ingress(&stats),
            str0m::Event::PeerStats(stats) => {
                self.stats.take_transport(&stats);
                self.stats_due = true;
            }
            _ => {}
        }
    }

    fn take_rtp(&mut self, packet: RtpPacket) {
        let header = &packet.header;
        let Some(kind) = self.kind_of(header.payload_type) else { return };
        self.outputs.push_back(Output::Rtp(Rtp {
            ssrc: *header.ssrc,
            sequence: header.sequence_number,
            timestamp: header.timestamp,
            marker: header.marker,
            kind,
            payload: packet.payload,
        }));
    }

    fn take_connected(&mut self) {
        if let Some(negotiated) = self.negotiated() {
            self.phase = Phase::Connected;
            self.reachable = true;
            self.outputs.push_back(Output::Connected(negotiated));
        }
    }

    fn take_ice(&mut self, state: IceConnectionState) {
        let up = state.is_connected();
        if let Phase::Connecting { ice_up, .. } = &mut self.phase {
            *ice_up = up;
        } else if up || state.is_disconnected() {
            self.set_reachable(up);
        }
    }

    fn set_reachable(&mut self, reachable: bool) {
        if self.is_connected() && self.reachable != reachable {
            self.reachable = reachable;
            self.outputs.push_back(Output::Reachable(reachable));
        }
    }

    fn take_data(&mut self, channel: ChannelId, bytes: Vec<u8>) {
        if self.channel != Some(channel) || bytes.len() > DATA_MESSAGE_BYTES_MAX {
            self.dropped += 1;
            return;
        }
        match String::from_utf8(bytes) {
            Ok(text) => self.outputs.push_back(Output::Data(text)),
            Err(_) => self.dropped += 1,
        }
    }
}
