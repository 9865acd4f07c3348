//! Takes out of a message what nobody may read later: credentials, SRTP keys, ICE passwords, digits.
//!
//! Every masked byte becomes `*`, so that lengths stay what they were: a capture of masked messages still parses.

use serde_json::Value;

use crate::trace::head;

/// What of a digest (RFC 7616 3.4) may be read: who, where and how, never the proof.
const DIGEST_SHOWN: &[&str] =
    &["username", "realm", "uri", "algorithm", "qop", "nc", "stale", "domain", "userhash", "charset"];
/// Header fields that carry credentials, in lower case.
const CREDENTIALS: &[&str] =
    &["authorization", "proxy-authorization", "authentication-info", "proxy-authentication-info"];
/// Names in signalling JSON whose texts are secret.
const JSON_SECRET: &[&str] = &["digits", "digit", "token", "password", "credential", "secret"];

/// Masks a SIP message, whole or cut.
pub fn sip(message: &[u8]) -> Vec<u8> {
    let (head, body) = head::split(message);
    let mut masked = head.to_vec();
    let mut all_digits = false;
    for (index, range) in head::fields(head).into_iter().enumerate() {
        let Some(field) = masked.get_mut(range) else { continue };
        mask_uris(field);
        if index == 0 {
            continue;
        }
        let Some((name, value)) = head::name(field) else { continue };
        let Some(value) = field.get_mut(value..) else { continue };
        if CREDENTIALS.contains(&name.as_str()) {
            mask_credentials(value);
        }
        all_digits |= matches!(name.as_str(), "content-type" | "c") && is_bare_digits(value);
    }
    let mut body = body.to_vec();
    if all_digits || is_bare_digits(&body) {
        star(&mut body);
    } else {
        mask_lines(&mut body);
    }
    masked.extend(body);
    masked
}

/// Masks a session description, or any other text of lines.
pub fn text(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    mask_lines(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Masks the parameters of a signalling message.
pub fn json(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let mask = |(name, value): (String, Value)| {
                let value = if JSON_SECRET.contains(&name.as_str()) { star_json(value) } else { json(value) };
                (name, value)
            };
            Value::Object(members.into_iter().map(mask).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(json).collect()),
        Value::String(string) => Value::String(text(&string)),
        plain @ (Value::Null | Value::Bool(_) | Value::Number(_)) => plain,
    }
}

fn star_json(value: Value) -> Value {
    match value {
        Value::String(string) => Value::String("*".repeat(string.chars().count())),
        Value::Array(items) => Value::Array(items.into_iter().map(star_json).collect()),
        Value::Null => Value::Null,
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => Value::String("*".to_owned()),
    }
}

/// Stars everything but line ends.
fn star(bytes: &mut [u8]) {
    bytes.iter_mut().filter(|byte| !matches!(byte, b'\r' | b'\n')).for_each(|byte| *byte = b'*');
}

/// Stars from `from` up to the first byte of `ends`, or the end of the line.
fn star_until(bytes: &mut [u8], from: usize, ends: &[u8]) {
    let rest = bytes.get_mut(from..).unwrap_or_default();
    let inside = rest.iter_mut().take_while(|byte| !matches!(byte, b'\r' | b'\n') && !ends.contains(&**byte));
    inside.for_each(|byte| *byte = b'*');
}

/// Every place where `needle` ends, whatever its case.
fn ends_of(bytes: &[u8], needle: &[u8]) -> Vec<usize> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = head::position(bytes, needle, from) {
        from = at + needle.len();
        found.push(from);
    }
    found
}

/// `application/dtmf`, whose whole body is digits; `application/dtmf-relay` has lines.
fn is_bare_digits(bytes: &[u8]) -> bool {
    ends_of(bytes, b"application/dtmf").into_iter().any(|end| bytes.get(end) != Some(&b'-'))
}

