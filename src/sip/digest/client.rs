//! Digest as a client: which challenge is answered, and with what (RFC 7616 3.4, RFC 8760 2.4).

use secrecy::SecretString;

use crate::sip::StatusCode;
use crate::sip::digest::Algorithm;
use crate::sip::digest::Credentials;
use crate::sip::digest::DigestParams;
use crate::sip::digest::Proof;
use crate::sip::digest::secret_hash;
use crate::sip::message::HeaderName;
use crate::sip::message::Request;
use crate::sip::message::Response;
use crate::sip::message::scan;

/// Whether a proxy asks or the server itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Asker {
    /// 401, WWW-Authenticate, Authorization.
    Server,
    /// 407, Proxy-Authenticate, Proxy-Authorization.
    Proxy,
}

impl Asker {
    /// Who asks with this status; `None` where nobody does.
    pub const fn of(status: StatusCode) -> Option<Self> {
        match status {
            StatusCode::UNAUTHORIZED => Some(Self::Server),
            StatusCode::PROXY_AUTHENTICATION_REQUIRED => Some(Self::Proxy),
            _ => None,
        }
    }

    const fn challenge_header(self) -> HeaderName {
        match self {
            Self::Server => HeaderName::WwwAuthenticate,
            Self::Proxy => HeaderName::ProxyAuthenticate,
        }
    }

    /// The header that bears credentials for it.
    pub const fn credentials_header(self) -> HeaderName {
        match self {
            Self::Server => HeaderName::Authorization,
            Self::Proxy => HeaderName::ProxyAuthorization,
        }
    }
}

/// A challenge that we can answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// Who asks.
    pub asker: Asker,
    /// The nonce.
    pub nonce: String,
    /// Whether only the nonce was too old.
    pub is_stale: bool,
    realm: String,
    opaque: Option<String>,
    algorithm: Algorithm,
    /// Whether the algorithm was named; some old servers choke on one that they did not ask for.
    names_algorithm: bool,
    has_qop: bool,
}

impl Challenge {
    /// The strongest challenge of a 401 or 407 that these credentials may answer: of their realm, with an algorithm that
    /// we know, and with qop `auth` or none.
    pub fn strongest(response: &Response, credentials: &Credentials) -> Option<Self> {
        let asker = Asker::of(response.status)?;
        let challenges = DigestParams::parse_all(&response.headers, &asker.challenge_header());
        let fitting = challenges.iter().filter_map(|params| Self::of(asker, params));
        let ours = |challenge: &Self| credentials.realm.as_ref().is_none_or(|realm| *realm == challenge.realm);
        // Of equals the first.
        fitting.filter(ours).reduce(|best, next| if next.algorithm.hash > best.algorithm.hash { next } else { best })
    }

    fn of(asker: Asker, params: &DigestParams) -> Option<Self> {
        let has_qop = match params.value("qop") {
            None => false,
            Some(options) if options.split(',').any(|option| option.trim().eq_ignore_ascii_case("auth")) => true,
            Some(_) => return None,
        };
        let algorithm = Algorithm::parse(params.value("algorithm"))?;
        // A session's secret holds the client's nonce, which only qop sends.
        if algorithm.is_session && !has_qop {
            return None;
        }
        Some(Self {
            asker,
            nonce: params.value("nonce")?.to_owned(),
            is_stale: params.value("stale").is_some_and(|stale| stale.eq_ignore_ascii_case("true")),
            realm: params.value("realm")?.to_owned(),
            opaque: params.value("opaque").map(str::to_owned),
            algorithm,
            names_algorithm: params.value("algorithm").is_some(),
            has_qop,
        })
    }
}

/// A challenge and how often its nonce was used: it answers every later request to the same server, too.
#[derive(Debug, Clone)]
pub struct Session {
    challenge: Challenge,
    cnonce: String,
    count: u32,
    secret: SecretString,
    username: String,
}

impl Session {
    /// A session that answers `challenge`. `chance` makes the client's nonce.
    pub fn new(challenge: Challenge, credentials: &Credentials, chance: u64) -> Self {
        let hash = challenge.algorithm.hash;
        let secret = secret_hash(hash, &credentials.username, &challenge.realm, &credentials.password);
        let username = credentials.username.clone();
        Self { challenge, cnonce: format!("{chance:016x}"), count: 0, secret, username }
    }

