//! What a call leaves behind for whoever asks what happened: its trace, as `tandem calls` shows it.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tandem::clock::Clock;
use tandem::demo::Stage;
use tandem::demo::agent::{Agent, AgentEvent, AgentOptions, AgentRequest, Mode};
use tandem::demo::gateway::GatewayProcess;
use tandem::demo::sipp::Scenario;
use uuid::Uuid;

use crate::site::{PATIENCE, edit_config, rows, set_stage, talk, wait_until};

const STEP: Duration = Duration::from_secs(15);
const DIGITS: &str = "159#0";

/// What `tandem` prints.
pub(crate) fn said(stage: &Stage, arguments: &[&str]) -> String {
    let output = stage.gateway.verb(arguments).unwrap();
    let (text, error) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{arguments:?}: {error}\n{}", stage.gateway.last_words());
    text
}

/// Waits until the trace of a call is written; what `calls show` says of it as JSON.
pub(crate) async fn traced(stage: &Stage, call: &str) -> Value {
    wait_until("the call's trace", PATIENCE, async || {
        let shown: Value = serde_json::from_str(&said(stage, &["calls", "show", call, "-o", "json"])).unwrap();
        (shown["traced"] == true).then_some(shown)
    })
    .await
}

/// What each entry is called, in order.
pub(crate) fn names(shown: &Value, kind: &str) -> Vec<String> {
    let entries = shown["entries"].as_array().unwrap().iter().filter(|entry| entry["kind"] == kind);
    let name = |entry: &Value| {
        let name = if kind == "sip" { &entry["start_line"] } else { &entry["name"] };
        format!(
            "{}{}",
            entry["direction"].as_str().map(|way| format!("{way} ")).unwrap_or_default(),
            name.as_str().unwrap()
        )
    };
    entries.map(name).collect()
}

