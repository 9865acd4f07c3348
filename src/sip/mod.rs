//! SIP (RFC 3261): messages, transactions, dialogs and the user agent, all sans-IO.
//!
//! What the rest of the house sees of this room is [`Command`] and [`Event`]. It knows nothing of
//! browsers, media or calls; a body is bytes.

pub mod dialog;
pub mod io;
pub mod message;
pub mod transaction;
pub mod user_agent;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;

use crate::ids::{LegId, SessionId, TrunkName};
use crate::pii::Pii;

/// Where a message came from or goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// Datagrams (RFC 3261 18): at most 65,535 bytes, unreliable.
    Udp,
    /// A TCP stream.
    Tcp,
    /// TLS over TCP (RFC 3261 26.2.1).
    Tls,
}

impl Transport {
    /// Whether the transport itself repeats what is lost: a stream (RFC 3261 17).
    pub const fn is_reliable(self) -> bool {
        match self {
            Self::Udp => false,
            Self::Tcp | Self::Tls => true,
        }
    }

    /// Its name in a Via (RFC 3261 20.42).
    pub const fn via_name(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
        }
    }

    /// Its name in a URI's `transport` parameter, and in our configuration.
    pub const fn uri_name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }

    /// The transport of that name, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Udp, Self::Tcp, Self::Tls].into_iter().find(|transport| transport.uri_name().eq_ignore_ascii_case(name))
    }

    /// The port of a URI or Via without one (RFC 3261 18.2.2, 19.1.2).
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => 5060,
            Self::Tls => 5061,
        }
    }
}

/// One path to a peer: a UDP address pair, or one stream connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flow {
    /// The transport.
    pub transport: Transport,
    /// Our end.
    pub local: SocketAddr,
    /// The peer's end: for a stream, of the connection.
    pub remote: SocketAddr,
    /// Which connection; `None` for UDP, and for a stream that is still to be opened.
    pub connection: Option<ConnectionId>,
}

/// A stream connection, numbered by the shell that opened or accepted it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// A SIP status code between 100 and 699 (RFC 3261 21).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StatusCode(u16);

impl StatusCode {
    /// Makes a status code; `None` outside 100–699.
    pub const fn new(code: u16) -> Option<Self> {
        if code >= 100 && code < 700 { Some(Self(code)) } else { None }
    }

    /// The number.
    pub const fn as_u16(self) -> u16 {
        self.0
    }

    /// 1xx.
    pub const fn is_provisional(self) -> bool {
        self.0 < 200
    }

    /// 2xx.
    pub const fn is_success(self) -> bool {
        self.0 >= 200 && self.0 < 300
    }
}

/// A message body with its Content-Type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// The media type, such as `application/sdp`.
    pub content_type: String,
    /// The bytes.
    pub content: Bytes,
}

impl Body {
    /// A session description.
    pub fn sdp(content: impl Into<Bytes>) -> Self {
        Self { content_type: "application/sdp".to_owned(), content: content.into() }
    }
}

/// Reason header (RFC 3326): why a request was sent, or a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// `Q.850` or `SIP`.
    pub protocol: String,
    /// The cause code of that protocol.
    pub cause: Option<u16>,
    /// Words for a person.
    pub text: Option<String>,
}

/// A final response that is not a success, as `call` wants it sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// 300–699.
    pub status: StatusCode,
    /// Reason header, mostly with a Q.850 cause.
    pub reason: Option<Reason>,
    /// Warning header: code (300–399, RFC 3261 20.43) and text.
    pub warning: Option<(u16, String)>,
    /// Retry-After.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// A bare refusal with `status`.
    pub const fn new(status: StatusCode) -> Self {
        Self { status, reason: None, warning: None, retry_after: None }
    }
}

/// A party as a From, To or P-Asserted-Identity names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Party {
    /// The user part of the URI, unescaped, or the number of a `tel:` URI. Empty where there is none.
    pub user: Pii<String>,
    /// The display name.
    pub display_name: Option<Pii<String>>,
}

/// An INVITE that began a new dialog usage, admitted from a trunk.
#[derive(Debug, Clone)]
pub struct Invitation {
    /// Names this usage from now on.
    pub leg: LegId,
    /// The trunk from whose networks it came.
    pub trunk: TrunkName,
    /// Whom the Request-URI names: its unescaped user part.
    pub called: String,
    /// The caller.
    pub from: Party,
    /// The To header's party.
    pub to: Party,
    /// SIP's Call-ID.
    pub sip_call_id: String,
    /// The peer's half of the Session-ID, where it sent one.
    pub session_id: Option<SessionId>,
    /// The address on which it came in: the default interface for the call's media.
    pub local_address: IpAddr,
    /// The session description, if it brought one; `None` is a late offer.
    pub offer: Option<Bytes>,
}

