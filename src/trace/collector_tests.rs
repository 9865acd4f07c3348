use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::clock::WallTime;

struct Bench {
    collector: Collector,
    now: Instant,
}

fn call(number: u128) -> CallId {
    CallId::from_uuid(uuid::Uuid::from_u128(number))
}

fn session(number: u8) -> SessionId {
    SessionId::from_bytes([number; 16])
}

impl Bench {
    fn new() -> Self {
        let now = Clock::system().now();
        Self { collector: Collector::new(Clock::starting_at(now, WallTime(1_000_000_000))), now }
    }

    fn begin(&mut self, number: u128, sip_call_id: Option<&str>) {
        let sip_call_id = sip_call_id.map(str::to_owned);
        let session = session(u8::try_from(number).unwrap());
        self.see(Observation::Began { call: call(number), session, sip_call_id, at: self.now });
    }

    fn see(&mut self, observation: Observation) {
        self.collector.handle(observation, self.now);
        self.now += Duration::from_millis(1);
    }

    fn sip(&mut self, direction: Direction, text: &str) {
        let (local, remote) = ("10.0.0.1:5060".parse().unwrap(), "10.0.0.2:5060".parse().unwrap());
        let path = SipPath { direction, transport: "udp".to_owned(), local, remote };
        let bytes = Bytes::from(text.replace('\n', "\r\n"));
        self.see(Observation::Message(SipMessage { at: self.now, path, bytes, cut: 0 }));
    }

    /// One message that we send to ourselves: it leaves, and comes.
    fn loop_back(&mut self, text: &str) {
        for direction in [Direction::Out, Direction::In] {
            let nobody = "192.0.0.8:5060".parse().unwrap();
            let path = SipPath { direction, transport: "memory".to_owned(), local: nobody, remote: nobody };
            let bytes = Bytes::from(text.replace('\n', "\r\n"));
            self.see(Observation::Message(SipMessage { at: self.now, path, bytes, cut: 0 }));
        }
    }

    fn hear(&mut self, first_line: &str, names: &str) {
        self.sip(Direction::In, &format!("{first_line} SIP/2.0\n{names}\n\n"));
    }

    fn end(&mut self, number: u128) -> CallTrace {
        self.see(Observation::Ended { call: call(number), at: self.now });
        let (at, timer) = self.collector.poll_timeout().unwrap();
        assert_eq!(timer, TraceTimer::Linger(call(number)));
        self.now = at;
        self.collector.handle_timeout(at);
        self.collector.poll_output().unwrap()
    }
}

fn lines(trace: &CallTrace) -> Vec<String> {
    let line = |entry: &Entry| match &entry.event {
        Event::Sip { start_line, .. } => start_line.clone(),
        Event::Signaling { name, .. }
        | Event::Media { name, .. }
        | Event::State { name, .. }
        | Event::Quirk { name, .. } => name.clone(),
    };
    trace.entries.iter().map(line).collect()
}

#[test]
fn an_invite_seen_before_its_call_is_the_first_of_the_trace() {
    let mut bench = Bench::new();
    bench.hear("INVITE sip:1001@h", "Call-ID: a");
    bench.sip(Direction::Out, "SIP/2.0 100 Trying\nCall-ID: a\nCSeq: 1 INVITE\n\n");
    bench.begin(1, Some("a"));
    bench.see(Observation::Noted {
        call: call(1),
        event: Event::State { name: "alerting".into(), detail: None },
        at: bench.now,
    });
    bench.hear("BYE sip:1001@h", "Call-ID: a\nTo: x;tag=1");
    bench.hear("BYE sip:1001@h", "Call-ID: another");
    let trace = bench.end(1);
    assert_eq!(
        lines(&trace),
        ["INVITE sip:1001@h SIP/2.0", "SIP/2.0 100 Trying", "alerting", "BYE sip:1001@h SIP/2.0"]
    );
    assert_eq!(trace.entries[0].at_us, 1_000_000);
    assert_eq!(trace.entries[1].at_us, 1_001_000, "one millisecond later, in microseconds");
}

#[test]
fn a_call_that_we_place_is_known_by_the_session_id_of_what_we_send() {
    let mut bench = Bench::new();
    bench.begin(7, None);
    let ours = "07".repeat(16);
    bench.sip(Direction::Out, &format!("INVITE sip:600@h SIP/2.0\nCall-ID: made\nSession-ID: {ours};remote=0\n\n"));
    bench.sip(Direction::In, "SIP/2.0 486 Busy Here\nCall-ID: made\nCSeq: 1 INVITE\n\n");
    bench.sip(Direction::Out, "ACK sip:600@h SIP/2.0\nCall-ID: made\n\n");
    // What a peer claims binds nothing.
    bench.sip(Direction::In, &format!("OPTIONS sip:h SIP/2.0\nCall-ID: theirs\nSession-ID: {ours}\n\n"));
    assert_eq!(lines(&bench.end(7)).len(), 3);
}

