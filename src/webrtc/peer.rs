//! A peer connection to one browser: str0m in RTP mode behind four verbs.
//!
//! str0m's contract stands here and nowhere else: after `write_rtp` comes `handle_input(Timeout(now))`, and after every
//! input the output is drained until it says when it wants to be woken.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use str0m::Candidate;
use str0m::IceConnectionState;
use str0m::Rtc;
use str0m::change::SdpAnswer;
use str0m::change::SdpOffer;
use str0m::change::SdpPendingOffer;
use str0m::channel::ChannelId;
use str0m::format::Codec;
use str0m::format::PayloadParams;
use str0m::media::Direction;
use str0m::media::MediaKind;
use str0m::media::Mid;
use str0m::media::Pt;
use str0m::net::Protocol;
use str0m::net::Receive;
use str0m::rtp::Extension;
use str0m::rtp::RtpPacket;
use str0m::rtp::RtpWrite;
use str0m::rtp::Ssrc;

use super::BadDescription;
use super::Certificate;
use super::Negotiated;
use super::PayloadKind;
use super::PeerStats;
use super::candidates;
use super::negotiation;
use super::stun;
use super::stun::DatagramKind;
use crate::limits::DATA_MESSAGE_BYTES_MAX;
use crate::limits::PEER_SOURCES_MAX;

/// The data channel's label.
const CHANNEL_LABEL: &str = "tandem";
/// A jump of this many sequence numbers or more is a new source, not a loss (RFC 3550 A.1, `MAX_DROPOUT`).
const SEQUENCE_GAP_MAX: u64 = 3_000;

/// How a peer is made.
#[derive(Debug, Clone)]
pub struct Config {
    /// The certificate that all peers share.
    pub certificate: Certificate,
    /// Our host candidates: addresses under which the browser port is reached. At least one.
    pub candidates: Vec<SocketAddr>,
    /// Answers connectivity checks and sends none (RFC 8445 2.5): nothing leaves for an address that has not proved itself.
    pub ice_lite: bool,
    /// From the browser's answer until ICE and DTLS are up.
    pub setup_timeout: Duration,
    /// Time between statistics; the browser's loss is known only then.
    pub stats_interval: Duration,
    /// Time between our RTCP reports; the browser's FEC follows them.
    pub report_interval: Duration,
}

impl Config {
    /// The usual times, for a certificate and our addresses.
    pub const fn new(certificate: Certificate, candidates: Vec<SocketAddr>) -> Self {
        Self {
            certificate,
            candidates,
            ice_lite: true,
            setup_timeout: Duration::from_secs(15),
            stats_interval: Duration::from_secs(1),
            report_interval: Duration::from_secs(1),
        }
    }
}

