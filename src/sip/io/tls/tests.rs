use std::net::Ipv4Addr;
use std::path::Path;

use bytes::Bytes;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::sip::Flow;
use crate::sip::Transport;
use crate::sip::io;
use crate::sip::io::Bind;
use crate::sip::io::BindError;
use crate::sip::io::CloseReason;
use crate::sip::io::Inbound;
use crate::sip::io::Transports;

const PING: &str = "OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/TLS c;branch=z9hG4bK1\r\nl: 0\r\n\r\n";
const LOOPBACK: Network = Network { address: IpAddr::V4(Ipv4Addr::LOCALHOST), prefix_len: 8 };

/// An authority in a directory of its own, `ca.pem`.
pub(in crate::sip::io) struct Authority {
    pub(in crate::sip::io) directory: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(in crate::sip::io) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { directory, issuer: Issuer::new(params, key) }
    }

    pub(in crate::sip::io) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes `FILE.crt` and `FILE.key` for these names.
    pub(in crate::sip::io) fn issue(&self, file: &str, names: &[&str]) -> (PathBuf, PathBuf) {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &self.issuer).unwrap();
        let files = (self.file(&format!("{file}.crt")), self.file(&format!("{file}.key")));
        std::fs::write(&files.0, certificate.pem()).unwrap();
        std::fs::write(&files.1, key.serialize_pem()).unwrap();
        files
    }

    /// Listens with TLS as `server` (names of its certificate), and reaches the loopback network as one trunk.
    pub(in crate::sip::io) fn config(&self, server: &[&str]) -> io::Config {
        let (certificate_file, key_file) = self.issue("server", server);
        let files = ServerFiles { certificate_file, key_file, client_ca_file: None, require_client_certificate: false };
        let trunk =
            TrunkTls { ca_file: Some(self.file("ca.pem")), ..TrunkTls::new(TrunkName::new("pbx"), vec![LOOPBACK]) };
        let bind = || vec![Bind { address: "127.0.0.1:0".parse().unwrap(), key: "sip.tls".to_owned() }];
        io::Config {
            tcp: bind(),
            tls: bind(),
            tls_files: Config { server: Some(files), trunks: vec![trunk], ..Config::default() },
            is_trunk: Arc::new(|_| true),
            ..io::Config::default()
        }
    }

    /// The same, asking for clients' certificates of this authority.
    fn mutual(&self) -> io::Config {
        let mut config = self.config(&["127.0.0.1"]);
        let server = config.tls_files.server.as_mut().unwrap();
        server.client_ca_file = Some(self.file("ca.pem"));
        server.require_client_certificate = true;
        config
    }
}

async fn up(config: io::Config) -> Transports {
    Transports::bind(config).await.unwrap()
}

fn flow(from: &Transports, to: SocketAddr) -> Flow {
    Flow { transport: Transport::Tls, local: from.tls_addresses()[0], remote: to, connection: None }
}

async fn message(transports: &mut Transports) -> (Flow, Bytes) {
    loop {
        match transports.recv().await {
            Inbound::Message { flow, bytes } => return (flow, bytes),
            Inbound::Opened { .. } => {}
            other @ (Inbound::Closed { .. } | Inbound::SendFailed { .. } | Inbound::Resolved { .. }) => {
                panic!("{other:?}")
            }
        }
    }
}

async fn closed(transports: &mut Transports) -> CloseReason {
    loop {
        if let Inbound::Closed { reason, .. } = transports.recv().await {
            return reason;
        }
    }
}

/// Why a message from a gateway with `here` never arrives at one with `there`.
async fn refused(here: io::Config, there: io::Config) -> String {
    let (mut here, mut there) = (up(here).await, up(there).await);
    let path = flow(&here, there.tls_addresses()[0]);
    here.send(path, &PING.into());
    let reason = tokio::select! {
        reason = closed(&mut here) => reason,
        arrived = message(&mut there) => panic!("{arrived:?}"),
    };
    format!("{reason:?}")
}

/// A client that trusts `authority`, without a certificate of its own; the first certificate that it is shown.
async fn shown_to_a_client(authority: &Authority, server: SocketAddr) -> CertificateDer<'static> {
    let stream = raw_client(authority, server).await;
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

async fn raw_client(authority: &Authority, server: SocketAddr) -> tokio_rustls::client::TlsStream<TcpStream> {
    let mut trunk = TrunkTls::new(TrunkName::new("raw"), vec![LOOPBACK]);
    trunk.ca_file = Some(authority.file("ca.pem"));
    let (_, config) = Watched::client(&trunk).unwrap();
    let client = TlsClient { config: Arc::clone(&config.borrow()), name: trunk.name_at(server) };
    client.connect(TcpStream::connect(server).await.unwrap()).await.unwrap()
}

fn certificate_in(path: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(path).unwrap()
}

