//! The trace of a call: every SIP message, signalling message, media event and state change on one clock, bounded, with
//! keys, credentials and digits masked.
//!
//! Who sees something says so with an [`Observation`]; [`collector::Collector`] finds the call it belongs to. This room
//! knows no other: a message is bytes, a name is a word.

pub mod collector;
pub mod head;
pub mod io;
pub mod ladder;
pub mod mask;
pub mod pcap;
mod serial;

use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use serde::Deserialize;
use serde::Serialize;

use crate::clock::WallTime;
use crate::ids::CallId;
use crate::ids::SessionId;

/// What somebody saw of a call, for the collector.
#[derive(Debug, Clone)]
pub enum Observation {
    /// A call begins. What is noted of a call that never began is dropped.
    Began {
        /// The call.
        call: CallId,
        /// Our half of its Session-ID (RFC 7989): it stands in every SIP message that we send for the call.
        session: SessionId,
        /// SIP's Call-ID, where the trunk made it.
        sip_call_id: Option<String>,
        /// When.
        at: Instant,
    },
    /// Somebody called in the other side's place (RFC 3891): one more dialog of the call, with a Session-ID of its own.
    Joined {
        /// The call.
        call: CallId,
        /// Our half of the dialog's Session-ID.
        session: SessionId,
        /// SIP's Call-ID.
        sip_call_id: String,
    },
    /// A SIP message crossed a socket.
    Message(SipMessage),
    /// Something of a call that is known by its own name.
    Noted {
        /// The call.
        call: CallId,
        /// What.
        event: Event,
        /// When.
        at: Instant,
    },
    /// A quirk profile changed what the SIP side did.
    Quirk {
        /// SIP's Call-ID.
        sip_call_id: String,
        /// The quirk's name in the configuration.
        name: String,
        /// What it did, in one clause.
        detail: String,
        /// When.
        at: Instant,
    },
    /// A call has ended; the answer to the last request may still come.
    Ended {
        /// The call.
        call: CallId,
        /// When.
        at: Instant,
    },
}

/// A SIP message as it crossed a socket.
#[derive(Debug, Clone)]
pub struct SipMessage {
    /// When.
    pub at: Instant,
    /// Which way, and between whom.
    pub path: SipPath,
    /// At most [`crate::limits::TRACE_ENTRY_BYTES_MAX`] bytes of it, unmasked.
    pub bytes: Bytes,
    /// How many bytes it had beyond those.
    pub cut: usize,
}

/// Which way a SIP message went, and between whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SipPath {
    /// Which way.
    pub direction: Direction,
    /// `udp`, `tcp`, `tls`, or `memory`: from us to ourselves.
    pub transport: String,
    /// Our end.
    pub local: SocketAddr,
    /// The peer's end.
    pub remote: SocketAddr,
}

impl SipPath {
    /// Whether we sent it to ourselves. It crosses twice: out of one call, and into another.
    pub fn is_loop(&self) -> bool {
        self.local == self.remote
    }
}

/// Which way a message went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// To us.
    In,
    /// From us.
    Out,
}

/// One line of a trace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Microseconds since 1970, UTC, that follow the monotonic clock.
    pub at_us: u64,
    /// What.
    #[serde(flatten)]
    pub event: Event,
    /// Bytes of it that are not here.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cut: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
const fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// What a line of a trace says. Everything in it is masked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Event {
    /// A SIP message on the trunk.
    Sip {
        /// Which way, and between whom.
        #[serde(flatten)]
        path: SipPath,
        /// Its first line.
        start_line: String,
        /// The method, of a response that of its request (`CSeq`).
        method: String,
        /// The message.
        #[serde(with = "serial", flatten)]
        message: Vec<u8>,
    },
    /// A message between us and the agent's browser.
    Signaling {
        /// Which way.
        direction: Direction,
        /// The method, such as `call.incoming`.
        name: String,
        /// Its parameters.
        body: serde_json::Value,
    },
    /// News of the call's media or recording.
    Media {
        /// A word, such as `peer_connected`.
        name: String,
        /// What else is known of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
    },
    /// The call is somewhere else now.
    State {
        /// Where, such as `established`.
        name: String,
        /// What took it there, where that was no message: a timer, or how the call ended.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
    },
    /// A quirk profile changed what we did.
    Quirk {
        /// The quirk's name.
        name: String,
        /// What it did.
        detail: String,
    },
}

impl Event {
    /// How much of the bounds it uses, in bytes: its texts and a little for the rest.
    pub fn weight(&self) -> usize {
        const REST: usize = 64;
        let text = |text: Option<&String>| text.map_or(0, String::len);
        REST + match self {
            Self::Sip { start_line, method, message, .. } => start_line.len() + method.len() + message.len(),
            Self::Signaling { name, body, .. } => name.len() + body.to_string().len(),
            Self::Media { name, detail } | Self::State { name, detail } => name.len() + text(detail.as_ref()),
            Self::Quirk { name, detail } => name.len() + detail.len(),
        }
    }
}

/// What is not in a trace, because it did not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Dropped {
    /// Entries beyond the bounds of this call, or of all calls.
    pub entries: u64,
    /// Observations of any call that this node lost while this call lived.
    pub observations: u64,
}

/// The trace of one call, from its first message to its last.
#[derive(Debug, Clone, PartialEq)]
pub struct CallTrace {
    /// The call.
    pub call: CallId,
    /// When it began, as wall time.
    pub started: WallTime,
    /// In the order of time.
    pub entries: Vec<Entry>,
    /// What is not here.
    pub dropped: Dropped,
}
