//! The network between the PBX and the gateway: it delays, loses, repeats and so reorders.

use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::Rng as _;
use rand::rngs::StdRng;

use crate::sim::agenda::Agenda;

/// Which way a datagram goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Towards {
    /// To the gateway.
    Gateway,
    /// To the PBX.
    Peer,
}

/// How the network treats datagrams.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weather {
    /// Share of datagrams lost, 0.0–1.0.
    pub loss: f64,
    /// Share of datagrams that arrive twice.
    pub duplication: f64,
    /// Longest delay, in milliseconds; the shortest is 1.
    pub delay_ms_max: u64,
}

/// Datagrams on their way.
#[derive(Debug)]
pub struct Wire {
    weather: Weather,
    rng: StdRng,
    parcels: Agenda<(Towards, Bytes)>,
}

impl Wire {
    /// An empty wire.
    pub fn new(weather: Weather, rng: StdRng) -> Self {
        Self { weather, rng, parcels: Agenda::default() }
    }

    /// Takes a datagram on its way, or loses it.
    pub fn send(&mut self, towards: Towards, bytes: &Bytes, now: Instant) {
        if self.rng.random_bool(self.weather.loss) {
            return;
        }
        let copies = if self.rng.random_bool(self.weather.duplication) { 2 } else { 1 };
        for _ in 0..copies {
            let delay = Duration::from_millis(self.rng.random_range(1..=self.weather.delay_ms_max));
            self.parcels.enter(now + delay, (towards, bytes.clone()));
        }
    }

    /// When the next datagram arrives.
    pub fn next_at(&self) -> Option<Instant> {
        self.parcels.next_at()
    }

    /// A datagram that has arrived.
    pub fn arrived(&mut self, now: Instant) -> Option<(Towards, Bytes)> {
        self.parcels.pop_due(now)
    }
}
