//! A browser that is not ours: the crate `rtc`, sans-IO as we are, for interop tests here and in the worker.
#![expect(clippy::wildcard_enum_match_arm, reason = "foreign and non-exhaustive")]

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use bytes::BytesMut;
use rtc::data_channel::RTCDataChannelId;
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::RTCPeerConnection;
use rtc::peer_connection::RTCPeerConnectionBuilder;
use rtc::peer_connection::configuration::media_engine::MIME_TYPE_OPUS;
use rtc::peer_connection::configuration::media_engine::MIME_TYPE_PCMU;
use rtc::peer_connection::configuration::media_engine::MediaEngine;
use rtc::peer_connection::event::RTCDataChannelEvent;
use rtc::peer_connection::event::RTCPeerConnectionEvent;
use rtc::peer_connection::message::RTCMessage;
use rtc::peer_connection::message::TaggedRTCMessage;
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::peer_connection::state::RTCPeerConnectionState;
use rtc::peer_connection::transport::CandidateConfig;
use rtc::peer_connection::transport::CandidateHostConfig;
use rtc::peer_connection::transport::RTCIceCandidate;
use rtc::rtp_transceiver::rtp_sender::RTCRtpCodec;
use rtc::rtp_transceiver::rtp_sender::RTCRtpCodecParameters;
use rtc::rtp_transceiver::rtp_sender::RTCRtpCodingParameters;
use rtc::rtp_transceiver::rtp_sender::RTCRtpEncodingParameters;
use rtc::rtp_transceiver::rtp_sender::RtpCodecKind;
use rtc::sansio::Protocol;
use rtc::shared::TaggedBytesMut;
use rtc::shared::TransportContext;
use rtc::shared::TransportProtocol;

/// The codec that the foreign browser speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaks {
    Opus,
    Pcmu,
}

/// RTP that the foreign browser received.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    pub(crate) payload_type: u8,
    pub(crate) sequence: u16,
    pub(crate) timestamp: u32,
    pub(crate) payload: Vec<u8>,
}

pub(crate) struct Foreign {
    connection: RTCPeerConnection,
    local: SocketAddr,
    sender: rtc::rtp_transceiver::RTCRtpSenderId,
    payload_type: u8,
    ssrc: u32,
    channel: Option<RTCDataChannelId>,
    pub(crate) connected: bool,
    pub(crate) heard: VecDeque<Heard>,
    pub(crate) texts: Vec<String>,
}

impl Foreign {
    pub(crate) fn new(local: SocketAddr, speaks: Speaks, now: Instant) -> Self {
        let (mime_type, clock_rate, channels, payload_type) = match speaks {
            Speaks::Opus => (MIME_TYPE_OPUS, 48_000, 2, 111),
            Speaks::Pcmu => (MIME_TYPE_PCMU, 8_000, 0, 0),
        };
        let codec = RTCRtpCodec {
            mime_type: mime_type.to_owned(),
            clock_rate,
            channels,
            sdp_fmtp_line: String::new(),
            rtcp_feedback: vec![],
        };
        let mut engine = MediaEngine::default();
        let parameters = RTCRtpCodecParameters { rtp_codec: codec.clone(), payload_type };
        engine.register_codec(parameters, RtpCodecKind::Audio).unwrap();
        let registry = rtc::interceptor::Registry::new();
        let registry = rtc::peer_connection::configuration::interceptor_registry::register_default_interceptors(
            registry,
            &mut engine,
        )
        .unwrap();
        let mut connection = RTCPeerConnectionBuilder::new()
            .with_media_engine(engine)
            .with_interceptor_registry(registry)
            .build(now)
            .unwrap();
        let ssrc = 0x5EED_0001;
        let coding = RTCRtpCodingParameters { ssrc: Some(ssrc), ..Default::default() };
        let encoding = RTCRtpEncodingParameters { rtp_coding_parameters: coding, codec, ..Default::default() };
        let track =
            MediaStreamTrack::new("s".to_owned(), "t".to_owned(), "l".to_owned(), RtpCodecKind::Audio, vec![encoding]);
        let sender = connection.add_track(track).unwrap();
        let candidate = CandidateHostConfig {
            base_config: CandidateConfig {
                network: "udp".to_owned(),
                address: local.ip().to_string(),
                port: local.port(),
                component: 1,
                ..Default::default()
            },
            ..Default::default()
        };
        let candidate = candidate.new_candidate_host().unwrap();
        connection.add_local_candidate(RTCIceCandidate::from(&candidate).to_json().unwrap()).unwrap();
        Self {
            connection,
            local,
            sender,
            payload_type,
            ssrc,
            channel: None,
            connected: false,
            heard: VecDeque::new(),
            texts: Vec::new(),
        }
    }

