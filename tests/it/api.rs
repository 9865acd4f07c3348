//! The HTTP edge over real sockets, with a real directory and a real database behind it.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use bytes::Bytes;
use rand::SeedableRng;
use rand::rngs::StdRng;
use sqlx::{Connection, PgConnection};
use tandem::api::audio::{Audio, AudioError, AudioSource};
use tandem::api::serve::{Https, Listen, Listeners, ServeError};
use tandem::api::{ApiConfig, ApiParts, ApiState, Dependency, router};
use tandem::auth::io::desk::{Desk, DeskConfig};
use tandem::auth::io::ldap::LdapDirectory;
use tandem::auth::lockout::LockoutConfig;
use tandem::auth::session_token::{Purpose, TokenError};
use tandem::clock::Clock;
use tandem::demo::servers::{Authority, LdapServer, PostgresServer};
use tandem::ids::RecordingId;
use tandem::store::audit::PostgresAudit;
use tandem::store::catalog::PostgresCatalog;
use tokio_util::sync::CancellationToken;

use crate::http::{Answer, request, send};
use crate::store::{database, intent, store_recording};

const ORIGIN: &str = "https://phone.tandem.test";
/// Longer than one read of the server, and no multiple of it.
const AUDIO_BYTES: u64 = 150_001;

/// A file whose bytes tell their place.
#[derive(Debug, Default)]
struct Tape {
    reads: Arc<AtomicUsize>,
}

fn tape(range: Range<u64>) -> Vec<u8> {
    range.map(|position| (position % 251) as u8).collect()
}

#[async_trait]
impl AudioSource for Tape {
    async fn open(&self, _recording: RecordingId) -> Result<Box<dyn Audio>, AudioError> {
        Ok(Box::new(Self { reads: Arc::clone(&self.reads) }))
    }
}

#[async_trait]
impl Audio for Tape {
    fn length(&self) -> u64 {
        AUDIO_BYTES
    }

    async fn read(&mut self, range: Range<u64>) -> Result<Bytes, AudioError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        Ok(tape(range).into())
    }
}

/// The edge with everything behind it.
pub(crate) struct Stage {
    address: SocketAddr,
    desk: Arc<Desk>,
    ldap: LdapServer,
    postgres: PostgresServer,
    audit: PostgresAudit,
    pub(crate) catalog: PostgresCatalog,
    reads: Arc<AtomicUsize>,
    shutdown: CancellationToken,
    _directories: [tempfile::TempDir; 2],
}

impl Stage {
    async fn set() -> Self {
        let tape = Tape::default();
        let reads = Arc::clone(&tape.reads);
        let mut stage = Self::with_audio(|_| Some(Arc::new(tape))).await;
        stage.reads = reads;
        stage
    }

    /// With what plays the catalogue's recordings.
    pub(crate) async fn with_audio(audio: impl FnOnce(&PostgresCatalog) -> Option<Arc<dyn AudioSource>>) -> Self {
        let (postgres, pool, postgres_directory) = database().await;
        let ldap_directory = crate::servers::directory();
        let ldap = LdapServer::launch(ldap_directory.path()).await.unwrap();
        let lockout = LockoutConfig { failures_max: 4, reserved: 1, window: Duration::from_mins(10) };
        let desk = Desk::new(DeskConfig { lockout, ..DeskConfig::default() }, &[1; 32], StdRng::seed_from_u64(1));
        let desk = Arc::new(desk);
        let audit = PostgresAudit::new(pool.clone());
        let catalog = PostgresCatalog::new(pool.clone());
        let state = ApiState::new(ApiParts {
            config: ApiConfig { origins: vec![ORIGIN.to_owned()], metrics_to_everybody: false },
            desk: Arc::clone(&desk),
            directory: Arc::new(LdapDirectory::new(crate::auth::config(&ldap)).unwrap()),
            audit: Arc::new(audit.clone()),
            catalog: Arc::new(catalog.clone()),
            audio: audio(&catalog),
            dependencies: vec![Dependency { name: "database", required: true, health: pool.health() }],
            metrics: None,
            clock: Clock::system(),
        });
        let listen = Listen { http: Some(([127, 0, 0, 1], 0).into()), https: None };
        let listeners = Listeners::bind(&listen).unwrap();
        let address = listeners.http_address().unwrap();
        let shutdown = CancellationToken::new();
        tokio::spawn(listeners.serve(router(state, Router::new()), shutdown.clone()));
        tokio::spawn(pool.watch_health(shutdown.clone()));
        Self {
            address,
            desk,
            ldap,
            postgres,
            audit,
            catalog,
            reads: Arc::default(),
            shutdown,
            _directories: [postgres_directory, ldap_directory],
        }
    }

