//! A recording's audio as a virtual WAV file, whole or by range.

use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;

use crate::api::ApiState;
use crate::api::guard::{Peer, Session};
use crate::api::problem::Kind;
use crate::api::problem::Problem;
use crate::api::range::Asked;
use crate::api::range::asked;
use crate::api::recordings::audit;
use crate::api::recordings::authorized;
use crate::auth::io::audit::AuditAction;
use crate::ids::RecordingId;
use crate::limits::HTTP_AUDIO_READ_BYTES;
use crate::recording::model::RecordingState;

/// Opens recordings: the object store, the catalogue's wrapped keys and the vault's private key together.
#[async_trait]
pub trait AudioSource: Send + Sync + fmt::Debug {
    /// Finds the recording's bytes and opens its keys.
    async fn open(&self, recording: RecordingId) -> Result<Box<dyn Audio>, AudioError>;
}

/// One recording as the bytes of a WAV file that is nowhere written.
#[async_trait]
pub trait Audio: Send + fmt::Debug {
    /// Length of the whole file in bytes; it never changes.
    fn length(&self) -> u64;

    /// The bytes of `range`, all of them; the range lies inside the file.
    async fn read(&mut self, range: Range<u64>) -> Result<Bytes, AudioError>;
}

/// Why there is no audio.
#[derive(Debug, thiserror::Error)]
pub enum AudioError {
    /// There is no key to open it with, or it was erased.
    #[error("the recording cannot be opened")]
    Locked,
    /// What is stored is not what was recorded.
    #[error("the recording is damaged: {0}")]
    Damaged(String),
    /// It cannot be read now.
    #[error("the recording cannot be read: {0}")]
    Unavailable(String),
}

impl AudioError {
    const fn kind(&self) -> Kind {
        match self {
            Self::Locked => Kind::VaultAbsent,
            Self::Damaged(_) => Kind::AudioDamaged,
            Self::Unavailable(_) => Kind::AudioDown,
        }
    }
}

/// `GET /api/v1/recordings/{id}/audio`.
pub(super) async fn play(
    State(state): State<ApiState>,
    peer: Peer,
    session: Session,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let row = authorized(&state, &session, &id).await?;
    let recording = row.meta.recording;
    match row.state {
        RecordingState::Sealed | RecordingState::Stored => {}
        RecordingState::Intent | RecordingState::Spooling => return Err(Kind::AudioNotReady.into()),
        RecordingState::Failed => return Err(Kind::AudioAbsent.into()),
    }
    let source = state.audio.as_ref().ok_or(Kind::VaultAbsent)?;
    let mut audio = source.open(recording).await.map_err(|error| unreadable(&error, recording))?;

    let length = audio.length();
    let (status, range) = match asked(one_range(&headers), length) {
        Asked::Whole => (StatusCode::OK, 0..length),
        Asked::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        Asked::Unsatisfiable => {
            let mut response = Problem::new(Kind::Range).into_response();
            insert(response.headers_mut(), header::CONTENT_RANGE, &format!("bytes */{length}"));
            return Ok(response);
        }
    };
    let detail = format!("bytes {}-{}/{length}", range.start, range.end.saturating_sub(1));
    // Committed before the first byte is even decrypted.
    audit(&state, &session, AuditAction::PlayRecording, recording.to_string(), peer, detail.clone()).await?;
    let first = read_next(&mut audio, range.clone()).await.map_err(|error| unreadable(&error, recording))?;

    let mut response = (status, body(audio, first, range.clone(), recording)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("audio/wav"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    insert(headers, header::CONTENT_DISPOSITION, &format!("inline; filename=\"{recording}.wav\""));
    if status == StatusCode::PARTIAL_CONTENT {
        insert(headers, header::CONTENT_RANGE, &detail);
    }
    Ok(response)
}

/// The rest after `first`, piece by piece. An error in the middle breaks the connection: a short file is no file.
fn body(audio: Box<dyn Audio>, first: Bytes, range: Range<u64>, recording: RecordingId) -> Body {
    let rest = range.start + first.len() as u64..range.end;
    let state = (audio, Some(first), rest);
    Body::from_stream(stream::try_unfold(state, move |(mut audio, first, rest)| async move {
        if let Some(first) = first {
            return Ok(Some((first, (audio, None, rest))));
        }
        if rest.is_empty() {
            return Ok(None);
        }
        let bytes = read_next(&mut audio, rest.clone()).await.inspect_err(|error| {
            tracing::error!(%error, %recording, "playback broke off");
        })?;
        let rest = rest.start + bytes.len() as u64..rest.end;
        Ok::<_, AudioError>(Some((bytes, (audio, None, rest))))
    }))
}

/// The next piece of `rest`, whole.
async fn read_next(audio: &mut Box<dyn Audio>, rest: Range<u64>) -> Result<Bytes, AudioError> {
    let piece = rest.start..rest.end.min(rest.start.saturating_add(HTTP_AUDIO_READ_BYTES));
    let wanted = piece.end - piece.start;
    let bytes = audio.read(piece).await?;
    if bytes.len() as u64 == wanted {
        Ok(bytes)
    } else {
        Err(AudioError::Damaged(format!("{} bytes instead of {wanted}", bytes.len())))
    }
}

fn unreadable(error: &AudioError, recording: RecordingId) -> Problem {
    tracing::error!(%error, %recording, "a recording could not be played");
    error.kind().into()
}

/// The value of a `Range` header that is there once.
fn one_range(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::RANGE).iter();
    let first = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(first)
}

fn insert(headers: &mut HeaderMap, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
