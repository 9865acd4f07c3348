//! One `WebSocket`: its opening, its session's task, its writer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use axum::extract::ws::{CloseFrame, Message, WebSocket};
use futures_util::stream::SplitStream;
use futures_util::{Sink, SinkExt, StreamExt};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use crate::ids::SignalingId;
use crate::limits::{SIGNALING_OPENING_MAX, SIGNALING_QUEUE, SIGNALING_WRITE_TIMEOUT};
use crate::signaling::io::joining::Joining;
use crate::signaling::io::presence::{Control, Presence};
use crate::signaling::message::failure;
use crate::signaling::session::{Input, Opened, Opening, OpeningInput, OpeningOutput, Output, Session, Verified};
use crate::signaling::{CloseCode, Error, Event, EventKind};

/// The `WebSocket` subprotocol that a client must ask for.
pub const SUBPROTOCOL: &str = "tandem.v1";

/// Close code of a client that is done (RFC 6455 7.4.1).
const NORMAL_CLOSURE: u16 = 1000;

/// How long a closed socket may take to say goodbye.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Says who a signalling token stands for.
#[async_trait]
pub trait TokenVerifier: Send + Sync {
    /// The person and their login, or `None` where the token is not, or no longer, good.
    async fn verify(&self, token: &str) -> Option<Verified>;
}

/// Takes `WebSocket`s and runs their sessions.
pub struct SocketServer {
    presence: Arc<Presence>,
    verifier: Arc<dyn TokenVerifier>,
    opening: Semaphore,
}

impl std::fmt::Debug for SocketServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SocketServer").field("presence", &self.presence).finish_non_exhaustive()
    }
}

impl SocketServer {
    /// A server that enters its sessions into `presence`.
    pub fn new(presence: Arc<Presence>, verifier: Arc<dyn TokenVerifier>) -> Arc<Self> {
        Arc::new(Self { presence, verifier, opening: Semaphore::new(SIGNALING_OPENING_MAX) })
    }

    /// The registry.
    pub const fn presence(&self) -> &Arc<Presence> {
        &self.presence
    }

    /// Runs a socket to its end, or to the end of the session that it opened.
    pub async fn serve(self: Arc<Self>, socket: WebSocket) {
        let tracker = self.presence.tracker().clone();
        tracker.track_future(Box::pin(self.serve_tracked(socket))).await;
    }

    async fn serve_tracked(self: Arc<Self>, mut socket: WebSocket) {
        if socket.protocol().is_none_or(|protocol| protocol.as_bytes() != SUBPROTOCOL.as_bytes()) {
            return close(socket, CloseCode::UpgradeRequired).await;
        }
        let opened = {
            let Ok(_permit) = self.opening.try_acquire() else {
                return close(socket, CloseCode::TryAgainLater).await;
            };
            self.open(&mut socket).await
        };
        match opened {
            Ok(Some(opened)) => self.join(Joining { opened, socket }).await,
            Ok(None) => {}
            Err(code) => close(socket, code).await,
        }
    }

    /// Runs the opening: who it is, `None` where the client left, or the code to close with.
    async fn open(&self, socket: &mut WebSocket) -> Result<Option<Opened>, CloseCode> {
        let clock = self.presence.clock();
        let mut opening = Opening::new(clock.now());
        loop {
            let deadline = opening.poll_timeout().map(|(at, _)| at);
            let input = match opening.poll_output() {
                Some(OpeningOutput::Opened(opened)) => return Ok(Some(*opened)),
                Some(OpeningOutput::Close(code)) => return Err(code),
                Some(OpeningOutput::Send(text)) => {
                    match timeout(SIGNALING_WRITE_TIMEOUT, socket.send(Message::text(text))).await {
                        Ok(Ok(())) => continue,
                        Ok(Err(_)) | Err(_) => return Ok(None),
                    }
                }
                Some(OpeningOutput::Verify(token)) => tokio::select! {
                    identity = self.verifier.verify(&token) => Some(OpeningInput::Verified(identity)),
                    () = sleep_until(deadline) => None,
                },
                None => tokio::select! {
                    input = next_opening_input(socket) => match input {
                        Some(input) => Some(input),
                        None => return Ok(None),
                    },
                    () = sleep_until(deadline) => None,
                },
            };
            match input {
                Some(input) => opening.handle(input, clock.now()),
                None => opening.handle_timeout(clock.now()),
            }
        }
    }

