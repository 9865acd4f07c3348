//! Everything between one browser leg and one trunk leg.

use std::time::Instant;

use rand::RngCore;

use crate::codec;
use crate::media::hold_music::HoldPlayer;
use crate::media::outputs::Outputs;
use crate::media::reports::Reports;
use crate::media::reports::Sent;
use crate::media::tap::TapId;
use crate::media::to_agent::ToAgent;
use crate::media::to_agent::TrunkPayload;
use crate::media::to_trunk::ToTrunk;
use crate::media::vocabulary::Config;
use crate::media::vocabulary::LegCounters;
use crate::media::vocabulary::MediaTimer;
use crate::media::vocabulary::Output;
use crate::media::vocabulary::PeerAudio;
use crate::media::vocabulary::PeerPacket;
use crate::media::vocabulary::PeerPayload;
use crate::media::vocabulary::TrunkAudio;
use crate::rtp::packet::Packet;
use crate::rtp::packet::is_rtcp;
use crate::rtp::receive_stream::Arrival;
use crate::rtp::receive_stream::ReceiveStream;
use crate::rtp::telephone_event::DtmfDigit;

/// Everything between one browser leg and one trunk leg: order, codecs, digits, gate, tap, reports.
///
/// A peer's fault is a counter, never an error. After every call, [`Self::poll_output`] is taken until `None`.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is told by a command of its own, and none implies another")]
pub struct Pipeline {
    config: Config,
    out: Outputs,
    trunk: Option<TrunkAudio>,
    from_peer: ReceiveStream<PeerPayload>,
    to_trunk: ToTrunk,
    from_trunk: ReceiveStream<TrunkPayload>,
    to_agent: ToAgent,
    reports: Reports,
    answered: bool,
    /// The gate towards the agent, as told; on local hold it is shut whatever was told.
    to_agent_open: bool,
    held: bool,
    /// When the trunk was last heard, or began to be listened to; `None` once its silence was reported.
    heard: Option<Instant>,
    closed: bool,
    trunk_dropped: u64,
    digits_dropped: u64,
}

impl Pipeline {
    /// A pipeline with both gates closed and no trunk. Owns the codecs and the streams of both directions.
    pub fn new(config: Config, rng: &mut dyn RngCore, now: Instant) -> Result<Self, codec::Error> {
        Ok(Self {
            out: Outputs::default(),
            trunk: None,
            from_peer: ReceiveStream::new(48_000, config.reorder_hold, now),
            to_trunk: ToTrunk::new(config.fill_after, rng)?,
            from_trunk: ReceiveStream::new(8_000, config.reorder_hold, now),
            to_agent: ToAgent::new(rng)?,
            reports: Reports::new(config.rtcp_interval, rng, now),
            answered: false,
            to_agent_open: false,
            held: false,
            heard: None,
            closed: false,
            trunk_dropped: 0,
            digits_dropped: 0,
            config,
        })
    }

    /// Says what is sent to the browser; Opus without events until then.
    pub fn connect_peer(&mut self, audio: PeerAudio, _now: Instant) {
        self.to_agent.connect_peer(audio);
    }

    /// Another takes the browser's place: its stream begins anew with its next packet, and it is sent `audio`. What the
    /// trunk hears of us is one stream all the while.
    pub fn replace_peer(&mut self, audio: PeerAudio, now: Instant) {
        self.from_peer = ReceiveStream::new(audio.codec.clock_hz(), self.config.reorder_hold, now);
        self.to_trunk.resync();
        self.to_agent.connect_peer(audio);
    }

