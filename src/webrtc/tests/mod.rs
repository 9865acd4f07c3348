//! Peers against peers, in virtual time: ours against ours, and ours against the crate `rtc`.

#[cfg(feature = "demo")]
pub(crate) mod foreign;
#[cfg(feature = "demo")]
mod interop;
mod pair;
