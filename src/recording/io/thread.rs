//! Starts the recorder: recovery, then its two threads and the indexer's task; and the handle by which others reach it.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, channel, sync_channel};
use std::thread::{self, Thread};
use std::time::Duration;

use rand::CryptoRng;
use tokio::sync::{mpsc, watch};

use crate::clock::Clock;
use crate::media::tap::TapFrame;
use crate::recording::chain::NodeKey;
use crate::recording::desk::{Output, RecorderConfig};
use crate::recording::io::catalog::Catalog;
use crate::recording::io::disk::{self, Watermarks};
use crate::recording::io::indexer::{self, Indexer, JOURNAL_QUEUE};
use crate::recording::io::journal::{Journal, JournalRecord};
use crate::recording::io::keys::{self, KeyFileError};
use crate::recording::io::object_store::{VaultStore, VaultStoreError};
use crate::recording::io::recover::recover;
use crate::recording::io::spool::{SPOOL_QUEUE, Spool, SpoolLinks, SpoolMessage, SpoolSender};
use crate::recording::recorder::{Input, Recorder, SpoolReport};
use crate::recording::seal::Recipient;
use crate::recording::{Command, Event};

/// Commands waiting for the recorder.
pub const RECORDER_COMMANDS: usize = 1_024;
/// The recorder looks around at least this often: the timeline's tick.
const TICK: Duration = Duration::from_millis(20);
/// Orders that wait for a spool thread that does not keep up; beyond, every recording fails.
const ORDERS_WAITING_MAX: usize = 4 * SPOOL_QUEUE;

/// Where tapped frames come from: one ring per worker.
pub trait TapSource: Send {
    /// The next frame, if there is one now.
    fn pop(&mut self) -> Option<TapFrame>;
}

/// Of what a recorder is made. Every field is valid already.
#[derive(Debug, Clone)]
pub struct RecordingConfig {
    /// Where recordings grow; made where absent.
    pub spool_dir: PathBuf,
    /// The local object store; made where absent.
    pub store_dir: PathBuf,
    /// The node's signing key; made where absent.
    pub node_key_file: PathBuf,
    /// Files with recipients' public keys; one key at least over all.
    pub recipient_files: Vec<PathBuf>,
    /// When the disk is too full.
    pub watermarks: Watermarks,
}

