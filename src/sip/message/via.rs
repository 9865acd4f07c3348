//! Via (RFC 3261 20.42, RFC 3581 for `rport`).

use std::fmt;
use std::net::IpAddr;

use crate::sip::message::host::Host;
use crate::sip::message::params::Params;
use crate::sip::message::scan;

/// What a branch of RFC 3261 begins with (8.1.1.7).
pub const MAGIC_COOKIE: &str = "z9hG4bK";

/// One Via value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Via {
    /// The transport as written, such as `UDP`.
    pub transport: String,
    /// The sender's host.
    pub host: Host,
    /// The sender's port; 5060 where absent (5061 for TLS).
    pub port: Option<u16>,
    /// Parameters: `branch`, `received`, `rport` and others.
    pub params: Params,
}

impl Via {
    /// A Via of ours that asks for `rport`.
    pub fn new(transport: &str, host: Host, port: Option<u16>, branch: &str) -> Self {
        let mut params = Params::new();
        params.set("branch", Some(branch.to_owned()));
        params.set("rport", None);
        Self { transport: transport.to_owned(), host, port, params }
    }

    /// Reads one value, with the white space that RFC 3261 allows; `None` where its syntax is broken.
    pub fn parse(text: &str) -> Option<Self> {
        let (head, params) = match text.find(';') {
            Some(at) => text.split_at_checked(at)?,
            None => (text, ""),
        };
        let mut parts = head.splitn(3, '/').map(scan::trim);
        let (protocol, version, rest) = (parts.next()?, parts.next()?, parts.next()?);
        let (transport, sent_by) = rest.split_at_checked(rest.find(scan::is_space)?)?;
        if !protocol.eq_ignore_ascii_case("SIP") || !scan::is_token(version) || !scan::is_token(transport) {
            return None;
        }
        let (host, port) = Host::parse_with_port(scan::trim(sent_by))?;
        Some(Self { transport: transport.to_owned(), host, port, params: Params::parse_header(params)? })
    }

    /// The branch; `None` where absent, as RFC 2543 peers leave it.
    pub fn branch(&self) -> Option<&str> {
        self.params.value("branch")
    }

    /// The branch of an RFC 3261 peer, which names the transaction: it begins with the magic cookie and goes on.
    pub fn rfc3261_branch(&self) -> Option<&str> {
        self.branch().filter(|branch| branch.strip_prefix(MAGIC_COOKIE).is_some_and(|rest| !rest.is_empty()))
    }

    /// Whether the sender asks for the response at its source port (RFC 3581 4), or that port is filled in.
    pub fn has_rport(&self) -> bool {
        self.params.contains("rport")
    }

    /// The source port that the receiver filled in.
    pub fn rport(&self) -> Option<u16> {
        self.params.value("rport").and_then(scan::number)
    }

    /// The source address that the receiver filled in, with or without the brackets of IPv6 (RFC 5118 4.5).
    pub fn received(&self) -> Option<IpAddr> {
        let value = self.params.value("received")?;
        value.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(value).parse().ok()
    }

    /// Fills in the source address (RFC 3261 18.2.1).
    pub fn set_received(&mut self, address: IpAddr) {
        self.params.set("received", Some(address.to_string()));
    }

    /// Fills in the source port (RFC 3581 4).
    pub fn set_rport(&mut self, port: u16) {
        self.params.set("rport", Some(port.to_string()));
    }
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SIP/2.0/{} {}", self.transport, self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        self.params.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_of_the_grammar_is_taken() {
        let via =
            Via::parse("SIP  / 2.0  / TCP     spindle.example.com : 5061  ;   branch  =   z9hG4bK9ikj8  ").unwrap();
        assert_eq!(via.transport, "TCP");
        assert_eq!(via.to_string(), "SIP/2.0/TCP spindle.example.com:5061;branch=z9hG4bK9ikj8");
    }

    #[test]
    fn received_and_rport_are_filled_in_place() {
        let mut via = Via::parse("SIP/2.0/UDP 10.0.0.1;rport;branch=z9hG4bK1").unwrap();
        assert!(via.has_rport());
        assert_eq!(via.rport(), None);
        via.set_received("192.0.2.9".parse().unwrap());
        via.set_rport(40_000);
        assert_eq!(via.to_string(), "SIP/2.0/UDP 10.0.0.1;rport=40000;branch=z9hG4bK1;received=192.0.2.9");
    }

    #[test]
    fn received_reads_ipv6_with_and_without_brackets() {
        let expected: IpAddr = "2001:db8::9:255".parse().unwrap();
        for text in ["received=2001:db8::9:255", "received=[2001:db8::9:255]"] {
            let via = Via::parse(&format!("SIP/2.0/UDP [2001:db8::9:1];{text};branch=z9hG4bKas3")).unwrap();
            assert_eq!(via.received(), Some(expected));
        }
    }

    #[test]
    fn only_a_cookie_with_something_behind_it_names_a_transaction() {
        let branch =
            |text: &str| Via::parse(&format!("SIP/2.0/UDP h{text}")).unwrap().rfc3261_branch().map(str::to_owned);
        assert_eq!(branch(";branch=z9hG4bKx"), Some("z9hG4bKx".to_owned()));
        assert_eq!(branch(";branch=z9hG4bK"), None);
        assert_eq!(branch(";branch=390skdjuw"), None);
        assert_eq!(branch(""), None);
    }

    #[test]
    fn broken_values_are_refused() {
        for text in
            ["", "SIP/2.0/UDP", "SIP/2.0/UDP 192.0.2.15;;", "SIP/2.0 UDP h", "HTTP/2.0/UDP h", "SIP/2.0/UDP h:x", ";"]
        {
            assert_eq!(Via::parse(text), None, "{text}");
        }
    }
}
