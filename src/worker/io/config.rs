//! How a worker is made.

use std::net::IpAddr;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::media::hold_music::HoldMusic;

/// How a worker is made.
#[derive(Debug, Clone)]
pub struct Config {
    /// The browser port, shared by all peers of the worker. Port 0: any.
    pub browser_bind: SocketAddr,
    /// Addresses under which browsers reach that port: our host candidates. Empty: the bound address itself.
    pub browser_advertised: Vec<IpAddr>,
    /// Ports of trunk legs, in even/odd pairs. Workers of one process must not share any.
    pub trunk_ports: RangeInclusive<u16>,
    /// A released pair rests for this long.
    pub port_drain: Duration,
    /// Silence of the trunk, where RTP was promised, before `MediaTimeout`.
    pub rtp_timeout: Duration,
    /// From the browser's answer until its transport is up, before `LegFailed`.
    pub peer_setup_timeout: Duration,
    /// Answers ICE checks and sends none.
    pub ice_lite: bool,
    /// What held callers hear.
    pub hold_music: HoldMusic,
    /// Sessions at once; a leg of one more fails with `WorkerFull`.
    pub calls_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            browser_bind: SocketAddr::from(([127, 0, 0, 1], 0)),
            browser_advertised: Vec::new(),
            trunk_ports: 20_000..=29_999,
            port_drain: Duration::from_secs(3),
            rtp_timeout: Duration::from_mins(1),
            peer_setup_timeout: Duration::from_secs(15),
            ice_lite: true,
            hold_music: HoldMusic::default(),
            calls_max: 250,
        }
    }
}
