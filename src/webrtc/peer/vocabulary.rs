//! What goes into a peer and what comes out.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::webrtc::BadDescription;
use crate::webrtc::Certificate;
use crate::webrtc::Negotiated;
use crate::webrtc::PayloadKind;
use crate::webrtc::PeerStats;

/// How a peer is made.
#[derive(Debug, Clone)]
pub struct Config {
    /// The certificate that all peers share.
    pub certificate: Certificate,
    /// Our host candidates: addresses under which the browser port is reached. At least one.
    pub candidates: Vec<SocketAddr>,
    /// Answers connectivity checks and sends none (RFC 8445 2.5): nothing leaves for an address that has not proved itself.
    pub ice_lite: bool,
    /// From the browser's answer until ICE and DTLS are up.
    pub setup_timeout: Duration,
    /// Time between statistics; the browser's loss is known only then.
    pub stats_interval: Duration,
    /// Time between our RTCP reports; the browser's FEC follows them.
    pub report_interval: Duration,
}

impl Config {
    /// The usual times, for a certificate and our addresses.
    pub const fn new(certificate: Certificate, candidates: Vec<SocketAddr>) -> Self {
        Self {
            certificate,
            candidates,
            ice_lite: true,
            setup_timeout: Duration::from_secs(15),
            stats_interval: Duration::from_secs(1),
            report_interval: Duration::from_secs(1),
        }
    }
}

/// What happens to a peer from outside.
#[derive(Debug, Clone, Copy)]
pub enum Input<'a> {
    /// A datagram that the shared port has found to be this peer's.
    Datagram {
        /// Whence it came.
        source: SocketAddr,
        /// Our candidate that it came to.
        local: SocketAddr,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// The browser's answer to our offer.
    Answer(&'a str),
    /// A trickled candidate, `candidate:…`.
    Candidate(&'a str),
    /// Text for the data channel; dropped while the channel is not open.
    Text(&'a str),
    /// We are done: says so to the browser.
    Close,
}

/// What a peer wants done or known.
#[derive(Debug)]
pub enum Output {
    /// A datagram to send.
    Transmit {
        /// From which of our candidates.
        from: SocketAddr,
        /// To where.
        to: SocketAddr,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// ICE and DTLS are up, and these payload types were agreed.
    Connected(Negotiated),
    /// ICE lost the browser (it may come back), or found it again.
    Reachable(bool),
    /// The peer cannot be, and will do nothing more.
    Failed(Failure),
    /// Authenticated RTP.
    Rtp(Rtp),
    /// Text from the data channel.
    Data(String),
    /// New figures, every `stats_interval`.
    Stats(PeerStats),
}

/// Why a peer failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The answer cannot be used.
    #[error("the browser's session description cannot be used")]
    Description(#[source] BadDescription),
    /// No path in time.
    #[error("no network path was found in time")]
    Ice,
    /// A wrong certificate, or no handshake in time.
    #[error("the DTLS handshake failed")]
    Dtls,
}

/// An RTP packet of the browser, authenticated and decrypted.
#[derive(Debug, Clone)]
pub struct Rtp {
    /// Its synchronisation source.
    pub ssrc: u32,
    /// Sequence number as sent.
    pub sequence: u16,
    /// Timestamp as sent, on the payload's clock.
    pub timestamp: u32,
    /// The marker bit.
    pub marker: bool,
    /// What it carries.
    pub kind: PayloadKind,
    /// The payload, without padding.
    pub payload: Arc<[u8]>,
}

/// An RTP packet for the browser. The SSRC is the peer's own.
#[derive(Debug, Clone, Copy)]
pub struct RtpOut<'a> {
    /// Payload type, one of [`Negotiated`].
    pub payload_type: u8,
    /// Extended sequence number; a gap of a few is a loss upstream, and shows to the browser as one.
    pub sequence: u64,
    /// Timestamp on the payload's clock.
    pub timestamp: u32,
    /// The marker bit.
    pub marker: bool,
    /// The payload.
    pub payload: &'a [u8],
}

/// What a peer waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PeerTimer {
    /// The browser's path and handshake.
    Setup,
    /// Something inside str0m: ICE checks, DTLS retransmission, RTCP, SCTP.
    Transport,
}