/// A new INVITE to a trunk.
#[derive(Debug, Clone)]
pub struct OutgoingInvite {
    /// Names this usage from now on; made by the caller.
    pub leg: LegId,
    /// The trunk to take; its targets are tried in order.
    pub trunk: TrunkName,
    /// The user part of the Request-URI and To.
    pub called: String,
    /// The caller shown to the trunk.
    pub from: Party,
    /// Our half of the Session-ID.
    pub session_id: SessionId,
    /// Our offer.
    pub offer: Bytes,
}

/// What the call room asks of the user agent. Each names its leg; one for an unknown leg is ignored.
#[derive(Debug, Clone)]
pub enum Command {
    /// Sends a provisional response 101–199.
    Provisional {
        /// The inbound usage.
        leg: LegId,
        /// 180, 182 or 183.
        status: StatusCode,
        /// Early media's session description.
        body: Option<Body>,
    },
    /// Accepts an INVITE with 200 and our answer.
    Accept {
        /// The inbound usage.
        leg: LegId,
        /// The session description.
        sdp: Bytes,
    },
    /// Refuses an INVITE.
    Refuse {
        /// The inbound usage.
        leg: LegId,
        /// The response.
        refusal: Refusal,
    },
    /// Sends a new INVITE.
    Invite(OutgoingInvite),
    /// Gives up an outbound INVITE: CANCEL once a provisional arrived (RFC 3261 9.1); a 200 that crosses it
    /// gets ACK and BYE.
    Cancel {
        /// The outbound usage.
        leg: LegId,
        /// Reason header.
        reason: Option<Reason>,
    },
    /// Ends an established usage with BYE.
    Bye {
        /// The usage, either direction.
        leg: LegId,
        /// Reason header.
        reason: Option<Reason>,
    },
    /// Answers the peer's re-INVITE with 200.
    AcceptReinvite {
        /// The usage.
        leg: LegId,
        /// Our answer (or our offer, where the re-INVITE had none).
        sdp: Bytes,
    },
    /// Refuses the peer's re-INVITE; the session goes on as it was.
    RefuseReinvite {
        /// The usage.
        leg: LegId,
        /// The response.
        refusal: Refusal,
    },
    /// Answers OPTIONS and new INVITEs with 503 from now on.
    Drain {
        /// The Retry-After given to peers.
        retry_after: Duration,
    },
}

/// What happened on the trunk side, for the call room.
#[derive(Debug, Clone)]
pub enum Event {
    /// A new INVITE was admitted; 100 was sent.
    Invited(Box<Invitation>),
    /// The caller gave up before our final response. CANCEL got 200 and the INVITE 487 already; the usage is over.
    Cancelled {
        /// The usage.
        leg: LegId,
        /// The Reason of the CANCEL, such as "call completed elsewhere".
        reason: Option<Reason>,
    },
    /// Our 200 was acknowledged.
    Acknowledged {
        /// The usage.
        leg: LegId,
        /// The session description in the ACK: the answer to our late offer.
        sdp: Option<Bytes>,
    },
    /// The callee sent a provisional response.
    Progressed {
        /// The outbound usage.
        leg: LegId,
        /// 101–199.
        status: StatusCode,
        /// Early media's session description.
        sdp: Option<Bytes>,
    },
    /// The callee accepted; the ACK is sent already.
    Accepted {
        /// The outbound usage.
        leg: LegId,
        /// The answer, where this response or an earlier reliable one carried it.
        sdp: Option<Bytes>,
    },
    /// The outbound INVITE failed on every target, or was cancelled (487). The usage is over.
    Refused {
        /// The usage.
        leg: LegId,
        /// The final status; 408 for silence, 503 for no reachable target.
        status: StatusCode,
        /// Reason header.
        reason: Option<Reason>,
    },
    /// The peer sent a re-INVITE (or UPDATE with an offer); answer with `AcceptReinvite` or `RefuseReinvite`.
    Reinvited {
        /// The usage.
        leg: LegId,
        /// The new offer; `None` asks for ours.
        offer: Option<Bytes>,
    },
    /// The usage is over: BYE from the peer, no ACK for 64·T1 (BYE was sent), or 481/408 in the dialog.
    Ended {
        /// The usage.
        leg: LegId,
        /// Who or what ended it.
        cause: EndCause,
        /// The Reason of a BYE.
        reason: Option<Reason>,
    },
}

/// How an established usage ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndCause {
    /// The peer sent BYE.
    PeerBye,
    /// Nobody acknowledged our 200 within 64·T1 (RFC 3261 13.3.1.4).
    NoAck,
    /// The peer does not know the dialog any more (481), or answers nothing (408).
    DialogLost,
    /// Our own BYE is done with.
    LocalBye,
}
