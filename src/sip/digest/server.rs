//! Digest as a server (RFC 7616 3.3, RFC 8760 2.3): challenges with nonces that need no table, and who they let in.
//!
//! A nonce says when it was made and proves with an HMAC that we made it. Only nonces that were used are remembered,
//! with their count, so that no request is taken twice; where that table is full, everything older than what it forgot
//! counts as stale.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_lc_rs::constant_time;
use aws_lc_rs::hmac;
use secrecy::SecretString;

use crate::limits;
use crate::sip::digest::Algorithm;
use crate::sip::digest::DigestParams;
use crate::sip::digest::Hash;
use crate::sip::digest::Proof;
use crate::sip::digest::hex;
use crate::sip::digest::secret_hash;
use crate::sip::message::HeaderName;
use crate::sip::message::Request;
use crate::sip::message::Uri;

/// How long a nonce is taken.
pub const NONCE_LIFE: Duration = Duration::from_mins(5);
/// Wrong answers of one call; then it is 403.
const WRONG_MAX: u32 = 3;

/// What is known of a user's password.
#[derive(Debug, Clone)]
pub enum UserSecret {
    /// The password itself.
    Password(SecretString),
    /// H(username:realm:password) in lower-case hexadecimal, for MD5 only or for SHA-256 as well.
    Hashed {
        /// With MD5.
        md5: SecretString,
        /// With SHA-256.
        sha256: Option<SecretString>,
    },
}

/// Who may come in, and by which realm they are asked.
#[derive(Debug, Clone)]
pub struct Guard {
    /// The realm of our challenges.
    pub realm: String,
    /// By user name.
    pub users: BTreeMap<String, UserSecret>,
}

impl Guard {
    /// The algorithms that every user can answer, the strongest first.
    fn algorithms(&self) -> impl Iterator<Item = Hash> {
        let strong = self.users.values().all(|secret| match secret {
            UserSecret::Password(_) => true,
            UserSecret::Hashed { sha256, .. } => sha256.is_some(),
        });
        strong.then_some(Hash::Sha256).into_iter().chain([Hash::Md5])
    }

    fn secret(&self, hash: Hash, username: &str) -> Option<SecretString> {
        match (self.users.get(username)?, hash) {
            (_, Hash::Sha512_256) => None,
            (UserSecret::Password(password), hash) => Some(secret_hash(hash, username, &self.realm, password)),
            (UserSecret::Hashed { md5, .. }, Hash::Md5) => Some(md5.clone()),
            (UserSecret::Hashed { sha256, .. }, Hash::Sha256) => sha256.clone(),
        }
    }
}

/// What a request's credentials are worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Let it in.
    Granted,
    /// Answer 401 with these WWW-Authenticate values.
    Challenged(Vec<String>),
    /// Answer 403: this call was wrong too often.
    Forbidden,
}

/// The machine: one for all trunks.
#[derive(Debug)]
pub struct Verifier {
    key: hmac::Key,
    /// Counts of nonces that were used, by the time of their making in milliseconds.
    used: BTreeMap<(u64, String), u32>,
    /// Nonces made before are stale.
    not_before_ms: u64,
    /// Wrong answers by Call-ID, with the time of the first.
    wrong: BTreeMap<String, (u64, u32)>,
}

/// A nonce that is ours.
struct OurNonce {
    made_ms: u64,
    text: String,
}

