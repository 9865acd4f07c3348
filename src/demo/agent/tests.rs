//! A headless agent against a small gateway made of the real `webrtc::Peer` and the protocol's page.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

use crate::clock::Clock;
use crate::demo::agent::sound::Sound;
use crate::demo::agent::{Agent, AgentOptions, HEARD_RATE, Mode};
use crate::demo::tone::ToneFigure;
use crate::webrtc::{Certificate, Config, Input, Negotiated, Output, PayloadKind, Peer, RtpOut};

const CALL: &str = "01900000-0000-7000-8000-000000000001";

/// Answers one login.
async fn serve_login(listener: &TcpListener) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut request = vec![0; 4_096];
    let length = stream.read(&mut request).await.unwrap();
    let request = String::from_utf8_lossy(&request[..length]).into_owned();
    assert!(request.starts_with("POST /api/v1/login HTTP/1.1\r\n"), "{request}");
    assert!(request.contains(r#""username":"bob""#) && request.contains(r#""password":"bob-demo""#), "{request}");
    let body = r#"{"signaling_token":"t0k3n"}"#;
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nset-cookie: __Host-s=1; Secure\r\n";
    let response = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(response.as_bytes()).await.unwrap();
}

async fn serve_socket(listener: &TcpListener) -> WebSocketStream<TcpStream> {
    let (stream, _) = listener.accept().await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    #[expect(clippy::result_large_err, reason = "tungstenite's signature")]
    let check = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
        assert_eq!(request.uri().path(), "/api/v1/signal");
        assert_eq!(request.headers()["sec-websocket-protocol"], "tandem.v1");
        assert_eq!(request.headers()["origin"], origin.as_str());
        response.headers_mut().insert("sec-websocket-protocol", "tandem.v1".parse().unwrap());
        Ok(response)
    };
    tokio_tungstenite::accept_hdr_async(stream, check).await.unwrap()
}

/// The agent's next request, which must be `method`, answered with an empty result; its parameters.
async fn expect(socket: &mut WebSocketStream<TcpStream>, method: &str) -> Value {
    let text = socket.next().await.unwrap().unwrap().into_text().unwrap();
    let request: Value = serde_json::from_str(text.as_str()).unwrap();
    assert_eq!((&request["jsonrpc"], &request["method"]), (&json!("2.0"), &json!(method)), "{request}");
    let answer = json!({"jsonrpc": "2.0", "id": request["id"], "result": {}}).to_string();
    socket.send(Message::text(answer)).await.unwrap();
    request["params"].clone()
}

async fn notify(socket: &mut WebSocketStream<TcpStream>, method: &str, params: Value) {
    let text = json!({"jsonrpc": "2.0", "method": method, "params": params}).to_string();
    socket.send(Message::text(text)).await.unwrap();
}

/// The gateway's end of the media: speaks a tone, hears what comes.
struct Media {
    clock: Clock,
    socket: UdpSocket,
    peer: Peer,
    sound: Sound,
    agreed: Option<Negotiated>,
    next_frame: Instant,
    frames: u32,
    heard: u32,
}

impl Media {
    async fn offer(clock: Clock) -> (Self, String) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let config = Config::new(Certificate::generate().unwrap(), vec![socket.local_addr().unwrap()]);
        let (peer, offer) = Peer::offer(&config, clock.now()).unwrap();
        let sound = Sound::new(Mode::Tone { hz: 440.0 }, 0).unwrap();
        let next_frame = clock.now();
        (Self { clock, socket, peer, sound, agreed: None, next_frame, frames: 0, heard: 0 }, offer)
    }

    /// Speaks and listens for `time`.
    async fn run(&mut self, time: Duration) {
        let end = self.clock.now() + time;
        let local = self.socket.local_addr().unwrap();
        let mut buffer = vec![0; 2_048];
        while self.clock.now() < end {
            self.speak();
            self.drain().await;
            let due = self.peer.poll_timeout().map_or(end, |(due, _)| due).min(self.next_frame.max(self.clock.now()));
            tokio::select! {
                () = tokio::time::sleep_until(due.min(end).into()) => self.peer.handle_timeout(self.clock.now()),
                received = self.socket.recv_from(&mut buffer) => {
                    let (length, source) = received.unwrap();
                    self.peer.handle(Input::Datagram { source, local, bytes: &buffer[..length] }, self.clock.now());
                }
            }
        }
    }

    fn speak(&mut self) {
        let now = self.clock.now();
        if self.next_frame > now {
            return;
        }
        self.next_frame = now + Duration::from_millis(20);
        let Some(agreed) = self.agreed else { return };
        let frame = self.sound.next_frame().unwrap().unwrap();
        let sequence = u64::from(self.frames) + 1;
        self.frames += 1;
        let payload_type = agreed.audio_payload_type;
        let packet =
            RtpOut { payload_type, sequence, timestamp: frame.timestamp, marker: false, payload: &frame.payload };
        self.peer.write_rtp(&packet, now);
    }

    async fn drain(&mut self) {
        while let Some(output) = self.peer.poll_output() {
            match output {
                Output::Transmit { to, bytes, .. } => self.transmit(to, &bytes).await,
                Output::Connected(agreed) => self.agreed = Some(agreed),
                Output::Failed(failure) => panic!("{failure}"),
                Output::Rtp(rtp) if rtp.kind == PayloadKind::Opus => {
                    self.heard += 1;
                    self.sound.hear(bytes::Bytes::copy_from_slice(&rtp.payload), rtp.timestamp, rtp.marker);
                }
                Output::Reachable(_) | Output::Rtp(_) | Output::Data(_) | Output::Stats(_) => {}
            }
        }
    }

    async fn transmit(&self, to: SocketAddr, bytes: &[u8]) {
        self.socket.send_to(bytes, to).await.unwrap();
    }
}

#[tokio::test]
async fn an_agent_logs_in_answers_and_echoes() {
    let clock = Clock::system();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = AgentOptions::of("bob", listener.local_addr().unwrap(), Mode::Echo, clock);
    let mut agent = Agent::start(AgentOptions { answer_after: Some(Duration::from_millis(200)), ..options });
    serve_login(&listener).await;
    let mut socket = serve_socket(&listener).await;
    assert_eq!(expect(&mut socket, "session.open").await["token"], "t0k3n");
    assert_eq!(expect(&mut socket, "agent.set_state").await["state"], "available");

    let (mut media, offer) = Media::offer(clock).await;
    let incoming = json!({"seq": 1, "call_id": CALL, "from": "100", "to": "1002", "sdp": offer});
    notify(&mut socket, "call.incoming", incoming).await;
    assert_eq!(expect(&mut socket, "call.alerting").await["call_id"], CALL);
    let transport = expect(&mut socket, "call.transport").await;
    media.peer.handle(Input::Answer(transport["sdp"].as_str().unwrap()), clock.now());
    media.run(Duration::from_millis(150)).await;
    assert_eq!(media.heard, 0, "no audio before the agent accepts");
    assert_eq!(expect(&mut socket, "call.accept").await["call_id"], CALL);
    media.run(Duration::from_secs(3)).await;

    notify(&mut socket, "call.ended", json!({"seq": 2, "call_id": CALL, "reason": "hangup"})).await;
    let heard = agent.wait_for("the end", Duration::from_secs(5), |event| event.heard_in(CALL)).await.unwrap();
    let packets = heard.packets;
    assert!(packets >= 100, "{packets} packets heard by the agent");
    let echo = ToneFigure::of(&media.sound.take_heard(), HEARD_RATE, 440.0);
    assert!(echo.seconds >= 2.0, "{echo}, {} packets", media.heard);
}
