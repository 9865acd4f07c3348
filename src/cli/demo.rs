//! `tandem demo`: a whole site on this machine, and a real call.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::sip::Transport;

/// `udp`, `tcp` or `tls`.
fn transport(name: &str) -> Result<Transport, String> {
    Transport::from_name(name).ok_or_else(|| "expected udp, tcp or tls".to_owned())
}

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// End after the call; exit 0 only if audio was proven both ways and the recording matched
    #[arg(long)]
    once: bool,
    /// Start everything and place no call
    #[arg(long)]
    no_call: bool,
    /// Send the messages of DIR to the gateway, and print what it answers beside what it must
    #[arg(long, value_name = "DIR")]
    torture: Option<PathBuf>,
    /// How they are sent: udp, tcp or tls
    #[arg(long, value_name = "TRANSPORT", default_value = "udp", value_parser = transport)]
    transport: Transport,
    /// Listen on another address of the loopback network, so that demos run side by side
    #[arg(long, value_name = "ADDRESS", default_value_t = Ipv4Addr::LOCALHOST)]
    address: Ipv4Addr,
    /// Write everything below DIR
    #[arg(long, value_name = "DIR", default_value = "var/demo")]
    directory: PathBuf,
    /// Run no simulated PBX: whoever listens on port 5070 takes its place
    #[arg(long, requires = "no_call")]
    no_pbx: bool,
}

#[cfg(feature = "demo")]
pub(super) fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Arguments { once, no_call, torture, transport, address, directory, no_pbx } = arguments;
    let program = std::env::current_exe()?;
    let settings = crate::demo::settings::Settings::at(address, directory, program);
    // Somebody else's PBX, such as SIPp, is awaited beside the gateway.
    let pbx = if no_pbx { (address, 5070).into() } else { settings.pbx };
    let settings = crate::demo::settings::Settings { simulated_pbx: !no_pbx, pbx, ..settings };
    let options =
        crate::demo::Options { once, no_call, torture: torture.map(|messages| (messages, transport)), settings };
    super::block_on(async move {
        crate::demo::run(options).await?;
        Ok(ExitCode::SUCCESS)
    })
}

#[cfg(not(feature = "demo"))]
#[expect(clippy::print_stderr, reason = "a command line tells its errors on standard error")]
pub(super) fn run(_: Arguments) -> anyhow::Result<ExitCode> {
    eprintln!("tandem: this binary was built without the feature `demo`: cargo build --features demo");
    Ok(ExitCode::from(super::EXIT_UNAVAILABLE))
}
