//! An emergency call on a gateway that takes no other: its disk full or its recorder dead, its cap reached, and draining;
//! one that outlasts the drain; and a site that refuses them.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use sqlx::Row as _;
use tandem::clock::Clock;
use tandem::demo::agent::{Agent, AgentEvent, AgentOptions, AgentRequest, HEARD_RATE, Heard, Mode};
use tandem::demo::gateway::GatewayProcess;
use tandem::demo::sipp::{Running, Scenario};
use tandem::demo::tone::ToneFigure;
use tandem::demo::{Stage, http};
use tokio::net::UdpSocket;
use uuid::Uuid;

use crate::site::{PATIENCE, Serve, counter, edit_config, invite, log, rows, set_stage, talk, wait_until};

/// What alice says, and the trunk echoes.
const ALICE_HZ: f64 = 440.0;

/// Why nothing can be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Recorder {
    DiskFull,
    Dead,
}

async fn dial(agent: &Agent, to: &str) -> String {
    let call_id = Uuid::now_v7().to_string();
    agent.request(AgentRequest::Dial { call_id: call_id.clone(), to: to.to_owned() }).await.unwrap();
    call_id
}

async fn answered(agent: &mut Agent, call: &str) {
    let answer = AgentEvent::Answered { call_id: call.to_owned() };
    agent.wait_for("the answer", PATIENCE, |event| (*event == answer).then_some(())).await.unwrap();
}

/// The reason that the gateway gives for a call's end.
async fn end_reason(agent: &mut Agent, call: &str) -> String {
    let reason = |event: &AgentEvent| {
        let AgentEvent::Ended { call_id, reason, .. } = event else { return None };
        (call_id == call).then(|| reason.clone())
    };
    agent.wait_for("the end of the call", PATIENCE, reason).await.unwrap()
}

/// What the agent hears of its own echo from now on.
async fn echo(agent: &mut Agent, call: &str) -> ToneFigure {
    let mut heard = None;
    for _ in 0..2 {
        talk(Duration::from_millis(1_200)).await;
        agent.request(AgentRequest::Report { call_id: call.to_owned() }).await.unwrap();
        let report = |event: &AgentEvent| {
            let AgentEvent::Report { call_id, heard } = event else { return None };
            (call_id == call).then(|| heard.clone())
        };
        heard = Some(agent.wait_for("a report", PATIENCE, report).await.unwrap());
    }
    ToneFigure::of(&heard.unwrap().samples, HEARD_RATE, ALICE_HZ)
}

async fn hung_up(agent: &mut Agent, call: &str) -> Heard {
    agent.request(AgentRequest::HangUp { call_id: call.to_owned() }).await.unwrap();
    agent.wait_for("the end of the call", PATIENCE, |event| event.heard_in(call)).await.unwrap()
}

/// What an ordinary call is told in the same state: the control of this test.
async fn refused(agent: &mut Agent, to: &str) -> String {
    dial(agent, to).await;
    let refusal = |event: &AgentEvent| {
        if let AgentEvent::Ended { reason, .. } = event {
            return Some(Err(reason.clone()));
        }
        let AgentEvent::Refused { method, error } = event else { return None };
        (method == "call.dial").then(|| Ok(error.clone()))
    };
    agent.wait_for("a refusal", PATIENCE, refusal).await.unwrap().expect("the call began")
}

/// The trunk, which answers and echoes.
fn trunk(address: SocketAddr) -> Running {
    Scenario::outbound("uas_answered", address).with(&["-rtp_echo"]).start().unwrap()
}

/// A trunk without recordings for the ordinary call that is up, one call at most, and, where wanted, a disk that counts
/// as full. Restarts the gateway so.
async fn narrow(stage: &mut Stage, unrecorded: SocketAddr, recorder: Recorder) -> Serve {
    stage.gateway.stop();
    let ip = stage.settings.sip.ip();
    let second = format!(
        "[[trunk]]\nname = \"free\"\nnetworks = [\"{}/32\"]\ntargets = [\"udp:{unrecorded}\"]\nmedia_bind = \"{ip}\"\n\
         recording = \"never\"\noptions_interval = \"0s\"\n\n[dial]\n",
        unrecorded.ip()
    );
    let edits = [
        ("[dial]\n", second.as_str()),
        ("[[dial.rule]]\n", "[[dial.rule]]\nprefix = \"7\"\ndigits = \"3\"\ntrunk = \"free\"\n\n[[dial.rule]]\n"),
        ("drain_timeout = \"5s\"", "drain_timeout = \"60s\""),
        ("[media]\n", "[media]\ncalls_max = 1\nworkers = 1\n"),
    ];
    edit_config(&stage.settings, &edits);
    if recorder == Recorder::DiskFull {
        let marks = ("shed_at_percent = 100\nrefuse_at_percent = 100", "shed_at_percent = 0\nrefuse_at_percent = 0");
        edit_config(&stage.settings, &[marks]);
    }
    let serve = Serve::start(&stage.settings);
    alive(stage).await;
    if recorder == Recorder::Dead {
        let spool = stage.settings.directory.join("spool");
        fs::rename(&spool, stage.settings.directory.join("spool.aside")).unwrap();
        fs::write(&spool, "no directory").unwrap();
    }
    serve
}

