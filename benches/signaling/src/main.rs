//! What Tandem's SIP side costs, beside rsipstack's, in one process and one run: CPU for each call (both ends, INVITE to
//! BYE, no media), CPU for a message, and the memory that a finished call leaves. Writes `target/bench/signalling.json`.
//!
//! `BENCH_CALLS` (default 1000) calls a run; `BENCH_IDLE_SECONDS` (default 60) of idling before memory is read.

mod measure;
mod rsipstack_side;
mod tandem_side;

use std::hint::black_box;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use bytes::Bytes;
use serde::Serialize;

use measure::{cpu, live_bytes, median, us_each};
use rsipstack_side::Endpoints;
use tandem_side::{Pair, Shells};

#[global_allocator]
static ALLOCATOR: measure::Counting = measure::Counting;

/// Both sides' offers and answers.
pub const SDP: &str = "v=0\r\no=- 3724394400 3724394405 IN IP4 198.51.100.7\r\ns=-\r\nc=IN IP4 198.51.100.7\r\nt=0 0\r\n\
m=audio 49170 RTP/AVP 0 8 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\n\
a=fmtp:101 0-15\r\na=ptime:20\r\na=sendrecv\r\n";

/// Each figure is the median of so many runs.
const RUNS: usize = 3;
/// Calls at any time.
const AT_ONCE: u32 = 20;
/// Messages of one run.
const MESSAGES: u32 = 20_000;

#[derive(Debug, Serialize)]
struct Run {
    case: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tandem_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tandem_bytes: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_bytes: Option<f64>,
    ratio: Option<f64>,
}

impl Run {
    fn time(case: &'static str, tandem: f64, peer: Option<f64>) -> Self {
        let ratio = peer.map(|peer| peer / tandem);
        Self { case, tandem_us: Some(tandem), peer_us: peer, tandem_bytes: None, peer_bytes: None, ratio }
    }

    fn memory(case: &'static str, tandem: f64, peer: Option<f64>) -> Self {
        // Where nothing of ours stays there is nothing to divide by.
        let ratio = peer.filter(|_| tandem >= 1.0).map(|peer| peer / tandem);
        Self { case, tandem_us: None, peer_us: None, tandem_bytes: Some(tandem), peer_bytes: peer, ratio }
    }
}

fn number(name: &str, default: u32) -> Result<u32> {
    Ok(std::env::var(name).ok().map(|value| value.parse()).transpose()?.unwrap_or(default))
}

/// An INVITE of about a kilobyte.
fn invite() -> Bytes {
    let head = format!(
        "INVITE sip:1001@192.0.2.10:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.7:5060;branch=z9hG4bK776asdhds;rport\r\n\
         Via: SIP/2.0/UDP 203.0.113.9:5060;branch=z9hG4bK1d32hash;received=203.0.113.9\r\nMax-Forwards: 69\r\n\
         Record-Route: <sip:198.51.100.7;lr>\r\nFrom: \"Ann Example\" <sip:+4930123456@example.com;user=phone>;tag=1928301774\r\n\
         To: <sip:1001@example.com>\r\nCall-ID: a84b4c76e66710@pc33.example.com\r\nCSeq: 314159 INVITE\r\n\
         Contact: <sip:+4930123456@203.0.113.9:5060>\r\nAllow: INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, PRACK, UPDATE\r\n\
         Supported: timer, 100rel, replaces\r\nUser-Agent: Example PBX 16.2\r\nP-Asserted-Identity: <sip:+4930123456@example.com>\r\n\
         Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n",
        SDP.len()
    );
    Bytes::from(format!("{head}{SDP}"))
}

/// Three times each of two works, alternating, so that a machine that changes its mind changes it for both.
fn medians(mut ours: impl FnMut() -> Result<f64>, mut theirs: impl FnMut() -> Result<f64>) -> Result<(f64, f64)> {
    let (mut tandem, mut peer) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        tandem.push(ours()?);
        peer.push(theirs()?);
    }
    Ok((median(tandem), median(peer)))
}

