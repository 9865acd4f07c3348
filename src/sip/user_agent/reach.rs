//! Which trunk a peer belongs to, and by which path a message reaches it.

use std::net::IpAddr;
use std::net::SocketAddr;

use crate::sip::Flow;
use crate::sip::Transport;
use crate::sip::message::Host;
use crate::sip::message::NameAddr;
use crate::sip::message::Request;
use crate::sip::message::SipUri;
use crate::sip::message::Uri;
use crate::sip::message::Via;
use crate::sip::user_agent::Config;
use crate::sip::user_agent::Trunk;

/// The port of a `sip:` URI or Via without one.
const DEFAULT_PORT: u16 = 5060;

/// Where a response goes: its flow, and for a stream that has closed, where to open another (RFC 3261 18.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ReplyPath {
    pub(super) flow: Flow,
    pub(super) fallback: Option<Flow>,
}

/// Fills `received` and `rport` into the top Via (RFC 3261 18.2.1, RFC 3581 4), and finds where responses go.
///
/// `maddr` is ignored: it would let a peer send our responses to a third party.
pub(super) fn reply_path(flow: Flow, request: &mut Request) -> ReplyPath {
    let Ok(mut via) = request.headers.top_via() else { return ReplyPath { flow, fallback: None } };
    let asked_for_rport = via.has_rport();
    if asked_for_rport || via.host.as_ip() != Some(flow.remote.ip()) {
        via.set_received(flow.remote.ip());
    }
    if asked_for_rport {
        via.set_rport(flow.remote.port());
    }
    request.headers.set_top_via(&via);
    reply_flow(flow, &via)
}

/// Where responses to a request with this top Via go.
pub(super) fn reply_flow(flow: Flow, via: &Via) -> ReplyPath {
    let sent_by = SocketAddr::new(flow.remote.ip(), via.port.unwrap_or(DEFAULT_PORT));
    match flow.transport {
        Transport::Udp if via.has_rport() => ReplyPath { flow, fallback: None },
        Transport::Udp => ReplyPath { flow: Flow { remote: sent_by, ..flow }, fallback: None },
        Transport::Tcp => ReplyPath { flow, fallback: Some(Flow { remote: sent_by, connection: None, ..flow }) },
    }
}

impl Config {
    /// The trunk that a flow belongs to: the longest prefix that holds the peer's address, among the trunks that are
    /// heard on our address.
    pub(super) fn trunk_of(&self, flow: &Flow) -> Option<usize> {
        let heard =
            |trunk: &Trunk| trunk.bind.is_none_or(|bind| bind == flow.local.ip() || flow.local.ip().is_unspecified());
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

    /// A fresh path to an address; `None` where we do not listen on that transport and family.
    pub(super) fn path_to(&self, trunk: &Trunk, transport: Transport, remote: SocketAddr) -> Option<Flow> {
        let local = self.local_for(trunk, transport, remote.ip())?;
        Some(Flow { transport, local, remote, connection: None })
    }

    /// The path of an in-dialog request whose first hop is `uri`, where the call's own path is `flow`.
    ///
    /// A hop that is no address, or lies outside the trunk's networks, is replaced by the call's own path: never
    /// dropped, and never sent to a third party.
    pub(super) fn hop(&self, trunk: &Trunk, flow: Flow, uri: &Uri) -> Flow {
        let Some(uri) = uri.as_sip().filter(|uri| !uri.secure) else { return flow };
        let Some(address) = uri.host.as_ip() else { return flow };
        if trunk.prefix_of(address).is_none() {
            tracing::debug!(trunk = %trunk.name, %address, "in-dialog target outside the trunk's networks: taking the call's own path");
            return flow;
        }
        // A peer that spoke over a stream is reached over it, whatever port its Contact names.
        if flow.connection.is_some() && flow.remote.ip() == address {
            return flow;
        }
        let transport = match uri.params.value("transport") {
            Some(name) if name.eq_ignore_ascii_case("udp") => Transport::Udp,
            Some(name) if name.eq_ignore_ascii_case("tcp") => Transport::Tcp,
            Some(_) => return flow,
            None => flow.transport,
        };
        let remote = SocketAddr::new(address, uri.port.unwrap_or(DEFAULT_PORT));
        self.path_to(trunk, transport, remote).unwrap_or(flow)
    }
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
        let mut uri = SipUri::with_user(user, self.shown_host(flow.local), Some(flow.local.port()));
        if flow.transport == Transport::Tcp {
            uri.params.set("transport", Some("tcp".to_owned()));
        }
        NameAddr::new(uri).to_string()
    }
}
