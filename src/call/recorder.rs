//! The call's recording, from the wish to the seal: what is asked of the recorder, and what its word means.

use std::time::Instant;

use crate::call::Cause;
use crate::call::context::Context;
use crate::call::recording_state::RecordingState;
use crate::recording;
use crate::recording::Obligation;
use crate::recording::RecordingSession;
use crate::signaling::Notification;
use crate::worker;

impl Context {
    /// Asks for the recording that policy wants, once. Media is tapped from here on, behind the shut gate.
    pub fn start_recording(&mut self) {
        if self.recording != RecordingState::Wanted {
            return;
        }
        self.recording = RecordingState::Starting;
        let session = RecordingSession {
            recording: self.ids.recording,
            tap: self.ids.tap,
            call: self.ids.call,
            session_id: self.ids.session,
            started: self.started,
            agent: self.agent.extension.clone(),
            agent_user: self.agent.user.clone(),
            agent_name: self.agent.name.clone(),
            remote_number: self.record.remote_number.clone(),
            remote_name: self.record.remote_name.clone(),
            direction: self.record.direction,
            trunk: self.record.trunk.clone(),
            obligation: self.trunk.recording,
        };
        self.recorder(recording::Command::Start(Box::new(session)));
    }

    /// Takes the recorder's word. Returns whether the call may go on.
    #[must_use]
    pub fn hear_recorder(&mut self, event: recording::EventKind) -> bool {
        match event {
            // The agent has left, and nothing is to be recorded any more.
            recording::EventKind::Recording if self.recorded_until.is_some() => true,
            recording::EventKind::Recording => {
                self.recording = RecordingState::Active;
                let (call, leg, tap) = (self.ids.call, self.ids.agent_leg, self.ids.tap);
                self.worker(worker::Command::StartTap { call, leg, tap });
                self.notify(Notification::Recording { call, active: true });
                self.record.recording = Some(self.ids.recording);
                // An emergency call does not wait: it may be answered already.
                if let Some(at) = self.answered_at {
                    self.recorder(recording::Command::Answered { recording: self.ids.recording, at });
                }
                true
            }
            recording::EventKind::Sealed { .. } => {
                self.recording = RecordingState::Sealed;
                true
            }
            recording::EventKind::Failed { reason } => self.recording_failed(reason),
        }
    }

    /// Notes that the recording failed. Returns whether the call may go on.
    #[must_use]
    pub fn recording_failed(&mut self, reason: String) -> bool {
        // Who was told that the call is over is told nothing more of it.
        let is_shown = self.recording == RecordingState::Active && self.record.ended.is_none();
        // One that was told to seal, or has done so, has nothing more to be told.
        let was_stopped = matches!(self.recording, RecordingState::Sealing | RecordingState::Sealed);
        self.recording = if was_stopped { RecordingState::Sealed } else { RecordingState::Failed };
        self.record.recording_exception = Some(reason);
        self.alarm("recording_failed");
        if is_shown {
            let call = self.ids.call;
            self.notify(Notification::Recording { call, active: false });
        }
        self.recorded_until.is_some() || !self.recording_is_required()
    }

    /// The agent leaves a call that goes on without them, and nothing after `now` is to be recorded: the frames until
    /// then are taken, then the recording is sealed. One that never began is given up.
    pub fn stop_recording(&mut self, now: Instant) {
        self.recorded_until = Some(now);
        let (call, tap, recording) = (self.ids.call, self.ids.tap, self.ids.recording);
        match self.recording {
            RecordingState::Active => self.recording = RecordingState::Stopping,
            RecordingState::Starting => {
                self.recorder(recording::Command::Abandon { recording, at: now });
                self.recording = RecordingState::Sealed;
            }
            // What it has is sealed at the call's end.
            RecordingState::Failed => {}
            RecordingState::Unwanted
            | RecordingState::Wanted
            | RecordingState::Stopping
            | RecordingState::Sealing
            | RecordingState::Sealed => return,
        }
        self.worker(worker::Command::StopTap { call, tap });
    }

    /// The worker has handed over the last frame of a recording that stops before its call.
    pub fn tap_stopped(&mut self) {
        if let (RecordingState::Stopping, Some(at)) = (self.recording, self.recorded_until) {
            let (recording, end_reason) = (self.ids.recording, Cause::Transferred.word());
            self.recorder(recording::Command::Stop { recording, at, end_reason });
            self.recording = RecordingState::Sealing;
        }
    }

    /// Whether no audio may cross unrecorded. An emergency call needs no recorder.
    fn recording_is_required(&self) -> bool {
        self.trunk.recording == Obligation::Required && self.emergency.is_none()
    }

    /// Whether policy lets audio cross now.
    pub fn recording_allows_audio(&self) -> bool {
        if self.emergency.is_some() {
            return true;
        }
        match self.recording {
            RecordingState::Unwanted | RecordingState::Active | RecordingState::Stopping | RecordingState::Sealing => {
                true
            }
            RecordingState::Wanted | RecordingState::Starting => false,
            RecordingState::Failed | RecordingState::Sealed => !self.recording_is_required(),
        }
    }
}
