//! The configuration file as it is written: a mirror in serde, unknown keys refused.
//!
//! `config/tandem.example.toml` explains every key.

use std::net::IpAddr;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

pub(super) use crate::config::raw_calls::Agents;
pub(super) use crate::config::raw_calls::DtmfMethod;
pub(super) use crate::config::raw_calls::Group;
pub(super) use crate::config::raw_calls::HoldStyle;
pub(super) use crate::config::raw_calls::InternalCalls;
pub(super) use crate::config::raw_calls::RecordAfterTransfer;
pub(super) use crate::config::raw_calls::RecordingObligation;
pub(super) use crate::config::raw_calls::Strategy;
pub(super) use crate::config::raw_calls::TransferMethod;
pub(super) use crate::config::raw_trunk::Codec;
pub(super) use crate::config::raw_trunk::Direction;
pub(super) use crate::config::raw_trunk::Line;
pub(super) use crate::config::raw_trunk::MediaSource;
pub(super) use crate::config::raw_trunk::NumberOf;
pub(super) use crate::config::raw_trunk::NumberRule;
pub(super) use crate::config::raw_trunk::ReliableProvisionals;
pub(super) use crate::config::raw_trunk::SessionTimer;
pub(super) use crate::config::raw_trunk::SrtpMode;
pub(super) use crate::config::raw_trunk::Suite;
pub(super) use crate::config::raw_trunk::Trunk;
pub(super) use crate::config::raw_trunk::User;

use crate::auth::io::desk::DeskConfig;
use crate::config::value::Digits;
use crate::config::value::Extensions;
use crate::config::value::Ports;
use crate::config::value::Span;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(default)]
    pub(super) node: Node,
    #[serde(default)]
    pub(super) log: Log,
    pub(super) sip: Sip,
    pub(super) trunk: Vec<Trunk>,
    pub(super) dial: Dial,
    #[serde(default)]
    pub(super) agents: Agents,
    #[serde(default)]
    pub(super) group: Vec<Group>,
    pub(super) media: Media,
    pub(super) http: Http,
    #[serde(default)]
    pub(super) login: Login,
    pub(super) ldap: Ldap,
    pub(super) database: Database,
    pub(super) recording: Recording,
    pub(super) vault: Vault,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) drain_timeout: Span,
}

impl Default for Node {
    fn default() -> Self {
        Self { name: "tandem".to_owned(), drain_timeout: Span(std::time::Duration::from_mins(1)) }
    }
}

#[derive(Debug, Deserialize, Default, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum LogFormat {
    #[default]
    Text,
    Json,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Log {
    pub(super) level: String,
    pub(super) format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::default() }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sip {
    pub(super) udp: Spanned<SocketAddr>,
    pub(super) tcp: Option<Spanned<SocketAddr>>,
    pub(super) tls: Option<Spanned<SocketAddr>>,
    pub(super) certificate_file: Option<PathBuf>,
    pub(super) key_file: Option<PathBuf>,
    pub(super) client_ca_file: Option<PathBuf>,
    #[serde(default)]
    pub(super) require_client_certificate: bool,
    #[serde(default = "keep_alive")]
    pub(super) keep_alive: Span,
    #[serde(default)]
    pub(super) nameservers: Vec<SocketAddr>,
    pub(super) advertised: Option<String>,
}

const fn keep_alive() -> Span {
    Span(crate::limits::SIP_STREAM_KEEP_ALIVE)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Dial {
    pub(super) extensions: Vec<Extensions>,
    #[serde(default = "emergency")]
    pub(super) emergency: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) emergency_calls: EmergencyCalls,
    #[serde(default)]
    pub(super) outside_prefix: String,
    pub(super) emergency_trunk: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) rule: Vec<DialRule>,
}

#[derive(Debug, Deserialize, Default, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum EmergencyCalls {
    #[default]
    Route,
    Refuse,
}

