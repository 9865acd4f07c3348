//! What `[sip]` and the trunks say of sockets, TLS and names.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;

use rustls::pki_types::ServerName;

use crate::config::SipListen;
use crate::config::addresses::check_shown;
use crate::config::error::ConfigError;
use crate::config::error::Source;
use crate::config::raw;
use crate::config::secret;
use crate::ids::TrunkName;
use crate::sip::Transport;
use crate::sip::io::resolve::TrunkPlaces;
use crate::sip::io::tls;
use crate::sip::io::tls::ServerFiles;
use crate::sip::io::tls::TrunkTls;
use crate::sip::user_agent::Network;
use crate::sip::user_agent::Target;

/// Where SIP listens, and how its streams are protected.
pub(super) fn listen(file: &raw::File, source: &Source, folder: &Path) -> Result<SipListen, ConfigError> {
    let sip = &file.sip;
    for address in std::iter::once(&sip.udp).chain(&sip.tcp).chain(&sip.tls) {
        check_shown(address.get_ref().ip(), address.span(), sip.advertised.is_some(), "advertised", source)?;
    }
    for trunk in &file.trunk {
        check_trunk(trunk, sip, source)?;
    }
    let places = file.trunk.iter().filter_map(places).collect();
    let plain = sip.keep_alive.0;
    Ok(SipListen {
        udp: addresses(*sip.udp.get_ref(), &file.trunk),
        tcp: sip.tcp.as_ref().map(|address| addresses(*address.get_ref(), &file.trunk)).unwrap_or_default(),
        tls: sip.tls.as_ref().map(|address| addresses(*address.get_ref(), &file.trunk)).unwrap_or_default(),
        tls_files: tls_files(file, source, folder)?,
        keep_alive: (!plain.is_zero()).then_some(plain),
        places,
        nameservers: sip.nameservers.clone(),
    })
}

/// `general`, and the same port on each interface that a trunk has for itself.
fn addresses(general: SocketAddr, trunks: &[raw::Trunk]) -> Vec<SocketAddr> {
    let mut all = vec![general];
    for bind in trunks.iter().filter_map(|trunk| trunk.bind.as_ref()) {
        let own = SocketAddr::new(*bind.get_ref(), general.port());
        if !general.ip().is_unspecified() && !all.contains(&own) {
            all.push(own);
        }
    }
    all
}

fn check_trunk(trunk: &raw::Trunk, sip: &raw::Sip, source: &Source) -> Result<(), ConfigError> {
    let by = |transport| trunk.targets.get_ref().iter().any(|target| target.0.transport == Some(transport));
    for (transport, listens) in [(Transport::Tcp, sip.tcp.is_some()), (Transport::Tls, sip.tls.is_some())] {
        if by(transport) && !listens {
            let name = transport.uri_name();
            let message = format!("a target by {name} needs `{name}` in [sip]: the peer is told where to reach us");
            return Err(source.wrong(trunk.targets.span(), message));
        }
    }
    if let Some(bind) = trunk.bind.as_ref().filter(|bind| bind.get_ref().is_unspecified()) {
        return Err(source.wrong(bind.span(), "expected an address of this host".to_owned()));
    }
    Ok(())
}

/// The targets that are addresses; names are resolved while the gateway runs.
pub(super) fn targets(trunk: &raw::Trunk) -> Vec<Target> {
    let tcp_for_large = trunk.tcp_for_large;
    let fixed = trunk.targets.get_ref().iter().filter_map(|target| target.0.fixed());
    fixed.map(|(transport, address)| Target { transport, address, tcp_for_large }).collect()
}

/// All targets of a trunk in order, where one of them is a name.
fn places(trunk: &raw::Trunk) -> Option<TrunkPlaces> {
    let places: Vec<_> = trunk.targets.get_ref().iter().map(|target| target.0.clone()).collect();
    let trunk_name = TrunkName::new(trunk.name.get_ref().as_str());
    let is_fixed = places.iter().all(|place| place.fixed().is_some());
    (!is_fixed).then_some(TrunkPlaces { trunk: trunk_name, places, tcp_for_large: trunk.tcp_for_large })
}

