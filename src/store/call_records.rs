//! One row for each call, written when the call begins, is answered and ends.

use crate::clock::WallTime;
use crate::ids::{CallId, Extension, SessionId, TrunkName};
use crate::recording::CallDirection;
use crate::store::catalog::clean;
use crate::store::pool::Pool;
use crate::store::pool::StoreError;
use crate::store::pool::within;
use crate::store::row::direction_word;

/// What is known of a call. Written again as more is known; nothing known is ever unwritten.
#[derive(Clone, PartialEq, Eq)]
pub struct CallRecordRow {
    /// The call.
    pub call: CallId,
    /// Its Session-ID (RFC 7989).
    pub session_id: SessionId,
    /// When it reached the gateway.
    pub started: WallTime,
    /// Its direction.
    pub direction: CallDirection,
    /// The trunk.
    pub trunk: TrunkName,
    /// The other party's number.
    pub remote_number: String,
    /// The other party's display name.
    pub remote_name: Option<String>,
    /// The number that was called.
    pub called_number: String,
    /// The agent who took or placed it.
    pub agent: Option<Extension>,
    /// That agent's user name.
    pub agent_user: Option<String>,
    /// When it was answered.
    pub answered: Option<WallTime>,
    /// When it ended.
    pub ended: Option<WallTime>,
    /// How it ended, in the words of `call::Outcome`.
    pub outcome: Option<String>,
    /// The SIP status of the end, where one says it.
    pub sip_status: Option<u16>,
    /// The Q.850 cause, where one says it.
    pub q850: Option<u8>,
}

impl std::fmt::Debug for CallRecordRow {
    // Names and numbers are personal data: they never reach a log by way of Debug.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CallRecordRow").field("call", &self.call).field("outcome", &self.outcome).finish_non_exhaustive()
    }
}

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

    /// Writes what is known; the same row twice is one row. `Ok` means committed.
    pub async fn upsert(&self, row: &CallRecordRow) -> Result<(), StoreError> {
        let node = self.pool.node();
        let upsert = sqlx::query!(
            "INSERT INTO call_record AS call (call_id, started_at, node_id, session_id, direction, trunk, remote_number, remote_name, \
             called_number, agent, agent_user, answered_at, ended_at, outcome, sip_status, q850) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) \
             ON CONFLICT (call_id, started_at) DO UPDATE SET agent = coalesce(EXCLUDED.agent, call.agent), \
             agent_user = coalesce(EXCLUDED.agent_user, call.agent_user), answered_at = coalesce(EXCLUDED.answered_at, call.answered_at), \
             ended_at = coalesce(EXCLUDED.ended_at, call.ended_at), outcome = coalesce(EXCLUDED.outcome, call.outcome), \
             sip_status = coalesce(EXCLUDED.sip_status, call.sip_status), q850 = coalesce(EXCLUDED.q850, call.q850)",
            row.call.as_uuid(),
            row.started.to_utc(),
            node.as_bytes().as_slice(),
            row.session_id.as_bytes().as_slice(),
            direction_word(row.direction),
            row.trunk.as_str(),
            clean(&row.remote_number),
            row.remote_name.as_deref().map(clean),
            clean(&row.called_number),
            row.agent.as_ref().map(Extension::as_str),
            row.agent_user.as_deref().map(clean),
            row.answered.map(WallTime::to_utc),
            row.ended.map(WallTime::to_utc),
            row.outcome,
            row.sip_status.map(|status| i16::try_from(status).unwrap_or(i16::MAX)),
            row.q850.map(i16::from)
        );
        within(upsert.execute(self.pool.connections())).await?;
        Ok(())
    }
}
