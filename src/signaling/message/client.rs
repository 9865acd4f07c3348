//! What a client sends: one variant a method.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::ids::{CallId, SignalingId};
use crate::signaling::AgentState;

/// Every method that a client may call, as it stands on the wire. A test keeps it the same as [`ClientRequest`].
pub const METHODS: &[&str] = &[
    "session.open",
    "session.ping",
    "agent.set_state",
    "call.dial",
    "call.alerting",
    "call.transport",
    "call.accept",
    "call.reject",
    "call.hangup",
    "call.mute",
    "call.dtmf",
    "call.hold",
    "call.resume",
    "call.transfer",
    "media.candidate",
    "stats.report",
];

/// A request of a client: JSON-RPC's `method` and `params`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[serde(tag = "method", content = "params")]
pub enum ClientRequest {
    /// The first message of every socket.
    #[serde(rename = "session.open")]
    Open(OpenParams),
    /// Asks for a sign of life; the server judges by its own WebSocket pings.
    #[serde(rename = "session.ping")]
    Ping {},
    /// Says whether this agent takes calls.
    #[serde(rename = "agent.set_state")]
    SetState {
        /// From now on.
        state: AgentState,
    },
    /// Places a call.
    #[serde(rename = "call.dial")]
    Dial {
        /// A `UUIDv7` that the client makes, so that a repeated request places no second call.
        #[ts(type = "string")]
        call_id: CallId,
        /// The number, as typed.
        to: String,
    },
    /// It rings here.
    #[serde(rename = "call.alerting")]
    Alerting(CallParams),
    /// The browser's answer to the gateway's offer.
    #[serde(rename = "call.transport")]
    Transport {
        /// The call.
        #[ts(type = "string")]
        call_id: CallId,
        /// The session description.
        sdp: String,
    },
    /// Takes the call.
    #[serde(rename = "call.accept")]
    Accept(CallParams),
    /// Refuses the call.
    #[serde(rename = "call.reject")]
    Reject(CallParams),
    /// Ends the call.
    #[serde(rename = "call.hangup")]
    Hangup(CallParams),
    /// Mutes or unmutes.
    #[serde(rename = "call.mute")]
    Mute {
        /// The call.
        #[ts(type = "string")]
        call_id: CallId,
        /// Muted from now on, or not.
        muted: bool,
    },
    /// Sends digits.
    #[serde(rename = "call.dtmf")]
    Dtmf {
        /// The call.
        #[ts(type = "string")]
        call_id: CallId,
        /// 1 to 32 of `0`–`9`, `*`, `#`, `A`–`D`.
        digits: String,
    },
    /// Puts the call on hold.
    #[serde(rename = "call.hold")]
    Hold(CallParams),
    /// Ends the agent's own hold.
    #[serde(rename = "call.resume")]
    Resume(CallParams),
    /// Hands the other party over: to a number, or to the party of another call of this session. Exactly one is given.
    #[serde(rename = "call.transfer")]
    Transfer {
        /// The call.
        #[ts(type = "string")]
        call_id: CallId,
        /// The number, as typed: a blind transfer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[ts(optional)]
        to: Option<String>,
        /// The consultation: an attended transfer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[ts(optional, type = "string")]
        consult_call: Option<CallId>,
    },
    /// A trickled candidate; an empty one says that there are no more.
    #[serde(rename = "media.candidate")]
    Candidate {
        /// The call.
        #[ts(type = "string")]
        call_id: CallId,
        /// `candidate:…`.
        candidate: String,
    },
    /// What the media is like at the client.
    #[serde(rename = "stats.report")]
    Stats(StatsReport),
}

/// Parameters of `session.open`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct OpenParams {
    /// The signalling token of the login.
    pub token: String,
    /// Name and version of the client, for the log.
    #[serde(default)]
    pub client: String,
    /// Goes on with an earlier session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub resume: Option<Resume>,
}

impl std::fmt::Debug for OpenParams {
    /// Without the token: a log must not hold one.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenParams").field("client", &self.client).field("resume", &self.resume).finish_non_exhaustive()
    }
}

/// Which session to go on with, and from where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Resume {
    /// The session.
    #[ts(type = "string")]
    pub session_id: SignalingId,
    /// The last `seq` that the client saw; 0 for none.
    #[ts(type = "number")]
    pub seq: u64,
}

/// Parameters of a request that names a call and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct CallParams {
    /// The call.
    #[ts(type = "string")]
    pub call_id: CallId,
}

/// Parameters of `stats.report`: the media as the client hears it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, TS)]
pub struct StatsReport {
    /// The call.
    #[ts(type = "string")]
    pub call_id: CallId,
    /// Interarrival jitter of the gateway's packets at the client, in milliseconds.
    pub jitter_ms: f32,
    /// Share of the gateway's packets lost since the last report, 0.0–1.0.
    pub loss: f32,
    /// Round-trip time of the media path in milliseconds, where known.
    #[serde(default)]
    pub rtt_ms: Option<f32>,
}
