//! Whole calls: SIPp and a headless agent on the two sides of a gateway that runs as a process of its own.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tandem::clock::Clock;
use tandem::demo::agent::{Agent, AgentEvent, AgentOptions, AgentRequest, HEARD_RATE, Heard, Mode};
use tandem::demo::settings::Settings;
use tandem::demo::sipp::Scenario;
use tandem::demo::tone::ToneFigure;
use tandem::demo::{Stage, http, proof, torture};
use tandem::signaling::AgentState;
use tandem::sip::Transport;
use uuid::Uuid;

/// How long one step of a call may take.
const STEP: Duration = Duration::from_secs(15);

/// A stage on a loopback address of its own, where SIPp takes the PBX's place.
async fn set_stage(host: u8) -> (tempfile::TempDir, Stage) {
    let directory = tempfile::tempdir().unwrap();
    let program = PathBuf::from(env!("CARGO_BIN_EXE_tandem"));
    let address = Ipv4Addr::new(127, 0, 0, host);
    let settings = Settings { simulated_pbx: false, ..Settings::at(address, directory.path().to_owned(), program) };
    let stage = Stage::set(settings, Clock::system()).await.unwrap();
    (directory, stage)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_ends_at_once_is_told_with_its_last_words() {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("gateway");
    std::fs::write(&script, "#!/bin/sh\necho \"no such key: $*\"\nexit 78\n").unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let settings = Settings::at(Ipv4Addr::new(127, 0, 0, 45), directory.path().join("demo"), script);
    let config = settings.config_file();
    let error = Stage::set(settings, Clock::system()).await.unwrap_err();
    let words = format!("{error:#}");
    assert!(words.contains("the gateway ended at once") && words.contains("no such key: serve --config"), "{words}");
    let text = std::fs::read_to_string(config).unwrap();
    text.parse::<toml::Table>().unwrap_or_else(|error| panic!("{error}\n{text}"));
}

fn alice(stage: &Stage) -> AgentOptions {
    AgentOptions::of("alice", stage.settings.http, Mode::Tone { hz: 1_000.0 }, Clock::system())
}

#[tokio::test(flavor = "multi_thread")]
async fn inbound_scenarios() {
    let (_directory, stage) = set_stage(41).await;
    let gateway = stage.settings.sip;
    let run = async |name: &str, host: u8, extension: &str, arguments: &[&str]| {
        let scenario = Scenario::inbound(name, host, gateway, extension).with(arguments);
        scenario.run().await.unwrap_or_else(|error| panic!("{error:#}\n{}", stage.gateway.last_words()));
    };
    run("uac_options", 101, "1002", &[]).await;
    run("uac_stray_bye", 102, "1002", &[]).await;
    run("uac_unknown_extension", 103, "2999", &[]).await;
    run("uac_refused_codec", 104, "1002", &[]).await;
    run("uac_answered", 105, "1002", &[]).await;
    run("uac_answered", 105, "1002", &["-t", "t1"]).await;
    run("uac_cancel_races_200", 107, "1002", &[]).await;
    run("uac_lost_ack", 108, "1002", &["-nr"]).await;
    run("uac_lost_200", 109, "1002", &["-nr"]).await;
    run("-uac", 110, "1002", &[]).await;
    run("-uac", 110, "1002", &["-t", "t1"]).await;

    let mut listener = Agent::log_in(alice(&stage)).await.unwrap();
    run("uac_dtmf", 106, "1001", &[]).await;
    let heard = listener.wait_for("the end of the call", STEP, AgentEvent::heard).await.unwrap();
    let tone = ToneFigure::of(&heard.samples, HEARD_RATE, 440.0);
    assert!(tone.seconds >= 0.3, "the tone before them: {tone}");
    drop(listener);

    let ringing = Agent::log_in(AgentOptions { answer_after: None, ..alice(&stage) }).await.unwrap();
    run("uac_cancel", 111, "1001", &[]).await;
    run("uac_no_answer", 112, "1001", &[]).await;
    drop(ringing);
    let busy = Agent::log_in(AgentOptions { state: AgentState::Busy, ..alice(&stage) }).await.unwrap();
    run("uac_busy", 113, "1001", &[]).await;
    drop(busy);
    stage.strike().await;
}

/// Alice dials; SIPp runs `name` as the trunk. Returns what alice heard.
async fn outbound(stage: &Stage, alice: &mut Agent, name: &str, arguments: &[&str], hang_up: HangUp) -> Heard {
    let scenario = Scenario::outbound(name, stage.settings.pbx).with(arguments);
    let trunk = scenario.start().unwrap();
    let call_id = Uuid::now_v7().to_string();
    alice.request(AgentRequest::Dial { call_id: call_id.clone(), to: "600".into() }).await.unwrap();
    let moment = match hang_up {
        HangUp::WhileItRings => AgentEvent::Ringing { call_id: call_id.clone() },
        HangUp::WhenAnswered | HangUp::AfterDigits(_) | HangUp::Never => {
            AgentEvent::Answered { call_id: call_id.clone() }
        }
    };
    if hang_up != HangUp::Never {
        alice.wait_for("the moment to hang up", STEP, |event| (*event == moment).then_some(())).await.unwrap();
        if let HangUp::AfterDigits(digits) = hang_up {
            alice.request(AgentRequest::Digits { call_id: call_id.clone(), digits: digits.into() }).await.unwrap();
        }
        // They talk: no state is waited for, audio takes its time.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        alice.request(AgentRequest::HangUp { call_id: call_id.clone() }).await.unwrap();
    }
    let heard = alice.wait_for("the end of the call", STEP, |event| event.heard_in(&call_id)).await.unwrap();
    trunk.finish().await.unwrap_or_else(|error| panic!("{error:#}\n{}", stage.gateway.last_words()));
    heard
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HangUp {
    Never,
    WhileItRings,
    WhenAnswered,
    AfterDigits(&'static str),
}

#[tokio::test(flavor = "multi_thread")]
async fn outbound_scenarios() {
    let (_directory, stage) = set_stage(42).await;
    let mut alice = Agent::log_in(alice(&stage)).await.unwrap();

    let heard = outbound(&stage, &mut alice, "uas_answered", &["-rtp_echo"], HangUp::WhenAnswered).await;
    let echo = ToneFigure::of(&heard.samples, HEARD_RATE, 1_000.0);
    assert!(echo.seconds >= 0.5, "alice's own tone, reflected by the trunk: {echo}");

    let heard = outbound(&stage, &mut alice, "uas_hangs_up", &[], HangUp::Never).await;
    let tone = ToneFigure::of(&heard.samples, HEARD_RATE, 440.0);
    assert!(tone.seconds >= 2.5, "the trunk's tone: {tone}");

    // SIPp sends every packet back as it came: what reached it are events that the other direction understands,
    // and that direction is held to a capture of foreign make above.
    let heard = outbound(&stage, &mut alice, "uas_answered", &["-rtp_echo"], HangUp::AfterDigits("159#0")).await;
    assert_eq!(heard.digits, "159#0", "alice's keys, reflected by the trunk");

    outbound(&stage, &mut alice, "uas_busy", &[], HangUp::Never).await;
    outbound(&stage, &mut alice, "uas_cancelled", &[], HangUp::WhileItRings).await;
    outbound(&stage, &mut alice, "uas_repeats_200", &["-nr"], HangUp::WhenAnswered).await;
    drop(alice);
    stage.strike().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn torture_messages_get_the_answers_of_their_table_over_every_transport() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut tables = vec![root.join("sip-tests/torture")];
    // The messages of RFC 4475 are handed round beside the repository, not in it.
    let shared = std::env::var_os("TANDEM_SHARED").map_or_else(|| root.join("../shared"), PathBuf::from);
    for messages in ["torture/rfc4475", "torture/rfc5118"].map(|directory| shared.join(directory)) {
        if messages.is_dir() {
            tables.push(messages);
        } else {
            println!("no messages at {}: these were not sent", messages.display());
        }
    }
    // A gateway for each: one that has these messages already would take them for retransmissions.
    for (messages, transport) in
        tables.iter().flat_map(|table| [Transport::Udp, Transport::Tcp, Transport::Tls].map(|t| (table, t)))
    {
        let (_directory, stage) = set_stage(43).await;
        let (gateway, wire) = match transport {
            Transport::Udp | Transport::Memory => (stage.settings.sip, torture::Wire::Udp),
            Transport::Tcp => (stage.settings.sip, torture::Wire::Tcp),
            Transport::Tls => (stage.settings.sip_tls, torture::Wire::Tls(stage.settings.ca_file())),
        };
        let report = torture::run(gateway, &wire, messages).await.unwrap();
        println!("{} by {transport:?}\n{report}", messages.display());
        report.verdict().unwrap_or_else(|error| panic!("{error:#}\n{}", stage.gateway.last_words()));
        assert!(!stage.gateway.has_ended());
        stage.strike().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_calls_are_answered_echoed_and_recorded() {
    let (_directory, stage) = set_stage(44).await;
    let (gateway, database) = (stage.settings.http, stage.database.superuser_url());
    let load = Scenario { calls: 200, ..Scenario::inbound("uac_tone_440", 121, stage.settings.sip, "1002") };
    load.with(&["-r", "10", "-l", "120"]).run().await.unwrap();

    let mut stored = Vec::new();
    let mut pause = tokio::time::interval(Duration::from_millis(500));
    for _ in 0..60 {
        pause.tick().await;
        stored = proof::stored_in_postgresql(&database).await.unwrap();
        if stored.len() == 200 {
            break;
        }
    }
    assert_eq!(stored.len(), 200);
    let carol = http::log_in(gateway, "carol", "carol-demo").await.unwrap();
    for id in &stored {
        let audio = proof::audio(gateway, &carol, id).await.unwrap();
        let heard = ToneFigure::of(&audio.channel(1), audio.rate, 440.0);
        let echo = ToneFigure::of(&audio.channel(0), audio.rate, 440.0);
        assert!(heard.seconds >= 4.5, "{id}, channel 1: {heard}");
        assert!(echo.seconds >= 4.5, "{id}, channel 0: {echo}");
    }
    let vault = stage.settings.vault();
    let verified = stage.gateway.verb(&["recordings", "verify", vault.to_str().unwrap()]).unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    stage.strike().await;
}
