//! What every request passes: its origin, its session, the headers of its answer.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::api::ApiState;
use crate::api::cookies;
use crate::api::problem::Kind;
use crate::api::problem::Problem;
use crate::auth::Role;
use crate::auth::session_token::Claims;
use crate::auth::session_token::Purpose;
use crate::auth::session_token::TokenError;

/// The person behind a request, by the session cookie.
#[derive(Debug)]
pub struct Session(pub Claims);

impl Session {
    /// Refuses everybody without `role`.
    pub(super) fn require(&self, role: Role) -> Result<(), Problem> {
        if self.0.identity.has(role) { Ok(()) } else { Err(Problem::new(Kind::Forbidden)) }
    }
}

impl FromRequestParts<ApiState> for Session {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Problem> {
        let token = cookies::value(&parts.headers, cookies::SESSION).ok_or(Kind::SessionMissing)?;
        let wall = state.clock.wall(state.clock.now());
        let claims = state.desk.verify(Purpose::Session, token, wall).map_err(|error| match error {
            TokenError::Invalid => Kind::SessionMissing,
            TokenError::Expired => Kind::SessionExpired,
            TokenError::Revoked => Kind::SessionEnded,
        });
        std::future::ready(claims.map(Self).map_err(Problem::new)).await
    }
}

/// The address of the other end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) Option<SocketAddr>);

impl Peer {
    pub(super) fn text(self) -> String {
        self.0.map_or_else(|| "unknown".to_owned(), |address| address.ip().to_string())
    }

    pub(super) fn is_this_machine(self) -> bool {
        self.0.is_some_and(|address| address.ip().to_canonical().is_loopback())
    }
}

impl<S: Sync> FromRequestParts<S> for Peer {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        let address = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
        std::future::ready(Ok(Self(address))).await
    }
}

/// Whether a request names exactly one origin, and it is one of these.
pub fn is_allowed_origin(headers: &HeaderMap, origins: &[String]) -> bool {
    let mut named = headers.get_all(header::ORIGIN).iter();
    match (named.next().and_then(|origin| origin.to_str().ok()), named.next()) {
        (Some(origin), None) => origins.iter().any(|allowed| allowed == origin),
        _ => false,
    }
}

/// Nothing is changed at the wish of a foreign page. A request without an origin is no browser's, so it may pass as
/// long as it bears no cookie.
pub(super) async fn refuse_foreign_origins(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let headers = request.headers();
    let without_browser = !headers.contains_key(header::ORIGIN)
        && !headers.contains_key(header::COOKIE)
        && !headers.contains_key("sec-fetch-site");
    if changes && !without_browser && !is_allowed_origin(headers, &state.config.origins) {
        return Problem::new(Kind::ForeignOrigin).into_response();
    }
    next.run(request).await
}

/// Headers of every answer that does not say otherwise itself.
static HEADERS: [(HeaderName, &str); 8] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; \
         media-src 'self' blob:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("permissions-policy"), "microphone=(self), camera=(), geolocation=()"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Adds [`HEADERS`].
pub(super) async fn set_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in &HEADERS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}
