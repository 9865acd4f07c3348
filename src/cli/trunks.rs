//! `tandem trunks`: which there are and whether they answer, and what a peer can do.

use std::fmt;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;
use std::time::Instant;

use clap::Subcommand;
use serde::Serialize;

use super::output::Format;
use super::qualify;
use super::qualify::endpoint::Endpoint;
use crate::config::Config;
use crate::sip::message::Method;
use crate::sip::user_agent::Trunk;

/// How long a target may take to answer an OPTIONS.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between two OPTIONS to the same target.
const INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// List trunks, and ask each target by OPTIONS whether it answers
    List,
    /// Try everything that a trunk's peer should do against a test number, and propose its quirks
    Qualify(qualify::Arguments),
}

/// Runs the verb.
pub(super) async fn run(verb: Verb, config: Config, output: Format) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::List => {
            let mut trunks = Vec::new();
            for trunk in config.trunks_outside() {
                trunks.push(Row::of(&config, trunk).await?);
            }
            output.print(&Listing(trunks))?;
            Ok(ExitCode::SUCCESS)
        }
        Verb::Qualify(arguments) => Box::pin(qualify::run(arguments, config, output)).await,
    }
}

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    targets: Vec<TargetRow>,
    lines: Vec<LineRow>,
    calls_max: Option<usize>,
    calls_per_second: Option<u32>,
    quirks: Vec<&'static str>,
}

#[derive(Debug, Serialize)]
struct TargetRow {
    transport: &'static str,
    address: SocketAddr,
    /// The status of its answer to an OPTIONS that this process sent.
    answered: Option<u16>,
    after_ms: Option<u128>,
}

#[derive(Debug, Serialize)]
struct LineRow {
    contact_user: String,
    extension: String,
    registers: bool,
}

impl Row {
    async fn of(config: &Config, trunk: &Trunk) -> anyhow::Result<Self> {
        let mut asked = qualify::borrowed(trunk);
        asked.peering.options_interval = Some(INTERVAL);
        // A name that leads nowhere is a trunk without targets, and no reason to list no other.
        let rows = trunk.targets.iter().map(|target| unanswered(target.transport.uri_name(), target.address));
        let targets = match Endpoint::start(config, asked, 0).await {
            Ok(endpoint) => ask(endpoint, rows.collect()).await,
            Err(error) if trunk.targets.is_empty() => {
                tracing::debug!("{}: {error:#}", trunk.name);
                Vec::new()
            }
            Err(error) => return Err(error),
        };
        let lines = trunk.peering.lines.iter().map(|line| LineRow {
            contact_user: line.contact_user.clone(),
            extension: line.extension.clone(),
            registers: line.register,
        });
        Ok(Self {
            name: trunk.name.to_string(),
            targets,
            lines: lines.collect(),
            calls_max: trunk.peering.calls_max,
            calls_per_second: trunk.peering.calls_per_second,
            quirks: trunk.terms.quirks.iter().map(crate::sip::quirk::Quirk::name).collect(),
        })
    }
}

const fn unanswered(transport: &'static str, address: SocketAddr) -> TargetRow {
    TargetRow { transport, address, answered: None, after_ms: None }
}

/// Waits until every target that is asked answered, or for [`PATIENCE`]. Targets that DNS named are added.
async fn ask(mut endpoint: Endpoint, mut rows: Vec<TargetRow>) -> Vec<TargetRow> {
    let everybody = endpoint
        .until(PATIENCE, |endpoint| {
            note_answers(endpoint, &mut rows);
            (!rows.is_empty() && rows.iter().all(|row| row.answered.is_some())).then_some(())
        })
        .await;
    if everybody.is_none() {
        tracing::debug!("not every target answered in {PATIENCE:?}");
    }
    endpoint.stop().await;
    rows
}

fn note_answers(endpoint: &Endpoint, rows: &mut Vec<TargetRow>) {
    let asked: Vec<(Option<String>, &'static str, SocketAddr, Instant)> = endpoint.options_sent().collect();
    for (branch, transport, address, at) in asked {
        if !rows.iter().any(|row| row.address == address && row.transport == transport) {
            rows.push(unanswered(transport, address));
        }
        let Some((status, answered_at)) = branch.and_then(|branch| endpoint.status_of(&branch, &Method::Options))
        else {
            continue;
        };
        if let Some(row) = rows.iter_mut().find(|row| row.address == address && row.answered.is_none()) {
            row.answered = Some(status);
            row.after_ms = Some(answered_at.saturating_duration_since(at).as_millis());
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Listing(Vec<Row>);

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&rows.join("\n"))
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let calls = self.calls_max.map_or_else(|| "any number of".to_owned(), |calls| calls.to_string());
        let rate = self.calls_per_second.map(|rate| format!(", {rate} a second")).unwrap_or_default();
        let quirks = if self.quirks.is_empty() { "none".to_owned() } else { self.quirks.join(", ") };
        write!(f, "{}: {calls} calls at once{rate}; quirks: {quirks}", self.name)?;
        for target in &self.targets {
            write!(f, "\n  {target}")?;
        }
        if self.targets.is_empty() {
            write!(f, "\n  no target: its names lead nowhere")?;
        }
        for line in &self.lines {
            write!(f, "\n  {line}")?;
        }
        Ok(())
    }
}

impl fmt::Display for TargetRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}  ", self.transport, self.address)?;
        match self.answered.zip(self.after_ms) {
            Some((status, ms)) => write!(f, "answers {status} after {ms} ms"),
            None => write!(f, "does not answer"),
        }
    }
}

impl fmt::Display for LineRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.registers { "registers" } else { "is known without registering" };
        write!(f, "line {} for extension {} {how}", self.contact_user, self.extension)
    }
}
