//! A private OpenLDAP with the demo's people.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use super::child::{Account, Kept, command, first_existing, make_directory, run, write_private};
use super::{Authority, POLL_INTERVAL, PORT_TRIES, START_TIMEOUT, ServerError, at, free_port};

/// One person of the demo. The password is the user name with `-demo`.
#[derive(Debug, Clone, Copy)]
pub struct DemoPerson {
    /// `uid`, the user name.
    pub user: &'static str,
    /// `cn`, the name.
    pub name: &'static str,
    /// `telephoneNumber`, the extension.
    pub extension: &'static str,
    /// The `cn` of their one group.
    pub group: &'static str,
}

/// Everybody in the demo's directory.
pub const DEMO_PEOPLE: &[DemoPerson] = &[
    DemoPerson { user: "alice", name: "Alice Agent", extension: "1001", group: "agents" },
    DemoPerson { user: "bob", name: "Bob Agent", extension: "1002", group: "agents" },
    DemoPerson { user: "sam", name: "Sam Supervisor", extension: "1003", group: "supervisors" },
    DemoPerson { user: "carol", name: "Carol Compliance", extension: "1004", group: "compliance" },
    DemoPerson { user: "dan", name: "Dan Approver", extension: "1005", group: "approvers" },
    DemoPerson { user: "uma", name: "Uma Auditor", extension: "1006", group: "auditors" },
    DemoPerson { user: "oscar", name: "Oscar Operator", extension: "1007", group: "operators" },
];

/// Root of the demo's tree.
const BASE: &str = "dc=tandem,dc=test";
/// The account by which the gateway searches.
const SERVICE: &str = "cn=gateway,ou=services,dc=tandem,dc=test";
/// Its password.
const SERVICE_PASSWORD: &str = "gateway-demo";
/// The names in the server's certificate.
const NAMES: &[&str] = &["localhost", "127.0.0.1"];

/// A private slapd on two ports of 127.0.0.1: LDAP with `StartTLS`, and LDAPS. Its tree is made anew at each launch.
#[derive(Debug)]
pub struct LdapServer {
    directory: PathBuf,
    program: PathBuf,
    account: Option<Account>,
    port: u16,
    tls_port: u16,
    child: Option<Kept>,
}

impl LdapServer {
    /// Makes configuration, certificates and tree below `directory`, starts it, and returns once it answers.
    pub async fn launch(directory: &Path) -> Result<Self, ServerError> {
        let account = Account::unprivileged(&["openldap", "nobody"])?;
        make_directory(directory, account.as_ref(), 0o755)?;
        let directory = directory.canonicalize().map_err(at(directory))?;
        let program = private_program(&directory)?;
        let mut server = Self { directory, program, account, port: free_port()?, tls_port: free_port()?, child: None };
        server.write_certificates()?;
        server.write_configuration()?;
        server.load_tree()?;
        server.start_on_free_ports().await?;
        Ok(server)
    }

    /// Somebody else may take a free port before we do: tries others.
    async fn start_on_free_ports(&mut self) -> Result<(), ServerError> {
        for _ in 0..PORT_TRIES {
            if self.start().await.is_ok() {
                return Ok(());
            }
            (self.port, self.tls_port) = (free_port()?, free_port()?);
        }
        self.start().await
    }

    /// Starts it again after [`Self::stop`], on the same ports; returns once it answers.
    pub async fn start(&mut self) -> Result<(), ServerError> {
        if self.child.as_ref().is_some_and(|child| !child.has_ended()) {
            return Ok(());
        }
        let mut command = command(&self.program, &self.directory, self.account.as_ref());
        command.arg("-h").arg(format!("{}/ {}/", self.url(), self.tls_url()));
        command.arg("-f").arg(self.directory.join("slapd.conf")).args(["-d", "stats"]);
        self.child = Some(Kept::start("slapd", command, &self.log())?);
        self.wait_until_it_answers().await
    }

