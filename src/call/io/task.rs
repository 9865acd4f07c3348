//! The task that owns one call.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::sync::watch;
use tokio::time::Instant as TokioInstant;

use crate::call::Call;
use crate::call::Input;
use crate::call::Output;
use crate::call::Standing;
use crate::call::io::rooms::Ask;
use crate::call::io::rooms::Asked;
use crate::call::io::rooms::Full;
use crate::call::io::rooms::Rooms;
use crate::call::io::trace::CallTracer;
use crate::clock::Clock;
use crate::ids::CallId;
use crate::recording;
use crate::telemetry::metrics::{ALARMS, CALLS_ENDED};
use crate::worker;

/// Where a call's commands go.
pub(super) struct Route {
    /// The other rooms.
    pub(super) rooms: Arc<dyn Rooms>,
    /// The registry, for what is not in the call's own hands.
    pub(super) registry: mpsc::Sender<Asked>,
    /// The call's worker.
    pub(super) worker: usize,
    /// The clock of this node.
    pub(super) clock: Clock,
    /// What the registry must know of the call.
    pub(super) standing: watch::Sender<Standing>,
}

/// Runs a call to its end.
pub(super) async fn run(mut call: Call, id: CallId, mut mailbox: mpsc::Receiver<Input>, route: Route) -> CallId {
    let mut tracer = CallTracer::new(id, Arc::clone(&route.rooms), route.clock);
    loop {
        tracer.stands(&call);
        drain(&mut call, id, &route, &mut tracer);
        if let Some(cause) = call.outcome() {
            tracing::info!(call = %id, outcome = cause.word(), "call ended");
            metrics::counter!(CALLS_ENDED.name, "outcome" => cause.word()).increment(1);
            return id;
        }
        let deadline = call.poll_timeout().map(|(at, _)| TokioInstant::from_std(at));
        tokio::select! {
            input = mailbox.recv() => match input {
                Some(input) => {
                    tracer.heard(&input);
                    call.handle(input, route.clock.now());
                }
                // The registry is gone: the gateway ends.
                None => call.handle(Input::Shutdown, route.clock.now()),
            },
            () = until(deadline) => {
                tracer.fired(call.poll_timeout());
                call.handle_timeout(route.clock.now());
            }
        }
    }
}

async fn until(deadline: Option<TokioInstant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn ask(route: &Route, from: CallId, ask: Ask) -> Result<(), Full> {
    route.registry.try_send(Asked { from, ask }).map_err(|_full| Full("call registry"))
}

/// Carries out everything that the call wants. A full room fails the call, not the gateway.
fn drain(call: &mut Call, id: CallId, route: &Route, tracer: &mut CallTracer) {
    // Before the outputs: who hears `call.ended` may dial again at once.
    let standing = call.standing();
    route.standing.send_if_modified(|known| {
        let changed = *known != standing;
        *known = standing;
        changed
    });
    while let Some(output) = call.poll_output() {
        tracer.wanted(&output);
        let carried = match output {
            Output::Sip(command) => route.rooms.sip(command),
            Output::Worker(command) => route.rooms.worker(route.worker, command),
            Output::Recorder(command) => {
                // What a recorder that takes no more means for the call, its obligation says.
                if let Err(full) = route.rooms.recorder(command) {
                    let failed = recording::EventKind::Failed { reason: full.to_string() };
                    call.handle(Input::Recorder(failed), route.clock.now());
                }
                Ok(())
            }
            Output::Signaling { session, command } => {
                // A browser that cannot be told is closed by its own socket task; the call hears of that.
                route.rooms.signaling(session, command);
                Ok(())
            }
            Output::Partner { to, word } => ask(route, id, Ask::Tell { to, word }),
            Output::Launch { destination, agent } => ask(route, id, Ask::Launch { destination, agent }),
            Output::Record(record) => {
                route.rooms.record(*record);
                Ok(())
            }
            Output::Alarm(what) => {
                tracing::error!(call = %id, phase = call.phase_name(), "alarm: {what}");
                metrics::counter!(ALARMS.name, "what" => what).increment(1);
                Ok(())
            }
        };
        if let Err(full) = carried {
            tracer.failed(&full);
            tracing::error!(call = %id, phase = call.phase_name(), "the call fails: {full}");
            let kind = worker::EventKind::LegFailed { reason: worker::LegFailure::WorkerFull };
            call.handle(Input::Worker(worker::Event { call: id, leg: None, kind }), route.clock.now());
        }
    }
}