/// A node whose disk is full says so in `/readyz`; it serves all the same.
async fn alive(stage: &Stage) {
    wait_until("the gateway to answer", PATIENCE, async || {
        let answer = http::request(stage.settings.http, "GET", "/livez", &[], b"").await;
        answer.is_ok_and(|answer| answer.status == 200).then_some(())
    })
    .await;
}

async fn an_emergency_call_goes_through(host: u8, recorder: Recorder) {
    let (_directory, mut stage) = set_stage(host, false).await;
    let unrecorded = SocketAddr::from((Ipv4Addr::new(127, 0, 0, host + 100), 5060));
    let mut serve = narrow(&mut stage, unrecorded, recorder).await;
    let logged_in = |event: &AgentEvent| (*event == AgentEvent::LoggedIn).then_some(());
    stage.bob.wait_for("bob's next login", PATIENCE, logged_in).await.unwrap();
    let options = AgentOptions::of("alice", stage.settings.http, Mode::Tone { hz: ALICE_HZ }, Clock::system());
    let mut alice = Agent::log_in(options).await.unwrap();

    // Before the cap and the drain, it is the recorder alone that stops a call.
    let call = dial(&alice, "600").await;
    let stopped = alice.wait_for("the end", PATIENCE, |event| {
        if let AgentEvent::Refused { error, .. } = event {
            return Some(error.clone());
        }
        if let AgentEvent::Answered { .. } = event {
            return Some("answered".to_owned());
        }
        let AgentEvent::Ended { call_id, reason, .. } = event else { return None };
        (*call_id == call).then(|| reason.clone())
    });
    assert_eq!(stopped.await.unwrap(), "recording_failed");

    wait_until("no call", PATIENCE, async || (counter(stage.settings.http, "tandem_calls ").await < 0.5).then_some(()))
        .await;

    // The one call that the node may have; it keeps the drain waiting.
    let ordinary = trunk(unrecorded);
    let up = dial(&stage.bob, "700").await;
    answered(&mut stage.bob, &up).await;
    assert!(refused(&mut alice, "700").await.contains("overloaded"));

    let before = log(&stage.settings).len();
    serve.terminate();
    wait_until("the drain", PATIENCE, async || {
        log(&stage.settings).get(before..).unwrap_or_default().contains("draining").then_some(())
    })
    .await;
    assert!(refused(&mut alice, "700").await.contains("draining"));
    let (answer, _) = invite(stage.settings.sip, "1002").await;
    assert!(answer.starts_with("SIP/2.0 503 "), "{answer}");

    let help = trunk(stage.settings.pbx);
    let call = dial(&alice, "112").await;
    answered(&mut alice, &call).await;
    talk(Duration::from_millis(1_500)).await;
    let heard = hung_up(&mut alice, &call).await;
    let echo = ToneFigure::of(&heard.samples, HEARD_RATE, ALICE_HZ);
    assert!(echo.seconds >= 0.5, "alice and the trunk hear each other: {echo}\n{}", stage.gateway.last_words());
    help.finish().await.unwrap();

    hung_up(&mut stage.bob, &up).await;
    ordinary.finish().await.unwrap();
    let status = serve.ended(Duration::from_secs(30)).await;
    assert_eq!(status.code(), Some(0), "{}", stage.gateway.last_words());
    kept(&stage, recorder).await;
    stage.strike().await;
}

