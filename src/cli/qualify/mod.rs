//! `tandem trunks qualify`: a robot that plays every flow against a trunk's test number, and says what the peer does.
//!
//! Each flow has a user agent and a call of its own, beside a gateway that may be running: another port, no registration.

mod begin;
mod call;
pub(super) mod endpoint;
mod media;
mod report;
mod robot;
mod talk;

use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;

use crate::cli::output::Format;
use crate::cli::qualify::report::Outcome;
use crate::cli::qualify::report::Proposal;
use crate::cli::qualify::report::Report;
use crate::cli::qualify::report::Step;
use crate::cli::qualify::robot::Robot;
use crate::cli::qualify::robot::Verdict;
use crate::cli::qualify::talk::Talk;
use crate::config::Config;
use crate::config::ConfigError;
use crate::sdp::Direction;
use crate::sip::user_agent::Trunk;

/// What is to be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(super) enum Flow {
    /// Is somebody there
    Options,
    /// A call whose INVITE brings the offer
    EarlyOffer,
    /// A call whose 200 brings the offer
    LateOffer,
    /// Reliable provisional responses (RFC 3262)
    Prack,
    /// UPDATE (RFC 3311)
    Update,
    /// Hold with a=sendonly, and resume
    HoldSendonly,
    /// Hold with a=inactive, and resume
    HoldInactive,
    /// A re-INVITE without offer
    OfferlessReinvite,
    /// Two offers that cross
    Glare,
    /// From one G.711 law to the other
    CodecChange,
    /// Digits
    Dtmf,
    /// A session with a time to live (RFC 4028)
    SessionTimer,
    /// CANCEL against 200
    CancelRace,
    /// An INVITE of more than 2,000 bytes
    LargeMessage,
    /// A connection that breaks within a call
    Reconnect,
}

impl Flow {
    const fn name(self) -> &'static str {
        match self {
            Self::Options => "options",
            Self::EarlyOffer => "early_offer",
            Self::LateOffer => "late_offer",
            Self::Prack => "prack",
            Self::Update => "update",
            Self::HoldSendonly => "hold_sendonly",
            Self::HoldInactive => "hold_inactive",
            Self::OfferlessReinvite => "offerless_reinvite",
            Self::Glare => "glare",
            Self::CodecChange => "codec_change",
            Self::Dtmf => "dtmf",
            Self::SessionTimer => "session_timer",
            Self::CancelRace => "cancel_race",
            Self::LargeMessage => "large_message",
            Self::Reconnect => "reconnect",
        }
    }

    /// Whether a trunk cannot do without: what RFC 3261 and RFC 3264 ask of everybody.
    const fn is_mandatory(self) -> bool {
        match self {
            Self::Options
            | Self::EarlyOffer
            | Self::LateOffer
            | Self::HoldSendonly
            | Self::OfferlessReinvite
            | Self::CancelRace => true,
            Self::Prack
            | Self::Update
            | Self::HoldInactive
            | Self::Glare
            | Self::CodecChange
            | Self::Dtmf
            | Self::SessionTimer
            | Self::LargeMessage
            | Self::Reconnect => false,
        }
    }
}

/// How `qualify` is called.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The trunk
    name: String,
    /// A number of the trunk's that answers by itself; best one that echoes
    #[arg(long)]
    number: String,
    /// Who calls: the extension of the trunk's first line by default, else "tandem"
    #[arg(long)]
    from: Option<String>,
    /// How long an answer may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=120))]
    timeout: u64,
    /// The local port for SIP; any by default
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Only this flow; may be repeated
    #[arg(long = "flow", value_enum)]
    flows: Vec<Flow>,
}

/// The trunk of that name; what else there is, where there is none.
fn trunk_named<'a>(config: &'a Config, name: &str) -> Result<&'a Trunk, ConfigError> {
    config.trunks_outside().find(|trunk| trunk.name.as_str() == name).ok_or_else(|| {
        let known: Vec<&str> = config.trunks_outside().map(|trunk| trunk.name.as_str()).collect();
        let message = format!("no trunk is named {name:?}; expected one of {}", known.join(", "));
        ConfigError::Unusable { key: "trunk.name", message }
    })
}

/// A trunk as the robot takes it: no registration that would take the gateway's calls away, and no caps of its own.
pub(super) fn borrowed(trunk: &Trunk) -> Trunk {
    let mut trunk = trunk.clone();
    for line in &mut trunk.peering.lines {
        line.register = false;
    }
    trunk.peering.options_interval = None;
    (trunk.peering.calls_max, trunk.peering.calls_per_second) = (None, None);
    trunk
}