/// What every telephone in Europe, and every mobile telephone, can dial.
fn emergency() -> Vec<Spanned<String>> {
    vec![Spanned::new(0..0, "112".to_owned())]
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DialRule {
    #[serde(default)]
    pub(super) prefix: String,
    pub(super) digits: Digits,
    pub(super) trunk: Spanned<String>,
    #[serde(default)]
    pub(super) strip: usize,
    #[serde(default)]
    pub(super) prepend: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Media {
    pub(super) workers: Option<Spanned<usize>>,
    pub(super) browser_bind: Spanned<IpAddr>,
    pub(super) browser_port: u16,
    #[serde(default)]
    pub(super) browser_advertised: Vec<IpAddr>,
    pub(super) trunk_ports: Ports,
    #[serde(default = "minute")]
    pub(super) rtp_timeout: Span,
    #[serde(default = "thousand")]
    pub(super) calls_max: usize,
    pub(super) hold_music_file: Option<Spanned<PathBuf>>,
}

fn minute() -> Span {
    Span(std::time::Duration::from_mins(1))
}

const fn thousand() -> usize {
    1_000
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Http {
    pub(super) plain: Option<SocketAddr>,
    pub(super) tls: Option<SocketAddr>,
    pub(super) certificate_file: Option<PathBuf>,
    pub(super) key_file: Option<PathBuf>,
    pub(super) origins: Vec<String>,
    #[serde(default)]
    pub(super) allow_no_origin: bool,
    pub(super) messages_per_second: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Login {
    pub(super) session: Span,
    pub(super) token: Span,
    pub(super) failures_max: usize,
    pub(super) failures_reserved: usize,
    pub(super) failures_window: Span,
    pub(super) secret_file: Option<PathBuf>,
}

impl Default for Login {
    fn default() -> Self {
        let desk = DeskConfig::default();
        Self {
            session: Span(desk.session_lifetime),
            token: Span(desk.signaling_lifetime),
            failures_max: desk.lockout.failures_max,
            failures_reserved: desk.lockout.reserved,
            failures_window: Span(desk.lockout.window),
            secret_file: None,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ldap {
    pub(super) servers: Spanned<Vec<String>>,
    #[serde(default)]
    pub(super) insecure_plain: bool,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) bind_dn: String,
    pub(super) bind_password: Option<String>,
    pub(super) bind_password_file: Option<PathBuf>,
    pub(super) user_base: String,
    #[serde(default = "user_filter")]
    pub(super) user_filter: String,
    pub(super) group_base: String,
    #[serde(default = "group_filter")]
    pub(super) group_filter: String,
    #[serde(default = "user_attribute")]
    pub(super) user_attribute: String,
    #[serde(default = "extension_attribute")]
    pub(super) extension_attribute: String,
    pub(super) number_attribute: Option<String>,
    #[serde(default = "name_attribute")]
    pub(super) name_attribute: String,
    pub(super) groups: Groups,
    #[serde(default = "three_seconds")]
    pub(super) timeout: Span,
}

fn user_filter() -> String {
    "(uid={user})".to_owned()
}

fn group_filter() -> String {
    "(&(objectClass=groupOfNames)(member={dn}))".to_owned()
}

fn user_attribute() -> String {
    "uid".to_owned()
}

fn extension_attribute() -> String {
    "telephoneNumber".to_owned()
}

fn name_attribute() -> String {
    "cn".to_owned()
}

fn three_seconds() -> Span {
    Span(std::time::Duration::from_secs(3))
}

#[derive(Debug, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Groups {
    pub(super) agent: Vec<String>,
    pub(super) supervisor: Vec<String>,
    pub(super) compliance: Vec<String>,
    pub(super) approver: Vec<String>,
    pub(super) auditor: Vec<String>,
    pub(super) operator: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Database {
    pub(super) url: Option<String>,
    pub(super) url_file: Option<PathBuf>,
    pub(super) owner_url: Option<String>,
    pub(super) owner_url_file: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Recording {
    pub(super) spool_dir: PathBuf,
    pub(super) store_dir: PathBuf,
    pub(super) node_key_file: PathBuf,
    pub(super) shed_at_percent: Option<Spanned<u8>>,
    pub(super) refuse_at_percent: Option<Spanned<u8>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Vault {
    pub(super) recipients: Spanned<Vec<PathBuf>>,
    pub(super) private_key_file: Option<PathBuf>,
}
