//! Whole calls through a running worker.

use std::net::UdpSocket;

use super::rig;
use super::rig::AGENT_HZ;
use super::rig::ForeignSrtp;
use super::rig::Rig;
use super::rig::TRUNK_EVENT;
use super::rig::TRUNK_HZ;
use super::tone;
use crate::media::tap::TapChannel;
use crate::media::tap::TapId;
use crate::webrtc::tests::foreign::Speaks;
use crate::worker::Command;
use crate::worker::DtmfDigit;
use crate::worker::EventKind;
use crate::worker::Gate;
use crate::worker::LegFailure;
use crate::worker::MediaRejection;
use crate::worker::SrtpSuite;

const OPEN: Gate = Gate { to_trunk: true, to_agent: true };

fn latest(samples: &[i16], count: usize) -> &[i16] {
    &samples[samples.len().saturating_sub(count)..]
}

pub(super) fn assert_tone(samples: &[i16], hz: f64, other: f64, who: &str) {
    assert!(samples.len() >= 4_000, "{who}: {} samples", samples.len());
    let last = latest(samples, 4_000);
    let (wanted, unwanted) = (tone::median_share(last, hz), tone::median_share(last, other));
    assert!(tone::level(last) > 3_000.0, "{who}: level {}", tone::level(last));
    assert!(wanted > 0.8, "{who}: share of {hz} Hz is {wanted}");
    assert!(unwanted < 0.05, "{who}: share of {other} Hz is {unwanted}");
}

#[test]
fn each_side_hears_the_other_and_the_tap_hears_both() {
    let mut rig = Rig::new("127.0.21.1", Speaks::Opus, rig::config(), 4_096);
    rig.connect();
    rig.send(Command::StartTap { call: rig.call, leg: rig.agent, tap: TapId(5) });
    rig.talk_for(25);
    assert!(rig.foreign.heard.is_empty(), "the gate is closed towards the agent");
    assert!(rig.trunk_heard.is_empty(), "the gate is closed towards the trunk");
    rig.send(Command::SetGate { call: rig.call, gate: OPEN });
    rig.talk_for(75);
    rig.drain_tap();
    assert_tone(&rig.agent_audio(), TRUNK_HZ, AGENT_HZ, "agent");
    assert_tone(&rig.trunk_audio(), AGENT_HZ, TRUNK_HZ, "trunk");
    assert_tone(&rig.tap_audio(TapChannel::Sent), AGENT_HZ, TRUNK_HZ, "tap, sent");
    assert_tone(&rig.tap_audio(TapChannel::Heard), TRUNK_HZ, AGENT_HZ, "tap, heard");
    assert!(rig.frames.iter().all(|frame| frame.tap == TapId(5)));
    assert!(rig.has(|kind| matches!(kind, EventKind::TrunkMediaStarted)));
    rig.send(Command::SetGate { call: rig.call, gate: Gate::default() });
    let crossed = |rig: &Rig| (rig.foreign.heard.len(), rig.trunk_heard.len());
    let mut before = (0, 0);
    for _ in 0..10 {
        before = crossed(&rig);
        rig.talk_for(25);
        if crossed(&rig) == before {
            break;
        }
    }
    assert_eq!(crossed(&rig), before, "shut again");
    rig.finish();
}

