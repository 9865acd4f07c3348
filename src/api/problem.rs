//! Errors as RFC 9457 says, and the one table from code to status.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// A refused request: a stable code, and what a person may read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    kind: Kind,
    detail: Option<String>,
    retry_after: Option<Duration>,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $status:ident, $title:literal;)*) => {
        /// Every problem that this edge knows.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub(super) enum Kind {
            $($(#[$doc])* $name,)*
        }

        impl Kind {
            const fn entry(self) -> (&'static str, StatusCode, &'static str) {
                match self {
                    $(Self::$name => ($code, StatusCode::$status, $title),)*
                }
            }
        }
    };
}

kinds! {
    /// The request's body or query cannot be read.
    BadRequest = "request.invalid", BAD_REQUEST, "The request cannot be understood";
    /// It is too large.
    TooLarge = "request.too_large", PAYLOAD_TOO_LARGE, "The request is too large";
    /// It is not JSON.
    NotJson = "request.not_json", UNSUPPORTED_MEDIA_TYPE, "The request must be JSON";
    /// No such page.
    NotFound = "not_found", NOT_FOUND, "There is nothing here";
    /// Not with this method.
    Method = "request.method", METHOD_NOT_ALLOWED, "This cannot be done here";
    /// From a page that is not ours.
    ForeignOrigin = "request.foreign_origin", FORBIDDEN, "The request comes from a page that is not allowed";
    /// User name or password is wrong.
    LoginRefused = "login.refused", UNAUTHORIZED, "The user name or the password is wrong";
    /// The account may not log in.
    LoginDisabled = "login.disabled", FORBIDDEN, "The account may not log in";
    /// In no group that bears a role.
    LoginWithoutRole = "login.no_role", FORBIDDEN, "The account has no role here";
    /// The budget of binds is spent.
    LoginTooMany = "login.too_many", TOO_MANY_REQUESTS, "Too many attempts for this user";
    /// The directory is down.
    DirectoryDown = "directory.unavailable", SERVICE_UNAVAILABLE, "The directory cannot be asked now";
    /// Not logged in.
    SessionMissing = "session.missing", UNAUTHORIZED, "Nobody is logged in";
    /// The session's time is over.
    SessionExpired = "session.expired", UNAUTHORIZED, "The session has expired";
    /// The session was ended.
    SessionEnded = "session.ended", UNAUTHORIZED, "The session was ended";
    /// Not with these roles.
    Forbidden = "auth.forbidden", FORBIDDEN, "The role does not allow this";
    /// The database is down.
    CatalogDown = "catalog.unavailable", SERVICE_UNAVAILABLE, "The recordings cannot be searched now";
    /// The audit log cannot be written.
    AuditDown = "audit.unavailable", SERVICE_UNAVAILABLE, "The access cannot be recorded now, so it is not given";
    /// This node has no private key.
    VaultAbsent = "vault.absent", SERVICE_UNAVAILABLE, "This node cannot open recordings";
    /// The recording has no audio yet.
    AudioNotReady = "audio.not_ready", CONFLICT, "The recording is not finished";
    /// It never will.
    AudioAbsent = "audio.absent", NOT_FOUND, "The recording has no audio";
    /// Its bytes are not those that were recorded.
    AudioDamaged = "audio.damaged", INTERNAL_SERVER_ERROR, "The recording is damaged";
    /// Its bytes cannot be read now.
    AudioDown = "audio.unavailable", SERVICE_UNAVAILABLE, "The recording cannot be read now";
    /// The range lies outside.
    Range = "audio.range", RANGE_NOT_SATISFIABLE, "The range lies outside the recording";
}

impl Problem {
    pub(super) const fn new(kind: Kind) -> Self {
        Self { kind, detail: None, retry_after: None }
    }

    /// Says more to the person who asks.
    pub(super) fn because(kind: Kind, detail: impl Into<String>) -> Self {
        Self { detail: Some(detail.into()), ..Self::new(kind) }
    }

    /// The same may succeed after this time.
    pub(super) fn retry_after(kind: Kind, after: Duration) -> Self {
        Self { retry_after: Some(after), ..Self::new(kind) }
    }

    /// The stable code.
    pub const fn code(&self) -> &'static str {
        self.kind.entry().0
    }

    /// The HTTP status.
    pub const fn status(&self) -> StatusCode {
        self.kind.entry().1
    }
}

impl From<Kind> for Problem {
    fn from(kind: Kind) -> Self {
        Self::new(kind)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (code, status, title) = self.kind.entry();
        let mut body = json!({ "type": format!("urn:tandem:problem:{code}"), "title": title, "status": status.as_u16(), "code": code });
        if let (Some(detail), Some(object)) = (&self.detail, body.as_object_mut()) {
            object.insert("detail".to_owned(), json!(detail));
        }
        let mut response = (status, body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(after) = self.retry_after {
            // Rounded up, so that who waits as told is not refused again.
            headers
                .insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs() + u64::from(after.subsec_nanos() > 0)));
        }
        response
    }
}

/// For every path that is none.
pub(super) async fn no_such_page() -> Problem {
    std::future::ready(Problem::new(Kind::NotFound)).await
}

/// For every method that a path does not know.
pub(super) async fn no_such_method() -> Problem {
    std::future::ready(Problem::new(Kind::Method)).await
}
