//! What a session's parts want, turned into what the session wants; and the end of legs.

use std::time::Instant;

use super::Output;
use super::Session;
use super::agent;
use super::partner::Near;
use super::trunk::Outgoing;
use crate::ids::LegId;
use crate::media::quality::LegQuality;
use crate::media::quality::Reported;
use crate::media::vocabulary;
use crate::media::vocabulary::LegCounters;
use crate::media::vocabulary::Side;
use crate::webrtc;
use crate::worker::EventKind;

impl Session {
    pub(super) fn drain_peer(&mut self, leg: LegId, now: Instant) {
        while let Some(output) = self.agents.get_mut(&leg).and_then(|agent| agent.peer.poll_output()) {
            match output {
                webrtc::Output::Transmit { to, bytes, .. } => self.outputs.push_back(Output::ToPeer { to, bytes }),
                webrtc::Output::Rtp(rtp) if self.near == Near::Browser(leg) => {
                    self.pipeline.handle_peer_rtp(agent::packet(&rtp), now);
                }
                webrtc::Output::Connected(negotiated) => self.peer_connected(leg, negotiated, now),
                webrtc::Output::Reachable(reachable) => self.event(Some(leg), EventKind::PeerReachable(reachable)),
                webrtc::Output::Data(text) => self.event(Some(leg), EventKind::DataReceived { text }),
                webrtc::Output::Failed(failure) => {
                    self.event(Some(leg), EventKind::LegFailed { reason: agent::failure(failure) });
                    self.remove_agent(leg, now);
                }
                // What the browser reports lost decides whether its Opus carries forward error correction.
                webrtc::Output::Stats(stats) if self.near == Near::Browser(leg) => {
                    self.pipeline.set_peer_loss(stats.remote_loss.unwrap_or_default());
                }
                webrtc::Output::Rtp(_) | webrtc::Output::Stats(_) => {}
            }
        }
    }

    fn peer_connected(&mut self, leg: LegId, negotiated: webrtc::Negotiated, now: Instant) {
        if let Some(agent) = self.agents.get_mut(&leg) {
            agent.negotiated = Some(negotiated);
        }
        if self.near == Near::Browser(leg) {
            self.join_near(now);
        }
        self.event(Some(leg), EventKind::PeerConnected);
    }

    pub(super) fn drain_pipeline(&mut self, now: Instant) {
        while let Some(output) = self.pipeline.poll_output() {
            match output {
                vocabulary::Output::ToTrunkRtp(bytes) => self.send_to_trunk(false, &bytes),
                vocabulary::Output::ToTrunkRtcp(bytes) => self.send_to_trunk(true, &bytes),
                vocabulary::Output::ToPeer(packet) => self.send_to_near(&packet, now),
                vocabulary::Output::Tap(frame) => self.outputs.push_back(Output::Tap(frame)),
                vocabulary::Output::Dtmf { from, digit, duration_ms } => {
                    let leg = self.leg_of(from);
                    self.event(leg, EventKind::DtmfReceived { digit, duration_ms });
                }
                vocabulary::Output::TrunkMediaStarted => self.event(self.active_trunk, EventKind::TrunkMediaStarted),
                vocabulary::Output::MediaTimeout { silent_for } => {
                    self.event(self.active_trunk, EventKind::MediaTimeout { silent_for });
                }
            }
        }
    }

    fn send_to_near(&mut self, packet: &vocabulary::ToPeer, now: Instant) {
        match self.near {
            Near::Nobody => {}
            Near::Browser(leg) => {
                if let Some(agent) = self.agents.get_mut(&leg) {
                    agent.send(packet, now);
                    self.drain_peer(leg, now);
                }
            }
            Near::Partner { call: partner, worker } => {
                self.outputs.push_back(Output::ToPartner { partner, worker, packet: *packet });
            }
        }
    }

    const fn leg_of(&self, side: Side) -> Option<LegId> {
        match side {
            Side::Agent => self.near.browser(),
            Side::Trunk => self.active_trunk,
        }
    }

    fn send_to_trunk(&mut self, rtcp: bool, bytes: &[u8]) {
        let Some(leg) = self.active_trunk else { return };
        let outgoing = self.trunks.get_mut(&leg).and_then(|trunk| trunk.protect(rtcp, bytes));
        if let Some(Outgoing { from_rtcp, to, bytes }) = outgoing {
            self.outputs.push_back(Output::ToTrunk { leg, from_rtcp, to, bytes });
        }
    }

    pub(super) fn close_leg(&mut self, leg: LegId, now: Instant) {
        if let Some(agent) = self.agents.get_mut(&leg) {
            agent.peer.handle(webrtc::Input::Close, now);
            self.drain_peer(leg, now);
            self.report_agent(leg);
            self.remove_agent(leg, now);
        } else if self.trunks.contains_key(&leg) {
            if self.active_trunk == Some(leg) {
                self.pipeline.close(now);
                self.pipeline_closed = true;
                self.drain_pipeline(now);
            }
            self.report_trunk(leg);
            self.trunks.remove(&leg);
            self.active_trunk = self.active_trunk.filter(|active| *active != leg);
            self.outputs.push_back(Output::ReleaseTrunk { leg });
        }
    }

    pub(super) fn close(&mut self, now: Instant) {
        let legs: Vec<LegId> = self.trunks.keys().chain(self.agents.keys()).copied().collect();
        for leg in legs {
            self.close_leg(leg, now);
        }
        self.ended = true;
        self.event(None, EventKind::Closed);
        self.outputs.push_back(Output::Ended);
    }

    fn remove_agent(&mut self, leg: LegId, now: Instant) {
        if self.agents.shift_remove(&leg).is_none() {
            return;
        }
        self.outputs.push_back(Output::PeerClosed { leg });
        if self.near == Near::Browser(leg) {
            self.near = self.agents.keys().next().map_or(Near::Nobody, |next| Near::Browser(*next));
            self.join_near(now);
        }
    }

    pub(super) fn report_all(&mut self) {
        let agents: Vec<LegId> = self.agents.keys().copied().collect();
        for leg in agents {
            self.report_agent(leg);
        }
        let trunks: Vec<LegId> = self.trunks.keys().copied().collect();
        for leg in trunks {
            self.report_trunk(leg);
        }
    }

    fn report_agent(&mut self, leg: LegId) {
        let Some(agent) = self.agents.get(&leg) else { return };
        let stats = if self.near == Near::Browser(leg) {
            let counted = self.pipeline.peer_stats();
            agent.stats(&counted, self.near_meter.take(&counted, agent.reported()))
        } else {
            agent.stats(&agent.counted, LegQuality::default())
        };
        self.event(Some(leg), EventKind::Stats(stats));
    }

    fn report_trunk(&mut self, leg: LegId) {
        let Some(trunk) = self.trunks.get(&leg) else { return };
        let stats = if self.active_trunk == Some(leg) {
            let counted = self.pipeline.trunk_stats();
            let LegCounters { remote_loss: loss, remote_jitter_ms: jitter_ms, rtt_ms, .. } = counted;
            trunk.stats(&counted, self.trunk_meter.take(&counted, Reported { loss, jitter_ms, rtt_ms }))
        } else {
            trunk.stats(&LegCounters::default(), LegQuality::default())
        };
        self.event(Some(leg), EventKind::Stats(stats));
    }
}
