//! Two of our own peers joined by a perfect network.

use std::net::SocketAddr;
use std::time::Duration;
use std::time::Instant;

use crate::clock::Clock;
use crate::webrtc::BadDescription;
use crate::webrtc::Certificate;
use crate::webrtc::Config;
use crate::webrtc::Failure;
use crate::webrtc::Input;
use crate::webrtc::Negotiated;
use crate::webrtc::Output;
use crate::webrtc::PayloadKind;
use crate::webrtc::Peer;
use crate::webrtc::PeerTimer;
use crate::webrtc::RtpOut;

const OURS: &str = "127.0.0.1:40000";
const THEIRS: &str = "127.0.0.2:50000";

/// What one side has reported.
#[derive(Debug, Default)]
struct Seen {
    connected: Option<Negotiated>,
    reachable: Vec<bool>,
    failed: Option<Failure>,
    rtp: Vec<(PayloadKind, u16, u32, Vec<u8>)>,
    texts: Vec<String>,
    remote_loss: Option<f32>,
}

struct Pair {
    now: Instant,
    peers: Vec<Peer>,
    seen: [Seen; 2],
    cut: bool,
    drop_every: usize,
    carried: usize,
}

fn config(address: &str, lite: bool) -> Config {
    let mut config = Config::new(Certificate::generate().unwrap(), vec![address.parse().unwrap()]);
    config.ice_lite = lite;
    config
}

impl Pair {
    fn new() -> Self {
        Self::with(|answer| answer)
    }

    fn with(edit: impl Fn(String) -> String) -> Self {
        let now = Clock::system().now();
        let (mut offerer, offer) = Peer::offer(&config(OURS, true), now).unwrap();
        let (answerer, answer) = Peer::answer(&config(THEIRS, false), &offer, now).unwrap();
        offerer.handle(Input::Answer(&edit(answer)), now);
        Self {
            now,
            peers: vec![offerer, answerer],
            seen: [Seen::default(), Seen::default()],
            cut: false,
            drop_every: 0,
            carried: 0,
        }
    }

    /// Carries everything that waits, then lets time pass to the next timer, until `done` or `limit`.
    fn run_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let deadline = self.now + limit;
        while self.now < deadline {
            self.carry();
            if done(self) {
                return true;
            }
            let next =
                self.peers.iter().filter_map(|peer| peer.poll_timeout().map(|(at, _)| at)).min().unwrap_or(deadline);
            self.now = next.clamp(self.now + Duration::from_millis(1), self.now + Duration::from_millis(20));
            for peer in &mut self.peers {
                peer.handle_timeout(self.now);
            }
        }
        false
    }

    fn carry(&mut self) {
        let mut again = true;
        while std::mem::take(&mut again) {
            for side in 0..2 {
                let Some(output) = self.peers[side].poll_output() else { continue };
                again = true;
                self.take(side, output);
            }
        }
    }

    fn take(&mut self, side: usize, output: Output) {
        let seen = &mut self.seen[side];
        match output {
            Output::Transmit { from, to, bytes } => {
                self.carried += 1;
                let lost = self.drop_every > 0 && self.carried.is_multiple_of(self.drop_every) && bytes[0] >= 128;
                if !self.cut && !lost {
                    self.peers[1 - side].handle(Input::Datagram { source: from, local: to, bytes: &bytes }, self.now);
                }
            }
            Output::Connected(negotiated) => seen.connected = Some(negotiated),
            Output::Reachable(reachable) => seen.reachable.push(reachable),
            Output::Failed(failure) => seen.failed = Some(failure),
            Output::Rtp(rtp) => seen.rtp.push((rtp.kind, rtp.sequence, rtp.timestamp, rtp.payload.to_vec())),
            Output::Data(text) => seen.texts.push(text),
            Output::Stats(stats) => seen.remote_loss = stats.remote_loss.or(seen.remote_loss),
        }
    }

    fn connect(&mut self) {
        let both = |pair: &Self| pair.seen.iter().all(|seen| seen.connected.is_some());
        assert!(self.run_until(Duration::from_secs(5), both), "{:?}", self.seen);
    }

    fn send(&mut self, side: usize, count: u16, first_sequence: u64) {
        let negotiated = self.seen[side].connected.unwrap();
        for index in 0..count {
            let packet = RtpOut {
                payload_type: negotiated.audio_payload_type,
                sequence: first_sequence + u64::from(index),
                timestamp: u32::from(index) * 960,
                marker: index == 0,
                payload: &[0xF8, 0xFF, 0xFE],
            };
            self.peers[side].write_rtp(&packet, self.now);
            let next = self.now + Duration::from_millis(20);
            self.run_until(next - self.now, |_| false);
        }
    }
}

