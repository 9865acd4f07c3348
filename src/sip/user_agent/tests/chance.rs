//! Calls in which both sides do what they like, over a wire that loses and doubles: everything asked for is answered
//! once, and nothing is left behind.

use std::time::Duration;

use bytes::Bytes;
use rand::Rng;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::World;
use super::bench::accept;
use super::invite;
use super::leg;
use crate::ids::LegId;
use crate::sip::Body;
use crate::sip::Command;
use crate::sip::Event;
use crate::sip::ReferTarget;
use crate::sip::Refusal;
use crate::sip::StatusCode;
use crate::sip::dialog::terms::ReliableProvisionals;
use crate::sip::dialog::terms::SessionTimerPolicy;

/// One side's account of what it asked for and what it heard.
#[derive(Debug, Default)]
struct Account {
    leg: Option<LegId>,
    offers: usize,
    settled: usize,
    transfers: usize,
    transferred: usize,
    ended: usize,
}

impl Account {
    fn hear(&mut self, event: &Event) {
        match event {
            Event::Invited(invitation) => self.leg = Some(invitation.leg),
            Event::Renegotiated { .. } | Event::RenegotiationFailed { .. } | Event::RenegotiationOvertaken { .. } => {
                self.settled += 1;
            }
            Event::ReferProgressed { is_over, .. } => self.transferred += usize::from(*is_over),
            Event::Ended { .. } | Event::Cancelled { .. } | Event::Refused { .. } => self.ended += 1,
            Event::Acknowledged { .. }
            | Event::Progressed { .. }
            | Event::Accepted { .. }
            | Event::Reinvited { .. }
            | Event::Referred { .. }
            | Event::InfoReceived { .. } => {}
        }
    }
}

/// What an agent answers to an event, if anything.
fn reaction(event: &Event, rng: &mut StdRng) -> Option<Command> {
    match event {
        Event::Reinvited { leg, .. } if rng.random_bool(0.2) => {
            Some(Command::RefuseReinvite { leg: *leg, refusal: Refusal::new(StatusCode::NOT_ACCEPTABLE_HERE) })
        }
        Event::Reinvited { leg, .. } => Some(Command::AcceptReinvite { leg: *leg, sdp: sdp(rng) }),
        Event::Referred { leg, .. } => Some(Command::AcceptRefer { leg: *leg }),
        Event::Accepted { leg, .. } => Some(Command::Answer { leg: *leg, sdp: sdp(rng) }),
        Event::Invited(_)
        | Event::Cancelled { .. }
        | Event::Acknowledged { .. }
        | Event::Progressed { .. }
        | Event::Refused { .. }
        | Event::Renegotiated { .. }
        | Event::RenegotiationFailed { .. }
        | Event::RenegotiationOvertaken { .. }
        | Event::ReferProgressed { .. }
        | Event::InfoReceived { .. }
        | Event::Ended { .. } => None,
    }
}

fn sdp(rng: &mut StdRng) -> Bytes {
    Bytes::from(format!("v=0 {}", rng.random_range(0..5)))
}

fn wish(leg: LegId, account: &mut Account, rng: &mut StdRng) -> Command {
    match rng.random_range(0..8) {
        0..=2 => {
            account.offers += 1;
            Command::Reinvite { leg, sdp: sdp(rng) }
        }
        3 => {
            account.transfers += 1;
            Command::Refer { leg, to: ReferTarget { user: "1005".to_owned(), replaces: None } }
        }
        4 => Command::NotifyRefer { leg, status: StatusCode::OK },
        5 => Command::NotifyRefer { leg, status: StatusCode::RINGING },
        6 => Command::Info {
            leg,
            body: Body { content_type: "application/dtmf".to_owned(), content: Bytes::from_static(b"5") },
        },
        _ => Command::Provisional { leg, status: StatusCode::SESSION_PROGRESS, body: Some(Body::sdp(sdp(rng))) },
    }
}

struct Play {
    world: World,
    accounts: [Account; 2],
    rng: StdRng,
}

impl Play {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut world = World::with(2, seed, |config| {
            config.trunks[0].terms.reliable_provisionals = ReliableProvisionals::Offered;
            config.trunks[0].terms.session_timer = SessionTimerPolicy::Require;
            config.trunks[0].terms.session_expires = Duration::from_secs(90);
        });
        world.loss = rng.random_range(0.0..0.15);
        world.duplication = rng.random_range(0.0..0.15);
        let mut accounts = [Account::default(), Account::default()];
        accounts[0].leg = Some(leg(1));
        Self { world, accounts, rng }
    }

    fn turn(&mut self, time: Duration) {
        self.world.run(time);
        for agent in 0..2 {
            for event in std::mem::take(&mut self.world.events[agent]) {
                self.heard(agent, &event);
            }
        }
    }

    fn heard(&mut self, agent: usize, event: &Event) {
        self.accounts[agent].hear(event);
        if let Some(command) = reaction(event, &mut self.rng) {
            self.world.command(agent, command);
        }
    }

    fn act(&mut self, agent: usize, may_answer: bool) {
        let Some(leg) = self.accounts[agent].leg.filter(|_| self.accounts[agent].ended == 0) else { return };
        if agent == 1 && may_answer {
            self.world.command(1, accept(leg));
        }
        if self.rng.random_bool(0.3) {
            let command = wish(leg, &mut self.accounts[agent], &mut self.rng);
            self.world.command(agent, command);
        }
    }

    fn play(&mut self) {
        let Command::Invite(mut wanted) = invite(1) else { unreachable!() };
        if self.rng.random_bool(0.3) {
            wanted.offer = None;
        }
        self.world.command(0, Command::Invite(wanted));
        let answer_at = self.rng.random_range(2..20);
        for turn in 0..60 {
            let time = Duration::from_millis(self.rng.random_range(1..3_000));
            self.turn(time);
            for agent in 0..2 {
                self.act(agent, turn >= answer_at);
            }
        }
        let loser = self.rng.random_range(0..2);
        if let Some(leg) = self.accounts[loser].leg {
            self.world.command(loser, Command::Bye { leg, reason: None });
        }
        for _ in 0..300 {
            self.turn(Duration::from_secs(1));
        }
    }
}

#[test]
fn whatever_both_sides_do_each_wish_ends_once_and_nothing_is_left() {
    let (mut offers, mut transfers) = (0, 0);
    for seed in 0..150 {
        let mut play = Play::new(seed);
        play.play();
        for (agent, account) in play.accounts.iter().enumerate() {
            let known = account.leg.is_some();
            assert_eq!(account.ended, usize::from(known), "seed {seed}, agent {agent}: {account:?}");
            assert!(account.settled <= account.offers, "seed {seed}, agent {agent}: {account:?}");
            assert_eq!(account.transferred, account.transfers, "seed {seed}, agent {agent}: {account:?}");
            offers += account.settled;
            transfers += account.transferred;
        }
        play.world.assert_idle();
    }
    assert!(offers > 500 && transfers > 150, "{offers} offers, {transfers} transfers");
}
