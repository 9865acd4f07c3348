//! SRTP and SRTCP (RFC 3711, RFC 7714): keys, and the contexts that protect and unprotect in the caller's buffer.
//!
//! Key derivation rate 0, no MKI. A context knows neither addresses nor who sends.

pub mod context;
pub mod key;

mod transform;
mod window;

pub use context::OVERHEAD_BYTES_MAX;
pub use context::Protect;
pub use context::Unprotect;
pub use context::Unprotected;
pub use key::MasterKey;
pub use key::SrtpKeys;
pub use key::SrtpSuite;