#[test]
fn the_answer_to_the_last_bye_is_in_the_trace_and_what_follows_is_not() {
    let mut bench = Bench::new();
    bench.begin(1, Some("a"));
    bench.see(Observation::Ended { call: call(1), at: bench.now });
    bench.sip(Direction::In, "SIP/2.0 200 OK\nCall-ID: a\nCSeq: 2 BYE\n\n");
    let trace = bench.end(1);
    assert_eq!(lines(&trace), ["SIP/2.0 200 OK"]);
    bench.sip(Direction::In, "SIP/2.0 200 OK\nCall-ID: a\nCSeq: 2 BYE\n\n");
    assert_eq!(bench.collector.poll_timeout(), None);
    assert!(bench.collector.by_sip_call_id.is_empty() && bench.collector.by_session.is_empty());
    assert_eq!(bench.collector.bytes, 0);
}

#[test]
fn two_calls_forked_from_one_keep_their_own_invite_and_our_own_answers() {
    let mut bench = Bench::new();
    bench.hear("INVITE sip:1001@h", "Call-ID: f");
    bench.begin(1, Some("f"));
    bench.hear("INVITE sip:1002@h", "Call-ID: f");
    bench.begin(2, Some("f"));
    let ours = "02".repeat(16);
    bench.sip(Direction::Out, &format!("SIP/2.0 200 OK\nCall-ID: f\nCSeq: 1 INVITE\nSession-ID: {ours}\n\n"));
    assert_eq!(lines(&bench.end(2)), ["INVITE sip:1002@h SIP/2.0", "SIP/2.0 200 OK"]);
    assert!(!lines(&bench.end(1)).contains(&"SIP/2.0 200 OK".to_owned()));
}

/// The lines of a trace with the way that each went.
fn ways(trace: &CallTrace) -> Vec<(Direction, String)> {
    let way = |entry: &Entry| match &entry.event {
        Event::Sip { path, start_line, .. } => Some((path.direction, start_line.clone())),
        Event::Signaling { .. } | Event::Media { .. } | Event::State { .. } | Event::Quirk { .. } => None,
    };
    trace.entries.iter().filter_map(way).collect()
}

#[test]
fn of_two_calls_that_are_both_ends_of_one_each_has_its_own_half() {
    let mut bench = Bench::new();
    let (caller, callee) = ("01".repeat(16), "02".repeat(16));
    bench.begin(1, None);
    bench.loop_back(&format!("INVITE sip:1002@h SIP/2.0\nCall-ID: i\nSession-ID: {caller};remote=0\n\n"));
    let response = |status: &str, session: &str, cseq: &str| {
        format!("SIP/2.0 {status}\nCall-ID: i\nCSeq: {cseq}\nSession-ID: {session};remote=0\nTo: x;tag=b\n\n")
    };
    bench.loop_back(&response("100 Trying", &callee, "1 INVITE"));
    bench.begin(2, Some("i"));
    bench.loop_back(&response("200 OK", &callee, "1 INVITE"));
    bench.loop_back(&format!("ACK sip:1002@h SIP/2.0\nCall-ID: i\nSession-ID: {caller}\nTo: x;tag=b\n\n"));
    bench.loop_back(&format!("BYE sip:1001@h SIP/2.0\nCall-ID: i\nSession-ID: {callee}\nTo: x;tag=a\n\n"));
    bench.loop_back(&response("200 OK", &caller, "1 BYE"));
    let (sent, came) = (Direction::Out, Direction::In);
    let by_caller = [
        (sent, "INVITE sip:1002@h SIP/2.0"),
        (came, "SIP/2.0 100 Trying"),
        (came, "SIP/2.0 200 OK"),
        (sent, "ACK sip:1002@h SIP/2.0"),
        (came, "BYE sip:1001@h SIP/2.0"),
        (sent, "SIP/2.0 200 OK"),
    ];
    let mirrored = by_caller.map(|(way, line)| (if way == sent { came } else { sent }, line.to_owned()));
    assert_eq!(ways(&bench.end(1)), by_caller.map(|(way, line)| (way, line.to_owned())));
    assert_eq!(ways(&bench.end(2)), mirrored);
    assert!(bench.collector.pending.is_empty() && bench.collector.by_session.is_empty());
}

#[test]
fn a_dialog_that_takes_anothers_place_is_the_calls_under_its_own_session_id() {
    let mut bench = Bench::new();
    bench.begin(1, Some("a"));
    bench.hear("INVITE sip:1001@h", "Call-ID: b");
    let (session, sip_call_id) = (session(9), "b".to_owned());
    bench.see(Observation::Joined { call: call(1), session, sip_call_id });
    bench.sip(Direction::Out, &format!("SIP/2.0 200 OK\nCall-ID: b\nCSeq: 1 INVITE\nSession-ID: {session}\n\n"));
    assert_eq!(lines(&bench.end(1)), ["INVITE sip:1001@h SIP/2.0", "SIP/2.0 200 OK"]);
    assert!(bench.collector.by_session.is_empty() && bench.collector.by_sip_call_id.is_empty());
}

