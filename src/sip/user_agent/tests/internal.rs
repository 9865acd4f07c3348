//! The trunk that leads back: one user agent is both sides of a call, each with a dialog of its own under one Call-ID.

use std::time::Duration;

use bytes::Bytes;

use super::World;
use super::bench::Bench;
use super::bench::accept;
use super::bench::header;
use super::bench::request;
use super::invite;
use super::leg;
use super::udp;
use super::word;
use crate::ids::LegId;
use crate::ids::TrunkName;
use crate::sip::Body;
use crate::sip::Command;
use crate::sip::Event;
use crate::sip::Flow;
use crate::sip::OutgoingInvite;
use crate::sip::ReferTarget;
use crate::sip::Refusal;
use crate::sip::StatusCode;
use crate::sip::user_agent::Config;
use crate::sip::user_agent::Input;
use crate::sip::user_agent::Network;
use crate::sip::user_agent::Trunk;
use crate::sip::user_agent::TrunkNotice;

fn has_internal(config: &mut Config) {
    config.trunks.push(Trunk::internal(TrunkName::new(TrunkName::INTERNAL)));
}

/// The INVITE of [`invite`], to ourselves.
fn inside(number: u128) -> OutgoingInvite {
    let Command::Invite(invite) = invite(number) else { unreachable!() };
    OutgoingInvite { trunk: TrunkName::new(TrunkName::INTERNAL), ..invite }
}

/// A user agent whose only peer is itself.
fn alone(seed: u64) -> World {
    World::with(2, seed, has_internal)
}

impl World {
    /// What happened to whom since the last look; legs are named in the order given.
    fn told(&mut self, names: &[(LegId, &str)]) -> Vec<String> {
        let name = |leg: LegId| names.iter().find(|(known, _)| *known == leg).map_or("new", |(_, name)| name);
        self.events[0].drain(..).map(|event| format!("{} {}", name(event.leg()), word(&event))).collect()
    }

    /// Time for what was sent to arrive: memory takes none.
    fn settle(&mut self) {
        self.run(Duration::from_millis(1));
    }
}

/// A call inside that rings; the callee's leg.
fn ringing(world: &mut World, number: u128) -> LegId {
    world.command(0, Command::Invite(inside(number)));
    world.settle();
    let callee = world.invited_leg(0);
    world.command(0, Command::Provisional { leg: callee, status: StatusCode::RINGING, body: None });
    world.settle();
    callee
}

/// A call inside that was answered; the callee's leg.
fn talking(world: &mut World, number: u128) -> LegId {
    let callee = ringing(world, number);
    world.command(0, accept(callee));
    world.settle();
    assert_eq!(
        world.told(&[(leg(number), "a"), (callee, "b")]),
        ["b invited 1001", "a progressed 180", "a accepted", "b acknowledged"]
    );
    callee
}

#[test]
fn the_callee_sees_who_calls_and_either_side_hangs_up() {
    for by_caller in [true, false] {
        let mut world = alone(1);
        world.command(0, Command::Invite(inside(1)));
        world.settle();
        let Some(Event::Invited(invitation)) = world.events[0].first().cloned() else { panic!() };
        assert_eq!((invitation.trunk.as_str(), invitation.called.as_str()), ("internal", "1001"));
        let name = invitation.from.display_name.as_ref().map(|name| name.expose().as_str());
        assert_eq!((invitation.from.user.expose().as_str(), name), ("2000", Some("Ann \"A\" B")));
        let callee = invitation.leg;
        world.command(0, accept(callee));
        world.settle();
        let names = [(leg(1), "a"), (callee, "b")];
        assert_eq!(world.told(&names), ["b invited 1001", "a accepted", "b acknowledged"]);
        world.command(0, Command::Bye { leg: if by_caller { leg(1) } else { callee }, reason: None });
        world.settle();
        let (hangs_up, hears) = if by_caller { ("a", "b") } else { ("b", "a") };
        assert_eq!(world.told(&names), [format!("{hears} ended PeerBye"), format!("{hangs_up} ended LocalBye")]);
        assert_eq!(world.times(0, "INVITE"), 1);
        world.assert_idle();
    }
}

#[test]
fn a_call_inside_is_cancelled_or_refused_as_any_other() {
    let mut world = alone(2);
    let callee = ringing(&mut world, 1);
    world.command(0, Command::Cancel { leg: leg(1), reason: None });
    world.settle();
    let told = world.told(&[(leg(1), "a"), (callee, "b")]);
    assert_eq!(told, ["b invited 1001", "a progressed 180", "b cancelled", "a refused 487"]);

    for status in [StatusCode::BUSY_HERE, StatusCode::SERVICE_UNAVAILABLE] {
        let callee = ringing(&mut world, 2);
        let refusal = Refusal { retry_after: Some(Duration::from_mins(1)), ..Refusal::new(status) };
        world.command(0, Command::Refuse { leg: callee, refusal });
        world.settle();
        let told = world.told(&[(leg(2), "a"), (callee, "b")]);
        assert_eq!(told.last().unwrap(), &format!("a refused {}", status.as_u16()));
    }
    // The refusal of one call says nothing of the next, whatever it said of coming back.
    talking(&mut world, 3);
}

