//! The collector's task, the way to it, and the task that writes what is complete.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::limits;
use crate::telemetry::error_chain::ErrorChain;
use crate::telemetry::metrics::ALARMS;
use crate::trace::CallTrace;
use crate::trace::Observation;
use crate::trace::SipMessage;
use crate::trace::SipPath;
use crate::trace::collector::Collector;

/// The first pause between two tries to write a trace.
pub const PAUSE: Duration = Duration::from_millis(250);
/// The longest.
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// The way to the collector. Cheap to clone; never waits: what does not fit is lost, and counted.
#[derive(Debug, Clone)]
pub struct Tracer {
    observations: mpsc::Sender<Observation>,
    lost: Arc<AtomicU64>,
    clock: Clock,
}

/// The other end of [`Tracer`].
#[derive(Debug)]
pub struct Observations {
    queue: mpsc::Receiver<Observation>,
    lost: Arc<AtomicU64>,
    clock: Clock,
}

/// A way to a collector, and its other end for [`collect`].
pub fn channel(clock: Clock) -> (Tracer, Observations) {
    let (observations, queue) = mpsc::channel(limits::TRACE_OBSERVATIONS);
    let lost = Arc::new(AtomicU64::new(0));
    (Tracer { observations, lost: Arc::clone(&lost), clock }, Observations { queue, lost, clock })
}

impl Tracer {
    /// Tells what was seen.
    pub fn see(&self, observation: Observation) {
        if self.observations.try_send(observation).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Tells of a SIP message that crosses a socket now. No more of it is copied than a trace keeps.
    pub fn message(&self, path: SipPath, bytes: &Bytes) {
        let kept = bytes.get(..limits::TRACE_ENTRY_BYTES_MAX).map_or_else(|| bytes.clone(), Bytes::copy_from_slice);
        let cut = bytes.len() - kept.len();
        self.see(Observation::Message(SipMessage { at: self.clock.now(), path, bytes: kept, cut }));
    }

    /// Tells that a quirk fires now.
    pub fn quirk(&self, sip_call_id: String, name: &str, detail: String) {
        self.see(Observation::Quirk { sip_call_id, name: name.to_owned(), detail, at: self.clock.now() });
    }
}

/// Runs a collector until every [`Tracer`] is dropped, and hands complete traces on.
pub async fn collect(mut observations: Observations, complete: mpsc::Sender<CallTrace>) {
    let clock = observations.clock;
    let mut collector = Collector::new(clock);
    loop {
        let deadline = collector.poll_timeout().map(|(at, _)| at);
        tokio::select! {
            observation = observations.queue.recv() => match observation {
                Some(observation) => collector.handle(observation, clock.now()),
                None => break,
            },
            () = sleep_until(deadline) => collector.handle_timeout(clock.now()),
        }
        collector.lost(observations.lost.swap(0, Ordering::Relaxed));
        hand_over(&mut collector, &complete);
    }
    collector.finish_all();
    hand_over(&mut collector, &complete);
}

fn hand_over(collector: &mut Collector, complete: &mpsc::Sender<CallTrace>) {
    while let Some(trace) = collector.poll_output() {
        if let Err(error) = complete.try_send(trace) {
            lost(&error.to_string());
        }
    }
}

fn lost(why: &str) {
    tracing::warn!("a call's trace is lost: {why}");
    metrics::counter!(ALARMS.name, "what" => "call_trace_lost").increment(1);
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// Where traces are kept.
#[async_trait]
pub trait TraceStore: Send + Sync {
    /// Writes a trace.
    async fn write(&self, trace: &CallTrace) -> Result<(), NotWritten>;
}

/// A trace could not be written.
#[derive(Debug, thiserror::Error)]
#[error("the call's trace could not be written")]
pub struct NotWritten {
    /// Whether the same trace may be written later.
    pub is_passing: bool,
    /// Why.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// Writes traces until the queue closes. While the database is away they wait in the queue, and what has no room there
/// is lost; at the end nothing waits. After each failure it pauses, `first_pause` at first, then ever longer.
pub async fn keep(store: Arc<dyn TraceStore>, mut queue: mpsc::Receiver<CallTrace>, first_pause: Duration) {
    while let Some(trace) = queue.recv().await {
        let mut pause = first_pause;
        while let Err(error) = store.write(&trace).await {
            if !error.is_passing || queue.is_closed() {
                lost(&ErrorChain(&error).to_string());
                break;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::ids::CallId;
    use crate::ids::SessionId;
    use crate::trace::Direction;

    fn call(number: u128) -> CallId {
        CallId::from_uuid(uuid::Uuid::from_u128(number))
    }

    fn began(number: u128, clock: Clock) -> Observation {
        let session = SessionId::from_bytes(number.to_be_bytes());
        Observation::Began { call: call(number), session, sip_call_id: Some("a".into()), at: clock.now() }
    }

    #[tokio::test]
    async fn what_finds_no_room_is_counted_in_the_traces_of_that_time() {
        let clock = Clock::system();
        let (tracer, observations) = channel(clock);
        tracer.see(began(1, clock));
        let path = SipPath {
            direction: Direction::In,
            transport: "udp".into(),
            local: "127.0.0.1:1".parse().unwrap(),
            remote: "127.0.0.1:2".parse().unwrap(),
        };
        let long = Bytes::from(format!("INFO sip:h SIP/2.0\r\nCall-ID: a\r\n\r\n{}", "x".repeat(10_000)));
        for _ in 0..limits::TRACE_OBSERVATIONS + 4 {
            tracer.message(path.clone(), &long);
        }
        drop(tracer);
        let (complete, mut traces) = mpsc::channel(1);
        collect(observations, complete).await;
        let trace = traces.recv().await.unwrap();
        assert_eq!(trace.dropped.observations, 5);
        assert_eq!(trace.entries[0].cut, long.len() - limits::TRACE_ENTRY_BYTES_MAX);
    }

    struct Away(AtomicUsize);

    #[async_trait]
    impl TraceStore for Away {
        async fn write(&self, _trace: &CallTrace) -> Result<(), NotWritten> {
            let tries = self.0.fetch_add(1, Ordering::Relaxed);
            let away = || NotWritten { is_passing: true, source: "away".into() };
            if tries < 3 { Err(away()) } else { Ok(()) }
        }
    }

    #[tokio::test]
    async fn a_trace_waits_for_a_database_that_is_away() {
        let store = Arc::new(Away(AtomicUsize::new(0)));
        let (sender, queue) = mpsc::channel(4);
        let keeping = tokio::spawn(keep(Arc::clone(&store) as Arc<dyn TraceStore>, queue, Duration::from_millis(1)));
        let mut collector = Collector::new(Clock::system());
        let now = Clock::system().now();
        collector.handle(began(1, Clock::system()), now);
        collector.finish_all();
        sender.send(collector.poll_output().unwrap()).await.unwrap();
        while store.0.load(Ordering::Relaxed) < 4 {
            tokio::task::yield_now().await;
        }
        drop(sender);
        keeping.await.unwrap();
        assert_eq!(store.0.load(Ordering::Relaxed), 4, "three in vain, the fourth in the database");
    }
}