impl Verifier {
    /// A verifier whose nonces nobody else can make: `key` is 32 random bytes.
    pub fn new(key: [u8; 32]) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            used: BTreeMap::new(),
            not_before_ms: 0,
            wrong: BTreeMap::new(),
        }
    }

    /// Judges a request outside any dialog. `now_ms` is wall-clock time, `chance` makes a nonce unlike any other.
    pub fn judge(&mut self, guard: &Guard, request: &Request, now_ms: u64, chance: u64) -> Verdict {
        self.forget_old(now_ms);
        let credentials = DigestParams::parse_all(&request.headers, &HeaderName::Authorization);
        let Some(params) = credentials.iter().find(|params| params.value("realm") == Some(&guard.realm)) else {
            return Verdict::Challenged(self.challenges(guard, false, now_ms, chance));
        };
        if !self.is_right(guard, params, request) {
            return self.wrong_answer(guard, request, now_ms, chance);
        }
        // The secret is right: what is left can only be a matter of time.
        if self.take_nonce(params, now_ms) {
            Verdict::Granted
        } else {
            Verdict::Challenged(self.challenges(guard, true, now_ms, chance))
        }
    }

    fn challenges(&self, guard: &Guard, stale: bool, now_ms: u64, chance: u64) -> Vec<String> {
        let stale = if stale { ", stale=true" } else { "" };
        let nonce = self.make_nonce(now_ms, chance);
        let value = |hash| {
            let algorithm = Algorithm::plain(hash);
            format!("Digest realm=\"{}\", nonce=\"{nonce}\", algorithm={algorithm}, qop=\"auth\"{stale}", guard.realm)
        };
        guard.algorithms().map(value).collect()
    }

    fn make_nonce(&self, now_ms: u64, chance: u64) -> String {
        let body = format!("{now_ms:x}.{chance:016x}");
        let tag = hmac::sign(&self.key, body.as_bytes());
        let tag = hex(tag.as_ref().get(..16).unwrap_or_default());
        format!("{body}.{tag}")
    }

    fn our_nonce(&self, text: &str) -> Option<OurNonce> {
        let (body, tag) = text.rsplit_once('.')?;
        let expected = hmac::sign(&self.key, body.as_bytes());
        let expected = hex(expected.as_ref().get(..16)?);
        constant_time::verify_slices_are_equal(expected.as_bytes(), tag.as_bytes()).ok()?;
        let made_ms = u64::from_str_radix(body.split_once('.')?.0, 16).ok()?;
        Some(OurNonce { made_ms, text: text.to_owned() })
    }

    /// Whether the response proves the password, whatever the nonce's age.
    fn is_right(&self, guard: &Guard, params: &DigestParams, request: &Request) -> bool {
        let proof = || {
            let algorithm = Algorithm::parse(params.value("algorithm"))?;
            let nonce = params.value("nonce")?;
            self.our_nonce(nonce)?;
            let uri = params.value("uri").filter(|uri| means_the_same(uri, &request.uri))?;
            let is_auth = params.value("qop").is_some_and(|qop| qop.eq_ignore_ascii_case("auth"));
            let count = (params.value("cnonce")?, params.value("nc")?);
            let secret = guard.secret(algorithm.hash, params.value("username")?)?;
            let method = request.method.as_str();
            let proof = Proof { algorithm, nonce, count: Some(count).filter(|_| is_auth), method, uri };
            let (expected, response) = (proof.response(&secret), params.value("response")?.to_ascii_lowercase());
            let is_right = constant_time::verify_slices_are_equal(expected.as_bytes(), response.as_bytes()).is_ok();
            (is_auth && is_right).then_some(())
        };
        proof().is_some()
    }

    /// Whether the nonce is fresh, and its count was not used before (RFC 7616 3.4).
    fn take_nonce(&mut self, params: &DigestParams, now_ms: u64) -> bool {
        let Some(nonce) = params.value("nonce").and_then(|nonce| self.our_nonce(nonce)) else { return false };
        let count = params.value("nc").and_then(|count| u32::from_str_radix(count, 16).ok()).unwrap_or(0);
        let life_ms = u64::try_from(NONCE_LIFE.as_millis()).unwrap_or(u64::MAX);
        if nonce.made_ms < self.not_before_ms || now_ms.saturating_sub(nonce.made_ms) > life_ms {
            return false;
        }
        let highest = self.used.entry((nonce.made_ms, nonce.text)).or_insert(0);
        let is_new = count > *highest;
        *highest = count.max(*highest);
        if self.used.len() > limits::SIP_NONCES_MAX
            && let Some(((made_ms, _), _)) = self.used.pop_first()
        {
            self.not_before_ms = made_ms.saturating_add(1);
        }
        is_new
    }

    fn wrong_answer(&mut self, guard: &Guard, request: &Request, now_ms: u64, chance: u64) -> Verdict {
        let call = request.headers.call_id().unwrap_or_default().to_owned();
        let (_, wrong) = self.wrong.entry(call).or_insert((now_ms, 0));
        *wrong = wrong.saturating_add(1);
        let wrong = *wrong;
        if wrong >= WRONG_MAX || self.wrong.len() > limits::SIP_NONCES_MAX {
            return Verdict::Forbidden;
        }
        Verdict::Challenged(self.challenges(guard, false, now_ms, chance))
    }

    fn forget_old(&mut self, now_ms: u64) {
        let life_ms = u64::try_from(NONCE_LIFE.as_millis()).unwrap_or(u64::MAX);
        let oldest = now_ms.saturating_sub(life_ms);
        while self.used.first_key_value().is_some_and(|((made_ms, _), _)| *made_ms < oldest) {
            self.used.pop_first();
        }
        self.wrong.retain(|_, (since_ms, _)| *since_ms >= oldest);
    }
}

