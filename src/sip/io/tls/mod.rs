//! TLS for SIP's streams (RFC 3261 26): who we are, whom we trust, and files that change while calls go on.

mod files;
#[cfg(test)]
pub(super) mod tests;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::verify_server_name;
use rustls::pki_types::ServerName;
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, ServerConfig};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::sync::CancellationToken;

use crate::ids::TrunkName;
use crate::limits;
use crate::sip::user_agent::Network;

pub use files::TlsError;

use files::Reload;
use files::Watched;

/// Certificates, keys and trust. Without `server`, nothing is accepted; without trunks, nothing is opened.
#[derive(Debug, Clone)]
pub struct Config {
    /// Who we are to peers that open a connection.
    pub server: Option<ServerFiles>,
    /// How trunks are checked when we open a connection, and which name their certificate bears when they do.
    pub trunks: Vec<TrunkTls>,
    /// How often files are looked at for a change.
    pub reload_interval: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { server: None, trunks: Vec::new(), reload_interval: limits::SIP_TLS_RELOAD_INTERVAL }
    }
}

/// Our side's files (PEM).
#[derive(Debug, Clone)]
pub struct ServerFiles {
    /// Our certificate first, then those that lead to its root.
    pub certificate_file: PathBuf,
    /// Its private key.
    pub key_file: PathBuf,
    /// Authorities that may have signed a peer's certificate. `None` asks for none.
    pub client_ca_file: Option<PathBuf>,
    /// Whether a peer without such a certificate is refused.
    pub require_client_certificate: bool,
}

/// TLS towards one trunk.
#[derive(Debug, Clone)]
pub struct TrunkTls {
    /// The trunk.
    pub name: TrunkName,
    /// Where it speaks from, as in the user agent's configuration.
    pub networks: Vec<Network>,
    /// The name in its certificate, sent as SNI. `None` takes the host name of the target, else its address.
    pub server_name: Option<ServerName<'static>>,
    /// Host names of its targets' addresses.
    pub target_names: BTreeMap<SocketAddr, ServerName<'static>>,
    /// Authorities (PEM) that may have signed its certificate. `None` takes those of the system.
    pub ca_file: Option<PathBuf>,
    /// Our certificate and key (PEM) for it, where it asks for them.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

impl TrunkTls {
    /// A trunk whose certificate the system's authorities signed.
    pub const fn new(name: TrunkName, networks: Vec<Network>) -> Self {
        Self { name, networks, server_name: None, target_names: BTreeMap::new(), ca_file: None, certificate: None }
    }

    fn prefix_of(&self, address: IpAddr) -> Option<u8> {
        self.networks.iter().filter(|network| network.contains(address)).map(|network| network.prefix_len).max()
    }

    /// The name that its certificate at `remote` must bear.
    fn name_at(&self, remote: SocketAddr) -> ServerName<'static> {
        let known = self.server_name.as_ref().or_else(|| self.target_names.get(&remote));
        known.cloned().unwrap_or_else(|| ServerName::IpAddress(remote.ip().into()))
    }
}

/// The accepting end, shared by every listener.
#[derive(Clone)]
pub(crate) struct TlsServer {
    config: watch::Receiver<Arc<ServerConfig>>,
    trunks: Arc<[TrunkTls]>,
}

impl TlsServer {
    /// Shakes hands with a peer that opened `stream`, with the newest certificate.
    pub(crate) async fn accept(
        &self,
        stream: TcpStream,
        remote: SocketAddr,
    ) -> io::Result<tokio_rustls::server::TlsStream<TcpStream>> {
        let config = Arc::clone(&self.config.borrow());
        let stream = TlsAcceptor::from(config).accept(stream).await?;
        let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        if let (Some(name), Some(certificate)) = (self.expected(remote.ip()), certificate) {
            let parsed = ParsedCertificate::try_from(certificate).map_err(io::Error::other)?;
            verify_server_name(&parsed, name).map_err(io::Error::other)?;
        }
        Ok(stream)
    }

    /// The name that the certificate of a trunk at this address must bear, where the trunk was given one.
    fn expected(&self, address: IpAddr) -> Option<&ServerName<'static>> {
        let matching = self.trunks.iter().filter_map(|trunk| Some((trunk.prefix_of(address)?, trunk)));
        // Of equal prefixes the first trunk, as the user agent has it.
        let longest = matching.reduce(|best, next| if next.0 > best.0 { next } else { best });
        longest.and_then(|(_, trunk)| trunk.server_name.as_ref())
    }
}

/// What one opened connection needs.
pub(crate) struct TlsClient {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl TlsClient {
    /// Shakes hands over a stream that we opened.
    pub(crate) async fn connect(self, stream: TcpStream) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        TlsConnector::from(self.config).connect(self.name, stream).await
    }
}

/// The opening ends, one a trunk.
pub(crate) struct TlsClients {
    trunks: Vec<(TrunkTls, watch::Receiver<Arc<ClientConfig>>)>,
}

impl TlsClients {
    /// What a connection to `remote` needs: the trunk with that target, else the one with the longest network.
    pub(crate) fn for_remote(&self, remote: SocketAddr) -> Option<TlsClient> {
        let with_target = self.trunks.iter().find(|(trunk, _)| trunk.target_names.contains_key(&remote));
        let by_network = || {
            let matching = self.trunks.iter().filter_map(|end| Some((end.0.prefix_of(remote.ip())?, end)));
            matching.reduce(|best, next| if next.0 > best.0 { next } else { best }).map(|(_, end)| end)
        };
        let (trunk, config) = with_target.or_else(by_network)?;
        Some(TlsClient { config: Arc::clone(&config.borrow()), name: trunk.name_at(remote) })
    }

    /// A trunk's targets have moved: these are their addresses now.
    pub(crate) fn set_target_names(&mut self, name: &TrunkName, names: BTreeMap<SocketAddr, ServerName<'static>>) {
        if let Some((trunk, _)) = self.trunks.iter_mut().find(|(trunk, _)| trunk.name == *name) {
            trunk.target_names = names;
        }
    }
}

/// Everything that was read, and the task that reads it again.
pub(crate) struct Tls {
    pub(crate) server: Option<TlsServer>,
    pub(crate) clients: TlsClients,
    watched: Vec<Box<dyn Reload>>,
    interval: Duration,
}

impl Tls {
    /// Reads every file. A wrong one is an error here; later it is a warning, and the old one stays.
    pub(crate) fn read(config: Config) -> Result<Self, TlsError> {
        let mut watched: Vec<Box<dyn Reload>> = Vec::new();
        let trunks: Arc<[TrunkTls]> = config.trunks.clone().into();
        let server = match config.server {
            None => None,
            Some(files) => {
                let (watch, newest) = Watched::server(files)?;
                watched.push(Box::new(watch));
                Some(TlsServer { config: newest, trunks })
            }
        };
        let mut ends = Vec::new();
        for trunk in config.trunks {
            let (watch, newest) = Watched::client(&trunk)?;
            watched.push(Box::new(watch));
            ends.push((trunk, newest));
        }
        Ok(Self { server, clients: TlsClients { trunks: ends }, watched, interval: config.reload_interval })
    }

    /// The task that looks at the files until stopped. New handshakes take what it read; connections that are up stay.
    pub(crate) fn watch(&mut self, stop: CancellationToken) -> impl Future<Output = ()> + use<> {
        files::watch(std::mem::take(&mut self.watched), self.interval, stop)
    }
}
