//! Hosts and ports as URIs and Via write them (RFC 3261 25.1, RFC 5954 for IPv6).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::sip::message::scan;

/// A host: a name, or an address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// A DNS name, as written; compare it without regard to case.
    Name(String),
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address, in brackets on the wire.
    V6(Ipv6Addr),
}

impl Host {
    /// Reads a host without port: a name, an IPv4 address, or an IPv6 address in brackets.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            return parse_v6(inner).map(Self::V6);
        }
        if let Ok(address) = text.parse() {
            return Some(Self::V4(address));
        }
        // `_` is no host character, but occurs in the field.
        let is_name = !text.is_empty()
            && text.len() <= 255
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
        is_name.then(|| Self::Name(text.to_owned()))
    }

    /// Reads `host [":" port]`. White space around the colon, which Via allows, is the caller's to refuse.
    pub fn parse_with_port(text: &str) -> Option<(Self, Option<u16>)> {
        let end_of_host =
            if text.starts_with('[') { text.find(']')? + 1 } else { text.find(':').unwrap_or(text.len()) };
        let (host, rest) = text.split_at_checked(end_of_host)?;
        let host = Self::parse(host.trim_end_matches(scan::is_space))?;
        let rest = scan::trim(rest);
        if rest.is_empty() {
            return Some((host, None));
        }
        let port = scan::number(scan::trim(rest.strip_prefix(':')?))?;
        Some((host, Some(port)))
    }

    /// The address, where the host is one.
    pub fn as_ip(&self) -> Option<IpAddr> {
        match self {
            Self::Name(_) => None,
            Self::V4(address) => Some(IpAddr::V4(*address)),
            Self::V6(address) => Some(IpAddr::V6(*address)),
        }
    }

    /// Equality without regard to case (RFC 3261 19.1.4).
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Name(one), Self::Name(two)) => one.eq_ignore_ascii_case(two),
            _ => self == other,
        }
    }
}

impl From<IpAddr> for Host {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => Self::V6(address),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::V4(address) => address.fmt(f),
            Self::V6(address) => write!(f, "[{address}]"),
        }
    }
}

/// Reads an IPv6 address, also with the third colon before an IPv4 part that RFC 3261's grammar wrongly asked for
/// (RFC 5118 4.10).
fn parse_v6(text: &str) -> Option<Ipv6Addr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let (head, tail) = text.split_once(":::")?;
    tail.parse::<Ipv4Addr>().ok()?;
    format!("{head}::{tail}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_parse() {
        assert_eq!(Host::parse_with_port("a.example:5060"), Some((Host::Name("a.example".to_owned()), Some(5060))));
        assert_eq!(Host::parse_with_port("192.0.2.1"), Some((Host::V4(Ipv4Addr::new(192, 0, 2, 1)), None)));
        let v6: Ipv6Addr = "2001:db8::10".parse().unwrap();
        assert_eq!(Host::parse_with_port("[2001:db8::10]:5070"), Some((Host::V6(v6), Some(5070))));
        assert_eq!(Host::V6(v6).to_string(), "[2001:db8::10]");
    }

    #[test]
    fn an_ipv6_address_without_brackets_is_no_host() {
        assert_eq!(Host::parse_with_port("2001:db8::10"), None);
    }

    #[test]
    fn bad_ports_are_refused() {
        for text in ["h:", "h:70000", "h:-1", "h:+5", "[::1]5060", "[::1", "", ":5060"] {
            assert_eq!(Host::parse_with_port(text), None, "{text}");
        }
    }

    #[test]
    fn the_third_colon_of_the_old_grammar_is_read() {
        let right: Ipv6Addr = "2001:db8::192.0.2.1".parse().unwrap();
        assert_eq!(Host::parse("[2001:db8:::192.0.2.1]"), Some(Host::V6(right)));
        assert_eq!(Host::parse("[2001:db8:::1]"), None);
    }
}