#[test]
fn srtp_on_the_trunk_carries_both_sides_under_every_suite_and_forgeries_change_nothing() {
    for (host, suite) in ["127.0.21.41", "127.0.21.42", "127.0.21.43", "127.0.21.44"].into_iter().zip(SrtpSuite::ALL) {
        let mut rig = Rig::new(host, Speaks::Opus, rig::config(), 64);
        rig.srtp = Some(ForeignSrtp::new(suite, 1));
        rig.connect();
        rig.send(Command::SetGate { call: rig.call, gate: OPEN });
        rig.talk_for(75);
        assert_tone(&rig.agent_audio(), TRUNK_HZ, AGENT_HZ, suite.name());
        assert_tone(&rig.trunk_audio(), AGENT_HZ, TRUNK_HZ, suite.name());

        // What is not the peer's changes nothing, and is told once.
        let stranger = rig::rtp(0, 9, 9, 0x7A7A_0001, &[0; 160]);
        for _ in 0..50 {
            rig.rtp.send_to(&stranger, rig.gateway_rtp.unwrap()).unwrap();
        }
        rig.until("the forgery told", |rig| {
            rig.has(|kind| matches!(kind, EventKind::MediaRejected { reason: MediaRejection::Forged, .. }))
        });
        rig.talk_for(75);
        assert_tone(&rig.agent_audio(), TRUNK_HZ, AGENT_HZ, suite.name());
        let told = |event: &&crate::worker::Event| matches!(event.kind, EventKind::MediaRejected { .. });
        assert_eq!(rig.events.iter().filter(told).count(), 1);
        assert!(rig.trunk_reports > 0, "{}", suite.name());
        rig.finish();
    }
}

#[test]
fn a_browser_that_speaks_pcmu_is_carried_too() {
    let mut rig = Rig::new("127.0.21.2", Speaks::Pcmu, rig::config(), 64);
    rig.connect();
    rig.send(Command::SetGate { call: rig.call, gate: OPEN });
    rig.talk_for(75);
    assert_tone(&rig.agent_audio(), TRUNK_HZ, AGENT_HZ, "agent");
    assert_tone(&rig.trunk_audio(), AGENT_HZ, TRUNK_HZ, "trunk");
    rig.finish();
}

#[test]
fn rtp_from_an_address_that_was_not_negotiated_is_dropped_and_counted() {
    let mut rig = Rig::new("127.0.21.3", Speaks::Opus, rig::config(), 64);
    rig.connect();
    rig.send(Command::SetGate { call: rig.call, gate: OPEN });
    let stranger = UdpSocket::bind("127.0.21.3:0").unwrap();
    for index in 0..75_u16 {
        rig.talk_for(1);
        let injected: Vec<u8> =
            tone::sine(2_000.0, usize::from(index) * 160, 160).into_iter().map(tone::to_ulaw).collect();
        let packet = rig::rtp(0, index, u32::from(index) * 160, 0x7A7A_0001, &injected);
        stranger.send_to(&packet, rig.gateway_rtp.unwrap()).unwrap();
    }
    assert_tone(&rig.agent_audio(), TRUNK_HZ, 2_000.0, "agent");
    rig.send(Command::Close { call: rig.call });
    rig.until("closed", |rig| rig.has(|kind| matches!(kind, EventKind::Closed)));
    let trunk = rig.trunk;
    let mut told = rig.events.iter().rev().filter(|event| event.leg == Some(trunk));
    let Some(EventKind::Stats(stats)) = told.next().map(|event| event.kind.clone()) else { panic!("{:?}", rig.events) };
    let (dropped, received) = (stats.packets_dropped, stats.packets_received);
    assert!(dropped >= 75, "{dropped}");
    assert!((70..=u64::from(rig.frames_sent())).contains(&received), "{received} of {}", rig.frames_sent());
    rig.finish();
}

