//! Where the demo's parts listen, and the configuration that it writes for its gateway.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::demo::servers::{LdapServer, PostgresServer};

/// Where the demo's things are and listen.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Everything that the demo writes is below this.
    pub directory: PathBuf,
    /// The gateway's SIP, over UDP and TCP.
    pub sip: SocketAddr,
    /// The gateway's SIP over TLS, with the certificate of its pages.
    pub sip_tls: SocketAddr,
    /// The gateway's pages and interfaces.
    pub http: SocketAddr,
    /// The same over TLS.
    pub https: SocketAddr,
    /// The PBX: the trunk's only target.
    pub pbx: SocketAddr,
    /// Run the simulated PBX there; without, a test's SIPp takes its place.
    pub simulated_pbx: bool,
    /// The program whose `serve` is the gateway.
    pub program: PathBuf,
}

impl Settings {
    /// On an address of the loopback network, with the ports that the demo's page names, everything below `directory`;
    /// the gateway is `program`.
    pub fn at(address: Ipv4Addr, directory: PathBuf, program: PathBuf) -> Self {
        let at = |port| SocketAddr::from((address, port));
        // The PBX stays on 127.0.0.1: its RTP leaves from there whatever address it listens on, and a gateway takes media
        // from the negotiated address only. The port tells stages apart.
        let pbx = SocketAddr::from((Ipv4Addr::LOCALHOST, 5069 + u16::from(address.octets()[3])));
        let (sip, sip_tls, http, https) = (at(5060), at(5061), at(8080), at(8443));
        Self { directory, sip, sip_tls, http, https, pbx, simulated_pbx: true, program }
    }

    /// The gateway's configuration file.
    pub fn config_file(&self) -> PathBuf {
        self.directory.join("tandem.toml")
    }

    /// The authority that signed the gateway's certificate (PEM).
    pub fn ca_file(&self) -> PathBuf {
        self.directory.join("https-ca.pem")
    }

    /// The object store that recordings end up in.
    pub fn vault(&self) -> PathBuf {
        self.directory.join("vault")
    }

    /// What the gateway logs.
    pub fn gateway_log(&self) -> PathBuf {
        self.directory.join("gateway.log")
    }
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn path(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}

/// The text of `var/demo/tandem.toml`.
pub fn demo_config(settings: &Settings, database: &PostgresServer, directory: &LdapServer) -> String {
    [site(settings), people(directory), archive(settings, database)].concat()
}

/// SIP, the trunk, the dial plan, agents, media and HTTP. Bob echoes for load tests, so he may have many calls.
fn site(settings: &Settings) -> String {
    let Settings { sip, sip_tls, http, https, pbx, .. } = settings;
    let (ip, port, tls_port) = (sip.ip(), http.port(), https.port());
    let options = if settings.simulated_pbx { "30s" } else { "0s" };
    format!(
        r#"# Written by `tandem demo`, anew at each start.
[node]
name = "demo"
drain_timeout = "5s"

[sip]
udp = "{sip}"
tcp = "{sip}"
tls = "{sip_tls}"
certificate_file = "https.pem"
key_file = "https.key"

[[trunk]]
name = "pbx"
networks = ["127.0.0.0/8"]
targets = ["udp:{pbx}"]
codecs = ["PCMU", "PCMA"]
media_bind = "{ip}"
recording = "required"
# SIPp in the PBX's place takes OPTIONS for a call of its scenario.
options_interval = "{options}"

[dial]
extensions = ["1000-1999"]

[[dial.rule]]
prefix = "6"
digits = "3"
trunk = "pbx"

[agents]
no_answer = "15s"
resume = "10s"

[agents.lines_max_of]
"1002" = 250

[media]
browser_bind = "{ip}"
browser_port = 0
trunk_ports = "20000-24999"

[http]
plain = "{http}"
tls = "{https}"
certificate_file = "https.pem"
key_file = "https.key"
origins = ["http://{http}", "http://localhost:{port}", "https://{https}", "https://localhost:{tls_port}"]
messages_per_second = 500

[login]
secret_file = "keys/login.secret"

"#
    )
}

/// The directory, by `StartTLS`.
fn people(directory: &LdapServer) -> String {
    let groups = directory.groups_dn();
    let group = |name: &str| quoted(&format!("cn={name},{groups}"));
    format!(
        r"[ldap]
servers = [{url}]
ca_file = {ca}
bind_dn = {bind_dn}
bind_password = {bind_password}
user_base = {user_base}
group_base = {group_base}

[ldap.groups]
agent = [{agents}]
supervisor = [{supervisors}]
compliance = [{compliance}]
approver = [{approvers}]
auditor = [{auditors}]
operator = [{operators}]

",
        url = quoted(&directory.url()),
        ca = path(&directory.ca_file()),
        bind_dn = quoted(directory.service_dn()),
        bind_password = quoted(directory.service_password()),
        user_base = quoted(directory.people_dn()),
        group_base = quoted(groups),
        agents = group("agents"),
        supervisors = group("supervisors"),
        compliance = group("compliance"),
        approvers = group("approvers"),
        auditors = group("auditors"),
        operators = group("operators"),
    )
}

/// The database, the recorder and the vault: in the demo one process records and plays.
fn archive(settings: &Settings, database: &PostgresServer) -> String {
    format!(
        r#"[database]
url = {url}
owner_url = {owner}

[recording]
spool_dir = "spool"
store_dir = {store}
node_key_file = "keys/node.key"
# A developer's disk is often fuller than a recorder's may be.
shed_at_percent = 100
refuse_at_percent = 100

[vault]
recipients = ["keys/vault.key.pub"]
private_key_file = "keys/vault.key"
"#,
        url = quoted(&database.url()),
        owner = quoted(&database.owner_url()),
        store = path(&settings.vault()),
    )
}
