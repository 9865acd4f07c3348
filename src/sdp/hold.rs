//! Directions of a stream, and what hold makes of them (RFC 3264 5.1, 6.1, 8.4).

use std::fmt;

/// Who sends, seen from the side that says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    /// Both.
    #[default]
    SendRecv,
    /// Only this side: it holds the other, perhaps with music.
    SendOnly,
    /// Only the other side.
    RecvOnly,
    /// Nobody.
    Inactive,
}

impl Direction {
    /// From both halves.
    #[expect(clippy::fn_params_excessive_bools, reason = "a direction is these two")]
    pub const fn new(send: bool, receive: bool) -> Self {
        match (send, receive) {
            (true, true) => Self::SendRecv,
            (true, false) => Self::SendOnly,
            (false, true) => Self::RecvOnly,
            (false, false) => Self::Inactive,
        }
    }

    /// Whether this side sends.
    pub const fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Whether this side receives.
    pub const fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    /// Our direction, given what we wish and what the peer says of itself: we send only where it receives, and the
    /// other way round. A sendonly peer is answered recvonly; two who hold are inactive.
    #[must_use]
    pub const fn against(self, peer: Self) -> Self {
        Self::new(self.sends() && peer.receives(), self.receives() && peer.sends())
    }

    /// The direction without what a `c=0.0.0.0` takes: its sender does not want to receive (RFC 3264 8.4).
    #[must_use]
    pub const fn without_receiving(self) -> Self {
        Self::new(self.sends(), false)
    }

    /// Reads the attribute's name.
    pub fn parse(attribute: &str) -> Option<Self> {
        match attribute {
            "sendrecv" => Some(Self::SendRecv),
            "sendonly" => Some(Self::SendOnly),
            "recvonly" => Some(Self::RecvOnly),
            "inactive" => Some(Self::Inactive),
            _ => None,
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Direction::{Inactive, RecvOnly, SendOnly, SendRecv};
    use super::*;

    #[test]
    fn a_held_side_only_receives() {
        for (wish, peer, ours) in [
            (SendRecv, SendRecv, SendRecv),
            (SendRecv, SendOnly, RecvOnly),
            (SendRecv, RecvOnly, SendOnly),
            (SendRecv, Inactive, Inactive),
            (SendOnly, SendRecv, SendOnly),
            (SendOnly, SendOnly, Inactive),
            (SendOnly, RecvOnly, SendOnly),
            (Inactive, SendRecv, Inactive),
        ] {
            assert_eq!(wish.against(peer), ours, "{wish} against {peer}");
        }
    }

    #[test]
    fn names_read_back() {
        for direction in [SendRecv, SendOnly, RecvOnly, Inactive] {
            assert_eq!(Direction::parse(&direction.to_string()), Some(direction));
        }
        assert_eq!(Direction::parse("both"), None);
    }
}
