//! The gateway under demonstration: this very program as a child process, so that no tone is made inside it.

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;

use crate::demo::http;
use crate::demo::servers::{Kept, command};
use crate::demo::settings::Settings;

/// How long the gateway may take until it is ready.
const START_TIMEOUT: Duration = Duration::from_mins(1);

/// A running `tandem serve`.
#[derive(Debug)]
pub struct GatewayProcess {
    settings: Settings,
    child: Kept,
}

impl GatewayProcess {
    /// Starts `tandem serve` with the settings' configuration file and returns once `/readyz` says 200.
    pub async fn start(settings: Settings) -> Result<Self> {
        let config = settings.config_file().canonicalize()?;
        let root = std::env::current_dir()?;
        let mut command = command(&settings.program, &root, None);
        command.arg("serve").arg("--config").arg(config);
        let child = Kept::start("tandem serve", command, &settings.gateway_log())?;
        let mut gateway = Self { settings, child };
        let ready = tokio::time::timeout(START_TIMEOUT, gateway.wait_until_ready()).await;
        ready
            .with_context(|| format!("the gateway is not ready after {START_TIMEOUT:?}\n{}", gateway.last_words()))??;
        Ok(gateway)
    }

    async fn wait_until_ready(&mut self) -> Result<()> {
        let mut pause = tokio::time::interval(Duration::from_millis(50));
        loop {
            pause.tick().await;
            if self.child.has_ended() {
                bail!("the gateway ended at once\n{}", self.last_words());
            }
            let answer = http::request(self.settings.http, "GET", "/readyz", &[], b"").await;
            if answer.is_ok_and(|answer| answer.status == 200) {
                return Ok(());
            }
        }
    }

    /// Whether it ended, which nobody asked it to.
    pub fn has_ended(&self) -> bool {
        self.child.has_ended()
    }

    /// The process, for a test that is going to kill it.
    pub const fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// The end of its log.
    pub fn last_words(&self) -> String {
        let log = self.settings.gateway_log();
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(12)..).unwrap_or_default();
        format!("the end of {}:\n{}", log.display(), tail.join("\n"))
    }

    /// Runs another verb of the same program on the same configuration, such as `recordings verify …`.
    pub fn verb(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(&self.settings.program);
        command.args(arguments).arg("--config").arg(self.settings.config_file()).stdin(Stdio::null());
        command.output().context("cannot run the program again")
    }

    /// Asks it to drain and end, and waits until it has.
    pub fn stop(&mut self) {
        self.child.stop(Signal::TERM);
    }
}

impl Drop for GatewayProcess {
    /// In good order even where nobody had the time to say so.
    fn drop(&mut self) {
        self.stop();
    }
}
