//! How good a stretch of a stream was to listen to: a simplified E-model (ITU-T G.107), for each direction of each leg.
//!
//! `R = 93.2 − Id − Ie`, where
//!
//! - `Id = 0.024 d + 0.11 (d − 177.3)`, the second term where it is positive: the delay `d` from mouth to ear in
//!   milliseconds, taken as half the round trip, twice the jitter (what a playout buffer adds), and 20 ms of packet;
//! - `Ie = 95 p / (p + 25.1)`: the loss `p` in per cent, with the robustness of G.711 that conceals (G.113, table I.4;
//!   random loss). Opus with FEC bears more than that: its score is rather too low.
//!
//! Everything else of the model has its default. The page's own figure, `web/src/voice/quality.ts`, is the same formula.

use std::time::Duration;

use crate::media::vocabulary::LegCounters;

/// R without any impairment: the defaults of G.107.
const R_MAX: f32 = 93.2;
/// Packet-loss robustness, in per cent.
const LOSS_ROBUSTNESS: f32 = 25.1;
/// From here on delay disturbs a conversation, in milliseconds.
const DELAY_KNEE_MS: f32 = 177.3;
/// Time to fill a packet, in milliseconds.
const PACKET_MS: f32 = 20.0;

/// One direction of a leg over some seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StreamQuality {
    /// Share of packets lost, 0.0–1.0.
    pub loss: f32,
    /// Interarrival jitter (RFC 3550 6.4.1) in milliseconds.
    pub jitter_ms: f32,
    /// Transmission rating factor R, 0–93.2.
    pub r_factor: f32,
    /// Mean opinion score, estimated: 1.0–4.4.
    pub mos: f32,
}

impl StreamQuality {
    /// Rates a stretch. An unknown round trip counts as none.
    pub fn of(loss: f32, jitter_ms: f32, rtt_ms: Option<f32>) -> Self {
        let r_factor = r_factor(loss, rtt_ms.unwrap_or(0.0) / 2.0 + 2.0 * jitter_ms + PACKET_MS);
        Self { loss, jitter_ms, r_factor, mos: mean_opinion(r_factor) }
    }
}

fn r_factor(loss: f32, delay_ms: f32) -> f32 {
    let delayed = 0.024 * delay_ms + 0.11 * (delay_ms - DELAY_KNEE_MS).max(0.0);
    let percent = loss.clamp(0.0, 1.0) * 100.0;
    let lost = 95.0 * percent / (percent + LOSS_ROBUSTNESS);
    (R_MAX - delayed - lost).clamp(0.0, R_MAX)
}

/// G.107 Annex B. Below R 6.5 its cubic dips under 1, which is the least that an opinion can be.
fn mean_opinion(r: f32) -> f32 {
    (1.0 + 0.035 * r + 7e-6 * r * (r - 60.0) * (100.0 - r)).max(1.0)
}

/// Units of a clock of `clock_hz` as milliseconds: the jitter of a receiver report (RFC 3550 6.4.1). What no line has is
/// cut at a minute.
pub fn milliseconds(units: u32, clock_hz: u32) -> f32 {
    let micros = u64::from(units) * 1_000_000 / u64::from(clock_hz.max(1));
    Duration::from_micros(micros).min(Duration::from_mins(1)).as_secs_f32() * 1_000.0
}

/// What the other end reports of our packets.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Reported {
    /// Share of our packets that it missed, 0.0–1.0.
    pub loss: Option<f32>,
    /// Their jitter, in milliseconds.
    pub jitter_ms: Option<f32>,
    /// The round trip to it, in milliseconds.
    pub rtt_ms: Option<f32>,
}

/// Both directions of a leg over some seconds; `None` where nothing came or went, as on hold.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LegQuality {
    /// What came from the leg's far end.
    pub received: Option<StreamQuality>,
    /// What we sent there, by its receiver reports.
    pub sent: Option<StreamQuality>,
}

/// Follows the counters of a leg from stretch to stretch.
#[derive(Debug, Clone, Copy, Default)]
pub struct LegMeter {
    received: u64,
    lost: u64,
    sent: u64,
}