fn tls_files(file: &raw::File, source: &Source, folder: &Path) -> Result<tls::Config, ConfigError> {
    let sip = &file.sip;
    if sip.tls.is_none() {
        return Ok(tls::Config::default());
    }
    let beside = |path: &PathBuf| secret::beside(folder, path.clone());
    let (Some(certificate), Some(key)) = (&sip.certificate_file, &sip.key_file) else {
        let message = "needs sip.certificate_file and sip.key_file".to_owned();
        return Err(ConfigError::Unusable { key: "sip.tls", message });
    };
    if sip.require_client_certificate && sip.client_ca_file.is_none() {
        let message = "needs sip.client_ca_file: who may have signed the certificates".to_owned();
        return Err(ConfigError::Unusable { key: "sip.require_client_certificate", message });
    }
    let server = ServerFiles {
        certificate_file: beside(certificate),
        key_file: beside(key),
        client_ca_file: sip.client_ca_file.as_ref().map(beside),
        require_client_certificate: sip.require_client_certificate,
    };
    // A trunk that we never reach by TLS needs no authorities; one that reaches us has its name checked all the same.
    let by_tls = file.trunk.iter().filter(|trunk| speaks_tls(trunk));
    let trunks = by_tls.map(|trunk| trunk_tls(trunk, source, &beside)).collect::<Result<_, _>>()?;
    Ok(tls::Config { server: Some(server), trunks, ..tls::Config::default() })
}

fn speaks_tls(trunk: &raw::Trunk) -> bool {
    let open = |target: &crate::config::value::Target| matches!(target.0.transport, Some(Transport::Tls) | None);
    trunk.targets.get_ref().iter().any(open) || trunk.tls_name.is_some() || trunk.tls_ca_file.is_some()
}

