//! Headers with a meaning: what each value must look like, and what it says.

use std::fmt;
use std::time::Duration;

use crate::ids::SessionId;
use crate::sip::Reason;
use crate::sip::message::header_name::HeaderName;
use crate::sip::message::headers::Headers;
use crate::sip::message::method::Method;
use crate::sip::message::name_addr::NameAddr;
use crate::sip::message::params::Params;
use crate::sip::message::raw_text;
use crate::sip::message::scan;
use crate::sip::message::via::Via;

/// Why a header cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// A mandatory header is absent.
    #[error("missing {0}")]
    Missing(HeaderName),
    /// A header that may occur once occurs again.
    #[error("repeated {0}")]
    Repeated(HeaderName),
    /// The value breaks the header's grammar or range.
    #[error("malformed {0}")]
    Malformed(HeaderName),
}

/// `CSeq` (RFC 3261 20.16).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CSeq {
    /// Below 2^31 (RFC 3261 8.1.1.5).
    pub number: u32,
    /// The method.
    pub method: Method,
}

impl CSeq {
    fn parse(text: &str) -> Option<Self> {
        let (number, method) = text.split_once(scan::is_space)?;
        let number = scan::number(number).filter(|number| *number < 1 << 31)?;
        Some(Self { number, method: Method::parse(scan::trim(method))? })
    }
}

impl fmt::Display for CSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number, self.method)
    }
}

/// `RAck` (RFC 3262 7.2): which reliable provisional response a PRACK acknowledges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RAck {
    /// The `RSeq` of the response.
    pub rseq: u32,
    /// The `CSeq` of the response.
    pub cseq: CSeq,
}

impl Headers {
    /// Every Via, top first. At least one, or an error.
    pub fn vias(&self) -> Result<Vec<Via>, HeaderError> {
        let vias: Vec<Via> = self.list(&HeaderName::Via, Via::parse)?;
        if vias.is_empty() { Err(HeaderError::Missing(HeaderName::Via)) } else { Ok(vias) }
    }

    /// The topmost Via.
    pub fn top_via(&self) -> Result<Via, HeaderError> {
        let line = self.get(&HeaderName::Via).ok_or(HeaderError::Missing(HeaderName::Via))?;
        let value = scan::split_outside(line, b',', true).next().unwrap_or_default();
        Via::parse(scan::trim(value)).ok_or(HeaderError::Malformed(HeaderName::Via))
    }

    /// From.
    pub fn from(&self) -> Result<NameAddr, HeaderError> {
        self.mandatory(&HeaderName::From, NameAddr::parse)
    }

    /// To.
    pub fn to(&self) -> Result<NameAddr, HeaderError> {
        self.mandatory(&HeaderName::To, NameAddr::parse)
    }

    /// The tag in From, of a message whose From can be read; `None` where absent or empty.
    pub fn from_tag(&self) -> Option<&str> {
        NameAddr::tag_in(self.get(&HeaderName::From)?)
    }

    /// The tag in To, likewise.
    pub fn to_tag(&self) -> Option<&str> {
        NameAddr::tag_in(self.get(&HeaderName::To)?)
    }

    /// The branch of the topmost Via, of a message whose Via can be read.
    pub fn top_branch(&self) -> Option<&str> {
        let top = scan::split_outside(self.get(&HeaderName::Via)?, b',', true).next()?;
        Params::value_in(top.get(top.find(';')?..)?, "branch")
    }

    /// Call-ID, as written; it compares byte for byte.
    pub fn call_id(&self) -> Result<&str, HeaderError> {
        let value = self.single(&HeaderName::CallId)?.ok_or(HeaderError::Missing(HeaderName::CallId))?;
        let is_word = !value.is_empty() && !value.chars().any(|c| c.is_control() || c == ' ');
        if is_word { Ok(value) } else { Err(HeaderError::Malformed(HeaderName::CallId)) }
    }

    /// `CSeq`.
    pub fn cseq(&self) -> Result<CSeq, HeaderError> {
        self.mandatory(&HeaderName::CSeq, CSeq::parse)
    }

