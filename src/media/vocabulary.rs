//! What goes into a pipeline and what comes out: the words of [`Pipeline`](crate::media::pipeline::Pipeline).

use std::time::Duration;

use crate::codec::TrunkCodec;
use crate::media::hold_music::HoldMusic;
use crate::media::tap::TapFrame;
use crate::rtp::telephone_event::DtmfDigit;

/// Bytes of the largest payload that we make: 60 ms of G.711, and more than Opus ever takes at our rate.
pub const PAYLOAD_BYTES_MAX: usize = 480;
/// Bytes of the largest datagram that we make: an RTP header without CSRC or extension, and a payload.
pub const DATAGRAM_BYTES_MAX: usize = 12 + PAYLOAD_BYTES_MAX;

/// Bounds and times of one pipeline.
#[derive(Debug, Clone)]
pub struct Config {
    /// Neither RTP nor RTCP from the trunk for this long, where it was promised, is a `MediaTimeout`. 60 s.
    pub rtp_timeout: Duration,
    /// A missing packet is waited for this long, or until the one after the next arrives. 20 ms.
    pub reorder_hold: Duration,
    /// The browser may be this late before silence is sent to the trunk in its place. 60 ms.
    pub fill_after: Duration,
    /// Mean time between our RTCP reports (RFC 3550 6.2); each is drawn from 0.5–1.5 times this. 5 s.
    pub rtcp_interval: Duration,
    /// What a held trunk hears.
    pub hold_music: HoldMusic,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            rtp_timeout: Duration::from_mins(1),
            reorder_hold: Duration::from_millis(20),
            fill_after: Duration::from_millis(60),
            rtcp_interval: Duration::from_secs(5),
            hold_music: HoldMusic::default(),
        }
    }
}

/// The audio of a trunk leg, as negotiated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrunkAudio {
    /// The codec, both ways.
    pub codec: TrunkCodec,
    /// Payload type that we send audio with.
    pub payload_type: u8,
    /// Payload type that the trunk sends audio with.
    pub receive_payload_type: u8,
    /// Payload type of telephone-event at 8000 Hz that we send with; without it no digit can be sent.
    pub telephone_event: Option<u8>,
    /// Payload type of telephone-event that the trunk sends with.
    pub receive_telephone_event: Option<u8>,
    /// Packet time that we send with, in milliseconds: 10, 20, 30, 40 or 60; anything else is taken as 20.
    pub ptime_ms: u8,
    /// We may send; where false, the trunk is on hold.
    pub send: bool,
    /// We expect to receive; where false, silence is no fault.
    pub receive: bool,
}

/// The audio codec of a browser leg, as negotiated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PeerCodec {
    /// Opus, RTP clock 48 kHz (RFC 7587).
    #[default]
    Opus,
    /// G.711 µ-law.
    Pcmu,
    /// G.711 A-law.
    Pcma,
}

impl PeerCodec {
    /// Its RTP clock in Hz.
    pub const fn clock_hz(self) -> u32 {
        match self {
            Self::Opus => 48_000,
            Self::Pcmu | Self::Pcma => 8_000,
        }
    }

    /// The kind of its packets.
    pub const fn payload(self) -> PeerPayload {
        match self {
            Self::Opus => PeerPayload::Opus,
            Self::Pcmu => PeerPayload::Pcmu,
            Self::Pcma => PeerPayload::Pcma,
        }
    }
}

/// What we send to a browser leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PeerAudio {
    /// The codec that we send.
    pub codec: PeerCodec,
    /// telephone-event was negotiated, on the codec's own clock: the trunk's digits are passed on as RTP events too.
    pub telephone_event: bool,
}

/// The kind of a browser's RTP payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerPayload {
    /// Opus; timestamps at 48 kHz.
    Opus,
    /// G.711 µ-law; timestamps at 8 kHz.
    Pcmu,
    /// G.711 A-law; timestamps at 8 kHz.
    Pcma,
    /// A telephone event (RFC 4733). Counted and ignored: the browser's digits come by signalling.
    TelephoneEvent {
        /// Its clock in Hz.
        clock: u32,
    },
}

/// One RTP packet of the browser, decrypted and taken apart.
#[derive(Debug, Clone, Copy)]
pub struct PeerPacket<'a> {
    /// Whose stream.
    pub ssrc: u32,
    /// Its sequence number.
    pub sequence: u16,
    /// Its timestamp, in the clock of `kind`.
    pub timestamp: u32,
    /// First after a silence.
    pub marker: bool,
    /// What it carries.
    pub kind: PeerPayload,
    /// The payload, without padding.
    pub payload: &'a [u8],
}

