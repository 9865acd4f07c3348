// Generated from src/signaling/message by `TANDEM_BLESS=1 cargo test typescript`. Do not edit.

/**
 * What an agent says of their readiness.
 */
export type AgentState = "available" | "busy" | "wrap_up" | "offline";

/**
 * What the media is like, for the page's badge.
 */
export type Quality = { 
/**
 * Interarrival jitter of the browser's packets at the gateway, in milliseconds.
 */
jitter_ms: number, 
/**
 * Share of the browser's packets that the gateway missed since the last report, 0.0–1.0.
 */
loss: number, 
/**
 * Round-trip time between browser and gateway in milliseconds, where known.
 */
rtt_ms: number | null, 
/**
 * Mean opinion score of the browser's sound as it reached the gateway, 1.0–4.4, estimated; `None` where none came.
 */
mos: number | null, };

/**
 * A request of a client: JSON-RPC's `method` and `params`.
 */
export type ClientRequest = { "method": "session.open", "params": OpenParams } | { "method": "session.ping", "params": Record<symbol, never> } | { "method": "agent.set_state", "params": { 
/**
 * From now on.
 */
state: AgentState, } } | { "method": "call.dial", "params": { 
/**
 * A `UUIDv7` that the client makes, so that a repeated request places no second call.
 */
call_id: string, 
/**
 * The number, as typed.
 */
to: string, } } | { "method": "call.alerting", "params": CallParams } | { "method": "call.transport", "params": { 
/**
 * The call.
 */
call_id: string, 
/**
 * The session description.
 */
sdp: string, } } | { "method": "call.accept", "params": CallParams } | { "method": "call.reject", "params": CallParams } | { "method": "call.hangup", "params": CallParams } | { "method": "call.mute", "params": { 
/**
 * The call.
 */
call_id: string, 
/**
 * Muted from now on, or not.
 */
muted: boolean, } } | { "method": "call.dtmf", "params": { 
/**
 * The call.
 */
call_id: string, 
/**
 * 1 to 32 of `0`–`9`, `*`, `#`, `A`–`D`.
 */
digits: string, } } | { "method": "call.hold", "params": CallParams } | { "method": "call.resume", "params": CallParams } | { "method": "call.transfer", "params": { 
/**
 * The call.
 */
call_id: string, 
/**
 * The number, as typed: a blind transfer.
 */
to?: string, 
/**
 * The consultation: an attended transfer.
 */
consult_call?: string, } } | { "method": "media.candidate", "params": { 
/**
 * The call.
 */
call_id: string, 
/**
 * `candidate:…`.
 */
candidate: string, } } | { "method": "stats.report", "params": StatsReport };

/**
 * Parameters of `session.open`.
 */
export type OpenParams = { 
/**
 * The signalling token of the login.
 */
token: string, 
/**
 * Name and version of the client, for the log.
 */
client: string, 
/**
 * Goes on with an earlier session.
 */
resume?: Resume, };

/**
 * Which session to go on with, and from where.
 */
export type Resume = { 
/**
 * The session.
 */
session_id: string, 
/**
 * The last `seq` that the client saw; 0 for none.
 */
seq: number, };

/**
 * Parameters of a request that names a call and nothing else.
 */
export type CallParams = { 
/**
 * The call.
 */
call_id: string, };

/**
 * Parameters of `stats.report`: the media as the client hears it.
 */
export type StatsReport = { 
/**
 * The call.
 */
call_id: string, 
/**
 * Interarrival jitter of the gateway's packets at the client, in milliseconds.
 */
jitter_ms: number, 
/**
 * Share of the gateway's packets lost since the last report, 0.0–1.0.
 */
loss: number, 
/**
 * Round-trip time of the media path in milliseconds, where known.
 */
rtt_ms: number | null, };

/**
 * A notification: JSON-RPC's `method` and `params`. Every `params` has the session's running number `seq`.
 */
export type ServerNotification = { "method": "call.incoming", "params": { 
/**
 * The running number.
 */
seq: number, 
/**
 * The call.
 */
call_id: string, 
/**
 * The caller's number.
 */
from: string, 
/**
 * The number called.
 */
to: string, 
/**
 * The caller's name, where one is known.
 */
name: string | null, 
/**
 * The trunk that it came from.
 */
trunk: string, 
/**
 * The agent is in a call already: ring softly.
 */
waiting: boolean, 
/**
 * The gateway's offer.
 */
sdp: string, } } | { "method": "call.offer", "params": { 
/**
 * The running number.
 */
seq: number, 
/**
 * The call.
 */
call_id: string, 
/**
 * The offer.
 */
sdp: string, } } | { "method": "call.reattach", "params": ReattachNotice } | { "method": "call.ringing", "params": CallNotice } | { "method": "call.early_media", "params": CallNotice } | { "method": "call.answered", "params": CallNotice } | { "method": "call.held", "params": HoldNotice } | { "method": "call.resumed", "params": HoldNotice } | { "method": "call.transferring", "params": { 
/**
 * The running number.
 */
seq: number, 
/**
 * The call.
 */
call_id: string, 
/**
 * To whom.
 */
to: string, 
/**
 * The SIP status of the new call so far, where the other side told.
 */
sip_code: number | null, } } | { "method": "call.transferred", "params": CallNotice } | { "method": "call.transfer_failed", "params": { 
/**
 * The running number.
 */
seq: number, 
/**
 * The call.
 */
call_id: string, 
/**
 * A stable word, such as `busy`, `no_answer`.
 */
reason: string, 
/**
 * The SIP status, where one says it.
 */
sip_code: number | null, } } | { "method": "call.party", "params": { 
/**
 * The running number.
 */
seq: number, 
/**
 * The call.
 */
call_id: string, 
/**
 * The number.
 */
number: string, 
/**
 * The name, where known.
 */
name: string | null, } } | { "method": "call.recording", "params": { 
/**
 * The running number.
 */
seq: number, 
/**
 * The call.
 */
call_id: string, 
/**
 * Whether it is.
 */
active: boolean, } } | { "method": "call.quality", "params": { 
/**
 * The running number.
 */
seq: number, 
/**
 * The call.
 */
call_id: string, 
/**
 * The figures.
 */
quality: Quality, } } | { "method": "call.ended", "params": { 
/**
 * The running number.
 */
seq: number, 
/**
 * The call.
 */
call_id: string, 
/**
 * A stable word, such as `hangup`, `cancelled`, `no_answer`.
 */
reason: string, 
/**
 * The SIP status, where one says it.
 */
sip_code: number | null, 
/**
 * The Q.850 cause, where one says it.
 */
q850: number | null, } } | { "method": "agent.state", "params": { 
/**
 * The running number.
 */
seq: number, 
/**
 * From now on.
 */
state: AgentState, } } | { "method": "server.draining", "params": { 
/**
 * The running number.
 */
seq: number, } } | { "method": "session.replaced", "params": { 
/**
 * The running number.
 */
seq: number, } };

