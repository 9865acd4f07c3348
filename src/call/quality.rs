//! How good a call was, kept with its record: each direction of the agent's leg and of the trunk's.

use serde::Deserialize;
use serde::Serialize;

use crate::worker::LegQuality;
use crate::worker::StreamQuality;

/// Both legs of a call, from their statistics.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct CallQuality {
    /// The agent's leg.
    pub agent: LegSummary,
    /// The trunk's leg.
    pub trunk: LegSummary,
}

/// Both directions of a leg; `None` where nothing was to rate.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct LegSummary {
    /// What came from the leg's far end.
    pub received: Option<StreamSummary>,
    /// What we sent there, by its receiver reports.
    pub sent: Option<StreamSummary>,
}

/// One direction of a leg over the whole call.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StreamSummary {
    /// Stretches of some seconds that were rated.
    pub stretches: u32,
    /// Mean of their shares of packets lost, 0.0–1.0.
    pub loss: f32,
    /// The highest jitter of any, in milliseconds.
    pub jitter_ms_max: f32,
    /// Mean of their opinion scores, 1.0–4.4.
    pub mos: f32,
    /// The lowest of them.
    pub mos_min: f32,
}

impl LegSummary {
    /// Takes one more stretch.
    pub fn take(&mut self, quality: &LegQuality) {
        StreamSummary::add(&mut self.received, quality.received);
        StreamSummary::add(&mut self.sent, quality.sent);
    }
}

impl StreamSummary {
    fn add(summary: &mut Option<Self>, stretch: Option<StreamQuality>) {
        let Some(StreamQuality { loss, jitter_ms, mos, .. }) = stretch else { return };
        let Some(known) = summary else {
            *summary = Some(Self { stretches: 1, loss, jitter_ms_max: jitter_ms, mos, mos_min: mos });
            return;
        };
        known.stretches = known.stretches.saturating_add(1);
        #[expect(clippy::cast_precision_loss, reason = "a week of stretches is far below the limit of 2^24")]
        let weight = 1.0 / known.stretches as f32;
        known.loss += (loss - known.loss) * weight;
        known.mos += (mos - known.mos) * weight;
        known.jitter_ms_max = known.jitter_ms_max.max(jitter_ms);
        known.mos_min = known.mos_min.min(mos);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_has_the_mean_and_the_worst() {
        let mut leg = LegSummary::default();
        for (loss, jitter_ms) in [(0.0, 2.0), (0.3, 40.0), (0.0, 1.0)] {
            let received = Some(StreamQuality::of(loss, jitter_ms, None));
            leg.take(&LegQuality { received, sent: None });
        }
        let summary = leg.received.unwrap();
        assert_eq!((summary.stretches, leg.sent), (3, None));
        assert!((summary.loss - 0.1).abs() < 1e-6 && (summary.jitter_ms_max - 40.0).abs() < 1e-6, "{summary:?}");
        assert!(summary.mos_min < 3.0 && summary.mos_min < summary.mos && summary.mos < 4.4, "{summary:?}");
    }
}