    /// Max-Forwards; `None` where absent, as from RFC 2543 peers.
    pub fn max_forwards(&self) -> Result<Option<u8>, HeaderError> {
        self.optional(&HeaderName::MaxForwards, scan::number)
    }

    /// Every Contact. `*`, which only REGISTER may bring, is malformed here.
    pub fn contacts(&self) -> Result<Vec<NameAddr>, HeaderError> {
        self.list(&HeaderName::Contact, NameAddr::parse)
    }

    /// Every Route, first hop first.
    pub fn routes(&self) -> Result<Vec<NameAddr>, HeaderError> {
        self.list(&HeaderName::Route, NameAddr::parse)
    }

    /// Every Record-Route, in the order of the message.
    pub fn record_routes(&self) -> Result<Vec<NameAddr>, HeaderError> {
        self.list(&HeaderName::RecordRoute, NameAddr::parse)
    }

    /// Every P-Asserted-Identity (RFC 3325 9.1).
    pub fn asserted_identities(&self) -> Result<Vec<NameAddr>, HeaderError> {
        self.list(&HeaderName::PAssertedIdentity, NameAddr::parse)
    }

    /// Refer-To (RFC 3515 2.1).
    pub fn refer_to(&self) -> Result<Option<NameAddr>, HeaderError> {
        self.optional(&HeaderName::ReferTo, NameAddr::parse)
    }

    /// Content-Length; the same value may stand twice.
    pub fn content_length(&self) -> Result<Option<usize>, HeaderError> {
        let mut length = None;
        for line in self.get_all(&HeaderName::ContentLength) {
            let value: usize = scan::number(line).ok_or(HeaderError::Malformed(HeaderName::ContentLength))?;
            if length.is_some_and(|length| length != value) {
                return Err(HeaderError::Repeated(HeaderName::ContentLength));
            }
            length = Some(value);
        }
        Ok(length)
    }

    /// The media type of Content-Type, in lower case and without parameters.
    pub fn content_type(&self) -> Result<Option<String>, HeaderError> {
        self.optional(&HeaderName::ContentType, |value| {
            let (kind, subtype) = value.split(';').next()?.split_once('/')?;
            let (kind, subtype) = (scan::trim(kind), scan::trim(subtype));
            (scan::is_token(kind) && scan::is_token(subtype)).then(|| format!("{kind}/{subtype}").to_ascii_lowercase())
        })
    }

    /// Expires, in seconds; a number past the range is the largest (RFC 3261 20.19).
    pub fn expires(&self) -> Result<Option<u32>, HeaderError> {
        self.optional(&HeaderName::Expires, seconds)
    }

    /// Retry-After (RFC 3261 20.33); comment and parameters are left out.
    pub fn retry_after(&self) -> Result<Option<Duration>, HeaderError> {
        let leading = |value: &str| seconds(scan::trim(value.split([';', '(']).next().unwrap_or_default()));
        Ok(self.optional(&HeaderName::RetryAfter, leading)?.map(|seconds| Duration::from_secs(u64::from(seconds))))
    }

    /// `RSeq` (RFC 3262 7.1).
    pub fn rseq(&self) -> Result<Option<u32>, HeaderError> {
        self.optional(&HeaderName::RSeq, scan::number)
    }

    /// `RAck` (RFC 3262 7.2).
    pub fn rack(&self) -> Result<Option<RAck>, HeaderError> {
        self.optional(&HeaderName::RAck, |value| {
            let (rseq, cseq) = value.split_once(scan::is_space)?;
            Some(RAck { rseq: scan::number(rseq)?, cseq: CSeq::parse(scan::trim(cseq))? })
        })
    }

    /// The first Reason (RFC 3326), whatever its protocol.
    pub fn reason(&self) -> Result<Option<Reason>, HeaderError> {
        Ok(self.reasons()?.into_iter().next())
    }

    /// Every Reason.
    pub fn reasons(&self) -> Result<Vec<Reason>, HeaderError> {
        self.list(&HeaderName::Reason, parse_reason)
    }

