//! Every metric of the gateway: name, unit, labels, meaning. One table, so that a dashboard can rely on it.

use metrics::Unit;

/// What a metric counts or measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// The name.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Its unit.
    pub unit: Unit,
    /// Labels, comma-separated.
    pub labels: &'static str,
    /// What it says.
    pub meaning: &'static str,
}

const fn counter(name: &'static str, labels: &'static str, meaning: &'static str) -> Metric {
    Metric { name, kind: Kind::Counter, unit: Unit::Count, labels, meaning }
}

const fn gauge(name: &'static str, labels: &'static str, meaning: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, unit: Unit::Count, labels, meaning }
}

/// The table.
pub const METRICS: &[Metric] = &[
    gauge("tandem_calls", "", "calls now"),
    counter("tandem_calls_ended_total", "outcome", "calls that ended, by the cause table's word"),
    counter("tandem_calls_refused_total", "cause", "calls refused before anything rang"),
    counter("tandem_sip_messages_total", "what", "SIP messages that were not served: malformed, unknown source, …"),
    counter(
        "tandem_media_packets_dropped_total",
        "leg",
        "media packets dropped: wrong source, malformed, not authentic",
    ),
    counter("tandem_alarms_total", "what", "events that an operator must look at"),
];

/// Tells the exporter what each metric means.
pub(super) fn describe() {
    for metric in METRICS {
        match metric.kind {
            Kind::Counter => metrics::describe_counter!(metric.name, metric.unit, metric.meaning),
            Kind::Gauge => metrics::describe_gauge!(metric.name, metric.unit, metric.meaning),
        }
    }
}
