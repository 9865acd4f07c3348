//! A private Kamailio: a record-routing proxy that forks, and a registrar.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use super::child::{Account, Kept, command, first_existing, make_directory, write_private};
use super::{POLL_INTERVAL, START_TIMEOUT, ServerError};

/// A running Kamailio; it ends with its owner.
///
/// 1xxx goes to the gateway, 2xxx to whoever registered it with the password `line-` and the number. 1900 rings 1001 and
/// 1002 at once, 1901 one after the other.
#[derive(Debug)]
pub struct Kamailio {
    directory: PathBuf,
    child: Kept,
}

impl Kamailio {
    /// Starts it below `directory`; `phones` are numbers with their addresses. Returns once it listens.
    pub async fn launch(
        directory: &Path,
        listen: SocketAddr,
        gateway: SocketAddr,
        phones: &[(String, SocketAddr)],
    ) -> Result<Self, ServerError> {
        let account = Account::unprivileged(&["kamailio", "nobody"])?;
        make_directory(directory, account.as_ref(), 0o755)?;
        let directory = directory.canonicalize().map_err(super::at(directory))?;
        let program = first_existing(["/usr/sbin/kamailio"].map(PathBuf::from))
            .ok_or(ServerError::NotInstalled { program: "kamailio", package: "kamailio" })?;
        let config = directory.join("kamailio.cfg");
        write_private(&config, &configuration(listen, gateway, phones), account.as_ref())?;
        let mut command = command(&program, &directory, account.as_ref());
        // It stays in the foreground and writes no file; 64 MiB are shared by its processes, 8 MiB private to each.
        command.arg("-f").arg(&config).args(["-DD", "-E", "-m", "64", "-M", "8", "-Y"]).arg(&directory);
        let child = Kept::start("kamailio", command, &directory.join("kamailio.log"))?;
        let server = Self { directory, child };
        let listens = tokio::time::timeout(START_TIMEOUT, server.listens_on(listen)).await;
        if listens.unwrap_or(false) {
            return Ok(server);
        }
        let log = server.directory.join("kamailio.log");
        Err(ServerError::Unanswered { server: "Kamailio", address: listen.to_string(), log })
    }

    /// True once it accepts; false where it ended before.
    async fn listens_on(&self, address: SocketAddr) -> bool {
        while tokio::net::TcpStream::connect(address).await.is_err() {
            if self.child.has_ended() {
                return false;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        true
    }

    /// What it wrote: `begins NUMBER` for a call, `within METHOD` for a request within one, `registered NUMBER`.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("kamailio.log")).unwrap_or_default()
    }

    /// Stops it and returns once it is gone.
    pub fn stop(&mut self) {
        self.child.stop(Signal::TERM);
    }
}

fn configuration(listen: SocketAddr, gateway: SocketAddr, phones: &[(String, SocketAddr)]) -> String {
    let phones: Vec<String> = phones
        .iter()
        .map(|(number, address)| {
            format!("    case \"{number}\":\n        $ru = \"sip:{number}@{address}\";\n        break;\n")
        })
        .collect();
    let phones = phones.concat();
    include_str!("kamailio.cfg")
        .replace("@LISTEN@", &listen.to_string())
        .replace("@GATEWAY@", &gateway.to_string())
        .replace("@GATEWAY_HOST@", &gateway.ip().to_string())
        .replace("@GATEWAY_PORT@", &gateway.port().to_string())
        .replace("@PHONES@", phones.trim_end())
}
