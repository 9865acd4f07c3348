//! Out of the vault: open a recording to hear it, export it with its proof, verify files and stores without any key.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

use crate::ids::RecordingId;
use crate::recording::chain::sha256;
use crate::recording::io::catalog::{Catalog, CatalogError};
use crate::recording::io::object_store::{VaultStore, VaultStoreError, file_name};
use crate::recording::io::zip::ZipWriter;
use crate::recording::model::{RecordingRow, RecordingState, SegmentRow, WrappedKey};
use crate::recording::playback::{PlayableRecording, PlayableSegment, PlaybackError};
use crate::recording::seal::{DataKey, SealError, VaultKey};
use crate::recording::serial::to_hex;
use crate::recording::verify::{FileReport, verify_file};

/// Why a recording cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// There is no such recording.
    #[error("there is no recording {0}")]
    NotFound(RecordingId),
    /// This process may record but not play: `[vault] private_key_file` is not configured.
    #[error("the vault's private key is not configured here")]
    VaultAbsent,
    /// It is not sealed yet, or there is none and a reason in the catalogue.
    #[error("the recording is in state {}", .0.as_str())]
    NotPlayable(RecordingState),
    /// The catalogue failed.
    #[error("the catalogue failed")]
    Catalog(#[from] CatalogError),
    /// The store failed.
    #[error("the recording store failed")]
    Store(#[from] VaultStoreError),
    /// The bytes found are not those of the catalogue.
    #[error("segment {segment_no} differs from what the catalogue knows of it")]
    Differs {
        /// The segment.
        segment_no: u32,
    },
    /// The data keys do not open with this vault's key.
    #[error("the data key cannot be unwrapped")]
    Key(#[source] SealError),
    /// The data key is wrapped to others only.
    #[error("no data key is wrapped to this vault's key")]
    NotARecipient,
    /// It does not decode.
    #[error("the recording cannot be decoded")]
    Playback(#[from] PlaybackError),
    /// A file cannot be read or written.
    #[error("{} cannot be read or written", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Where recordings are heard: catalogue, store, spool, and the key, where this process has it.
#[derive(Debug, Clone)]
pub struct Vault {
    catalog: Arc<dyn Catalog>,
    store: VaultStore,
    spool_dir: PathBuf,
    key: Option<Arc<VaultKey>>,
}

impl Vault {
    /// Of its parts.
    pub const fn new(
        catalog: Arc<dyn Catalog>,
        store: VaultStore,
        spool_dir: PathBuf,
        key: Option<Arc<VaultKey>>,
    ) -> Self {
        Self { catalog, store, spool_dir, key }
    }

    /// Whether this process can play.
    pub const fn is_open(&self) -> bool {
        self.key.is_some()
    }

    /// The catalogue's row. A guessed id is `NotFound`.
    pub async fn find(&self, recording: RecordingId) -> Result<RecordingRow, VaultError> {
        self.catalog.find(recording).await?.ok_or(VaultError::NotFound(recording))
    }

    /// Fetches, unwraps and checks a recording, ready to be heard. Holds its sealed bytes (10 kB a second) in memory.
    pub async fn open(&self, recording: RecordingId) -> Result<PlayableRecording, VaultError> {
        let row = self.find(recording).await?;
        let vault_key = self.key.as_deref().ok_or(VaultError::VaultAbsent)?;
        let rows = self.segments(&row).await?;
        let wrapped = self.catalog.wrapped_keys(recording).await?;
        let mut segments = Vec::with_capacity(rows.len());
        for segment in &rows {
            let keys = unwrap_keys(vault_key, &wrapped, segment.segment_no)?;
            segments.push(PlayableSegment::new(self.fetch(segment).await?, keys)?);
        }
        Ok(PlayableRecording::new(segments))
    }

    async fn segments(&self, row: &RecordingRow) -> Result<Vec<SegmentRow>, VaultError> {
        if !matches!(row.state, RecordingState::Sealed | RecordingState::Stored) {
            return Err(VaultError::NotPlayable(row.state));
        }
        let mut rows = self.catalog.segments(row.meta.recording).await?;
        rows.retain(|segment| segment.sealed.is_some());
        Ok(rows)
    }

    /// A segment's bytes, from the store or, before they are there, from the spool; checked against the catalogue.
    async fn fetch(&self, segment: &SegmentRow) -> Result<Bytes, VaultError> {
        let bytes = if let Some(object) = &segment.object {
            self.store.get(object).await?
        } else {
            let path = self.spool_dir.join(file_name(segment.recording, segment.segment_no));
            tokio::fs::read(&path).await.map(Bytes::from).map_err(|source| VaultError::File { path, source })?
        };
        match &segment.sealed {
            Some(sealed) if sha256(&[&bytes]) != sealed.sha256 => {
                Err(VaultError::Differs { segment_no: segment.segment_no })
            }
            _ => Ok(bytes),
        }
    }

    /// Writes a recording to `out` with all that proves it: a ZIP archive where the name ends with `.zip`, else a
    /// directory. `audio.wav`, `metadata.json`, the sealed files, `MANIFEST.sha256`, `VERIFY.txt`.
    pub async fn export(&self, recording: RecordingId, out: &Path) -> Result<Exported, VaultError> {
        let row = self.find(recording).await?;
        let playable = self.open(recording).await?;
        let out = out.to_owned();
        let target = out.clone();
        let written = tokio::task::spawn_blocking(move || {
            let files = export_files(&row, &playable)?;
            write_files(&out, &files).map_err(|source| VaultError::File { path: out.clone(), source })?;
            let bytes = files.iter().map(|(_, content)| content.len() as u64).sum();
            Ok(Exported { path: out, files: files.into_iter().map(|(name, _)| name).collect(), bytes })
        });
        written.await.map_err(|source| VaultError::File { path: target, source: io::Error::other(source) })?
    }
}

/// What an export wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// The archive or directory.
    pub path: PathBuf,
    /// The files in it.
    pub files: Vec<String>,
    /// Bytes of them together.
    pub bytes: u64,
}

fn unwrap_keys(vault: &VaultKey, wrapped: &[WrappedKey], segment_no: u32) -> Result<Vec<DataKey>, VaultError> {
    let ours = vault.recipient().id();
    let keys: Vec<DataKey> = wrapped
        .iter()
        .filter(|key| key.segment_no == segment_no && key.recipient == ours)
        .map(|key| vault.unwrap_key(key).map_err(VaultError::Key))
        .collect::<Result<_, _>>()?;
    if keys.is_empty() { Err(VaultError::NotARecipient) } else { Ok(keys) }
}

/// How somebody without Tandem's database checks an export.
const HOW_TO_VERIFY: &str = "\
sha256sum -c MANIFEST.sha256          checks every file of this export
tandem recordings verify *.rec        checks the sealed recording: chain, Merkle root, signatures; needs no key
The sealed files hold the same audio as audio.wav, encrypted; only they are proof.
";

fn export_files(row: &RecordingRow, playable: &PlayableRecording) -> Result<Vec<(String, Vec<u8>)>, VaultError> {
    let wav = playable.wav();
    let mut files = vec![
        ("audio.wav".to_owned(), wav.read(0..wav.len())?),
        ("metadata.json".to_owned(), metadata(row, playable)?),
        ("VERIFY.txt".to_owned(), HOW_TO_VERIFY.as_bytes().to_vec()),
    ];
    for segment in playable.segments() {
        files.push((file_name(segment.header.recording, segment.header.segment_no), segment.bytes().to_vec()));
    }
    let lines: Vec<String> =
        files.iter().map(|(name, content)| format!("{}  {name}\n", to_hex(&sha256(&[content])))).collect();
    files.push(("MANIFEST.sha256".to_owned(), lines.concat().into_bytes()));
    Ok(files)
}

fn metadata(row: &RecordingRow, playable: &PlayableRecording) -> Result<Vec<u8>, VaultError> {
    let events = playable.events()?;
    let document = serde_json::json!({ "recording": row, "events": events });
    Ok(serde_json::to_vec_pretty(&document).unwrap_or_default())
}

fn write_files(out: &Path, files: &[(String, Vec<u8>)]) -> io::Result<()> {
    if out.extension().is_some_and(|extension| extension == "zip") {
        let mut zip = ZipWriter::new(io::BufWriter::new(fs::File::create(out)?));
        for (name, content) in files {
            zip.add(name, content)?;
        }
        return zip.finish().map(drop);
    }
    fs::create_dir_all(out)?;
    files.iter().try_for_each(|(name, content)| fs::write(out.join(name), content))
}

/// What a check of one file, or of a whole store, found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// File by file.
    pub files: Vec<VerifiedFile>,
    /// Recordings whose segments do not follow one another.
    pub broken_sequences: Vec<BrokenSequence>,
}

/// One file's report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerifiedFile {
    /// The file.
    pub path: PathBuf,
    /// What was found.
    #[serde(flatten)]
    pub report: FileReport,
}

/// A segment whose predecessor is missing, or is not the one that it names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BrokenSequence {
    /// Whose.
    pub recording: RecordingId,
    /// The segment that does not follow.
    pub segment_no: u32,
}

