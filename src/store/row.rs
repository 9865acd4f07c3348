//! Between rows and the vocabulary of recording.

use time::OffsetDateTime;
use uuid::Uuid;

use crate::clock::WallTime;
use crate::ids::{CallId, Extension, NodeId, RecordingId, SessionId, TrunkName};
use crate::recording::io::catalog::CatalogError;
use crate::recording::model::{
    FailureReason, RecordingMeta, RecordingRow, RecordingState, SealedBy, SegmentRow, SegmentSealed, WrappedKey,
};
use crate::recording::{CallDirection, Obligation};

/// One row of `recording`.
#[expect(clippy::struct_field_names, reason = "the columns' names")]
pub(super) struct Recording {
    pub(super) recording_id: Uuid,
    pub(super) started_at: OffsetDateTime,
    pub(super) node_id: Vec<u8>,
    pub(super) call_id: Uuid,
    pub(super) session_id: Vec<u8>,
    pub(super) agent: String,
    pub(super) agent_user: String,
    pub(super) agent_name: String,
    pub(super) remote_number: String,
    pub(super) remote_name: Option<String>,
    pub(super) direction: String,
    pub(super) trunk: String,
    pub(super) obligation: String,
    pub(super) state: String,
    pub(super) answered_at: Option<OffsetDateTime>,
    pub(super) ended_at: Option<OffsetDateTime>,
    pub(super) samples: i64,
    pub(super) sample_rate: i32,
    pub(super) segments: i32,
    pub(super) end_reason: Option<String>,
    pub(super) sealed_by: Option<String>,
    pub(super) failure: Option<String>,
}

/// One row of `recording_segment`.
#[expect(clippy::struct_field_names, reason = "the columns' names")]
pub(super) struct Segment {
    pub(super) recording_id: Uuid,
    pub(super) segment_no: i32,
    pub(super) node_id: Vec<u8>,
    pub(super) state: String,
    pub(super) started_at: OffsetDateTime,
    pub(super) sealed_node_id: Option<Vec<u8>>,
    pub(super) ended_at: Option<OffsetDateTime>,
    pub(super) first_sample: Option<i64>,
    pub(super) samples: Option<i64>,
    pub(super) chunks: Option<i64>,
    pub(super) bytes: Option<i64>,
    pub(super) sha256: Option<Vec<u8>>,
    pub(super) merkle_root: Option<Vec<u8>>,
    pub(super) sealed_by: Option<String>,
    pub(super) object: Option<String>,
}

/// One row of `recording_key`.
#[expect(clippy::struct_field_names, reason = "the columns' names")]
pub(super) struct Key {
    pub(super) recording_id: Uuid,
    pub(super) segment_no: i32,
    pub(super) epoch: i64,
    pub(super) recipient: String,
    pub(super) node_id: Vec<u8>,
    pub(super) encapsulated: Vec<u8>,
    pub(super) ciphertext: Vec<u8>,
    pub(super) key_commit: Vec<u8>,
}

impl TryFrom<Recording> for RecordingRow {
    type Error = CatalogError;

    fn try_from(row: Recording) -> Result<Self, CatalogError> {
        let meta = RecordingMeta {
            recording: RecordingId::from_uuid(row.recording_id),
            node: NodeId::from_bytes(sized(&row.node_id, "node_id")?),
            call: CallId::from_uuid(row.call_id),
            session_id: SessionId::from_bytes(sized(&row.session_id, "session_id")?),
            started: wall(row.started_at),
            agent: Extension::new(row.agent),
            agent_user: row.agent_user,
            agent_name: row.agent_name,
            remote_number: row.remote_number,
            remote_name: row.remote_name,
            direction: parse_direction(&row.direction).ok_or(CatalogError::InvalidRow("direction"))?,
            trunk: TrunkName::new(row.trunk),
            obligation: parse_obligation(&row.obligation).ok_or(CatalogError::InvalidRow("obligation"))?,
        };
        Ok(Self {
            meta,
            state: RecordingState::parse(&row.state).ok_or(CatalogError::InvalidRow("state"))?,
            answered: row.answered_at.map(wall),
            ended: row.ended_at.map(wall),
            samples: unsigned(row.samples, "samples")?,
            sample_rate: unsigned(row.sample_rate, "sample_rate")?,
            segments: unsigned(row.segments, "segments")?,
            end_reason: row.end_reason,
            sealed_by: parsed(row.sealed_by.as_deref(), SealedBy::parse, "sealed_by")?,
            failure: parsed(row.failure.as_deref(), FailureReason::parse, "failure")?,
        })
    }
}

