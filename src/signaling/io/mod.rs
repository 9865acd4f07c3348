//! The shells: WebSockets, and the registry of who is there.

pub mod presence;
pub mod socket;
