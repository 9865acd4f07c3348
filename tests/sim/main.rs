//! A hundred thousand calls from seeds: each must keep every promise. A seed that breaks one is printed, and replays.
//!
//! `TANDEM_SIM_WORLDS` runs so many worlds instead; `TANDEM_SIM_SEED` one seed alone.

#![cfg(test)]

use std::panic::catch_unwind;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tandem::clock::Clock;
use tandem::sim;

/// Calls in all, where nothing else is asked for.
const CALLS: usize = 100_000;
/// Seeds that are shown when they break a promise.
const SHOWN_MAX: usize = 5;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

/// What is wrong with the world of a seed; how many calls it had, and how many were up.
fn play(seed: u64) -> Result<sim::Summary, String> {
    let start = Clock::system().now();
    match catch_unwind(|| sim::run(seed, start)) {
        Ok(Ok(summary)) => Ok(summary),
        Ok(Err(faults)) => Err(faults.join("\n    ")),
        Err(panic) => Err(format!("panic: {:?}", panic.downcast_ref::<String>())),
    }
}

#[test]
fn every_call_keeps_every_promise() {
    if let Some(seed) = number("TANDEM_SIM_SEED") {
        play(seed).unwrap_or_else(|faults| panic!("seed {seed}:\n    {faults}"));
        return;
    }
    let worlds_max = number("TANDEM_SIM_WORLDS").unwrap_or(u64::MAX);
    let calls_max = if worlds_max == u64::MAX { CALLS } else { usize::MAX };
    let (next, calls, answered) = (AtomicU64::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let broken = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while calls.load(Ordering::Relaxed) < calls_max && broken.lock().unwrap().len() < SHOWN_MAX {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= worlds_max {
                        return;
                    }
                    match play(seed) {
                        Ok(summary) => {
                            calls.fetch_add(summary.calls, Ordering::Relaxed);
                            answered.fetch_add(summary.answered, Ordering::Relaxed);
                        }
                        Err(faults) => broken.lock().unwrap().push((seed, faults)),
                    }
                }
            });
        }
    });
    let (worlds, calls, answered) = (next.into_inner(), calls.into_inner(), answered.into_inner());
    println!("{worlds} worlds, {calls} calls, {answered} with audio");
    let broken = broken.into_inner().unwrap();
    for (seed, faults) in &broken {
        println!("TANDEM_SIM_SEED={seed}\n    {faults}");
    }
    assert!(broken.is_empty(), "{} of {worlds} worlds broke a promise", broken.len());
    assert!(answered * 4 > calls, "too few calls came to talk for this to mean anything");
}

#[test]
fn a_seed_replays_to_the_same_end() {
    for seed in 0..50 {
        assert_eq!(play(seed), play(seed), "seed {seed}");
    }
}