    /// The sender's half of Session-ID (RFC 7989 5).
    pub fn session_id(&self) -> Result<Option<SessionId>, HeaderError> {
        self.optional(&HeaderName::SessionId, |value| parse_session_id(scan::trim(value.split(';').next()?)))
    }

    /// The receiver's half of Session-ID, as the sender knows it; `None` where unknown or nil.
    pub fn session_id_remote(&self) -> Result<Option<SessionId>, HeaderError> {
        let remote = self.optional(&HeaderName::SessionId, |value| {
            let (_, params) = value.split_at_checked(value.find(';').unwrap_or(value.len()))?;
            Params::parse_header(params)?.value("remote").map_or(Some(None), |half| parse_session_id(half).map(Some))
        })?;
        Ok(remote.flatten().filter(|half| *half.as_bytes() != [0; 16]))
    }

    /// The value of a header that may occur once.
    pub(crate) fn single(&self, name: &HeaderName) -> Result<Option<&str>, HeaderError> {
        let mut lines = self.get_all(name);
        let first = lines.next();
        if lines.next().is_some() { Err(HeaderError::Repeated(name.clone())) } else { Ok(first) }
    }

    fn optional<T>(&self, name: &HeaderName, parse: impl Fn(&str) -> Option<T>) -> Result<Option<T>, HeaderError> {
        let Some(value) = self.single(name)? else { return Ok(None) };
        parse(value).map(Some).ok_or_else(|| HeaderError::Malformed(name.clone()))
    }

    fn mandatory<T>(&self, name: &HeaderName, parse: impl Fn(&str) -> Option<T>) -> Result<T, HeaderError> {
        self.optional(name, parse)?.ok_or_else(|| HeaderError::Missing(name.clone()))
    }

    fn list<T>(&self, name: &HeaderName, parse: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, HeaderError> {
        self.values(name)
            .into_iter()
            .map(|value| parse(value).ok_or_else(|| HeaderError::Malformed(name.clone())))
            .collect()
    }
}

/// Seconds, where digits past the range mean the largest.
fn seconds(text: &str) -> Option<u32> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u32::MAX))
}

fn parse_reason(text: &str) -> Option<Reason> {
    let (protocol, params) = text.split_at_checked(text.find(';').unwrap_or(text.len()))?;
    let protocol = scan::trim(protocol);
    let params = Params::parse_header(params)?;
    scan::is_token(protocol).then(|| Reason {
        protocol: protocol.to_owned(),
        cause: params.value("cause").and_then(scan::number),
        text: params.unquoted("text").map(|text| raw_text::for_people(&text).into_owned()),
    })
}

/// A Reason header's value. The text is quoted.
pub fn reason_value(reason: &Reason) -> String {
    let cause = reason.cause.map(|cause| format!(";cause={cause}")).unwrap_or_default();
    let text = reason.text.as_deref().map(|text| format!(";text={}", scan::quote(text))).unwrap_or_default();
    format!("{}{cause}{text}", reason.protocol)
}

