//! Which trunk a peer belongs to, and by which path a message reaches it.

use std::net::IpAddr;
use std::net::SocketAddr;

use crate::ids::TrunkName;
use crate::sip::Flow;
use crate::sip::Transport;
use crate::sip::message::Host;
use crate::sip::message::NameAddr;
use crate::sip::message::Request;
use crate::sip::message::SipUri;
use crate::sip::message::Uri;
use crate::sip::message::Via;
use crate::sip::quirk::Quirk;
use crate::sip::quirk::Quirks;
use crate::sip::user_agent::Config;
use crate::sip::user_agent::Target;
use crate::sip::user_agent::Trunk;

/// Where a response goes: its flow, and for a stream that has closed, where to open another (RFC 3261 18.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ReplyPath {
    pub(super) flow: Flow,
    pub(super) fallback: Option<Flow>,
}

/// Fills `received` and `rport` into the top Via (RFC 3261 18.2.1, RFC 3581 4), and finds where responses go.
///
/// `maddr` is ignored: it would let a peer send our responses to a third party.
pub(super) fn reply_path(flow: Flow, request: &mut Request, quirks: Quirks) -> ReplyPath {
    let Ok(mut via) = request.headers.top_via() else { return ReplyPath { flow, fallback: None } };
    let asked_for_rport = via.has_rport();
    if asked_for_rport || via.host.as_ip() != Some(flow.remote.ip()) {
        via.set_received(flow.remote.ip());
    }
    if asked_for_rport {
        via.set_rport(flow.remote.port());
    }
    request.headers.set_top_via(&via);
    reply_flow(flow, &via, quirks)
}

/// Where responses to a request with this top Via go (RFC 3261 18.2.2): the source port only where `rport` was asked for,
/// or where the trunk is said to be behind a NAT.
pub(super) fn reply_flow(flow: Flow, via: &Via, quirks: Quirks) -> ReplyPath {
    let sent_by = SocketAddr::new(flow.remote.ip(), via.port.unwrap_or_else(|| flow.transport.default_port()));
    match flow.transport {
        Transport::Udp if quirks.contains(Quirk::ForceRport) || via.has_rport() => ReplyPath { flow, fallback: None },
        Transport::Udp => ReplyPath { flow: Flow { remote: sent_by, ..flow }, fallback: None },
        Transport::Memory => ReplyPath { flow, fallback: None },
        Transport::Tcp | Transport::Tls => {
            ReplyPath { flow, fallback: Some(Flow { remote: sent_by, connection: None, ..flow }) }
        }
    }
}

impl Config {
    /// A trunk has moved: calls from now on go to these targets. DNS may not lead us out of the trunk's networks.
    pub(super) fn set_targets(&mut self, name: &TrunkName, mut targets: Vec<Target>) {
        let Some(trunk) = self.trunks.iter_mut().find(|trunk| trunk.name == *name) else { return };
        targets.retain(|target| {
            let is_inside = trunk.prefix_of(target.address.ip()).is_some();
            if !is_inside {
                tracing::warn!(trunk = %name, address = %target.address, "a target's name leads outside the trunk's networks");
            }
            is_inside
        });
        trunk.targets = targets;
    }

    /// The trunk that a flow belongs to: the longest prefix that holds the peer's address, among the trunks that are
    /// heard on our address. What comes from a socket is never the trunk to ourselves, whatever address it bears.
    pub(super) fn trunk_of(&self, flow: &Flow) -> Option<usize> {
        let is_memory = flow.transport == Transport::Memory;
        let heard = |trunk: &Trunk| {
            trunk.is_internal() == is_memory
                && trunk.bind.is_none_or(|bind| bind == flow.local.ip() || flow.local.ip().is_unspecified())
        };
        let candidates = self.trunks.iter().enumerate().filter(|(_, trunk)| heard(trunk));
        let matches = candidates.filter_map(|(index, trunk)| Some((trunk.prefix_of(flow.remote.ip())?, index)));
        // Of equal prefixes, a trunk bound to this address goes first, then the one that was configured first.
        let rank = |(prefix, index): &(u8, usize)| {
            let bound = self.trunks.get(*index).is_some_and(|trunk| trunk.bind.is_some());
            (*prefix, bound, std::cmp::Reverse(*index))
        };
        matches.max_by_key(rank).map(|(_, index)| index)
    }

