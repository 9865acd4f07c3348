//! From the agent to the trunk: the browser's audio on arrival, or silence that keeps the trunk's time.

use std::time::Duration;
use std::time::Instant;

use rand::RngCore;

use crate::codec;
use crate::codec::comfort_noise::ComfortNoise;
use crate::codec::comfort_noise::IDLE_LEVEL;
use crate::codec::conceal::Concealer;
use crate::codec::g711::Law;
use crate::codec::opus;
use crate::codec::opus::PACKET_SAMPLES_MAX;
use crate::limits::CONCEALMENT_MS_MAX;
use crate::media::hold_music::HoldPlayer;
use crate::media::outputs::Outputs;
use crate::media::outputs::Place;
use crate::media::packetizer::Packetizer;
use crate::media::source_clock::SourceClock;
use crate::media::tap::TapChannel;
use crate::media::vocabulary::Bytes;
use crate::media::vocabulary::Output;
use crate::media::vocabulary::PAYLOAD_BYTES_MAX;
use crate::media::vocabulary::PeerPayload;
use crate::media::vocabulary::TrunkAudio;
use crate::rtp::packet::Header;
use crate::rtp::receive_stream::Arrival;
use crate::rtp::receive_stream::Delivery;
use crate::rtp::send_stream::SendStream;
use crate::rtp::telephone_event::DtmfDigit;
use crate::rtp::telephone_event::sender::EventSender;

/// Samples of one frame that fills in: 20 ms.
const FILL_SAMPLES: usize = 160;
/// Time of one frame that fills in.
const FILL_TIME: Duration = Duration::from_millis(20);
/// What fills in leaves this much later than it is due, so that a packet of the browser on its time is never too late.
const FILL_LAG: Duration = Duration::from_millis(20);
/// The source's clock and ours may disagree by this many samples before they are tied anew: 200 ms.
const DISAGREEMENT_MAX: i64 = 1_600;
/// The longest stretch put on the timeline at once: a bridged gap.
const STRETCH_SAMPLES_MAX: usize = 1_600;
/// After a longer standstill than this the time is skipped, not filled.
const CATCH_UP_MAX: Duration = Duration::from_secs(1);
/// Packets of one loss that are concealed; after more, only silence.
const CONCEALED_PACKETS_MAX: u16 = 5;

/// The timeline towards the trunk. Positions count samples of 8 kHz since the leg began, and follow real time.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "gate and mute are told, the others are one-packet memories")]
pub(crate) struct ToTrunk {
    fill_after: Duration,
    decoder: opus::Decoder,
    concealer: Concealer,
    noise: ComfortNoise,
    trunk: Option<TrunkAudio>,
    packetizer: Packetizer,
    pub(crate) stream: SendStream,
    events: EventSender,
    event_position: u64,
    /// Of the event under way: what was negotiated when it began, though the trunk takes no more of them since.
    event_payload_type: u8,
    gate: bool,
    muted: bool,
    /// On local hold: what the trunk hears instead of the agent.
    hold: Option<HoldPlayer>,
    position: u64,
    epoch: u32,
    marker: bool,
    /// When the sample at `position` is due; `None` while nothing crosses.
    due: Option<Instant>,
    stopped: Option<Instant>,
    filling: bool,
    clock: Option<(PeerPayload, SourceClock)>,
    lost: u16,
    pub(crate) dropped: u64,
    pub(crate) event_packets: u64,
    pub(crate) packets_sent: u64,
}

impl ToTrunk {
    pub(crate) fn new(fill_after: Duration, rng: &mut dyn RngCore) -> Result<Self, codec::Error> {
        Ok(Self {
            fill_after,
            decoder: opus::Decoder::new()?,
            concealer: Concealer::default(),
            noise: ComfortNoise::new(rng.next_u32()),
            trunk: None,
            packetizer: Packetizer::new(FILL_SAMPLES),
            stream: SendStream::new(rng),
            events: EventSender::new(8_000),
            event_position: 0,
            event_payload_type: 0,
            gate: false,
            muted: false,
            hold: None,
            position: 0,
            epoch: 0,
            marker: true,
            due: None,
            stopped: None,
            filling: false,
            clock: None,
            lost: 0,
            dropped: 0,
            event_packets: 0,
            packets_sent: 0,
        })
    }

