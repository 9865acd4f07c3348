//! The directory: a real OpenLDAP, and peers that behave worse.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use secrecy::SecretString;
use tandem::auth::io::directory::{Directory, DirectoryError};
use tandem::auth::io::ldap::{LdapBind, LdapConfig, LdapDirectory};
use tandem::auth::role::RoleMap;
use tandem::auth::user_name::UserName;
use tandem::auth::{Identity, Role};
use tandem::demo::servers::{Authority, LdapServer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::servers::directory;

/// A configuration for the demo's directory.
pub(crate) fn config(server: &LdapServer) -> LdapConfig {
    let groups = [
        ("agents", Role::Agent),
        ("supervisors", Role::Supervisor),
        ("compliance", Role::Compliance),
        ("approvers", Role::Approver),
        ("auditors", Role::Auditor),
        ("operators", Role::Operator),
    ];
    LdapConfig {
        servers: vec![server.url()],
        ca_file: server.ca_file(),
        bind: LdapBind::Service { dn: server.service_dn().to_owned(), password: server.service_password().into() },
        user_base: server.people_dn().to_owned(),
        group_base: server.groups_dn().to_owned(),
        roles: RoleMap::new(groups.map(|(group, role)| (format!("cn={group},{}", server.groups_dn()), role))),
        ..LdapConfig::default()
    }
}

async fn login(config: LdapConfig, user: &str, password: &str) -> Result<Identity, DirectoryError> {
    let user = UserName::parse(user).unwrap();
    LdapDirectory::new(config).unwrap().authenticate(&user, &SecretString::from(password)).await
}

fn count(log: &Path, word: &str) -> usize {
    std::fs::read_to_string(log).unwrap().matches(word).count()
}

#[expect(clippy::disallowed_methods, reason = "a test measures real time")]
async fn timed<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let start = Instant::now();
    let done = work.await;
    (done, start.elapsed())
}

#[tokio::test]
async fn a_login_over_starttls_and_over_ldaps_gives_name_extension_and_roles() {
    let directory = directory();
    let server = LdapServer::launch(directory.path()).await.unwrap();

    let alice = login(config(&server), "Alice", "alice-demo").await.unwrap();
    assert_eq!(alice.user, "alice");
    assert_eq!(alice.display_name, "Alice Agent");
    assert_eq!(alice.extension.unwrap().as_str(), "1001");
    assert_eq!(alice.roles, BTreeSet::from([Role::Agent]));
    assert_eq!(count(&server.log(), "STARTTLS"), 1);
    assert!(count(&server.log(), "TLS established") >= 1, "passwords went over TLS");

    let carol =
        login(LdapConfig { servers: vec![server.tls_url()], ..config(&server) }, "carol", "carol-demo").await.unwrap();
    assert_eq!(carol.roles, BTreeSet::from([Role::Compliance]));
    assert_eq!(count(&server.log(), "STARTTLS"), 1, "LDAPS needs none");

    let everybody = [
        ("sam", Role::Supervisor),
        ("dan", Role::Approver),
        ("uma", Role::Auditor),
        ("oscar", Role::Operator),
        ("bob", Role::Agent),
    ];
    for (user, role) in everybody {
        let identity = login(config(&server), user, &format!("{user}-demo")).await.unwrap();
        assert_eq!(identity.roles, BTreeSet::from([role]), "{user}");
    }
    let without_groups = LdapConfig { roles: RoleMap::default(), ..config(&server) };
    assert!(login(without_groups, "alice", "alice-demo").await.unwrap().roles.is_empty());

    for (user, password) in [("alice", "bob-demo"), ("nobody", "nobody-demo"), ("alice", "alice-demo ")] {
        let refused = login(config(&server), user, password).await;
        assert!(matches!(refused, Err(DirectoryError::InvalidCredentials)), "{user}: {refused:?}");
    }
    let wrong_service = LdapBind::Service { dn: server.service_dn().to_owned(), password: "wrong".into() };
    let refused = login(LdapConfig { bind: wrong_service, ..config(&server) }, "alice", "alice-demo").await;
    assert!(matches!(refused, Err(DirectoryError::Misconfigured(_))), "{refused:?}");
}

#[tokio::test]
async fn a_certificate_of_another_authority_ends_the_attempt_before_any_bind() {
    let directory = directory();
    let server = LdapServer::launch(directory.path()).await.unwrap();
    let other = Authority::new("Somebody else").unwrap().write_certificate(directory.path(), "other.pem").unwrap();

    for url in [server.url(), server.tls_url()] {
        let config = LdapConfig { servers: vec![url.clone()], ca_file: other.clone(), ..config(&server) };
        let refused = login(config, "alice", "alice-demo").await;
        assert!(matches!(refused, Err(DirectoryError::Unavailable(_))), "{url}: {refused:?}");
    }
    // The right authority, but another name than the certificate's.
    let other_name = server.tls_url().replace("127.0.0.1", "127.0.0.2");
    assert!(login(LdapConfig { servers: vec![other_name], ..config(&server) }, "alice", "alice-demo").await.is_err());
    assert_eq!(count(&server.log(), "BIND dn="), 0);
}

/// Answers the first request with "protocol error", and gives all that it was sent.
async fn refuse_starttls(listener: TcpListener) -> Vec<u8> {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut seen = vec![0; 4_096];
    let count = stream.read(&mut seen).await.unwrap();
    seen.truncate(count);
    // ExtendedResponse, message 1, protocolError (2).
    stream
        .write_all(&[0x30, 0x0c, 0x02, 0x01, 0x01, 0x78, 0x07, 0x0a, 0x01, 0x02, 0x04, 0x00, 0x04, 0x00])
        .await
        .unwrap();
    // The client may well close the hard way.
    drop(stream.read_to_end(&mut seen).await);
    seen
}

