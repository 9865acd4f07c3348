//! Receiving side of one RTP stream: validation, order, loss and jitter (RFC 3550 6.4, A.1, A.3, A.8).
//!
//! One packet at most is held back, for the one before it, and not for long: this is order, not a playout buffer.

use std::time::Duration;
use std::time::Instant;

use crate::limits::RTP_DATAGRAM_BYTES_MAX;
use crate::rtp::seq::ExtendedSequence;
use crate::rtp::seq::distance;

/// A sequence jump ahead of at least this many packets is a new start, not a loss (`MAX_DROPOUT`, RFC 3550 A.1).
const DROPOUT_MAX: i16 = 3_000;
/// A packet at most this far behind is late, further behind is a new start (`MAX_MISORDER`, RFC 3550 A.1).
const MISORDER_MAX: i16 = 100;

/// One packet with the meaning of its payload type already looked up.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a, K> {
    /// Synchronisation source.
    pub ssrc: u32,
    /// Sequence number.
    pub sequence: u16,
    /// Timestamp in the stream's clock.
    pub timestamp: u32,
    /// First after a silence.
    pub marker: bool,
    /// What it carries.
    pub kind: K,
    /// The payload.
    pub payload: &'a [u8],
}

/// What a stream gives out, in the order of the sender.
#[derive(Debug, Clone, Copy)]
pub enum Delivery<'a, K> {
    /// The next packet.
    Packet(Arrival<'a, K>),
    /// This many packets before the next one will not come.
    Lost(u16),
    /// Sequence and timestamps start anew with the next packet: a new SSRC, or a jump.
    Resync,
}

/// Counts of one source, for receiver reports and statistics.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ReceiveCounts {
    /// Packets given out, over all SSRCs.
    pub received: u64,
    /// Packets given up, over all SSRCs.
    pub lost: u64,
    /// Packets that had been here before, or came after they were given up.
    pub late_or_duplicate: u64,
    /// Packets of another SSRC or a jump, that nothing followed.
    pub strays: u64,
}

/// The part of a receiver report block that this stream knows (RFC 3550 6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reception {
    /// Whose stream.
    pub ssrc: u32,
    /// Loss since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Packets lost since the SSRC began; negative with duplicates.
    pub cumulative_lost: i32,
    /// Highest sequence number with its cycles, modulo 2³².
    pub highest_sequence: u32,
    /// Interarrival jitter in units of the clock.
    pub jitter: u32,
}

/// The source that is being received.
#[derive(Debug, Clone, Copy)]
struct Source {
    ssrc: u32,
    /// After the last packet given out or given up.
    next: ExtendedSequence,
    base: u64,
    received: u64,
    reported_expected: u64,
    reported_received: u64,
    transit: Option<i64>,
    /// Jitter times 16, as RFC 3550 A.8 keeps it.
    jitter_16: i64,
}

/// A packet that waits for the one before it.
struct Held<K> {
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    marker: bool,
    kind: K,
    since: Instant,
}

/// The state of one incoming RTP stream. `K` is what the caller makes of a payload type.
pub struct ReceiveStream<K> {
    clock_hz: u32,
    hold: Duration,
    origin: Instant,
    source: Option<Source>,
    /// The last packet that fitted nothing: (SSRC, sequence number that would follow it).
    suspect: Option<(u32, u16)>,
    held: Option<Held<K>>,
    held_payload: Box<[u8; RTP_DATAGRAM_BYTES_MAX]>,
    held_len: usize,
    counts: ReceiveCounts,
}

impl<K> std::fmt::Debug for ReceiveStream<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReceiveStream")
            .field("source", &self.source)
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}

impl<K: Copy> ReceiveStream<K> {
    /// A stream whose timestamps count `clock_hz`; a packet out of order is held for `hold`.
    pub fn new(clock_hz: u32, hold: Duration, now: Instant) -> Self {
        Self {
            clock_hz,
            hold,
            origin: now,
            source: None,
            suspect: None,
            held: None,
            held_payload: Box::new([0; RTP_DATAGRAM_BYTES_MAX]),
            held_len: 0,
            counts: ReceiveCounts::default(),
        }
    }

