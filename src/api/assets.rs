//! The pages: built by Vite into `web/dist/`, embedded into the binary, served with a strict policy.

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use rust_embed::{EmbeddedFile, RustEmbed};

/// The pages' files. A binary that was built without them has none, and says so.
#[derive(RustEmbed)]
#[folder = "web/dist/"]
#[allow_missing = true]
struct Assets;

/// What a page may do: run our own scripts, talk to this host, and nothing else.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; \
    connect-src 'self'; media-src 'self' blob:; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

const SECURITY_HEADERS: [(HeaderName, HeaderValue); 6] = [
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY_POLICY)),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (
        HeaderName::from_static("permissions-policy"),
        HeaderValue::from_static("microphone=(self), speaker-selection=(self), camera=(), geolocation=()"),
    ),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
];

/// Files whose name holds a hash of their content never change.
const IMMUTABLE: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");

const NOT_BUILT: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Tandem: pages not built</title>\
    <h1>The pages are not built into this gateway</h1>\
    <p>It was compiled without them. In the source folder run <code>make demo</code>, or by hand:</p>\
    <pre>npm --prefix web ci\nnpm --prefix web run build\ncargo build</pre>\
    <p>Calls and the programming interface work without them.</p></html>";

/// `/` and `/phone`, and the files that they load.
pub fn routes() -> Router {
    Router::new()
        .route("/", get(|| async { Redirect::temporary("/phone") }))
        .route("/phone", get(|headers: HeaderMap| async move { page("phone.html", &headers) }))
        .route("/assets/{*path}", get(asset))
        .route("/favicon.svg", get(|headers: HeaderMap| async move { file("favicon.svg", NO_CACHE, &headers) }))
}

fn page(name: &str, headers: &HeaderMap) -> Response {
    if Assets::get(name).is_some() {
        return file(name, NO_CACHE, headers);
    }
    let type_and_cache = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CACHE_CONTROL, NO_CACHE),
    ];
    (StatusCode::SERVICE_UNAVAILABLE, SECURITY_HEADERS, type_and_cache, NOT_BUILT).into_response()
}

async fn asset(Path(path): Path<String>, headers: HeaderMap) -> Response {
    file(&format!("assets/{path}"), IMMUTABLE, &headers)
}

fn file(name: &str, cache: HeaderValue, request: &HeaderMap) -> Response {
    let Some(found) = safe(name).then(|| Assets::get(name)).flatten() else {
        return (StatusCode::NOT_FOUND, SECURITY_HEADERS, "not found\n").into_response();
    };
    let etag = etag(&found);
    let common = [(header::CACHE_CONTROL, cache), (header::ETAG, etag.clone())];
    if request.get(header::IF_NONE_MATCH) == Some(&etag) {
        return (StatusCode::NOT_MODIFIED, SECURITY_HEADERS, common).into_response();
    }
    let content_type = [(header::CONTENT_TYPE, HeaderValue::from_static(content_type(name)))];
    (SECURITY_HEADERS, common, content_type, Body::from(found.data)).into_response()
}

/// A name that stays within the folder: where the files are read from disk, as in a build for development, too.
fn safe(name: &str) -> bool {
    name.split('/').all(|part| !part.is_empty() && part != "." && part != "..") && !name.contains(['\\', '\0'])
}

fn etag(file: &EmbeddedFile) -> HeaderValue {
    let hash = file.metadata.sha256_hash().iter().take(16).fold(0_u128, |hash, byte| hash << 8 | u128::from(*byte));
    HeaderValue::from_str(&format!("\"{hash:032x}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

/// Only what Vite writes; anything else is a download.
fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "woff2" => "font/woff2",
        "wasm" => "application/wasm",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn a_page_is_served_or_says_how_to_build_it() {
        let response = page("phone.html", &HeaderMap::new());
        let built = Assets::get("phone.html").is_some();
        assert_eq!(response.status(), if built { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE });
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/html; charset=utf-8");
        assert_eq!(response.headers()[header::CACHE_CONTROL], "no-cache");
    }

    #[test]
    fn a_page_that_is_not_built_is_503_with_the_way_out() {
        let response = page("never-built.html", &HeaderMap::new());
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(NOT_BUILT.contains("npm --prefix web run build"));
    }

    #[test]
    fn every_answer_bears_the_policy() {
        for response in [page("phone.html", &HeaderMap::new()), file("assets/none.js", IMMUTABLE, &HeaderMap::new())] {
            let policy = response.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
            assert!(
                policy.contains("script-src 'self'")
                    && policy.contains("style-src 'self'")
                    && !policy.contains("unsafe")
            );
            assert_eq!(response.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        }
    }

    #[test]
    fn nothing_outside_the_folder_is_served() {
        for name in ["assets/../../Cargo.toml", "assets/..", "assets//etc/passwd", "assets/a\\b", "assets/\0", ""] {
            assert!(!safe(name), "{name}");
            assert_eq!(file(name, IMMUTABLE, &HeaderMap::new()).status(), StatusCode::NOT_FOUND);
        }
        assert!(safe("assets/phone-Ab12.js"));
    }

    #[test]
    fn types_are_what_a_browser_insists_on() {
        assert_eq!(content_type("assets/a.js"), "text/javascript; charset=utf-8");
        assert_eq!(content_type("assets/a.css"), "text/css; charset=utf-8");
        assert_eq!(content_type("assets/a"), "application/octet-stream");
    }
}
