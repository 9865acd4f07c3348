//! The budget of binds: guessing stops here before the directory locks the account.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::auth::user_name::UserName;
use crate::limits::LOCKOUT_USERS_MAX;

/// How many guesses at one user, over all addresses.
#[derive(Debug, Clone)]
pub struct LockoutConfig {
    /// Failed binds of one user within the window, over all addresses; stay below the directory's own threshold.
    pub failures_max: usize,
    /// How many of these are kept for browsers that bear the cookie of an earlier login of this user.
    pub reserved: usize,
    /// How long a failed bind counts; stay above the directory's own window.
    pub window: Duration,
}

impl Default for LockoutConfig {
    fn default() -> Self {
        Self { failures_max: 8, reserved: 3, window: Duration::from_mins(30) }
    }
}

/// Whether a bind may be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Yes; it counts against the budget until its result says otherwise.
    Granted,
    /// Not before this time has passed.
    Refused {
        /// For Retry-After.
        retry_after: Duration,
    },
}

/// Binds that failed, or whose result is not known yet, by user.
#[derive(Debug)]
pub struct Lockout {
    config: LockoutConfig,
    attempts: BTreeMap<UserName, VecDeque<Instant>>,
}

impl Lockout {
    /// An untouched budget for everybody.
    pub const fn new(config: LockoutConfig) -> Self {
        Self { config, attempts: BTreeMap::new() }
    }

    /// Asks to bind as `user`. `known_browser`: it bears the signed cookie of an earlier login of this very user.
    ///
    /// Granted binds count at once, so that a hundred at the same time are not a hundred guesses.
    pub fn admit(&mut self, user: &UserName, known_browser: bool, now: Instant) -> Admission {
        self.make_room(user);
        let attempts = self.attempts.entry(user.clone()).or_default();
        forget(attempts, self.config.window, now);
        let kept_back = if known_browser { 0 } else { self.config.reserved };
        let budget = self.config.failures_max.saturating_sub(kept_back);
        if attempts.len() < budget {
            attempts.push_back(now);
            return Admission::Granted;
        }
        // One more fits once so many of the oldest have left that fewer than the budget remain.
        let leaves =
            attempts.get(attempts.len().saturating_sub(budget.max(1))).or(attempts.front()).copied().unwrap_or(now);
        Admission::Refused { retry_after: (leaves + self.config.window).saturating_duration_since(now) }
    }

    /// The directory accepted the password: its own counter starts anew, and so does ours.
    pub fn succeeded(&mut self, user: &UserName) {
        self.attempts.remove(user);
    }

    /// The directory did not judge the password (it was down, or the account is disabled): gives one attempt back.
    pub fn not_judged(&mut self, user: &UserName) {
        if let Some(attempts) = self.attempts.get_mut(user) {
            attempts.pop_back();
            if attempts.is_empty() {
                self.attempts.remove(user);
            }
        }
    }

    /// When the table can be made smaller by [`Self::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.attempts.values().filter_map(|attempts| attempts.back()).min().map(|last| *last + self.config.window)
    }

    /// Forgets what no longer counts.
    pub fn handle_timeout(&mut self, now: Instant) {
        let window = self.config.window;
        self.attempts.retain(|_, attempts| {
            forget(attempts, window, now);
            !attempts.is_empty()
        });
    }

    /// A flood of made-up names pushes out made-up names: those guessed at most are kept.
    fn make_room(&mut self, user: &UserName) {
        if self.attempts.len() < LOCKOUT_USERS_MAX || self.attempts.contains_key(user) {
            return;
        }
        let least = self
            .attempts
            .iter()
            .min_by_key(|(_, attempts)| (attempts.len(), attempts.back().copied()))
            .map(|(user, _)| user.clone());
        if let Some(least) = least {
            self.attempts.remove(&least);
        }
    }
}

fn forget(attempts: &mut VecDeque<Instant>, window: Duration, now: Instant) {
    while attempts.front().is_some_and(|at| now.saturating_duration_since(*at) >= window) {
        attempts.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    fn user(name: &str) -> UserName {
        UserName::parse(name).unwrap()
    }

    fn lockout() -> (Lockout, Instant) {
        let config = LockoutConfig { failures_max: 5, reserved: 2, window: Duration::from_mins(1) };
        (Lockout::new(config), Clock::system().now())
    }

    #[test]
    fn strangers_spend_their_share_and_a_known_browser_still_logs_in() {
        let (mut lockout, now) = lockout();
        let alice = user("alice");
        for _ in 0..3 {
            assert_eq!(lockout.admit(&alice, false, now), Admission::Granted);
        }
        assert_eq!(lockout.admit(&alice, false, now), Admission::Refused { retry_after: Duration::from_mins(1) });
        assert_eq!(lockout.admit(&alice, true, now), Admission::Granted);
        assert_eq!(lockout.admit(&alice, true, now), Admission::Granted);
        assert!(matches!(lockout.admit(&alice, true, now), Admission::Refused { .. }));
        assert_eq!(lockout.admit(&user("bob"), false, now), Admission::Granted);
    }

    #[test]
    fn the_time_to_wait_is_the_time_after_which_one_more_is_granted() {
        let (mut lockout, now) = lockout();
        let alice = user("alice");
        for second in [0, 10, 20] {
            assert_eq!(lockout.admit(&alice, false, now + Duration::from_secs(second)), Admission::Granted);
        }
        // Two more by a known browser: strangers now wait until three of the five have left.
        for second in [21, 22] {
            assert_eq!(lockout.admit(&alice, true, now + Duration::from_secs(second)), Admission::Granted);
        }
        let at = now + Duration::from_secs(30);
        let Admission::Refused { retry_after } = lockout.admit(&alice, false, at) else { panic!("granted") };
        assert_eq!(retry_after, Duration::from_secs(50));
        let before = at + retry_after.checked_sub(Duration::from_millis(1)).unwrap();
        assert!(matches!(lockout.admit(&alice, false, before), Admission::Refused { .. }));
        assert_eq!(lockout.admit(&alice, false, at + retry_after), Admission::Granted);
    }

    #[test]
    fn a_success_or_an_absent_directory_costs_nothing() {
        let (mut lockout, now) = lockout();
        let alice = user("alice");
        for _ in 0..20 {
            assert_eq!(lockout.admit(&alice, false, now), Admission::Granted);
            lockout.not_judged(&alice);
        }
        assert_eq!(lockout.admit(&alice, false, now), Admission::Granted);
        assert_eq!(lockout.admit(&alice, false, now), Admission::Granted);
        lockout.succeeded(&alice);
        assert_eq!(lockout.poll_timeout(), None);
    }

    #[test]
    fn old_attempts_are_forgotten() {
        let (mut lockout, now) = lockout();
        lockout.admit(&user("alice"), false, now);
        assert_eq!(lockout.poll_timeout(), Some(now + Duration::from_mins(1)));
        lockout.handle_timeout(now + Duration::from_mins(1));
        assert_eq!(lockout.poll_timeout(), None);
    }

    #[test]
    fn a_flood_of_names_does_not_free_the_one_that_is_guessed_at() {
        let (mut lockout, now) = lockout();
        let alice = user("alice");
        for _ in 0..3 {
            lockout.admit(&alice, false, now);
        }
        for index in 0..LOCKOUT_USERS_MAX + 10 {
            lockout.admit(&user(&format!("made-up-{index}")), false, now);
        }
        assert_eq!(lockout.attempts.len(), LOCKOUT_USERS_MAX);
        assert!(matches!(lockout.admit(&alice, false, now), Admission::Refused { .. }));
    }
}
