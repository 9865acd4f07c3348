//! The user agent: transactions, dialogs and trunks behind four verbs.
//!
//! It owns every table of the SIP side. Bytes and commands go in, bytes and events come out; sockets are the shell's.

mod admission;
mod answered;
mod authenticate;
mod call;
mod client;
pub mod config;
mod dispatch;
pub mod identity;
mod inspect;
mod lines;
mod outbound;
pub mod peering;
pub mod peers;
mod probe;
mod quirks;
mod reach;
mod resolved;
mod schedule;
mod server;
#[cfg(test)]
mod tests;
mod transfer;
mod usages;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use rand::RngCore;
use rand::rngs::StdRng;

use crate::ids::LegId;
use crate::ids::TrunkName;
use crate::sip::Command;
use crate::sip::ConnectionId;
use crate::sip::Event;
use crate::sip::Flow;
use crate::sip::dialog::DialogId;
use crate::sip::dialog::outbound_invite::OutboundTimer;
use crate::sip::dialog::usage::UsageTimer;
use crate::sip::digest::server::Verifier;
use crate::sip::quirk::QuirkFired;
use crate::sip::registration::LineTimer;
use crate::sip::transaction::TransactionKey;
use crate::sip::transaction::TransactionTimer;

pub use config::Config;
pub use config::Listen;
pub use config::Network;
pub use config::Target;
pub use config::Trunk;
pub use peering::Peering;
pub use peers::TrunkNotice;
pub use peers::TrunkStatus;

/// What the user agent is told.
#[derive(Debug, Clone)]
pub enum Input {
    /// A datagram, or one message cut from a stream.
    Received {
        /// Where it came from.
        flow: Flow,
        /// The message.
        bytes: Bytes,
    },
    /// The call room wants something.
    Command(Command),
    /// A trunk's targets, given as names, have these addresses now.
    Resolved {
        /// The trunk.
        trunk: TrunkName,
        /// In order. Those outside its networks are left out.
        targets: Vec<Target>,
    },
    /// A stream could not be opened, or closed; a datagram was refused (ICMP).
    FlowFailed {
        /// The path that is no more.
        flow: Flow,
    },
}

/// What the user agent wants done.
#[derive(Debug, Clone)]
pub enum Output {
    /// Send these bytes. A stream without a connection: use one that is open to `flow.remote`, or open one.
    Send {
        /// The path.
        flow: Flow,
        /// One whole message.
        bytes: Bytes,
    },
    /// Tell the call room.
    Event(Event),
    /// Something to count.
    Count(Counter),
    /// Tell the operator.
    Trunk(TrunkNotice),
    /// A quirk changed what we did: for the call's trace.
    Quirk(QuirkFired),
}

/// Things that a user agent counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Counter {
    /// A message from outside every trunk's networks.
    UnknownSource,
    /// A message that admission refused or dropped.
    Malformed,
    /// A response that belongs to no transaction.
    StrayResponse,
    /// A request beyond the limit of transactions.
    Overload,
    /// A retransmitted request.
    Retransmission,
    /// A request that we refused before the call room saw it.
    Rejected,
}

/// Which timer is the next to fire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SipTimer {
    /// Of a transaction.
    Transaction(TransactionTimer),
    /// Of an INVITE usage.
    Usage(UsageTimer),
    /// Of an outbound INVITE.
    Outbound(OutboundTimer),
    /// An INVITE that nobody waits for, cancelled, without final response.
    Abandoned,
    /// Of a line.
    Line(LineTimer),
    /// OPTIONS to a target, or the wait for its answer.
    Probe,
}

/// Whom a deadline wakes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Wake {
    Client(TransactionKey),
    Server(TransactionKey),
    Usage(LegId),
    /// A trunk's line.
    Line(usize, usize),
    /// A trunk's target.
    Probe(usize, usize),
}

