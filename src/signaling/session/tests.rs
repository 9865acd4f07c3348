//! The session under virtual time.

use super::*;
use crate::clock::Clock;
use crate::ids::Extension;
use crate::signaling::{CallRequest, Direction, Error, HeldBy, Line};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use uuid::Uuid;

struct Bench {
    session: Session,
    now: Instant,
}

fn call(n: u128) -> CallId {
    CallId::from_uuid(Uuid::from_u128(n))
}

fn identity(roles: &[Role], extension: Option<&str>) -> Identity {
    Identity {
        user: "alice".into(),
        display_name: "Alice".into(),
        extension: extension.map(Extension::new),
        number: None,
        roles: roles.iter().copied().collect::<BTreeSet<_>>(),
    }
}

fn started_as(identity: Identity) -> Bench {
    started_with(identity, &Config::default())
}

fn started_with(identity: Identity, config: &Config) -> Bench {
    let now = Clock::system().now();
    let opened = Opened { id: RequestId::Number(0), identity, login: None, client: String::new(), resume: None };
    let id = SignalingId::from_uuid(Uuid::from_u128(9));
    Bench { session: Session::new(id, opened, config, now), now }
}

fn started() -> Bench {
    let mut bench = started_as(identity(&[Role::Agent], Some("1001")));
    bench.outputs();
    bench
}

impl Bench {
    fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.session.poll_output()).collect()
    }

    fn feed(&mut self, input: Input) -> Vec<Output> {
        self.session.handle(input, self.now);
        self.outputs()
    }

    fn request(&mut self, id: u64, method: &str, params: &Value) -> Vec<Output> {
        self.feed(Input::Text(json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string()))
    }

    fn on_call(&mut self, id: u64, method: &str, n: u128) -> Vec<Output> {
        self.request(id, method, &json!({"call_id": call(n)}))
    }

    fn notify(&mut self, notification: Notification) -> Vec<Output> {
        self.feed(Input::Command(Command::Notify(notification)))
    }

    fn incoming(&mut self, n: u128) -> Vec<Output> {
        let (from, to, trunk, sdp) = ("600".into(), "1001".into(), "pbx".into(), "v=0".into());
        self.notify(Notification::Incoming {
            call: call(n),
            from,
            to,
            name: Some("Echo".into()),
            trunk,
            waiting: false,
            sdp,
        })
    }

    fn end_call(&mut self, n: u128) -> Vec<Output> {
        self.notify(Notification::Ended { call: call(n), reason: "hangup".into(), sip_code: None, q850: Some(16) })
    }

    fn reply(&mut self, token: RequestToken, result: Result<(), Error>) -> Vec<Output> {
        self.feed(Input::Command(Command::Reply { token, result }))
    }

    /// Lets time pass as the shell does: from deadline to deadline.
    fn pass(&mut self, time: Duration) -> Vec<Output> {
        let until = self.now + time;
        let mut outputs = Vec::new();
        while let Some((at, _)) = self.session.poll_timeout().filter(|(at, _)| *at <= until) {
            self.session.handle_timeout(at);
            outputs.extend(self.outputs());
        }
        self.now = until;
        outputs
    }
}

fn texts(outputs: &[Output]) -> Vec<Value> {
    outputs
        .iter()
        .filter_map(
            |output| if let Output::Send(text) = output { Some(serde_json::from_str(text).unwrap()) } else { None },
        )
        .collect()
}

fn events(outputs: &[Output]) -> Vec<EventKind> {
    outputs
        .iter()
        .filter_map(|output| if let Output::Event(kind) = output { Some(kind.clone()) } else { None })
        .collect()
}

fn token(outputs: &[Output]) -> RequestToken {
    events(outputs)
        .into_iter()
        .find_map(|kind| if let EventKind::Request { token, .. } = kind { Some(token) } else { None })
        .expect("a request")
}

fn close_code(outputs: &[Output]) -> Option<CloseCode> {
    outputs.iter().find_map(|output| if let Output::CloseSocket(code) = output { Some(*code) } else { None })
}

