//! What a trunk's configuration says of its dialogs.

use std::time::Duration;

use crate::sip::quirk::Quirk;
use crate::sip::quirk::Quirks;

/// When a provisional response of ours is sent reliably (RFC 3262).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReliableProvisionals {
    /// Where the INVITE requires it.
    #[default]
    Required,
    /// Where the INVITE requires or supports it.
    Offered,
}

/// Whether sessions have a time to live that refreshes renew (RFC 4028).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SessionTimerPolicy {
    /// Never; an INVITE that requires it is 420.
    Off,
    /// Where the peer asks.
    #[default]
    Accept,
    /// Always; we refresh where the peer cannot.
    Require,
}

/// The smallest session interval that any trunk may ask for (RFC 4028 4).
pub const MIN_SE: Duration = Duration::from_secs(90);

/// What a usage must know of its trunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Reliability of our provisional responses.
    pub reliable_provisionals: ReliableProvisionals,
    /// Session timers.
    pub session_timer: SessionTimerPolicy,
    /// The session interval that we ask for: at least [`MIN_SE`], whole seconds.
    pub session_expires: Duration,
    /// What is done otherwise for this peer.
    pub quirks: Quirks,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            reliable_provisionals: ReliableProvisionals::default(),
            session_timer: SessionTimerPolicy::default(),
            session_expires: Duration::from_mins(30),
            quirks: Quirks::default(),
        }
    }
}

impl Terms {
    /// The extensions that we name in Supported (RFC 3261 20.37).
    pub const fn supported(&self) -> &'static str {
        match (self.has_timers(), self.quirks.contains(Quirk::No100rel)) {
            (false, false) => "100rel, replaces",
            (true, false) => "100rel, replaces, timer",
            (false, true) => "replaces",
            (true, true) => "replaces, timer",
        }
    }

    /// Whether a peer may require this extension: `100rel` always, for only the peer that is to PRACK knows that it can.
    pub fn supports(&self, tag: &str) -> bool {
        let is_timer = tag.eq_ignore_ascii_case("timer") && self.has_timers();
        is_timer || ["100rel", "replaces"].iter().any(|ours| ours.eq_ignore_ascii_case(tag))
    }

    const fn has_timers(&self) -> bool {
        !matches!(self.session_timer, SessionTimerPolicy::Off)
    }
}