#[test]
fn digits_pass_both_ways_as_events() {
    let mut rig = Rig::new("127.0.21.4", Speaks::Opus, rig::config(), 64);
    rig.connect();
    rig.send(Command::SetGate { call: rig.call, gate: OPEN });
    rig.talk_for(10);
    // The PBX presses 5 for 100 ms (RFC 4733 2.5: one timestamp, growing duration, three end packets).
    let start = rig.next_sequence();
    for (step, end, duration) in [(0, 0, 160_u16), (1, 0, 480), (2, 0x80, 800), (3, 0x80, 800), (4, 0x80, 800)] {
        let [high, low] = duration.to_be_bytes();
        rig.say_on_trunk(TRUNK_EVENT, start.wrapping_add(step), u32::from(start) * 160, &[5, end | 0x0A, high, low]);
        if step > 0 {
            rig.next_sequence();
        }
    }
    let five = DtmfDigit::from_char('5').unwrap();
    rig.until("the PBX's digit", |rig| rig.has(|kind| matches!(kind, EventKind::DtmfReceived { digit, duration_ms } if *digit == five && (80..=120).contains(duration_ms))));
    rig.talk_for(5);
    let digits = vec![DtmfDigit::from_char('7').unwrap(), DtmfDigit::from_char('#').unwrap()];
    rig.send(Command::SendDtmf { call: rig.call, leg: rig.trunk, digits });
    let ended = |rig: &Rig, code: u8| {
        let events = rig.trunk_heard.iter().filter(|packet| packet[1] & 0x7F == TRUNK_EVENT);
        events.filter(|packet| packet[12] == code && packet[13] & 0x80 != 0).count()
    };
    rig.until("our digits on the trunk", |rig| ended(rig, 7) == 3 && ended(rig, 11) == 3);
    let received = rig.events.iter().filter(|event| matches!(event.kind, EventKind::DtmfReceived { .. })).count();
    assert_eq!(received, 1, "one digit, told once");
    rig.finish();
}

#[test]
fn text_passes_both_ways_on_the_data_channel() {
    let mut rig = Rig::new("127.0.21.5", Speaks::Opus, rig::config(), 64);
    rig.connect();
    let now = rig.clock.now();
    while !rig.foreign.send_text("{\"method\":\"call.dtmf\"}", rig.clock.now()) {
        rig.until("the channel", |rig| rig.clock.now() > now + std::time::Duration::from_millis(50));
    }
    rig.until("the browser's text", |rig| {
        rig.has(|kind| matches!(kind, EventKind::DataReceived { text } if text == "{\"method\":\"call.dtmf\"}"))
    });
    rig.send(Command::SendData { call: rig.call, leg: rig.agent, text: "{\"event\":1}".into() });
    rig.until("our text", |rig| rig.foreign.texts == ["{\"event\":1}"]);
    rig.finish();
}

#[test]
fn a_muted_agent_is_silence_on_the_trunk() {
    let mut rig = Rig::new("127.0.21.6", Speaks::Opus, rig::config(), 64);
    rig.connect();
    rig.send(Command::SetGate { call: rig.call, gate: OPEN });
    rig.talk_for(40);
    assert!(tone::level(latest(&rig.trunk_audio(), 1_600)) > 3_000.0);
    rig.send(Command::SetMuted { call: rig.call, leg: rig.agent, muted: true });
    rig.talk_for(40);
    let audio = rig.trunk_audio();
    assert!(tone::level(latest(&audio, 1_600)) < 10.0, "{}", tone::level(latest(&audio, 1_600)));
    rig.finish();
}

#[test]
fn a_full_ring_is_told_to_the_call() {
    let mut rig = Rig::new("127.0.21.7", Speaks::Opus, rig::config(), 4);
    rig.connect();
    rig.send(Command::SetGate { call: rig.call, gate: OPEN });
    rig.send(Command::StartTap { call: rig.call, leg: rig.agent, tap: TapId(9) });
    rig.talk_for(20);
    rig.until("an overflow", |rig| rig.has(|kind| matches!(kind, EventKind::TapOverflow { tap: TapId(9) })));
    rig.finish();
}

#[test]
fn ringback_reaches_the_agent_before_there_is_a_trunk() {
    let mut rig = Rig::new("127.0.21.8", Speaks::Opus, rig::config(), 64);
    rig.connect_agent();
    rig.send(Command::SetRingback { call: rig.call, leg: rig.agent, on: true });
    rig.until("half a second of ringback", |rig| rig.foreign.heard.len() >= 30);
    let audio = rig.agent_audio();
    let share = tone::median_share(latest(&audio, 2_400), 425.0);
    assert!(share > 0.8, "{share}");
    rig.finish();
}

#[test]
fn a_worker_that_is_full_refuses_the_leg() {
    let config = crate::worker::io::Config { calls_max: 0, ..rig::config() };
    let mut rig = Rig::new("127.0.21.9", Speaks::Opus, config, 64);
    rig.send(Command::OfferPeer { call: rig.call, leg: rig.agent });
    rig.until("a refusal", |rig| {
        rig.has(|kind| matches!(kind, EventKind::LegFailed { reason: LegFailure::WorkerFull }))
    });
    rig.finish();
}

