//! The index of all recordings, as this room needs it: a trait that `store` implements over PostgreSQL.
//!
//! Contract for implementers:
//! - Every write is an idempotent upsert: the same call twice, also after a crash in between, leaves one row.
//!   Keys: recording by `recording`; segment by (`recording`, `segment_no`); wrapped key by
//!   (`recording`, `segment_no`, `epoch`, `recipient`).
//! - States are monotonic by [`RecordingState::rank`]: a write of a lower rank changes no state, and is no error.
//! - For one recording the writes come in order: intent, then keys, then segments, then the end. Between recordings
//!   there is no order, and several nodes write at once.
//! - `Ok` means committed. An `Err` is retried with back-off for ever, so it must mean "not now", not "never":
//!   [`CatalogError::Refused`] is logged and retried too, for a recording is never dropped.
//!
//! [`RecordingState::rank`]: crate::recording::model::RecordingState::rank

use std::fmt;

use async_trait::async_trait;

use crate::ids::RecordingId;
use crate::recording::model::{
    RecordingEnded, RecordingFailed, RecordingFilter, RecordingMeta, RecordingRow, SegmentOpened, SegmentRow,
    SegmentSealed, SegmentStored, WrappedKey,
};

/// See the module.
#[async_trait]
pub trait Catalog: Send + Sync + fmt::Debug {
    /// A recording is to be: its row in state `Intent`.
    async fn record_intent(&self, intent: &RecordingMeta) -> Result<(), CatalogError>;

    /// Data keys, wrapped to their recipients. All of them or none.
    async fn record_keys(&self, keys: &[WrappedKey]) -> Result<(), CatalogError>;

    /// A segment's file exists: the segment's row, and segment and recording in state `Spooling`.
    async fn record_segment(&self, opened: &SegmentOpened) -> Result<(), CatalogError>;

    /// A segment has its seal: the segment in state `Sealed`.
    async fn record_sealed(&self, sealed: &SegmentSealed) -> Result<(), CatalogError>;

    /// A segment lies in the object store: the segment in state `Stored`.
    async fn record_stored(&self, stored: &SegmentStored) -> Result<(), CatalogError>;

    /// A recording will grow no more: its end, its sums, and the state that `ended` names (`Sealed` or `Stored`).
    async fn record_ended(&self, ended: &RecordingEnded) -> Result<(), CatalogError>;

    /// An intent has no recording: state `Failed`, with the reason. Never replaces `Stored`.
    async fn record_failed(&self, failed: &RecordingFailed) -> Result<(), CatalogError>;

    /// A page of recordings, newest first (`started`, then id, both descending).
    async fn list(&self, filter: &RecordingFilter) -> Result<Vec<RecordingRow>, CatalogError>;

    /// One recording.
    async fn find(&self, recording: RecordingId) -> Result<Option<RecordingRow>, CatalogError>;

    /// Its segments, by their number.
    async fn segments(&self, recording: RecordingId) -> Result<Vec<SegmentRow>, CatalogError>;

    /// Its wrapped keys, by segment, epoch and recipient.
    async fn wrapped_keys(&self, recording: RecordingId) -> Result<Vec<WrappedKey>, CatalogError>;
}

/// Why the catalogue did not do it.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// It cannot be reached now.
    #[error("the catalogue cannot be reached")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It answered, and said no.
    #[error("the catalogue refused")]
    Refused(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A row in it cannot be understood.
    #[error("a row of the catalogue is not valid: {0}")]
    InvalidRow(&'static str),
}
