//! One row for each call, written when the call begins, is answered and ends.

use async_trait::async_trait;
use sqlx::types::Json;

use crate::call::CallRecord;
use crate::call::io;
use crate::call::io::records::NotNow;
use crate::clock::WallTime;
use crate::ids::CallId;
use crate::ids::RecordingId;
use crate::recording::CallDirection;
use crate::store::catalog::clean;
use crate::store::pool::Pool;
use crate::store::pool::StoreError;
use crate::store::pool::within;
use crate::store::row::direction_word;

/// The call records over PostgreSQL.
#[derive(Debug, Clone)]
pub struct CallRecords {
    pool: Pool,
}

impl CallRecords {
    /// Call records over these connections.
    pub const fn new(pool: Pool) -> Self {
        Self { pool }
    }

    async fn write(&self, record: &CallRecord) -> Result<(), StoreError> {
        let node = self.pool.node();
        // Towards a trunk the called number is the other party's; from a trunk it is the agent's, or none of ours.
        let called = match record.direction {
            CallDirection::Inbound => record.extension.as_str(),
            CallDirection::Outbound => record.remote_number.as_str(),
        };
        let agent = record.agent_user.as_ref().map(|_| record.extension.as_str());
        let upsert = sqlx::query!(
            "INSERT INTO call_record AS call (call_id, started_at, node_id, session_id, direction, trunk, remote_number, remote_name, \
             called_number, agent, agent_user, answered_at, ended_at, outcome, sip_status, q850, recording_id, recording_exception, \
             srtp_downgraded, joined_with, quality) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21) \
             ON CONFLICT (call_id, started_at) DO UPDATE SET agent = coalesce(EXCLUDED.agent, call.agent), \
             agent_user = coalesce(EXCLUDED.agent_user, call.agent_user), answered_at = coalesce(EXCLUDED.answered_at, call.answered_at), \
             ended_at = coalesce(EXCLUDED.ended_at, call.ended_at), outcome = coalesce(EXCLUDED.outcome, call.outcome), \
             sip_status = coalesce(EXCLUDED.sip_status, call.sip_status), q850 = coalesce(EXCLUDED.q850, call.q850), \
             recording_id = coalesce(EXCLUDED.recording_id, call.recording_id), \
             recording_exception = coalesce(EXCLUDED.recording_exception, call.recording_exception), \
             srtp_downgraded = call.srtp_downgraded OR EXCLUDED.srtp_downgraded, \
             joined_with = coalesce(EXCLUDED.joined_with, call.joined_with), \
             quality = coalesce(EXCLUDED.quality, call.quality)",
            record.call.as_uuid(),
            record.started.to_utc(),
            node.as_bytes().as_slice(),
            record.session_id.as_bytes().as_slice(),
            direction_word(record.direction),
            record.trunk.as_str(),
            clean(&record.remote_number),
            record.remote_name.as_deref().map(clean),
            clean(called),
            agent.map(clean),
            record.agent_user.as_deref().map(clean),
            record.answered.map(WallTime::to_utc),
            record.ended.map(WallTime::to_utc),
            record.end_reason.as_deref(),
            record.sip_status.map(|status| i16::try_from(status).unwrap_or(i16::MAX)),
            record.q850.map(i16::from),
            record.recording.map(RecordingId::as_uuid),
            record.recording_exception.as_deref().map(clean),
            record.srtp_downgraded,
            record.joined_with.map(CallId::as_uuid),
            record.quality.map(Json) as _
        );
        within(upsert.execute(self.pool.connections())).await?;
        Ok(())
    }
}

#[async_trait]
impl io::records::CallRecords for CallRecords {
    async fn upsert(&self, record: &CallRecord) -> Result<(), NotNow> {
        self.write(record).await.map_err(|error| NotNow(Box::new(error)))
    }
}
