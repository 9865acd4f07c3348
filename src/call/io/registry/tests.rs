//! The registry with doubles of the other rooms: who is rung, who is told, and which call a message reaches.

#![expect(clippy::wildcard_enum_match_arm, reason = "a test picks out the one thing that it asks for")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::Registry;
use crate::call::AgentParty;
use crate::call::CallRecord;
use crate::call::Config;
use crate::call::admission::AgentStanding;
use crate::call::io::rooms::Control;
use crate::call::io::rooms::Events;
use crate::call::io::rooms::Full;
use crate::call::io::rooms::Rooms;
use crate::call::tests::OFFER;
use crate::call::tests::a_group;
use crate::call::tests::ground;
use crate::call::tests::invitation;
use crate::call::tests::with_dial_plan;
use crate::clock::Clock;
use crate::ids::CallId;
use crate::ids::Extension;
use crate::ids::LegId;
use crate::ids::SignalingId;
use crate::ids::TrunkName;
use crate::recording;
use crate::recording::Obligation;
use crate::routing::DialPlan;
use crate::routing::Emergency;
use crate::signaling;
use crate::signaling::AgentState;
use crate::signaling::CallRequest;
use crate::signaling::Notification;
use crate::signaling::RequestToken;
use crate::sip;
use crate::sip::Invitation;
use crate::worker;

const PATIENCE: Duration = Duration::from_secs(10);

/// What the doubles were asked.
#[derive(Debug)]
enum Asked {
    Sip(sip::Command),
    Worker(worker::Command),
    Browser(SignalingId, signaling::Command),
}

struct Doubles {
    asked: mpsc::Sender<Asked>,
    agents: BTreeMap<Extension, AgentStanding>,
}

impl Rooms for Doubles {
    fn sip(&self, command: sip::Command) -> Result<(), Full> {
        self.asked.try_send(Asked::Sip(command)).map_err(|_full| Full("SIP task"))
    }

    fn worker(&self, _: usize, command: worker::Command) -> Result<(), Full> {
        self.asked.try_send(Asked::Worker(command)).map_err(|_full| Full("media worker"))
    }

    fn workers(&self) -> usize {
        1
    }

    fn recorder(&self, _: recording::Command) -> Result<(), Full> {
        Ok(())
    }

    fn trace(&self, _: crate::trace::Observation) {}

    fn signaling(&self, session: SignalingId, command: signaling::Command) {
        self.asked.try_send(Asked::Browser(session, command)).unwrap();
    }

    fn record(&self, _: CallRecord) {}

    fn agent(&self, extension: &Extension) -> Option<AgentStanding> {
        self.agents.get(extension).cloned()
    }

    fn agent_of(&self, session: SignalingId) -> Option<AgentParty> {
        let agents = self.agents.values().zip(1..);
        let mut parties = agents.map(|(standing, n)| (&standing.party, [self::session(n), newer_session(n)]));
        let (party, _) = parties.find(|(_, sessions)| sessions.contains(&session))?;
        Some(AgentParty { session, ..party.clone() })
    }
}

/// A running registry, and the senders of everybody who reports to it.
struct House {
    asked: mpsc::Receiver<Asked>,
    sip: mpsc::Sender<sip::Event>,
    worker: mpsc::Sender<worker::Event>,
    browsers: mpsc::Sender<signaling::Event>,
    _recorder: mpsc::Sender<recording::Event>,
    control: mpsc::Sender<Control>,
    legs: u64,
    ports: u16,
}

fn session(n: u64) -> SignalingId {
    SignalingId::generate(1, &mut StdRng::seed_from_u64(n))
}

/// The session of the same agent after a reload.
fn newer_session(n: u64) -> SignalingId {
    session(n + 100)
}

/// Agents 1001 and 1002, a group 1900 of both, and the trunk `pbx` without recordings.
fn house() -> House {
    house_with(|_| {})
}

