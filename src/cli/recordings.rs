//! `tandem recordings`: find, export and verify.

use std::fmt;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Subcommand;
use secrecy::ExposeSecret as _;
use serde::Serialize;
use time::format_description::well_known::Rfc3339;

use super::output::Format;
use crate::clock::WallTime;
use crate::config::Config;
use crate::ids::Extension;
use crate::ids::NodeId;
use crate::ids::RecordingId;
use crate::recording::io::catalog::Catalog;
use crate::recording::io::export;
use crate::recording::io::export::Exported;
use crate::recording::model::ListCursor;
use crate::recording::model::RecordingFilter;
use crate::recording::model::RecordingRow;
use crate::store::Pool;
use crate::store::catalog::PostgresCatalog;

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// List recordings, newest first
    List {
        /// Only those of the agent at this extension
        #[arg(long, value_name = "EXTENSION")]
        agent: Option<String>,
        /// At most this many
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        limit: u32,
    },
    /// Decrypt one recording into a ZIP with audio, metadata, the sealed files and a manifest
    Export {
        /// The recording
        id: RecordingId,
        /// Where to write it
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Check a recording's file, or a whole store, without any key; exit 1 where something is wrong
    Verify {
        /// A file, or a folder
        path: PathBuf,
    },
}

/// Runs the verb. Verifying needs no configuration.
pub(super) async fn run(verb: Verb, config: PathBuf, output: Format) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::List { agent, limit } => list(&crate::config::load(&config)?, agent, limit, output).await,
        Verb::Export { id, out } => {
            let out = out.unwrap_or_else(|| PathBuf::from(format!("{id}.zip")));
            export(&crate::config::load(&config)?, id, &out, output).await
        }
        Verb::Verify { path } => verify(&path, output).await,
    }
}

fn catalog(config: &Config) -> anyhow::Result<Arc<dyn Catalog>> {
    // A reader writes no rows, so the node that rows would bear is none.
    let nobody = NodeId::from_bytes([0; 16]);
    let pool = Pool::new(config.database_url.expose_secret(), 1, nobody).context("database.url cannot be used")?;
    Ok(Arc::new(PostgresCatalog::new(pool)))
}

#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Listing(Vec<RecordingRow>);

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:36}  {:20}  {:8}  {:9}  {:6}  {:20}  LENGTH",
            "RECORDING", "STARTED", "STATE", "DIRECTION", "AGENT", "NUMBER"
        )?;
        for row in &self.0 {
            let meta = &row.meta;
            let seconds = row.samples / u64::from(row.sample_rate.max(1));
            write!(
                f,
                "\n{}  {:20}  {:8}  {:9}  {:6}  {:20}  {}:{:02}",
                meta.recording,
                rfc3339(meta.started),
                row.state.as_str(),
                format!("{:?}", meta.direction).to_lowercase(),
                meta.agent.as_str(),
                meta.remote_number,
                seconds / 60,
                seconds % 60,
            )?;
        }
        Ok(())
    }
}

/// To the second, in UTC.
fn rfc3339(time: WallTime) -> String {
    let utc = time.to_utc();
    utc.replace_nanosecond(0).unwrap_or(utc).format(&Rfc3339).unwrap_or_default()
}

async fn list(config: &Config, agent: Option<String>, limit: u32, output: Format) -> anyhow::Result<ExitCode> {
    let catalog = catalog(config)?;
    let wanted = usize::try_from(limit)?;
    let mut rows: Vec<RecordingRow> = Vec::new();
    while rows.len() < wanted {
        let after = rows.last().map(|row| ListCursor { started: row.meta.started, recording: row.meta.recording });
        let left = u32::try_from(wanted - rows.len())?;
        let filter = RecordingFilter {
            agent: agent.as_deref().map(Extension::new),
            after,
            limit: left.min(500),
            ..RecordingFilter::default()
        };
        let page = catalog.list(&filter).await.context("the recordings cannot be listed")?;
        if page.is_empty() {
            break;
        }
        rows.extend(page);
    }
    output.print(&Listing(rows))?;
    Ok(ExitCode::SUCCESS)
}

async fn export(config: &Config, id: RecordingId, out: &Path, output: Format) -> anyhow::Result<ExitCode> {
    let vault = crate::gateway::vault(config, &catalog(config)?)?;
    let vault = vault.context("vault.private_key_file is not configured here: this node records and cannot play")?;
    let exported = vault.export(id, out).await.with_context(|| format!("recording {id} cannot be exported"))?;
    output.print(&Written(exported))?;
    Ok(ExitCode::SUCCESS)
}

#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Written(Exported);

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Exported { path, files, bytes } = &self.0;
        write!(f, "{}: {} files, {bytes} bytes\n  {}", path.display(), files.len(), files.join("\n  "))
    }
}

async fn verify(path: &Path, output: Format) -> anyhow::Result<ExitCode> {
    let report = export::verify(path).await.with_context(|| format!("{} cannot be verified", path.display()))?;
    output.print(&report)?;
    Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
