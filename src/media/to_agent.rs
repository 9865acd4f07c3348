//! From the trunk to the agent: G.711 on arrival into the browser's codec, or a ringback tone before it.

use std::time::Duration;
use std::time::Instant;

use rand::RngCore;

use crate::codec;
use crate::codec::conceal::Concealer;
use crate::codec::opus;
use crate::codec::opus::FRAME_SAMPLES;
use crate::limits::CONCEALMENT_MS_MAX;
use crate::media::outputs::Outputs;
use crate::media::outputs::Place;
use crate::media::packetizer::Packetizer;
use crate::media::ringback::Ringback;
use crate::media::source_clock::SourceClock;
use crate::media::tap::TapChannel;
use crate::media::to_trunk::samples_in;
use crate::media::to_trunk::time_of;
use crate::media::vocabulary::Bytes;
use crate::media::vocabulary::Output;
use crate::media::vocabulary::PAYLOAD_BYTES_MAX;
use crate::media::vocabulary::PeerAudio;
use crate::media::vocabulary::PeerCodec;
use crate::media::vocabulary::PeerPayload;
use crate::media::vocabulary::Side;
use crate::media::vocabulary::ToPeer;
use crate::media::vocabulary::TrunkAudio;
use crate::rtp::receive_stream::Arrival;
use crate::rtp::receive_stream::Delivery;
use crate::rtp::send_stream::SendStream;
use crate::rtp::telephone_event::DtmfDigit;
use crate::rtp::telephone_event::EventPayload;
use crate::rtp::telephone_event::receiver::EventReceiver;
use crate::rtp::telephone_event::receiver::Press;
use crate::rtp::telephone_event::sender::EventSender;

/// A gap may differ by this many samples from the time that went by: 1 s. More is no gap but a new beginning.
const DISAGREEMENT_MAX: i64 = 8_000;
/// An overlap of at most this many samples is left out; more is a new beginning.
const OVERLAP_MAX: i64 = 1_600;
/// Packets of one loss that are concealed for the tap.
const CONCEALED_PACKETS_MAX: u16 = 5;
/// Samples of the longest payload that is decoded: 120 ms. What is beyond is left out.
const SAMPLES_MAX: usize = 960;
/// Time between two frames of the ringback tone.
const RINGBACK_STEP: Duration = Duration::from_millis(20);

/// What a payload type of the trunk means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TrunkPayload {
    Audio,
    Event,
    Unknown,
}

/// The timeline towards the agent. Positions count samples of 8 kHz.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "the gate is told, the others are one-packet memories")]
pub(crate) struct ToAgent {
    encoder: opus::Encoder,
    concealer: Concealer,
    trunk: Option<TrunkAudio>,
    peer: PeerAudio,
    packetizer: Packetizer,
    stream: SendStream,
    digits_in: EventReceiver,
    digits_out: EventSender,
    digit_position: u64,
    digit_end: u64,
    gate: bool,
    ringback: Option<(Ringback, Instant)>,
    position: u64,
    epoch: u32,
    marker: bool,
    /// When the sample at `position` would come, had nothing been lost or silent.
    due: Option<Instant>,
    clock: Option<SourceClock>,
    after_event: bool,
    lost: u16,
    pub(crate) started: bool,
    pub(crate) event_packets: u64,
    pub(crate) packets_sent: u64,
}

impl ToAgent {
    pub(crate) fn new(rng: &mut dyn RngCore) -> Result<Self, codec::Error> {
        Ok(Self {
            encoder: opus::Encoder::new()?,
            concealer: Concealer::default(),
            trunk: None,
            peer: PeerAudio::default(),
            packetizer: Packetizer::new(FRAME_SAMPLES),
            stream: SendStream::new(rng),
            digits_in: EventReceiver::new(8_000),
            digits_out: EventSender::new(48_000),
            digit_position: 0,
            digit_end: 0,
            gate: false,
            ringback: None,
            position: 0,
            epoch: 0,
            marker: true,
            due: None,
            clock: None,
            after_event: false,
            lost: 0,
            started: false,
            event_packets: 0,
            packets_sent: 0,
        })
    }