fn house_with(change: impl FnOnce(&mut Emergency)) -> House {
    let clock = Clock::system();
    let mut base = ground(Obligation::Never, clock);
    with_dial_plan(&mut base);
    let trunks = ["pbx", "carrier"].map(|name| (TrunkName::new(name), base.trunk.clone())).into();
    let groups = vec![a_group("1900", &["1001", "1002", "1003"])];
    // A busy machine is no silent device.
    let device_timeout = PATIENCE * 6;
    let mut emergency = Emergency {
        numbers: vec!["112".to_owned()],
        outside_prefix: String::new(),
        trunks: vec![TrunkName::new("pbx")],
        refused: false,
    };
    change(&mut emergency);
    let dial_plan = DialPlan { emergency, ..base.config.dial_plan.clone() };
    let config = Arc::new(Config { dial_plan, trunks, device_timeout, groups, ..Config::clone(&base.config) });
    let agents = [1, 2].map(|n| {
        let extension = Extension::new(format!("100{n}"));
        let party = AgentParty { session: session(n), extension: extension.clone(), ..base.agent.clone() };
        (extension, AgentStanding { party, state: AgentState::Available })
    });
    let (sender, asked) = mpsc::channel(1_024);
    let rooms = Arc::new(Doubles { asked: sender, agents: agents.into() });
    let (sip, from_sip) = mpsc::channel(64);
    let (worker, from_worker) = mpsc::channel(64);
    let (browsers, from_browsers) = mpsc::channel(64);
    let (recorder, from_recorder) = mpsc::channel(64);
    let (control, from_control) = mpsc::channel(64);
    let events = Events {
        sip: from_sip,
        worker: from_worker,
        signaling: from_browsers,
        recorder: from_recorder,
        control: from_control,
    };
    tokio::spawn(Registry::new(rooms, config, clock, StdRng::seed_from_u64(9)).run(events));
    House { asked, sip, worker, browsers, _recorder: recorder, control, legs: 0, ports: 20_000 }
}

impl House {
    /// The next thing asked that `wanted` takes; what comes before is passed over, and ports and offers are given.
    async fn until<T>(&mut self, wanted: impl Fn(&Asked) -> Option<T>) -> T {
        loop {
            let asked = timeout(PATIENCE, self.asked.recv()).await.expect("in time").unwrap();
            if let Asked::Worker(command) = &asked {
                self.serve(command).await;
            }
            if let Some(found) = wanted(&asked) {
                return found;
            }
        }
    }

    /// Does what a worker would.
    async fn serve(&mut self, command: &worker::Command) {
        let call = command.call();
        let (leg, kind) = match command {
            worker::Command::OfferPeer { leg, .. } => (*leg, worker::EventKind::PeerOffered { sdp: "offer".into() }),
            worker::Command::AcceptPeerAnswer { leg, .. } => (*leg, worker::EventKind::PeerConnected),
            worker::Command::BindTrunk { leg, .. } => {
                self.ports += 2;
                let local = ([127, 0, 0, 1], self.ports).into();
                (*leg, worker::EventKind::TrunkBound { local })
            }
            _ => return,
        };
        self.worker.send(worker::Event { call, leg: Some(leg), kind }).await.unwrap();
    }

    async fn invite(&mut self, called: &str, replaces: Option<LegId>) -> LegId {
        self.invite_by("pbx", called, replaces).await
    }

    async fn invite_by(&mut self, trunk: &str, called: &str, replaces: Option<LegId>) -> LegId {
        self.legs += 1;
        let trunk = TrunkName::new(trunk);
        let leg = LegId::generate(1, &mut StdRng::seed_from_u64(5_000 + self.legs));
        let invitation = Invitation { leg, trunk, called: called.into(), replaces, ..invitation(Some(OFFER)) };
        self.sip.send(sip::Event::Invited(Box::new(invitation))).await.unwrap();
        leg
    }