#[tokio::test]
async fn no_password_leaves_without_tls_unless_that_is_configured() {
    // A server that refuses StartTLS, and keeps what it was sent.
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("ldap://{}", listener.local_addr().unwrap());
    let seen = tokio::spawn(refuse_starttls(listener));
    let directory = directory();
    let server = LdapServer::launch(directory.path()).await.unwrap();
    let refused = login(LdapConfig { servers: vec![url], ..config(&server) }, "alice", "alice-demo").await;
    assert!(matches!(refused, Err(DirectoryError::Unavailable(_))), "{refused:?}");
    let seen = tokio::time::timeout(Duration::from_secs(5), seen).await.unwrap().unwrap();
    let contains = |word: &str| seen.windows(word.len()).any(|window| window == word.as_bytes());
    assert!(contains("1.3.6.1.4.1.1466.20037"), "StartTLS was asked for");
    assert!(!contains("-demo") && !contains(server.service_dn()), "a credential went in the clear");

    let plain = LdapConfig { insecure_plain: true, ..config(&server) };
    assert_eq!(login(plain, "alice", "alice-demo").await.unwrap().user, "alice");
    assert_eq!(count(&server.log(), "STARTTLS"), 0);
}

#[tokio::test]
async fn empty_blank_and_nul_passwords_never_reach_the_server() {
    let directory = directory();
    let server = LdapServer::launch(directory.path()).await.unwrap();
    let template = LdapBind::Template { dn: format!("uid={{user}},{}", server.people_dn()) };
    for password in ["", " ", "\t", "\0", "alice-demo\0", "\0alice-demo"] {
        for bind in [config(&server).bind, template.clone()] {
            let refused = login(LdapConfig { bind, ..config(&server) }, "alice", password).await;
            assert!(matches!(refused, Err(DirectoryError::InvalidCredentials)), "{password:?}: {refused:?}");
        }
    }
    assert_eq!(count(&server.log(), "BIND dn="), 0);
    assert_eq!(count(&server.log(), "STARTTLS"), 0, "it is not even connected to");
    assert!(login(config(&server), "alice", "alice-demo").await.is_ok());
    assert_eq!(count(&server.log(), "STARTTLS"), 1, "the log shows what happens");
}

#[tokio::test]
async fn a_user_name_cannot_change_the_filter_or_the_distinguished_name() {
    let directory = directory();
    let server = LdapServer::launch(directory.path()).await.unwrap();
    let template = LdapBind::Template { dn: format!("uid={{user}},{}", server.people_dn()) };
    let names = [
        "*",
        "al*",
        "alice)(uid=*",
        "*)(objectClass=*",
        "alice)(|(uid=*",
        "\\61lice",
        "alice,ou=people",
        "alice\\2a",
        "x)(uid=alice",
    ];
    for name in names {
        for bind in [config(&server).bind, template.clone()] {
            let refused = login(LdapConfig { bind, ..config(&server) }, name, "alice-demo").await;
            assert!(matches!(refused, Err(DirectoryError::InvalidCredentials)), "{name}: {refused:?}");
        }
    }
    // The names are legal, so the search was made, with every special character escaped.
    assert!(count(&server.log(), "filter=\"(uid=\\2A)\"") + count(&server.log(), "filter=\"(uid=\\2a)\"") >= 1);
}

#[tokio::test]
async fn people_may_read_their_own_entry_in_place_of_a_service_account() {
    let directory = directory();
    let server = LdapServer::launch(directory.path()).await.unwrap();
    let bind = LdapBind::Template { dn: format!("uid={{user}},{}", server.people_dn()) };
    let with_template = LdapConfig { bind, ..config(&server) };
    let alice = login(with_template.clone(), "alice", "alice-demo").await.unwrap();
    assert_eq!((alice.display_name.as_str(), alice.extension.unwrap().as_str()), ("Alice Agent", "1001"));
    assert_eq!(alice.roles, BTreeSet::from([Role::Agent]));
    for (user, password) in [("alice", "wrong"), ("nobody", "wrong")] {
        let refused = login(with_template.clone(), user, password).await;
        assert!(matches!(refused, Err(DirectoryError::InvalidCredentials)), "{user}: {refused:?}");
    }
    assert_eq!(count(&server.log(), server.service_dn()), 0, "the service account is not used");
}

#[tokio::test]
async fn a_directory_that_is_gone_or_hangs_is_told_within_three_seconds_and_the_next_is_asked() {
    let directory = directory();
    let mut server = LdapServer::launch(directory.path()).await.unwrap();
    let silent = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let silent_url = format!("ldap://{}", silent.local_addr().unwrap());

    let (refused, took) =
        timed(login(LdapConfig { servers: vec![silent_url.clone()], ..config(&server) }, "alice", "alice-demo")).await;
    assert!(matches!(refused, Err(DirectoryError::Unavailable(_))), "{refused:?}");
    assert!(took < Duration::from_millis(3_300), "took {took:?}");

    let servers = vec![silent_url, server.url()];
    let (accepted, took) = timed(login(LdapConfig { servers, ..config(&server) }, "alice", "alice-demo")).await;
    assert_eq!(accepted.unwrap().user, "alice");
    assert!(took < Duration::from_millis(3_300), "took {took:?}");

    server.stop();
    let (refused, took) = timed(login(config(&server), "alice", "alice-demo")).await;
    assert!(matches!(refused, Err(DirectoryError::Unavailable(_))), "{refused:?}");
    assert!(took < Duration::from_secs(1), "took {took:?}");
    server.start().await.unwrap();
    assert_eq!(login(config(&server), "alice", "alice-demo").await.unwrap().user, "alice");
}