#[tokio::test]
async fn one_tls_connection_serves_every_message_both_ways_and_shows_the_listening_port() {
    let authority = Authority::new();
    let (mut one, mut two) = (up(authority.config(&["127.0.0.1"])).await, up(authority.config(&["127.0.0.1"])).await);
    let path = flow(&one, two.tls_addresses()[0]);
    one.send(path, &PING.into());
    one.send(path, &PING.into());
    let (first, bytes) = message(&mut two).await;
    assert_eq!((first.transport, &bytes[..]), (Transport::Tls, PING.as_bytes()));
    assert_eq!(message(&mut two).await.0, first);
    assert_ne!(first.remote, one.tls_addresses()[0], "the stream has a port of its own");
    two.send(first, &PING.into());
    let (reply, _) = message(&mut one).await;
    assert_eq!((reply.local, reply.remote), (one.tls_addresses()[0], path.remote), "what Contact will show");
    one.close(reply);
    assert!(matches!(closed(&mut two).await, CloseReason::Peer));
}

#[tokio::test]
async fn tcp_and_tls_to_one_address_are_two_flows() {
    let authority = Authority::new();
    let (mut one, mut two) = (up(authority.config(&["127.0.0.1"])).await, up(authority.config(&["127.0.0.1"])).await);
    // In the clear to the TLS port: the peer ends it, and the message is not sent by the TLS stream that is open.
    let secure = flow(&one, two.tls_addresses()[0]);
    one.send(secure, &PING.into());
    message(&mut two).await;
    one.send(Flow { transport: Transport::Tcp, ..secure }, &PING.into());
    let Inbound::Closed { flow, .. } = (loop {
        match one.recv().await {
            Inbound::Opened { .. } => {}
            other @ (Inbound::Message { .. }
            | Inbound::Closed { .. }
            | Inbound::SendFailed { .. }
            | Inbound::Resolved { .. }) => break other,
        }
    }) else {
        panic!("closed")
    };
    assert_eq!(flow.transport, Transport::Tcp);
}

#[tokio::test]
async fn a_certificate_for_another_name_or_of_another_authority_is_refused() {
    let (ours, other) = (Authority::new(), Authority::new());
    let reason = refused(ours.config(&["127.0.0.1"]), ours.config(&["pbx.test"])).await;
    assert!(reason.contains("Io"), "{reason}");
    let reason = refused(ours.config(&["127.0.0.1"]), other.config(&["127.0.0.1"])).await;
    assert!(reason.contains("Io"), "{reason}");
}

#[tokio::test]
async fn the_configured_name_is_checked_and_sent_as_sni() {
    let authority = Authority::new();
    let mut config = authority.config(&["127.0.0.1"]);
    config.tls_files.trunks[0].server_name = Some("pbx.test".try_into().unwrap());
    let mut ours = up(config).await;
    let (certificate, key) = authority.issue("pbx", &["pbx.test"]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let path = flow(&ours, listener.local_addr().unwrap());
    let acceptor = TlsAcceptor::from(Arc::new(
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate_in(&certificate)], PrivateKeyDer::from_pem_file(key).unwrap())
            .unwrap(),
    ));
    ours.send(path, &PING.into());
    let mut stream = acceptor.accept(listener.accept().await.unwrap().0).await.unwrap();
    assert_eq!(stream.get_ref().1.server_name(), Some("pbx.test"));
    let mut heard = vec![0; PING.len()];
    stream.read_exact(&mut heard).await.unwrap();
    assert_eq!(heard, PING.as_bytes());
}

#[tokio::test]
async fn a_target_found_by_name_must_bear_that_name() {
    let authority = Authority::new();
    let (mut ours, mut pbx) = (up(authority.config(&["127.0.0.1"])).await, up(authority.config(&["pbx.test"])).await);
    let path = flow(&ours, pbx.tls_addresses()[0]);
    let names = BTreeMap::from([(path.remote, "pbx.test".try_into().unwrap())]);
    ours.tls_clients.set_target_names(&TrunkName::new("pbx"), names);
    ours.send(path, &PING.into());
    assert_eq!(&message(&mut pbx).await.1[..], PING.as_bytes());
}

#[tokio::test]
async fn mutual_tls_takes_our_authoritys_certificate_and_nothing_else() {
    let (ours, other) = (Authority::new(), Authority::new());
    refused(ours.config(&["127.0.0.1"]), ours.mutual()).await;

    let mut foreign = ours.config(&["127.0.0.1"]);
    foreign.tls_files.trunks[0].certificate = Some(other.issue("client", &["pbx.test"]));
    refused(foreign, ours.mutual()).await;

    let mut known = ours.config(&["127.0.0.1"]);
    known.tls_files.trunks[0].certificate = Some(ours.issue("client", &["pbx.test"]));
    let (mut known, mut there) = (up(known).await, up(ours.mutual()).await);
    let path = flow(&known, there.tls_addresses()[0]);
    known.send(path, &PING.into());
    assert_eq!(&message(&mut there).await.1[..], PING.as_bytes());
}

