//! Which calls are recorded, and what follows when one cannot be.

use crate::recording::Obligation;

/// What follows when a recording does not begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OnStartFailure {
    /// The call is refused.
    Reject,
    /// The call goes on; somebody is told.
    Alert,
}

/// What follows when a recording breaks off in a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OnMidCallFailure {
    /// The call ends.
    Hangup,
    /// The call goes on; somebody is told.
    ContinueAndAlert,
}

/// The policy of one trunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RecordingPolicy {
    /// How much a call depends on being recorded.
    pub obligation: Obligation,
    /// What follows when it does not begin.
    pub on_start_failure: OnStartFailure,
    /// What follows when it breaks off.
    pub on_mid_call_failure: OnMidCallFailure,
}

impl RecordingPolicy {
    /// The policy that belongs to an obligation: required fails closed, all else goes on.
    pub const fn of(obligation: Obligation) -> Self {
        match obligation {
            Obligation::Required => Self {
                obligation,
                on_start_failure: OnStartFailure::Reject,
                on_mid_call_failure: OnMidCallFailure::Hangup,
            },
            Obligation::BestEffort | Obligation::Never => Self {
                obligation,
                on_start_failure: OnStartFailure::Alert,
                on_mid_call_failure: OnMidCallFailure::ContinueAndAlert,
            },
        }
    }

    /// Whether there is a recording at all.
    pub const fn records(self) -> bool {
        matches!(self.obligation, Obligation::Required | Obligation::BestEffort)
    }

    /// Whether audio waits for the recorder: early media included.
    pub const fn gates_audio(self) -> bool {
        matches!(self.obligation, Obligation::Required)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_required_recording_fails_closed_and_best_effort_open() {
        let required = RecordingPolicy::of(Obligation::Required);
        assert_eq!(
            (required.on_start_failure, required.on_mid_call_failure),
            (OnStartFailure::Reject, OnMidCallFailure::Hangup)
        );
        assert!(required.records() && required.gates_audio());
        let best_effort = RecordingPolicy::of(Obligation::BestEffort);
        assert_eq!(best_effort.on_mid_call_failure, OnMidCallFailure::ContinueAndAlert);
        assert!(best_effort.records() && !best_effort.gates_audio());
        assert!(!RecordingPolicy::of(Obligation::Never).records());
    }
}
