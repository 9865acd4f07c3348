//! The trunk side's session descriptions: offers and answers of RFC 3264. Pure.
//!
//! `sdp-types` reads the lines; what they mean is here. One audio stream per session, PCMU or PCMA with
//! telephone-event, in the clear or as SRTP keyed by SDES (RFC 4568); every other media line is refused in its place.

pub mod codecs;
pub mod crypto;
pub mod hold;
pub mod negotiate;
pub mod offer_answer;

use std::net::{IpAddr, SocketAddr};

pub use crate::codec::TrunkCodec;
pub use crate::rtp::srtp::SrtpKeys;
pub use crate::rtp::srtp::SrtpSuite;
pub use crate::sdp::crypto::Srtp;
pub use crate::sdp::crypto::SrtpSecret;
pub use crate::sdp::hold::Direction;
pub use crate::sdp::offer_answer::{PendingOffer, Session};

/// Our side of a session, as it is to be described.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    /// The address that the peer sends media to: the advertised one, which need not be bound here.
    pub address: IpAddr,
    /// Our RTP port; RTCP is on the next one.
    pub rtp_port: u16,
    /// Codecs that we take, the best first. Never empty.
    pub codecs: Vec<TrunkCodec>,
    /// Whether we take telephone-event (RFC 4733).
    pub telephone_event: bool,
    /// Packet time that we wish to receive, and send with where the peer names none: 10, 20, 30, 40 or 60.
    pub ptime_ms: u8,
    /// What we want of the stream: sendrecv unless we hold.
    pub direction: Direction,
    /// Our keys, where the stream may or must be SRTP. `None`: only RTP in the clear.
    pub srtp: Option<Srtp>,
}

/// What both sides agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Negotiated {
    /// Where RTP goes, and from where it comes. The port is never 0. Under `c=0.0.0.0` it is the address of before.
    pub remote_rtp: SocketAddr,
    /// Where RTCP goes: `a=rtcp`, else the next port; the same as RTP under `a=rtcp-mux`.
    pub remote_rtcp: SocketAddr,
    /// The audio codec.
    pub codec: TrunkCodec,
    /// Payload type that we send audio with.
    pub payload_type: u8,
    /// Payload type that the peer sends audio with.
    pub receive_payload_type: u8,
    /// Payload type of telephone-event/8000 that we send with.
    pub telephone_event: Option<u8>,
    /// Payload type of telephone-event/8000 that the peer sends with.
    pub receive_telephone_event: Option<u8>,
    /// Packet time that we send with, in milliseconds: 10, 20, 30, 40 or 60.
    pub ptime_ms: u8,
    /// We may send.
    pub send: bool,
    /// We expect to receive.
    pub receive: bool,
    /// The keys of both directions, where the stream is SRTP.
    pub srtp: Option<SrtpKeys>,
}

/// Why a description is not taken. [`Refusal::status`] and [`Refusal::warning`] say it in SIP.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Past [`crate::limits::SDP_BYTES_MAX`] or [`crate::limits::SDP_MEDIA_MAX`].
    #[error("session description too large")]
    TooLarge,
    /// No session description.
    #[error("malformed session description")]
    Malformed(#[source] sdp_types::ParserError),
    /// No `c=` line for the stream.
    #[error("no connection line")]
    NoConnection,
    /// No audio line, or only ones with port 0.
    #[error("no audio stream")]
    NoAudio,
    /// Only profiles that we do not take, such as RTP/SAVP on a trunk without SRTP.
    #[error("unsupported transport profile")]
    Profile,
    /// RTP in the clear, where SRTP is required, or was offered.
    #[error("SRTP is required")]
    Insecure,
    /// SRTP without a suite and key that we can use.
    #[error("no usable crypto attribute")]
    Crypto,
    /// No codec in common.
    #[error("no codec in common")]
    Codec,
    /// The other IP version, or no Internet address.
    #[error("unsupported network protocol")]
    Network,
    /// A name instead of an address in `c=`.
    #[error("a name instead of an address")]
    AddressName,
    /// A group address.
    #[error("a multicast address")]
    Multicast,
}

impl Refusal {
    /// The SIP status for an offer.
    pub const fn status(&self) -> u16 {
        match self {
            Self::TooLarge => 413,
            Self::Malformed(_) | Self::NoConnection => 400,
            Self::NoAudio
            | Self::Profile
            | Self::Insecure
            | Self::Crypto
            | Self::Codec
            | Self::Network
            | Self::AddressName
            | Self::Multicast => 488,
        }
    }

    /// Code and text of the Warning header (RFC 3261 20.43).
    pub const fn warning(&self) -> Option<(u16, &'static str)> {
        match self {
            Self::Network => Some((300, "Incompatible network protocol")),
            Self::AddressName => Some((301, "Incompatible network address format: an address is needed")),
            Self::Profile => Some((302, "Incompatible transport protocol: RTP/AVP is needed")),
            Self::Insecure => Some((302, "Incompatible transport protocol: RTP/SAVP is needed")),
            Self::Crypto => Some((399, "No usable crypto attribute")),
            Self::NoAudio => Some((304, "Media type not available: audio is needed")),
            Self::Codec => Some((305, "Incompatible media format")),
            Self::Multicast => Some((330, "Multicast not available")),
            Self::Malformed(_) | Self::NoConnection => Some((399, "Malformed session description")),
            Self::TooLarge => None,
        }
    }
}