impl LegMeter {
    /// Rates what went by since the last time. Counters that begin anew are taken from there.
    pub fn take(&mut self, counted: &LegCounters, reported: Reported) -> LegQuality {
        let since = |now: u64, before: u64| now.checked_sub(before).unwrap_or(now);
        let (received, lost) = (since(counted.packets_received, self.received), since(counted.packets_lost, self.lost));
        let sent = since(counted.packets_sent, self.sent);
        *self = Self { received: counted.packets_received, lost: counted.packets_lost, sent: counted.packets_sent };
        let rate = |loss| StreamQuality::of(loss, counted.jitter_ms, reported.rtt_ms);
        let heard = |loss| StreamQuality::of(loss, reported.jitter_ms.unwrap_or(0.0), reported.rtt_ms);
        LegQuality {
            // Loss without a single packet is a line that is dead, and not a bad one: a verdict of its own.
            received: (received > 0).then(|| rate(share(lost, received))),
            sent: reported.loss.filter(|_| sent > 0).map(heard),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "packets of some seconds; the share is for people to read")]
fn share(lost: u64, received: u64) -> f32 {
    lost as f32 / lost.saturating_add(received).max(1) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(received: u64, lost: u64, sent: u64) -> LegCounters {
        let (packets_received, packets_lost, packets_sent) = (received, lost, sent);
        LegCounters { packets_received, packets_lost, packets_sent, jitter_ms: 4.0, ..LegCounters::default() }
    }

    #[test]
    fn scores_are_those_of_the_formula() {
        // Worked out by hand; `quality.test.ts` has the same.
        for (loss, jitter_ms, rtt_ms, mos) in [
            (0.0, 0.0, None, 4.40),
            (0.0, 3.0, Some(20.0), 4.39),
            (0.05, 3.0, Some(20.0), 3.89),
            (0.2, 3.0, Some(900.0), 1.0),
        ] {
            let quality = StreamQuality::of(loss, jitter_ms, rtt_ms);
            assert!((quality.mos - mos).abs() < 0.01, "{loss} {jitter_ms} {rtt_ms:?}: {quality:?}");
        }
    }

    #[test]
    fn a_score_falls_with_loss_with_jitter_and_with_delay_and_never_below_1() {
        let score = |loss: f32, jitter_ms: f32, rtt_ms: f32| StreamQuality::of(loss, jitter_ms, Some(rtt_ms)).mos;
        for step in 0..20_u8 {
            let step = f32::from(step);
            assert!(score(step * 0.05, 3.0, 20.0) >= score((step + 1.0) * 0.05, 3.0, 20.0));
            assert!(score(0.01, step * 20.0, 20.0) >= score(0.01, (step + 1.0) * 20.0, 20.0));
            assert!(score(0.01, 3.0, step * 100.0) >= score(0.01, 3.0, (step + 1.0) * 100.0));
        }
        assert!((score(1.0, 500.0, 5_000.0) - 1.0).abs() < 0.01);
    }

    #[test]
    fn loss_is_that_of_the_stretch_and_not_of_the_call() {
        let mut meter = LegMeter::default();
        let first = meter.take(&counters(50, 50, 0), Reported::default()).received.unwrap();
        let second = meter.take(&counters(150, 50, 0), Reported::default()).received.unwrap();
        assert!((first.loss - 0.5).abs() < 1e-6 && second.loss.abs() < 1e-6, "{first:?} {second:?}");
    }

    #[test]
    fn nothing_is_rated_where_nothing_came_or_went() {
        let mut meter = LegMeter::default();
        let reported = Reported { loss: Some(0.1), jitter_ms: Some(2.0), rtt_ms: Some(30.0) };
        assert!(meter.take(&counters(10, 0, 10), reported).sent.is_some());
        assert_eq!(meter.take(&counters(10, 0, 10), reported), LegQuality::default());
        assert_eq!(meter.take(&counters(10, 0, 20), Reported::default()).sent, None, "nobody has reported");
    }

    #[test]
    fn counters_that_begin_anew_make_no_loss_of_their_own() {
        let mut meter = LegMeter::default();
        meter.take(&counters(1_000, 20, 0), Reported::default());
        let quality = meter.take(&counters(99, 1, 0), Reported::default()).received.unwrap();
        assert!((quality.loss - 0.01).abs() < 1e-6, "{quality:?}");
    }
}
