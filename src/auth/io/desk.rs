//! The desk that every login, session check and logout passes: keys, budget and ended sessions in one place.

#![expect(clippy::disallowed_types, reason = "two small tables that all connections share, locked for one look-up")]

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use rand::RngCore;
use rand::rngs::StdRng;
use tokio::sync::broadcast;

use crate::auth::Identity;
use crate::auth::lockout::{Admission, Lockout, LockoutConfig};
use crate::auth::revocation::Revocations;
use crate::auth::session_token::{Claims, LoginId, Purpose, TokenError, TokenKeys};
use crate::auth::user_name::UserName;
use crate::clock::WallTime;

/// Logouts that a slow listener may fall behind before it must look for itself.
const LOGOUTS_QUEUED: usize = 256;

/// How long things last.
#[derive(Debug, Clone)]
pub struct DeskConfig {
    /// Lifetime of a session cookie.
    pub session_lifetime: Duration,
    /// Lifetime of a signalling token: long enough to open a socket, not to be found later.
    pub signaling_lifetime: Duration,
    /// How long a browser is known by its cookie.
    pub known_browser_lifetime: Duration,
    /// The budget of binds.
    pub lockout: LockoutConfig,
}

impl Default for DeskConfig {
    fn default() -> Self {
        Self {
            session_lifetime: Duration::from_hours(12),
            signaling_lifetime: Duration::from_mins(5),
            known_browser_lifetime: Duration::from_hours(90 * 24),
            lockout: LockoutConfig::default(),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Desk {
    config: DeskConfig,
    keys: TokenKeys,
    lockout: Mutex<Lockout>,
    revocations: Mutex<Revocations>,
    rng: Mutex<StdRng>,
    logouts: broadcast::Sender<LoginId>,
}

/// The tokens of a fresh login.
#[derive(Debug)]
pub struct LoginTokens {
    /// What the session cookie says.
    pub claims: Claims,
    /// For the session cookie.
    pub session: String,
    /// For `session.open`.
    pub signaling: String,
    /// For the cookie by which the browser is known later.
    pub known_browser: String,
}

impl Desk {
    /// A desk that signs with keys derived from `secret` and names logins from `rng`.
    pub fn new(config: DeskConfig, secret: &[u8; 32], rng: StdRng) -> Self {
        let lockout = Mutex::new(Lockout::new(config.lockout.clone()));
        let (logouts, _) = broadcast::channel(LOGOUTS_QUEUED);
        Self {
            config,
            keys: TokenKeys::new(secret),
            lockout,
            revocations: Mutex::default(),
            rng: Mutex::new(rng),
            logouts,
        }
    }

    /// How long things last.
    pub const fn config(&self) -> &DeskConfig {
        &self.config
    }

    /// Whether a bind as `user` may be tried; `known_browser` is that cookie's value, where there is one.
    pub fn admit(&self, user: &UserName, known_browser: Option<&str>, now: Instant, wall: WallTime) -> Admission {
        let claims = known_browser.and_then(|token| self.keys.verify(Purpose::KnownBrowser, token, wall).ok());
        let known = claims.is_some_and(|claims| claims.identity.user == user.as_str());
        locked(&self.lockout).admit(user, known, now)
    }

    /// The directory accepted the password of `user`.
    pub fn succeeded(&self, user: &UserName) {
        locked(&self.lockout).succeeded(user);
    }

    /// The directory did not judge the password of `user`.
    pub fn not_judged(&self, user: &UserName) {
        locked(&self.lockout).not_judged(user);
    }

    /// Begins a session of `identity`.
    pub fn open(&self, identity: Identity, wall: WallTime) -> LoginTokens {
        let login = LoginId::generate(&mut *locked(&self.rng) as &mut dyn RngCore);
        // Of a browser that is only to be known again, a stolen cookie tells no rights.
        let named = Identity { roles: std::collections::BTreeSet::new(), ..identity.clone() };
        let known = Claims::of_login(login, named, wall, self.config.known_browser_lifetime);
        let claims = Claims::of_login(login, identity, wall, self.config.session_lifetime);
        LoginTokens {
            session: self.keys.issue(Purpose::Session, &claims),
            signaling: self.signaling_token(&claims, wall),
            known_browser: self.keys.issue(Purpose::KnownBrowser, &known),
            claims,
        }
    }

    /// A fresh signalling token of a session.
    pub fn signaling_token(&self, claims: &Claims, wall: WallTime) -> String {
        self.keys.issue(Purpose::Signaling, &claims.shortened(wall, self.config.signaling_lifetime))
    }

    /// Whose token it is. For the cookie with [`Purpose::Session`], for `session.open` with [`Purpose::Signaling`].
    pub fn verify(&self, purpose: Purpose, token: &str, wall: WallTime) -> Result<Claims, TokenError> {
        let claims = self.keys.verify(purpose, token, wall)?;
        if locked(&self.revocations).is_revoked(&claims) { Err(TokenError::Revoked) } else { Ok(claims) }
    }

    /// Whether a session that was verified before has been ended since.
    pub fn is_revoked(&self, claims: &Claims) -> bool {
        locked(&self.revocations).is_revoked(claims)
    }

    /// Ends a session: its tokens are refused from now on, and whoever listens is told.
    pub fn revoke(&self, claims: &Claims, wall: WallTime) {
        locked(&self.revocations).revoke(claims, wall);
        // No listener is no error: then there is no socket to close.
        self.logouts.send(claims.login).unwrap_or_default();
    }

    /// Hears of every ended session, to close its sockets. Who falls behind asks [`Self::is_revoked`].
    pub fn logouts(&self) -> broadcast::Receiver<LoginId> {
        self.logouts.subscribe()
    }

    /// Forgets attempts that no longer count; to be called every few minutes.
    pub fn sweep(&self, now: Instant) {
        locked(&self.lockout).handle_timeout(now);
    }
}

/// The table, also after a panic elsewhere: every change to it is one step.
fn locked<T>(table: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}
