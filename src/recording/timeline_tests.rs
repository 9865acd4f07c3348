//! Properties of the timeline.
#![cfg(test)]

use super::*;
use crate::clock::Clock;
use crate::media::tap::{Samples8k, TapId};
use proptest::prelude::*;

const MS: i64 = 8;

fn pcm(channel: TapChannel, timestamp: u32, epoch: u32, arrival: Instant, samples: &[i16]) -> TapFrame {
    TapFrame {
        tap: TapId(1),
        channel,
        timestamp,
        epoch,
        arrival,
        body: TapBody::Pcm8k { samples: Samples8k::new(samples), concealed: false },
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A frame whose every sample tells its own number (never zero).
fn numbered(first: u32) -> Vec<i16> {
    (first..first + 160).map(|n| i16::try_from(n % 30_000).unwrap() + 1).collect()
}

fn channel_of(timeline: &mut Timeline, channel: usize) -> Vec<i16> {
    let mut samples = Vec::new();
    while let Some(block) = timeline.pop_block() {
        assert_eq!(block.first_sample, samples.len() as u64, "blocks follow one another");
        samples.extend(block.interleaved.iter().skip(channel).step_by(2));
    }
    samples
}

fn events_of(timeline: &mut Timeline) -> Vec<TimelineEvent> {
    std::iter::from_fn(|| timeline.pop_event()).collect()
}

/// Feeds `frames` in the order of their arrival, and ends at `end`.
fn run(start: Instant, mut frames: Vec<TapFrame>, end: Instant) -> Timeline {
    frames.sort_by_key(|frame| frame.arrival);
    let mut timeline = Timeline::starting_at(start);
    for frame in &frames {
        timeline.frame(frame);
    }
    timeline.finish(end);
    timeline
}

#[test]
fn a_block_becomes_final_half_a_second_and_the_ordering_window_after_its_start() {
    let start = Clock::system().now();
    let mut timeline = Timeline::starting_at(start);
    timeline.advance(start + ms(659));
    assert_eq!(timeline.pop_block(), None);
    assert!(timeline.next_block_at() <= start + ms(661));
    let due = timeline.next_block_at();
    timeline.advance(due);
    assert_eq!(timeline.pop_block().unwrap().interleaved.len(), CHUNK_SAMPLES * 2);
}

#[test]
fn a_pause_in_sending_keeps_its_length() {
    let start = Clock::system().now();
    let frames = [0_u32, 1, 2, 100, 101]
        .iter()
        .map(|n| pcm(TapChannel::Sent, n * 160, 0, start + ms(20 * u64::from(*n) + 20), &[7; 160]))
        .collect();
    let mut timeline = run(start, frames, start + ms(2_040));
    let events = events_of(&mut timeline);
    let samples = channel_of(&mut timeline, 0);
    assert_eq!(samples.len(), 102 * 160);
    assert!(samples[..480].iter().all(|s| *s == 7) && samples[480..16_000].iter().all(|s| *s == 0));
    assert!(samples[16_000..16_320].iter().all(|s| *s == 7));
    assert!(
        events.contains(&TimelineEvent::Gap { channel: 0, sample: 480, samples: 15_520, why: GapReason::Dtx }),
        "{events:?}"
    );
}

#[test]
fn a_hold_is_silence_of_its_length_and_named_so() {
    let start = Clock::system().now();
    let hold = |held, at| TapFrame { body: TapBody::Hold(held), ..pcm(TapChannel::Heard, 0, 0, start + ms(at), &[]) };
    let frame = |n: u64| pcm(TapChannel::Heard, u32::try_from(n).unwrap() * 160, 0, start + ms(20 * n + 20), &[5; 160]);
    let mut frames: Vec<_> = (0..50).map(frame).collect();
    frames.extend([hold(true, 1_020), hold(false, 5_000)]);
    frames.extend((250..300).map(frame));
    let mut timeline = run(start, frames, start + ms(6_020));
    let mut holds = 0;
    let mut samples = Vec::new();
    while let Some(block) = timeline.pop_block() {
        holds += usize::from(block.is_hold);
        samples.extend(block.interleaved.iter().skip(1).step_by(2).copied());
    }
    assert_eq!(holds, 7, "1.0 s of speech, 3.5 s of whole blocks on hold, then 0.5 s with the end of it");
    assert!(samples[8_000..40_000].iter().all(|s| *s == 0) && samples[40_000..48_000].iter().all(|s| *s == 5));
    let events = events_of(&mut timeline);
    assert!(
        events.iter().any(|e| matches!(
            e,
            TimelineEvent::Gap { channel: 1, sample: 8_000, samples: 32_000, why: GapReason::Hold }
        )),
        "{events:?}"
    );
}

#[test]
fn a_new_epoch_is_tied_to_its_arrival() {
    let start = Clock::system().now();
    let mut frames: Vec<_> =
        (0..50_u32).map(|n| pcm(TapChannel::Sent, n * 160, 0, start + ms(20 * u64::from(n) + 20), &[3; 160])).collect();
    frames.extend((0..50_u32).map(|n| {
        pcm(
            TapChannel::Sent,
            4_000_000_000_u32.wrapping_add(n * 160),
            1,
            start + ms(2_020 + 20 * u64::from(n)),
            &[4; 160],
        )
    }));
    let mut timeline = run(start, frames, start + ms(3_000));
    let events = events_of(&mut timeline);
    let samples = channel_of(&mut timeline, 0);
    assert_eq!(samples.iter().position(|s| *s == 4), Some(16_000));
    assert!(events.contains(&TimelineEvent::Resync {
        channel: 0,
        sample: 16_000,
        moved: 0,
        why: ResyncReason::NewEpoch
    }));
}

#[test]
fn a_leap_of_delay_reanchors_once_and_says_so() {
    let start = Clock::system().now();
    let frame =
        |n: u32, late: u64| pcm(TapChannel::Sent, n * 160, 0, start + ms(20 * u64::from(n) + 20 + late), &[9_000; 160]);
    let frames = (0..100).map(|n| frame(n, 0)).chain((100..600).map(|n| frame(n, 100))).collect();
    let mut timeline = run(start, frames, start + ms(12_200));
    let resyncs: Vec<_> =
        events_of(&mut timeline).into_iter().filter(|e| matches!(e, TimelineEvent::Resync { .. })).collect();
    assert!(
        matches!(resyncs[..], [TimelineEvent::Resync { moved, why: ResyncReason::Drift, .. }] if moved == 100 * MS),
        "{resyncs:?}"
    );
}

/// 48 ms after its first second, a source comes later, or earlier, for good; it is silent in every fifth of a second.
fn moved_by_48_ms(first_late: u64, then_late: u64) -> Timeline {
    let start = Clock::system().now();
    let frame = |n: u32| {
        let late = if n < 50 { first_late } else { then_late };
        let loud = if n % 50 < 40 { 9_000 } else { 0 };
        pcm(TapChannel::Sent, n * 160, 0, start + ms(20 * u64::from(n) + 20 + late), &[loud; 160])
    };
    let mut timeline = Timeline::starting_at(start);
    for n in 0..300 {
        timeline.frame(&frame(n));
    }
    timeline
}

#[test]
fn a_small_leap_of_delay_is_followed_in_the_next_silence() {
    for (first, then) in [(0, 48), (48, 0)] {
        let mut timeline = moved_by_48_ms(first, then);
        let latest = timeline.channels[0].anchor.as_ref().unwrap().latest();
        let due = 299 * 160 + i64::try_from(then).unwrap() * MS;
        assert!((latest - due).abs() <= 10 * MS, "{latest} for {due}");
        let told = events_of(&mut timeline);
        let moved: i64 = told
            .iter()
            .map(|event| {
                let TimelineEvent::Resync { moved, why: ResyncReason::Drift, .. } = event else {
                    panic!("{event:?}");
                };
                *moved
            })
            .sum();
        assert!((30 * MS..=48 * MS).contains(&moved.abs()), "{told:?}");
    }
}

#[test]
fn timestamps_that_run_ahead_cannot_fill_memory() {
    let start = Clock::system().now();
    let frames = (0..1_000_u32)
        .map(|n| pcm(TapChannel::Sent, n.wrapping_mul(1_000_000), 0, start + ms(20 * u64::from(n)), &[1; 160]))
        .collect();
    let timeline = run(start, frames, start + ms(20_000));
    assert!(timeline.channels[0].pending.len() <= PENDING_SAMPLES_MAX);
    assert_eq!(timeline.samples(), 160_000);
}

/// An hour of a clock that is wrong by `ppm`, against one that is right: how far apart an event of the same moment lies.
fn skew_after_an_hour(ppm: i64) -> (i64, usize) {
    let start = Clock::system().now();
    let mut timeline = Timeline::starting_at(start);
    let mut worst = 0;
    let mut lost = 0_usize;
    for n in 0..180_000_i64 {
        let true_ns = (n + 1) * 20_000_000;
        let drifted = true_ns + true_ns / 1_000_000 * ppm;
        let arrival = start + Duration::from_nanos(u64::try_from(drifted).unwrap());
        timeline.frame(&pcm(TapChannel::Sent, u32::try_from(n * 160).unwrap(), 0, arrival, &[9_000; 160]));
        let anchor = timeline.channels[0].anchor.as_ref().unwrap();
        let skew = timeline.position(arrival) - 160 - anchor.latest();
        worst = worst.max(skew.abs());
        while let Some(block) = timeline.pop_block() {
            lost += block.interleaved.iter().step_by(2).filter(|s| **s == 0).count();
        }
    }
    (worst, lost)
}

#[test]
fn two_hundred_ppm_over_an_hour_skew_at_most_20_ms_and_tear_no_hole() {
    for ppm in [200, -200] {
        let (worst, lost) = skew_after_an_hour(ppm);
        assert!(worst <= 20 * MS, "{ppm} ppm: {worst} samples");
        assert_eq!(lost, 0, "{ppm} ppm");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Loss, jitter and reordering on one side neither move a sample that came nor shift the other side.
    #[test]
    fn channels_stay_aligned_under_loss_and_reordering(
        lost in proptest::collection::vec(proptest::bool::weighted(0.15), 200),
        jitter in proptest::collection::vec(0_u64..60, 200),
    ) {
        let start = Clock::system().now();
        let mut frames = Vec::new();
        for n in 0..200_u32 {
            let sent_at = start + ms(20 * u64::from(n) + 20);
            frames.push(pcm(TapChannel::Heard, 77 + n * 160, 0, sent_at, &numbered(n * 160)));
            let index = n as usize;
            // The first packet is on time: whatever comes first is the anchor.
            let (is_lost, delay) = if n == 0 { (false, 0) } else { (lost[index], jitter[index]) };
            if !is_lost {
                frames.push(pcm(TapChannel::Sent, (u32::MAX - 1_000).wrapping_add(n * 160), 0, sent_at + ms(delay), &numbered(n * 160)));
            }
        }
        let mut timeline = run(start, frames, start + ms(4_200));
        let (mut left, mut right) = (Vec::new(), Vec::new());
        while let Some(block) = timeline.pop_block() {
            left.extend(block.interleaved.iter().step_by(2).copied());
            right.extend(block.interleaved.iter().skip(1).step_by(2).copied());
        }
        prop_assert_eq!(left.len(), right.len());
        for (n, is_lost) in lost.iter().enumerate() {
            let slot = n * 160..(n + 1) * 160;
            prop_assert_eq!(&right[slot.clone()], &numbered(u32::try_from(n).unwrap() * 160)[..]);
            if n != 0 && *is_lost {
                prop_assert!(left[slot].iter().all(|s| *s == 0));
            } else {
                prop_assert_eq!(&left[slot.clone()], &right[slot]);
            }
        }
    }
}
