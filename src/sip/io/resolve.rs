//! Names to addresses, kept fresh: a trunk's targets as the configuration names them, and what they are now.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rand::Rng as _;
use rand::rngs::StdRng;
use rustls::pki_types::ServerName;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::ids::TrunkName;
use crate::limits;
use crate::limits::SIP_RESOLVE_TIMEOUT;
use crate::sip::Transport;
use crate::sip::io::Inbound;
use crate::sip::io::Internal;
use crate::sip::io::dns;
use crate::sip::io::dns::Data;
use crate::sip::io::dns::Dns;
use crate::sip::io::dns::Kind;
use crate::sip::io::dns::Naptr;
use crate::sip::io::dns::Srv;
use crate::sip::message::Host;
use crate::sip::user_agent::Target;

/// A target as it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The transport; `None` lets DNS say (NAPTR, RFC 3263 4.1).
    pub transport: Option<Transport>,
    /// A name or an address.
    pub host: Host,
    /// The port; `None` lets DNS say (SRV, RFC 3263 4.2).
    pub port: Option<u16>,
}

impl Place {
    /// The address, where nobody needs to be asked for it.
    pub fn fixed(&self) -> Option<(Transport, SocketAddr)> {
        Some((self.transport?, SocketAddr::new(self.host.as_ip()?, self.port?)))
    }
}

/// A trunk with targets that are names.
#[derive(Debug, Clone)]
pub struct TrunkPlaces {
    /// The trunk.
    pub trunk: TrunkName,
    /// All of its targets, in order.
    pub places: Vec<Place>,
    /// As in [`Target`].
    pub tcp_for_large: bool,
}

/// Where one place is now.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    transport: Transport,
    address: SocketAddr,
}

/// Keeps a trunk's targets true until stopped: tells them once they are known, and again when they have moved. A name
/// that fails keeps the addresses that it had.
pub(super) async fn keep(wanted: TrunkPlaces, mut dns: Dns, inbound: mpsc::Sender<Internal>, stop: CancellationToken) {
    let mut known: Vec<Vec<Found>> = vec![Vec::new(); wanted.places.len()];
    let mut told = Vec::new();
    loop {
        let mut pause = limits::SIP_RESOLVE_INTERVAL_MAX;
        for (place, known) in wanted.places.iter().zip(&mut known) {
            let found = tokio::select! {
                () = stop.cancelled() => return,
                found = find(place, &mut dns) => found,
            };
            match found {
                Ok((found, life)) => {
                    *known = found;
                    pause = pause.min(life);
                }
                Err(error) => {
                    let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                    tracing::warn!(trunk = %wanted.trunk, %error, %cause, "a trunk's target is not found");
                    pause = pause.min(limits::SIP_RESOLVE_RETRY);
                }
            }
        }
        if known != told {
            told.clone_from(&known);
            let moved = resolved(&wanted, &known);
            if inbound.send(Internal::Inbound(moved)).await.is_err() {
                return;
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause.max(limits::SIP_RESOLVE_INTERVAL_MIN)) => {}
        }
    }
}

fn resolved(wanted: &TrunkPlaces, known: &[Vec<Found>]) -> Inbound {
    let (mut targets, mut names) = (Vec::new(), BTreeMap::new());
    for (place, found) in wanted.places.iter().zip(known) {
        for &Found { transport, address } in found {
            targets.push(Target { transport, address, tcp_for_large: wanted.tcp_for_large });
            if let Host::Name(name) = &place.host
                && let Ok(name) = ServerName::try_from(name.clone())
            {
                // RFC 5922 7.1: the certificate bears the name that was asked for, not the one that an SRV led to.
                names.entry(address).or_insert(name);
            }
        }
    }
    Inbound::Resolved { trunk: wanted.trunk.clone(), targets, names }
}

/// Where `place` is, and for how long that is true (RFC 3263 4).
async fn find(place: &Place, dns: &mut Dns) -> Result<(Vec<Found>, Duration), ResolveError> {
    let (transport, port, name) = match (place, &place.host) {
        (Place { transport, port: Some(port), .. }, host) => (transport.unwrap_or(Transport::Udp), *port, host),
        (Place { transport, port: None, .. }, Host::Name(name)) => {
            let (services, life) = services(name, *transport, dns).await;
            let found = by_services(&services, life, dns).await;
            if !found.0.is_empty() {
                return Ok(found);
            }
            let transport = transport.unwrap_or(Transport::Udp);
            (transport, transport.default_port(), &place.host)
        }
        (Place { transport, port: None, .. }, host) => {
            let transport = transport.unwrap_or(Transport::Udp);
            (transport, transport.default_port(), host)
        }
    };
    let (addresses, life) = addresses(name, port, dns).await?;
    let found = addresses.into_iter().map(|address| Found { transport, address }).collect();
    Ok((found, life))
}

