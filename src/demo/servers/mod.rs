//! Private servers for the demo and the tests: never the machine's own, always below a directory of the caller's.
//!
//! They listen on 127.0.0.1 only, run without root's rights, and end with the process that started them.

mod authority;
mod child;
mod kamailio;
mod ldap;
mod postgres;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

pub(in crate::demo) use child::{Kept, command};

pub use authority::{Authority, IssuedCertificate};
pub use kamailio::Kamailio;
pub use ldap::{DEMO_PEOPLE, DemoPerson, LdapServer};
pub use postgres::PostgresServer;

/// How long a server may take until it answers.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a server may take to end in good order before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// Time between two looks at a starting or ending server.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// How often another free port is tried at launch.
const PORT_TRIES: u32 = 2;

/// Why a private server is not there.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// A program that the server needs is not installed.
    #[error("{program} is not installed (Debian package {package})")]
    NotInstalled {
        /// The program.
        program: &'static str,
        /// The package that brings it.
        package: &'static str,
    },
    /// A file or directory could not be made or read.
    #[error("cannot prepare {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A program could not be run.
    #[error("cannot run {program}")]
    Run {
        /// Which.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A program ended with an error.
    #[error("{program} failed: {output}")]
    Failed {
        /// Which.
        program: String,
        /// What it said last.
        output: String,
    },
    /// The server does not answer in time, or ended.
    #[error("{server} does not answer on {address}; see {log}")]
    Unanswered {
        /// Which server.
        server: &'static str,
        /// Where it should.
        address: String,
        /// What it wrote.
        log: PathBuf,
    },
    /// The database could not be set up.
    #[error("cannot set up the private database")]
    Database(#[from] sqlx::Error),
    /// A certificate could not be made.
    #[error("cannot make a certificate")]
    Certificate(#[from] rcgen::Error),
}

/// Names the file in an input/output error.
fn at(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> ServerError {
    let path = path.into();
    move |source| ServerError::File { path, source }
}

/// A port of 127.0.0.1 that nobody has right now.
fn free_port() -> Result<u16, ServerError> {
    let probe = |source| ServerError::Run { program: "a free port of 127.0.0.1".to_owned(), source };
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).map_err(probe)?;
    Ok(listener.local_addr().map_err(probe)?.port())
}
