//! What the statistics say of how a leg was.

use super::*;
use crate::media::quality::LegQuality;
use crate::rtp::packet::Header;
use crate::rtp::rtcp::CompoundWriter;
use crate::rtp::rtcp::report::ReportBlock;

/// The trunk sends for five seconds; each tenth packet is missing where `bad`.
fn five_seconds(world: &mut World, trunk: LegId, from: u16, bad: bool) {
    for step in 0..250 {
        let sequence = from + step;
        let header = Header { payload_type: 0, marker: false, sequence, timestamp: u32::from(sequence) * 160, ssrc: 9 };
        let mut bytes = [0; 172];
        header.write(&[0xFF; 160], &mut bytes).unwrap();
        if !(bad && step % 10 == 5) {
            world.hand_over(trunk, false, TRUNK, &bytes);
        }
        world.pass(Duration::from_millis(20));
    }
}

/// A receiver report of the trunk: a quarter of our packets missed, and 10 ms of jitter.
fn report(world: &World) -> Vec<u8> {
    let mut bytes = [0; 64];
    let mut writer = CompoundWriter::new(&mut bytes);
    let block = ReportBlock {
        ssrc: world.session.pipeline.trunk_ssrc(),
        fraction_lost: 64,
        cumulative_lost: 10,
        highest_sequence: 100,
        jitter: 80,
        last_sender_report: 0,
        delay_since: 0,
    };
    writer.report(9, None, Some(block));
    let length = writer.finish().unwrap();
    bytes[..length].to_vec()
}

fn rated(world: &World, trunk: LegId) -> Vec<LegQuality> {
    let of_trunk = world.events.iter().filter_map(|(leg, kind)| match kind {
        EventKind::Stats(stats) if *leg == Some(trunk) => Some(stats.quality),
        _ => None,
    });
    of_trunk.collect()
}

#[test]
fn a_leg_that_takes_anothers_place_is_not_rated_for_what_that_one_was() {
    let mut world = World::new();
    world.connect_browser();
    let (call, first) = (world.call, world.bind_trunk());
    world.command(Command::ConnectTrunk { call, leg: first, media: media() });
    world.command(Command::SetGate { call, gate: Gate { to_trunk: true, to_agent: true } });
    five_seconds(&mut world, first, 0, true);
    let second = world.bind_trunk();
    world.command(Command::ConnectTrunk { call, leg: second, media: media() });
    five_seconds(&mut world, second, 250, false);
    let (left, taken) = (rated(&world, first), rated(&world, second));
    assert!(left[0].received.is_some() && left[1..].iter().all(|quality| *quality == LegQuality::default()));
    let taken = taken.last().and_then(|quality| quality.received).unwrap();
    assert!(taken.loss < 0.01, "{taken:?}");
}

#[test]
fn each_stretch_is_rated_for_itself_in_both_directions() {
    let mut world = World::new();
    world.connect_browser();
    let (call, trunk) = (world.call, world.bind_trunk());
    world.command(Command::ConnectTrunk { call, leg: trunk, media: media() });
    world.command(Command::SetGate { call, gate: Gate { to_trunk: true, to_agent: true } });
    five_seconds(&mut world, trunk, 0, true);
    let bytes = report(&world);
    world.hand_over(trunk, true, "192.0.2.9:6001", &bytes);
    five_seconds(&mut world, trunk, 250, false);
    let rated = rated(&world, trunk);
    let [bad, good] = rated.as_slice() else { panic!("{rated:?}") };
    let (bad, good, sent) = (bad.received.unwrap(), good.received.unwrap(), good.sent);
    assert!((bad.loss - 0.1).abs() < 0.02 && bad.mos < 3.6, "{bad:?}");
    assert!(good.loss < 0.01 && good.mos > 4.3, "{good:?}");
    let sent = sent.expect("the trunk reported");
    assert!((sent.loss - 0.25).abs() < 1e-3 && (sent.jitter_ms - 10.0).abs() < 0.1 && sent.mos < 3.0, "{sent:?}");
}