    /// Says what was negotiated with the trunk; again at every change (hold, resume, another codec).
    pub fn connect_trunk(&mut self, audio: TrunkAudio, now: Instant) {
        let before = self.trunk.replace(audio);
        let received = before.is_some_and(|before| before.receive);
        let resumed = audio.send && before.is_some_and(|before| !before.send);
        if audio.receive && (!received || resumed) {
            self.heard = Some(now);
        }
        if before.is_none_or(|before| before.send) != audio.send && !self.held {
            self.out.tap_hold(self.to_trunk.place(now), !audio.send);
        }
        if before.is_none_or(|before| before.receive) != audio.receive && !self.held {
            self.out.tap_hold(self.to_agent.place(now), !audio.receive);
        }
        self.to_trunk.connect(Some(audio), now);
        self.to_agent.connect(Some(audio));
        self.reports.start(now);
        self.to_trunk.fill(now, &mut self.out);
    }

    /// The SSRC that we send to the trunk with.
    pub fn trunk_ssrc(&self) -> u32 {
        self.to_trunk.stream.ssrc()
    }

    /// Says which ways audio may cross. Closed at first; `to_agent` alone is early media.
    #[expect(clippy::fn_params_excessive_bools, reason = "the two ways of the worker's Gate, in its order")]
    pub fn set_gate(&mut self, to_trunk: bool, to_agent: bool, now: Instant) {
        if to_trunk && !self.answered {
            self.heard = Some(now);
        }
        self.answered = to_trunk;
        self.to_trunk.set_gate(to_trunk, now);
        self.to_agent_open = to_agent;
        self.to_agent.set_gate(to_agent && !self.held);
        self.to_trunk.fill(now, &mut self.out);
    }

    /// Local hold: the trunk hears the hold music, the agent nothing, and the tap says so on both channels. A channel
    /// that the trunk holds too stays held when ours is lifted.
    pub fn set_held(&mut self, held: bool, now: Instant) {
        if held == self.held {
            return;
        }
        self.held = held;
        if !held {
            // Whoever was held may have been silent for long: their time begins anew.
            self.heard = Some(now);
        }
        self.to_trunk.fill(now, &mut self.out);
        self.to_trunk.set_hold(held.then(|| HoldPlayer::new(self.config.hold_music.clone())));
        self.to_agent.set_gate(self.to_agent_open && !held);
        if self.trunk.is_none_or(|trunk| trunk.send) {
            self.out.tap_hold(self.to_trunk.place(now), held);
        }
        if self.trunk.is_none_or(|trunk| trunk.receive) {
            self.out.tap_hold(self.to_agent.place(now), held);
        }
    }

    /// The agent muted or unmuted: silence to the trunk and in the tap, while time goes on.
    pub fn set_muted(&mut self, muted: bool, now: Instant) {
        self.to_trunk.fill(now, &mut self.out);
        self.to_trunk.set_muted(muted);
    }

    /// How much of what we send the browser loses, 0.0–1.0, by its receiver reports: from 2 % on we send FEC.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0–100 before")]
    pub fn set_peer_loss(&mut self, loss: f32) {
        self.to_agent.set_loss((loss.clamp(0.0, 1.0) * 100.0).round() as u8);
    }

    /// Queues digits for the trunk. Dropped and counted where the gate is shut or no events were negotiated.
    pub fn send_dtmf_to_trunk(&mut self, digits: &[DtmfDigit], now: Instant) {
        for digit in digits {
            self.digits_dropped += u64::from(!self.to_trunk.send_digit(*digit, now));
        }
        self.to_trunk.send_events(now, &mut self.out);
    }

    /// Queues digits for the browser, where it negotiated telephone-event; dropped and counted otherwise.
    pub fn send_dtmf_to_agent(&mut self, digits: &[DtmfDigit], now: Instant) {
        for digit in digits {
            self.digits_dropped += u64::from(!self.to_agent.send_digit(*digit, now));
        }
        self.to_agent.send_events(now, &mut self.out);
    }

    /// Plays a ringback tone to the agent until `false`; it gives way to audio of the trunk that passes the gate, and is
    /// back after 2 s without any.
    pub fn set_ringback(&mut self, on: bool, now: Instant) {
        self.to_agent.set_ringback(on, now);
        self.to_agent.play_ringback(now, &mut self.out);
    }

