//! A fuzzer for a stable compiler: mutates the corpora by chance, blind to coverage, and runs a target on the result.
//!
//! `cargo run --features demo --example mutate -- [TARGET]…`: every target where none is named. `FUZZ_SECONDS` (default 600) for each target, `FUZZ_SEED`
//! (default: the time). A panic or a run of more than 100 ms of CPU ends it with code 1; the input is written to
//! `fuzz/findings/` and named with the seed. `mutate --replay TARGET FILE…` runs files.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a tool of developers, not of the gateway: it talks to a terminal, reads the clock, and may panic"
)]

use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use rustix::time::{ClockId, clock_gettime};
use tandem::fuzz::{TARGETS, Target};

/// A run that takes more CPU is a finding: every input is to be linear and capped.
const SLOW: Duration = Duration::from_millis(100);
/// Longest input that mutation makes, in bytes; messages are capped at 64 KiB.
const LENGTH_MAX: usize = 70_000;
/// Inputs kept beside the corpus, so that mutations pile up.
const POOL_MAX: usize = 2_000;

/// What chance alone would not spell.
const WORDS: &[&[u8]] = &[
    b"INVITE",
    b"ACK",
    b"BYE",
    b"CANCEL",
    b"OPTIONS",
    b"REGISTER",
    b"PRACK",
    b"UPDATE",
    b"REFER",
    b"NOTIFY",
    b"INFO",
    b"SIP/2.0",
    b"SIP/2.0/UDP ",
    b"SIP/2.0/TCP ",
    b"sip:",
    b"sips:",
    b"tel:",
    b"urn:service:sos",
    b"\r\n",
    b"\r\n\r\n",
    b"\r\n ",
    b"\n",
    b"\r",
    b"\0",
    b"\xff",
    b"\xc3\xa9",
    b"Via: ",
    b"v: ",
    b"From: ",
    b"f: ",
    b"To: ",
    b"t: ",
    b"Call-ID: ",
    b"i: ",
    b"CSeq: ",
    b"Contact: ",
    b"m: ",
    b"Content-Length: ",
    b"l: ",
    b"Content-Length : ",
    b"Content-Type: ",
    b"c: ",
    b"application/sdp",
    b"multipart/mixed;boundary=x",
    b"Max-Forwards: 0",
    b"Route: <sip:a;lr>",
    b"Record-Route: ",
    b"Require: 100rel",
    b"RAck: 1 1 INVITE",
    b"RSeq: ",
    b"Session-Expires: 90",
    b"Min-SE: ",
    b"Replaces: ",
    b"Refer-To: ",
    b"Authorization: Digest ",
    b"nonce=\"",
    b"response=\"",
    b"Session-ID: ",
    b"Reason: Q.850;cause=16",
    b";branch=z9hG4bK",
    b";tag=",
    b";rport",
    b";received=",
    b";maddr=",
    b";lr",
    b";transport=",
    b";user=phone",
    b"<",
    b">",
    b"\"",
    b"\\\"",
    b"%00",
    b"%",
    b"[::1]",
    b"[",
    b"]",
    b"@",
    b":",
    b";",
    b"=",
    b"?",
    b"&",
    b",",
    b"*",
    b"0",
    b"-1",
    b"4294967295",
    b"4294967296",
    b"18446744073709551616",
    b"65536",
    b"99999999999999999999999999",
    b"v=0\r\n",
    b"o=- 1 1 IN IP4 192.0.2.1\r\n",
    b"s=-\r\n",
    b"c=IN IP4 0.0.0.0\r\n",
    b"c=IN IP6 ::1\r\n",
    b"c=IN IP4 224.2.1.1/127\r\n",
    b"t=0 0\r\n",
    b"m=audio 49170 RTP/AVP 0 8 101\r\n",
    b"m=audio 0 RTP/AVP 0\r\n",
    b"m=audio 65535 RTP/SAVP 0\r\n",
    b"m=video 1 RTP/AVP 31\r\n",
    b"a=rtpmap:0 PCMU/8000\r\n",
    b"a=rtpmap:101 telephone-event/8000\r\n",
    b"a=fmtp:101 0-16\r\n",
    b"a=ptime:",
    b"a=maxptime:",
    b"a=sendonly\r\n",
    b"a=inactive\r\n",
    b"a=rtcp:0\r\n",
    b"a=rtcp-mux\r\n",
    b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:",
    b"|2^20|1:4",
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, target, files @ ..] = &arguments[..]
        && flag == "--replay"
    {
        return replay(target, files);
    }
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a whole number"));
    let time = Duration::from_secs(number("FUZZ_SECONDS").unwrap_or(600));
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(1, |since| since.as_secs());
    let seed = number("FUZZ_SEED").unwrap_or_else(now);
    std::panic::set_hook(Box::new(|_| {}));
    let chosen = |name: &str| arguments.is_empty() || arguments.iter().any(|argument| argument == name);
    if let Some(unknown) = arguments.iter().find(|argument| TARGETS.iter().all(|(name, _)| name != argument)) {
        eprintln!("no such target: {unknown}");
        return ExitCode::from(2);
    }
    for (name, target) in TARGETS.iter().filter(|(name, _)| chosen(name)) {
        if let Err(finding) = fuzz(name, *target, seed, time) {
            eprintln!("{finding}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn replay(name: &str, files: &[String]) -> ExitCode {
    let Some((_, target)) = TARGETS.iter().find(|(known, _)| *known == name) else { return ExitCode::from(2) };
    for file in files {
        println!("{file}");
        target(&std::fs::read(file).expect("a readable file"));
    }
    ExitCode::SUCCESS
}

/// Runs one target for `time`. The error says how to see the finding again.
fn fuzz(name: &str, target: Target, seed: u64, time: Duration) -> Result<(), String> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut pool = corpus(name);
    let seeds = pool.len();
    let mut first = pool.clone().into_iter();
    let start = Instant::now();
    let (mut runs, mut slowest, mut told) = (0_u64, Duration::ZERO, start);
    while start.elapsed() < time {
        // The corpus as it is first.
        let input = first.next().unwrap_or_else(|| mutated(&pool, &mut rng));
        let begun = cpu();
        let outcome = catch_unwind(AssertUnwindSafe(|| target(&input)));
        let took = cpu().saturating_sub(begun);
        slowest = slowest.max(took);
        if let Err(panic) = outcome {
            let words = panic.downcast_ref::<String>().cloned();
            let words = words.or_else(|| panic.downcast_ref::<&str>().map(|words| (*words).to_owned()));
            return Err(finding(name, seed, &input, &format!("a panic: {}", words.unwrap_or_default())));
        }
        // Caches and page faults: only what is slow again and again is slow.
        if took > SLOW && (0..3).all(|_| timed(target, &input) > SLOW) {
            return Err(finding(name, seed, &input, &format!("slow: {took:?}")));
        }
        runs += 1;
        if rng.random_ratio(1, 50) {
            if pool.len() < POOL_MAX {
                pool.push(input);
            } else {
                let at = rng.random_range(seeds..pool.len());
                pool[at] = input;
            }
        }
        if told.elapsed() > Duration::from_mins(1) {
            told = Instant::now();
            println!("{name}: {runs} runs, slowest {slowest:?}");
        }
    }
    println!("{name}: {runs} runs in {:?} from seed {seed}, slowest {slowest:?}, nothing found", start.elapsed());
    Ok(())
}

fn timed(target: Target, input: &[u8]) -> Duration {
    let begun = cpu();
    target(input);
    cpu().saturating_sub(begun)
}

/// CPU time of this thread: a busy machine makes no input slow.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn finding(name: &str, seed: u64, input: &[u8], what: &str) -> String {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/findings");
    let file = directory.join(format!("{name}-{seed}-{}", input.len()));
    let written = std::fs::create_dir_all(&directory).and_then(|()| std::fs::File::create(&file)?.write_all(input));
    let file = file.display();
    let kept = written.map_or_else(|error| format!("{file} could not be written: {error}"), |()| file.to_string());
    format!("{name}: {what}\n  seed {seed}, {} bytes: {kept}\n  again: mutate --replay {name} {kept}", input.len())
}

