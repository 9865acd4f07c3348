//! SRTP and SRTCP (RFC 3711, RFC 7714): keys, and the contexts that protect and unprotect in the caller's buffer.

pub mod key;

pub use key::MasterKey;
pub use key::SrtpKeys;
pub use key::SrtpSuite;