    /// Hands the socket to the session that it goes on with, or begins a new one here.
    async fn join(&self, joining: Joining) {
        let joining = match joining.opened.resume.map(|resume| resume.session_id) {
            Some(session) => self.presence.resume(session, Box::new(joining)).err().map(|joining| *joining),
            None => Some(joining),
        };
        let Some(joining) = joining else { return };
        let Joining { opened, mut socket } = joining;
        let Some((id, control)) = self.presence.attach(&opened) else {
            let full = Error::new("server.full", "as many sessions as this gateway takes", true);
            let _told_or_gone =
                timeout(SIGNALING_WRITE_TIMEOUT, socket.send(Message::text(failure(&opened.id, &full)))).await;
            return close(socket, CloseCode::TryAgainLater).await;
        };
        tracing::debug!(session = %id, user = opened.identity.user, client = ?opened.client, "signalling session opened");
        let session = Session::new(id, opened, self.presence.config(), self.presence.clock().now());
        let attached = Attached::new(&self.presence, socket);
        SessionTask { id, presence: Arc::clone(&self.presence), session, control, attached: Some(attached) }
            .run()
            .await;
    }
}

/// A session's socket: read here, written by its own task, so that a slow client never holds the session up.
struct Attached {
    reader: SplitStream<WebSocket>,
    writer: mpsc::Sender<Message>,
}

impl Attached {
    fn new(presence: &Presence, socket: WebSocket) -> Self {
        let (sink, reader) = socket.split();
        let (writer, queue) = mpsc::channel(SIGNALING_QUEUE);
        presence.tracker().spawn(write(sink, queue));
        Self { reader, writer }
    }

    /// The next input. `None` is never one: a frame that means nothing is a sign of life.
    async fn next(&mut self) -> Input {
        tokio::select! {
            message = self.reader.next() => match message {
                Some(Ok(Message::Text(text))) => Input::Text(text.to_string()),
                Some(Ok(Message::Binary(_))) => Input::Binary,
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => Input::Pong,
                Some(Ok(Message::Close(frame))) => Input::SocketLost { goodbye: frame.is_some_and(|frame| frame.code == NORMAL_CLOSURE) },
                Some(Err(_)) | None => Input::SocketLost { goodbye: false },
            },
            () = self.writer.closed() => Input::SocketLost { goodbye: false },
        }
    }

    /// Closes with `code`, and reads on for a while, so that the close is not lost to a reset.
    fn close(self, presence: &Presence, code: CloseCode) {
        let Self { mut reader, writer } = self;
        // Where the queue is full, dropping it closes with 1013.
        let _queued_or_full = writer.try_send(close_message(code));
        let read_out = async move { while let Some(Ok(_)) = reader.next().await {} };
        presence.tracker().spawn(timeout(CLOSE_TIMEOUT, read_out));
    }
}

/// Writes what is queued. A queue that ends without a close frame belonged to a client that was too slow.
async fn write(mut sink: impl Sink<Message> + Unpin, mut queue: mpsc::Receiver<Message>) {
    while let Some(message) = queue.recv().await {
        let last = matches!(message, Message::Close(_));
        let sent = timeout(SIGNALING_WRITE_TIMEOUT, sink.send(message)).await;
        if last || !matches!(sent, Ok(Ok(()))) {
            return;
        }
    }
    let _sent_or_gone = timeout(CLOSE_TIMEOUT, sink.send(close_message(CloseCode::TryAgainLater))).await;
}

/// Owns a [`Session`] from its open to its end, across sockets.
struct SessionTask {
    id: SignalingId,
    presence: Arc<Presence>,
    session: Session,
    control: mpsc::Receiver<Control>,
    attached: Option<Attached>,
}

