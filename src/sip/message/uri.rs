//! URIs: `sip:` and `sips:` (RFC 3261 19.1), `tel:` (RFC 3966), and any other kept as text.

use std::fmt;

use crate::sip::message::host::Host;
use crate::sip::message::params::Params;
use crate::sip::message::raw_text;
use crate::sip::message::scan;

/// Why a text is no URI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    /// No scheme of RFC 3986 3.1 before a colon.
    #[error("no scheme")]
    Scheme,
    /// White space, a control character, a quote or an angle bracket.
    #[error("a character that no URI may contain")]
    Character,
    /// An empty user, a bad host or port, or an empty parameter.
    #[error("a part that the scheme does not allow")]
    Part,
}

/// A URI. `==` compares the parts as written; [`Uri::is_equivalent`] compares as RFC 3261 19.1.4 says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Uri {
    /// `sip:` or `sips:`.
    Sip(SipUri),
    /// `tel:`.
    Tel(TelUri),
    /// Any other scheme, whole.
    Other(String),
}

/// A SIP or SIPS URI. Parts are kept as written, escapes included.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SipUri {
    /// `sips:`.
    pub secure: bool,
    /// The user part, escaped. Never empty.
    pub user: Option<String>,
    /// The password, escaped: deprecated, never to be used.
    pub password: Option<String>,
    /// The host.
    pub host: Host,
    /// The port, where written.
    pub port: Option<u16>,
    /// Parameters such as `transport` and `lr`.
    pub params: Params,
    /// What follows `?`, escaped. Never acted upon.
    pub headers: Option<String>,
}

/// A telephone number (RFC 3966).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TelUri {
    /// The number as written, visual separators included.
    pub number: String,
    /// Parameters such as `phone-context` and `ext`.
    pub params: Params,
}

impl Uri {
    /// Reads a URI; nothing may surround it.
    pub fn parse(text: &str) -> Result<Self, UriError> {
        if text.chars().any(|c| c.is_control() || matches!(c, ' ' | '"' | '<' | '>')) {
            return Err(UriError::Character);
        }
        let (scheme, rest) = text.split_once(':').ok_or(UriError::Scheme)?;
        if !is_scheme(scheme) {
            return Err(UriError::Scheme);
        }
        if scheme.eq_ignore_ascii_case("sip") {
            SipUri::parse(false, rest).map(Self::Sip)
        } else if scheme.eq_ignore_ascii_case("sips") {
            SipUri::parse(true, rest).map(Self::Sip)
        } else if scheme.eq_ignore_ascii_case("tel") {
            TelUri::parse(rest).map(Self::Tel)
        } else {
            Ok(Self::Other(text.to_owned()))
        }
    }

    /// The user part with its escapes resolved, or the number of a `tel:` URI.
    ///
    /// Bytes that are not UTF-8 become U+FFFD; `%00` becomes NUL and does not end the text.
    pub fn user_unescaped(&self) -> Option<String> {
        match self {
            Self::Sip(uri) => uri.user.as_deref().map(unescape),
            Self::Tel(uri) => Some(uri.number.clone()),
            Self::Other(_) => None,
        }
    }

    /// The SIP URI, where it is one.
    pub const fn as_sip(&self) -> Option<&SipUri> {
        match self {
            Self::Sip(uri) => Some(uri),
            Self::Tel(_) | Self::Other(_) => None,
        }
    }

    /// Equality as RFC 3261 19.1.4 and RFC 3966 5 define it. It is not transitive.
    #[must_use]
    pub fn is_equivalent(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Sip(one), Self::Sip(two)) => one.is_equivalent(two),
            (Self::Tel(one), Self::Tel(two)) => one.is_equivalent(two),
            (Self::Other(one), Self::Other(two)) => one == two,
            _ => false,
        }
    }
}

impl SipUri {
    /// A URI of a host alone.
    pub const fn new(host: Host, port: Option<u16>) -> Self {
        Self { secure: false, user: None, password: None, host, port, params: Params::new(), headers: None }
    }

