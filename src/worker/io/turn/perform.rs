//! What sessions want, done.

use std::net::IpAddr;
use std::net::SocketAddr;
use std::time::Duration;
use std::time::Instant;

use rustix::event::epoll;

use super::TrunkPorts;
use super::Turn;
use super::log_budget::LINES;
use crate::ids::CallId;
use crate::ids::LegId;
use crate::limits::WORKER_EVENTS;
use crate::media::tap::TapFrame;
use crate::telemetry::metrics::MEDIA_MOS;
use crate::telemetry::metrics::MEDIA_PACKETS_DROPPED;
use crate::worker::Event;
use crate::worker::EventKind;
use crate::worker::LegFailure;
use crate::worker::io::ports::PortPair;
use crate::worker::session::Input;
use crate::worker::session::Output;

/// A full ring is told to a call at most this often.
const OVERFLOW_INTERVAL: Duration = Duration::from_secs(1);

impl Turn {
    /// Each reason once a call, and all calls within the budget: a flood of packets is no flood of lines.
    fn log_rejected(&mut self, event: &Event, now: Instant) {
        let EventKind::MediaRejected { reason, source } = event.kind else { return };
        let is_new = self.sessions.get_mut(&event.call).is_some_and(|slot| slot.rejected.insert(reason));
        if is_new && LINES.take(now) {
            tracing::warn!(call = %event.call, verdict = reason.verdict(source), "media dropped");
        }
    }

    pub(super) fn perform(&mut self, call: CallId, output: Output, now: Instant) {
        match output {
            Output::ToPeer { to, bytes } => self.outgoing.push((to, bytes)),
            Output::ToTrunk { leg, from_rtcp, to, bytes } => self.to_trunk(call, leg, from_rtcp, to, &bytes),
            Output::ToPartner { partner, worker, packet } => self.cross(call, partner, worker, &packet),
            Output::Tap(frame) => self.record(call, frame, now),
            Output::Event(event) => {
                self.measure(&event);
                self.log_rejected(&event, now);
                self.emit(event);
            }
            Output::PeerOpened { leg, ufrag } => {
                self.demux.open(ufrag, (call, leg));
                if let Some(slot) = self.sessions.get_mut(&call) {
                    slot.peers.insert(leg, false);
                }
            }
            Output::PeerClosed { leg } => {
                self.demux.close((call, leg));
                if let Some(slot) = self.sessions.get_mut(&call) {
                    slot.peers.remove(&leg);
                }
            }
            Output::BindTrunk { leg, address } => self.bind_trunk(call, leg, address, now),
            Output::ReleaseTrunk { leg } => self.release_trunk(call, leg, now),
            Output::Ended => self.forget(call, now),
        }
    }

    fn to_trunk(&self, call: CallId, leg: LegId, from_rtcp: bool, to: SocketAddr, bytes: &[u8]) {
        let name = self.sessions.get(&call).and_then(|slot| slot.trunks.get(&leg));
        let Some(ports) = name.and_then(|name| self.trunks.get(name)) else { return };
        let socket = if from_rtcp { &ports.pair.rtcp } else { &ports.pair.rtp };
        if let Err(error) = socket.send_to(bytes, to) {
            tracing::trace!(%error, "datagram to the trunk not sent");
        }
    }

    fn record(&mut self, call: CallId, frame: TapFrame, now: Instant) {
        let tap = frame.tap;
        if self.tap.push(frame) {
            return;
        }
        let Some(slot) = self.sessions.get_mut(&call) else { return };
        if slot.overflow_at.is_none_or(|at| now.saturating_duration_since(at) >= OVERFLOW_INTERVAL) {
            slot.overflow_at = Some(now);
            self.emit(Event { call, leg: None, kind: EventKind::TapOverflow { tap } });
        }
    }

