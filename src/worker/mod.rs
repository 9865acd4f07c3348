//! A media worker: one thread that owns the sockets, peers and pipelines of its calls.
//!
//! The rest of the house sees [`Command`] and [`Event`]; `sim` scripts them instead of running a worker.

pub mod demux;
pub mod io;
pub mod media_source;
pub mod session;
pub mod wheel;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::ids::{CallId, LegId};
pub use crate::media::tap::TapId;

pub use crate::codec::TrunkCodec;
pub use crate::media::quality::LegQuality;
pub use crate::media::quality::StreamQuality;
pub use crate::rtp::srtp::MasterKey;
pub use crate::rtp::srtp::SrtpKeys;
pub use crate::rtp::srtp::SrtpSuite;
pub use crate::rtp::telephone_event::DtmfDigit;
pub use media_source::MediaNetwork;
pub use media_source::MediaRejection;
pub use media_source::MediaSource;

/// What the call room asks of a worker. One for an unknown call or leg is ignored; refusals come back as events.
#[derive(Debug, Clone)]
pub enum Command {
    /// Makes a browser leg (and the session, with its first leg). Answered by `PeerOffered` or `LegFailed`.
    OfferPeer {
        /// The call.
        call: CallId,
        /// The new leg.
        leg: LegId,
    },
    /// The browser's answer to our offer: ICE and DTLS begin. Answered by `PeerConnected` or `LegFailed`.
    AcceptPeerAnswer {
        /// The call.
        call: CallId,
        /// The leg.
        leg: LegId,
        /// The session description as the browser wrote it.
        sdp: String,
    },
    /// A trickled candidate of the browser (`candidate:…`); one that does not parse is ignored.
    AddPeerCandidate {
        /// The call.
        call: CallId,
        /// The leg.
        leg: LegId,
        /// The attribute's value.
        candidate: String,
    },
    /// Binds an RTP/RTCP port pair for a trunk leg. Answered by `TrunkBound` or `LegFailed`.
    BindTrunk {
        /// The call.
        call: CallId,
        /// The new leg.
        leg: LegId,
        /// The interface.
        address: IpAddr,
    },
    /// Says where a trunk leg's media goes, as negotiated; again at every change.
    ConnectTrunk {
        /// The call.
        call: CallId,
        /// The leg.
        leg: LegId,
        /// What was negotiated.
        media: TrunkMedia,
    },
    /// One more description that answers the leg's offer before the call is answered (several phones ring): its media
    /// may be heard. Of several the last to begin is, and another one once that has been silent for 2 s.
    /// `ConnectTrunk` settles it.
    HearFork {
        /// The call.
        call: CallId,
        /// The leg.
        leg: LegId,
        /// What this one negotiated.
        media: TrunkMedia,
    },
    /// Says which ways audio may cross between the agent leg and the trunk leg. Closed at first.
    SetGate {
        /// The call.
        call: CallId,
        /// What may cross.
        gate: Gate,
    },
    /// The agent muted or unmuted: what it sends becomes silence towards the trunk, and in the recording.
    SetMuted {
        /// The call.
        call: CallId,
        /// The agent's leg.
        leg: LegId,
        /// Muted or not.
        muted: bool,
    },
    /// Sends digits on a leg as RFC 4733 events, 100 ms on and 60 ms off, queued.
    SendDtmf {
        /// The call.
        call: CallId,
        /// The leg to send on.
        leg: LegId,
        /// The digits.
        digits: Vec<DtmfDigit>,
    },
    /// Sends text over the leg's data channel `tandem`.
    SendData {
        /// The call.
        call: CallId,
        /// The browser leg.
        leg: LegId,
        /// One JSON text.
        text: String,
    },
    /// Starts the tap of an agent's leg. Frames flow whether or not the gate is open; what crosses is what is tapped.
    StartTap {
        /// The call.
        call: CallId,
        /// The agent's leg.
        leg: LegId,
        /// The name under which frames leave.
        tap: TapId,
    },
    /// Stops the tap, after the frames already received. Answered by `TapStopped`, also where that tap is not running.
    StopTap {
        /// The call.
        call: CallId,
        /// The tap.
        tap: TapId,
    },
    /// Plays a ringback tone (425 Hz, 1 s on, 4 s off) to the agent until `false`; early media has precedence until it has
    /// been silent for 2 s.
    SetRingback {
        /// The call.
        call: CallId,
        /// The agent's leg.
        leg: LegId,
        /// On or off.
        on: bool,
    },
    /// Puts the trunk leg on local hold, or takes it off: the trunk hears the hold music (comfort noise where none is
    /// configured), agent and trunk do not hear each other, and the tap says hold on both channels. Needs no re-INVITE.
    /// The music passes only where `Gate::to_trunk` is open and the negotiated direction lets us send. Idempotent; it
    /// holds for the session until `on: false`, whatever is connected meanwhile.
    PlayHold {
        /// The call.
        call: CallId,
        /// The trunk leg.
        leg: LegId,
        /// On or off.
        on: bool,
    },
    /// From now on the near side of the call, which was a browser, is the session of another call: what its trunk says
    /// is heard on our trunk, and ours on its. Each of the two is told by its own command; what comes from a partner
    /// that is not joined to us is dropped and counted. Idempotent.
    ///
    /// Browser legs that are still there are joined no longer, whether they are closed before or after. Ringback stops
    /// and mute is lifted; gate, local hold and tap stay as they were told. A partner that ends leaves silence: the call
    /// goes on until its own end.
    Join {
        /// The call.
        call: CallId,
        /// The other call.
        partner: CallId,
        /// The number of the worker that has the other call: its place among the workers of this node, from 0.
        worker: usize,
    },
    /// Ends one leg; its ports drain before reuse.
    CloseLeg {
        /// The call.
        call: CallId,
        /// The leg.
        leg: LegId,
    },
    /// Ends the whole session. Answered by `Closed`.
    Close {
        /// The call.
        call: CallId,
    },
}

