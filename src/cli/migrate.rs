//! `tandem migrate`: brings the database to this version's schema.

use std::process::ExitCode;

use anyhow::Context as _;
use secrecy::ExposeSecret as _;

use crate::config::Config;
use crate::store;

#[expect(clippy::print_stdout, reason = "a command line prints its results on standard output")]
pub(super) async fn run(config: Config) -> anyhow::Result<ExitCode> {
    let owner = config.database_owner_url.as_ref().unwrap_or(&config.database_url);
    store::migrate(owner.expose_secret()).await.context("the database cannot be migrated")?;
    println!("the database has this version's schema");
    Ok(ExitCode::SUCCESS)
}
