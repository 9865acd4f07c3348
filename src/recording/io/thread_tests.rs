//! The whole recorder on a disk of its own: calls in, stored recordings out.
#![cfg(test)]

use super::*;
use crate::clock::Clock;
use crate::recording::EventKind;
use crate::recording::Obligation;
use crate::recording::io::catalog_double::MemoryCatalog;
use crate::recording::io::export::{Vault, VaultError, verify};
use crate::recording::model::{FailureReason, RecordingState, SealedBy};
use crate::recording::seal::VaultKey;
use crate::recording::testing::{escrow_key, goertzel, recording, session, sine, two_tones, vault_key};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use std::path::Path;
use std::sync::mpsc as std_mpsc;
use std::time::Instant;

/// A worker's ring, as a channel.
struct Ring(Receiver<TapFrame>);

impl TapSource for Ring {
    fn pop(&mut self) -> Option<TapFrame> {
        self.0.try_recv().ok()
    }
}

struct House {
    handle: RecorderHandle,
    frames: std_mpsc::Sender<TapFrame>,
    events: mpsc::Receiver<Event>,
    catalog: Arc<MemoryCatalog>,
    clock: Clock,
}

fn config(dir: &Path) -> RecordingConfig {
    let recipients = dir.join("recipients");
    for (name, key) in [("vault.pub", vault_key()), ("escrow.pub", escrow_key())] {
        std::fs::create_dir_all(&recipients).unwrap();
        keys::write_recipient(&recipients.join(name), key.recipient(), name).unwrap();
    }
    RecordingConfig {
        spool_dir: dir.join("spool"),
        store_dir: dir.join("store"),
        node_key_file: dir.join("node.key"),
        recipient_files: vec![recipients.join("vault.pub"), recipients.join("escrow.pub")],
        // The disk of a test machine may be as full as it likes.
        watermarks: Watermarks { shed_percent: 101, refuse_percent: 101 },
    }
}

fn open(config: &RecordingConfig, catalog: Arc<MemoryCatalog>) -> Result<House, RecorderError> {
    let clock = Clock::system();
    let (frames, ring) = channel();
    let (events, event_queue) = mpsc::channel(256);
    let rng = Box::new(StdRng::from_os_rng());
    let sources: Vec<Box<dyn TapSource>> = vec![Box::new(Ring(ring))];
    let shared: Arc<dyn Catalog> = Arc::clone(&catalog) as _;
    let handle = spawn(config, clock, rng, sources, shared, events)?;
    Ok(House { handle, frames, events: event_queue, catalog, clock })
}

impl House {
    async fn next_event(&mut self) -> Event {
        tokio::time::timeout(Duration::from_secs(30), self.events.recv()).await.expect("an event in time").unwrap()
    }

    async fn start(&mut self, n: u8) -> Instant {
        let start = self.clock.now();
        self.handle.try_send(Command::Start(Box::new(session(n, start)))).unwrap();
        let event = self.next_event().await;
        assert_eq!((event.recording, event.kind), (recording(n), EventKind::Recording));
        start
    }

    /// Two tones of `frames` times 20 ms, told in one go: the timeline follows the frames' own times.
    fn speak(&self, n: u8, start: Instant, frames: u32) {
        for frame in two_tones(u64::from(n), start, frames) {
            self.frames.send(frame).unwrap();
        }
        self.handle.unparker().unpark();
    }

    async fn call(&mut self, n: u8, frames: u32) {
        let start = self.start(n).await;
        self.handle.try_send(Command::Answered { recording: recording(n), at: start }).unwrap();
        self.speak(n, start, frames);
        let at = start + Duration::from_millis(20 * u64::from(frames));
        self.handle.try_send(Command::Stop { recording: recording(n), at, end_reason: "answered" }).unwrap();
        let event = self.next_event().await;
        assert_eq!(event.kind, EventKind::Sealed { samples: u64::from(frames) * 160 });
    }

    fn vault(&self, config: &RecordingConfig, key: Option<VaultKey>) -> Vault {
        let store = VaultStore::local(&config.store_dir).unwrap();
        Vault::new(Arc::clone(&self.catalog) as _, store, config.spool_dir.clone(), key.map(Arc::new))
    }

    /// Shuts down and waits until the spool's lock is free.
    async fn close(self) -> bool {
        self.handle.shutdown(Duration::from_millis(300)).await
    }
}