impl Command {
    /// The call that it concerns.
    pub const fn call(&self) -> CallId {
        match self {
            Self::OfferPeer { call, .. }
            | Self::AcceptPeerAnswer { call, .. }
            | Self::AddPeerCandidate { call, .. }
            | Self::BindTrunk { call, .. }
            | Self::ConnectTrunk { call, .. }
            | Self::HearFork { call, .. }
            | Self::SetGate { call, .. }
            | Self::SetMuted { call, .. }
            | Self::SendDtmf { call, .. }
            | Self::SendData { call, .. }
            | Self::StartTap { call, .. }
            | Self::StopTap { call, .. }
            | Self::SetRingback { call, .. }
            | Self::PlayHold { call, .. }
            | Self::Join { call, .. }
            | Self::CloseLeg { call, .. }
            | Self::Close { call } => *call,
        }
    }

    /// The leg that it makes, and with it the session where there is none.
    pub const fn new_leg(&self) -> Option<LegId> {
        if let Self::OfferPeer { leg, .. } | Self::BindTrunk { leg, .. } = self { Some(*leg) } else { None }
    }
}

/// What may cross between agent and trunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gate {
    /// The agent is heard on the trunk.
    pub to_trunk: bool,
    /// The trunk is heard by the agent.
    pub to_agent: bool,
}

/// Negotiated media of a trunk leg.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrunkMedia {
    /// Where RTP goes, and the only address from which it is taken. Port 0 never occurs.
    pub remote: SocketAddr,
    /// Where RTCP goes (`a=rtcp`, else port + 1), or the same as `remote` with `a=rtcp-mux`.
    pub remote_rtcp: SocketAddr,
    /// The audio codec.
    pub codec: TrunkCodec,
    /// Payload type that we send audio with.
    pub payload_type: u8,
    /// Payload type that the peer sends audio with (may differ, RFC 3264 5.1).
    pub receive_payload_type: u8,
    /// Payload type of telephone-event at 8000 Hz that we send with.
    pub telephone_event: Option<u8>,
    /// Payload type of telephone-event that the peer sends with.
    pub receive_telephone_event: Option<u8>,
    /// Packet time that we send with, in milliseconds: 10, 20, 30, 40 or 60.
    pub ptime_ms: u8,
    /// We may send (negotiated direction, from our side).
    pub send: bool,
    /// We expect to receive; where false, silence is no fault.
    pub receive: bool,
    /// The keys of both directions (SDES), where the leg is SRTP. Without, it is RTP in the clear.
    pub srtp: Option<SrtpKeys>,
    /// From where the peer's media is taken.
    pub source: MediaSource,
}