    /// A URI of a user at a host. `user` is plain text; it is escaped here.
    pub fn with_user(user: &str, host: Host, port: Option<u16>) -> Self {
        let user = (!user.is_empty()).then(|| escape_user(user));
        Self { user, ..Self::new(host, port) }
    }

    fn parse(secure: bool, text: &str) -> Result<Self, UriError> {
        // A user part may hold `;`, `?` and `/`, but never `@`.
        let (user_info, rest) = match text.split_once('@') {
            Some((user_info, rest)) => (Some(user_info), rest),
            None => (None, text),
        };
        let (user, password) =
            match user_info.map(|info| info.split_once(':').map_or((info, None), |(u, p)| (u, Some(p)))) {
                Some(("", _)) => return Err(UriError::Part),
                Some((user, password)) => (Some(user.to_owned()), password.map(str::to_owned)),
                None => (None, None),
            };
        let (rest, headers) = match rest.split_once('?') {
            Some((rest, headers)) => (rest, Some(headers.to_owned())),
            None => (rest, None),
        };
        let (host, params) = match rest.split_once(';') {
            Some((host, params)) => (host, Params::parse_uri(params).ok_or(UriError::Part)?),
            None => (rest, Params::new()),
        };
        let (host, port) = Host::parse_with_port(host).ok_or(UriError::Part)?;
        Ok(Self { secure, user, password, host, port, params, headers })
    }

    /// RFC 3261 19.1.4.
    #[must_use]
    pub fn is_equivalent(&self, other: &Self) -> bool {
        let same = |one: &Option<String>, two: &Option<String>| {
            one.as_deref().map(normalized) == two.as_deref().map(normalized)
        };
        self.secure == other.secure
            && same(&self.user, &other.user)
            && same(&self.password, &other.password)
            && self.host.matches(&other.host)
            && self.port == other.port
            && params_match(&self.params, &other.params)
            && headers_match(self.headers.as_deref(), other.headers.as_deref())
    }

    /// Whether the `lr` parameter marks a loose router (RFC 3261 19.1.1).
    pub fn is_loose_router(&self) -> bool {
        self.params.contains("lr")
    }
}

impl TelUri {
    fn parse(text: &str) -> Result<Self, UriError> {
        let (number, params) = match text.split_once(';') {
            Some((number, params)) => (number, Params::parse_uri(params).ok_or(UriError::Part)?),
            None => (text, Params::new()),
        };
        let digits = number.strip_prefix('+').unwrap_or(number);
        let is_number = digits.bytes().any(|byte| byte.is_ascii_hexdigit() || matches!(byte, b'*' | b'#'))
            && digits.bytes().all(|byte| byte.is_ascii_hexdigit() || b"*#-.()%".contains(&byte));
        is_number.then(|| Self { number: number.to_owned(), params }).ok_or(UriError::Part)
    }

    fn is_equivalent(&self, other: &Self) -> bool {
        let bare = |uri: &Self| -> String {
            uri.number.chars().filter(|c| !"-.()".contains(*c)).map(|c| c.to_ascii_lowercase()).collect()
        };
        bare(self) == bare(other) && params_match(&self.params, &other.params)
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sip(uri) => uri.fmt(f),
            Self::Tel(uri) => write!(f, "tel:{}{}", uri.number, uri.params),
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl fmt::Display for SipUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.secure { "sips:" } else { "sip:" })?;
        if let Some(user) = &self.user {
            f.write_str(user)?;
            if let Some(password) = &self.password {
                write!(f, ":{password}")?;
            }
            f.write_str("@")?;
        }
        self.host.fmt(f)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        self.params.fmt(f)?;
        self.headers.as_ref().map_or(Ok(()), |headers| write!(f, "?{headers}"))
    }
}

