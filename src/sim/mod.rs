//! Whole calls under virtual time, from a seed.
//!
//! The real user agent and the real calls stand between a scripted PBX, scripted browsers, a scripted media plane and
//! recorder, and a wire that loses, repeats and reorders. A reference watches the wire and everybody's books, and says
//! what was promised and not kept. Nothing here sleeps, and a seed replays to the byte.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a scripted party hears what its script speaks of; what else there is, and will be, it passes over"
)]

pub mod agenda;
pub mod browser;
pub mod media;
mod partners;
pub mod peer;
mod promises;
pub mod reference;
mod reloads;
pub mod script;
mod seat;
mod site;
pub mod wire;
pub mod world;

pub use world::Summary;
pub use world::run;
