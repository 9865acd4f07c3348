//! Transfers that the gateway carries out itself: the agent leaves, and the two parties hear each other through it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use sqlx::Row as _;
use tandem::clock::Clock;
use tandem::demo::agent::{Agent, AgentEvent, AgentOptions, AgentRequest, HEARD_RATE, Mode};
use tandem::demo::phone::{Make, Phone, Plan};
use tandem::demo::sipp::Scenario;
use tandem::demo::tone::ToneFigure;
use tandem::demo::wav::Wav;
use tandem::demo::{Stage, http, proof};
use tandem::sip::Transport;
use uuid::Uuid;

use crate::site::{rows, set_stage, talk, verify};
use crate::user_agents::{AGENT_HZ, HEARD_MIN, HoldStyle, PHONE_HZ, STEP, Talk, incoming, with_trunk};

/// The tone of the party that the call is transferred to.
const OTHER_HZ: f64 = 1_500.0;
/// How long the two parties talk after the agent has left.
const TOGETHER: Duration = Duration::from_millis(2_500);

async fn phone(directory: &Path, stage: &Stage, number: &str, port: u16, hz: f64) -> Phone {
    let (make, transport, trusts) = (Make::Baresip, Transport::Udp, stage.settings.ca_file());
    let plan = Plan { make, transport, number: number.to_owned(), port, hz, trusts };
    Phone::start(&directory.join(number), &plan).await.unwrap()
}

async fn alice(stage: &Stage) -> Agent {
    let options = AgentOptions::of("alice", stage.settings.http, Mode::Tone { hz: AGENT_HZ }, Clock::system());
    Agent::log_in(options).await.unwrap()
}

/// The caller and the agent talk; the call's name.
async fn calls(caller: &mut Phone, alice: &mut Agent, stage: &Stage) -> String {
    caller.dial("1001", stage.settings.sip).await.unwrap();
    let call_id = alice.wait_for("the call", STEP, incoming).await.unwrap();
    caller.established().await.unwrap();
    let mut conversation = Talk { phone: caller, hears: true, alice, call_id: call_id.clone(), hold: HoldStyle::Local };
    conversation.listen().await.both_hear("before the transfer");
    call_id
}

async fn left(alice: &mut Agent, call: &str) {
    let transferred = |event: &AgentEvent| {
        let AgentEvent::Ended { call_id, reason, .. } = event else { return None };
        (call_id == call).then(|| reason.clone())
    };
    assert_eq!(alice.wait_for("the transfer", STEP, transferred).await.unwrap(), "transferred");
}

/// What a phone hears from now on.
async fn hears(phone: &mut Phone, time: Duration) -> Vec<i16> {
    talk(Duration::from_millis(500)).await;
    phone.take_heard().unwrap();
    talk(time).await;
    phone.take_heard().unwrap()
}

fn tone(samples: &[i16], hz: f64) -> ToneFigure {
    ToneFigure::of(samples, HEARD_RATE, hz)
}

