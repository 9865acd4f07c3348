//! Keeps call records: a queue that outlasts a database that is away.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;

use crate::call::CallRecord;
use crate::ids::CallId;
use crate::limits::CALL_RECORDS_WAITING;

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

/// Writes what comes in until the queue closes, and then what is left, for as long as the caller waits.
///
/// Of one call only the latest record waits, so that a long outage costs one row a call and not one a change.
pub async fn keep(store: Arc<dyn CallRecords>, mut queue: mpsc::Receiver<CallRecord>, backoff: Backoff) {
    let mut waiting: BTreeMap<CallId, CallRecord> = BTreeMap::new();
    let mut open = true;
    let mut pause = Duration::ZERO;
    while open || !waiting.is_empty() {
        if waiting.is_empty() {
            match queue.recv().await {
                Some(record) => hold(&mut waiting, record),
                None => open = false,
            }
            continue;
        }
        tokio::select! {
            biased;
            record = queue.recv(), if open => match record {
                Some(record) => hold(&mut waiting, record),
                None => open = false,
            },
            () = tokio::time::sleep(pause) => pause = write_oldest(&*store, &mut waiting, (pause, backoff)).await,
        }
    }
}

/// Writes one record. Returns how long to wait before the next: nothing after a success, ever longer after failures.
async fn write_oldest(
    store: &dyn CallRecords,
    waiting: &mut BTreeMap<CallId, CallRecord>,
    (pause, backoff): (Duration, Backoff),
) -> Duration {
    let Some(entry) = waiting.first_entry() else { return Duration::ZERO };
    match store.upsert(entry.get()).await {
        Ok(()) => {
            entry.remove();
            Duration::ZERO
        }
        Err(error) => {
            let next = (pause * 2).clamp(backoff.first, backoff.longest);
            if pause.is_zero() {
                let chain = crate::telemetry::error_chain::ErrorChain(&error).to_string();
                tracing::warn!(waiting = waiting.len(), "call records wait for the database: {chain}");
            }
            next
        }
    }
}

fn hold(waiting: &mut BTreeMap<CallId, CallRecord>, record: CallRecord) {
    if waiting.len() >= CALL_RECORDS_WAITING && !waiting.contains_key(&record.call) {
        tracing::error!(call = %record.call, "a call record is lost: too many wait for the database");
        metrics::counter!("tandem_alarms_total", "what" => "call_record_lost").increment(1);
        return;
    }
    waiting.insert(record.call, record);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering;

    use crate::call::tests::a_record;

    const AT_ONCE: Backoff = Backoff { first: Duration::ZERO, longest: Duration::ZERO };

    #[derive(Default)]
    struct Flaky {
        refusals: AtomicUsize,
        written: AtomicUsize,
    }

    #[async_trait]
    impl CallRecords for Flaky {
        async fn upsert(&self, _: &CallRecord) -> Result<(), NotNow> {
            if self.refusals.load(Ordering::SeqCst) > 0 {
                self.refusals.fetch_sub(1, Ordering::SeqCst);
                return Err(NotNow("away".into()));
            }
            self.written.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_record_outlasts_a_database_that_is_away() {
        let store = Arc::new(Flaky { refusals: AtomicUsize::new(5), ..Flaky::default() });
        let (sender, queue) = mpsc::channel(4);
        sender.send(a_record()).await.unwrap();
        drop(sender);
        let keeper: Arc<dyn CallRecords> = Arc::<Flaky>::clone(&store);
        keep(keeper, queue, AT_ONCE).await;
        assert_eq!(store.written.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn of_one_call_only_the_latest_record_waits() {
        let store = Arc::new(Flaky { refusals: AtomicUsize::new(1), ..Flaky::default() });
        let (sender, queue) = mpsc::channel(4);
        for _ in 0..3 {
            sender.send(a_record()).await.unwrap();
        }
        drop(sender);
        let keeper: Arc<dyn CallRecords> = Arc::<Flaky>::clone(&store);
        keep(keeper, queue, AT_ONCE).await;
        assert_eq!(store.written.load(Ordering::SeqCst), 1);
    }
}