    async fn incoming(&mut self) -> (SignalingId, CallId, bool) {
        self.until(|asked| match asked {
            Asked::Browser(session, signaling::Command::Notify(Notification::Incoming { call, waiting, .. })) => {
                Some((*session, *call, *waiting))
            }
            _ => None,
        })
        .await
    }

    async fn request(&self, n: u64, call: CallId, request: CallRequest) {
        let kind = signaling::EventKind::Request { token: RequestToken(1), call, request };
        self.browsers.send(signaling::Event { session: session(n), kind }).await.unwrap();
    }

    async fn reply(&mut self) -> Result<(), String> {
        self.until(|asked| match asked {
            Asked::Browser(_, signaling::Command::Reply { result, .. }) => {
                Some(result.clone().map_err(|error| error.code))
            }
            _ => None,
        })
        .await
    }

    /// Agent `n` takes `call`, with a transport that is up.
    async fn take(&mut self, n: u64, call: CallId) {
        self.request(n, call, CallRequest::Alerting).await;
        self.request(n, call, CallRequest::Transport { sdp: "answer".into() }).await;
        self.request(n, call, CallRequest::Accept).await;
        let answered = |asked: &Asked| {
            matches!(asked, Asked::Browser(_, signaling::Command::Notify(Notification::Answered { .. }))).then_some(())
        };
        self.until(answered).await;
    }

    /// The two calls whose media is joined next.
    async fn joined(&mut self) -> [CallId; 2] {
        let join = |asked: &Asked| match asked {
            Asked::Worker(worker::Command::Join { call, partner, worker: 0 }) => Some((*call, *partner)),
            _ => None,
        };
        let (first, second) = (self.until(join).await, self.until(join).await);
        assert_eq!(first, (second.1, second.0), "each is told of the other");
        [first.0, second.0]
    }

    async fn bye(&mut self) -> LegId {
        self.until(|asked| if let Asked::Sip(sip::Command::Bye { leg, .. }) = asked { Some(*leg) } else { None }).await
    }

    /// The end of a call, as its agent is told.
    async fn ended(&mut self) -> (CallId, String) {
        self.until(|asked| match asked {
            Asked::Browser(_, signaling::Command::Notify(Notification::Ended { call, reason, .. })) => {
                Some((*call, reason.clone()))
            }
            _ => None,
        })
        .await
    }

    /// Ends what a shutdown ends at its drain's end; how many emergency calls are left.
    async fn end_ordinary(&mut self) -> usize {
        let (sender, left) = oneshot::channel();
        self.control.send(Control::EndOrdinary(sender)).await.unwrap();
        timeout(PATIENCE, left).await.expect("in time").unwrap()
    }

    async fn refusal(&mut self) -> (LegId, u16) {
        self.until(|asked| match asked {
            Asked::Sip(sip::Command::Refuse { leg, refusal }) => Some((*leg, refusal.status.as_u16())),
            _ => None,
        })
        .await
    }
}

#[tokio::test]
async fn a_group_rings_who_is_there_and_whoever_loses_is_free_again() {
    let mut house = house();
    house.invite("1900", None).await;
    let (first, call, _) = house.incoming().await;
    let (second, _, _) = house.incoming().await;
    assert_eq!([first, second], [session(1), session(2)]);
    house.take(2, call).await;
    house.invite("1001", None).await;
    let (third, _, waiting) = house.incoming().await;
    assert_eq!((third, waiting), (session(1), false));
    house.request(1, call, CallRequest::Hangup).await;
    assert_eq!(house.reply().await, Err("call.unknown".to_owned()), "the winner's call is none of theirs");
}

