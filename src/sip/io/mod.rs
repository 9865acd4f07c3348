//! SIP's sockets: UDP, TCP, TLS, and names. What a message means is decided elsewhere; here are bytes and flows.
//!
//! [`Transports`] belongs to the SIP task, which alone calls it. One task for each socket reads; one for each stream
//! connection writes, from a queue bounded in bytes.

pub mod config;
mod connection;
pub mod dns;
mod memory;
mod patience;
pub mod resolve;
pub mod stream;
pub mod task;
pub mod tls;
pub mod udp;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rustls::pki_types::ServerName;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::ids::TrunkName;
use crate::limits;
use crate::sip::ConnectionId;
use crate::sip::Flow;
use crate::sip::Transport;
use crate::sip::io::connection::Connection;
use crate::sip::io::dns::Dns;
use crate::sip::io::memory::Memory;
use crate::sip::io::stream::Streams;
use crate::sip::io::tls::Tls;
use crate::sip::io::tls::TlsClients;
use crate::sip::io::udp::UdpPort;
use crate::sip::quirk::QuirkFired;
use crate::sip::user_agent::Target;

pub use config::Bind;
pub use config::BindError;
pub use config::Config;
pub use config::Crossing;
pub use config::MessageTap;
pub use config::QuirkTap;
pub use config::TrunkFilter;

/// What the sockets brought.
#[derive(Debug)]
pub enum Inbound {
    /// A datagram, or one message of a stream: for [`crate::sip::message::sanity::admit`].
    Message {
        /// Where it came from, and where an answer goes.
        flow: Flow,
        /// The bytes.
        bytes: Bytes,
    },
    /// A stream connection is up, from either side.
    Opened {
        /// It, with its number.
        flow: Flow,
    },
    /// A stream connection is gone; what was queued for it is lost.
    Closed {
        /// It.
        flow: Flow,
        /// Why.
        reason: CloseReason,
    },
    /// A trunk's targets, given as names, have these addresses now.
    Resolved {
        /// The trunk.
        trunk: TrunkName,
        /// In the order in which they are tried.
        targets: Vec<Target>,
        /// Which of them must bear which name in their certificate.
        names: BTreeMap<SocketAddr, ServerName<'static>>,
    },
    /// What was sent on this flow cannot get there.
    SendFailed {
        /// The flow as given to [`Transports::send`].
        flow: Flow,
        /// Why.
        error: io::Error,
    },
}

/// Why a stream connection closed.
#[derive(Debug, thiserror::Error)]
pub enum CloseReason {
    /// The peer closed it.
    #[error("closed by the peer")]
    Peer,
    /// [`Transports::close`], or the end of the program.
    #[error("closed by us")]
    Local,
    /// Nothing came or went for the idle timeout.
    #[error("idle")]
    Idle,
    /// A peer that answered pings answered no more.
    #[error("no answer to a ping")]
    NoPong,
    /// A message began and did not end in time.
    #[error("message not finished in time")]
    MessageTimeout,
    /// The peer does not read: a write made no progress, or the queue is full.
    #[error("peer does not read")]
    NotReading,
    /// Where the next message begins is unknown; the peer was told 400 or 513.
    #[error("framing lost")]
    Framing,
    /// The operating system's word.
    #[error("connection failed")]
    Io(#[source] io::Error),
}

/// A message of a task to [`Transports::recv`].
pub(crate) enum Internal {
    Inbound(Inbound),
    Accepted(Connection),
}

/// All sockets of SIP.
pub struct Transports {
    udp: Vec<UdpPort>,
    streams: Streams,
    connections: BTreeMap<ConnectionId, Connection>,
    inbound: mpsc::Receiver<Internal>,
    memory: Memory,
    /// Failures of `send`, for the next `recv`. Bounded by the sends between two receives.
    failed: Vec<(Flow, io::Error)>,
    tcp_addresses: Vec<SocketAddr>,
    tls_addresses: Vec<SocketAddr>,
    tls_clients: TlsClients,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl fmt::Debug for Transports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transports")
            .field("udp", &self.udp_addresses())
            .field("tcp", &self.tcp_addresses)
            .field("tls", &self.tls_addresses)
            .finish_non_exhaustive()
    }
}