    /// Takes what was negotiated, or that the trunk is gone.
    pub(crate) fn connect(&mut self, trunk: Option<TrunkAudio>, now: Instant) {
        if let Some(audio) = trunk {
            let ptime = if matches!(audio.ptime_ms, 10 | 20 | 30 | 40 | 60) { audio.ptime_ms } else { 20 };
            if self.trunk.is_none_or(|before| before.ptime_ms != audio.ptime_ms) {
                self.packetizer = Packetizer::new(usize::from(ptime) * 8);
            }
        }
        self.trunk = trunk;
        self.start_or_stop(now);
    }

    pub(crate) fn set_gate(&mut self, open: bool, now: Instant) {
        self.gate = open;
        self.start_or_stop(now);
    }

    pub(crate) fn set_muted(&mut self, muted: bool) {
        self.muted = muted;
    }

    /// Puts the player in the agent's place, or the agent back. Time and line go on.
    pub(crate) fn set_hold(&mut self, hold: Option<HoldPlayer>) {
        self.hold = hold;
        self.filling = true;
        self.clock = None;
        self.packetizer.clear();
        self.marker = true;
    }

    /// The RTP timestamp of `now`, for sender reports.
    pub(crate) fn timestamp_at(&self, now: Instant) -> u32 {
        let since = self.due.or(self.stopped).map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.stream.timestamp_at(self.position + samples_in(since))
    }

    /// Queues a digit; `false` where nothing may cross, the trunk takes no events, or the queue is full.
    pub(crate) fn send_digit(&mut self, digit: DtmfDigit, now: Instant) -> bool {
        let can = self.due.is_some() && self.trunk.is_some_and(|trunk| trunk.telephone_event.is_some());
        can && self.events.push(digit, now)
    }

    /// Where the next sample of the tap stands.
    pub(crate) fn place(&self, now: Instant) -> Place {
        Place { channel: TapChannel::Sent, position: self.position, epoch: self.epoch, arrival: now }
    }

    pub(crate) fn fill_at(&self) -> Option<Instant> {
        self.due.map(|due| due + if self.filling { FILL_LAG } else { self.fill_after })
    }

    pub(crate) fn event_at(&self) -> Option<Instant> {
        self.events.poll_timeout()
    }

    /// Takes what the browser's stream gives out.
    pub(crate) fn deliver(&mut self, delivery: Delivery<'_, PeerPayload>, now: Instant, out: &mut Outputs) {
        match delivery {
            Delivery::Resync => self.resync(),
            Delivery::Lost(count) => self.lost = self.lost.saturating_add(count),
            Delivery::Packet(packet) => {
                let lost = std::mem::take(&mut self.lost);
                if matches!(packet.kind, PeerPayload::TelephoneEvent { .. }) {
                    self.event_packets += 1;
                } else if self.due.is_some() && self.hold.is_none() {
                    self.audio(&packet, lost, now, out);
                }
            }
        }
    }

    /// Keeps the trunk's time where the browser does not.
    pub(crate) fn fill(&mut self, now: Instant, out: &mut Outputs) {
        // Once it fills, it fills up to what is due, less the lag.
        while let (Some(at), Some(due)) = (self.fill_at(), self.due) {
            if at > now {
                return;
            }
            if now.saturating_duration_since(due) > CATCH_UP_MAX {
                self.skip_to(due, now);
            }
            self.filling = true;
            let mut samples = [0; FILL_SAMPLES];
            self.make_up(&mut samples);
            self.emit(&samples, true, now, out);
            self.due = self.due.map(|due| due + FILL_TIME);
        }
    }

    /// Sends what is due of a digit.
    pub(crate) fn send_events(&mut self, now: Instant, out: &mut Outputs) {
        let Some(trunk) = self.trunk else { return };
        while let Some(event) = self.events.poll(now) {
            if event.marker {
                let payload_type = trunk.telephone_event.unwrap_or(self.event_payload_type);
                (self.event_position, self.event_payload_type) = (self.position, payload_type);
                self.packetizer.clear();
            }
            let position = self.event_position + u64::from(event.offset);
            self.send(self.event_payload_type, event.marker, position, &event.payload.to_bytes(), out);
            self.marker = true;
        }
    }

