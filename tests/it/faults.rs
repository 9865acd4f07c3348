//! What goes wrong around a gateway that runs as a process of its own: nothing of it may cost a call or a recording.

#![expect(
    clippy::string_slice,
    clippy::wildcard_enum_match_arm,
    clippy::excessive_nesting,
    reason = "logs are cut where they ended before; a test picks the one event that it asks for"
)]

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use rustix::process::Signal;
use serde_json::json;
use sqlx::Row as _;
use tandem::clock::Clock;
use tandem::demo::agent::{Agent, AgentEvent, AgentOptions, HEARD_RATE, Mode};
use tandem::demo::gateway::GatewayProcess;
use tandem::demo::sipp::Scenario;
use tandem::demo::tone::ToneFigure;
use tandem::demo::{Stage, http, proof};
use tokio::net::UdpSocket;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::site::{
    PATIENCE, Serve, counter, invite, log, readyz, rows, run, set_stage, signal, stored, talk, udp_ports, verify,
    wait_until,
};

/// The PBX's tone, on channel 1 of a recording.
const PBX_HZ: f64 = 1_000.0;
/// Alice's, on channel 0.
const ALICE_HZ: f64 = 440.0;

async fn alice(stage: &Stage) -> Agent {
    let options = AgentOptions::of("alice", stage.settings.http, Mode::Tone { hz: ALICE_HZ }, Clock::system());
    Agent::log_in(options).await.unwrap()
}

/// The PBX rings alice, who answers. When audio began to cross.
async fn talk_to_alice(stage: &mut Stage) -> Instant {
    let target = format!("sip:1001@{}", stage.settings.sip);
    let pbx = stage.pbx().unwrap();
    pbx.ring(&target).await.unwrap();
    pbx.wait_for("CALL_ESTABLISHED", PATIENCE).await.unwrap();
    Clock::system().now()
}

async fn ended(agent: &mut Agent) -> (String, ToneFigure) {
    let end = |event: &AgentEvent| match event {
        AgentEvent::Ended { reason, heard, .. } => Some((reason.clone(), heard.samples.clone())),
        _ => None,
    };
    let (reason, samples) = agent.wait_for("the end of the call", PATIENCE, end).await.unwrap();
    (reason, ToneFigure::of(&samples, HEARD_RATE, PBX_HZ))
}