async fn recorded(stage: &Stage, call: &str) -> Wav {
    let url = stage.database.superuser_url();
    let (recording, _) = proof::find_in_postgresql(&url, call).await.unwrap();
    let carol = http::log_in(stage.settings.http, "carol", "carol-demo").await.unwrap();
    proof::decrypt(stage.settings.http, &carol, &recording).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_blind_transfer_two_parties_hear_each_other_press_keys_and_are_recorded() {
    let (directory, mut stage) = set_stage(97, false).await;
    let mut caller = phone(directory.path(), &stage, "600", 5_921, PHONE_HZ).await;
    let mut other = phone(directory.path(), &stage, "601", 5_923, OTHER_HZ).await;
    let trunk =
        format!("targets = [\"{}\"]\ntransfer = \"bridge\"\nrecord_after_transfer = \"continue\"\n", other.target());
    with_trunk(&mut stage, &trunk, |text| text).await;
    let mut alice = alice(&stage).await;
    let call = calls(&mut caller, &mut alice, &stage).await;

    let request = AgentRequest::Transfer { call_id: call.clone(), to: "601".to_owned() };
    alice.request(request).await.unwrap();
    other.answer().await.unwrap();
    left(&mut alice, &call).await;
    other.established().await.unwrap();
    other.take_heard().unwrap();
    let at_caller = hears(&mut caller, TOGETHER).await;
    let at_other = other.take_heard().unwrap();
    let (forth, back) = (tone(&at_other, PHONE_HZ), tone(&at_caller, OTHER_HZ));
    println!("joined: at the caller {back}; at the other party {forth}");
    assert!(back.seconds >= 2.0 && forth.seconds >= 2.0, "at the caller {back}; at the other party {forth}");
    assert_eq!(tone(&at_caller, AGENT_HZ).begins_at, None, "the agent has left");

    caller.press("29").await.unwrap();
    other.is_told("29").await.unwrap();
    other.press("5#").await.unwrap();
    caller.is_told("5#").await.unwrap();

    // The agent is free: the next call finds her.
    caller_of_the_next(&stage, &mut alice).await;
    other.hang_up().await.unwrap();
    caller.ended().await.unwrap();

    let audio = recorded(&stage, &call).await;
    let (sent, heard) = (audio.channel(0), audio.channel(1));
    let (agent, party, caller_tone) = (tone(&sent, AGENT_HZ), tone(&sent, OTHER_HZ), tone(&heard, PHONE_HZ));
    println!("recorded: sent {agent}, then {party}; heard {caller_tone}");
    assert!(agent.seconds >= HEARD_MIN && party.seconds >= 2.0, "sent {agent}, then {party}");
    assert!(caller_tone.seconds >= agent.seconds + 2.0, "heard {caller_tone}");
    let joined = rows(
        &stage.database.superuser_url(),
        "SELECT count(*) AS calls FROM call_record a JOIN call_record b ON a.joined_with = b.call_id AND b.joined_with = a.call_id",
    )
    .await;
    assert_eq!(joined.first().unwrap().get::<i64, _>("calls"), 2, "each record names the other");
    verify(&stage);
    caller.stop().await;
    other.stop().await;
    stage.strike().await;
}

async fn caller_of_the_next(stage: &Stage, alice: &mut Agent) {
    let next = Scenario::inbound("uac_answered", 197, stage.settings.sip, "1001");
    next.run().await.unwrap_or_else(|error| panic!("{error:#}\n{}", stage.gateway.last_words()));
    alice.wait_for("its end", STEP, AgentEvent::heard).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attended_transfer_between_two_trunks_joins_them_and_ends_both_recordings() {
    let (directory, mut stage) = set_stage(98, false).await;
    let mut caller = phone(directory.path(), &stage, "600", 5_931, PHONE_HZ).await;
    let carrier = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 198), 5_060));
    let second = format!(
        "[[trunk]]\nname = \"carrier\"\nnetworks = [\"{}/32\"]\ntargets = [\"udp:{carrier}\"]\ncodecs = [\"PCMA\", \"PCMU\"]\n\
         media_bind = \"{}\"\noptions_interval = \"0s\"\n\n[dial]\n",
        carrier.ip(),
        stage.settings.sip.ip()
    );
    let rule = "[[dial.rule]]\nprefix = \"7\"\ndigits = \"3\"\ntrunk = \"carrier\"\n\n[[dial.rule]]\n";
    let trunk = format!("targets = [\"{}\"]\n", caller.target());
    with_trunk(&mut stage, &trunk, |text| text.replacen("[dial]\n", &second, 1).replacen("[[dial.rule]]\n", rule, 1))
        .await;
    let mut alice = alice(&stage).await;
    let call = calls(&mut caller, &mut alice, &stage).await;

    // The consulted party echoes: so far, the agent.
    let consulted = Scenario::outbound("uas_answered", carrier).with(&["-rtp_echo"]).start().unwrap();
    let consult = Uuid::now_v7().to_string();
    alice.request(AgentRequest::Hold { call_id: call.clone() }).await.unwrap();
    alice.request(AgentRequest::Dial { call_id: consult.clone(), to: "700".to_owned() }).await.unwrap();
    let answer = AgentEvent::Answered { call_id: consult.clone() };
    alice.wait_for("the consultation", STEP, |event| (*event == answer).then_some(())).await.unwrap();
    talk(Duration::from_millis(1_500)).await;
    let request = AgentRequest::TransferTo { call_id: call.clone(), consult: consult.clone() };
    alice.request(request).await.unwrap();
    left(&mut alice, &call).await;

    // From now on, the caller.
    let echo = tone(&hears(&mut caller, TOGETHER).await, PHONE_HZ);
    println!("joined: the caller hears the other trunk's echo, {echo}");
    assert!(echo.seconds >= 2.0, "{echo}");
    caller.hang_up().await.unwrap();
    consulted.finish().await.unwrap_or_else(|error| panic!("{error:#}\n{}", stage.gateway.last_words()));

    for (name, call, party_hz) in [("the caller's", &call, PHONE_HZ), ("the consultation's", &consult, AGENT_HZ)] {
        let audio = recorded(&stage, call).await;
        let (sent, heard) = (audio.channel(0), audio.channel(1));
        let (agent, party) = (tone(&sent, AGENT_HZ), tone(&heard, party_hz));
        println!("{name} recording, {:.1} s: sent {agent}; heard {party}", audio.seconds());
        assert!(agent.seconds >= HEARD_MIN && party.seconds >= HEARD_MIN, "{name}: sent {agent}; heard {party}");
        assert_eq!(tone(&sent, PHONE_HZ).begins_at, None, "{name}: the recording ended with the agent's part");
    }
    verify(&stage);
    caller.stop().await;
    stage.strike().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pbx_that_refuses_to_be_asked_is_called_instead() {
    let (_directory, mut stage) = set_stage(99, false).await;
    let target = format!("targets = [\"udp:{}\"]\ntransfer = \"refer_then_bridge\"\n", stage.settings.pbx);
    with_trunk(&mut stage, &target, |text| text).await;
    let mut alice = alice(&stage).await;
    // Both calls: the agent's, whose REFER is 405, and the one that takes its place.
    let pbx = Scenario { calls: 2, ..Scenario::outbound("uas_refuses_refer", stage.settings.pbx) }.start().unwrap();
    let call = Uuid::now_v7().to_string();
    alice.request(AgentRequest::Dial { call_id: call.clone(), to: "600".to_owned() }).await.unwrap();
    let answer = AgentEvent::Answered { call_id: call.clone() };
    alice.wait_for("the answer", STEP, |event| (*event == answer).then_some(())).await.unwrap();
    let request = AgentRequest::Transfer { call_id: call.clone(), to: "601".to_owned() };
    alice.request(request).await.unwrap();
    left(&mut alice, &call).await;
    // The drain ends what no agent ends any more, each with its BYE.
    stage.gateway.stop();
    pbx.finish().await.unwrap_or_else(|error| panic!("{error:#}\n{}", stage.gateway.last_words()));
    stage.strike().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consulted_colleague_and_the_caller_are_joined_inside() {
    let (directory, mut stage) = set_stage(96, false).await;
    let mut caller = phone(directory.path(), &stage, "600", 5_935, PHONE_HZ).await;
    let trunk = format!("targets = [\"{}\"]\n", caller.target());
    with_trunk(&mut stage, &trunk, |text| text.replacen("[agents]\n", "[agents]\ninternal_calls = \"local\"\n", 1))
        .await;
    let logged_in = |event: &AgentEvent| (*event == AgentEvent::LoggedIn).then_some(());
    stage.bob.wait_for("bob's next login", STEP, logged_in).await.unwrap();
    let mut alice = alice(&stage).await;
    let call = calls(&mut caller, &mut alice, &stage).await;

    // Bob echoes: so far, alice.
    let consult = Uuid::now_v7().to_string();
    alice.request(AgentRequest::Hold { call_id: call.clone() }).await.unwrap();
    alice.request(AgentRequest::Dial { call_id: consult.clone(), to: "1002".to_owned() }).await.unwrap();
    let answer = AgentEvent::Answered { call_id: consult.clone() };
    alice.wait_for("bob's answer", STEP, |event| (*event == answer).then_some(())).await.unwrap();
    talk(Duration::from_secs(1)).await;
    let request = AgentRequest::TransferTo { call_id: call.clone(), consult: consult.clone() };
    alice.request(request).await.unwrap();
    left(&mut alice, &call).await;

    let echo = tone(&hears(&mut caller, TOGETHER).await, PHONE_HZ);
    println!("joined: the caller hears bob's echo, {echo}");
    assert!(echo.seconds >= 2.0, "{echo}");
    caller.hang_up().await.unwrap();
    stage.bob.wait_for("bob's end", STEP, AgentEvent::heard).await.unwrap();
    verify(&stage);
    caller.stop().await;
    stage.strike().await;
}
