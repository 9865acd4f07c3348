//! The mirror of `[[trunk]]`.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use crate::config::raw_calls::DtmfMethod;
use crate::config::raw_calls::HoldStyle;
use crate::config::raw_calls::RecordAfterTransfer;
use crate::config::raw_calls::RecordingObligation;
use crate::config::raw_calls::TransferMethod;
use crate::config::raw_calls::stop;
use crate::config::value::Digits;
use crate::config::value::Network;
use crate::config::value::Span;
use crate::config::value::Target;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a key of its own in the file")]
pub(super) struct Trunk {
    pub(super) name: Spanned<String>,
    pub(super) networks: Vec<Network>,
    pub(super) targets: Spanned<Vec<Target>>,
    #[serde(default)]
    pub(super) tcp_for_large: bool,
    pub(super) tls_ca_file: Option<PathBuf>,
    pub(super) tls_name: Option<Spanned<String>>,
    pub(super) tls_client_certificate_file: Option<PathBuf>,
    pub(super) tls_client_key_file: Option<PathBuf>,
    pub(super) bind: Option<Spanned<IpAddr>>,
    pub(super) advertised_sip: Option<String>,
    #[serde(default)]
    pub(super) quirks: Vec<Spanned<String>>,
    pub(super) domain: Option<String>,
    #[serde(default = "both_laws")]
    pub(super) codecs: Spanned<Vec<Codec>>,
    #[serde(default = "twenty_ms")]
    pub(super) ptime: Spanned<Span>,
    pub(super) media_bind: Spanned<IpAddr>,
    pub(super) media_advertised: Option<IpAddr>,
    #[serde(default = "exact")]
    pub(super) media_source: Spanned<MediaSource>,
    #[serde(default)]
    pub(super) media_networks: Vec<Network>,
    #[serde(default = "srtp_off")]
    pub(super) srtp: Spanned<SrtpMode>,
    #[serde(default = "every_suite")]
    pub(super) srtp_suites: Spanned<Vec<Suite>>,
    #[serde(default)]
    pub(super) downgrade: bool,
    #[serde(default)]
    pub(super) insecure_sdes: bool,
    #[serde(default)]
    pub(super) recording: RecordingObligation,
    pub(super) username: Option<String>,
    pub(super) password: Option<String>,
    pub(super) password_file: Option<PathBuf>,
    pub(super) realm: Option<String>,
    #[serde(default = "no")]
    pub(super) challenge: Spanned<bool>,
    #[serde(default)]
    pub(super) users: Vec<User>,
    #[serde(default)]
    pub(super) line: Vec<Line>,
    #[serde(default)]
    pub(super) numbers: Vec<NumberRule>,
    #[serde(default = "thirty_seconds")]
    pub(super) options_interval: Span,
    #[serde(default = "two")]
    pub(super) options_misses: u32,
    #[serde(default = "nothing")]
    pub(super) failover_on: Spanned<Vec<u16>>,
    pub(super) calls_max: Option<usize>,
    pub(super) calls_per_second: Option<u32>,
    #[serde(default = "five_seconds")]
    pub(super) retry_after: Span,
    #[serde(default = "nothing")]
    pub(super) headers_in: Spanned<Vec<String>>,
    #[serde(default = "nothing")]
    pub(super) headers_out: Spanned<Vec<String>>,
    #[serde(default)]
    pub(super) trusts_identity: bool,
    #[serde(default)]
    pub(super) asserted_identity: bool,
    #[serde(default)]
    pub(super) reliable_provisionals: ReliableProvisionals,
    #[serde(default)]
    pub(super) session_timer: SessionTimer,
    #[serde(default = "half_an_hour")]
    pub(super) session_expires: Spanned<Span>,
    #[serde(default)]
    pub(super) hold_style: HoldStyle,
    #[serde(default)]
    pub(super) dtmf: DtmfMethod,
    #[serde(default)]
    pub(super) transfer: TransferMethod,
    #[serde(default = "stop")]
    pub(super) record_after_transfer: Spanned<RecordAfterTransfer>,
}