async fn logged_in_again(agent: &mut Agent) {
    let event = |event: &AgentEvent| (*event == AgentEvent::LoggedIn).then_some(());
    agent.wait_for("another login", PATIENCE, event).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_gateway_recovers_the_recording_but_for_a_second() {
    let (_directory, mut stage) = set_stage(51, true).await;
    let alice = alice(&stage).await;
    let begun = talk_to_alice(&mut stage).await;
    talk(Duration::from_millis(4_300)).await;
    signal(stage.gateway.pid(), Signal::KILL);
    let talked = begun.elapsed().as_secs_f64();
    drop(alice);
    // Its ports are free once the kernel is done with it.
    wait_until("the killed gateway to be gone", PATIENCE, async || stage.gateway.has_ended().then_some(())).await;

    stage.gateway = GatewayProcess::start(stage.settings.clone()).await.unwrap();
    let (id, sealed_by) = stored(&stage).await;
    assert_eq!(sealed_by, "recovered");
    verify(&stage);
    let carol = http::log_in(stage.settings.http, "carol", "carol-demo").await.unwrap();
    let audio = proof::decrypt(stage.settings.http, &carol, &id).await.unwrap();
    let pbx = ToneFigure::of(&audio.channel(1), audio.rate, PBX_HZ);
    let agent = ToneFigure::of(&audio.channel(0), audio.rate, ALICE_HZ);
    println!("killed {talked:.2} s after the answer; recovered {:.2} s: {pbx}; {agent}", audio.seconds());
    // Counted in whole blocks of 100 ms from the answer on, so the loss is rather over- than underestimated.
    assert!(talked - pbx.seconds <= 1.0, "{talked} s were said, recovered: {pbx}");
    assert!(talked - agent.seconds <= 1.2, "{talked} s were said, recovered: {agent}");
    stage.strike().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_outlives_its_database_and_is_indexed_when_it_is_back() {
    let (_directory, mut stage) = set_stage(52, true).await;
    let mut alice = alice(&stage).await;
    let begun = talk_to_alice(&mut stage).await;
    talk(Duration::from_secs(1)).await;
    stage.database.stop();
    readyz(stage.settings.http, 503, "database").await;
    talk(Duration::from_secs(2)).await;
    let talked = begun.elapsed().as_secs_f64();
    stage.pbx().unwrap().hang_up().await.unwrap();
    let (reason, heard) = ended(&mut alice).await;
    assert!(heard.seconds >= talked - 1.0, "{talked} s were said; alice heard {heard}, then: {reason}");

    stage.database.start().await.unwrap();
    readyz(stage.settings.http, 200, "ready").await;
    let (id, sealed_by) = stored(&stage).await;
    assert_eq!(sealed_by, "live");
    let carol = http::log_in(stage.settings.http, "carol", "carol-demo").await.unwrap();
    let audio = proof::decrypt(stage.settings.http, &carol, &id).await.unwrap();
    let pbx = ToneFigure::of(&audio.channel(1), audio.rate, PBX_HZ);
    println!("{talked:.2} s were said; alice heard {heard}; recorded: {pbx}");
    assert!(talked - pbx.seconds <= 0.5, "{talked} s were said, recorded: {pbx}");
    let url = stage.database.superuser_url();
    let query = "SELECT recording_id::text AS recording FROM call_record WHERE ended_at IS NOT NULL";
    let recordings = wait_until("the call record", PATIENCE, async || {
        let rows = rows(&url, query).await;
        (!rows.is_empty()).then(|| rows.iter().map(|row| row.get("recording")).collect::<Vec<String>>())
    });
    assert_eq!(recordings.await, [id]);
    assert_eq!(rows(&url, "SELECT 1 FROM call_record").await.len(), 1);
    let rated = "SELECT 1 FROM call_record WHERE (quality #>> '{trunk,received,mos_min}')::real > 4.2 \
                 AND (quality #>> '{agent,received,mos_min}')::real > 4.2";
    assert_eq!(rows(&url, rated).await.len(), 1, "a call over loopback is a good one");
    stage.strike().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_database_at_start_calls_are_taken_and_recorded() {
    let (_directory, mut stage) = set_stage(53, false).await;
    stage.gateway.stop();
    stage.database.stop();
    let before = log(&stage.settings).len();
    let serve = Serve::start(&stage.settings);
    readyz(stage.settings.http, 503, "cannot be reached").await;
    let said = log(&stage.settings)[before..].to_owned();
    assert!(said.contains("the database does not answer; trying again"), "{said}");

    logged_in_again(&mut stage.bob).await;
    let call = Scenario::inbound("uac_answered", 153, stage.settings.sip, "1002");
    call.run().await.unwrap_or_else(|error| panic!("{error:#}\n{}", stage.gateway.last_words()));
    let backlog = stage.settings.directory.join("spool/call-records");
    wait_until("the call's end to be on disk", PATIENCE, async || {
        // Not the file that is being written: of that one nothing outlasts the process.
        let mut files = fs::read_dir(&backlog).ok()?.filter_map(|file| Some(file.ok()?.path()));
        let record = files.find(|path| path.extension().is_some_and(|extension| extension == "json"))?;
        fs::read_to_string(record).ok()?.contains("\"end_reason\":\"").then_some(())
    })
    .await;

    // The process dies before the database is back: the next one brings both, the recording and the call's record.
    drop(serve);
    stage.database.start().await.unwrap();
    let _serve = Serve::start(&stage.settings);
    readyz(stage.settings.http, 200, "ready").await;
    stored(&stage).await;
    verify(&stage);
    let url = stage.database.superuser_url();
    wait_until("the call's record", PATIENCE, async || {
        let ended = rows(&url, "SELECT 1 FROM call_record WHERE outcome IS NOT NULL").await;
        (ended.len() == 1).then_some(())
    })
    .await;
    stage.strike().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_directory_at_start_the_gateway_waits_for_it() {
    let (_directory, mut stage) = set_stage(54, false).await;
    stage.gateway.stop();
    stage.ldap.stop();
    let before = log(&stage.settings).len();
    let _serve = Serve::start(&stage.settings);
    wait_until("the log to name the directory", PATIENCE, async || {
        log(&stage.settings)[before..].contains("the directory does not answer; trying again").then_some(())
    })
    .await;
    readyz(stage.settings.http, 503, "directory").await;
    let error = http::log_in(stage.settings.http, "carol", "carol-demo").await.unwrap_err().to_string();
    assert!(error.contains("503"), "{error}");
    stage.ldap.start().await.unwrap();
    readyz(stage.settings.http, 200, "ready").await;
    logged_in_again(&mut stage.bob).await;
    stage.strike().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_named_with_its_key() {
    let (directory, stage) = set_stage(55, false).await;
    let text = fs::read_to_string(stage.settings.config_file()).unwrap();
    let config = stage.settings.directory.join("second.toml");
    let config_name = config.to_str().unwrap().to_owned();
    let mut text = text.replace("spool_dir = \"spool\"", "spool_dir = \"second-spool\"");
    let steps = [
        ("sip.udp", "5060", "udp = \"127.0.0.55:5060\"", "udp = \"127.0.0.55:5062\""),
        ("sip.tcp", "5060", "tcp = \"127.0.0.55:5060\"", "tcp = \"127.0.0.55:5062\""),
        ("sip.tls", "5061", "tls = \"127.0.0.55:5061\"", "tls = \"127.0.0.55:5063\""),
        ("http.plain", "8080", "plain = \"127.0.0.55:8080\"", "plain = \"127.0.0.55:8082\""),
        ("http.tls", "8443", "tls = \"127.0.0.55:8443\"", "tls = \"127.0.0.55:8445\"\n"),
        ("media.browser_port", "5060", "", ""),
    ];
    for (key, port, taken, free) in steps {
        if key == "media.browser_port" {
            text = text.replace("browser_port = 0", "browser_port = 5060");
        }
        fs::write(&config, &text).unwrap();
        let (output, said) = run(&stage.settings, &["serve", "--config", &config_name]).await;
        assert_eq!(output.status.code(), Some(1), "{key}: {said}");
        let last = said.lines().last().unwrap_or_default();
        assert!(last.contains(key) && last.contains(&format!("127.0.0.55:{port}")), "{key}: {said}");
        assert!(last.contains("in use"), "{key}: {said}");
        if !taken.is_empty() {
            assert!(text.contains(taken), "{taken}");
            text = text.replace(taken, free);
        }
    }
    assert!(!stage.gateway.has_ended());
    wrong_configuration(&stage).await;
    stage.strike().await;
    drop(directory);
}

/// `check` and `serve` say where, what was expected, and which key was probably meant.
async fn wrong_configuration(stage: &Stage) {
    let text = fs::read_to_string(stage.settings.config_file()).unwrap();
    let config = stage.settings.directory.join("wrong.toml");
    let config_name = config.to_str().unwrap();
    let cases = [
        ("udp = \"127", "upd = \"127", "unknown field `upd`, expected one of", "did you mean `udp`?"),
        ("no_answer = \"15s\"", "no_answer = \"soon\"", "no_answer", "expected"),
        ("[[dial.rule]]\nprefix = \"6\"", "[[dial.rule]]\nprefix = 6", "invalid type: integer `6`, expected", ""),
        ("trunk_ports = \"20000-24999\"", "trunk_ports = \"24999\"", "is not a port range; expected", ""),
    ];
    for (right, wrong, message, hint) in cases {
        assert!(text.contains(right), "{right}");
        let wrong_text = text.replacen(right, wrong, 1);
        let line =
            wrong_text[..wrong_text.find(wrong).unwrap()].matches('\n').count() + 1 + wrong.matches('\n').count();
        fs::write(&config, &wrong_text).unwrap();
        for verb in ["check", "serve"] {
            let (output, said) = run(&stage.settings, &[verb, "--config", config_name]).await;
            assert_eq!(output.status.code(), Some(78), "{verb}: {said}");
            // miette wraps long lines at the terminal's width.
            let flat: String = said.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ");
            let place = format!("wrong.toml:{line}:");
            assert!(flat.replace(' ', "").contains(&place), "{verb}, {place}: {said}");
            assert!(flat.contains(message) && flat.contains(hint), "{verb}, {message}, {hint}: {said}");
        }
    }
    let (output, said) = run(&stage.settings, &["check", "--config", "/nowhere/tandem.toml"]).await;
    assert!(output.status.code() == Some(78) && said.contains("/nowhere/tandem.toml"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_vanishes_ends_its_call_after_the_grace_period() {
    let (_directory, mut stage) = set_stage(56, true).await;
    let alice = alice(&stage).await;
    talk_to_alice(&mut stage).await;
    talk(Duration::from_secs(1)).await;
    let gone = Clock::system().now();
    drop(alice);
    stage.pbx().unwrap().wait_for("CALL_CLOSED", PATIENCE).await.unwrap();
    let grace = gone.elapsed().as_secs_f64();
    println!("the PBX got BYE {grace:.1} s after the browser vanished");
    assert!((9.0..=13.0).contains(&grace), "BYE after {grace} s; the grace period is 10 s");
    let (_, sealed_by) = stored(&stage).await;
    assert_eq!(sealed_by, "live");
    verify(&stage);
    stage.strike().await;
}

/// `count` datagrams of rubbish to each port, a few at a time.
async fn rubbish(address: Ipv4Addr, ports: &[u16], count: u32) {
    let socket = UdpSocket::bind((address, 0)).await.unwrap();
    let mut state = 7_u32;
    let mut pause = tokio::time::interval(Duration::from_millis(5));
    for number in 0..count {
        let noise = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        });
        let noise: Vec<u8> = noise.take(40 + number as usize % 200).collect();
        for &port in ports {
            let bytes = match number % 3 {
                0 => noise.clone(),
                1 => [&[0x80, 0, 0, 1], noise.as_slice()].concat(),
                _ => [b"INVITE sip:1002@x SIP/2.0\r\nVia: SIP/2.0/UDP \x00y;branch=", noise.as_slice()].concat(),
            };
            socket.send_to(&bytes, SocketAddr::from((address, port))).await.unwrap();
        }
        if number % 10 == 0 {
            pause.tick().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rubbish_on_every_port_leaves_a_call_alone_and_the_log_short() {
    let (_directory, stage) = set_stage(57, false).await;
    let address = Ipv4Addr::new(127, 0, 0, 57);
    let gateway = stage.settings.http;
    let call = Scenario::inbound("uac_tone_440", 157, stage.settings.sip, "1002").start().unwrap();
    wait_until("the call's media port", PATIENCE, async || {
        udp_ports(address).iter().any(|port| (20_000..25_000).contains(port)).then_some(())
    })
    .await;
    talk(Duration::from_millis(1_500)).await;
    let lines = log(&stage.settings).lines().count();
    let ports = udp_ports(address);
    rubbish(address, &ports, 1_500).await;
    let malformed = counter(gateway, "tandem_sip_messages_total{what=\"malformed\"}").await;
    assert!(malformed >= 500.0, "{malformed} of 1,500 messages were counted as malformed");
    let trunk = wait_until("the media's counter", Duration::from_secs(8), async || {
        let dropped = counter(gateway, "tandem_media_packets_dropped_total{leg=\"trunk\"}").await;
        (dropped >= 1_000.0).then_some(dropped)
    });
    let trunk = trunk.await;
    call.finish().await.unwrap_or_else(|error| panic!("{error:#}\n{}", stage.gateway.last_words()));
    let text = log(&stage.settings);
    let grown = text.lines().count() - lines;
    println!("{} ports; {malformed} malformed, {trunk} media packets dropped, {grown} lines of log", ports.len());
    assert!(grown <= 40, "{grown} lines\n{}", stage.gateway.last_words());
    assert!(!text.contains("panicked"), "{}", stage.gateway.last_words());

    let (id, _) = stored(&stage).await;
    let carol = http::log_in(gateway, "carol", "carol-demo").await.unwrap();
    let audio = proof::decrypt(gateway, &carol, &id).await.unwrap();
    for channel in [0, 1] {
        let tone = ToneFigure::of(&audio.channel(channel), audio.rate, 440.0);
        assert!(tone.seconds >= 4.5, "channel {channel}: {tone}");
    }
    json_rubbish(gateway).await;
    assert!(!stage.gateway.has_ended());
    stage.strike().await;
}

/// Whoever speaks no JSON is closed with 4400, before and after a login.
async fn json_rubbish(gateway: SocketAddr) {
    for opens_first in [false, true] {
        let login = http::log_in(gateway, "alice", "alice-demo").await.unwrap();
        let mut request = format!("ws://{gateway}/api/v1/signal").into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", "tandem.v1".parse().unwrap());
        request.headers_mut().insert("origin", http::origin(gateway).parse().unwrap());
        let stream = tokio::net::TcpStream::connect(gateway).await.unwrap();
        let (mut socket, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
        if opens_first {
            let params = json!({"token": login.token, "client": "rubbish/1"});
            let open = json!({"jsonrpc": "2.0", "id": 1, "method": "session.open", "params": params}).to_string();
            socket.send(Message::text(open)).await.unwrap();
            let answer = socket.next().await.unwrap().unwrap();
            assert!(answer.to_text().unwrap().contains("result"), "{answer:?}");
        }
        socket.send(Message::text("{\"jsonrpc\": [[[")).await.unwrap();
        let closed = tokio::time::timeout(PATIENCE, async {
            loop {
                if let Message::Close(frame) = socket.next().await.unwrap().unwrap() {
                    return frame.unwrap();
                }
            }
        });
        assert_eq!(u16::from(closed.await.unwrap().code), 4_400);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminated_gateway_refuses_new_calls_ends_the_live_one_and_seals() {
    let (_directory, mut stage) = set_stage(58, true).await;
    stage.gateway.stop();
    let mut serve = Serve::start(&stage.settings);
    readyz(stage.settings.http, 200, "ready").await;
    let mut alice = alice(&stage).await;
    talk_to_alice(&mut stage).await;
    talk(Duration::from_secs(1)).await;
    let before = log(&stage.settings).len();
    serve.terminate();
    let asked = Clock::system().now();
    wait_until("the drain", PATIENCE, async || log(&stage.settings)[before..].contains("draining").then_some(())).await;
    let (answer, _) = invite(stage.settings.sip, "1002").await;
    assert!(answer.starts_with("SIP/2.0 503 ") && answer.contains("\r\nRetry-After: "), "{answer}");
    stage.pbx().unwrap().wait_for("CALL_CLOSED", PATIENCE).await.unwrap();
    let bye = asked.elapsed().as_secs_f64();
    assert!((4.0..=8.0).contains(&bye), "BYE after {bye} s; the drain may take 5 s");
    let (_, heard) = ended(&mut alice).await;
    assert!(heard.seconds >= 4.0, "the live call went on meanwhile: {heard}");
    let status = serve.ended(Duration::from_secs(20)).await;
    println!("BYE {bye:.1} s after SIGTERM, exit after {:.1} s: {status}", asked.elapsed().as_secs_f64());
    assert_eq!(status.code(), Some(0), "{}", stage.gateway.last_words());
    let (_, sealed_by) = stored(&stage).await;
    assert_eq!(sealed_by, "live");
    verify(&stage);
    stage.strike().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_usable_spool_a_call_that_must_be_recorded_is_refused() {
    let (_directory, mut stage) = set_stage(59, false).await;
    let spool = stage.settings.directory.join("spool");
    let aside = stage.settings.directory.join("spool.aside");
    fs::rename(&spool, &aside).unwrap();
    fs::write(&spool, "no directory").unwrap();
    let (answer, heard) = invite(stage.settings.sip, "1002").await;
    assert!(answer.starts_with("SIP/2.0 503 "), "{answer}");
    assert_eq!(heard, 0, "media packets before the refusal");
    assert!(!stage.gateway.has_ended());

    fs::remove_file(&spool).unwrap();
    fs::rename(&aside, &spool).unwrap();
    let call = Scenario::inbound("uac_answered", 159, stage.settings.sip, "1002");
    call.run().await.unwrap_or_else(|error| panic!("{error:#}\n{}", stage.gateway.last_words()));

    stage.gateway.stop();
    fs::rename(&spool, &aside).unwrap();
    fs::write(&spool, "no directory").unwrap();
    let config = stage.settings.config_file();
    let (output, said) = run(&stage.settings, &["serve", "--config", config.to_str().unwrap()]).await;
    assert!(!output.status.success() && said.lines().last().unwrap_or_default().contains("spool"), "{said}");
    stage.strike().await;
}
