//! A catalogue in memory that fails on demand, for tests.
#![cfg(test)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use tokio::sync::{Mutex, watch};

use crate::ids::RecordingId;
use crate::recording::io::catalog::{Catalog, CatalogError};
use crate::recording::model::{
    RecordingEnded, RecordingFailed, RecordingFilter, RecordingMeta, RecordingRow, RecordingState, SegmentOpened,
    SegmentRow, SegmentSealed, SegmentStored, WrappedKey,
};

#[derive(Debug, Default)]
struct Tables {
    recordings: BTreeMap<RecordingId, RecordingRow>,
    segments: BTreeMap<(RecordingId, u32), SegmentRow>,
    keys: BTreeMap<(RecordingId, u32, u32, String), WrappedKey>,
}

#[derive(Debug)]
pub(crate) struct MemoryCatalog {
    tables: Mutex<Tables>,
    is_down: AtomicBool,
    refused: AtomicUsize,
    changed: watch::Sender<u64>,
}

impl Default for MemoryCatalog {
    fn default() -> Self {
        Self {
            tables: Mutex::default(),
            is_down: AtomicBool::new(false),
            refused: AtomicUsize::new(0),
            changed: watch::channel(0).0,
        }
    }
}

impl MemoryCatalog {
    pub(crate) fn set_down(&self, is_down: bool) {
        self.is_down.store(is_down, Ordering::SeqCst);
    }

    /// How many calls failed while it was down.
    pub(crate) fn refused(&self) -> usize {
        self.refused.load(Ordering::SeqCst)
    }

    pub(crate) async fn rows(&self) -> Vec<RecordingRow> {
        self.tables.lock().await.recordings.values().cloned().collect()
    }

    /// Waits until `count` recordings are in `state`.
    pub(crate) async fn wait_for(&self, count: usize, state: RecordingState) {
        let mut changed = self.changed.subscribe();
        loop {
            let rows = self.rows().await;
            if rows.iter().filter(|row| row.state == state).count() >= count {
                return;
            }
            tokio::time::timeout(std::time::Duration::from_secs(30), changed.changed())
                .await
                .unwrap_or_else(|_| panic!("{rows:?}"))
                .unwrap();
        }
    }

    async fn write(&self, act: impl FnOnce(&mut Tables)) -> Result<(), CatalogError> {
        self.check()?;
        act(&mut *self.tables.lock().await);
        self.changed.send_modify(|count| *count += 1);
        Ok(())
    }

    fn check(&self) -> Result<(), CatalogError> {
        if self.is_down.load(Ordering::SeqCst) {
            self.refused.fetch_add(1, Ordering::SeqCst);
            return Err(CatalogError::Unavailable("down on demand".into()));
        }
        Ok(())
    }
}

fn rise(state: &mut RecordingState, to: RecordingState) {
    if to.rank() > state.rank() {
        *state = to;
    }
}

impl Tables {
    fn row(&mut self, recording: RecordingId) -> &mut RecordingRow {
        self.recordings.get_mut(&recording).expect("the intent comes first")
    }

    fn segment(&mut self, recording: RecordingId, segment_no: u32) -> &mut SegmentRow {
        self.segments.get_mut(&(recording, segment_no)).expect("the segment's opening comes first")
    }
}

#[async_trait]
impl Catalog for MemoryCatalog {
    async fn record_intent(&self, intent: &RecordingMeta) -> Result<(), CatalogError> {
        let row = RecordingRow {
            meta: intent.clone(),
            state: RecordingState::Intent,
            answered: None,
            ended: None,
            samples: 0,
            sample_rate: 8_000,
            segments: 0,
            end_reason: None,
            sealed_by: None,
            failure: None,
        };
        self.write(|tables| {
            tables.recordings.entry(intent.recording).or_insert(row);
        })
        .await
    }

    async fn record_keys(&self, keys: &[WrappedKey]) -> Result<(), CatalogError> {
        self.write(|tables| {
            for key in keys {
                tables.row(key.recording);
                tables.keys.insert((key.recording, key.segment_no, key.epoch, key.recipient.clone()), key.clone());
            }
        })
        .await
    }

    async fn record_segment(&self, opened: &SegmentOpened) -> Result<(), CatalogError> {
        let row = SegmentRow {
            recording: opened.recording,
            segment_no: opened.segment_no,
            node: opened.node,
            state: RecordingState::Spooling,
            sealed: None,
            object: None,
        };
        self.write(|tables| {
            rise(&mut tables.row(opened.recording).state, RecordingState::Spooling);
            tables.segments.entry((opened.recording, opened.segment_no)).or_insert(row);
        })
        .await
    }

    async fn record_sealed(&self, sealed: &SegmentSealed) -> Result<(), CatalogError> {
        self.write(|tables| {
            let row = tables.segment(sealed.recording, sealed.segment_no);
            rise(&mut row.state, RecordingState::Sealed);
            row.sealed = Some(sealed.clone());
        })
        .await
    }

    async fn record_stored(&self, stored: &SegmentStored) -> Result<(), CatalogError> {
        self.write(|tables| {
            let row = tables.segment(stored.recording, stored.segment_no);
            rise(&mut row.state, RecordingState::Stored);
            row.object = Some(stored.object.clone());
        })
        .await
    }

    async fn record_ended(&self, ended: &RecordingEnded) -> Result<(), CatalogError> {
        self.write(|tables| {
            let row = tables.row(ended.recording);
            rise(&mut row.state, ended.state);
            row.answered = ended.answered;
            row.ended = Some(ended.ended);
            (row.samples, row.sample_rate, row.segments) = (ended.samples, ended.sample_rate, ended.segments);
            row.end_reason = Some(ended.end_reason.clone());
            row.sealed_by = Some(ended.sealed_by);
        })
        .await
    }

    async fn record_failed(&self, failed: &RecordingFailed) -> Result<(), CatalogError> {
        self.write(|tables| {
            let row = tables.row(failed.recording);
            rise(&mut row.state, RecordingState::Failed);
            row.failure = Some(failed.reason);
        })
        .await
    }

    async fn list(&self, filter: &RecordingFilter) -> Result<Vec<RecordingRow>, CatalogError> {
        self.check()?;
        let mut rows = self.rows().await;
        rows.sort_by_key(|row| std::cmp::Reverse((row.meta.started, row.meta.recording)));
        rows.truncate(filter.page_rows() as usize);
        Ok(rows)
    }

    async fn find(&self, recording: RecordingId) -> Result<Option<RecordingRow>, CatalogError> {
        self.check()?;
        Ok(self.tables.lock().await.recordings.get(&recording).cloned())
    }

    async fn segments(&self, recording: RecordingId) -> Result<Vec<SegmentRow>, CatalogError> {
        self.check()?;
        Ok(self.tables.lock().await.segments.values().filter(|row| row.recording == recording).cloned().collect())
    }

    async fn wrapped_keys(&self, recording: RecordingId) -> Result<Vec<WrappedKey>, CatalogError> {
        self.check()?;
        Ok(self.tables.lock().await.keys.values().filter(|key| key.recording == recording).cloned().collect())
    }
}
