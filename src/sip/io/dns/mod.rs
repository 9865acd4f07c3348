//! A DNS client for RFC 3263: NAPTR, SRV, A and AAAA, with their times to live, which the system's resolver keeps to
//! itself.

mod message;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use rand::Rng as _;
use rand::rngs::StdRng;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

pub(super) use message::Answer;
pub(super) use message::Data;
pub(super) use message::Kind;
pub(super) use message::Naptr;
pub(super) use message::Srv;

pub use message::DnsError;

use crate::limits::SIP_RESOLVE_TIMEOUT;

/// Largest datagram that a server sends to one who does not announce more (RFC 1035 2.3.4); some send more all the same.
const DATAGRAM_BYTES: usize = 4_096;
const PORT: u16 = 53;

/// Asks servers in order.
pub(super) struct Dns {
    servers: Vec<SocketAddr>,
    chance: StdRng,
}

/// Why nobody answered.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No server answered within [`SIP_RESOLVE_TIMEOUT`].
    #[error("no DNS server answered in time")]
    Silence,
    /// The name cannot be asked for.
    #[error("no name that DNS can hold")]
    Name,
    /// A socket failed.
    #[error("DNS cannot be asked")]
    Io(#[source] std::io::Error),
    /// What the last server said.
    #[error("DNS gave no answer")]
    Answer(#[source] DnsError),
}

impl Dns {
    /// Asks `servers`, or those of `/etc/resolv.conf` where there are none.
    pub(super) fn new(servers: &[SocketAddr], chance: StdRng) -> Self {
        let servers = if servers.is_empty() {
            system_servers(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default())
        } else {
            servers.to_vec()
        };
        Self { servers, chance }
    }

    /// For choices among equals.
    pub(super) const fn chance(&mut self) -> &mut StdRng {
        &mut self.chance
    }

    /// What the first server that answers says.
    pub(super) async fn ask(&mut self, name: &str, kind: Kind) -> Result<Answer, AskError> {
        let share = u32::try_from(self.servers.len()).unwrap_or(u32::MAX).max(1);
        let patience = SIP_RESOLVE_TIMEOUT / share;
        let mut last = AskError::Silence;
        for server in self.servers.clone() {
            let id = self.chance.random();
            match timeout(patience, exchange(server, id, name, kind)).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => last = error,
                Err(_) => {}
            }
        }
        Err(last)
    }
}

/// The `nameserver` lines; the loopback one where there are none, as the system's resolver has it.
fn system_servers(text: &str) -> Vec<SocketAddr> {
    let words = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let named = words.filter_map(|words| match words[..] {
        ["nameserver", address, ..] => address.parse::<IpAddr>().ok(),
        _ => None,
    });
    let servers: Vec<SocketAddr> = named.map(|address| (address, PORT).into()).collect();
    if servers.is_empty() { vec![(Ipv4Addr::LOCALHOST, PORT).into()] } else { servers }
}

/// One question to one server: by UDP, and again by TCP where the answer did not fit.
async fn exchange(server: SocketAddr, id: u16, name: &str, kind: Kind) -> Result<Answer, AskError> {
    let question = message::question(id, name, kind).ok_or(AskError::Name)?;
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    // A port of its own for each question, and only this server is heard: an answer is hard to forge.
    let socket = UdpSocket::bind(any).await.map_err(AskError::Io)?;
    socket.connect(server).await.map_err(AskError::Io)?;
    socket.send(&question).await.map_err(AskError::Io)?;
    let mut buffer = vec![0; DATAGRAM_BYTES];
    loop {
        let size = socket.recv(&mut buffer).await.map_err(AskError::Io)?;
        match message::answer(buffer.get(..size).unwrap_or_default(), id, name, kind) {
            Ok(answer) if answer.is_truncated => break,
            Ok(answer) => return Ok(answer),
            // A late answer to somebody who had this port before, or a forgery.
            Err(DnsError::NotOurs) => {}
            Err(error) => return Err(AskError::Answer(error)),
        }
    }
    let whole = by_tcp(server, &question).await.map_err(AskError::Io)?;
    message::answer(&whole, id, name, kind).map_err(AskError::Answer)
}

/// RFC 1035 4.2.2: two bytes of length, then the message.
async fn by_tcp(server: SocketAddr, question: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(question.len()).map_err(std::io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), question].concat()).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

/// The time to live of an answer, or `otherwise`.
pub(super) fn life(answer: &Answer, otherwise: Duration) -> Duration {
    answer.ttl.unwrap_or(otherwise)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_from_resolv_conf() {
        let text =
            "# comment\nsearch test\nnameserver 192.0.2.53\nnameserver\t2001:db8::53\nnameserver x\noptions ndots:2\n";
        let expected = ["192.0.2.53:53", "[2001:db8::53]:53"].map(|text| text.parse::<SocketAddr>().unwrap());
        assert_eq!(system_servers(text), expected);
        assert_eq!(system_servers(""), ["127.0.0.1:53".parse::<SocketAddr>().unwrap()]);
    }
}