    /// Adds people, each a user name with an extension, and a group of theirs; all with one password. Stops it for that.
    pub async fn enrol(&mut self, group: &str, people: &[(String, String)], password: &str) -> Result<(), ServerError> {
        self.stop();
        let password = hashed(password)?;
        let mut ldif = String::new();
        for (user, extension) in people {
            add(&mut ldif, &person_ldif(user, user, extension, &password));
        }
        let members: Vec<&str> = people.iter().map(|(user, _)| user.as_str()).collect();
        add(&mut ldif, &group_ldif(group, &members));
        self.load(&ldif)?;
        self.start().await
    }

    /// Stops it and returns once it is gone.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.stop(Signal::TERM);
        }
    }

    /// `ldap://127.0.0.1:port`, for `StartTLS`.
    pub fn url(&self) -> String {
        format!("ldap://127.0.0.1:{}", self.port)
    }

    /// `ldaps://127.0.0.1:port`.
    pub fn tls_url(&self) -> String {
        format!("ldaps://127.0.0.1:{}", self.tls_port)
    }

    /// The certificate authority that signed its certificate, as a PEM file.
    pub fn ca_file(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    /// Root of the tree.
    pub const fn base_dn(&self) -> &'static str {
        BASE
    }

    /// Below which the people are, by `uid`.
    pub const fn people_dn(&self) -> &'static str {
        "ou=people,dc=tandem,dc=test"
    }

    /// Below which the groups are (`groupOfNames`).
    pub const fn groups_dn(&self) -> &'static str {
        "ou=groups,dc=tandem,dc=test"
    }

    /// The account by which the gateway searches.
    pub const fn service_dn(&self) -> &'static str {
        SERVICE
    }

    /// That account's password.
    pub const fn service_password(&self) -> &'static str {
        SERVICE_PASSWORD
    }

    /// How slapd logs its operations, one line each (`BIND dn="…"`, `RESULT …`).
    pub fn log(&self) -> PathBuf {
        self.directory.join("slapd.log")
    }

    fn write_certificates(&self) -> Result<(), ServerError> {
        let authority = Authority::new("Tandem demo directory")?;
        authority.write_certificate(&self.directory, "ca.pem")?;
        let issued = authority.issue(NAMES)?;
        let account = self.account.as_ref();
        write_private(&self.directory.join("server.pem"), &issued.certificate_pem, account)?;
        write_private(&self.directory.join("server.key"), &issued.key_pem, account)
    }

    fn write_configuration(&self) -> Result<(), ServerError> {
        let directory = self.directory.display();
        let text = format!(
            "include /etc/ldap/schema/core.schema\n\
             include /etc/ldap/schema/cosine.schema\n\
             include /etc/ldap/schema/inetorgperson.schema\n\
             pidfile \"{directory}/slapd.pid\"\n\
             modulepath /usr/lib/ldap\n\
             moduleload back_mdb\n\
             TLSCACertificateFile \"{directory}/ca.pem\"\n\
             TLSCertificateFile \"{directory}/server.pem\"\n\
             TLSCertificateKeyFile \"{directory}/server.key\"\n\
             disallow bind_anon\n\
             database mdb\n\
             suffix \"{BASE}\"\n\
             rootdn \"cn=admin,{BASE}\"\n\
             directory \"{directory}/tree\"\n\
             maxsize 67108864\n\
             index objectClass,uid,member eq\n\
             access to attrs=userPassword by anonymous auth by * none\n\
             access to dn.subtree=\"ou=groups,{BASE}\" by dn.exact=\"{SERVICE}\" read by dnattr=member read by users search by * none\n\
             access to * by dn.exact=\"{SERVICE}\" read by self read by users search by * none\n"
        );
        write_private(&self.directory.join("slapd.conf"), &text, self.account.as_ref())
    }

    /// Loads the people and groups into an empty database.
    fn load_tree(&self) -> Result<(), ServerError> {
        let tree = self.directory.join("tree");
        if tree.exists() {
            std::fs::remove_dir_all(&tree).map_err(at(&tree))?;
        }
        make_directory(&tree, self.account.as_ref(), 0o700)?;
        self.load(&tree_ldif()?)
    }

    /// Adds entries while it does not run.
    fn load(&self, text: &str) -> Result<(), ServerError> {
        let ldif = self.directory.join("tree.ldif");
        write_private(&ldif, text, self.account.as_ref())?;
        let mut command = command(&self.program, &self.directory, self.account.as_ref());
        command.arg("-Tadd").arg("-f").arg(self.directory.join("slapd.conf")).arg("-l").arg(ldif);
        run("slapadd", command).map(drop)
    }

    /// True once the port accepts; false where the child ended before.
    async fn listens_on(&self, port: u16) -> bool {
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            if self.child.as_ref().is_none_or(Kept::has_ended) {
                return false;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        true
    }

    async fn wait_until_it_answers(&self) -> Result<(), ServerError> {
        let answer = async { self.listens_on(self.port).await && self.listens_on(self.tls_port).await };
        if tokio::time::timeout(START_TIMEOUT, answer).await.unwrap_or(false) {
            return Ok(());
        }
        Err(ServerError::Unanswered { server: "OpenLDAP", address: self.url(), log: self.log() })
    }
}

