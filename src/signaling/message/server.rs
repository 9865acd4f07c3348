//! What the gateway sends: notifications, and the result of `session.open`.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::ids::{CallId, SignalingId};
use crate::signaling::{AgentState, HeldBy, Line, Notification, Quality};

/// A notification: JSON-RPC's `method` and `params`. Every `params` has the session's running number `seq`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[serde(tag = "method", content = "params")]
pub enum ServerNotification {
    /// A call for this agent.
    #[serde(rename = "call.incoming")]
    Incoming {
        /// The running number.
        #[ts(type = "number")]
        seq: u64,
        /// The call.
        #[ts(type = "string")]
        call_id: CallId,
        /// The caller's number.
        from: String,
        /// The number called.
        to: String,
        /// The caller's name, where one is known.
        name: Option<String>,
        /// The trunk that it came from.
        trunk: String,
        /// The agent is in a call already: ring softly.
        waiting: bool,
        /// The gateway's offer.
        sdp: String,
    },
    /// The gateway's offer for a dialled call.
    #[serde(rename = "call.offer")]
    Offer {
        /// The running number.
        #[ts(type = "number")]
        seq: u64,
        /// The call.
        #[ts(type = "string")]
        call_id: CallId,
        /// The offer.
        sdp: String,
    },
    /// An answered call of the agent's former session is this one's: the page was reloaded, or opened elsewhere. It is
    /// answered as `call.offer` is, by `call.transport`; audio crosses again when that is up.
    #[serde(rename = "call.reattach")]
    Reattach(ReattachNotice),
    /// The callee's phone rings.
    #[serde(rename = "call.ringing")]
    Ringing(CallNotice),
    /// The callee's side sends audio before the answer.
    #[serde(rename = "call.early_media")]
    EarlyMedia(CallNotice),
    /// Audio crosses.
    #[serde(rename = "call.answered")]
    Answered(CallNotice),
    /// The call is on hold.
    #[serde(rename = "call.held")]
    Held(HoldNotice),
    /// A hold ended.
    #[serde(rename = "call.resumed")]
    Resumed(HoldNotice),
    /// A transfer is under way.
    #[serde(rename = "call.transferring")]
    Transferring {
        /// The running number.
        #[ts(type = "number")]
        seq: u64,
        /// The call.
        #[ts(type = "string")]
        call_id: CallId,
        /// To whom.
        to: String,
        /// The SIP status of the new call so far, where the other side told.
        sip_code: Option<u16>,
    },
    /// The other party talks to somebody else now; `call.ended` follows.
    #[serde(rename = "call.transferred")]
    Transferred(CallNotice),
    /// The transfer failed, and the call is back on the line.
    #[serde(rename = "call.transfer_failed")]
    TransferFailed {
        /// The running number.
        #[ts(type = "number")]
        seq: u64,
        /// The call.
        #[ts(type = "string")]
        call_id: CallId,
        /// A stable word, such as `busy`, `no_answer`.
        reason: String,
        /// The SIP status, where one says it.
        sip_code: Option<u16>,
    },
    /// The other side transferred the call: this is who is on the line now.
    #[serde(rename = "call.party")]
    Party {
        /// The running number.
        #[ts(type = "number")]
        seq: u64,
        /// The call.
        #[ts(type = "string")]
        call_id: CallId,
        /// The number.
        number: String,
        /// The name, where known.
        name: Option<String>,
    },
    /// The call is being recorded, or no longer.
    #[serde(rename = "call.recording")]
    Recording {
        /// The running number.
        #[ts(type = "number")]
        seq: u64,
        /// The call.
        #[ts(type = "string")]
        call_id: CallId,
        /// Whether it is.
        active: bool,
    },
    /// What the client's audio is like at the gateway.
    #[serde(rename = "call.quality")]
    Quality {
        /// The running number.
        #[ts(type = "number")]
        seq: u64,
        /// The call.
        #[ts(type = "string")]
        call_id: CallId,
        /// The figures.
        quality: Quality,
    },
    /// The call is over.
    #[serde(rename = "call.ended")]
    Ended {
        /// The running number.
        #[ts(type = "number")]
        seq: u64,
        /// The call.
        #[ts(type = "string")]
        call_id: CallId,
        /// A stable word, such as `hangup`, `cancelled`, `no_answer`.
        reason: String,
        /// The SIP status, where one says it.
        sip_code: Option<u16>,
        /// The Q.850 cause, where one says it.
        q850: Option<u8>,
    },
    /// The agent's state changed.
    #[serde(rename = "agent.state")]
    AgentState {
        /// The running number.
        #[ts(type = "number")]
        seq: u64,
        /// From now on.
        state: AgentState,
    },
    /// The gateway takes no new calls; those that are go on.
    #[serde(rename = "server.draining")]
    Draining {
        /// The running number.
        #[ts(type = "number")]
        seq: u64,
    },
    /// The same user opened a session elsewhere; this one closes.
    #[serde(rename = "session.replaced")]
    Replaced {
        /// The running number.
        #[ts(type = "number")]
        seq: u64,
    },
}

/// Parameters of a notification that names a call and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct CallNotice {
    /// The running number.
    #[ts(type = "number")]
    pub seq: u64,
    /// The call.
    #[ts(type = "string")]
    pub call_id: CallId,
}

/// Parameters of `call.reattach`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct ReattachNotice {
    /// The running number.
    #[ts(type = "number")]
    pub seq: u64,
    /// The call.
    #[ts(type = "string")]
    pub call_id: CallId,
    /// The gateway's offer.
    pub sdp: String,
    /// The call, as it is now.
    #[serde(flatten)]
    pub line: Line,
}

