//! Liveness, readiness, metrics.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::sync::watch;

use crate::api::ApiState;
use crate::api::guard::Peer;
use crate::api::problem::Kind;
use crate::api::problem::Problem;

/// Something outside this process on which it depends, and what was last seen of it.
#[derive(Debug, Clone)]
pub struct Dependency {
    /// Such as `database`.
    pub name: &'static str,
    /// Whether this node takes no new calls without it.
    pub required: bool,
    /// `Err` says what is wrong, in one clause.
    pub health: watch::Receiver<Result<(), String>>,
}

/// The process runs.
pub(super) async fn livez() -> &'static str {
    std::future::ready("live\n").await
}

/// Every dependency; 503 where a required one is missing. Reads what was last seen, so it never waits for one.
pub(super) async fn readyz(State(state): State<ApiState>, peer: Peer) -> Response {
    let tells_reasons = peer.is_this_machine() || state.config.metrics_to_everybody;
    let mut ready = true;
    let mut told = Vec::new();
    for dependency in &state.dependencies {
        let seen = dependency.health.borrow().clone();
        ready &= seen.is_ok() || !dependency.required;
        let detail = seen.as_ref().err().filter(|_| tells_reasons);
        told.push(
            json!({ "name": dependency.name, "ok": seen.is_ok(), "required": dependency.required, "detail": detail }),
        );
    }
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({ "status": if ready { "ready" } else { "not_ready" }, "dependencies": told });
    std::future::ready((status, Json(body)).into_response()).await
}

/// Prometheus' text format.
pub(super) async fn metrics(State(state): State<ApiState>, peer: Peer) -> Response {
    let allowed = peer.is_this_machine() || state.config.metrics_to_everybody;
    let answer = match &state.metrics {
        Some(handle) if allowed => {
            ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], handle.render()).into_response()
        }
        _ => Problem::new(Kind::NotFound).into_response(),
    };
    std::future::ready(answer).await
}
