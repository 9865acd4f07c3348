//! Child processes without root's rights that end with their owner.
//!
//! The kernel sends the parent-death signal when the *thread* that made the child ends (prctl(2)), and an async
//! runtime's threads come and go; so each child has a thread of its own that makes it, watches it and ends it.

use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, geteuid, kill_process};

use super::{POLL_INTERVAL, STOP_TIMEOUT, ServerError, at};

/// Who a child runs as.
#[derive(Debug, Clone)]
pub(in crate::demo) struct Account {
    name: String,
    uid: u32,
    gid: u32,
}

impl Account {
    /// The first of `names` that this machine knows, where we are root; None where we are not, and stay who we are.
    pub(super) fn unprivileged(names: &[&str]) -> Result<Option<Self>, ServerError> {
        if !geteuid().is_root() {
            return Ok(None);
        }
        let passwd = std::fs::read_to_string("/etc/passwd").map_err(at("/etc/passwd"))?;
        let find = |name: &&str| passwd.lines().find_map(|line| Self::from_passwd(line, name));
        let found = names.iter().find_map(find);
        found.map(Some).ok_or(ServerError::NotInstalled { program: "an unprivileged account", package: "base-passwd" })
    }

    fn from_passwd(line: &str, name: &str) -> Option<Self> {
        let mut fields = line.split(':');
        if fields.next()? != name {
            return None;
        }
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(Self { name: name.to_owned(), uid, gid })
    }
}

/// Makes a directory and everything above it, and gives it to `account`. Its parents stay as they are.
pub(super) fn make_directory(path: &Path, account: Option<&Account>, mode: u32) -> Result<(), ServerError> {
    std::fs::create_dir_all(path).map_err(at(path))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(at(path))?;
    give(path, account)
}

/// Gives a file or directory to `account`.
pub(super) fn give(path: &Path, account: Option<&Account>) -> Result<(), ServerError> {
    account.map_or(Ok(()), |account| chown(path, Some(account.uid), Some(account.gid)).map_err(at(path)))
}

/// Writes a file that only `account` (or we) may read.
pub(super) fn write_private(path: &Path, text: &str, account: Option<&Account>) -> Result<(), ServerError> {
    std::fs::write(path, text).map_err(at(path))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(at(path))?;
    give(path, account)
}

/// A command that runs `program` as `account`, in `directory`, and dies with the thread that runs it.
pub(in crate::demo) fn command(program: &Path, directory: &Path, account: Option<&Account>) -> Command {
    let mut command = Command::new("setpriv");
    command.arg("--pdeathsig").arg("INT");
    if let Some(account) = account {
        command.args(["--reuid", &account.name, "--regid", &account.gid.to_string(), "--clear-groups"]);
        if !reachable(directory, account) {
            // A checkout below /root: the account may look its own directory up, nothing else is given to it.
            command.args(["--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"]);
        }
    }
    command.arg("--").arg(program).current_dir(directory).env("LC_ALL", "C.UTF-8").stdin(Stdio::null());
    command
}

/// Whether everybody, or the account, may pass through every directory above `directory`.
fn reachable(directory: &Path, account: &Account) -> bool {
    let Ok(directory) = directory.canonicalize() else {
        return false;
    };
    directory.ancestors().skip(1).all(|above| {
        std::fs::metadata(above).is_ok_and(|metadata| {
            let bit = if metadata.uid() == account.uid { 0o100 } else { 0o001 };
            metadata.mode() & bit != 0
        })
    })
}

/// Runs a command to its end.
pub(super) fn run(name: &str, mut command: Command) -> Result<Output, ServerError> {
    let output = command.output().map_err(|source| ServerError::Run { program: name.to_owned(), source })?;
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(ServerError::Failed { program: name.to_owned(), output: said })
}

/// A running child with its thread.
#[derive(Debug)]
pub(in crate::demo) struct Kept {
    stop: Option<SyncSender<Signal>>,
    thread: Option<JoinHandle<()>>,
    ended: Arc<AtomicBool>,
    pid: u32,
}

impl Kept {
    /// Starts `command`; what it writes goes to `log`.
    pub(in crate::demo) fn start(name: &'static str, mut command: Command, log: &Path) -> Result<Self, ServerError> {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(log).map_err(at(log))?;
        let copy = file.try_clone().map_err(at(log))?;
        command.stdout(file).stderr(copy);

        let (stop, orders) = sync_channel::<Signal>(1);
        let (report, started) = sync_channel::<io::Result<u32>>(1);
        let ended = Arc::new(AtomicBool::new(false));
        let ended_by_child = Arc::clone(&ended);
        let refused = move |source| ServerError::Run { program: name.to_owned(), source };
        let keep = move || {
            let mut child = match command.spawn() {
                Ok(child) => child,
                Err(error) => return report.send(Err(error)).unwrap_or_default(),
            };
            report.send(Ok(child.id())).unwrap_or_default();
            watch(&mut child, &orders);
            ended_by_child.store(true, Ordering::Release);
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(keep).map_err(refused)?;
        let pid = started.recv().unwrap_or_else(|_| Err(io::Error::other("its thread ended"))).map_err(refused)?;
        Ok(Self { stop: Some(stop), thread: Some(thread), ended, pid })
    }

    /// The process.
    pub(in crate::demo) const fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether the child ended by itself or was ended.
    pub(in crate::demo) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Ends the child by `signal`, and by SIGKILL where that does not help; returns once it is gone.
    pub(in crate::demo) fn stop(&mut self, signal: Signal) {
        if let Some(stop) = self.stop.take() {
            stop.try_send(signal).unwrap_or_default();
        }
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap_or_default();
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.stop(Signal::INT);
    }
}

/// Until the child ends, by itself or by an order, or by the loss of its owner.
fn watch(child: &mut Child, orders: &Receiver<Signal>) {
    loop {
        let order = orders.recv_timeout(POLL_INTERVAL);
        match order {
            Ok(signal) => return end(child, signal),
            Err(RecvTimeoutError::Disconnected) => return end(child, Signal::INT),
            Err(RecvTimeoutError::Timeout) => {}
        }
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
    }
}

/// Signals, waits, kills.
#[expect(clippy::disallowed_methods, reason = "this thread has nothing to do but to wait for its child")]
fn end(child: &mut Child, signal: Signal) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        kill_process(pid, signal).unwrap_or_default();
    }
    let mut waited = Duration::ZERO;
    while waited < STOP_TIMEOUT {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        std::thread::sleep(POLL_INTERVAL);
        waited += POLL_INTERVAL;
    }
    child.kill().unwrap_or_default();
    drop(child.wait());
}

/// The first of these files that exists.
pub(super) fn first_existing(candidates: impl IntoIterator<Item = PathBuf>) -> Option<PathBuf> {
    candidates.into_iter().find(|candidate| candidate.is_file())
}
