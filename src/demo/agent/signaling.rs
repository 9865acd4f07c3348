//! The agent's side of the signalling: JSON-RPC 2.0 over a WebSocket, written from the protocol's page alone.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;

use crate::demo::agent::call::{Heard, Media, Order};
use crate::demo::agent::{AgentEvent, AgentOptions, AgentRequest};
use crate::demo::http;
use crate::demo::ladder::Party;

/// Time between two attempts to connect.
const RETRY: Duration = Duration::from_millis(500);
/// Orders that may wait for one call's media task.
const ORDERS: usize = 8;

/// Connects, serves, and begins again when the connection is lost.
pub(super) async fn stay_connected(
    options: AgentOptions,
    mut requests: mpsc::Receiver<AgentRequest>,
    events: mpsc::Sender<AgentEvent>,
) {
    let mut pause = tokio::time::interval(RETRY);
    pause.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        pause.tick().await;
        let reason = match Session::open(&options, &events).await {
            Ok(mut session) => match session.serve(&mut requests).await {
                Ok(()) => return,
                Err(error) => error,
            },
            Err(error) => error,
        };
        let reason = format!("{reason:#}");
        tracing::debug!(user = options.user, reason, "an agent lost its connection");
        AgentEvent::Disconnected { reason }.tell(&events);
    }
}

/// What a notification that asks nothing of the agent tells its owner.
fn told(method: &str, call_id: String, params: &Value) -> Result<Option<AgentEvent>> {
    let field = |name: &str| params.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let by = || serde_json::from_value(params.get("by").cloned().unwrap_or_default()).context("a hold of nobody");
    Ok(Some(match method {
        "call.ringing" => AgentEvent::Ringing { call_id },
        "call.answered" => AgentEvent::Answered { call_id },
        "call.held" => AgentEvent::Held { call_id, by: by()? },
        "call.resumed" => AgentEvent::Resumed { call_id, by: by()? },
        "call.transferred" => AgentEvent::Transferred { call_id },
        "call.transfer_failed" => AgentEvent::TransferFailed { call_id, reason: field("reason") },
        "call.party" => AgentEvent::Party { call_id, number: field("number") },
        _ => return Ok(None),
    }))
}

/// One connection.
struct Session<'a> {
    options: &'a AgentOptions,
    events: &'a mpsc::Sender<AgentEvent>,
    socket: WebSocketStream<TcpStream>,
    requests_sent: u64,
    pending: BTreeMap<u64, &'static str>,
    calls: BTreeMap<String, Call>,
    media: JoinSet<(String, Heard)>,
    /// Calls that ring: when each is accepted.
    answering: JoinSet<String>,
}

/// One call, as the signalling sees it.
struct Call {
    orders: mpsc::Sender<Order>,
    ended: Option<String>,
}

impl<'a> Session<'a> {
    async fn open(options: &'a AgentOptions, events: &'a mpsc::Sender<AgentEvent>) -> Result<Self> {
        let login = http::log_in(options.gateway, &options.user, &options.password).await?;
        let mut request = format!("ws://{}/api/v1/signal", options.gateway).into_client_request()?;
        let headers = request.headers_mut();
        headers.insert("sec-websocket-protocol", HeaderValue::from_static("tandem.v1"));
        headers.insert("origin", HeaderValue::from_str(&http::origin(options.gateway))?);
        let stream = TcpStream::connect(options.gateway).await.context("no connection to the gateway")?;
        stream.set_nodelay(true)?;
        let (socket, _) = tokio_tungstenite::client_async(request, stream).await.context("no WebSocket")?;
        let mut session = Self {
            options,
            events,
            socket,
            requests_sent: 0,
            pending: BTreeMap::new(),
            calls: BTreeMap::new(),
            media: JoinSet::new(),
            answering: JoinSet::new(),
        };
        session.ask("session.open", json!({"token": login.token, "client": "tandem-headless/1"})).await?;
        session.ask("agent.set_state", json!({"state": options.state})).await?;
        Ok(session)
    }

