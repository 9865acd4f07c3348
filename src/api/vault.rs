//! The vault's recordings as audio for [`crate::api::audio`].

use std::error::Error;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::api::audio::{Audio, AudioError, AudioSource};
use crate::ids::RecordingId;
use crate::recording::io::export::Vault;
use crate::recording::io::export::VaultError;
use crate::recording::playback::PlayableRecording;

/// One opened recording.
#[derive(Debug)]
struct Opened(Arc<PlayableRecording>);

#[async_trait]
impl AudioSource for Vault {
    async fn open(&self, recording: RecordingId) -> Result<Box<dyn Audio>, AudioError> {
        let playable = Self::open(self, recording).await.map_err(|error| refusal(&error))?;
        Ok(Box::new(Opened(Arc::new(playable))))
    }
}

#[async_trait]
impl Audio for Opened {
    fn length(&self) -> u64 {
        self.0.wav().len()
    }

    async fn read(&mut self, range: Range<u64>) -> Result<Bytes, AudioError> {
        let playable = Arc::clone(&self.0);
        // Decryption and FLAC take milliseconds: not on a thread that others wait for.
        let read = tokio::task::spawn_blocking(move || playable.wav().read(range));
        let bytes = read.await.map_err(|error| AudioError::Unavailable(error.to_string()))?;
        bytes.map(Bytes::from).map_err(|error| AudioError::Damaged(error_chain(&error)))
    }
}

fn refusal(error: &VaultError) -> AudioError {
    let reason = error_chain(error);
    match error {
        VaultError::VaultAbsent | VaultError::Key(_) | VaultError::NotARecipient => AudioError::Locked,
        VaultError::Differs { .. } | VaultError::Playback(_) => AudioError::Damaged(reason),
        VaultError::NotFound(_)
        | VaultError::NotPlayable(_)
        | VaultError::Catalog(_)
        | VaultError::Store(_)
        | VaultError::File { .. } => AudioError::Unavailable(reason),
    }
}

/// An error and its sources in one line.
fn error_chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