#[test]
fn a_trace_is_bounded_in_entries_and_counts_what_it_drops() {
    let mut bench = Bench::new();
    bench.begin(1, None);
    for _ in 0..limits::TRACE_ENTRIES_MAX + 7 {
        let event = Event::Media { name: "x".into(), detail: None };
        bench.see(Observation::Noted { call: call(1), event, at: bench.now });
    }
    bench.collector.lost(3);
    let trace = bench.end(1);
    assert_eq!(trace.entries.len(), limits::TRACE_ENTRIES_MAX);
    assert_eq!(trace.dropped, Dropped { entries: 7, observations: 3 });
}

#[test]
fn a_trace_is_bounded_in_bytes_of_an_entry_and_of_a_call() {
    let mut bench = Bench::new();
    bench.begin(1, Some("a"));
    let body = "x".repeat(20_000);
    for _ in 0..40 {
        bench.sip(Direction::In, &format!("INFO sip:h SIP/2.0\nCall-ID: a\n\n{body}"));
    }
    let event = Event::Signaling { direction: Direction::In, name: "call.transport".into(), body: body.into() };
    bench.begin(2, None);
    bench.see(Observation::Noted { call: call(2), event, at: bench.now });
    let other = bench.end(2);
    assert!(matches!(&other.entries[0].event, Event::Signaling { body, .. } if body.is_null()));
    assert!(other.entries[0].cut > 20_000);
    let trace = bench.end(1);
    let bytes: usize = trace.entries.iter().map(|entry| entry.event.weight()).sum();
    assert!(bytes <= limits::TRACE_CALL_BYTES_MAX, "{bytes}");
    assert_eq!(trace.entries.len() as u64 + trace.dropped.entries, 40);
    let Event::Sip { message, .. } = &trace.entries[0].event else { panic!() };
    assert_eq!(message.len(), limits::TRACE_ENTRY_BYTES_MAX);
    assert_eq!(message.len() + trace.entries[0].cut, "INFO sip:h SIP/2.0\r\nCall-ID: a\r\n\r\n".len() + 20_000);
}

#[test]
fn strangers_push_nothing_but_their_like_out_of_the_waiting_room() {
    let mut bench = Bench::new();
    for number in 0..limits::TRACE_PENDING_MAX * 4 {
        bench.hear("INVITE sip:1@h", &format!("Call-ID: s{number}"));
        bench.hear("OPTIONS sip:h", &format!("Call-ID: o{number}"));
    }
    assert_eq!(bench.collector.pending.len(), limits::TRACE_PENDING_MAX);
}

#[test]
fn quirks_and_masked_messages_are_entries() {
    let mut bench = Bench::new();
    bench.begin(1, Some("a"));
    let (name, detail) = ("contact_from_source".to_owned(), "BYE goes to 10.0.0.2:5060".to_owned());
    bench.see(Observation::Quirk { sip_call_id: "a".into(), name, detail, at: bench.now });
    bench.hear("INVITE sip:u:secret@h", "Call-ID: a\nTo: x;tag=1");
    let trace = bench.end(1);
    assert_eq!(lines(&trace), ["contact_from_source", "INVITE sip:u:******@h SIP/2.0"]);
    let Event::Sip { message, .. } = &trace.entries[1].event else { panic!() };
    assert!(!String::from_utf8_lossy(message).contains("secret"));
}

#[test]
fn a_quirk_that_fires_before_its_call_is_known_waits_for_it() {
    let mut bench = Bench::new();
    let quirk = |name: &str, at| {
        let (name, detail) = (name.to_owned(), "INVITE is answered elsewhere".to_owned());
        Observation::Quirk { sip_call_id: "a".into(), name, detail, at }
    };
    bench.hear("INVITE sip:1001@h", "Call-ID: a");
    bench.see(quirk("force_rport", bench.now));
    bench.begin(1, Some("a"));
    bench.see(quirk("lax_cseq", bench.now));
    assert_eq!(lines(&bench.end(1)), ["INVITE sip:1001@h SIP/2.0", "force_rport", "lax_cseq"]);
}

#[test]
fn entries_survive_json_even_where_they_are_no_text() {
    for message in [&b"INVITE\r\n\r\n"[..], b"\0\xff"] {
        let path = SipPath {
            direction: Direction::Out,
            transport: "udp".into(),
            local: "[::1]:5060".parse().unwrap(),
            remote: "[::1]:5061".parse().unwrap(),
        };
        let event =
            Event::Sip { path, start_line: "INVITE".into(), method: "INVITE".into(), message: message.to_vec() };
        let entry = Entry { at_us: 5, event, cut: 9 };
        let json = serde_json::to_string(&entry).unwrap();
        assert!(!json.contains("\\u0000"), "{json}");
        assert_eq!(serde_json::from_str::<Entry>(&json).unwrap(), entry, "{json}");
    }
}

#[test]
fn what_is_live_at_the_end_of_the_process_is_kept() {
    let mut bench = Bench::new();
    bench.begin(1, None);
    bench.begin(2, None);
    bench.collector.finish_all();
    assert!(bench.collector.poll_output().is_some() && bench.collector.poll_output().is_some());
    assert!(bench.collector.poll_output().is_none());
}