/// Parameters of `call.held` and `call.resumed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct HoldNotice {
    /// The running number.
    #[ts(type = "number")]
    pub seq: u64,
    /// The call.
    #[ts(type = "string")]
    pub call_id: CallId,
    /// Whose hold. Each is lifted by its own side.
    pub by: HeldBy,
}

impl ServerNotification {
    /// The wire form of `notification` under the running number `seq`.
    pub fn new(seq: u64, notification: Notification) -> Self {
        match notification {
            Notification::Incoming { call, from, to, name, trunk, waiting, sdp } => {
                Self::Incoming { seq, call_id: call, from, to, name, trunk, waiting, sdp }
            }
            Notification::Offer { call, sdp } => Self::Offer { seq, call_id: call, sdp },
            Notification::Reattach { call, sdp, line } => {
                Self::Reattach(ReattachNotice { seq, call_id: call, sdp, line: *line })
            }
            Notification::Ringing { call } => Self::Ringing(CallNotice { seq, call_id: call }),
            Notification::EarlyMedia { call } => Self::EarlyMedia(CallNotice { seq, call_id: call }),
            Notification::Answered { call } => Self::Answered(CallNotice { seq, call_id: call }),
            Notification::Held { call, by } => Self::Held(HoldNotice { seq, call_id: call, by }),
            Notification::Resumed { call, by } => Self::Resumed(HoldNotice { seq, call_id: call, by }),
            Notification::Transferring { call, to, sip_code } => {
                Self::Transferring { seq, call_id: call, to, sip_code }
            }
            Notification::Transferred { call } => Self::Transferred(CallNotice { seq, call_id: call }),
            Notification::TransferFailed { call, reason, sip_code } => {
                Self::TransferFailed { seq, call_id: call, reason, sip_code }
            }
            Notification::Party { call, number, name } => Self::Party { seq, call_id: call, number, name },
            Notification::Recording { call, active } => Self::Recording { seq, call_id: call, active },
            Notification::Quality { call, quality } => Self::Quality { seq, call_id: call, quality },
            Notification::Ended { call, reason, sip_code, q850 } => {
                Self::Ended { seq, call_id: call, reason, sip_code, q850 }
            }
            Notification::Draining => Self::Draining { seq },
        }
    }

    /// The running number.
    pub const fn seq(&self) -> u64 {
        match self {
            Self::Ringing(notice) | Self::EarlyMedia(notice) | Self::Answered(notice) | Self::Transferred(notice) => {
                notice.seq
            }
            Self::Held(notice) | Self::Resumed(notice) => notice.seq,
            Self::Reattach(notice) => notice.seq,
            Self::Incoming { seq, .. }
            | Self::Offer { seq, .. }
            | Self::Transferring { seq, .. }
            | Self::TransferFailed { seq, .. }
            | Self::Party { seq, .. }
            | Self::Recording { seq, .. }
            | Self::Quality { seq, .. }
            | Self::Ended { seq, .. }
            | Self::AgentState { seq, .. }
            | Self::Draining { seq }
            | Self::Replaced { seq } => *seq,
        }
    }
}

/// The result of `session.open`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct OpenResult {
    /// The session, to be named at a resumption.
    #[ts(type = "string")]
    pub session_id: SignalingId,
    /// Seconds between the server's WebSocket pings.
    #[ts(type = "number")]
    pub heartbeat_s: u64,
    /// The earlier session goes on.
    pub resumed: bool,
    /// Every notification after the client's `seq` follows this result; where false, `calls` is all there is.
    pub replayed: bool,
    /// The last running number given out so far.
    #[ts(type = "number")]
    pub seq: u64,
    /// STUN and TURN servers for the peer connection.
    pub ice_servers: Vec<IceServer>,
    /// Whether emergency numbers can be dialled from here. Where false, a phone must say so as long as it is shown.
    pub emergency_calls: bool,
    /// The session's calls, as they are now.
    pub calls: Vec<CallSnapshot>,
    /// Who is logged in.
    pub agent: AgentView,
    /// What the client must keep to.
    pub limits: Limits,
}

/// A STUN or TURN server, as `RTCIceServer` wants it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct IceServer {
    /// `stun:…`, `turn:…`, `turns:…`.
    pub urls: Vec<String>,
    /// For TURN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub username: Option<String>,
    /// For TURN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub credential: Option<String>,
}

/// The person behind a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct AgentView {
    /// The user name.
    pub user: String,
    /// Where they are reached, where they are an agent.
    pub extension: Option<String>,
    /// The name for people to read.
    pub name: String,
    /// Whether they take calls.
    pub state: AgentState,
}

/// How far a call has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum CallPhase {
    /// It rings at the client, or is about to.
    Incoming,
    /// The client dialled it; nothing is known of the callee yet.
    Dialling,
    /// The callee's phone rings.
    Ringing,
    /// The callee's side sends audio before the answer.
    EarlyMedia,
    /// Audio crosses.
    Answered,
}

/// A call as the session knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct CallSnapshot {
    /// The call.
    #[ts(type = "string")]
    pub call_id: CallId,
    /// How far it has come.
    pub phase: CallPhase,
    /// The other party's number.
    pub number: String,
    /// The other party's name, where known.
    pub name: Option<String>,
    /// It is being recorded.
    pub recording: bool,
    /// The agent holds it.
    pub held: bool,
    /// The other side holds it.
    pub held_by_peer: bool,
}

/// What a client must keep to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Limits {
    /// Bytes of one message.
    pub message_bytes: usize,
    /// Messages a second.
    pub messages_per_second: u32,
    /// Calls at once.
    pub calls: usize,
}
