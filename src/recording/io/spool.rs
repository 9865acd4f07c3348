//! The spool thread: alone writes, journals and syncs. Takes orders in batches, so that one sync serves many calls.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, TrySendError};
use std::thread::Thread;
use std::time::{Duration, Instant};

use rustix::fs::syncfs;
use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::ids::RecordingId;
use crate::recording::desk::{NewFile, SpoolOrder};
use crate::recording::io::disk::{Watermarks, reserve};
use crate::recording::io::journal::{Journal, JournalRecord};
use crate::recording::io::object_store::file_name;
use crate::recording::model::RecordingMeta;
use crate::recording::recorder::SpoolReport;

/// Orders on their way to the spool thread: 10 s of 200 calls.
pub const SPOOL_QUEUE: usize = 8_192;
/// Orders of one batch.
const BATCH_MAX: usize = 1_024;
/// Between two syncs of what is being written: with the chunk in the making the loss of a power cut stays under 2 s.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);
/// What a growing file reserves ahead: 10 minutes of stereo FLAC at 9.6 kB/s.
const RESERVE_BYTES: u64 = 6 << 20;

/// What the spool thread takes.
#[derive(Debug)]
pub enum SpoolMessage {
    /// From the recorder.
    Order(SpoolOrder),
    /// Catalogue and store have it: its files may go.
    Release(RecordingId),
    /// Ends the thread, after everything before it.
    Stop,
}

/// The way to the spool thread.
#[derive(Debug, Clone)]
pub struct SpoolSender(pub SyncSender<SpoolMessage>);