    /// Takes what was negotiated with the browser.
    pub(crate) fn connect_peer(&mut self, peer: PeerAudio) {
        if peer.codec != self.peer.codec {
            self.digits_out = EventSender::new(peer.codec.clock_hz());
            self.marker = true;
        }
        self.peer = peer;
    }

    /// Takes what was negotiated with the trunk, or that it is gone.
    pub(crate) fn connect(&mut self, trunk: Option<TrunkAudio>) {
        self.trunk = trunk;
        if !self.crosses() {
            self.clock = None;
            self.packetizer.clear();
        }
    }

    pub(crate) fn set_gate(&mut self, open: bool) {
        self.gate = open;
        if !open {
            self.clock = None;
            self.packetizer.clear();
            self.digits_out.clear();
        }
    }

    pub(crate) fn set_ringback(&mut self, on: bool, now: Instant) {
        match (on, &self.ringback) {
            (true, None) => self.ringback = Some((Ringback::default(), now)),
            (true, Some(_)) => {}
            (false, _) => self.ringback = None,
        }
    }

    pub(crate) fn set_loss(&mut self, percent: u8) {
        // A refusal leaves the encoder as it was, which is what we would do about it.
        drop(self.encoder.set_loss(percent));
    }

    pub(crate) fn send_digit(&mut self, digit: DtmfDigit, now: Instant) -> bool {
        self.peer.telephone_event && self.digits_out.push(digit, now)
    }

    pub(crate) fn place(&self, now: Instant) -> Place {
        Place { channel: TapChannel::Heard, position: self.position, epoch: self.epoch, arrival: now }
    }

    pub(crate) fn ringback_at(&self) -> Option<Instant> {
        self.ringback.as_ref().map(|(_, at)| *at)
    }

    pub(crate) fn digit_at(&self) -> Option<Instant> {
        self.digits_out.poll_timeout()
    }

    pub(crate) fn press_at(&self) -> Option<Instant> {
        self.digits_in.poll_timeout()
    }

    /// Takes what the trunk's stream gives out.
    pub(crate) fn deliver(&mut self, delivery: Delivery<'_, TrunkPayload>, now: Instant, out: &mut Outputs) {
        match delivery {
            Delivery::Resync => {
                self.begin_anew();
                self.lost = 0;
                let press = self.digits_in.reset();
                self.report_press(press, now, out);
            }
            Delivery::Lost(count) => self.lost = self.lost.saturating_add(count),
            Delivery::Packet(packet) => self.packet(&packet, now, out),
        }
    }

    /// Plays the ringback tone as far as it is due.
    pub(crate) fn play_ringback(&mut self, now: Instant, out: &mut Outputs) {
        let Some((mut tone, mut at)) = self.ringback.take() else { return };
        if at <= now {
            self.skip_idle(now);
            // A tone that is far behind goes on from now: nobody hears what was due before.
            at = if now.saturating_duration_since(at) > RINGBACK_STEP { now } else { at };
            let frame = tone.frame();
            self.emit(&frame, true, now, out);
            self.due = Some(now + RINGBACK_STEP);
            at += RINGBACK_STEP;
        }
        self.ringback = Some((tone, at));
    }

    /// Sends what is due of a digit to the browser.
    pub(crate) fn send_events(&mut self, now: Instant, out: &mut Outputs) {
        let clock = self.peer.codec.clock_hz();
        while let Some(event) = self.digits_out.poll(now) {
            if event.marker {
                // Digits that follow each other without audio between must not share a timestamp.
                self.digit_position = self.position.max(self.digit_end);
                self.packetizer.clear();
            }
            let per_sample = u64::from(clock / 8_000);
            let units = self.digit_position * per_sample + u64::from(event.offset);
            self.digit_end = (units + u64::from(event.payload.duration)) / per_sample;
            self.send_units(PeerPayload::TelephoneEvent { clock }, event.marker, units, &event.payload.to_bytes(), out);
            self.marker = true;
        }
    }

