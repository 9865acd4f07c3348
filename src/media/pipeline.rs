//! Everything between one browser leg and one trunk leg.

use std::time::Instant;

use rand::RngCore;

use crate::codec;
use crate::media::tap::TapId;
use crate::media::vocabulary::Config;
use crate::media::vocabulary::LegCounters;
use crate::media::vocabulary::MediaTimer;
use crate::media::vocabulary::Output;
use crate::media::vocabulary::PeerAudio;
use crate::media::vocabulary::PeerPacket;
use crate::media::vocabulary::TrunkAudio;
use crate::rtp::telephone_event::DtmfDigit;

/// Everything between one browser leg and one trunk leg: jitter, codecs, DTMF, gate, tap, reports.
#[derive(Debug)]
pub struct Pipeline {}

impl Pipeline {
    /// A pipeline with both gates closed and no trunk.
    pub fn new(_config: Config, _rng: &mut dyn RngCore, _now: Instant) -> Result<Self, codec::Error> {
        Ok(Self {})
    }
    /// Says what is sent to the browser; Opus without events until then.
    pub fn connect_peer(&mut self, _audio: PeerAudio, _now: Instant) {}
    /// Says what was negotiated with the trunk; again at every change (hold, resume).
    pub fn connect_trunk(&mut self, _audio: TrunkAudio, _now: Instant) {}
    /// SSRC that we send to the trunk with.
    pub fn trunk_ssrc(&self) -> u32 {
        0
    }
    /// Says which ways audio may cross. Closed at first.
    pub fn set_gate(&mut self, _to_trunk: bool, _to_agent: bool, _now: Instant) {}
    /// The agent muted: silence to the trunk and in the tap.
    pub fn set_muted(&mut self, _muted: bool, _now: Instant) {}
    /// Queues digits for the trunk.
    pub fn send_dtmf_to_trunk(&mut self, _digits: &[DtmfDigit], _now: Instant) {}
    /// Queues digits for the browser, where it negotiated telephone-event.
    pub fn send_dtmf_to_agent(&mut self, _digits: &[DtmfDigit], _now: Instant) {}
    /// Ringback tone to the agent until the trunk's media is heard, or off.
    pub fn set_ringback(&mut self, _on: bool, _now: Instant) {}
    /// Starts the tap; a tap that runs is replaced.
    pub fn start_tap(&mut self, _tap: TapId, _now: Instant) {}
    /// Stops the tap.
    pub fn stop_tap(&mut self) {}
    /// Takes one packet of the browser.
    pub fn handle_peer_rtp(&mut self, _packet: PeerPacket<'_>, _now: Instant) {}
    /// Takes one RTP datagram of the trunk. RTCP on the same port (RFC 5761) is recognised.
    pub fn handle_trunk_rtp(&mut self, _datagram: &[u8], _now: Instant) {}
    /// Takes one RTCP datagram of the trunk.
    pub fn handle_trunk_rtcp(&mut self, _datagram: &[u8], _now: Instant) {}
    /// Does what is due.
    pub fn handle_timeout(&mut self, _now: Instant) {}
    /// When, and why, [`Self::handle_timeout`] is wanted.
    pub fn poll_timeout(&self) -> Option<(Instant, MediaTimer)> {
        None
    }
    /// What to do next, or what happened. Take until `None` after every call.
    pub fn poll_output(&mut self) -> Option<Output> {
        None
    }
    /// Ends the trunk leg: RTCP BYE, then nothing more.
    pub fn close(&mut self, _now: Instant) {}
    /// Counters of the trunk leg.
    pub fn trunk_stats(&self) -> LegCounters {
        LegCounters::default()
    }
    /// Counters of the browser leg.
    pub fn peer_stats(&self) -> LegCounters {
        LegCounters::default()
    }
}