/// Runs the verb.
pub(super) async fn run(arguments: Arguments, config: Config, output: Format) -> anyhow::Result<ExitCode> {
    let trunk = trunk_named(&config, &arguments.name)?;
    let Some(policy) = config.call.trunks.get(&trunk.name).cloned() else {
        anyhow::bail!("the trunk {:?} has no rules for calls", arguments.name);
    };
    let line = trunk.peering.lines.first().map(|line| line.extension.clone());
    let mut robot = Robot {
        config: &config,
        trunk: borrowed(trunk),
        policy,
        number: arguments.number.clone(),
        from: arguments.from.or(line).unwrap_or_else(|| "tandem".to_owned()),
        patience: Duration::from_secs(arguments.timeout),
        port: arguments.port,
        proposal: Proposal { quirks: trunk.terms.quirks.iter().collect(), ..Proposal::default() },
        peer: None,
    };
    let flows = if arguments.flows.is_empty() { Flow::value_variants().to_vec() } else { arguments.flows };
    let steps = robot.qualify(&flows).await?;
    let Robot { peer, proposal, .. } = robot;
    let report = Report::new((arguments.name, arguments.number), peer, steps, proposal);
    output.print(&report)?;
    Ok(if report.passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Robot<'_> {
    /// Plays the flows in order. Where the plainest call does not come about, no other is tried.
    async fn qualify(&mut self, flows: &[Flow]) -> anyhow::Result<Vec<Step>> {
        let mut steps = Vec::new();
        let mut can_call = true;
        for flow in flows {
            let needs_a_call = !matches!(flow, Flow::Options | Flow::EarlyOffer);
            let (outcome, seen) = if can_call || !needs_a_call {
                self.play(*flow).await?
            } else {
                (Outcome::NotTested, "the plainest call does not come about".to_owned())
            };
            can_call &= *flow != Flow::EarlyOffer || outcome == Outcome::Supported;
            steps.push(Step { flow: flow.name(), mandatory: flow.is_mandatory(), outcome, seen });
        }
        self.propose_hold(&steps);
        Ok(steps)
    }

    async fn play(&mut self, flow: Flow) -> anyhow::Result<Verdict> {
        match flow {
            Flow::Options => self.options().await,
            Flow::EarlyOffer => self.early_offer().await,
            Flow::LateOffer => self.late_offer().await,
            Flow::Prack => self.prack().await,
            Flow::Update => self.talk(Talk::Update).await,
            Flow::HoldSendonly => self.talk(Talk::Hold(Direction::SendOnly)).await,
            Flow::HoldInactive => self.talk(Talk::Hold(Direction::Inactive)).await,
            Flow::OfferlessReinvite => self.talk(Talk::OfferlessReinvite).await,
            Flow::Glare => self.talk(Talk::Glare).await,
            Flow::CodecChange => self.talk(Talk::CodecChange).await,
            Flow::Dtmf => self.talk(Talk::Dtmf).await,
            Flow::SessionTimer => self.session_timer().await,
            Flow::CancelRace => self.cancel_race().await,
            Flow::LargeMessage => self.large_message().await,
            Flow::Reconnect => self.reconnect().await,
        }
    }

    /// The way to hold that the peer understands; `local`, which tells it nothing, is the default.
    fn propose_hold(&mut self, steps: &[Step]) {
        let went = |flow: Flow| steps.iter().find(|step| step.flow == flow.name()).map(|step| step.outcome);
        let (sendonly, inactive) = (went(Flow::HoldSendonly), went(Flow::HoldInactive));
        if sendonly == Some(Outcome::Supported) {
            self.proposal.settings.insert("hold_style = \"sendonly\"  # or \"local\", which tells the peer nothing");
        } else if inactive == Some(Outcome::Supported) {
            self.proposal.settings.insert("hold_style = \"inactive\"  # or \"local\", which tells the peer nothing");
        } else if matches!(sendonly, Some(Outcome::NotSupported | Outcome::Wrong)) {
            self.proposal.settings.insert("hold_style = \"local\"");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flow_is_called_as_it_is_reported() {
        for flow in Flow::value_variants() {
            assert_eq!(flow.to_possible_value().unwrap().get_name(), flow.name());
        }
    }
}
