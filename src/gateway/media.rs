//! Starts the media workers and the rings between them and the recorder.

use std::ops::RangeInclusive;

use anyhow::Context as _;
use tokio::sync::mpsc;

use super::Base;
use super::wires::Ring;
use crate::config::Config;
use crate::limits::EMERGENCY_SESSIONS_MAX;
use crate::recording::io::thread::TapSource;
use crate::webrtc::Certificate;
use crate::worker::Event;
use crate::worker::io::Config as WorkerConfig;
use crate::worker::io::Outlets;
use crate::worker::io::recorder_ring;
use crate::worker::io::thread::WorkerHandle;
use crate::worker::io::thread::WorkerThread;

/// Every worker of this node.
#[derive(Debug)]
pub(crate) struct Workers(Vec<(WorkerHandle, WorkerThread)>);

impl Workers {
    /// The ways to them, by number.
    pub(super) fn handles(&self) -> Vec<WorkerHandle> {
        self.0.iter().map(|(handle, _)| handle.clone()).collect()
    }

    /// Ends them, and waits. Blocks.
    pub(crate) fn end(self) {
        self.0.iter().for_each(|(handle, _)| handle.shutdown());
        self.0.into_iter().for_each(|(_, thread)| thread.join());
    }
}

/// One worker a core, unless the configuration says otherwise, and their rings as the recorder reads them.
pub(super) fn start(
    config: &Config,
    base: &mut Base,
    events: &mpsc::Sender<Event>,
) -> anyhow::Result<(Workers, Vec<Box<dyn TapSource>>)> {
    let count = config.workers.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, Into::into));
    let certificate = Certificate::generate().context("the DTLS certificate cannot be made")?;
    let mut workers = Vec::with_capacity(count);
    let mut sources: Vec<Box<dyn TapSource>> = Vec::with_capacity(count);
    let places = crate::worker::io::partners(count).context("the queues between the workers cannot be made")?;
    for (number, partners) in places.into_iter().enumerate() {
        let (tap, consumer) = recorder_ring::ring();
        sources.push(Box::new(Ring(consumer)));
        let settings = of_worker(&config.worker, number, count)?;
        let chance = base.chance();
        let outlets = Outlets { events: events.clone(), tap, partners };
        let worker = crate::worker::io::spawn(settings, base.clock, certificate.clone(), chance, outlets)
            .context("[media] a worker cannot be started")?;
        tracing::info!(number, browser_port = %worker.0.browser_port(), "media worker started");
        workers.push(worker);
    }
    Ok((Workers(workers), sources))
}

/// The settings of worker `number`: a browser port and a share of the trunk ports of its own.
fn of_worker(config: &WorkerConfig, number: usize, count: usize) -> anyhow::Result<WorkerConfig> {
    let mut settings = config.clone();
    settings.trunk_ports = share(&config.trunk_ports, number, count)
        .context("media.trunk_ports is too small for so many workers: each needs a pair of ports")?;
    // Ordinary calls are counted at the registry's door; what comes beyond is an emergency.
    settings.calls_max = config.calls_max.div_ceil(count) + EMERGENCY_SESSIONS_MAX;
    let port = config.browser_bind.port();
    if port != 0 {
        let number = u16::try_from(number).context("media.workers is too large")?;
        settings.browser_bind.set_port(port.checked_add(number).context("media.browser_port leaves no room")?);
    }
    Ok(settings)
}

/// Part `number` of `count` equal parts of `ports`, each beginning with an even port.
fn share(ports: &RangeInclusive<u16>, number: usize, count: usize) -> Option<RangeInclusive<u16>> {
    let first = usize::from(ports.start().next_multiple_of(2));
    let pairs = (usize::from(*ports.end()) + 1).checked_sub(first)? / 2 / count;
    let start = first + number * pairs * 2;
    let end = start + pairs.checked_mul(2)?.checked_sub(1)?;
    Some(u16::try_from(start).ok()?..=u16::try_from(end).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_share_no_port() {
        assert_eq!(share(&(20_000..=20_007), 0, 2), Some(20_000..=20_003));
        assert_eq!(share(&(20_000..=20_007), 1, 2), Some(20_004..=20_007));
        assert_eq!(share(&(20_001..=20_008), 0, 1), Some(20_002..=20_007));
    }

    #[test]
    fn a_full_node_keeps_room_for_emergency_calls_on_every_worker() {
        let config = WorkerConfig { calls_max: 1, trunk_ports: 20_000..=20_007, ..WorkerConfig::default() };
        for number in 0..2 {
            assert_eq!(of_worker(&config, number, 2).unwrap().calls_max, 1 + EMERGENCY_SESSIONS_MAX);
        }
    }

    #[test]
    fn too_few_ports_are_refused() {
        assert_eq!(share(&(20_000..=20_001), 0, 2), None);
    }
}
