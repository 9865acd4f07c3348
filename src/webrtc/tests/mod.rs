//! Peers against peers, in virtual time: ours against ours, and ours against the crate `rtc`.
#![expect(
    clippy::wildcard_enum_match_arm,
    clippy::format_collect,
    clippy::string_slice,
    clippy::excessive_nesting,
    reason = "tests name what they look for, and edit short ASCII texts"
)]

#[cfg(feature = "demo")]
pub(crate) mod foreign;
#[cfg(feature = "demo")]
mod interop;
mod pair;
