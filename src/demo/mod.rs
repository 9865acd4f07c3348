//! What `tandem demo` and the integration tests run besides the gateway itself.

pub mod agent;
pub mod http;
pub mod ladder;
pub mod servers;
pub mod tone;
pub mod wav;
