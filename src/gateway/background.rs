//! What runs beside the calls: looking after dependencies, logouts, partitions.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::wires::login_name;
use crate::auth::io::desk::Desk;
use crate::auth::io::ldap::LdapDirectory;
use crate::clock::Clock;
use crate::signaling::CloseCode;
use crate::signaling::io::presence::Presence;
use crate::store::Pool;

/// Time between two looks at the directory.
const DIRECTORY_PROBE_INTERVAL: Duration = Duration::from_secs(10);
/// Time between two sweeps of old login attempts.
const SWEEP_INTERVAL: Duration = Duration::from_mins(5);
/// Time between two looks whether next month has its partitions.
const PARTITION_INTERVAL: Duration = Duration::from_hours(6);
/// The same after a failure.
const PARTITION_RETRY: Duration = Duration::from_secs(10);

/// Waits, unless the gateway ends first. Whether to go on.
async fn pause(time: Duration, stop: &CancellationToken) -> bool {
    tokio::time::timeout(time, stop.cancelled()).await.is_err()
}

/// Looks at the directory again and again, and says plainly when it goes and comes.
pub(super) fn watch_directory(
    tasks: &TaskTracker,
    directory: Arc<LdapDirectory>,
    stop: CancellationToken,
) -> watch::Receiver<Result<(), String>> {
    let (health, seen) = watch::channel(Err("not asked yet".to_owned()));
    tasks.spawn(async move {
        loop {
            let now = directory.probe().await.map_err(|error| error.to_string());
            let before = health.borrow().is_ok();
            match (&now, before) {
                (Ok(()), false) => tracing::info!("the directory answers"),
                (Err(reason), true) => {
                    tracing::error!(%reason, "the directory is gone; nobody can log in until it is back");
                }
                (Err(reason), false) => tracing::warn!(%reason, "the directory does not answer; trying again"),
                (Ok(()), true) => {}
            }
            drop(health.send_replace(now));
            if !pause(DIRECTORY_PROBE_INTERVAL, &stop).await {
                return;
            }
        }
    });
    seen
}

/// Closes the sockets of logins that ended.
pub(super) async fn close_logged_out(desk: Arc<Desk>, presence: Arc<Presence>, stop: CancellationToken) {
    let mut logouts = desk.logouts();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            logout = logouts.recv() => match logout {
                Ok(login) => presence.close_login(&login_name(login), CloseCode::Authentication),
                Err(tokio::sync::broadcast::error::RecvError::Lagged(missed)) => {
                    tracing::warn!(missed, "logouts came faster than sockets could be closed");
                }
                Err(tokio::sync::broadcast::error::RecvError::Closed) => return,
            },
        }
    }
}

/// Forgets login attempts that no longer count.
pub(super) async fn sweep(desk: Arc<Desk>, clock: Clock, stop: CancellationToken) {
    while pause(SWEEP_INTERVAL, &stop).await {
        desk.sweep(clock.now());
    }
}

/// Makes the partitions of this month and the next, before they are needed.
pub(super) async fn make_partitions(pool: Pool, clock: Clock, stop: CancellationToken) {
    loop {
        let today = clock.wall(clock.now()).to_utc().date();
        // A failure is the database's absence, which its own watch reports; rows go to the default partition meanwhile.
        let wait = if pool.make_partitions(today).await.is_ok() { PARTITION_INTERVAL } else { PARTITION_RETRY };
        if !pause(wait, &stop).await {
            return;
        }
    }
}
