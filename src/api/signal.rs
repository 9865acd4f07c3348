//! `GET /api/v1/signal`: the WebSocket of the signalling protocol.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::http::header::ORIGIN;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::any;

use crate::limits::SIGNALING_MESSAGE_BYTES_MAX;
use crate::signaling::io::socket::{SUBPROTOCOL, SocketServer};

/// The route.
pub fn routes(server: Arc<SocketServer>) -> Router {
    Router::new().route("/api/v1/signal", any(upgrade)).with_state(server)
}

async fn upgrade(
    State(server): State<Arc<SocketServer>>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    if !admits(&server, &headers) {
        return (StatusCode::FORBIDDEN, "this origin may not open a session\n").into_response();
    }
    match upgrade {
        // Room for a message that is too long to arrive, and be closed with 4400 instead of a broken connection.
        Ok(upgrade) => upgrade
            .protocols([SUBPROTOCOL])
            .max_message_size(2 * SIGNALING_MESSAGE_BYTES_MAX)
            .max_frame_size(2 * SIGNALING_MESSAGE_BYTES_MAX)
            .on_upgrade(|socket| server.serve(socket)),
        Err(rejection) => rejection.into_response(),
    }
}

/// A browser sends exactly one `Origin`; anything else but none at all is refused.
fn admits(server: &SocketServer, headers: &HeaderMap) -> bool {
    let mut origins = headers.get_all(ORIGIN).iter();
    let config = server.presence().config();
    match (origins.next(), origins.next()) {
        (None, _) => config.admits_origin(None),
        (Some(origin), None) => origin.to_str().is_ok_and(|origin| config.admits_origin(Some(origin))),
        (Some(_), Some(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Identity, Role};
    use crate::clock::Clock;
    use crate::ids::{CallId, Extension, SignalingId};
    use crate::signaling::io::presence::Presence;
    use crate::signaling::io::socket::TokenVerifier;
    use crate::signaling::session::Verified;
    use crate::signaling::{
        AgentState, CallRequest, CloseCode, Command, Config, Error, Event, EventKind, Notification,
    };
    use axum::http::HeaderValue;
    use futures_util::{SinkExt, StreamExt};
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use serde_json::{Value, json};
    use std::collections::BTreeSet;
    use std::net::SocketAddr;
    use std::time::Duration;
    use tokio::net::TcpStream;
    use tokio::sync::mpsc;
    use tokio::time::timeout;
    use tokio_tungstenite::tungstenite::client::IntoClientRequest;
    use tokio_tungstenite::tungstenite::protocol::CloseFrame;
    use tokio_tungstenite::tungstenite::{Error as WsError, Message};
    use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
    use tokio_util::task::TaskTracker;

    const ORIGIN_ALLOWED: &str = "http://phone.test";
    const PATIENCE: Duration = Duration::from_secs(10);

    /// The token is the user's name; `1…` are agents of that extension.
    struct Names;

    #[async_trait::async_trait]
    impl TokenVerifier for Names {
        async fn verify(&self, token: &str) -> Option<Verified> {
            let extension = token.strip_prefix("agent")?;
            let identity = Identity {
                user: token.to_owned(),
                display_name: token.to_owned(),
                extension: Some(Extension::new(extension)),
                number: None,
                roles: BTreeSet::from([Role::Agent]),
            };
            Some(Verified { identity, login: Some(format!("login of {token}")) })
        }
    }

    struct House {
        address: SocketAddr,
        presence: Arc<Presence>,
        events: mpsc::Receiver<Event>,
    }

    impl House {
        async fn start(config: Config) -> Self {
            let (sender, events) = mpsc::channel(64);
            let rng = Box::new(StdRng::seed_from_u64(1));
            let presence = Presence::new(config, Clock::system(), rng, sender, TaskTracker::new());
            let server = SocketServer::new(Arc::clone(&presence), Arc::new(Names));
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            tokio::spawn(async move { axum::serve(listener, routes(server)).await });
            Self { address, presence, events }
        }

        async fn usual() -> Self {
            Self::start(Config { origins: BTreeSet::from([ORIGIN_ALLOWED.to_owned()]), ..Config::default() }).await
        }

        async fn event(&mut self) -> Event {
            timeout(PATIENCE, self.events.recv()).await.expect("an event in time").unwrap()
        }

        async fn request(&mut self) -> (SignalingId, crate::signaling::RequestToken, CallId, CallRequest) {
            let Event { session, kind: EventKind::Request { token, call, request } } = self.event().await else {
                panic!("not a request")
            };
            (session, token, call, request)
        }
    }

    struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

    async fn dial(address: SocketAddr, origin: Option<&str>, protocol: Option<&str>) -> Result<Client, WsError> {
        let mut request = format!("ws://{address}/api/v1/signal").into_client_request().unwrap();
        if let Some(origin) = origin {
            request.headers_mut().insert("origin", HeaderValue::from_str(origin).unwrap());
        }
        if let Some(protocol) = protocol {
            request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_str(protocol).unwrap());
        }
        connect_async(request).await.map(|(socket, _)| Client(socket))
    }

    impl Client {
        async fn connect(house: &House) -> Self {
            dial(house.address, Some(ORIGIN_ALLOWED), Some(SUBPROTOCOL)).await.unwrap()
        }

        async fn open(house: &House, token: &str, resume: Option<Value>) -> (Self, Value) {
            let mut client = Self::connect(house).await;
            let mut params = json!({"token": token, "client": "test/1"});
            if let Some(resume) = resume {
                params["resume"] = resume;
            }
            client.ask(0, "session.open", params).await;
            let result = client.next().await["result"].take();
            (client, result)
        }

        async fn ask(&mut self, id: u64, method: &str, params: Value) {
            let text = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string();
            self.0.send(Message::text(text)).await.unwrap();
        }

        async fn message(&mut self) -> Message {
            timeout(PATIENCE, self.0.next()).await.expect("a message in time").unwrap().unwrap()
        }

        async fn next(&mut self) -> Value {
            let mut message = self.message().await;
            while message.is_ping() {
                message = self.message().await;
            }
            serde_json::from_str(message.to_text().unwrap()).unwrap_or_else(|_| panic!("{message:?}"))
        }

        async fn close_code(&mut self) -> u16 {
            let mut message = self.message().await;
            while !message.is_close() {
                message = self.message().await;
            }
            let Message::Close(Some(CloseFrame { code, .. })) = message else { panic!("closed without a code") };
            code.into()
        }
    }

    fn incoming(call: CallId) -> Command {
        let (from, to, trunk, sdp) = ("600".into(), "1001".into(), "pbx".into(), "v=0".into());
        Command::Notify(Notification::Incoming { call, from, to, name: None, trunk, waiting: false, sdp })
    }

    fn call(n: u128) -> CallId {
        CallId::from_uuid(uuid::Uuid::from_u128(n))
    }

    #[tokio::test]
    async fn an_agent_opens_becomes_available_and_takes_a_call() {
        let mut house = House::usual().await;
        let (mut alice, opened) = Client::open(&house, "agent1001", None).await;
        let Event { session, kind: EventKind::Opened(who) } = house.event().await else { panic!() };
        assert_eq!(who.user, "agent1001");
        assert_eq!(opened["session_id"], session.to_string());
        assert_eq!(opened["agent"]["state"], "offline");

        alice.ask(1, "agent.set_state", json!({"state": "available"})).await;
        assert_eq!(alice.next().await["method"], "agent.state");
        assert_eq!(alice.next().await["id"], 1);
        let agent = house.presence.agent(&Extension::new("1001")).unwrap();
        assert_eq!(
            (agent.state, agent.connected, agent.calls_active, agent.calls_max),
            (AgentState::Available, true, 0, 8)
        );
        assert_eq!(agent.sessions, [session]);

        assert!(house.presence.send(session, incoming(call(1))));
        assert_eq!(house.presence.agent(&Extension::new("1001")).unwrap().calls_active, 1);
        let ringing = alice.next().await;
        assert_eq!((ringing["method"].as_str(), ringing["params"]["seq"].as_u64()), (Some("call.incoming"), Some(2)));

        alice.ask(2, "call.accept", json!({"call_id": call(1)})).await;
        let (from, token, asked, request) = house.request().await;
        assert_eq!((from, asked, request), (session, call(1), CallRequest::Accept));
        assert!(house.presence.send(session, Command::Reply { token, result: Ok(()) }));
        assert_eq!(alice.next().await, json!({"jsonrpc": "2.0", "id": 2, "result": {}}));

        let ended = Notification::Ended { call: call(1), reason: "hangup".into(), sip_code: None, q850: None };
        house.presence.send(session, Command::Notify(ended));
        assert_eq!(alice.next().await["method"], "call.ended");
        assert_eq!(house.presence.agent(&Extension::new("1001")).unwrap().calls_active, 0);
    }

    #[tokio::test]
    async fn a_dialled_call_counts_until_it_is_refused() {
        let mut house = House::usual().await;
        let (mut alice, _) = Client::open(&house, "agent1001", None).await;
        house.event().await;
        alice.ask(1, "call.dial", json!({"call_id": call(1), "to": "600"})).await;
        let (session, token, _, request) = house.request().await;
        assert_eq!(request, CallRequest::Dial { to: "600".into() });
        assert_eq!(house.presence.user("agent1001").unwrap().calls_active, 1);
        house.presence.send(
            session,
            Command::Reply { token, result: Err(Error::new("call.forbidden", "not in the dial plan", false)) },
        );
        assert_eq!(alice.next().await["error"]["data"]["code"], "call.forbidden");
        // The answer to the next request proves that the refusal was worked off.
        alice.ask(2, "session.ping", json!({})).await;
        alice.next().await;
        assert_eq!(house.presence.user("agent1001").unwrap().calls_active, 0);
    }

    #[tokio::test]
    async fn a_foreign_origin_is_403_and_a_missing_one_too() {
        let house = House::usual().await;
        for origin in [Some("http://evil.test"), Some("null"), None] {
            let refused = dial(house.address, origin, Some(SUBPROTOCOL)).await.err();
            assert!(
                matches!(&refused, Some(WsError::Http(answer)) if answer.status() == 403),
                "{origin:?}: {refused:?}"
            );
        }
        let lenient = House::start(Config { allow_no_origin: true, ..Config::default() }).await;
        assert!(dial(lenient.address, None, Some(SUBPROTOCOL)).await.is_ok());
        assert!(dial(lenient.address, Some("http://evil.test"), Some(SUBPROTOCOL)).await.is_err());
    }

    #[tokio::test]
    async fn a_bad_token_is_4401_and_another_subprotocol_4426() {
        let house = House::usual().await;
        let mut client = Client::connect(&house).await;
        client.ask(0, "session.open", json!({"token": "nobody"})).await;
        assert_eq!(client.next().await["error"]["data"]["code"], "session.unauthenticated");
        assert_eq!(client.close_code().await, 4401);
        let mut client = dial(house.address, Some(ORIGIN_ALLOWED), None).await.unwrap();
        assert_eq!(client.close_code().await, 4426);
    }

    #[tokio::test]
    async fn nonsense_and_binary_and_too_much_are_4400() {
        let house = House::usual().await;
        for nonsense in [Message::text("nonsense"), Message::binary(vec![1, 2]), Message::text("x".repeat(65_537))] {
            let (mut client, _) = Client::open(&house, "agent1001", None).await;
            client.0.send(nonsense).await.unwrap();
            assert_eq!(client.close_code().await, 4400);
        }
    }

    #[tokio::test]
    async fn a_flood_is_closed_with_1013() {
        let house = House::usual().await;
        let (mut client, _) = Client::open(&house, "agent1001", None).await;
        let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "session.ping"}).to_string();
        // The gateway may close before the last of them is sent.
        let mut sent = 0;
        while sent < 80 && client.0.send(Message::text(ping.clone())).await.is_ok() {
            sent += 1;
        }
        assert_eq!(client.close_code().await, 1013);
    }

    #[tokio::test]
    async fn a_lost_socket_is_resumed_with_what_was_missed() {
        let mut house = House::usual().await;
        let (mut alice, opened) = Client::open(&house, "agent1001", None).await;
        let session = house.event().await.session;
        alice.ask(1, "agent.set_state", json!({"state": "available"})).await;
        alice.next().await;
        alice.next().await;
        drop(alice);
        assert!(matches!(house.event().await.kind, EventKind::Lost));
        assert!(!house.presence.user("agent1001").unwrap().connected);
        assert!(house.presence.send(session, incoming(call(1))), "the session takes messages without a socket");

        let resume = json!({"session_id": opened["session_id"], "seq": 1});
        let (mut alice, opened) = Client::open(&house, "agent1001", Some(resume)).await;
        assert!(matches!(house.event().await, Event { session: same, kind: EventKind::Resumed } if same == session));
        assert_eq!(
            (&opened["resumed"], &opened["replayed"], &opened["agent"]["state"]),
            (&json!(true), &json!(true), &json!("available"))
        );
        assert_eq!(alice.next().await["method"], "call.incoming");
        assert!(house.presence.user("agent1001").unwrap().connected);
    }

    #[tokio::test]
    async fn a_resumption_takes_the_socket_over_from_one_that_hangs() {
        let mut house = House::usual().await;
        let (mut hung, opened) = Client::open(&house, "agent1001", None).await;
        house.event().await;
        let resume = json!({"session_id": opened["session_id"], "seq": 0});
        let (_alice, again) = Client::open(&house, "agent1001", Some(resume)).await;
        assert_eq!(again["session_id"], opened["session_id"]);
        assert_eq!(hung.close_code().await, 4409);
        assert!(matches!(house.event().await.kind, EventKind::Lost));
        assert!(matches!(house.event().await.kind, EventKind::Resumed));
    }

    #[tokio::test]
    async fn a_session_of_another_user_cannot_be_resumed() {
        let mut house = House::usual().await;
        let (_alice, opened) = Client::open(&house, "agent1001", None).await;
        house.event().await;
        let resume = json!({"session_id": opened["session_id"], "seq": 0});
        let (_mallory, other) = Client::open(&house, "agent1002", Some(resume)).await;
        assert_eq!(other["resumed"], false);
        assert_ne!(other["session_id"], opened["session_id"]);
        assert!(matches!(house.event().await.kind, EventKind::Opened(_)));
    }

    #[tokio::test]
    async fn the_newest_page_of_a_user_wins() {
        let mut house = House::usual().await;
        let (mut old, opened) = Client::open(&house, "agent1001", None).await;
        house.event().await;
        let (_new, newer) = Client::open(&house, "agent1001", None).await;
        assert_eq!(old.next().await["method"], "session.replaced");
        assert_eq!(old.close_code().await, 4409);
        let kinds = [house.event().await, house.event().await];
        assert!(
            kinds
                .iter()
                .any(|event| matches!(event.kind, EventKind::Replaced { by } if by.to_string() == newer["session_id"])
                    && event.session.to_string() == opened["session_id"])
        );
        assert!(kinds.iter().any(
            |event| matches!(event.kind, EventKind::Opened(_)) && event.session.to_string() == newer["session_id"]
        ));
        assert_eq!(house.presence.everybody().len(), 1);
    }

    #[tokio::test]
    async fn a_client_that_says_goodbye_is_gone_at_once() {
        let mut house = House::usual().await;
        let (mut alice, _) = Client::open(&house, "agent1001", None).await;
        house.event().await;
        alice.0.close(Some(CloseFrame { code: 1000.into(), reason: "".into() })).await.unwrap();
        assert!(matches!(house.event().await.kind, EventKind::Closed));
    }

    #[tokio::test]
    async fn without_a_resumption_the_session_closes_after_the_grace() {
        let config = Config { allow_no_origin: true, resume_grace: Duration::from_millis(50), ..Config::default() };
        let mut house = House::start(config).await;
        let mut client = dial(house.address, None, Some(SUBPROTOCOL)).await.unwrap();
        client.ask(0, "session.open", json!({"token": "agent1001"})).await;
        house.event().await;
        drop(client);
        assert!(matches!(house.event().await.kind, EventKind::Lost));
        assert!(matches!(house.event().await.kind, EventKind::Closed));
    }

    #[tokio::test]
    async fn a_restart_a_logout_and_a_revoked_user_close_their_sockets() {
        let mut house = House::usual().await;
        let (mut alice, _) = Client::open(&house, "agent1001", None).await;
        let (mut bob, _) = Client::open(&house, "agent1002", None).await;
        house.presence.announce_draining();
        assert_eq!(alice.next().await["method"], "server.draining");
        house.presence.close_user("agent1001", CloseCode::Forbidden);
        assert_eq!(alice.close_code().await, 4403);
        let (mut carla, _) = Client::open(&house, "agent1003", None).await;
        house.presence.close_login("login of agent1003", CloseCode::Authentication);
        assert_eq!(carla.close_code().await, 4401);
        house.presence.close_all(CloseCode::Restart);
        assert_eq!(bob.next().await["method"], "server.draining");
        assert_eq!(bob.close_code().await, 1012);
        house.event().await;
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_loses_its_socket_and_not_its_session() {
        let mut house = House::usual().await;
        let (alice, _) = Client::open(&house, "agent1001", None).await;
        let session = house.event().await.session;
        let sdp = "x".repeat(32_000);
        let mut sent = 0;
        let mut lost = house.events.try_recv();
        while lost.is_err() && sent < 20_000 {
            // A full mailbox is the sender's to see; the session's task makes room for the next.
            house.presence.send(session, Command::Notify(Notification::Offer { call: call(sent), sdp: sdp.clone() }));
            sent += 1;
            tokio::task::yield_now().await;
            lost = house.events.try_recv();
        }
        let lost = lost.expect("hundreds of megabytes are queued for a client that does not read");
        assert!(matches!(lost.kind, EventKind::Lost), "{lost:?}");
        assert!(house.presence.identity(session).is_some(), "it may come back");
        drop(alice);
    }

    #[tokio::test]
    async fn requests_sent_right_behind_the_open_are_answered_too() {
        let house = House::usual().await;
        let mut client = Client::connect(&house).await;
        client.ask(1, "session.open", json!({"token": "agent1001"})).await;
        client.ask(2, "agent.set_state", json!({"state": "available"})).await;
        assert_eq!(client.next().await["id"], 1);
        assert_eq!(client.next().await["method"], "agent.state");
        assert_eq!(client.next().await["id"], 2);
    }

    #[tokio::test]
    async fn a_full_gateway_says_later() {
        let config = Config { allow_no_origin: true, sessions_max: 1, ..Config::default() };
        let house = House::start(config).await;
        let mut first = dial(house.address, None, Some(SUBPROTOCOL)).await.unwrap();
        first.ask(0, "session.open", json!({"token": "agent1001"})).await;
        first.next().await;
        let mut second = dial(house.address, None, Some(SUBPROTOCOL)).await.unwrap();
        second.ask(0, "session.open", json!({"token": "agent1002"})).await;
        assert_eq!(second.next().await["error"]["data"]["code"], "server.full");
        assert_eq!(second.close_code().await, 1013);
    }
}
