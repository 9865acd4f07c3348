//! `tandem calls`: find calls, and show what happened in one.

use std::fmt;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;
use secrecy::ExposeSecret as _;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::output::Format;
use crate::config::Config;
use crate::ids::CallId;
use crate::ids::NodeId;
use crate::store::Pool;
use crate::store::call_trace::CallFilter;
use crate::store::call_trace::CallRow;
use crate::store::call_trace::CallTraces;
use crate::trace::CallTrace;
use crate::trace::Dropped;
use crate::trace::Entry;
use crate::trace::Event;
use crate::trace::ladder;
use crate::trace::pcap;

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// List calls, newest first
    List {
        /// Only calls begun at this time or later: 2026-11-22T12:00:00Z, or so long ago: 90s, 15m, 2h, 7d
        #[arg(long, value_name = "TIME", value_parser = since)]
        since: Option<Since>,
        /// Only those of the agent at this extension, or of this user
        #[arg(long, value_name = "EXTENSION")]
        agent: Option<String>,
        /// Only those from or to this number
        #[arg(long, value_name = "NUMBER")]
        number: Option<String>,
        /// At most this many
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
    },
    /// Show one call as a ladder: SIP, signalling, media and states on one clock
    Show {
        /// The call
        id: CallId,
        /// With every message below its line
        #[arg(long)]
        messages: bool,
        /// Write its SIP messages as a capture for Wireshark
        #[arg(long, value_name = "FILE")]
        pcap: Option<PathBuf>,
    },
}

/// A moment, or how long ago it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Since {
    At(OffsetDateTime),
    Ago(time::Duration),
}

fn since(text: &str) -> Result<Since, String> {
    if let Ok(at) = OffsetDateTime::parse(text, &Rfc3339) {
        return Ok(Since::At(at));
    }
    let wrong = || format!("expected a time such as 2026-11-22T12:00:00Z, or 90s, 15m, 2h, 7d; got `{text}`");
    let seconds = match text.chars().next_back() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3_600,
        Some('d') => 86_400,
        _ => return Err(wrong()),
    };
    let number: i64 = text.get(..text.len() - 1).and_then(|number| number.parse().ok()).ok_or_else(wrong)?;
    let seconds =
        number.checked_mul(seconds).filter(|seconds| (0..=3_153_600_000).contains(seconds)).ok_or_else(wrong)?;
    Ok(Since::Ago(time::Duration::seconds(seconds)))
}

/// Runs the verb.
pub(super) async fn run(verb: Verb, config: Config, output: Format) -> anyhow::Result<ExitCode> {
    // A reader writes no rows, so the node that rows would bear is none.
    let nobody = NodeId::from_bytes([0; 16]);
    let pool = Pool::new(config.database_url.expose_secret(), 1, nobody).context("database.url cannot be used")?;
    let calls = CallTraces::new(pool);
    match verb {
        Verb::List { since, agent, number, limit } => {
            let clock = crate::clock::Clock::system();
            let since = since.map(|since| match since {
                Since::At(at) => at,
                Since::Ago(ago) => clock.wall(clock.now()).to_utc() - ago,
            });
            let filter = CallFilter { since, agent, number, limit };
            let rows = calls.list(&filter).await.context("the calls cannot be listed")?;
            output.print(&Listing(rows))?;
        }
        Verb::Show { id, messages, pcap } => {
            let call = calls.call(id).await.context("the call's record cannot be read")?;
            let call = call.with_context(|| format!("there is no call {id}"))?;
            let trace = calls.trace(id).await.context("the call's trace cannot be read")?;
            let shown = Shown::new(call, trace, messages);
            if let Some(file) = pcap {
                write_capture(&shown, &file, output)?;
            } else {
                output.print(&shown)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Listing(Vec<CallRow>);

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:36}  {:20}  {:9}  {:6}  {:20}  {:>7}  OUTCOME",
            "CALL", "STARTED", "DIRECTION", "AGENT", "NUMBER", "SECONDS"
        )?;
        for row in &self.0 {
            let talked = row.answered.zip(row.ended).map(|(answered, ended)| (ended - answered).whole_seconds());
            write!(
                f,
                "\n{:36}  {:20}  {:9}  {:6}  {:20}  {:>7}  {}",
                row.call,
                rfc3339(row.started),
                row.direction,
                row.agent.as_deref().unwrap_or("-"),
                plain(&row.remote_number),
                talked.map_or_else(|| "-".to_owned(), |seconds| seconds.to_string()),
                outcome(row),
            )?;
        }
        Ok(())
    }
}

fn outcome(row: &CallRow) -> String {
    match (&row.outcome, row.sip_status) {
        (Some(outcome), Some(status)) => format!("{outcome} ({status})"),
        (Some(outcome), None) => outcome.clone(),
        (None, _) => "lives".to_owned(),
    }
}