    /// Ends a digit of the trunk whose end was lost.
    pub(crate) fn end_press(&mut self, now: Instant, out: &mut Outputs) {
        let press = self.digits_in.handle_timeout(now);
        self.report_press(press, now, out);
    }

    fn crosses(&self) -> bool {
        self.gate && self.trunk.is_some_and(|trunk| trunk.receive)
    }

    fn packet(&mut self, packet: &Arrival<'_, TrunkPayload>, now: Instant, out: &mut Outputs) {
        let lost = std::mem::take(&mut self.lost);
        match packet.kind {
            TrunkPayload::Audio => {
                if !self.started {
                    self.started = true;
                    out.push(Output::TrunkMediaStarted);
                }
                if self.crosses() {
                    self.ringback = self.ringback.take().map(|_| (Ringback::default(), now + Ringback::SILENCE));
                    self.audio(packet, lost, now, out);
                }
            }
            TrunkPayload::Event => {
                self.event_packets += 1;
                if self.crosses() {
                    self.event(packet, now, out);
                }
            }
            TrunkPayload::Unknown => {}
        }
    }

    fn audio(&mut self, packet: &Arrival<'_, TrunkPayload>, lost: u16, now: Instant, out: &mut Outputs) {
        let Some(trunk) = self.trunk else { return };
        let mut pcm = [0; SAMPLES_MAX];
        let len = trunk.codec.law().decode_all(packet.payload, &mut pcm);
        let Some(pcm) = pcm.get_mut(..len).filter(|pcm| !pcm.is_empty()) else { return };
        let gap = self.gap_before(packet.timestamp, pcm.len(), now);
        if let Ok(gap @ 1..) = usize::try_from(gap) {
            self.pass_gap(gap, lost, now, out);
        }
        self.concealer.hear(pcm);
        if self.digits_in.is_pressed() {
            pcm.fill(0);
        }
        let overlap = usize::try_from(-gap).unwrap_or(0);
        self.emit(pcm.get(overlap..).unwrap_or_default(), false, now, out);
        self.due = Some(now + time_of(len));
        self.after_event = false;
    }

    /// Samples missing before `timestamp`; begins anew where that cannot be.
    fn gap_before(&mut self, timestamp: u32, samples: usize, now: Instant) -> i64 {
        if let Some(clock) = &mut self.clock {
            let gap = clock.gap(timestamp, self.position);
            let passed = self.due.map_or(0, |due| samples_in(now.saturating_duration_since(due)));
            let believable = gap <= passed.cast_signed().saturating_add(DISAGREEMENT_MAX);
            let overlap_max =
                if self.after_event { OVERLAP_MAX } else { OVERLAP_MAX.min(samples.cast_signed() as i64 - 1) };
            if believable && gap >= -overlap_max {
                return gap;
            }
            self.begin_anew();
        }
        self.skip_idle(now);
        self.clock = Some(SourceClock::tie(timestamp, 8_000, self.position));
        0
    }

    /// A gap goes to the browser as it came: a loss as missing sequence numbers, a silence as a later timestamp.
    fn pass_gap(&mut self, gap: usize, lost: u16, now: Instant, out: &mut Outputs) {
        self.packetizer.clear();
        if lost > 0 {
            self.stream.skip(gap.div_ceil(FRAME_SAMPLES).min(usize::from(u16::MAX)) as u64);
            if lost <= CONCEALED_PACKETS_MAX {
                let mut made = [0; CONCEALMENT_MS_MAX as usize * 8];
                let made = made.get_mut(..gap.min(CONCEALMENT_MS_MAX as usize * 8)).unwrap_or_default();
                self.concealer.conceal(made);
                out.tap_audio(self.place(now), made, true);
            }
        } else {
            self.marker = true;
        }
        self.position += gap as u64;
    }

