//! The signalling protocol towards browsers: JSON-RPC 2.0 over a WebSocket. Knows no SIP.
//!
//! The call room sees [`Event`] (what a browser asked) and [`Command`] (what a browser is told).

pub mod config;
pub mod io;
pub mod message;
pub mod rate;
pub mod session;

pub use config::Config;

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::auth::Identity;
use crate::ids::{CallId, SignalingId};

/// What an agent says of their readiness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum AgentState {
    /// Takes calls.
    Available,
    /// Takes none; callers hear busy.
    Busy,
    /// Finishes the work of the last call; callers are told "unavailable".
    WrapUp,
    /// Not there.
    Offline,
}

/// Names one JSON-RPC request of one session, for its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestToken(pub u64);

/// What a browser asked for or what became of it, for the call room.
#[derive(Debug, Clone)]
pub struct Event {
    /// The session.
    pub session: SignalingId,
    /// What.
    pub kind: EventKind,
}

/// See [`Event`].
#[derive(Debug, Clone)]
pub enum EventKind {
    /// A session opened: its agent can be called from now on, once available.
    Opened(Box<Identity>),
    /// The socket is gone; the session may be resumed. Calls go on through the grace period.
    Lost,
    /// The socket is back.
    Resumed,
    /// The session is over: logged out, or not resumed in time.
    Closed,
    /// The session is over: the same user opened another one, which takes its calls over.
    Replaced {
        /// That one.
        by: SignalingId,
    },
    /// A request about a call; answered with [`Command::Reply`].
    Request {
        /// For the answer.
        token: RequestToken,
        /// The call: made by the client for `Dial`, by us for an incoming one.
        call: CallId,
        /// What.
        request: CallRequest,
    },
}

/// A request about one call. Its JSON is for traces; on the wire stands [`message::ClientRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "method", content = "params", rename_all = "snake_case")]
pub enum CallRequest {
    /// `call.dial`: place a call to this number.
    Dial {
        /// As typed.
        to: String,
    },
    /// `call.alerting`: it rings here; only now does the PBX hear 180.
    Alerting,
    /// `call.transport`: the browser's answer to our offer.
    Transport {
        /// The session description.
        sdp: String,
    },
    /// `media.candidate`.
    Candidate {
        /// The attribute's value.
        candidate: String,
    },
    /// `call.accept`.
    Accept,
    /// `call.reject`.
    Reject,
    /// `call.hangup`.
    Hangup,
    /// `call.mute`.
    Mute {
        /// Muted from now on, or not.
        muted: bool,
    },
    /// `call.dtmf`.
    Dtmf {
        /// One or more of `0`–`9`, `*`, `#`, `A`–`D`.
        digits: String,
    },
    /// `call.hold`: the caller hears music, the agent nothing.
    Hold,
    /// `call.resume`: ends the agent's own hold; a hold of the peer stays.
    Resume,
    /// `call.transfer` with a number: blind.
    Transfer {
        /// As typed.
        to: String,
    },
    /// `call.transfer` with another call of the same agent: the two parties are joined.
    TransferTo {
        /// The consultation.
        consult: CallId,
    },
}

/// Who called whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Somebody called the agent.
    Inbound,
    /// The agent called somebody.
    Outbound,
}

/// An answered call, for a page that knows nothing of it yet. It is not muted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Line {
    /// Who called whom.
    pub direction: Direction,
    /// The other party's number, as it is now.
    pub number: String,
    /// The other party's name, where known.
    pub name: Option<String>,
    /// How long ago it was answered, in milliseconds.
    #[ts(type = "number")]
    pub talked_ms: u64,
    /// The agent holds it.
    pub held_by_agent: bool,
    /// The other side holds it.
    pub held_by_peer: bool,
    /// It is being recorded.
    pub recording: bool,
}

/// Who put a call on hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum HeldBy {
    /// The agent.
    Agent,
    /// The other side.
    Peer,
}

/// What a browser is told.
#[derive(Debug, Clone)]
pub enum Command {
    /// The answer to a request.
    Reply {
        /// Which.
        token: RequestToken,
        /// Done, or why not.
        result: Result<(), Error>,
    },
    /// Something happened: gets the session's next `seq`, and is kept for a resumption.
    Notify(Notification),
    /// The agent's state is this from now on, though they did not say so; the page shows it.
    SetState(AgentState),
    /// Closes the session.
    Close {
        /// Why.
        code: CloseCode,
    },
}