/**
 * Parameters of a notification that names a call and nothing else.
 */
export type CallNotice = { 
/**
 * The running number.
 */
seq: number, 
/**
 * The call.
 */
call_id: string, };

/**
 * Who called whom.
 */
export type Direction = "inbound" | "outbound";

/**
 * Parameters of `call.reattach`.
 */
export type ReattachNotice = { 
/**
 * The running number.
 */
seq: number, 
/**
 * The call.
 */
call_id: string, 
/**
 * The gateway's offer.
 */
sdp: string, 
/**
 * Who called whom.
 */
direction: Direction, 
/**
 * The other party's number, as it is now.
 */
number: string, 
/**
 * The other party's name, where known.
 */
name: string | null, 
/**
 * How long ago it was answered, in milliseconds.
 */
talked_ms: number, 
/**
 * The agent holds it.
 */
held_by_agent: boolean, 
/**
 * The other side holds it.
 */
held_by_peer: boolean, 
/**
 * It is being recorded.
 */
recording: boolean, };

/**
 * Who put a call on hold.
 */
export type HeldBy = "agent" | "peer";

/**
 * Parameters of `call.held` and `call.resumed`.
 */
export type HoldNotice = { 
/**
 * The running number.
 */
seq: number, 
/**
 * The call.
 */
call_id: string, 
/**
 * Whose hold. Each is lifted by its own side.
 */
by: HeldBy, };

/**
 * The result of `session.open`.
 */
export type OpenResult = { 
/**
 * The session, to be named at a resumption.
 */
session_id: string, 
/**
 * Seconds between the server's WebSocket pings.
 */
heartbeat_s: number, 
/**
 * The earlier session goes on.
 */
resumed: boolean, 
/**
 * Every notification after the client's `seq` follows this result; where false, `calls` is all there is.
 */
replayed: boolean, 
/**
 * The last running number given out so far.
 */
seq: number, 
/**
 * STUN and TURN servers for the peer connection.
 */
ice_servers: Array<IceServer>, 
/**
 * Whether emergency numbers can be dialled from here. Where false, a phone must say so as long as it is shown.
 */
emergency_calls: boolean, 
/**
 * The session's calls, as they are now.
 */
calls: Array<CallSnapshot>, 
/**
 * Who is logged in.
 */
agent: AgentView, 
/**
 * What the client must keep to.
 */
limits: Limits, };

/**
 * A STUN or TURN server, as `RTCIceServer` wants it.
 */
export type IceServer = { 
/**
 * `stun:…`, `turn:…`, `turns:…`.
 */
urls: Array<string>, 
/**
 * For TURN.
 */
username?: string, 
/**
 * For TURN.
 */
credential?: string, };

/**
 * The person behind a session.
 */
export type AgentView = { 
/**
 * The user name.
 */
user: string, 
/**
 * Where they are reached, where they are an agent.
 */
extension: string | null, 
/**
 * The name for people to read.
 */
name: string, 
/**
 * Whether they take calls.
 */
state: AgentState, };

/**
 * How far a call has come.
 */
export type CallPhase = "incoming" | "dialling" | "ringing" | "early_media" | "answered";

/**
 * A call as the session knows it.
 */
export type CallSnapshot = { 
/**
 * The call.
 */
call_id: string, 
/**
 * How far it has come.
 */
phase: CallPhase, 
/**
 * The other party's number.
 */
number: string, 
/**
 * The other party's name, where known.
 */
name: string | null, 
/**
 * It is being recorded.
 */
recording: boolean, 
/**
 * The agent holds it.
 */
held: boolean, 
/**
 * The other side holds it.
 */
held_by_peer: boolean, };

/**
 * What a client must keep to.
 */
export type Limits = { 
/**
 * Bytes of one message.
 */
message_bytes: number, 
/**
 * Messages a second.
 */
messages_per_second: number, 
/**
 * Calls at once.
 */
calls: number, };
