//! Runs the SIPp scenarios of `sip-tests/`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::process::{Child, Command};

/// How long a scenario may take at most.
const PATIENCE: Duration = Duration::from_mins(3);
/// What a failed scenario's message shows of SIPp's output, in lines.
const LAST_LINES: usize = 25;

/// One run of one scenario.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// The directory `sip-tests/`, in which SIPp runs.
    pub directory: PathBuf,
    /// The file's name without `.xml`; or, beginning with `-`, a built-in scenario such as `-uac`.
    pub name: String,
    /// Where SIPp listens and sends from: an address of its own.
    pub local: SocketAddr,
    /// Whom it calls; None where it waits to be called.
    pub target: Option<SocketAddr>,
    /// The extension called.
    pub extension: String,
    /// How many calls.
    pub calls: u32,
    /// Further arguments, such as `-r 10`, `-rtp_echo` or `-nr`.
    pub arguments: Vec<String>,
}

/// A scenario that runs.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
}

impl Scenario {
    /// One call from `127.0.0.host` to an extension of the gateway.
    pub fn inbound(name: &str, host: u8, gateway: SocketAddr, extension: &str) -> Self {
        let local = SocketAddr::from((Ipv4Addr::new(127, 0, 0, host), 5060));
        Self { target: Some(gateway), extension: extension.to_owned(), ..Self::outbound(name, local) }
    }

    /// One call from the gateway, whose trunk's target is `local`.
    pub fn outbound(name: &str, local: SocketAddr) -> Self {
        let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("sip-tests");
        Self {
            directory,
            name: name.to_owned(),
            local,
            target: None,
            extension: String::new(),
            calls: 1,
            arguments: Vec::new(),
        }
    }

    /// With further arguments.
    #[must_use]
    pub fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    /// Runs it to its end; an error unless every call went as the scenario says.
    pub async fn run(&self) -> Result<()> {
        self.start()?.finish().await
    }

    /// Starts it.
    pub fn start(&self) -> Result<Running> {
        let ip = self.local.ip().to_string();
        let mut command = Command::new("sipp");
        command.current_dir(&self.directory).args(["-i", &ip, "-mi", &ip, "-p", &self.local.port().to_string()]);
        match self.name.strip_prefix('-') {
            Some(built_in) => command.args(["-sn", built_in]),
            None => command.args(["-sf", &format!("{}.xml", self.name)]),
        };
        if let Some(target) = self.target {
            command.args(["-s", &self.extension]).arg(target.to_string());
        }
        command.args(["-m", &self.calls.to_string(), "-nostdin"]).args(&self.arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let child = command.spawn().context("cannot run sipp (Debian package sip-tester)")?;
        Ok(Running { name: self.name.clone(), child })
    }
}

impl Running {
    /// Waits for its end; an error unless every call went as the scenario says.
    pub async fn finish(self) -> Result<()> {
        let Self { name, child } = self;
        let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
        let output = output.with_context(|| format!("{name} does not end"))??;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        let tail = lines.get(lines.len().saturating_sub(LAST_LINES)..).unwrap_or_default().join("\n");
        ensure!(output.status.success(), "{name}: sipp ended with {}\n{tail}", output.status);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_scenario_passes_against_its_counterpart_and_fails_against_another() {
        let gateway = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 15), 5974));
        let busy = Scenario::outbound("selftest/uas_486", gateway).with(&["-timeout", "10"]);
        let listener = busy.start().unwrap();
        let caller = Scenario::inbound("uac_busy", 16, gateway, "1002");
        caller.run().await.unwrap();
        listener.finish().await.unwrap();

        let listener = busy.start().unwrap();
        let caller = Scenario::inbound("uac_unknown_extension", 17, gateway, "1002");
        let error = caller.run().await.unwrap_err();
        assert!(error.to_string().contains("sipp ended with"), "{error}");
        drop(listener);
    }
}