    async fn login(&self, user: &str, password: &str, more: &[(&str, &str)]) -> Answer {
        let body = serde_json::json!({ "username": user, "password": password }).to_string();
        let headers = [&[("Origin", ORIGIN), ("Content-Type", "application/json")], more].concat();
        send(self.address, "POST", "/api/v1/login", &headers, &body).await
    }

    /// The session cookie of a person of the demo.
    pub(crate) async fn cookie(&self, user: &str) -> String {
        let answer = self.login(user, &format!("{user}-demo"), &[]).await;
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        answer.cookie("__Host-tandem_session")
    }

    pub(crate) async fn get(&self, path: &str, cookie: &str, more: &[(&str, &str)]) -> Answer {
        send(self.address, "GET", path, &[&[("Cookie", cookie)], more].concat(), "").await
    }

    async fn audit_lines(&self, action: &str) -> i64 {
        let mut connection = PgConnection::connect(&self.postgres.superuser_url()).await.unwrap();
        sqlx::query_scalar("SELECT count(*) FROM access_audit WHERE action = $1")
            .bind(action)
            .fetch_one(&mut connection)
            .await
            .unwrap()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

#[tokio::test]
async fn a_login_opens_a_session_and_a_logout_ends_it() {
    let stage = Stage::set().await;
    let answer = stage.login("Alice", "alice-demo", &[]).await;
    assert_eq!(answer.status, 200);
    let body = answer.json();
    assert_eq!(
        (body["user"].as_str(), body["display_name"].as_str(), body["extension"].as_str()),
        (Some("alice"), Some("Alice Agent"), Some("1001"))
    );
    assert_eq!(body["roles"], serde_json::json!(["agent"]));
    assert_eq!(body["expires_in"], 300);
    let set = answer.headers("set-cookie");
    assert_eq!(set.len(), 2);
    for cookie in set {
        assert!(cookie.starts_with("__Host-") && cookie.contains("; Path=/;"), "{cookie}");
        assert!(cookie.ends_with("; Secure; HttpOnly; SameSite=Strict"), "{cookie}");
    }
    let cookie = answer.cookie("__Host-tandem_session");
    let token = body["signaling_token"].as_str().unwrap();
    let wall = Clock::system().wall(Clock::system().now());
    let claims = stage.desk.verify(Purpose::Signaling, token, wall).unwrap();
    assert_eq!(claims.identity.user, "alice");
    assert_eq!(
        stage.desk.verify(Purpose::Session, token, wall),
        Err(TokenError::Invalid),
        "a signalling token is no session"
    );

    let who = stage.get("/api/v1/session", &cookie, &[]).await;
    assert_eq!((who.status, who.json()["user"].as_str()), (200, Some("alice")));
    assert_eq!(stage.get("/api/v1/session", "a=b", &[]).await.code(), "session.missing");
    let forged = format!("{cookie}x");
    assert_eq!(stage.get("/api/v1/session", &forged, &[]).await.code(), "session.missing");
    // The cookie by which a browser is known opens nothing.
    let known = answer.cookie("__Host-tandem_known").replace("tandem_known", "tandem_session");
    assert_eq!(stage.get("/api/v1/session", &known, &[]).await.code(), "session.missing");

    let mut logouts = stage.desk.logouts();
    let foreign =
        send(stage.address, "POST", "/api/v1/logout", &[("Cookie", &cookie), ("Origin", "https://evil.test")], "")
            .await;
    assert_eq!((foreign.status, foreign.code().as_str()), (403, "request.foreign_origin"));
    assert_eq!(
        send(stage.address, "POST", "/api/v1/logout", &[("Cookie", &cookie)], "").await.status,
        403,
        "a cookie, but no origin"
    );
    let out = send(stage.address, "POST", "/api/v1/logout", &[("Cookie", &cookie), ("Origin", ORIGIN)], "").await;
    assert_eq!(out.status, 204);
    assert_eq!(logouts.try_recv().unwrap(), claims.login, "sockets are told");
    assert_eq!(stage.get("/api/v1/session", &cookie, &[]).await.code(), "session.ended");
    assert_eq!(stage.desk.verify(Purpose::Signaling, token, wall), Err(TokenError::Revoked));
}

#[tokio::test]
async fn a_login_that_is_not_right_is_refused_in_its_own_way() {
    let stage = Stage::set().await;
    for (user, password) in [("alice", "wrong"), ("nobody", "x"), ("älice", "alice-demo"), ("", ""), ("sam", "")] {
        let answer = stage.login(user, password, &[]).await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "login.refused"), "{user}");
        assert!(answer.headers("set-cookie").is_empty());
    }
    let json = [("Origin", ORIGIN), ("Content-Type", "application/json")];
    for (headers, body, status, code) in [
        (&json[..], "{", 400, "request.invalid"),
        (&json[..], "{\"username\": 1}", 400, "request.invalid"),
        (&json[..1], "{}", 415, "request.not_json"),
        (&[("Origin", "https://evil.test"), json[1]][..], "{}", 403, "request.foreign_origin"),
        (&[("Origin", "null"), json[1]][..], "{}", 403, "request.foreign_origin"),
        (&[("Origin", "https://phone.tandem.test.evil.test"), json[1]][..], "{}", 403, "request.foreign_origin"),
        (&[("Sec-Fetch-Site", "cross-site"), json[1]][..], "{}", 403, "request.foreign_origin"),
    ] {
        let answer = send(stage.address, "POST", "/api/v1/login", headers, body).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{headers:?} {body}");
    }
    let large = format!("{{\"username\": \"{}\"}}", "a".repeat(10_000));
    let answer = send(stage.address, "POST", "/api/v1/login", &json, &large).await;
    assert_eq!((answer.status, answer.code().as_str()), (413, "request.too_large"));
    assert_eq!(stage.get("/api/v1/login", "", &[]).await.code(), "request.method");
    assert_eq!(stage.get("/nothing", "", &[]).await.code(), "not_found");
}

