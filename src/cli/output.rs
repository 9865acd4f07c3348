//! Results for a person, or for a program.

use std::fmt::Display;

use clap::ValueEnum;
use serde::Serialize;

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(super) enum Format {
    /// For a person
    #[default]
    Text,
    /// One JSON document
    Json,
}

impl Format {
    /// Prints one result.
    #[expect(clippy::print_stdout, reason = "a command line prints its results on standard output")]
    pub(super) fn print(self, result: &(impl Display + Serialize)) -> anyhow::Result<()> {
        match self {
            Self::Text => println!("{result}"),
            Self::Json => println!("{}", serde_json::to_string_pretty(result)?),
        }
        Ok(())
    }
}