    pub(crate) fn answer(&mut self, offer: &str, now: Instant) -> String {
        let offer = RTCSessionDescription::offer(offer.to_owned()).unwrap();
        self.connection.set_remote_description(now, offer).unwrap();
        let answer = self.connection.create_answer(None).unwrap();
        self.connection.set_local_description(now, answer).unwrap();
        self.connection.local_description().unwrap().sdp
    }

    pub(crate) fn offer(&mut self, now: Instant) -> String {
        let created = self.connection.create_data_channel("tandem", None).unwrap();
        self.channel = Some(created.id());
        let offer = self.connection.create_offer(None).unwrap();
        self.connection.set_local_description(now, offer).unwrap();
        self.connection.local_description().unwrap().sdp
    }

    pub(crate) fn accept(&mut self, answer: &str, now: Instant) {
        let answer = RTCSessionDescription::answer(answer.to_owned()).unwrap();
        self.connection.set_remote_description(now, answer).unwrap();
    }

    pub(crate) fn receive(&mut self, source: SocketAddr, bytes: &[u8], now: Instant) {
        let transport = TransportContext {
            local_addr: self.local,
            peer_addr: source,
            ecn: None,
            transport_protocol: TransportProtocol::UDP,
        };
        self.connection.handle_read(TaggedBytesMut { now, transport, message: BytesMut::from(bytes) }).ok();
        self.drain();
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.connection.handle_timeout(now).ok();
        self.drain();
    }

    pub(crate) fn poll_timeout(&mut self) -> Option<Instant> {
        self.connection.poll_timeout()
    }

    pub(crate) fn poll_transmit(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        let sent = self.connection.poll_write()?;
        Some((sent.transport.peer_addr, sent.message.to_vec()))
    }

    pub(crate) fn send_rtp(&mut self, sequence: u16, timestamp: u32, payload: &[u8], now: Instant) {
        let header = rtc::rtp::header::Header {
            version: 2,
            payload_type: self.payload_type,
            sequence_number: sequence,
            timestamp,
            ssrc: self.ssrc,
            ..Default::default()
        };
        let packet = rtc::rtp::packet::Packet { header, payload: bytes::Bytes::copy_from_slice(payload) };
        self.connection.rtp_sender(self.sender).unwrap().write_rtp(now, packet).unwrap();
    }

    /// Sends text once the channel is open; says whether it was.
    pub(crate) fn send_text(&mut self, text: &str, now: Instant) -> bool {
        let channel = self.channel.and_then(|id| self.connection.data_channel(id));
        channel.is_some_and(|mut channel| channel.send_text(now, text).is_ok())
    }

    fn drain(&mut self) {
        while let Some(event) = self.connection.poll_event() {
            match event {
                RTCPeerConnectionEvent::OnConnectionStateChangeEvent(state) => {
                    self.connected = state == RTCPeerConnectionState::Connected;
                }
                RTCPeerConnectionEvent::OnDataChannel(RTCDataChannelEvent::OnOpen(id)) => self.channel = Some(id),
                _ => {}
            }
        }
        while let Some(TaggedRTCMessage { message, .. }) = self.connection.poll_read() {
            match message {
                RTCMessage::RtpPacket(_, packet) => self.heard.push_back(Heard {
                    payload_type: packet.header.payload_type,
                    sequence: packet.header.sequence_number,
                    timestamp: packet.header.timestamp,
                    payload: packet.payload.to_vec(),
                }),
                RTCMessage::DataChannelMessage(_, data) => {
                    self.texts.push(String::from_utf8_lossy(&data.data).into_owned());
                }
                _ => {}
            }
        }
    }
}
