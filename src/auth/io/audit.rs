//! The record of who did what, as those who must write it see it: a trait that `store` implements.

use std::fmt;

use async_trait::async_trait;

/// Appends to the audit log.
#[async_trait]
pub trait AuditLog: Send + Sync + fmt::Debug {
    /// `Ok` means committed: only then may what it records happen.
    async fn append(&self, entry: &AuditEntry) -> Result<AuditReceipt, AuditError>;
}

/// One line of the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// The user name; chains go by it.
    pub actor: String,
    /// What they did.
    pub action: AuditAction,
    /// To what: a recording's id, or empty.
    pub object: String,
    /// From which address.
    pub peer: String,
    /// More about it, such as the filter of a search or the range of a playback.
    pub detail: String,
}

/// What can be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AuditAction {
    /// Logged in.
    Login,
    /// Logged out.
    Logout,
    /// Searched the recordings.
    ListRecordings,
    /// Looked at one recording's row.
    ReadRecording,
    /// Heard one recording, or a part.
    PlayRecording,
    /// Took one recording away.
    ExportRecording,
}

impl AuditAction {
    /// The word in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Logout => "logout",
            Self::ListRecordings => "recordings.list",
            Self::ReadRecording => "recording.read",
            Self::PlayRecording => "recording.play",
            Self::ExportRecording => "recording.export",
        }
    }
}

/// Where the line stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditReceipt {
    /// Which of the eight chains.
    pub chain: u8,
    /// Its place there, from 1.
    pub seq: u64,
}

/// The line could not be committed.
#[derive(Debug, thiserror::Error)]
#[error("the audit log cannot be written")]
pub struct AuditError(#[source] pub Box<dyn std::error::Error + Send + Sync>);
