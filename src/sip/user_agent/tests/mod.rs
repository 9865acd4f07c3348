//! Two user agents on a wire under virtual time, and one that is spoken to in raw text.

mod bench;
mod calls;
mod challenges;
mod chance;
mod dialogs;
mod internal;
mod offers;
mod outbound;
mod quirks;
mod raw;
mod reliable;
mod session_timers;
mod transfers;
mod trunks;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use rand::Rng;
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::clock::Clock;
use crate::clock::WallTime;
use crate::ids::LegId;
use crate::ids::SessionId;
use crate::ids::TrunkName;
use crate::pii::Pii;
use crate::sip::Command;
use crate::sip::Event;
use crate::sip::Flow;
use crate::sip::OutgoingInvite;
use crate::sip::Party;
use crate::sip::Transport;
use crate::sip::user_agent::Config;
use crate::sip::user_agent::Input;
use crate::sip::user_agent::Listen;
use crate::sip::user_agent::Output;
use crate::sip::user_agent::Target;
use crate::sip::user_agent::Trunk;
use crate::sip::user_agent::UserAgent;

pub(super) const OFFER: &str = "v=0 offer";
pub(super) const ANSWER: &str = "v=0 answer";

pub(super) fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub(super) fn udp(local: &str, remote: &str) -> Flow {
    Flow { transport: Transport::Udp, local: address(local), remote: address(remote), connection: None }
}

pub(super) fn target(at: &str) -> Target {
    Target { transport: Transport::Udp, address: address(at), tcp_for_large: false }
}

pub(super) fn leg(number: u128) -> LegId {
    LegId::from_uuid(uuid::Uuid::from_u128(number))
}

pub(super) fn config(local: &str, targets: &[&str], start: Instant) -> Config {
    let mut config = Config::new(Clock::starting_at(start, WallTime(1_700_000_000_000_000_000)));
    config.listen = vec![Listen { transport: Transport::Udp, address: address(local) }];
    let mut trunk = Trunk::of_target(TrunkName::new("pbx"), target(targets[0]));
    trunk.targets = targets.iter().copied().map(target).collect();
    trunk.networks = trunk.targets.iter().map(|target| super::Network::host(target.address.ip())).collect();
    config.trunks = vec![trunk];
    config
}

pub(super) fn invite(number: u128) -> Command {
    Command::Invite(OutgoingInvite {
        leg: leg(number),
        trunk: TrunkName::new("pbx"),
        called: "1001".to_owned(),
        from: Party { user: Pii::new("2000".to_owned()), display_name: Some(Pii::new("Ann \"A\" B".to_owned())) },
        session_id: SessionId::from_bytes([7; 16]),
        offer: Some(Bytes::from_static(OFFER.as_bytes())),
        replaces: None,
        anonymous: false,
        headers: Vec::new(),
        user_to_user: None,
        diverted_from: None,
    })
}

pub(super) fn first_line(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).lines().next().unwrap_or_default().to_owned()
}

/// One word for an event, so that a test reads as a ladder.
pub(super) fn word(event: &Event) -> String {
    match event {
        Event::Invited(invitation) => format!("invited {}", invitation.called),
        Event::Cancelled { .. } => "cancelled".to_owned(),
        Event::Acknowledged { .. } => "acknowledged".to_owned(),
        Event::Progressed { status, .. } => format!("progressed {}", status.as_u16()),
        Event::Accepted { .. } => "accepted".to_owned(),
        Event::Refused { status, .. } => format!("refused {}", status.as_u16()),
        Event::Reinvited { .. } => "reinvited".to_owned(),
        Event::Renegotiated { .. } => "renegotiated".to_owned(),
        Event::RenegotiationFailed { status, .. } => format!("renegotiation failed {}", status.as_u16()),
        Event::RenegotiationOvertaken { .. } => "renegotiation overtaken".to_owned(),
        Event::Referred { to, .. } => format!("referred to {}", to.user),
        Event::ReferProgressed { status, is_over, .. } => {
            format!("refer {}{}", status.as_u16(), if *is_over { " over" } else { "" })
        }
        Event::InfoReceived { body, .. } => format!("info {}", body.content_type),
        Event::Ended { cause, .. } => format!("ended {cause:?}"),
    }
}

/// What the wire does to one datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Pass,
    Lose,
}

type Filter = Box<dyn FnMut(&str) -> Fate>;

/// Agents on a wire. Agent `n` lives at `10.0.0.<n+1>:5060`; agent 0 calls the others.
pub(super) struct World {
    pub(super) now: Instant,
    pub(super) agents: Vec<UserAgent>,
    pub(super) events: Vec<Vec<Event>>,
    /// Start lines of all that was sent, with the sender.
    pub(super) sent: Vec<(usize, String)>,
    wire: BTreeMap<(Instant, u64), (usize, Flow, Bytes)>,
    rng: StdRng,
    count: u64,
    pub(super) loss: f64,
    pub(super) duplication: f64,
    pub(super) filter: Filter,
}