fn has_ended(outputs: &[Output]) -> bool {
    outputs.iter().any(|output| matches!(output, Output::Ended))
}

#[test]
fn the_opening_says_whether_emergency_numbers_can_be_dialled() {
    for emergency_calls in [true, false] {
        let config = Config { emergency_calls, ..Config::default() };
        let mut bench = started_with(identity(&[Role::Agent], Some("1001")), &config);
        let opened = texts(&bench.outputs());
        assert_eq!(opened[0]["result"]["emergency_calls"], emergency_calls);
    }
}

#[test]
fn open_is_answered_with_all_that_a_client_needs() {
    let mut bench = started_as(identity(&[Role::Agent], Some("1001")));
    let outputs = bench.outputs();
    assert!(matches!(events(&outputs).as_slice(), [EventKind::Opened(who)] if who.user == "alice"));
    let result = &texts(&outputs)[0]["result"];
    assert_eq!(result["agent"], json!({"user": "alice", "extension": "1001", "name": "Alice", "state": "offline"}));
    assert_eq!(result["limits"], json!({"message_bytes": 65_536, "messages_per_second": 50, "calls": 8}));
    assert_eq!((result["heartbeat_s"].as_u64(), result["resumed"].as_bool()), (Some(15), Some(false)));
    assert_eq!((&result["calls"], &result["ice_servers"]), (&json!([]), &json!([])));
}

#[test]
fn a_request_is_answered_when_the_call_room_replies() {
    let mut bench = started();
    bench.incoming(1);
    let outputs = bench.on_call(5, "call.accept", 1);
    assert!(texts(&outputs).is_empty());
    let [EventKind::Request { token, call: asked, request: CallRequest::Accept }] = events(&outputs)[..] else {
        panic!()
    };
    assert_eq!(asked, call(1));
    assert_eq!(texts(&bench.reply(token, Ok(()))), [json!({"jsonrpc": "2.0", "id": 5, "result": {}})]);
    assert!(bench.reply(token, Ok(())).is_empty(), "a token is spent once");
}

#[test]
fn a_refusal_reaches_the_client_with_its_code() {
    let mut bench = started();
    bench.incoming(1);
    let token = token(&bench.on_call(5, "call.accept", 1));
    let answer = &texts(&bench.reply(token, Err(Error::new("call.wrong_state", "too late", false))))[0];
    assert_eq!(answer["error"]["data"]["code"], "call.wrong_state");
    // A refused request may be tried again.
    assert_eq!(events(&bench.on_call(6, "call.accept", 1)).len(), 1);
}