    fn event(&mut self, packet: &Arrival<'_, TrunkPayload>, now: Instant, out: &mut Outputs) {
        let heard = self.digits_in.handle(packet.timestamp, packet.payload, now);
        // Under a digit time goes on in silence.
        if let (Some(event), Some(clock)) = (EventPayload::parse(packet.payload), &mut self.clock) {
            let under = clock.gap(packet.timestamp, self.position) + i64::from(event.duration);
            if let Ok(under @ 1..=480) = usize::try_from(under) {
                let silence = [0; 480];
                self.emit(silence.get(..under).unwrap_or_default(), false, now, out);
                self.due = Some(now);
            }
        }
        self.after_event = true;
        self.report_press(heard.before, now, out);
        self.report_press(heard.ended, now, out);
    }

    fn report_press(&mut self, press: Option<Press>, now: Instant, out: &mut Outputs) {
        let Some(Press { digit, duration_ms }) = press else { return };
        out.push(Output::Dtmf { from: Side::Trunk, digit, duration_ms });
        if self.peer.telephone_event {
            // A full queue loses the digit on this leg; it was reported all the same.
            self.digits_out.push_lasting(digit, duration_ms, now);
        }
    }

    fn begin_anew(&mut self) {
        if self.clock.take().is_some() {
            self.epoch += 1;
            self.marker = true;
            self.packetizer.clear();
        }
    }

    /// Moves the timeline over the time in which nobody said anything.
    fn skip_idle(&mut self, now: Instant) {
        if let Some(due) = self.due {
            let idle = samples_in(now.saturating_duration_since(due));
            if idle > 0 {
                self.position += idle;
                self.packetizer.clear();
            }
            self.marker |= idle > FRAME_SAMPLES as u64 * 2;
        }
    }

    /// Puts audio on the timeline: to the browser and to the tap.
    fn emit(&mut self, samples: &[i16], concealed: bool, now: Instant, out: &mut Outputs) {
        out.tap_audio(self.place(now), samples, concealed);
        let mut rest = samples;
        while !rest.is_empty() {
            let before = rest.len();
            rest = self.packetizer.take(rest, self.position);
            self.position += (before - rest.len()) as u64;
            let mut payload = [0; PAYLOAD_BYTES_MAX];
            let Some((len, start)) = self.encode(&mut payload) else { continue };
            if !self.digits_out.is_busy() {
                let (kind, clock) = (self.peer.codec.payload(), self.peer.codec.clock_hz());
                let marker = std::mem::take(&mut self.marker);
                let payload = payload.get(..len).unwrap_or_default();
                self.send_units(kind, marker, start * u64::from(clock / 8_000), payload, out);
            }
        }
    }

    /// Encodes the full frame, where there is one: its bytes and the position of its first sample.
    fn encode(&mut self, payload: &mut [u8; PAYLOAD_BYTES_MAX]) -> Option<(usize, u64)> {
        let (frame, start) = self.packetizer.full()?;
        let len = match self.peer.codec {
            PeerCodec::Opus => frame.first_chunk().and_then(|frame| self.encoder.encode(frame, payload)),
            PeerCodec::Pcmu => Some(codec::g711::Law::Mu.encode_all(frame, payload)),
            PeerCodec::Pcma => Some(codec::g711::Law::A.encode_all(frame, payload)),
        };
        self.packetizer.clear();
        Some((len?, start))
    }

    fn send_units(&mut self, kind: PeerPayload, marker: bool, units: u64, payload: &[u8], out: &mut Outputs) {
        let stamp = self.stream.stamp(units, payload.len());
        self.packets_sent += 1;
        out.push(Output::ToPeer(ToPeer {
            ssrc: self.stream.ssrc(),
            kind,
            sequence: stamp.sequence,
            timestamp: stamp.timestamp,
            marker,
            payload: Bytes::copied(payload),
        }));
    }
}
