//! Brings what the journal holds into catalogue and object store, however long they are away, then releases the spool.
//!
//! One collector never waits for either; per recording at most one job runs, and it retries until it is through.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::ids::{NodeId, RecordingId};
use crate::recording::io::catalog::{Catalog, CatalogError};
use crate::recording::io::journal::JournalRecord;
use crate::recording::io::object_store::{VaultStore, VaultStoreError, file_name, object_of};
use crate::recording::io::spool::SpoolSender;
use crate::recording::model::{RecordingEnded, RecordingState, SegmentSealed, SegmentStored};

/// Records on their way from the spool thread to the collector.
pub const JOURNAL_QUEUE: usize = 4_096;
/// Jobs that talk to catalogue and store at once.
const JOBS_MAX: usize = 8;
/// First pause before a retry; it doubles.
const RETRY_MIN: Duration = Duration::from_millis(100);
/// Longest pause before a retry.
const RETRY_MAX: Duration = Duration::from_secs(5);

/// What the jobs share.
#[derive(Debug)]
pub struct Indexer {
    /// The index.
    pub catalog: Arc<dyn Catalog>,
    /// The vault.
    pub store: VaultStore,
    /// Where sealed files lie until they are stored.
    pub spool_dir: PathBuf,
    /// The node that says so.
    pub node: NodeId,
    /// To release the spool.
    pub spool: SpoolSender,
}

/// Why a job tries again.
#[derive(Debug, thiserror::Error)]
enum Setback {
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error(transparent)]
    Store(#[from] VaultStoreError),
    #[error("the sealed file cannot be read")]
    File(#[from] std::io::Error),
}

/// Runs until `records` closes and everything is through. Dropping it loses nothing: the journal has it.
pub async fn run(indexer: Arc<Indexer>, mut records: mpsc::Receiver<JournalRecord>) {
    // Bounded by what the spool holds: a recording leaves when it is done.
    let mut waiting: BTreeMap<RecordingId, VecDeque<JournalRecord>> = BTreeMap::new();
    let mut jobs: JoinSet<RecordingId> = JoinSet::new();
    let gate = Arc::new(Semaphore::new(JOBS_MAX));
    let mut is_open = true;
    while is_open || !jobs.is_empty() {
        tokio::select! {
            record = records.recv(), if is_open => match record {
                None => is_open = false,
                Some(record) => {
                    let recording = record.recording();
                    // An entry means that a job runs; its queue is what came since.
                    let is_running = waiting.contains_key(&recording);
                    waiting.entry(recording).or_default().push_back(record);
                    if !is_running {
                        start(&indexer, &gate, recording, &mut waiting, &mut jobs);
                    }
                }
            },
            Some(ended) = jobs.join_next() => {
                // A job that panicked has left its records in the journal: they come back at the next start.
                let Ok(recording) = ended else { continue };
                if waiting.get(&recording).is_some_and(|queue| !queue.is_empty()) {
                    start(&indexer, &gate, recording, &mut waiting, &mut jobs);
                } else {
                    waiting.remove(&recording);
                }
            }
        }
    }
}

fn start(
    indexer: &Arc<Indexer>,
    gate: &Arc<Semaphore>,
    recording: RecordingId,
    waiting: &mut BTreeMap<RecordingId, VecDeque<JournalRecord>>,
    jobs: &mut JoinSet<RecordingId>,
) {
    let batch: Vec<JournalRecord> =
        waiting.get_mut(&recording).map(|queue| queue.drain(..).collect()).unwrap_or_default();
    let (indexer, gate) = (Arc::clone(indexer), Arc::clone(gate));
    jobs.spawn(async move {
        indexer.settle(recording, &batch, &gate).await;
        recording
    });
}

impl Indexer {
    /// Index first, so that the officer sees the recording although the store is away; then upload; then release.
    async fn settle(&self, recording: RecordingId, batch: &[JournalRecord], gate: &Semaphore) {
        let mut is_over = false;
        for record in batch {
            retry(gate, recording, || self.index(record)).await;
        }
        for record in batch {
            match record {
                JournalRecord::Sealed { sealed } => retry(gate, recording, || self.upload(sealed)).await,
                JournalRecord::Ended { ended } => {
                    let stored = JournalRecord::Ended {
                        ended: Box::new(RecordingEnded { state: RecordingState::Stored, ..(**ended).clone() }),
                    };
                    retry(gate, recording, || self.index(&stored)).await;
                    is_over = true;
                }
                JournalRecord::Failed { .. } => is_over = true,
                JournalRecord::Intent { .. }
                | JournalRecord::Keys { .. }
                | JournalRecord::Segment { .. }
                | JournalRecord::Answered { .. }
                | JournalRecord::Done { .. } => {}
            }
        }
        if is_over {
            self.spool.release(recording).await;
        }
    }

    async fn index(&self, record: &JournalRecord) -> Result<(), Setback> {
        match record {
            JournalRecord::Intent { meta } => self.catalog.record_intent(meta).await?,
            JournalRecord::Keys { keys, .. } => self.catalog.record_keys(keys).await?,
            JournalRecord::Segment { opened } => self.catalog.record_segment(opened).await?,
            JournalRecord::Sealed { sealed } => self.catalog.record_sealed(sealed).await?,
            JournalRecord::Ended { ended } => self.catalog.record_ended(ended).await?,
            JournalRecord::Failed { failed } => self.catalog.record_failed(failed).await?,
            JournalRecord::Answered { .. } | JournalRecord::Done { .. } => {}
        }
        Ok(())
    }

    async fn upload(&self, sealed: &SegmentSealed) -> Result<(), Setback> {
        let file = self.spool_dir.join(file_name(sealed.recording, sealed.segment_no));
        let bytes = Bytes::from(tokio::fs::read(file).await?);
        let object = object_of(sealed);
        self.store.put(&object, bytes, &sealed.sha256).await?;
        let stored = SegmentStored {
            recording: sealed.recording,
            segment_no: sealed.segment_no,
            node: self.node,
            object,
            bytes: sealed.bytes,
            sha256: sealed.sha256,
        };
        Ok(self.catalog.record_stored(&stored).await?)
    }
}

/// Tries until it succeeds, with growing pauses. The first failure of a row is a warning, the rest are not worth one.
async fn retry<F: Future<Output = Result<(), Setback>>>(
    gate: &Semaphore,
    recording: RecordingId,
    mut act: impl FnMut() -> F,
) {
    let mut pause = RETRY_MIN;
    loop {
        // The semaphore is never closed; if it were, the work is still due.
        let permit = gate.acquire().await;
        let done = act().await;
        drop(permit);
        let Err(error) = done else { return };
        if pause == RETRY_MIN {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(%recording, error, "a recording cannot be indexed or stored yet; it stays in the spool");
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_MAX);
    }
}
