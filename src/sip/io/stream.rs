//! TCP: listeners, and connections of either side.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::limits::SIP_STREAM_QUEUE;
use crate::sip::ConnectionId;
use crate::sip::Flow;
use crate::sip::Transport;
use crate::sip::io::CloseReason;
use crate::sip::io::Config;
use crate::sip::io::Inbound;
use crate::sip::io::Internal;
use crate::sip::message::framing::{Framed, StreamFramer};
use crate::sip::message::sanity;
use crate::telemetry::metrics::{SIP_CONNECTIONS_REFUSED, SIP_FRAMING_LOST};

/// Bytes of one read.
const READ_BYTES: usize = 16_384;
/// Connections that the kernel holds until we accept them.
const BACKLOG: i32 = 1_024;

/// How long a closed connection is still read.
const LINGER: Duration = Duration::from_millis(500);

/// What every stream task shares.
#[derive(Clone)]
pub(crate) struct Streams {
    pub(crate) config: Arc<Config>,
    pub(crate) connections: Arc<Semaphore>,
    pub(crate) strangers: Arc<Semaphore>,
    pub(crate) next_id: Arc<AtomicU64>,
    pub(crate) inbound: mpsc::Sender<Internal>,
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
}

/// The SIP task's end of one connection.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) flow: Flow,
    queue: mpsc::Sender<Bytes>,
    state: Arc<State>,
}

/// What the two tasks of a connection and its owner share.
struct State {
    queued_bytes: AtomicUsize,
    held: AtomicBool,
    /// Writes what is queued, then closes.
    closing: CancellationToken,
    /// Closes now: the peer does not read.
    stuck: CancellationToken,
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

impl Connection {
    fn new(flow: Flow, stop: &CancellationToken) -> (Self, mpsc::Receiver<Bytes>) {
        let (queue, queued) = mpsc::channel(SIP_STREAM_QUEUE);
        let state = State {
            queued_bytes: AtomicUsize::new(0),
            held: AtomicBool::new(false),
            closing: stop.child_token(),
            stuck: CancellationToken::new(),
        };
        (Self { flow, queue, state: Arc::new(state) }, queued)
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.state.closing.is_cancelled() && !self.queue.is_closed()
    }

