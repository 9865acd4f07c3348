//! The recordings' catalogue in PostgreSQL. See the trait for the contract.

use async_trait::async_trait;

use crate::clock::WallTime;
use crate::ids::RecordingId;
use crate::recording::io::catalog::Catalog;
use crate::recording::io::catalog::CatalogError;
use crate::recording::model::{
    NumberFilter, RecordingEnded, RecordingFailed, RecordingFilter, RecordingMeta, RecordingRow, RecordingState,
    SegmentOpened, SegmentRow, SegmentSealed, SegmentStored, WrappedKey,
};
use crate::store::pool::Pool;
use crate::store::pool::StoreError;
use crate::store::pool::within;
use crate::store::row::{Key, Recording, Segment, direction_word, obligation_word};

/// See the module.
#[derive(Debug, Clone)]
pub struct PostgresCatalog {
    pool: Pool,
}

impl PostgresCatalog {
    /// A catalogue over these connections.
    pub const fn new(pool: Pool) -> Self {
        Self { pool }
    }

    /// Moves a recording on to `state`, never back.
    async fn advance(&self, recording: RecordingId, state: RecordingState) -> Result<(), CatalogError> {
        let update = sqlx::query!(
            "UPDATE recording SET state = $2 WHERE recording_id = $1 AND recording_state_rank(state) < recording_state_rank($2)",
            recording.as_uuid(),
            state.as_str()
        );
        within(update.execute(self.pool.connections())).await?;
        Ok(())
    }
}

#[async_trait]
impl Catalog for PostgresCatalog {
    async fn record_intent(&self, intent: &RecordingMeta) -> Result<(), CatalogError> {
        let insert = sqlx::query!(
            "INSERT INTO recording (recording_id, started_at, node_id, call_id, session_id, agent, agent_user, agent_name, remote_number, \
             remote_name, direction, trunk, obligation, state) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 'intent') \
             ON CONFLICT (recording_id, started_at) DO NOTHING",
            intent.recording.as_uuid(),
            intent.started.to_utc(),
            intent.node.as_bytes().as_slice(),
            intent.call.as_uuid(),
            intent.session_id.as_bytes().as_slice(),
            intent.agent.as_str(),
            clean(&intent.agent_user),
            clean(&intent.agent_name),
            clean(&intent.remote_number),
            intent.remote_name.as_deref().map(clean),
            direction_word(intent.direction),
            intent.trunk.as_str(),
            obligation_word(intent.obligation)
        );
        within(insert.execute(self.pool.connections())).await?;
        Ok(())
    }

    async fn record_keys(&self, keys: &[WrappedKey]) -> Result<(), CatalogError> {
        let write = async {
            let mut transaction = self.pool.connections().begin().await?;
            for key in keys {
                let insert = sqlx::query!(
                    "INSERT INTO recording_key (recording_id, segment_no, epoch, recipient, node_id, encapsulated, ciphertext, key_commit) \
                     VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (recording_id, segment_no, epoch, recipient) DO NOTHING",
                    key.recording.as_uuid(),
                    number(key.segment_no),
                    i64::from(key.epoch),
                    key.recipient,
                    key.node.as_bytes().as_slice(),
                    key.encapsulated,
                    key.ciphertext,
                    key.key_commit.as_slice()
                );
                insert.execute(&mut *transaction).await?;
            }
            transaction.commit().await
        };
        within(write).await?;
        Ok(())
    }

    async fn record_segment(&self, opened: &SegmentOpened) -> Result<(), CatalogError> {
        let insert = sqlx::query!(
            "INSERT INTO recording_segment (recording_id, segment_no, node_id, state, started_at, sample_rate, channels) \
             VALUES ($1, $2, $3, 'spooling', $4, $5, $6) ON CONFLICT (recording_id, segment_no) DO UPDATE SET \
             sample_rate = EXCLUDED.sample_rate, channels = EXCLUDED.channels",
            opened.recording.as_uuid(),
            number(opened.segment_no),
            opened.node.as_bytes().as_slice(),
            opened.started.to_utc(),
            number(opened.sample_rate),
            i16::from(opened.channels)
        );
        within(insert.execute(self.pool.connections())).await?;
        self.advance(opened.recording, RecordingState::Spooling).await
    }

