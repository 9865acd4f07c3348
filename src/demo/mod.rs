//! What `tandem demo` and the integration tests run besides the gateway itself.

pub mod servers;