/// A header field's URIs: passwords (RFC 3261 19.1.1), credentials among URI headers, digits to be dialled after
/// the answer (RFC 3966's relatives of `postd`).
fn mask_uris(field: &mut [u8]) {
    for scheme in [&b"sip:"[..], b"sips:"] {
        for start in ends_of(field, scheme) {
            let rest = field.get(start..).unwrap_or_default();
            let user_info = rest.iter().take_while(|byte| !matches!(byte, b'@' | b'>' | b'"' | b' ' | b'\r' | b'\n'));
            let length = user_info.count();
            // Where the message is cut, it may have been one.
            let is_user_info = matches!(rest.get(length), Some(b'@') | None);
            let colon = rest.iter().take(length).position(|byte| *byte == b':');
            if let Some(colon) = colon.filter(|_| is_user_info) {
                star_until(field, start + colon + 1, b"@");
            }
        }
    }
    for start in ends_of(field, b"authorization=") {
        star_until(field, start, b"&> ,;\"");
    }
    for start in ends_of(field, b"postd=") {
        star_until(field, start, b";>@ ,?\"");
    }
}

/// Everything behind the scheme, but what a digest may show.
fn mask_credentials(value: &mut [u8]) {
    let lead = value.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    let rest = value.get_mut(lead..).unwrap_or_default();
    let scheme = rest.iter().take_while(|byte| !byte.is_ascii_whitespace() && **byte != b'=').count();
    let is_info = rest.get(scheme) == Some(&b'=');
    let is_digest = rest.get(..scheme).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"digest"));
    if is_info {
        mask_parameters(rest);
    } else if is_digest {
        mask_parameters(rest.get_mut(scheme..).unwrap_or_default());
    } else {
        star(rest.get_mut(scheme..).unwrap_or_default());
    }
}

/// `name=value, name="value"`: masks the values whose names are not to be shown.
fn mask_parameters(bytes: &mut [u8]) {
    let (mut name, mut in_value, mut quoted, mut escaped, mut hide) = (Vec::new(), false, false, false, false);
    for byte in bytes {
        let plain = *byte;
        let is_mark = plain == b'"' && !escaped;
        if in_value && quoted {
            escaped = plain == b'\\' && !escaped;
            quoted = !is_mark;
        } else if in_value {
            quoted = is_mark;
            in_value = plain != b',';
        } else if plain == b'=' {
            in_value = true;
            hide = !DIGEST_SHOWN.iter().any(|shown| name.eq_ignore_ascii_case(shown.as_bytes()));
            name.clear();
            continue;
        } else {
            if !plain.is_ascii_whitespace() && plain != b',' {
                name.push(plain);
            }
            continue;
        }
        let is_value = in_value && !is_mark && !plain.is_ascii_whitespace();
        if hide && is_value {
            *byte = b'*';
        }
    }
}

/// Lines of a body: SDES keys (RFC 4568), other keys, ICE passwords, DTMF.
fn mask_lines(body: &mut [u8]) {
    for line in body.split_inclusive_mut(|byte| *byte == b'\n') {
        for start in ends_of(line, b"inline:") {
            star_until(line, start, b"| ;\t");
        }
        for name in [&b"a=ice-pwd:"[..], b"a=key-mgmt:", b"k="] {
            if line.get(..name.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(name)) {
                star_until(line, name.len(), b"");
            }
        }
        mask_signal(line);
        // KPML (RFC 4730).
        for start in ends_of(line, b"digits=\"") {
            star_until(line, start, b"\"");
        }
    }
}

/// `Signal=5` of `application/dtmf-relay`.
fn mask_signal(line: &mut [u8]) {
    let lead = line.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let name = b"signal";
    let Some(rest) = line.get(lead..).filter(|rest| rest.len() > name.len()) else { return };
    let begins = rest.get(..name.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(name));
    let gap = rest.iter().skip(name.len()).take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let equals = lead + name.len() + gap;
    if begins && line.get(equals) == Some(&b'=') {
        star_until(line, equals + 1, b"");
    }
}

#[cfg(test)]
#[path = "mask_tests.rs"]
mod tests;