    fn start_or_stop(&mut self, now: Instant) {
        let crosses = self.gate && self.trunk.is_some_and(|trunk| trunk.send);
        if !(crosses && self.trunk.is_some_and(|trunk| trunk.telephone_event.is_some())) {
            self.events.cut(now);
        }
        if crosses && self.due.is_none() {
            if let Some(stopped) = self.stopped.take() {
                self.skip_to(stopped, now);
            }
            self.due = Some(now);
            self.filling = true;
        } else if !crosses && let Some(due) = self.due.take() {
            self.stopped = Some(due);
            self.packetizer.clear();
            self.clock = None;
        }
    }

    /// Time went by from `from` to `now` in which nothing was sent.
    fn skip_to(&mut self, from: Instant, now: Instant) {
        self.position += samples_in(now.saturating_duration_since(from));
        self.due = self.due.map(|_| now);
        self.packetizer.clear();
        self.marker = true;
        self.clock = None;
        self.epoch += 1;
    }

    /// The source's stream begins anew, or is another's.
    pub(crate) fn resync(&mut self) {
        self.decoder.reset();
        self.lost = 0;
        if self.clock.take().is_some() {
            self.epoch += 1;
        }
    }

    fn audio(&mut self, packet: &Arrival<'_, PeerPayload>, lost: u16, now: Instant, out: &mut Outputs) {
        let Some(samples) = self.samples_of(packet) else {
            self.dropped += 1;
            return;
        };
        self.fill(now, out);
        let gap = self.gap_before(packet);
        if let Ok(gap @ 1..) = usize::try_from(gap) {
            self.bridge(gap, lost, packet, now, out);
        }
        let mut pcm = [0; PACKET_SAMPLES_MAX];
        let Some(pcm) = self.decode(packet, &mut pcm) else {
            self.dropped += 1;
            return;
        };
        // What was filled in the meantime is over: its late original is left out.
        let overlap = usize::try_from(-gap).unwrap_or(0);
        self.emit(pcm.get(overlap..).unwrap_or_default(), false, now, out);
        // The browser is back, if late: the next sample comes with its next packet that is not over.
        self.filling = false;
        self.due = Some(now + time_of(samples.max(overlap)));
    }

    fn samples_of(&self, packet: &Arrival<'_, PeerPayload>) -> Option<usize> {
        match packet.kind {
            PeerPayload::Opus => self.decoder.samples_of(packet.payload),
            PeerPayload::Pcmu | PeerPayload::Pcma => {
                Some(packet.payload.len()).filter(|len| (1..=PACKET_SAMPLES_MAX).contains(len))
            }
            PeerPayload::TelephoneEvent { .. } => None,
        }
    }

    /// Samples missing before this packet by its timestamp; ties the clocks where they are not, or have come apart.
    fn gap_before(&mut self, packet: &Arrival<'_, PeerPayload>) -> i64 {
        let known = self.clock.as_mut().filter(|(kind, _)| *kind == packet.kind);
        let gap = known.map(|(_, clock)| clock.gap(packet.timestamp, self.position));
        if let Some(gap) = gap.filter(|gap| gap.abs() <= DISAGREEMENT_MAX) {
            return gap;
        }
        if self.clock.is_some() {
            self.epoch += 1;
        }
        let hz = if packet.kind == PeerPayload::Opus { 48_000 } else { 8_000 };
        self.clock = Some((packet.kind, SourceClock::tie(packet.timestamp, hz, self.position)));
        0
    }

