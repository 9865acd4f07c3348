//! Which logins were ended before their time.

use std::collections::BTreeMap;

use crate::auth::session_token::Claims;
use crate::auth::session_token::LoginId;
use crate::auth::session_token::seconds;
use crate::clock::WallTime;
use crate::limits::REVOCATIONS_MAX;

/// Ended logins, until their tokens expire by themselves.
///
/// Bounded: where there are too many, the oldest login is forgotten by name and every login up to its time is
/// refused instead. So a full table ends sessions, and never gives one back.
#[derive(Debug, Default)]
pub struct Revocations {
    ended: BTreeMap<LoginId, Ended>,
    refused_until_s: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Ended {
    logged_in_s: u64,
    expires_s: u64,
}

impl Revocations {
    /// Ends the login of `claims`.
    pub fn revoke(&mut self, claims: &Claims, now: WallTime) {
        self.ended.retain(|_, ended| seconds(now) < ended.expires_s);
        if self.ended.len() >= REVOCATIONS_MAX {
            let oldest = self.ended.iter().min_by_key(|(_, ended)| ended.logged_in_s).map(|(login, ended)| (*login, ended.logged_in_s));
            if let Some((login, logged_in_s)) = oldest {
                self.ended.remove(&login);
                self.refused_until_s = self.refused_until_s.max(Some(logged_in_s));
            }
        }
        self.ended.insert(claims.login, Ended { logged_in_s: claims.logged_in_s, expires_s: claims.expires_s });
    }

    /// Whether the login of `claims` was ended.
    pub fn is_revoked(&self, claims: &Claims) -> bool {
        self.ended.contains_key(&claims.login) || self.refused_until_s.is_some_and(|until| claims.logged_in_s <= until)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;
    use crate::auth::Identity;

    const NOW: WallTime = WallTime(1_800_000_000_000_000_000);

    fn login(seed: u64, at: WallTime) -> Claims {
        let identity =
            Identity { user: "alice".to_owned(), display_name: String::new(), extension: None, number: None, roles: std::collections::BTreeSet::new() };
        Claims::of_login(LoginId::generate(&mut StdRng::seed_from_u64(seed)), identity, at, Duration::from_hours(1))
    }

    #[test]
    fn only_the_ended_login_is_refused() {
        let mut revocations = Revocations::default();
        revocations.revoke(&login(1, NOW), NOW);
        assert!(revocations.is_revoked(&login(1, NOW)));
        assert!(!revocations.is_revoked(&login(2, NOW)));
    }

    #[test]
    fn expired_logins_leave_the_table() {
        let mut revocations = Revocations::default();
        revocations.revoke(&login(1, NOW), NOW);
        let later = NOW.after(Duration::from_hours(1));
        revocations.revoke(&login(2, later), later);
        assert_eq!(revocations.ended.len(), 1);
    }

    #[test]
    fn a_full_table_refuses_the_oldest_logins_and_gives_none_back() {
        let mut revocations = Revocations::default();
        let count = REVOCATIONS_MAX as u64 + 1;
        for seed in 0..count {
            revocations.revoke(&login(seed, NOW.after(Duration::from_secs(seed / 1_000))), NOW);
        }
        assert_eq!(revocations.ended.len(), REVOCATIONS_MAX);
        for seed in 0..count {
            assert!(revocations.is_revoked(&login(seed, NOW.after(Duration::from_secs(seed / 1_000)))));
        }
        assert!(!revocations.is_revoked(&login(count, NOW.after(Duration::from_mins(1)))));
    }
}