fn parse_session_id(text: &str) -> Option<SessionId> {
    let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let value = is_hex.then(|| u128::from_str_radix(text, 16).ok()).flatten()?;
    Some(SessionId::from_bytes(value.to_be_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(HeaderName, &str)]) -> Headers {
        let mut headers = Headers::new();
        for (name, value) in lines {
            headers.push(name.clone(), *value);
        }
        headers
    }

    #[test]
    fn mandatory_headers_are_missing_repeated_or_malformed() {
        assert_eq!(Headers::new().from(), Err(HeaderError::Missing(HeaderName::From)));
        assert_eq!(
            headers(&[(HeaderName::CallId, "a"), (HeaderName::CallId, "a")]).call_id(),
            Err(HeaderError::Repeated(HeaderName::CallId))
        );
        assert_eq!(headers(&[(HeaderName::CallId, "a b")]).call_id(), Err(HeaderError::Malformed(HeaderName::CallId)));
        assert_eq!(
            headers(&[(HeaderName::To, "<sip:a@b>, <sip:c@d>")]).to(),
            Err(HeaderError::Malformed(HeaderName::To))
        );
        assert_eq!(Headers::new().vias(), Err(HeaderError::Missing(HeaderName::Via)));
    }

    #[test]
    fn numbers_do_not_wrap() {
        for (value, number) in [
            ("0009   INVITE", Some(9)),
            ("2147483647 INVITE", Some(i32::MAX.unsigned_abs())),
            ("2147483648 INVITE", None),
            ("-1 INVITE", None),
            ("INVITE", None),
        ] {
            assert_eq!(headers(&[(HeaderName::CSeq, value)]).cseq().ok().map(|cseq| cseq.number), number, "{value}");
        }
        for (value, hops) in [("0068", Some(68)), ("255", Some(255)), ("256", None), ("300", None)] {
            assert_eq!(headers(&[(HeaderName::MaxForwards, value)]).max_forwards().ok().flatten(), hops, "{value}");
        }
        assert_eq!(headers(&[(HeaderName::Expires, "100000000000")]).expires(), Ok(Some(u32::MAX)));
    }

    #[test]
    fn lists_of_routes_keep_their_order() {
        let list =
            headers(&[(HeaderName::RecordRoute, "<sip:p1;lr>, <sip:p2;lr>"), (HeaderName::RecordRoute, "<sip:p3>")]);
        let hosts: Vec<String> = list.record_routes().unwrap().iter().map(|route| route.uri.to_string()).collect();
        assert_eq!(hosts, ["sip:p1;lr", "sip:p2;lr", "sip:p3"]);
    }

    #[test]
    fn reasons_read_and_write() {
        let reason =
            headers(&[(HeaderName::Reason, r#"SIP ;cause=200 ;text="Call, \"completed\" elsewhere", Q.850;cause=16"#)]);
        let found = reason.reasons().unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].text.as_deref(), Some("Call, \"completed\" elsewhere"));
        assert_eq!(found[1], Reason { protocol: "Q.850".to_owned(), cause: Some(16), text: None });
        assert_eq!(reason_value(&found[0]), r#"SIP;cause=200;text="Call, \"completed\" elsewhere""#);
        assert_eq!(Headers::new().reason(), Ok(None));
    }

    #[test]
    fn session_id_halves_read_and_nil_is_unknown() {
        let ours = "ab30317f1a784dc48ff824d0d3715d86";
        let theirs = "47755a9de7794ba387653f2099600ef2";
        let both = headers(&[(HeaderName::SessionId, &format!("{ours};remote={theirs}"))]);
        assert_eq!(both.session_id().unwrap().unwrap().to_string(), ours);
        assert_eq!(both.session_id_remote().unwrap().unwrap().to_string(), theirs);
        let first = headers(&[(HeaderName::SessionId, &format!("{ours};remote={}", "0".repeat(32)))]);
        assert_eq!(first.session_id_remote(), Ok(None));
        assert!(headers(&[(HeaderName::SessionId, "xyz")]).session_id().is_err());
    }

    #[test]
    fn retry_after_leaves_comment_and_parameters() {
        for (value, expected) in [("120 (in a meeting)", 120), ("18000;duration=3600", 18_000), ("5", 5)] {
            assert_eq!(
                headers(&[(HeaderName::RetryAfter, value)]).retry_after(),
                Ok(Some(Duration::from_secs(expected)))
            );
        }
        assert!(headers(&[(HeaderName::RetryAfter, "soon")]).retry_after().is_err());
    }

    #[test]
    fn content_types_drop_case_and_parameters() {
        assert_eq!(
            headers(&[(HeaderName::ContentType, "Application / SDP ; charset=x")]).content_type(),
            Ok(Some("application/sdp".to_owned()))
        );
        assert!(headers(&[(HeaderName::ContentType, "sdp")]).content_type().is_err());
    }

    #[test]
    fn rack_reads_three_parts() {
        let rack = headers(&[(HeaderName::RAck, "776656 1 INVITE")]).rack().unwrap().unwrap();
        assert_eq!(rack, RAck { rseq: 776_656, cseq: CSeq { number: 1, method: Method::Invite } });
    }
}
