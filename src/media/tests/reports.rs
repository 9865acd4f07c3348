//! RTCP towards the trunk, and the silence of a trunk.

use std::time::Duration;

use super::bench::AUDIO;
use super::bench::Bench;
use crate::media::vocabulary::Output;
use crate::rtp::rtcp::CompoundWriter;
use crate::rtp::rtcp::RtcpPacket;
use crate::rtp::rtcp::parse_compound;
use crate::rtp::rtcp::report::Report;
use crate::rtp::rtcp::report::ReportBlock;
use crate::rtp::rtcp::report::ntp_middle;
use crate::rtp::rtcp::sdes_bye::parse_bye;
use crate::rtp::rtcp::sdes_bye::parse_cname;

fn packets(datagram: &[u8]) -> Vec<RtcpPacket<'_>> {
    parse_compound(datagram).unwrap().collect()
}

fn timeouts(bench: &Bench) -> Vec<Duration> {
    let silence =
        |event: &Output| if let Output::MediaTimeout { silent_for } = event { Some(*silent_for) } else { None };
    bench.events.iter().filter_map(silence).collect()
}

#[test]
fn reports_leave_about_every_five_seconds_with_one_name() {
    let mut bench = Bench::in_call(AUDIO);
    bench.talk(3_000);
    assert!((9..=20).contains(&bench.rtcp.len()), "{} in a minute", bench.rtcp.len());
    let ssrc = bench.pipeline.trunk_ssrc();
    let name = parse_cname(&packets(&bench.rtcp[0])[1], ssrc).unwrap().to_vec();
    assert_eq!(name.len(), 24);
    for datagram in &bench.rtcp {
        let packets = packets(datagram);
        let report = Report::parse(&packets[0]).unwrap();
        assert_eq!(report.ssrc, ssrc);
        let block = report.blocks().next().unwrap();
        assert_eq!((block.ssrc, block.cumulative_lost, block.fraction_lost), (bench.trunk_ssrc, 0, 0));
        assert_eq!(parse_cname(&packets[1], ssrc), Some(&name[..]));
    }
}

#[test]
fn a_sender_report_ties_both_clocks_of_the_stream() {
    let mut bench = Bench::in_call(AUDIO);
    bench.talk(1_500);
    let infos: Vec<_> = bench.rtcp.iter().map(|d| Report::parse(&packets(d)[0]).unwrap().sender.unwrap()).collect();
    for pair in infos.windows(2) {
        let seconds = f64::from(ntp_middle(pair[1].ntp).wrapping_sub(ntp_middle(pair[0].ntp))) / 65_536.0;
        let samples = f64::from(pair[1].rtp_timestamp.wrapping_sub(pair[0].rtp_timestamp));
        assert!((samples / seconds - 8_000.0).abs() < 80.0, "{samples} in {seconds}");
        assert!(pair[1].packets > pair[0].packets && pair[1].octets > pair[0].octets);
    }
}

#[test]
fn a_leg_that_sends_nothing_reports_as_a_receiver() {
    let mut bench = Bench::new();
    bench.pipeline.connect_trunk(AUDIO, bench.now);
    bench.wait(10_000);
    assert!(!bench.rtcp.is_empty());
    assert!(bench.rtcp.iter().all(|datagram| packets(datagram)[0].packet_type == 201));
}

#[test]
fn the_trunks_reports_give_loss_and_round_trip() {
    let mut bench = Bench::in_call(AUDIO);
    bench.talk(500);
    let sender = Report::parse(&packets(bench.rtcp.last().unwrap())[0]).unwrap().sender.unwrap();
    let sent_at = bench.now;
    bench.pipeline.close(sent_at);
    bench.drain();
    // A fresh call, since the last report's time must be known to the millisecond.
    let mut bench = Bench::in_call(AUDIO);
    while bench.rtcp.is_empty() {
        bench.wait(1);
    }
    let first = Report::parse(&packets(&bench.rtcp[0])[0]).unwrap().sender.unwrap();
    assert_ne!(first.ntp, sender.ntp);
    bench.wait(350);
    let block = ReportBlock {
        ssrc: bench.pipeline.trunk_ssrc(),
        fraction_lost: 64,
        cumulative_lost: 9,
        highest_sequence: 0,
        jitter: 0,
        last_sender_report: ntp_middle(first.ntp),
        delay_since: 65_536 / 4,
    };
    let mut datagram = [0; 100];
    let mut writer = CompoundWriter::new(&mut datagram);
    writer.report(7, None, Some(block));
    let len = writer.finish().unwrap();
    bench.pipeline.handle_trunk_rtcp(&datagram[..len], bench.now);
    let stats = bench.pipeline.trunk_stats();
    assert_eq!(stats.remote_loss, Some(0.25));
    assert!((stats.rtt_ms.unwrap() - 100.0).abs() < 3.0, "{:?}", stats.rtt_ms);
}

#[test]
fn a_close_says_goodbye_once_and_then_nothing() {
    let mut bench = Bench::in_call(AUDIO);
    bench.talk(10);
    bench.pipeline.close(bench.now);
    bench.drain();
    let packets = packets(bench.rtcp.last().unwrap());
    let ssrc = bench.pipeline.trunk_ssrc();
    assert_eq!(parse_bye(packets.last().unwrap()).unwrap().collect::<Vec<_>>(), [ssrc]);
    let (sent, reports) = (bench.to_trunk.len(), bench.rtcp.len());
    bench.pipeline.close(bench.now);
    bench.talk(10);
    bench.drain();
    assert_eq!((bench.to_trunk.len(), bench.rtcp.len()), (sent, reports));
}

#[test]
fn a_trunk_that_falls_silent_is_reported_once_after_a_minute() {
    let mut bench = Bench::in_call(AUDIO);
    bench.talk(10);
    bench.wait(59_900);
    assert!(timeouts(&bench).is_empty());
    bench.wait(200);
    assert_eq!(timeouts(&bench), [Duration::from_mins(1)]);
    bench.wait(200_000);
    assert_eq!(timeouts(&bench).len(), 1);
    bench.trunk_timestamp = bench.trunk_timestamp.wrapping_add(8_000 * 260);
    bench.talk(10);
    bench.wait(61_000);
    assert_eq!(timeouts(&bench).len(), 2, "a silence after media came back is a new one");
}

#[test]
fn rtcp_alone_keeps_a_trunk_alive() {
    let mut bench = Bench::in_call(AUDIO);
    for _ in 0..20 {
        bench.wait(10_000);
        bench.pipeline.handle_trunk_rtcp(&[0x80, 201, 0, 1, 1, 2, 3, 4], bench.now);
    }
    assert!(timeouts(&bench).is_empty());
}

#[test]
fn silence_before_the_answer_is_no_timeout() {
    let mut bench = Bench::new();
    bench.pipeline.connect_trunk(AUDIO, bench.now);
    bench.pipeline.set_gate(false, true, bench.now);
    bench.wait(180_000);
    assert!(timeouts(&bench).is_empty());
}