/// The SRV names to ask for, with their transports, in order: those of NAPTR, else the usual ones.
async fn services(name: &str, wanted: Option<Transport>, dns: &mut Dns) -> (Vec<(Transport, String)>, Duration) {
    let life = limits::SIP_RESOLVE_INTERVAL_MAX;
    let usual = |transport: Transport| match transport {
        // No name leads into our own memory.
        Transport::Udp | Transport::Memory => (Transport::Udp, format!("_sip._udp.{name}")),
        Transport::Tcp => (transport, format!("_sip._tcp.{name}")),
        Transport::Tls => (transport, format!("_sips._tcp.{name}")),
    };
    if let Some(transport) = wanted {
        return (vec![usual(transport)], life);
    }
    let all = || vec![usual(Transport::Udp), usual(Transport::Tcp), usual(Transport::Tls)];
    let Ok(answer) = dns.ask(name, Kind::Naptr).await else { return (all(), life) };
    let life = life.min(dns::life(&answer, limits::SIP_RESOLVE_INTERVAL));
    let named = by_naptr(answer.records);
    if named.is_empty() { (all(), life) } else { (named, life) }
}

/// The services that we can use, best first (RFC 3263 4.1, RFC 3403 4.1).
fn by_naptr(records: Vec<Data>) -> Vec<(Transport, String)> {
    let naptr = |record| match record {
        Data::Naptr(naptr) => Some(naptr),
        Data::Srv(_) | Data::Address(_) => None,
    };
    let mut records: Vec<Naptr> = records.into_iter().filter_map(naptr).collect();
    records.sort_by_key(|record| (record.order, record.preference));
    let usable = records.into_iter().filter(|record| record.flags.eq_ignore_ascii_case("s"));
    let named = usable.filter_map(|record| {
        let transport = match record.service.to_ascii_uppercase().as_str() {
            "SIP+D2U" => Transport::Udp,
            "SIP+D2T" => Transport::Tcp,
            "SIPS+D2T" => Transport::Tls,
            _ => return None,
        };
        Some((transport, record.replacement))
    });
    named.take(limits::SIP_RESOLVE_TARGETS_MAX).collect()
}

/// The places of these services, in order. A service that cannot be asked for has none.
async fn by_services(services: &[(Transport, String)], mut life: Duration, dns: &mut Dns) -> (Vec<Found>, Duration) {
    let mut found = Vec::new();
    for (transport, service) in services {
        let Ok(answer) = dns.ask(service, Kind::Srv).await else {
            life = life.min(limits::SIP_RESOLVE_RETRY);
            continue;
        };
        life = life.min(dns::life(&answer, limits::SIP_RESOLVE_INTERVAL));
        for srv in ordered(answer.records, dns.chance()) {
            let Some(host) = Host::parse(&srv.target) else { continue };
            let Ok((addresses, its_life)) = addresses(&host, srv.port, dns).await else { continue };
            life = life.min(its_life);
            found.extend(addresses.into_iter().map(|address| Found { transport: *transport, address }));
        }
    }
    found.truncate(limits::SIP_RESOLVE_TARGETS_MAX);
    (found, life)
}

/// By priority, and by weight and chance among equals (RFC 2782).
fn ordered(records: Vec<Data>, chance: &mut StdRng) -> Vec<Srv> {
    let srv = |record| match record {
        // "." says that the service is not to be had.
        Data::Srv(srv) if srv.target.is_empty() => None,
        Data::Srv(srv) => Some(srv),
        Data::Naptr(_) | Data::Address(_) => None,
    };
    let mut rest: Vec<Srv> = records.into_iter().filter_map(srv).collect();
    // Those without weight first, as the RFC has it, so that they keep a small chance.
    rest.sort_by_key(|srv| (srv.priority, srv.weight > 0));
    let mut ordered = Vec::with_capacity(rest.len());
    while let Some(priority) = rest.first().map(|srv| srv.priority) {
        let equals = rest.iter().take_while(|srv| srv.priority == priority);
        let sum: u32 = equals.map(|srv| u32::from(srv.weight)).sum();
        let drawn = chance.random_range(0..=sum);
        let mut running = 0;
        let chosen = rest.iter().position(|srv| {
            running += u32::from(srv.weight);
            running >= drawn
        });
        ordered.push(rest.remove(chosen.unwrap_or(0)));
    }
    ordered
}

