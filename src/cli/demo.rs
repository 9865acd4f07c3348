//! `tandem demo`: a whole site on this machine, and a real call.

use std::path::PathBuf;
use std::process::ExitCode;

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
}

#[cfg(feature = "demo")]
pub(super) fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Arguments { once, no_call, torture } = arguments;
    let settings = crate::demo::settings::Settings::demo(std::env::current_exe()?);
    let options = crate::demo::Options { once, no_call, torture, settings };
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