#[tokio::test]
async fn a_clients_certificate_must_bear_its_trunks_name() {
    let authority = Authority::new();
    let there = |name: &str| {
        let mut config = authority.mutual();
        config.tls_files.trunks[0].server_name = Some(name.to_owned().try_into().unwrap());
        config
    };
    let mut here = authority.config(&["127.0.0.1"]);
    here.tls_files.trunks[0].certificate = Some(authority.issue("client", &["pbx.test"]));
    refused(here.clone(), there("other.test")).await;
    let (mut here, mut there) = (up(here).await, up(there("pbx.test")).await);
    let path = flow(&here, there.tls_addresses()[0]);
    here.send(path, &PING.into());
    message(&mut there).await;
}

#[tokio::test]
async fn a_new_certificate_serves_new_handshakes_and_leaves_old_connections_alone() {
    let authority = Authority::new();
    let mut config = authority.config(&["127.0.0.1"]);
    config.tls_files.reload_interval = Duration::from_millis(20);
    let certificate_file = config.tls_files.server.as_ref().unwrap().certificate_file.clone();
    let mut ours = up(config).await;
    let address = ours.tls_addresses()[0];
    let mut before = raw_client(&authority, address).await;
    before.write_all(PING.as_bytes()).await.unwrap();
    let (old_flow, _) = message(&mut ours).await;

    // A broken file: the old certificate stays.
    let good = certificate_in(&certificate_file);
    std::fs::write(&certificate_file, "no certificate").unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(shown_to_a_client(&authority, address).await, good);

    let renewed = certificate_in(&authority.issue("server", &["127.0.0.1"]).0);
    assert_ne!(renewed, good);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while shown_to_a_client(&authority, address).await != renewed {
        assert!(tokio::time::Instant::now() < deadline, "the new certificate was never shown");
    }
    before.write_all(PING.as_bytes()).await.unwrap();
    loop {
        match ours.recv().await {
            Inbound::Message { flow, .. } => break assert_eq!(flow, old_flow),
            Inbound::Closed { flow, .. } => assert_ne!(flow, old_flow),
            Inbound::Opened { .. } | Inbound::SendFailed { .. } | Inbound::Resolved { .. } => {}
        }
    }
}

#[tokio::test]
async fn a_peer_that_never_shakes_hands_is_closed() {
    let authority = Authority::new();
    let config = io::Config {
        handshake_timeout: Duration::from_millis(100),
        connections_max: 1,
        ..authority.config(&["127.0.0.1"])
    };
    let ours = up(config).await;
    let mut silent = TcpStream::connect(ours.tls_addresses()[0]).await.unwrap();
    assert_eq!(silent.read(&mut [0; 8]).await.unwrap(), 0);
    // Its place is free again.
    let mut clear = TcpStream::connect(ours.tls_addresses()[0]).await.unwrap();
    clear.write_all(PING.as_bytes()).await.unwrap();
    let mut alert = Vec::new();
    drop(clear.read_to_end(&mut alert).await);
    assert!(!alert.starts_with(b"SIP/2.0"), "nothing is said in the clear");
}

#[tokio::test]
async fn a_tls_peer_that_does_not_read_is_closed_and_others_live() {
    let authority = Authority::new();
    let mut ours = up(io::Config { queue_bytes_max: 200_000, ..authority.config(&["127.0.0.1"]) }).await;
    let mut deaf = raw_client(&authority, ours.tls_addresses()[0]).await;
    deaf.write_all(PING.as_bytes()).await.unwrap();
    let (path, _) = message(&mut ours).await;
    let block = Bytes::from(vec![b'x'; 60_000]);
    for _ in 0..1_000 {
        ours.send(path, &block);
        tokio::task::yield_now().await;
    }
    assert!(matches!(closed(&mut ours).await, CloseReason::NotReading));
    let mut other = raw_client(&authority, ours.tls_addresses()[0]).await;
    other.write_all(PING.as_bytes()).await.unwrap();
    loop {
        if let Inbound::Message { bytes, .. } = ours.recv().await {
            break assert_eq!(&bytes[..], PING.as_bytes());
        }
    }
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named() {
    let authority = Authority::new();
    let mut config = authority.config(&["127.0.0.1"]);
    config.tls_files.server = None;
    assert!(matches!(Transports::bind(config).await, Err(BindError::NoCertificate { .. })));

    let mut config = authority.config(&["127.0.0.1"]);
    let (certificate, _) = authority.issue("another", &["127.0.0.1"]);
    config.tls_files.server.as_mut().unwrap().certificate_file = certificate;
    assert!(matches!(Transports::bind(config).await, Err(BindError::Tls(TlsError::Unusable { .. }))), "another key");

    let mut config = authority.config(&["127.0.0.1"]);
    config.tls_files.trunks[0].ca_file = Some("/nonexistent".into());
    let error = Transports::bind(config).await.unwrap_err();
    assert!(
        matches!(&error, BindError::Tls(TlsError::File { path, .. }) if path == Path::new("/nonexistent")),
        "{error}"
    );
}