fn trunk_tls(
    trunk: &raw::Trunk,
    source: &Source,
    beside: &impl Fn(&PathBuf) -> PathBuf,
) -> Result<TrunkTls, ConfigError> {
    let name = match &trunk.tls_name {
        None => None,
        Some(name) => Some(ServerName::try_from(name.get_ref().clone()).map_err(|_invalid| {
            let message = format!("{:?} is no host name; expected the name in the trunk's certificate", name.get_ref());
            source.wrong(name.span(), message)
        })?),
    };
    let certificate = match (&trunk.tls_client_certificate_file, &trunk.tls_client_key_file) {
        (None, None) => None,
        (Some(certificate), Some(key)) => Some((beside(certificate), beside(key))),
        (Some(_), None) | (None, Some(_)) => {
            let message = "needs tls_client_key_file beside it, and the other way round".to_owned();
            return Err(ConfigError::Unusable { key: "trunk.tls_client_certificate_file", message });
        }
    };
    let network = |network: &crate::config::value::Network| {
        let (address, prefix_len) = network.0;
        Network { address, prefix_len }
    };
    Ok(TrunkTls {
        name: TrunkName::new(trunk.name.get_ref().as_str()),
        networks: trunk.networks.iter().map(network).collect(),
        server_name: name,
        target_names: BTreeMap::new(),
        ca_file: trunk.tls_ca_file.as_ref().map(beside),
        certificate,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../../config/tandem.example.toml");

    /// The example with lines added to `[sip]` and to its trunk, and with other targets.
    fn listen(sip: &str, trunk: &str, targets: &str) -> Result<SipListen, String> {
        let text = EXAMPLE
            .replace("tcp = \"127.0.0.1:5060\"", &format!("tcp = \"127.0.0.1:5060\"\n{sip}"))
            .replace("targets = [\"udp:127.0.0.1:5070\"]", &format!("targets = {targets}\n{trunk}"));
        let file: raw::File = toml::from_str(&text).map_err(|error| error.to_string())?;
        let source = Source { path: "tandem.toml".into(), text };
        super::listen(&file, &source, Path::new("/site")).map_err(|error| error.to_string())
    }

    const TLS: &str = "tls = \"127.0.0.1:5061\"\ncertificate_file = \"sip.crt\"\nkey_file = \"/keys/sip.key\"";
    const BY_TLS: &str = "[\"tls:127.0.0.1:5061\"]";

    #[test]
    fn tls_takes_its_files_from_beside_the_configuration() {
        let trunk = "tls_ca_file = \"ca.pem\"\ntls_name = \"pbx.test\"\n\
                     tls_client_certificate_file = \"us.crt\"\ntls_client_key_file = \"us.key\"";
        let files = listen(TLS, trunk, BY_TLS).unwrap().tls_files;
        let server = files.server.unwrap();
        assert_eq!(server.certificate_file, Path::new("/site/sip.crt"));
        assert_eq!(server.key_file, Path::new("/keys/sip.key"));
        let trunk = &files.trunks[0];
        assert_eq!(trunk.ca_file.as_deref(), Some(Path::new("/site/ca.pem")));
        assert_eq!(trunk.server_name, Some("pbx.test".try_into().unwrap()));
        assert_eq!(trunk.certificate, Some(("/site/us.crt".into(), "/site/us.key".into())));
    }

    #[test]
    fn half_of_what_tls_needs_is_refused_by_name() {
        let complaint = |sip: &str, trunk: &str| listen(sip, trunk, BY_TLS).map(|_| ()).unwrap_err();
        assert!(complaint("", "").contains("a target by tls needs `tls` in [sip]"));
        assert!(complaint("tls = \"127.0.0.1:5061\"", "").contains("sip.certificate_file"));
        let required = format!("{TLS}\nrequire_client_certificate = true");
        assert!(complaint(&required, "").contains("sip.client_ca_file"));
        assert!(complaint(TLS, "tls_client_key_file = \"k\"").contains("tls_client_certificate_file"));
        assert!(complaint(TLS, "tls_name = \"not a name\"").contains("is no host name"));
    }

    #[test]
    fn a_trunks_own_interface_is_listened_on_once() {
        let found = listen(TLS, "bind = \"127.0.0.2\"", "[\"udp:127.0.0.1:5070\"]").unwrap();
        let both = |port: u16| vec![SocketAddr::from(([127, 0, 0, 1], port)), SocketAddr::from(([127, 0, 0, 2], port))];
        assert_eq!((found.udp, found.tcp, found.tls), (both(5060), both(5060), both(5061)));
        let found = listen("", "bind = \"127.0.0.1\"", "[\"udp:127.0.0.1:5070\"]").unwrap();
        assert_eq!(found.udp, ["127.0.0.1:5060".parse::<SocketAddr>().unwrap()]);
        assert!(listen("", "bind = \"0.0.0.0\"", "[\"udp:127.0.0.1:5070\"]").is_err());
    }

    #[test]
    fn names_are_left_to_be_resolved_and_addresses_are_not() {
        assert!(listen("", "", "[\"udp:127.0.0.1:5070\"]").unwrap().places.is_empty());
        let found = listen("", "tcp_for_large = true", "[\"udp:127.0.0.1:5070\", \"udp:pbx.test\"]").unwrap();
        assert_eq!(found.places[0].places.len(), 2);
        assert!(found.places[0].tcp_for_large);
    }

    #[test]
    fn pings_can_be_switched_off() {
        let keep_alive = |line: &str| listen(line, "", "[\"udp:127.0.0.1:5070\"]").unwrap().keep_alive;
        assert_eq!(keep_alive(""), Some(crate::limits::SIP_STREAM_KEEP_ALIVE));
        assert_eq!(keep_alive("keep_alive = \"0s\""), None);
    }
}