    /// Makes up for `gap` samples before `next`: recovered, concealed, or the silence that they were.
    fn bridge(&mut self, gap: usize, lost: u16, next: &Arrival<'_, PeerPayload>, now: Instant, out: &mut Outputs) {
        let mut buffer = [0; STRETCH_SAMPLES_MAX];
        let Some(missing) = buffer.get_mut(..gap) else { return };
        let concealed = gap.min(CONCEALMENT_MS_MAX as usize * 8);
        self.noise.fill(IDLE_LEVEL, missing);
        let (made, _) = missing.split_at_mut(concealed);
        match (next.kind, lost) {
            (PeerPayload::Opus, 1) => drop(self.decoder.recover(next.payload, made)),
            (PeerPayload::Opus, 0..=CONCEALED_PACKETS_MAX) => drop(self.decoder.conceal(made)),
            (_, 1..=CONCEALED_PACKETS_MAX) => self.concealer.conceal(made),
            _ => {}
        }
        self.emit(missing, true, now, out);
    }

    fn decode<'a>(
        &mut self,
        packet: &Arrival<'_, PeerPayload>,
        pcm: &'a mut [i16; PACKET_SAMPLES_MAX],
    ) -> Option<&'a [i16]> {
        let law = match packet.kind {
            PeerPayload::Opus => {
                let len = self.decoder.decode(packet.payload, pcm)?;
                return pcm.get(..len);
            }
            PeerPayload::Pcmu => Law::Mu,
            PeerPayload::Pcma => Law::A,
            PeerPayload::TelephoneEvent { .. } => return None,
        };
        let len = law.decode_all(packet.payload, pcm);
        let pcm = pcm.get_mut(..len)?;
        self.concealer.hear(pcm);
        Some(pcm)
    }

    /// What the browser might have sent: its codec's own comfort noise, or a line that is open.
    fn make_up(&mut self, samples: &mut [i16; FILL_SAMPLES]) {
        if let Some(hold) = &mut self.hold {
            return hold.fill(&mut self.noise, samples);
        }
        let opus = matches!(self.clock, Some((PeerPayload::Opus, _)));
        if !opus || self.decoder.conceal(samples).is_none() {
            self.noise.fill(IDLE_LEVEL, samples);
        }
    }

    /// Puts audio on the timeline: to the trunk and to the tap, as far as mute and digits let it cross.
    fn emit(&mut self, samples: &[i16], concealed: bool, now: Instant, out: &mut Outputs) {
        let Some(trunk) = self.trunk else { return };
        let silence = [0; STRETCH_SAMPLES_MAX];
        let digit = self.events.is_busy();
        let hushed = digit || (self.muted && self.hold.is_none());
        let crossing = if hushed { silence.get(..samples.len()).unwrap_or_default() } else { samples };
        if self.hold.is_none() {
            out.tap_audio(self.place(now), crossing, concealed);
        }
        let mut rest = crossing;
        while !rest.is_empty() {
            let before = rest.len();
            if digit {
                rest = &[];
            } else {
                rest = self.packetizer.take(rest, self.position);
            }
            self.position += (before - rest.len()) as u64;
            let mut codes = [0; PAYLOAD_BYTES_MAX];
            let full =
                self.packetizer.full().map(|(packet, start)| (trunk.codec.law().encode_all(packet, &mut codes), start));
            if let Some((len, start)) = full {
                self.packetizer.clear();
                let marker = std::mem::take(&mut self.marker);
                self.send(trunk.payload_type, marker, start, codes.get(..len).unwrap_or_default(), out);
            }
        }
    }

    fn send(&mut self, payload_type: u8, marker: bool, position: u64, payload: &[u8], out: &mut Outputs) {
        let stamp = self.stream.stamp(position, payload.len());
        let header = Header {
            payload_type,
            marker,
            sequence: stamp.wire_sequence(),
            timestamp: stamp.timestamp,
            ssrc: self.stream.ssrc(),
        };
        self.packets_sent += 1;
        out.push(Output::ToTrunkRtp(Bytes::filled(|bytes| header.write(payload, bytes).unwrap_or(0))));
    }
}

/// Samples of 8 kHz in a time.
pub(crate) fn samples_in(time: Duration) -> u64 {
    u64::try_from(time.as_micros() / 125).unwrap_or(0)
}

/// The time of some samples of 8 kHz.
pub(crate) fn time_of(samples: usize) -> Duration {
    Duration::from_micros(samples as u64 * 125)
}
