//! Two calls that are joined: their trunk legs talk to each other, and the agent has left (RFC 7092 3.1).
//!
//! Each stays a call of its own, with its trunk leg, its record and its end. What they tell each other goes by way of
//! the registry, and a call never waits for it: whoever is gone is said to be gone.

use crate::call::Cause;
use crate::ids::CallId;
use crate::sip::StatusCode;
use crate::worker::DtmfDigit;

/// A call as another one knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partner {
    /// Which.
    pub call: CallId,
    /// The number of the worker that has its media.
    pub worker: usize,
}

/// What a call tells its partner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartnerWord {
    /// An answered call is asked to join the sender. Answered by `Joined` or `Gone`.
    Join,
    /// The call that was asked for has begun.
    Launched,
    /// It rings.
    Progressed(StatusCode),
    /// The sender is joined to the receiver from now on.
    Joined,
    /// The sender's party pressed a digit.
    Pressed(DtmfDigit),
    /// The sender is over, never began, or cannot be joined.
    Gone(Cause),
}