impl SpoolSender {
    /// Passes a message on, or gives it back when the queue is full. One to a thread that is gone is dropped.
    pub fn try_send(&self, message: SpoolMessage) -> Result<(), SpoolMessage> {
        match self.0.try_send(message) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => Ok(()),
            Err(TrySendError::Full(message)) => Err(message),
        }
    }

    /// Releases a recording's files, waiting while the queue is full.
    pub async fn release(&self, recording: RecordingId) {
        while self.try_send(SpoolMessage::Release(recording)).is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Everything that the thread owns.
#[derive(Debug)]
pub struct Spool {
    directory: PathBuf,
    directory_file: File,
    journal: Journal,
    /// Held as long as the thread lives.
    _lock: File,
    files: BTreeMap<(RecordingId, u32), OpenFile>,
    watermarks: Watermarks,
    clock: Clock,
    is_dirty: bool,
    last_sync: Instant,
    links: SpoolLinks,
}

/// Whom the thread tells.
#[derive(Debug)]
pub struct SpoolLinks {
    /// The recorder's reports.
    pub reports: Sender<SpoolReport>,
    /// The recorder's thread, to be woken.
    pub recorder: Thread,
    /// The indexer's collector.
    pub records: mpsc::Sender<JournalRecord>,
}

#[derive(Debug)]
struct OpenFile {
    file: File,
    bytes: u64,
    reserved: u64,
}

/// What one batch leads to, once it is synced.
#[derive(Debug, Default)]
struct Aftermath {
    records: Vec<JournalRecord>,
    reports: Vec<SpoolReport>,
    written: BTreeMap<RecordingId, u64>,
    failed: BTreeSet<RecordingId>,
    has_new_files: bool,
    must_sync: bool,
}

impl Aftermath {
    fn fail(&mut self, recording: RecordingId, error: &io::Error) {
        if self.failed.insert(recording) {
            tracing::error!(%recording, error = error as &dyn std::error::Error, "a recording cannot be written");
            self.reports
                .push(SpoolReport::Failed { recording, reason: format!("the spool cannot be written: {error}") });
        }
    }
}

impl Spool {
    /// A spool that is locked, recovered, and whose journal is open.
    pub fn new(
        directory: &Path,
        lock: File,
        journal: Journal,
        watermarks: Watermarks,
        clock: Clock,
        links: SpoolLinks,
    ) -> io::Result<Self> {
        Ok(Self {
            directory: directory.to_owned(),
            directory_file: File::open(directory)?,
            journal,
            _lock: lock,
            files: BTreeMap::new(),
            watermarks,
            clock,
            is_dirty: false,
            last_sync: clock.now(),
            links,
        })
    }

    /// The thread's life.
    #[expect(clippy::needless_pass_by_value, reason = "the thread owns its end of the channel")]
    pub fn run(mut self, messages: Receiver<SpoolMessage>) {
        loop {
            let first = match messages.recv_timeout(SYNC_INTERVAL) {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let mut batch: Vec<SpoolMessage> = first.into_iter().collect();
            if !batch.is_empty() {
                batch.extend(messages.try_iter().take(BATCH_MAX));
            }
            let is_last = batch.iter().any(|message| matches!(message, SpoolMessage::Stop));
            self.process(batch);
            if self.clock.now().saturating_duration_since(self.last_sync) >= SYNC_INTERVAL {
                self.sync_if_dirty();
            }
            if is_last {
                break;
            }
        }
        self.sync_if_dirty();
    }

    fn sync_if_dirty(&mut self) {
        self.last_sync = self.clock.now();
        if !std::mem::take(&mut self.is_dirty) {
            return;
        }
        if let Err(error) = syncfs(&self.directory_file) {
            tracing::error!(error = &error as &dyn std::error::Error, "the recording spool cannot be synced");
        }
    }

    fn process(&mut self, batch: Vec<SpoolMessage>) {
        let mut after = Aftermath::default();
        let mut released = Vec::new();
        let mut orders = Vec::with_capacity(batch.len());
        for message in batch {
            match message {
                SpoolMessage::Order(order) => orders.push(order),
                SpoolMessage::Release(recording) => released.push(recording),
                SpoolMessage::Stop => {}
            }
        }
        self.prepare(&orders, &mut after);
        for order in orders {
            self.obey(order, &mut after);
        }
        self.conclude(after);
        self.release(&released);
        if self.journal.is_large()
            && let Err(error) = self.journal.compact()
        {
            tracing::error!(error = &error as &dyn std::error::Error, "the recording journal cannot be compacted");
        }
    }

    /// Makes intents and keys durable, before any file or chunk of theirs.
    fn prepare(&mut self, orders: &[SpoolOrder], after: &mut Aftermath) {
        let mut records = Vec::new();
        for order in orders {
            match order {
                SpoolOrder::Begin { intent, .. } if !self.has_room(intent, after) => {}
                SpoolOrder::Begin { intent, file } => {
                    records.push(JournalRecord::Intent { meta: intent.clone() });
                    records.extend(records_of(file));
                }
                SpoolOrder::NextSegment(file) => records.extend(records_of(file)),
                SpoolOrder::Keys { recording, keys, .. } => {
                    records.push(JournalRecord::Keys { recording: *recording, keys: keys.clone() });
                }
                SpoolOrder::Answered { recording, at } => {
                    records.push(JournalRecord::Answered { recording: *recording, at: *at });
                }
                SpoolOrder::Chunk { .. } | SpoolOrder::Seal { .. } | SpoolOrder::End(_) | SpoolOrder::Withdraw(_) => {}
            }
        }
        if let Err(error) = self.commit(&records) {
            for record in &records {
                after.fail(record.recording(), &error);
            }
        }
    }

    /// Appends, syncs, and passes on to the indexer.
    fn commit(&mut self, records: &[JournalRecord]) -> io::Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        self.journal.append(records)?;
        self.journal.sync()?;
        for record in records {
            // The collector never waits for the database; where it is gone, the journal keeps the record.
            if self.links.records.blocking_send(record.clone()).is_err() {
                break;
            }
        }
        Ok(())
    }

    fn obey(&mut self, order: SpoolOrder, after: &mut Aftermath) {
        let recording = recording_of(&order);
        if after.failed.contains(&recording) {
            return;
        }
        let done = match order {
            SpoolOrder::Begin { file, .. } => {
                self.create(&file, after).map(|()| after.reports.push(SpoolReport::Begun { recording }))
            }
            SpoolOrder::NextSegment(file) => self.create(&file, after),
            SpoolOrder::Keys { epoch, .. } => {
                after.reports.push(SpoolReport::KeysDurable { recording, epoch });
                Ok(())
            }
            SpoolOrder::Chunk { segment_no, bytes, .. } => self.write(recording, segment_no, &bytes, after),
            SpoolOrder::Answered { .. } => Ok(()),
            SpoolOrder::Seal { chunk, facts } => {
                self.write(recording, facts.segment_no, &chunk, after).and_then(|()| {
                    after.records.push(JournalRecord::Sealed { sealed: facts.clone() });
                    after.must_sync = true;
                    // What was reserved and not used goes back.
                    self.files
                        .remove(&(recording, facts.segment_no))
                        .map_or(Ok(()), |open| open.file.set_len(open.bytes))
                })
            }
            SpoolOrder::End(ended) => {
                after.records.push(JournalRecord::Ended { ended });
                after.reports.push(SpoolReport::Ended { recording });
                Ok(())
            }
            SpoolOrder::Withdraw(failed) => {
                self.files.retain(|(of, _segment), _file| *of != recording);
                after.records.push(JournalRecord::Failed { failed });
                Ok(())
            }
        };
        if let Err(error) = done {
            // The file stays as it is: the recovery at the next start seals what it holds.
            self.files.retain(|(of, _segment), _file| *of != recording);
            after.fail(recording, &error);
        }
    }

    /// Header to a temporary name, sync, rename: a file with a name has a header.
    fn create(&mut self, new: &NewFile, after: &mut Aftermath) -> io::Result<()> {
        let name = file_name(new.opened.recording, new.opened.segment_no);
        let temporary = self.directory.join(&name).with_extension("tmp");
        let mut file = OpenOptions::new().write(true).create_new(true).open(&temporary)?;
        file.write_all(&new.header)?;
        reserve(&file, RESERVE_BYTES)?;
        file.sync_all()?;
        fs::rename(&temporary, self.directory.join(&name))?;
        after.has_new_files = true;
        let bytes = new.header.len() as u64;
        self.files
            .insert((new.opened.recording, new.opened.segment_no), OpenFile { file, bytes, reserved: RESERVE_BYTES });
        Ok(())
    }

    fn write(
        &mut self,
        recording: RecordingId,
        segment_no: u32,
        bytes: &[u8],
        after: &mut Aftermath,
    ) -> io::Result<()> {
        // The file of a recording that failed before is closed: its later chunks have nowhere to go.
        let open =
            self.files.get_mut(&(recording, segment_no)).ok_or_else(|| io::Error::other("its file is closed"))?;
        open.file.write_all(bytes)?;
        open.bytes += bytes.len() as u64;
        if open.bytes + RESERVE_BYTES / 2 > open.reserved {
            open.reserved = open.bytes + RESERVE_BYTES;
            reserve(&open.file, open.reserved)?;
        }
        self.is_dirty = true;
        *after.written.entry(recording).or_default() += 1;
        Ok(())
    }

    fn conclude(&mut self, after: Aftermath) {
        let Aftermath { records, mut reports, written, has_new_files, must_sync, .. } = after;
        let synced = if has_new_files { self.directory_file.sync_all() } else { Ok(()) };
        let synced = synced
            .and_then(|()| if must_sync { syncfs(&self.directory_file).map_err(io::Error::from) } else { Ok(()) });
        let done = synced.and_then(|()| self.commit(&records));
        if let Err(error) = done {
            tracing::error!(error = &error as &dyn std::error::Error, "the recording spool cannot be synced");
            let reason = format!("the spool cannot be synced: {error}");
            reports = reports.into_iter().map(|report| report.or_failed(&reason)).collect();
        }
        reports.extend(written.into_iter().map(|(recording, chunks)| SpoolReport::Written { recording, chunks }));
        let has_reports = !reports.is_empty();
        for report in reports {
            // The recorder outlives this thread but for a panic; then nobody is left to tell.
            if self.links.reports.send(report).is_err() {
                break;
            }
        }
        if has_reports {
            self.links.recorder.unpark();
        }
    }

    fn release(&mut self, released: &[RecordingId]) {
        if released.is_empty() {
            return;
        }
        let records: Vec<_> = released.iter().map(|recording| JournalRecord::Done { recording: *recording }).collect();
        let noted = self.journal.append(&records).and_then(|()| self.journal.sync());
        let removed = noted.and_then(|()| self.remove_files(released));
        if let Err(error) = removed {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "released recordings cannot be removed from the spool"
            );
        }
    }

    fn remove_files(&self, released: &[RecordingId]) -> io::Result<()> {
        for recording in released {
            let mut files = (0..).map(|segment_no| self.directory.join(file_name(*recording, segment_no)));
            let ended = files.find_map(|file| fs::remove_file(file).err());
            if let Some(error) = ended.filter(|error| error.kind() != io::ErrorKind::NotFound) {
                return Err(error);
            }
        }
        Ok(())
    }

    fn has_room(&self, intent: &RecordingMeta, after: &mut Aftermath) -> bool {
        let room = self.watermarks.check_room(&self.directory_file, intent.obligation);
        room.map_err(|error| after.fail(intent.recording, &error)).is_ok()
    }
}

fn records_of(file: &NewFile) -> [JournalRecord; 2] {
    [
        JournalRecord::Keys { recording: file.opened.recording, keys: file.keys.clone() },
        JournalRecord::Segment { opened: file.opened.clone() },
    ]
}

fn recording_of(order: &SpoolOrder) -> RecordingId {
    match order {
        SpoolOrder::Begin { intent, .. } => intent.recording,
        SpoolOrder::NextSegment(file) => file.opened.recording,
        SpoolOrder::Seal { facts, .. } => facts.recording,
        SpoolOrder::End(ended) => ended.recording,
        SpoolOrder::Withdraw(failed) => failed.recording,
        SpoolOrder::Keys { recording, .. }
        | SpoolOrder::Chunk { recording, .. }
        | SpoolOrder::Answered { recording, .. } => *recording,
    }
}
