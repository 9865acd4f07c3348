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
    /// The trunk by which agents call each other: the one that leads back into this gateway, or that of a PBX which brings
    /// the call back. `None`: only where a dial rule says so.
    pub internal_trunk: Option<TrunkName>,
    /// Where agents call each other inside: the trunk whose PBX knows our extensions all the same. Its calls may be
    /// transferred to a colleague over it.
    pub returning_trunk: Option<TrunkName>,
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
            returning_trunk: None,
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

    /// Where a number leads that an agent dials, or transfers to. Emergency numbers go first. Then, where agents call each
    /// other inside, a colleague or a group of ours, whatever rule would fit as well; then the dial plan, which denies by
    /// default; a colleague without a rule of their own is reached by the trunk that brings them back.
    pub fn destination(&self, dialled: &str) -> Result<Destination, Denied> {
        match self.internal_trunk.as_ref().filter(|trunk| trunk.is_internal()) {
            Some(inside) if self.is_ours(dialled) && !self.dial_plan.is_emergency(dialled) => {
                Ok(Destination::to_colleague(inside, dialled))
            }
            _ => self.destination_outside(dialled),
        }
    }

    /// The number that `dialled` means on `trunk`, for a call that is there already and cannot leave it.
    pub fn destination_on(&self, trunk: &TrunkName, dialled: &str) -> Option<String> {
        let found = if trunk.is_internal() { self.destination(dialled) } else { self.destination_outside(dialled) };
        found.ok().filter(|destination| destination.trunk == *trunk).map(|destination| destination.number)
    }

    /// Where a number leads that leaves the gateway.
    fn destination_outside(&self, dialled: &str) -> Result<Destination, Denied> {
        let denied = match self.dial_plan.route(dialled) {
            Ok(route) => return Ok(Destination::of(route)),
            Err(Denied::Emergency) => return Err(Denied::Emergency),
            Err(denied @ (Denied::NotANumber | Denied::NoRule | Denied::Oneself)) => denied,
        };
        let trunk = self.internal_trunk.as_ref();
        let trunk =
            trunk.and_then(|trunk| if trunk.is_internal() { self.returning_trunk.as_ref() } else { Some(trunk) });
        match trunk {
            Some(trunk) if self.is_ours(dialled) => Ok(Destination::to_colleague(trunk, dialled)),
            _ => Err(denied),
        }
    }

    /// Whether it is the number of an agent or a group of ours.
    fn is_ours(&self, number: &str) -> bool {
        self.dial_plan.extension(number).is_some() || self.groups.iter().any(|group| group.extension.as_str() == number)
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

    fn to_colleague(trunk: &TrunkName, number: &str) -> Self {
        Self { trunk: trunk.clone(), number: number.to_owned(), emergency: None }
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
    /// How an agent's transfer of one of its calls is carried out.
    pub transfer: TransferMethod,
    /// A recording goes on when the agent has left a call that is joined here to another one.
    pub records_after_transfer: bool,
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

/// How an agent's transfer is carried out, where the new party is reached by the call's own trunk. A party on another
/// trunk is always joined here: no PBX can be asked for that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TransferMethod {
    /// The PBX is asked (REFER, RFC 3515).
    #[default]
    Refer,
    /// The gateway calls the new party and joins the two calls; the PBX sees neither REFER nor a new offer.
    Bridge,
    /// The PBX is asked first; where it refuses to be asked, the gateway does it.
    ReferThenBridge,
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
    use crate::routing::DialRule;
    use crate::routing::Emergency;
    use crate::routing::ExtensionRange;
    use crate::routing::Strategy;

    /// Extensions 1000 to 1999, a rule that sends all four-digit numbers to the carrier, agents who call each other inside.
    fn inside() -> Config {
        let rule = DialRule {
            prefix: "1".to_owned(),
            digits_min: 4,
            digits_max: 4,
            trunk: TrunkName::new("carrier"),
            strip: 0,
            prepend: "+49".to_owned(),
        };
        let extensions = ExtensionRange::new("1000", "1999").into_iter().collect();
        let emergency =
            Emergency { numbers: vec!["1112".to_owned()], trunks: vec![TrunkName::new("pbx")], ..Emergency::default() };
        let group = Group {
            extension: Extension::new("2900"),
            members: vec![Extension::new("1001")],
            strategy: Strategy::Parallel,
            ring_time: Duration::from_secs(15),
        };
        Config {
            dial_plan: DialPlan { extensions, rules: vec![rule], emergency },
            groups: vec![group],
            internal_trunk: Some(TrunkName::new(TrunkName::INTERNAL)),
            returning_trunk: Some(TrunkName::new("pbx")),
            ..Config::default()
        }
    }

    /// The trunk and the number, where there is a way.
    fn leads(config: &Config, dialled: &str) -> Option<String> {
        config.destination(dialled).ok().map(|found| format!("{} {}", found.trunk, found.number))
    }

    #[test]
    fn inside_a_colleague_goes_before_the_dial_rules_and_after_emergencies() {
        let mut config = inside();
        assert_eq!(leads(&config, "1002").as_deref(), Some("internal 1002"));
        assert_eq!(leads(&config, "2900").as_deref(), Some("internal 2900"), "a group");
        assert_eq!(
            leads(&config, "1112").as_deref(),
            Some("pbx 1112"),
            "an emergency number, though it looks like an extension"
        );
        assert_eq!(leads(&config, "2901"), None);
        config.internal_trunk = Some(TrunkName::new("pbx"));
        assert_eq!(leads(&config, "1002").as_deref(), Some("carrier +491002"), "over a PBX, the rules go first");
    }

    #[test]
    fn a_call_that_is_there_reaches_a_colleague_on_its_own_trunk_or_not_at_all() {
        let mut config = inside();
        let on = |config: &Config, trunk: &str, dialled: &str| config.destination_on(&TrunkName::new(trunk), dialled);
        assert_eq!(on(&config, "internal", "1002").as_deref(), Some("1002"));
        assert_eq!(on(&config, "internal", "600"), None, "an internal call leads nowhere else");
        assert_eq!(on(&config, "carrier", "1002").as_deref(), Some("+491002"), "a rule of its own");
        assert_eq!(on(&config, "pbx", "2900").as_deref(), Some("2900"), "the PBX that knows our extensions");
        assert_eq!(on(&config, "carrier", "2900"), None);
        config.returning_trunk = None;
        assert_eq!(on(&config, "pbx", "2900"), None);
    }

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
