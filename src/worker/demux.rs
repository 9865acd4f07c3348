//! Who a datagram on the shared browser port belongs to. Pure.
//!
//! An address becomes known only by an ICE check with integrity, so nobody else gets DTLS or RTP to a peer.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use crate::ids::CallId;
use crate::ids::LegId;
use crate::limits::PEER_ADDRESS_EXPIRY;
use crate::limits::PEER_ADDRESSES_MAX;
use crate::webrtc::stun;
use crate::webrtc::stun::DatagramKind;

/// A browser leg of one worker.
pub type PeerKey = (CallId, LegId);

/// What the table says of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Its address is bound to this peer.
    Known(PeerKey),
    /// A STUN request for this peer from an address not bound: bind it if the peer accepts it.
    Candidate(PeerKey),
    /// Nobody's.
    Drop,
}

#[derive(Debug)]
struct Bound {
    peer: PeerKey,
    last_used: Instant,
}

/// The address and ufrag tables of one browser port.
#[derive(Debug, Default)]
pub struct Demux {
    addresses: BTreeMap<SocketAddr, Bound>,
    ufrags: BTreeMap<String, PeerKey>,
}

impl Demux {
    /// Makes a peer reachable by its ufrag.
    pub fn open(&mut self, ufrag: String, peer: PeerKey) {
        self.ufrags.insert(ufrag, peer);
    }

    /// Forgets a peer with all its addresses.
    pub fn close(&mut self, peer: PeerKey) {
        self.ufrags.retain(|_, held| *held != peer);
        self.addresses.retain(|_, bound| bound.peer != peer);
    }

    /// Looks a datagram up; a known address counts as used.
    pub fn find(&mut self, source: SocketAddr, bytes: &[u8], now: Instant) -> Verdict {
        let Some(kind) = stun::kind(bytes) else { return Verdict::Drop };
        let asked = if kind == DatagramKind::Stun { stun::local_ufrag(bytes) } else { None };
        let named = asked.and_then(|ufrag| self.ufrags.get(ufrag)).copied();
        match self.addresses.get_mut(&source) {
            // A browser's socket may serve two calls one after the other: a valid request for another peer rebinds it.
            Some(bound) if named.is_none_or(|peer| peer == bound.peer) => {
                bound.last_used = now;
                Verdict::Known(bound.peer)
            }
            Some(_) | None => named.map_or(Verdict::Drop, Verdict::Candidate),
        }
    }

    /// Binds an address after its check; the peer's longest unused one makes room.
    pub fn bind(&mut self, source: SocketAddr, peer: PeerKey, now: Instant) {
        self.expire(now);
        let held = self.addresses.iter().filter(|(_, bound)| bound.peer == peer);
        if held.clone().count() >= PEER_ADDRESSES_MAX {
            let oldest = held.min_by_key(|(_, bound)| bound.last_used).map(|(address, _)| *address);
            if let Some(address) = oldest {
                self.addresses.remove(&address);
            }
        }
        self.addresses.insert(source, Bound { peer, last_used: now });
    }

    /// Forgets addresses that have been silent for [`PEER_ADDRESS_EXPIRY`].
    pub fn expire(&mut self, now: Instant) {
        self.addresses.retain(|_, bound| now.saturating_duration_since(bound.last_used) < PEER_ADDRESS_EXPIRY);
    }

    /// How many addresses are bound.
    pub fn bound(&self) -> usize {
        self.addresses.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use std::time::Duration;

    fn key(seed: u64) -> PeerKey {
        let mut rng = StdRng::seed_from_u64(seed);
        (CallId::generate(seed, &mut rng), LegId::generate(seed, &mut rng))
    }

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    fn request(ufrag: &str) -> Vec<u8> {
        let mut bytes = vec![0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42];
        bytes.extend([7; 12]);
        let username = format!("{ufrag}:them");
        bytes.extend([0, 6, 0, u8::try_from(username.len()).unwrap()]);
        bytes.extend(username.as_bytes());
        bytes
    }

    #[test]
    fn no_dtls_and_no_rtp_before_the_source_passed_a_check() {
        let now = Clock::system().now();
        let mut demux = Demux::default();
        demux.open("ours".into(), key(1));
        assert_eq!(demux.find(address(1), &[22; 60], now), Verdict::Drop);
        assert_eq!(demux.find(address(1), &[128; 60], now), Verdict::Drop);
        assert_eq!(demux.find(address(1), &request("ours"), now), Verdict::Candidate(key(1)));
        assert_eq!(demux.find(address(1), &[22; 60], now), Verdict::Drop, "asking is not passing");
        demux.bind(address(1), key(1), now);
        assert_eq!(demux.find(address(1), &[22; 60], now), Verdict::Known(key(1)));
        assert_eq!(demux.find(address(2), &[22; 60], now), Verdict::Drop);
    }

    #[test]
    fn a_request_for_another_peer_may_rebind_an_address() {
        let now = Clock::system().now();
        let mut demux = Demux::default();
        demux.open("first".into(), key(1));
        demux.open("second".into(), key(2));
        demux.bind(address(1), key(1), now);
        assert_eq!(demux.find(address(1), &request("first"), now), Verdict::Known(key(1)));
        assert_eq!(demux.find(address(1), &request("second"), now), Verdict::Candidate(key(2)));
        assert_eq!(demux.find(address(1), &request("nobody"), now), Verdict::Known(key(1)));
    }

    #[test]
    fn addresses_of_a_peer_are_capped_and_the_active_one_stays() {
        let now = Clock::system().now();
        let mut demux = Demux::default();
        demux.bind(address(1), key(1), now);
        for port in 2..40 {
            let later = now + Duration::from_millis(u64::from(port));
            assert_eq!(demux.find(address(1), &[128; 60], later), Verdict::Known(key(1)));
            demux.bind(address(port), key(1), later);
        }
        assert_eq!(demux.bound(), PEER_ADDRESSES_MAX);
        assert_eq!(demux.find(address(1), &[128; 60], now), Verdict::Known(key(1)));
    }

    #[test]
    fn silent_addresses_expire_and_a_closed_peer_leaves_nothing() {
        let now = Clock::system().now();
        let mut demux = Demux::default();
        demux.open("ours".into(), key(1));
        demux.bind(address(1), key(1), now);
        demux.expire(now + PEER_ADDRESS_EXPIRY);
        assert_eq!(demux.bound(), 0);
        demux.bind(address(1), key(1), now);
        demux.close(key(1));
        assert_eq!(demux.bound(), 0);
        assert_eq!(demux.find(address(1), &request("ours"), now), Verdict::Drop);
    }
}
