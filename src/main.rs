//! The `tandem` binary: arguments go to [`tandem::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    tandem::cli::main()
}
