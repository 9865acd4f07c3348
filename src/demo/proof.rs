//! Proves that a recording is what was said: found in PostgreSQL, decrypted through the interface, compared.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use sqlx::{Connection as _, PgConnection, Row as _};

use crate::demo::http::{self, Login};
use crate::demo::tone::ToneFigure;
use crate::demo::wav::Wav;

/// How long a finished call's recording may take to reach the store and the index.
const PATIENCE: Duration = Duration::from_secs(20);
/// The other channel's tone must not last longer than this in a channel, in seconds.
const CROSSTALK_MAX: f64 = 0.1;

/// What a recording was found to be.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordingFigures {
    /// Its identifier.
    pub id: String,
    /// Its state in PostgreSQL.
    pub state: String,
    /// Length in seconds, as decrypted.
    pub seconds: f64,
    /// The agent's tone on channel 0.
    pub agent: ToneFigure,
    /// The PBX's tone on channel 1.
    pub pbx: ToneFigure,
}

/// The tones that a call carried.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tones {
    /// Sent by the agent: channel 0.
    pub agent_hz: f64,
    /// Sent by the PBX: channel 1.
    pub pbx_hz: f64,
    /// Each must be there for at least this long, in seconds.
    pub seconds_min: f64,
}

/// Waits until PostgreSQL has a call's recording as stored; its identifier and state.
pub async fn find_in_postgresql(url: &str, call_id: &str) -> Result<(String, String)> {
    let mut connection = PgConnection::connect(url).await.context("no connection to the demo's PostgreSQL")?;
    let query = "SELECT recording_id::text AS id, state::text AS state FROM recording WHERE call_id = $1::uuid";
    let mut last = "none".to_owned();
    let looking = async {
        let mut pause = tokio::time::interval(Duration::from_millis(200));
        loop {
            pause.tick().await;
            let row = sqlx::query(query).bind(call_id).fetch_optional(&mut connection).await?;
            let Some(row) = row else { continue };
            let state: String = row.try_get("state")?;
            if state.eq_ignore_ascii_case("stored") {
                return anyhow::Ok((row.try_get("id")?, state));
            }
            last = state;
        }
    };
    let found = tokio::time::timeout(PATIENCE, looking).await;
    found.with_context(|| {
        format!("no stored recording of call {call_id} in PostgreSQL after {PATIENCE:?}; state: {last}")
    })?
}

/// How many recordings PostgreSQL has as stored, and their identifiers.
pub async fn stored_in_postgresql(url: &str) -> Result<Vec<String>> {
    let mut connection = PgConnection::connect(url).await.context("no connection to PostgreSQL")?;
    let query = "SELECT recording_id::text AS id FROM recording WHERE state = 'stored' ORDER BY recording_id";
    let rows = sqlx::query(query).fetch_all(&mut connection).await?;
    Ok(rows.iter().map(|row| row.try_get("id")).collect::<Result<_, _>>()?)
}

/// Fetches a recording's audio as an officer, who must also find it in the list.
pub async fn decrypt(gateway: SocketAddr, officer: &Login, recording_id: &str) -> Result<Wav> {
    let headers = [("cookie", officer.cookie.as_str())];
    let list = http::request(gateway, "GET", "/api/v1/recordings", &headers, b"").await?;
    ensure!(list.status == 200, "the list of recordings: {} {}", list.status, list.text());
    let list: Value = serde_json::from_slice(&list.body)?;
    ensure!(list.to_string().contains(recording_id), "recording {recording_id} is not in the officer's list");
    audio(gateway, officer, recording_id).await
}

/// Fetches a recording's audio.
pub async fn audio(gateway: SocketAddr, officer: &Login, recording_id: &str) -> Result<Wav> {
    let headers = [("cookie", officer.cookie.as_str())];
    let path = format!("/api/v1/recordings/{recording_id}/audio");
    let audio = http::request(gateway, "GET", &path, &headers, b"").await?;
    ensure!(audio.status == 200, "the recording's audio: {} {}", audio.status, audio.text());
    Wav::parse(&audio.body)
}

/// Whoever has no right to a recording must not learn that it is there.
pub async fn check_refused(gateway: SocketAddr, somebody: &Login, recording_id: &str) -> Result<()> {
    let path = format!("/api/v1/recordings/{recording_id}/audio");
    let audio = http::request(gateway, "GET", &path, &[("cookie", somebody.cookie.as_str())], b"").await?;
    if matches!(audio.status, 403 | 404) {
        return Ok(());
    }
    bail!("an agent got {} for a recording's audio", audio.status)
}

/// Compares a recording with what was sent: each tone on its own channel, and only there.
pub fn compare(id: String, state: String, audio: &Wav, tones: Tones) -> Result<RecordingFigures> {
    ensure!(audio.channels == 2, "the recording has {} channels", audio.channels);
    let (agent_side, pbx_side) = (audio.channel(0), audio.channel(1));
    let agent = ToneFigure::of(&agent_side, audio.rate, tones.agent_hz);
    let pbx = ToneFigure::of(&pbx_side, audio.rate, tones.pbx_hz);
    ensure!(agent.seconds >= tones.seconds_min, "channel 0 of the recording, where the agent speaks: {agent}");
    ensure!(pbx.seconds >= tones.seconds_min, "channel 1 of the recording, which the agent hears: {pbx}");
    for (samples, foreign) in [(&agent_side, tones.pbx_hz), (&pbx_side, tones.agent_hz)] {
        let figure = ToneFigure::of(samples, audio.rate, foreign);
        ensure!(figure.seconds <= CROSSTALK_MAX, "a tone on the other side's channel: {figure}");
    }
    Ok(RecordingFigures { id, state, seconds: audio.seconds(), agent, pbx })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::tone::Sine;

    const TONES: Tones = Tones { agent_hz: 440.0, pbx_hz: 1_000.0, seconds_min: 1.5 };

    fn stereo(left: f64, right: f64) -> Wav {
        let (mut left, mut right) = (Sine::new(left, 8_000), Sine::new(right, 8_000));
        let samples = left.take(16_000).into_iter().zip(right.take(16_000)).flat_map(|(l, r)| [l, r]).collect();
        Wav { rate: 8_000, channels: 2, samples }
    }

    fn verdict(audio: &Wav) -> Result<RecordingFigures> {
        compare("id".into(), "STORED".into(), audio, TONES)
    }

    #[test]
    fn each_tone_on_its_channel_passes() {
        let figures = verdict(&stereo(440.0, 1_000.0)).unwrap();
        assert_eq!((figures.seconds, figures.agent.seconds, figures.pbx.seconds), (2.0, 2.0, 2.0));
    }

    #[test]
    fn swapped_missing_and_reflected_tones_fail() {
        for (left, right) in [(1_000.0, 440.0), (440.0, 440.0), (1_000.0, 1_000.0), (440.0, 700.0)] {
            verdict(&stereo(left, right)).unwrap_err();
        }
        verdict(&Wav { rate: 8_000, channels: 2, samples: vec![0; 32_000] }).unwrap_err();
        verdict(&Wav { channels: 1, ..stereo(440.0, 1_000.0) }).unwrap_err();
    }
}
