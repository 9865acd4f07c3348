//! The private servers of the harness themselves.

use sqlx::Connection;
use tandem::demo::servers::{LdapServer, PostgresServer};

/// A directory for private servers; they reach it although only its owner may enter.
pub(crate) fn directory() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[tokio::test]
async fn a_private_postgresql_keeps_its_data_over_a_restart() {
    let directory = directory();
    let mut server = PostgresServer::launch(directory.path()).await.unwrap();
    let mut connection = sqlx::PgConnection::connect(&server.owner_url()).await.unwrap();
    sqlx::query("CREATE TABLE kept (n int)").execute(&mut connection).await.unwrap();
    sqlx::query("INSERT INTO kept VALUES (42)").execute(&mut connection).await.unwrap();

    server.stop();
    assert!(sqlx::PgConnection::connect(&server.url()).await.is_err());

    server.start().await.unwrap();
    let mut connection = sqlx::PgConnection::connect(&server.owner_url()).await.unwrap();
    let (kept,): (i32,) = sqlx::query_as("SELECT n FROM kept").fetch_one(&mut connection).await.unwrap();
    assert_eq!(kept, 42);

    let pid = server.pid().unwrap();
    drop(server);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "the server outlived its owner");
}

#[tokio::test]
async fn a_private_openldap_answers_on_both_ports_and_does_not_run_as_root() {
    let directory = directory();
    let mut server = LdapServer::launch(directory.path()).await.unwrap();
    let port = |url: String| url.rsplit(':').next().unwrap().parse::<u16>().unwrap();
    for url in [server.url(), server.tls_url()] {
        tokio::net::TcpStream::connect(("127.0.0.1", port(url))).await.unwrap();
    }
    server.stop();
    assert!(tokio::net::TcpStream::connect(("127.0.0.1", port(server.url()))).await.is_err());
    server.start().await.unwrap();
    tokio::net::TcpStream::connect(("127.0.0.1", port(server.url()))).await.unwrap();
}
