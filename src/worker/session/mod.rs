//! One call's media: its browser legs, its trunk legs, and the pipeline between the two that talk. Pure.
//!
//! Several browsers may ring at once and a reload replaces one, but one agent leg at a time is joined to the pipeline:
//! the one last named by a command about its audio, else the oldest. The trunk leg is the one last connected.

mod agent;
mod drain;
mod partner;
mod srtp;
mod trunk;
mod vocabulary;

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::time::Duration;
use std::time::Instant;

use indexmap::IndexMap;
use rand::RngCore;
use rand::SeedableRng;
use rand::rngs::StdRng;

use agent::Agent;
use partner::Near;
use trunk::Admission;
use trunk::Trunk;
pub use vocabulary::Config;
pub use vocabulary::Input;
pub use vocabulary::Output;
pub use vocabulary::SessionTimer;

use crate::codec;
use crate::ids::CallId;
use crate::ids::LegId;
use crate::limits::SESSION_LEGS_MAX;
use crate::media::pipeline::Pipeline;
use crate::media::quality::LegMeter;
use crate::media::tap::TapId;
use crate::webrtc;
use crate::webrtc::Peer;
use crate::worker::Command;
use crate::worker::Event;
use crate::worker::EventKind;
use crate::worker::Gate;
use crate::worker::LegFailure;
use crate::worker::TrunkMedia;

/// Time between the statistics of a leg.
const STATS_INTERVAL: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is told by a command of its own, and none implies another")]
pub struct Session {
    call: CallId,
    config: Config,
    rng: StdRng,
    agents: IndexMap<LegId, Agent>,
    trunks: BTreeMap<LegId, Trunk>,
    near: Near,
    active_trunk: Option<LegId>,
    pipeline: Pipeline,
    pipeline_closed: bool,
    gate: Gate,
    ringback: bool,
    held: bool,
    tap: Option<TapId>,
    stats_at: Instant,
    /// Of whatever the pipeline has on that side: it counts on where a leg takes another's place.
    near_meter: LegMeter,
    trunk_meter: LegMeter,
    ended: bool,
    outputs: VecDeque<Output>,
}

impl Session {
    /// A session without legs.
    pub fn new(call: CallId, config: Config, rng: &mut dyn RngCore, now: Instant) -> Result<Self, codec::Error> {
        let mut seed = [0; 32];
        rng.fill_bytes(&mut seed);
        let mut rng = StdRng::from_seed(seed);
        let pipeline = Pipeline::new(config.media.clone(), &mut rng, now)?;
        Ok(Self {
            call,
            config,
            rng,
            agents: IndexMap::new(),
            trunks: BTreeMap::new(),
            near: Near::Nobody,
            active_trunk: None,
            pipeline,
            pipeline_closed: false,
            gate: Gate::default(),
            ringback: false,
            held: false,
            tap: None,
            stats_at: now + STATS_INTERVAL,
            near_meter: LegMeter::default(),
            trunk_meter: LegMeter::default(),
            ended: false,
            outputs: VecDeque::new(),
        })
    }

    /// Whether a STUN request from an unbound address is for this leg, with integrity.
    pub fn accepts(&self, leg: LegId, source: SocketAddr, local: SocketAddr, bytes: &[u8], now: Instant) -> bool {
        self.agents.get(&leg).is_some_and(|agent| agent.peer.accepts(source, local, bytes, now))
    }

    /// Whether a browser leg's DTLS handshake is done, or was never needed.
    pub fn is_connected(&self, leg: LegId) -> bool {
        self.agents.get(&leg).is_some_and(|agent| agent.peer.is_connected())
    }

    /// Takes what came from outside.
    pub fn handle(&mut self, input: Input<'_>, now: Instant) {
        if self.ended {
            return;
        }
        match input {
            Input::Command(command) => self.command(command, now),
            Input::PeerDatagram { leg, source, local, bytes } => {
                self.hand_to_peer(leg, webrtc::Input::Datagram { source, local, bytes }, now);
            }
            Input::TrunkBound { leg, local } => self.trunk_bound(leg, local),
            Input::TrunkDatagram { leg, rtcp, source, bytes } => self.trunk_datagram(leg, rtcp, source, bytes, now),
            Input::FromPartner { partner, packet } => self.hear_partner(partner, packet, now),
        }
        self.drain_pipeline(now);
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.ended {
            return;
        }
        let due: Vec<LegId> =
            self.agents.iter().filter(|(_, agent)| is_due(&agent.peer, now)).map(|(leg, _)| *leg).collect();
        for leg in due {
            if let Some(agent) = self.agents.get_mut(&leg) {
                agent.peer.handle_timeout(now);
            }
            self.drain_peer(leg, now);
        }
        if self.pipeline.poll_timeout().is_some_and(|(at, _)| at <= now) {
            self.pipeline.handle_timeout(now);
        }
        if self.stats_at <= now {
            self.stats_at = now + STATS_INTERVAL;
            self.report_all();
        }
        self.drain_pipeline(now);
    }

