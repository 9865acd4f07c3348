//! One agent's end of one call's media: a WebRTC peer that shares no code with the gateway's.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use bytes::{Bytes, BytesMut};
use rtc::interceptor::Registry;
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::interceptor_registry::configure_rtcp_reports;
use rtc::peer_connection::configuration::media_engine::{MIME_TYPE_OPUS, MIME_TYPE_TELEPHONE_EVENT, MediaEngine};
use rtc::peer_connection::event::RTCPeerConnectionEvent;
use rtc::peer_connection::message::RTCMessage;
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::peer_connection::state::RTCPeerConnectionState;
use rtc::peer_connection::transport::{CandidateConfig, CandidateHostConfig, RTCIceCandidate};
use rtc::peer_connection::{RTCPeerConnection, RTCPeerConnectionBuilder};
use rtc::rtp_transceiver::RTCRtpSenderId;
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters, RTCRtpEncodingParameters,
    RTCRtpHeaderExtensionCapability, RtpCodecKind,
};
use rtc::sansio::Protocol as _;
use rtc::shared::{TaggedBytesMut, TransportContext, TransportProtocol};

/// Payload type of Opus where nobody has named one yet.
const OPUS_PAYLOAD_TYPE: u8 = 111;
/// Payload type of telephone-event at 48 kHz where nobody has named one yet.
const EVENT_PAYLOAD_TYPE: u8 = 110;

/// What became of a peer.
#[derive(Debug)]
pub(super) enum PeerEvent {
    /// DTLS is up and the fingerprint matched: audio can cross.
    Connected,
    /// It will not come back.
    Failed,
    /// An Opus packet.
    Audio {
        /// The Opus packet itself.
        payload: Bytes,
        /// At 48 kHz, the sender's.
        timestamp: u32,
        /// Start of a talk spurt.
        marker: bool,
    },
    /// A packet of a telephone-event (RFC 4733 2.3).
    Digit {
        /// The event itself: four bytes.
        payload: Bytes,
        /// At 48 kHz: the same for all packets of one event.
        timestamp: u32,
    },
}

/// See the module's first line.
pub(super) struct AgentPeer {
    connection: RTCPeerConnection,
    sender: RTCRtpSenderId,
    local: SocketAddr,
    ssrc: u32,
    sequence_number: u16,
    /// What the answer calls telephone-event.
    event_payload_type: Option<u8>,
}

impl AgentPeer {
    fn new(local: SocketAddr, ssrc: u32, now: Instant) -> Result<Self> {
        let opus = RTCRtpCodec {
            mime_type: MIME_TYPE_OPUS.to_owned(),
            clock_rate: 48_000,
            channels: 2,
            sdp_fmtp_line: "minptime=10;useinbandfec=1".to_owned(),
            rtcp_feedback: Vec::new(),
        };
        let mut engine = MediaEngine::default();
        let parameters = RTCRtpCodecParameters { rtp_codec: opus.clone(), payload_type: OPUS_PAYLOAD_TYPE };
        engine.register_codec(parameters, RtpCodecKind::Audio)?;
        let events = RTCRtpCodec {
            mime_type: MIME_TYPE_TELEPHONE_EVENT.to_owned(),
            clock_rate: 48_000,
            channels: 0,
            sdp_fmtp_line: "0-15".to_owned(),
            rtcp_feedback: Vec::new(),
        };
        let events = RTCRtpCodecParameters { rtp_codec: events, payload_type: EVENT_PAYLOAD_TYPE };
        engine.register_codec(events, RtpCodecKind::Audio)?;
        let mid = RTCRtpHeaderExtensionCapability { uri: "urn:ietf:params:rtp-hdrext:sdes:mid".to_owned() };
        engine.register_header_extension(mid, RtpCodecKind::Audio, None)?;
        let mut connection = RTCPeerConnectionBuilder::new()
            .with_interceptor_registry(configure_rtcp_reports(Registry::new()))
            .with_media_engine(engine)
            .build(now)?;
        let coding = RTCRtpCodingParameters { ssrc: Some(ssrc), ..Default::default() };
        let encoding =
            RTCRtpEncodingParameters { rtp_coding_parameters: coding, active: true, codec: opus, ..Default::default() };
        let track = MediaStreamTrack::new(
            "agent".into(),
            "microphone".into(),
            "microphone".into(),
            RtpCodecKind::Audio,
            vec![encoding],
        );
        let sender = connection.add_track(track)?;
        Ok(Self { connection, sender, local, ssrc, sequence_number: 1, event_payload_type: None })
    }

    /// A peer that answers `offer` from the socket bound to `local`, and its answer.
    ///
    /// It sends no audio before [`Self::write_audio`]: answering does not open a microphone.
    pub(super) fn answer(offer: &str, local: SocketAddr, ssrc: u32, now: Instant) -> Result<(Self, String)> {
        let mut peer = Self::new(local, ssrc, now)?;
        peer.connection.set_remote_description(now, RTCSessionDescription::offer(offer.to_owned())?)?;
        peer.add_host_candidate()?;
        let answer = peer.connection.create_answer(None)?;
        peer.connection.set_local_description(now, answer)?;
        let sdp = each_payload_type_once(&peer.local_description()?);
        peer.event_payload_type = event_payload_type(&sdp);
        Ok((peer, sdp))
    }

    fn add_host_candidate(&mut self) -> Result<()> {
        let base_config = CandidateConfig {
            network: "udp".to_owned(),
            address: self.local.ip().to_string(),
            port: self.local.port(),
            component: 1,
            ..Default::default()
        };
        let candidate = CandidateHostConfig { base_config, ..Default::default() }.new_candidate_host()?;
        self.connection.add_local_candidate(RTCIceCandidate::from(&candidate).to_json()?)?;
        Ok(())
    }