#[test]
fn closing_frees_the_ports_and_shutting_down_closes_every_call() {
    let config = crate::worker::io::Config {
        trunk_ports: 20_000..=20_001,
        port_drain: std::time::Duration::ZERO,
        ..rig::config()
    };
    let mut rig = Rig::new("127.0.21.10", Speaks::Opus, config, 64);
    rig.connect();
    rig.send(Command::Close { call: rig.call });
    rig.until("closed", |rig| rig.has(|kind| matches!(kind, EventKind::Closed)));
    let free = UdpSocket::bind(rig.gateway_rtp.unwrap());
    assert!(free.is_ok(), "{free:?}");
    drop(free);
    rig.events.clear();
    rig.send(Command::BindTrunk { call: rig.call, leg: rig.trunk, address: "127.0.21.10".parse().unwrap() });
    rig.until("the same pair again", |rig| {
        rig.has(|kind| matches!(kind, EventKind::TrunkBound { local } if Some(*local) == rig.gateway_rtp))
    });
    let call = rig.call;
    let events = rig.finish();
    assert!(
        matches!(events.last(), Some(event) if event.call == call && matches!(event.kind, EventKind::Closed)),
        "{events:?}"
    );
}

#[test]
fn garbage_on_the_browser_port_harms_no_call() {
    let mut rig = Rig::new("127.0.21.11", Speaks::Opus, rig::config(), 64);
    rig.connect();
    rig.send(Command::SetGate { call: rig.call, gate: OPEN });
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    for index in 0..50_u8 {
        rig.talk_for(1);
        for first in [0, 1, 22, 23, 128, 200, index] {
            stranger.send_to(&vec![first; 20 + usize::from(index) * 20], rig.handle.browser_port()).unwrap();
        }
    }
    assert_tone(&rig.agent_audio(), TRUNK_HZ, AGENT_HZ, "agent");
    rig.finish();
}

#[test]
fn a_reloaded_page_takes_over_and_the_trunk_hears_it() {
    let mut rig = Rig::new("127.0.21.12", Speaks::Opus, rig::config(), 64);
    rig.connect();
    rig.send(Command::SetGate { call: rig.call, gate: OPEN });
    rig.talk_for(40);
    let old = rig.reload_page();
    rig.send(Command::CloseLeg { call: rig.call, leg: old });
    rig.until("the old leg's last figures", |rig| {
        rig.events.iter().any(|event| event.leg == Some(old) && matches!(event.kind, EventKind::Stats(_)))
    });
    rig.trunk_heard.clear();
    rig.talk_for(60);
    assert_tone(&rig.agent_audio(), TRUNK_HZ, AGENT_HZ, "agent");
    assert_tone(&rig.trunk_audio(), AGENT_HZ, TRUNK_HZ, "trunk");
    rig.finish();
}

#[test]
fn the_next_trunk_leg_is_joined_where_the_first_was_closed() {
    let mut rig = Rig::new("127.0.21.13", Speaks::Opus, rig::config(), 64);
    rig.connect();
    rig.send(Command::SetGate { call: rig.call, gate: OPEN });
    rig.talk_for(40);
    rig.send(Command::CloseLeg { call: rig.call, leg: rig.trunk });
    let reports = rig.trunk_reports;
    rig.until("RTCP BYE", |rig| rig.trunk_reports > reports);
    rig.talking = false;
    rig.trunk = rig::new_leg();
    rig.connect_trunk();
    rig.trunk_heard.clear();
    rig.foreign.heard.clear();
    rig.talk_for(60);
    assert_tone(&rig.agent_audio(), TRUNK_HZ, AGENT_HZ, "agent");
    assert_tone(&rig.trunk_audio(), AGENT_HZ, TRUNK_HZ, "trunk");
    rig.finish();
}