    /// Our address for speaking to `remote` over `transport`. `None` where we do not listen so.
    pub(super) fn local_for(&self, trunk: &Trunk, transport: Transport, remote: IpAddr) -> Option<SocketAddr> {
        self.listen
            .iter()
            .filter(|listen| listen.transport == transport && listen.address.is_ipv4() == remote.is_ipv4())
            .map(|listen| listen.address)
            .find(|address| trunk.bind.is_none_or(|bind| bind == address.ip() || address.ip().is_unspecified()))
    }

    /// A fresh path to an address; `None` where we do not listen on that transport and family. To ourselves there is one
    /// way, and only its own trunk takes it.
    pub(super) fn path_to(&self, trunk: &Trunk, transport: Transport, remote: SocketAddr) -> Option<Flow> {
        if trunk.is_internal() || transport == Transport::Memory {
            return Some(Flow::MEMORY).filter(|_| trunk.is_internal() && transport == Transport::Memory);
        }
        let local = self.local_for(trunk, transport, remote.ip())?;
        Some(Flow { transport, local, remote, connection: None })
    }

    /// The path of an in-dialog request whose first hop is `uri`, where the call's own path is `flow`.
    ///
    /// A hop that is no address, lies outside the trunk's networks, or would leave TLS for the clear, is replaced by the
    /// call's own path: never dropped, and never sent to a third party.
    pub(super) fn hop(&self, trunk: &Trunk, flow: Flow, uri: &Uri) -> Flow {
        let own = self.own_path(trunk, flow);
        let Some(uri) = uri.as_sip() else { return own };
        let Some(address) = uri.host.as_ip() else { return own };
        if trunk.prefix_of(address).is_none() {
            tracing::debug!(trunk = %trunk.name, %address, "in-dialog target outside the trunk's networks: taking the call's own path");
            return own;
        }
        // A peer that spoke over a stream is reached over it, whatever port its Contact names.
        if flow.connection.is_some() && flow.remote.ip() == address {
            return flow;
        }
        let Some(transport) = hop_transport(uri, flow.transport) else { return own };
        let remote = SocketAddr::new(address, uri.port.unwrap_or_else(|| transport.default_port()));
        self.path_to(trunk, transport, remote).unwrap_or(own)
    }

    /// The call's own path. Where it was a stream that the peer opened and that is gone, nobody listens on its source
    /// port: the trunk's target instead.
    pub(super) fn own_path(&self, trunk: &Trunk, flow: Flow) -> Flow {
        let is_target = |target: &Target| (target.transport, target.address) == (flow.transport, flow.remote);
        if !flow.transport.is_reliable() || flow.connection.is_some() || trunk.targets.iter().any(is_target) {
            return flow;
        }
        let same = trunk.targets.iter().find(|target| target.transport == flow.transport);
        // What began under TLS does not go on in the clear.
        let other = trunk.targets.first().filter(|_| flow.transport != Transport::Tls);
        same.or(other).and_then(|target| self.path_to(trunk, target.transport, target.address)).unwrap_or(flow)
    }
}

/// The transport to a URI's address, where the call's own is `own`; `None` for one that we do not take.
fn hop_transport(uri: &SipUri, own: Transport) -> Option<Transport> {
    let named = match uri.params.value("transport") {
        _ if uri.secure => Some(Transport::Tls),
        Some(name) => Transport::from_name(name),
        None => Some(own),
    };
    named.filter(|named| own != Transport::Tls || *named == Transport::Tls)
}

impl Trunk {
    /// The host that we show in Via, Contact and From where `local` is our address.
    pub(super) fn shown_host(&self, local: SocketAddr) -> Host {
        self.advertised
            .as_deref()
            .and_then(Host::parse)
            .unwrap_or_else(|| Host::from(self.bind.filter(|_| local.ip().is_unspecified()).unwrap_or(local.ip())))
    }

