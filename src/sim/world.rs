//! The world of a seed: the gateway's user agent and calls, and everybody around them, on one clock.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngCore as _, SeedableRng as _};

use crate::call::{Call, Candidate, Cause, Config, Hunt, Input};
use crate::clock::{Clock, WallTime};
use crate::ids::TrunkName;
use crate::signaling;
use crate::sim::browser;
use crate::sim::media;
use crate::sim::reference::Reference;
use crate::sim::script::Script;
use crate::sim::seat::Seat;
use crate::sim::wire::{Towards, Wire};
use crate::sip;
use crate::sip::message::{Message, Method, Request};
use crate::sip::user_agent::{self, Listen, Target, Trunk, UserAgent};
use crate::sip::{Flow, Invitation, Transport};

/// The gateway's address.
const GATEWAY: ([u8; 4], u16) = ([192, 0, 2, 1], 5060);
/// The PBX's address.
const PBX: ([u8; 4], u16) = ([192, 0, 2, 9], 5060);
/// Whoever still talks hangs up then.
const ENOUGH: Duration = Duration::from_secs(200);
/// All calls must have ended by then, and nothing of them be left.
const END: Duration = Duration::from_mins(7);
/// Steps of a world that no script of ours needs.
const STEPS_MAX: usize = 200_000;

/// How a world went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Calls that were begun.
    pub calls: usize,
    /// Calls in which audio crossed.
    pub answered: usize,
}

/// Runs the world of `seed` to its end. `start` is any moment. The error says what was promised and not kept.
pub fn run(seed: u64, start: Instant) -> Result<Summary, Vec<String>> {
    let mut world = World::new(seed, start);
    world.play();
    world.judge()
}

#[derive(Debug)]
struct World {
    start: Instant,
    now: Instant,
    clock: Clock,
    config: Arc<Config>,
    agent: UserAgent,
    seats: Vec<Seat>,
    wire: Wire,
    reference: Reference,
    shutdown_at: Option<Instant>,
    enough_at: Option<Instant>,
    faults: Vec<String>,
}

