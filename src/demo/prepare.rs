//! What a site needs before its gateway starts: keys, a certificate, the database's schema.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::demo::servers::{Authority, LdapServer, PostgresServer};
use crate::demo::settings::{Settings, demo_config};
use crate::recording::io::keys;

/// Makes what is missing, and writes the configuration anew.
pub(super) async fn site(settings: &Settings, database: &PostgresServer, ldap: &LdapServer) -> Result<()> {
    let root = &settings.directory;
    fs::create_dir_all(root.join("keys"))?;
    keys::load_or_generate_vault_key(&root.join("keys/vault.key"), &mut StdRng::from_os_rng())?;
    let authority = Authority::new("Tandem demo")?;
    let ip = settings.https.ip().to_string();
    let certificate = authority.issue(&[&ip, "localhost"])?;
    authority.write_certificate(root, "https-ca.pem")?;
    write_secret(&root.join("https.pem"), &certificate.certificate_pem)?;
    write_secret(&root.join("https.key"), &certificate.key_pem)?;
    write_secret(&settings.config_file(), &demo_config(settings, database, ldap))?;
    crate::store::migrate(&database.owner_url()).await.context("the demo's database cannot be migrated")
}

/// Nobody else may read it.
fn write_secret(path: &Path, text: &str) -> Result<()> {
    if path.exists() {
        fs::remove_file(path)?;
    }
    let mut file = fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)?;
    Ok(file.write_all(text.as_bytes())?)
}
