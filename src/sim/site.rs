//! The site that every world plays on: one trunk, and what may be dialled.

use std::net::SocketAddr;

use crate::call::Config;
use crate::clock::Clock;
use crate::ids::TrunkName;
use crate::routing::{DialPlan, DialRule};
use crate::sip::user_agent::{self, Listen, Target, Trunk};
use crate::sip::{Flow, Transport};

/// The gateway's address.
pub(super) const GATEWAY: ([u8; 4], u16) = ([192, 0, 2, 1], 5060);
/// The PBX's address.
const PBX: ([u8; 4], u16) = ([192, 0, 2, 9], 5060);

/// The way between the two.
pub(super) fn flow() -> Flow {
    Flow {
        transport: Transport::Udp,
        local: SocketAddr::from(GATEWAY),
        remote: SocketAddr::from(PBX),
        connection: None,
    }
}

/// The site's rules: agents may dial and transfer to 7 and what follows.
pub(super) fn call_config() -> Config {
    let rule = DialRule {
        prefix: "7".to_owned(),
        digits_min: 4,
        digits_max: 4,
        trunk: TrunkName::new("pbx"),
        strip: 0,
        prepend: String::new(),
    };
    Config { dial_plan: DialPlan { rules: vec![rule], ..DialPlan::default() }, ..Config::default() }
}

/// The user agent's view of the one trunk.
pub(super) fn agent_config(clock: Clock, calls_max: Option<usize>) -> user_agent::Config {
    let mut config = user_agent::Config::new(clock);
    config.listen = vec![Listen { transport: Transport::Udp, address: SocketAddr::from(GATEWAY) }];
    let target = Target { transport: Transport::Udp, address: SocketAddr::from(PBX), tcp_for_large: false };
    let mut trunk = Trunk::of_target(TrunkName::new("pbx"), target);
    trunk.peering.calls_max = calls_max;
    config.trunks = vec![trunk];
    config
}
