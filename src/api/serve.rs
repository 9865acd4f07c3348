//! The listeners, plain and with TLS.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use hyper_util::rt::TokioTimer;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_util::sync::CancellationToken;

use crate::limits::HTTP_REQUEST_TIMEOUT;

/// How long open requests may take once we shut down.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// Where to listen.
#[derive(Debug, Clone, Default)]
pub struct Listen {
    /// `http.plain`: without TLS, for this machine or behind a balancer.
    pub http: Option<SocketAddr>,
    /// `http.tls` with its files.
    pub https: Option<Https>,
}

/// Where to listen with TLS, and who we are there.
#[derive(Debug, Clone)]
pub struct Https {
    /// `http.tls`.
    pub address: SocketAddr,
    /// `http.certificate_file`: PEM, our own certificate first.
    pub certificate_file: PathBuf,
    /// `http.key_file`: PEM.
    pub key_file: PathBuf,
}

/// Why there is no listener.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The port is taken, or the address not ours.
    #[error("cannot listen on {address} (configured as {key})")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// By which key of the configuration.
        key: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A certificate or key cannot be read.
    #[error("cannot read {path} (configured as {key})")]
    File {
        /// Which.
        path: PathBuf,
        /// By which key of the configuration.
        key: &'static str,
        /// Why.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// Certificate and key do not fit, or TLS refuses them.
    #[error("the certificate in http.certificate_file cannot be used with the key in http.key_file")]
    Tls(#[from] rustls::Error),
    /// A listener broke.
    #[error("a listener broke")]
    Broken(#[source] io::Error),
}

/// Bound ports; nothing is accepted yet.
#[derive(Debug)]
pub struct Listeners {
    http: Option<TcpListener>,
    https: Option<(TcpListener, Arc<ServerConfig>)>,
}

impl Listeners {
    /// Binds every port, so that a taken one is known at start.
    pub fn bind(listen: &Listen) -> Result<Self, ServeError> {
        let http = listen.http.map(|address| bind(address, "http.plain")).transpose()?;
        let https = match &listen.https {
            Some(https) => Some((bind(https.address, "http.tls")?, Arc::new(server_config(https)?))),
            None => None,
        };
        Ok(Self { http, https })
    }

    /// The plain listener's address.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// The TLS listener's address.
    pub fn https_address(&self) -> Option<SocketAddr> {
        self.https.as_ref().and_then(|(listener, _)| listener.local_addr().ok())
    }

    /// Serves until `shutdown`, then gives open requests five seconds.
    pub async fn serve(self, router: Router, shutdown: CancellationToken) -> Result<(), ServeError> {
        let handle = Handle::new();
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        let plain = async {
            let Some(listener) = self.http else { return Ok(()) };
            let mut server = axum_server::from_tcp(listener)?.handle(handle.clone());
            server.http_builder().http1().timer(TokioTimer::new()).header_read_timeout(HTTP_REQUEST_TIMEOUT);
            server.serve(service.clone()).await
        };
        let encrypted = async {
            let Some((listener, config)) = self.https else { return Ok(()) };
            let mut server =
                axum_server::from_tcp_rustls(listener, RustlsConfig::from_config(config))?.handle(handle.clone());
            server.http_builder().http1().timer(TokioTimer::new()).header_read_timeout(HTTP_REQUEST_TIMEOUT);
            server.serve(service.clone()).await
        };
        let ending = async {
            shutdown.cancelled().await;
            handle.graceful_shutdown(Some(SHUTDOWN_GRACE));
        };
        tokio::select! {
            served = async { tokio::try_join!(plain, encrypted) } => served.map(drop).map_err(ServeError::Broken),
            () = async { ending.await; std::future::pending().await } => Ok(()),
        }
    }
}

fn bind(address: SocketAddr, key: &'static str) -> Result<TcpListener, ServeError> {
    let listener = TcpListener::bind(address).and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
    listener.map_err(|source| ServeError::Bind { address, key, source })
}

fn server_config(https: &Https) -> Result<ServerConfig, ServeError> {
    let certificate =
        |source| ServeError::File { path: https.certificate_file.clone(), key: "http.certificate_file", source };
    let chain = CertificateDer::pem_file_iter(&https.certificate_file).map_err(certificate)?;
    let chain = chain.collect::<Result<Vec<_>, _>>().map_err(certificate)?;
    let key = PrivateKeyDer::from_pem_file(&https.key_file);
    let key = key.map_err(|source| ServeError::File { path: https.key_file.clone(), key: "http.key_file", source })?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key)?;
    // WebSockets begin with an HTTP/1.1 upgrade.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
