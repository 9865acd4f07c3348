//! The shells: sockets, and the registry of who is there.

pub mod presence;
pub mod socket;