#[tokio::test]
async fn a_second_call_waits_a_third_is_busy_and_a_group_without_anybody_free_is_480() {
    let mut house = house();
    house.invite("1001", None).await;
    let (_, call, waiting) = house.incoming().await;
    assert!(!waiting);
    house.take(1, call).await;
    house.invite("1001", None).await;
    assert!(house.incoming().await.2);
    let third = house.invite("1001", None).await;
    assert_eq!(house.refusal().await, (third, 486));
    house.invite("1002", None).await;
    house.incoming().await;
    let group = house.invite("1900", None).await;
    assert_eq!(house.refusal().await, (group, 480));
    for (called, answer) in [("2999", 404), ("1003", 480)] {
        let refused = house.invite(called, None).await;
        assert_eq!(house.refusal().await, (refused, answer), "{called}");
    }
}

#[tokio::test]
async fn replaces_reaches_the_call_that_it_names_and_an_unknown_one_is_481() {
    let mut house = house();
    let old = house.invite("1001", None).await;
    let (_, call, _) = house.incoming().await;
    house.take(1, call).await;
    let new = house.invite("1001", Some(old)).await;
    let accepted = house
        .until(|asked| if let Asked::Sip(sip::Command::Accept { leg, .. }) = asked { Some(*leg) } else { None })
        .await;
    assert_eq!(accepted, new);
    let stranger = LegId::generate(1, &mut StdRng::seed_from_u64(1));
    let unknown = house.invite("1001", Some(stranger)).await;
    assert_eq!(house.refusal().await, (unknown, 481));
}

#[tokio::test]
async fn an_attended_transfer_finds_the_agents_other_call_and_nobody_elses() {
    let mut house = house();
    house.invite("1001", None).await;
    let (_, first, _) = house.incoming().await;
    house.take(1, first).await;
    let consulted = house.invite("1001", None).await;
    let (_, second, _) = house.incoming().await;
    house.take(1, second).await;
    house.invite("1002", None).await;
    let (_, foreign, _) = house.incoming().await;
    house.request(1, first, CallRequest::TransferTo { consult: foreign }).await;
    assert_eq!(house.reply().await, Err("call.unknown".to_owned()));
    house.request(1, first, CallRequest::TransferTo { consult: second }).await;
    let replaced = house
        .until(|asked| if let Asked::Sip(sip::Command::Refer { to, .. }) = asked { to.replaces } else { None })
        .await;
    assert_eq!(replaced, consulted);
}

#[tokio::test]
async fn a_transfer_to_another_trunk_begins_a_call_there_and_joins_the_two() {
    let mut house = house();
    let caller = house.invite("1001", None).await;
    let (_, first, _) = house.incoming().await;
    house.take(1, first).await;
    house.request(1, first, CallRequest::Transfer { to: "901".into() }).await;
    let new = house
        .until(|asked| match asked {
            Asked::Sip(sip::Command::Invite(invite)) if invite.trunk.as_str() == "carrier" => Some(invite.leg),
            _ => None,
        })
        .await;
    house.sip.send(sip::Event::Accepted { leg: new, sdp: Some(OFFER.into()) }).await.unwrap();
    let joined = house.joined().await;
    assert!(joined.contains(&first));

    // The agent is free, and asks in vain about what is no longer theirs.
    house.invite("1001", None).await;
    assert!(!house.incoming().await.2, "the next call does not wait");
    house.request(1, first, CallRequest::Hangup).await;
    assert_eq!(house.reply().await, Err("call.unknown".to_owned()));

    let ended = sip::Event::Ended { leg: new, cause: sip::EndCause::PeerBye, reason: None };
    house.sip.send(ended).await.unwrap();
    assert_eq!(house.bye().await, caller, "who hangs up ends both");
}

#[tokio::test]
async fn an_attended_transfer_between_two_trunks_joins_the_agents_two_calls() {
    let mut house = house();
    let caller = house.invite("1001", None).await;
    let (_, first, _) = house.incoming().await;
    house.take(1, first).await;
    let consulted = house.invite_by("carrier", "1001", None).await;
    let (_, second, _) = house.incoming().await;
    house.take(1, second).await;
    house.request(1, first, CallRequest::TransferTo { consult: second }).await;
    let mut joined = house.joined().await;
    joined.sort_unstable();
    let mut both = [first, second];
    both.sort_unstable();
    assert_eq!(joined, both);
    let ended = sip::Event::Ended { leg: caller, cause: sip::EndCause::PeerBye, reason: None };
    house.sip.send(ended).await.unwrap();
    assert_eq!(house.bye().await, consulted);
}

