//! TCP and TLS: listeners, and connections of either side.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::sip::ConnectionId;
use crate::sip::Flow;
use crate::sip::Transport;
use crate::sip::io::CloseReason;
use crate::sip::io::Config;
use crate::sip::io::Inbound;
use crate::sip::io::Internal;
use crate::sip::io::connection::Connection;
use crate::sip::io::connection::Reader;
use crate::sip::io::connection::Writer;
use crate::sip::io::connection::write;
use crate::sip::io::patience::Expired;
use crate::sip::io::patience::Patience;
use crate::sip::io::patience::Times;
use crate::sip::io::patience::Took;
use crate::sip::io::tls::TlsClient;
use crate::sip::io::tls::TlsServer;
use crate::sip::message::framing::{Framed, StreamFramer};
use crate::sip::message::sanity;
use crate::telemetry::metrics::{SIP_CONNECTIONS_REFUSED, SIP_FRAMING_LOST, SIP_TLS_HANDSHAKES_FAILED};

/// Bytes of one read.
const READ_BYTES: usize = 16_384;
/// Connections that the kernel holds until we accept them.
const BACKLOG: i32 = 1_024;

/// How long nobody is accepted after a failure: out of descriptors, accepting again at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a closed connection is still read.
const LINGER: Duration = Duration::from_millis(500);
/// Keeps a connection alive, and asks the peer to say that it lives (RFC 5626 3.5.1).
const PING: &[u8] = b"\r\n\r\n";
/// Its answer.
const PONG: &[u8] = b"\r\n";

/// What every stream task shares.
#[derive(Clone)]
pub(crate) struct Streams {
    pub(crate) config: Arc<Config>,
    pub(crate) connections: Arc<Semaphore>,
    pub(crate) strangers: Arc<Semaphore>,
    pub(crate) next_id: Arc<AtomicU64>,
    /// For the connections of TLS listeners.
    pub(crate) tls: Option<TlsServer>,
    pub(crate) inbound: mpsc::Sender<Internal>,
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
}

/// The slots that a connection takes, given back when it ends.
type Permits = (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>);

/// Binds a listener. A restart may take an address whose old connections linger; another listener's, never.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// What a connection is besides its bytes.
struct Life {
    permits: Permits,
    /// From outside every trunk's networks: it has a moment only.
    is_stranger: bool,
    /// We opened it.
    is_ours: bool,
}

impl Streams {
    /// Accepts until stopped. Past a cap, a connection is closed unread.
    pub(crate) async fn accept(self, listener: TcpListener, transport: Transport) {
        loop {
            let accepted = tokio::select! {
                () = self.stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, remote)) => self.admit(stream, remote, transport),
                Err(error) => {
                    tracing::warn!(%error, "tcp accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn admit(&self, stream: TcpStream, remote: SocketAddr, transport: Transport) {
        let Ok(local) = stream.local_addr() else { return };
        let is_trunk = (self.config.is_trunk)(remote.ip());
        let stranger = (!is_trunk).then(|| Arc::clone(&self.strangers).try_acquire_owned());
        let (Ok(permit), Ok(stranger)) = (Arc::clone(&self.connections).try_acquire_owned(), stranger.transpose())
        else {
            metrics::counter!(SIP_CONNECTIONS_REFUSED.name).increment(1);
            return;
        };
        let life = Life { permits: (permit, stranger), is_stranger: !is_trunk, is_ours: false };
        let (connection, queued) = Connection::new(self.flow(transport, local, remote), &self.stop);
        let streams = self.clone();
        self.tasks.spawn(async move {
            if let Some(halves) = streams.shake_hands(stream, remote, transport).await {
                streams.run(halves, connection, queued, life).await;
            }
        });
    }

    /// The halves of an accepted stream; `None` where TLS failed: nothing was heard, so nobody is told.
    async fn shake_hands(
        &self,
        stream: TcpStream,
        remote: SocketAddr,
        transport: Transport,
    ) -> Option<(Reader, Writer)> {
        no_delay(&stream);
        let Some(tls) = self.tls.as_ref().filter(|_| transport == Transport::Tls) else { return Some(halves(stream)) };
        let shaken = tokio::select! {
            () = self.stop.cancelled() => return None,
            shaken = timeout(self.config.handshake_timeout, tls.accept(stream, remote)) => shaken,
        };
        match shaken.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(stream) => Some(tls_halves(stream)),
            Err(error) => {
                metrics::counter!(SIP_TLS_HANDSHAKES_FAILED.name, "side" => "peer").increment(1);
                tracing::debug!(peer = %remote, %error, "TLS handshake failed");
                None
            }
        }
    }

    /// Opens a connection for `flow`, by TLS where `tls` is given. What is queued meanwhile is written once it is up.
    pub(crate) fn connect(&self, flow: Flow, tls: Option<TlsClient>) -> io::Result<Connection> {
        let permit = Arc::clone(&self.connections).try_acquire_owned();
        let permit = permit.map_err(|full| io::Error::new(io::ErrorKind::QuotaExceeded, full))?;
        let life = Life { permits: (permit, None), is_stranger: false, is_ours: true };
        let (connection, queued) = Connection::new(self.flow(flow.transport, flow.local, flow.remote), &self.stop);
        let (streams, mut opened) = (self.clone(), connection.clone());
        self.tasks.spawn(async move {
            let opening = timeout(streams.config.connect_timeout, open(flow, tls));
            match opening.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok((halves, local)) => {
                    // The port stays the one that we listen on: the peer is told that, never this stream's own.
                    opened.flow.local.set_ip(local.ip());
                    streams.run(halves, opened, queued, life).await;
                }
                Err(error) => {
                    let reason = CloseReason::Io(error.kind().into());
                    streams.tell(Inbound::SendFailed { flow, error }).await;
                    streams.tell(Inbound::Closed { flow: opened.flow, reason }).await;
                }
            }
        });
        Ok(connection)
    }