impl VerifyReport {
    /// Whether there is something, and nothing is wrong.
    pub fn is_good(&self) -> bool {
        !self.files.is_empty()
            && self.broken_sequences.is_empty()
            && self.files.iter().all(|file| file.report.is_good())
    }
}

impl fmt::Display for VerifyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for file in &self.files {
            if file.report.recording.is_none() {
                write!(f, "{}: ", file.path.display())?;
            }
            write!(f, "{}", file.report)?;
        }
        for broken in &self.broken_sequences {
            writeln!(
                f,
                "BROKEN  {} segment {} does not follow the segment before it",
                broken.recording, broken.segment_no
            )?;
        }
        let good = self.files.iter().filter(|file| file.report.is_good()).count();
        writeln!(f, "{good} of {} files verified", self.files.len())?;
        f.write_str("tamper-evident against outsiders only: no witness outside this store is configured\n")
    }
}

/// Checks one file, or every `.rec` file below a directory. Needs no key.
pub async fn verify(path: &Path) -> Result<VerifyReport, VaultError> {
    let path = path.to_owned();
    let target = path.clone();
    let checked = tokio::task::spawn_blocking(move || {
        verify_blocking(&path).map_err(|(path, source)| VaultError::File { path, source })
    });
    checked.await.map_err(|source| VaultError::File { path: target, source: io::Error::other(source) })?
}

