//! Kamailio in front of the gateway: a proxy that records its route and forks, and a registrar for lines.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;
use sqlx::Row as _;
use tandem::clock::Clock;
use tandem::demo::Stage;
use tandem::demo::agent::{Agent, AgentEvent, AgentOptions, AgentRequest, HEARD_RATE, Mode};
use tandem::demo::phone::{Make, Phone, Plan};
use tandem::demo::servers::Kamailio;
use tandem::demo::sipp::Scenario;
use tandem::demo::tone::ToneFigure;
use tandem::sip::Transport;
use uuid::Uuid;

use crate::site::{rows, set_stage, talk, wait_until};
use crate::user_agents::{AGENT_HZ, HEARD_MIN, HoldStyle, PHONE_HZ, STEP, Talk, incoming, with_trunk};

/// The tone of the phone that a call is transferred to.
const OTHER_HZ: f64 = 1_500.0;
/// How many lines register.
const LINES: u32 = 200;
/// How long their bindings last: each is refreshed after half to nine tenths of it.
const EXPIRES_SECONDS: u64 = 20;

fn proxy_of(stage: &Stage) -> SocketAddr {
    let [.., host] = match stage.settings.sip.ip() {
        IpAddr::V4(ip) => ip.octets(),
        IpAddr::V6(_) => panic!("a stage is on IPv4"),
    };
    SocketAddr::from((Ipv4Addr::new(127, 0, 0, host + 100), 5060))
}

async fn launch(directory: &Path, stage: &Stage, phones: &[(String, SocketAddr)]) -> Kamailio {
    Kamailio::launch(&directory.join("kamailio"), proxy_of(stage), stage.settings.sip, phones).await.unwrap()
}

/// A trunk whose only peer is the proxy.
fn trunk(stage: &Stage, more: &str) -> String {
    let proxy = proxy_of(stage);
    let hold = HoldStyle::Sendonly.word();
    format!("targets = [\"udp:{proxy}\"]\ndomain = \"{}\"\nhold_style = \"{hold}\"\n{more}\n", proxy.ip())
}

async fn phone(directory: &Path, stage: &Stage, number: &str, port: u16, hz: f64) -> Phone {
    let (make, transport, trusts) = (Make::Baresip, Transport::Udp, stage.settings.ca_file());
    let plan = Plan { make, transport, number: number.to_owned(), port, hz, trusts };
    Phone::start(&directory.join(number), &plan).await.unwrap()
}

async fn alice(stage: &Stage, answer_after: Option<Duration>) -> Agent {
    let options = AgentOptions::of("alice", stage.settings.http, Mode::Tone { hz: AGENT_HZ }, Clock::system());
    Agent::log_in(AgentOptions { answer_after, ..options }).await.unwrap()
}

const SOON: Option<Duration> = Some(Duration::from_millis(300));

/// The reason of a call's end.
async fn ended(agent: &mut Agent) -> String {
    let reason =
        |event: &AgentEvent| if let AgentEvent::Ended { reason, .. } = event { Some(reason.clone()) } else { None };
    agent.wait_for("the end of the call", STEP, reason).await.unwrap()
}

/// What a phone hears of a tone from now on.
async fn hears(phone: &mut Phone, hz: f64) -> ToneFigure {
    talk(Duration::from_millis(500)).await;
    phone.take_heard().unwrap();
    talk(Duration::from_millis(1_200)).await;
    ToneFigure::of(&phone.take_heard().unwrap(), HEARD_RATE, hz)
}

/// What alice's transfer becomes: two phones that talk to each other, and she is out.
async fn alice_transfers(alice: &mut Agent, call_id: &str, phones: [&mut Phone; 2]) {
    let [first, second] = phones;
    alice.request(AgentRequest::Transfer { call_id: call_id.to_owned(), to: "601".into() }).await.unwrap();
    second.answer().await.unwrap();
    second.established().await.unwrap();
    let transferred = AgentEvent::Transferred { call_id: call_id.to_owned() };
    alice.wait_for("the transfer", STEP, |event| (*event == transferred).then_some(())).await.unwrap();
    assert_eq!(ended(alice).await, "transferred");
    let heard = hears(second, PHONE_HZ).await;
    println!("after alice's transfer: 601 hears {heard}");
    assert!(heard.seconds >= HEARD_MIN, "{heard}");
    let heard = hears(first, OTHER_HZ).await;
    assert!(heard.seconds >= HEARD_MIN, "{heard}");
    second.hang_up().await.unwrap();
    // Its call with alice, and the one that came of it.
    first.ended().await.unwrap();
    first.ended().await.unwrap();
}

