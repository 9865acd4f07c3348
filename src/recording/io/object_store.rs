//! The vault: an object store that takes each segment once, and gives back what it took.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use object_store::local::LocalFileSystem;
use object_store::{ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload};

use crate::recording::chain::{Hash, sha256};
use crate::recording::model::SegmentSealed;

/// Why the vault did not take or give an object.
#[derive(Debug, thiserror::Error)]
pub enum VaultStoreError {
    /// The directory cannot be made.
    #[error("the recording store's directory cannot be made")]
    Directory(#[source] io::Error),
    /// The store failed.
    #[error("the recording store failed")]
    Store(#[source] object_store::Error),
    /// What is there is not what was put.
    #[error("the object {object} in the recording store differs from the segment")]
    Differs {
        /// The object.
        object: String,
    },
}

/// See the module.
#[derive(Debug, Clone)]
pub struct VaultStore {
    store: Arc<dyn ObjectStore>,
}

impl VaultStore {
    /// Over a local directory, which is made where it is absent. Every put is synced to disk.
    pub fn local(directory: &Path) -> Result<Self, VaultStoreError> {
        std::fs::create_dir_all(directory).map_err(VaultStoreError::Directory)?;
        let store = LocalFileSystem::new_with_prefix(directory).map_err(VaultStoreError::Store)?;
        Ok(Self { store: Arc::new(store.with_fsync(true)) })
    }

    /// Over any store.
    pub const fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self { store }
    }

    /// Puts a segment, once: what is there already, with the same hash, is success. Reads it back to be sure.
    pub async fn put(&self, object: &str, bytes: Bytes, hash: &Hash) -> Result<(), VaultStoreError> {
        let path = object_store::path::Path::from(object);
        let size = bytes.len() as u64;
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.store.put_opts(&path, PutPayload::from(bytes), options).await {
            Ok(_) | Err(object_store::Error::AlreadyExists { .. }) => {}
            Err(error) => return Err(VaultStoreError::Store(error)),
        }
        let head = self.store.head(&path).await.map_err(VaultStoreError::Store)?;
        if head.size != size || sha256(&[&self.get(object).await?]) != *hash {
            return Err(VaultStoreError::Differs { object: object.to_owned() });
        }
        Ok(())
    }

    /// An object's bytes.
    pub async fn get(&self, object: &str) -> Result<Bytes, VaultStoreError> {
        let path = object_store::path::Path::from(object);
        let found = self.store.get(&path).await.map_err(VaultStoreError::Store)?;
        found.bytes().await.map_err(VaultStoreError::Store)
    }
}

/// Where a segment lies in the store: by the day on which it began, in UTC.
pub fn object_of(sealed: &SegmentSealed) -> String {
    let day = sealed.started.to_utc().date();
    let (year, month, day) = (day.year(), u8::from(day.month()), day.day());
    format!("{year:04}/{month:02}/{day:02}/{}", file_name(sealed.recording, sealed.segment_no))
}

/// The name of a segment's file, in spool and store.
pub fn file_name(recording: crate::ids::RecordingId, segment_no: u32) -> String {
    format!("{recording}-{segment_no:04}.rec")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_segment_is_put_once_and_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let store = VaultStore::local(&dir.path().join("store")).unwrap();
        let bytes = Bytes::from_static(b"segment");
        let hash = sha256(&[&bytes]);
        store.put("2026/a.rec", bytes.clone(), &hash).await.unwrap();
        store.put("2026/a.rec", bytes.clone(), &hash).await.unwrap();
        let other = store.put("2026/a.rec", Bytes::from_static(b"another"), &sha256(&[b"another"])).await;
        assert!(matches!(other, Err(VaultStoreError::Differs { .. })));
        assert_eq!(store.get("2026/a.rec").await.unwrap(), bytes);
    }
}
