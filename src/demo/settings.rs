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
    /// The demo's own: below `var/demo`, on 127.0.0.1, with the ports that its page names; the gateway is `program`.
    pub fn demo(program: PathBuf) -> Self {
        Self::at(Ipv4Addr::LOCALHOST, PathBuf::from("var/demo"), program)
    }

    /// The same on another address of the loopback network and below another directory, for tests side by side.
    pub fn at(address: Ipv4Addr, directory: PathBuf, program: PathBuf) -> Self {
        let at = |port| SocketAddr::from((address, port));
        let (sip, http, https, pbx) = (at(5060), at(8080), at(8443), at(5070));
        Self { directory, sip, http, https, pbx, simulated_pbx: true, program }
    }

    /// The gateway's configuration file.
    pub fn config_file(&self) -> PathBuf {
        self.directory.join("tandem.toml")
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
    let Settings { sip, http, https, pbx, directory: root, .. } = settings;
    format!(
        "# Written by `tandem demo`, anew at each start.\n\
         [node]\nname = \"demo\"\nstate_dir = {state}\n\n\
         [sip]\nudp = [\"{sip}\"]\ntcp = [\"{sip}\"]\n\n\
         [[trunk]]\nname = \"pbx\"\ntargets = [\"sip:{pbx};transport=udp\"]\nnetworks = [\"127.0.0.0/8\"]\ncodecs = [\"PCMU\", \"PCMA\"]\n\n\
         [media]\nbind = \"{ip}\"\nrtp_ports = \"20000-24999\"\n\n\
         [http]\nlisten = \"{http}\"\ntls_listen = \"{https}\"\norigins = [\"http://{http}\", \"http://localhost:{port}\", \"https://{https}\"]\n\n\
         [ldap]\nurls = [{ldap}]\nstart_tls = true\nca_file = {ca}\nbind_dn = {bind_dn}\nbind_password = {bind_password}\n\
         people_dn = {people}\ngroups_dn = {groups}\n\n\
         [database]\nurl = {database}\nowner_url = {owner}\n\n\
         [recording]\npolicy = \"required\"\nspool_dir = {spool}\nstore_dir = {vault}\n\n\
         [vault]\nkeys_dir = {keys}\n",
        state = path(&root.join("state")),
        ip = sip.ip(),
        port = http.port(),
        ldap = quoted(&directory.url()),
        ca = path(&directory.ca_file()),
        bind_dn = quoted(directory.service_dn()),
        bind_password = quoted(directory.service_password()),
        people = quoted(directory.people_dn()),
        groups = quoted(directory.groups_dn()),
        database = quoted(&database.url()),
        owner = quoted(&database.owner_url()),
        spool = path(&root.join("spool")),
        vault = path(&settings.vault()),
        keys = path(&root.join("keys")),
    )
}