#[test]
fn an_offer_holds_every_codec_and_candidate_on_one_bundle() {
    let now = Clock::system().now();
    let (peer, offer) = Peer::offer(&config(OURS, true), now).unwrap();
    for line in [
        "a=rtpmap:111 opus/48000/2\r\n",
        "a=fmtp:111 minptime=10;maxplaybackrate=8000;maxaveragebitrate=24000;useinbandfec=1;usedtx=0\r\n",
        "a=rtpmap:0 PCMU/8000\r\n",
        "a=rtpmap:8 PCMA/8000\r\n",
        "a=rtpmap:110 telephone-event/48000\r\n",
        "a=rtpmap:126 telephone-event/8000\r\n",
        "a=sendrecv\r\n",
        "a=rtcp-mux\r\n",
        "a=setup:actpass\r\n",
        "a=fingerprint:sha-256 ",
        "urn:ietf:params:rtp-hdrext:sdes:mid\r\n",
        "m=application ",
        "127.0.0.1 40000 typ host",
        "a=ice-lite\r\n",
    ] {
        assert!(offer.contains(line), "{line} is not in\n{offer}");
    }
    assert!(offer.contains(peer.ufrag()));
    assert_eq!(offer.matches("a=group:BUNDLE ").count(), 1);
    assert_eq!(offer.matches("m=").count(), 2);
    for absent in ["transport-cc", "a=crypto", "ssrc-audio-level", "sha-1"] {
        assert!(!offer.contains(absent), "{absent}");
    }
}

#[test]
fn rtp_and_text_flow_both_ways() {
    let mut pair = Pair::new();
    pair.connect();
    assert_eq!(pair.seen[0].connected.unwrap().audio, PayloadKind::Opus);
    assert_eq!(pair.seen[0].connected.unwrap().telephone_event, Some(110));
    pair.send(0, 3, 65_534);
    pair.send(1, 3, 7);
    for side in 0..2 {
        let rtp = &pair.seen[1 - side].rtp;
        assert_eq!(rtp.len(), 3, "from {side}");
        assert_eq!(rtp[2].2, 2 * 960);
        assert_eq!(rtp[2].3, [0xF8, 0xFF, 0xFE]);
    }
    assert_eq!(pair.seen[1].rtp.iter().map(|rtp| rtp.1).collect::<Vec<_>>(), [65_534, 65_535, 0]);
    for side in 0..2 {
        let sent = pair.run_until(Duration::from_secs(3), |pair| pair.peers[side].stats().packets_sent > 0);
        assert!(sent);
        pair.peers[side].handle(Input::Text(&format!("{{\"from\":{side}}}")), pair.now);
        assert!(pair.run_until(Duration::from_secs(2), |pair| !pair.seen[1 - side].texts.is_empty()));
        assert_eq!(pair.seen[1 - side].texts, [format!("{{\"from\":{side}}}")]);
    }
}

#[test]
fn receiver_reports_tell_the_sender_its_loss() {
    let mut pair = Pair::new();
    pair.connect();
    pair.drop_every = 5;
    pair.send(0, 250, 0);
    let loss = pair.seen[0].remote_loss.expect("a report came");
    assert!((0.05..0.4).contains(&loss), "{loss}");
    assert!(pair.peers[0].stats().rtt_ms.is_some());
}

#[test]
fn an_answer_without_ssrc_and_without_mid_is_heard_by_its_payload_type() {
    let bare = |answer: String| {
        let kept = answer
            .lines()
            .filter(|line| !["a=ssrc", "a=msid", "a=extmap"].iter().any(|prefix| line.starts_with(prefix)));
        kept.map(|line| format!("{line}\r\n")).collect()
    };
    let mut pair = Pair::with(bare);
    pair.connect();
    pair.run_until(Duration::from_secs(9), |_| false); // it rings, and nobody speaks
    pair.send(1, 3, 100);
    assert_eq!(pair.seen[0].rtp.len(), 3, "{:?}", pair.seen[0]);
}

#[test]
fn a_browser_that_chooses_g711_is_spoken_to_in_g711() {
    let pcma = |answer: String| {
        let kept = answer
            .lines()
            .filter(|line| !line.contains("opus") && !line.contains("PCMU") && !line.starts_with("a=fmtp"));
        let text: String = kept.map(|line| format!("{line}\r\n")).collect();
        text.replace("SAVPF 111 0 8 110 126", "SAVPF 8 126").replace("a=rtpmap:110 telephone-event/48000\r\n", "")
    };
    let mut pair = Pair::with(pcma);
    pair.connect();
    let negotiated = pair.seen[0].connected.unwrap();
    assert_eq!(negotiated, Negotiated { audio: PayloadKind::Pcma, audio_payload_type: 8, telephone_event: Some(126) });
    pair.send(0, 2, 0);
    assert_eq!(pair.seen[1].rtp[0].0, PayloadKind::Pcma);
}