#[tokio::test]
async fn guesses_are_stopped_for_strangers_and_the_known_browser_still_logs_in() {
    let stage = Stage::set().await;
    let known = stage.login("alice", "alice-demo", &[]).await.cookie("__Host-tandem_known");
    for _ in 0..3 {
        assert_eq!(stage.login("alice", "guess", &[]).await.status, 401);
    }
    let binds = || std::fs::read_to_string(stage.ldap.log()).unwrap().matches("BIND dn=\"uid=alice").count();
    let before = binds();
    for spelling in ["alice", "ALICE", " alice "] {
        let answer = stage.login(spelling, "alice-demo", &[]).await;
        assert_eq!((answer.status, answer.code().as_str()), (429, "login.too_many"));
        let after: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=600).contains(&after), "{after}");
    }
    assert_eq!(binds(), before, "the directory is not asked any more");
    assert_eq!(
        stage.login("bob", "bob-demo", &[("Cookie", &known)]).await.status,
        200,
        "another user is not concerned"
    );
    assert_eq!(stage.login("alice", "alice-demo", &[("Cookie", &known)]).await.status, 200);
    assert_eq!(
        stage.login("alice", "alice-demo", &[]).await.status,
        200,
        "a success starts anew, as it does in the directory"
    );
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "a test measures real time")]
async fn without_the_directory_sessions_go_on_and_a_login_hears_of_it_at_once() {
    let mut stage = Stage::set().await;
    let cookie = stage.cookie("alice").await;
    stage.ldap.stop();
    let start = std::time::Instant::now();
    for _ in 0..6 {
        let answer = stage.login("alice", "alice-demo", &[]).await;
        assert_eq!((answer.status, answer.code().as_str()), (503, "directory.unavailable"));
        assert!(answer.header("retry-after").is_some());
    }
    assert!(start.elapsed() < Duration::from_secs(3), "took {:?}", start.elapsed());
    assert_eq!(stage.get("/api/v1/session", &cookie, &[]).await.status, 200);
    stage.ldap.start().await.unwrap();
    assert_eq!(stage.login("alice", "alice-demo", &[]).await.status, 200, "the outage cost no attempt");
}