impl Transports {
    /// Binds every socket and begins to read. The first that cannot be had is the error, and none stays bound.
    pub async fn bind(mut config: Config) -> Result<Self, BindError> {
        let (sender, inbound) = mpsc::channel(limits::SIP_INBOUND);
        let tasks = TaskTracker::new();
        let stop = CancellationToken::new();
        let mut secure = Tls::read(std::mem::take(&mut config.tls_files))?;
        if let (Some(bind), None) = (config.tls.first(), &secure.server) {
            return Err(BindError::NoCertificate { key: bind.key.clone(), address: bind.address });
        }
        let mut udp = Vec::new();
        for bind in &config.udp {
            udp.push(UdpPort::bind(bind.address).await.map_err(bind.failed(Transport::Udp))?);
        }
        let listen = |bind: &Bind, transport| stream::listen(bind.address).map_err(bind.failed(transport));
        let tcp = config.tcp.iter().map(|bind| listen(bind, Transport::Tcp)).collect::<Result<Vec<_>, _>>()?;
        let tls = config.tls.iter().map(|bind| listen(bind, Transport::Tls)).collect::<Result<Vec<_>, _>>()?;
        for port in &udp {
            tasks.spawn(port.clone().receive(sender.clone(), stop.clone()));
        }
        tasks.spawn(secure.watch(stop.clone()));
        for places in std::mem::take(&mut config.places) {
            let chance = StdRng::seed_from_u64(config.chance.wrapping_add(tasks.len() as u64));
            let dns = Dns::new(&config.nameservers, chance);
            tasks.spawn(resolve::keep(places, dns, sender.clone(), stop.clone()));
        }
        let addresses = |listeners: &[TcpListener]| listeners.iter().filter_map(|one| one.local_addr().ok()).collect();
        let (tcp_addresses, tls_addresses) = (addresses(&tcp), addresses(&tls));
        let streams = Streams {
            connections: Arc::new(Semaphore::new(config.connections_max)),
            strangers: Arc::new(Semaphore::new(config.strangers_max)),
            next_id: Arc::new(AtomicU64::new(1)),
            config: Arc::new(config),
            tls: secure.server,
            inbound: sender,
            tasks: tasks.clone(),
            stop: stop.clone(),
        };
        let listeners = tcp.into_iter().map(|listener| (listener, Transport::Tcp));
        for (listener, transport) in listeners.chain(tls.into_iter().map(|listener| (listener, Transport::Tls))) {
            tasks.spawn(streams.clone().accept(listener, transport));
        }
        Ok(Self {
            udp,
            streams,
            connections: BTreeMap::new(),
            inbound,
            memory: Memory::default(),
            failed: Vec::new(),
            tcp_addresses,
            tls_addresses,
            tls_clients: secure.clients,
            tasks,
            stop,
        })
    }

    /// Our UDP addresses, as bound.
    pub fn udp_addresses(&self) -> Vec<SocketAddr> {
        self.udp.iter().map(UdpPort::local).collect()
    }

    /// Our TCP addresses, as bound.
    pub fn tcp_addresses(&self) -> &[SocketAddr] {
        &self.tcp_addresses
    }

    /// Our TLS addresses, as bound.
    pub fn tls_addresses(&self) -> &[SocketAddr] {
        &self.tls_addresses
    }

    /// What came next. Cancel-safe: a dropped call loses nothing.
    pub async fn recv(&mut self) -> Inbound {
        loop {
            if let Some((flow, error)) = self.failed.pop() {
                return Inbound::SendFailed { flow, error };
            }
            match self.next().await {
                Some(Internal::Inbound(Inbound::Closed { flow, reason })) => {
                    flow.connection.and_then(|id| self.connections.remove(&id));
                    return Inbound::Closed { flow, reason };
                }
                Some(Internal::Inbound(Inbound::Resolved { trunk, targets, names })) => {
                    self.tls_clients.set_target_names(&trunk, names.clone());
                    return Inbound::Resolved { trunk, targets, names };
                }
                Some(Internal::Inbound(Inbound::Message { flow, bytes })) => {
                    (self.streams.config.tap)(Crossing::Received, &flow, &bytes);
                    return Inbound::Message { flow, bytes };
                }
                Some(Internal::Inbound(inbound)) => return inbound,
                Some(Internal::Accepted(connection)) => {
                    let flow = connection.flow;
                    flow.connection.map(|id| self.connections.insert(id, connection));
                    return Inbound::Opened { flow };
                }
                // `streams` holds a sender, so the channel does not close while we are here.
                None => std::future::pending().await,
            }
        }
    }