    fn bind_trunk(&mut self, call: CallId, leg: LegId, address: IpAddr, now: Instant) {
        let local = self.ports.bind(address, now).and_then(|pair| self.watch(call, leg, pair, now));
        self.with_session(call, now, |session| session.handle(Input::TrunkBound { leg, local }, now));
    }

    /// Puts a pair under epoll; `None` (and the pair given back) where the kernel will not.
    fn watch(&mut self, call: CallId, leg: LegId, pair: PortPair, now: Instant) -> Option<SocketAddr> {
        let name = self.next_trunk;
        self.next_trunk += 1;
        let add =
            |socket, token| epoll::add(&self.queue, socket, epoll::EventData::new_u64(token), epoll::EventFlags::IN);
        let watched = add(&pair.rtp, name * 2).and_then(|()| add(&pair.rtcp, name * 2 + 1));
        let local = pair.rtp.local_addr().ok();
        let slot = self.sessions.get_mut(&call);
        match (watched, local, slot) {
            (Ok(()), Some(local), Some(slot)) => {
                slot.trunks.insert(leg, name);
                self.trunks.insert(name, TrunkPorts { call, leg, pair });
                Some(local)
            }
            (watched, ..) => {
                tracing::error!(?watched, "a trunk port cannot be watched");
                self.ports.release(pair, now);
                None
            }
        }
    }

    fn release_trunk(&mut self, call: CallId, leg: LegId, now: Instant) {
        let name = self.sessions.get_mut(&call).and_then(|slot| slot.trunks.remove(&leg));
        if let Some(ports) = name.and_then(|name| self.trunks.remove(&name)) {
            self.ports.release(ports.pair, now);
        }
    }

    fn forget(&mut self, call: CallId, now: Instant) {
        let Some(slot) = self.sessions.remove(&call) else { return };
        for leg in slot.peers.keys() {
            self.demux.close((call, *leg));
        }
        for name in slot.trunks.values() {
            if let Some(ports) = self.trunks.remove(name) {
                self.ports.release(ports.pair, now);
            }
        }
    }

    pub(super) fn abandon(&mut self, call: CallId, now: Instant) {
        tracing::error!(%call, "a session panicked and is abandoned");
        let Some(slot) = self.sessions.get(&call) else { return };
        let legs: Vec<LegId> = slot.peers.keys().chain(slot.trunks.keys()).copied().collect();
        self.forget(call, now);
        for leg in legs {
            self.emit(Event { call, leg: Some(leg), kind: EventKind::LegFailed { reason: LegFailure::WorkerFull } });
        }
        self.emit(Event { call, leg: None, kind: EventKind::Closed });
    }

    /// A leg's statistics say what it dropped since it began, and how it was since the last: the metrics get what is new.
    fn measure(&mut self, event: &Event) {
        let (Some(leg), EventKind::Stats(stats)) = (event.leg, &event.kind) else { return };
        let Some(slot) = self.sessions.get_mut(&event.call) else { return };
        let before = slot.counted.insert(leg, stats.packets_dropped).unwrap_or(0);
        let new = stats.packets_dropped.saturating_sub(before);
        let side = if slot.trunks.contains_key(&leg) { "trunk" } else { "agent" };
        metrics::counter!(MEDIA_PACKETS_DROPPED.name, "leg" => side).increment(new);
        for (direction, stream) in [("received", stats.quality.received), ("sent", stats.quality.sent)] {
            if let Some(stream) = stream {
                metrics::histogram!(MEDIA_MOS.name, "leg" => side, "direction" => direction).record(stream.mos);
            }
        }
    }

    /// In order, and without waiting. Statistics are the first to go when too many events wait.
    pub(super) fn emit(&mut self, event: Event) {
        let late = self.waiting.len() >= WORKER_EVENTS / 2;
        if (late && matches!(event.kind, EventKind::Stats(_))) || self.waiting.len() >= WORKER_EVENTS {
            tracing::warn!(call = %event.call, "an event of the worker is lost: nobody takes them");
            return;
        }
        self.waiting.push_back(event);
    }
}