    fn local_description(&self) -> Result<String> {
        Ok(self.connection.local_description().context("no local description")?.sdp)
    }

    /// A datagram came in. One that makes no sense to the peer is dropped, as a browser would.
    pub(super) fn handle_datagram(&mut self, from: SocketAddr, datagram: &[u8], now: Instant) {
        let transport = TransportContext {
            local_addr: self.local,
            peer_addr: from,
            transport_protocol: TransportProtocol::UDP,
            ecn: None,
        };
        let tagged = TaggedBytesMut { now, transport, message: BytesMut::from(datagram) };
        if let Err(error) = self.connection.handle_read(tagged) {
            tracing::debug!(%error, "agent's peer refused a datagram");
        }
    }

    /// Time passed.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Result<()> {
        Ok(self.connection.handle_timeout(now)?)
    }

    /// When [`Self::handle_timeout`] is due.
    pub(super) fn poll_timeout(&mut self) -> Option<Instant> {
        self.connection.poll_timeout()
    }

    /// A datagram to send.
    pub(super) fn poll_transmit(&mut self) -> Option<(SocketAddr, BytesMut)> {
        self.connection.poll_write().map(|tagged| (tagged.transport.peer_addr, tagged.message))
    }

    /// What happened. Ask until there is nothing more.
    pub(super) fn poll_event(&mut self) -> Option<PeerEvent> {
        while let Some(event) = self.connection.poll_event() {
            let RTCPeerConnectionEvent::OnConnectionStateChangeEvent(state) = event else { continue };
            if state == RTCPeerConnectionState::Connected {
                return Some(PeerEvent::Connected);
            }
            if matches!(state, RTCPeerConnectionState::Failed | RTCPeerConnectionState::Closed) {
                return Some(PeerEvent::Failed);
            }
        }
        while let Some(tagged) = self.connection.poll_read() {
            let RTCMessage::RtpPacket(_, packet) = tagged.message else { continue };
            let header = packet.header;
            let (payload, timestamp, marker) = (packet.payload, header.timestamp, header.marker);
            if Some(header.payload_type) == self.event_payload_type {
                return Some(PeerEvent::Digit { payload, timestamp });
            }
            return Some(PeerEvent::Audio { payload, timestamp, marker });
        }
        None
    }

    /// Sends one Opus packet under this peer's own SSRC and sequence; `timestamp` at 48 kHz.
    pub(super) fn write_audio(&mut self, payload: Bytes, timestamp: u32, marker: bool, now: Instant) -> Result<()> {
        let Some(mut sender) = self.connection.rtp_sender(self.sender) else { bail!("the sender is gone") };
        let codecs = &sender.get_parameters().rtp_parameters.codecs;
        let opus = codecs.iter().find(|codec| codec.rtp_codec.mime_type.eq_ignore_ascii_case(MIME_TYPE_OPUS));
        let payload_type = opus.map_or(OPUS_PAYLOAD_TYPE, |codec| codec.payload_type);
        let header = rtc::rtp::header::Header {
            version: 2,
            marker,
            payload_type,
            sequence_number: self.sequence_number,
            timestamp,
            ssrc: self.ssrc,
            ..Default::default()
        };
        self.sequence_number = self.sequence_number.wrapping_add(1);
        sender.write_rtp(now, rtc::rtp::Packet { header, payload })?;
        Ok(())
    }

    /// Says goodbye to the far side.
    pub(super) fn close(&mut self) {
        if let Err(error) = self.connection.close() {
            tracing::debug!(%error, "agent's peer did not close in good order");
        }
    }
}

/// The number that a description gives to telephone-event on the clock of Opus.
fn event_payload_type(sdp: &str) -> Option<u8> {
    let numbered = sdp.lines().filter_map(|line| line.strip_prefix("a=rtpmap:")?.split_once(' '));
    let mut events = numbered.filter(|(_, name)| name.trim() == "telephone-event/48000");
    events.next()?.0.parse().ok()
}

/// `rtc` takes an offer's telephone-events at 48 and at 8 kHz for one codec and answers with its number twice.
fn each_payload_type_once(sdp: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in sdp.lines() {
        let described = line.starts_with("a=rtpmap:") || line.starts_with("a=fmtp:");
        if line.starts_with("m=audio ") {
            lines.push(each_format_once(line));
        } else if !(described && lines.iter().any(|known| known == line)) {
            lines.push(line.to_owned());
        }
    }
    lines.join("\r\n") + "\r\n"
}

/// A media line without repeated formats: `m=audio PORT PROFILE FORMAT…`.
fn each_format_once(line: &str) -> String {
    let mut words: Vec<&str> = Vec::new();
    for (index, word) in line.split(' ').enumerate() {
        let is_format = index > 2;
        if !(is_format && words.iter().skip(3).any(|known| *known == word)) {
            words.push(word);
        }
    }
    words.join(" ")
}

#[cfg(test)]
impl AgentPeer {
    /// A peer that offers: the far side in this room's tests.
    pub(super) fn offer(local: SocketAddr, ssrc: u32, now: Instant) -> Result<(Self, String)> {
        let mut peer = Self::new(local, ssrc, now)?;
        peer.connection.create_data_channel("tandem", None)?;
        peer.add_host_candidate()?;
        let offer = peer.connection.create_offer(None)?;
        peer.connection.set_local_description(now, offer)?;
        let sdp = peer.local_description()?;
        Ok((peer, sdp))
    }

    /// The far side answered.
    pub(super) fn accept_answer(&mut self, answer: &str, now: Instant) -> Result<()> {
        Ok(self.connection.set_remote_description(now, RTCSessionDescription::answer(answer.to_owned())?)?)
    }
}
