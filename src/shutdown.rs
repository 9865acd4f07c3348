//! Ends a gateway in order: no new calls, the live ones to their end, recordings sealed, then the rest. An emergency call
//! is not hung up on: it ends by itself, by a second signal, or after [`EMERGENCY_DRAIN_TIMEOUT`].

use std::time::Duration;

use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;
use tokio::sync::mpsc;
use tokio::sync::oneshot;

use crate::call::io::rooms::Control;
use crate::gateway::Gateway;
use crate::limits::EMERGENCY_DRAIN_TIMEOUT;
use crate::sip;
use crate::telemetry::metrics::ALARMS;

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
    drain(&gateway).await;
    tracing::info!("draining: new calls are refused");
    let second = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let patience = Patience { drain: gateway.drain_timeout, emergency: EMERGENCY_DRAIN_TIMEOUT, end: END_TIMEOUT };
    Calls(&gateway.control).wait(patience, second).await;
    end(gateway).await;
    Ok(())
}

async fn drain(gateway: &Gateway) {
    Calls(&gateway.control).tell(Control::Drain).await;
    if gateway.sip.try_send(sip::Command::Drain { retry_after: gateway.retry_after }).is_err() {
        tracing::warn!("the SIP task is busy; its trunks hear of the drain call by call");
    }
    gateway.presence.announce_draining();
}

/// How long a shutdown waits for what.
#[derive(Debug, Clone, Copy)]
struct Patience {
    /// For calls to end by themselves.
    drain: Duration,
    /// For emergency calls after that.
    emergency: Duration,
    /// For calls that were told to end.
    end: Duration,
}

/// The live calls, by way of their registry.
struct Calls<'a>(&'a mpsc::Sender<Control>);

impl Calls<'_> {
    /// Returns when no call is left, or none that is worth waiting for. `second` is the signal that wants it at once.
    async fn wait(&self, patience: Patience, second: impl Future<Output = ()>) {
        tokio::select! {
            () = self.drained(patience) => {}
            () = second => self.end_all("a second signal", patience.end).await,
        }
    }

    async fn drained(&self, patience: Patience) {
        if tokio::time::timeout(patience.drain, self.empty()).await.is_ok() {
            return;
        }
        tracing::warn!("ending every ordinary call: the drain has taken long enough");
        if tokio::time::timeout(patience.emergency, self.outlast_emergencies(patience.end)).await.is_err() {
            self.end_all("an emergency call has lasted longer than a shutdown may", patience.end).await;
        }
    }

    /// Ends all other calls, and waits for those to emergency numbers.
    async fn outlast_emergencies(&self, end: Duration) {
        let mut told = false;
        loop {
            let left = self.end_ordinary().await;
            if left > 0 && !told {
                told = true;
                metrics::counter!(ALARMS.name, "what" => "emergency_call_outlasts_drain").increment(1);
                tracing::warn!(calls = left, "waiting for emergency calls to end; a second signal ends them at once");
            }
            match tokio::time::timeout(end, self.empty()).await {
                Ok(()) => return,
                Err(_) if left == 0 => return tracing::error!("some calls did not end in time"),
                Err(_) => {}
            }
        }
    }

    async fn end_all(&self, why: &str, limit: Duration) {
        tracing::warn!("ending every call: {why}");
        self.tell(Control::EndAll).await;
        if tokio::time::timeout(limit, self.empty()).await.is_err() {
            tracing::error!("some calls did not end in time");
        }
    }

    /// Ends all calls but those to emergency numbers; how many of these there are.
    async fn end_ordinary(&self) -> usize {
        let (sender, left) = oneshot::channel();
        self.tell(Control::EndOrdinary(sender)).await;
        left.await.unwrap_or_else(|_closed| {
            tracing::error!("the registry ended before its calls did");
            0
        })
    }

    async fn empty(&self) {
        let (sender, done) = oneshot::channel();
        self.tell(Control::WhenEmpty(sender)).await;
        if done.await.is_err() {
            tracing::error!("the registry ended before its calls did");
        }
    }

    async fn tell(&self, control: Control) {
        if self.0.send(control).await.is_err() {
            tracing::error!("the registry ended before the gateway did");
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// As good as for ever.
    const LONG: Duration = Duration::from_mins(1);
    /// Already over.
    const SHORT: Duration = Duration::from_millis(1);

    /// A registry with one emergency call, which ends when it is told to, or, where `hangs_up`, by itself once the other
    /// calls are told to end.
    #[derive(Default)]
    struct Registry {
        hangs_up: bool,
        is_empty: bool,
        waiting: Vec<oneshot::Sender<()>>,
        /// What it was asked, in order; the same again only once.
        seen: Vec<&'static str>,
    }

    impl Registry {
        fn take(&mut self, control: Control) {
            let word = match control {
                Control::Drain => "drain",
                Control::EndOrdinary(left) => {
                    let _unheard = left.send(usize::from(!self.is_empty));
                    self.is_empty |= self.hangs_up;
                    "end ordinary"
                }
                Control::EndAll => {
                    self.is_empty = true;
                    "end all"
                }
                Control::WhenEmpty(sender) => {
                    self.waiting.push(sender);
                    "wait"
                }
            };
            if self.seen.last() != Some(&word) {
                self.seen.push(word);
            }
            let told = if self.is_empty { self.waiting.len() } else { 0 };
            for waiting in self.waiting.drain(..told) {
                let _unheard = waiting.send(());
            }
        }
    }

    /// Everything that the registry was asked.
    async fn asked(patience: Patience, hangs_up: bool, second: impl Future<Output = ()>) -> Vec<&'static str> {
        let (control, mut asked) = mpsc::channel(8);
        let registry = async {
            let mut registry = Registry { hangs_up, ..Registry::default() };
            while let Some(control) = asked.recv().await {
                registry.take(control);
            }
            registry.seen
        };
        let shutdown = async {
            Calls(&control).wait(patience, second).await;
            drop(control);
        };
        tokio::join!(registry, shutdown).0
    }

    #[tokio::test]
    async fn an_emergency_call_outlasts_the_drain_and_is_not_hung_up_on() {
        let patience = Patience { drain: SHORT, emergency: LONG, end: LONG };
        let seen = asked(patience, true, std::future::pending()).await;
        assert_eq!(seen, ["wait", "end ordinary", "wait"]);
    }

    #[tokio::test]
    async fn an_emergency_call_that_never_ends_is_ended_at_last() {
        let patience = Patience { drain: SHORT, emergency: SHORT * 20, end: LONG };
        let seen = asked(patience, false, std::future::pending()).await;
        assert_eq!(seen, ["wait", "end ordinary", "wait", "end all", "wait"]);
    }

    #[tokio::test]
    async fn a_second_signal_ends_an_emergency_call_too() {
        let patience = Patience { drain: LONG, emergency: LONG, end: LONG };
        let seen = asked(patience, false, async {}).await;
        assert!(seen.ends_with(&["end all", "wait"]), "{seen:?}");
    }
}