#[test]
fn a_wrong_fingerprint_fails_the_peer() {
    let forged = |answer: String| {
        let line = answer.lines().find(|line| line.starts_with("a=fingerprint")).unwrap().to_owned();
        let last = if line.ends_with('0') { "1" } else { "0" };
        answer.replace(&line, &format!("{}{last}", &line[..line.len() - 1]))
    };
    let mut pair = Pair::with(forged);
    assert!(pair.run_until(Duration::from_secs(20), |pair| pair.seen[0].failed.is_some()));
    assert_eq!(pair.seen[0].failed, Some(Failure::Dtls));
    assert!(pair.seen[0].connected.is_none());
}

#[test]
fn an_answer_that_cannot_be_used_fails_the_peer_at_once() {
    let weak = |answer: String| answer.replace("a=fingerprint:sha-256", "a=fingerprint:sha-1");
    for (edit, reason) in [
        (&weak as &dyn Fn(String) -> String, BadDescription::WeakFingerprint),
        (&|_| "hello".to_owned(), BadDescription::Malformed),
        (&|answer: String| answer.replace("UDP/TLS/RTP/SAVPF", "RTP/AVP"), BadDescription::Unencrypted),
    ] {
        let mut pair = Pair::with(edit);
        pair.carry();
        assert_eq!(pair.seen[0].failed, Some(Failure::Description(reason)));
        assert!(pair.peers[0].is_ended());
        assert_eq!(pair.peers[0].poll_timeout(), None);
    }
}

#[test]
fn no_path_in_time_is_an_ice_failure() {
    let mut pair = Pair::new();
    pair.cut = true;
    assert!(
        pair.peers[0]
            .poll_timeout()
            .is_some_and(|(_, timer)| timer == PeerTimer::Transport || timer == PeerTimer::Setup)
    );
    assert!(pair.run_until(Duration::from_secs(20), |pair| pair.seen[0].failed.is_some()));
    assert_eq!(pair.seen[0].failed, Some(Failure::Ice));
}

#[test]
fn a_vanished_browser_is_reported_and_found_again() {
    let mut pair = Pair::new();
    pair.connect();
    pair.cut = true;
    assert!(pair.run_until(Duration::from_mins(1), |pair| pair.seen[0].reachable == [false]));
    pair.cut = false;
    assert!(pair.run_until(Duration::from_mins(1), |pair| pair.seen[0].reachable == [false, true]), "{:?}", pair.seen);
}

#[test]
fn a_closed_page_is_unreachable_at_once() {
    let mut pair = Pair::new();
    pair.connect();
    pair.peers[1].handle(Input::Close, pair.now);
    assert!(pair.run_until(Duration::from_millis(500), |pair| pair.seen[0].reachable == [false]));
}

#[test]
fn only_a_request_with_our_ufrag_and_integrity_binds_an_address() {
    let now = Clock::system().now();
    let (mut offerer, offer) = Peer::offer(&config(OURS, true), now).unwrap();
    let (mut answerer, answer) = Peer::answer(&config(THEIRS, false), &offer, now).unwrap();
    offerer.handle(Input::Answer(&answer), now);
    let (other, _) = Peer::offer(&config(OURS, true), now).unwrap();
    let mut request = None;
    for step in 0..50 {
        answerer.handle_timeout(now + Duration::from_millis(step * 10));
        while let Some(output) = answerer.poll_output() {
            if let Output::Transmit { bytes, .. } = output {
                request.get_or_insert(bytes);
            }
        }
    }
    let mut request = request.expect("a check was sent");
    let (source, local): (SocketAddr, SocketAddr) = (THEIRS.parse().unwrap(), OURS.parse().unwrap());
    assert_eq!(crate::webrtc::stun::local_ufrag(&request), Some(offerer.ufrag()));
    assert!(offerer.accepts(source, local, &request, now));
    assert!(!other.accepts(source, local, &request, now));
    let middle = request.len() - 20;
    request[middle] ^= 1;
    assert!(!offerer.accepts(source, local, &request, now));
    assert!(!offerer.accepts(source, local, &[22; 64], now), "no DTLS before the check");
}

#[test]
fn garbage_is_counted_and_harms_nobody() {
    let mut pair = Pair::new();
    pair.connect();
    let (source, local) = (THEIRS.parse().unwrap(), OURS.parse().unwrap());
    for first in [0_u8, 1, 5, 22, 23, 80, 128, 144, 200, 255] {
        for length in [1_usize, 3, 12, 13, 40, 1_200] {
            let mut bytes = vec![0xA5; length];
            bytes[0] = first;
            let now = pair.now;
            pair.peers[0].handle(Input::Datagram { source, local, bytes: &bytes }, now);
        }
    }
    assert!(pair.peers[0].dropped() > 0);
    pair.send(1, 3, 0);
    assert_eq!(pair.seen[0].rtp.len(), 3);
    assert_eq!(pair.seen[0].failed, None);
}
