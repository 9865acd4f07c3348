//! The demonstration's call: the PBX rings alice, both hear each other, and the recording says the same.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::demo::agent::{Agent, AgentEvent, AgentOptions, HEARD_RATE, Heard, Mode};
use crate::demo::pbx::TONE_HZ;
use crate::demo::proof::{self, Tones};
use crate::demo::tone::ToneFigure;
use crate::demo::{Stage, http, ladder, say};

/// The agent's tone, in hertz. It differs from the PBX's, so that a reflection cannot pass.
const AGENT_HZ: f64 = 440.0;
/// How long both talk.
const TALK: Duration = Duration::from_secs(5);
/// How much of the talk must be heard at the other end, in seconds.
const HEARD_MIN: f64 = 4.0;
/// How long each step of the call may take.
const STEP: Duration = Duration::from_secs(15);

/// Places the call, proves it, and prints the ladder and the figures.
pub(super) async fn call(stage: &mut Stage) -> Result<()> {
    let tone = Mode::Tone { hz: AGENT_HZ };
    let options = AgentOptions::of("alice", stage.settings.http, tone, stage.clock);
    let mut alice = Agent::log_in(AgentOptions { ladder: Some(stage.ladder.clone()), ..options }).await?;
    stage.pbx()?.forget()?;
    stage.log.drain();
    say("\nthe PBX rings alice (1001)\n")?;
    let outcome = talk(stage, &mut alice).await;
    say(&ladder::draw(&stage.log.drain()))?;
    let (call_id, heard) = outcome.with_context(|| stage.gateway.last_words())?;
    drop(alice);
    prove_audio(stage, &heard)?;
    prove_recording(stage, &call_id).await.with_context(|| stage.gateway.last_words())
}

/// The call itself: its identifier and what alice heard.
async fn talk(stage: &mut Stage, alice: &mut Agent) -> Result<(String, Heard)> {
    let target = format!("sip:1001@{}", stage.settings.sip);
    stage.pbx()?.ring(&target).await?;
    stage.pbx()?.wait_for("CALL_ESTABLISHED", STEP).await?;
    let incoming = |event: &AgentEvent| {
        if let AgentEvent::Incoming { call_id, .. } = event { Some(call_id.clone()) } else { None }
    };
    let call_id = alice.wait_for("call.incoming", STEP, incoming).await?;
    tokio::time::sleep(TALK).await;
    stage.pbx()?.hang_up().await?;
    let heard = alice.wait_for("call.ended", STEP, |event| event.heard_in(&call_id)).await?;
    Ok((call_id, heard))
}

/// What each end heard of the other.
fn prove_audio(stage: &mut Stage, heard: &Heard) -> Result<()> {
    let at_alice = ToneFigure::of(&heard.samples, HEARD_RATE, TONE_HZ);
    let own_at_alice = ToneFigure::of(&heard.samples, HEARD_RATE, AGENT_HZ);
    let calls = stage.pbx()?.heard()?;
    let wav = calls.first().context("the PBX recorded nothing")?;
    let at_pbx = ToneFigure::of(&wav.channel(0), wav.rate, AGENT_HZ);
    let own_at_pbx = ToneFigure::of(&wav.channel(0), wav.rate, TONE_HZ);
    say(&format!("audio\n  PBX → agent   {at_alice}\n  agent → PBX   {at_pbx}"))?;
    ensure!(at_alice.seconds >= HEARD_MIN, "alice did not hear the PBX's tone for {HEARD_MIN} s: {at_alice}");
    ensure!(at_pbx.seconds >= HEARD_MIN, "the PBX did not hear alice's tone for {HEARD_MIN} s: {at_pbx}");
    ensure!(own_at_alice.begins_at.is_none() && own_at_pbx.begins_at.is_none(), "somebody heard themselves");
    Ok(())
}

async fn prove_recording(stage: &Stage, call_id: &str) -> Result<()> {
    let gateway = stage.settings.http;
    let (id, state) = proof::find_in_postgresql(&stage.database.superuser_url(), call_id).await?;
    let carol = http::log_in(gateway, "carol", "carol-demo").await?;
    let audio = proof::decrypt(gateway, &carol, &id).await?;
    let alice = http::log_in(gateway, "alice", "alice-demo").await?;
    proof::check_refused(gateway, &alice, &id).await?;
    let tones = Tones { agent_hz: AGENT_HZ, pbx_hz: TONE_HZ, seconds_min: HEARD_MIN };
    let figures = proof::compare(id, state, &audio, tones)?;
    let vault = stage.settings.vault();
    let verified = stage.gateway.verb(&["recordings", "verify", &vault.to_string_lossy()])?;
    let said = String::from_utf8_lossy(&verified.stdout);
    ensure!(
        verified.status.success(),
        "the store does not verify: {said}{}",
        String::from_utf8_lossy(&verified.stderr)
    );
    say(&format!(
        "\nrecording {}\n  in PostgreSQL   {}\n  decrypted       {:.1} s through /api/v1/recordings, as carol; refused to alice\n  \
         channel 0       {}\n  channel 1       {}\n  verified        {}\n",
        figures.id,
        figures.state,
        figures.seconds,
        figures.agent,
        figures.pbx,
        said.trim()
    ))
}
