//! What the user agent must be told.

use std::net::IpAddr;
use std::net::SocketAddr;
use std::time::Duration;

use crate::clock::Clock;
use crate::ids::TrunkName;
use crate::limits;
use crate::sip::Flow;
use crate::sip::Transport;
use crate::sip::dialog::Terms;
use crate::sip::dialog::terms::SessionTimerPolicy;
use crate::sip::transaction::Timing;
use crate::sip::user_agent::peering::Peering;

/// The user agent's configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// For User-Agent and Server, such as `Tandem/0.1`.
    pub product: String,
    /// Where the shell listens. The first address of a transport and family is the source of new requests there.
    pub listen: Vec<Listen>,
    /// The peers.
    pub trunks: Vec<Trunk>,
    /// T1, T2, T4.
    pub timing: Timing,
    /// How long a target that answers nothing holds up the next one.
    pub failover_after: Duration,
    /// Transactions alive at once; a request beyond it is 503.
    pub transactions_max: usize,
    /// Retry-After of a 503 for too many transactions.
    pub overload_retry_after: Duration,
    /// Numbers that leave whatever the caps and the targets' state say, as a trunk is given them.
    pub emergency: Vec<String>,
    /// For identifiers that bear the time of their making.
    pub clock: Clock,
}

impl Config {
    /// A configuration without listening addresses and trunks, with the RFC's timers.
    pub fn new(clock: Clock) -> Self {
        Self {
            product: concat!("Tandem/", env!("CARGO_PKG_VERSION")).to_owned(),
            listen: Vec::new(),
            trunks: Vec::new(),
            timing: Timing::default(),
            failover_after: Duration::from_secs(4),
            transactions_max: limits::SIP_TRANSACTIONS_MAX,
            overload_retry_after: Duration::from_secs(10),
            emergency: Vec::new(),
            clock,
        }
    }
}

/// One listening address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen {
    /// The transport.
    pub transport: Transport,
    /// The address and port; peers see it in Via and Contact unless the trunk has an advertised host.
    pub address: SocketAddr,
}

/// A named peer.
#[derive(Debug, Clone)]
pub struct Trunk {
    /// Its name.
    pub name: TrunkName,
    /// The networks from which it may send to us. The longest matching prefix over all trunks decides.
    pub networks: Vec<Network>,
    /// Where new requests go, in order.
    pub targets: Vec<Target>,
    /// The host part of Request-URI, From and To in our requests. `None` takes the target's address for the
    /// Request-URI and To, and our own for From.
    pub domain: Option<String>,
    /// The host that Via and Contact show instead of the address that we bind.
    pub advertised: Option<String>,
    /// The local address that this trunk is spoken to from, and on which alone it is heard. `None` takes any.
    pub bind: Option<IpAddr>,
    /// Whether P-Asserted-Identity names the caller (RFC 3325): the trunk is trusted with it.
    pub trusts_identity: bool,
    /// Header fields added to every new INVITE, as they stand.
    pub headers: Vec<(String, String)>,
    /// What its operator asks of us.
    pub peering: Peering,
    /// What its dialogs may do: reliable provisional responses, session timers, quirks.
    pub terms: Terms,
}

impl Trunk {
    /// A trunk of one target that is also the only host allowed to send.
    pub fn of_target(name: TrunkName, target: Target) -> Self {
        Self {
            name,
            networks: vec![Network::host(target.address.ip())],
            targets: vec![target],
            domain: None,
            advertised: None,
            bind: None,
            trusts_identity: true,
            headers: Vec::new(),
            peering: Peering::default(),
            terms: Terms::default(),
        }
    }

    /// The trunk that leads back into this user agent: the other side of its calls is ourselves. It asks for no keep-alive,
    /// no caps and no session timer, for neither side can vanish from the other.
    pub fn internal(name: TrunkName) -> Self {
        let target = Target { transport: Transport::Memory, address: Flow::MEMORY.remote, tcp_for_large: false };
        let host = Some("internal.invalid".to_owned());
        let terms = Terms { session_timer: SessionTimerPolicy::Off, ..Terms::default() };
        Self { domain: host.clone(), advertised: host, terms, ..Self::of_target(name, target) }
    }

    /// Whether it leads back into this user agent.
    pub fn is_internal(&self) -> bool {
        self.targets.iter().any(|target| target.transport == Transport::Memory)
    }

    /// Whether `address` lies in one of its networks; the length of the longest prefix that matches.
    pub(crate) fn prefix_of(&self, address: IpAddr) -> Option<u8> {
        self.networks.iter().filter(|network| network.contains(address)).map(|network| network.prefix_len).max()
    }
}

/// One place where a trunk takes requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// The transport.
    pub transport: Transport,
    /// The address and port.
    pub address: SocketAddr,
    /// Whether a UDP target takes TCP at the same address, for requests over 1300 bytes (RFC 3261 18.1.1).
    pub tcp_for_large: bool,
}

/// An address range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// Any address in it.
    pub address: IpAddr,
    /// Bits that count: at most 32 for IPv4, 128 for IPv6.
    pub prefix_len: u8,
}

impl Network {
    /// The network of one host.
    pub const fn host(address: IpAddr) -> Self {
        let prefix_len = if address.is_ipv4() { 32 } else { 128 };
        Self { address, prefix_len }
    }

    /// Whether `address` is in it. An IPv4-mapped IPv6 address counts as the IPv4 address that it holds.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address.to_canonical(), address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                same_prefix(u128::from(ours.to_bits()) << 96, u128::from(theirs.to_bits()) << 96, self.prefix_len)
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => same_prefix(ours.to_bits(), theirs.to_bits(), self.prefix_len),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

/// Whether the first `length` bits are the same.
fn same_prefix(one: u128, two: u128, length: u8) -> bool {
    let differing = u32::from(128 - length.min(128));
    (one ^ two).checked_shr(differing).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(address: &str, prefix_len: u8) -> Network {
        Network { address: address.parse().unwrap(), prefix_len }
    }

    #[test]
    fn a_network_contains_what_shares_its_prefix() {
        assert!(network("10.1.0.0", 16).contains("10.1.255.3".parse().unwrap()));
        assert!(!network("10.1.0.0", 16).contains("10.2.0.3".parse().unwrap()));
        assert!(network("0.0.0.0", 0).contains("203.0.113.9".parse().unwrap()));
        assert!(!network("0.0.0.0", 0).contains("2001:db8::1".parse().unwrap()));
        assert!(network("2001:db8::", 32).contains("2001:db8:1::1".parse().unwrap()));
        assert!(!network("2001:db8::1", 128).contains("2001:db8::2".parse().unwrap()));
    }

    #[test]
    fn an_ipv4_mapped_address_counts_as_ipv4() {
        assert!(network("192.0.2.7", 32).contains("::ffff:192.0.2.7".parse().unwrap()));
    }
}
