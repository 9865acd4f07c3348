//! From where a trunk leg's media is taken (`media_source`), and why some is not.

use std::net::IpAddr;
use std::net::SocketAddr;
use std::sync::Arc;

/// Which sources of media a trunk leg admits. Nothing is taken from, or sent to, any other address.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum MediaSource {
    /// The negotiated address and port only.
    #[default]
    Exact,
    /// Any port of the negotiated host; ours goes to the negotiated port.
    SameHost,
    /// The first source that lies in one of these networks (and, with SRTP, authenticates) is locked: ours goes there,
    /// and nothing else is taken until the negotiated address changes.
    Symmetric(Arc<[MediaNetwork]>),
}

/// An address block of `media_networks`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MediaNetwork {
    /// Any address in it.
    pub address: IpAddr,
    /// Leading bits that count.
    pub prefix_len: u8,
}

impl MediaNetwork {
    /// Whether `address` lies in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (ours, theirs, width) = match (self.address, address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => (u128::from(ours.to_bits()), u128::from(theirs.to_bits()), 32),
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => (ours.to_bits(), theirs.to_bits(), 128),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
        };
        let ignored = width - u32::from(self.prefix_len).min(width);
        (ours ^ theirs).checked_shr(ignored).unwrap_or(0) == 0
    }
}

/// Why media of a trunk leg was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MediaRejection {
    /// `media_source` does not admit its address.
    UnexpectedSource,
    /// SRTP authentication failed, or the packet was a replay, or no SRTP at all.
    Forged,
}

impl MediaRejection {
    /// The verdict in words, which names what to look at.
    pub fn verdict(self, source: SocketAddr) -> String {
        match self {
            Self::UnexpectedSource => format!("rtp_from_unexpected_source {source} (trunk.media_source)"),
            Self::Forged => format!("srtp_authentication_failed {source} (trunk.srtp)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_its_own_addresses_only() {
        let network = |text: &str, prefix_len| MediaNetwork { address: text.parse().unwrap(), prefix_len };
        for (network, address, holds) in [
            (network("192.0.2.0", 24), "192.0.2.255", true),
            (network("192.0.2.0", 24), "192.0.3.0", false),
            (network("192.0.2.0", 24), "::ffff:192.0.2.7", true),
            (network("192.0.2.7", 32), "192.0.2.8", false),
            (network("0.0.0.0", 0), "203.0.113.1", true),
            (network("0.0.0.0", 0), "2001:db8::1", false),
            (network("2001:db8::", 32), "2001:db8:ffff::1", true),
            (network("2001:db8::", 32), "2001:db9::1", false),
            (network("::", 0), "2001:db9::1", true),
        ] {
            assert_eq!(network.contains(address.parse().unwrap()), holds, "{network:?} {address}");
        }
    }

    #[test]
    fn the_verdict_names_address_and_key() {
        let source = "192.0.2.1:4000".parse().unwrap();
        assert_eq!(
            MediaRejection::UnexpectedSource.verdict(source),
            "rtp_from_unexpected_source 192.0.2.1:4000 (trunk.media_source)"
        );
    }
}
