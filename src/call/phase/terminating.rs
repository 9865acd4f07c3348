//! The legs are told at once; then media closes, and the recording takes what is left and is sealed.

use std::time::Instant;

use crate::call::CallTimer;
use crate::call::Cause;
use crate::call::Input;
use crate::call::PartnerWord;
use crate::call::context::Context;
use crate::call::phase::Phase;
use crate::call::phase::decline;
use crate::call::recording_state::RecordingState;
use crate::recording;
use crate::sip;
use crate::sip::Refusal;
use crate::worker;

/// What the trunk is told.
#[derive(Debug, Clone)]
pub enum Farewell {
    /// Nothing: its usage is over, or never began.
    Silent,
    /// A final response to its INVITE.
    Refuse(Refusal),
    /// BYE.
    Bye,
    /// CANCEL of our INVITE.
    Cancel,
}

impl Farewell {
    /// The refusal that the cause table has for `cause`.
    pub fn refuse(cause: Cause, context: &Context) -> Self {
        Self::Refuse(cause.refusal(context.config.retry_after))
    }
}

/// See the [module](self).
#[derive(Debug)]
pub struct Terminating {
    cause: Cause,
    ended: Instant,
    stage: Stage,
}

/// The recorder may stop only when the worker has handed over its last frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    MediaCloses,
    RecordingSeals,
}

impl Terminating {
    /// Tells both sides, and begins to close.
    #[must_use]
    pub fn begin(cause: Cause, farewell: Farewell, context: &mut Context, now: Instant) -> Phase {
        let leg = context.ids.trunk_leg;
        let reason = Some(cause.reason());
        match farewell {
            Farewell::Silent => {}
            Farewell::Refuse(refusal) => context.sip(sip::Command::Refuse { leg, refusal }),
            Farewell::Bye => context.sip(sip::Command::Bye { leg, reason }),
            Farewell::Cancel => context.sip(sip::Command::Cancel { leg, reason }),
        }
        context.timers.clear();
        context.ended(cause, now);
        context.tell_partner(PartnerWord::Gone(cause));
        let call = context.ids.call;
        context.worker(worker::Command::Close { call });
        context.start_timer(CallTimer::Ending, context.config.ending_timeout, now);
        Phase::Terminating(Self { cause, ended: now, stage: Stage::MediaCloses })
    }

    /// Takes one input.
    #[must_use]
    pub fn handle(self, input: Input, context: &mut Context, _: Instant) -> Phase {
        match input {
            Input::Worker(event) if matches!(event.kind, worker::EventKind::Closed) => self.seal(context),
            Input::Recorder(event) => {
                hear_recorder(event, context);
                if self.stage == Stage::RecordingSeals {
                    self.finish_if_sealed(context)
                } else {
                    Phase::Terminating(self)
                }
            }
            Input::Request { token, request: crate::signaling::CallRequest::Hangup, .. } => {
                context.grant(token);
                Phase::Terminating(self)
            }
            other => {
                decline(&other, context);
                Phase::Terminating(self)
            }
        }
    }

    /// A worker that does not close must not keep the recording from its seal; a recorder that does not seal must
    /// not keep the call for ever: what is on its disk is recovered at the next start.
    #[must_use]
    pub fn handle_timer(self, timer: CallTimer, context: &mut Context) -> Phase {
        match (timer, self.stage) {
            (CallTimer::Ending, Stage::MediaCloses) => {
                context.alarm("media_did_not_close");
                let deadline = self.ended + context.config.ending_timeout * 2;
                context.timers.set(CallTimer::Ending, deadline);
                self.seal(context)
            }
            (CallTimer::Ending, Stage::RecordingSeals) => {
                context.alarm("recording_did_not_seal");
                self.finish(context)
            }
            _ => Phase::Terminating(self),
        }
    }

    fn seal(mut self, context: &mut Context) -> Phase {
        if self.stage == Stage::RecordingSeals {
            return Phase::Terminating(self);
        }
        self.stage = Stage::RecordingSeals;
        let (recording, at, answered) = (context.ids.recording, self.ended, context.record.answered.is_some());
        match context.recording {
            RecordingState::Active if answered => {
                let end_reason = self.cause.word();
                context.recorder(recording::Command::Stop { recording, at, end_reason });
            }
            RecordingState::Active | RecordingState::Starting => {
                // Nobody talked: whether something was heard before (early media) the recorder settles by itself.
                context.recorder(recording::Command::Abandon { recording, at });
                context.recording = RecordingState::Sealed;
            }
            // Frames were lost, or the recorder gave up: what it has is sealed all the same, and nobody waits for it.
            RecordingState::Failed => {
                let at = context.recorded_until.unwrap_or(at);
                let end_reason = self.cause.word();
                context.recorder(recording::Command::Stop { recording, at, end_reason });
            }
            RecordingState::Stopping => context.tap_stopped(),
            RecordingState::Unwanted | RecordingState::Wanted | RecordingState::Sealing | RecordingState::Sealed => {}
        }
        self.finish_if_sealed(context)
    }

    fn finish_if_sealed(self, context: &mut Context) -> Phase {
        if context.recording.is_open() { Phase::Terminating(self) } else { self.finish(context) }
    }

    fn finish(self, context: &mut Context) -> Phase {
        context.timers.clear();
        context.publish_record();
        Phase::Terminated(self.cause)
    }
}

/// After the end the recorder's word changes no fate, only the record.
fn hear_recorder(event: recording::EventKind, context: &mut Context) {
    match event {
        recording::EventKind::Recording => context.recording = RecordingState::Active,
        recording::EventKind::Sealed { .. } => context.recording = RecordingState::Sealed,
        recording::EventKind::Failed { reason } => {
            let _goes_on = context.recording_failed(reason);
        }
    }
}