    /// Queues bytes. Past the bound the peer does not read: the connection closes and what waits is lost.
    pub(crate) fn enqueue(&self, bytes: Bytes, bytes_max: usize) -> io::Result<()> {
        if !self.is_open() {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let size = bytes.len();
        let waiting = self.state.queued_bytes.fetch_add(size, Ordering::Relaxed);
        if waiting.saturating_add(size) > bytes_max || self.queue.try_send(bytes).is_err() {
            self.state.stuck.cancel();
            self.state.closing.cancel();
            return Err(io::Error::new(io::ErrorKind::WouldBlock, CloseReason::NotReading));
        }
        Ok(())
    }

    pub(crate) fn close(&self) {
        self.state.closing.cancel();
    }

    pub(crate) fn hold(&self, held: bool) {
        self.state.held.store(held, Ordering::Relaxed);
    }
}

impl Streams {
    /// Accepts until stopped. Past a cap, a connection is closed unread.
    pub(crate) async fn accept(self, listener: TcpListener) {
        loop {
            let accepted = tokio::select! {
                () = self.stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, remote)) => self.admit(stream, remote),
                Err(error) => {
                    // Out of descriptors: accepting again at once would spin.
                    tracing::warn!(%error, "tcp accept");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn admit(&self, stream: TcpStream, remote: SocketAddr) {
        let Ok(local) = stream.local_addr() else { return };
        let is_trunk = (self.config.is_trunk)(remote.ip());
        let stranger = (!is_trunk).then(|| Arc::clone(&self.strangers).try_acquire_owned());
        let (Ok(permit), Ok(stranger)) = (Arc::clone(&self.connections).try_acquire_owned(), stranger.transpose())
        else {
            metrics::counter!(SIP_CONNECTIONS_REFUSED.name).increment(1);
            return;
        };
        let permits = (permit, stranger);
        let (connection, queued) = Connection::new(self.flow(local, remote), &self.stop);
        let streams = self.clone();
        self.tasks.spawn(async move { streams.run(stream, connection, queued, permits).await });
    }

    /// Opens a connection for `flow`. What is queued meanwhile is written once it is up.
    pub(crate) fn connect(&self, flow: Flow) -> io::Result<Connection> {
        let permit = Arc::clone(&self.connections).try_acquire_owned();
        let permit = permit.map_err(|full| io::Error::new(io::ErrorKind::QuotaExceeded, full))?;
        let (connection, queued) = Connection::new(self.flow(flow.local, flow.remote), &self.stop);
        let (streams, mut opened) = (self.clone(), connection.clone());
        self.tasks.spawn(async move {
            match timeout(streams.config.connect_timeout, open(flow))
                .await
                .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            {
                Ok(stream) => {
                    opened.flow.local = stream.local_addr().unwrap_or(flow.local);
                    streams.run(stream, opened, queued, (permit, None)).await;
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

    fn flow(&self, local: SocketAddr, remote: SocketAddr) -> Flow {
        let id = ConnectionId(self.next_id.fetch_add(1, Ordering::Relaxed));
        Flow { transport: Transport::Tcp, local, remote, connection: Some(id) }
    }

    async fn tell(&self, inbound: Inbound) {
        // An error means that nobody listens any more.
        drop(self.inbound.send(Internal::Inbound(inbound)).await);
    }

    /// The life of a connection: Opened, its messages, Closed.
    async fn run(self, stream: TcpStream, connection: Connection, queued: mpsc::Receiver<Bytes>, permits: Permits) {
        let flow = connection.flow;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(?flow, %error, "tcp nodelay");
        }
        let is_stranger = permits.1.is_some();
        drop(self.inbound.send(Internal::Accepted(connection.clone())).await);
        let (mut reader, writer) = stream.into_split();
        let writing = self.tasks.spawn(write(writer, queued, Arc::clone(&connection.state), Arc::clone(&self.config)));
        let read = self.read(&mut reader, &connection, is_stranger).await;
        connection.close();
        let written = writing.await.unwrap_or(Ok(()));
        linger(reader).await;
        let reason = match (read, written) {
            (CloseReason::Local, Err(reason)) | (reason, _) => reason,
        };
        drop(permits);
        self.tell(Inbound::Closed { flow, reason }).await;
    }

    /// Reads until the stream ends, for whatever reason.
    async fn read(&self, reader: &mut OwnedReadHalf, connection: &Connection, is_stranger: bool) -> CloseReason {
        let idle = if is_stranger { self.config.message_timeout } else { self.config.idle_timeout };
        let mut framer = StreamFramer::new();
        let mut buffer = vec![0; READ_BYTES];
        let mut message_deadline: Option<Instant> = None;
        loop {
            let deadline = message_deadline.unwrap_or_else(|| Instant::now() + idle);
            let read = tokio::select! {
                () = connection.state.closing.cancelled() => return CloseReason::Local,
                read = reader.read(&mut buffer) => read,
                () = tokio::time::sleep_until(deadline) => {
                    if message_deadline.is_some() {
                        return CloseReason::MessageTimeout;
                    }
                    if connection.state.held.load(Ordering::Relaxed) {
                        continue;
                    }
                    return CloseReason::Idle;
                }
            };
            match read {
                Ok(0) => return CloseReason::Peer,
                Ok(size) => framer.push(buffer.get(..size).unwrap_or_default()),
                Err(error) => return CloseReason::Io(error),
            }
            let ended_one = match self.take_all(&mut framer, connection).await {
                Ok(count) => count > 0,
                Err(reason) => return reason,
            };
            // The clock runs from a message's first byte; a trickle does not wind it up again.
            message_deadline = match message_deadline {
                _ if !framer.is_mid_message() => None,
                Some(running) if !ended_one => Some(running),
                _ => Some(Instant::now() + self.config.message_timeout),
            };
        }
    }

    /// Handles what the framer has, and counts it.
    async fn take_all(&self, framer: &mut StreamFramer, connection: &Connection) -> Result<usize, CloseReason> {
        let mut count = 0;
        while let Some(framed) = framer.next() {
            count += 1;
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
            Framed::KeepAlivePing => {
                let pong = connection.enqueue(Bytes::from_static(b"\r\n"), self.config.queue_bytes_max);
                pong.is_err().then_some(CloseReason::NotReading)
            }
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
async fn linger(mut reader: OwnedReadHalf) {
    let mut buffer = vec![0; READ_BYTES];
    let drain = async { while reader.read(&mut buffer).await.is_ok_and(|size| size > 0) {} };
    drop(timeout(LINGER, drain).await);
}

/// Opens a stream from the flow's local address to its remote one.
async fn open(flow: Flow) -> io::Result<TcpStream> {
    let socket = if flow.remote.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    if !flow.local.ip().is_unspecified() {
        socket.bind(SocketAddr::new(flow.local.ip(), 0))?;
    }
    socket.connect(flow.remote).await
}

/// Writes what is queued until told to close; then what is left, and the end of the stream.
async fn write(
    mut writer: OwnedWriteHalf,
    mut queued: mpsc::Receiver<Bytes>,
    state: Arc<State>,
    config: Arc<Config>,
) -> Result<(), CloseReason> {
    let mut closing = false;
    let written = loop {
        let bytes = if closing {
            queued.try_recv().ok()
        } else {
            tokio::select! {
                biased;
                bytes = queued.recv() => bytes,
                () = state.closing.cancelled() => {
                    closing = true;
                    queued.close();
                    continue;
                }
            }
        };
        let Some(bytes) = bytes else { break Ok(()) };
        if let Err(reason) = write_all(&mut writer, &bytes, &state, &config).await {
            break Err(reason);
        }
        state.queued_bytes.fetch_sub(bytes.len(), Ordering::Relaxed);
    };
    state.closing.cancel();
    if written.is_ok() {
        // The peer may be gone already.
        drop(writer.shutdown().await);
    }
    written
}

async fn write_all(
    writer: &mut OwnedWriteHalf,
    mut bytes: &[u8],
    state: &State,
    config: &Config,
) -> Result<(), CloseReason> {
    while !bytes.is_empty() {
        let written = tokio::select! {
            biased;
            () = state.stuck.cancelled() => return Err(CloseReason::NotReading),
            written = timeout(config.write_timeout, writer.write(bytes)) => written,
        };
        match written {
            Ok(Ok(0)) => return Err(CloseReason::Peer),
            Ok(Ok(size)) => bytes = bytes.get(size..).unwrap_or_default(),
            Ok(Err(error)) => return Err(CloseReason::Io(error)),
            Err(_) => return Err(CloseReason::NotReading),
        }
    }
    Ok(())
}