#[tokio::test]
async fn only_the_officer_finds_recordings_and_every_look_is_recorded() {
    let stage = Stage::set().await;
    for n in 0..3 {
        store_recording(&stage.catalog, &intent(n)).await;
    }
    let id = intent(0).recording;
    let (one, audio) = (format!("/api/v1/recordings/{id}"), format!("/api/v1/recordings/{id}/audio"));
    for user in ["alice", "sam", "dan", "uma", "oscar"] {
        let cookie = stage.cookie(user).await;
        assert_eq!(stage.get("/api/v1/recordings", &cookie, &[]).await.code(), "auth.forbidden", "{user}");
        assert_eq!(stage.get(&one, &cookie, &[]).await.code(), "not_found", "{user}");
        assert_eq!(stage.get(&audio, &cookie, &[]).await.code(), "not_found", "{user}");
    }
    for path in ["/api/v1/recordings", &one, &audio] {
        assert_eq!(stage.get(path, "", &[]).await.code(), "session.missing");
    }
    assert_eq!(stage.reads.load(Ordering::SeqCst), 0);

    let carol = stage.cookie("carol").await;
    let page = stage.get("/api/v1/recordings?limit=2", &carol, &[]).await;
    assert_eq!((page.status, page.header("cache-control")), (200, Some("no-store")));
    let page = page.json();
    assert_eq!(page["items"].as_array().unwrap().len(), 2);
    assert_eq!(page["items"][0]["started_at"], "2026-11-22T12:02:00Z");
    let rest = stage
        .get(&format!("/api/v1/recordings?limit=2&cursor={}", page["next"].as_str().unwrap()), &carol, &[])
        .await
        .json();
    assert_eq!((rest["items"].as_array().unwrap().len(), &rest["next"]), (1, &serde_json::Value::Null));
    assert_eq!(rest["items"][0]["id"], id.to_string());
    let row = stage.get(&one, &carol, &[]).await.json();
    assert_eq!(
        (row["state"].as_str(), row["duration_ms"].as_u64(), row["agent"].as_str()),
        (Some("stored"), Some(5_000), Some("1001"))
    );
    for foreign in ["00000000-0000-0000-0000-0000000fffff", "x", "..%2f", "1"] {
        for suffix in ["", "/audio"] {
            let answer = stage.get(&format!("/api/v1/recordings/{foreign}{suffix}"), &carol, &[]).await;
            assert_eq!((answer.status, answer.code().as_str()), (404, "not_found"), "{foreign}");
        }
    }
    for query in ["limit=x", "from=yesterday", "unknown=1", "number=1&number_part=2", "cursor=1", "state=odd"] {
        assert_eq!(
            stage.get(&format!("/api/v1/recordings?{query}"), &carol, &[]).await.code(),
            "request.invalid",
            "{query}"
        );
    }
    assert_eq!((stage.audit_lines("recordings.list").await, stage.audit_lines("recording.read").await), (2, 1));
    assert_eq!(stage.audit.verify().await.unwrap().faults, []);
}

