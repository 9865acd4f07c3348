//! A test call's audio: a 1 kHz tone out, and a count of what comes in.

use std::net::SocketAddr;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use rand::rngs::StdRng;
use tokio::net::UdpSocket;
use tokio::time::Interval;
use tokio::time::MissedTickBehavior;

use crate::clock::Clock;
use crate::codec::TrunkCodec;
use crate::codec::g711::Law;
use crate::rtp::packet::Header;
use crate::rtp::packet::Packet;
use crate::rtp::send_stream::SendStream;
use crate::rtp::telephone_event::DtmfDigit;
use crate::rtp::telephone_event::sender::EventSender;
use crate::sdp::Negotiated;

/// Samples of a packet of 20 ms at 8 kHz.
const PACKET_SAMPLES: u64 = 160;
/// The same as G.711.
const PACKET_BYTES: usize = 160;
/// One period of 1 kHz at 8 kHz, at a quarter of full scale.
const TONE: [i16; 8] = [0, 5_793, 8_192, 5_793, 0, -5_793, -8_192, -5_793];
/// The largest datagram that is read.
const DATAGRAM_BYTES: usize = 2_048;

/// What came in since the last [`Media::reset`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Heard {
    /// Packets of audio, encrypted or not.
    pub(super) audio: usize,
    /// Packets of telephone events.
    pub(super) events: usize,
    /// The payload type of the last audio packet.
    pub(super) payload_type: Option<u8>,
}

#[derive(Debug)]
struct Sending {
    to: SocketAddr,
    payload_type: u8,
    law: Law,
    event_type: Option<u8>,
}

/// The socket and both streams of a test call.
#[derive(Debug)]
pub(super) struct Media {
    socket: UdpSocket,
    stream: SendStream,
    events: EventSender,
    clock: Clock,
    tick: Interval,
    position: u64,
    /// Where the last telephone event began.
    event_at: u64,
    sending: Option<Sending>,
    event_payload_type: Option<u8>,
    heard: Heard,
}

impl Media {
    /// A socket on any port of `address`, silent at first.
    pub(super) async fn bind(address: std::net::IpAddr, clock: Clock, rng: &mut StdRng) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind((address, 0)).await.with_context(|| format!("no port on {address} for RTP"))?;
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self {
            socket,
            stream: SendStream::new(rng),
            events: EventSender::new(8_000),
            clock,
            tick,
            position: 0,
            event_at: 0,
            sending: None,
            event_payload_type: None,
            heard: Heard::default(),
        })
    }

    /// Our RTP port.
    pub(super) fn port(&self) -> u16 {
        self.socket.local_addr().map_or(0, |address| address.port())
    }

    /// Sends and counts as agreed. An encrypted stream is counted, not sent.
    pub(super) fn connect(&mut self, agreed: &Negotiated) {
        let law = match agreed.codec {
            TrunkCodec::Pcmu => Law::Mu,
            TrunkCodec::Pcma => Law::A,
        };
        let sending = Sending {
            to: agreed.remote_rtp,
            payload_type: agreed.payload_type,
            law,
            event_type: agreed.telephone_event,
        };
        self.sending = (agreed.send && agreed.srtp.is_none()).then_some(sending);
        self.event_payload_type = agreed.receive_telephone_event;
    }

    /// Counts anew.
    pub(super) fn reset(&mut self) {
        self.heard = Heard::default();
    }

    /// What was counted.
    pub(super) const fn heard(&self) -> Heard {
        self.heard
    }

    /// Presses a key. Whether there is a way to say so.
    pub(super) fn press(&mut self, digit: DtmfDigit, now: Instant) -> bool {
        let can = self.sending.as_ref().is_some_and(|sending| sending.event_type.is_some());
        can && self.events.push(digit, now)
    }

    /// Receives one packet, or sends one. Cancel-safe.
    pub(super) async fn turn(&mut self) {
        let mut datagram = [0; DATAGRAM_BYTES];
        tokio::select! {
            received = self.socket.recv_from(&mut datagram) => {
                if let Ok((length, _)) = received {
                    self.received(datagram.get(..length).unwrap_or_default());
                }
            }
            _ = self.tick.tick() => self.send(),
        }
    }

    fn received(&mut self, datagram: &[u8]) {
        let Ok(packet) = Packet::parse(datagram) else { return };
        if Some(packet.header.payload_type) == self.event_payload_type {
            self.heard.events += 1;
        } else {
            self.heard.audio += 1;
            self.heard.payload_type = Some(packet.header.payload_type);
        }
    }

    fn send(&mut self) {
        let position = self.position;
        self.position += PACKET_SAMPLES;
        let Some(sending) = &self.sending else { return };
        let mut packet = [0; 256];
        let event = self.events.poll(self.clock.now()).zip(sending.event_type);
        let written = if let Some((event, payload_type)) = event {
            let payload = event.payload.to_bytes();
            if event.marker {
                self.event_at = position;
            }
            // All packets of an event bear the timestamp of its beginning (RFC 4733 2.5.1.2).
            let stamp = self.stream.stamp(position, payload.len());
            let timestamp = self.stream.timestamp_at(self.event_at + u64::from(event.offset));
            let header = self.header(payload_type, event.marker, stamp.wire_sequence(), timestamp);
            header.write(&payload, &mut packet)
        } else if self.events.is_busy() {
            None
        } else {
            let payload: Vec<u8> =
                TONE.iter().cycle().map(|sample| sending.law.encode(*sample)).take(PACKET_BYTES).collect();
            let stamp = self.stream.stamp(position, payload.len());
            let header = self.header(sending.payload_type, position == 0, stamp.wire_sequence(), stamp.timestamp);
            header.write(&payload, &mut packet)
        };
        if let Some(bytes) = written.and_then(|length| packet.get(..length)) {
            // A packet that finds no way is a packet lost, as the network loses them.
            drop(self.socket.try_send_to(bytes, sending.to));
        }
    }

    const fn header(&self, payload_type: u8, marker: bool, sequence: u16, timestamp: u32) -> Header {
        Header { payload_type, marker, sequence, timestamp, ssrc: self.stream.ssrc() }
    }
}