/// What happened to a call's media.
#[derive(Debug, Clone)]
pub struct Event {
    /// The call.
    pub call: CallId,
    /// The leg; `None` where it concerns the session.
    pub leg: Option<LegId>,
    /// What.
    pub kind: EventKind,
}

/// See [`Event`].
#[derive(Debug, Clone)]
pub enum EventKind {
    /// Our offer for the browser, with all candidates in it.
    PeerOffered {
        /// The session description.
        sdp: String,
    },
    /// ICE and DTLS are up.
    PeerConnected,
    /// ICE lost the browser (it may come back), or found it again.
    PeerReachable(bool),
    /// A trunk leg's RTP port; RTCP is on the next one.
    TrunkBound {
        /// Our address, as bound.
        local: SocketAddr,
    },
    /// The leg cannot be, or can no longer be.
    LegFailed {
        /// Why.
        reason: LegFailure,
    },
    /// The first RTP of a trunk leg arrived from the negotiated address.
    TrunkMediaStarted,
    /// Media came to a trunk leg and was dropped. For each reason the first time, then at most once in 5 s; the counters
    /// of [`LegStats`] have them all. The call goes on.
    MediaRejected {
        /// Why. Its text is the verdict.
        reason: MediaRejection,
        /// Whence.
        source: SocketAddr,
    },
    /// A leg pressed a digit.
    DtmfReceived {
        /// Which.
        digit: DtmfDigit,
        /// For how long, in milliseconds.
        duration_ms: u32,
    },
    /// A text on the data channel `tandem`.
    DataReceived {
        /// The text, at most 64 KiB.
        text: String,
    },
    /// No RTP where the negotiated direction promises it.
    MediaTimeout {
        /// For how long.
        silent_for: Duration,
    },
    /// The recorder's ring was full: frames of this tap were lost.
    TapOverflow {
        /// The tap.
        tap: TapId,
    },
    /// The last frame of this tap was handed to the recorder's ring: nothing more comes under its name. `Closed` says
    /// the same of every tap of the call.
    TapStopped {
        /// The tap.
        tap: TapId,
    },
    /// Latest statistics of a leg, once every 5 s and at the end.
    Stats(LegStats),
    /// The session is gone and its ports are free.
    Closed,
}

/// Why a leg failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LegFailure {
    /// The browser's answer is not one to our offer.
    #[error("the session description of the browser cannot be used")]
    BadDescription,
    /// ICE found no path in time.
    #[error("no network path to the browser was found")]
    IceFailed,
    /// DTLS failed: a wrong fingerprint, or no handshake.
    #[error("the encryption with the browser could not be set up")]
    DtlsFailed,
    /// Every port of the range is taken.
    #[error("no media port is free")]
    NoPort,
    /// This worker is full or broken.
    #[error("the media worker cannot take the call")]
    WorkerFull,
}

/// Counters of one leg since it began.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LegStats {
    /// RTP packets taken.
    pub packets_received: u64,
    /// RTP packets sent.
    pub packets_sent: u64,
    /// Packets lost towards us, by sequence numbers.
    pub packets_lost: u64,
    /// Packets dropped: wrong source, malformed, failed authentication.
    pub packets_dropped: u64,
    /// Of those, the ones from an address that `MediaSource` does not admit.
    pub packets_from_unexpected_source: u64,
    /// Of those, the ones that failed SRTP authentication or were replayed.
    pub packets_forged: u64,
    /// Interarrival jitter (RFC 3550 6.4.1) in milliseconds.
    pub jitter_ms: f32,
    /// Round-trip time from RTCP in milliseconds, where known.
    pub rtt_ms: Option<f32>,
    /// Loss that the peer reports of our packets, 0.0–1.0, where known.
    pub remote_loss: Option<f32>,
    /// How both directions were since the statistics before these.
    pub quality: LegQuality,
}