/// Fails unless `wanted` occur in `found` in this order, each at the beginning of a line.
pub(crate) fn assert_in_order(found: &[String], wanted: &[&str]) {
    let mut rest = found.iter();
    for word in wanted {
        assert!(rest.any(|line| line.starts_with(word)), "{word} is not (or too early) in {found:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_an_agent_placed_is_shown_as_a_ladder_without_its_digits() {
    let (directory, stage) = set_stage(66, false).await;
    let options = AgentOptions::of("alice", stage.settings.http, Mode::Tone { hz: 1_000.0 }, Clock::system());
    let mut alice = Agent::log_in(options).await.unwrap();
    let trunk = Scenario::outbound("uas_answered", stage.settings.pbx).with(&["-rtp_echo"]).start().unwrap();
    let call = Uuid::now_v7().to_string();
    alice.request(AgentRequest::Dial { call_id: call.clone(), to: "600".into() }).await.unwrap();
    let answered = AgentEvent::Answered { call_id: call.clone() };
    alice.wait_for("the answer", STEP, |event| (*event == answered).then_some(())).await.unwrap();
    alice.request(AgentRequest::Digits { call_id: call.clone(), digits: DIGITS.into() }).await.unwrap();
    talk(Duration::from_millis(1_500)).await;
    alice.request(AgentRequest::HangUp { call_id: call.clone() }).await.unwrap();
    alice.wait_for("the end", STEP, |event| event.heard_in(&call)).await.unwrap();
    trunk.finish().await.unwrap_or_else(|error| panic!("{error:#}\n{}", stage.gateway.last_words()));

    let shown = traced(&stage, &call).await;
    assert_entries(&shown);
    let ladder = said(&stage, &["calls", "show", &call]);
    assert_ladder(&ladder);
    assert_masked(&stage, &call, [&ladder, &shown.to_string()]).await;
    assert_captured(&stage, &call, &directory.path().join("call.pcap"), names(&shown, "sip").len());
    drop(alice);
    stage.strike().await;
}

/// Everything of the call is there, in its order and on one clock.
fn assert_entries(shown: &Value) {
    let sip =
        ["out INVITE", "in SIP/2.0 100", "in SIP/2.0 180", "in SIP/2.0 200", "out ACK", "out BYE", "in SIP/2.0 200"];
    assert_in_order(&names(shown, "sip"), &sip);
    let browser = [
        "in call.dial",
        "out call.offer",
        "in call.transport",
        "out call.ringing",
        "out call.answered",
        "in call.dtmf",
        "in call.hangup",
        "out call.ended",
    ];
    assert_in_order(&names(shown, "signaling"), &browser);
    assert_in_order(&names(shown, "state"), &["preparing", "inviting", "established", "terminating", "terminated"]);
    assert_in_order(&names(shown, "media"), &["trunk_bound", "peer_connected", "send_dtmf", "dtmf_received", "closed"]);
    let times: Vec<u64> =
        shown["entries"].as_array().unwrap().iter().map(|entry| entry["at_us"].as_u64().unwrap()).collect();
    assert!(times.is_sorted() && times[times.len() - 1] - times[0] > 1_500_000, "{times:?}");
    assert_eq!(shown["dropped"], serde_json::json!({ "entries": 0, "observations": 0 }));
}

fn assert_ladder(ladder: &str) {
    println!("{ladder}");
    for word in [
        "|< INVITE sip:600@",
        "|- 100 Trying (INVITE) -",
        "|- 180 Ringing (INVITE) -",
        "|- 200 OK (INVITE) -",
        "|< ACK ",
        "|< BYE ",
        "|- 200 OK (BYE) -",
        "|< call.dial -",
        "|- call.answered -",
        "* [established]",
    ] {
        assert!(ladder.contains(word), "{word} is not in\n{ladder}");
    }
}

/// No digit and no key is shown or stored.
async fn assert_masked(stage: &Stage, call: &str, shown: [&str; 2]) {
    let messages = said(stage, &["calls", "show", call, "--messages"]);
    assert!(messages.contains("v=0") && messages.contains("a=ice-pwd:**"), "{messages}");
    let stored = rows(&stage.database.superuser_url(), "SELECT entries::text FROM call_trace").await;
    let stored: Vec<(String,)> = stored.iter().map(|row| sqlx::FromRow::from_row(row).unwrap()).collect();
    for text in [shown[0], shown[1], &messages, &stored[0].0] {
        assert!(!text.contains(DIGITS), "{text}");
    }
    for line in shown[1].split("\\r\\n").filter_map(|line| line.strip_prefix("a=ice-pwd:")) {
        assert!(line.starts_with("****"), "{line}");
    }
}

/// The capture has every SIP message, for a tool that is not ours.
fn assert_captured(stage: &Stage, call: &str, capture: &std::path::Path, sip: usize) {
    let written = said(stage, &["calls", "show", call, "--pcap", capture.to_str().unwrap()]);
    assert!(written.contains(&format!("{sip} SIP messages")), "{written}");
    let mut tshark = Command::new("tshark");
    tshark.args(["-n", "-r"]).arg(capture).args(["-Y", "sip", "-T", "fields", "-e", "udp.port"]);
    let packets = output_of(&mut tshark);
    assert_eq!(packets.lines().count(), sip, "{packets}");
    assert!(packets.lines().all(|ports| ports.contains(&stage.settings.pbx.port().to_string())), "{packets}");
}

fn output_of(command: &mut Command) -> String {
    let output = command.output().expect("tshark (Debian package tshark) is needed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_a_trunk_are_listed_found_and_shown_refused_ones_too() {
    let (_directory, stage) = set_stage(67, false).await;
    let gateway = stage.settings.sip;
    Scenario::inbound("uac_answered", 131, gateway, "1002").run().await.unwrap();
    Scenario::inbound("uac_unknown_extension", 132, gateway, "2999").run().await.unwrap();
    Scenario::inbound("uac_answered", 133, gateway, "1002").with(&["-t", "t1"]).run().await.unwrap();

    let listed = wait_until("three ended calls", PATIENCE, async || {
        let listed: Value = serde_json::from_str(&said(&stage, &["calls", "list", "-o", "json"])).unwrap();
        let ended = listed.as_array().unwrap().iter().filter(|row| !row["ended"].is_null()).count();
        (ended == 3).then_some(listed)
    })
    .await;
    let id = |index: usize| listed[index]["call"].as_str().unwrap().to_owned();
    let count = |arguments: &[&str]| said(&stage, arguments).lines().count() - 1;
    assert_eq!(count(&["calls", "list", "--agent", "1002"]), 2);
    assert_eq!(count(&["calls", "list", "--agent", "bob"]), 2);
    assert_eq!(count(&["calls", "list", "--number", "2999"]), 1);
    assert_eq!(count(&["calls", "list", "--number", "100", "--since", "1h", "--limit", "2"]), 2);
    assert_eq!(count(&["calls", "list", "--since", "2999-01-01T00:00:00Z"]), 0);

    for (call, transport) in [(id(0), "tcp"), (id(2), "udp")] {
        let shown = traced(&stage, &call).await;
        let sip = ["in INVITE", "out SIP/2.0 100", "out SIP/2.0 180", "out SIP/2.0 200", "in ACK"];
        assert_in_order(&names(&shown, "sip"), &sip);
        assert!(names(&shown, "sip").iter().any(|line| line.starts_with("in BYE") || line.starts_with("out BYE")));
        assert_in_order(
            &names(&shown, "signaling"),
            &["out call.incoming", "in call.alerting", "in call.accept", "out call.answered", "out call.ended"],
        );
        assert_in_order(&names(&shown, "state"), &["routing", "alerting", "connecting", "established"]);
        let entries = shown["entries"].as_array().unwrap().iter().filter(|entry| entry["kind"] == "sip");
        assert!(
            entries.clone().count() >= 7 && entries.clone().all(|entry| entry["transport"] == transport),
            "{shown}"
        );
    }
    let shown = traced(&stage, &id(1)).await;
    assert_in_order(&names(&shown, "sip"), &["in INVITE", "out SIP/2.0 100", "out SIP/2.0 404", "in ACK"]);
    assert_in_order(&names(&shown, "state"), &["refused"]);

    let unknown = stage.gateway.verb(&["calls", "show", &Uuid::nil().to_string()]).unwrap();
    assert_eq!(unknown.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("there is no call"));
    stage.strike().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quirk_that_fired_is_shown_in_its_call() {
    let (_directory, mut stage) = set_stage(65, false).await;
    stage.gateway.stop();
    edit_config(&stage.settings, &[("[[trunk]]\n", "[[trunk]]\nquirks = [\"contact_from_source\"]\n")]);
    stage.gateway = GatewayProcess::start(stage.settings.clone()).await.unwrap();
    let options = AgentOptions::of("alice", stage.settings.http, Mode::Tone { hz: 1_000.0 }, Clock::system());
    let mut alice = Agent::log_in(options).await.unwrap();
    // Its Contact leads nowhere: ACK and BYE reach it by the quirk alone.
    let trunk = Scenario::outbound("uas_contact_elsewhere", stage.settings.pbx).start().unwrap();
    let call = Uuid::now_v7().to_string();
    alice.request(AgentRequest::Dial { call_id: call.clone(), to: "600".into() }).await.unwrap();
    let answered = AgentEvent::Answered { call_id: call.clone() };
    alice.wait_for("the answer", STEP, |event| (*event == answered).then_some(())).await.unwrap();
    alice.request(AgentRequest::HangUp { call_id: call.clone() }).await.unwrap();
    alice.wait_for("the end", STEP, |event| event.heard_in(&call)).await.unwrap();
    trunk.finish().await.unwrap_or_else(|error| panic!("{error:#}\n{}", stage.gateway.last_words()));

    let shown = traced(&stage, &call).await;
    let quirks = names(&shown, "quirk");
    assert!(!quirks.is_empty() && quirks.iter().all(|name| name == "contact_from_source"), "{shown:#}");
    let ladder = said(&stage, &["calls", "show", &call]);
    assert!(ladder.contains("quirk contact_from_source"), "{ladder}");
    drop(alice);
    stage.strike().await;
}
