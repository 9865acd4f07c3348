//! How a recording ends: finished, withdrawn, or failed for good.

use std::time::Instant;

use super::RecordingStream;
use crate::clock::WallTime;
use crate::recording::desk::{Desk, SpoolOrder};
use crate::recording::model::{FailureReason, RecordingEnded, RecordingFailed, RecordingState, SealedBy};
use crate::recording::timeline::SAMPLE_RATE;

impl RecordingStream {
    /// The call is over: what is left becomes chunks, then the seal.
    pub fn finish(&mut self, at: Instant, end_reason: &str, desk: &mut Desk<'_>) {
        if self.segment.is_none() {
            return;
        }
        if let Some(timeline) = self.timeline.as_mut() {
            timeline.finish(at);
        }
        let done = self.drain(at, desk).and_then(|()| self.write_wave(at, desk));
        self.or_fail(done, desk);
        self.seal_segment(at, end_reason, desk);
        self.keys_ahead.clear();
        desk.order(SpoolOrder::End(Box::new(RecordingEnded {
            recording: self.name(),
            node: desk.config.node(),
            state: RecordingState::Sealed,
            answered: self.answered.map(|at| desk.config.wall(at)),
            ended: desk.config.wall(at),
            samples: self.samples(),
            sample_rate: SAMPLE_RATE,
            segments: self.segment_no + 1,
            end_reason: end_reason.to_owned(),
            sealed_by: SealedBy::Live,
        })));
    }

    /// The call never came to be answered, and nothing was tapped.
    pub fn withdraw(&mut self, at: Instant, desk: &mut Desk<'_>) {
        self.segment = None;
        desk.order(SpoolOrder::Withdraw(Box::new(self.failure(
            FailureReason::NotAnswered,
            desk.config.wall(at),
            "the call was not answered",
            desk,
        ))));
    }

    fn failure(&self, reason: FailureReason, at: WallTime, detail: &str, desk: &Desk<'_>) -> RecordingFailed {
        RecordingFailed { recording: self.name(), node: desk.config.node(), at, reason, detail: detail.to_owned() }
    }
}