#[tokio::test]
async fn audio_comes_whole_and_by_range_with_exact_lengths() {
    let stage = Stage::set().await;
    store_recording(&stage.catalog, &intent(0)).await;
    let path = format!("/api/v1/recordings/{}/audio", intent(0).recording);
    let carol = stage.cookie("carol").await;

    let whole = stage.get(&path, &carol, &[]).await;
    assert_eq!(
        (whole.status, whole.header("content-length"), whole.header("accept-ranges")),
        (200, Some("150001"), Some("bytes"))
    );
    assert_eq!((whole.header("content-type"), whole.header("cache-control")), (Some("audio/wav"), Some("no-store")));
    assert!(whole.body == tape(0..AUDIO_BYTES), "byte for byte");

    for (range, part) in [
        ("bytes=0-0", 0..1),
        ("bytes=65530-65545", 65_530..65_546),
        ("bytes=100000-", 100_000..AUDIO_BYTES),
        ("bytes=-5", AUDIO_BYTES - 5..AUDIO_BYTES),
    ] {
        let answer = stage.get(&path, &carol, &[("Range", range)]).await;
        assert_eq!(answer.status, 206, "{range}");
        assert_eq!(
            answer.header("content-range"),
            Some(format!("bytes {}-{}/{AUDIO_BYTES}", part.start, part.end - 1).as_str())
        );
        assert_eq!(answer.header("content-length"), Some((part.end - part.start).to_string().as_str()));
        assert!(answer.body == tape(part), "{range}");
    }
    let outside = stage.get(&path, &carol, &[("Range", "bytes=150001-")]).await;
    assert_eq!(
        (outside.status, outside.header("content-range"), outside.code().as_str()),
        (416, Some("bytes */150001"), "audio.range")
    );
    assert_eq!(stage.get(&path, &carol, &[("Range", "bytes=0-1,5-6")]).await.status, 200);
    assert_eq!(stage.audit_lines("recording.play").await, 6, "one line for each answer with audio");

    let unfinished = intent(1);
    tandem::recording::io::catalog::Catalog::record_intent(&stage.catalog, &unfinished).await.unwrap();
    let early = stage.get(&format!("/api/v1/recordings/{}/audio", unfinished.recording), &carol, &[]).await;
    assert_eq!(early.code(), "audio.not_ready");
}

#[tokio::test]
async fn what_cannot_be_recorded_in_the_audit_log_is_not_served() {
    let mut stage = Stage::set().await;
    store_recording(&stage.catalog, &intent(0)).await;
    let one = format!("/api/v1/recordings/{}", intent(0).recording);
    let carol = stage.cookie("carol").await;
    let mut owner = PgConnection::connect(&stage.postgres.owner_url()).await.unwrap();
    let revoke = "REVOKE EXECUTE ON FUNCTION audit_append(bytea, text, text, text, text, text) FROM tandem_gateway";
    sqlx::query(revoke).execute(&mut owner).await.unwrap();
    for path in ["/api/v1/recordings", &one, &format!("{one}/audio")] {
        let answer = stage.get(path, &carol, &[]).await;
        assert_eq!((answer.status, answer.code().as_str()), (503, "audit.unavailable"), "{path}");
    }
    assert_eq!(stage.reads.load(Ordering::SeqCst), 0, "not one byte was decrypted");

    owner.close().await.unwrap();
    stage.postgres.stop();
    assert_eq!(stage.get(&one, &carol, &[]).await.code(), "catalog.unavailable");
    assert_eq!(stage.login("alice", "alice-demo", &[]).await.status, 200, "agents log in without the database");
}

