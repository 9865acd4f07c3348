//! What a worker does in one turn: datagrams, timers and commands to sessions, and what sessions want to the world.
//!
//! No `?` here: one bad packet drops no batch. A panic in one session ends that session.

mod cross;
mod log_budget;
mod perform;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::time::Duration;
use std::time::Instant;

use rand::rngs::StdRng;
use tokio::sync::mpsc::error::TrySendError;

use crate::ids::CallId;
use crate::ids::LegId;
use crate::limits::DEFERRED_HANDSHAKES_MAX;
use crate::limits::RTP_DATAGRAM_BYTES_MAX;
use crate::telemetry::metrics::MEDIA_PACKETS_DROPPED;
use crate::webrtc::stun;
use crate::webrtc::stun::DatagramKind;
use crate::worker::Command;
use crate::worker::Event;
use crate::worker::EventKind;
use crate::worker::LegFailure;
use crate::worker::MediaRejection;
use crate::worker::demux::Demux;
use crate::worker::demux::PeerKey;
use crate::worker::demux::Verdict;
use crate::worker::io::Config;
use crate::worker::io::partners::Partners;
use crate::worker::io::ports::PortPair;
use crate::worker::io::ports::Ports;
use crate::worker::io::recorder_ring::TapProducer;
use crate::worker::io::udp::Datagram;
use crate::worker::session;
use crate::worker::session::Input;
use crate::worker::session::Session;
use crate::worker::wheel::Wheel;

/// Datagrams taken from one trunk port in one turn.
const TRUNK_DATAGRAMS_PER_TURN: usize = 64;
/// Time until events that did not fit are tried again.
const EVENT_RETRY: Duration = Duration::from_millis(5);
/// How often silent addresses are forgotten.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);

struct Slot {
    session: Session,
    /// The only entry of the wheel that counts; older ones are stale.
    scheduled: Option<Instant>,
    overflow_at: Option<Instant>,
    trunks: BTreeMap<LegId, u64>,
    /// Whether each browser's DTLS handshake has begun.
    peers: BTreeMap<LegId, bool>,
    /// Dropped packets of each leg that the metrics have already.
    counted: BTreeMap<LegId, u64>,
    /// Why media of this call was dropped, as the log has it already.
    rejected: BTreeSet<MediaRejection>,
}

struct TrunkPorts {
    call: CallId,
    leg: LegId,
    pair: PortPair,
}

struct Deferred {
    peer: PeerKey,
    source: SocketAddr,
    local: SocketAddr,
    bytes: Vec<u8>,
}

pub(in crate::worker::io) struct Turn {
    config: Config,
    session: session::Config,
    rng: StdRng,
    queue: OwnedFd,
    demux: Demux,
    sessions: BTreeMap<CallId, Slot>,
    /// By name: in epoll twice this is the RTP socket, and one more the RTCP socket.
    trunks: BTreeMap<u64, TrunkPorts>,
    next_trunk: u64,
    ports: Ports,
    wheel: Wheel<(CallId, Instant)>,
    buffer: Vec<u8>,
    outgoing: Vec<(SocketAddr, Vec<u8>)>,
    events: tokio::sync::mpsc::Sender<Event>,
    waiting: VecDeque<Event>,
    tap: TapProducer,
    partners: Partners,
    handshakes: usize,
    deferred: VecDeque<Deferred>,
    dropped: u64,
    /// Packets between joined calls that found no room, or no session that is joined to theirs.
    uncrossed: u64,
    sweep_at: Instant,
}

/// Where a turn's results go.
#[derive(Debug)]
pub struct Outlets {
    /// What happened. It leaves with `try_send`; what does not fit waits in the worker, and statistics are dropped first.
    pub events: tokio::sync::mpsc::Sender<Event>,
    /// The ring to the recorder.
    pub tap: TapProducer,
    /// The worker's place among those of the node: its number is the one by which [`Command::Join`] names it.
    pub partners: Partners,
}

impl Turn {
    pub(in crate::worker::io) fn new(
        config: Config,
        session: session::Config,
        rng: StdRng,
        queue: OwnedFd,
        outlets: Outlets,
        now: Instant,
    ) -> Self {
        Self {
            ports: Ports::new(&config.trunk_ports, config.port_drain),
            config,
            session,
            rng,
            queue,
            demux: Demux::default(),
            sessions: BTreeMap::new(),
            trunks: BTreeMap::new(),
            next_trunk: 0,
            wheel: Wheel::new(now),
            buffer: vec![0; RTP_DATAGRAM_BYTES_MAX],
            outgoing: Vec::new(),
            events: outlets.events,
            waiting: VecDeque::new(),
            tap: outlets.tap,
            partners: outlets.partners,
            handshakes: 0,
            deferred: VecDeque::new(),
            dropped: 0,
            uncrossed: 0,
            sweep_at: now + SWEEP_INTERVAL,
        }
    }

