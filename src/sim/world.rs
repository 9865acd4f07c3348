//! The world of a seed: the gateway's user agent and calls, and everybody around them, on one clock.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngCore as _, SeedableRng as _};

use crate::call::{Call, Cause, Config, Consultation, Input};
use crate::clock::{Clock, WallTime};
use crate::ids::{LegId, TrunkName};
use crate::limits::CALL_TRUNK_LEGS_MAX;
use crate::signaling;
use crate::signaling::{CallRequest, RequestToken};
use crate::sim::browser;
use crate::sim::media;
use crate::sim::reference::Reference;
use crate::sim::script::Script;
use crate::sim::seat::Seat;
use crate::sim::site::{self, GATEWAY};
use crate::sim::wire::{Towards, Wire};
use crate::sip;
use crate::sip::message::{Message, Method, Request};
use crate::sip::user_agent::{self, UserAgent};
use crate::sip::{EndCause, Invitation, Refusal, StatusCode};

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
    /// Calls that were joined to another one, each counted.
    pub joined: usize,
}

/// Runs the world of `seed` to its end. `start` is any moment. The error says what was promised and not kept.
pub fn run(seed: u64, start: Instant) -> Result<Summary, Vec<String>> {
    let mut world = World::new(seed, start);
    world.play();
    world.judge()
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) start: Instant,
    pub(super) now: Instant,
    pub(super) clock: Clock,
    pub(super) config: Arc<Config>,
    /// For names that the registry draws.
    pub(super) rng: StdRng,
    agent: UserAgent,
    pub(super) seats: Vec<Seat>,
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
        let config = Arc::new(site::call_config());
        let agent = UserAgent::new(site::agent_config(clock, script.calls_max), StdRng::seed_from_u64(rng.next_u64()));
        let calls = script.calls.into_iter().enumerate();
        let seats = calls
            .map(|(number, script)| Seat::new(number, script, (start, SocketAddr::from(GATEWAY)), &mut rng))
            .collect();
        Self {
            start,
            now: start,
            clock,
            config,
            rng: StdRng::seed_from_u64(rng.next_u64()),
            agent,
            seats,
            wire: Wire::new(script.weather, StdRng::seed_from_u64(rng.next_u64())),
            reference: Reference::new(script.calls_max),
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
        self.reference.passed(self.now);
        while let Some((towards, bytes)) = self.wire.arrived(self.now) {
            let Ok(message) = Message::parse(&bytes) else {
                self.faults.push("bytes on the wire that are no message".to_owned());
                continue;
            };
            match towards {
                Towards::Gateway => {
                    self.reference.reached_gateway(&message, self.now);
                    self.agent.handle(user_agent::Input::Received { flow: site::flow(), bytes }, self.now);
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
            self.hang_up_everywhere();
        }
    }

    fn reached_peer(&mut self, message: Message) {
        let call_id = message.headers().call_id().unwrap_or_default().to_owned();
        let now = self.now;
        let known = self.seats.iter_mut().flat_map(|seat| &mut seat.peers).find(|peer| peer.call_id() == call_id);
        if let Some(peer) = known {
            peer.handle(message, now);
        } else if let Some((seat, is_target)) = called_seat(&message)
            && let Some(seat) = self.seats.get_mut(seat)
        {
            // More parties than a call has room for hear nothing.
            let peer = if is_target { seat.add_target() } else { seat.peers.first_mut() };
            if let Some(peer) = peer {
                peer.handle(message, now);
            }
        } else if !matches!(message, Message::Request(Request { method: Method::Invite | Method::Cancel, .. })) {
            self.faults.push(format!("a message for no call of the PBX: {call_id}"));
        }
        self.drain_peers();
    }

    fn drain_peers(&mut self) {
        for peer in self.seats.iter_mut().flat_map(|seat| &mut seat.peers) {
            while let Some(bytes) = peer.poll_output() {
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
            match invitation.replaces {
                Some(replaced) => self.replaced(replaced, invitation),
                None => self.invited(*invitation),
            }
            return;
        }
        let leg = event.leg();
        let Some(number) = self.seat_of(leg) else { return };
        if matches!(event, sip::Event::Referred { .. }) {
            self.name_spare_leg(number);
        }
        let Some(seat) = self.seats.get_mut(number) else { return };
        let standing = seat.call.as_ref().map(Call::standing).filter(|standing| !standing.is_ending);
        let is_up = standing.as_ref().is_some_and(|standing| standing.is_answered && standing.trunk_leg == leg);
        let has_agent = standing.as_ref().is_some_and(|standing| standing.partner.is_none());
        if is_up && has_agent && matches!(event, sip::Event::InfoReceived { .. }) {
            seat.keys_told += 1;
        }
        let transferor_leaves = matches!(event, sip::Event::Ended { cause: EndCause::PeerBye, .. })
            && seat.referring == Some(leg)
            && standing.is_some();
        self.tell(number, Input::Sip(event));
        let Some(seat) = self.seats.get_mut(number).filter(|_| transferor_leaves) else { return };
        if seat.call.as_ref().is_none_or(Call::is_ending) {
            seat.faults.push("the transferor's BYE ended the call that it had transferred".to_owned());
        }
    }

    fn seat_of(&self, leg: LegId) -> Option<usize> {
        self.seats.iter().position(|seat| seat.legs.contains(&leg))
    }

    /// As the registry does, before a call hears of a transfer.
    fn name_spare_leg(&mut self, number: usize) {
        let leg = LegId::generate(1, &mut self.rng);
        let Some(seat) = self.seats.get_mut(number).filter(|seat| seat.legs.len() < CALL_TRUNK_LEGS_MAX) else {
            return;
        };
        seat.legs.push(leg);
        self.tell(number, Input::SpareLeg(leg));
    }

    /// An INVITE that takes another's place belongs to that call.
    fn replaced(&mut self, replaced: LegId, invitation: Box<Invitation>) {
        let leg = invitation.leg;
        let number = self.seat_of(replaced);
        let seat = number.and_then(|number| self.seats.get_mut(number));
        let has_room = |seat: &&mut Seat| seat.call.is_some() && seat.legs.len() < CALL_TRUNK_LEGS_MAX;
        if let (Some(number), Some(seat)) = (number, seat.filter(has_room)) {
            seat.legs.push(leg);
            self.tell(number, Input::Sip(sip::Event::Invited(invitation)));
        } else {
            self.command(sip::Command::Refuse { leg, refusal: Refusal::new(StatusCode::CALL_DOES_NOT_EXIST) });
        }
    }

    fn command(&mut self, command: sip::Command) {
        self.agent.handle(user_agent::Input::Command(command), self.now);
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
        seat.legs = vec![leg];
        let hunt = seat.hunt(&self.config);
        let Some((hunt, first)) = hunt.and_then(|hunt| Some((hunt.clone(), hunt.candidates.into_iter().next()?)))
        else {
            seat.refused_at_the_door = true;
            let refusal = Cause::AgentUnavailable.refusal(self.config.retry_after);
            self.command(sip::Command::Refuse { leg, refusal });
            return;
        };
        let ground = seat.ground(first.agent, first.leg, &self.config, self.clock);
        seat.call = Some(Call::inbound(ground, hunt, invitation, self.now));
        for page in &mut seat.browsers {
            page.begin(self.now);
        }
        self.carry_out(number);
    }

    fn step_seat(&mut self, number: usize) {
        let now = self.now;
        let Some(seat) = self.seats.get_mut(number) else { return };
        seat.replace_peer(now);
        for peer in &mut seat.peers {
            peer.handle_timeout(now);
        }
        let dials = seat.dials_at.take_if(|at| *at <= now).is_some();
        if let Some(page) = seat.browsers.first_mut().filter(|page| dials && !page.is_gone()) {
            page.begin(now);
            let ground = seat.ground_of_dialler(&self.config, self.clock);
            seat.call = Some(Call::outbound(ground, TrunkName::new("pbx"), format!("600{number}"), now));
            self.carry_out(number);
        }
        while let Some(word) = self.seats.get_mut(number).and_then(|seat| seat.media.pop_due(now)) {
            let input = match word {
                media::Word::Worker(event) => Input::Worker(event),
                media::Word::Recorder(kind) => Input::Recorder(kind),
            };
            self.tell(number, input);
        }
        let pages = self.seats.get(number).map_or(0, |seat| seat.browsers.len());
        for page in 0..pages {
            self.step_page(number, page);
        }
        if let Some(call) = self.seats.get_mut(number).and_then(|seat| seat.call.as_mut()) {
            call.handle_timeout(now);
            self.carry_out(number);
        }
        self.drain_peers();
    }

    fn step_page(&mut self, number: usize, page: usize) {
        let due = |world: &mut Self| {
            let seat = world.seats.get_mut(number)?;
            let session = seat.session(page);
            Some((session, seat.browsers.get_mut(page)?.pop_due(world.now)?))
        };
        while let Some((session, word)) = due(self) {
            let call = self.seats.get(number).and_then(|seat| seat.call.as_ref());
            let concerns = !self.has_forgotten(number, page, &word)
                && call.is_some_and(|call| call.standing().audience.iter().any(|(theirs, _)| *theirs == session));
            match word {
                browser::Word::Gone if concerns => self.tell(number, Input::AgentGone { session }),
                browser::Word::Reloaded if concerns => self.reloaded(number, page, session),
                browser::Word::Gone | browser::Word::Reloaded => {}
                browser::Word::Request(token, CallRequest::TransferTo { .. }) if concerns => {
                    let consultation = self.consultation(number);
                    self.tell(number, Input::Consulted { from: session, token, consultation });
                }
                browser::Word::Request(token, request) if concerns => {
                    self.tell(number, Input::Request { from: session, token, request });
                }
                browser::Word::Request(token, _) => self.deny(number, page, token),
            }
        }
    }

    /// The call after this one stands for the agent's other call.
    fn consultation(&self, number: usize) -> Option<Consultation> {
        let other = self.seats.get((number + 1) % self.seats.len()).filter(|other| other.number != number)?;
        let standing = other.call.as_ref()?.standing();
        let is_up = standing.is_answered && !standing.is_ending;
        let trunk = TrunkName::new("pbx");
        is_up.then_some(Consultation { call: other.ids.call, leg: standing.trunk_leg, trunk, number: standing.number })
    }

    /// As the registry does with what is about no call of the page's.
    fn deny(&mut self, number: usize, page: usize, token: RequestToken) {
        let result = Err(signaling::Error::new("call.unknown", "there is no such call", false));
        if let Some(page) = self.seats.get_mut(number).and_then(|seat| seat.browsers.get_mut(page)) {
            page.command(signaling::Command::Reply { token, result }, self.now);
        }
    }

    fn shut_down(&mut self) {
        let retry_after = self.config.retry_after;
        self.reference.drains();
        self.command(sip::Command::Drain { retry_after });
        for number in 0..self.seats.len() {
            self.tell(number, Input::Shutdown);
        }
    }

    pub(super) fn tell(&mut self, number: usize, input: Input) {
        if let Some(call) = self.seats.get_mut(number).and_then(|seat| seat.call.as_mut()) {
            call.handle(input, self.now);
        }
        self.carry_out(number);
    }

    pub(super) fn carry_out(&mut self, number: usize) {
        let commands = self.seats.get_mut(number).map(|seat| seat.carry_out(self.now)).unwrap_or_default();
        for command in commands {
            self.command(command);
        }
        self.pass_partner_words(number);
        self.drain_agent();
    }

    fn judge(mut self) -> Result<Summary, Vec<String>> {
        let mut faults = std::mem::take(&mut self.faults);
        if !self.agent.is_idle() {
            faults.push(format!("the user agent still holds {:?}", self.agent));
        }
        let mut summary = Summary { joined: self.joined_calls(), ..Summary::default() };
        for (number, seat) in self.seats.iter().enumerate() {
            summary.calls += usize::from(seat.outcome.is_some());
            summary.answered += usize::from(seat.media.book().gate_opened);
            faults.extend(seat.broken_promises().into_iter().map(|fault| format!("call {number}: {fault}")));
        }
        faults.extend(self.faults_of_partners());
        faults.extend(self.reference.faults());
        if faults.is_empty() { Ok(summary) } else { Err(faults) }
    }
}

/// Which call a new INVITE of the gateway's is of, and whether it is for somebody in the first party's place.
fn called_seat(message: &Message) -> Option<(usize, bool)> {
    let Message::Request(request) = message else { return None };
    let user = request.uri.user_unescaped().filter(|_| request.method == Method::Invite)?;
    let target = user.strip_prefix("700").map(|number| (number, true));
    let (number, is_target) = target.or_else(|| Some((user.strip_prefix("600")?, false)))?;
    Some((number.parse().ok()?, is_target))
}
