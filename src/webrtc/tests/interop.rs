//! Our peer against the crate `rtc`, an independent implementation.

use std::net::SocketAddr;
use std::time::Duration;
use std::time::Instant;

use super::foreign::Foreign;
use super::foreign::Speaks;
use crate::clock::Clock;
use crate::webrtc::Certificate;
use crate::webrtc::Config;
use crate::webrtc::Input;
use crate::webrtc::Output;
use crate::webrtc::PayloadKind;
use crate::webrtc::Peer;
use crate::webrtc::Rtp;
use crate::webrtc::RtpOut;

const OURS: &str = "127.0.0.1:40000";
const THEIRS: &str = "127.0.0.1:50000";

struct Call {
    now: Instant,
    began: Instant,
    peer: Peer,
    foreign: Foreign,
    connected: bool,
    rtp: Vec<Rtp>,
    texts: Vec<String>,
    failed: bool,
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn config(lite: bool) -> Config {
    let mut config = Config::new(Certificate::generate().unwrap(), vec![address(OURS)]);
    config.ice_lite = lite;
    config
}

impl Call {
    fn offered_by_us(speaks: Speaks, lite: bool, edit: impl Fn(&str) -> String) -> Self {
        let now = Clock::system().now();
        let (mut peer, offer) = Peer::offer(&config(lite), now).unwrap();
        let mut foreign = Foreign::new(address(THEIRS), speaks, now);
        let answer = foreign.answer(&offer, now);
        peer.handle(Input::Answer(&edit(&answer)), now);
        Self::between(peer, foreign, now)
    }

    fn offered_by_them(speaks: Speaks) -> Self {
        let now = Clock::system().now();
        let mut foreign = Foreign::new(address(THEIRS), speaks, now);
        let offer = foreign.offer(now);
        let (peer, answer) = Peer::answer(&config(true), &offer, now).unwrap();
        foreign.accept(&answer, now);
        Self::between(peer, foreign, now)
    }

    const fn between(peer: Peer, foreign: Foreign, now: Instant) -> Self {
        Self { now, began: now, peer, foreign, connected: false, rtp: Vec::new(), texts: Vec::new(), failed: false }
    }

    fn run_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let deadline = self.now + limit;
        while self.now < deadline {
            self.carry();
            if done(self) {
                return true;
            }
            let wakes = [self.peer.poll_timeout().map(|(at, _)| at), self.foreign.poll_timeout()];
            let next = wakes.into_iter().flatten().min().unwrap_or(deadline);
            self.now = next.clamp(self.now + Duration::from_millis(1), self.now + Duration::from_millis(10));
            self.peer.handle_timeout(self.now);
            self.foreign.handle_timeout(self.now);
        }
        false
    }

    fn carry(&mut self) {
        let mut again = true;
        while std::mem::take(&mut again) {
            while let Some((to, bytes)) = self.foreign.poll_transmit() {
                again = true;
                assert_eq!(to, address(OURS));
                self.peer.handle(Input::Datagram { source: address(THEIRS), local: to, bytes: &bytes }, self.now);
            }
            while let Some(output) = self.peer.poll_output() {
                again = true;
                self.take(output);
            }
        }
    }

    fn take(&mut self, output: Output) {
        match output {
            Output::Transmit { from, bytes, .. } => self.foreign.receive(from, &bytes, self.now),
            Output::Connected(_) => self.connected = true,
            Output::Rtp(rtp) => self.rtp.push(rtp),
            Output::Data(text) => self.texts.push(text),
            Output::Failed(_) => self.failed = true,
            Output::Reachable(_) | Output::Stats(_) => {}
        }
    }