    /// Starts the tap; one that runs is replaced. On hold, its first frames say so.
    pub fn start_tap(&mut self, tap: TapId, now: Instant) {
        self.out.set_tap(Some(tap));
        if self.held || self.trunk.is_some_and(|trunk| !trunk.send) {
            self.out.tap_hold(self.to_trunk.place(now), true);
        }
        if self.held || self.trunk.is_some_and(|trunk| !trunk.receive) {
            self.out.tap_hold(self.to_agent.place(now), true);
        }
    }

    /// Stops the tap, after the frames already in the queue.
    pub fn stop_tap(&mut self) {
        self.out.set_tap(None);
    }

    /// Takes one packet of the browser.
    pub fn handle_peer_rtp(&mut self, packet: PeerPacket<'_>, now: Instant) {
        if self.closed {
            return;
        }
        let PeerPacket { ssrc, sequence, timestamp, marker, kind, payload } = packet;
        match kind {
            PeerPayload::Opus => self.from_peer.set_clock(48_000),
            PeerPayload::Pcmu | PeerPayload::Pcma => self.from_peer.set_clock(8_000),
            PeerPayload::TelephoneEvent { .. } => {}
        }
        let arrival = Arrival { ssrc, sequence, timestamp, marker, kind, payload };
        let Self { from_peer, to_trunk, out, .. } = self;
        from_peer.handle(arrival, now, &mut |delivery| to_trunk.deliver(delivery, now, out));
    }

    /// Takes one RTP datagram of the trunk, from its negotiated address. RTCP on the same port is recognised (RFC 5761).
    pub fn handle_trunk_rtp(&mut self, datagram: &[u8], now: Instant) {
        if is_rtcp(datagram) {
            self.handle_trunk_rtcp(datagram, now);
            return;
        }
        let (Some(trunk), Ok(packet), false) = (self.trunk, Packet::parse(datagram), self.closed) else {
            self.trunk_dropped += 1;
            return;
        };
        let header = packet.header;
        let kind = if header.payload_type == trunk.receive_payload_type {
            TrunkPayload::Audio
        } else if Some(header.payload_type) == trunk.receive_telephone_event {
            TrunkPayload::Event
        } else {
            self.trunk_dropped += 1;
            TrunkPayload::Unknown
        };
        self.heard = Some(now);
        let arrival = Arrival {
            ssrc: header.ssrc,
            sequence: header.sequence,
            timestamp: header.timestamp,
            marker: header.marker,
            kind,
            payload: packet.payload,
        };
        let Self { from_trunk, to_agent, out, .. } = self;
        from_trunk.handle(arrival, now, &mut |delivery| to_agent.deliver(delivery, now, out));
    }

    /// Takes one RTCP datagram of the trunk, from its negotiated address.
    pub fn handle_trunk_rtcp(&mut self, datagram: &[u8], now: Instant) {
        let ssrc = self.trunk_ssrc();
        if self.trunk.is_some() && !self.closed && self.reports.read(datagram, ssrc, now) {
            self.heard = Some(now);
        } else {
            self.trunk_dropped += 1;
        }
    }