#[test]
fn a_repeated_request_has_its_effect_once() {
    let mut bench = started();
    let dial = json!({"call_id": call(1), "to": "600"});
    let first = token(&bench.request(1, "call.dial", &dial));
    assert!(bench.request(2, "call.dial", &dial).is_empty(), "joins the first");
    let answers = texts(&bench.reply(first, Ok(())));
    assert_eq!(answers.iter().map(|answer| answer["id"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2]);
    let again = bench.request(3, "call.dial", &dial);
    assert!(events(&again).is_empty());
    assert_eq!(texts(&again)[0]["result"], json!({}));
}

#[test]
fn digits_are_not_swallowed_as_repeats() {
    let mut bench = started();
    bench.incoming(1);
    let dtmf = json!({"call_id": call(1), "digits": "1"});
    assert_eq!(events(&bench.request(1, "call.dtmf", &dtmf)).len(), 1);
    assert_eq!(events(&bench.request(2, "call.dtmf", &dtmf)).len(), 1);
}

#[test]
fn a_call_of_another_session_is_unknown() {
    let mut bench = started();
    for method in ["call.accept", "call.hangup", "call.reject", "call.alerting"] {
        let outputs = bench.on_call(1, method, 77);
        assert!(events(&outputs).is_empty());
        assert_eq!(texts(&outputs)[0]["error"]["data"]["code"], "call.unknown", "{method}");
    }
}

#[test]
fn hanging_up_what_is_over_is_no_error() {
    let mut bench = started();
    bench.incoming(1);
    bench.end_call(1);
    assert_eq!(texts(&bench.on_call(1, "call.hangup", 1))[0]["result"], json!({}));
    assert_eq!(texts(&bench.on_call(2, "call.accept", 1))[0]["error"]["data"]["code"], "call.unknown");
}

#[test]
fn requests_that_wait_when_the_call_ends_are_answered() {
    let mut bench = started();
    bench.incoming(1);
    bench.on_call(1, "call.accept", 1);
    bench.on_call(2, "call.hangup", 1);
    let answers = texts(&bench.end_call(1));
    assert_eq!(answers[0]["error"]["data"]["code"], "call.unknown");
    assert_eq!(answers[1]["result"], json!({}));
    assert_eq!(answers[2]["method"], "call.ended");
}

#[test]
fn the_ninth_call_is_refused() {
    let mut bench = started();
    for n in 1..=8 {
        bench.incoming(n);
    }
    let outputs = bench.request(1, "call.dial", &json!({"call_id": call(9), "to": "600"}));
    assert_eq!(texts(&outputs)[0]["error"]["data"]["code"], "agent.limit");
    bench.end_call(3);
    assert_eq!(events(&bench.request(2, "call.dial", &json!({"call_id": call(9), "to": "600"}))).len(), 1);
}

#[test]
fn a_failed_dial_frees_its_place() {
    let mut bench = started();
    let outputs = bench.request(1, "call.dial", &json!({"call_id": call(1), "to": "600"}));
    assert!(outputs.iter().any(|output| matches!(output, Output::CallBegan(began) if *began == call(1))));
    let outputs = bench.reply(token(&outputs), Err(Error::new("call.forbidden", "not in the dial plan", false)));
    assert!(outputs.iter().any(|output| matches!(output, Output::CallFailed(failed) if *failed == call(1))));
    assert_eq!(bench.session.calls.len(), 0);
}

#[test]
fn bad_parameters_never_reach_the_call_room() {
    let mut bench = started();
    bench.incoming(1);
    let long = "1".repeat(129);
    for (method, params) in [
        ("call.dial", json!({"call_id": call(2), "to": " "})),
        ("call.dial", json!({"call_id": call(2), "to": long})),
        ("call.dial", json!({"call_id": call(2), "to": "600\r\nX: y"})),
        ("call.dtmf", json!({"call_id": call(1), "digits": "12x"})),
        ("call.dtmf", json!({"call_id": call(1), "digits": ""})),
        ("call.dtmf", json!({"call_id": call(1), "digits": "1".repeat(33)})),
        ("call.transport", json!({"call_id": call(1), "sdp": "a".repeat(32_769)})),
    ] {
        let outputs = bench.request(1, method, &params);
        assert_eq!(texts(&outputs)[0]["error"]["code"], -32602, "{method} {params:.60}");
        assert!(events(&outputs).is_empty());
    }
}

#[test]
fn only_an_agent_with_an_extension_takes_and_places_calls() {
    for who in [identity(&[Role::Operator], Some("1001")), identity(&[Role::Agent], None)] {
        let mut bench = started_as(who);
        bench.outputs();
        let outputs = bench.request(1, "agent.set_state", &json!({"state": "available"}));
        assert_eq!(texts(&outputs)[0]["error"]["data"]["code"], "agent.forbidden");
        let outputs = bench.request(2, "call.dial", &json!({"call_id": call(1), "to": "600"}));
        assert_eq!(texts(&outputs)[0]["error"]["data"]["code"], "agent.forbidden");
        assert!(events(&outputs).is_empty());
    }
}

#[test]
fn a_state_is_told_once() {
    let mut bench = started();
    let outputs = bench.request(1, "agent.set_state", &json!({"state": "available"}));
    assert!(outputs.iter().any(|output| matches!(output, Output::State(AgentState::Available))));
    assert_eq!(texts(&outputs)[0]["params"], json!({"seq": 1, "state": "available"}));
    assert_eq!(texts(&outputs)[1]["result"], json!({}));
    assert_eq!(bench.request(2, "agent.set_state", &json!({"state": "available"})).len(), 1);
}

#[test]
fn a_state_that_the_gateway_sets_is_told_and_counts() {
    let mut bench = started();
    bench.request(1, "agent.set_state", &json!({"state": "available"}));
    let outputs = bench.feed(Input::Command(Command::SetState(AgentState::Offline)));
    assert!(outputs.iter().any(|output| matches!(output, Output::State(AgentState::Offline))));
    assert_eq!(texts(&outputs)[0]["params"], json!({"seq": 2, "state": "offline"}));
}

#[test]
fn a_silent_client_is_closed_with_4408_after_an_unanswered_ping_and_may_come_back() {
    let mut bench = started();
    assert!(matches!(bench.pass(Duration::from_secs(15)).as_slice(), [Output::Ping]));
    bench.feed(Input::Pong);
    assert!(matches!(bench.pass(Duration::from_secs(15)).as_slice(), [Output::Ping]));
    let outputs = bench.pass(Duration::from_secs(15));
    assert_eq!(close_code(&outputs), Some(CloseCode::Timeout));
    assert!(matches!(events(&outputs).as_slice(), [EventKind::Lost]));
    assert!(!has_ended(&outputs));
}

#[test]
fn a_lost_socket_is_kept_for_the_grace_and_then_the_session_closes() {
    let mut bench = started();
    assert!(matches!(events(&bench.feed(Input::SocketLost { goodbye: false })).as_slice(), [EventKind::Lost]));
    assert!(bench.pass(Duration::from_millis(59_999)).is_empty());
    let outputs = bench.pass(Duration::from_millis(1));
    assert!(matches!(events(&outputs).as_slice(), [EventKind::Closed]));
    assert!(has_ended(&outputs));
    assert!(bench.incoming(1).is_empty(), "nothing follows the end");
}

#[test]
fn a_client_that_comes_back_gets_what_it_missed() {
    let mut bench = started();
    bench.incoming(1);
    bench.feed(Input::SocketLost { goodbye: false });
    assert!(texts(&bench.notify(Notification::Answered { call: call(1) })).is_empty());
    bench.notify(Notification::Recording { call: call(1), active: true });
    let outputs = bench.feed(Input::Resumed { id: RequestId::Number(3), seq: 1 });
    assert!(matches!(events(&outputs).as_slice(), [EventKind::Resumed]));
    let sent = texts(&outputs);
    assert_eq!(
        (sent[0]["result"]["resumed"].as_bool(), sent[0]["result"]["replayed"].as_bool()),
        (Some(true), Some(true))
    );
    assert_eq!(
        sent[0]["result"]["calls"][0],
        json!({"call_id": call(1), "phase": "answered", "number": "600", "name": "Echo", "recording": true,
            "held": false, "held_by_peer": false})
    );
    assert_eq!(
        (sent[1]["method"].as_str(), sent[2]["method"].as_str()),
        (Some("call.answered"), Some("call.recording"))
    );
    assert!(
        !bench.pass(Duration::from_secs(61)).iter().any(|output| matches!(output, Output::Event(EventKind::Closed))),
        "the grace timer stopped"
    );
}

#[test]
fn after_30_s_a_client_that_comes_back_gets_a_snapshot_alone() {
    let mut bench = started();
    bench.incoming(1);
    bench.feed(Input::SocketLost { goodbye: false });
    bench.notify(Notification::Answered { call: call(1) });
    bench.pass(Duration::from_secs(31));
    let sent = texts(&bench.feed(Input::Resumed { id: RequestId::Number(3), seq: 1 }));
    assert_eq!(sent.len(), 1);
    assert_eq!((&sent[0]["result"]["replayed"], &sent[0]["result"]["seq"]), (&json!(false), &json!(2)));
    assert_eq!(sent[0]["result"]["calls"][0]["phase"], "answered");
}

#[test]
fn an_answer_to_a_lost_socket_is_given_to_the_repeated_request() {
    let mut bench = started();
    bench.incoming(1);
    let asked = token(&bench.on_call(1, "call.accept", 1));
    bench.feed(Input::SocketLost { goodbye: false });
    bench.feed(Input::Resumed { id: RequestId::Number(1), seq: 1 });
    assert!(bench.on_call(2, "call.accept", 1).is_empty());
    assert_eq!(texts(&bench.reply(asked, Ok(()))), [json!({"jsonrpc": "2.0", "id": 2, "result": {}})]);
}

#[test]
fn a_newer_session_of_the_same_user_replaces_this_one() {
    let mut bench = started();
    let outputs = bench.feed(Input::Replaced(None));
    assert_eq!(texts(&outputs)[0]["method"], "session.replaced");
    assert_eq!(close_code(&outputs), Some(CloseCode::Replaced));
    assert!(has_ended(&outputs));
}

#[test]
fn the_newer_session_is_named_to_whoever_keeps_the_calls() {
    let newer = SignalingId::from_uuid(Uuid::from_u128(10));
    let outputs = started().feed(Input::Replaced(Some(newer)));
    assert!(matches!(events(&outputs).as_slice(), [EventKind::Replaced { by }] if *by == newer));
    assert!(has_ended(&outputs));
}

#[test]
fn a_call_of_the_former_session_is_this_ones_from_its_reattachment_on() {
    let mut bench = started();
    let refused = texts(&bench.request(1, "call.transport", &json!({"call_id": call(1), "sdp": "v=0"})));
    assert_eq!(refused[0]["error"]["data"]["code"], "call.unknown");
    let line = Line {
        direction: Direction::Outbound,
        number: "600".into(),
        name: None,
        talked_ms: 1_500,
        held_by_agent: true,
        held_by_peer: false,
        recording: true,
    };
    let told =
        texts(&bench.notify(Notification::Reattach { call: call(1), sdp: "offer".into(), line: Box::new(line) }));
    let params = json!({
        "seq": 1, "call_id": call(1), "sdp": "offer", "direction": "outbound", "number": "600", "name": null,
        "talked_ms": 1_500, "held_by_agent": true, "held_by_peer": false, "recording": true,
    });
    assert_eq!(told, [json!({"jsonrpc": "2.0", "method": "call.reattach", "params": params})]);
    let outputs = bench.request(2, "call.transport", &json!({"call_id": call(1), "sdp": "v=0"}));
    let asked = |kind: &EventKind| matches!(kind, EventKind::Request { request: CallRequest::Transport { .. }, .. });
    assert!(events(&outputs).iter().any(asked));
    let outputs = bench.feed(Input::Resumed { id: RequestId::Number(3), seq: 99 });
    let known = texts(&outputs)[0]["result"]["calls"][0].clone();
    assert_eq!(
        (&known["phase"], &known["held"], &known["recording"]),
        (&json!("answered"), &json!(true), &json!(true))
    );
}

#[test]
fn a_goodbye_ends_the_session_at_once() {
    let outputs = started().feed(Input::SocketLost { goodbye: true });
    assert!(matches!(events(&outputs).as_slice(), [EventKind::Closed]));
    assert!(has_ended(&outputs));
}

#[test]
fn a_flood_is_closed_with_1013_and_the_call_lives_on() {
    let mut bench = started();
    for id in 0..50 {
        assert_eq!(close_code(&bench.request(id, "session.ping", &json!({}))), None);
    }
    let outputs = bench.request(50, "session.ping", &json!({}));
    assert_eq!(close_code(&outputs), Some(CloseCode::TryAgainLater));
    assert!(!has_ended(&outputs));
}

#[test]
fn what_is_not_json_or_too_long_is_closed_with_4400() {
    for text in ["nonsense".to_owned(), "[]".to_owned(), format!("{{\"a\":\"{}\"}}", "x".repeat(65_536))] {
        assert_eq!(close_code(&started().feed(Input::Text(text))), Some(CloseCode::BadMessage));
    }
    assert_eq!(close_code(&started().feed(Input::Binary)), Some(CloseCode::BadMessage));
}

#[test]
fn a_message_of_exactly_64_kib_passes() {
    let mut bench = started();
    let frame = json!({"jsonrpc": "2.0", "id": 1, "method": "session.ping", "pad": ""}).to_string();
    let padded = frame.replace("\"pad\":\"\"", &format!("\"pad\":\"{}\"", "x".repeat(65_536 - frame.len())));
    assert_eq!(padded.len(), 65_536);
    assert_eq!(texts(&bench.feed(Input::Text(padded)))[0]["result"], json!({}));
}

#[test]
fn open_twice_is_an_error_and_not_a_new_session() {
    let outputs = started().request(1, "session.open", &json!({"token": "t"}));
    assert_eq!(texts(&outputs)[0]["error"]["code"], -32600);
}

#[test]
fn requests_that_are_never_answered_are_bounded() {
    let mut bench = started();
    bench.incoming(1);
    let mut refused = 0;
    for id in 0..300 {
        bench.now += Duration::from_millis(20);
        let outputs = bench.request(id, "call.mute", &json!({"call_id": call(1), "muted": true}));
        refused += texts(&outputs).iter().filter(|answer| answer["error"]["data"]["code"] == "session.busy").count();
    }
    assert_eq!(refused, 300 - 256);
}

#[test]
fn a_transfer_names_a_number_or_a_call_of_this_session_and_not_both() {
    let mut bench = started();
    bench.incoming(1);
    bench.incoming(2);
    let mut asked = |params: Value| {
        let outputs = bench.request(1, "call.transfer", &params);
        let request = events(&outputs)
            .into_iter()
            .find_map(|kind| if let EventKind::Request { request, .. } = kind { Some(request) } else { None });
        request.ok_or_else(|| texts(&outputs)[0]["error"]["code"].as_i64().unwrap())
    };
    assert_eq!(asked(json!({"call_id": call(1), "to": "601"})), Ok(CallRequest::Transfer { to: "601".into() }));
    let consult = json!({"call_id": call(1), "consult_call": call(2)});
    assert_eq!(asked(consult), Ok(CallRequest::TransferTo { consult: call(2) }));
    assert_eq!(asked(json!({"call_id": call(1), "to": "601", "consult_call": call(2)})), Err(-32602));
    assert_eq!(asked(json!({"call_id": call(1)})), Err(-32602));
    assert_eq!(asked(json!({"call_id": call(1), "to": "6\n1"})), Err(-32602));
    assert_eq!(asked(json!({"call_id": call(1), "consult_call": call(9)})), Err(-32000), "unknown");
}

#[test]
fn a_client_that_comes_back_late_learns_of_holds_and_of_whom_it_talks_to() {
    let mut bench = started();
    bench.incoming(1);
    bench.notify(Notification::Held { call: call(1), by: HeldBy::Agent });
    bench.notify(Notification::Held { call: call(1), by: HeldBy::Peer });
    bench.notify(Notification::Resumed { call: call(1), by: HeldBy::Agent });
    bench.notify(Notification::Party { call: call(1), number: "777".into(), name: None });
    bench.feed(Input::SocketLost { goodbye: false });
    bench.pass(Duration::from_secs(31));
    let sent = texts(&bench.feed(Input::Resumed { id: RequestId::Number(3), seq: 0 }));
    let known = &sent[0]["result"]["calls"][0];
    assert_eq!((&known["held"], &known["held_by_peer"]), (&json!(false), &json!(true)));
    assert_eq!((&known["number"], &known["name"]), (&json!("777"), &Value::Null));
}
