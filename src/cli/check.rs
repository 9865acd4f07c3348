//! `tandem check`: is the configuration right?

use std::fmt;
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;

use super::output::Format;

#[derive(Debug, Serialize)]
struct Checked {
    config: String,
    trunks: Vec<String>,
    ok: bool,
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is right: {} trunk(s): {}", self.config, self.trunks.len(), self.trunks.join(", "))
    }
}

pub(super) fn run(path: &Path, output: Format) -> anyhow::Result<ExitCode> {
    let config = crate::config::load(path)?;
    let trunks = config.call.trunks.keys().map(ToString::to_string).collect();
    output.print(&Checked { config: path.display().to_string(), trunks, ok: true })?;
    Ok(ExitCode::SUCCESS)
}