    /// What the sockets brought, and what we sent to ourselves, by turns.
    async fn next(&mut self) -> Option<Internal> {
        let ours = |bytes| Internal::Inbound(Inbound::Message { flow: Flow::MEMORY, bytes });
        if let Some(bytes) = self.memory.pop_in_turn() {
            return Some(ours(bytes));
        }
        if let Ok(internal) = self.inbound.try_recv() {
            self.memory.give_turn();
            return Some(internal);
        }
        match self.memory.pop() {
            Some(bytes) => Some(ours(bytes)),
            None => self.inbound.recv().await,
        }
    }

    /// Sends a message. Never waits; a failure comes out of [`Transports::recv`].
    ///
    /// A stream's flow without connection takes one that is open to that remote address, else opens one.
    pub fn send(&mut self, flow: Flow, bytes: &Bytes) {
        let sent = match flow.transport {
            Transport::Udp => self.send_datagram(flow, bytes),
            Transport::Tcp | Transport::Tls => self.send_on_stream(flow, bytes.clone()),
            Transport::Memory => {
                self.memory.push(bytes.clone());
                Ok(())
            }
        };
        match sent {
            Ok(()) => (self.streams.config.tap)(Crossing::Sent, &flow, bytes),
            Err(error) => self.failed.push((flow, error)),
        }
    }