/// What happens to a peer from outside.
#[derive(Debug, Clone, Copy)]
pub enum Input<'a> {
    /// A datagram that the shared port has found to be this peer's.
    Datagram {
        /// Whence it came.
        source: SocketAddr,
        /// Our candidate that it came to.
        local: SocketAddr,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// The browser's answer to our offer.
    Answer(&'a str),
    /// A trickled candidate, `candidate:…`.
    Candidate(&'a str),
    /// Text for the data channel; dropped while the channel is not open.
    Text(&'a str),
    /// We are done: says so to the browser.
    Close,
}

/// What a peer wants done or known.
#[derive(Debug)]
pub enum Output {
    /// A datagram to send.
    Transmit {
        /// From which of our candidates.
        from: SocketAddr,
        /// To where.
        to: SocketAddr,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// ICE and DTLS are up, and these payload types were agreed.
    Connected(Negotiated),
    /// ICE lost the browser (it may come back), or found it again.
    Reachable(bool),
    /// The peer cannot be, and will do nothing more.
    Failed(Failure),
    /// Authenticated RTP.
    Rtp(Rtp),
    /// Text from the data channel.
    Data(String),
    /// New figures, every `stats_interval`.
    Stats(PeerStats),
}

/// Why a peer failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The answer cannot be used.
    #[error("the browser's session description cannot be used")]
    Description(#[source] BadDescription),
    /// No path in time.
    #[error("no network path was found in time")]
    Ice,
    /// A wrong certificate, or no handshake in time.
    #[error("the DTLS handshake failed")]
    Dtls,
}

/// An RTP packet of the browser, authenticated and decrypted.
#[derive(Debug, Clone)]
pub struct Rtp {
    /// Its synchronisation source.
    pub ssrc: u32,
    /// Sequence number as sent.
    pub sequence: u16,
    /// Timestamp as sent, on the payload's clock.
    pub timestamp: u32,
    /// The marker bit.
    pub marker: bool,
    /// What it carries.
    pub kind: PayloadKind,
    /// The payload, without padding.
    pub payload: Arc<[u8]>,
}

/// An RTP packet for the browser. The SSRC is the peer's own.
#[derive(Debug, Clone, Copy)]
pub struct RtpOut<'a> {
    /// Payload type, one of [`Negotiated`].
    pub payload_type: u8,
    /// Extended sequence number; a gap of a few is a loss upstream, and shows to the browser as one.
    pub sequence: u64,
    /// Timestamp on the payload's clock.
    pub timestamp: u32,
    /// The marker bit.
    pub marker: bool,
    /// The payload.
    pub payload: &'a [u8],
}

/// What a peer waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PeerTimer {
    /// The browser's path and handshake.
    Setup,
    /// Something inside str0m: ICE checks, DTLS retransmission, RTCP, SCTP.
    Transport,
}

/// Where a peer is.
#[derive(Debug)]
enum Phase {
    /// We offered; the token is spent by the answer.
    Offered(SdpPendingOffer),
    /// Descriptions are exchanged; ICE and DTLS run.
    Connecting { deadline: Instant, ice_up: bool },
    /// Media flows.
    Connected,
    /// Failed or closed.
    Ended,
}

/// See the module.
#[derive(Debug)]
pub struct Peer {
    rtc: Rtc,
    mid: Mid,
    ufrag: String,
    phase: Phase,
    setup_timeout: Duration,
    channel: Option<ChannelId>,
    reachable: bool,
    known_sources: Vec<u32>,
    sequence: Numbering,
    stats: PeerStats,
    stats_due: bool,
    dropped: u64,
    wake_at: Instant,
    outputs: VecDeque<Output>,
}

impl Peer {
    /// A peer that offers. The text goes to the browser, candidates included.
    pub fn offer(config: &Config, now: Instant) -> Option<(Self, String)> {
        let mut peer = Self::build(config, now);
        let mut api = peer.rtc.sdp_api();
        let stream = Some(CHANNEL_LABEL.to_owned());
        peer.mid = api.add_media(MediaKind::Audio, Direction::SendRecv, stream.clone(), stream, None);
        api.add_channel(CHANNEL_LABEL.to_owned());
        let (offer, pending) = api.apply()?;
        peer.phase = Phase::Offered(pending);
        peer.drain(now);
        Some((peer, negotiation::finish_local(&offer.to_sdp_string())))
    }

    /// A peer that answers a browser's (or an RFC 7118 phone's) offer.
    pub fn answer(config: &Config, offer: &str, now: Instant) -> Result<(Self, String), BadDescription> {
        let text = negotiation::read_remote(offer)?;
        let mid = negotiation::audio_mid(&text).map(Mid::from).ok_or(BadDescription::NoAudio)?;
        let offer = SdpOffer::from_sdp_string(&text).map_err(|error| malformed(&error))?;
        let mut peer = Self::build(config, now);
        let answer = peer.rtc.sdp_api().accept_offer(offer).map_err(|error| malformed(&error))?;
        peer.mid = mid;
        peer.phase = Phase::Connecting { deadline: now + config.setup_timeout, ice_up: false };
        peer.drain(now);
        if peer.negotiated().is_none() {
            return Err(BadDescription::NoAudio);
        }
        Ok((peer, negotiation::finish_local(&answer.to_sdp_string())))
    }

    fn build(config: &Config, now: Instant) -> Self {
        let mut builder = Rtc::builder()
            .set_rtp_mode(true)
            .set_ice_lite(config.ice_lite)
            .set_dtls_cert(config.certificate.to_dtls())
            .clear_extension_map()
            .set_extension(1, Extension::RtpMid)
            .set_stats_interval(Some(config.stats_interval))
            .set_rtcp_report_interval_audio(config.report_interval);
        negotiation::configure_codecs(&mut builder);
        let mut rtc = builder.build(now);
        for address in &config.candidates {
            if let Ok(candidate) = Candidate::host(*address, "udp") {
                rtc.add_local_candidate(candidate);
            }
        }
        let ufrag = rtc.direct_api().local_ice_credentials().ufrag;
        Self {
            rtc,
            mid: Mid::new(),
            ufrag,
            phase: Phase::Ended,
            setup_timeout: config.setup_timeout,
            channel: None,
            reachable: false,
            known_sources: Vec::new(),
            sequence: Numbering::default(),
            stats: PeerStats::default(),
            stats_due: false,
            dropped: 0,
            wake_at: now,
            outputs: VecDeque::new(),
        }
    }

    /// Our half of the ICE user name: how a shared port finds this peer.
    pub fn ufrag(&self) -> &str {
        &self.ufrag
    }

    /// Datagrams that were this peer's by address, and were not taken: malformed, unauthenticated, unknown.
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The latest figures.
    pub const fn stats(&self) -> PeerStats {
        self.stats
    }

    /// Whether ICE and DTLS are up, so that RTP may be written.
    pub const fn is_connected(&self) -> bool {
        matches!(self.phase, Phase::Connected)
    }

    /// Whether it failed or was closed.
    pub const fn is_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended)
    }

    /// Whether a STUN request from an address not yet known is this peer's: user names match and the integrity holds.
    pub fn accepts(&self, source: SocketAddr, local: SocketAddr, bytes: &[u8], now: Instant) -> bool {
        stun::kind(bytes) == Some(DatagramKind::Stun)
            && Receive::new(Protocol::Udp, source, local, bytes)
                .is_ok_and(|receive| self.rtc.accepts(&str0m::Input::Receive(now, receive)))
    }

    /// Takes what came from outside.
    pub fn handle(&mut self, input: Input<'_>, now: Instant) {
        if matches!(self.phase, Phase::Ended) {
            return;
        }
        match input {
            Input::Datagram { source, local, bytes } => self.receive(source, local, bytes, now),
            Input::Answer(sdp) => self.take_answer(sdp, now),
            Input::Candidate(text) => {
                if let Some(candidate) = candidates::parse(text) {
                    self.rtc.add_remote_candidate(candidate);
                }
            }
            Input::Text(text) => self.send_text(text),
            Input::Close => self.close(),
        }
        self.drain(now);
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, now: Instant) {
        let expired = match &self.phase {
            Phase::Connecting { deadline, ice_up } if *deadline <= now => Some(if *ice_up { Failure::Dtls } else { Failure::Ice }),
            Phase::Connecting { .. } | Phase::Offered(_) | Phase::Connected | Phase::Ended => None,
        };
        if let Some(failure) = expired {
            self.fail(failure);
        }
        if self.wake_at <= now {
            self.advance(now);
        }
    }

    /// When it wants to be woken, and why.
    pub fn poll_timeout(&self) -> Option<(Instant, PeerTimer)> {
        match &self.phase {
            Phase::Ended => None,
            Phase::Connecting { deadline, .. } if *deadline < self.wake_at => Some((*deadline, PeerTimer::Setup)),
            Phase::Connecting { .. } | Phase::Offered(_) | Phase::Connected => Some((self.wake_at, PeerTimer::Transport)),
        }
    }

    /// The next thing to do or to know; `None` when there is no more.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Sends one RTP packet. Before the handshake it goes nowhere.
    pub fn write_rtp(&mut self, packet: &RtpOut<'_>, now: Instant) {
        if !self.is_connected() {
            return;
        }
        let sequence = self.sequence.number(packet.sequence);
        let payload_type = Pt::from(packet.payload_type);
        let write = RtpWrite::new(payload_type, sequence.into(), packet.timestamp, now, packet.payload).marker(packet.marker);
        if let Some(stream) = self.rtc.direct_api().stream_tx_by_mid(self.mid, None) {
            stream.write_rtp(write);
        }
        self.advance(now);
    }

    /// What the descriptions settled on, once both are known.
    pub fn negotiated(&self) -> Option<Negotiated> {
        let media = self.rtc.media(self.mid)?;
        let agreed = || media.remote_pts().iter().filter_map(|payload_type| Some((self.kind_of(*payload_type)?, **payload_type)));
        let (audio, audio_payload_type) = agreed().find(|(kind, _)| kind.is_audio())?;
        let event = |(kind, _): &(PayloadKind, u8)| !kind.is_audio() && kind.clock_hz() == audio.clock_hz();
        Some(Negotiated { audio, audio_payload_type, telephone_event: agreed().find(event).map(|(_, payload_type)| payload_type) })
    }

    fn kind_of(&self, payload_type: Pt) -> Option<PayloadKind> {
        let params = self.rtc.codec_config().params();
        params.iter().find(|params| params.pt() == payload_type).and_then(kind)
    }

    fn take_answer(&mut self, sdp: &str, now: Instant) {
        if !matches!(self.phase, Phase::Offered(_)) {
            return;
        }
        let next = Phase::Connecting { deadline: now + self.setup_timeout, ice_up: false };
        let Phase::Offered(pending) = std::mem::replace(&mut self.phase, next) else { return };
        if let Err(reason) = self.accept_answer(pending, sdp) {
            self.fail(Failure::Description(reason));
        }
    }

    fn accept_answer(&mut self, pending: SdpPendingOffer, sdp: &str) -> Result<(), BadDescription> {
        let text = negotiation::read_remote(sdp)?;
        let answer = SdpAnswer::from_sdp_string(&text).map_err(|error| malformed(&error))?;
        self.rtc.sdp_api().accept_answer(pending, answer).map_err(|error| malformed(&error))?;
        self.negotiated().map(drop).ok_or(BadDescription::NoAudio)
    }

    fn receive(&mut self, source: SocketAddr, local: SocketAddr, bytes: &[u8], now: Instant) {
        self.expect_source(bytes);
        let taken = Receive::new(Protocol::Udp, source, local, bytes)
            .is_ok_and(|receive| self.rtc.handle_input(str0m::Input::Receive(now, receive)).is_ok());
        if !taken {
            self.dropped += 1;
        }
    }

    /// A browser that answered without a track names no SSRC, and one without the MID extension never binds it: RTP with
    /// a payload type of ours is then taken for the only audio line there is. A few sources a peer, not more.
    fn expect_source(&mut self, bytes: &[u8]) {
        let Some(([flags, payload_type, _, _, _, _, _, _], rest)) = bytes.split_first_chunk::<8>() else { return };
        let Some(ssrc) = rest.first_chunk::<4>().map(|ssrc| u32::from_be_bytes(*ssrc)) else { return };
        let has_extension = flags & 0x10 != 0;
        let is_ours = self.kind_of(Pt::from(payload_type & 0x7F)).is_some();
        if stun::kind(bytes) != Some(DatagramKind::Srtp) || !is_ours || ssrc == 0 || self.known_sources.contains(&ssrc) {
            return;
        }
        let bound_by_mid = has_extension && self.rtc.media(self.mid).is_some_and(|media| media.remote_extmap().id_of(Extension::RtpMid).is_some());
        if bound_by_mid || !self.is_connected() || self.known_sources.len() >= PEER_SOURCES_MAX {
            return;
        }
        self.known_sources.push(ssrc);
        let mut api = self.rtc.direct_api();
        if api.stream_rx(&Ssrc::from(ssrc)).is_none() {
            api.expect_stream_rx(Ssrc::from(ssrc), None, self.mid, None).suppress_nack(true);
        }
    }

    fn send_text(&mut self, text: &str) {
        let written = self
            .channel
            .and_then(|id| self.rtc.channel(id))
            .is_some_and(|mut channel| channel.write(false, text.as_bytes()).unwrap_or(false));
        if !written {
            tracing::trace!(bytes = text.len(), "data channel text not sent");
        }
    }

    /// What is still to be said (RTCP BYE, `close_notify`) is drained after this.
    fn close(&mut self) {
        self.phase = Phase::Ended;
        if let Err(error) = self.rtc.close() {
            tracing::debug!(%error, "peer did not close cleanly");
        }
    }

    fn fail(&mut self, failure: Failure) {
        self.phase = Phase::Ended;
        self.rtc.disconnect();
        self.outputs.push_back(Output::Failed(failure));
    }

    fn advance(&mut self, now: Instant) {
        if let Err(error) = self.rtc.handle_input(str0m::Input::Timeout(now)) {
            tracing::debug!(%error, "peer refused time");
        }
        self.drain(now);
    }

    fn drain(&mut self, now: Instant) {
        // A failed handshake leaves str0m dead, and a garbled datagram only reports itself: both come as an error.
        loop {
            match self.rtc.poll_output() {
                Ok(str0m::Output::Timeout(at)) => {
                    self.wake_at = at;
                    break;
                }
                Ok(str0m::Output::Transmit(transmit)) => {
                    let (from, to) = (transmit.source, transmit.destination);
                    self.outputs.push_back(Output::Transmit { from, to, bytes: transmit.contents.into() });
                }
                Ok(str0m::Output::Event(event)) => self.take_event(event),
                Err(error) => {
                    tracing::debug!(%error, "peer output");
                    self.wake_at = now + Duration::from_millis(10);
                    break;
                }
            }
        }
        // The figures of one interval come as several events: told once, when all are in.
        if std::mem::take(&mut self.stats_due) {
            self.outputs.push_back(Output::Stats(self.stats));
        }
        if !self.rtc.is_alive() && !self.is_ended() {
            if self.is_connected() {
                self.set_reachable(false);
                self.phase = Phase::Ended;
            } else {
                self.fail(Failure::Dtls);
            }
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "foreign and non-exhaustive: what we do not name is nothing to us")]
    fn take_event(&mut self, event: str0m::Event) {
        match event {
            str0m::Event::RtpPacket(packet) => self.take_rtp(packet),
            str0m::Event::Connected => self.take_connected(),
            str0m::Event::IceConnectionStateChange(state) => self.take_ice(state),
            str0m::Event::ChannelOpen(id, label) if label == CHANNEL_LABEL => self.channel = Some(id),
            str0m::Event::ChannelClose(id) if self.channel == Some(id) => self.channel = None,
            str0m::Event::ChannelData(data) => self.take_data(data.id, data.data),
            str0m::Event::Closed => self.set_reachable(false),
            str0m::Event::MediaEgressStats(stats) => self.stats.take_egress(&stats),
            str0m::Event::MediaIngressStats(stats) => self.stats.take_ingress(&stats),
            str0m::Event::PeerStats(stats) => {
                self.stats.take_transport(&stats);
                self.stats_due = true;
            }
            _ => {}
        }
    }

    fn take_rtp(&mut self, packet: RtpPacket) {
        let header = &packet.header;
        let Some(kind) = self.kind_of(header.payload_type) else { return };
        self.outputs.push_back(Output::Rtp(Rtp {
            ssrc: *header.ssrc,
            sequence: header.sequence_number,
            timestamp: header.timestamp,
            marker: header.marker,
            kind,
            payload: packet.payload,
        }));
    }

    fn take_connected(&mut self) {
        if let Some(negotiated) = self.negotiated() {
            self.phase = Phase::Connected;
            self.reachable = true;
            self.outputs.push_back(Output::Connected(negotiated));
        }
    }

    fn take_ice(&mut self, state: IceConnectionState) {
        let up = state.is_connected();
        if let Phase::Connecting { ice_up, .. } = &mut self.phase {
            *ice_up = up;
        } else if up || state.is_disconnected() {
            self.set_reachable(up);
        }
    }

    fn set_reachable(&mut self, reachable: bool) {
        if self.is_connected() && self.reachable != reachable {
            self.reachable = reachable;
            self.outputs.push_back(Output::Reachable(reachable));
        }
    }

    fn take_data(&mut self, channel: ChannelId, bytes: Vec<u8>) {
        if self.channel != Some(channel) || bytes.len() > DATA_MESSAGE_BYTES_MAX {
            self.dropped += 1;
            return;
        }
        match String::from_utf8(bytes) {
            Ok(text) => self.outputs.push_back(Output::Data(text)),
            Err(_) => self.dropped += 1,
        }
    }
}

