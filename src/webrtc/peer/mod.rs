//! A peer connection to one browser: str0m in RTP mode behind four verbs.
//!
//! str0m's contract stands here and nowhere else: after `write_rtp` comes `handle_input(Timeout(now))`, and after every
//! input the output is drained until it says when it wants to be woken.

mod events;
mod numbering;
mod vocabulary;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;
use std::time::Instant;

use str0m::Candidate;
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
use str0m::rtp::RtpWrite;
use str0m::rtp::Ssrc;

use numbering::Numbering;
pub use vocabulary::Config;
pub use vocabulary::Failure;
pub use vocabulary::Input;
pub use vocabulary::Output;
pub use vocabulary::PeerTimer;
pub use vocabulary::Rtp;
pub use vocabulary::RtpOut;

use crate::limits::PEER_SOURCES_MAX;
use crate::webrtc::BadDescription;
use crate::webrtc::Negotiated;
use crate::webrtc::PayloadKind;
use crate::webrtc::PeerStats;
use crate::webrtc::candidates;
use crate::webrtc::negotiation;
use crate::webrtc::stun;
use crate::webrtc::stun::DatagramKind;

/// The data channel's label.
const CHANNEL_LABEL: &str = "tandem";

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
            Phase::Connecting { deadline, ice_up } if *deadline <= now => {
                Some(if *ice_up { Failure::Dtls } else { Failure::Ice })
            }
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
            Phase::Connecting { .. } | Phase::Offered(_) | Phase::Connected => {
                Some((self.wake_at, PeerTimer::Transport))
            }
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
        let write =
            RtpWrite::new(payload_type, sequence.into(), packet.timestamp, now, packet.payload).marker(packet.marker);
        if let Some(stream) = self.rtc.direct_api().stream_tx_by_mid(self.mid, None) {
            stream.write_rtp(write);
        }
        self.advance(now);
    }

    /// What the descriptions settled on, once both are known.
    pub fn negotiated(&self) -> Option<Negotiated> {
        let media = self.rtc.media(self.mid)?;
        let agreed = || {
            media.remote_pts().iter().filter_map(|payload_type| Some((self.kind_of(*payload_type)?, **payload_type)))
        };
        let (audio, audio_payload_type) = agreed().find(|(kind, _)| kind.is_audio())?;
        let event = |(kind, _): &(PayloadKind, u8)| !kind.is_audio() && kind.clock_hz() == audio.clock_hz();
        Some(Negotiated {
            audio,
            audio_payload_type,
            telephone_event: agreed().find(event).map(|(_, payload_type)| payload_type),
        })
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
        if stun::kind(bytes) != Some(DatagramKind::Srtp) || !is_ours || ssrc == 0 || self.known_sources.contains(&ssrc)
        {
            return;
        }
        let bound_by_mid = has_extension
            && self.rtc.media(self.mid).is_some_and(|media| media.remote_extmap().id_of(Extension::RtpMid).is_some());
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