    fn flow(&self, transport: Transport, local: SocketAddr, remote: SocketAddr) -> Flow {
        let id = ConnectionId(self.next_id.fetch_add(1, Ordering::Relaxed));
        Flow { transport, local, remote, connection: Some(id) }
    }

    async fn tell(&self, inbound: Inbound) {
        // An error means that nobody listens any more.
        drop(self.inbound.send(Internal::Inbound(inbound)).await);
    }

    /// The life of a connection: Opened, its messages, Closed.
    async fn run(
        self,
        (mut reader, writer): (Reader, Writer),
        connection: Connection,
        queued: mpsc::Receiver<Bytes>,
        life: Life,
    ) {
        let flow = connection.flow;
        drop(self.inbound.send(Internal::Accepted(connection.clone())).await);
        let writing = self.tasks.spawn(write(writer, queued, Arc::clone(&connection.state), Arc::clone(&self.config)));
        let patience = Patience::new(self.times(&life), self.seed(&flow), Instant::now());
        let read = self.read(&mut reader, &connection, patience).await;
        connection.close();
        let written = writing.await.unwrap_or(Ok(()));
        linger(reader).await;
        let reason = match (read, written) {
            (CloseReason::Local, Err(reason)) | (reason, _) => reason,
        };
        drop(life.permits);
        self.tell(Inbound::Closed { flow, reason }).await;
    }

    fn times(&self, life: &Life) -> Times {
        let config = &self.config;
        Times {
            message: config.message_timeout,
            idle: if life.is_stranger { config.message_timeout } else { config.idle_timeout },
            keep_alive: config.keep_alive.filter(|_| !life.is_stranger),
            pong: config.pong_timeout,
            is_ours: life.is_ours,
        }
    }

    fn seed(&self, flow: &Flow) -> u64 {
        self.config.chance.wrapping_add(flow.connection.map_or(0, |id| id.0))
    }

