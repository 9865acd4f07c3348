//! One browser's peer connection: ICE, DTLS-SRTP, RTP and the data channel `tandem`. Pure; knows no SIP and no socket.
//!
//! [`Peer`] wraps str0m in RTP mode: what comes in and goes out are RTP payloads, never decoded here.

pub mod candidates;
pub mod certificate;
pub mod negotiation;
pub mod peer;
pub mod stats;
pub mod stun;

pub use certificate::Certificate;
pub use negotiation::BadDescription;
pub use peer::Config;
pub use peer::Failure;
pub use peer::Input;
pub use peer::Output;
pub use peer::Peer;
pub use peer::PeerTimer;
pub use peer::Rtp;
pub use peer::RtpOut;
pub use stats::PeerStats;

/// What an RTP packet of the browser's audio line carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PayloadKind {
    /// Opus (RFC 7587), clock 48,000 Hz.
    Opus,
    /// G.711 µ-law, clock 8,000 Hz.
    Pcmu,
    /// G.711 A-law, clock 8,000 Hz.
    Pcma,
    /// Telephone events (RFC 4733) on the clock of Opus, 48,000 Hz.
    TelephoneEvent48k,
    /// Telephone events (RFC 4733) on the clock of G.711, 8,000 Hz.
    TelephoneEvent8k,
}

impl PayloadKind {
    /// Whether it is audio, not an event.
    pub const fn is_audio(self) -> bool {
        matches!(self, Self::Opus | Self::Pcmu | Self::Pcma)
    }

    /// The RTP clock in Hz.
    pub const fn clock_hz(self) -> u32 {
        match self {
            Self::Opus | Self::TelephoneEvent48k => 48_000,
            Self::Pcmu | Self::Pcma | Self::TelephoneEvent8k => 8_000,
        }
    }
}

/// The payload types that a negotiation settled on, for sending. Audio comes first in the answer's order of preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Negotiated {
    /// The audio codec to send.
    pub audio: PayloadKind,
    /// Its payload type.
    pub audio_payload_type: u8,
    /// Payload type of telephone events on the audio's clock, where the browser takes them.
    pub telephone_event: Option<u8>,
}

#[cfg(test)]
pub(crate) mod tests;
