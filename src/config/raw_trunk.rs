//! The mirror of `[[trunk]]`.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use crate::config::raw_calls::DtmfMethod;
use crate::config::raw_calls::HoldStyle;
use crate::config::raw_calls::RecordAfterTransfer;
use crate::config::raw_calls::TransferMethod;
use crate::config::raw_calls::refer;
use crate::config::raw_calls::stop;
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
    pub(super) force_rport: bool,
    #[serde(default)]
    pub(super) contact_from_source: bool,
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
    #[serde(default = "refer")]
    pub(super) transfer: Spanned<TransferMethod>,
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

#[derive(Debug, Deserialize, Clone, Copy, PartialEq, Eq, Default)]
#[serde(rename_all = "snake_case")]
pub(super) enum RecordingObligation {
    #[default]
    Required,
    BestEffort,
    Never,
}