    /// Does everything that is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.closed {
            return;
        }
        let Self { from_peer, to_trunk, from_trunk, to_agent, out, .. } = self;
        from_peer.handle_timeout(now, &mut |delivery| to_trunk.deliver(delivery, now, out));
        from_trunk.handle_timeout(now, &mut |delivery| to_agent.deliver(delivery, now, out));
        to_trunk.send_events(now, out);
        to_trunk.fill(now, out);
        to_agent.end_press(now, out);
        to_agent.send_events(now, out);
        to_agent.play_ringback(now, out);
        if self.reports.next.is_some_and(|at| at <= now) {
            self.report(false, now);
        }
        if let (Some(at), Some(heard)) = (self.silence_at(), self.heard)
            && at <= now
        {
            self.heard = None;
            self.out.push(Output::MediaTimeout { silent_for: now.saturating_duration_since(heard) });
        }
    }

    /// When, and why, [`Self::handle_timeout`] is wanted.
    pub fn poll_timeout(&self) -> Option<(Instant, MediaTimer)> {
        if self.closed {
            return None;
        }
        let timers = [
            (self.from_peer.poll_timeout(), MediaTimer::PeerReorder),
            (self.from_trunk.poll_timeout(), MediaTimer::TrunkReorder),
            (self.to_trunk.fill_at(), MediaTimer::Fill),
            (self.to_trunk.event_at(), MediaTimer::DtmfToTrunk),
            (self.to_agent.digit_at(), MediaTimer::DtmfToAgent),
            (self.to_agent.press_at(), MediaTimer::DtmfFromTrunk),
            (self.to_agent.ringback_at(), MediaTimer::Ringback),
            (self.reports.next, MediaTimer::Report),
            (self.silence_at(), MediaTimer::RtpTimeout),
        ];
        timers.into_iter().filter_map(|(at, timer)| at.map(|at| (at, timer))).min()
    }

    /// What to do next, or what happened. Take until `None` after every call.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop()
    }

    /// Ends the trunk leg with an RTCP BYE; afterwards nothing more is taken or sent.
    pub fn close(&mut self, now: Instant) {
        if !self.closed && self.trunk.is_some() {
            self.report(true, now);
        }
        self.to_trunk.connect(None, now);
        self.to_agent.connect(None);
        self.closed = true;
    }

    /// Counters of the trunk leg.
    pub fn trunk_stats(&self) -> LegCounters {
        let counts = self.from_trunk.counts();
        LegCounters {
            packets_received: counts.received,
            packets_sent: self.to_trunk.packets_sent,
            packets_lost: counts.lost,
            packets_dropped: self.trunk_dropped + counts.late_or_duplicate + counts.strays,
            event_packets_received: self.to_agent.event_packets,
            jitter_ms: self.from_trunk.jitter_ms(),
            rtt_ms: self.reports.rtt.map(|rtt| rtt.as_secs_f32() * 1_000.0),
            remote_loss: self.reports.remote_loss,
            remote_jitter_ms: self.reports.remote_jitter_ms,
        }
    }

    /// Counters of the browser leg.
    pub fn peer_stats(&self) -> LegCounters {
        let counts = self.from_peer.counts();
        LegCounters {
            packets_received: counts.received,
            packets_sent: self.to_agent.packets_sent,
            packets_lost: counts.lost,
            packets_dropped: self.to_trunk.dropped + counts.late_or_duplicate + counts.strays,
            event_packets_received: self.to_trunk.event_packets,
            jitter_ms: self.from_peer.jitter_ms(),
            rtt_ms: None,
            remote_loss: None,
            remote_jitter_ms: None,
        }
    }

    /// Digits that could not be sent: the gate was shut, no events were negotiated, or the queue was full.
    pub const fn digits_dropped(&self) -> u64 {
        self.digits_dropped
    }

    /// Outputs that were lost because nobody took them.
    pub const fn outputs_dropped(&self) -> u64 {
        self.out.dropped()
    }

    /// Silence counts after the answer, where RTP was promised, and is reported once.
    fn silence_at(&self) -> Option<Instant> {
        let promised = self.answered && self.trunk.is_some_and(|trunk| trunk.receive);
        self.heard.filter(|_| promised).map(|heard| heard + self.config.rtp_timeout)
    }

    fn report(&mut self, bye: bool, now: Instant) {
        let stream = &self.to_trunk.stream;
        let sent = Sent {
            ssrc: stream.ssrc(),
            timestamp: self.to_trunk.timestamp_at(now),
            packets: stream.packets(),
            octets: stream.octets(),
        };
        let datagram = self.reports.write(sent, self.from_trunk.report(), bye, now);
        self.out.push(Output::ToTrunkRtcp(datagram));
    }
}
