//! Who is on the near side of a session's pipeline: a browser, or another call's session in its place.
//!
//! Two joined sessions are each other's browser: what one pipeline sends to its near side is what the other receives
//! from there. So each trunk leg keeps its stream, its reports, its hold music, its time-outs and its tap.

use std::time::Instant;

use super::Session;
use super::trunk::Trunk;
use crate::codec::TrunkCodec;
use crate::ids::CallId;
use crate::ids::LegId;
use crate::media::vocabulary::PeerAudio;
use crate::media::vocabulary::PeerCodec;
use crate::media::vocabulary::ToPeer;
use crate::media::vocabulary::TrunkAudio;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Near {
    /// Nobody yet, or no longer.
    Nobody,
    /// This browser leg.
    Browser(LegId),
    /// The session of another call.
    Partner {
        /// The other call.
        call: CallId,
        /// The worker that has it.
        worker: usize,
    },
}

impl Near {
    pub(super) const fn browser(self) -> Option<LegId> {
        match self {
            Self::Browser(leg) => Some(leg),
            Self::Nobody | Self::Partner { .. } => None,
        }
    }
}

impl Session {
    /// Whether the session of this call is our near side: only then are its packets taken.
    pub fn is_joined_to(&self, partner: CallId) -> bool {
        matches!(self.near, Near::Partner { call, .. } if call == partner)
    }

    pub(super) fn join_partner(&mut self, partner: CallId, worker: usize, now: Instant) {
        // A call that is joined to itself would hear its own echo.
        if partner == self.call {
            return;
        }
        let is_known = self.is_joined_to(partner);
        if let Some(agent) = self.near.browser().and_then(|leg| self.agents.get_mut(&leg)) {
            agent.counted = self.pipeline.peer_stats();
        }
        self.near = Near::Partner { call: partner, worker };
        if !is_known {
            self.ringback = false;
            self.pipeline.set_ringback(false, now);
            self.join_near(now);
        }
    }

    pub(super) fn hear_partner(&mut self, partner: CallId, packet: &ToPeer, now: Instant) {
        if self.is_joined_to(partner) {
            self.pipeline.handle_peer_rtp(packet.arrived(), now);
        }
    }

    /// Joins whoever is on the near side to the pipeline.
    pub(super) fn join_near(&mut self, now: Instant) {
        match self.near {
            Near::Nobody => {}
            Near::Browser(leg) => {
                let Some(agent) = self.agents.get(&leg) else { return };
                self.pipeline.set_muted(agent.muted, now);
                if let Some(audio) = agent.audio() {
                    self.pipeline.connect_peer(audio, now);
                }
            }
            Near::Partner { .. } => {
                let trunk = self.active_trunk.and_then(|leg| self.trunks.get(&leg)).and_then(Trunk::audio);
                self.pipeline.set_muted(false, now);
                self.pipeline.replace_peer(to_partner(trunk), now);
            }
        }
    }

    /// Tells the pipeline what was negotiated with the trunk. What a partner is sent follows from it.
    pub(super) fn connect_pipeline(&mut self, audio: TrunkAudio, now: Instant) {
        self.pipeline.connect_trunk(audio, now);
        if matches!(self.near, Near::Partner { .. }) {
            self.pipeline.connect_peer(to_partner(Some(audio)), now);
        }
    }
}

/// A partner is sent the codec of our own trunk, and takes any: from one law to the same nothing changes. Digits are no
/// packets between the two; the call relays them.
fn to_partner(trunk: Option<TrunkAudio>) -> PeerAudio {
    let codec = match trunk.map(|trunk| trunk.codec) {
        Some(TrunkCodec::Pcma) => PeerCodec::Pcma,
        Some(TrunkCodec::Pcmu) | None => PeerCodec::Pcmu,
    };
    PeerAudio { codec, telephone_event: false }
}