fn spooled(config: &RecordingConfig) -> usize {
    std::fs::read_dir(&config.spool_dir)
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|e| e == "rec"))
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_stored_and_both_tones_are_found_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let mut house = open(&config, Arc::default()).unwrap();
    house.call(1, 250).await;
    house.catalog.wait_for(1, RecordingState::Stored).await;
    for key in [vault_key(), escrow_key()] {
        let playable = house.vault(&config, Some(key)).open(recording(1)).await.unwrap();
        let pcm = playable.pcm(0..playable.samples()).unwrap();
        let channel = |n: usize| pcm.iter().skip(n).step_by(2).copied();
        assert!(goertzel(channel(0), 440.0) > 0.45 && goertzel(channel(1), 1_000.0) > 0.45);
        assert!(
            pcm.chunks_exact(2).enumerate().all(|(n, frame)| frame == [sine(440.0, n as u64), sine(1_000.0, n as u64)])
        );
    }
    let report = verify(&config.store_dir).await.unwrap();
    assert!(report.is_good() && report.files.len() == 1, "{report}");
    let row = &house.catalog.rows().await[0];
    assert_eq!((row.samples, row.segments, row.sealed_by), (40_000, 1, Some(SealedBy::Live)));
    assert_eq!(row.end_reason.as_deref(), Some("answered"));
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_holds_the_audio_its_facts_and_its_proof() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let mut house = open(&config, Arc::default()).unwrap();
    house.call(1, 100).await;
    house.catalog.wait_for(1, RecordingState::Stored).await;
    let vault = house.vault(&config, Some(vault_key()));
    let out = dir.path().join("export");
    let exported = vault.export(recording(1), &out).await.unwrap();
    assert_eq!(exported.files.len(), 5);
    assert_eq!(std::fs::metadata(out.join("audio.wav")).unwrap().len(), 44 + 16_000 * 4);
    let checked =
        std::process::Command::new("sha256sum").args(["-c", "MANIFEST.sha256"]).current_dir(&out).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
    assert!(verify(&out).await.unwrap().is_good());
    let zip = dir.path().join("export.zip");
    vault.export(recording(1), &zip).await.unwrap();
    let listed = std::process::Command::new("python3").args(["-m", "zipfile", "-t"]).arg(&zip).output().unwrap();
    assert!(listed.status.success() && !String::from_utf8_lossy(&listed.stdout).contains("corrupt"), "{listed:?}");
    assert!(std::fs::read_to_string(out.join("metadata.json")).unwrap().contains("\"agent_user\": \"alice\""));
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_key_nothing_is_heard() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let mut house = open(&config, Arc::default()).unwrap();
    house.call(1, 50).await;
    house.catalog.wait_for(1, RecordingState::Stored).await;
    assert!(matches!(house.vault(&config, None).open(recording(1)).await, Err(VaultError::VaultAbsent)));
    let stranger = VaultKey::of_bytes(&mut [5; 32]).unwrap();
    assert!(matches!(house.vault(&config, Some(stranger)).open(recording(1)).await, Err(VaultError::NotARecipient)));
    let vault = house.vault(&config, Some(vault_key()));
    assert!(matches!(vault.open(recording(9)).await, Err(VaultError::NotFound(_))));
    // Altered in the store, it is not played, and the verifier says so.
    let stored = &verify(&config.store_dir).await.unwrap().files[0];
    let mut bytes = std::fs::read(&stored.path).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    std::fs::write(&stored.path, bytes).unwrap();
    assert!(matches!(vault.open(recording(1)).await, Err(VaultError::Differs { segment_no: 0 })));
    assert!(!verify(&stored.path).await.unwrap().is_good());
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_catalogue_down_calls_are_recorded_and_indexed_once_afterwards() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let mut house = open(&config, Arc::default()).unwrap();
    house.catalog.set_down(true);
    for n in 1..=50 {
        house.call(n, 25).await;
    }
    assert!(house.catalog.rows().await.is_empty() && house.catalog.refused() > 0);
    assert_eq!(spooled(&config), 50, "nothing is released before it is indexed");
    house.catalog.set_down(false);
    house.catalog.wait_for(50, RecordingState::Stored).await;
    assert_eq!(house.catalog.rows().await.len(), 50);
    let report = verify(&config.store_dir).await.unwrap();
    assert!(report.is_good() && report.files.len() == 50);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_shutdown_leaves_unindexed_is_indexed_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let mut house = open(&config, Arc::default()).unwrap();
    let catalog = Arc::clone(&house.catalog);
    catalog.set_down(true);
    house.call(1, 50).await;
    let start = house.start(2).await;
    house.speak(2, start, 50);
    assert!(!house.close().await, "the catalogue is down, and says so");
    assert!(catalog.rows().await.is_empty());
    // Another catalogue, so that the first run's retries cannot do the second's work.
    let house = open(&config, Arc::default()).unwrap();
    house.catalog.wait_for(2, RecordingState::Stored).await;
    let reasons: Vec<_> = house.catalog.rows().await.into_iter().map(|row| row.end_reason.unwrap()).collect();
    assert_eq!(reasons, ["answered", "shutdown"]);
    let playable = house.vault(&config, Some(vault_key())).open(recording(2)).await.unwrap();
    // The frames were told ahead of their time: half a second was final when the shutdown came, the rest was not yet.
    assert!(playable.samples() >= 4_000, "{}", playable.samples());
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spool_belongs_to_one_process() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let house = open(&config, Arc::default()).unwrap();
    assert!(matches!(open(&config, Arc::default()), Err(RecorderError::Spool { .. })));
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abandoned_call_leaves_a_reason_and_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let mut house = open(&config, Arc::default()).unwrap();
    let at = house.start(1).await;
    house.handle.try_send(Command::Abandon { recording: recording(1), at }).unwrap();
    house.catalog.wait_for(1, RecordingState::Failed).await;
    assert_eq!(house.catalog.rows().await[0].failure, Some(FailureReason::NotAnswered));
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_best_effort_before_required() {
    let dir = tempfile::tempdir().unwrap();
    let config =
        RecordingConfig { watermarks: Watermarks { shed_percent: 0, refuse_percent: 101 }, ..config(dir.path()) };
    let mut house = open(&config, Arc::default()).unwrap();
    let now = house.clock.now();
    let best_effort = crate::recording::RecordingSession { obligation: Obligation::BestEffort, ..session(1, now) };
    house.handle.try_send(Command::Start(Box::new(best_effort))).unwrap();
    let event = house.next_event().await;
    assert!(matches!(&event.kind, EventKind::Failed { reason } if reason.contains("disk")), "{event:?}");
    house.call(2, 25).await;
    house.close().await;
}
