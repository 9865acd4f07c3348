//! Logs and metrics: set up once, at the edge. Cores only use the `tracing` and `metrics` macros.

pub mod error_chain;
pub mod init;
pub mod metrics;
