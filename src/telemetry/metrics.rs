//! Every metric of the gateway: name, unit, labels, meaning. One table, so that a dashboard can rely on it.

use metrics::Unit;

/// What a metric counts or measures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// How often it was at most each of these.
    Histogram(&'static [f64]),
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

/// Calls now.
pub const CALLS: Metric = gauge("tandem_calls", "", "calls now");
/// Calls that ended, by the cause table's word.
pub const CALLS_ENDED: Metric =
    counter("tandem_calls_ended_total", "outcome", "calls that ended, by the cause table's word");
/// Calls refused before anything rang.
pub const CALLS_REFUSED: Metric = counter("tandem_calls_refused_total", "cause", "calls refused before anything rang");
/// Logins, by how they were judged.
pub const LOGINS: Metric = counter("tandem_logins_total", "result", "logins, by how they were judged");
/// SIP messages that were not served: malformed, of an unknown source, and the like.
pub const SIP_MESSAGES: Metric = counter(
    "tandem_sip_messages_total",
    "what",
    "SIP messages that were not served: malformed, of an unknown source, and the like",
);
/// SIP datagrams dropped before they were read, or not sent.
pub const SIP_DATAGRAMS_DROPPED: Metric = counter(
    "tandem_sip_datagrams_dropped_total",
    "direction",
    "SIP datagrams dropped before they were read, or not sent",
);
/// TLS handshakes of SIP that failed, by the side that began.
pub const SIP_TLS_HANDSHAKES_FAILED: Metric = counter(
    "tandem_sip_tls_handshakes_failed_total",
    "side",
    "TLS handshakes of SIP that failed, by the side that began",
);
/// SIP stream connections refused: too many.
pub const SIP_CONNECTIONS_REFUSED: Metric =
    counter("tandem_sip_connections_refused_total", "", "SIP stream connections refused: too many");
/// SIP streams closed for their messages could not be told apart.
pub const SIP_FRAMING_LOST: Metric =
    counter("tandem_sip_framing_lost_total", "", "SIP streams closed for their messages could not be told apart");
/// Times that a trunk's quirk changed what we did.
pub const SIP_QUIRKS: Metric =
    counter("tandem_sip_quirks_total", "trunk,quirk", "times that a trunk's quirk changed what we did");
/// Whether a trunk's target answers: 1 or 0, from its first change on.
pub const TRUNK_TARGET_UP: Metric = gauge(
    "tandem_trunk_target_up",
    "trunk,target",
    "whether a trunk's target answers: 1 or 0, from its first change on",
);
/// Lines of a trunk that are registered.
pub const TRUNK_LINES: Metric = gauge("tandem_trunk_lines_registered", "trunk", "lines of a trunk that are registered");
/// Media packets dropped: wrong source, malformed, not authentic.
pub const MEDIA_PACKETS_DROPPED: Metric = counter(
    "tandem_media_packets_dropped_total",
    "leg",
    "media packets dropped: wrong source, malformed, not authentic, for a joined call that is not there",
);
/// How good each direction of each leg was, over stretches of some seconds.
pub const MEDIA_MOS: Metric = Metric {
    name: "tandem_media_mos",
    kind: Kind::Histogram(&[1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.3]),
    unit: Unit::Count,
    labels: "leg,direction",
    meaning: "estimated mean opinion score of a direction of a leg, over stretches of some seconds",
};
/// Events that an operator must look at.
pub const ALARMS: Metric = counter("tandem_alarms_total", "what", "events that an operator must look at");

/// The table.
pub const METRICS: &[Metric] = &[
    CALLS,
    CALLS_ENDED,
    CALLS_REFUSED,
    LOGINS,
    SIP_MESSAGES,
    SIP_DATAGRAMS_DROPPED,
    SIP_CONNECTIONS_REFUSED,
    SIP_TLS_HANDSHAKES_FAILED,
    SIP_FRAMING_LOST,
    SIP_QUIRKS,
    TRUNK_TARGET_UP,
    TRUNK_LINES,
    MEDIA_PACKETS_DROPPED,
    MEDIA_MOS,
    ALARMS,
];

/// Tells the exporter what each metric means.
pub(super) fn describe() {
    for metric in METRICS {
        match metric.kind {
            Kind::Counter => metrics::describe_counter!(metric.name, metric.unit, metric.meaning),
            Kind::Gauge => metrics::describe_gauge!(metric.name, metric.unit, metric.meaning),
            Kind::Histogram(_) => metrics::describe_histogram!(metric.name, metric.unit, metric.meaning),
        }
    }
}

/// The names of the histograms, and the upper bounds of their buckets.
pub(super) fn histograms() -> impl Iterator<Item = (&'static str, &'static [f64])> {
    METRICS.iter().filter_map(|metric| match metric.kind {
        Kind::Histogram(bounds) => Some((metric.name, bounds)),
        Kind::Counter | Kind::Gauge => None,
    })
}
