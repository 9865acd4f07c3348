//! The command line: one file a verb. Only here may the process print and choose its exit code.

mod calls;
mod check;
mod demo;
mod migrate;
mod output;
mod qualify;
mod recordings;
mod serve;
mod trunks;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use clap::Subcommand;

use output::Format;

/// The configuration is wrong (`EX_CONFIG` of sysexits.h).
const EXIT_CONFIG: u8 = 78;
#[cfg(not(feature = "demo"))]
/// This binary was built without what the verb needs (`EX_UNAVAILABLE`).
const EXIT_UNAVAILABLE: u8 = 69;

/// A SIP-to-WebRTC gateway for enterprise telephony.
#[derive(Debug, Parser)]
#[command(name = "tandem", version, propagate_version = true)]
struct Arguments {
    /// Configuration file
    #[arg(long, short, global = true, value_name = "FILE", default_value = "tandem.toml")]
    config: PathBuf,
    /// How results are printed
    #[arg(long, short, global = true, value_enum, default_value_t)]
    output: Format,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the gateway
    Serve,
    /// Run a whole site on this machine and place a real call
    Demo(demo::Arguments),
    /// Check the configuration; exit 78 when it is wrong
    Check,
    /// Bring the database to this version's schema
    Migrate,
    /// Find calls, and show what happened in one
    #[command(subcommand)]
    Calls(calls::Verb),
    /// See which trunks answer, and what a trunk's peer can do
    #[command(subcommand)]
    Trunks(trunks::Verb),
    /// Find, export and verify recordings
    #[command(subcommand)]
    Recordings(recordings::Verb),
}

/// Runs the verb that the process was started with.
#[expect(clippy::print_stderr, reason = "a command line tells its errors on standard error")]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let error = match run(arguments) {
        Ok(code) => return code,
        Err(error) => error,
    };
    match error.downcast::<crate::config::ConfigError>() {
        Ok(wrong) => {
            eprintln!("tandem: the configuration is wrong\n{:?}", miette::Report::new(wrong));
            ExitCode::from(EXIT_CONFIG)
        }
        Err(error) => {
            eprintln!("tandem: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Arguments { config, output, verb } = arguments;
    match verb {
        Verb::Check => check::run(&config, output),
        Verb::Serve => block_on(serve::run(crate::config::load(&config)?)),
        Verb::Demo(arguments) => demo::run(arguments),
        Verb::Migrate => block_on(migrate::run(crate::config::load(&config)?)),
        Verb::Calls(verb) => block_on(calls::run(verb, crate::config::load(&config)?, output)),
        Verb::Trunks(verb) => block_on(trunks::run(verb, crate::config::load(&config)?, output)),
        Verb::Recordings(verb) => block_on(recordings::run(verb, config, output)),
    }
}

/// Runs a verb that waits, on a runtime of its own.
fn block_on(verb: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(verb)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Arguments::command().debug_assert();
    }
}
