//! What the configuration says about calls.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::ids::Extension;
use crate::ids::TrunkName;
use crate::recording::Obligation;
use crate::routing::Denied;
use crate::routing::DialPlan;
use crate::routing::Group;
use crate::routing::Route;
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
    /// Whoever lets a call ring for that long is set [`Offline`](crate::signaling::AgentState::Offline).
    pub unavailable_after_no_answer: bool,
    /// How long a dialled number may ring. 10–600 s.
    pub dial_timeout: Duration,
    /// How long an agent's device may stay silent after `call.incoming` before it is skipped.
    pub device_timeout: Duration,
    /// How long transport and recorder may take once the agent accepted.
    pub transport_timeout: Duration,
    /// How long closing media and sealing the recording may take before the call is given up.
    pub ending_timeout: Duration,
    /// An agent who talks gets further calls, up to `lines_max`; without it they are busy.
    pub call_waiting: bool,
    /// Calls of one agent at once.
    pub lines_max: usize,
    /// Exceptions to `call_waiting` and `lines_max`.
    pub lines_max_of: BTreeMap<Extension, usize>,
    /// Extensions that ring others.
    pub groups: Vec<Group>,
    /// The trunk by which agents call each other: its PBX brings the call back. `None`: only where a dial rule says so.
    pub internal_trunk: Option<TrunkName>,
    /// How long the other side may take to carry out a transfer.
    pub transfer_timeout: Duration,
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
            unavailable_after_no_answer: false,
            dial_timeout: Duration::from_mins(3),
            device_timeout: Duration::from_secs(2),
            transport_timeout: Duration::from_secs(5),
            ending_timeout: Duration::from_secs(10),
            call_waiting: true,
            lines_max: 2,
            lines_max_of: BTreeMap::new(),
            groups: Vec::new(),
            internal_trunk: None,
            transfer_timeout: Duration::from_mins(1),
            calls_max: 1_000,
            retry_after: Duration::from_secs(10),
        }
    }
}

impl Config {
    /// How many calls this agent may have at once.
    pub fn lines_of(&self, extension: &Extension) -> usize {
        self.lines_max_of.get(extension).copied().unwrap_or(self.lines_max)
    }

    /// How many calls this agent may have for one more to ring.
    pub fn lines_inbound(&self, extension: &Extension) -> usize {
        let usual = if self.call_waiting { self.lines_max } else { 1 };
        self.lines_max_of.get(extension).copied().unwrap_or(usual)
    }

    /// Where a number leads that an agent dials, or transfers to: by the dial plan, which denies by default; a
    /// colleague without a rule of their own is reached by the trunk that brings them back.
    pub fn destination(&self, dialled: &str) -> Result<Destination, Denied> {
        let denied = match self.dial_plan.route(dialled) {
            Ok(route) => return Ok(Destination::of(route)),
            Err(Denied::Emergency) => return Err(Denied::Emergency),
            Err(denied @ (Denied::NotANumber | Denied::NoRule)) => denied,
        };
        let is_ours = self.dial_plan.extension(dialled).is_some()
            || self.groups.iter().any(|group| group.extension.as_str() == dialled);
        match &self.internal_trunk {
            Some(trunk) if is_ours => {
                Ok(Destination { trunk: trunk.clone(), number: dialled.to_owned(), emergency: None })
            }
            _ => Err(denied),
        }
    }

    /// The number that `dialled` means on `trunk`, for a call that is there already and cannot leave it.
    pub fn destination_on(&self, trunk: &TrunkName, dialled: &str) -> Option<String> {
        let fits = |destination: &Destination| destination.trunk == *trunk;
        self.destination(dialled).ok().filter(fits).map(|destination| destination.number)
    }
}

/// Where a dialled number leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// The trunk.
    pub trunk: TrunkName,
    /// The number as the trunk gets it.
    pub number: String,
    /// Of an emergency number, the trunks to try where this one fails.
    pub emergency: Option<Vec<TrunkName>>,
}

impl Destination {
    fn of(route: Route) -> Self {
        Self { trunk: route.trunk, number: route.number, emergency: route.emergency }
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
    /// How its PBX is told that an agent holds.
    pub hold_style: HoldStyle,
    /// How digits leave.
    pub dtmf: DtmfMethod,
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

/// How a PBX is told that an agent holds a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HoldStyle {
    /// It is not told: our music, no re-INVITE.
    #[default]
    Local,
    /// A re-INVITE with `a=sendonly`, and our music.
    SendOnly,
    /// A re-INVITE with `a=inactive`: the PBX plays its own music.
    Inactive,
}

/// How digits are sent to a trunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DtmfMethod {
    /// RTP events (RFC 4733).
    #[default]
    Rfc4733,
    /// SIP INFO with `application/dtmf-relay`.
    Info,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::Emergency;

    #[test]
    fn an_emergency_number_brings_every_other_trunk_and_past_every_gate() {
        let trunks = vec![TrunkName::new("site"), TrunkName::new("carrier")];
        let emergency =
            Emergency { numbers: vec!["112".to_owned()], outside_prefix: "0".to_owned(), trunks, refused: false };
        let dial_plan = DialPlan { emergency, ..DialPlan::default() };
        let config = Config { dial_plan, ..Config::default() };
        for dialled in ["112", "0112"] {
            let destination = config.destination(dialled).unwrap();
            assert_eq!((destination.trunk, destination.number.as_str()), (TrunkName::new("site"), "112"));
            assert_eq!(destination.emergency, Some(vec![TrunkName::new("carrier")]));
        }
        assert!(config.destination("110").is_err());
    }
}
