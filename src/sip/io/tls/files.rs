//! Certificates and keys from PEM files, read again when they change.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::sip::io::tls::ServerFiles;
use crate::sip::io::tls::TrunkTls;

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is not there, or is no PEM of its kind.
    #[error("cannot read {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// A file without a single authority that TLS takes.
    #[error("no certificate authority in {}", path.display())]
    NoAuthority {
        /// Which.
        path: PathBuf,
    },
    /// The system has no authorities, and the trunk names none.
    #[error("this system has no certificate authorities; name a file with tls_ca_file")]
    NoSystemAuthority,
    /// Certificate and key do not belong together, or TLS refuses them.
    #[error("the certificate in {} cannot be used with its key", path.display())]
    Unusable {
        /// The certificate's file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// Peers' certificates cannot be checked with these authorities.
    #[error("peers cannot be checked with {}", path.display())]
    Verifier {
        /// The authorities' file.
        path: PathBuf,
        /// Why.
        #[source]
        source: VerifierBuilderError,
    },
    /// The cryptography lacks a TLS version.
    #[error("TLS 1.2 and 1.3 cannot be had")]
    Versions(#[source] rustls::Error),
}

/// Something made of files that may change.
pub(super) trait Reload: Send {
    /// Reads the files again if one has changed.
    fn look(&mut self);
}

/// A configuration made of files, and when they were last changed.
pub(super) struct Watched<T> {
    files: Vec<PathBuf>,
    seen: Vec<Stamp>,
    make: Box<dyn Fn() -> Result<T, TlsError> + Send>,
    newest: watch::Sender<Arc<T>>,
}

/// Tells one content of a file from another: inode, time of change (s, ns) and size. `None` where there is no file.
type Stamp = Option<(u64, i64, i64, u64)>;

fn stamp(path: &Path) -> Stamp {
    let found = std::fs::metadata(path).ok()?;
    Some((found.ino(), found.mtime(), found.mtime_nsec(), found.size()))
}

/// A first reading, and where newer ones appear.
type Begun<T> = (Watched<T>, watch::Receiver<Arc<T>>);

impl<T> Watched<T> {
    fn begin(
        files: Vec<PathBuf>,
        make: impl Fn() -> Result<T, TlsError> + Send + 'static,
    ) -> Result<Begun<T>, TlsError> {
        // Before reading: a change in between is seen the next time.
        let seen = files.iter().map(|file| stamp(file)).collect();
        let (newest, receiver) = watch::channel(Arc::new(make()?));
        Ok((Self { files, seen, make: Box::new(make), newest }, receiver))
    }
}

impl<T: Send + Sync> Reload for Watched<T> {
    fn look(&mut self) {
        let now: Vec<Stamp> = self.files.iter().map(|file| stamp(file)).collect();
        if now == self.seen {
            return;
        }
        // Whatever comes of it, this content is not tried again: a broken file is said once.
        self.seen = now;
        match (self.make)() {
            Ok(made) => {
                self.newest.send_replace(Arc::new(made));
                tracing::info!(files = ?self.files, "TLS files read again: new handshakes use them");
            }
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                tracing::warn!(%error, %cause, "TLS files have changed and cannot be used: the old ones stay");
            }
        }
    }
}

impl Watched<ServerConfig> {
    pub(super) fn server(files: ServerFiles) -> Result<Begun<ServerConfig>, TlsError> {
        let mut paths = vec![files.certificate_file.clone(), files.key_file.clone()];
        paths.extend(files.client_ca_file.clone());
        Self::begin(paths, move || server_config(&files))
    }
}

impl Watched<ClientConfig> {
    pub(super) fn client(trunk: &TrunkTls) -> Result<Begun<ClientConfig>, TlsError> {
        let (ca_file, certificate) = (trunk.ca_file.clone(), trunk.certificate.clone());
        let mut paths: Vec<PathBuf> = ca_file.iter().cloned().collect();
        paths.extend(certificate.iter().flat_map(|(certificate, key)| [certificate.clone(), key.clone()]));
        Self::begin(paths, move || client_config(ca_file.as_deref(), certificate.as_ref()))
    }
}

/// Looks at files until stopped.
pub(super) async fn watch(mut watched: Vec<Box<dyn Reload>>, interval: Duration, stop: CancellationToken) {
    while !watched.is_empty() {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(interval) => {}
        }
        // A disk may be slow; the SIP task is not to wait for it.
        let looked = tokio::task::spawn_blocking(move || {
            for one in &mut watched {
                one.look();
            }
            watched
        });
        let Ok(back) = looked.await else { return };
        watched = back;
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn server_config(files: &ServerFiles) -> Result<ServerConfig, TlsError> {
    let builder = ServerConfig::builder_with_provider(provider());
    let builder = builder.with_safe_default_protocol_versions().map_err(TlsError::Versions)?;
    let builder = match &files.client_ca_file {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities(path)?), provider());
            let verifier = if files.require_client_certificate { verifier } else { verifier.allow_unauthenticated() };
            let verifier = verifier.build().map_err(|source| TlsError::Verifier { path: path.clone(), source })?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let (chain, key) = identity(&files.certificate_file, &files.key_file)?;
    let unusable = |source| TlsError::Unusable { path: files.certificate_file.clone(), source };
    builder.with_single_cert(chain, key).map_err(unusable)
}

fn client_config(ca_file: Option<&Path>, certificate: Option<&(PathBuf, PathBuf)>) -> Result<ClientConfig, TlsError> {
    let roots = match ca_file {
        Some(path) => authorities(path)?,
        None => system_authorities()?,
    };
    let builder = ClientConfig::builder_with_provider(provider());
    let builder = builder.with_safe_default_protocol_versions().map_err(TlsError::Versions)?;
    let builder = builder.with_root_certificates(roots);
    let Some((certificate, key)) = certificate else { return Ok(builder.with_no_client_auth()) };
    let (chain, key) = identity(certificate, key)?;
    let unusable = |source| TlsError::Unusable { path: certificate.clone(), source };
    builder.with_client_auth_cert(chain, key).map_err(unusable)
}

fn identity(
    certificate: &Path,
    key: &Path,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |source| TlsError::File { path, source }
    };
    let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain.map_err(unreadable(certificate))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(unreadable(key))?;
    Ok((chain, key))
}

fn authorities(path: &Path) -> Result<RootCertStore, TlsError> {
    let unreadable = |source| TlsError::File { path: path.to_owned(), source };
    let found = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let mut roots = RootCertStore::empty();
    // A public bundle may hold one that TLS no longer takes; it is enough that others are valid.
    roots.add_parsable_certificates(found.map_err(unreadable)?);
    if roots.is_empty() { Err(TlsError::NoAuthority { path: path.to_owned() }) } else { Ok(roots) }
}

fn system_authorities() -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() { Err(TlsError::NoSystemAuthority) } else { Ok(roots) }
}
