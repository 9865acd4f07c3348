//! Digest authentication (RFC 7616, RFC 8760; RFC 3261 22): what both sides share.

pub mod client;
pub mod server;

use std::fmt;

use aws_lc_rs::digest;
use secrecy::ExposeSecret as _;
use secrecy::SecretString;

use crate::sip::message::HeaderName;
use crate::sip::message::Headers;
use crate::sip::message::scan;

/// A name and its password, and where they may be shown.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The user name of the digest.
    pub username: String,
    /// The password.
    pub password: SecretString,
    /// The one realm that they are for. `None` answers any realm of the trunk's own addresses.
    pub realm: Option<String>,
}

/// The hash of a challenge. A stronger one compares greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hash {
    /// MD5: RFC 2617, still what most PBXs speak.
    Md5,
    /// SHA-256.
    Sha256,
    /// SHA-512/256.
    Sha512_256,
}

/// Algorithm of a challenge: a hash, and whether the session's nonces are part of the secret (`-sess`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Algorithm {
    /// The hash.
    pub hash: Hash,
    /// `-sess`.
    pub is_session: bool,
}

impl Algorithm {
    /// Without `-sess`.
    pub const fn plain(hash: Hash) -> Self {
        Self { hash, is_session: false }
    }

    /// Reads the parameter's value; `None` for an algorithm that we do not know. Absent is MD5 (RFC 7616 3.3).
    pub fn parse(value: Option<&str>) -> Option<Self> {
        let Some(value) = value else { return Some(Self::plain(Hash::Md5)) };
        let lower = value.to_ascii_lowercase();
        let (name, is_session) = lower.strip_suffix("-sess").map_or((lower.as_str(), false), |name| (name, true));
        let hash = match name {
            "md5" => Hash::Md5,
            "sha-256" => Hash::Sha256,
            "sha-512-256" => Hash::Sha512_256,
            _ => return None,
        };
        Some(Self { hash, is_session })
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.hash {
            Hash::Md5 => "MD5",
            Hash::Sha256 => "SHA-256",
            Hash::Sha512_256 => "SHA-512-256",
        };
        f.write_str(name)?;
        if self.is_session { f.write_str("-sess") } else { Ok(()) }
    }
}

impl Hash {
    /// The hash in lower-case hexadecimal, of parts joined by colons.
    pub fn of(self, parts: &[&str]) -> String {
        let text = parts.join(":");
        match self {
            Self::Md5 => format!("{:x}", md5::compute(text)),
            Self::Sha256 => hex(digest::digest(&digest::SHA256, text.as_bytes()).as_ref()),
            Self::Sha512_256 => hex(digest::digest(&digest::SHA512_256, text.as_bytes()).as_ref()),
        }
    }
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(u32::from(digit), 16)).collect()
}

/// H(username:realm:password), what a server may keep instead of the password.
pub fn secret_hash(hash: Hash, username: &str, realm: &str, password: &SecretString) -> SecretString {
    SecretString::from(hash.of(&[username, realm, password.expose_secret()]))
}

/// What a response is computed of, apart from the secret (RFC 7616 3.4.1).
#[derive(Debug, Clone, Copy)]
pub struct Proof<'a> {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// The server's nonce.
    pub nonce: &'a str,
    /// The client's nonce and the nonce count in eight hexadecimal digits, where qop is `auth`.
    pub count: Option<(&'a str, &'a str)>,
    /// The request's method.
    pub method: &'a str,
    /// The digest URI.
    pub uri: &'a str,
}

impl Proof<'_> {
    /// The `response` for somebody whose [`secret_hash`] this is.
    pub fn response(&self, secret: &SecretString) -> String {
        let hash = self.algorithm.hash;
        let session_cnonce = self.count.map_or("", |(cnonce, _)| cnonce);
        let secret = secret.expose_secret();
        let in_session = self.algorithm.is_session.then(|| hash.of(&[secret, self.nonce, session_cnonce]));
        let secret = in_session.as_deref().unwrap_or(secret);
        let request = hash.of(&[self.method, self.uri]);
        match self.count {
            Some((cnonce, count)) => hash.of(&[secret, self.nonce, count, cnonce, "auth", &request]),
            None => hash.of(&[secret, self.nonce, &request]),
        }
    }
}

/// The parameters of one `Digest` challenge or of one set of credentials: names in lower case, values without quotes,
/// escapes as they came, because that is what is hashed (RFC 7616 3.3).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DigestParams(Vec<(String, String)>);

