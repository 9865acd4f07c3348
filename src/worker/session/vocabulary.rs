//! What goes into a session and what comes out.

use std::net::IpAddr;
use std::net::SocketAddr;

use crate::ids::CallId;
use crate::ids::LegId;
use crate::media::tap::TapFrame;
use crate::media::vocabulary;
use crate::rtp::srtp::OVERHEAD_BYTES_MAX;
use crate::webrtc;
use crate::worker::Command;
use crate::worker::Event;

/// Bytes of the largest datagram to a trunk: what the pipeline makes, protected.
pub(super) const TRUNK_DATAGRAM_BYTES_MAX: usize = vocabulary::DATAGRAM_BYTES_MAX + OVERHEAD_BYTES_MAX;

/// How sessions are made.
#[derive(Debug, Clone)]
pub struct Config {
    /// Of each browser leg.
    pub peer: webrtc::Config,
    /// Of the pipeline.
    pub media: vocabulary::Config,
}

/// What happens to a session from outside.
#[derive(Debug)]
pub enum Input<'a> {
    /// From the call.
    Command(Command),
    /// A datagram of a browser, by its address or its check.
    PeerDatagram {
        /// The browser's leg.
        leg: LegId,
        /// Whence.
        source: SocketAddr,
        /// Our candidate that it came to.
        local: SocketAddr,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// The answer to `BindTrunk`: our RTP address, or `None` where no port is free.
    TrunkBound {
        /// The trunk leg.
        leg: LegId,
        /// Our address.
        local: Option<SocketAddr>,
    },
    /// A datagram on a trunk leg's port.
    TrunkDatagram {
        /// The trunk leg.
        leg: LegId,
        /// On the RTCP port.
        rtcp: bool,
        /// Whence.
        source: SocketAddr,
        /// The bytes, which are decrypted in place.
        bytes: &'a mut [u8],
    },
    /// What the trunk of another call says, as that call's session sends it. Dropped where that call is not joined to
    /// us: see [`Session::is_joined_to`](super::Session::is_joined_to).
    FromPartner {
        /// The other call.
        partner: CallId,
        /// The packet.
        packet: &'a vocabulary::ToPeer,
    },
}

/// What a session wants done.
#[derive(Debug)]
pub enum Output {
    /// A datagram for a browser.
    ToPeer {
        /// To where.
        to: SocketAddr,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// A datagram for the trunk, from this leg's port.
    ToTrunk {
        /// The trunk leg.
        leg: LegId,
        /// From the RTCP port; with `a=rtcp-mux` RTCP leaves from the RTP port.
        from_rtcp: bool,
        /// To where.
        to: SocketAddr,
        /// The bytes.
        bytes: vocabulary::Bytes<TRUNK_DATAGRAM_BYTES_MAX>,
    },
    /// A packet for the session of another call, which takes it as `FromPartner`.
    ToPartner {
        /// The other call.
        partner: CallId,
        /// The worker that has it.
        worker: usize,
        /// The packet.
        packet: vocabulary::ToPeer,
    },
    /// A frame for the recorder.
    Tap(TapFrame),
    /// News for the call.
    Event(Event),
    /// A browser leg can be reached under this ufrag.
    PeerOpened {
        /// The leg.
        leg: LegId,
        /// Our half of the user name.
        ufrag: String,
    },
    /// A browser leg is gone.
    PeerClosed {
        /// The leg.
        leg: LegId,
    },
    /// A trunk leg wants a port pair; answered by `TrunkBound`.
    BindTrunk {
        /// The leg.
        leg: LegId,
        /// The interface.
        address: IpAddr,
    },
    /// A trunk leg's ports are no longer needed.
    ReleaseTrunk {
        /// The leg.
        leg: LegId,
    },
    /// The session is over; nothing follows.
    Ended,
}

/// What a session waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SessionTimer {
    /// A browser leg's transport.
    Peer,
    /// The pipeline.
    Media,
    /// The next statistics.
    Stats,
}
