//! The list of recordings and one recording's row, for the compliance role.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::api::ApiState;
use crate::api::guard::{Peer, Session};
use crate::api::problem::Kind;
use crate::api::problem::Problem;
use crate::auth::Role;
use crate::auth::io::audit::AuditAction;
use crate::auth::io::audit::AuditEntry;
use crate::clock::WallTime;
use crate::ids::Extension;
use crate::ids::RecordingId;
use crate::recording::io::catalog::CatalogError;
use crate::recording::model::{ListCursor, NumberFilter, RecordingFilter, RecordingRow, RecordingState};
use crate::recording::{CallDirection, Obligation};

/// The query of a search. Every field narrows.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Search {
    from: Option<String>,
    until: Option<String>,
    agent: Option<String>,
    number: Option<String>,
    number_prefix: Option<String>,
    number_part: Option<String>,
    state: Option<String>,
    cursor: Option<String>,
    limit: Option<u32>,
}

#[derive(Debug, Serialize)]
struct Page {
    items: Vec<RecordingAnswer>,
    /// For `cursor`: the page after this one. None at the end.
    next: Option<String>,
}

/// One recording, for a person's eyes.
#[derive(Debug, Serialize)]
struct RecordingAnswer {
    id: RecordingId,
    call_id: crate::ids::CallId,
    session_id: String,
    node_id: String,
    started_at: String,
    answered_at: Option<String>,
    ended_at: Option<String>,
    /// Length of the audio in milliseconds.
    duration_ms: u64,
    agent: String,
    agent_user: String,
    agent_name: String,
    remote_number: String,
    remote_name: Option<String>,
    direction: &'static str,
    trunk: String,
    obligation: &'static str,
    state: &'static str,
    end_reason: Option<String>,
    sealed_by: Option<&'static str>,
    failure: Option<&'static str>,
}

/// `GET /api/v1/recordings`.
pub(super) async fn list(
    State(state): State<ApiState>,
    peer: Peer,
    session: Session,
    query: Result<Query<Search>, QueryRejection>,
) -> Result<Response, Problem> {
    session.require(Role::Compliance)?;
    let Query(search) = query.map_err(|rejection| Problem::because(Kind::BadRequest, rejection.body_text()))?;
    let filter = filter(&search)?;
    let rows = state.catalog.list(&filter).await.map_err(|error| catalog_down(&error))?;
    audit(&state, &session, AuditAction::ListRecordings, String::new(), peer, format!("{search:?}")).await?;

    let full = u32::try_from(rows.len()).is_ok_and(|count| count >= filter.page_rows());
    let next = rows.last().filter(|_| full).map(|row| cursor_text(row.meta.started, row.meta.recording));
    Ok(Json(Page { items: rows.into_iter().map(answer).collect(), next }).into_response())
}

/// `GET /api/v1/recordings/{id}`.
pub(super) async fn read(
    State(state): State<ApiState>,
    peer: Peer,
    session: Session,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let row = authorized(&state, &session, &id).await?;
    audit(&state, &session, AuditAction::ReadRecording, row.meta.recording.to_string(), peer, String::new()).await?;
    Ok(Json(answer(row)).into_response())
}

/// The recording, for those who may have it. For everybody else it is not there, whether it is or not.
pub(super) async fn authorized(state: &ApiState, session: &Session, id: &str) -> Result<RecordingRow, Problem> {
    if !session.0.identity.has(Role::Compliance) {
        return Err(Problem::new(Kind::NotFound));
    }
    let id: RecordingId = id.parse().ok().ok_or(Kind::NotFound)?;
    let row = state.catalog.find(id).await.map_err(|error| catalog_down(&error))?;
    row.ok_or_else(|| Kind::NotFound.into())
}

/// Commits the line; without it nothing is served.
pub(super) async fn audit(
    state: &ApiState,
    session: &Session,
    action: AuditAction,
    object: String,
    peer: Peer,
    detail: String,
) -> Result<(), Problem> {
    let entry = AuditEntry { actor: session.0.identity.user.clone(), action, object, peer: peer.text(), detail };
    match state.audit.append(&entry).await {
        Ok(_receipt) => Ok(()),
        Err(error) => {
            tracing::error!(%error, action = action.as_str(), "access refused: it cannot be recorded");
            Err(Kind::AuditDown.into())
        }
    }
}

fn catalog_down(error: &CatalogError) -> Problem {
    tracing::error!(%error, "the catalogue did not answer a search");
    Kind::CatalogDown.into()
}

