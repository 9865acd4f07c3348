//! Tandem joins a PBX's SIP trunk to agents in a browser. Read `ARCHITECTURE.md` first; this is the bird's-eye map.
//!
//! ```text
//!             cli · demo · sim                    process and harnesses
//!                │
//!             gateway                             composition root: the only room that knows all rooms
//!    ┌───────────┼────────────┐
//!   api        store        config                edges: HTTP, PostgreSQL, TOML (depend inward)
//!    └───────────┼────────────┘
//!               call                              the B2BUA: the only room that sees both sides
//!  ┌──────┬──────┼────────┬─────────┬────────┐
//! sip  signaling │     worker    recording  routing · auth
//!                │     ┌──┴──┐       │
//!               sdp  webrtc media ── tap          the worker's thread owns peer and pipeline
//!                 └── codec ── rtp                protocol kits (pure)
//!                          │
//!          ids · clock · pii · limits · timer     vocabulary
//! ```

pub mod clock;
pub mod ids;
pub mod limits;
pub mod pii;
pub mod timer;

pub mod codec;
pub mod rtp;

pub mod media;
pub mod sdp;
pub mod sip;
pub mod webrtc;
pub mod worker;

pub mod auth;
pub mod recording;
pub mod routing;
pub mod signaling;
pub mod trace;

pub mod call;

pub mod api;
pub mod store;

pub mod telemetry;

pub mod config;
pub mod gateway;
pub mod shutdown;

pub mod cli;

#[cfg(feature = "demo")]
pub mod demo;

#[cfg(any(test, feature = "demo"))]
pub mod fuzz;
#[cfg(feature = "sim")]
pub mod sim;
