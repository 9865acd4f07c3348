//! PostgreSQL behind the traits of other rooms: the recordings' catalogue, the audit log, the call records.
//!
//! The gateway never needs the database for a call: what is to be written waits in the recorder's journal or in the
//! caller's own queue until [`Pool`] answers again.

pub mod audit;
pub mod audit_chain;
pub mod call_records;
pub mod call_trace;
pub mod catalog;
mod pool;
mod row;

pub use pool::{Health, MigrateError, Pool, StoreError, migrate};