/// The addresses of a host. What DNS does not know the system may: a line in `/etc/hosts`.
async fn addresses(host: &Host, port: u16, dns: &mut Dns) -> Result<(Vec<SocketAddr>, Duration), ResolveError> {
    let mut life = limits::SIP_RESOLVE_INTERVAL_MAX;
    let mut found = Vec::new();
    if let Host::Name(name) = host {
        for kind in [Kind::A, Kind::Aaaa] {
            let Ok(answer) = dns.ask(name, kind).await else { continue };
            life = life.min(answer.ttl.unwrap_or(life));
            found.extend(answer.records.into_iter().filter_map(|record| match record {
                Data::Address(address) => Some(SocketAddr::new(address, port)),
                Data::Srv(_) | Data::Naptr(_) => None,
            }));
        }
    }
    if found.is_empty() {
        return Ok((resolve(host, port).await?, limits::SIP_RESOLVE_INTERVAL));
    }
    Ok((found, life))
}

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

    type Zone = Vec<(&'static str, u16, u32, Vec<u8>)>;

    /// A name as DNS writes it.
    fn wire(name: &str) -> Vec<u8> {
        let labels =
            name.split('.').flat_map(|label| [&[u8::try_from(label.len()).unwrap()], label.as_bytes()].concat());
        labels.chain([0]).collect()
    }

    fn srv(priority: u16, weight: u16, port: u16, target: &str) -> Vec<u8> {
        [&priority.to_be_bytes()[..], &weight.to_be_bytes(), &port.to_be_bytes(), &wire(target)].concat()
    }

    fn naptr(order: u16, service: &str, replacement: &str) -> Vec<u8> {
        let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
        [&order.to_be_bytes()[..], &[0, 10], &text("s"), &text(service), &text(""), &wire(replacement)].concat()
    }

    /// What a server of this zone says to a question.
    fn said(zone: &Zone, question: &[u8], truncated: bool) -> Vec<u8> {
        let name_and_kind = &question[12..question.len() - 2];
        let matching = zone.iter().filter(|(name, kind, ..)| {
            name_and_kind.eq_ignore_ascii_case(&[wire(name), kind.to_be_bytes().to_vec()].concat())
        });
        let matching: Vec<_> = matching.filter(|_| !truncated).collect();
        let mut bytes = question.to_vec();
        bytes[2] = if truncated { 0x87 } else { 0x85 };
        bytes[7] = u8::try_from(matching.len()).unwrap();
        for (_, kind, ttl, data) in matching {
            bytes.extend_from_slice(&[&[0xc0, 12][..], &kind.to_be_bytes(), &[0, 1], &ttl.to_be_bytes()].concat());
            bytes.extend_from_slice(&u16::try_from(data.len()).unwrap().to_be_bytes());
            bytes.extend_from_slice(data);
        }
        bytes
    }

    /// A DNS server on the loopback whose zone can be changed; `by_tcp` lets nothing fit into a datagram.
    async fn server(zone: tokio::sync::watch::Receiver<Zone>, by_tcp: bool) -> SocketAddr {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let other = zone.clone();
        drop(tokio::spawn(async move {
            let mut buffer = [0; 512];
            while let Ok((size, from)) = socket.recv_from(&mut buffer).await {
                let answer = said(&zone.borrow().clone(), &buffer[..size], by_tcp);
                socket.send_to(&answer, from).await.unwrap();
            }
        }));
        drop(tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut question = vec![0; usize::from(stream.read_u16().await.unwrap())];
                stream.read_exact(&mut question).await.unwrap();
                let answer = said(&other.borrow().clone(), &question, false);
                stream.write_u16(u16::try_from(answer.len()).unwrap()).await.unwrap();
                stream.write_all(&answer).await.unwrap();
            }
        }));
        address
    }

    fn zone() -> Zone {
        vec![
            ("pbx.test", 35, 60, naptr(20, "SIP+D2U", "_sip._udp.pbx.test")),
            ("pbx.test", 35, 60, naptr(10, "SIPS+D2T", "_sips._tcp.pbx.test")),
            ("pbx.test", 35, 60, naptr(5, "E2U+mailto", "mail.pbx.test")),
            ("_sips._tcp.pbx.test", 33, 60, srv(2, 0, 5063, "b.pbx.test")),
            ("_sips._tcp.pbx.test", 33, 60, srv(1, 0, 5062, "a.pbx.test")),
            ("_sip._udp.pbx.test", 33, 40, srv(1, 0, 5070, "a.pbx.test")),
            ("a.pbx.test", 1, 30, vec![127, 0, 0, 2]),
            ("b.pbx.test", 1, 60, vec![127, 0, 0, 3]),
            ("b.pbx.test", 28, 60, std::net::Ipv6Addr::LOCALHOST.octets().to_vec()),
            ("bare.test", 1, 60, vec![127, 0, 0, 4]),
            ("none.test", 33, 60, srv(0, 0, 0, "")),
        ]
    }

    fn dns(server: SocketAddr) -> Dns {
        use rand::SeedableRng as _;
        Dns::new(&[server], StdRng::seed_from_u64(1))
    }

    fn resolution(told: Option<Internal>) -> (Vec<Target>, BTreeMap<SocketAddr, ServerName<'static>>) {
        let Some(Internal::Inbound(Inbound::Resolved { targets, names, .. })) = told else { panic!("not resolved") };
        (targets, names)
    }

    async fn found(
        server: SocketAddr,
        transport: Option<Transport>,
        name: &str,
        port: Option<u16>,
    ) -> (Vec<String>, u64) {
        let place = Place { transport, host: Host::parse(name).unwrap(), port };
        let (found, life) = find(&place, &mut dns(server)).await.unwrap();
        let words = found.iter().map(|found| format!("{}:{}", found.transport.uri_name(), found.address)).collect();
        (words, life.as_secs())
    }

    #[tokio::test]
    async fn naptr_leads_to_srv_and_srv_to_addresses_in_order() {
        let (_zone, receiver) = tokio::sync::watch::channel(zone());
        let server = server(receiver, false).await;
        let (all, life) = found(server, None, "pbx.test", None).await;
        let expected = ["tls:127.0.0.2:5062", "tls:127.0.0.3:5063", "tls:[::1]:5063", "udp:127.0.0.2:5070"];
        assert_eq!((all, life), (expected.map(str::to_owned).to_vec(), 30), "the shortest time to live of all");
        let (udp, _) = found(server, Some(Transport::Udp), "pbx.test", None).await;
        assert_eq!(udp, ["udp:127.0.0.2:5070"], "a transport that is given needs no NAPTR");
        let (port, _) = found(server, Some(Transport::Tcp), "a.pbx.test", Some(5080)).await;
        assert_eq!(port, ["tcp:127.0.0.2:5080"], "a port that is given needs no SRV");
        let (bare, _) = found(server, None, "bare.test", None).await;
        assert_eq!(bare, ["udp:127.0.0.4:5060"], "neither NAPTR nor SRV");
        let (secure, _) = found(server, Some(Transport::Tls), "bare.test", None).await;
        assert_eq!(secure, ["tls:127.0.0.4:5061"]);
    }

    #[tokio::test]
    async fn an_answer_too_long_for_a_datagram_comes_by_tcp() {
        let (_zone, receiver) = tokio::sync::watch::channel(zone());
        let server = server(receiver, true).await;
        assert_eq!(found(server, Some(Transport::Udp), "pbx.test", None).await.0, ["udp:127.0.0.2:5070"]);
    }

    #[tokio::test]
    async fn a_trunk_follows_its_name_when_the_time_to_live_is_over() {
        let place = |data| vec![("pbx.test", 1, 1, data)];
        let (zone, receiver) = tokio::sync::watch::channel(place(vec![127, 0, 0, 2]));
        let server = server(receiver, false).await;
        let (sender, mut inbound) = mpsc::channel(4);
        let host = Host::parse("pbx.test").unwrap();
        let wanted = TrunkPlaces {
            trunk: TrunkName::new("pbx"),
            places: vec![Place { transport: Some(Transport::Tls), host, port: Some(5061) }],
            tcp_for_large: false,
        };
        drop(tokio::spawn(keep(wanted, dns(server), sender, CancellationToken::new())));
        for host in [2, 3] {
            let told = inbound.recv().await;
            let (targets, names) = resolution(told);
            let address = SocketAddr::from(([127, 0, 0, host], 5061));
            assert_eq!(targets, [Target { transport: Transport::Tls, address, tcp_for_large: false }]);
            assert_eq!(names[&address], "pbx.test".try_into().unwrap());
            zone.send_replace(place(vec![127, 0, 0, 3]));
        }
    }

    #[test]
    fn srv_records_go_by_priority_and_then_by_weight() {
        use rand::SeedableRng as _;
        let record = |priority, weight, port| Data::Srv(Srv { priority, weight, port, target: "a.test".to_owned() });
        let records = vec![record(2, 9, 4), record(1, 0, 1), record(1, 10, 2), record(1, 30, 3)];
        let mut first = BTreeMap::<u16, usize>::new();
        for seed in 0..4_000 {
            let ordered = ordered(records.clone(), &mut StdRng::seed_from_u64(seed));
            assert_eq!((ordered.len(), ordered[3].port), (4, 4), "the lower priority is last");
            *first.entry(ordered[0].port).or_default() += 1;
        }
        // 1 in 41 for the one without weight, then 10 to 30.
        assert!((40..180).contains(&first[&1]), "{first:?}");
        assert!((850..1_100).contains(&first[&2]), "{first:?}");
        assert!((2_750..3_100).contains(&first[&3]), "{first:?}");
    }
}