impl World {
    pub(super) fn new(agents: usize, seed: u64) -> Self {
        Self::with(agents, seed, |_| {})
    }

    /// A world whose agents are configured otherwise.
    pub(super) fn with(agents: usize, seed: u64, change: impl Fn(&mut Config)) -> Self {
        let now = Clock::system().now();
        let at = |index: usize| format!("10.0.0.{}:5060", index + 1);
        let make = |index: usize| {
            let peers: Vec<String> = if index == 0 { (1..agents).map(at).collect() } else { vec![at(0)] };
            let peers: Vec<&str> = peers.iter().map(String::as_str).collect();
            let mut config = config(&at(index), &peers, now);
            change(&mut config);
            UserAgent::new(config, StdRng::seed_from_u64(seed + index as u64))
        };
        Self {
            now,
            agents: (0..agents).map(make).collect(),
            events: vec![Vec::new(); agents],
            sent: Vec::new(),
            wire: BTreeMap::new(),
            rng: StdRng::seed_from_u64(seed),
            count: 0,
            loss: 0.0,
            duplication: 0.0,
            filter: Box::new(|_| Fate::Pass),
        }
    }

    pub(super) fn command(&mut self, agent: usize, command: Command) {
        self.agents[agent].handle(Input::Command(command), self.now);
        self.drain(agent);
    }

    fn drain(&mut self, agent: usize) {
        while let Some(output) = self.agents[agent].poll_output() {
            match output {
                Output::Send { flow, bytes } => self.carry(agent, flow, &bytes),
                Output::Event(event) => self.events[agent].push(event),
                Output::Count(_) | Output::Trunk(_) | Output::Quirk(_) => {}
            }
        }
    }

    fn carry(&mut self, sender: usize, flow: Flow, bytes: &Bytes) {
        let line = first_line(bytes);
        self.sent.push((sender, line.clone()));
        if flow == Flow::MEMORY && (self.filter)(&line) == Fate::Pass {
            // In order, and at once.
            self.count += 1;
            self.wire.insert((self.now, self.count), (sender, flow, bytes.clone()));
            return;
        }
        if flow == Flow::MEMORY || (self.filter)(&line) == Fate::Lose || self.rng.random_bool(self.loss) {
            return;
        }
        let copies = if self.rng.random_bool(self.duplication) { 2 } else { 1 };
        let there = Flow { local: flow.remote, remote: flow.local, ..flow };
        for _ in 0..copies {
            let delay = Duration::from_micros(self.rng.random_range(1_000..20_000));
            let Some(receiver) =
                (0..self.agents.len()).find(|index| address(&format!("10.0.0.{}:5060", index + 1)) == there.local)
            else {
                return;
            };
            self.count += 1;
            self.wire.insert((self.now + delay, self.count), (receiver, there, bytes.clone()));
        }
    }

    /// Runs the world for a time; agents act only on what they are sent and on their timers.
    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.next_at().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            while let Some(entry) = self.wire.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let (receiver, flow, bytes) = entry.remove();
                self.agents[receiver].handle(Input::Received { flow, bytes }, self.now);
                self.drain(receiver);
            }
            for agent in 0..self.agents.len() {
                self.agents[agent].handle_timeout(self.now);
                self.drain(agent);
            }
        }
        self.now = end;
    }

    fn next_at(&self) -> Option<Instant> {
        let timers = self.agents.iter().filter_map(|agent| agent.poll_timeout().map(|(at, _)| at));
        timers.chain(self.wire.keys().next().map(|(at, _)| *at)).min()
    }

    pub(super) fn seconds(&mut self, seconds: u64) {
        self.run(Duration::from_secs(seconds));
    }

    /// The events of an agent since the last look.
    pub(super) fn words(&mut self, agent: usize) -> Vec<String> {
        self.events[agent].drain(..).map(|event| word(&event)).collect()
    }

    /// The leg of the last call that came to an agent.
    pub(super) fn invited_leg(&self, agent: usize) -> LegId {
        let invited = |event: &Event| if let Event::Invited(invitation) = event { Some(invitation.leg) } else { None };
        self.events[agent].iter().rev().find_map(invited).unwrap()
    }

    /// How often an agent sent a message whose start line begins so.
    pub(super) fn times(&self, agent: usize, start: &str) -> usize {
        self.sent.iter().filter(|(sender, line)| *sender == agent && line.starts_with(start)).count()
    }

    /// Nothing is left of any call once the linger timers ran out.
    pub(super) fn assert_idle(&mut self) {
        self.seconds(120);
        for (index, agent) in self.agents.iter().enumerate() {
            assert!(agent.is_idle(), "agent {index} holds {agent:?}");
        }
    }
}