impl DigestParams {
    /// Every `Digest` value of a header; other schemes are left out. Several may stand on one line.
    pub(crate) fn parse_all(headers: &Headers, name: &HeaderName) -> Vec<Self> {
        headers.get_all(name).flat_map(Self::parse_line).collect()
    }

    fn parse_line(line: &str) -> Vec<Self> {
        let mut found: Vec<(bool, Self)> = Vec::new();
        for piece in scan::split_outside(line, b',', false) {
            let mut piece = scan::trim(piece);
            // `Scheme name=value` begins a challenge, `name=value` goes on with it.
            let scheme = piece.split_once([' ', '\t']).map(|(scheme, rest)| (scheme, scan::trim(rest)));
            if let Some((scheme, rest)) = scheme.filter(|(word, rest)| scan::is_token(word) && !rest.starts_with('=')) {
                found.push((scheme.eq_ignore_ascii_case("Digest"), Self::default()));
                piece = rest;
            }
            let (Some((_, params)), Some((name, value))) = (found.last_mut(), piece.split_once('=')) else { continue };
            let value = scan::trim(value);
            let bare = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
            params.0.push((scan::trim(name).to_ascii_lowercase(), bare.to_owned()));
        }
        found.into_iter().filter(|(is_digest, _)| *is_digest).map(|(_, params)| params).collect()
    }

    /// The first value of that name, in lower case.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(present, _)| present == name).map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(hash: Hash, realm: &str) -> SecretString {
        secret_hash(hash, "Mufasa", realm, &SecretString::from("Circle of Life".to_owned()))
    }

    /// RFC 7616 3.9.1.
    #[test]
    fn the_examples_of_rfc_7616_come_out() {
        let cases = [
            (Hash::Sha256, "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
            (Hash::Md5, "8ca523f5e9506fed4657c9700eebdbec"),
        ];
        for (hash, response) in cases {
            let proof = Proof {
                algorithm: Algorithm::plain(hash),
                nonce: "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
                count: Some(("f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", "00000001")),
                method: "GET",
                uri: "/dir/index.html",
            };
            assert_eq!(proof.response(&secret(hash, "http-auth@example.org")), response);
        }
    }

    /// FIPS 180-4: SHA-512/256 of "abc".
    #[test]
    fn sha_512_256_is_the_truncated_hash_with_its_own_start() {
        let expected = "53048e2681941ef99b2e29b76b4c7dabe4c2d0c634fc6d46e0e2f13107e7af23";
        assert_eq!(Hash::Sha512_256.of(&["abc"]), expected);
    }

    /// RFC 2617 3.5, as RFC 2069 would answer without qop.
    #[test]
    fn without_qop_the_response_has_no_count() {
        let proof = Proof {
            algorithm: Algorithm::plain(Hash::Md5),
            nonce: "dcd98b7102dd2f0e8b11d0f600bfb0c093",
            count: None,
            method: "GET",
            uri: "/dir/index.html",
        };
        let secret = SecretString::from("939e7578ed9e3c518a452acee763bce9".to_owned());
        assert_eq!(proof.response(&secret), "670fd8c2df070c60b045671b8b24ff02");
    }

    #[test]
    fn several_challenges_stand_on_one_line_or_on_many() {
        let mut headers = Headers::new();
        headers.push(
            HeaderName::WwwAuthenticate,
            r#"Basic realm="x", Digest realm="a, b", nonce="1", algorithm=SHA-256, Digest realm="c",nonce="2""#,
        );
        headers.push(HeaderName::WwwAuthenticate, r#"Digest realm="d", nonce = "3""#);
        let found = DigestParams::parse_all(&headers, &HeaderName::WwwAuthenticate);
        let nonces: Vec<_> = found.iter().map(|params| params.value("nonce").unwrap()).collect();
        assert_eq!(nonces, ["1", "2", "3"]);
        assert_eq!(found[0].value("realm"), Some("a, b"));
    }

    #[test]
    fn an_unknown_algorithm_is_none() {
        assert_eq!(Algorithm::parse(Some("SHA-1")), None);
        assert_eq!(Algorithm::parse(Some("md5-SESS")), Some(Algorithm { hash: Hash::Md5, is_session: true }));
        assert_eq!(Algorithm::parse(Some("SHA-512-256")).unwrap().to_string(), "SHA-512-256");
    }
}
