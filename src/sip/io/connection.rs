//! The SIP task's end of one stream connection, and the task that writes it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::limits::SIP_STREAM_QUEUE;
use crate::sip::Flow;
use crate::sip::io::CloseReason;
use crate::sip::io::Config;

/// The reading half of a TCP or TLS stream.
pub(super) type Reader = Box<dyn AsyncRead + Send + Unpin>;
/// The writing half.
pub(super) type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// The SIP task's end of one connection.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) flow: Flow,
    queue: mpsc::Sender<Bytes>,
    pub(super) state: Arc<State>,
}

/// What the two tasks of a connection and its owner share.
pub(super) struct State {
    queued_bytes: AtomicUsize,
    held: AtomicBool,
    /// Writes what is queued, then closes.
    pub(super) closing: CancellationToken,
    /// Closes now: the peer does not read.
    stuck: CancellationToken,
}

impl State {
    pub(super) fn is_held(&self) -> bool {
        self.held.load(Ordering::Relaxed)
    }
}

impl Connection {
    pub(super) fn new(flow: Flow, stop: &CancellationToken) -> (Self, mpsc::Receiver<Bytes>) {
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

/// Writes what is queued until told to close; then what is left, and the end of the stream.
pub(super) async fn write(
    mut writer: Writer,
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
        // The peer may be gone already, or read no more.
        drop(timeout(config.write_timeout, writer.shutdown()).await);
    }
    written
}

async fn write_all(writer: &mut Writer, mut bytes: &[u8], state: &State, config: &Config) -> Result<(), CloseReason> {
    while !bytes.is_empty() {
        match within(state, config, writer.write(bytes)).await? {
            0 => return Err(CloseReason::Peer),
            size => bytes = bytes.get(size..).unwrap_or_default(),
        }
    }
    // TLS keeps what did not fit into the socket.
    within(state, config, writer.flush()).await
}

/// One step of writing: it ends when the peer is found not to read.
async fn within<T>(
    state: &State,
    config: &Config,
    step: impl Future<Output = io::Result<T>>,
) -> Result<T, CloseReason> {
    let done = tokio::select! {
        biased;
        () = state.stuck.cancelled() => return Err(CloseReason::NotReading),
        done = timeout(config.write_timeout, step) => done,
    };
    match done {
        Ok(done) => done.map_err(CloseReason::Io),
        Err(_) => Err(CloseReason::NotReading),
    }
}