    /// Whether this nonce is the one that it answers.
    pub fn uses(&self, nonce: &str) -> bool {
        self.challenge.nonce == nonce
    }

    /// Who asked.
    pub const fn asker(&self) -> Asker {
        self.challenge.asker
    }

    /// Puts credentials into a request, in place of any that stand there.
    pub fn authorize(&mut self, request: &mut Request) {
        self.count = self.count.saturating_add(1);
        let (challenge, count) = (&self.challenge, format!("{:08x}", self.count));
        let uri = request.uri.to_string();
        let proof = Proof {
            algorithm: challenge.algorithm,
            nonce: &challenge.nonce,
            count: challenge.has_qop.then_some((self.cnonce.as_str(), count.as_str())),
            method: request.method.as_str(),
            uri: &uri,
        };
        let response = proof.response(&self.secret);
        let parts = [
            Some(format!("username={}", scan::quote(&self.username))),
            Some(format!("realm=\"{}\"", challenge.realm)),
            Some(format!("nonce=\"{}\"", challenge.nonce)),
            Some(format!("uri=\"{uri}\"")),
            Some(format!("response=\"{response}\"")),
            challenge.names_algorithm.then(|| format!("algorithm={}", challenge.algorithm)),
            challenge.has_qop.then(|| format!("cnonce=\"{}\"", self.cnonce)),
            challenge.has_qop.then(|| format!("qop=auth, nc={count}")),
            challenge.opaque.as_ref().map(|opaque| format!("opaque=\"{opaque}\"")),
        ];
        let value = format!("Digest {}", parts.into_iter().flatten().collect::<Vec<String>>().join(", "));
        request.headers.set(challenge.asker.credentials_header(), value);
    }
}

/// How often one request was sent with credentials, and with which nonce: what ends a loop of nonces. A proxy on the way
/// and the server behind it may both ask (RFC 3261 22.3), and are counted apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attempts {
    server: Tries,
    proxy: Tries,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Tries {
    /// Times.
    count: u8,
    nonce: Option<String>,
    /// Whether the first credentials were those of an earlier challenge.
    was_remembered: bool,
}

/// Times that one request is sent with credentials for a proxy, and for a server.
const ATTEMPTS_MAX: u8 = 2;

impl Attempts {
    /// Counts credentials of `session`. `remembered`: nobody asked for them in this request's life.
    pub fn count(&mut self, session: &Session, remembered: bool) {
        let tries = match session.asker() {
            Asker::Server => &mut self.server,
            Asker::Proxy => &mut self.proxy,
        };
        tries.count = tries.count.saturating_add(1);
        tries.nonce = Some(session.challenge.nonce.clone());
        tries.was_remembered = remembered;
    }