    /// Changes the clock that jitter is counted in.
    pub fn set_clock(&mut self, clock_hz: u32) {
        if clock_hz != self.clock_hz {
            self.clock_hz = clock_hz;
            if let Some(source) = &mut self.source {
                source.transit = None;
                source.jitter_16 = 0;
            }
        }
    }

    /// Takes one packet and gives out what is then in order.
    pub fn handle(&mut self, arrival: Arrival<'_, K>, now: Instant, out: &mut dyn FnMut(Delivery<'_, K>)) {
        let Some(source) = self.source else {
            self.begin(&arrival, now);
            self.deliver(arrival, out);
            return;
        };
        let ahead = distance(source.next.wire(), arrival.sequence);
        let fits = arrival.ssrc == source.ssrc && (-MISORDER_MAX..DROPOUT_MAX).contains(&ahead);
        if !fits {
            self.handle_misfit(arrival, now, out);
            return;
        }
        self.suspect = None;
        self.count_jitter(&arrival, now);
        if ahead < 0 {
            self.counts.late_or_duplicate += 1;
            return;
        }
        if let Some(held) = self.held.as_ref().map(|held| held.sequence) {
            self.handle_with_held(held, arrival, now, out);
        } else if ahead == 0 {
            self.deliver(arrival, out);
        } else {
            self.hold(&arrival, now);
        }
    }

    /// Gives up on what a held packet waits for, where its time is over.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut dyn FnMut(Delivery<'_, K>)) {
        if self.poll_timeout().is_some_and(|at| at <= now) {
            self.release(out);
        }
    }

    /// When a held packet is given out at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.held.as_ref().map(|held| held.since + self.hold)
    }

    /// Counts over all SSRCs.
    pub const fn counts(&self) -> ReceiveCounts {
        self.counts
    }

    /// Interarrival jitter in milliseconds.
    #[expect(clippy::cast_precision_loss, reason = "a statistic")]
    pub fn jitter_ms(&self) -> f32 {
        let jitter = self.source.map_or(0, |source| source.jitter_16) as f32 / 16.0;
        jitter * 1_000.0 / self.clock_hz as f32
    }

    /// The report block of the present source, and the start of the next interval (RFC 3550 A.3).
    pub fn report(&mut self) -> Option<Reception> {
        let source = self.source.as_mut()?;
        let expected = source.next.extended() - source.base;
        let expected_now = expected - source.reported_expected;
        let received_now = source.received - source.reported_received;
        source.reported_expected = expected;
        source.reported_received = source.received;
        let lost_now = expected_now.saturating_sub(received_now);
        let fraction = (lost_now * 256).checked_div(expected_now).unwrap_or(0).min(255);
        let lost = expected.cast_signed() - source.received.cast_signed();
        Some(Reception {
            ssrc: source.ssrc,
            fraction_lost: u8::try_from(fraction).unwrap_or(255),
            cumulative_lost: i32::try_from(lost.clamp(-0x80_0000, 0x7f_ffff)).unwrap_or(0),
            highest_sequence: u32::try_from(source.next.extended().saturating_sub(1) & 0xffff_ffff).unwrap_or(0),
            jitter: u32::try_from(source.jitter_16 / 16).unwrap_or(u32::MAX),
        })
    }

    /// A packet that does not continue the present source. The first of two in sequence is not believed, unless it is
    /// a new SSRC's marked first: a stray packet must not tear down a healthy stream.
    fn handle_misfit(&mut self, arrival: Arrival<'_, K>, now: Instant, out: &mut dyn FnMut(Delivery<'_, K>)) {
        let new_source = self.source.is_some_and(|source| source.ssrc != arrival.ssrc);
        let confirmed = self.suspect == Some((arrival.ssrc, arrival.sequence));
        let believed = confirmed || (new_source && arrival.marker);
        if !believed {
            self.counts.strays += 1;
            self.suspect = Some((arrival.ssrc, arrival.sequence.wrapping_add(1)));
            return;
        }
        self.release(out);
        self.begin(&arrival, now);
        out(Delivery::Resync);
        self.deliver(arrival, out);
    }

    /// A packet while another one is held: whatever is missing between them now counts as lost.
    fn handle_with_held(
        &mut self,
        held: u16,
        arrival: Arrival<'_, K>,
        now: Instant,
        out: &mut dyn FnMut(Delivery<'_, K>),
    ) {
        let behind_held = distance(held, arrival.sequence);
        match behind_held {
            0 => self.counts.late_or_duplicate += 1,
            ..0 => {
                self.give_up_before(arrival.sequence, out);
                self.deliver(arrival, out);
                self.release(out);
            }
            1 => {
                self.release(out);
                self.deliver(arrival, out);
            }
            2.. => {
                self.release(out);
                self.hold(&arrival, now);
            }
        }
    }

    fn begin(&mut self, arrival: &Arrival<'_, K>, now: Instant) {
        self.source = Some(Source {
            ssrc: arrival.ssrc,
            next: ExtendedSequence::starting_at(arrival.sequence),
            base: u64::from(arrival.sequence),
            received: 0,
            reported_expected: 0,
            reported_received: 0,
            transit: None,
            jitter_16: 0,
        });
        self.suspect = None;
        self.count_jitter(arrival, now);
    }

    /// RFC 3550 A.8: the change of transit time between two packets, smoothed by 1/16.
    fn count_jitter(&mut self, arrival: &Arrival<'_, K>, now: Instant) {
        let elapsed = now.saturating_duration_since(self.origin).as_nanos();
        let clock = u128::from(self.clock_hz);
        let arrived = i64::try_from((elapsed * clock / 1_000_000_000) & 0xffff_ffff).unwrap_or(0);
        let Some(source) = &mut self.source else { return };
        let transit = arrived - i64::from(arrival.timestamp);
        if let Some(before) = source.transit.replace(transit) {
            // Both clocks wrap at 2³²: the difference is taken the shorter way round.
            let change = u32::try_from((transit - before) & 0xffff_ffff).unwrap_or(0).cast_signed();
            let change = i64::from(change).abs();
            source.jitter_16 += change - ((source.jitter_16 + 8) >> 4);
        }
    }

    fn hold(&mut self, arrival: &Arrival<'_, K>, now: Instant) {
        let len = arrival.payload.len().min(RTP_DATAGRAM_BYTES_MAX);
        for (to, from) in self.held_payload.iter_mut().zip(arrival.payload) {
            *to = *from;
        }
        self.held_len = len;
        self.held = Some(Held {
            ssrc: arrival.ssrc,
            sequence: arrival.sequence,
            timestamp: arrival.timestamp,
            marker: arrival.marker,
            kind: arrival.kind,
            since: now,
        });
    }

    /// Gives out the held packet, and before it says what is missing.
    fn release(&mut self, out: &mut dyn FnMut(Delivery<'_, K>)) {
        let Some(held) = self.held.take() else { return };
        self.give_up_before(held.sequence, out);
        self.count_given_out();
        let payload = self.held_payload.get(..self.held_len).unwrap_or_default();
        out(Delivery::Packet(Arrival {
            ssrc: held.ssrc,
            sequence: held.sequence,
            timestamp: held.timestamp,
            marker: held.marker,
            kind: held.kind,
            payload,
        }));
    }

    fn give_up_before(&mut self, sequence: u16, out: &mut dyn FnMut(Delivery<'_, K>)) {
        let Some(source) = &mut self.source else { return };
        let missing = distance(source.next.wire(), sequence);
        if let Ok(missing @ 1..) = u16::try_from(missing) {
            source.next.advance(missing);
            self.counts.lost += u64::from(missing);
            out(Delivery::Lost(missing));
        }
    }

    fn deliver(&mut self, arrival: Arrival<'_, K>, out: &mut dyn FnMut(Delivery<'_, K>)) {
        self.count_given_out();
        out(Delivery::Packet(arrival));
    }

    fn count_given_out(&mut self) {
        self.counts.received += 1;
        if let Some(source) = &mut self.source {
            source.next.advance(1);
            source.received += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use proptest::prelude::*;

    #[derive(Debug, PartialEq, Clone, Copy)]
    enum Seen {
        Packet(u16),
        Lost(u16),
        Resync,
    }

    struct Bench {
        stream: ReceiveStream<()>,
        now: Instant,
        seen: Vec<Seen>,
    }

    impl Bench {
        fn new() -> Self {
            let now = Clock::system().now();
            Self { stream: ReceiveStream::new(8_000, Duration::from_millis(20), now), now, seen: Vec::new() }
        }

        fn arrive(&mut self, ssrc: u32, sequence: u16, marker: bool) {
            let seen = &mut self.seen;
            let timestamp = u32::from(sequence) * 160;
            let arrival = Arrival { ssrc, sequence, timestamp, marker, kind: (), payload: &sequence.to_be_bytes() };
            self.stream.handle(arrival, self.now, &mut |delivery| note(seen, delivery));
        }

        fn take(&mut self, sequences: &[u16]) -> Vec<Seen> {
            for sequence in sequences {
                self.arrive(1, *sequence, false);
            }
            std::mem::take(&mut self.seen)
        }

        fn wait(&mut self, ms: u64) {
            self.now += Duration::from_millis(ms);
            let seen = &mut self.seen;
            self.stream.handle_timeout(self.now, &mut |delivery| note(seen, delivery));
        }
    }

    fn note(seen: &mut Vec<Seen>, delivery: Delivery<'_, ()>) {
        seen.push(match delivery {
            Delivery::Packet(packet) => {
                assert_eq!(packet.payload, packet.sequence.to_be_bytes());
                Packet(packet.sequence)
            }
            Delivery::Lost(count) => Lost(count),
            Delivery::Resync => Resync,
        });
    }

    use Seen::{Lost, Packet, Resync};

    #[test]
    fn packets_in_order_pass_at_once_over_the_wrap() {
        assert_eq!(Bench::new().take(&[65_534, 65_535, 0, 1]), [Packet(65_534), Packet(65_535), Packet(0), Packet(1)]);
    }

    #[test]
    fn a_swapped_pair_is_put_in_order() {
        assert_eq!(Bench::new().take(&[1, 3, 2, 4]), [Packet(1), Packet(2), Packet(3), Packet(4)]);
    }

    #[test]
    fn a_lost_packet_is_given_up_when_the_one_after_the_next_arrives() {
        assert_eq!(Bench::new().take(&[1, 3, 4]), [Packet(1), Lost(1), Packet(3), Packet(4)]);
    }

    #[test]
    fn a_lost_packet_is_given_up_after_twenty_milliseconds() {
        let mut bench = Bench::new();
        assert_eq!(bench.take(&[1, 4]), [Packet(1)]);
        bench.wait(19);
        assert_eq!(bench.take(&[]), []);
        bench.wait(1);
        assert_eq!(bench.take(&[]), [Lost(2), Packet(4)]);
        assert_eq!(bench.stream.poll_timeout(), None);
        assert_eq!(bench.take(&[3]), [], "too late");
        assert_eq!(bench.stream.counts().lost, 2);
        assert_eq!(bench.stream.counts().late_or_duplicate, 1);
    }

    #[test]
    fn two_gaps_one_after_the_other_are_both_named() {
        assert_eq!(Bench::new().take(&[1, 3, 5, 6]), [Packet(1), Lost(1), Packet(3), Lost(1), Packet(5), Packet(6)]);
    }

    #[test]
    fn a_packet_between_gap_and_held_comes_first() {
        assert_eq!(Bench::new().take(&[1, 5, 3]), [Packet(1), Lost(1), Packet(3), Lost(1), Packet(5)]);
    }

    #[test]
    fn duplicates_are_dropped_held_ones_too() {
        let mut bench = Bench::new();
        assert_eq!(bench.take(&[1, 1, 3, 3, 2, 2]), [Packet(1), Packet(2), Packet(3)]);
        assert_eq!(bench.stream.counts().late_or_duplicate, 3);
        assert_eq!(bench.stream.counts().lost, 0);
    }

    #[test]
    fn a_jump_is_believed_with_its_second_packet() {
        let mut bench = Bench::new();
        assert_eq!(bench.take(&[1, 20_000, 2]), [Packet(1), Packet(2)]);
        assert_eq!(bench.take(&[20_000, 20_001]), [Resync, Packet(20_001)]);
    }

    #[test]
    fn a_new_ssrc_with_a_marker_is_taken_at_once_and_without_with_its_second_packet() {
        let mut bench = Bench::new();
        assert_eq!(bench.take(&[1]), [Packet(1)]);
        bench.arrive(2, 700, true);
        assert_eq!(bench.take(&[]), [Resync, Packet(700)]);
        bench.arrive(3, 900, false);
        bench.arrive(2, 701, false);
        assert_eq!(bench.take(&[]), [Packet(701)], "one stray packet changes nothing");
        bench.arrive(3, 901, false);
        bench.arrive(3, 902, false);
        assert_eq!(bench.take(&[]), [Resync, Packet(902)]);
    }

    #[test]
    fn the_report_counts_loss_as_rfc_3550_does() {
        let mut bench = Bench::new();
        bench.take(&[65_534, 65_535, 1, 2]);
        let report = bench.stream.report().unwrap();
        assert_eq!((report.cumulative_lost, report.fraction_lost), (1, 51));
        assert_eq!(report.highest_sequence & 0xffff, 2);
        bench.take(&[3, 4]);
        let report = bench.stream.report().unwrap();
        assert_eq!((report.cumulative_lost, report.fraction_lost), (1, 0));
    }

    #[test]
    fn even_pace_has_no_jitter_and_uneven_pace_has() {
        let mut bench = Bench::new();
        for sequence in 0..100 {
            bench.take(&[sequence]);
            bench.wait(20);
        }
        assert!(bench.stream.jitter_ms() < 0.2, "{}", bench.stream.jitter_ms());
        for sequence in 100..300 {
            bench.take(&[sequence]);
            bench.wait(if sequence % 2 == 0 { 10 } else { 30 });
        }
        assert!((9.0..11.0).contains(&bench.stream.jitter_ms()), "{}", bench.stream.jitter_ms());
    }

    proptest! {
        #[test]
        fn whatever_arrives_what_leaves_is_in_order(
            steps in proptest::collection::vec((0_u32..2, any::<u16>(), any::<bool>(), 0_u64..30, 0_u16..6), 1..200)
        ) {
            let mut bench = Bench::new();
            let mut next = 0_u16;
            for (ssrc, jump, marker, wait, near) in steps {
                bench.wait(wait);
                next = if jump > 60_000 { jump } else { next.wrapping_add(near) };
                bench.arrive(ssrc, next, marker);
            }
            bench.wait(100);
            let mut expected: Option<u16> = None;
            for seen in bench.seen {
                match seen {
                    Resync => expected = None,
                    Lost(count) => expected = expected.map(|at| at.wrapping_add(count)),
                    Packet(sequence) => {
                        prop_assert!(expected.is_none_or(|at| at == sequence));
                        expected = Some(sequence.wrapping_add(1));
                    }
                }
            }
        }
    }
}