impl From<SipUri> for Uri {
    fn from(uri: SipUri) -> Self {
        Self::Sip(uri)
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

/// Parameters of which one alone spoils equality (RFC 3261 19.1.4).
const SPOILING: [&str; 5] = ["user", "ttl", "method", "maddr", "transport"];

fn params_match(one: &Params, two: &Params) -> bool {
    // A name that stands twice is malformed (RFC 3261 19.1.1), and its URI is still equivalent to itself.
    let has = |those: &Params, name: &str, value: Option<&str>| {
        let same = |other: Option<&str>| other.map(normalized_lower) == value.map(normalized_lower);
        those.iter().any(|(other, theirs)| other.eq_ignore_ascii_case(name) && same(theirs))
    };
    let agrees = |these: &Params, those: &Params| {
        these.iter().all(|(name, value)| {
            if those.contains(name) {
                has(those, name, value)
            } else {
                !SPOILING.iter().any(|spoiling| spoiling.eq_ignore_ascii_case(name))
            }
        })
    };
    agrees(one, two) && agrees(two, one)
}

fn headers_match(one: Option<&str>, two: Option<&str>) -> bool {
    let sorted = |headers: Option<&str>| {
        let mut list: Vec<String> = headers.unwrap_or_default().split('&').map(normalized_lower).collect();
        list.sort_unstable();
        list
    };
    sorted(one) == sorted(two)
}

fn normalized_lower(text: &str) -> String {
    normalized(text).to_ascii_lowercase()
}

/// Resolves the escapes of unreserved characters, which mean the same either way, and no others.
fn normalized(text: &str) -> String {
    let mut pieces = text.split('%');
    let mut normal = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        match escaped_byte(piece) {
            Some((byte, rest)) if is_unreserved(byte) => {
                normal.push(char::from(byte));
                normal.push_str(rest);
            }
            Some((byte, rest)) => {
                push_escaped(byte, &mut normal);
                normal.push_str(rest);
            }
            None => {
                normal.push('%');
                normal.push_str(piece);
            }
        }
    }
    normal
}

fn push_escaped(byte: u8, text: &mut String) {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0').to_ascii_uppercase();
    text.extend(['%', digit(byte >> 4), digit(byte & 0x0F)]);
}

/// The byte of two leading hexadecimal digits, and what follows.
fn escaped_byte(text: &str) -> Option<(u8, &str)> {
    let (digits, rest) = text.split_at_checked(2)?;
    digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then_some(())?;
    Some((u8::from_str_radix(digits, 16).ok()?, rest))
}

fn unescape(text: &str) -> String {
    let mut wire = Vec::with_capacity(text.len());
    let mut pieces = text.split('%');
    raw_text::encode(pieces.next().unwrap_or_default(), &mut wire);
    for piece in pieces {
        let (byte, rest) = escaped_byte(piece).unwrap_or((b'%', piece));
        wire.push(byte);
        raw_text::encode(rest, &mut wire);
    }
    String::from_utf8_lossy(&wire).into_owned()
}

const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'!' | b'~' | b'*' | b'\'' | b'(' | b')')
}

/// Escapes plain text for a user part (RFC 3261 25.1, `user`).
fn escape_user(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if is_unreserved(byte) || matches!(byte, b'&' | b'=' | b'+' | b'$' | b',' | b';' | b'?' | b'/') {
            escaped.push(char::from(byte));
        } else {
            push_escaped(byte, &mut escaped);
        }
    }
    escaped
}

