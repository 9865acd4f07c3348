//! A private PostgreSQL.

use std::path::{Path, PathBuf};

use rand::RngCore;
use rustix::process::Signal;
use sqlx::{Connection, PgConnection};

use super::child::{Account, Kept, command, first_existing, make_directory, run, write_private};
use super::{PORT_TRIES, POLL_INTERVAL, START_TIMEOUT, ServerError, at, free_port};

/// A private PostgreSQL with a database `tandem`, listening on a port of 127.0.0.1.
///
/// Two users: `tandem_owner` owns the schema and migrates it, `tandem` has the rights of the role `tandem_gateway`.
/// The directory outlives it: launched again on the same directory, it has the same data.
#[derive(Debug)]
pub struct PostgresServer {
    directory: PathBuf,
    programs: PathBuf,
    account: Option<Account>,
    password: String,
    port: u16,
    child: Option<Kept>,
}

impl PostgresServer {
    /// Makes a cluster below `directory` where there is none yet, starts it, and returns once it answers.
    pub async fn launch(directory: &Path) -> Result<Self, ServerError> {
        let account = Account::unprivileged(&["postgres", "nobody"])?;
        let programs = programs()?;
        make_directory(directory, account.as_ref(), 0o755)?;
        let directory = directory.canonicalize().map_err(at(directory))?;
        let password = password(&directory, account.as_ref())?;
        let mut server = Self { directory, programs, account, password, port: free_port()?, child: None };
        server.make_cluster()?;
        server.start_on_a_free_port().await?;
        server.make_database().await?;
        Ok(server)
    }

    /// Somebody else may take a free port before we do: tries others.
    async fn start_on_a_free_port(&mut self) -> Result<(), ServerError> {
        for _ in 0..PORT_TRIES {
            if self.start().await.is_ok() {
                return Ok(());
            }
            self.port = free_port()?;
        }
        self.start().await
    }

    /// Starts it again after [`Self::stop`], on the same port; returns once it answers.
    pub async fn start(&mut self) -> Result<(), ServerError> {
        if self.child.as_ref().is_some_and(|child| !child.has_ended()) {
            return Ok(());
        }
        let mut command = command(&self.programs.join("postgres"), &self.directory, self.account.as_ref());
        command.arg("-D").arg(self.data());
        let settings = [
            "listen_addresses=127.0.0.1".to_owned(),
            format!("port={}", self.port),
            "unix_socket_directories=".to_owned(),
            "fsync=on".to_owned(),
            "shared_buffers=32MB".to_owned(),
            "max_connections=60".to_owned(),
            "log_min_messages=warning".to_owned(),
        ];
        for setting in &settings {
            command.arg("-c").arg(setting);
        }
        self.child = Some(Kept::start("postgres", command, &self.log())?);
        self.wait_until_it_answers().await
    }

    /// Stops it in good order, cutting its connections, and returns once it is gone.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.stop(Signal::INT);
        }
    }

    /// Where the gateway connects, with password, with the rights of `tandem_gateway`.
    pub fn url(&self) -> String {
        self.url_of("tandem", "tandem")
    }

    /// Where migrations connect: the schema's owner.
    pub fn owner_url(&self) -> String {
        self.url_of("tandem_owner", "tandem")
    }

    /// The superuser, for a test that plays a dishonest administrator.
    pub fn superuser_url(&self) -> String {
        self.url_of("postgres", "tandem")
    }

    /// The port on 127.0.0.1.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The postmaster's process, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Kept::pid)
    }

    fn url_of(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}:{}@127.0.0.1:{}/{database}", self.password, self.port)
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    fn log(&self) -> PathBuf {
        self.directory.join("postgres.log")
    }

    /// `initdb` into a temporary name, so that a run that was cut short is not taken for a cluster.
    fn make_cluster(&self) -> Result<(), ServerError> {
        let data = self.data();
        if data.join("PG_VERSION").is_file() {
            return Ok(());
        }
        let unfinished = self.directory.join("data.unfinished");
        if unfinished.exists() {
            std::fs::remove_dir_all(&unfinished).map_err(at(&unfinished))?;
        }
        let mut command = command(&self.programs.join("initdb"), &self.directory, self.account.as_ref());
        command.arg("-D").arg(&unfinished).args(["-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]);
        command.args(["--auth=scram-sha-256", "--pwfile"]).arg(self.directory.join("password"));
        run("initdb", command)?;
        std::fs::rename(&unfinished, &data).map_err(at(&data))
    }

    /// True once a connection succeeds; false where the child ended before.
    async fn answers(&self) -> bool {
        let url = self.url_of("postgres", "postgres");
        loop {
            if let Ok(connection) = PgConnection::connect(&url).await {
                return connection.close().await.is_ok();
            }
            if self.child.as_ref().is_none_or(Kept::has_ended) {
                return false;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    async fn wait_until_it_answers(&self) -> Result<(), ServerError> {
        if tokio::time::timeout(START_TIMEOUT, self.answers()).await.unwrap_or(false) {
            return Ok(());
        }
        let address = format!("127.0.0.1:{}", self.port);
        Err(ServerError::Unanswered { server: "PostgreSQL", address, log: self.log() })
    }

    /// The users and the database, where they are not there yet.
    async fn make_database(&self) -> Result<(), ServerError> {
        let mut connection = PgConnection::connect(&self.url_of("postgres", "postgres")).await?;
        let there = sqlx::query("SELECT 1 FROM pg_database WHERE datname = 'tandem'");
        if there.fetch_optional(&mut connection).await?.is_none() {
            let password = &self.password; // hexadecimal digits: nothing to escape
            let statements = [
                "CREATE ROLE tandem_gateway NOLOGIN".to_owned(),
                format!("CREATE ROLE tandem_owner LOGIN PASSWORD '{password}'"),
                format!("CREATE ROLE tandem LOGIN PASSWORD '{password}' IN ROLE tandem_gateway"),
                "CREATE DATABASE tandem OWNER tandem_owner".to_owned(),
            ];
            for statement in statements {
                sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut connection).await?;
            }
        }
        connection.close().await?;
        Ok(())
    }
}

/// Debian's directory of PostgreSQL's programs: the newest version.
fn programs() -> Result<PathBuf, ServerError> {
    let missing = ServerError::NotInstalled { program: "PostgreSQL", package: "postgresql" };
    let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") else {
        return Err(missing);
    };
    let mut found: Vec<PathBuf> = versions.flatten().map(|version| version.path().join("bin/postgres")).collect();
    found.sort();
    let newest = first_existing(found.into_iter().rev());
    newest.and_then(|program| program.parent().map(Path::to_owned)).ok_or(missing)
}

/// The directory's password, made from chance the first time.
fn password(directory: &Path, account: Option<&Account>) -> Result<String, ServerError> {
    let path = directory.join("password");
    if let Ok(password) = std::fs::read_to_string(&path) {
        return Ok(password);
    }
    let mut bytes = [0_u8; 16];
    rand::rng().fill_bytes(&mut bytes);
    let digit = |value: u8| char::from_digit(u32::from(value), 16);
    let password: String = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).filter_map(digit).collect();
    write_private(&path, &password, account)?;
    Ok(password)
}
