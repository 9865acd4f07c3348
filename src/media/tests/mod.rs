//! Whole pipelines under virtual time: what a browser sends is heard at the trunk, and the other way round.

#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "tones are made in floating point")]
pub(crate) mod bench;
mod browser_to_trunk;
mod digits;
mod gate_and_tap;
pub(crate) mod hold;
mod reports;
mod trunk_to_browser;
