//! A PBX hands a call over by an INVITE with Replaces (RFC 3891): the agent stays, and talks to whoever takes the place.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use tandem::clock::Clock;
use tandem::codec::g711::Law;
use tandem::demo::agent::{Agent, AgentEvent, AgentOptions, HEARD_RATE, Mode};
use tandem::demo::tone::{Sine, ToneFigure};
use tokio::net::UdpSocket;

use crate::site::{PATIENCE, set_stage};

/// What alice says.
const ALICE_HZ: f64 = 1_000.0;
/// What a party says who has the call first.
const FIRST_HZ: f64 = 440.0;
/// What the party says who takes its place.
const SECOND_HZ: f64 = 1_500.0;
/// How long each of them talks.
const TALK: Duration = Duration::from_secs(2);
/// What must be heard of a tone in that time, in seconds.
const HEARD_MIN: f64 = 1.3;
/// Samples of a packet: 20 ms.
const FRAME: usize = 160;

/// One party of the PBX: its dialog with the gateway and its sound.
struct Party {
    number: &'static str,
    socket: UdpSocket,
    media: UdpSocket,
    gateway: SocketAddr,
    /// The tag of the gateway's answer.
    their_tag: String,
    /// Where requests within the dialog go.
    target: String,
    /// Where the gateway takes our media.
    audio: Option<SocketAddr>,
    tone: Sine,
    sequence: u16,
}

impl Party {
    async fn new(host: u8, number: &'static str, gateway: SocketAddr, hz: f64) -> Self {
        let at = |port| SocketAddr::from((Ipv4Addr::new(127, 0, 0, host), port));
        let (socket, media) = (UdpSocket::bind(at(5060)).await.unwrap(), UdpSocket::bind(at(0)).await.unwrap());
        let (their_tag, target) = (String::new(), format!("sip:1001@{gateway}"));
        Self {
            number,
            socket,
            media,
            gateway,
            their_tag,
            target,
            audio: None,
            tone: Sine::new(hz, HEARD_RATE),
            sequence: 1,
        }
    }

    fn call_id(&self) -> String {
        format!("replaces-{}@pbx", self.number)
    }

    fn our_tag(&self) -> String {
        format!("tag{}", self.number)
    }