impl SessionTask {
    async fn run(mut self) {
        while self.carry_out_all().await {
            let deadline = self.session.poll_timeout().map(|(at, _)| at);
            let input = tokio::select! {
                control = self.control.recv() => Some(self.on_control(control)),
                input = next_of(self.attached.as_mut()) => Some(input),
                () = sleep_until(deadline) => None,
            };
            if matches!(input, Some(Input::SocketLost { .. })) {
                self.attached = None;
            }
            let now = self.presence.clock().now();
            match input {
                Some(input) => self.session.handle(input, now),
                None => self.session.handle_timeout(now),
            }
        }
        self.presence.detach(self.id);
        tracing::debug!(session = %self.id, "signalling session ended");
    }

    /// `false` when the session is over.
    async fn carry_out_all(&mut self) -> bool {
        while let Some(output) = self.session.poll_output() {
            if matches!(output, Output::Ended) {
                return false;
            }
            self.carry_out(output).await;
        }
        true
    }

    fn on_control(&mut self, control: Option<Control>) -> Input {
        match control {
            Some(Control::Command(command)) => Input::Command(command),
            Some(Control::Resume(joining)) => {
                let Joining { opened, socket } = *joining;
                if let Some(old) = self.attached.replace(Attached::new(&self.presence, socket)) {
                    old.close(&self.presence, CloseCode::Replaced);
                }
                Input::Resumed { id: opened.id, seq: opened.resume.map_or(0, |resume| resume.seq) }
            }
            Some(Control::Replaced(by)) => Input::Replaced(Some(by)),
            // A mailbox without a sender: taken out of the registry when it was too full to be told why.
            None => Input::Replaced(None),
        }
    }

    async fn carry_out(&mut self, output: Output) {
        match output {
            Output::Send(text) => self.queue(Message::text(text)),
            Output::Ping => self.queue(Message::Ping(bytes::Bytes::new())),
            Output::CloseSocket(code) => self.close_socket(code),
            Output::Event(kind) => self.report(kind).await,
            Output::State(state) => self.presence.set_state(self.id, state),
            Output::CallBegan(call) => self.presence.call_began(self.id, call),
            Output::CallFailed(call) => self.presence.call_failed(self.id, call),
            Output::Stats(report) => tracing::debug!(session = %self.id, ?report, "client statistics"),
            Output::Ended => {}
        }
    }

    fn close_socket(&mut self, code: CloseCode) {
        if let Some(attached) = self.attached.take() {
            attached.close(&self.presence, code);
        }
    }

    async fn report(&self, kind: EventKind) {
        match kind {
            EventKind::Lost => self.presence.set_connected(self.id, false),
            EventKind::Resumed => self.presence.set_connected(self.id, true),
            EventKind::Opened(_) | EventKind::Closed | EventKind::Replaced { .. } | EventKind::Request { .. } => {}
        }
        // Waiting here holds up this client alone. Without a receiver the gateway is going down.
        let _sent_or_down = self.presence.events().send(Event { session: self.id, kind }).await;
    }

    /// Queues a frame; a client that does not keep up loses its socket, and may come back.
    fn queue(&mut self, message: Message) {
        let Some(attached) = &self.attached else { return };
        if attached.writer.try_send(message).is_err() {
            self.attached = None;
            self.session.handle(Input::SocketLost { goodbye: false }, self.presence.clock().now());
        }
    }
}

/// The next frame that means something before the session is open; `None` where the client left.
async fn next_opening_input(socket: &mut WebSocket) -> Option<OpeningInput> {
    loop {
        match socket.recv().await {
            Some(Ok(Message::Text(text))) => return Some(OpeningInput::Text(text.to_string())),
            Some(Ok(Message::Binary(_))) => return Some(OpeningInput::Binary),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
        }
    }
}

async fn next_of(attached: Option<&mut Attached>) -> Input {
    match attached {
        Some(attached) => attached.next().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

fn close_message(code: CloseCode) -> Message {
    Message::Close(Some(CloseFrame { code: code.as_u16(), reason: code.reason().into() }))
}

/// Closes a socket that never got a session.
async fn close(mut socket: WebSocket, code: CloseCode) {
    let goodbye = async {
        if socket.send(close_message(code)).await.is_ok() {
            while let Some(Ok(_)) = socket.recv().await {}
        }
    };
    let _said_or_late = timeout(CLOSE_TIMEOUT, goodbye).await;
}
