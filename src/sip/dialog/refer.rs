//! Transfers (RFC 3515, 3891, 4488 not): Replaces, Refer-To, and the status line that a NOTIFY reports.

use crate::limits;
use crate::sip::StatusCode;
use crate::sip::dialog::DialogId;
use crate::sip::message::HeaderName;
use crate::sip::message::Headers;
use crate::sip::message::NameAddr;
use crate::sip::message::Params;
use crate::sip::message::Uri;

/// The dialog that a new call takes the place of (RFC 3891 6.1), as its recipient sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaces {
    /// Our own dialog that it names.
    pub dialog: DialogId,
    /// Whether only an early dialog may be replaced.
    pub early_only: bool,
}

impl Replaces {
    /// Reads the header's value: to-tag is the recipient's own.
    pub fn parse(text: &str) -> Option<Self> {
        let (call_id, params) = text.split_once(';')?;
        let params = Params::parse_header(&format!(";{params}"))?;
        let (local, remote) = (params.value("to-tag")?, params.value("from-tag")?);
        let remote = if remote == "0" { "" } else { remote };
        Some(Self { dialog: DialogId::new(call_id.trim(), local, remote), early_only: params.contains("early-only") })
    }

    /// The header's value, as it was read.
    pub fn value(&self) -> String {
        let early_only = if self.early_only { ";early-only" } else { "" };
        let from = if self.dialog.remote_tag().is_empty() { "0" } else { self.dialog.remote_tag() };
        format!("{};to-tag={};from-tag={from}{early_only}", self.dialog.call_id(), self.dialog.local_tag())
    }

    /// The value that names `dialog`, one of ours, to its peer.
    pub fn value_for_peer(dialog: &DialogId) -> String {
        let ours = if dialog.local_tag().is_empty() { "0" } else { dialog.local_tag() };
        format!("{};to-tag={};from-tag={ours}", dialog.call_id(), dialog.remote_tag())
    }
}

/// Whom a Refer-To names: the user, and the dialog to replace where its URI bears a Replaces.
pub fn refer_to(headers: &Headers) -> Option<(String, Option<Replaces>)> {
    let target = headers.refer_to().ok().flatten()?;
    let user = target.uri.user_unescaped().filter(|user| !user.is_empty())?;
    let replaces = match target.uri.as_sip().and_then(|uri| uri.headers.as_deref()) {
        Some(headers) => match uri_header(headers, "replaces") {
            Some(value) => Some(Replaces::parse(&value)?),
            None => None,
        },
        None => None,
    };
    Some((user, replaces))
}

/// Who asks, as the INVITE that comes of the REFER is to say (RFC 3892 2.2): its one Referred-By, read and written anew.
/// The token that `cid` names is a body part of the REFER, which does not go along.
pub fn referred_by(headers: &Headers) -> Option<String> {
    let mut named = headers.get_all(&HeaderName::ReferredBy);
    let text = named.next().filter(|text| text.len() <= limits::SIP_REFERRED_BY_BYTES_MAX)?;
    let mut referrer = NameAddr::parse(text).filter(|_| named.next().is_none())?;
    referrer.params.remove("cid");
    Some(referrer.to_string())
}

/// A Refer-To of `uri`, with the dialog that is to be replaced.
pub fn refer_to_value(uri: &Uri, replaces: Option<&DialogId>) -> String {
    let mut uri = uri.clone();
    if let Uri::Sip(sip) = &mut uri {
        sip.headers = replaces.map(|dialog| format!("Replaces={}", escape(&Replaces::value_for_peer(dialog))));
    }
    NameAddr::new(uri).to_string()
}

/// The value of one header of a URI (RFC 3261 19.1.1), unescaped.
fn uri_header(headers: &str, name: &str) -> Option<String> {
    headers.split('&').find_map(|pair| {
        let (present, value) = pair.split_once('=')?;
        present.eq_ignore_ascii_case(name).then(|| unescape(value))
    })
}

fn escape(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::with_capacity(text.len() * 2), |mut escaped, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~' | b'!' | b'*' | b'(' | b')') {
            escaped.push(char::from(byte));
        } else if write!(escaped, "%{byte:02X}").is_err() {
            tracing::trace!("a text takes every write");
        }
        escaped
    })
}

fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = tail.split_at_checked(2).filter(|_| first == b'%').and_then(|(digits, tail)| {
            let digits = std::str::from_utf8(digits).ok()?;
            Some((u8::from_str_radix(digits, 16).ok()?, tail))
        });
        let (byte, tail) = escaped.unwrap_or((first, tail));
        bytes.push(byte);
        rest = tail;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The body of a NOTIFY about a REFER (RFC 3515 2.4.5): the status line of what the new call came to.
pub fn sipfrag(status: StatusCode) -> String {
    format!("SIP/2.0 {} {}\r\n", status.as_u16(), status.reason_phrase())
}

/// The status that such a body reports.
pub fn status_of_sipfrag(body: &[u8]) -> Option<StatusCode> {
    let line = body.split(|byte| matches!(byte, b'\r' | b'\n')).next()?;
    let line = std::str::from_utf8(line).ok()?;
    let code = line.strip_prefix("SIP/2.0 ")?.split(' ').next()?;
    StatusCode::new(code.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_names_our_dialog_by_the_tags_as_the_peer_writes_them() {
        let found = Replaces::parse("98732@sip.example;from-tag=r33th4x0r;to-tag=ff87ff;early-only").unwrap();
        assert_eq!(found.dialog, DialogId::new("98732@sip.example", "ff87ff", "r33th4x0r"));
        assert!(found.early_only);
        assert_eq!(Replaces::parse("98732@sip.example;from-tag=1"), None);
        let theirs = Replaces::value_for_peer(&DialogId::new("c", "ours", "theirs"));
        assert_eq!(theirs, "c;to-tag=theirs;from-tag=ours");
    }

    #[test]
    fn a_refer_to_carries_replaces_escaped_and_reads_back() {
        let uri = Uri::parse("sip:1002@pbx.example").unwrap();
        let value = refer_to_value(&uri, Some(&DialogId::new("a@b", "ours", "theirs")));
        assert_eq!(value, "<sip:1002@pbx.example?Replaces=a%40b%3Bto-tag%3Dtheirs%3Bfrom-tag%3Dours>");
        let mut headers = Headers::new();
        headers.push(HeaderName::ReferTo, value);
        let (user, replaces) = refer_to(&headers).unwrap();
        assert_eq!(user, "1002");
        assert_eq!(replaces.unwrap().dialog, DialogId::new("a@b", "theirs", "ours"));
    }

    #[test]
    fn a_refer_to_without_user_or_with_broken_replaces_is_none() {
        for text in ["<sip:pbx.example>", "<sip:1@pbx?Replaces=nonsense>", "<http://x>"] {
            let mut headers = Headers::new();
            headers.push(HeaderName::ReferTo, text);
            assert_eq!(refer_to(&headers), None, "{text}");
        }
    }

    #[test]
    fn a_referred_by_is_passed_on_without_its_token_and_only_where_it_is_sound() {
        let passed = |values: &[&str]| {
            let mut headers = Headers::new();
            for value in values {
                headers.push(HeaderName::ReferredBy, *value);
            }
            referred_by(&headers)
        };
        let named = |text: &str| Some(text.to_owned());
        assert_eq!(passed(&["sip:2000@pbx"]), named("<sip:2000@pbx>"));
        assert_eq!(passed(&["\"Ann\" <sip:2000@pbx>;x=1"]), named("\"Ann\" <sip:2000@pbx>;x=1"));
        let token = "<sip:2000@pbx>;cid=\"20398823.2UWQFN309shb3@pbx\"";
        assert_eq!(passed(&[token]), named("<sip:2000@pbx>"));
        let long = format!("<sip:{}@pbx>", "1".repeat(limits::SIP_REFERRED_BY_BYTES_MAX));
        for broken in [&[][..], &["nobody"], &["<sip:2000@pbx"], &["<sip:1@pbx>", "<sip:2@pbx>"], &[&long]] {
            assert_eq!(passed(broken), None, "{broken:?}");
        }
    }

    #[test]
    fn a_sipfrag_is_a_status_line() {
        assert_eq!(sipfrag(StatusCode::RINGING), "SIP/2.0 180 Ringing\r\n");
        assert_eq!(status_of_sipfrag(b"SIP/2.0 486 Busy Here\r\nTo: x\r\n"), Some(StatusCode::BUSY_HERE));
        assert_eq!(status_of_sipfrag(b"SIP/2.0 200 OK"), Some(StatusCode::OK));
        assert_eq!(status_of_sipfrag(b"nonsense"), None);
    }
}