    pub(in crate::worker::io) const fn queue(&self) -> &OwnedFd {
        &self.queue
    }

    /// How long nothing is due. `None`: for as long as one likes.
    pub(in crate::worker::io) fn sleep(&self, now: Instant) -> Option<Duration> {
        if !self.deferred.is_empty() {
            return Some(Duration::ZERO);
        }
        // Events that did not fit are tried again soon.
        let retry = (!self.waiting.is_empty()).then_some(EVENT_RETRY);
        let timer = self.wheel.next().map(|at| at.saturating_duration_since(now));
        retry.into_iter().chain(timer).min()
    }

    /// One more handshake may begin; those that had to wait come first.
    pub(in crate::worker::io) fn begin(&mut self, now: Instant) {
        self.handshakes = 1;
        if let Some(Deferred { peer, source, local, bytes }) = self.deferred.pop_front() {
            self.deliver(peer, source, local, &bytes, now);
        }
    }

    pub(in crate::worker::io) fn browser_datagram(&mut self, datagram: Datagram<'_>, now: Instant) {
        let Datagram { source, bytes, .. } = datagram;
        let Some(local) = self.local_candidate(&datagram) else { return };
        match self.demux.find(source, bytes, now) {
            Verdict::Known(peer) => self.deliver(peer, source, local, bytes, now),
            Verdict::Candidate((call, leg)) => {
                let Some(slot) = self.sessions.get(&call) else { return };
                let accepts = catch_unwind(AssertUnwindSafe(|| slot.session.accepts(leg, source, local, bytes, now)));
                if accepts.unwrap_or(false) {
                    self.demux.bind(source, (call, leg), now);
                    self.deliver((call, leg), source, local, bytes, now);
                } else {
                    self.dropped += 1;
                }
            }
            Verdict::Drop => self.dropped += 1,
        }
    }

    /// Which of our candidates a datagram came to: by its destination, else (behind a one-to-one NAT) the first of its family.
    fn local_candidate(&self, datagram: &Datagram<'_>) -> Option<SocketAddr> {
        let candidates = &self.session.peer.candidates;
        let exact = candidates.iter().find(|candidate| Some(candidate.ip()) == datagram.to);
        exact.or_else(|| candidates.iter().find(|candidate| candidate.is_ipv4() == datagram.source.is_ipv4())).copied()
    }

    pub(in crate::worker::io) fn deliver(
        &mut self,
        peer: PeerKey,
        source: SocketAddr,
        local: SocketAddr,
        bytes: &[u8],
        now: Instant,
    ) {
        let (call, leg) = peer;
        let Some(slot) = self.sessions.get_mut(&call) else { return };
        let begins = stun::kind(bytes) == Some(DatagramKind::Dtls) && slot.peers.get(&leg) == Some(&false);
        if begins && self.handshakes == 0 {
            return self.defer(Deferred { peer, source, local, bytes: bytes.to_vec() });
        }
        if begins {
            self.handshakes -= 1;
            slot.peers.insert(leg, true);
        }
        self.with_session(call, now, |session| session.handle(Input::PeerDatagram { leg, source, local, bytes }, now));
    }

    /// Where too many wait already, the browser's retransmission comes back for it.
    fn defer(&mut self, handshake: Deferred) {
        if self.deferred.len() < DEFERRED_HANDSHAKES_MAX {
            self.deferred.push_back(handshake);
        }
    }

    pub(in crate::worker::io) fn trunk_readable(&mut self, token: u64, now: Instant) {
        let mut buffer = std::mem::take(&mut self.buffer);
        for _ in 0..TRUNK_DATAGRAMS_PER_TURN {
            let Some(ports) = self.trunks.get(&(token / 2)) else { break };
            let rtcp = token % 2 == 1;
            let socket = if rtcp { &ports.pair.rtcp } else { &ports.pair.rtp };
            let Ok((length, source)) = socket.recv_from(&mut buffer) else { break };
            let (call, leg) = (ports.call, ports.leg);
            let bytes = buffer.get_mut(..length).unwrap_or_default();
            self.with_session(call, now, |session| {
                session.handle(Input::TrunkDatagram { leg, rtcp, source, bytes }, now);
            });
        }
        self.buffer = buffer;
    }

