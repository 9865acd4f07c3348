//! The spool's journal: an append-only file of records, synced before anything that depends on them.
//!
//! A record is its length (4 bytes, little endian), the CRC32C of its JSON (4 bytes), the JSON. A torn end is cut off.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::clock::WallTime;
use crate::ids::RecordingId;
use crate::recording::model::{
    RecordingEnded, RecordingFailed, RecordingMeta, SegmentOpened, SegmentSealed, WrappedKey,
};
use crate::recording::serial::as_ns;

/// Bytes of one record at most: more is a torn or foreign file.
const RECORD_BYTES_MAX: usize = 1 << 20;
/// Beyond this size, and twice what was left the last time, the journal is rewritten without what is done.
const COMPACT_BYTES: u64 = 16 << 20;

/// What the journal remembers until the catalogue has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum JournalRecord {
    /// A recording is to be.
    Intent {
        /// It.
        meta: Box<RecordingMeta>,
    },
    /// Keys, wrapped.
    Keys {
        /// Whose.
        recording: RecordingId,
        /// They.
        keys: Vec<WrappedKey>,
    },
    /// A segment's file is about to be made.
    Segment {
        /// It.
        opened: SegmentOpened,
    },
    /// The call was answered.
    Answered {
        /// Whose.
        recording: RecordingId,
        /// When.
        #[serde(with = "as_ns")]
        at: WallTime,
    },
    /// A segment is sealed and durable.
    Sealed {
        /// It.
        sealed: Box<SegmentSealed>,
    },
    /// A recording ended.
    Ended {
        /// How.
        ended: Box<RecordingEnded>,
    },
    /// A recording is not.
    Failed {
        /// Why.
        failed: Box<RecordingFailed>,
    },
    /// Catalogue and object store have everything: nothing before counts any more.
    Done {
        /// Whose.
        recording: RecordingId,
    },
}

impl JournalRecord {
    /// Whose record it is.
    pub fn recording(&self) -> RecordingId {
        match self {
            Self::Intent { meta } => meta.recording,
            Self::Segment { opened } => opened.recording,
            Self::Sealed { sealed } => sealed.recording,
            Self::Ended { ended } => ended.recording,
            Self::Failed { failed } => failed.recording,
            Self::Keys { recording, .. } | Self::Answered { recording, .. } | Self::Done { recording } => *recording,
        }
    }
}

/// The open journal.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    bytes: u64,
    compacted_bytes: u64,
}

impl Journal {
    /// Opens the journal of a spool, cuts a torn end, drops what is done, and gives the rest in order.
    pub fn open(spool: &Path) -> io::Result<(Self, Vec<JournalRecord>)> {
        let path = spool.join("journal");
        let mut journal = {
            let file = OpenOptions::new().read(true).append(true).create(true).open(&path)?;
            Self { path, file, bytes: 0, compacted_bytes: 0 }
        };
        let records = journal.compact()?;
        Ok((journal, records))
    }

    /// Adds records; they are durable only after `sync`.
    pub fn append(&mut self, records: &[JournalRecord]) -> io::Result<()> {
        let mut bytes = Vec::new();
        for record in records {
            frame(record, &mut bytes)?;
        }
        if let Err(error) = self.file.write_all(&bytes) {
            // Half a record would hide every later one: cut it off again.
            self.file.set_len(self.bytes)?;
            return Err(error);
        }
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Makes everything durable that was appended.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Whether it has grown so far that `compact` is worth its time.
    pub const fn is_large(&self) -> bool {
        self.bytes > COMPACT_BYTES && self.bytes > 2 * self.compacted_bytes
    }

    /// Rewrites the file without what is done: what is left.
    pub fn compact(&mut self) -> io::Result<Vec<JournalRecord>> {
        let mut bytes = Vec::new();
        self.file.seek(SeekFrom::Start(0))?;
        self.file.read_to_end(&mut bytes)?;
        let mut records = parse(&bytes);
        let done: BTreeSet<RecordingId> =
            records.iter().filter(|r| matches!(r, JournalRecord::Done { .. })).map(JournalRecord::recording).collect();
        records.retain(|record| !done.contains(&record.recording()));
        let mut kept = Vec::new();
        for record in &records {
            frame(record, &mut kept)?;
        }
        let temporary = self.path.with_extension("new");
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(&temporary)?;
        file.set_len(0)?;
        file.write_all(&kept)?;
        file.sync_all()?;
        fs::rename(&temporary, &self.path)?;
        if let Some(spool) = self.path.parent() {
            File::open(spool)?.sync_all()?;
        }
        self.file = file;
        self.bytes = kept.len() as u64;
        self.compacted_bytes = self.bytes;
        Ok(records)
    }
}

fn frame(record: &JournalRecord, to: &mut Vec<u8>) -> io::Result<()> {
    let json = serde_json::to_vec(record)?;
    let len = u32::try_from(json.len()).map_err(io::Error::other)?;
    to.extend_from_slice(&len.to_le_bytes());
    to.extend_from_slice(&crc32c::crc32c(&json).to_le_bytes());
    to.extend_from_slice(&json);
    Ok(())
}

/// The records up to the first that is torn.
fn parse(bytes: &[u8]) -> Vec<JournalRecord> {
    let mut records = Vec::new();
    let mut rest = bytes;
    while let Some((json, after)) = next_record(rest) {
        let Ok(record) = serde_json::from_slice(json) else { break };
        records.push(record);
        rest = after;
    }
    if !rest.is_empty() {
        tracing::warn!(bytes = rest.len(), "the recording journal has a torn end, which is cut off");
    }
    records
}

fn next_record(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<4>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let len = usize::try_from(u32::from_le_bytes(*len)).ok().filter(|len| *len <= RECORD_BYTES_MAX)?;
    let (json, after) = rest.split_at_checked(len)?;
    (crc32c::crc32c(json) == u32::from_le_bytes(*crc)).then_some((json, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> RecordingId {
        RecordingId::from_uuid(uuid::Uuid::from_bytes([n; 16]))
    }

    fn answered(n: u8) -> JournalRecord {
        JournalRecord::Answered { recording: id(n), at: WallTime(7) }
    }

    #[test]
    fn a_torn_end_is_cut_and_what_follows_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, left) = Journal::open(dir.path()).unwrap();
        assert!(left.is_empty());
        journal.append(&[answered(1), answered(2)]).unwrap();
        journal.sync().unwrap();
        let path = dir.path().join("journal");
        let whole = fs::read(&path).unwrap();
        for cut in 1..whole.len() / 2 {
            fs::write(&path, &whole[..whole.len() - cut]).unwrap();
            let (mut journal, left) = Journal::open(dir.path()).unwrap();
            assert_eq!(left, [answered(1)]);
            journal.append(&[answered(3)]).unwrap();
            assert_eq!(Journal::open(dir.path()).unwrap().1, [answered(1), answered(3)]);
        }
    }

    #[test]
    fn what_is_done_leaves_the_journal() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, _left) = Journal::open(dir.path()).unwrap();
        journal.append(&[answered(1), answered(2), JournalRecord::Done { recording: id(1) }]).unwrap();
        assert_eq!(journal.compact().unwrap(), [answered(2)]);
        journal.append(&[answered(3)]).unwrap();
        assert_eq!(Journal::open(dir.path()).unwrap().1, [answered(2), answered(3)]);
    }
}
