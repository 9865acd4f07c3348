//! What a PBX does within a call, against the whole gateway: the scenarios that `tests/sip_wire.rs` plays to the SIP task
//! alone, with a browser on the other side.

use std::time::Duration;

use tandem::clock::Clock;
use tandem::demo::Stage;
use tandem::demo::agent::{Agent, AgentEvent, AgentOptions, AgentRequest, HEARD_RATE, Heard, Mode};
use tandem::demo::gateway::GatewayProcess;
use tandem::demo::sipp::Scenario;
use tandem::demo::tone::ToneFigure;
use uuid::Uuid;

use crate::site::{PATIENCE, edit_config, set_stage, talk};

#[tokio::test(flavor = "multi_thread")]
async fn a_pbx_rings_updates_holds_refreshes_and_transfers() {
    let (_directory, stage) = set_stage(48, false).await;
    let flows = [
        "uac_prack",
        "uac_update",
        "uac_session_timer",
        "uac_hold",
        "uac_late_offer",
        "uac_offerless_reinvite",
        "uac_info",
        "uac_replaces_unknown",
    ];
    for (host, name) in (171..).zip(flows) {
        let scenario = Scenario::inbound(name, host, stage.settings.sip, "1002");
        scenario.run().await.unwrap_or_else(|error| panic!("{error:#}\n{}", stage.gateway.last_words()));
    }

    // The party that the PBX hands the call to answers, speaks and hangs up.
    let third = Scenario::outbound("uas_takes_over", stage.settings.pbx).start().unwrap();
    let transfer = Scenario::inbound("uac_refer", 180, stage.settings.sip, "1002");
    transfer.run().await.unwrap_or_else(|error| panic!("{error:#}\n{}", stage.gateway.last_words()));
    third.finish().await.unwrap();
    stage.strike().await;
}

/// What the agent does once the call is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    HangsUp,
    HoldsAndHangsUp,
    Transfers(&'static str),
    Listens,
}

/// Alice dials; SIPp plays `name` as the trunk. What she heard.
async fn dialled(stage: &Stage, alice: &mut Agent, name: &str, then: Then) -> (String, Heard) {
    let trunk = Scenario::outbound(name, stage.settings.pbx).start().unwrap();
    let call = Uuid::now_v7().to_string();
    alice.request(AgentRequest::Dial { call_id: call.clone(), to: "600".to_owned() }).await.unwrap();
    let answer = AgentEvent::Answered { call_id: call.clone() };
    let answered = alice.wait_for("the answer", PATIENCE, |event| (*event == answer).then_some(())).await;
    answered.unwrap_or_else(|error| panic!("{name}: {error:#}\n{}", stage.gateway.last_words()));
    let call_id = call.clone();
    match then {
        Then::HangsUp => {
            talk(Duration::from_millis(500)).await;
            alice.request(AgentRequest::HangUp { call_id }).await.unwrap();
        }
        Then::HoldsAndHangsUp => {
            alice.request(AgentRequest::Hold { call_id: call_id.clone() }).await.unwrap();
            // 491 asks for a pause of up to 4 s (RFC 3261 14.1), and the trunk waits for what comes after it.
            talk(Duration::from_millis(5_500)).await;
            alice.request(AgentRequest::HangUp { call_id }).await.unwrap();
        }
        Then::Transfers(to) => {
            alice.request(AgentRequest::Transfer { call_id, to: to.to_owned() }).await.unwrap();
        }
        Then::Listens => {}
    }
    let ended = |event: &AgentEvent| {
        let AgentEvent::Ended { call_id, reason, heard } = event else { return None };
        (*call_id == call).then(|| (reason.clone(), heard.clone()))
    };
    let end = alice.wait_for("the end", PATIENCE, ended).await;
    trunk.finish().await.unwrap_or_else(|error| panic!("{error:#}\n{}", stage.gateway.last_words()));
    end.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn our_calls_are_rung_reliably_held_refreshed_and_transferred() {
    let (_directory, mut stage) = set_stage(49, false).await;
    stage.gateway.stop();
    let keys = "[[trunk]]\nhold_style = \"sendonly\"\nsession_timer = \"require\"\nsession_expires = \"90s\"\n";
    edit_config(&stage.settings, &[("[[trunk]]\n", keys)]);
    stage.gateway = GatewayProcess::start(stage.settings.clone()).await.unwrap();
    let options = AgentOptions::of("alice", stage.settings.http, Mode::Tone { hz: 1_000.0 }, Clock::system());
    let mut alice = Agent::log_in(options).await.unwrap();
    for (name, then, reason) in [
        ("uas_prack", Then::HangsUp, "hangup"),
        ("uas_forked_200", Then::Listens, "hangup"),
        ("uas_session_timer", Then::HangsUp, "hangup"),
        ("uas_reinvited", Then::HoldsAndHangsUp, "hangup"),
        ("uas_referred", Then::Transfers("1005"), "transferred"),
    ] {
        let (why, _) = dialled(&stage, &mut alice, name, then).await;
        assert_eq!(why, reason, "{name}");
    }
    drop(alice);
    stage.strike().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_answer_the_callers_own_ringback_gives_way_to_what_the_trunk_plays() {
    let (_directory, stage) = set_stage(50, false).await;
    let options = AgentOptions::of("alice", stage.settings.http, Mode::Tone { hz: 1_000.0 }, Clock::system());
    let mut alice = Agent::log_in(options).await.unwrap();
    // 183 with a description, 1.5 s of nothing, 5 s of a 440 Hz tone, 3.5 s of nothing, and the answer.
    let (_, heard) = dialled(&stage, &mut alice, "uas_early_media", Then::HangsUp).await;
    let ringback = ToneFigure::of(&heard.samples, HEARD_RATE, 425.0);
    let early = ToneFigure::of(&heard.samples, HEARD_RATE, 440.0);
    assert!((1.5..=2.5).contains(&ringback.seconds), "our own before and after the trunk's: {ringback}, {early}");
    assert!(early.seconds >= 4.5, "the trunk's: {early}, {ringback}");
    drop(alice);
    stage.strike().await;
}
