//! The shells: sockets, and the registry of who is there.

mod joining;
pub mod presence;
pub mod socket;