    /// Ok once the owner is gone.
    async fn serve(&mut self, requests: &mut mpsc::Receiver<AgentRequest>) -> Result<()> {
        loop {
            tokio::select! {
                message = self.socket.next() => match message.context("the gateway closed the connection")?? {
                    Message::Text(text) => self.take(serde_json::from_str(text.as_str())?).await?,
                    Message::Close(frame) => bail!("the gateway closed the connection: {frame:?}"),
                    Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_) => {}
                },
                request = requests.recv() => match request {
                    Some(request) => self.serve_owner(request).await?,
                    None => return Ok(()),
                },
                Some(call_id) = self.answering.join_next() => self.accept(&call_id?).await?,
                Some(done) = self.media.join_next() => self.media_ended(done?),
            }
        }
    }

    async fn ask(&mut self, method: &'static str, params: Value) -> Result<()> {
        self.requests_sent += 1;
        self.pending.insert(self.requests_sent, method);
        self.note(Party::Agent, Party::Gateway, method);
        let text = json!({"jsonrpc": "2.0", "id": self.requests_sent, "method": method, "params": params}).to_string();
        self.socket.send(Message::text(text)).await.context("the gateway does not take requests")
    }

    async fn serve_owner(&mut self, request: AgentRequest) -> Result<()> {
        match request {
            AgentRequest::Dial { call_id, to } => self.ask("call.dial", json!({"call_id": call_id, "to": to})).await,
            AgentRequest::Digits { call_id, digits } => {
                self.ask("call.dtmf", json!({"call_id": call_id, "digits": digits})).await
            }
            AgentRequest::Hold { call_id } => self.ask("call.hold", json!({"call_id": call_id})).await,
            AgentRequest::Resume { call_id } => self.ask("call.resume", json!({"call_id": call_id})).await,
            AgentRequest::Transfer { call_id, to } => {
                self.ask("call.transfer", json!({"call_id": call_id, "to": to})).await
            }
            AgentRequest::TransferTo { call_id, consult } => {
                self.ask("call.transfer", json!({"call_id": call_id, "consult_call": consult})).await
            }
            AgentRequest::Report { call_id } => {
                self.order(&call_id, Order::Report);
                Ok(())
            }
            AgentRequest::HangUp { call_id } => self.ask("call.hangup", json!({"call_id": call_id})).await,
        }
    }

    /// A message of the gateway: an answer or a notification.
    async fn take(&mut self, message: Value) -> Result<()> {
        if let Some(id) = message.get("id").and_then(Value::as_u64) {
            let method = self.pending.remove(&id).unwrap_or("?");
            return self.take_answer(method, &message);
        }
        let method = message.get("method").and_then(Value::as_str).context("a message without a method")?;
        let params = message.get("params").cloned().unwrap_or_default();
        let field = |name: &str| params.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let call_id = field("call_id");
        self.note(Party::Gateway, Party::Agent, method);
        match method {
            "call.incoming" => {
                AgentEvent::Incoming { call_id: call_id.clone(), from: field("from") }.tell(self.events);
                self.ask("call.alerting", json!({"call_id": call_id})).await?;
                self.connect(&call_id, &field("sdp")).await?;
                self.answer_later(call_id);
                Ok(())
            }
            "call.offer" => {
                self.connect(&call_id, &field("sdp")).await?;
                self.order(&call_id, Order::Speak);
                Ok(())
            }
            "call.ended" => {
                self.ended(&call_id, field("reason"));
                Ok(())
            }
            _ => {
                if let Some(event) = told(method, call_id, &params)? {
                    event.tell(self.events);
                }
                Ok(())
            }
        }
    }

    fn answer_later(&mut self, call_id: String) {
        let Some(answer_after) = self.options.answer_after else { return };
        self.answering.spawn(async move {
            tokio::time::sleep(answer_after).await;
            call_id
        });
    }

    fn take_answer(&self, method: &'static str, message: &Value) -> Result<()> {
        let Some(error) = message.get("error") else {
            if method == "agent.set_state" {
                AgentEvent::LoggedIn.tell(self.events);
            }
            return Ok(());
        };
        self.note(Party::Gateway, Party::Agent, &format!("error to {method}"));
        AgentEvent::Refused { method: method.to_owned(), error: error.to_string() }.tell(self.events);
        if matches!(method, "session.open" | "agent.set_state") {
            return Err(anyhow!("the gateway refused {method}: {error}"));
        }
        Ok(())
    }

    /// Answers an offer and lets the media run.
    async fn connect(&mut self, call_id: &str, offer: &str) -> Result<()> {
        let Self { options, .. } = self;
        let made = Media::answer(offer, options.mode, options.clock, options.ladder.clone()).await;
        let (media, answer) = match made {
            Ok(made) => made,
            Err(error) => {
                AgentEvent::Refused { method: "offer".to_owned(), error: format!("{error:#}") }.tell(self.events);
                return self.ask("call.reject", json!({"call_id": call_id})).await;
            }
        };
        let (orders, inbox) = mpsc::channel(ORDERS);
        self.calls.insert(call_id.to_owned(), Call { orders, ended: None });
        let name = call_id.to_owned();
        let reports = (name.clone(), self.events.clone());
        self.media.spawn(async move { (name, Box::pin(media.run(inbox, reports)).await) });
        self.ask("call.transport", json!({"call_id": call_id, "sdp": answer})).await
    }

    async fn accept(&mut self, call_id: &str) -> Result<()> {
        if self.calls.get(call_id).is_none_or(|call| call.ended.is_some()) {
            return Ok(());
        }
        self.order(call_id, Order::Speak);
        self.ask("call.accept", json!({"call_id": call_id})).await
    }

    fn order(&self, call_id: &str, order: Order) {
        if let Some(call) = self.calls.get(call_id)
            && call.orders.try_send(order).is_err()
        {
            tracing::debug!(call_id, ?order, "an agent's media does not take orders");
        }
    }

    fn ended(&mut self, call_id: &str, reason: String) {
        self.order(call_id, Order::End);
        match self.calls.get_mut(call_id) {
            Some(call) => call.ended = Some(reason),
            None => {
                AgentEvent::Ended { call_id: call_id.to_owned(), reason, heard: Heard::default() }.tell(self.events);
            }
        }
    }

    fn media_ended(&mut self, (call_id, heard): (String, Heard)) {
        let call = self.calls.remove(&call_id);
        let reason = call.and_then(|call| call.ended).unwrap_or_else(|| "the media ended first".to_owned());
        AgentEvent::Ended { call_id, reason, heard }.tell(self.events);
    }

    fn note(&self, from: Party, to: Party, text: &str) {
        if let Some(ladder) = &self.options.ladder {
            ladder.note(from, to, text);
        }
    }
}
