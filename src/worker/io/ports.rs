//! RTP/RTCP port pairs for trunk legs: even and odd (RFC 3550 11), from a configured range, drained before reuse.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::net::UdpSocket;
use std::ops::RangeInclusive;
use std::time::Duration;
use std::time::Instant;

/// The pairs of one worker. Names are the even ports.
#[derive(Debug)]
pub struct Ports {
    free: VecDeque<u16>,
    draining: VecDeque<(Instant, u16)>,
    drain: Duration,
}

/// Two bound sockets; closed when dropped.
#[derive(Debug)]
pub struct PortPair {
    /// The even port.
    pub rtp: UdpSocket,
    /// The port above it.
    pub rtcp: UdpSocket,
    /// The even port's number, to give back.
    pub port: u16,
}

impl Ports {
    /// The whole pairs within `range`; a released one rests for `drain`.
    pub fn new(range: &RangeInclusive<u16>, drain: Duration) -> Self {
        let first = range.start().saturating_add(range.start() % 2);
        let free = (first..*range.end()).step_by(2).collect();
        Self { free, draining: VecDeque::new(), drain }
    }

    /// Binds the pair that has been free for longest. Ports that somebody else holds are passed over. `None`: all taken.
    pub fn bind(&mut self, address: IpAddr, now: Instant) -> Option<PortPair> {
        self.take_drained(now);
        for _ in 0..self.free.len() {
            let port = self.free.pop_front()?;
            if let Ok((rtp, rtcp)) = bind_pair(address, port) {
                return Some(PortPair { rtp, rtcp, port });
            }
            self.free.push_back(port);
        }
        None
    }

    /// Takes a pair back; late packets of its call must not reach the next.
    pub fn release(&mut self, pair: PortPair, now: Instant) {
        self.draining.push_back((now + self.drain, pair.port));
        drop(pair);
    }

    /// Pairs that could be bound at `now`.
    pub fn free(&mut self, now: Instant) -> usize {
        self.take_drained(now);
        self.free.len()
    }

    fn take_drained(&mut self, now: Instant) {
        while let Some((_, port)) = self.draining.pop_front_if(|(at, _)| *at <= now) {
            self.free.push_back(port);
        }
    }
}

fn bind_pair(address: IpAddr, port: u16) -> io::Result<(UdpSocket, UdpSocket)> {
    let bind = |port: u16| {
        let socket = UdpSocket::bind(SocketAddr::new(address, port))?;
        socket.set_nonblocking(true)?;
        Ok::<_, io::Error>(socket)
    };
    Ok((bind(port)?, bind(port + 1)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use std::net::Ipv4Addr;

    const HOST: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 41));

    #[test]
    fn pairs_are_even_and_odd_within_the_range() {
        assert_eq!(Ports::new(&(10_001..=10_007), Duration::ZERO).free, [10_002, 10_004, 10_006]);
        assert_eq!(Ports::new(&(10_000..=10_003), Duration::ZERO).free, [10_000, 10_002]);
        assert_eq!(Ports::new(&(10_000..=10_000), Duration::ZERO).free.len(), 0);
        assert_eq!(Ports::new(&(65_530..=65_535), Duration::ZERO).free, [65_530, 65_532, 65_534]);
    }

    #[test]
    fn a_released_pair_drains_before_reuse() {
        let now = Clock::system().now();
        let mut ports = Ports::new(&(21_000..=21_003), Duration::from_secs(2));
        let first = ports.bind(HOST, now).unwrap();
        let second = ports.bind(HOST, now).unwrap();
        assert_ne!(first.port, second.port);
        assert_eq!(second.rtcp.local_addr().unwrap().port(), second.port + 1);
        assert!(ports.bind(HOST, now).is_none());
        ports.release(first, now);
        assert!(ports.bind(HOST, now + Duration::from_secs(1)).is_none());
        assert!(ports.bind(HOST, now + Duration::from_secs(2)).is_some());
    }

    #[test]
    fn a_port_that_somebody_else_holds_is_passed_over() {
        let now = Clock::system().now();
        let mut ports = Ports::new(&(21_100..=21_103), Duration::ZERO);
        let held = UdpSocket::bind(SocketAddr::new(HOST, 21_101)).unwrap();
        assert_eq!(ports.bind(HOST, now).unwrap().port, 21_102);
        drop(held);
        assert_eq!(ports.bind(HOST, now).unwrap().port, 21_100);
    }
}