fn filter(search: &Search) -> Result<RecordingFilter, Problem> {
    let bad = |field: &str, what: &str| Problem::because(Kind::BadRequest, format!("{field}: {what}"));
    let time = |field: &str, text: &Option<String>| -> Result<Option<WallTime>, Problem> {
        let parsed = text
            .as_deref()
            .map(|text| parse_time(text).ok_or_else(|| bad(field, "expected a time such as 2026-01-31T12:00:00Z")));
        parsed.transpose()
    };
    let number = match (&search.number, &search.number_prefix, &search.number_part) {
        (None, None, None) => None,
        (Some(exact), None, None) => Some(NumberFilter::Exact(exact.clone())),
        (None, Some(prefix), None) => Some(NumberFilter::Prefix(prefix.clone())),
        (None, None, Some(part)) => Some(NumberFilter::Substring(part.clone())),
        _ => return Err(bad("number", "only one of number, number_prefix, number_part")),
    };
    let state = search
        .state
        .as_deref()
        .map(|word| RecordingState::parse(word).ok_or_else(|| bad("state", "unknown")))
        .transpose()?;
    let after = search
        .cursor
        .as_deref()
        .map(|text| parse_cursor(text).ok_or_else(|| bad("cursor", "not one of ours")))
        .transpose()?;
    Ok(RecordingFilter {
        from: time("from", &search.from)?,
        until: time("until", &search.until)?,
        agent: search.agent.as_deref().map(Extension::new),
        number,
        state,
        after,
        limit: search.limit.unwrap_or_default(),
    })
}

fn parse_time(text: &str) -> Option<WallTime> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    u64::try_from(time.unix_timestamp_nanos()).ok().map(WallTime)
}

fn time_text(time: WallTime) -> String {
    // RFC 3339 can say every time up to the year 9999, and `to_utc` gives no other.
    time.to_utc().format(&Rfc3339).unwrap_or_default()
}

fn cursor_text(started: WallTime, recording: RecordingId) -> String {
    format!("{}.{recording}", started.0)
}

fn parse_cursor(text: &str) -> Option<ListCursor> {
    let (started, recording) = text.split_once('.')?;
    Some(ListCursor { started: WallTime(started.parse().ok()?), recording: recording.parse().ok()? })
}

fn answer(row: RecordingRow) -> RecordingAnswer {
    let meta = row.meta;
    RecordingAnswer {
        id: meta.recording,
        call_id: meta.call,
        session_id: meta.session_id.to_string(),
        node_id: meta.node.to_string(),
        started_at: time_text(meta.started),
        answered_at: row.answered.map(time_text),
        ended_at: row.ended.map(time_text),
        duration_ms: row.samples.saturating_mul(1_000).checked_div(u64::from(row.sample_rate)).unwrap_or_default(),
        agent: meta.agent.to_string(),
        agent_user: meta.agent_user,
        agent_name: meta.agent_name,
        remote_number: meta.remote_number,
        remote_name: meta.remote_name,
        direction: match meta.direction {
            CallDirection::Inbound => "inbound",
            CallDirection::Outbound => "outbound",
        },
        trunk: meta.trunk.to_string(),
        obligation: match meta.obligation {
            Obligation::Required => "required",
            Obligation::BestEffort => "best_effort",
            Obligation::Never => "never",
        },
        state: row.state.as_str(),
        end_reason: row.end_reason,
        sealed_by: row.sealed_by.map(crate::recording::model::SealedBy::as_str),
        failure: row.failure.map(crate::recording::model::FailureReason::as_str),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_the_way_there_and_back() {
        let recording = RecordingId::from_uuid(uuid::Uuid::from_u128(7));
        let cursor = parse_cursor(&cursor_text(WallTime(1_800_000_000_123_456_000), recording)).unwrap();
        assert_eq!(cursor, ListCursor { started: WallTime(1_800_000_000_123_456_000), recording });
        for text in ["", ".", "1", "1.", "x.y", "-1.00000000-0000-0000-0000-000000000007"] {
            assert_eq!(parse_cursor(text), None, "{text}");
        }
    }

    #[test]
    fn a_search_that_contradicts_itself_is_refused() {
        let search = Search { number: Some("1".to_owned()), number_prefix: Some("2".to_owned()), ..Search::default() };
        assert_eq!(filter(&search).unwrap_err().code(), "request.invalid");
        let search = Search { from: Some("yesterday".to_owned()), ..Search::default() };
        assert_eq!(filter(&search).unwrap_err().code(), "request.invalid");
        let search = Search { from: Some("2026-11-22T21:00:00+01:00".to_owned()), ..Search::default() };
        assert_eq!(filter(&search).unwrap().from, parse_time("2026-11-22T20:00:00Z"));
    }
}