    fn send_datagram(&self, flow: Flow, bytes: &[u8]) -> io::Result<()> {
        let port = self.udp.iter().find(|port| port.local() == flow.local);
        port.ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))?.send(flow.remote, bytes)
    }

    fn send_on_stream(&mut self, flow: Flow, bytes: Bytes) -> io::Result<()> {
        let open = match flow.connection {
            Some(id) => Some(self.connections.get(&id).ok_or(io::ErrorKind::NotConnected)?),
            None => self.connections.values().find(|connection| {
                let path = connection.flow;
                (path.transport, path.remote) == (flow.transport, flow.remote) && connection.is_open()
            }),
        };
        if let Some(connection) = open {
            return connection.enqueue(bytes, self.streams.config.queue_bytes_max);
        }
        let tls = match flow.transport {
            Transport::Udp | Transport::Tcp | Transport::Memory => None,
            Transport::Tls => Some(self.tls_clients.for_remote(flow.remote).ok_or(io::ErrorKind::Unsupported)?),
        };
        let connection = self.streams.connect(flow, tls)?;
        connection.enqueue(bytes, self.streams.config.queue_bytes_max)?;
        connection.flow.connection.map(|id| self.connections.insert(id, connection));
        Ok(())
    }

    /// Shows a quirk that fired to whom it may concern.
    pub(super) fn show_quirk(&self, fired: &QuirkFired) {
        (self.streams.config.quirk_tap)(fired);
    }

    /// Closes a stream connection once what is queued for it is written.
    pub fn close(&mut self, flow: Flow) {
        if let Some(connection) = flow.connection.and_then(|id| self.connections.get(&id)) {
            connection.close();
        }
    }

    /// Holds a stream connection open past the idle timeout, while a call lives on it; or lets it go.
    pub fn hold(&mut self, flow: Flow, held: bool) {
        if let Some(connection) = flow.connection.and_then(|id| self.connections.get(&id)) {
            connection.hold(held);
        }
    }

    /// Holds exactly these connections, and lets the others go.
    pub fn hold_only(&mut self, held: &BTreeSet<ConnectionId>) {
        for (id, connection) in &self.connections {
            connection.hold(held.contains(id));
        }
    }

    /// Stops reading, writes what is queued, and waits for every task.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        self.connections.clear();
        self.inbound.close();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Transports {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    const PING: &str = "OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/TCP c;branch=z9hG4bK1\r\nl: 0\r\n\r\n";

    fn bind(key: &str) -> Bind {
        Bind { address: "127.0.0.1:0".parse().unwrap(), key: key.to_owned() }
    }

    fn config() -> Config {
        Config {
            udp: vec![bind("sip.udp")],
            tcp: vec![bind("sip.tcp")],
            is_trunk: Arc::new(|_| true),
            ..Config::default()
        }
    }

    async fn up(config: Config) -> Transports {
        Transports::bind(config).await.unwrap()
    }

    fn tcp_flow(from: &Transports, to: SocketAddr) -> Flow {
        Flow { transport: Transport::Tcp, local: from.tcp_addresses()[0], remote: to, connection: None }
    }

    async fn message(transports: &mut Transports) -> (Flow, Bytes) {
        loop {
            match transports.recv().await {
                Inbound::Message { flow, bytes } => return (flow, bytes),
                Inbound::Opened { .. } | Inbound::SendFailed { .. } | Inbound::Resolved { .. } => {}
                other @ Inbound::Closed { .. } => panic!("{other:?}"),
            }
        }
    }

    async fn closed(transports: &mut Transports) -> CloseReason {
        loop {
            if let Inbound::Closed { reason, .. } = transports.recv().await {
                return reason;
            }
        }
    }

    async fn rest(stream: &mut TcpStream) -> String {
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn datagrams_cross_and_come_back() {
        let (mut one, mut two) = (up(config()).await, up(config()).await);
        let flow = Flow {
            transport: Transport::Udp,
            local: one.udp_addresses()[0],
            remote: two.udp_addresses()[0],
            connection: None,
        };
        one.send(flow, &Bytes::from_static(b"hello"));
        let (back, bytes) = message(&mut two).await;
        assert_eq!(&bytes[..], b"hello");
        two.send(back, &Bytes::from_static(b"you"));
        assert_eq!(message(&mut one).await, (flow, Bytes::from_static(b"you")));
        one.shutdown().await;
    }

    #[tokio::test]
    async fn what_we_send_to_ourselves_comes_back_by_turns_with_what_the_sockets_bring() {
        let (mut one, mut two) = (up(config()).await, up(config()).await);
        let seen = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counted = Arc::clone(&seen);
        let tap: MessageTap = Arc::new(move |_, flow, _| {
            assert_eq!(*flow, Flow::MEMORY);
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        });
        let mut alone = up(Config { tap, ..config() }).await;
        alone.send(Flow::MEMORY, &Bytes::from_static(b"hello"));
        assert_eq!(message(&mut alone).await, (Flow::MEMORY, Bytes::from_static(b"hello")));
        assert_eq!(seen.load(std::sync::atomic::Ordering::Relaxed), 2, "sent, and received");

        for _ in 0..3 {
            one.send(Flow::MEMORY, &Bytes::from_static(b"ours"));
        }
        let flow = Flow {
            transport: Transport::Udp,
            local: two.udp_addresses()[0],
            remote: one.udp_addresses()[0],
            connection: None,
        };
        two.send(flow, &Bytes::from_static(b"theirs"));
        assert_eq!(message(&mut one).await.1, "ours");
        // The datagram is read by a task of its own: it is there once something else has come.
        let mut order = Vec::new();
        while order.len() < 3 {
            order.push(message(&mut one).await.1);
            tokio::task::yield_now().await;
        }
        assert!(order.contains(&Bytes::from_static(b"theirs")), "{order:?}");
        two.shutdown().await;
    }

    #[tokio::test]
    async fn a_taken_port_is_named_with_its_key() {
        let first = up(config()).await;
        for (udp, tcp, key) in [
            (first.udp_addresses()[0], None, "a.udp"),
            ("127.0.0.1:0".parse().unwrap(), Some(first.tcp_addresses()[0]), "a.tcp"),
        ] {
            let config = Config {
                udp: vec![Bind { address: udp, key: "a.udp".to_owned() }],
                tcp: tcp.map(|address| Bind { address, key: "a.tcp".to_owned() }).into_iter().collect(),
                ..Config::default()
            };
            let error = Transports::bind(config).await.unwrap_err();
            let in_use = |source: &io::Error| source.kind() == io::ErrorKind::AddrInUse;
            let is_so = |key: &str, error: &BindError| matches!(error, BindError::Socket { key: named, source, .. } if named == key && in_use(source));
            assert!(is_so(key, &error), "{error}");
            assert!(error.to_string().contains(&tcp.unwrap_or(udp).to_string()), "{error}");
        }
    }

    #[tokio::test]
    async fn one_connection_serves_every_message_to_a_peer_both_ways() {
        let (mut one, mut two) = (up(config()).await, up(config()).await);
        let flow = tcp_flow(&one, two.tcp_addresses()[0]);
        one.send(flow, &PING.into());
        one.send(flow, &PING.into());
        let (first, _) = message(&mut two).await;
        let (second, _) = message(&mut two).await;
        assert_eq!(first, second);
        two.send(first, &PING.into());
        let (reply, bytes) = message(&mut one).await;
        assert_eq!((reply.remote, &bytes[..]), (flow.remote, PING.as_bytes()));
        one.send(reply, &PING.into());
        assert_eq!(message(&mut two).await.0, first);
        one.close(reply);
        assert!(matches!(closed(&mut two).await, CloseReason::Peer));
        assert!(matches!(closed(&mut one).await, CloseReason::Local));
        one.send(reply, &PING.into());
        assert!(
            matches!(one.recv().await, Inbound::SendFailed { error, .. } if error.kind() == io::ErrorKind::NotConnected)
        );
    }

    #[tokio::test]
    async fn a_peer_that_refuses_is_a_failed_send() {
        let mut one = up(config()).await;
        // Bound and never listening, so that nobody else takes the port.
        let idle = tokio::net::TcpSocket::new_v4().unwrap();
        idle.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let flow = tcp_flow(&one, idle.local_addr().unwrap());
        one.send(flow, &PING.into());
        let Inbound::SendFailed { flow: failed, error } = one.recv().await else { panic!("a failure") };
        assert_eq!((failed, error.kind()), (flow, io::ErrorKind::ConnectionRefused));
        assert!(matches!(closed(&mut one).await, CloseReason::Io(_)));
    }

    #[tokio::test]
    async fn pings_are_answered_and_a_bad_message_of_known_framing_closes_nothing() {
        let mut ours = up(config()).await;
        let mut peer = TcpStream::connect(ours.tcp_addresses()[0]).await.unwrap();
        peer.write_all(b"\r\n\r\n").await.unwrap();
        let mut pong = [0; 2];
        peer.read_exact(&mut pong).await.unwrap();
        assert_eq!(&pong, b"\r\n");
        peer.write_all(format!("rubbish\r\nl: 0\r\n\r\n{PING}").as_bytes()).await.unwrap();
        assert!(message(&mut ours).await.1.starts_with(b"rubbish"));
        assert_eq!(&message(&mut ours).await.1[..], PING.as_bytes());
    }

    #[tokio::test]
    async fn lost_framing_is_told_400_and_closed() {
        let mut ours = up(config()).await;
        let mut peer = TcpStream::connect(ours.tcp_addresses()[0]).await.unwrap();
        let endless = PING.replace("l: 0", "Content-Length: -5");
        peer.write_all(format!("{endless}{PING}{PING}").as_bytes()).await.unwrap();
        let answer = rest(&mut peer).await;
        assert!(
            answer.starts_with(
                "SIP/2.0 400 Bad Request: malformed Content-Length\r\nVia: SIP/2.0/TCP c;branch=z9hG4bK1\r\n"
            ),
            "{answer}"
        );
        drop(peer);
        assert!(matches!(closed(&mut ours).await, CloseReason::Framing));
    }

    #[tokio::test]
    async fn strangers_are_few_and_short() {
        let mut ours = up(Config {
            is_trunk: Arc::new(|_| false),
            tap: Arc::new(|_, _, _| {}),
            strangers_max: 1,
            message_timeout: Duration::from_millis(200),
            ..config()
        })
        .await;
        let mut first = TcpStream::connect(ours.tcp_addresses()[0]).await.unwrap();
        first.write_all(PING.as_bytes()).await.unwrap();
        message(&mut ours).await;
        let mut second = TcpStream::connect(ours.tcp_addresses()[0]).await.unwrap();
        assert_eq!(rest(&mut second).await, "");
        assert!(matches!(closed(&mut ours).await, CloseReason::Idle));
        assert_eq!(rest(&mut first).await, "");
    }

    #[tokio::test]
    async fn what_we_send_last_arrives_before_the_close() {
        let mut ours = up(config()).await;
        let mut peer = TcpStream::connect(ours.tcp_addresses()[0]).await.unwrap();
        peer.write_all(format!("{PING}{PING}OPTIONS unfinished").as_bytes()).await.unwrap();
        let (flow, _) = message(&mut ours).await;
        ours.send(flow, &Bytes::from_static(b"SIP/2.0 403 Forbidden\r\n\r\n"));
        ours.close(flow);
        assert_eq!(rest(&mut peer).await, "SIP/2.0 403 Forbidden\r\n\r\n");
    }

    #[tokio::test]
    async fn an_unfinished_message_and_an_idle_stream_time_out() {
        let short =
            Config { message_timeout: Duration::from_millis(50), idle_timeout: Duration::from_millis(100), ..config() };
        let mut ours = up(short).await;
        let mut peer = TcpStream::connect(ours.tcp_addresses()[0]).await.unwrap();
        peer.write_all(b"OPTIONS").await.unwrap();
        assert!(matches!(closed(&mut ours).await, CloseReason::MessageTimeout));
        let idle = TcpStream::connect(ours.tcp_addresses()[0]).await.unwrap();
        assert!(matches!(closed(&mut ours).await, CloseReason::Idle));
        drop(idle);
    }

    #[tokio::test]
    async fn a_peer_that_does_not_read_is_closed_and_others_live() {
        let mut ours = up(Config { queue_bytes_max: 200_000, ..config() }).await;
        let mut deaf = TcpStream::connect(ours.tcp_addresses()[0]).await.unwrap();
        deaf.write_all(PING.as_bytes()).await.unwrap();
        let (flow, _) = message(&mut ours).await;
        // More than any kernel buffer holds; the queue's bound stops it early.
        let block = Bytes::from(vec![b'x'; 60_000]);
        for _ in 0..1_000 {
            ours.send(flow, &block);
            tokio::task::yield_now().await;
        }
        assert!(matches!(closed(&mut ours).await, CloseReason::NotReading));
        let mut other = TcpStream::connect(ours.tcp_addresses()[0]).await.unwrap();
        other.write_all(PING.as_bytes()).await.unwrap();
        assert_eq!(message(&mut ours).await.0.remote, other.local_addr().unwrap());
        drop(deaf);
    }

    #[tokio::test]
    async fn an_idle_trunk_connection_is_pinged_and_the_answer_is_no_message() {
        let mut ours = up(Config { keep_alive: Some(Duration::from_millis(30)), ..config() }).await;
        let mut peer = TcpStream::connect(ours.tcp_addresses()[0]).await.unwrap();
        for _ in 0..3 {
            let mut ping = [0; 4];
            peer.read_exact(&mut ping).await.unwrap();
            assert_eq!(&ping, b"\r\n\r\n", "a ping, and never the answer to our own pong");
            peer.write_all(b"\r\n").await.unwrap();
        }
        peer.write_all(PING.as_bytes()).await.unwrap();
        assert_eq!(&message(&mut ours).await.1[..], PING.as_bytes());
    }

    #[tokio::test]
    async fn a_peer_that_answers_pings_no_more_is_closed() {
        let short =
            Config { keep_alive: Some(Duration::from_millis(30)), pong_timeout: Duration::from_millis(30), ..config() };
        let mut ours = up(short).await;
        let mut peer = TcpStream::connect(ours.tcp_addresses()[0]).await.unwrap();
        peer.read_exact(&mut [0; 4]).await.unwrap();
        peer.write_all(b"\r\n").await.unwrap();
        assert!(matches!(closed(&mut ours).await, CloseReason::NoPong));
    }

    #[tokio::test]
    async fn a_connection_that_a_call_lives_on_does_not_idle_out() {
        let short = Config { idle_timeout: Duration::from_millis(200), keep_alive: None, ..config() };
        let mut ours = up(short).await;
        let (mut held, mut free) = (Vec::new(), Vec::new());
        for kept in [&mut held, &mut free] {
            let mut peer = TcpStream::connect(ours.tcp_addresses()[0]).await.unwrap();
            peer.write_all(PING.as_bytes()).await.unwrap();
            kept.push((message(&mut ours).await.0, peer));
        }
        ours.hold_only(&held.iter().filter_map(|(flow, _)| flow.connection).collect());
        let Inbound::Closed { flow, reason } = ours.recv().await else { panic!("closed") };
        assert!(flow == free[0].0 && matches!(reason, CloseReason::Idle));
        // Past its own idle timeout the held one still takes messages; let go, it idles out.
        held[0].1.write_all(PING.as_bytes()).await.unwrap();
        assert_eq!(message(&mut ours).await.0, held[0].0);
        ours.hold_only(&BTreeSet::new());
        assert!(matches!(closed(&mut ours).await, CloseReason::Idle));
    }

    async fn trickle(mut peer: TcpStream) {
        let mut pause = tokio::time::interval(Duration::from_millis(10));
        while peer.write_all(b"x").await.is_ok() {
            pause.tick().await;
        }
    }

    #[tokio::test]
    async fn a_trickle_of_bytes_is_closed_when_its_message_is_due() {
        let mut ours = up(Config { message_timeout: Duration::from_millis(200), ..config() }).await;
        let peer = TcpStream::connect(ours.tcp_addresses()[0]).await.unwrap();
        let trickling = tokio::spawn(trickle(peer));
        let reason = closed(&mut ours).await;
        trickling.await.unwrap();
        assert!(matches!(reason, CloseReason::MessageTimeout), "{reason:?}");
    }

    #[tokio::test]
    async fn connections_past_the_cap_are_closed_unread_and_the_first_goes_on() {
        let mut ours = up(Config { connections_max: 1, ..config() }).await;
        let mut first = TcpStream::connect(ours.tcp_addresses()[0]).await.unwrap();
        first.write_all(PING.as_bytes()).await.unwrap();
        let (flow, _) = message(&mut ours).await;
        let mut second = TcpStream::connect(ours.tcp_addresses()[0]).await.unwrap();
        assert_eq!(rest(&mut second).await, "");
        first.write_all(PING.as_bytes()).await.unwrap();
        assert_eq!(message(&mut ours).await.0, flow);
    }

    #[tokio::test]
    async fn a_request_in_a_body_is_a_body_however_its_length_is_spelt() {
        let mut ours = up(config()).await;
        let mut peer = TcpStream::connect(ours.tcp_addresses()[0]).await.unwrap();
        let outer = PING.replace("l: 0", &format!("Content-Length : {}", PING.len())) + PING;
        peer.write_all(format!("{outer}{PING}").as_bytes()).await.unwrap();
        assert_eq!(&message(&mut ours).await.1[..], outer.as_bytes());
        assert_eq!(&message(&mut ours).await.1[..], PING.as_bytes());
    }

    #[tokio::test]
    async fn a_head_without_end_is_told_513_and_closed() {
        let mut ours = up(config()).await;
        let mut peer = TcpStream::connect(ours.tcp_addresses()[0]).await.unwrap();
        let bomb = format!("{}X: {}", PING.replace("\r\n\r\n", "\r\n"), "x".repeat(limits::SIP_MESSAGE_BYTES_MAX));
        let (mut reader, mut writer) = peer.split();
        let mut answer = String::new();
        let (_written, read) = tokio::join!(writer.write_all(bomb.as_bytes()), reader.read_to_string(&mut answer));
        assert!(read.is_ok() && answer.starts_with("SIP/2.0 513 "), "{read:?} {answer}");
        assert!(matches!(closed(&mut ours).await, CloseReason::Framing));
    }
}