#[tokio::test]
async fn a_node_without_the_vault_says_so() {
    let stage = Stage::with_audio(|_| None).await;
    store_recording(&stage.catalog, &intent(0)).await;
    let carol = stage.cookie("carol").await;
    let answer = stage.get(&format!("/api/v1/recordings/{}/audio", intent(0).recording), &carol, &[]).await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "vault.absent"));
}

#[tokio::test]
async fn health_is_told_and_every_answer_bears_the_strict_headers() {
    let mut stage = Stage::set().await;
    let wait_for = async |stage: &Stage, status: u16| {
        let mut answer = send(stage.address, "GET", "/readyz", &[], "").await;
        let mut tries = 0;
        while answer.status != status && tries < 200 {
            tries += 1;
            tokio::time::sleep(Duration::from_millis(50)).await;
            answer = send(stage.address, "GET", "/readyz", &[], "").await;
        }
        assert_eq!(answer.status, status);
        answer.json()
    };
    assert_eq!(wait_for(&stage, 200).await["dependencies"][0]["ok"], true);
    stage.postgres.stop();
    let body = wait_for(&stage, 503).await;
    assert_eq!(
        (body["status"].as_str(), body["dependencies"][0]["name"].as_str()),
        (Some("not_ready"), Some("database"))
    );
    assert!(body["dependencies"][0]["detail"].as_str().unwrap().contains("cannot be reached"));
    for path in ["/livez", "/readyz", "/api/v1/session", "/nothing"] {
        let answer = send(stage.address, "GET", path, &[], "").await;
        let policy = answer.header("content-security-policy").unwrap();
        assert!(
            policy.contains("default-src 'none'")
                && policy.contains("frame-ancestors 'none'")
                && !policy.contains("unsafe"),
            "{path}"
        );
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
}

#[tokio::test]
async fn https_shows_the_configured_certificate_and_a_taken_port_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new("A test").unwrap();
    let issued = authority.issue(&["localhost", "127.0.0.1"]).unwrap();
    let https = Https {
        address: ([127, 0, 0, 1], 0).into(),
        certificate_file: directory.path().join("c.pem"),
        key_file: directory.path().join("k.pem"),
    };
    std::fs::write(&https.certificate_file, &issued.certificate_pem).unwrap();
    std::fs::write(&https.key_file, &issued.key_pem).unwrap();
    let listeners = Listeners::bind(&Listen { http: None, https: Some(https.clone()) }).unwrap();
    let address = listeners.https_address().unwrap();

    let taken = Listeners::bind(&Listen { http: Some(address), https: None }).unwrap_err();
    assert!(matches!(taken, ServeError::Bind { key: "http.plain", .. }));
    assert!(taken.to_string().contains(&address.to_string()), "{taken}");
    let missing = Https { key_file: "/nonexistent".into(), ..https };
    let missing = Listeners::bind(&Listen { http: None, https: Some(missing) }).unwrap_err();
    assert!(matches!(missing, ServeError::File { key: "http.key_file", .. }));

    let shutdown = CancellationToken::new();
    let routes = Router::new().route("/", axum::routing::get(async || "hello"));
    let serving = tokio::spawn(listeners.serve(routes, shutdown.clone()));
    let answer = tokio::task::spawn_blocking(move || over_tls(address, authority.certificate_pem())).await.unwrap();
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"hello"[..]));
    shutdown.cancel();
    tokio::time::timeout(Duration::from_secs(10), serving).await.expect("it ends").unwrap().unwrap();
}

/// One request over TLS that checks the certificate.
fn over_tls(address: SocketAddr, authority_pem: &str) -> Answer {
    use rustls::pki_types::pem::PemObject;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(rustls::pki_types::CertificateDer::from_pem_slice(authority_pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let client = rustls::ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
    let mut stream = rustls::StreamOwned::new(client, std::net::TcpStream::connect(address).unwrap());
    stream.write_all(request("GET", "/", &[], "").as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    Answer::parse(&bytes)
}
