//! What is known of the trunks while they run: which targets answer, who asked for a password, how many calls came.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use std::time::Instant;

use crate::ids::TrunkName;
use crate::limits;
use crate::sip::digest::client;
use crate::sip::registration::Registration;
use crate::sip::registration::State;
use crate::sip::transaction::TransactionKey;
use crate::sip::user_agent::config::Trunk;

/// Something that an operator wants to see of a trunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrunkNotice {
    /// A target answers again, or does not any more.
    Target {
        /// The trunk.
        trunk: TrunkName,
        /// The target.
        address: SocketAddr,
        /// Whether it answers.
        is_up: bool,
    },
    /// A line came up or went down.
    Line {
        /// The trunk.
        trunk: TrunkName,
        /// The user part of its Contact.
        line: String,
        /// Whether the registrar knows it.
        state: State,
        /// Lines of this trunk that are registered now.
        registered: usize,
    },
}

/// A trunk as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrunkStatus {
    /// Its name.
    pub name: TrunkName,
    /// Each target, and whether it answers.
    pub targets: Vec<(SocketAddr, bool)>,
    /// Each line's Contact user, and whether it is registered.
    pub lines: Vec<(String, State)>,
    /// Calls now, early ones included.
    pub calls: usize,
}

/// The path, the line, and whether the path's proxy asked or the server behind it.
type SessionName = (SocketAddr, Option<usize>, client::Asker);

/// One trunk's state.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) targets: Vec<TargetState>,
    pub(super) lines: Vec<LineState>,
    /// Challenges that were answered, by the address that was asked there and the line that answered.
    sessions: BTreeMap<SessionName, client::Session>,
    bucket: Bucket,
}

impl Peer {
    pub(super) fn new(trunk: &Trunk) -> Self {
        Self {
            targets: trunk.targets.iter().map(|_| TargetState::default()).collect(),
            lines: Vec::new(),
            sessions: BTreeMap::new(),
            bucket: Bucket::default(),
        }
    }

    /// The targets in the order in which a new request takes them: those that are down last, those that asked to be left
    /// alone not at all.
    pub(super) fn order(&self, now: Instant) -> Vec<usize> {
        let usable = || self.targets.iter().enumerate().filter(move |(_, target)| !target.is_skipped(now));
        let up = usable().filter(|(_, target)| target.is_up);
        let down = usable().filter(|(_, target)| !target.is_up);
        up.chain(down).map(|(index, _)| index).collect()
    }

    /// Until when every target is to be left alone.
    pub(super) fn skipped_until(&self) -> Option<Instant> {
        self.targets.iter().map(|target| target.skip_until).min().flatten()
    }

    /// What a new request of a line's brings along on a path: for the server, for a proxy, or for both.
    pub(super) fn sessions(
        &mut self,
        server: SocketAddr,
        line: Option<usize>,
    ) -> impl Iterator<Item = &mut client::Session> {
        let names = (server, line, client::Asker::Server)..=(server, line, client::Asker::Proxy);
        self.sessions.range_mut(names).map(|(_, session)| session)
    }

    pub(super) fn remember(&mut self, server: SocketAddr, line: Option<usize>, session: client::Session) {
        let name = (server, line, session.asker());
        if self.sessions.len() >= limits::SIP_DIGEST_SESSIONS_MAX && !self.sessions.contains_key(&name) {
            self.sessions.pop_first();
        }
        self.sessions.insert(name, session);
    }

    pub(super) fn forget_session(&mut self, server: SocketAddr, line: Option<usize>, asker: client::Asker) {
        self.sessions.remove(&(server, line, asker));
    }

    /// Whether one more call may begin this second.
    pub(super) fn take_token(&mut self, per_second: u32, now: Instant) -> bool {
        self.bucket.take(per_second, now)
    }
}

/// One target's state.
#[derive(Debug, Clone)]
pub(super) struct TargetState {
    pub(super) is_up: bool,
    pub(super) misses: u32,
    /// It said 503 with Retry-After.
    pub(super) skip_until: Option<Instant>,
    /// The OPTIONS that awaits its answer.
    pub(super) probe: Option<TransactionKey>,
}

impl Default for TargetState {
    fn default() -> Self {
        Self { is_up: true, misses: 0, skip_until: None, probe: None }
    }
}

impl TargetState {
    fn is_skipped(&self, now: Instant) -> bool {
        self.skip_until.is_some_and(|until| until > now)
    }
}

/// One line's state.
#[derive(Debug)]
pub(super) struct LineState {
    pub(super) registration: Registration,
    pub(super) call_id: String,
    pub(super) tag: String,
    pub(super) cseq: u32,
    /// How many targets were tried in vain since the last success.
    pub(super) tried: usize,
}

/// A token bucket: so many a second, and one second's worth at once.
#[derive(Debug, Default)]
struct Bucket {
    /// When the bucket is full again; `None` is full.
    full_at: Option<Instant>,
}

impl Bucket {
    fn take(&mut self, per_second: u32, now: Instant) -> bool {
        let Some(cost) = Duration::from_secs(1).checked_div(per_second) else { return false };
        let full_at = self.full_at.map_or(now, |at| at.max(now));
        let after = full_at + cost;
        let has_room = after.saturating_duration_since(now) <= Duration::from_secs(1);
        if has_room {
            self.full_at = Some(after);
        }
        has_room
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn a_bucket_holds_one_second_and_fills_evenly() {
        let start = Clock::system().now();
        let mut bucket = Bucket::default();
        let mut taken = |at_ms: u64| (0..10).filter(|_| bucket.take(4, start + Duration::from_millis(at_ms))).count();
        assert_eq!(taken(0), 4);
        assert_eq!(taken(100), 0);
        assert_eq!(taken(250), 1);
        assert_eq!(taken(10_000), 4);
        assert!(!Bucket::default().take(0, start));
    }
}
