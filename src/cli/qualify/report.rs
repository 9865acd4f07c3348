//! What the robot found, and what it proposes.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use crate::sip::quirk::Quirk;

/// How a flow went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    /// As the RFCs say.
    Supported,
    /// Refused as the RFCs say who cannot do it.
    NotSupported,
    /// Otherwise than the RFCs allow.
    Wrong,
    /// It could not be tried.
    NotTested,
}

/// One flow and what it came to.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Step {
    /// Its name.
    pub(super) flow: &'static str,
    /// Whether a trunk cannot do without.
    pub(super) mandatory: bool,
    /// How it went.
    pub(super) outcome: Outcome,
    /// What was seen.
    pub(super) seen: String,
}

/// What is proposed for the trunk's section, beside what stands there.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Proposal {
    /// Quirks.
    #[serde(serialize_with = "names")]
    pub(super) quirks: BTreeSet<Quirk>,
    /// Other keys, each a line of the configuration.
    pub(super) settings: BTreeSet<&'static str>,
}

fn names<S: serde::Serializer>(quirks: &BTreeSet<Quirk>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(quirks.iter().map(|quirk| quirk.name()))
}

/// A finished qualification.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Report {
    /// The trunk.
    pub(super) trunk: String,
    /// The test number.
    pub(super) number: String,
    /// User-Agent or Server of the peer, where it says so.
    pub(super) peer: Option<String>,
    /// Whether every mandatory flow that was asked for passed.
    pub(super) passed: bool,
    /// Every flow, in order.
    pub(super) steps: Vec<Step>,
    /// What to write.
    pub(super) proposal: Proposal,
}

impl Report {
    /// Judges the steps.
    pub(super) fn new(
        (trunk, number): (String, String),
        peer: Option<String>,
        steps: Vec<Step>,
        proposal: Proposal,
    ) -> Self {
        let passed = steps.iter().all(|step| !step.mandatory || step.outcome == Outcome::Supported);
        Self { trunk, number, peer, passed, steps, proposal }
    }
}

impl Proposal {
    /// The line of the configuration.
    fn line(&self) -> String {
        let quirks: Vec<String> = self.quirks.iter().map(|quirk| format!("\"{quirk}\"")).collect();
        format!("quirks = [{}]", quirks.join(", "))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let peer = self.peer.as_deref().unwrap_or("does not say what it is");
        writeln!(f, "trunk {}, number {}; the peer: {}", self.trunk, self.number, plain(peer))?;
        for step in &self.steps {
            let outcome = match step.outcome {
                Outcome::Supported => "supported",
                Outcome::NotSupported => "not supported",
                Outcome::Wrong => "WRONG",
                Outcome::NotTested => "not tested",
            };
            let mark = if step.mandatory { "*" } else { " " };
            writeln!(f, "{mark} {:<18} {outcome:<13}  {}", step.flow, plain(&step.seen))?;
        }
        writeln!(f, "\nproposed for [[trunk]] {:?}:", self.trunk)?;
        write!(f, "{}", self.proposal.line())?;
        for setting in &self.proposal.settings {
            write!(f, "\n{setting}")?;
        }
        let verdict =
            if self.passed { "every flow that is mandatory (*) passed" } else { "a mandatory flow (*) failed" };
        write!(f, "\n\n{verdict}")
    }
}

/// What the wire says must not steer a terminal.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(flow: &'static str, mandatory: bool, outcome: Outcome) -> Step {
        Step { flow, mandatory, outcome, seen: "200\u{1b}[2J".to_owned() }
    }

    fn report(steps: Vec<Step>) -> Report {
        let quirks = BTreeSet::from([Quirk::No100rel, Quirk::ForceRport]);
        let proposal = Proposal { quirks, settings: BTreeSet::from(["dtmf = \"info\""]) };
        Report::new(("pbx".to_owned(), "600".to_owned()), Some("Asterisk".to_owned()), steps, proposal)
    }

    #[test]
    fn only_mandatory_flows_decide() {
        let optional = step("prack", false, Outcome::Wrong);
        assert!(report(vec![step("options", true, Outcome::Supported), optional.clone()]).passed);
        for outcome in [Outcome::NotSupported, Outcome::Wrong, Outcome::NotTested] {
            assert!(!report(vec![step("options", true, outcome), optional.clone()]).passed);
        }
    }

    #[test]
    fn a_report_reads_as_lines_of_the_configuration() {
        let report = report(vec![step("options", true, Outcome::Supported)]);
        let text = report.to_string();
        assert!(text.contains("quirks = [\"force_rport\", \"no_100rel\"]\ndtmf = \"info\""), "{text}");
        assert!(text.contains("* options            supported      200?[2J"), "{text}");
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["proposal"]["quirks"], serde_json::json!(["force_rport", "no_100rel"]));
        assert_eq!(json["steps"][0]["outcome"], "supported");
    }
}
