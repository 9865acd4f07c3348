//! Wires the traces of calls: from the sockets of SIP and from the calls to the collector, and on to the database.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::Base;
use crate::limits;
use crate::sip::io::Crossing;
use crate::sip::io::MessageTap;
use crate::sip::io::QuirkTap;
use crate::store::Pool;
use crate::store::call_trace::CallTraces;
use crate::trace::Direction;
use crate::trace::SipPath;
use crate::trace::io::Observations;
use crate::trace::io::Tracer;

/// Shows a tracer every message that crosses a socket of SIP.
pub(super) fn tap(tracer: Tracer) -> MessageTap {
    Arc::new(move |crossing, flow, bytes| {
        let direction = match crossing {
            Crossing::Received => Direction::In,
            Crossing::Sent => Direction::Out,
        };
        let transport = flow.transport.uri_name().to_owned();
        tracer.message(SipPath { direction, transport, local: flow.local, remote: flow.remote }, bytes);
    })
}

/// Shows a tracer every quirk that fires.
pub(super) fn quirk_tap(tracer: Tracer) -> QuirkTap {
    Arc::new(move |fired| tracer.quirk(fired.sip_call_id.clone(), fired.quirk.name(), fired.detail.clone()))
}

/// Starts the collector and who writes what it completes.
pub(super) fn start(observations: Observations, pool: &Pool, base: &Base) {
    let (complete, queue) = mpsc::channel(limits::TRACE_QUEUE);
    base.tasks.spawn(crate::trace::io::collect(observations, complete));
    base.tasks.spawn(crate::trace::io::keep(Arc::new(CallTraces::new(pool.clone())), queue, crate::trace::io::PAUSE));
}
