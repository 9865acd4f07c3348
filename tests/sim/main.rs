//! A hundred thousand calls from seeds: each must keep every promise. A seed that breaks one is printed, and replays.
//!
//! `TANDEM_SIM_WORLDS` runs so many worlds instead; `TANDEM_SIM_SEED` one seed alone.

#![cfg(test)]

use std::panic::catch_unwind;

use tandem::clock::Clock;
use tandem::sim;

/// Calls in all, where nothing else is asked for.
const CALLS: usize = 100_000;
/// Worlds of one thread that are shown when they break a promise.
const SHOWN_MAX: usize = 5;

#[expect(clippy::disallowed_methods, reason = "a person who replays a seed says so here")]
fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

/// How a world went, or what is wrong with it.
fn play(seed: u64) -> Result<sim::Summary, String> {
    let start = Clock::system().now();
    match catch_unwind(|| sim::run(seed, start)) {
        Ok(Ok(summary)) => Ok(summary),
        Ok(Err(faults)) => Err(faults.join("\n    ")),
        Err(panic) => Err(format!("panic: {:?}", panic.downcast_ref::<String>())),
    }
}

/// What one thread saw.
#[derive(Default)]
struct Tally {
    worlds: usize,
    calls: usize,
    answered: usize,
    joined: usize,
    broken: Vec<(u64, String)>,
}

impl Tally {
    /// Plays seeds until there were enough worlds or calls, or promises broken.
    fn of(seeds: impl Iterator<Item = u64>, (worlds_max, calls_max): (usize, usize)) -> Self {
        let mut tally = Self::default();
        for seed in seeds.take(worlds_max) {
            tally.worlds += 1;
            match play(seed) {
                Ok(summary) => {
                    tally.calls += summary.calls;
                    tally.answered += summary.answered;
                    tally.joined += summary.joined;
                }
                Err(faults) => tally.broken.push((seed, faults)),
            }
            if tally.calls >= calls_max || tally.broken.len() >= SHOWN_MAX {
                break;
            }
        }
        tally
    }
}

#[test]
fn every_call_keeps_every_promise() {
    if let Some(seed) = number("TANDEM_SIM_SEED") {
        play(seed).unwrap_or_else(|faults| panic!("seed {seed}:\n    {faults}"));
        return;
    }
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let worlds = number("TANDEM_SIM_WORLDS").map(|worlds| usize::try_from(worlds).unwrap() / threads);
    let enough = worlds.map_or((usize::MAX, CALLS.div_ceil(threads)), |worlds| (worlds, usize::MAX));
    let tallies: Vec<Tally> = std::thread::scope(|scope| {
        let seeds = |thread| (thread as u64..).step_by(threads);
        let players: Vec<_> =
            (0..threads).map(|thread| scope.spawn(move || Tally::of(seeds(thread), enough))).collect();
        players.into_iter().map(|player| player.join().unwrap()).collect()
    });

    let sum = |of: fn(&Tally) -> usize| tallies.iter().map(of).sum::<usize>();
    let (worlds, calls, answered) = (sum(|it| it.worlds), sum(|it| it.calls), sum(|it| it.answered));
    let joined = sum(|it| it.joined);
    println!("{worlds} worlds, {calls} calls, {answered} with audio, {joined} joined to another one");
    let broken: Vec<_> = tallies.into_iter().flat_map(|tally| tally.broken).collect();
    for (seed, faults) in &broken {
        println!("TANDEM_SIM_SEED={seed}\n    {faults}");
    }
    assert!(broken.is_empty(), "{} of {worlds} worlds broke a promise", broken.len());
    assert!(joined * 200 > calls, "too few calls were joined for this to mean anything");
    assert!(answered * 4 > calls, "too few calls came to talk for this to mean anything");
}

#[test]
fn a_seed_replays_to_the_same_end() {
    for seed in 0..50 {
        assert_eq!(play(seed), play(seed), "seed {seed}");
    }
}
