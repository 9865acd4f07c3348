//! What the sockets need to know.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::limits;
use crate::sip::Flow;
use crate::sip::Transport;
use crate::sip::io::resolve::TrunkPlaces;
use crate::sip::io::tls;
use crate::sip::io::tls::TlsError;
use crate::sip::quirk::QuirkFired;

/// An address to listen on.
#[derive(Debug, Clone)]
pub struct Bind {
    /// The address; port 0 takes a free one.
    pub address: SocketAddr,
    /// The configuration key that it came from, for the error.
    pub key: String,
}

impl Bind {
    /// Says that this could not be had.
    pub(super) fn failed(&self, transport: Transport) -> impl FnOnce(io::Error) -> BindError + use<> {
        let (key, address) = (self.key.clone(), self.address);
        move |source| BindError::Socket { key, address, transport, source }
    }
}

/// Says whether an address is in some trunk's networks.
pub type TrunkFilter = Arc<dyn Fn(IpAddr) -> bool + Send + Sync>;

/// Which way a message crossed a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crossing {
    /// It came.
    Received,
    /// It was handed to the socket, or to its connection's queue.
    Sent,
}

/// Sees every message that crosses a socket. Must not wait.
pub type MessageTap = Arc<dyn Fn(Crossing, &Flow, &Bytes) + Send + Sync>;

/// Sees every quirk that fires. Must not wait.
pub type QuirkTap = Arc<dyn Fn(&QuirkFired) + Send + Sync>;

/// What the sockets need to know.
#[derive(Clone)]
pub struct Config {
    /// UDP sockets.
    pub udp: Vec<Bind>,
    /// TCP listeners.
    pub tcp: Vec<Bind>,
    /// TLS listeners; they need [`tls::Config::server`].
    pub tls: Vec<Bind>,
    /// Certificates and trust.
    pub tls_files: tls::Config,
    /// Trunks whose targets are names.
    pub places: Vec<TrunkPlaces>,
    /// Whom to ask for names; the system's where empty.
    pub nameservers: Vec<SocketAddr>,
    /// Who may hold more than a moment's connection.
    pub is_trunk: TrunkFilter,
    /// Who sees every message.
    pub tap: MessageTap,
    /// Who sees every quirk that fires.
    pub quirk_tap: QuirkTap,
    /// Connections at once.
    pub connections_max: usize,
    /// Connections at once from outside the trunks' networks.
    pub strangers_max: usize,
    /// Bytes waiting for one connection; past it the connection closes.
    pub queue_bytes_max: usize,
    /// From the first byte of a message to its last.
    pub message_timeout: Duration,
    /// Without any traffic, unless the connection is held.
    pub idle_timeout: Duration,
    /// Of one write without progress.
    pub write_timeout: Duration,
    /// Of opening a connection, TLS included.
    pub connect_timeout: Duration,
    /// Of a peer's TLS handshake.
    pub handshake_timeout: Duration,
    /// Between pings on an idle connection of a trunk; `None` sends none.
    pub keep_alive: Option<Duration>,
    /// From a ping to its answer, of a peer that answered one before.
    pub pong_timeout: Duration,
    /// Spreads pings over time: a random number of this run.
    pub chance: u64,
}

impl Default for Config {
    /// No sockets, the bounds of [`crate::limits`], and nobody trusted.
    fn default() -> Self {
        Self {
            udp: Vec::new(),
            tcp: Vec::new(),
            tls: Vec::new(),
            tls_files: tls::Config::default(),
            places: Vec::new(),
            nameservers: Vec::new(),
            is_trunk: Arc::new(|_| false),
            tap: Arc::new(|_, _, _| {}),
            quirk_tap: Arc::new(|_| {}),
            connections_max: limits::SIP_STREAM_CONNECTIONS_MAX,
            strangers_max: limits::SIP_STREAM_STRANGERS_MAX,
            queue_bytes_max: limits::SIP_STREAM_QUEUE_BYTES_MAX,
            message_timeout: limits::SIP_STREAM_MESSAGE_TIMEOUT,
            idle_timeout: limits::SIP_STREAM_IDLE_TIMEOUT,
            write_timeout: limits::SIP_STREAM_WRITE_TIMEOUT,
            connect_timeout: limits::SIP_STREAM_CONNECT_TIMEOUT,
            handshake_timeout: limits::SIP_TLS_HANDSHAKE_TIMEOUT,
            keep_alive: Some(limits::SIP_STREAM_KEEP_ALIVE),
            pong_timeout: limits::SIP_STREAM_PONG_TIMEOUT,
            chance: 0,
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("udp", &self.udp)
            .field("tcp", &self.tcp)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

/// SIP cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A socket could not be had.
    #[error("cannot listen on {transport:?} {address}, set by `{key}`")]
    Socket {
        /// The configuration key.
        key: String,
        /// The address.
        address: SocketAddr,
        /// Which transport.
        transport: Transport,
        /// The operating system's word, such as "address in use".
        #[source]
        source: io::Error,
    },
    /// A certificate, key or authority cannot be used.
    #[error("TLS for SIP cannot be set up")]
    Tls(#[from] TlsError),
    /// A TLS listener without certificate.
    #[error("cannot listen with TLS on {address} without a certificate, set by `{key}`")]
    NoCertificate {
        /// The configuration key.
        key: String,
        /// The address.
        address: SocketAddr,
    },
}