/// A copy of slapd: Debian's `AppArmor` profile binds the program's path to the system's own directories.
fn private_program(directory: &Path) -> Result<PathBuf, ServerError> {
    let installed = first_existing(["/usr/sbin/slapd", "/usr/libexec/slapd"].map(PathBuf::from))
        .ok_or(ServerError::NotInstalled { program: "slapd", package: "slapd" })?;
    let copy = directory.join("slapd");
    if copy.exists() {
        std::fs::remove_file(&copy).map_err(at(&copy))?;
    }
    std::fs::copy(&installed, &copy).map_err(at(&copy))?;
    Ok(copy)
}

/// The demo's tree as LDIF, passwords salted and hashed.
fn tree_ldif() -> Result<String, ServerError> {
    let mut ldif = format!("dn: {BASE}\nobjectClass: domain\ndc: tandem\n\n");
    for unit in ["people", "groups", "services"] {
        add(&mut ldif, &format!("dn: ou={unit},{BASE}\nobjectClass: organizationalUnit\nou: {unit}\n\n"));
    }
    let password = hashed(SERVICE_PASSWORD)?;
    add(
        &mut ldif,
        &format!(
            "dn: {SERVICE}\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\ncn: gateway\nuserPassword: {password}\n\n"
        ),
    );
    for person in DEMO_PEOPLE {
        let DemoPerson { user, name, extension, .. } = person;
        add(&mut ldif, &person_ldif(user, name, extension, &hashed(&format!("{user}-demo"))?));
    }
    let mut groups: Vec<&str> = DEMO_PEOPLE.iter().map(|person| person.group).collect();
    groups.dedup();
    for group in groups {
        let members = DEMO_PEOPLE.iter().filter(|person| person.group == group).map(|person| person.user);
        add(&mut ldif, &group_ldif(group, &members.collect::<Vec<_>>()));
    }
    Ok(ldif)
}

fn person_ldif(user: &str, name: &str, extension: &str, password: &str) -> String {
    let surname = name.rsplit(' ').next().unwrap_or(name);
    format!(
        "dn: uid={user},ou=people,{BASE}\nobjectClass: inetOrgPerson\nuid: {user}\ncn: {name}\nsn: {surname}\n\
         telephoneNumber: {extension}\nemployeeNumber: {extension}\nmail: {user}@tandem.test\nuserPassword: {password}\n\n"
    )
}

fn group_ldif(group: &str, members: &[&str]) -> String {
    let members: Vec<String> = members.iter().map(|user| format!("member: uid={user},ou=people,{BASE}\n")).collect();
    let members = members.concat();
    format!("dn: cn={group},ou=groups,{BASE}\nobjectClass: groupOfNames\ncn: {group}\n{members}\n")
}

/// Appends; a `String` takes everything.
fn add(ldif: &mut String, text: &str) {
    ldif.write_str(text).unwrap_or_default();
}

fn hashed(password: &str) -> Result<String, ServerError> {
    let mut command = std::process::Command::new("/usr/sbin/slappasswd");
    command.args(["-n", "-h", "{SSHA}", "-s", password]);
    let output = run("slappasswd", command)?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
