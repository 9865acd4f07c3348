//! The directory over LDAP v3: OpenLDAP's RFC 4519 schema, groups by their members.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ldap3::{Ldap, LdapConnAsync, LdapConnSettings, LdapError, Scope, SearchEntry, dn_escape, ldap_escape};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use secrecy::{ExposeSecret, SecretString};

use crate::auth::Identity;
use crate::auth::io::directory::Directory;
use crate::auth::io::directory::DirectoryError;
use crate::auth::role::RoleMap;
use crate::auth::user_name::UserName;
use crate::ids::Extension;
use crate::limits::LDAP_GROUPS_MAX;
use crate::limits::PASSWORD_BYTES_MAX;

/// RFC 4511 4.1.9: the result codes that we tell apart.
mod result_code {
    pub(super) const SUCCESS: u32 = 0;
    pub(super) const BUSY: u32 = 51;
    pub(super) const UNAVAILABLE: u32 = 52;
    pub(super) const UNWILLING_TO_PERFORM: u32 = 53;
    pub(super) const NO_SUCH_OBJECT: u32 = 32;
    pub(super) const INVALID_CREDENTIALS: u32 = 49;
    pub(super) const INSUFFICIENT_ACCESS: u32 = 50;
}

/// How to ask the directory.
#[derive(Debug, Clone)]
pub struct LdapConfig {
    /// `ldap://host:port` or `ldaps://host:port`, asked in this order until one answers.
    pub servers: Vec<String>,
    /// Certificate authorities as PEM; a server's certificate must come from one of them.
    pub ca_file: PathBuf,
    /// Sends passwords without TLS over `ldap://`. For a directory on the same machine only.
    pub insecure_plain: bool,
    /// Time for one login in all, over all servers.
    pub timeout: Duration,
    /// How a user's entry is found and bound.
    pub bind: LdapBind,
    /// Below which the people are.
    pub user_base: String,
    /// Finds a person; `{user}` stands for the escaped user name.
    pub user_filter: String,
    /// Below which the groups are.
    pub group_base: String,
    /// Finds a person's groups; `{dn}` stands for their escaped distinguished name.
    pub group_filter: String,
    /// Attribute of the user name, as it is shown and audited.
    pub user_attribute: String,
    /// Attribute of the name for people.
    pub name_attribute: String,
    /// Attribute of the extension.
    pub extension_attribute: String,
    /// Attribute of the number shown to a trunk, where there is one.
    pub number_attribute: Option<String>,
    /// Which groups bear which role.
    pub roles: RoleMap,
}

/// How a user's entry is found and bound.
#[derive(Debug, Clone)]
pub enum LdapBind {
    /// A service account searches, then the found entry is bound.
    Service {
        /// Its distinguished name.
        dn: String,
        /// Its password.
        password: SecretString,
    },
    /// The user is bound straight away and reads their own entry.
    Template {
        /// The distinguished name; `{user}` stands for the escaped user name.
        dn: String,
    },
}

impl Default for LdapConfig {
    /// RFC 4519 and Debian's certificate authorities; servers, bases, bind and roles must be set.
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            ca_file: PathBuf::from("/etc/ssl/certs/ca-certificates.crt"),
            insecure_plain: false,
            timeout: Duration::from_secs(3),
            bind: LdapBind::Template { dn: String::new() },
            user_base: String::new(),
            user_filter: "(uid={user})".to_owned(),
            group_base: String::new(),
            group_filter: "(&(objectClass=groupOfNames)(member={dn}))".to_owned(),
            user_attribute: "uid".to_owned(),
            name_attribute: "cn".to_owned(),
            extension_attribute: "telephoneNumber".to_owned(),
            number_attribute: None,
            roles: RoleMap::default(),
        }
    }
}

