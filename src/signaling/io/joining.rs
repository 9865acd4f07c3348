//! A client between its opening and its session.

use axum::extract::ws::WebSocket;

use crate::signaling::session::Opened;

/// A socket whose `session.open` is good, on its way to its session.
#[derive(Debug)]
pub(super) struct Joining {
    pub(super) opened: Opened,
    pub(super) socket: WebSocket,
}