/// Whether a digest URI may stand for a Request-URI: a proxy may have changed the host, and some clients leave the user
/// out, but credentials for one number are not to be used for another.
fn means_the_same(uri: &str, request_uri: &Uri) -> bool {
    if uri == request_uri.to_string() {
        return true;
    }
    Uri::parse(uri).is_ok_and(|uri| {
        let user = uri.user_unescaped().filter(|user| !user.is_empty());
        user.is_none() || user == request_uri.user_unescaped()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::StatusCode;
    use crate::sip::digest::Credentials;
    use crate::sip::digest::client::Challenge;
    use crate::sip::digest::client::Session;
    use crate::sip::message::Message;
    use crate::sip::message::Response;

    const NOW: u64 = 1_700_000_000_000;

    fn guard() -> Guard {
        let users = BTreeMap::from([("pbx".to_owned(), UserSecret::Password(password("secret")))]);
        Guard { realm: "tandem".to_owned(), users }
    }

    fn password(text: &str) -> SecretString {
        SecretString::from(text.to_owned())
    }

    fn invite() -> Request {
        let text = "INVITE sip:1001@gw.test SIP/2.0\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n\r\n";
        match Message::parse(text.as_bytes()).unwrap() {
            Message::Request(request) => request,
            Message::Response(_) => unreachable!(),
        }
    }

    /// A client's session for the strongest of these challenges.
    fn session(challenges: &[String], secret: &str) -> Session {
        let mut response = Response::for_request(&invite(), StatusCode::UNAUTHORIZED);
        for challenge in challenges {
            response.headers.push(HeaderName::WwwAuthenticate, challenge.clone());
        }
        let credentials = Credentials { username: "pbx".to_owned(), password: password(secret), realm: None };
        Session::new(Challenge::strongest(&response, &credentials).unwrap(), &credentials, 9)
    }

    fn challenged(verdict: Verdict) -> Vec<String> {
        match verdict {
            Verdict::Challenged(challenges) => challenges,
            other @ (Verdict::Granted | Verdict::Forbidden) => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_right_password_is_let_in_once_per_count() {
        let mut verifier = Verifier::new([1; 32]);
        let challenges = challenged(verifier.judge(&guard(), &invite(), NOW, 1));
        assert!(challenges[0].contains("SHA-256") && challenges[1].contains("MD5"), "{challenges:?}");
        let mut session = session(&challenges, "secret");
        let mut request = invite();
        session.authorize(&mut request);
        assert_eq!(verifier.judge(&guard(), &request, NOW, 2), Verdict::Granted);
        let again = challenged(verifier.judge(&guard(), &request, NOW, 3));
        assert!(again[0].contains("stale=true"), "a replay: {again:?}");
        session.authorize(&mut request);
        assert_eq!(verifier.judge(&guard(), &request, NOW, 4), Verdict::Granted);
    }

    #[test]
    fn a_nonce_lives_five_minutes() {
        let mut verifier = Verifier::new([1; 32]);
        let mut session = session(&challenged(verifier.judge(&guard(), &invite(), NOW, 1)), "secret");
        let mut request = invite();
        session.authorize(&mut request);
        let late = challenged(verifier.judge(&guard(), &request, NOW + 300_001, 2));
        assert!(late[0].contains("stale=true"));
        assert_eq!(verifier.judge(&guard(), &request, NOW + 300_000, 2), Verdict::Granted);
    }

    #[test]
    fn a_wrong_password_is_asked_twice_more_and_then_forbidden() {
        let mut verifier = Verifier::new([1; 32]);
        let mut session = session(&challenged(verifier.judge(&guard(), &invite(), NOW, 1)), "guess");
        let mut request = invite();
        for _ in 0..2 {
            session.authorize(&mut request);
            assert!(!challenged(verifier.judge(&guard(), &request, NOW, 2))[0].contains("stale"));
        }
        session.authorize(&mut request);
        assert_eq!(verifier.judge(&guard(), &request, NOW, 2), Verdict::Forbidden);
    }

    #[test]
    fn a_nonce_that_is_not_ours_is_wrong() {
        let (mut ours, mut theirs) = (Verifier::new([1; 32]), Verifier::new([2; 32]));
        let mut session = session(&challenged(theirs.judge(&guard(), &invite(), NOW, 1)), "secret");
        let mut request = invite();
        session.authorize(&mut request);
        assert_ne!(ours.judge(&guard(), &request, NOW, 2), Verdict::Granted);
        assert_eq!(theirs.judge(&guard(), &request, NOW, 2), Verdict::Granted);
    }

    #[test]
    fn credentials_for_one_number_are_not_taken_for_another() {
        let mut verifier = Verifier::new([1; 32]);
        let mut session = session(&challenged(verifier.judge(&guard(), &invite(), NOW, 1)), "secret");
        let mut request = invite();
        session.authorize(&mut request);
        request.uri = Uri::parse("sip:0900123@gw.test").unwrap();
        assert_ne!(verifier.judge(&guard(), &request, NOW, 2), Verdict::Granted);
    }

    #[test]
    fn a_user_with_an_md5_hash_alone_is_asked_for_md5_alone() {
        let md5 = secret_hash(Hash::Md5, "pbx", "tandem", &password("secret"));
        let hashed = UserSecret::Hashed { md5, sha256: None };
        let guard = Guard { realm: "tandem".to_owned(), users: BTreeMap::from([("pbx".to_owned(), hashed)]) };
        let mut verifier = Verifier::new([1; 32]);
        let challenges = challenged(verifier.judge(&guard, &invite(), NOW, 1));
        assert_eq!(challenges.len(), 1);
        let mut request = invite();
        session(&challenges, "secret").authorize(&mut request);
        assert_eq!(verifier.judge(&guard, &request, NOW, 2), Verdict::Granted);
    }

    #[test]
    fn the_table_of_nonces_is_bounded_and_forgets_no_replay() {
        let mut verifier = Verifier::new([1; 32]);
        let mut first = None;
        for number in 0..=limits::SIP_NONCES_MAX as u64 {
            let mut session = session(&challenged(verifier.judge(&guard(), &invite(), NOW + number, number)), "secret");
            let mut request = invite();
            session.authorize(&mut request);
            assert_eq!(verifier.judge(&guard(), &request, NOW + number, 1), Verdict::Granted);
            first.get_or_insert(request);
        }
        assert_eq!(verifier.used.len(), limits::SIP_NONCES_MAX);
        assert_ne!(verifier.judge(&guard(), &first.unwrap(), NOW + 5_000, 1), Verdict::Granted);
    }
}
