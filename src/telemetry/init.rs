//! Starts logging and metrics for the process.

use metrics_exporter_prometheus::Matcher;
use metrics_exporter_prometheus::PrometheusBuilder;
use metrics_exporter_prometheus::PrometheusHandle;
use tracing_subscriber::EnvFilter;

use crate::telemetry::metrics;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For a terminal.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged, and how.
#[derive(Debug, Clone)]
pub struct Config {
    /// A level, or directives such as `info,tandem::sip=debug`.
    pub level: String,
    /// The look.
    pub format: Format,
}

/// Why logging or metrics could not be started.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The level is none.
    #[error("log.level {level:?} is no level and no list of directives")]
    Level {
        /// As configured.
        level: String,
        /// Why.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// Something else in this process has a recorder already.
    #[error("metrics could not be started")]
    Metrics(#[source] metrics_exporter_prometheus::BuildError),
}

/// Starts both; the handle renders what `/metrics` shows.
///
/// Control characters from the wire cannot forge a line: both formats escape them.
pub fn init(config: &Config) -> Result<PrometheusHandle, InitError> {
    let filter =
        EnvFilter::try_new(&config.level).map_err(|source| InitError::Level { level: config.level.clone(), source })?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second start in one process (tests) keeps the first.
    let _already_started = match config.format {
        Format::Text => lines.with_ansi(false).try_init(),
        Format::Json => lines.json().flatten_event(true).try_init(),
    };
    let mut exporter = PrometheusBuilder::new();
    for (name, bounds) in metrics::histograms() {
        let name = Matcher::Full(name.to_owned());
        exporter = exporter.set_buckets_for_metric(name, bounds).map_err(InitError::Metrics)?;
    }
    let handle = exporter.install_recorder().map_err(InitError::Metrics)?;
    metrics::describe();
    Ok(handle)
}
