//! Whole pipelines under virtual time: what a browser sends is heard at the trunk, and the other way round.

mod bench;
mod browser_to_trunk;
mod digits;
mod gate_and_tap;
mod reports;
mod trunk_to_browser;
