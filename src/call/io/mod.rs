//! Runs calls: one task a call, and the registry that finds it.

pub mod record_backlog;
pub mod records;
pub mod registry;
pub mod rooms;
pub mod task;
mod trace;
