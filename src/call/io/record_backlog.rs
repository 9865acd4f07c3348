//! Call records that the database has not taken: one file each, so that they outlast this process.

use std::fs;
use std::io;
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use crate::call::CallRecord;
use crate::ids::CallId;

/// What a file that is not finished ends with.
const UNFINISHED: &str = "part";
/// What a record's file ends with.
const RECORD: &str = "json";

/// A directory of records.
#[derive(Debug, Clone)]
pub struct RecordBacklog {
    directory: Arc<PathBuf>,
}

impl RecordBacklog {
    /// Opens `directory`, making it where it is missing, for this user alone.
    pub fn open(directory: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        Ok(Self { directory: Arc::new(directory.to_owned()) })
    }

    /// The records that an earlier process left. A file that cannot be read is said, and left where it is.
    pub fn left_behind(&self) -> io::Result<Vec<CallRecord>> {
        let mut records = Vec::new();
        for entry in fs::read_dir(&*self.directory)? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != RECORD) {
                continue;
            }
            let read = fs::read(&path).and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
            match read {
                Ok(record) => records.push(record),
                Err(error) => {
                    tracing::error!(file = %path.display(), %error, "a call record that waits is not readable");
                }
            }
        }
        Ok(records)
    }

    /// Makes `record` durable, in place of an earlier one of its call.
    pub async fn save(&self, record: CallRecord) -> io::Result<()> {
        let (unfinished, finished) = (self.file(record.call, UNFINISHED), self.file(record.call, RECORD));
        let directory = Arc::clone(&self.directory);
        off_the_runtime(move || {
            let mut file = fs::File::create(&unfinished)?;
            file.write_all(&serde_json::to_vec(&record)?)?;
            file.sync_all()?;
            fs::rename(&unfinished, &finished)?;
            fs::File::open(&*directory)?.sync_all()
        })
        .await
    }

    /// Forgets the record of `call`: the database has it.
    pub async fn remove(&self, call: CallId) -> io::Result<()> {
        let file = self.file(call, RECORD);
        off_the_runtime(move || fs::remove_file(&file)).await
    }

    fn file(&self, call: CallId, extension: &str) -> PathBuf {
        self.directory.join(format!("{call}.{extension}"))
    }
}

async fn off_the_runtime(work: impl FnOnce() -> io::Result<()> + Send + 'static) -> io::Result<()> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