/// Who pressed a digit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The browser leg.
    Agent,
    /// The trunk leg.
    Trunk,
}

/// Up to `N` bytes in place.
#[derive(Clone, Copy)]
pub struct Bytes<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Bytes<N> {
    /// Lets `write` fill the buffer; it says how many bytes count (cut at `N`).
    pub fn filled(write: impl FnOnce(&mut [u8; N]) -> usize) -> Self {
        let mut bytes = [0; N];
        let len = write(&mut bytes).min(N);
        Self { bytes, len }
    }

    /// A copy of `from`, cut at `N`.
    pub fn copied(from: &[u8]) -> Self {
        Self::filled(|bytes| {
            for (to, from) in bytes.iter_mut().zip(from) {
                *to = *from;
            }
            from.len()
        })
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl<const N: usize> std::ops::Deref for Bytes<N> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl<const N: usize> std::fmt::Debug for Bytes<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bytes({})", self.len)
    }
}

/// One RTP payload for the browser, or for the pipeline of a partner in its place, and how to stamp it.
#[derive(Debug, Clone, Copy)]
pub struct ToPeer {
    /// Whose stream. A browser's transport may have one of its own.
    pub ssrc: u32,
    /// What it carries: the payload type follows from it.
    pub kind: PeerPayload,
    /// Extended sequence number: starts below 65,536 and only grows; a gap is a loss on the trunk's side.
    pub sequence: u64,
    /// RTP timestamp, in the clock of `kind`.
    pub timestamp: u32,
    /// First after a silence, or first of an event.
    pub marker: bool,
    /// The payload.
    pub payload: Bytes<PAYLOAD_BYTES_MAX>,
}

impl ToPeer {
    /// The packet as it arrives at the pipeline of a partner.
    pub fn arrived(&self) -> PeerPacket<'_> {
        PeerPacket {
            ssrc: self.ssrc,
            sequence: (self.sequence & 0xffff) as u16,
            timestamp: self.timestamp,
            marker: self.marker,
            kind: self.kind,
            payload: &self.payload,
        }
    }
}

/// What a pipeline wants done, or reports.
#[derive(Debug, Clone)]
pub enum Output {
    /// One RTP datagram for the trunk.
    ToTrunkRtp(Bytes<DATAGRAM_BYTES_MAX>),
    /// One compound RTCP datagram for the trunk.
    ToTrunkRtcp(Bytes<DATAGRAM_BYTES_MAX>),
    /// One RTP payload for the browser.
    ToPeer(ToPeer),
    /// One frame for the tap.
    Tap(TapFrame),
    /// A leg pressed a digit.
    Dtmf {
        /// Who.
        from: Side,
        /// Which.
        digit: DtmfDigit,
        /// For how long, in milliseconds.
        duration_ms: u32,
    },
    /// The first RTP of the trunk arrived.
    TrunkMediaStarted,
    /// Neither RTP nor RTCP from the trunk, where it was promised. Once per silence.
    MediaTimeout {
        /// For how long.
        silent_for: Duration,
    },
}

/// What a pipeline waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MediaTimer {
    /// A packet of the browser is held for the one before it.
    PeerReorder,
    /// A packet of the trunk is held for the one before it.
    TrunkReorder,
    /// The trunk's time is kept with silence.
    Fill,
    /// The next step of a digit to the trunk.
    DtmfToTrunk,
    /// The next step of a digit to the agent.
    DtmfToAgent,
    /// A digit of the trunk whose end was lost.
    DtmfFromTrunk,
    /// The next frame of the ringback tone.
    Ringback,
    /// The next RTCP report.
    Report,
    /// The trunk has been silent for too long.
    RtpTimeout,
}

/// Counters of one leg since the pipeline began.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LegCounters {
    /// RTP packets taken.
    pub packets_received: u64,
    /// RTP packets sent.
    pub packets_sent: u64,
    /// Packets lost towards us, by sequence numbers.
    pub packets_lost: u64,
    /// Packets dropped: malformed, of an unknown payload type, duplicates, too late.
    pub packets_dropped: u64,
    /// Telephone-event packets received.
    pub event_packets_received: u64,
    /// Interarrival jitter (RFC 3550 6.4.1) in milliseconds.
    pub jitter_ms: f32,
    /// Round-trip time from RTCP in milliseconds, where known (trunk only).
    pub rtt_ms: Option<f32>,
    /// Loss that the peer reports of our packets, 0.0–1.0, where known (trunk only).
    pub remote_loss: Option<f32>,
    /// Jitter that the peer reports of our packets, in milliseconds, where known (trunk only).
    pub remote_jitter_ms: Option<f32>,
}
