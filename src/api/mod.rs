//! The HTTP edge: login, recordings, health. Pages and the signalling socket join it by [`router`]'s second argument.

pub mod audio;
mod cookies;
mod guard;
mod health;
mod login;
mod problem;
mod range;
mod recordings;
pub mod serve;
mod vault;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use metrics_exporter_prometheus::PrometheusHandle;
use tower_http::timeout::TimeoutLayer;

use crate::api::audio::AudioSource;
use crate::auth::io::audit::AuditLog;
use crate::auth::io::desk::Desk;
use crate::auth::io::directory::Directory;
use crate::clock::Clock;
use crate::limits::HTTP_REQUEST_TIMEOUT;
use crate::limits::LOGIN_BODY_BYTES_MAX;
use crate::recording::io::catalog::Catalog;

pub use guard::{Session, is_allowed_origin};
pub use health::Dependency;
pub use problem::Problem;

/// What a browser may do here.
#[derive(Debug, Clone, Default)]
pub struct ApiConfig {
    /// Origins, exactly as a browser writes them (`https://phone.example.com`), from which requests may change anything.
    pub origins: Vec<String>,
    /// Whether metrics and the reasons of an unready dependency are told to other machines too.
    pub metrics_to_everybody: bool,
}

/// Everything that the edge needs of the rest of the house.
#[derive(Debug)]
pub struct ApiParts {
    /// What a browser may do here.
    pub config: ApiConfig,
    /// Sessions and the budget of binds.
    pub desk: Arc<Desk>,
    /// Judges passwords.
    pub directory: Arc<dyn Directory>,
    /// Written before anything is served.
    pub audit: Arc<dyn AuditLog>,
    /// The recordings.
    pub catalog: Arc<dyn Catalog>,
    /// Their audio: `recording::io::export::Vault`; None, or a vault without its private key, answers `vault.absent`.
    pub audio: Option<Arc<dyn AudioSource>>,
    /// Whose state `/readyz` tells.
    pub dependencies: Vec<Dependency>,
    /// What `/metrics` renders.
    pub metrics: Option<PrometheusHandle>,
    /// The clock.
    pub clock: Clock,
}

/// [`ApiParts`], shared by all requests.
#[derive(Debug, Clone)]
pub struct ApiState(Arc<ApiParts>);

impl ApiState {
    /// Shares the parts.
    pub fn new(parts: ApiParts) -> Self {
        Self(Arc::new(parts))
    }
}

impl std::ops::Deref for ApiState {
    type Target = ApiParts;

    fn deref(&self) -> &ApiParts {
        &self.0
    }
}

/// All routes. `more` (pages, `/api/v1/signal`) gets the same guards and headers, but no timeout: a socket stays open.
pub fn router(state: ApiState, more: Router) -> Router {
    let timed = TimeoutLayer::with_status_code(axum::http::StatusCode::SERVICE_UNAVAILABLE, HTTP_REQUEST_TIMEOUT);
    let api = Router::new()
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .route("/api/v1/login", post(login::login))
        .route("/api/v1/logout", post(login::logout))
        .route("/api/v1/session", get(login::session))
        .route("/api/v1/recordings", get(recordings::list))
        .route("/api/v1/recordings/{id}", get(recordings::read))
        .route("/api/v1/recordings/{id}/audio", get(audio::play))
        .layer(timed)
        .with_state(state.clone());
    api.merge(more)
        .fallback(problem::no_such_page)
        .method_not_allowed_fallback(problem::no_such_method)
        .layer(DefaultBodyLimit::max(LOGIN_BODY_BYTES_MAX))
        .layer(from_fn_with_state(state, guard::refuse_foreign_origins))
        .layer(from_fn(guard::set_headers))
}