    /// Reads until the stream ends, for whatever reason.
    async fn read(&self, reader: &mut Reader, connection: &Connection, mut patience: Patience) -> CloseReason {
        let mut framer = StreamFramer::new();
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let read = tokio::select! {
                () = connection.state.closing.cancelled() => return CloseReason::Local,
                read = reader.read(&mut buffer) => read,
                () = tokio::time::sleep_until(patience.next()) => {
                    match self.expire(&mut patience, connection) {
                        Some(reason) => return reason,
                        None => continue,
                    }
                }
            };
            match read {
                Ok(0) => return CloseReason::Peer,
                Ok(size) => framer.push(buffer.get(..size).unwrap_or_default()),
                // TLS: the peer closed without saying so first.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return CloseReason::Peer,
                Err(error) => return CloseReason::Io(error),
            }
            let ended = match self.take_all(&mut framer, connection).await {
                Ok(count) => count,
                Err(reason) => return reason,
            };
            let pong = patience.awaits_pong() && framer.take_pong();
            let took = Took { ended, pong, is_mid_message: framer.is_mid_message() };
            patience.received(took, Instant::now());
        }
    }

    /// Does what is due; why the connection closes, where it does.
    fn expire(&self, patience: &mut Patience, connection: &Connection) -> Option<CloseReason> {
        match patience.expire(connection.state.is_held(), Instant::now()) {
            Expired::Nothing => None,
            Expired::Ping => self.enqueue(connection, PING).is_err().then_some(CloseReason::NotReading),
            Expired::Close(reason) => Some(reason),
        }
    }

    fn enqueue(&self, connection: &Connection, bytes: &'static [u8]) -> io::Result<()> {
        connection.enqueue(Bytes::from_static(bytes), self.config.queue_bytes_max)
    }

    /// Handles what the framer has, and counts it.
    async fn take_all(&self, framer: &mut StreamFramer, connection: &Connection) -> Result<usize, CloseReason> {
        let mut count = 0;
        while let Some(framed) = framer.next() {
            count += usize::from(framed != Framed::Pong);
            if let Some(reason) = self.take(framed, connection).await {
                return Err(reason);
            }
        }
        Ok(count)
    }

    async fn take(&self, framed: Framed, connection: &Connection) -> Option<CloseReason> {
        let flow = connection.flow;
        match framed {
            Framed::Message(bytes) => {
                let message = Internal::Inbound(Inbound::Message { flow, bytes });
                tokio::select! {
                    sent = self.inbound.send(message) => sent.is_err().then_some(CloseReason::Local),
                    () = connection.state.closing.cancelled() => Some(CloseReason::Local),
                }
            }
            Framed::KeepAlivePing => self.enqueue(connection, PONG).is_err().then_some(CloseReason::NotReading),
            Framed::Pong => None,
            Framed::Bad { status, why, head } => {
                metrics::counter!(SIP_FRAMING_LOST.name).increment(1);
                if let Some(refusal) = sanity::refuse(&head, status, why).refusal_bytes() {
                    drop(connection.enqueue(refusal, self.config.queue_bytes_max));
                }
                Some(CloseReason::Framing)
            }
        }
    }
}

/// Reads on a little after our end of the stream: closing on unread bytes would reset the connection, and the peer
/// would lose the refusal that we sent last.
async fn linger(mut reader: Reader) {
    let mut buffer = vec![0; READ_BYTES];
    let drain = async { while reader.read(&mut buffer).await.is_ok_and(|size| size > 0) {} };
    drop(timeout(LINGER, drain).await);
}

/// Opens a stream from the flow's local address to its remote one; with its own local address.
async fn open(flow: Flow, tls: Option<TlsClient>) -> io::Result<((Reader, Writer), SocketAddr)> {
    let socket = if flow.remote.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    if !flow.local.ip().is_unspecified() {
        socket.bind(SocketAddr::new(flow.local.ip(), 0))?;
    }
    let stream = socket.connect(flow.remote).await?;
    no_delay(&stream);
    let local = stream.local_addr()?;
    let Some(tls) = tls else { return Ok((halves(stream), local)) };
    let shaken = tls.connect(stream).await.inspect_err(|error| {
        metrics::counter!(SIP_TLS_HANDSHAKES_FAILED.name, "side" => "us").increment(1);
        tracing::warn!(peer = %flow.remote, %error, "TLS handshake failed");
    });
    Ok((tls_halves(shaken?), local))
}

fn no_delay(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "tcp nodelay");
    }
}

fn halves(stream: TcpStream) -> (Reader, Writer) {
    let (reader, writer) = stream.into_split();
    (Box::new(reader), Box::new(writer))
}

fn tls_halves(stream: impl AsyncRead + AsyncWrite + Send + 'static) -> (Reader, Writer) {
    let (reader, writer) = tokio::io::split(stream);
    (Box::new(reader), Box::new(writer))
}