    async fn send(&self, method: &str, cseq: u32, more: &str, body: &str) {
        let Self { number, target, gateway, .. } = self;
        let (local, call_id, tag) = (self.socket.local_addr().unwrap(), self.call_id(), self.our_tag());
        let to_tag = if self.their_tag.is_empty() { String::new() } else { format!(";tag={}", self.their_tag) };
        let text = format!(
            "{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK{number}{method}{cseq}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:{number}@{local}>;tag={tag}\r\nTo: <sip:1001@{gateway}>{to_tag}\r\n\
             Call-ID: {call_id}\r\nCSeq: {cseq} {method}\r\nContact: <sip:{number}@{local}>\r\n{more}\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.socket.send_to(text.as_bytes(), gateway).await.unwrap();
    }

    async fn next(&self) -> String {
        let mut buffer = vec![0; 8_192];
        let length = self.socket.recv(&mut buffer).await.unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    /// The next message that begins so.
    async fn receive(&self, beginning: &str) -> String {
        let received = async {
            let mut text = self.next().await;
            while !text.starts_with(beginning) {
                assert!(text.starts_with("SIP/2.0 1") || !text.starts_with("SIP/2.0"), "{text}");
                text = self.next().await;
            }
            text
        };
        let what = format!("{} waits for {beginning}", self.number);
        tokio::time::timeout(PATIENCE, received).await.expect(&what)
    }

    /// Calls extension 1001 and acknowledges the answer.
    async fn call(&mut self, more: &str) {
        let (ip, port) = (self.media.local_addr().unwrap().ip(), self.media.local_addr().unwrap().port());
        let sdp =
            format!("v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n");
        self.send("INVITE", 1, &format!("{more}Content-Type: application/sdp\r\n"), &sdp).await;
        let answer = self.receive("SIP/2.0 200").await;
        let line = |name: &str| answer.lines().find_map(|line| line.strip_prefix(name)).expect(&answer);
        self.their_tag = line("To:").split_once(";tag=").unwrap().1.trim().to_owned();
        self.target = line("Contact:").trim().trim_start_matches('<').split('>').next().unwrap().to_owned();
        let ip: IpAddr = line("c=IN IP4 ").trim().parse().unwrap();
        let port = line("m=audio ").split(' ').next().unwrap().parse().unwrap();
        self.audio = Some(SocketAddr::new(ip, port));
        self.send("ACK", 1, "", "").await;
    }

    /// Takes the gateway's BYE.
    async fn is_hung_up_on(&self) {
        let bye = self.receive("BYE ").await;
        let kept = ["Via:", "From:", "To:", "Call-ID:", "CSeq:"];
        let headers: Vec<&str> = bye.lines().filter(|line| kept.iter().any(|name| line.starts_with(name))).collect();
        assert!(headers.iter().any(|line| line.contains(&self.call_id())), "{bye}");
        let answer = format!("SIP/2.0 200 OK\r\n{}\r\nContent-Length: 0\r\n\r\n", headers.join("\r\n"));
        self.socket.send_to(answer.as_bytes(), self.gateway).await.unwrap();
    }

    /// Talks and listens for a while: what was heard.
    async fn talk(&mut self) -> Vec<i16> {
        let (mut heard, mut buffer, mut codes) = (Vec::new(), [0; 2_048], [0; FRAME]);
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        for _ in 0..TALK.as_millis() / 20 {
            pace.tick().await;
            Law::Mu.encode_all(&self.tone.take(FRAME), &mut codes);
            let timestamp = u32::from(self.sequence) * 160;
            let mut packet = vec![0x80, 0];
            packet.extend(self.sequence.to_be_bytes());
            packet.extend(timestamp.to_be_bytes());
            packet.extend(self.number.parse::<u32>().unwrap().to_be_bytes());
            packet.extend(codes);
            self.sequence += 1;
            self.media.send_to(&packet, self.audio.unwrap()).await.unwrap();
            while let Ok(length) = self.media.try_recv(&mut buffer) {
                let mut samples = [0; 2_048];
                let payload = buffer.get(12..length).filter(|_| buffer[1] % 128 == 0).unwrap_or_default();
                let count = Law::Mu.decode_all(payload, &mut samples);
                heard.extend_from_slice(&samples[..count]);
            }
        }
        heard
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_takes_anothers_place_has_the_agents_audio_and_the_other_gets_bye() {
    let (_directory, stage) = set_stage(61, false).await;
    let options = AgentOptions::of("alice", stage.settings.http, Mode::Tone { hz: ALICE_HZ }, Clock::system());
    let mut alice = Agent::log_in(options).await.unwrap();
    let gateway = stage.settings.sip;
    let mut first = Party::new(201, "2001", gateway, FIRST_HZ).await;
    let mut second = Party::new(202, "2002", gateway, SECOND_HZ).await;

    first.call("").await;
    let before = ToneFigure::of(&first.talk().await, HEARD_RATE, ALICE_HZ);
    assert!(before.seconds >= HEARD_MIN, "the first party hears {before}\n{}", stage.gateway.last_words());

    // The tags as the gateway sees them: to-tag is its own (RFC 3891 6.1).
    let dialog = format!("{};to-tag={};from-tag={}", first.call_id(), first.their_tag, first.our_tag());
    second.call(&format!("Require: replaces\r\nReplaces: {dialog}\r\n")).await;
    first.is_hung_up_on().await;
    let party =
        |event: &AgentEvent| if let AgentEvent::Party { number, .. } = event { Some(number.clone()) } else { None };
    assert_eq!(alice.wait_for("the new party", PATIENCE, party).await.unwrap(), "2002");

    // What the old leg sends now is nobody's; it hears no more of alice, but for what was on its way.
    let (after, old) = tokio::join!(second.talk(), first.talk());
    let after = ToneFigure::of(&after, HEARD_RATE, ALICE_HZ);
    assert!(after.seconds >= HEARD_MIN, "the second party hears {after}\n{}", stage.gateway.last_words());
    let old = ToneFigure::of(&old, HEARD_RATE, ALICE_HZ);
    assert!(old.seconds <= 0.2, "the first party still hears {old}");

    second.send("BYE", 2, "", "").await;
    second.receive("SIP/2.0 200").await;
    let ended = |event: &AgentEvent| {
        let AgentEvent::Ended { reason, heard, .. } = event else { return None };
        Some((reason.clone(), heard.clone()))
    };
    let (reason, heard) = alice.wait_for("the end", PATIENCE, ended).await.unwrap();
    assert_eq!(reason, "hangup");
    let [one, two] = [FIRST_HZ, SECOND_HZ].map(|hz| ToneFigure::of(&heard.samples, HEARD_RATE, hz));
    println!("alice heard {one}, then {two}");
    assert!(one.seconds >= HEARD_MIN && two.seconds >= HEARD_MIN, "{one}; {two}");
    assert!(two.begins_at > one.begins_at.map(|at| at + one.seconds - 0.2), "one after the other: {one:?}; {two:?}");
    stage.strike().await;
}
