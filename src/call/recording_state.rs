//! How far a call's recording can be.

/// How far the call's recording has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordingState {
    /// Policy wants none.
    Unwanted,
    /// Not asked for yet.
    Wanted,
    /// The recorder makes intent, key and file durable.
    Starting,
    /// Frames are taken.
    Active,
    /// The agent has left, and policy ends it here: the last frames are on their way to the recorder.
    Stopping,
    /// The recorder has been told to seal what it has.
    Sealing,
    /// It cannot be, or could not be finished.
    Failed,
    /// Sealed.
    Sealed,
}

impl RecordingState {
    /// Whether the recorder still owes a word.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Starting | Self::Active | Self::Stopping | Self::Sealing)
    }
}