/// Why a recorder does not start.
#[derive(Debug, thiserror::Error)]
pub enum RecorderError {
    /// A key file is of no use.
    #[error("the recorder's keys cannot be loaded")]
    Keys(#[from] KeyFileError),
    /// Nobody could ever hear what is recorded.
    #[error("no recipient is configured for recording keys")]
    NoRecipient,
    /// Another process has the spool, or it cannot be opened.
    #[error("the recording spool {} cannot be opened, or another process uses it", path.display())]
    Spool {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The store cannot be opened.
    #[error("the recording store cannot be opened")]
    Store(#[from] VaultStoreError),
    /// A thread cannot be started.
    #[error("the recorder's threads cannot be started")]
    Thread(#[source] io::Error),
}

/// The recorder's queue is full: the call must do without, as its policy says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the recorder's queue is full")]
pub struct Full;

/// How others reach the recorder.
#[derive(Debug, Clone)]
pub struct RecorderHandle {
    commands: SyncSender<Command>,
    thread: Thread,
    stop: Arc<AtomicBool>,
    stage: watch::Receiver<Stage>,
}

/// How far a shutdown has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Running,
    Sealed,
    Indexed,
}

impl RecorderHandle {
    /// Passes a command on, without waiting.
    pub fn try_send(&self, command: Command) -> Result<(), Full> {
        match self.commands.try_send(command) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => return Err(Full),
        }
        self.thread.unpark();
        Ok(())
    }

    /// The recorder's thread, for the workers to unpark once a turn.
    pub const fn unparker(&self) -> &Thread {
        &self.thread
    }

    /// Seals everything, then waits up to `grace` for catalogue and store. What they do not take stays in the spool
    /// for the next start. Whether they took all.
    pub async fn shutdown(&self, grace: Duration) -> bool {
        self.stop.store(true, Ordering::Release);
        self.thread.unpark();
        let mut stage = self.stage.clone();
        // An error means that the threads are gone: there is nothing to wait for.
        if stage.wait_for(|stage| *stage >= Stage::Sealed).await.is_err() {
            return false;
        }
        matches!(tokio::time::timeout(grace, stage.wait_for(|stage| *stage >= Stage::Indexed)).await, Ok(Ok(_)))
    }
}

/// Recovers the spool (which may take a while after a crash), then starts the recorder. Within a Tokio runtime.
///
/// `rng` makes keys: it must be a cryptographic generator, seeded by the system.
pub fn spawn(
    config: &RecordingConfig,
    clock: Clock,
    mut rng: Box<dyn CryptoRng + Send>,
    sources: Vec<Box<dyn TapSource>>,
    catalog: Arc<dyn Catalog>,
    events: mpsc::Sender<Event>,
) -> Result<RecorderHandle, RecorderError> {
    let node_key = Arc::new(keys::load_or_generate_node_key(&config.node_key_file, rng.as_mut())?);
    let recipients = load_recipients(config)?;
    let store = VaultStore::local(&config.store_dir)?;
    let opened = open_spool(config, &node_key, clock)
        .map_err(|source| RecorderError::Spool { path: config.spool_dir.clone(), source })?;

    let (commands, command_queue) = sync_channel(RECORDER_COMMANDS);
    let (orders, order_queue) = sync_channel(SPOOL_QUEUE);
    let (reports, report_queue) = channel();
    let (records, record_queue) = mpsc::channel(JOURNAL_QUEUE);
    let (stage, stage_seen) = watch::channel(Stage::Running);
    let stop = Arc::new(AtomicBool::new(false));
    let sender = SpoolSender(orders);

    let indexer =
        Indexer { catalog, store, spool_dir: config.spool_dir.clone(), node: node_key.node(), spool: sender.clone() };
    let backlog = opened.records;
    let pump = records.clone();
    tokio::spawn(async move {
        // What the last run left behind goes first; live records queue up behind it.
        for record in backlog {
            if pump.send(record).await.is_err() {
                return;
            }
        }
    });
    let indexing = indexer::run(Arc::new(indexer), record_queue);

    let recorder = Recorder::new(RecorderConfig::with_keys(node_key, recipients, clock), rng);
    let desk = RecorderThread {
        recorder,
        clock,
        commands: command_queue,
        sources,
        reports: report_queue,
        spool: sender,
        events,
        waiting_orders: VecDeque::new(),
        waiting_events: VecDeque::new(),
        stop: Arc::clone(&stop),
    };
    let recorder_thread =
        thread::Builder::new().name("recorder".to_owned()).spawn(move || desk.run()).map_err(RecorderError::Thread)?;
    let thread = recorder_thread.thread().clone();
    let links = SpoolLinks { reports, recorder: thread.clone(), records };
    let spool = Spool::new(&config.spool_dir, opened.lock, opened.journal, config.watermarks, clock, links)
        .map_err(|source| RecorderError::Spool { path: config.spool_dir.clone(), source })?;
    let spool_thread = thread::Builder::new()
        .name("spool".to_owned())
        .spawn(move || spool.run(order_queue))
        .map_err(RecorderError::Thread)?;

    tokio::spawn(async move {
        let indexing = tokio::spawn(indexing);
        let joined =
            tokio::task::spawn_blocking(move || recorder_thread.join().is_ok() & spool_thread.join().is_ok()).await;
        if !matches!(joined, Ok(true)) {
            tracing::error!("a recorder thread panicked");
        }
        stage.send_replace(Stage::Sealed);
        if indexing.await.is_ok() {
            stage.send_replace(Stage::Indexed);
        }
    });
    Ok(RecorderHandle { commands, thread, stop, stage: stage_seen })
}

fn load_recipients(config: &RecordingConfig) -> Result<Vec<Recipient>, RecorderError> {
    let mut recipients = Vec::new();
    for file in &config.recipient_files {
        for recipient in keys::load_recipients(file)? {
            if !recipients.contains(&recipient) {
                recipients.push(recipient);
            }
        }
    }
    if recipients.is_empty() { Err(RecorderError::NoRecipient) } else { Ok(recipients) }
}

struct OpenedSpool {
    lock: std::fs::File,
    journal: Journal,
    records: Vec<JournalRecord>,
}

fn open_spool(config: &RecordingConfig, node_key: &NodeKey, clock: Clock) -> io::Result<OpenedSpool> {
    let lock = disk::lock(&config.spool_dir)?;
    let (mut journal, mut records) = Journal::open(&config.spool_dir)?;
    let found = recover(&config.spool_dir, &records, node_key, clock.wall(clock.now()))?;
    journal.append(&found)?;
    journal.sync()?;
    records.extend(found);
    Ok(OpenedSpool { lock, journal, records })
}

/// What the recorder's thread owns.
struct RecorderThread {
    recorder: Recorder,
    clock: Clock,
    commands: Receiver<Command>,
    sources: Vec<Box<dyn TapSource>>,
    reports: Receiver<SpoolReport>,
    spool: SpoolSender,
    events: mpsc::Sender<Event>,
    waiting_orders: VecDeque<SpoolMessage>,
    waiting_events: VecDeque<Event>,
    stop: Arc<AtomicBool>,
}

impl RecorderThread {
    fn run(mut self) {
        loop {
            let is_stopping = self.stop.load(Ordering::Acquire);
            // Without a handle nobody can end a recording any more: the same as a shutdown.
            let is_orphan = !self.turn();
            let is_stopping = is_stopping || is_orphan;
            if is_stopping && self.stop_all() {
                break;
            }
            thread::park_timeout(self.patience());
        }
        // The last order of all: it ends the spool thread.
        self.waiting_orders.push_back(SpoolMessage::Stop);
        while !self.waiting_orders.is_empty() {
            self.flush();
            thread::park_timeout(TICK);
        }
    }

    /// Commands, then frames, then what ends a recording: so that nothing in the rings is lost to a BYE.
    /// Whether a handle is left.
    fn turn(&mut self) -> bool {
        let mut endings = Vec::new();
        let has_handles = loop {
            match self.commands.try_recv() {
                Ok(command @ (Command::Start(_) | Command::Answered { .. })) => {
                    self.recorder.handle(Input::Command(command), self.clock.now());
                }
                Ok(command @ (Command::Stop { .. } | Command::Abandon { .. })) => endings.push(command),
                Err(TryRecvError::Empty) => break true,
                Err(TryRecvError::Disconnected) => break false,
            }
        };
        for source in &mut self.sources {
            while let Some(frame) = source.pop() {
                let now = frame.arrival;
                self.recorder.handle(Input::Frame(Box::new(frame)), now);
            }
        }
        let now = self.clock.now();
        for command in endings {
            self.recorder.handle(Input::Command(command), now);
        }
        for report in self.reports.try_iter() {
            self.recorder.handle(Input::Spool(report), now);
        }
        if self.recorder.poll_timeout().is_some_and(|(at, _why)| at <= now) {
            self.recorder.handle_timeout(now);
        }
        self.flush();
        has_handles
    }

    fn flush(&mut self) {
        while let Some(output) = self.recorder.poll_output() {
            match output {
                Output::Spool(order) => self.waiting_orders.push_back(SpoolMessage::Order(order)),
                Output::Event(event) => self.waiting_events.push_back(event),
            }
        }
        while let Some(message) = self.waiting_orders.pop_front() {
            if let Err(message) = self.spool.try_send(message) {
                self.waiting_orders.push_front(message);
                break;
            }
        }
        while let Some(event) = self.waiting_events.pop_front() {
            match self.events.try_send(event) {
                Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
                Err(mpsc::error::TrySendError::Full(event)) => {
                    self.waiting_events.push_front(event);
                    break;
                }
            }
        }
        if self.waiting_orders.len() > ORDERS_WAITING_MAX {
            self.give_up();
        }
    }

    /// The spool is far behind: every recording fails, and memory is saved. What is on disk will be recovered.
    fn give_up(&mut self) {
        tracing::error!("the recording spool does not keep up: every recording in progress fails");
        self.waiting_orders.clear();
        let recordings: Vec<_> = self.recorder.recordings().collect();
        for recording in recordings {
            let report = SpoolReport::Failed { recording, reason: "the recorder is overloaded".to_owned() };
            self.recorder.handle(Input::Spool(report), self.clock.now());
        }
    }

    /// Stops what is recorded; whether nothing is left.
    fn stop_all(&mut self) -> bool {
        let now = self.clock.now();
        let recordings: Vec<_> = self.recorder.recordings().collect();
        for recording in recordings {
            self.recorder.handle(Input::Command(Command::Stop { recording, at: now, end_reason: "shutdown" }), now);
        }
        self.flush();
        self.recorder.is_idle()
    }

    fn patience(&self) -> Duration {
        let due = self.recorder.poll_timeout().map(|(at, _why)| at.saturating_duration_since(self.clock.now()));
        due.map_or(TICK, |due| due.min(TICK))
    }
}

#[cfg(test)]
#[path = "thread_tests.rs"]
mod tests;