impl World {
    fn new(seed: u64, start: Instant) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let script = Script::draw(&mut rng);
        let clock = Clock::starting_at(start, WallTime(1_700_000_000_000_000_000));
        let config = Arc::new(Config::default());
        let agent = UserAgent::new(agent_config(clock), StdRng::seed_from_u64(rng.next_u64()));
        let calls = script.calls.into_iter().enumerate();
        let seats = calls
            .map(|(number, script)| Seat::new(number, script, (start, SocketAddr::from(GATEWAY)), &mut rng))
            .collect();
        Self {
            start,
            now: start,
            clock,
            config,
            agent,
            seats,
            wire: Wire::new(script.weather, StdRng::seed_from_u64(rng.next_u64())),
            reference: Reference::default(),
            shutdown_at: script.shutdown.map(|after| start + after),
            enough_at: Some(start + ENOUGH),
            faults: Vec::new(),
        }
    }

    fn play(&mut self) {
        let end = self.start + END;
        for _ in 0..STEPS_MAX {
            let Some(at) = self.next_at().filter(|at| *at <= end) else { return };
            self.now = at.max(self.now);
            self.step();
        }
        self.faults.push(format!("still busy after {STEPS_MAX} steps, at {:?}", self.now - self.start));
    }

    fn next_at(&self) -> Option<Instant> {
        let agent = self.agent.poll_timeout().map(|(at, _)| at);
        let world = [agent, self.wire.next_at(), self.shutdown_at, self.enough_at];
        world.into_iter().flatten().chain(self.seats.iter().filter_map(Seat::next_at)).min()
    }

    fn step(&mut self) {
        while let Some((towards, bytes)) = self.wire.arrived(self.now) {
            let Ok(message) = Message::parse(&bytes) else {
                self.faults.push("bytes on the wire that are no message".to_owned());
                continue;
            };
            match towards {
                Towards::Gateway => {
                    self.reference.reached_gateway(&message, self.now);
                    self.agent.handle(user_agent::Input::Received { flow: flow(), bytes }, self.now);
                    self.drain_agent();
                }
                Towards::Peer => self.reached_peer(message),
            }
        }
        self.agent.handle_timeout(self.now);
        self.drain_agent();
        for number in 0..self.seats.len() {
            self.step_seat(number);
        }
        if self.shutdown_at.take_if(|at| *at <= self.now).is_some() {
            self.shut_down();
        }
        if self.enough_at.take_if(|at| *at <= self.now).is_some() {
            for seat in &mut self.seats {
                seat.browser.hang_up(self.now);
            }
        }
    }

    fn reached_peer(&mut self, message: Message) {
        let call_id = message.headers().call_id().unwrap_or_default().to_owned();
        let now = self.now;
        let known = self.seats.iter().position(|seat| seat.peer.call_id() == call_id);
        let called = || match &message {
            Message::Request(request) if request.method == Method::Invite => called_seat(request),
            Message::Request(_) | Message::Response(_) => None,
        };
        match known.or_else(called).and_then(|number| self.seats.get_mut(number)) {
            Some(seat) => seat.peer.handle(message, now),
            None => self.faults.push(format!("a message for no call of the PBX: {call_id}")),
        }
        self.drain_peers();
    }

    fn drain_peers(&mut self) {
        for seat in &mut self.seats {
            while let Some(bytes) = seat.peer.poll_output() {
                self.wire.send(Towards::Gateway, &bytes, self.now);
            }
        }
    }

    fn drain_agent(&mut self) {
        while let Some(output) = self.agent.poll_output() {
            match output {
                user_agent::Output::Send { bytes, .. } => {
                    self.reference.gateway_sent(&bytes, self.now);
                    self.wire.send(Towards::Peer, &bytes, self.now);
                }
                user_agent::Output::Event(event) => self.heard(event),
                user_agent::Output::Count(_) | user_agent::Output::Trunk(_) | user_agent::Output::Quirk(_) => {}
            }
        }
    }

    fn heard(&mut self, event: sip::Event) {
        if let sip::Event::Invited(invitation) = event {
            self.invited(*invitation);
            return;
        }
        let leg = event.leg();
        if let Some(number) = self.seats.iter().position(|seat| seat.ids.trunk_leg == leg) {
            self.tell(number, Input::Sip(event));
        }
    }

    fn invited(&mut self, invitation: Invitation) {
        let number = invitation.called.strip_prefix("100").and_then(|text| text.parse::<usize>().ok());
        let Some((number, seat)) = number.and_then(|number| Some((number, self.seats.get_mut(number)?))) else {
            self.faults.push(format!("a call for nobody: {}", invitation.called));
            return;
        };
        if seat.call.is_some() || seat.outcome.is_some() || seat.refused_at_the_door {
            self.faults.push("one INVITE became two calls".to_owned());
            return;
        }
        let leg = invitation.leg;
        seat.ids.trunk_leg = leg;
        if seat.browser.is_gone() {
            seat.refused_at_the_door = true;
            let refusal = Cause::AgentUnavailable.refusal(self.config.retry_after);
            self.agent.handle(user_agent::Input::Command(sip::Command::Refuse { leg, refusal }), self.now);
            return;
        }
        let ground = seat.ground(&self.config, self.clock);
        let candidate = Candidate { agent: ground.agent.clone(), leg: seat.ids.agent_leg, waiting: false };
        let ring_time = self.config.no_answer;
        let hunt = Hunt { candidates: vec![candidate], one_by_one: false, ring_time, is_group: false };
        seat.call = Some(Call::inbound(ground, hunt, invitation, self.now));
        seat.browser.begin(self.now);
        self.carry_out(number);
    }

    fn step_seat(&mut self, number: usize) {
        let now = self.now;
        let Some(seat) = self.seats.get_mut(number) else { return };
        seat.peer.handle_timeout(now);
        if seat.dials_at.take_if(|at| *at <= now).is_some() && !seat.browser.is_gone() {
            let ground = seat.ground(&self.config, self.clock);
            seat.call = Some(Call::outbound(ground, TrunkName::new("pbx"), format!("600{number}"), now));
            seat.browser.begin(now);
            self.carry_out(number);
        }
        while let Some(word) = self.seats.get_mut(number).and_then(|seat| seat.media.pop_due(now)) {
            let input = match word {
                media::Word::Worker(event) => Input::Worker(event),
                media::Word::Recorder(kind) => Input::Recorder(kind),
            };
            self.tell(number, input);
        }
        while let Some(word) = self.seats.get_mut(number).and_then(|seat| seat.browser.pop_due(now)) {
            let Some(session) = self.seats.get(number).map(Seat::session) else { return };
            let input = match word {
                browser::Word::Request(token, request) => Input::Request { from: session, token, request },
                browser::Word::Gone => Input::AgentGone { session },
            };
            self.tell(number, input);
        }
        if let Some(call) = self.seats.get_mut(number).and_then(|seat| seat.call.as_mut()) {
            call.handle_timeout(now);
            self.carry_out(number);
        }
        self.drain_peers();
    }

    fn shut_down(&mut self) {
        let retry_after = self.config.retry_after;
        self.agent.handle(user_agent::Input::Command(sip::Command::Drain { retry_after }), self.now);
        for number in 0..self.seats.len() {
            self.tell(number, Input::Shutdown);
        }
    }

    /// As the registry does: what a call is not there for is answered in its place, or nothing.
    fn tell(&mut self, number: usize, input: Input) {
        let Some(seat) = self.seats.get_mut(number) else { return };
        if let Some(call) = &mut seat.call {
            call.handle(input, self.now);
        } else if let Input::Request { token, .. } = input {
            let result = Err(signaling::Error::new("call.unknown", "there is no such call", false));
            seat.browser.command(signaling::Command::Reply { token, result }, self.now);
        }
        self.carry_out(number);
    }

    fn carry_out(&mut self, number: usize) {
        let commands = self.seats.get_mut(number).map(|seat| seat.carry_out(self.now)).unwrap_or_default();
        for command in commands {
            self.agent.handle(user_agent::Input::Command(command), self.now);
        }
        self.drain_agent();
    }

    fn judge(mut self) -> Result<Summary, Vec<String>> {
        let mut faults = std::mem::take(&mut self.faults);
        if !self.agent.is_idle() {
            faults.push(format!("the user agent still holds {:?}", self.agent));
        }
        let mut summary = Summary::default();
        for (number, seat) in self.seats.iter().enumerate() {
            summary.calls += usize::from(seat.outcome.is_some());
            summary.answered += usize::from(seat.media.book().gate_opened);
            faults.extend(seat.faults().into_iter().map(|fault| format!("call {number}: {fault}")));
        }
        faults.extend(self.reference.faults());
        if faults.is_empty() { Ok(summary) } else { Err(faults) }
    }
}

fn called_seat(request: &Request) -> Option<usize> {
    request.uri.user_unescaped()?.strip_prefix("600")?.parse().ok()
}

fn flow() -> Flow {
    Flow {
        transport: Transport::Udp,
        local: SocketAddr::from(GATEWAY),
        remote: SocketAddr::from(PBX),
        connection: None,
    }
}

fn agent_config(clock: Clock) -> user_agent::Config {
    let mut config = user_agent::Config::new(clock);
    config.listen = vec![Listen { transport: Transport::Udp, address: SocketAddr::from(GATEWAY) }];
    let target = Target { transport: Transport::Udp, address: SocketAddr::from(PBX), tcp_for_large: false };
    config.trunks = vec![Trunk::of_target(TrunkName::new("pbx"), target)];
    config
}