fn verify_blocking(path: &Path) -> Result<VerifyReport, (PathBuf, io::Error)> {
    let mut paths = Vec::new();
    collect(path, true, &mut paths)?;
    paths.sort();
    let mut files = Vec::with_capacity(paths.len());
    for path in paths {
        let bytes = fs::read(&path).map_err(|error| (path.clone(), error))?;
        files.push(VerifiedFile { path, report: verify_file(&bytes) });
    }
    let broken_sequences = if path.is_dir() { broken_sequences(&files) } else { Vec::new() };
    Ok(VerifyReport { files, broken_sequences })
}

fn collect(path: &Path, is_named: bool, found: &mut Vec<PathBuf>) -> Result<(), (PathBuf, io::Error)> {
    let failed = |error| (path.to_owned(), error);
    if !path.is_dir() {
        if is_named || path.extension().is_some_and(|extension| extension == "rec") {
            found.push(path.to_owned());
        }
        return Ok(());
    }
    for entry in fs::read_dir(path).map_err(failed)? {
        collect(&entry.map_err(failed)?.path(), false, found)?;
    }
    Ok(())
}

/// Every segment after the first must name its predecessor's Merkle root.
fn broken_sequences(files: &[VerifiedFile]) -> Vec<BrokenSequence> {
    let reports = || files.iter().map(|file| &file.report);
    let follows = |report: &FileReport| {
        reports().any(|before| {
            before.recording == report.recording
                && before.segment_no + 1 == report.segment_no
                && before.merkle_root == report.prev_segment_root
        })
    };
    reports()
        .filter(|report| report.segment_no > 0 && !follows(report))
        .filter_map(|report| Some(BrokenSequence { recording: report.recording?, segment_no: report.segment_no }))
        .collect()
}