/// Whether `text` could stand for a name-addr's URI without brackets: none of `,`, `?` (RFC 3261 20).
pub(crate) fn is_bare_addr_spec(text: &str) -> bool {
    !text.contains([',', '?']) && scan::trim(text) == text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri {
        Uri::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn a_uri_with_a_parameter_twice_is_equivalent_to_itself_and_to_no_other() {
        let twice = uri("sip:a@h;method=INVITE;method=BYE");
        assert!(twice.is_equivalent(&twice));
        assert!(!twice.is_equivalent(&uri("sip:a@h;method=INVITE")));
        assert!(!uri("sip:a@h;method=BYE").is_equivalent(&twice));
    }

    #[test]
    fn uris_write_what_they_read() {
        for text in [
            "sip:alice@a.example",
            "sips:alice:pw@a.example:5061;transport=tcp;lr?Subject=x&To=y",
            "sip:1_u~(t)&i't+i$/c?,/;;*:&i=1,w!*p$w~d.(d't-i)@example.com",
            "sip:[2001:db8::10]:5070",
            "sip:192.0.2.1",
            "sip:user;par=u%40example.net@example.com",
            "tel:+49-30-123;ext=7;phone-context=+49",
            "urn:service:sos",
        ] {
            assert_eq!(uri(text).to_string(), text);
        }
    }

    #[test]
    fn user_parts_unescape_whole() {
        assert_eq!(
            uri("sip:sips%3Auser%40example.com@example.net").user_unescaped().as_deref(),
            Some("sips:user@example.com")
        );
        assert_eq!(uri("sip:null-%00-null@h").user_unescaped().as_deref(), Some("null-\0-null"));
        assert_eq!(uri("sip:100%@h").user_unescaped().as_deref(), Some("100%"));
        assert_eq!(uri("sip:%Z%4@h").user_unescaped().as_deref(), Some("%Z%4"));
        assert_eq!(uri("sip:h").user_unescaped(), None);
        assert_eq!(uri("tel:+1").user_unescaped().as_deref(), Some("+1"));
    }

    #[test]
    fn plain_users_are_escaped_and_come_back() {
        let host = Host::Name("h".to_owned());
        for user in ["1001", "a b@c;d?e/f#g%h", "Müller", "*97#", "<>\"\r\n"] {
            let made = Uri::Sip(SipUri::with_user(user, host.clone(), None));
            let read = uri(&made.to_string());
            assert_eq!(read, made);
            assert_eq!(read.user_unescaped().as_deref(), Some(user));
        }
    }

    #[test]
    fn broken_uris_say_why() {
        for (text, why) in [
            ("alice", UriError::Scheme),
            ("", UriError::Scheme),
            ("1sip:a@b", UriError::Scheme),
            ("<sip:a@b>", UriError::Character),
            ("sip:a@b; lr", UriError::Character),
            ("sip:a\0@b", UriError::Character),
            ("sip:@b", UriError::Part),
            ("sip:a@", UriError::Part),
            ("sip:a@b:99999", UriError::Part),
            ("sip:a@b;;lr", UriError::Part),
            ("sip:2001:db8::10", UriError::Part),
            ("sip:a@b@c", UriError::Part),
            ("tel:", UriError::Part),
            ("tel:alice", UriError::Part),
        ] {
            assert_eq!(Uri::parse(text), Err(why), "{text}");
        }
    }

    /// The pairs of RFC 3261 19.1.4, under other names.
    #[test]
    fn equivalence_follows_the_rfc() {
        for (one, two) in [
            ("sip:%61nna@example.org;transport=TCP", "sip:anna@EXAMPLE.org;Transport=tcp"),
            ("sip:bob@h.example", "sip:bob@h.example;newparam=5"),
            ("sip:bob@h.example;security=on", "sip:bob@h.example;newparam=5"),
            (
                "sip:h.example;transport=tcp;method=REGISTER?to=sip:b%40h.example",
                "sip:h.example;method=REGISTER;transport=tcp?to=sip:b%40h.example",
            ),
            ("sip:a@h.example?subject=x&priority=urgent", "sip:a@h.example?priority=urgent&subject=x"),
            ("tel:+49-30-123", "tel:+4930(123)"),
        ] {
            assert!(uri(one).is_equivalent(&uri(two)), "{one} {two}");
        }
        for (one, two) in [
            ("SIP:ANNA@example.org", "sip:anna@example.org"),
            ("sip:bob@h.example", "sip:bob@h.example:5060"),
            ("sip:bob@h.example", "sip:bob@h.example;transport=udp"),
            ("sip:bob@h.example", "sip:bob@h.example:6000;transport=tcp"),
            ("sip:bob@h.example", "sip:bob@h.example?Subject=next"),
            ("sip:bob@h.example", "sip:bob@192.0.2.4"),
            ("sip:c@h.example;security=on", "sip:c@h.example;security=off"),
            ("sip:a@h", "sips:a@h"),
            ("sip:a%40b@h", "sip:a%41b@h"),
        ] {
            assert!(!uri(one).is_equivalent(&uri(two)), "{one} {two}");
        }
    }
}
