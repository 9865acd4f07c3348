//! Signed tokens: the session cookie, the short signalling token, the mark of a browser known from before.
//!
//! A token is `base64url(claims) "." base64url(HMAC-SHA256)`. Each purpose has a key of its own, so that a token
//! made for one is worthless for another.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::RngCore;
use serde::{Deserialize, Serialize};

use crate::auth::Identity;
use crate::clock::WallTime;
use crate::limits::TOKEN_BYTES_MAX;

/// Names one login: every token made from it bears the name, and a revocation goes by it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LoginId(u128);

impl LoginId {
    /// A new name, from chance.
    pub fn generate(rng: &mut dyn RngCore) -> Self {
        Self(u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64()))
    }
}

impl LoginId {
    /// All of it, as 32 hexadecimal digits: within this process only, never for a log.
    pub fn to_hex(self) -> String {
        format!("{:032x}", self.0)
    }
}

impl fmt::Debug for LoginId {
    // The beginning is enough to follow a session through a log, and no use to anybody who reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LoginId({:08x}…)", self.0 >> 96)
    }
}

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// The session cookie.
    Session,
    /// The token in `session.open`.
    Signaling,
    /// The cookie of an earlier login: it opens nothing but the reserved share of the bind budget.
    KnownBrowser,
}

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The login it comes from.
    pub login: LoginId,
    /// Who.
    pub identity: Identity,
    /// When the login was, in seconds since 1970.
    pub logged_in_s: u64,
    /// The token is good before this time, in seconds since 1970.
    pub expires_s: u64,
}

/// Why a token is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum TokenError {
    /// It is no token of ours, or was made for another purpose.
    #[error("the token is not one of ours")]
    Invalid,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// Its login was ended.
    #[error("the session was ended")]
    Revoked,
}

/// The keys under which tokens are signed, one for each purpose.
pub struct TokenKeys {
    session: hmac::Key,
    signaling: hmac::Key,
    known_browser: hmac::Key,
}

impl fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKeys")
    }
}

impl TokenKeys {
    /// Derives the keys from one secret. Nodes that share it accept each other's tokens.
    pub fn new(secret: &[u8; 32]) -> Self {
        let root = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let derive = |label: &[u8]| hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&root, label).as_ref());
        Self {
            session: derive(b"tandem session"),
            signaling: derive(b"tandem signaling"),
            known_browser: derive(b"tandem known browser"),
        }
    }

    /// Signs `claims` for `purpose`.
    pub fn issue(&self, purpose: Purpose, claims: &Claims) -> String {
        // Claims hold nothing that JSON cannot say.
        let body = URL_SAFE_NO_PAD.encode(serde_json::to_vec(claims).unwrap_or_default());
        let mac = hmac::sign(self.key(purpose), body.as_bytes());
        format!("{body}.{}", URL_SAFE_NO_PAD.encode(mac.as_ref()))
    }

    /// Checks signature, purpose and time, in this order.
    pub fn verify(&self, purpose: Purpose, token: &str, now: WallTime) -> Result<Claims, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Invalid);
        }
        let (body, mac) = token.split_once('.').ok_or(TokenError::Invalid)?;
        let mac = URL_SAFE_NO_PAD.decode(mac).ok().ok_or(TokenError::Invalid)?;
        hmac::verify(self.key(purpose), body.as_bytes(), &mac).ok().ok_or(TokenError::Invalid)?;
        let claims = URL_SAFE_NO_PAD.decode(body).ok().and_then(|json| serde_json::from_slice::<Claims>(&json).ok());
        let claims = claims.ok_or(TokenError::Invalid)?;
        if seconds(now) < claims.expires_s { Ok(claims) } else { Err(TokenError::Expired) }
    }

    const fn key(&self, purpose: Purpose) -> &hmac::Key {
        match purpose {
            Purpose::Session => &self.session,
            Purpose::Signaling => &self.signaling,
            Purpose::KnownBrowser => &self.known_browser,
        }
    }
}

impl Claims {
    /// Claims of a login that happens now and lasts for `lifetime`.
    pub fn of_login(login: LoginId, identity: Identity, now: WallTime, lifetime: Duration) -> Self {
        Self { login, identity, logged_in_s: seconds(now), expires_s: seconds(now).saturating_add(lifetime.as_secs()) }
    }

    /// The same login for `lifetime` from now, but never longer than these claims last.
    #[must_use]
    pub fn shortened(&self, now: WallTime, lifetime: Duration) -> Self {
        let expires_s = seconds(now).saturating_add(lifetime.as_secs()).min(self.expires_s);
        Self { expires_s, ..self.clone() }
    }
}

/// Whole seconds since 1970.
pub const fn seconds(time: WallTime) -> u64 {
    time.0 / 1_000_000_000
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;
    use crate::auth::Role;

    const NOW: WallTime = WallTime(1_800_000_000_000_000_000);

    fn claims() -> Claims {
        let identity = Identity {
            user: "alice".to_owned(),
            display_name: "Alice".to_owned(),
            extension: None,
            number: None,
            roles: BTreeSet::from([Role::Agent]),
        };
        Claims::of_login(LoginId::generate(&mut StdRng::seed_from_u64(1)), identity, NOW, Duration::from_mins(1))
    }

    #[test]
    fn a_token_says_what_was_signed_until_it_expires() {
        let keys = TokenKeys::new(&[7; 32]);
        let token = keys.issue(Purpose::Session, &claims());
        assert_eq!(keys.verify(Purpose::Session, &token, NOW), Ok(claims()));
        assert_eq!(keys.verify(Purpose::Session, &token, NOW.after(Duration::from_secs(59))), Ok(claims()));
        assert_eq!(keys.verify(Purpose::Session, &token, NOW.after(Duration::from_mins(1))), Err(TokenError::Expired));
    }

    #[test]
    fn a_token_is_worthless_for_another_purpose_and_under_another_secret() {
        let keys = TokenKeys::new(&[7; 32]);
        let token = keys.issue(Purpose::Signaling, &claims());
        assert_eq!(keys.verify(Purpose::Session, &token, NOW), Err(TokenError::Invalid));
        assert_eq!(keys.verify(Purpose::KnownBrowser, &token, NOW), Err(TokenError::Invalid));
        assert_eq!(TokenKeys::new(&[8; 32]).verify(Purpose::Signaling, &token, NOW), Err(TokenError::Invalid));
    }

    #[test]
    fn every_changed_character_is_found() {
        let keys = TokenKeys::new(&[7; 32]);
        let token = keys.issue(Purpose::Session, &claims());
        for index in 0..token.len() {
            let mut forged = token.clone().into_bytes();
            forged[index] = if forged[index] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).unwrap();
            assert_eq!(keys.verify(Purpose::Session, &forged, NOW), Err(TokenError::Invalid), "at {index}");
        }
        for garbage in ["", ".", "a.b", "….…", &"a".repeat(10_000)] {
            assert_eq!(keys.verify(Purpose::Session, garbage, NOW), Err(TokenError::Invalid));
        }
    }

    #[test]
    fn a_signalling_token_never_outlives_its_session() {
        let late = NOW.after(Duration::from_secs(50));
        assert_eq!(claims().shortened(late, Duration::from_secs(30)).expires_s, claims().expires_s);
        assert_eq!(claims().shortened(NOW, Duration::from_secs(30)).expires_s, claims().expires_s - 30);
    }
}