#[test]
fn nobody_waits_for_a_lost_answer_for_ever() {
    let mut world = alone(3);
    let callee = ringing(&mut world, 1);
    world.filter = Box::new(|_| super::Fate::Lose);
    world.command(0, accept(callee));
    world.settle();
    let told = world.told(&[(leg(1), "a"), (callee, "b")]);
    assert!(!told.contains(&"b acknowledged".to_owned()), "{told:?}");
    world.filter = Box::new(|_| super::Fate::Pass);
    world.seconds(1);
    assert_eq!(world.told(&[(leg(1), "a"), (callee, "b")]), ["a accepted", "b acknowledged"]);
    assert_eq!(world.times(0, "SIP/2.0 200"), 2, "the 200 is sent again though memory loses nothing but by overflow");
    assert_eq!(world.times(0, "ACK"), 1);
}

#[test]
fn each_side_changes_the_session_and_of_two_at_once_one_waits() {
    let mut world = alone(4);
    let callee = talking(&mut world, 1);
    let names = [(leg(1), "a"), (callee, "b")];
    let offer = |leg: LegId, sdp: &'static str| Command::Reinvite { leg, sdp: Bytes::from_static(sdp.as_bytes()) };
    let answer = |leg: LegId| Command::AcceptReinvite { leg, sdp: Bytes::from_static(b"v=0 held") };
    for (from, to, expected) in [
        (leg(1), callee, ["b reinvited", "a renegotiated", "b acknowledged"]),
        (callee, leg(1), ["a reinvited", "b renegotiated", "a acknowledged"]),
    ] {
        world.command(0, offer(from, "v=0 hold"));
        world.settle();
        world.command(0, answer(to));
        world.settle();
        assert_eq!(world.told(&names), expected);
    }
    world.command(0, offer(leg(1), "v=0 of the caller"));
    world.command(0, offer(callee, "v=0 of the callee"));
    world.settle();
    assert_eq!(world.times(0, "SIP/2.0 491"), 2, "both were on their way");
    let mut told = Vec::new();
    for _ in 0..100 {
        world.run(Duration::from_millis(100));
        for line in world.told(&names) {
            match line.as_str() {
                "a reinvited" => world.command(0, answer(leg(1))),
                "b reinvited" => world.command(0, answer(callee)),
                _ => {}
            }
            told.push(line);
        }
    }
    // Who did not make the Call-ID goes first (RFC 3261 14.1).
    assert_eq!(told, ["a renegotiation overtaken", "a reinvited", "b renegotiated", "a acknowledged"]);
    world.command(0, Command::Bye { leg: callee, reason: None });
    world.settle();
    world.assert_idle();
}

#[test]
fn digits_by_info_find_the_other_side() {
    let mut world = alone(5);
    let callee = talking(&mut world, 1);
    let body = Body { content_type: "application/dtmf-relay".to_owned(), content: Bytes::from_static(b"Signal=1\r\n") };
    world.command(0, Command::Info { leg: leg(1), body: body.clone() });
    world.command(0, Command::Info { leg: callee, body });
    world.settle();
    let told = world.told(&[(leg(1), "a"), (callee, "b")]);
    assert_eq!(told, ["b info application/dtmf-relay", "a info application/dtmf-relay"]);
}

#[test]
fn a_colleague_is_handed_on_blindly() {
    let mut world = alone(6);
    let callee = talking(&mut world, 1);
    world.command(0, Command::Refer { leg: leg(1), to: ReferTarget { user: "1003".to_owned(), replaces: None } });
    world.settle();
    let names = [(leg(1), "a"), (callee, "b"), (leg(2), "b2")];
    assert_eq!(world.told(&names), ["b referred to 1003"]);
    world.command(0, Command::AcceptRefer { leg: callee });
    world.command(0, Command::Invite(OutgoingInvite { called: "1003".to_owned(), ..inside(2) }));
    world.settle();
    let third = world.invited_leg(0);
    world.command(0, accept(third));
    world.settle();
    world.command(0, Command::NotifyRefer { leg: callee, status: StatusCode::OK });
    world.settle();
    let told = world.told(&names);
    assert_eq!(told, ["a refer 100", "new invited 1003", "b2 accepted", "new acknowledged", "a refer 200 over"]);
    for leg in [leg(1), leg(2)] {
        world.command(0, Command::Bye { leg, reason: None });
    }
    world.settle();
    world.assert_idle();
}