    pub(in crate::worker::io) fn timers(&mut self, now: Instant) {
        while let Some((call, at)) = self.wheel.pop_due(now) {
            let Some(slot) = self.sessions.get_mut(&call) else { continue };
            if slot.scheduled == Some(at) {
                slot.scheduled = None;
                self.with_session(call, now, |session| session.handle_timeout(now));
            }
        }
        if self.sweep_at <= now {
            self.sweep_at = now + SWEEP_INTERVAL;
            self.demux.expire(now);
            let strays = std::mem::take(&mut self.dropped);
            metrics::counter!(MEDIA_PACKETS_DROPPED.name, "leg" => "none").increment(strays);
            let uncrossed = std::mem::take(&mut self.uncrossed);
            metrics::counter!(MEDIA_PACKETS_DROPPED.name, "leg" => "partner").increment(uncrossed);
        }
    }

    pub(in crate::worker::io) fn command(&mut self, command: Command, now: Instant) {
        let (call, new_leg) = (command.call(), command.new_leg());
        if !self.sessions.contains_key(&call) && (new_leg.is_none() || !self.open_session(call, now)) {
            return self.answer_without_session(&command);
        }
        self.with_session(call, now, |session| session.handle(Input::Command(command), now));
    }

    /// Whoever waits for an answer gets one.
    fn answer_without_session(&mut self, command: &Command) {
        let (call, leg) = (command.call(), command.new_leg());
        if leg.is_some() {
            self.emit(Event { call, leg, kind: EventKind::LegFailed { reason: LegFailure::WorkerFull } });
        } else if let Command::StopTap { tap, .. } = *command {
            self.emit(Event { call, leg: None, kind: EventKind::TapStopped { tap } });
        }
    }

    pub(in crate::worker::io) fn close_all(&mut self, now: Instant) {
        let calls: Vec<CallId> = self.sessions.keys().copied().collect();
        for call in calls {
            self.command(Command::Close { call }, now);
        }
    }

    /// Tells what is waiting, and wakes the recorder and each partner's worker once. What is to be sent is taken by [`Self::outgoing`].
    pub(in crate::worker::io) fn end(&mut self) {
        while let Some(event) = self.waiting.pop_front() {
            if let Err(TrySendError::Full(event)) = self.events.try_send(event) {
                self.waiting.push_front(event);
                break;
            }
        }
        self.tap.announce();
        self.partners.announce();
    }

    /// What goes to browsers; the caller sends and clears it.
    pub(in crate::worker::io) const fn outgoing(&mut self) -> &mut Vec<(SocketAddr, Vec<u8>)> {
        &mut self.outgoing
    }

    fn open_session(&mut self, call: CallId, now: Instant) -> bool {
        if self.sessions.len() >= self.config.calls_max {
            return false;
        }
        match Session::new(call, self.session.clone(), &mut self.rng, now) {
            Ok(session) => {
                let slot = Slot {
                    session,
                    scheduled: None,
                    overflow_at: None,
                    trunks: BTreeMap::new(),
                    peers: BTreeMap::new(),
                    counted: BTreeMap::new(),
                    rejected: BTreeSet::new(),
                };
                self.sessions.insert(call, slot);
                true
            }
            Err(error) => {
                tracing::error!(%error, "no codec for a new session");
                false
            }
        }
    }

    /// Lets a session work, and does what it wants then. One that panics is abandoned; the others never notice.
    pub(in crate::worker::io) fn with_session(&mut self, call: CallId, now: Instant, work: impl FnOnce(&mut Session)) {
        let Some(mut slot) = self.sessions.get_mut(&call) else { return };
        if catch_unwind(AssertUnwindSafe(|| work(&mut slot.session))).is_err() {
            return self.abandon(call, now);
        }
        while let Some(output) = slot.session.poll_output() {
            self.perform(call, output, now);
            let Some(again) = self.sessions.get_mut(&call) else { return };
            slot = again;
        }
        self.reschedule(call);
    }

    fn reschedule(&mut self, call: CallId) {
        let Some(slot) = self.sessions.get_mut(&call) else { return };
        let Some((at, _)) = slot.session.poll_timeout() else { return };
        if slot.scheduled.is_none_or(|scheduled| at < scheduled) {
            slot.scheduled = Some(at);
            self.wheel.schedule((call, at), at);
        }
    }
}

#[cfg(test)]
impl Turn {
    pub(in crate::worker::io) fn deferred_handshakes(&self) -> usize {
        self.deferred.len()
    }

    pub(in crate::worker::io) const fn uncrossed(&self) -> u64 {
        self.uncrossed
    }
}
