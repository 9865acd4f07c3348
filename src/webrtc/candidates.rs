//! ICE candidates as browsers write them (RFC 8839 5.1), read with tolerance: one that is of no use is no fault.

use str0m::Candidate;

/// Longest candidate line that we read, in bytes.
const CANDIDATE_BYTES_MAX: usize = 512;

/// Reads `candidate:…`, with or without `a=`. `None` for what we cannot use: an mDNS name (`….local`), TCP, another
/// component, the empty end-of-candidates mark, or a line that does not parse.
pub fn parse(text: &str) -> Option<Candidate> {
    let text = text.trim();
    let text = text.strip_prefix("a=").unwrap_or(text);
    if text.len() > CANDIDATE_BYTES_MAX {
        return None;
    }
    let mut fields = text.split_ascii_whitespace();
    let component = fields.nth(1)?;
    let transport = fields.next()?;
    let address = fields.nth(1)?;
    if component != "1" || !transport.eq_ignore_ascii_case("udp") || address.parse::<std::net::IpAddr>().is_err() {
        return None;
    }
    Candidate::from_sdp_string(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_candidate_is_read_with_and_without_its_prefix() {
        let line = "candidate:1 1 udp 2122260223 192.0.2.7 50028 typ host generation 0 ufrag abcd network-id 1";
        assert_eq!(parse(line).unwrap().addr(), "192.0.2.7:50028".parse::<std::net::SocketAddr>().unwrap());
        assert!(parse(&format!("a={line}\r\n")).is_some());
    }

    #[test]
    fn what_we_cannot_use_is_ignored() {
        for line in [
            "",
            "candidate:",
            "candidate:1 1 udp 2113937151 0e4b0bd4-8ba4-4a3a-b5a5-33c4a4a0d2ab.local 51472 typ host",
            "candidate:1 1 tcp 1518280447 192.0.2.7 9 typ host tcptype active",
            "candidate:1 2 udp 2122260223 192.0.2.7 50029 typ host",
            "candidate:1 1 udp 2122260223 192.0.2.7 99999 typ host",
            "candidate:1 1 udp 1 192.0.2.7 1 typ nonsense",
        ] {
            assert!(parse(line).is_none(), "{line}");
        }
    }
}