/// A message of ours that is not an answer. `seq` is added by the session.
#[derive(Debug, Clone, PartialEq)]
pub enum Notification {
    /// `call.incoming`.
    Incoming {
        /// The call.
        call: CallId,
        /// The caller's number.
        from: String,
        /// The number called.
        to: String,
        /// The caller's name.
        name: Option<String>,
        /// The trunk.
        trunk: String,
        /// The agent is in a call already: the page rings softly.
        waiting: bool,
        /// Our offer.
        sdp: String,
    },
    /// `call.offer`: our offer for a dialled call.
    Offer {
        /// The call.
        call: CallId,
        /// Our offer.
        sdp: String,
    },
    /// `call.reattach`: an answered call of the agent's former session is this one's, with a new transport.
    Reattach {
        /// The call.
        call: CallId,
        /// Our offer.
        sdp: String,
        /// What it is like.
        line: Box<Line>,
    },
    /// `call.ringing`: the callee's phone rings.
    Ringing {
        /// The call.
        call: CallId,
    },
    /// `call.early_media`: the callee's side sends audio before the answer.
    EarlyMedia {
        /// The call.
        call: CallId,
    },
    /// `call.answered`: audio crosses.
    Answered {
        /// The call.
        call: CallId,
    },
    /// `call.held`.
    Held {
        /// The call.
        call: CallId,
        /// By whom; each hold is lifted by its own side.
        by: HeldBy,
    },
    /// `call.resumed`.
    Resumed {
        /// The call.
        call: CallId,
        /// Whose hold ended.
        by: HeldBy,
    },
    /// `call.transferring`: the other side was asked to call somebody else, and says how far it is.
    Transferring {
        /// The call.
        call: CallId,
        /// The number, as the agent typed it, or the consulted party's.
        to: String,
        /// The SIP status of the new call so far, where the other side told.
        sip_code: Option<u16>,
    },
    /// `call.transferred`: the other side talks to somebody else; `call.ended` follows.
    Transferred {
        /// The call.
        call: CallId,
    },
    /// `call.transfer_failed`: the call is back on the line.
    TransferFailed {
        /// The call.
        call: CallId,
        /// A stable word from the cause table, such as `busy` or `no_answer`.
        reason: String,
        /// The SIP status, where one says it.
        sip_code: Option<u16>,
    },
    /// `call.party`: the other side transferred the call, and the agent talks to somebody else now.
    Party {
        /// The call.
        call: CallId,
        /// The new party's number.
        number: String,
        /// The new party's name, where known.
        name: Option<String>,
    },
    /// `call.recording`.
    Recording {
        /// The call.
        call: CallId,
        /// It is being recorded, or no longer.
        active: bool,
    },
    /// `call.quality`.
    Quality {
        /// The call.
        call: CallId,
        /// What it is like.
        quality: Quality,
    },
    /// `call.ended`.
    Ended {
        /// The call.
        call: CallId,
        /// A stable word from the cause table, such as `hangup`, `cancelled`, `answered_elsewhere`, `no_answer`.
        reason: String,
        /// The SIP status, where one says it.
        sip_code: Option<u16>,
        /// The Q.850 cause, where one says it.
        q850: Option<u8>,
    },
    /// `server.draining`.
    Draining,
}

/// What the media is like, for the page's badge.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, TS)]
pub struct Quality {
    /// Interarrival jitter of the browser's packets at the gateway, in milliseconds.
    pub jitter_ms: f32,
    /// Share of the browser's packets that the gateway missed since the last report, 0.0–1.0.
    pub loss: f32,
    /// Round-trip time between browser and gateway in milliseconds, where known.
    pub rtt_ms: Option<f32>,
    /// Mean opinion score of the browser's sound as it reached the gateway, 1.0–4.4, estimated; `None` where none came.
    pub mos: Option<f32>,
}

/// A refused request: JSON-RPC's error, with a stable code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Error {
    /// A stable dotted code, such as `call.busy`, `call.unknown`, `call.wrong_state`, `agent.limit`.
    pub code: String,
    /// One clause for a person.
    pub message: String,
    /// Whether the same request may succeed later.
    pub retryable: bool,
}

/// Why a WebSocket is closed by us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CloseCode {
    /// 4400.
    BadMessage,
    /// 4401.
    Authentication,
    /// 4403.
    Forbidden,
    /// 4408.
    Timeout,
    /// 4409.
    Replaced,
    /// 4426.
    UpgradeRequired,
    /// 1012.
    Restart,
    /// 1013.
    TryAgainLater,
}

impl CloseCode {
    /// The code on the wire.
    pub const fn as_u16(self) -> u16 {
        match self {
            Self::BadMessage => 4400,
            Self::Authentication => 4401,
            Self::Forbidden => 4403,
            Self::Timeout => 4408,
            Self::Replaced => 4409,
            Self::UpgradeRequired => 4426,
            Self::Restart => 1012,
            Self::TryAgainLater => 1013,
        }
    }

    /// A word for the close frame.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::BadMessage => "bad message",
            Self::Authentication => "authentication",
            Self::Forbidden => "forbidden",
            Self::Timeout => "timeout",
            Self::Replaced => "replaced",
            Self::UpgradeRequired => "upgrade required",
            Self::Restart => "restart",
            Self::TryAgainLater => "try again later",
        }
    }
}

impl Error {
    /// An error with a stable dotted `code` and one clause for a person.
    pub fn new(code: &str, message: &str, retryable: bool) -> Self {
        Self { code: code.to_owned(), message: message.to_owned(), retryable }
    }
}
