//! Our user agents: two of them over memory and virtual time, and two behind our shell over loopback UDP.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tandem::clock::Clock;
use tandem::ids::{LegId, SessionId, TrunkName};
use tandem::pii::Pii;
use tandem::sip::io::{self, Bind, Transports, task};
use tandem::sip::message::sanity::{self, Admission};
use tandem::sip::message::{Message, Request};
use tandem::sip::user_agent::{Config, Input, Listen, Network, Output, Target, Trunk, UserAgent};
use tandem::sip::{Command, EndCause, Event, Flow, OutgoingInvite, Party, StatusCode, Transport};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::SDP;

fn agent(local: SocketAddr, peer: SocketAddr, clock: Clock, seed: u64) -> UserAgent {
    let target = Target { transport: Transport::Udp, address: peer, tcp_for_large: false };
    let mut trunk = Trunk::of_target(TrunkName::new("peer"), target);
    trunk.networks = vec![Network::host(peer.ip())];
    let mut config = Config::new(clock);
    config.listen = vec![Listen { transport: Transport::Udp, address: local }];
    config.trunks = vec![trunk];
    UserAgent::new(config, StdRng::seed_from_u64(seed))
}

fn leg(number: u32) -> LegId {
    LegId::from_uuid(uuid::Uuid::from_u128(u128::from(number) + 1))
}

fn invite(number: u32) -> Command {
    Command::Invite(OutgoingInvite {
        leg: leg(number),
        trunk: TrunkName::new("peer"),
        called: "1001".to_owned(),
        from: Party { user: Pii::new("2000".to_owned()), display_name: Some(Pii::new("Ann".to_owned())) },
        session_id: SessionId::from_bytes(u128::from(number).to_be_bytes()),
        offer: Some(Bytes::from_static(SDP.as_bytes())),
        replaces: None,
        anonymous: false,
        headers: Vec::new(),
        user_to_user: None,
        diverted_from: None,
    })
}

fn ringing(leg: LegId) -> Command {
    Command::Provisional { leg, status: StatusCode::new(180).expect("a status"), body: None }
}

fn accept(leg: LegId) -> Command {
    Command::Accept { leg, sdp: Bytes::from_static(SDP.as_bytes()) }
}

/// What the owner of one agent answers to an event; and whether its call is over.
fn react(event: &Event) -> (Vec<Command>, bool) {
    if let Event::Invited(invitation) = event {
        return (vec![ringing(invitation.leg), accept(invitation.leg)], false);
    }
    if let Event::Accepted { leg, .. } = event {
        return (vec![Command::Bye { leg: *leg, reason: None }], false);
    }
    (Vec::new(), matches!(event, Event::Ended { cause: EndCause::LocalBye, .. }))
}

/// Two agents on a perfect wire. Time stands still but where it is moved.
pub(crate) struct Pair {
    agents: [UserAgent; 2],
    addresses: [SocketAddr; 2],
    now: Instant,
    next: u32,
}

impl Pair {
    pub(crate) fn new() -> Self {
        let clock = Clock::system();
        let addresses = [SocketAddr::from(([10, 0, 0, 1], 5060)), SocketAddr::from(([10, 0, 0, 2], 5060))];
        let [one, two] = addresses;
        Self { agents: [agent(one, two, clock, 1), agent(two, one, clock, 2)], addresses, now: clock.now(), next: 0 }
    }

    /// Places a call from the first to the second, answers it and ends it.
    pub(crate) fn call(&mut self) -> Result<()> {
        let mut inputs: VecDeque<(usize, Input)> = VecDeque::from([(0, Input::Command(invite(self.next)))]);
        self.next += 1;
        let mut over = false;
        while let Some((who, input)) = inputs.pop_front() {
            self.agents[who].handle(input, self.now);
            while let Some(output) = self.agents[who].poll_output() {
                over |= self.carry(who, output, &mut inputs);
            }
        }
        ensure!(over, "the call did not end");
        Ok(())
    }

    /// Brings what agent `who` puts out to where it belongs; whether the call is over.
    fn carry(&self, who: usize, output: Output, inputs: &mut VecDeque<(usize, Input)>) -> bool {
        if let Output::Send { flow, bytes } = output {
            let there = Flow { local: flow.remote, remote: flow.local, ..flow };
            let whom = usize::from(there.local == self.addresses[1]);
            inputs.push_back((whom, Input::Received { flow: there, bytes }));
            return false;
        }
        let Output::Event(event) = output else { return false };
        let (commands, is_over) = react(&event);
        inputs.extend(commands.into_iter().map(|command| (who, Input::Command(command))));
        is_over
    }

    /// Lets `time` pass.
    pub(crate) fn idle(&mut self, time: Duration) {
        let end = self.now + time;
        self.agents.iter_mut().for_each(|agent| idle(agent, end));
        self.now = end;
    }
}

fn idle(agent: &mut UserAgent, end: Instant) {
    while let Some((at, _)) = agent.poll_timeout().filter(|(at, _)| *at <= end) {
        agent.handle_timeout(at);
        while agent.poll_output().is_some() {}
    }
}

/// Two shells over loopback UDP.
pub(crate) struct Shells {
    caller: (task::SipHandle, mpsc::Receiver<Event>),
    callee: (task::SipHandle, mpsc::Receiver<Event>),
    stop: CancellationToken,
    next: u32,
}

impl Shells {
    pub(crate) async fn start() -> Result<Self> {
        let (here, there) = (bind().await?, bind().await?);
        let (one, two) = (here.udp_addresses()[0], there.udp_addresses()[0]);
        let stop = CancellationToken::new();
        let start = |transports, local, peer, seed| {
            let clock = Clock::system();
            let (handle, commands) = task::commands();
            let (events, received) = mpsc::channel(1_024);
            tokio::spawn(task::run(agent(local, peer, clock, seed), transports, commands, events, clock, stop.clone()));
            (handle, received)
        };
        Ok(Self { caller: start(here, one, two, 1), callee: start(there, two, one, 2), stop: stop.clone(), next: 0 })
    }

    /// Places `count` calls, `at_once` of them at any time.
    pub(crate) async fn calls(&mut self, count: u32, at_once: u32) -> Result<()> {
        let last = self.next + count;
        let mut over = 0;
        for _ in 0..at_once.min(count) {
            self.begin()?;
        }
        while over < count {
            let (event, of_caller) = tokio::select! {
                event = self.caller.1.recv() => (event, true),
                event = self.callee.1.recv() => (event, false),
            };
            let (commands, is_over) = react(&event.context("a shell ended")?);
            let handle = if of_caller { &self.caller.0 } else { &self.callee.0 };
            commands.into_iter().try_for_each(|command| handle.try_send(command))?;
            over += u32::from(is_over);
            if is_over && self.next < last {
                self.begin()?;
            }
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<()> {
        self.caller.0.try_send(invite(self.next))?;
        self.next += 1;
        Ok(())
    }
}

impl Drop for Shells {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn bind() -> Result<Transports> {
    let udp = vec![Bind { address: SocketAddr::from(([127, 0, 0, 1], 0)), key: "bench".to_owned() }];
    Ok(Transports::bind(io::Config { udp, is_trunk: Arc::new(|_| true), ..io::Config::default() }).await?)
}

/// Reads a message as the user agent does.
pub(crate) fn parse(bytes: &[u8]) -> Result<Request> {
    let admission = sanity::admit(bytes);
    let Admission::Message(Message::Request(request)) = admission else { bail!("not admitted: {admission:?}") };
    Ok(request)
}