fn files(directory: &Path) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths.iter().filter_map(|path| std::fs::read(path).ok()).collect()
}

/// The target's own corpus; messages and streams have the torture messages too.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut corpus = files(&root.join("fuzz/corpus").join(name));
    if name.starts_with("sip_") && name != "sip_uri" {
        let lead = if name == "sip_stream" { &[7][..] } else { &[] };
        corpus.extend(files(&root.join("sip-tests/torture")).into_iter().map(|message| [lead, &message].concat()));
    }
    assert!(!corpus.is_empty(), "no corpus for {name}");
    corpus
}

fn mutated(pool: &[Vec<u8>], rng: &mut StdRng) -> Vec<u8> {
    let mut input = pool[rng.random_range(0..pool.len())].clone();
    for _ in 0..=rng.random_range(0..6) {
        let at = rng.random_range(0..=input.len());
        if rng.random_ratio(2, 3) {
            change_bytes(&mut input, at, rng);
        } else {
            change_parts(&mut input, at, pool, rng);
        }
        input.truncate(LENGTH_MAX);
    }
    input
}

/// A few bytes: flipped, drawn, taken out, or a word put in.
fn change_bytes(input: &mut Vec<u8>, at: usize, rng: &mut StdRng) {
    let end = (at + rng.random_range(0..=32)).min(input.len());
    match rng.random_range(0..7) {
        0 | 1 => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << rng.random_range(0..8);
            }
        }
        2 => {
            if let Some(byte) = input.get_mut(at) {
                *byte = rng.random();
            }
        }
        3 => drop(input.drain(at..end)),
        _ => {
            let word = WORDS[rng.random_range(0..WORDS.len())];
            let until = if rng.random() { at } else { end };
            input.splice(at..until, word.iter().copied());
        }
    }
}

/// A part: doubled, a line repeated, another input's tail, one byte over and over, or cut off.
fn change_parts(input: &mut Vec<u8>, at: usize, pool: &[Vec<u8>], rng: &mut StdRng) {
    let often = rng.random_ratio(1, 20);
    match rng.random_range(0..5) {
        0 => {
            let end = (at + rng.random_range(0..=64)).min(input.len());
            let copy = input[at..end].to_vec();
            input.splice(at..at, copy);
        }
        1 => {
            let line_end = input[at..].iter().position(|byte| *byte == b'\n').map_or(input.len(), |end| at + end + 1);
            let line_start = input[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |start| start + 1);
            let times = if often { rng.random_range(1..400) } else { 1 };
            let lines = input[line_start..line_end].repeat(times);
            input.splice(line_start..line_start, lines);
        }
        2 => {
            let other = &pool[rng.random_range(0..pool.len())];
            let tail = other[rng.random_range(0..=other.len())..].to_vec();
            input.splice(at.., tail);
        }
        3 => {
            let byte = input.get(at).copied().unwrap_or(b'a');
            let times = rng.random_range(1..if often { 60_000 } else { 40 });
            input.splice(at..at, std::iter::repeat_n(byte, times));
        }
        _ => input.truncate(at),
    }
}
