//! Login, logout, and "who am I".

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse, Response};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::api::ApiState;
use crate::api::cookies;
use crate::api::guard::{Peer, Session};
use crate::api::problem::Kind;
use crate::api::problem::Problem;
use crate::auth::io::audit::AuditAction;
use crate::auth::io::audit::AuditEntry;
use crate::auth::io::directory::DirectoryError;
use crate::auth::lockout::Admission;
use crate::auth::session_token::Claims;
use crate::auth::session_token::seconds;
use crate::auth::user_name::UserName;
use crate::auth::{Identity, Role};
use crate::clock::WallTime;
use crate::telemetry::metrics::LOGINS;

#[derive(Deserialize)]
pub(super) struct LoginRequest {
    username: String,
    password: String,
}

/// Who is logged in, with a fresh token for `session.open`.
#[derive(Debug, Serialize)]
struct SessionAnswer {
    user: String,
    display_name: String,
    extension: Option<String>,
    roles: Vec<Role>,
    signaling_token: String,
    /// Seconds that the signalling token is good for.
    expires_in: u64,
    /// Seconds that the session is good for.
    session_expires_in: u64,
}

/// `POST /api/v1/login`.
pub(super) async fn login(
    State(state): State<ApiState>,
    peer: Peer,
    headers: HeaderMap,
    body: Result<Json<LoginRequest>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(request) = body.map_err(|rejection| unreadable(&rejection))?;
    let password = SecretString::from(request.password);
    let user = UserName::parse(&request.username).ok_or(Kind::LoginRefused)?;

    let now = state.clock.now();
    let wall = state.clock.wall(now);
    let known_browser = cookies::value(&headers, cookies::KNOWN_BROWSER);
    if let Admission::Refused { retry_after } = state.desk.admit(&user, known_browser, now, wall) {
        metrics::counter!(LOGINS.name, "result" => "too_many").increment(1);
        return Err(Problem::retry_after(Kind::LoginTooMany, retry_after));
    }
    let identity = judged(&state, &user, &password).await?;
    if identity.roles.is_empty() {
        return Err(Problem::new(Kind::LoginWithoutRole));
    }
    metrics::counter!(LOGINS.name, "result" => "accepted").increment(1);
    record(&state, &identity, AuditAction::Login, peer);

    let tokens = state.desk.open(identity, wall);
    let config = state.desk.config();
    let set = AppendHeaders(
        [
            cookies::set(cookies::SESSION, &tokens.session, config.session_lifetime),
            cookies::set(cookies::KNOWN_BROWSER, &tokens.known_browser, config.known_browser_lifetime),
        ]
        .into_iter()
        .flatten()
        .map(|cookie| (header::SET_COOKIE, cookie)),
    );
    Ok((set, Json(answer(&state, &tokens.claims, tokens.signaling, wall))).into_response())
}

/// `POST /api/v1/logout`: ends the session and its sockets.
pub(super) async fn logout(State(state): State<ApiState>, peer: Peer, Session(claims): Session) -> Response {
    state.desk.revoke(&claims, state.clock.wall(state.clock.now()));
    record(&state, &claims.identity, AuditAction::Logout, peer);
    let removed = cookies::set(cookies::SESSION, "", std::time::Duration::ZERO);
    let headers = AppendHeaders(removed.into_iter().map(|cookie| (header::SET_COOKIE, cookie)));
    std::future::ready((StatusCode::NO_CONTENT, headers).into_response()).await
}

/// `GET /api/v1/session`.
pub(super) async fn session(State(state): State<ApiState>, Session(claims): Session) -> Response {
    let wall = state.clock.wall(state.clock.now());
    let token = state.desk.signaling_token(&claims, wall);
    std::future::ready(Json(answer(&state, &claims, token, wall)).into_response()).await
}

/// Asks the directory, and settles the attempt with the budget.
async fn judged(state: &ApiState, user: &UserName, password: &SecretString) -> Result<Identity, Problem> {
    let result = state.directory.authenticate(user, password).await;
    let (label, problem) = match result {
        Ok(identity) => {
            state.desk.succeeded(user);
            return Ok(identity);
        }
        Err(DirectoryError::InvalidCredentials) => ("refused", Problem::new(Kind::LoginRefused)),
        Err(DirectoryError::Disabled) => {
            state.desk.not_judged(user);
            ("disabled", Problem::new(Kind::LoginDisabled))
        }
        Err(error @ (DirectoryError::Unavailable(_) | DirectoryError::Misconfigured(_))) => {
            state.desk.not_judged(user);
            tracing::error!(%error, "a login could not be judged");
            ("unavailable", Problem::retry_after(Kind::DirectoryDown, std::time::Duration::from_secs(5)))
        }
    };
    metrics::counter!(LOGINS.name, "result" => label).increment(1);
    Err(problem)
}

/// A login must not fail or wait for the database: agents go on working without it. So this line is best effort.
fn record(state: &ApiState, identity: &Identity, action: AuditAction, peer: Peer) {
    let entry = AuditEntry {
        actor: identity.user.clone(),
        action,
        object: String::new(),
        peer: peer.text(),
        detail: String::new(),
    };
    let audit = std::sync::Arc::clone(&state.audit);
    drop(tokio::spawn(async move {
        if let Err(error) = audit.append(&entry).await {
            tracing::warn!(%error, action = action.as_str(), "not in the audit log");
        }
    }));
}

fn answer(state: &ApiState, claims: &Claims, signaling_token: String, wall: WallTime) -> SessionAnswer {
    let session_expires_in = claims.expires_s.saturating_sub(seconds(wall));
    let identity = &claims.identity;
    SessionAnswer {
        user: identity.user.clone(),
        display_name: identity.display_name.clone(),
        extension: identity.extension.as_ref().map(ToString::to_string),
        roles: identity.roles.iter().copied().collect(),
        signaling_token,
        expires_in: state.desk.config().signaling_lifetime.as_secs().min(session_expires_in),
        session_expires_in,
    }
}

fn unreadable(rejection: &JsonRejection) -> Problem {
    match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(Kind::TooLarge),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => Problem::new(Kind::NotJson),
        _ => Problem::because(Kind::BadRequest, "expected {\"username\", \"password\"}"),
    }
}