    async fn record_sealed(&self, sealed: &SegmentSealed) -> Result<(), CatalogError> {
        let node = sealed.node.as_bytes().as_slice();
        let upsert = sqlx::query!(
            "INSERT INTO recording_segment AS segment (recording_id, segment_no, node_id, state, started_at, sealed_node_id, ended_at, \
             first_sample, samples, chunks, bytes, sha256, merkle_root, sealed_by) \
             VALUES ($1, $2, $3, 'sealed', $4, $3, $5, $6, $7, $8, $9, $10, $11, $12) \
             ON CONFLICT (recording_id, segment_no) DO UPDATE SET \
             state = CASE WHEN segment.state = 'stored' THEN 'stored' ELSE 'sealed' END, started_at = EXCLUDED.started_at, \
             sealed_node_id = EXCLUDED.sealed_node_id, ended_at = EXCLUDED.ended_at, first_sample = EXCLUDED.first_sample, \
             samples = EXCLUDED.samples, chunks = EXCLUDED.chunks, bytes = EXCLUDED.bytes, sha256 = EXCLUDED.sha256, \
             merkle_root = EXCLUDED.merkle_root, sealed_by = EXCLUDED.sealed_by",
            sealed.recording.as_uuid(),
            number(sealed.segment_no),
            node,
            sealed.started.to_utc(),
            sealed.ended.to_utc(),
            large(sealed.first_sample),
            large(sealed.samples),
            large(sealed.chunks),
            large(sealed.bytes),
            sealed.sha256.as_slice(),
            sealed.merkle_root.as_slice(),
            sealed.sealed_by.as_str()
        );
        within(upsert.execute(self.pool.connections())).await?;
        Ok(())
    }

    async fn record_stored(&self, stored: &SegmentStored) -> Result<(), CatalogError> {
        let update = sqlx::query!(
            "UPDATE recording_segment SET state = 'stored', object = $3, stored_node_id = $4 \
             WHERE recording_id = $1 AND segment_no = $2 AND sha256 = $5 AND bytes = $6",
            stored.recording.as_uuid(),
            number(stored.segment_no),
            stored.object,
            stored.node.as_bytes().as_slice(),
            stored.sha256.as_slice(),
            large(stored.bytes)
        );
        let done = within(update.execute(self.pool.connections())).await?;
        expect_row(done.rows_affected(), "no sealed segment has this hash and length")
    }

    async fn record_ended(&self, ended: &RecordingEnded) -> Result<(), CatalogError> {
        let update = sqlx::query!(
            "UPDATE recording SET answered_at = $2, ended_at = $3, samples = $4, sample_rate = $5, segments = $6, end_reason = $7, \
             sealed_by = $8, state = CASE WHEN recording_state_rank(state) < recording_state_rank($9) THEN $9 ELSE state END \
             WHERE recording_id = $1",
            ended.recording.as_uuid(),
            ended.answered.map(WallTime::to_utc),
            ended.ended.to_utc(),
            large(ended.samples),
            number(ended.sample_rate),
            number(ended.segments),
            clean(&ended.end_reason),
            ended.sealed_by.as_str(),
            ended.state.as_str()
        );
        let done = within(update.execute(self.pool.connections())).await?;
        expect_row(done.rows_affected(), "the recording has no intent")
    }

    async fn record_failed(&self, failed: &RecordingFailed) -> Result<(), CatalogError> {
        let update = sqlx::query!(
            "UPDATE recording SET state = CASE WHEN state = 'stored' THEN state ELSE 'failed' END, \
             failure = CASE WHEN state = 'stored' THEN failure ELSE $2 END, \
             failure_detail = CASE WHEN state = 'stored' THEN failure_detail ELSE $3 END, \
             failed_at = CASE WHEN state = 'stored' THEN failed_at ELSE $4 END WHERE recording_id = $1",
            failed.recording.as_uuid(),
            failed.reason.as_str(),
            clean(&failed.detail),
            failed.at.to_utc()
        );
        let done = within(update.execute(self.pool.connections())).await?;
        expect_row(done.rows_affected(), "the recording has no intent")
    }

