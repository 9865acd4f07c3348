//! Agents who call each other inside the gateway: two calls that are both ends of one, over a trunk that is memory, with
//! everything that a call has.

use std::time::Duration;

use sqlx::Row as _;
use tandem::clock::Clock;
use tandem::demo::agent::{Agent, AgentEvent, AgentOptions, AgentRequest, HEARD_RATE, Heard, Mode};
use tandem::demo::gateway::GatewayProcess;
use tandem::demo::proof::{self, Tones};
use tandem::demo::tone::ToneFigure;
use tandem::demo::{Stage, http};
use tandem::signaling::HeldBy;
use uuid::Uuid;

use crate::site::{PATIENCE, edit_config, rows, set_stage, talk, verify, wait_until};
use crate::traces::{assert_in_order, names, said, traced};

const ALICE_HZ: f64 = 440.0;
const BOB_HZ: f64 = 1_000.0;
const SAM_HZ: f64 = 700.0;

/// Three agents, and a gateway in which they call each other: alice 1001, bob 1002, who takes one call, sam 1003, and a
/// group of bob and sam, 1900.
struct Floor {
    _directory: tempfile::TempDir,
    stage: Stage,
    alice: Agent,
    sam: Agent,
}

fn options(stage: &Stage, user: &str, hz: f64) -> AgentOptions {
    AgentOptions::of(user, stage.settings.http, Mode::Tone { hz }, Clock::system())
}

