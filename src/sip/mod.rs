//! SIP (RFC 3261): messages, transactions, dialogs and the user agent, all sans-IO.
//!
//! What the rest of the house sees of this room is [`Command`] and [`Event`]. It knows nothing of
//! browsers, media or calls; a body is bytes.

pub mod command;
pub mod dialog;
pub mod digest;
pub mod event;
pub mod io;
pub mod message;
pub mod quirk;
pub mod registration;
pub mod transaction;
pub mod user_agent;

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use crate::pii::Pii;

pub use command::Command;
pub use command::Diversion;
pub use command::OutgoingInvite;
pub use command::ReferTarget;
pub use event::EndCause;
pub use event::Event;
pub use event::Invitation;
pub use event::ReferTo;

/// Where a message came from or goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// Datagrams (RFC 3261 18): at most 65,535 bytes, unreliable.
    Udp,
    /// A TCP stream.
    Tcp,
    /// TLS over TCP (RFC 3261 26.2.1).
    Tls,
    /// This process's own memory: what we send to ourselves, by [`Flow::MEMORY`]. No socket has it, so nobody outside can
    /// speak on it, and no name leads to it.
    Memory,
}

impl Transport {
    /// Whether the transport itself repeats what is lost, or loses nothing (RFC 3261 17).
    pub const fn is_reliable(self) -> bool {
        match self {
            Self::Udp => false,
            Self::Tcp | Self::Tls | Self::Memory => true,
        }
    }

    /// Its name in a Via (RFC 3261 20.42).
    pub const fn via_name(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Memory => "MEMORY",
        }
    }

    /// Its name in a URI's `transport` parameter, and in our configuration.
    pub const fn uri_name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Memory => "memory",
        }
    }

    /// The transport of that name, in any case. [`Self::Memory`] has none that anybody could write.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Udp, Self::Tcp, Self::Tls].into_iter().find(|transport| transport.uri_name().eq_ignore_ascii_case(name))
    }

    /// The port of a URI or Via without one (RFC 3261 18.2.2, 19.1.2).
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp | Self::Memory => 5060,
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

impl Flow {
    /// The path to ourselves. Its address is the dummy of RFC 7600, which no host has.
    pub const MEMORY: Self = {
        let nobody = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 0, 8)), 5060);
        Self { transport: Transport::Memory, local: nobody, remote: nobody, connection: None }
    };
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
