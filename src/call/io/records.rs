//! Keeps call records: a queue that outlasts a database that is away.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;

use crate::call::CallRecord;
use crate::call::io::record_backlog::RecordBacklog;
use crate::ids::CallId;
use crate::limits::CALL_RECORDS_WAITING;
use crate::telemetry::error_chain::ErrorChain;
use crate::telemetry::metrics::ALARMS;

/// How long to wait between two tries.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// After the first failure; doubled after each further one.
    pub first: Duration,
    /// The longest.
    pub longest: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_millis(250), longest: Duration::from_secs(15) }
    }
}

/// Where call records go. Writing one twice leaves one; what is known is never unwritten.
#[async_trait]
pub trait CallRecords: Send + Sync {
    /// Writes what is known. `Err` means "not now".
    async fn upsert(&self, record: &CallRecord) -> Result<(), NotNow>;
}

/// The record could not be written now.
#[derive(Debug, thiserror::Error)]
#[error("the call record could not be written")]
pub struct NotNow(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Keeps call records until the database has them: in memory for the first try, on disk for as long as it is away.
///
/// Of one call only the latest record waits, so that a long outage costs one row a call and not one a change.
pub struct RecordKeeper {
    store: Arc<dyn CallRecords>,
    backlog: RecordBacklog,
    backoff: Backoff,
    waiting: BTreeMap<CallId, Waiting>,
    /// Until the next try; zero while the database answers.
    pause: Duration,
}

#[derive(Debug)]
struct Waiting {
    record: CallRecord,
    on_disk: bool,
}

impl std::fmt::Debug for RecordKeeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordKeeper").field("waiting", &self.waiting.len()).finish_non_exhaustive()
    }
}

impl RecordKeeper {
    /// A keeper that begins with what an earlier process left in `backlog`.
    pub fn new(store: Arc<dyn CallRecords>, backlog: RecordBacklog, backoff: Backoff) -> io::Result<Self> {
        let left = backlog.left_behind()?;
        if !left.is_empty() {
            tracing::info!(records = left.len(), "call records of an earlier run wait for the database");
        }
        let waiting = left.into_iter().map(|record| (record.call, Waiting { record, on_disk: true })).collect();
        Ok(Self { store, backlog, backoff, waiting, pause: Duration::ZERO })
    }

    /// Writes what comes in until the queue closes, and then what is left, for as long as the caller waits.
    pub async fn run(mut self, mut queue: mpsc::Receiver<CallRecord>) {
        let mut open = true;
        while open || !self.waiting.is_empty() {
            if self.waiting.is_empty() {
                match queue.recv().await {
                    Some(record) => self.hold(record).await,
                    None => open = false,
                }
                continue;
            }
            tokio::select! {
                biased;
                record = queue.recv(), if open => match record {
                    Some(record) => self.hold(record).await,
                    None => open = false,
                },
                () = tokio::time::sleep(self.pause) => self.write_oldest().await,
            }
        }
    }

    /// Writes one record: the next follows at once after a success, ever later after failures.
    async fn write_oldest(&mut self) {
        let Some(entry) = self.waiting.first_entry() else { return };
        match self.store.upsert(&entry.get().record).await {
            Ok(()) => {
                let (call, written) = entry.remove_entry();
                if written.on_disk
                    && let Err(error) = self.backlog.remove(call).await
                {
                    tracing::warn!(%call, %error, "a call record that is written stays in the backlog");
                }
                self.pause = Duration::ZERO;
            }
            Err(error) => {
                if self.pause.is_zero() {
                    let chain = ErrorChain(&error).to_string();
                    tracing::warn!(waiting = self.waiting.len(), "call records wait for the database: {chain}");
                }
                self.pause = (self.pause * 2).clamp(self.backoff.first, self.backoff.longest);
                self.save_waiting().await;
            }
        }
    }

    async fn hold(&mut self, record: CallRecord) {
        let call = record.call;
        if self.waiting.len() >= CALL_RECORDS_WAITING && !self.waiting.contains_key(&call) {
            tracing::error!(%call, "a call record is lost: too many wait for the database");
            metrics::counter!(ALARMS.name, "what" => "call_record_lost").increment(1);
            return;
        }
        self.waiting.insert(call, Waiting { record, on_disk: false });
        if !self.pause.is_zero() {
            self.save_waiting().await;
        }
    }

    /// Puts on disk what only memory has.
    async fn save_waiting(&mut self) {
        for (call, waiting) in &mut self.waiting {
            if waiting.on_disk {
                continue;
            }
            match self.backlog.save(waiting.record.clone()).await {
                Ok(()) => waiting.on_disk = true,
                Err(error) => {
                    tracing::error!(%call, %error, "a call record waits in memory only");
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "records_tests.rs"]
mod tests;
