//! What this room can be told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::ids::Extension;
use crate::limits::{
    SIGNALING_CALLS_MAX, SIGNALING_MESSAGES_PER_SECOND, SIGNALING_RESUME_GRACE, SIGNALING_SESSIONS_MAX,
};
use crate::signaling::message::IceServer;

/// The signalling room's settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// Origins whose pages may open a session, each as a browser writes it (`https://phone.example`), compared exactly.
    pub origins: BTreeSet<String>,
    /// Lets clients in that send no `Origin`, as no browser does: headless agents.
    pub allow_no_origin: bool,
    /// How long a session lives without a socket.
    pub resume_grace: Duration,
    /// Sessions at once over all users.
    pub sessions_max: usize,
    /// Calls at once of one session.
    pub calls_max: usize,
    /// Another number of calls for some agents.
    pub calls_max_of: BTreeMap<Extension, usize>,
    /// Messages a second from one session; the burst is the same.
    pub messages_per_second: u32,
    /// STUN and TURN servers handed to clients.
    pub ice_servers: Vec<IceServer>,
    /// Whether emergency numbers can be dialled here; clients are told, for where not they must say so.
    pub emergency_calls: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            origins: BTreeSet::new(),
            allow_no_origin: false,
            resume_grace: SIGNALING_RESUME_GRACE,
            sessions_max: SIGNALING_SESSIONS_MAX,
            calls_max: SIGNALING_CALLS_MAX,
            calls_max_of: BTreeMap::new(),
            messages_per_second: SIGNALING_MESSAGES_PER_SECOND,
            ice_servers: Vec::new(),
            emergency_calls: true,
        }
    }
}

impl Config {
    /// Whether a request that bears `origin` may open a session.
    pub fn admits_origin(&self, origin: Option<&str>) -> bool {
        match origin {
            Some(origin) => self.origins.contains(origin),
            None => self.allow_no_origin,
        }
    }

    /// How many calls an agent may have at once.
    pub fn calls_max_for(&self, extension: Option<&Extension>) -> usize {
        extension.and_then(|extension| self.calls_max_of.get(extension)).copied().unwrap_or(self.calls_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_compared_exactly() {
        let config = Config { origins: BTreeSet::from(["https://phone.example".to_owned()]), ..Config::default() };
        assert!(config.admits_origin(Some("https://phone.example")));
        for other in [
            "http://phone.example",
            "https://phone.example:444",
            "https://phone.example.evil",
            "https://a.phone.example",
            "null",
            "",
        ] {
            assert!(!config.admits_origin(Some(other)), "{other}");
        }
    }

    #[test]
    fn a_missing_origin_needs_leave() {
        assert!(!Config::default().admits_origin(None));
        let lenient = Config { allow_no_origin: true, ..Config::default() };
        assert!(lenient.admits_origin(None));
        assert!(!lenient.admits_origin(Some("https://evil.example")));
    }

    #[test]
    fn one_agent_may_have_another_number_of_calls() {
        let bob = Extension::new("1002");
        let config = Config { calls_max_of: BTreeMap::from([(bob.clone(), 200)]), ..Config::default() };
        assert_eq!(config.calls_max_for(Some(&bob)), 200);
        assert_eq!(config.calls_max_for(Some(&Extension::new("1001"))), 8);
    }
}
