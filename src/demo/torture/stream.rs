//! One message on a TCP or TLS connection of its own, and what becomes of the connection.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio_rustls::TlsConnector;

use super::form::Streamed;
use crate::limits::SIP_STREAM_MESSAGE_TIMEOUT;
use crate::sip::message::framing::{Framed, StreamFramer};

/// Longer than the gateway waits for the rest of a message.
const PATIENCE_FOR_CLOSE: Duration = SIP_STREAM_MESSAGE_TIMEOUT.saturating_add(Duration::from_secs(5));

/// What came back.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) answers: Vec<String>,
    /// The gateway closed the connection.
    pub(super) is_closed: bool,
    /// It answered a ping after the message: the stream goes on.
    pub(super) is_alive: bool,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What checks the gateway's certificate.
pub(super) fn connector(ca_file: &Path) -> Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca_file)? {
        roots.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(TlsConnector::from(Arc::new(builder.with_root_certificates(roots).with_no_client_auth())))
}

/// Sends a message from `own` and listens: for `patience` where its framing is known, else until the gateway closes.
pub(super) async fn exchange(
    gateway: SocketAddr,
    own: Ipv4Addr,
    tls: Option<TlsConnector>,
    message: &Streamed,
    patience: Duration,
) -> Result<Heard> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((own, 0).into())?;
    let stream = socket.connect(gateway).await.with_context(|| format!("TCP {gateway}"))?;
    let mut stream: Box<dyn Stream> = match tls {
        None => Box::new(stream),
        Some(tls) => Box::new(tls.connect(ServerName::IpAddress(gateway.ip().into()), stream).await?),
    };
    let mut heard = Heard::default();
    let mut framer = StreamFramer::new();
    let (bytes, patience) = match message {
        Streamed::Whole(bytes) => (bytes, patience),
        Streamed::Short(bytes) | Streamed::Endless(bytes) => (bytes, PATIENCE_FOR_CLOSE),
    };
    stream.write_all(bytes).await?;
    stream.flush().await?;
    listen(&mut stream, &mut framer, &mut heard, patience, false).await;
    if !heard.is_closed && matches!(message, Streamed::Whole(_)) {
        stream.write_all(b"\r\n\r\n").await?;
        stream.flush().await?;
        listen(&mut stream, &mut framer, &mut heard, patience, true).await;
    }
    Ok(heard)
}

fn answer(framed: Framed) -> Option<String> {
    match framed {
        Framed::Message(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        Framed::KeepAlivePing | Framed::Pong | Framed::Bad { .. } => None,
    }
}

/// Collects answers until the time is over, the gateway closes, or the pong that is waited for comes.
async fn listen(
    stream: &mut Box<dyn Stream>,
    framer: &mut StreamFramer,
    heard: &mut Heard,
    patience: Duration,
    for_pong: bool,
) {
    let mut buffer = vec![0; 65_536];
    let listening = async {
        loop {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return heard.is_closed = true,
                Ok(size) => framer.push(buffer.get(..size).unwrap_or_default()),
            }
            heard.answers.extend(std::iter::from_fn(|| framer.next()).filter_map(answer));
            // The answer to a message that was itself a ping is no answer to ours.
            let pong = framer.take_pong();
            if for_pong && pong {
                return heard.is_alive = true;
            }
        }
    };
    // Waiting ends by the clock where nothing more comes: that is part of the answer.
    drop(tokio::time::timeout(patience, listening).await);
}