/// The phone's transfer: alice stays, and talks to another.
async fn the_phone_transfers(stage: &Stage, alice: &mut Agent, phones: [&mut Phone; 2]) {
    let [first, second] = phones;
    let call_id = Uuid::now_v7().to_string();
    alice.request(AgentRequest::Dial { call_id: call_id.clone(), to: "600".into() }).await.unwrap();
    first.answer().await.unwrap();
    let answered = AgentEvent::Answered { call_id: call_id.clone() };
    alice.wait_for("the answer", STEP, |event| (*event == answered).then_some(())).await.unwrap();
    first.established().await.unwrap();
    let mut conversation =
        Talk { phone: first, hears: true, alice, call_id: call_id.clone(), hold: HoldStyle::Sendonly };
    conversation.listen().await.both_hear("dialled through the proxy");
    first.transfer(&format!("sip:601@{}", proxy_of(stage))).await.unwrap();
    second.answer().await.unwrap();
    second.established().await.unwrap();
    let party =
        |event: &AgentEvent| if let AgentEvent::Party { number, .. } = event { Some(number.clone()) } else { None };
    assert_eq!(alice.wait_for("the new party", STEP, party).await.unwrap(), "601");
    let mut conversation =
        Talk { phone: second, hears: true, alice, call_id: call_id.clone(), hold: HoldStyle::Sendonly };
    let ears = conversation.listen().await;
    let (at_phone, at_agent) = (ears.at_phone(AGENT_HZ), ears.at_agent(OTHER_HZ));
    println!("after the phone's transfer: at 601 {at_phone}; at alice {at_agent}");
    assert!(at_phone.seconds >= HEARD_MIN && at_agent.seconds >= HEARD_MIN, "{at_phone}; {at_agent}");
    alice.request(AgentRequest::HangUp { call_id }).await.unwrap();
    ended(alice).await;
    second.ended().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_holds_and_transfers_pass_a_proxy_that_records_its_route() {
    let (directory, mut stage) = set_stage(93, false).await;
    let place = directory.path();
    let phones = [("600", 5_907), ("601", 5_909)];
    let at = phones.map(|(number, port)| (number.to_owned(), SocketAddr::from((Ipv4Addr::LOCALHOST, port))));
    let mut kamailio = launch(place, &stage, &at).await;
    let mut first = phone(place, &stage, "600", 5_907, PHONE_HZ).await;
    let mut second = phone(place, &stage, "601", 5_909, OTHER_HZ).await;
    let text = trunk(&stage, "");
    with_trunk(&mut stage, &text, |text| text).await;
    let mut alice = alice(&stage, SOON).await;

    first.dial("1001", proxy_of(&stage)).await.unwrap();
    let call_id = alice.wait_for("the phone's call", STEP, incoming).await.unwrap();
    first.established().await.unwrap();
    let hold = HoldStyle::Sendonly;
    let mut conversation = Talk { phone: &mut first, hears: true, alice: &mut alice, call_id: call_id.clone(), hold };
    conversation.listen().await.both_hear("through the proxy");
    conversation.agent_holds().await;
    conversation.phone_holds().await;
    alice_transfers(&mut alice, &call_id, [&mut first, &mut second]).await;
    the_phone_transfers(&stage, &mut alice, [&mut first, &mut second]).await;

    let log = kamailio.log();
    for passed in [
        "begins 1001",
        "begins 600",
        "begins 601",
        "within INVITE",
        "within ACK",
        "within REFER",
        "within NOTIFY",
        "within BYE",
    ] {
        assert!(log.contains(passed), "{passed} did not pass the proxy\n{log}");
    }
    assert!(!log.contains("astray"), "{log}");
    first.stop().await;
    second.stop().await;
    stage.gateway.stop();
    kamailio.stop();
    stage.strike().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_forked_call_one_agent_wins_and_the_other_is_told_answered_elsewhere() {
    let (directory, mut stage) = set_stage(94, false).await;
    let place = directory.path();
    let mut kamailio = launch(place, &stage, &[]).await;
    let mut caller = phone(place, &stage, "600", 5_911, PHONE_HZ).await;
    let text = trunk(&stage, "");
    with_trunk(&mut stage, &text, |text| text).await;
    let logged_in = |event: &AgentEvent| (*event == AgentEvent::LoggedIn).then_some(());
    stage.bob.wait_for("another login", STEP, logged_in).await.unwrap();

    // At once: bob answers after a second, and alice not at all.
    let mut patient = alice(&stage, None).await;
    caller.dial("1900", proxy_of(&stage)).await.unwrap();
    caller.established().await.unwrap();
    assert_eq!(ended(&mut patient).await, "answered_elsewhere");
    let echo = hears(&mut caller, PHONE_HZ).await;
    println!("bob won: the caller hears its echo, {echo}");
    assert!(echo.seconds >= HEARD_MIN, "{echo}");
    caller.hang_up().await.unwrap();
    assert_eq!(ended(&mut stage.bob).await, "hangup");

    // One after the other: alice's phone rings in vain, then bob's.
    caller.dial("1901", proxy_of(&stage)).await.unwrap();
    patient.wait_for("the call", STEP, incoming).await.unwrap();
    assert_eq!(ended(&mut patient).await, "cancelled");
    caller.established().await.unwrap();
    assert!(kamailio.log().contains("goes on to 1002"));
    let echo = hears(&mut caller, PHONE_HZ).await;
    assert!(echo.seconds >= HEARD_MIN, "{echo}");
    caller.hang_up().await.unwrap();
    assert_eq!(ended(&mut stage.bob).await, "hangup");
    drop(patient);

    // At once, and alice is faster.
    let mut fast = alice(&stage, SOON).await;
    caller.dial("1900", proxy_of(&stage)).await.unwrap();
    caller.established().await.unwrap();
    assert_eq!(ended(&mut stage.bob).await, "answered_elsewhere");
    let tone = hears(&mut caller, AGENT_HZ).await;
    println!("alice won: the caller hears {tone}");
    assert!(tone.seconds >= HEARD_MIN, "{tone}");
    caller.hang_up().await.unwrap();
    assert_eq!(ended(&mut fast).await, "hangup");

    caller.stop().await;
    stage.gateway.stop();
    kamailio.stop();
    stage.strike().await;
}

/// How often each line was registered, by the registrar's log.
fn registered(kamailio: &Kamailio, line: u32) -> usize {
    kamailio.log().matches(&format!("registered {line} ")).count()
}

/// The lines as the configuration takes them: each rings an agent of its own.
fn lines_of(registrar: IpAddr) -> String {
    let mut lines = String::from("line = [\n");
    for index in 0..LINES {
        let (line, extension) = (2_001 + index, 1_101 + index);
        writeln!(
            lines,
            "  {{ aor = \"sip:{line}@{registrar}\", extension = \"{extension}\", password = \"line-{line}\", expires = \"{EXPIRES_SECONDS}s\" }},"
        )
        .unwrap();
    }
    lines + "]"
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_lines_register_refresh_and_receive_a_call_each() {
    let (directory, mut stage) = set_stage(95, false).await;
    let place = directory.path();
    let numbers = 0..LINES;
    let people: Vec<(String, String)> =
        numbers.clone().map(|index| (format!("line{index}"), (1_101 + index).to_string())).collect();
    stage.gateway.stop();
    stage.ldap.enrol("lines", &people, "lines-demo").await.unwrap();
    let mut kamailio = launch(place, &stage, &[]).await;
    let registrar = proxy_of(&stage).ip();
    let lines = lines_of(registrar);
    let text = trunk(&stage, &lines);
    let group = format!("agent = [\"cn=lines,{}\", ", stage.ldap.groups_dn());
    with_trunk(&mut stage, &text, |text| text.replace("\nagent = [", &format!("\n{group}"))).await;

    // Everybody logs in, some at a time.
    let mut agents = Vec::new();
    for some in people.chunks(20) {
        let log_in = some.iter().map(|(user, _)| {
            let options = AgentOptions::of(user, stage.settings.http, Mode::Echo, Clock::system());
            Agent::log_in(AgentOptions { password: "lines-demo".into(), answer_after: SOON, ..options })
        });
        agents.extend(join_all(log_in).await.into_iter().map(Result::unwrap));
    }
    wait_until("every line to be registered", Duration::from_secs(30), async || {
        (2_001..2_001 + LINES).all(|line| registered(&kamailio, line) >= 1).then_some(())
    })
    .await;

    let calls = place.join("lines.csv");
    let called: Vec<String> = (2_001..2_001 + LINES).map(|line| format!("{line};\n")).collect();
    std::fs::write(&calls, format!("SEQUENTIAL\n{}", called.concat())).unwrap();
    let scenario = Scenario { calls: LINES, ..Scenario::inbound("uac_through_proxy", 196, proxy_of(&stage), "") };
    let rate = ["-r", "10", "-l", "60", "-inf", calls.to_str().unwrap()];
    scenario.with(&rate).run().await.unwrap_or_else(|error| panic!("{error:#}\n{}", stage.gateway.last_words()));

    // Each call was another agent's: caller 9LINE, answered by the line's extension.
    let url = stage.database.superuser_url();
    let query = "SELECT remote_number, agent FROM call_record WHERE answered_at IS NOT NULL AND ended_at IS NOT NULL";
    let records = wait_until("the call records", STEP, async || {
        let rows = rows(&url, query).await;
        (rows.len() >= LINES as usize).then_some(rows)
    })
    .await;
    let mut pairs: Vec<(String, String)> = records.iter().map(|row| (row.get(0), row.get(1))).collect();
    pairs.sort();
    let expected: Vec<(String, String)> =
        numbers.map(|index| (format!("9{}", 2_001 + index), (1_101 + index).to_string())).collect();
    assert_eq!(pairs, expected);

    wait_until("every line to be refreshed", Duration::from_secs(30), async || {
        (2_001..2_001 + LINES).all(|line| registered(&kamailio, line) >= 2).then_some(())
    })
    .await;
    println!("{} REGISTERs were accepted", kamailio.log().matches("registered ").count());
    drop(agents);
    // Every binding is taken away at the drain: for each the registrar says 3, "deleted". Some may be refreshed before.
    stage.gateway.stop();
    let gone = |line: &u32| kamailio.log().contains(&format!("registered {line} (3)"));
    assert_eq!((2_001..2_001 + LINES).filter(gone).count(), LINES as usize, "bindings were taken away");
    kamailio.stop();
    stage.strike().await;
}
