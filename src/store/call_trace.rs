//! Calls and their traces, for whoever asks what happened.

use async_trait::async_trait;
use serde::Serialize;
use sqlx::types::Json;
use time::OffsetDateTime;

use crate::clock::WallTime;
use crate::ids::CallId;
use crate::store::catalog::clean;
use crate::store::pool::Pool;
use crate::store::pool::StoreError;
use crate::store::pool::within;
use crate::trace::CallTrace;
use crate::trace::Dropped;
use crate::trace::Entry;
use crate::trace::io::NotWritten;
use crate::trace::io::TraceStore;

/// The traces over PostgreSQL.
#[derive(Debug, Clone)]
pub struct CallTraces {
    pool: Pool,
}

/// Which calls to list.
#[derive(Debug, Clone, Default)]
pub struct CallFilter {
    /// Begun at this time or later.
    pub since: Option<OffsetDateTime>,
    /// Of the agent at this extension, or of this user name.
    pub agent: Option<String>,
    /// Of this other party's number, or to this called number.
    pub number: Option<String>,
    /// At most so many, the newest first.
    pub limit: u32,
}

/// One call, as its record says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CallRow {
    /// The call.
    pub call: uuid::Uuid,
    /// When it began.
    #[serde(with = "time::serde::rfc3339")]
    pub started: OffsetDateTime,
    /// When it was answered.
    #[serde(with = "time::serde::rfc3339::option")]
    pub answered: Option<OffsetDateTime>,
    /// When it ended.
    #[serde(with = "time::serde::rfc3339::option")]
    pub ended: Option<OffsetDateTime>,
    /// `inbound` or `outbound`.
    pub direction: String,
    /// The trunk.
    pub trunk: String,
    /// The agent's extension.
    pub agent: Option<String>,
    /// The agent's user name.
    pub agent_user: Option<String>,
    /// The other party's number.
    pub remote_number: String,
    /// The number that was called.
    pub called_number: String,
    /// How it ended: the cause table's word.
    pub outcome: Option<String>,
    /// SIP status, where the call was not answered.
    pub sip_status: Option<i16>,
    /// Q.850 cause.
    pub q850: Option<i16>,
}

impl CallTraces {
    /// Traces over these connections.
    pub const fn new(pool: Pool) -> Self {
        Self { pool }
    }

    async fn insert(&self, trace: &CallTrace) -> Result<(), StoreError> {
        let node = self.pool.node();
        let insert = sqlx::query!(
            "INSERT INTO call_trace (call_id, started_at, node_id, entries, entries_dropped, observations_dropped) \
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (call_id, started_at) DO NOTHING",
            trace.call.as_uuid(),
            trace.started.to_utc(),
            node.as_bytes().as_slice(),
            without_nul(&trace.entries),
            i64::try_from(trace.dropped.entries).unwrap_or(i64::MAX),
            i64::try_from(trace.dropped.observations).unwrap_or(i64::MAX)
        );
        within(insert.execute(self.pool.connections())).await?;
        Ok(())
    }

    /// The trace of a call; `None` where there is none, or not yet.
    pub async fn trace(&self, call: CallId) -> Result<Option<CallTrace>, StoreError> {
        let select = sqlx::query!(
            r#"SELECT started_at, entries AS "entries: Json<Vec<Entry>>", entries_dropped, observations_dropped
               FROM call_trace WHERE call_id = $1 ORDER BY started_at DESC LIMIT 1"#,
            call.as_uuid()
        );
        let row = within(select.fetch_optional(self.pool.connections())).await?;
        Ok(row.map(|row| CallTrace {
            call,
            started: WallTime(u64::try_from(row.started_at.unix_timestamp_nanos()).unwrap_or_default()),
            entries: row.entries.0,
            dropped: Dropped {
                entries: u64::try_from(row.entries_dropped).unwrap_or_default(),
                observations: u64::try_from(row.observations_dropped).unwrap_or_default(),
            },
        }))
    }

    /// The record of a call.
    pub async fn call(&self, call: CallId) -> Result<Option<CallRow>, StoreError> {
        let select = sqlx::query_as!(
            CallRow,
            r#"SELECT call_id AS call, started_at AS started, answered_at AS answered, ended_at AS ended, direction,
               trunk, agent, agent_user, remote_number, called_number, outcome, sip_status, q850
               FROM call_record WHERE call_id = $1 ORDER BY started_at DESC LIMIT 1"#,
            call.as_uuid()
        );
        within(select.fetch_optional(self.pool.connections())).await
    }

    /// Calls, the newest first.
    pub async fn list(&self, filter: &CallFilter) -> Result<Vec<CallRow>, StoreError> {
        let select = sqlx::query_as!(
            CallRow,
            r#"SELECT call_id AS call, started_at AS started, answered_at AS answered, ended_at AS ended, direction,
               trunk, agent, agent_user, remote_number, called_number, outcome, sip_status, q850
               FROM call_record WHERE ($1::timestamptz IS NULL OR started_at >= $1)
               AND ($2::text IS NULL OR agent = $2 OR agent_user = $2)
               AND ($3::text IS NULL OR remote_number = $3 OR called_number = $3)
               ORDER BY started_at DESC, call_id DESC LIMIT $4"#,
            filter.since,
            filter.agent.as_deref(),
            filter.number.as_deref(),
            i64::from(filter.limit)
        );
        within(select.fetch_all(self.pool.connections())).await
    }
}

/// jsonb holds no NUL; bytes that are no text are base64 already, and what is left is a name or a parameter.
fn without_nul(entries: &[Entry]) -> serde_json::Value {
    fn cleaned(value: serde_json::Value) -> serde_json::Value {
        use serde_json::Value;
        match value {
            Value::String(text) => Value::String(clean(&text)),
            Value::Array(items) => Value::Array(items.into_iter().map(cleaned).collect()),
            Value::Object(members) => {
                Value::Object(members.into_iter().map(|(name, value)| (clean(&name), cleaned(value))).collect())
            }
            plain @ (Value::Null | Value::Bool(_) | Value::Number(_)) => plain,
        }
    }
    cleaned(serde_json::to_value(entries).unwrap_or_default())
}

#[async_trait]
impl TraceStore for CallTraces {
    async fn write(&self, trace: &CallTrace) -> Result<(), NotWritten> {
        self.insert(trace).await.map_err(|error| NotWritten { is_passing: error.is_passing(), source: Box::new(error) })
    }
}
