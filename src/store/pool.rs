//! The connections to PostgreSQL, and what can be said of their health.

use std::future::Future;
use std::str::FromStr;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::ids::NodeId;
use crate::limits::DATABASE_CONNECTION_TIMEOUT;
use crate::limits::DATABASE_PROBE_INTERVAL;
use crate::limits::DATABASE_TIMEOUT;

/// Every migration that this program knows.
static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// What the database is like: `Err` says why not, in one clause.
pub type Health = Result<(), String>;

/// Why the database did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The address of the database is not one.
    #[error("the database's address is not valid")]
    Address(#[source] sqlx::Error),
    /// It did not answer in time.
    #[error("the database does not answer within {0:?}")]
    Late(Duration),
    /// It cannot be reached, or the connection broke.
    #[error("the database cannot be reached")]
    Unreachable(#[source] sqlx::Error),
    /// It answered, and said no.
    #[error("the database refused")]
    Refused(#[source] sqlx::Error),
}

impl StoreError {
    /// Whether the same statement may succeed later without anybody's doing.
    pub const fn is_passing(&self) -> bool {
        matches!(self, Self::Late(_) | Self::Unreachable(_))
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        // 57P..: shutting down or starting up; 57014: statement timeout; 08: connection; 53: out of resources.
        let passing = |code: &str| ["57", "08", "53"].iter().any(|class| code.starts_with(class));
        let unreachable = match error.as_database_error() {
            Some(refusal) => refusal.code().is_some_and(|code| passing(&code)),
            None => matches!(
                error,
                sqlx::Error::Io(_)
                    | sqlx::Error::Tls(_)
                    | sqlx::Error::Protocol(_)
                    | sqlx::Error::PoolTimedOut
                    | sqlx::Error::PoolClosed
                    | sqlx::Error::WorkerCrashed
            ),
        };
        if unreachable { Self::Unreachable(error) } else { Self::Refused(error) }
    }
}

/// Connections that are made when they are needed, made again when they broke, and never waited for too long.
#[derive(Debug, Clone)]
pub struct Pool {
    connections: PgPool,
    node: NodeId,
    health: watch::Sender<Health>,
}

impl Pool {
    /// A pool for `url` (`postgres://…`), of at most `connections_max`. Connects nowhere yet, so it cannot be refused.
    pub fn new(url: &str, connections_max: u32, node: NodeId) -> Result<Self, StoreError> {
        let timeout_ms = DATABASE_TIMEOUT.as_millis().to_string();
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(StoreError::Address(sqlx::Error::Configuration("expected postgres://…".into())));
        }
        let options = PgConnectOptions::from_str(url).map_err(StoreError::Address)?;
        let options = options.application_name("tandem").options([("statement_timeout", timeout_ms)]);
        let connections = PgPoolOptions::new()
            .max_connections(connections_max.max(1))
            .acquire_timeout(DATABASE_CONNECTION_TIMEOUT)
            .max_lifetime(Duration::from_mins(30))
            .connect_lazy_with(options);
        Ok(Self { connections, node, health: watch::Sender::new(Err("not asked yet".to_owned())) })
    }

    /// The node whose rows these are.
    pub const fn node(&self) -> NodeId {
        self.node
    }

    /// What the last look said; changes as they are seen.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    /// Looks at the database until `shutdown`, and says plainly when it goes and comes.
    pub async fn watch_health(self, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            let seen = self.probe().await.map_err(|error| error_chain(&error));
            let before = self.health.borrow().is_ok();
            match (&seen, before) {
                (Ok(()), false) => tracing::info!("the database answers"),
                (Err(reason), true) => {
                    tracing::error!(%reason, "the database is gone; recordings stay in the spool until it is back");
                }
                (Err(reason), false) => tracing::warn!(%reason, "the database does not answer; trying again"),
                (Ok(()), true) => {}
            }
            drop(self.health.send_replace(seen));
            drop(tokio::time::timeout(DATABASE_PROBE_INTERVAL, shutdown.cancelled()).await);
        }
    }

    /// Asks once whether the schema is there as this program knows it.
    pub async fn probe(&self) -> Result<(), ProbeError> {
        let newest = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or_default();
        let ask = sqlx::query_scalar::<_, Option<i64>>("SELECT max(version) FROM _sqlx_migrations WHERE success");
        match within(ask.fetch_one(&self.connections)).await {
            Ok(Some(version)) if version >= newest => Ok(()),
            Ok(version) => Err(ProbeError::Schema { version: version.unwrap_or_default(), newest }),
            // 42P01: undefined table.
            Err(StoreError::Refused(sqlx::Error::Database(refusal))) if refusal.code().as_deref() == Some("42P01") => {
                Err(ProbeError::Schema { version: 0, newest })
            }
            Err(error) => Err(ProbeError::Store(error)),
        }
    }

    /// Makes the partitions of this month and the next, so that rows need not go to the default one.
    pub async fn make_partitions(&self, today: time::Date) -> Result<(), StoreError> {
        let first = today.replace_day(1).unwrap_or(today);
        let next = first.saturating_add(time::Duration::days(31));
        for parent in ["call_record", "call_trace", "recording"] {
            for month in [first, next] {
                within(sqlx::query!("SELECT make_month_partition($1, $2)", parent, month).execute(&self.connections))
                    .await?;
            }
        }
        Ok(())
    }

    /// Waits until every connection is given back, and closes them.
    pub async fn close(&self) {
        self.connections.close().await;
    }

    /// For this room's queries.
    pub(super) const fn connections(&self) -> &PgPool {
        &self.connections
    }
}

/// What a look at the database showed.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// It cannot be asked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its tables are not those that this program knows.
    #[error("the database's schema has version {version}, this program needs {newest}: run `tandem migrate`")]
    Schema {
        /// Of the database; 0 where it is empty.
        version: i64,
        /// Of this program.
        newest: i64,
    },
}

/// Why the schema could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The database cannot be reached.
    #[error("cannot connect to the database as the schema's owner")]
    Connect(#[source] sqlx::Error),
    /// A migration failed; those before it are kept.
    #[error("cannot migrate the database")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// The rights of the gateway could not be given.
    #[error("cannot give the gateway its rights")]
    Grant(#[source] sqlx::Error),
}

/// Brings the schema up to date as its owner; safe to run again, and by several at once.
pub async fn migrate(owner_url: &str) -> Result<(), MigrateError> {
    let mut connection = PgConnection::connect(owner_url).await.map_err(MigrateError::Connect)?;
    MIGRATIONS.run(&mut connection).await?;
    let grant = sqlx::query("GRANT SELECT ON _sqlx_migrations TO tandem_gateway");
    grant.execute(&mut connection).await.map_err(MigrateError::Grant)?;
    connection.close().await.map_err(MigrateError::Grant)
}

/// A database that hangs is one that is not there: a connection's own timeouts do not see a stopped process.
pub(super) async fn within<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, StoreError> {
    match tokio::time::timeout(DATABASE_TIMEOUT, work).await {
        Ok(done) => done.map_err(StoreError::from),
        Err(_late) => Err(StoreError::Late(DATABASE_TIMEOUT)),
    }
}

/// An error and its sources in one line.
fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