#[tokio::test]
async fn a_drain_that_is_over_ends_every_call_but_those_to_emergency_numbers() {
    let mut house = house();
    house.invite("1002", None).await;
    let (_, ordinary, _) = house.incoming().await;
    house.take(2, ordinary).await;
    let help = CallId::generate(1, &mut StdRng::seed_from_u64(77));
    house.request(1, help, CallRequest::Dial { to: "112".into() }).await;
    assert_eq!(house.reply().await, Ok(()));
    assert_eq!(house.end_ordinary().await, 1);
    assert_eq!(house.ended().await, (ordinary, "draining".to_owned()));
    // The emergency call was told nothing: its agent is who ends it.
    assert_eq!(house.end_ordinary().await, 1);
    house.request(1, help, CallRequest::Hangup).await;
    assert_eq!(house.ended().await, (help, "hangup".to_owned()));

    let help = CallId::generate(2, &mut StdRng::seed_from_u64(78));
    house.request(1, help, CallRequest::Dial { to: "112".into() }).await;
    house.control.send(Control::EndAll).await.unwrap();
    assert_eq!(house.ended().await, (help, "draining".to_owned()));
}

#[tokio::test]
async fn where_emergency_calls_are_refused_the_agent_is_told_and_nothing_is_sent() {
    let mut house = house_with(|emergency| emergency.refused = true);
    let help = CallId::generate(1, &mut StdRng::seed_from_u64(77));
    house.request(1, help, CallRequest::Dial { to: "112".into() }).await;
    assert_eq!(house.reply().await, Err("call.emergency_refused".to_owned()));
    assert_eq!(house.end_ordinary().await, 0, "no call began");
    assert!(house.asked.try_recv().is_err(), "nothing was asked of anybody");
}

impl House {
    /// The session of agent `n` is over: `by` is in its place.
    async fn replace(&self, n: u64, by: SignalingId) {
        let kind = signaling::EventKind::Replaced { by };
        self.browsers.send(signaling::Event { session: session(n), kind }).await.unwrap();
    }

    /// Who hears that they have a call again, which, and with which leg.
    async fn reattached(&mut self) -> (SignalingId, CallId) {
        self.until(|asked| match asked {
            Asked::Browser(session, signaling::Command::Notify(Notification::Reattach { call, .. })) => {
                Some((*session, *call))
            }
            _ => None,
        })
        .await
    }
}

#[tokio::test]
async fn a_newer_session_of_the_same_agent_takes_its_calls_over() {
    let mut house = house();
    house.invite("1001", None).await;
    let (_, call, _) = house.incoming().await;
    house.take(1, call).await;
    house.replace(1, newer_session(1)).await;
    assert_eq!(house.reattached().await, (newer_session(1), call));
    house.request(1, call, CallRequest::Hangup).await;
    assert_eq!(house.reply().await, Err("call.unknown".to_owned()), "the old page has it no longer");
    house.request(101, call, CallRequest::Transport { sdp: "answer".into() }).await;
    assert_eq!(house.reply().await, Ok(()));
    house.request(101, call, CallRequest::Hangup).await;
    house.bye().await;
}

#[tokio::test]
async fn a_call_is_never_given_to_somebody_else() {
    let mut house = house();
    let caller = house.invite("1001", None).await;
    let (_, call, _) = house.incoming().await;
    house.take(1, call).await;
    // The newer session is of 1002, or of nobody any more: the call has lost its agent.
    house.replace(1, session(2)).await;
    assert_eq!(house.bye().await, caller);
}