    /// Our Contact for `user` on a flow.
    pub(super) fn contact(&self, user: &str, flow: &Flow) -> String {
        NameAddr::new(self.contact_uri(user, flow)).to_string()
    }

    /// Our Contact in answer to a request for `asked`: `sips:` where it was asked for so (RFC 3261 12.1.1).
    pub(super) fn contact_for(&self, user: &str, flow: &Flow, asked: &Uri) -> String {
        let mut uri = self.contact_uri(user, flow);
        uri.secure = flow.transport == Transport::Tls && asked.as_sip().is_some_and(|asked| asked.secure);
        NameAddr::new(uri).to_string()
    }

    fn contact_uri(&self, user: &str, flow: &Flow) -> SipUri {
        let mut uri = SipUri::with_user(user, self.shown_host(flow.local), Some(flow.local.port()));
        if flow.transport.is_reliable() {
            uri.params.set("transport", Some(flow.transport.uri_name().to_owned()));
        }
        uri
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::sip::ConnectionId;
    use crate::sip::user_agent::Listen;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn flow(transport: Transport, remote: &str, connection: Option<u64>) -> Flow {
        let local = SocketAddr::new(address("10.0.0.1:0").ip(), transport.default_port());
        Flow { transport, local, remote: address(remote), connection: connection.map(ConnectionId) }
    }

    /// Listens everywhere on 10.0.0.1; its trunk is 10.0.0.2, reached by `transport`.
    fn config(transport: Transport) -> Config {
        let mut config = Config::new(Clock::system());
        let listen = |transport: Transport| Listen {
            transport,
            address: SocketAddr::new(address("10.0.0.1:0").ip(), transport.default_port()),
        };
        config.listen = [Transport::Udp, Transport::Tcp, Transport::Tls].map(listen).to_vec();
        let at = SocketAddr::new(address("10.0.0.2:0").ip(), transport.default_port());
        let target = Target { transport, address: at, tcp_for_large: false };
        config.trunks = vec![Trunk::of_target(TrunkName::new("pbx"), target)];
        config
    }

    fn hop(config: &Config, flow: Flow, uri: &str) -> (Transport, String, bool) {
        let hop = config.hop(&config.trunks[0], flow, &Uri::parse(uri).unwrap());
        (hop.transport, hop.remote.to_string(), hop.connection.is_some())
    }

    fn via(text: &str) -> Via {
        Via::parse(text).unwrap()
    }

    #[test]
    fn a_response_takes_the_source_port_only_where_it_was_asked_for() {
        let from = flow(Transport::Udp, "10.0.0.2:40000", None);
        let to = |text: &str, quirks| reply_flow(from, &via(text), quirks).flow.remote.to_string();
        let (strict, forced) = (Quirks::default(), Quirks::from_iter([Quirk::ForceRport]));
        assert_eq!(to("SIP/2.0/UDP 192.168.1.9:5070;branch=z9hG4bK1", strict), "10.0.0.2:5070");
        assert_eq!(to("SIP/2.0/UDP 192.168.1.9;branch=z9hG4bK1", strict), "10.0.0.2:5060");
        assert_eq!(to("SIP/2.0/UDP 192.168.1.9;maddr=192.0.2.66;branch=z9hG4bK1", strict), "10.0.0.2:5060");
        assert_eq!(to("SIP/2.0/UDP 192.168.1.9:5070;rport;branch=z9hG4bK1", strict), "10.0.0.2:40000");
        assert_eq!(to("SIP/2.0/UDP 192.168.1.9:5070;branch=z9hG4bK1", forced), "10.0.0.2:40000");
    }

    #[test]
    fn a_response_to_a_stream_takes_it_and_falls_back_to_the_sent_by_port() {
        for (transport, port) in [(Transport::Tcp, 5060), (Transport::Tls, 5061)] {
            let from = flow(transport, "10.0.0.2:40000", Some(1));
            let path = reply_flow(from, &via("SIP/2.0/TCP 10.0.0.2;branch=z9hG4bK1"), Quirks::default());
            assert_eq!(path.flow, from);
            let fallback = path.fallback.unwrap();
            assert_eq!((fallback.transport, fallback.remote.port(), fallback.connection), (transport, port, None));
        }
    }

    #[test]
    fn a_stream_is_used_while_it_stands_and_its_source_port_never_after() {
        for transport in [Transport::Tcp, Transport::Tls] {
            let config = config(transport);
            let standing = flow(transport, "10.0.0.2:40000", Some(1));
            let contact = format!("sip:a@10.0.0.2:5080;transport={}", transport.uri_name());
            assert_eq!(hop(&config, standing, &contact), (transport, "10.0.0.2:40000".to_owned(), true));
            let gone = flow(transport, "10.0.0.2:40000", None);
            assert_eq!(hop(&config, gone, &contact), (transport, "10.0.0.2:5080".to_owned(), false));
            let target = format!("10.0.0.2:{}", transport.default_port());
            for elsewhere in ["sip:a@pbx.test", "sip:a@192.0.2.66:5060", "tel:+49301234"] {
                assert_eq!(hop(&config, gone, elsewhere), (transport, target.clone(), false), "{elsewhere}");
            }
        }
    }

    #[test]
    fn a_call_under_tls_is_never_led_into_the_clear() {
        let config = config(Transport::Tls);
        let gone = flow(Transport::Tls, "10.0.0.2:40000", None);
        for contact in ["sip:a@10.0.0.2:5060;transport=tcp", "sip:a@10.0.0.2:5060;transport=udp"] {
            assert_eq!(hop(&config, gone, contact), (Transport::Tls, "10.0.0.2:5061".to_owned(), false));
        }
        assert_eq!(hop(&config, gone, "sips:a@10.0.0.2"), (Transport::Tls, "10.0.0.2:5061".to_owned(), false));
        assert_eq!(hop(&config, gone, "sip:a@10.0.0.2:5071"), (Transport::Tls, "10.0.0.2:5071".to_owned(), false));
    }

    #[test]
    fn sips_leads_a_call_to_tls() {
        let datagrams = flow(Transport::Udp, "10.0.0.2:5060", None);
        let config = config(Transport::Udp);
        assert_eq!(hop(&config, datagrams, "sips:a@10.0.0.2").0, Transport::Tls);
        assert_eq!(hop(&config, datagrams, "sip:a@10.0.0.2:5070"), (Transport::Udp, "10.0.0.2:5070".to_owned(), false));
    }

    #[test]
    fn contact_names_the_listening_port_and_the_transport() {
        let trunk = &config(Transport::Tls).trunks[0];
        let contact = |transport| trunk.contact("1001", &flow(transport, "10.0.0.2:40000", Some(1)));
        assert_eq!(contact(Transport::Udp), "<sip:1001@10.0.0.1:5060>");
        assert_eq!(contact(Transport::Tcp), "<sip:1001@10.0.0.1:5060;transport=tcp>");
        assert_eq!(contact(Transport::Tls), "<sip:1001@10.0.0.1:5061;transport=tls>");
        let asked = |uri: &str, transport| {
            trunk.contact_for("1001", &flow(transport, "10.0.0.2:40000", Some(1)), &Uri::parse(uri).unwrap())
        };
        assert_eq!(asked("sips:1001@gw.test", Transport::Tls), "<sips:1001@10.0.0.1:5061;transport=tls>");
        assert_eq!(asked("sip:1001@gw.test", Transport::Tls), "<sip:1001@10.0.0.1:5061;transport=tls>");
        assert_eq!(asked("sips:1001@gw.test", Transport::Udp), "<sip:1001@10.0.0.1:5060>", "no promise that we break");
    }

    #[test]
    fn dns_may_move_a_trunk_within_its_networks_only() {
        let mut config = config(Transport::Udp);
        let at = |text: &str| Target { transport: Transport::Udp, address: address(text), tcp_for_large: false };
        config.set_targets(&TrunkName::new("pbx"), vec![at("192.0.2.66:5060"), at("10.0.0.2:5070")]);
        assert_eq!(config.trunks[0].targets, [at("10.0.0.2:5070")]);
    }
}