fn messages(mut work: impl FnMut()) -> f64 {
    let start = cpu();
    (0..MESSAGES).for_each(|_| work());
    us_each(start, MESSAGES)
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

fn parse_and_serialise(runs: &mut Vec<Run>) -> Result<()> {
    let bytes = invite();
    ensure!((900..1_200).contains(&bytes.len()), "{} bytes", bytes.len());
    let (ours, theirs) = (tandem_side::parse(&bytes)?, rsipstack_side::parse(&bytes)?);
    let (tandem, peer) = medians(
        || Ok(messages(|| drop(black_box(tandem_side::parse(black_box(&bytes)))))),
        || Ok(messages(|| drop(black_box(rsipstack_side::parse(black_box(&bytes)))))),
    )?;
    runs.push(Run::time("parse_invite_1kb", tandem, Some(peer)));
    let (tandem, peer) = medians(
        || Ok(messages(|| drop(black_box(black_box(&ours).to_bytes())))),
        || Ok(messages(|| drop(black_box(black_box(&theirs).to_string())))),
    )?;
    runs.push(Run::time("serialise_invite_1kb", tandem, Some(peer)));
    Ok(())
}

fn calls_in_memory(runs: &mut Vec<Run>, count: u32) -> Result<()> {
    let mut pair = Pair::new();
    let mut figures = Vec::new();
    for _ in 0..RUNS {
        let start = cpu();
        for _ in 0..count {
            pair.call()?;
        }
        figures.push(us_each(start, count));
        pair.idle(Duration::from_secs(60));
    }
    runs.push(Run::time("call_in_memory", median(figures), None));
    let before = live_bytes();
    for _ in 0..count {
        pair.call()?;
    }
    let busy = live_bytes() - before;
    pair.idle(Duration::from_secs(60));
    let idle = live_bytes() - before;
    let each = |bytes: i64| bytes as f64 / f64::from(count);
    runs.push(Run::memory("memory_of_a_call_just_finished_in_memory", each(busy), None));
    runs.push(Run::memory("memory_of_a_finished_call_after_60_s_in_memory", each(idle), None));
    Ok(())
}

fn calls_over_udp(runs: &mut Vec<Run>, count: u32) -> Result<()> {
    let (for_ours, for_theirs) = (runtime()?, runtime()?);
    let mut shells = for_ours.block_on(Shells::start())?;
    let mut endpoints = for_theirs.block_on(Endpoints::start())?;
    // Once for everything that is made once.
    for_ours.block_on(shells.calls(AT_ONCE, AT_ONCE))?;
    for_theirs.block_on(endpoints.calls(AT_ONCE, AT_ONCE))?;
    let (tandem, peer) = medians(
        || {
            let start = cpu();
            for_ours.block_on(shells.calls(count, AT_ONCE))?;
            Ok(us_each(start, count))
        },
        || {
            let start = cpu();
            for_theirs.block_on(endpoints.calls(count, AT_ONCE))?;
            Ok(us_each(start, count))
        },
    )?;
    runs.push(Run::time("call_over_loopback_udp", tandem, Some(peer)));
    Ok(())
}

fn memory_over_udp(runs: &mut Vec<Run>, count: u32, idle: Duration) -> Result<()> {
    let (tandem, tandem_busy) = {
        let runtime = runtime()?;
        let mut shells = runtime.block_on(Shells::start())?;
        left_by(&runtime, count, idle, |runtime| runtime.block_on(shells.calls(count, AT_ONCE)))?
    };
    let (peer, peer_busy) = {
        let runtime = runtime()?;
        let mut endpoints = runtime.block_on(Endpoints::start())?;
        left_by(&runtime, count, idle, |runtime| runtime.block_on(endpoints.calls(count, AT_ONCE)))?
    };
    runs.push(Run::memory("memory_of_a_call_just_finished_over_udp", tandem_busy, Some(peer_busy)));
    runs.push(Run::memory("memory_of_a_finished_call_after_60_s_over_udp", tandem, Some(peer)));
    Ok(())
}

/// Bytes of each call that live after the idling, and before it. A first round, idled away as well, makes what is made
/// once: what the second leaves is growth.
fn left_by(
    runtime: &tokio::runtime::Runtime,
    count: u32,
    idle: Duration,
    mut work: impl FnMut(&tokio::runtime::Runtime) -> Result<()>,
) -> Result<(f64, f64)> {
    let rest = || runtime.block_on(async { tokio::time::sleep(idle).await });
    work(runtime)?;
    rest();
    let before = live_bytes();
    work(runtime)?;
    let busy = live_bytes() - before;
    rest();
    let left = live_bytes() - before;
    Ok((left as f64 / f64::from(count), busy as f64 / f64::from(count)))
}

fn print(runs: &[Run]) {
    println!("{:50} {:>12} {:>12} {:>8}", "", "tandem", "rsipstack", "ratio");
    for run in runs {
        let unit = if run.tandem_us.is_some() { "µs" } else { "B" };
        let cell = |figure: Option<f64>| figure.map_or_else(|| "–".to_owned(), |figure| format!("{figure:.1} {unit}"));
        let (tandem, peer) = (run.tandem_us.or(run.tandem_bytes), run.peer_us.or(run.peer_bytes));
        let ratio = run.ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}"));
        println!("{:50} {:>12} {:>12} {ratio:>8}", run.case, cell(tandem), cell(peer));
    }
}

fn main() -> Result<()> {
    let count = number("BENCH_CALLS", 1_000)?;
    let idle = Duration::from_secs(u64::from(number("BENCH_IDLE_SECONDS", 60)?));
    let mut runs = Vec::new();
    parse_and_serialise(&mut runs)?;
    calls_in_memory(&mut runs, count)?;
    calls_over_udp(&mut runs, count)?;
    print(&runs);
    println!("\nidling for {} s, four times", idle.as_secs());
    memory_over_udp(&mut runs, count, idle)?;
    print(&runs);
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/bench/signalling.json");
    std::fs::create_dir_all(file.parent().expect("a directory"))?;
    std::fs::write(&file, serde_json::to_vec_pretty(&serde_json::json!({ "runs": runs }))?)?;
    println!("target/bench/signalling.json is written");
    Ok(())
}