#[test]
fn a_colleague_is_handed_on_to_the_call_that_the_transferor_asked_first() {
    let mut world = alone(7);
    let callee = talking(&mut world, 1);
    let consulted = talking(&mut world, 2);
    let to = ReferTarget { user: "1001".to_owned(), replaces: Some(leg(2)) };
    world.command(0, Command::Refer { leg: leg(1), to });
    world.settle();
    let Some(Event::Referred { leg: asked, to, .. }) = world.events[0].last().cloned() else { panic!() };
    assert_eq!((asked, to.replaces), (callee, None), "it is the target's dialog that is named");
    let headers = vec![("Replaces".to_owned(), to.replaces_header.unwrap())];
    world.command(0, Command::AcceptRefer { leg: callee });
    world.command(0, Command::Invite(OutgoingInvite { headers, ..inside(3) }));
    world.settle();
    let replaced = |event: &Event| if let Event::Invited(invited) = event { Some(invited.replaces) } else { None };
    let invited = world.events[0].iter().find_map(replaced);
    assert_eq!(invited, Some(Some(consulted)), "the consulted colleague's call, not the transferor's");
}

#[test]
fn every_message_of_a_call_inside_bears_the_session_id_of_its_sender() {
    let mut bench = Bench::with(has_internal);
    bench.command(Command::Invite(inside(1)));
    let caller = "07".repeat(16);
    let mut carried = 0;
    let mut senders = Vec::new();
    let mut answered = false;
    while let Some((flow, text)) = bench.sent.get(carried).cloned() {
        carried += 1;
        assert_eq!(flow, Flow::MEMORY);
        let ours = header(&text, "Session-ID").starts_with(&caller);
        senders.push((ours, text.lines().next().unwrap_or_default().to_owned()));
        bench.feed(Input::Received { flow, bytes: Bytes::from(text) });
        if !answered && carried == 2 {
            answered = true;
            let refusal = Refusal::new(StatusCode::BUSY_HERE);
            bench.command(Command::Refuse { leg: bench.invited(), refusal });
        }
    }
    let expected = [(true, "INVITE"), (false, "SIP/2.0 100"), (false, "SIP/2.0 486"), (true, "ACK")];
    assert_eq!(senders.len(), expected.len(), "{senders:?}");
    for ((ours, line), (expected, start)) in senders.iter().zip(expected) {
        assert!(*ours == expected && line.starts_with(start), "{senders:?}");
    }
}

#[test]
fn nobody_outside_speaks_on_the_trunk_to_ourselves() {
    let address = Flow::MEMORY.remote.to_string();
    let mut bench = Bench::with(|config| {
        has_internal(config);
        // Not even where a trunk takes calls from everywhere.
        config.trunks[0].networks.push(Network { address: [0, 0, 0, 0].into(), prefix_len: 0 });
    });
    bench.say_from(&address, &request("INVITE", 1, "b1", "", super::bench::OFFER));
    let Some(Event::Invited(invitation)) = bench.events.last() else { panic!() };
    assert_eq!(invitation.trunk.as_str(), "pbx");

    // Nor is it reached through a name or a parameter that somebody outside writes.
    let mut bench = Bench::with(has_internal);
    let (leg, _) = bench.talking();
    let contact = format!("Contact: <sip:2000@{address};transport=memory>\n{}", super::bench::OFFER);
    let refresh = request("INVITE", 2, "b9", &tag_of(&bench), &contact);
    bench.say(&refresh.replacen("Contact: <sip:2000@10.0.0.2:5060>\n", "", 1));
    bench.command(Command::Bye { leg, reason: None });
    assert!(bench.sent.iter().all(|(flow, _)| *flow == udp("10.0.0.1:5060", "10.0.0.2:5060")), "{:?}", bench.sent);
}

fn tag_of(bench: &Bench) -> String {
    super::bench::to_tag(bench.last())
}

#[test]
fn the_trunk_to_ourselves_is_never_asked_whether_it_is_there_and_never_down() {
    let mut bench = Bench::with(has_internal);
    bench.agent.start(bench.now);
    bench.wait(Duration::from_mins(10));
    assert!(bench.sent.iter().all(|(flow, _)| *flow != Flow::MEMORY));
    bench.agent.handle(Input::FlowFailed { flow: Flow::MEMORY }, bench.now);
    let status = bench.agent.trunks().pop().unwrap();
    assert_eq!(status.targets, [(Flow::MEMORY.remote, true)]);
    let notices = std::iter::from_fn(|| bench.agent.poll_output())
        .filter(|output| matches!(output, crate::sip::user_agent::Output::Trunk(TrunkNotice::Target { .. })))
        .count();
    assert_eq!(notices, 0);
}
