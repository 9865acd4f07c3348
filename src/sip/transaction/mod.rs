//! Transactions (RFC 3261 17, RFC 6026): four machines, their key and their timers.
//!
//! A machine knows bytes and status codes. It decides what is sent when, and when the peer counts as silent; what
//! a message means is the business of the dialog and of the user agent.

pub mod client_invite;
pub mod client_non_invite;
pub mod key;
pub mod server_invite;
pub mod server_non_invite;
pub mod timers;

use bytes::Bytes;

pub use client_invite::ClientInvite;
pub use client_non_invite::ClientNonInvite;
pub use key::TransactionKey;
pub use server_invite::ServerInvite;
pub use server_non_invite::ServerNonInvite;
pub use timers::Timing;
pub use timers::TransactionTimer;

/// What a client transaction wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientOutput {
    /// Give these bytes to the transport.
    Send(Bytes),
    /// The response that was just handled is for the user.
    ResponseReceived,
    /// No answer within timer B or F. The transaction is over.
    TimedOut,
    /// The transport failed before a final response. The transaction is over.
    TransportFailed,
}

/// What a server transaction wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerOutput {
    /// Give these bytes to the transport.
    Send(Bytes),
    /// The ACK that was just handled belongs to the dialog: it acknowledges a 2xx.
    AckReceived,
    /// Nobody acknowledged our 300–699 within timer H. The transaction is over.
    AckTimedOut,
}
