//! One worker: its thread, its loop, and the handle by which the rest of the house reaches it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::SyncSender;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

use rand::rngs::StdRng;
use rustix::event::Timespec;
use rustix::event::epoll;

use super::Config;
use super::partners::Bell;
use super::turn::Outlets;
use super::turn::Turn;
use super::udp::BrowserSocket;
use crate::clock::Clock;
use crate::limits::WORKER_COMMANDS;
use crate::media::vocabulary;
use crate::webrtc;
use crate::webrtc::Certificate;
use crate::worker::Command;

/// Batches taken from the browser port in one turn.
const BATCHES_PER_TURN: usize = 8;
/// Commands taken in one turn; more wait for the next, so that media goes on.
const COMMANDS_PER_TURN: usize = 64;
/// Longest sleep of an idle worker.
const IDLE: Duration = Duration::from_secs(1);
/// The eventfd's name in epoll; sockets have smaller ones.
const WAKE: u64 = u64::MAX;
/// The browser socket's.
const BROWSER: u64 = u64::MAX - 1;

/// A worker that could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The browser port.
    #[error("cannot bind UDP {address} (media.browser_port)")]
    Bind {
        /// Which.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A wildcard address is bound, and nothing says under which addresses it is reached.
    #[error("the browser port is bound to every address, and none is advertised")]
    NoCandidate,
    /// The kernel's event queue, or the thread.
    #[error("the worker's thread cannot be set up")]
    Thread(#[source] io::Error),
}

/// The worker has as many commands waiting as it holds, or is gone: refuse the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the media worker takes no more commands")]
pub struct Full;

/// The way to a worker. Cheap to clone; the worker lives until [`WorkerHandle::shutdown`].
#[derive(Debug, Clone)]
pub struct WorkerHandle {
    commands: SyncSender<Command>,
    bell: Bell,
    stop: Arc<AtomicBool>,
    browser: SocketAddr,
}

/// The worker's end, to wait for.
#[derive(Debug)]
pub struct WorkerThread(JoinHandle<()>);

impl WorkerThread {
    /// Waits until the worker has closed its sessions. Call [`WorkerHandle::shutdown`] first. Blocks.
    pub fn join(self) {
        if self.0.join().is_err() {
            tracing::error!("a media worker panicked outside any call");
        }
    }
}

impl WorkerHandle {
    /// Hands a command over without waiting.
    pub fn try_send(&self, command: Command) -> Result<(), Full> {
        if self.commands.try_send(command).is_err() {
            return Err(Full);
        }
        self.bell.ring();
        Ok(())
    }

    /// The browser port, as bound.
    pub const fn browser_port(&self) -> SocketAddr {
        self.browser
    }

    /// Ends every session, with `Closed` for each, then the thread.
    pub fn shutdown(&self) {
        self.stop.store(true, Ordering::Release);
        self.bell.ring();
    }
}

/// Starts a worker.
pub fn spawn(
    config: Config,
    clock: Clock,
    certificate: Certificate,
    rng: StdRng,
    outlets: Outlets,
) -> Result<(WorkerHandle, WorkerThread), SpawnError> {
    let address = config.browser_bind;
    let browser = BrowserSocket::bind(address).map_err(|source| SpawnError::Bind { address, source })?;
    let bound = browser.local_addr().map_err(SpawnError::Thread)?;
    let candidates = candidates(&config, bound)?;
    let mut peer = webrtc::Config::new(certificate, candidates);
    peer.ice_lite = config.ice_lite;
    peer.setup_timeout = config.peer_setup_timeout;
    let (rtp_timeout, hold_music) = (config.rtp_timeout, config.hold_music.clone());
    let media = vocabulary::Config { rtp_timeout, hold_music, ..vocabulary::Config::default() };

    let failed = |error: rustix::io::Errno| SpawnError::Thread(error.into());
    let queue = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(failed)?;
    let bell = outlets.partners.bell().clone();
    epoll::add(&queue, &bell, epoll::EventData::new_u64(WAKE), epoll::EventFlags::IN).map_err(failed)?;
    epoll::add(&queue, &browser, epoll::EventData::new_u64(BROWSER), epoll::EventFlags::IN).map_err(failed)?;

    let (sender, commands) = sync_channel(WORKER_COMMANDS);
    let stop = Arc::new(AtomicBool::new(false));
    let session = crate::worker::session::Config { peer, media };
    let turn = Turn::new(config, session, rng, queue, outlets, clock.now());
    let worker = Worker { turn, browser, commands, bell: bell.clone(), stop: Arc::clone(&stop), clock };
    let thread = std::thread::Builder::new()
        .name("media-worker".to_owned())
        .spawn(move || worker.run())
        .map_err(SpawnError::Thread)?;
    Ok((WorkerHandle { commands: sender, bell, stop, browser: bound }, WorkerThread(thread)))
}

fn candidates(config: &Config, bound: SocketAddr) -> Result<Vec<SocketAddr>, SpawnError> {
    if !config.browser_advertised.is_empty() {
        return Ok(config.browser_advertised.iter().map(|address| SocketAddr::new(*address, bound.port())).collect());
    }
    if bound.ip().is_unspecified() { Err(SpawnError::NoCandidate) } else { Ok(vec![bound]) }
}

struct Worker {
    turn: Turn,
    browser: BrowserSocket,
    commands: Receiver<Command>,
    bell: Bell,
    stop: Arc<AtomicBool>,
    clock: Clock,
}

impl Worker {
    fn run(mut self) {
        let mut ready: Vec<epoll::Event> = Vec::with_capacity(64);
        let mut work_left = false;
        while !self.stop.load(Ordering::Acquire) {
            self.wait(&mut ready, work_left);
            let now = self.clock.now();
            self.turn.begin(now);
            for event in &ready {
                match event.data.u64() {
                    WAKE => self.bell.clear(),
                    BROWSER => self.receive(now),
                    token => self.turn.trunk_readable(token, now),
                }
            }
            self.send();
            self.turn.timers(now);
            self.turn.take_crossings(now);
            let commands_left = self.take_commands(now);
            // Commands may have made some more; the worker does not sleep on its own queue.
            work_left = self.turn.take_crossings(now) || commands_left;
            self.end();
        }
        let now = self.clock.now();
        self.turn.begin(now);
        self.turn.close_all(now);
        self.end();
    }

    fn wait(&self, ready: &mut Vec<epoll::Event>, hurry: bool) {
        let now = self.clock.now();
        let sleep = if hurry { Duration::ZERO } else { self.turn.sleep(now).unwrap_or(IDLE).min(IDLE) };
        let timeout = Timespec::try_from(sleep).ok();
        ready.clear();
        if let Err(error) = epoll::wait(self.turn.queue(), rustix::buffer::spare_capacity(ready), timeout.as_ref())
            && error != rustix::io::Errno::INTR
        {
            tracing::error!(%error, "epoll");
        }
    }

    fn receive(&mut self, now: Instant) {
        for _ in 0..BATCHES_PER_TURN {
            let turn = &mut self.turn;
            if self.browser.receive(|datagram| turn.browser_datagram(datagram, now)) == 0 {
                break;
            }
        }
    }

    fn send(&mut self) {
        let outgoing = self.turn.outgoing();
        if !outgoing.is_empty() {
            self.browser.send(outgoing);
            outgoing.clear();
        }
    }

    fn end(&mut self) {
        self.send();
        self.turn.end();
    }

    /// Whether some are left for the next turn.
    fn take_commands(&mut self, now: Instant) -> bool {
        for _ in 0..COMMANDS_PER_TURN {
            let Ok(command) = self.commands.try_recv() else { return false };
            self.turn.command(command, now);
        }
        true
    }
}
