//! Cookies, as far as we need them (RFC 6265bis).
//!
//! The prefix `__Host-` makes the browser insist on `Secure`, `Path=/` and no `Domain`: no neighbour can set ours.
//! Chromium keeps such cookies on `http://127.0.0.1` too, which it takes for trustworthy.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};

/// The session.
pub(super) const SESSION: &str = "__Host-tandem_session";
/// The mark of an earlier login.
pub(super) const KNOWN_BROWSER: &str = "__Host-tandem_known";

/// The value of a cookie; None where it is absent, and where it is there twice, for then one of them is not ours.
pub(super) fn value<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let pairs =
        headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(';'));
    let mut values =
        pairs.filter_map(|pair| pair.trim().split_once('=')).filter(|(key, _)| *key == name).map(|(_, value)| value);
    let first = values.next()?;
    values.next().is_none().then_some(first)
}

/// A `Set-Cookie` that keeps `value` for `lifetime`; of no time, it removes the cookie.
pub(super) fn set(name: &str, value: &str, lifetime: Duration) -> Option<HeaderValue> {
    let seconds = lifetime.as_secs();
    HeaderValue::from_str(&format!("{name}={value}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite=Strict")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::COOKIE, HeaderValue::from_static(line));
        }
        headers
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        assert_eq!(value(&headers(&["a=1; __Host-tandem_session=x.y; b=2"]), SESSION), Some("x.y"));
        assert_eq!(value(&headers(&["a=1", "__Host-tandem_session=x.y"]), SESSION), Some("x.y"));
        assert_eq!(value(&headers(&["not__Host-tandem_session=x"]), SESSION), None);
    }

    #[test]
    fn a_cookie_that_is_there_twice_is_not_believed() {
        assert_eq!(value(&headers(&["__Host-tandem_session=x; __Host-tandem_session=y"]), SESSION), None);
        assert_eq!(value(&headers(&["__Host-tandem_session=x", "__Host-tandem_session=x"]), SESSION), None);
    }

    #[test]
    fn a_cookie_bears_every_attribute_of_its_prefix() {
        let line = set(SESSION, "x.y", Duration::from_mins(1)).unwrap();
        assert_eq!(line, "__Host-tandem_session=x.y; Path=/; Max-Age=60; Secure; HttpOnly; SameSite=Strict");
    }
}
