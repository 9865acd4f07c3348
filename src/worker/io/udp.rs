//! The browser port: batches in through quinn-udp (GRO split by stride), batches out through `sendmmsg`.

use std::io;
use std::io::IoSlice;
use std::io::IoSliceMut;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;

use quinn_udp::RecvMeta;
use quinn_udp::UdpSockRef;
use quinn_udp::UdpSocketState;
use rustix::net::SendAncillaryBuffer;
use rustix::net::SendFlags;
use rustix::net::SocketAddrAny;
use rustix::net::addr::SocketAddrArg;
use rustix::net::sendmmsg;

/// Buffers of one receive call.
const BUFFERS: usize = 32;
/// Bytes of one datagram that we take, times what GRO may join.
const DATAGRAM_BYTES: usize = 2_048;
/// Socket buffers, both ways: 200 calls for more than a second.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;

/// One received datagram.
#[derive(Debug, Clone, Copy)]
pub struct Datagram<'a> {
    /// Whence.
    pub source: SocketAddr,
    /// Our address that it came to, where the kernel says.
    pub to: Option<IpAddr>,
    /// The bytes.
    pub bytes: &'a [u8],
}

/// See the module.
#[derive(Debug)]
pub struct BrowserSocket {
    socket: UdpSocket,
    state: UdpSocketState,
    buffers: Vec<u8>,
    buffer_bytes: usize,
    metas: Vec<RecvMeta>,
}

impl BrowserSocket {
    /// Binds the port that the worker's browsers share.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind(address)?;
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        // A smaller buffer than wished for is no reason not to start.
        for result in [
            state.set_send_buffer_size(UdpSockRef::from(&socket), SOCKET_BUFFER_BYTES),
            state.set_recv_buffer_size(UdpSockRef::from(&socket), SOCKET_BUFFER_BYTES),
        ] {
            if let Err(error) = result {
                tracing::warn!(%error, "socket buffer size not set");
            }
        }
        let buffer_bytes = DATAGRAM_BYTES * state.gro_segments().max(1);
        let buffers = vec![0; buffer_bytes * BUFFERS];
        Ok(Self { socket, state, buffers, buffer_bytes, metas: vec![RecvMeta::default(); BUFFERS] })
    }

    /// Our address.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Receives one batch and shows each datagram to `take`. The number of datagrams; 0 when none waits.
    pub fn receive(&mut self, mut take: impl FnMut(Datagram<'_>)) -> usize {
        let mut slices: Vec<IoSliceMut<'_>> = self.buffers.chunks_mut(self.buffer_bytes).map(IoSliceMut::new).collect();
        let Ok(filled) = self.state.recv(UdpSockRef::from(&self.socket), &mut slices, &mut self.metas) else {
            return 0;
        };
        drop(slices);
        let mut datagrams = 0;
        for (meta, buffer) in self.metas.iter().zip(self.buffers.chunks(self.buffer_bytes)).take(filled) {
            let joined = buffer.get(..meta.len).unwrap_or_default();
            for bytes in joined.chunks(meta.stride.max(1)) {
                datagrams += 1;
                take(Datagram { source: meta.addr, to: meta.dst_ip, bytes });
            }
        }
        datagrams
    }

    /// Sends a batch to many destinations in as few calls as the kernel lets us; says how many left.
    pub fn send(&self, batch: &[(SocketAddr, Vec<u8>)]) -> usize {
        let slices: Vec<[IoSlice<'_>; 1]> = batch.iter().map(|(_, bytes)| [IoSlice::new(bytes)]).collect();
        let addresses: Vec<SocketAddrAny> = batch.iter().map(|(to, _)| to.as_any()).collect();
        let mut controls: Vec<SendAncillaryBuffer<'_, '_, '_>> =
            batch.iter().map(|_| SendAncillaryBuffer::default()).collect();
        let mut messages: Vec<rustix::net::MMsgHdr<'_>> = addresses
            .iter()
            .zip(&slices)
            .zip(&mut controls)
            .map(|((to, slice), control)| rustix::net::MMsgHdr::new_with_addr(to, slice, control))
            .collect();
        let (mut left, mut sent) = (messages.as_mut_slice(), 0);
        while !left.is_empty() {
            let passed = match sendmmsg(&self.socket, left, SendFlags::DONTWAIT) {
                Ok(count) => {
                    sent += count;
                    count.max(1)
                }
                Err(rustix::io::Errno::INTR) => 0,
                // One destination that cannot be reached must not hold the others up.
                Err(_) => 1,
            };
            left = left.get_mut(passed..).unwrap_or_default();
        }
        sent
    }
}

impl AsFd for BrowserSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn plain() -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket
    }

    #[test]
    fn a_batch_reaches_every_destination() {
        let ours = BrowserSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let others = [plain(), plain(), plain()];
        let batch: Vec<_> = others.iter().map(|other| (other.local_addr().unwrap(), vec![7; 100])).collect();
        assert_eq!(ours.send(&batch), 3);
        for other in others {
            let mut buffer = [0; 200];
            assert_eq!(other.recv_from(&mut buffer).unwrap(), (100, ours.local_addr().unwrap()));
        }
        assert_eq!(ours.send(&[]), 0);
    }

    #[test]
    fn an_unreachable_destination_holds_nobody_up() {
        let ours = BrowserSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let other = plain();
        let batch = [("[::1]:9".parse().unwrap(), vec![1]), (other.local_addr().unwrap(), vec![2])];
        assert_eq!(ours.send(&batch), 1);
        let mut buffer = [0; 8];
        assert_eq!(other.recv_from(&mut buffer).unwrap().0, 1);
        assert_eq!(buffer[0], 2);
    }

    #[test]
    fn datagrams_of_one_sender_come_apart_again() {
        let mut ours = BrowserSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let other = plain();
        for index in 0..10_u8 {
            other.send_to(&vec![index; 160 + usize::from(index == 9)], ours.local_addr().unwrap()).unwrap();
        }
        let mut seen = Vec::new();
        while seen.len() < 10 {
            let took = ours.receive(|datagram| seen.push((datagram.source, datagram.bytes.len(), datagram.bytes[0])));
            assert!(took > 0 || seen.len() < 10);
        }
        assert!(seen.iter().all(|(source, ..)| *source == other.local_addr().unwrap()));
        assert_eq!(seen.iter().map(|(_, length, _)| *length).sum::<usize>(), 1_601);
        assert_eq!(seen.iter().map(|(.., first)| *first).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
    }
}