    async fn list(&self, filter: &RecordingFilter) -> Result<Vec<RecordingRow>, CatalogError> {
        let (least, beyond, part) = number_bounds(filter.number.as_ref());
        let select = sqlx::query_as!(
            Recording,
            "SELECT recording_id, started_at, node_id, call_id, session_id, agent, agent_user, agent_name, remote_number, remote_name, \
             direction, trunk, obligation, state, answered_at, ended_at, samples, sample_rate, segments, end_reason, sealed_by, failure \
             FROM recording WHERE ($1::timestamptz IS NULL OR started_at >= $1) AND ($2::timestamptz IS NULL OR started_at < $2) \
             AND ($3::text IS NULL OR agent = $3) AND ($4::text IS NULL OR remote_number >= $4) AND ($5::text IS NULL OR remote_number < $5) \
             AND ($6::text IS NULL OR position($6 IN remote_number) > 0) AND ($7::text IS NULL OR state = $7) \
             AND ($8::timestamptz IS NULL OR (started_at, recording_id) < ($8, $9::uuid)) \
             ORDER BY started_at DESC, recording_id DESC LIMIT $10",
            filter.from.map(WallTime::to_utc),
            filter.until.map(WallTime::to_utc),
            filter.agent.as_ref().map(|agent| clean(agent.as_str())),
            least,
            beyond,
            part,
            filter.state.map(RecordingState::as_str),
            filter.after.map(|cursor| cursor.started.to_utc()),
            filter.after.map(|cursor| cursor.recording.as_uuid()),
            i64::from(filter.page_rows())
        );
        let rows = within(select.fetch_all(self.pool.connections())).await?;
        rows.into_iter().map(RecordingRow::try_from).collect()
    }

    async fn find(&self, recording: RecordingId) -> Result<Option<RecordingRow>, CatalogError> {
        let select = sqlx::query_as!(
            Recording,
            "SELECT recording_id, started_at, node_id, call_id, session_id, agent, agent_user, agent_name, remote_number, remote_name, \
             direction, trunk, obligation, state, answered_at, ended_at, samples, sample_rate, segments, end_reason, sealed_by, failure \
             FROM recording WHERE recording_id = $1",
            recording.as_uuid()
        );
        let row = within(select.fetch_optional(self.pool.connections())).await?;
        row.map(RecordingRow::try_from).transpose()
    }

    async fn segments(&self, recording: RecordingId) -> Result<Vec<SegmentRow>, CatalogError> {
        let select = sqlx::query_as!(
            Segment,
            "SELECT recording_id, segment_no, node_id, state, started_at, sealed_node_id, ended_at, first_sample, samples, chunks, bytes, \
             sha256, merkle_root, sealed_by, object FROM recording_segment WHERE recording_id = $1 ORDER BY segment_no",
            recording.as_uuid()
        );
        let rows = within(select.fetch_all(self.pool.connections())).await?;
        rows.into_iter().map(SegmentRow::try_from).collect()
    }

    async fn wrapped_keys(&self, recording: RecordingId) -> Result<Vec<WrappedKey>, CatalogError> {
        let select = sqlx::query_as!(
            Key,
            "SELECT recording_id, segment_no, epoch, recipient, node_id, encapsulated, ciphertext, key_commit FROM recording_key \
             WHERE recording_id = $1 ORDER BY segment_no, epoch, recipient",
            recording.as_uuid()
        );
        let rows = within(select.fetch_all(self.pool.connections())).await?;
        rows.into_iter().map(WrappedKey::try_from).collect()
    }
}

impl From<StoreError> for CatalogError {
    fn from(error: StoreError) -> Self {
        if error.is_passing() { Self::Unavailable(Box::new(error)) } else { Self::Refused(Box::new(error)) }
    }
}

/// Lower bound, upper bound, and part of a number. Prefixes are ranges, which the index serves (COLLATE "C").
fn number_bounds(filter: Option<&NumberFilter>) -> (Option<String>, Option<String>, Option<String>) {
    match filter {
        None => (None, None, None),
        Some(NumberFilter::Exact(number)) => (Some(clean(number)), Some(format!("{}\u{1}", clean(number))), None),
        Some(NumberFilter::Prefix(prefix)) => (Some(clean(prefix)), Some(format!("{}\u{10ffff}", clean(prefix))), None),
        Some(NumberFilter::Substring(part)) => (None, None, Some(clean(part))),
    }
}

fn expect_row(rows: u64, otherwise: &'static str) -> Result<(), CatalogError> {
    if rows > 0 { Ok(()) } else { Err(CatalogError::Refused(otherwise.into())) }
}

/// PostgreSQL takes every text but NUL, and one from the wire must not keep a recording out of the catalogue.
pub(super) fn clean(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

fn number(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

fn large(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_range_and_an_exact_number_its_own() {
        let (least, beyond, part) = number_bounds(Some(&NumberFilter::Prefix("+4930".to_owned())));
        let inside = "+4930123".to_owned();
        assert!(least.unwrap() <= inside && inside < beyond.unwrap() && part.is_none());
        let (least, beyond, _) = number_bounds(Some(&NumberFilter::Exact("+4930".to_owned())));
        let (least, beyond) = (least.unwrap(), beyond.unwrap());
        assert!(least.as_str() <= "+4930" && "+4930" < beyond.as_str() && beyond.as_str() < "+49301");
    }
}
