//! What the configuration says about calls.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::ids::Extension;
use crate::ids::TrunkName;
use crate::recording::Obligation;
use crate::routing::DialPlan;
use crate::worker::MediaSource;
use crate::worker::SrtpSuite;
use crate::worker::TrunkCodec;

/// Everything that a call needs to know of the site.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where numbers lead.
    pub dial_plan: DialPlan,
    /// The trunks.
    pub trunks: BTreeMap<TrunkName, TrunkPolicy>,
    /// How long an agent's phone rings before the caller hears "no answer". 5–300 s.
    pub no_answer: Duration,
    /// How long a dialled number may ring. 10–600 s.
    pub dial_timeout: Duration,
    /// How long an agent's device may stay silent after `call.incoming` before it is skipped.
    pub device_timeout: Duration,
    /// How long transport and recorder may take once the agent accepted.
    pub transport_timeout: Duration,
    /// How long closing media and sealing the recording may take before the call is given up.
    pub ending_timeout: Duration,
    /// Calls of one agent at once.
    pub agent_calls_max: usize,
    /// Exceptions to `agent_calls_max`.
    pub agent_calls_max_of: BTreeMap<Extension, usize>,
    /// Calls of this node at once; one more is 503.
    pub calls_max: usize,
    /// Retry-After of a 503.
    pub retry_after: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            dial_plan: DialPlan::default(),
            trunks: BTreeMap::new(),
            no_answer: Duration::from_secs(30),
            dial_timeout: Duration::from_mins(3),
            device_timeout: Duration::from_secs(2),
            transport_timeout: Duration::from_secs(5),
            ending_timeout: Duration::from_secs(10),
            agent_calls_max: 1,
            agent_calls_max_of: BTreeMap::new(),
            calls_max: 1_000,
            retry_after: Duration::from_secs(10),
        }
    }
}

impl Config {
    /// How many calls this agent may have at once.
    pub fn calls_max_of(&self, extension: &Extension) -> usize {
        self.agent_calls_max_of.get(extension).copied().unwrap_or(self.agent_calls_max)
    }
}

/// How calls over one trunk are treated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrunkPolicy {
    /// Interface that media ports are bound on.
    pub media_address: IpAddr,
    /// Address written into our session descriptions.
    pub media_advertised: IpAddr,
    /// Codecs in order of preference; never empty.
    pub codecs: Vec<TrunkCodec>,
    /// Packet time that we ask for, in milliseconds.
    pub ptime_ms: u8,
    /// Whether its calls must be recorded.
    pub recording: Obligation,
    /// Its rule on SRTP; `None` is RTP in the clear only.
    pub srtp: Option<SrtpPolicy>,
    /// From where its media is taken.
    pub media_source: MediaSource,
}

/// A trunk's rule on SRTP with keys in the session description (SDES, RFC 4568).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SrtpPolicy {
    /// RTP in the clear is refused. Where not, we offer SRTP and answer either.
    pub required: bool,
    /// Suites in order of preference; never empty.
    pub suites: Vec<SrtpSuite>,
    /// A 488 to our offer of SRTP is followed by one of RTP in the clear.
    pub downgrade: bool,
}
