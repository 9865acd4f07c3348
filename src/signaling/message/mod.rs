//! JSON-RPC 2.0 on the wire: reading what a client sends, writing what it gets.
//!
//! The TypeScript in `web/src/generated/signaling.ts` is generated from these types; a test fails when it differs.

mod client;
mod server;

pub use client::{CallParams, ClientRequest, METHODS, OpenParams, Resume, StatsReport};
pub use server::{AgentView, CallNotice, CallPhase, CallSnapshot, HoldNotice, ReattachNotice};
pub use server::{IceServer, Limits, OpenResult, ServerNotification};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::signaling::Error;

/// JSON-RPC: not a request.
pub const INVALID_REQUEST: i32 = -32600;
/// JSON-RPC: no such method.
pub const UNKNOWN_METHOD: i32 = -32601;
/// JSON-RPC: the parameters are not what the method takes.
pub const BAD_PARAMS: i32 = -32602;
/// Ours: refused; `data.code` says why.
pub const REFUSED: i32 = -32000;

/// A request's `id`, chosen by the client and repeated in the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum RequestId {
    /// A whole number.
    Number(i64),
    /// A text.
    Text(String),
}

/// What one text frame turned out to be.
#[derive(Debug, Clone, PartialEq)]
pub enum Frame {
    /// A request; without an `id` it wants no answer.
    Request {
        /// For the answer.
        id: Option<RequestId>,
        /// What is asked.
        request: Box<ClientRequest>,
    },
    /// Not a request that we know: the answer to send, if one is due.
    Refused(Option<String>),
    /// Not a JSON object at all: the socket closes with 4400.
    Broken,
}

impl Frame {
    /// Reads one text frame. Unknown fields are ignored, so that newer clients work with older gateways.
    pub fn read(text: &str) -> Self {
        let Ok(Value::Object(mut object)) = serde_json::from_str::<Value>(text) else {
            return Self::Broken;
        };
        let id = match object.remove("id") {
            None => None,
            Some(id) => match serde_json::from_value::<RequestId>(id) {
                Ok(id) => Some(id),
                Err(_) => {
                    return Self::Refused(Some(refusal(
                        None,
                        INVALID_REQUEST,
                        "the id must be a whole number or a text",
                    )));
                }
            },
        };
        if object.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
            return Self::Refused(Some(refusal(id.as_ref(), INVALID_REQUEST, "jsonrpc must be \"2.0\"")));
        }
        let Some(Value::String(method)) = object.remove("method") else {
            return Self::Refused(Some(refusal(id.as_ref(), INVALID_REQUEST, "the method is missing")));
        };
        if !METHODS.contains(&method.as_str()) {
            return Self::Refused(id.map(|id| refusal(Some(&id), UNKNOWN_METHOD, "unknown method")));
        }
        let params = object.remove("params").unwrap_or_else(|| json!({}));
        match serde_json::from_value(json!({"method": method, "params": params})) {
            Ok(request) => Self::Request { id, request: Box::new(request) },
            Err(error) => Self::Refused(id.map(|id| refusal(Some(&id), BAD_PARAMS, &error.to_string()))),
        }
    }
}

/// An error answer of the protocol itself.
pub fn refusal(id: Option<&RequestId>, code: i32, message: &str) -> String {
    json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}}).to_string()
}

/// An error answer with one of our stable codes.
pub fn failure(id: &RequestId, error: &Error) -> String {
    let data = json!({"code": error.code, "retryable": error.retryable});
    json!({"jsonrpc": "2.0", "id": id, "error": {"code": REFUSED, "message": error.message, "data": data}}).to_string()
}

/// An answer.
pub fn success(id: &RequestId, result: &Value) -> String {
    json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string()
}

/// The answer to `session.open`.
pub fn opened(id: &RequestId, result: &OpenResult) -> String {
    success(id, &json!(result))
}