/// The call's record says that it was answered, and why there is no recording. Where the spool is gone, so are the
/// records that it would have kept over a restart; those that reached PostgreSQL are there.
async fn kept(stage: &Stage, recorder: Recorder) {
    let url = stage.database.superuser_url();
    let query = "SELECT answered_at IS NOT NULL AS answered, recording_exception FROM call_record \
                 WHERE '112' IN (remote_number, called_number)";
    let row = wait_until("the call's record", PATIENCE, async || rows(&url, query).await.pop()).await;
    assert!(row.get::<bool, _>("answered"), "{recorder:?}");
    let exception = row.get::<Option<String>, _>("recording_exception");
    assert!(exception.is_some_and(|why| !why.is_empty()), "{recorder:?}: completeness asks for the reason");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emergency_call_passes_a_full_disk_a_full_node_and_a_drain() {
    an_emergency_call_goes_through(46, Recorder::DiskFull).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emergency_call_passes_a_dead_recorder_a_full_node_and_a_drain() {
    an_emergency_call_goes_through(47, Recorder::Dead).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_that_takes_too_long_ends_no_emergency_call_and_a_second_signal_does() {
    let (_directory, mut stage) = set_stage(63, false).await;
    stage.gateway.stop();
    edit_config(&stage.settings, &[("drain_timeout = \"5s\"", "drain_timeout = \"500ms\"")]);
    let mut serve = Serve::start(&stage.settings);
    alive(&stage).await;
    let logged_in = |event: &AgentEvent| (*event == AgentEvent::LoggedIn).then_some(());
    stage.bob.wait_for("bob's next login", PATIENCE, logged_in).await.unwrap();
    let options = AgentOptions::of("alice", stage.settings.http, Mode::Tone { hz: ALICE_HZ }, Clock::system());
    let mut alice = Agent::log_in(options).await.unwrap();
    let two = Scenario { calls: 2, ..Scenario::outbound("uas_answered", stage.settings.pbx) };
    let two = two.with(&["-rtp_echo"]).start().unwrap();
    let ordinary = dial(&stage.bob, "600").await;
    answered(&mut stage.bob, &ordinary).await;
    let help = dial(&alice, "112").await;
    answered(&mut alice, &help).await;

    serve.terminate();
    assert_eq!(end_reason(&mut stage.bob, &ordinary).await, "draining");
    wait_until("the word that an emergency call is waited for", PATIENCE, async || {
        log(&stage.settings).contains("waiting for emergency calls").then_some(())
    })
    .await;
    let alarm = "tandem_alarms_total{what=\"emergency_call_outlasts_drain\"}";
    assert!((counter(stage.settings.http, alarm).await - 1.0).abs() < 0.5);
    let heard = echo(&mut alice, &help).await;
    assert!(heard.seconds >= 0.8, "long after the drain, they hear each other: {heard}");

    serve.terminate();
    assert_eq!(end_reason(&mut alice, &help).await, "draining");
    let status = serve.ended(Duration::from_secs(30)).await;
    assert_eq!(status.code(), Some(0), "{}", stage.gateway.last_words());
    two.finish().await.unwrap();
    stage.strike().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_refuses_emergency_calls_says_so_and_sends_nothing() {
    let (_directory, mut stage) = set_stage(64, false).await;
    stage.gateway.stop();
    edit_config(&stage.settings, &[("[dial]\n", "[dial]\nemergency_calls = \"refuse\"\n")]);
    stage.gateway = GatewayProcess::start(stage.settings.clone()).await.unwrap();
    let options = AgentOptions::of("alice", stage.settings.http, Mode::Tone { hz: ALICE_HZ }, Clock::system());
    let mut alice = Agent::log_in(options).await.unwrap();
    let pbx = UdpSocket::bind(stage.settings.pbx).await.unwrap();
    let said = refused(&mut alice, "112").await;
    assert!(said.contains("call.emergency_refused") && said.contains("cannot be made from this phone"), "{said}");
    let alarm = "tandem_alarms_total{what=\"emergency_call_refused\"}";
    assert!((counter(stage.settings.http, alarm).await - 1.0).abs() < 0.5);
    assert!(log(&stage.settings).contains("an emergency call was refused"));
    // The trunk hears of the next call, and of nothing before it.
    dial(&alice, "600").await;
    let mut buffer = [0; 4_096];
    let received = tokio::time::timeout(PATIENCE, pbx.recv(&mut buffer)).await.expect("an INVITE").unwrap();
    let first = String::from_utf8_lossy(&buffer[..received]).into_owned();
    assert!(first.starts_with("INVITE sip:600@"), "{first}");
    stage.strike().await;
}