    fn talk(&mut self, packets: u16) {
        let up = self.run_until(Duration::from_secs(10), |call| call.connected && call.foreign.connected);
        assert!(up, "ours {} theirs {} failed {}", self.connected, self.foreign.connected, self.failed);
        let negotiated = self.peer.negotiated().unwrap();
        for index in 0..packets {
            let (sequence, timestamp) = (1_000 + index, u32::from(index) * negotiated.audio.clock_hz() / 50);
            let payload = [0xF8, 0xFF, index.to_be_bytes()[1]];
            let marker = index == 0;
            let out = RtpOut {
                payload_type: negotiated.audio_payload_type,
                sequence: sequence.into(),
                timestamp,
                marker,
                payload: &payload,
            };
            self.peer.write_rtp(&out, self.now);
            self.foreign.send_rtp(sequence, timestamp, &payload, self.now);
            self.run_until(Duration::from_millis(20), |_| false);
        }
    }

    fn assert_heard(&self, packets: u16, payload_type: u8, kind: PayloadKind) {
        assert_eq!(self.rtp.len(), usize::from(packets), "by us");
        assert_eq!(self.foreign.heard.len(), usize::from(packets), "by them");
        for (index, rtp) in self.rtp.iter().enumerate() {
            assert_eq!((rtp.kind, usize::from(rtp.sequence)), (kind, 1_000 + index));
        }
        for (index, heard) in self.foreign.heard.iter().enumerate() {
            assert_eq!((heard.payload_type, usize::from(heard.sequence)), (payload_type, 1_000 + index));
            assert_eq!(heard.payload[..2], [0xF8, 0xFF]);
        }
        assert!(self.foreign.heard.iter().map(|heard| heard.timestamp).is_sorted());
    }

    fn exchange_texts(&mut self) {
        let opened = self.run_until(Duration::from_secs(3), |call| !call.texts.is_empty() || call.failed);
        assert!(!opened, "nothing was sent yet");
        assert!(self.foreign.send_text("{\"from\":\"them\"}", self.now));
        self.peer.handle(Input::Text("{\"from\":\"us\"}"), self.now);
        let both =
            self.run_until(Duration::from_secs(3), |call| !call.texts.is_empty() && !call.foreign.texts.is_empty());
        assert!(both, "{:?} {:?}", self.texts, self.foreign.texts);
        assert_eq!(self.texts, ["{\"from\":\"them\"}"]);
        assert_eq!(self.foreign.texts, ["{\"from\":\"us\"}"]);
    }
}

#[test]
fn rtc_answers_our_offer_and_both_hear_each_other() {
    for lite in [true, false] {
        let mut call = Call::offered_by_us(Speaks::Opus, lite, str::to_owned);
        call.talk(20);
        call.assert_heard(20, 111, PayloadKind::Opus);
        call.exchange_texts();
    }
}

#[test]
fn rtc_offers_and_we_answer() {
    let mut call = Call::offered_by_them(Speaks::Opus);
    call.talk(20);
    call.assert_heard(20, 111, PayloadKind::Opus);
    call.exchange_texts();
}

#[test]
fn rtc_may_choose_pcmu() {
    let mut call = Call::offered_by_us(Speaks::Pcmu, true, str::to_owned);
    call.talk(20);
    call.assert_heard(20, 0, PayloadKind::Pcmu);
}

#[test]
fn an_answer_that_announces_no_source_is_heard_when_it_speaks_late() {
    let unannounced = |answer: &str| {
        let kept = answer.lines().filter(|line| !line.starts_with("a=ssrc") && !line.starts_with("a=msid"));
        kept.map(|line| format!("{line}\r\n")).collect()
    };
    let mut call = Call::offered_by_us(Speaks::Opus, true, unannounced);
    call.run_until(Duration::from_secs(9), |_| false);
    call.talk(20);
    call.assert_heard(20, 111, PayloadKind::Opus);
}

#[test]
fn a_lite_and_a_full_gateway_both_connect_within_half_a_second() {
    for lite in [true, false] {
        let mut call = Call::offered_by_us(Speaks::Opus, lite, str::to_owned);
        assert!(call.run_until(Duration::from_secs(10), |call| call.connected && call.foreign.connected));
        let took = call.now - call.began;
        assert!(took < Duration::from_millis(500), "lite: {lite}, {took:?}");
    }
}