fn malformed(error: &impl std::fmt::Display) -> BadDescription {
    tracing::debug!(%error, "session description refused");
    BadDescription::Malformed
}

#[expect(clippy::wildcard_enum_match_arm, reason = "foreign and non-exhaustive: we offer no other codec")]
fn kind(params: &PayloadParams) -> Option<PayloadKind> {
    let spec = params.spec();
    let wide = spec.clock_rate.get() == 48_000;
    Some(match spec.codec {
        Codec::Opus => PayloadKind::Opus,
        Codec::PCMU => PayloadKind::Pcmu,
        Codec::PCMA => PayloadKind::Pcma,
        Codec::Tele if wide => PayloadKind::TelephoneEvent48k,
        Codec::Tele => PayloadKind::TelephoneEvent8k,
        _ => return None,
    })
}

/// Numbers of what we send. The first lies below 65,536 (RFC 3711 3.3.1: roll-over counts begin at 0), and where the
/// source's numbers jump, for it was replaced, ours go on.
#[derive(Debug, Default)]
struct Numbering {
    last: Option<(u64, u64)>,
}

impl Numbering {
    fn number(&mut self, source: u64) -> u64 {
        let number = match self.last {
            None => source & 0xFFFF,
            Some((theirs, ours)) if source > theirs && source - theirs < SEQUENCE_GAP_MAX => ours + (source - theirs),
            Some((_, ours)) => ours + 1,
        };
        self.last = Some((source, number));
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sent_numbers_begin_below_the_first_roll_over_and_keep_gaps() {
        let mut numbering = Numbering::default();
        assert_eq!(numbering.number(70_000), 70_000 - 65_536);
        assert_eq!(numbering.number(70_003), 70_003 - 65_536);
    }

    #[test]
    fn a_replaced_source_goes_on_where_the_last_one_ended() {
        let mut numbering = Numbering::default();
        assert_eq!(numbering.number(65_535), 65_535);
        assert_eq!(numbering.number(65_536), 65_536);
        assert_eq!(numbering.number(12), 65_537);
        assert_eq!(numbering.number(9_000_000), 65_538);
    }
}
