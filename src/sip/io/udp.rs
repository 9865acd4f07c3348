//! One UDP socket.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::limits::{SIP_DATAGRAM_BYTES_MAX, SIP_UDP_RECEIVE_BUFFER_BYTES};
use crate::sip::Flow;
use crate::sip::Transport;
use crate::sip::io::Inbound;
use crate::sip::io::Internal;
use crate::telemetry::metrics::SIP_DATAGRAMS_DROPPED;

/// A bound socket.
#[derive(Debug, Clone)]
pub struct UdpPort {
    socket: Arc<UdpSocket>,
    local: SocketAddr,
}

impl UdpPort {
    /// Binds `address`; a port that is taken is an error, it is never shared.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        if let Err(error) = socket.set_recv_buffer_size(SIP_UDP_RECEIVE_BUFFER_BYTES) {
            tracing::debug!(%address, %error, "the kernel keeps its receive buffer");
        }
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        let socket = UdpSocket::from_std(socket.into())?;
        // From here on `try_send_to` knows that the socket is ready.
        socket.writable().await?;
        let local = socket.local_addr()?;
        Ok(Self { socket: Arc::new(socket), local })
    }

    /// Our address.
    pub const fn local(&self) -> SocketAddr {
        self.local
    }

    /// Sends at once or not at all: a full kernel buffer is a lost datagram, which SIP's timers repair.
    pub fn send(&self, remote: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        match self.socket.try_send_to(bytes, remote) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                metrics::counter!(SIP_DATAGRAMS_DROPPED.name, "direction" => "out").increment(1);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn hand_over(&self, datagram: &[u8], remote: SocketAddr, inbound: &mpsc::Sender<Internal>) {
        let bytes = Bytes::copy_from_slice(datagram);
        let flow = Flow { transport: Transport::Udp, local: self.local, remote, connection: None };
        if inbound.try_send(Internal::Inbound(Inbound::Message { flow, bytes })).is_err() {
            metrics::counter!(SIP_DATAGRAMS_DROPPED.name, "direction" => "in").increment(1);
        }
    }

    /// Reads until stopped. A datagram for which there is no room is dropped and counted.
    pub(crate) async fn receive(self, inbound: mpsc::Sender<Internal>, stop: CancellationToken) {
        let mut buffer = vec![0; SIP_DATAGRAM_BYTES_MAX];
        loop {
            let received = tokio::select! {
                () = stop.cancelled() => return,
                received = self.socket.recv_from(&mut buffer) => received,
            };
            match received {
                Ok((size, remote)) => self.hand_over(buffer.get(..size).unwrap_or_default(), remote, &inbound),
                // An ICMP error of an earlier send: not this socket's end.
                Err(error) => tracing::debug!(local = %self.local, %error, "udp receive"),
            }
        }
    }
}