    /// When it wants to be woken, and why.
    pub fn poll_timeout(&self) -> Option<(Instant, SessionTimer)> {
        if self.ended {
            return None;
        }
        let peers =
            self.agents.values().filter_map(|agent| agent.peer.poll_timeout()).map(|(at, _)| (at, SessionTimer::Peer));
        let media = self.pipeline.poll_timeout().map(|(at, _)| (at, SessionTimer::Media));
        peers.chain(media).chain([(self.stats_at, SessionTimer::Stats)]).min()
    }

    /// The next thing to do; `None` when there is no more.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn command(&mut self, command: Command, now: Instant) {
        match command {
            Command::OfferPeer { leg, .. } => self.offer_peer(leg, now),
            Command::AcceptPeerAnswer { leg, sdp, .. } => self.hand_to_peer(leg, webrtc::Input::Answer(&sdp), now),
            Command::AddPeerCandidate { leg, candidate, .. } => {
                self.hand_to_peer(leg, webrtc::Input::Candidate(&candidate), now);
            }
            Command::SendData { leg, text, .. } => self.hand_to_peer(leg, webrtc::Input::Text(&text), now),
            Command::BindTrunk { leg, address, .. } => self.bind_trunk(leg, address),
            Command::ConnectTrunk { leg, media, .. } => self.connect_trunk(leg, media, now),
            Command::HearFork { leg, media, .. } => self.hear_fork(leg, media, now),
            Command::SetGate { gate, .. } => {
                self.gate = gate;
                self.pipeline.set_gate(gate.to_trunk, gate.to_agent, now);
            }
            Command::SetMuted { leg, muted, .. } => self.set_muted(leg, muted, now),
            Command::SendDtmf { leg, digits, .. } if self.active_trunk == Some(leg) => {
                self.pipeline.send_dtmf_to_trunk(&digits, now);
            }
            Command::SendDtmf { leg, digits, .. } if self.near == Near::Browser(leg) => {
                self.pipeline.send_dtmf_to_agent(&digits, now);
            }
            Command::StartTap { leg, tap, .. } => {
                self.activate(leg, now);
                self.tap = Some(tap);
                self.pipeline.start_tap(tap, now);
            }
            Command::StopTap { tap, .. } => self.stop_tap(tap, now),
            Command::PlayHold { leg, on, .. } if self.trunks.contains_key(&leg) => {
                self.held = on;
                self.pipeline.set_held(on, now);
            }
            // A leg that is not joined: nothing to do.
            Command::SendDtmf { .. } | Command::PlayHold { .. } => {}
            Command::SetRingback { leg, on, .. } => {
                self.activate(leg, now);
                self.ringback = on;
                self.pipeline.set_ringback(on, now);
            }
            Command::Join { partner, worker, .. } => self.join_partner(partner, worker, now),
            Command::CloseLeg { leg, .. } => self.close_leg(leg, now),
            Command::Close { .. } => self.close(now),
        }
    }

    fn offer_peer(&mut self, leg: LegId, now: Instant) {
        if self.holds(leg) {
            return;
        }
        let offered = if self.agents.len() + self.trunks.len() < SESSION_LEGS_MAX {
            Peer::offer(&self.config.peer, now)
        } else {
            None
        };
        let Some((peer, sdp)) = offered else {
            self.event(Some(leg), EventKind::LegFailed { reason: LegFailure::WorkerFull });
            return;
        };
        self.outputs.push_back(Output::PeerOpened { leg, ufrag: peer.ufrag().to_owned() });
        self.agents.insert(leg, Agent::new(peer));
        if self.near == Near::Nobody {
            self.near = Near::Browser(leg);
        }
        self.event(Some(leg), EventKind::PeerOffered { sdp });
        self.drain_peer(leg, now);
    }

    fn bind_trunk(&mut self, leg: LegId, address: IpAddr) {
        if self.holds(leg) {
            return;
        }
        if self.agents.len() + self.trunks.len() >= SESSION_LEGS_MAX {
            self.event(Some(leg), EventKind::LegFailed { reason: LegFailure::WorkerFull });
            return;
        }
        self.trunks.insert(leg, Trunk::default());
        self.outputs.push_back(Output::BindTrunk { leg, address });
    }

    fn trunk_bound(&mut self, leg: LegId, local: Option<SocketAddr>) {
        if let Some(local) = local {
            self.event(Some(leg), EventKind::TrunkBound { local });
        } else {
            self.trunks.remove(&leg);
            self.event(Some(leg), EventKind::LegFailed { reason: LegFailure::NoPort });
        }
    }

    fn connect_trunk(&mut self, leg: LegId, media: TrunkMedia, now: Instant) {
        let Some(trunk) = self.trunks.get_mut(&leg) else { return };
        trunk.connect(media);
        self.join_trunk(leg, now);
    }

    fn hear_fork(&mut self, leg: LegId, media: TrunkMedia, now: Instant) {
        if self.trunks.get_mut(&leg).is_some_and(|trunk| trunk.hear_fork(media)) {
            self.join_trunk(leg, now);
        }
    }

    /// Joins the leg to the pipeline, as it is connected now.
    fn join_trunk(&mut self, leg: LegId, now: Instant) {
        let audio = self.trunks.get(&leg).and_then(Trunk::audio);
        self.active_trunk = Some(leg);
        if self.pipeline_closed && !self.reopen_pipeline(now) {
            self.event(Some(leg), EventKind::LegFailed { reason: LegFailure::WorkerFull });
            return;
        }
        if let Some(audio) = audio {
            self.connect_pipeline(audio, now);
        }
    }

    /// A closed pipeline said BYE to its trunk; the next trunk leg gets a new one, set as the old one was.
    fn reopen_pipeline(&mut self, now: Instant) -> bool {
        let Ok(pipeline) = Pipeline::new(self.config.media.clone(), &mut self.rng, now) else { return false };
        self.pipeline = pipeline;
        self.pipeline_closed = false;
        self.pipeline.set_gate(self.gate.to_trunk, self.gate.to_agent, now);
        self.pipeline.set_held(self.held, now);
        self.join_near(now);
        if let Some(tap) = self.tap {
            self.pipeline.start_tap(tap, now);
        }
        if self.ringback {
            self.pipeline.set_ringback(true, now);
        }
        true
    }

    fn trunk_datagram(&mut self, leg: LegId, rtcp: bool, source: SocketAddr, bytes: &mut [u8], now: Instant) {
        let Some(trunk) = self.trunks.get_mut(&leg) else { return };
        let length = match trunk.admit(source, rtcp, bytes, now) {
            Admission::Taken(length) => length,
            Admission::Turned(length) => {
                if let Some(audio) = trunk.audio() {
                    self.connect_pipeline(audio, now);
                }
                length
            }
            Admission::Told(reason) => {
                return self.event(Some(leg), EventKind::MediaRejected { reason, source });
            }
            Admission::Dropped => return,
        };
        if self.active_trunk != Some(leg) {
            return;
        }
        let packet = bytes.get(..length).unwrap_or_default();
        if rtcp {
            self.pipeline.handle_trunk_rtcp(packet, now);
        } else {
            self.pipeline.handle_trunk_rtp(packet, now);
        }
    }

    /// What the pipeline still held of the tap leaves before the word that there is no more.
    fn stop_tap(&mut self, tap: TapId, now: Instant) {
        if self.tap == Some(tap) {
            self.tap = None;
            self.pipeline.stop_tap();
        }
        self.drain_pipeline(now);
        self.event(None, EventKind::TapStopped { tap });
    }

    fn set_muted(&mut self, leg: LegId, muted: bool, now: Instant) {
        self.activate(leg, now);
        if let Some(agent) = self.agents.get_mut(&leg) {
            agent.muted = muted;
        }
        if self.near == Near::Browser(leg) {
            self.pipeline.set_muted(muted, now);
        }
    }

    /// Joins `leg` to the pipeline, if it is a browser leg and another one is joined. A partner stays.
    fn activate(&mut self, leg: LegId, now: Instant) {
        let stays = matches!(self.near, Near::Partner { .. }) || self.near == Near::Browser(leg);
        if !stays && self.agents.contains_key(&leg) {
            self.near = Near::Browser(leg);
            self.join_near(now);
        }
    }

    fn hand_to_peer(&mut self, leg: LegId, input: webrtc::Input<'_>, now: Instant) {
        if let Some(agent) = self.agents.get_mut(&leg) {
            agent.peer.handle(input, now);
            self.drain_peer(leg, now);
        }
    }

    fn holds(&self, leg: LegId) -> bool {
        self.agents.contains_key(&leg) || self.trunks.contains_key(&leg)
    }

    fn event(&mut self, leg: Option<LegId>, kind: EventKind) {
        self.outputs.push_back(Output::Event(Event { call: self.call, leg, kind }));
    }
}

fn is_due(peer: &Peer, now: Instant) -> bool {
    peer.poll_timeout().is_some_and(|(at, _)| at <= now)
}

#[cfg(test)]
mod tests;