    /// Whether `challenge` may be answered: the first of a request; a second where the nonce was stale; or where the
    /// nonce was one of an earlier request and a new one came, because many servers forget to say stale=true.
    pub fn may_answer(&self, challenge: &Challenge) -> bool {
        let tries = match challenge.asker {
            Asker::Server => &self.server,
            Asker::Proxy => &self.proxy,
        };
        let is_new = tries.nonce.as_ref().is_none_or(|nonce| *nonce != challenge.nonce);
        tries.count == 0 || (tries.count < ATTEMPTS_MAX && is_new && (challenge.is_stale || tries.was_remembered))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::digest::Hash;
    use crate::sip::message::Message;

    fn credentials(realm: Option<&str>) -> Credentials {
        Credentials {
            username: "bob".to_owned(),
            password: SecretString::from("zanzibar".to_owned()),
            realm: realm.map(str::to_owned),
        }
    }

    fn challenged(status: u16, lines: &[&str]) -> Response {
        let name = if status == 401 { "WWW-Authenticate" } else { "Proxy-Authenticate" };
        let lines: Vec<String> = lines.iter().map(|line| format!("{name}: {line}\r\n")).collect();
        let text = format!("SIP/2.0 {status} No\r\n{}\r\n", lines.concat());
        match Message::parse(text.as_bytes()).unwrap() {
            Message::Response(response) => response,
            Message::Request(_) => unreachable!(),
        }
    }

    fn request() -> Request {
        let text = "REGISTER sip:pbx.test SIP/2.0\r\nCSeq: 1 REGISTER\r\n\r\n";
        match Message::parse(text.as_bytes()).unwrap() {
            Message::Request(request) => request,
            Message::Response(_) => unreachable!(),
        }
    }

    #[test]
    fn the_strongest_algorithm_that_we_know_is_answered() {
        let response = challenged(
            401,
            &[
                r#"Digest realm="r", nonce="m", algorithm=MD5, qop="auth""#,
                r#"Digest realm="r", nonce="x", algorithm=SHA-3"#,
                r#"Digest realm="r", nonce="s", algorithm=SHA-512-256, qop="auth-int,auth""#,
                r#"Digest realm="r", nonce="t", algorithm=SHA-256, qop="auth""#,
            ],
        );
        let challenge = Challenge::strongest(&response, &credentials(None)).unwrap();
        assert_eq!((challenge.nonce.as_str(), challenge.algorithm.hash), ("s", Hash::Sha512_256));
    }

    #[test]
    fn another_realm_and_auth_int_alone_get_no_answer() {
        let response = challenged(401, &[r#"Digest realm="evil", nonce="m""#]);
        assert_eq!(Challenge::strongest(&response, &credentials(Some("pbx"))), None);
        assert!(Challenge::strongest(&response, &credentials(None)).is_some());
        let response = challenged(401, &[r#"Digest realm="pbx", nonce="m", qop="auth-int""#]);
        assert_eq!(Challenge::strongest(&response, &credentials(None)), None);
        assert_eq!(Challenge::strongest(&challenged(403, &[]), &credentials(None)), None);
    }

    #[test]
    fn the_nonce_count_rises_and_the_proxy_gets_its_own_header() {
        let response = challenged(407, &[r#"Digest realm="pbx", nonce="n", qop="auth", opaque="o", algorithm=MD5"#]);
        let challenge = Challenge::strongest(&response, &credentials(None)).unwrap();
        let mut session = Session::new(challenge, &credentials(None), 7);
        let mut request = request();
        session.authorize(&mut request);
        session.authorize(&mut request);
        let values: Vec<&str> = request.headers.get_all(&HeaderName::ProxyAuthorization).collect();
        assert_eq!(values.len(), 1);
        assert!(values[0].contains("nc=00000002") && values[0].contains("opaque=\"o\""), "{values:?}");
        assert!(values[0].contains("cnonce=\"0000000000000007\""));
        // H(bob:pbx:zanzibar):n:00000002:cnonce:auth:H(REGISTER:sip:pbx.test), by another road.
        let secret = Hash::Md5.of(&["bob:pbx:zanzibar"]);
        let line = Hash::Md5.of(&["REGISTER:sip:pbx.test"]);
        let expected = Hash::Md5.of(&[&format!("{secret}:n:00000002:0000000000000007:auth:{line}")]);
        assert!(values[0].contains(&format!("response=\"{expected}\"")));
    }

    #[test]
    fn a_loop_of_nonces_ends() {
        let challenge = |nonce: &str, stale: bool| {
            let line = format!("Digest realm=\"r\", nonce=\"{nonce}\", stale={stale}");
            Challenge::strongest(&challenged(401, &[&line]), &credentials(None)).unwrap()
        };
        let mut attempts = Attempts::default();
        assert!(attempts.may_answer(&challenge("1", false)));
        attempts.count(&Session::new(challenge("1", false), &credentials(None), 1), false);
        assert!(!attempts.may_answer(&challenge("2", false)), "the password is wrong");
        assert!(!attempts.may_answer(&challenge("1", true)), "the same nonce cannot be fresh");
        assert!(attempts.may_answer(&challenge("2", true)));
        attempts.count(&Session::new(challenge("2", true), &credentials(None), 1), false);
        assert!(!attempts.may_answer(&challenge("3", true)), "two tries at most");
    }

    #[test]
    fn a_remembered_nonce_that_went_stale_without_a_word_is_tried_once_more() {
        let line = |nonce: &str| format!("Digest realm=\"r\", nonce=\"{nonce}\"");
        let challenge =
            |nonce: &str| Challenge::strongest(&challenged(401, &[&line(nonce)]), &credentials(None)).unwrap();
        let mut attempts = Attempts::default();
        attempts.count(&Session::new(challenge("old"), &credentials(None), 1), true);
        assert!(attempts.may_answer(&challenge("new")));
        attempts.count(&Session::new(challenge("new"), &credentials(None), 1), false);
        assert!(!attempts.may_answer(&challenge("newer")));
    }
}
