//! Ends a gateway in order: no new calls, the live ones to their end, recordings sealed, then the rest.

use std::time::Duration;

use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;
use tokio::sync::oneshot;

use crate::call::io::rooms::Control;
use crate::gateway::Gateway;
use crate::sip;

/// How long calls that were told to end may take for it.
const END_TIMEOUT: Duration = Duration::from_secs(25);
/// How long catalogue and store may take for what is sealed; the rest waits in the spool for the next start.
const INDEX_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the last tasks may take.
const TASKS_TIMEOUT: Duration = Duration::from_secs(10);

/// Waits for SIGTERM or SIGINT, drains, and ends everything. A second signal ends the calls at once.
pub async fn run(gateway: Gateway) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("draining: new calls are refused");
    drain(&gateway).await;
    tokio::select! {
        () = empty(&gateway) => {}
        () = tokio::time::sleep(gateway.drain_timeout) => end_all(&gateway, "the drain has taken long enough").await,
        _ = terminate.recv() => end_all(&gateway, "a second signal").await,
        _ = interrupt.recv() => end_all(&gateway, "a second signal").await,
    }
    end(gateway).await;
    Ok(())
}

async fn drain(gateway: &Gateway) {
    tell(gateway, Control::Drain).await;
    if gateway.sip.try_send(sip::Command::Drain { retry_after: gateway.retry_after }).is_err() {
        tracing::warn!("the SIP task is busy; its trunks hear of the drain call by call");
    }
    gateway.presence.announce_draining();
}

async fn tell(gateway: &Gateway, control: Control) {
    if gateway.control.send(control).await.is_err() {
        tracing::error!("the registry ended before the gateway did");
    }
}

async fn empty(gateway: &Gateway) {
    let (sender, done) = oneshot::channel();
    tell(gateway, Control::WhenEmpty(sender)).await;
    if done.await.is_err() {
        tracing::error!("the registry ended before its calls did");
    }
}

async fn end_all(gateway: &Gateway, why: &str) {
    tracing::warn!("ending every call: {why}");
    tell(gateway, Control::EndAll).await;
    if tokio::time::timeout(END_TIMEOUT, empty(gateway)).await.is_err() {
        tracing::error!("some calls did not end in time");
    }
}

async fn end(gateway: Gateway) {
    let Gateway { control, sip, presence, recorder, workers, stop_edges, stop_sip, tasks, .. } = gateway;
    if !recorder.shutdown(INDEX_TIMEOUT).await {
        tracing::warn!("some recordings wait in the spool for the next start");
    }
    presence.close_all(crate::signaling::CloseCode::Restart);
    stop_edges.cancel();
    stop_sip.cancel();
    // With the registry's control gone its run ends, and with it the queue of call records.
    drop((control, sip, presence));
    if tokio::task::spawn_blocking(move || workers.end()).await.is_err() {
        tracing::error!("the workers could not be joined");
    }
    tasks.close();
    if tokio::time::timeout(TASKS_TIMEOUT, tasks.wait()).await.is_err() {
        tracing::warn!(left = tasks.len(), "some tasks did not end in time");
    }
    tracing::info!("ended");
}
