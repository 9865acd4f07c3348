//! What the tests of this room share: fixed keys, sessions, tones, a whole recorder without a disk.
#![cfg(test)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::{CryptoRng, RngCore};

use crate::clock::{Clock, WallTime};
use crate::ids::{CallId, Extension, RecordingId, SessionId, TrunkName};
use crate::media::tap::{Samples8k, TapBody, TapChannel, TapFrame, TapId};
use crate::recording::chain::NodeKey;
use crate::recording::desk::RecorderConfig;
use crate::recording::seal::VaultKey;
use crate::recording::{CallDirection, Obligation, RecordingSession};

/// 2026-01-02T03:04:05Z.
pub(crate) const WALL: WallTime = WallTime(1_767_323_045_000_000_000);

/// A generator that counts: the same bytes in every version of every crate.
#[derive(Debug, Clone)]
pub(crate) struct CountingRng(pub(crate) u8);

impl RngCore for CountingRng {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.fill_bytes(&mut bytes);
        u32::from_le_bytes(bytes)
    }
    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill_bytes(&mut bytes);
        u64::from_le_bytes(bytes)
    }
    fn fill_bytes(&mut self, to: &mut [u8]) {
        for byte in to {
            *byte = self.0;
            self.0 = self.0.wrapping_add(1);
        }
    }
}

impl CryptoRng for CountingRng {}

pub(crate) fn node_key() -> NodeKey {
    NodeKey::of_seed(&[0x42; 32]).unwrap()
}

pub(crate) fn vault_key() -> VaultKey {
    VaultKey::of_bytes(&mut [0x11; 32]).unwrap()
}

pub(crate) fn escrow_key() -> VaultKey {
    VaultKey::of_bytes(&mut [0x77; 32]).unwrap()
}

pub(crate) fn recording(n: u8) -> RecordingId {
    RecordingId::from_uuid(uuid::Uuid::from_bytes([n; 16]))
}

pub(crate) fn config(start: Instant) -> RecorderConfig {
    let recipients = vec![vault_key().recipient().clone(), escrow_key().recipient().clone()];
    RecorderConfig::with_keys(Arc::new(node_key()), recipients, Clock::starting_at(start, WALL))
}

pub(crate) fn session(n: u8, started: Instant) -> RecordingSession {
    RecordingSession {
        recording: recording(n),
        tap: TapId(u64::from(n)),
        call: CallId::from_uuid(uuid::Uuid::from_bytes([n ^ 0xff; 16])),
        session_id: SessionId::generate(&mut CountingRng(n)),
        started,
        agent: Extension::new("1001"),
        agent_user: "alice".to_owned(),
        agent_name: "Alice".to_owned(),
        remote_number: "+4930123456".to_owned(),
        remote_name: None,
        direction: CallDirection::Inbound,
        trunk: TrunkName::new("pbx"),
        obligation: Obligation::Required,
    }
}

/// Sample `index` of a sine of `hz` and half of full scale.
#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "a test tone")]
pub(crate) fn sine(hz: f64, index: u64) -> i16 {
    (16_384.0 * (std::f64::consts::TAU * hz * index as f64 / 8_000.0).sin()) as i16
}

/// 20 ms of a sine, from sample `first` on.
pub(crate) fn tone_frame(tap: u64, channel: TapChannel, hz: f64, first: u32, arrival: Instant) -> TapFrame {
    let samples: Vec<i16> = (0..160).map(|n| sine(hz, u64::from(first + n))).collect();
    let body = TapBody::Pcm8k { samples: Samples8k::new(&samples), concealed: false };
    TapFrame { tap: TapId(tap), channel, timestamp: first, epoch: 0, arrival, body }
}

/// Both directions for `frames` times 20 ms: 440 Hz sent, 1000 Hz heard.
pub(crate) fn two_tones(tap: u64, start: Instant, frames: u32) -> Vec<TapFrame> {
    let one = |n: u32| {
        let arrival = start + Duration::from_millis(20 * u64::from(n) + 20);
        [
            tone_frame(tap, TapChannel::Sent, 440.0, n * 160, arrival),
            tone_frame(tap, TapChannel::Heard, 1_000.0, n * 160, arrival),
        ]
    };
    (0..frames).flat_map(one).collect()
}

/// The amplitude of `hz` in `samples` (Goertzel), in units of full scale.
#[expect(clippy::cast_precision_loss, reason = "a measurement")]
pub(crate) fn goertzel(samples: impl IntoIterator<Item = i16>, hz: f64) -> f64 {
    let turn = 2.0 * (std::f64::consts::TAU * hz / 8_000.0).cos();
    let (mut s1, mut s2, mut count) = (0.0, 0.0, 0_u64);
    for sample in samples {
        let s0 = f64::from(sample) / 32_768.0 + turn * s1 - s2;
        (s2, s1) = (s1, s0);
        count += 1;
    }
    2.0 * (s1 * s1 + s2 * s2 - turn * s1 * s2).max(0.0).sqrt() / count.max(1) as f64
}