impl TryFrom<Segment> for SegmentRow {
    type Error = CatalogError;

    fn try_from(row: Segment) -> Result<Self, CatalogError> {
        let recording = RecordingId::from_uuid(row.recording_id);
        let segment_no = unsigned(row.segment_no, "segment_no")?;
        let sealed = match row.sealed_by.as_deref() {
            None => None,
            Some(by) => Some(SegmentSealed {
                recording,
                segment_no,
                node: NodeId::from_bytes(sized(&present(row.sealed_node_id, "sealed_node_id")?, "sealed_node_id")?),
                started: wall(row.started_at),
                ended: wall(present(row.ended_at, "ended_at")?),
                first_sample: unsigned(present(row.first_sample, "first_sample")?, "first_sample")?,
                samples: unsigned(present(row.samples, "samples")?, "samples")?,
                chunks: unsigned(present(row.chunks, "chunks")?, "chunks")?,
                bytes: unsigned(present(row.bytes, "bytes")?, "bytes")?,
                sha256: sized(&present(row.sha256, "sha256")?, "sha256")?,
                merkle_root: sized(&present(row.merkle_root, "merkle_root")?, "merkle_root")?,
                sealed_by: SealedBy::parse(by).ok_or(CatalogError::InvalidRow("sealed_by"))?,
            }),
        };
        Ok(Self {
            recording,
            segment_no,
            node: NodeId::from_bytes(sized(&row.node_id, "node_id")?),
            state: RecordingState::parse(&row.state).ok_or(CatalogError::InvalidRow("state"))?,
            sealed,
            object: row.object,
        })
    }
}

impl TryFrom<Key> for WrappedKey {
    type Error = CatalogError;

    fn try_from(row: Key) -> Result<Self, CatalogError> {
        Ok(Self {
            recording: RecordingId::from_uuid(row.recording_id),
            segment_no: unsigned(row.segment_no, "segment_no")?,
            epoch: unsigned(row.epoch, "epoch")?,
            node: NodeId::from_bytes(sized(&row.node_id, "node_id")?),
            recipient: row.recipient,
            encapsulated: row.encapsulated,
            ciphertext: row.ciphertext,
            key_commit: sized(&row.key_commit, "key_commit")?,
        })
    }
}

/// PostgreSQL keeps microseconds; what is below is cut.
pub(super) fn wall(time: OffsetDateTime) -> WallTime {
    WallTime(u64::try_from(time.unix_timestamp_nanos()).unwrap_or_default())
}

pub(super) const fn direction_word(direction: CallDirection) -> &'static str {
    match direction {
        CallDirection::Inbound => "inbound",
        CallDirection::Outbound => "outbound",
    }
}

pub(super) const fn obligation_word(obligation: Obligation) -> &'static str {
    match obligation {
        Obligation::Required => "required",
        Obligation::BestEffort => "best_effort",
        Obligation::Never => "never",
    }
}

fn parse_direction(word: &str) -> Option<CallDirection> {
    [CallDirection::Inbound, CallDirection::Outbound].into_iter().find(|direction| direction_word(*direction) == word)
}

fn parse_obligation(word: &str) -> Option<Obligation> {
    [Obligation::Required, Obligation::BestEffort, Obligation::Never]
        .into_iter()
        .find(|obligation| obligation_word(*obligation) == word)
}

fn parsed<T>(
    word: Option<&str>,
    parse: impl Fn(&str) -> Option<T>,
    column: &'static str,
) -> Result<Option<T>, CatalogError> {
    word.map(|word| parse(word).ok_or(CatalogError::InvalidRow(column))).transpose()
}

fn present<T>(value: Option<T>, column: &'static str) -> Result<T, CatalogError> {
    value.ok_or(CatalogError::InvalidRow(column))
}

fn sized<const N: usize>(bytes: &[u8], column: &'static str) -> Result<[u8; N], CatalogError> {
    bytes.try_into().ok().ok_or(CatalogError::InvalidRow(column))
}

fn unsigned<T, U: TryFrom<T>>(value: T, column: &'static str) -> Result<U, CatalogError> {
    U::try_from(value).ok().ok_or(CatalogError::InvalidRow(column))
}