/// The machine.
#[derive(Debug)]
pub struct UserAgent {
    config: Config,
    rng: StdRng,
    draining: Option<Duration>,
    /// Boxed, as the clients: a tree moves its entries about.
    servers: BTreeMap<TransactionKey, Box<server::ServerEntry>>,
    /// Requests under way, by what makes them the same request on another path (RFC 3261 8.2.2.2).
    requests: BTreeMap<inspect::RequestName, TransactionKey>,
    clients: BTreeMap<TransactionKey, Box<client::ClientEntry>>,
    usages: BTreeMap<LegId, usages::UsageEntry>,
    dialogs: BTreeMap<DialogId, LegId>,
    /// What is known of each trunk of the configuration, in its order.
    peers: Vec<peers::Peer>,
    verifier: Verifier,
    schedule: schedule::Schedule<Wake, SipTimer>,
    output: VecDeque<Output>,
    /// When an unknown source was last logged: once in ten seconds is enough to find a wrong network list.
    warned_at: Option<Instant>,
}

impl UserAgent {
    /// A user agent without calls. All chance comes from `rng`.
    pub fn new(config: Config, mut rng: StdRng) -> Self {
        let mut key = [0; 32];
        rng.fill_bytes(&mut key);
        Self {
            peers: config.trunks.iter().map(peers::Peer::new).collect(),
            verifier: Verifier::new(key),
            config,
            rng,
            draining: None,
            servers: BTreeMap::new(),
            requests: BTreeMap::new(),
            clients: BTreeMap::new(),
            usages: BTreeMap::new(),
            dialogs: BTreeMap::new(),
            schedule: schedule::Schedule::new(),
            output: VecDeque::new(),
            warned_at: None,
        }
    }

    /// Begins what is ours to begin: lines register, targets are asked whether they are there.
    pub fn start(&mut self, now: Instant) {
        self.start_lines(now);
        self.start_probes(now);
    }

    /// Takes what happened.
    pub fn handle(&mut self, input: Input, now: Instant) {
        match input {
            Input::Received { flow, bytes } => self.received(flow, &bytes, now),
            Input::Command(command) => self.command(command, now),
            Input::Resolved { trunk, targets } => self.resolved(&trunk, targets, now),
            Input::FlowFailed { flow } => self.flow_failed(&flow, now),
        }
    }

    /// Fires what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(wake) = self.schedule.pop_due(now) {
            match wake {
                Wake::Client(key) => self.client_timeout(&key, now),
                Wake::Server(key) => self.server_timeout(&key, now),
                Wake::Usage(leg) => self.usage_timeout(leg, now),
                Wake::Line(trunk, line) => self.line_timeout(trunk, line, now),
                Wake::Probe(trunk, target) => self.probe_timeout(trunk, target, now),
            }
        }
    }

    /// When to call [`Self::handle_timeout`], and for which timer.
    pub fn poll_timeout(&self) -> Option<(Instant, SipTimer)> {
        self.schedule.next()
    }

    /// What to do next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.output.pop_front()
    }

    /// The stream connections that a call lives on: they must not idle out.
    pub fn connections_in_use(&self) -> BTreeSet<ConnectionId> {
        self.usages.values().filter_map(|entry| entry.flow.connection).collect()
    }

    /// How many INVITE usages there are, early ones included.
    pub fn usages(&self) -> usize {
        self.usages.len()
    }

    /// How many transactions there are, finished ones that linger included.
    pub fn transactions(&self) -> usize {
        self.servers.len() + self.clients.len()
    }

    /// Whether nothing is left of any call or request.
    pub fn is_idle(&self) -> bool {
        self.transactions() == 0
            && self.usages.is_empty()
            && self.dialogs.is_empty()
            && self.requests.is_empty()
            && self.schedule.is_empty()
    }

    fn count(&mut self, counter: Counter) {
        self.output.push_back(Output::Count(counter));
    }

    fn is_full(&self) -> bool {
        self.transactions() >= self.config.transactions_max
    }

    /// A new tag (RFC 3261 19.3: at least 32 random bits).
    fn new_tag(&mut self) -> String {
        format!("{:016x}", self.rng.next_u64())
    }

    /// A new branch.
    fn new_branch(&mut self) -> String {
        format!("{}{:016x}{:08x}", crate::sip::message::via::MAGIC_COOKIE, self.rng.next_u64(), self.rng.next_u32())
    }
}
