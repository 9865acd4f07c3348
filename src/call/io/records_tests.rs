use super::*;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use tempfile::TempDir;

use crate::call::tests::a_record;

const AT_ONCE: Backoff = Backoff { first: Duration::from_nanos(1), longest: Duration::from_nanos(1) };
const FOREVER: Backoff = Backoff { first: Duration::MAX, longest: Duration::MAX };

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

fn keeper(directory: &TempDir, backoff: Backoff, refusals: usize) -> (Arc<Flaky>, RecordKeeper) {
    let store = Arc::new(Flaky { refusals: AtomicUsize::new(refusals), ..Flaky::default() });
    let backlog = RecordBacklog::open(directory.path()).unwrap();
    let keeper = RecordKeeper::new(Arc::<Flaky>::clone(&store), backlog, backoff).unwrap();
    (store, keeper)
}

fn files(directory: &TempDir) -> usize {
    directory.path().read_dir().unwrap().count()
}

#[tokio::test]
async fn a_record_outlasts_a_database_that_is_away() {
    let directory = tempfile::tempdir().unwrap();
    let (store, keeper) = keeper(&directory, AT_ONCE, 5);
    let (sender, queue) = mpsc::channel(4);
    sender.send(a_record()).await.unwrap();
    drop(sender);
    keeper.run(queue).await;
    assert_eq!(store.written.load(Ordering::SeqCst), 1);
    assert_eq!(files(&directory), 0, "what is written does not wait");
}

#[tokio::test]
async fn of_one_call_only_the_latest_record_waits() {
    let directory = tempfile::tempdir().unwrap();
    let (store, keeper) = keeper(&directory, AT_ONCE, 1);
    let (sender, queue) = mpsc::channel(4);
    for _ in 0..3 {
        sender.send(a_record()).await.unwrap();
    }
    drop(sender);
    keeper.run(queue).await;
    assert_eq!(store.written.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_record_outlasts_the_process_while_the_database_is_away() {
    let directory = tempfile::tempdir().unwrap();
    let (_, mut killed) = keeper(&directory, FOREVER, 1);
    let record = a_record();
    killed.hold(record.clone()).await;
    killed.write_oldest().await;
    drop(killed);
    std::fs::write(directory.path().join("torn.json"), "{").unwrap();

    let (store, next) = keeper(&directory, AT_ONCE, 0);
    assert_eq!(next.waiting.values().map(|waiting| &waiting.record).collect::<Vec<_>>(), [&record]);
    let (_, queue) = mpsc::channel(1);
    next.run(queue).await;
    assert_eq!(store.written.load(Ordering::SeqCst), 1);
    assert_eq!(files(&directory), 1, "only what cannot be read is left");
}