#[derive(Debug, Deserialize, Clone, Copy, PartialEq, Eq, Default)]
#[serde(rename_all = "snake_case")]
pub(super) enum ReliableProvisionals {
    #[default]
    Required,
    Offered,
}

#[derive(Debug, Deserialize, Clone, Copy, PartialEq, Eq, Default)]
#[serde(rename_all = "snake_case")]
pub(super) enum SessionTimer {
    Off,
    #[default]
    Accept,
    Require,
}

fn half_an_hour() -> Spanned<Span> {
    Spanned::new(0..0, Span(std::time::Duration::from_mins(30)))
}

fn exact() -> Spanned<MediaSource> {
    Spanned::new(0..0, MediaSource::Exact)
}

fn srtp_off() -> Spanned<SrtpMode> {
    Spanned::new(0..0, SrtpMode::Off)
}

fn every_suite() -> Spanned<Vec<Suite>> {
    let suites =
        vec![Suite::AeadAes256Gcm, Suite::AeadAes128Gcm, Suite::AesCm128HmacSha1_80, Suite::AesCm128HmacSha1_32];
    Spanned::new(0..0, suites)
}

#[derive(Debug, Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum SrtpMode {
    Off,
    Optional,
    Required,
}

#[derive(Debug, Deserialize, Clone, Copy, PartialEq, Eq)]
pub(super) enum Suite {
    #[serde(rename = "AES_CM_128_HMAC_SHA1_80")]
    AesCm128HmacSha1_80,
    #[serde(rename = "AES_CM_128_HMAC_SHA1_32")]
    AesCm128HmacSha1_32,
    #[serde(rename = "AEAD_AES_128_GCM")]
    AeadAes128Gcm,
    #[serde(rename = "AEAD_AES_256_GCM")]
    AeadAes256Gcm,
}

#[derive(Debug, Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum MediaSource {
    Exact,
    SameHost,
    Symmetric,
}

fn both_laws() -> Spanned<Vec<Codec>> {
    Spanned::new(0..0, vec![Codec::Pcma, Codec::Pcmu])
}

fn twenty_ms() -> Spanned<Span> {
    Spanned::new(0..0, Span(std::time::Duration::from_millis(20)))
}

#[derive(Debug, Deserialize, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    #[serde(rename = "PCMU")]
    Pcmu,
    #[serde(rename = "PCMA")]
    Pcma,
}

fn no() -> Spanned<bool> {
    Spanned::new(0..0, false)
}

fn nothing<T>() -> Spanned<Vec<T>> {
    Spanned::new(0..0, Vec::new())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Line {
    pub(super) aor: Spanned<String>,
    pub(super) contact_user: Option<String>,
    pub(super) extension: Option<String>,
    pub(super) auth_user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) password_file: Option<PathBuf>,
    #[serde(default = "yes")]
    pub(super) register: bool,
    #[serde(default = "hour")]
    pub(super) expires: Span,
}

const fn yes() -> bool {
    true
}

fn hour() -> Span {
    Span(std::time::Duration::from_hours(1))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) password: Option<String>,
    pub(super) password_file: Option<PathBuf>,
    pub(super) ha1: Option<Spanned<String>>,
    pub(super) ha1_sha256: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
pub(super) enum Direction {
    In,
    Out,
}

#[derive(Debug, Deserialize, Clone, Copy, Default)]
#[serde(rename_all = "snake_case")]
pub(super) enum NumberOf {
    Caller,
    Called,
    #[default]
    Both,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NumberRule {
    pub(super) direction: Direction,
    #[serde(default)]
    pub(super) of: NumberOf,
    #[serde(default)]
    pub(super) prefix: String,
    pub(super) digits: Digits,
    #[serde(default)]
    pub(super) strip: usize,
    #[serde(default)]
    pub(super) prepend: String,
}

fn thirty_seconds() -> Span {
    Span(std::time::Duration::from_secs(30))
}

fn five_seconds() -> Span {
    Span(std::time::Duration::from_secs(5))
}

const fn two() -> u32 {
    2
}