/// A notification as it goes out.
pub fn notification(body: &ServerNotification) -> String {
    #[derive(Serialize)]
    struct Outgoing<'a> {
        jsonrpc: &'static str,
        #[serde(flatten)]
        body: &'a ServerNotification,
    }
    json!(Outgoing { jsonrpc: "2.0", body }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::CallId;
    use crate::ids::SignalingId;
    use crate::signaling::{AgentState, Direction, HeldBy, Notification, Quality};
    use std::path::Path;
    use ts_rs::{Config, TS};
    use uuid::Uuid;

    fn call() -> CallId {
        CallId::from_uuid(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001))
    }

    fn refused_code(text: &str) -> i64 {
        let Frame::Refused(Some(answer)) = Frame::read(text) else { panic!("not refused: {text}") };
        serde_json::from_str::<Value>(&answer).unwrap()["error"]["code"].as_i64().unwrap()
    }

    #[test]
    fn every_method_has_a_variant_and_every_variant_a_method() {
        let id = SignalingId::from_uuid(Uuid::nil());
        let params = CallParams { call_id: call() };
        let all = [
            ClientRequest::Open(OpenParams {
                token: "t".into(),
                client: "c".into(),
                resume: Some(Resume { session_id: id, seq: 3 }),
            }),
            ClientRequest::Ping {},
            ClientRequest::SetState { state: AgentState::WrapUp },
            ClientRequest::Dial { call_id: call(), to: "600".into() },
            ClientRequest::Alerting(params),
            ClientRequest::Transport { call_id: call(), sdp: "v=0".into() },
            ClientRequest::Accept(params),
            ClientRequest::Reject(params),
            ClientRequest::Hangup(params),
            ClientRequest::Mute { call_id: call(), muted: true },
            ClientRequest::Dtmf { call_id: call(), digits: "1#".into() },
            ClientRequest::Hold(params),
            ClientRequest::Resume(params),
            ClientRequest::Transfer { call_id: call(), to: Some("600".into()), consult_call: None },
            ClientRequest::Candidate { call_id: call(), candidate: String::new() },
            ClientRequest::Stats(StatsReport { call_id: call(), jitter_ms: 1.0, loss: 0.0, rtt_ms: None }),
        ];
        assert_eq!(all.len(), METHODS.len());
        for (request, method) in all.into_iter().zip(METHODS) {
            let mut wire = json!(request);
            assert_eq!(wire["method"], **method);
            wire["jsonrpc"] = json!("2.0");
            wire["id"] = json!("a");
            let read = Frame::read(&wire.to_string());
            assert_eq!(read, Frame::Request { id: Some(RequestId::Text("a".into())), request: Box::new(request) });
        }
    }

    #[test]
    fn unknown_fields_are_ignored() {
        let text = r#"{"jsonrpc":"2.0","id":1,"method":"call.dial","trace":1,"params":{"call_id":"01900000-0000-7000-8000-000000000001","to":"600","colour":"red"}}"#;
        let expected = ClientRequest::Dial { call_id: call(), to: "600".into() };
        assert_eq!(Frame::read(text), Frame::Request { id: Some(RequestId::Number(1)), request: Box::new(expected) });
    }

    #[test]
    fn missing_parameters_are_an_empty_object() {
        let read = Frame::read(r#"{"jsonrpc":"2.0","id":1,"method":"session.ping"}"#);
        assert_eq!(read, Frame::Request { id: Some(RequestId::Number(1)), request: Box::new(ClientRequest::Ping {}) });
    }

    #[test]
    fn faults_get_the_codes_of_json_rpc() {
        assert_eq!(refused_code(r#"{"jsonrpc":"2.0","id":1,"method":"call.fly"}"#), -32601);
        assert_eq!(refused_code(r#"{"jsonrpc":"2.0","id":1,"method":"call.accept","params":{}}"#), -32602);
        assert_eq!(refused_code(r#"{"jsonrpc":"2.0","id":1,"method":"call.accept","params":{"call_id":"x"}}"#), -32602);
        assert_eq!(refused_code(r#"{"jsonrpc":"2.0","id":1,"method":"call.accept","params":[1]}"#), -32602);
        assert_eq!(refused_code(r#"{"id":1,"method":"session.ping"}"#), -32600);
        assert_eq!(refused_code(r#"{"jsonrpc":"2.0","id":{},"method":"session.ping"}"#), -32600);
        assert_eq!(refused_code(r#"{"jsonrpc":"2.0","id":1}"#), -32600);
    }

    #[test]
    fn a_notification_that_is_not_understood_gets_no_answer() {
        assert_eq!(Frame::read(r#"{"jsonrpc":"2.0","method":"call.fly"}"#), Frame::Refused(None));
        assert_eq!(Frame::read(r#"{"jsonrpc":"2.0","method":"call.accept","params":{}}"#), Frame::Refused(None));
    }

    #[test]
    fn what_is_no_json_object_is_broken() {
        let deep = "[".repeat(100_000);
        for text in ["", "{", "null", "[]", "\"x\"", "1", deep.as_str(), "{\"a\":1}x", "\u{0}"] {
            assert_eq!(Frame::read(text), Frame::Broken, "{text:.40}");
        }
    }

    #[test]
    fn a_notification_carries_its_number_in_its_parameters() {
        let quality = Quality { jitter_ms: 2.0, loss: 0.0, rtt_ms: None, mos: Some(4.25) };
        let body = ServerNotification::new(7, Notification::Quality { call: call(), quality });
        let wire: Value = serde_json::from_str(&notification(&body)).unwrap();
        assert_eq!(wire["jsonrpc"], "2.0");
        assert_eq!(wire["method"], "call.quality");
        assert_eq!(wire["params"]["seq"], 7);
        assert_eq!(wire["params"]["call_id"], "01900000-0000-7000-8000-000000000001");
        assert_eq!(serde_json::from_value::<ServerNotification>(wire).unwrap(), body);
    }

    #[test]
    fn a_failure_has_a_stable_code() {
        let error = Error { code: "call.unknown".into(), message: "no such call".into(), retryable: false };
        let wire: Value = serde_json::from_str(&failure(&RequestId::Number(4), &error)).unwrap();
        assert_eq!(wire["error"]["data"], json!({"code": "call.unknown", "retryable": false}));
        assert_eq!(wire["id"], 4);
    }

    #[test]
    fn a_token_never_shows_in_debug_output() {
        let request = ClientRequest::Open(OpenParams { token: "secret".into(), client: String::new(), resume: None });
        assert!(!format!("{request:?}").contains("secret"));
    }

    fn declare<T: TS>(out: &mut String, config: &Config) {
        out.push('\n');
        out.push_str(&T::docs().unwrap_or_default());
        out.push_str("export ");
        out.push_str(&T::decl(config));
        out.push('\n');
    }

    /// Run with `TANDEM_BLESS=1` to write the file anew.
    #[test]
    fn the_generated_typescript_is_up_to_date() {
        let config = Config::new();
        let mut text = String::from(
            "// Generated from src/signaling/message by `TANDEM_BLESS=1 cargo test typescript`. Do not edit.\n",
        );
        declare::<AgentState>(&mut text, &config);
        declare::<Quality>(&mut text, &config);
        declare::<ClientRequest>(&mut text, &config);
        declare::<OpenParams>(&mut text, &config);
        declare::<Resume>(&mut text, &config);
        declare::<CallParams>(&mut text, &config);
        declare::<StatsReport>(&mut text, &config);
        declare::<ServerNotification>(&mut text, &config);
        declare::<CallNotice>(&mut text, &config);
        declare::<Direction>(&mut text, &config);
        declare::<ReattachNotice>(&mut text, &config);
        declare::<HeldBy>(&mut text, &config);
        declare::<HoldNotice>(&mut text, &config);
        declare::<OpenResult>(&mut text, &config);
        declare::<IceServer>(&mut text, &config);
        declare::<AgentView>(&mut text, &config);
        declare::<CallPhase>(&mut text, &config);
        declare::<CallSnapshot>(&mut text, &config);
        declare::<Limits>(&mut text, &config);

        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("web/src/generated/signaling.ts");
        if std::env::var_os("TANDEM_BLESS").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == text,
            "web/src/generated/signaling.ts differs from the Rust types: run with TANDEM_BLESS=1 and commit it"
        );
    }
}
