//! Which recordings to list, and from where on.

use crate::clock::WallTime;
use crate::ids::{Extension, RecordingId};
use crate::recording::model::RecordingState;

/// What to list. Every field narrows; the default is everything, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordingFilter {
    /// Started at or after.
    pub from: Option<WallTime>,
    /// Started before.
    pub until: Option<WallTime>,
    /// The agent's extension.
    pub agent: Option<Extension>,
    /// The other party's number.
    pub number: Option<NumberFilter>,
    /// The state.
    pub state: Option<RecordingState>,
    /// Only those after this one in the list's order (older): the last row of the page before.
    pub after: Option<ListCursor>,
    /// Rows at most; 0 means 50, and no store gives more than 500.
    pub limit: u32,
}

impl RecordingFilter {
    /// The number of rows to give at most.
    pub const fn page_rows(&self) -> u32 {
        match self.limit {
            0 => 50,
            1..=500 => self.limit,
            _ => 500,
        }
    }
}

/// How to match the other party's number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NumberFilter {
    /// The whole number.
    Exact(String),
    /// Its beginning.
    Prefix(String),
    /// Any part of it.
    Substring(String),
}

/// A position in the list: newest first, ties by the greater id first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListCursor {
    /// `started` of the row.
    pub started: WallTime,
    /// Its id.
    pub recording: RecordingId,
}