/// Why the directory cannot be asked at all.
#[derive(Debug, thiserror::Error)]
pub enum LdapSetupError {
    /// No server is named.
    #[error("no directory server is configured")]
    NoServer,
    /// A server's address is not `ldap://` or `ldaps://`.
    #[error("{0:?} is neither an ldap:// nor an ldaps:// address")]
    Address(String),
    /// The file of certificate authorities cannot be read.
    #[error("cannot read the certificate authorities in {path}")]
    CaFile {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// It holds none, or TLS refuses it.
    #[error("no certificate authority in {path} is valid")]
    NoAuthority {
        /// Which.
        path: PathBuf,
    },
    /// TLS cannot be set up.
    #[error("cannot set up TLS")]
    Tls(#[from] rustls::Error),
}

/// See the module.
#[derive(Debug)]
pub struct LdapDirectory {
    config: LdapConfig,
    tls: Option<Arc<ClientConfig>>,
}

impl LdapDirectory {
    /// Reads the certificate authorities; connects nowhere yet.
    pub fn new(config: LdapConfig) -> Result<Self, LdapSetupError> {
        if config.servers.is_empty() {
            return Err(LdapSetupError::NoServer);
        }
        let odd =
            config.servers.iter().find(|server| !server.starts_with("ldap://") && !server.starts_with("ldaps://"));
        if let Some(odd) = odd {
            return Err(LdapSetupError::Address(odd.clone()));
        }
        let all_plain = config.insecure_plain && config.servers.iter().all(|server| server.starts_with("ldap://"));
        let tls = if all_plain { None } else { Some(Arc::new(client_config(&config.ca_file)?)) };
        Ok(Self { config, tls })
    }

    /// Whether any server can be reached and its certificate checked; for readiness.
    pub async fn probe(&self) -> Result<(), DirectoryError> {
        let mut last = DirectoryError::Unavailable("no server is configured".to_owned());
        for server in &self.config.servers {
            match tokio::time::timeout(self.time_for_each(), self.connect(server)).await {
                Ok(Ok(mut ldap)) => return ldap.unbind().await.map_err(|error| unavailable(&error)),
                Ok(Err(error)) => last = error,
                Err(_late) => last = DirectoryError::Unavailable(format!("{server} does not answer")),
            }
        }
        Err(last)
    }

    fn time_for_each(&self) -> Duration {
        self.config.timeout / u32::try_from(self.config.servers.len()).unwrap_or(u32::MAX).max(1)
    }

    async fn connect(&self, server: &str) -> Result<Ldap, DirectoryError> {
        let encrypted = !self.config.insecure_plain && server.starts_with("ldap://");
        let mut settings = LdapConnSettings::new().set_conn_timeout(self.time_for_each()).set_starttls(encrypted);
        if let Some(tls) = &self.tls {
            settings = settings.set_config(Arc::clone(tls));
        }
        let (connection, ldap) =
            LdapConnAsync::with_settings(settings, server).await.map_err(|error| unavailable(&error))?;
        ldap3::drive!(connection);
        Ok(ldap)
    }

    async fn authenticate_at(
        &self,
        server: &str,
        user: &UserName,
        password: &SecretString,
    ) -> Result<Identity, DirectoryError> {
        let mut ldap = self.connect(server).await?;
        let identity = self.authenticate_over(&mut ldap, user, password).await;
        // The judgement stands, whether or not the farewell arrives.
        ldap.unbind().await.unwrap_or_default();
        identity
    }

    async fn authenticate_over(
        &self,
        ldap: &mut Ldap,
        user: &UserName,
        password: &SecretString,
    ) -> Result<Identity, DirectoryError> {
        match &self.config.bind {
            LdapBind::Service { dn, password: service } => {
                bind_service(ldap, dn, service).await?;
                let entry = self.find_user(ldap, user).await?.ok_or(DirectoryError::InvalidCredentials)?;
                let groups = self.groups_of(ldap, &entry.dn).await?;
                bind_user(ldap, &entry.dn, password).await?;
                Ok(self.identity(user, &entry, &groups))
            }
            LdapBind::Template { dn } => {
                bind_user(ldap, &dn.replace("{user}", &dn_escape(user.as_str())), password).await?;
                let unreadable = || DirectoryError::Misconfigured("a user cannot read their own entry".to_owned());
                let entry = self.find_user(ldap, user).await?.ok_or_else(unreadable)?;
                let groups = self.groups_of(ldap, &entry.dn).await?;
                Ok(self.identity(user, &entry, &groups))
            }
        }
    }

    async fn find_user(&self, ldap: &mut Ldap, user: &UserName) -> Result<Option<SearchEntry>, DirectoryError> {
        let filter = self.config.user_filter.replace("{user}", &ldap_escape(user.as_str()));
        let config = &self.config;
        let mut attributes = vec![&config.user_attribute, &config.name_attribute, &config.extension_attribute];
        attributes.extend(&config.number_attribute);
        let mut found = search(ldap, &config.user_base, &filter, &attributes).await?;
        let first = found.pop();
        if found.is_empty() {
            Ok(first)
        } else {
            Err(DirectoryError::Misconfigured("the user filter finds several people".to_owned()))
        }
    }

    async fn groups_of(&self, ldap: &mut Ldap, dn: &str) -> Result<Vec<String>, DirectoryError> {
        let filter = self.config.group_filter.replace("{dn}", &ldap_escape(dn));
        let groups = search(ldap, &self.config.group_base, &filter, &["1.1"]).await?;
        Ok(groups.into_iter().take(LDAP_GROUPS_MAX).map(|group| group.dn).collect())
    }

    fn identity(&self, user: &UserName, entry: &SearchEntry, groups: &[String]) -> Identity {
        let name = first_value(entry, &self.config.user_attribute)
            .and_then(|name| UserName::parse(&name))
            .unwrap_or_else(|| user.clone());
        let roles: BTreeSet<_> = self.config.roles.roles_of(groups);
        Identity {
            user: name.as_str().to_owned(),
            display_name: first_value(entry, &self.config.name_attribute).unwrap_or_else(|| name.as_str().to_owned()),
            extension: first_value(entry, &self.config.extension_attribute).map(Extension::new),
            number: self.config.number_attribute.as_deref().and_then(|attribute| first_value(entry, attribute)),
            roles,
        }
    }
}

#[async_trait]
impl Directory for LdapDirectory {
    async fn authenticate(&self, user: &UserName, password: &SecretString) -> Result<Identity, DirectoryError> {
        // RFC 4513 5.1.2: a bind without a password is anonymous, and succeeds.
        if !is_bindable(password.expose_secret()) {
            return Err(DirectoryError::InvalidCredentials);
        }
        let mut last = DirectoryError::Unavailable("no server is configured".to_owned());
        for server in &self.config.servers {
            match tokio::time::timeout(self.time_for_each(), self.authenticate_at(server, user, password)).await {
                Ok(Err(error @ DirectoryError::Unavailable(_))) => last = error,
                Ok(judged) => return judged,
                Err(_late) => last = DirectoryError::Unavailable(format!("{server} does not answer in time")),
            }
            tracing::warn!(%server, error = %last, "directory server skipped");
        }
        Err(last)
    }
}

/// Whether a password may be sent in a bind at all.
fn is_bindable(password: &str) -> bool {
    !password.trim().is_empty() && !password.contains('\0') && password.len() <= PASSWORD_BYTES_MAX
}

async fn bind_service(ldap: &mut Ldap, dn: &str, password: &SecretString) -> Result<(), DirectoryError> {
    let result = ldap.simple_bind(dn, password.expose_secret()).await.map_err(|error| unavailable(&error))?;
    match result.rc {
        result_code::SUCCESS => Ok(()),
        result_code::BUSY | result_code::UNAVAILABLE => {
            Err(DirectoryError::Unavailable(format!("it answered {}", result.rc)))
        }
        code => Err(DirectoryError::Misconfigured(format!("the service account's bind was answered {code}"))),
    }
}

async fn bind_user(ldap: &mut Ldap, dn: &str, password: &SecretString) -> Result<(), DirectoryError> {
    let result = ldap.simple_bind(dn, password.expose_secret()).await.map_err(|error| unavailable(&error))?;
    match result.rc {
        result_code::SUCCESS => Ok(()),
        result_code::INVALID_CREDENTIALS | result_code::NO_SUCH_OBJECT => Err(DirectoryError::InvalidCredentials),
        result_code::UNWILLING_TO_PERFORM | result_code::INSUFFICIENT_ACCESS => Err(DirectoryError::Disabled),
        code => Err(DirectoryError::Unavailable(format!("it answered a bind with {code}"))),
    }
}

/// The entries found; referrals among them are not followed.
async fn search<S: AsRef<str> + Send + Sync>(
    ldap: &mut Ldap,
    base: &str,
    filter: &str,
    attributes: &[S],
) -> Result<Vec<SearchEntry>, DirectoryError> {
    let attributes: Vec<&str> = attributes.iter().map(AsRef::as_ref).collect();
    let found = ldap.search(base, Scope::Subtree, filter, attributes).await.map_err(|error| unavailable(&error))?;
    match found.1.rc {
        result_code::SUCCESS => {
            Ok(found.0.into_iter().filter(|entry| !entry.is_ref()).map(SearchEntry::construct).collect())
        }
        result_code::BUSY | result_code::UNAVAILABLE => {
            Err(DirectoryError::Unavailable(format!("it answered a search with {}", found.1.rc)))
        }
        code => Err(DirectoryError::Misconfigured(format!("a search below {base} was answered {code}"))),
    }
}

/// A value by its attribute, whose name is compared without case (RFC 4512 2.5).
fn first_value(entry: &SearchEntry, attribute: &str) -> Option<String> {
    let values = entry.attrs.get(attribute).cloned().or_else(|| {
        let spellings: BTreeMap<_, _> = entry.attrs.clone().into_iter().collect();
        spellings.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(attribute)).map(|(_, values)| values)
    });
    values?.into_iter().next().filter(|value| !value.trim().is_empty())
}

fn unavailable(error: &LdapError) -> DirectoryError {
    DirectoryError::Unavailable(error.to_string())
}

fn client_config(ca_file: &Path) -> Result<ClientConfig, LdapSetupError> {
    let unreadable = |source| LdapSetupError::CaFile { path: ca_file.to_owned(), source };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca_file).map_err(unreadable)? {
        // A public bundle may hold one that TLS no longer takes; it is enough that others are valid.
        roots.add(certificate.map_err(unreadable)?).unwrap_or_default();
    }
    if roots.is_empty() {
        return Err(LdapSetupError::NoAuthority { path: ca_file.to_owned() });
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_that_would_make_an_anonymous_bind_are_refused() {
        for password in ["", " ", "\t\n", "a\0b", "\0", &"a".repeat(PASSWORD_BYTES_MAX + 1)] {
            assert!(!is_bindable(password), "{password:?}");
        }
        assert!(is_bindable(" with blanks "));
    }

    #[test]
    fn a_wrong_address_or_authority_is_said_at_once() {
        let config = LdapConfig { servers: vec!["https://directory".to_owned()], ..LdapConfig::default() };
        assert!(matches!(LdapDirectory::new(config), Err(LdapSetupError::Address(_))));
        assert!(matches!(LdapDirectory::new(LdapConfig::default()), Err(LdapSetupError::NoServer)));
        let config = LdapConfig {
            servers: vec!["ldaps://directory".to_owned()],
            ca_file: "/nonexistent".into(),
            ..LdapConfig::default()
        };
        assert!(matches!(LdapDirectory::new(config), Err(LdapSetupError::CaFile { .. })));
    }
}
