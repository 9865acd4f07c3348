//! `tandem serve`: the gateway, until a signal ends it.

use std::process::ExitCode;

use crate::config::Config;
use crate::gateway;
use crate::shutdown;
use crate::telemetry;

pub(super) async fn run(config: Config) -> anyhow::Result<ExitCode> {
    let metrics = telemetry::init::init(&config.log)?;
    let gateway = gateway::build(config, metrics).await?;
    shutdown::run(gateway).await?;
    Ok(ExitCode::SUCCESS)
}