/// To the second, in UTC.
fn rfc3339(time: OffsetDateTime) -> String {
    let utc = time.to_offset(time::UtcOffset::UTC);
    utc.replace_nanosecond(0).unwrap_or(utc).format(&Rfc3339).unwrap_or_default()
}

/// What the wire says must not steer a terminal.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '?' } else { c }).collect()
}

/// A call and what was seen of it.
#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    call: CallRow,
    /// Whether there is a trace: it is written some seconds after the call's end.
    traced: bool,
    entries: Vec<Entry>,
    dropped: Dropped,
    #[serde(skip)]
    messages: bool,
}

impl Shown {
    fn new(call: CallRow, trace: Option<CallTrace>, messages: bool) -> Self {
        let traced = trace.is_some();
        let (entries, dropped) = trace.map(|trace| (trace.entries, trace.dropped)).unwrap_or_default();
        Self { call, traced, entries, dropped, messages }
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { call, entries, dropped, .. } = self;
        let number = plain(&call.remote_number);
        let agent = call.agent.as_deref().unwrap_or("-");
        writeln!(f, "call {}", call.call)?;
        writeln!(f, "{} on {}, {number} and {agent}: {}", call.direction, call.trunk, outcome(call))?;
        write!(f, "began {}", call.started.to_offset(time::UtcOffset::UTC).format(&Rfc3339).unwrap_or_default())?;
        if !self.traced {
            return write!(f, "\n\nno trace: the call lives, ended seconds ago, or its trace was lost");
        }
        writeln!(f)?;
        let rungs: Vec<_> = entries.iter().map(ladder::rung).collect();
        let drawn = ladder::draw([&call.trunk, "gateway", agent], &rungs);
        // The names of the columns, then one line an entry.
        let events = std::iter::once(None).chain(entries.iter().map(|entry| Some(&entry.event)));
        for (line, event) in drawn.lines().zip(events) {
            write!(f, "\n{line}")?;
            if let Some(event) = event.filter(|_| self.messages) {
                write_message(f, event)?;
            }
        }
        if dropped.entries > 0 || dropped.observations > 0 {
            let Dropped { entries, observations } = dropped;
            write!(
                f,
                "\n\n{entries} entries beyond the bounds are not here; {observations} observations of any call were lost meanwhile"
            )?;
        }
        Ok(())
    }
}

fn write_message(f: &mut fmt::Formatter<'_>, event: &Event) -> fmt::Result {
    let text = match event {
        Event::Sip { message, .. } => String::from_utf8_lossy(message).replace('\r', ""),
        Event::Signaling { body, .. } => serde_json::to_string_pretty(body).unwrap_or_default(),
        Event::Media { .. } | Event::State { .. } | Event::Quirk { .. } => return Ok(()),
    };
    for line in plain(&text).lines() {
        write!(f, "\n           {line}")?;
    }
    Ok(())
}

/// What was written where.
#[derive(Debug, Serialize)]
struct Written {
    file: PathBuf,
    packets: usize,
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} SIP messages", self.file.display(), self.packets)
    }
}

fn write_capture(shown: &Shown, file: &Path, output: Format) -> anyhow::Result<()> {
    anyhow::ensure!(shown.traced, "the call has no trace: it lives, ended seconds ago, or its trace was lost");
    let (capture, packets) = pcap::capture(&shown.entries);
    std::fs::write(file, capture).with_context(|| format!("{} cannot be written", file.display()))?;
    output.print(&Written { file: file.to_owned(), packets })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_date_or_how_long_ago() {
        assert_eq!(since("2h"), Ok(Since::Ago(time::Duration::hours(2))));
        assert_eq!(since("7d"), Ok(Since::Ago(time::Duration::days(7))));
        assert!(matches!(since("2026-11-22T12:00:00Z"), Ok(Since::At(at)) if at.year() == 2026));
        for wrong in ["", "h", "5", "5w", "-5m", "99999999999d", "12:00"] {
            assert!(since(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_call_without_a_trace_says_so() {
        let call = CallRow {
            call: uuid::Uuid::from_u128(1),
            started: OffsetDateTime::UNIX_EPOCH,
            answered: None,
            ended: None,
            direction: "inbound".into(),
            trunk: "pbx".into(),
            agent: None,
            agent_user: None,
            remote_number: "1\u{1b}[2J".into(),
            called_number: "1001".into(),
            outcome: Some("busy".into()),
            sip_status: Some(486),
            q850: Some(17),
        };
        let text = Shown::new(call, None, false).to_string();
        assert!(text.contains("inbound on pbx, 1?[2J and -: busy (486)") && text.contains("no trace"), "{text}");
    }
}