async fn floor(host: u8) -> Floor {
    let (directory, mut stage) = set_stage(host, false).await;
    stage.gateway.stop();
    let group = "[[group]]\nextension = \"1900\"\nmembers = [\"1002\", \"1003\"]\n\n[media]\n";
    edit_config(
        &stage.settings,
        &[
            ("[agents]\n", "[agents]\ninternal_calls = \"local\"\n"),
            ("\"1002\" = 250", "\"1002\" = 1"),
            ("[media]\n", group),
            // Sam takes calls as well.
            ("agent = [", "agent = [\"cn=supervisors,ou=groups,dc=tandem,dc=test\", "),
        ],
    );
    // A new bob, before the old one could log in again.
    stage.bob = Agent::start(options(&stage, "bob", BOB_HZ));
    stage.gateway = GatewayProcess::start(stage.settings.clone()).await.unwrap();
    let logged_in = |event: &AgentEvent| (*event == AgentEvent::LoggedIn).then_some(());
    stage.bob.wait_for("bob's login", PATIENCE, logged_in).await.unwrap();
    let alice = Agent::log_in(options(&stage, "alice", ALICE_HZ)).await.unwrap();
    let sam = Agent::log_in(options(&stage, "sam", SAM_HZ)).await.unwrap();
    Floor { _directory: directory, stage, alice, sam }
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

/// The call that comes to an agent, who takes it, and whom it names as its caller.
async fn taken(agent: &mut Agent) -> (String, String) {
    let incoming = |event: &AgentEvent| {
        let AgentEvent::Incoming { call_id, from } = event else { return None };
        Some((call_id.clone(), from.clone()))
    };
    let call = agent.wait_for("a colleague's call", PATIENCE, incoming).await.unwrap();
    answered(agent, &call.0).await;
    call
}

async fn ended(agent: &mut Agent, call: &str) -> (String, Heard) {
    let end = |event: &AgentEvent| {
        let AgentEvent::Ended { call_id, reason, heard } = event else { return None };
        (call_id == call).then(|| (reason.clone(), heard.clone()))
    };
    agent.wait_for("the end of the call", PATIENCE, end).await.unwrap()
}

/// What an agent heard since this was last asked.
async fn heard(agent: &mut Agent, call: &str) -> Heard {
    agent.request(AgentRequest::Report { call_id: call.to_owned() }).await.unwrap();
    let report = |event: &AgentEvent| {
        let AgentEvent::Report { call_id, heard } = event else { return None };
        (call_id == call).then(|| heard.clone())
    };
    agent.wait_for("a report", PATIENCE, report).await.unwrap()
}

fn seconds(heard: &Heard, hz: f64) -> f64 {
    ToneFigure::of(&heard.samples, HEARD_RATE, hz).seconds
}

/// Everything that is on its way arrives before it is asked what was heard.
async fn both_heard(alice: (&mut Agent, &str), bob: (&mut Agent, &str), time: Duration) -> (Heard, Heard) {
    talk(Duration::from_millis(300)).await;
    heard(alice.0, alice.1).await;
    heard(bob.0, bob.1).await;
    talk(time).await;
    (heard(alice.0, alice.1).await, heard(bob.0, bob.1).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_agents_talk_inside_hold_press_keys_and_leave_two_records() {
    let Floor { _directory, mut stage, mut alice, sam } = floor(105).await;
    let placed = dial(&alice, "1002").await;
    let ringing = AgentEvent::Ringing { call_id: placed.clone() };
    alice.wait_for("ringing", PATIENCE, |event| (*event == ringing).then_some(())).await.unwrap();
    let (came, from) = taken(&mut stage.bob).await;
    assert_eq!(from, "1001", "bob sees whom he can call back");
    answered(&mut alice, &placed).await;

    let (at_alice, at_bob) = both_heard((&mut alice, &placed), (&mut stage.bob, &came), Duration::from_secs(2)).await;
    assert!(seconds(&at_alice, BOB_HZ) >= 1.5 && seconds(&at_alice, ALICE_HZ) < 0.1, "alice hears bob, and no echo");
    assert!(seconds(&at_bob, ALICE_HZ) >= 1.5 && seconds(&at_bob, BOB_HZ) < 0.1, "bob hears alice, and no echo");

    alice.request(AgentRequest::Hold { call_id: placed.clone() }).await.unwrap();
    let held = AgentEvent::Held { call_id: placed.clone(), by: HeldBy::Agent };
    alice.wait_for("the hold", PATIENCE, |event| (*event == held).then_some(())).await.unwrap();
    let (at_alice, at_bob) = both_heard((&mut alice, &placed), (&mut stage.bob, &came), Duration::from_secs(1)).await;
    assert!(seconds(&at_alice, BOB_HZ) < 0.1 && seconds(&at_bob, ALICE_HZ) < 0.1, "neither hears the other on hold");
    alice.request(AgentRequest::Resume { call_id: placed.clone() }).await.unwrap();
    let resumed = AgentEvent::Resumed { call_id: placed.clone(), by: HeldBy::Agent };
    alice.wait_for("the resumption", PATIENCE, |event| (*event == resumed).then_some(())).await.unwrap();
    let (at_alice, at_bob) = both_heard((&mut alice, &placed), (&mut stage.bob, &came), Duration::from_secs(1)).await;
    assert!(seconds(&at_alice, BOB_HZ) >= 0.7 && seconds(&at_bob, ALICE_HZ) >= 0.7, "both hear each other again");

    alice.request(AgentRequest::Digits { call_id: placed.clone(), digits: "15#".to_owned() }).await.unwrap();
    talk(Duration::from_millis(1_500)).await;
    stage.bob.request(AgentRequest::HangUp { call_id: came.clone() }).await.unwrap();
    assert_eq!(ended(&mut stage.bob, &came).await.1.digits, "15#");
    assert_eq!(ended(&mut alice, &placed).await.0, "hangup");

    records(&stage, &placed, &came).await;
    recordings(&stage, &placed, &came).await;
    ladders(&stage, &placed, &came).await;
    drop((alice, sam));
    stage.strike().await;
}

/// One call of each, both over the trunk that leads back.
async fn records(stage: &Stage, placed: &str, came: &str) {
    let query = "SELECT call_id::text, direction, trunk, remote_number, called_number, agent_user, outcome \
                 FROM call_record WHERE ended_at IS NOT NULL AND answered_at IS NOT NULL ORDER BY direction DESC";
    let url = stage.database.superuser_url();
    let found = wait_until("two records", PATIENCE, async || {
        let rows = rows(&url, query).await;
        (rows.len() == 2).then_some(rows)
    })
    .await;
    let texts = |index: usize| -> Vec<String> { (0..7).map(|column| found[index].get::<String, _>(column)).collect() };
    assert_eq!(texts(0), [placed, "outbound", "internal", "1002", "1002", "alice", "hangup"]);
    assert_eq!(texts(1), [came, "inbound", "internal", "1001", "1002", "bob", "hangup"]);
}

/// Each has a recording of its own, in which its agent is on the first channel and the colleague on the second.
async fn recordings(stage: &Stage, placed: &str, came: &str) {
    let carol = http::log_in(stage.settings.http, "carol", "carol-demo").await.unwrap();
    for (call, agent_hz, pbx_hz) in [(placed, ALICE_HZ, BOB_HZ), (came, BOB_HZ, ALICE_HZ)] {
        let (id, state) = proof::find_in_postgresql(&stage.database.superuser_url(), call).await.unwrap();
        let audio = proof::decrypt(stage.settings.http, &carol, &id).await.unwrap();
        proof::compare(id, state, &audio, Tones { agent_hz, pbx_hz, seconds_min: 2.0 }).unwrap();
    }
    verify(stage);
}

/// Each shows its own half of what was said.
async fn ladders(stage: &Stage, placed: &str, came: &str) {
    let caller =
        ["out INVITE", "in SIP/2.0 100", "in SIP/2.0 180", "in SIP/2.0 200", "out ACK", "in BYE", "out SIP/2.0 200"];
    let callee =
        ["in INVITE", "out SIP/2.0 100", "out SIP/2.0 180", "out SIP/2.0 200", "in ACK", "out BYE", "in SIP/2.0 200"];
    for (call, expected, hung_up) in [(placed, caller, "in BYE"), (came, callee, "out BYE")] {
        let shown = traced(stage, call).await;
        let sip = names(&shown, "sip");
        assert_in_order(&sip, &expected);
        assert_eq!(sip.len(), expected.len(), "and nothing of the other's: {sip:#?}");
        assert!(sip.iter().any(|line| line.starts_with(hung_up)), "{sip:?}");
        let entries = shown["entries"].as_array().unwrap().iter().filter(|entry| entry["kind"] == "sip");
        assert!(entries.clone().all(|entry| entry["transport"] == "memory"), "{shown}");
        let ladder = said(stage, &["calls", "show", call, "--messages"]);
        println!("{}", said(stage, &["calls", "show", call]));
        assert!(ladder.contains("RTP/SAVP"), "its media is encrypted: {ladder}");
        assert!(ladder.contains("inline:*"), "and the keys are masked: {ladder}");
    }
}

/// What the call that an agent dials comes to, where nobody takes it: the call's end, or why it never began.
async fn refusal(agent: &mut Agent, to: &str) -> String {
    let call = dial(agent, to).await;
    let pick = |event: &AgentEvent| {
        if let AgentEvent::Refused { method, error } = event {
            return (method == "call.dial").then(|| error.clone());
        }
        if let AgentEvent::Answered { call_id } = event {
            return (*call_id == call).then(|| "answered".to_owned());
        }
        let AgentEvent::Ended { call_id, reason, .. } = event else { return None };
        (*call_id == call).then(|| reason.clone())
    };
    agent.wait_for("a refusal", PATIENCE, pick).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn inside_busy_absent_and_unknown_colleagues_are_told_apart_and_groups_transfers_and_drains_work() {
    let Floor { _directory, mut stage, mut alice, mut sam } = floor(106).await;
    let placed = dial(&alice, "1002").await;
    let (came, _) = taken(&mut stage.bob).await;
    answered(&mut alice, &placed).await;
    assert_eq!(refusal(&mut sam, "1002").await, "busy", "486");
    assert_eq!(refusal(&mut sam, "1999").await, "no_answer", "480: an extension that nobody has");
    assert!(refusal(&mut sam, "2999").await.contains("may not be dialled"), "no number of ours, and no rule");
    assert!(refusal(&mut sam, "1003").await.contains("your own extension"));

    // Alice hands bob on to sam, and leaves.
    alice.request(AgentRequest::Transfer { call_id: placed.clone(), to: "1003".to_owned() }).await.unwrap();
    let (second, from) = taken(&mut sam).await;
    assert_eq!(from, "1002", "it is bob who calls sam");
    assert_eq!(ended(&mut alice, &placed).await.0, "transferred");
    let now_with = AgentEvent::Party { call_id: came.clone(), number: "1003".to_owned() };
    stage.bob.wait_for("the new party", PATIENCE, |event| (*event == now_with).then_some(())).await.unwrap();
    let (at_sam, at_bob) = both_heard((&mut sam, &second), (&mut stage.bob, &came), Duration::from_millis(1_500)).await;
    assert!(seconds(&at_sam, BOB_HZ) >= 1.0 && seconds(&at_bob, SAM_HZ) >= 1.0, "bob and sam hear each other");
    sam.request(AgentRequest::HangUp { call_id: second.clone() }).await.unwrap();
    ended(&mut sam, &second).await;
    ended(&mut stage.bob, &came).await;

    // The group rings both; one of them has the call.
    let placed = dial(&alice, "1900").await;
    answered(&mut alice, &placed).await;
    alice.request(AgentRequest::HangUp { call_id: placed.clone() }).await.unwrap();
    assert_eq!(ended(&mut alice, &placed).await.0, "hangup");
    // Whoever lost it heard "answered elsewhere", and is free for the next.
    talk(Duration::from_millis(500)).await;

    // A call that is up when the gateway drains ends on both sides, and is written down.
    let placed = dial(&sam, "1001").await;
    let (came, _) = taken(&mut alice).await;
    answered(&mut sam, &placed).await;
    tokio::task::block_in_place(|| stage.gateway.stop());
    assert_eq!(ended(&mut sam, &placed).await.1.digits, "");
    ended(&mut alice, &came).await;
    let open = "SELECT call_id::text FROM call_record WHERE ended_at IS NULL";
    assert_eq!(rows(&stage.database.superuser_url(), open).await.len(), 0);
    let trunks = "SELECT DISTINCT trunk FROM call_record";
    let trunks = rows(&stage.database.superuser_url(), trunks).await;
    assert_eq!(trunks.iter().map(|row| row.get::<String, _>(0)).collect::<Vec<_>>(), ["internal"]);
    drop((alice, sam));
    stage.strike().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_colleague_who_consulted_another_hands_over_and_leaves() {
    let Floor { _directory, mut stage, mut alice, mut sam } = floor(107).await;
    let placed = dial(&alice, "1002").await;
    let (came, _) = taken(&mut stage.bob).await;
    answered(&mut alice, &placed).await;
    alice.request(AgentRequest::Hold { call_id: placed.clone() }).await.unwrap();
    let consult = dial(&alice, "1003").await;
    let (second, _) = taken(&mut sam).await;
    answered(&mut alice, &consult).await;
    let request = AgentRequest::TransferTo { call_id: placed.clone(), consult: consult.clone() };
    alice.request(request).await.unwrap();
    assert_eq!(ended(&mut alice, &placed).await.0, "transferred");
    let (at_sam, at_bob) = both_heard((&mut sam, &second), (&mut stage.bob, &came), Duration::from_millis(1_500)).await;
    assert!(seconds(&at_sam, BOB_HZ) >= 1.0 && seconds(&at_bob, SAM_HZ) >= 1.0, "bob and sam hear each other");
    sam.request(AgentRequest::HangUp { call_id: second.clone() }).await.unwrap();
    ended(&mut sam, &second).await;
    ended(&mut stage.bob, &came).await;
    drop((alice, sam));
    stage.strike().await;
}
