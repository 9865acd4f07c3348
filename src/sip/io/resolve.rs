//! Names to addresses: the system's resolver. SRV and NAPTR (RFC 3263) are not asked yet.

use std::io;
use std::net::SocketAddr;

use crate::limits::SIP_RESOLVE_TIMEOUT;
use crate::sip::message::Host;

/// A host that has no address.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The resolver's word.
    #[error("cannot resolve {host}")]
    Lookup {
        /// The host.
        host: Host,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// No answer within [`SIP_RESOLVE_TIMEOUT`].
    #[error("no answer for {host} in time")]
    Timeout {
        /// The host.
        host: Host,
    },
    /// An answer without addresses.
    #[error("{host} has no address")]
    Empty {
        /// The host.
        host: Host,
    },
}

/// The addresses of `host`, in the resolver's order, at least one; an address is itself and asks nobody.
pub async fn resolve(host: &Host, port: u16) -> Result<Vec<SocketAddr>, ResolveError> {
    let Host::Name(name) = host else {
        return Ok(host.as_ip().into_iter().map(|address| SocketAddr::new(address, port)).collect());
    };
    let lookup = tokio::net::lookup_host((name.as_str(), port));
    let Ok(found) = tokio::time::timeout(SIP_RESOLVE_TIMEOUT, lookup).await else {
        return Err(ResolveError::Timeout { host: host.clone() });
    };
    let mut addresses: Vec<SocketAddr> =
        found.map_err(|source| ResolveError::Lookup { host: host.clone(), source })?.collect();
    addresses.dedup();
    if addresses.is_empty() { Err(ResolveError::Empty { host: host.clone() }) } else { Ok(addresses) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn addresses_and_localhost_resolve() {
        let v6 = Host::parse("[::1]").unwrap();
        assert_eq!(resolve(&v6, 5060).await.unwrap(), ["[::1]:5060".parse::<SocketAddr>().unwrap()]);
        let localhost = resolve(&Host::Name("localhost".to_owned()), 5060).await.unwrap();
        assert!(localhost.iter().all(|address| address.ip().is_loopback() && address.port() == 5060));
    }

    #[tokio::test]
    async fn a_name_that_cannot_be_says_which() {
        let error = resolve(&Host::Name("no.such.host.invalid".to_owned()), 5060).await.unwrap_err();
        assert!(error.to_string().contains("no.such.host.invalid"));
    }
}
