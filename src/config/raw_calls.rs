//! The mirror of `[agents]`, `[[group]]` and the call keys of `[[trunk]]`.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use crate::config::value::Span;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Agents {
    pub(super) call_waiting: bool,
    pub(super) lines_max: Spanned<usize>,
    pub(super) lines_max_of: BTreeMap<String, usize>,
    pub(super) internal_calls: Spanned<InternalCalls>,
    pub(super) internal_trunk: Option<Spanned<String>>,
    pub(super) internal_recording: RecordingObligation,
    pub(super) transfer_timeout: Span,
    pub(super) no_answer: Span,
    pub(super) unavailable_after_no_answer: bool,
    pub(super) device_timeout: Span,
    pub(super) transport_timeout: Span,
    pub(super) dial_timeout: Span,
    pub(super) resume: Span,
}

impl Default for Agents {
    fn default() -> Self {
        let call = crate::call::Config::default();
        Self {
            call_waiting: call.call_waiting,
            lines_max: Spanned::new(0..0, call.lines_max),
            lines_max_of: BTreeMap::new(),
            internal_calls: Spanned::new(0..0, InternalCalls::default()),
            internal_trunk: None,
            internal_recording: RecordingObligation::default(),
            transfer_timeout: Span(call.transfer_timeout),
            no_answer: Span(call.no_answer),
            unavailable_after_no_answer: call.unavailable_after_no_answer,
            device_timeout: Span(call.device_timeout),
            transport_timeout: Span(call.transport_timeout),
            dial_timeout: Span(call.dial_timeout),
            resume: Span(std::time::Duration::from_mins(1)),
        }
    }
}

#[derive(Debug, Deserialize, Clone, Copy, PartialEq, Eq, Default)]
#[serde(rename_all = "snake_case")]
pub(super) enum InternalCalls {
    #[default]
    ViaTrunk,
    Local,
    Off,
}

#[derive(Debug, Deserialize, Clone, Copy, PartialEq, Eq, Default)]
#[serde(rename_all = "snake_case")]
pub(super) enum RecordingObligation {
    #[default]
    Required,
    BestEffort,
    Never,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Group {
    pub(super) extension: Spanned<String>,
    pub(super) members: Spanned<Vec<String>>,
    #[serde(default)]
    pub(super) strategy: Strategy,
    #[serde(default = "fifteen_seconds")]
    pub(super) ring_time: Spanned<Span>,
}

#[derive(Debug, Deserialize, Clone, Copy, PartialEq, Eq, Default)]
#[serde(rename_all = "snake_case")]
pub(super) enum Strategy {
    #[default]
    Parallel,
    Sequential,
    LongestIdle,
}

fn fifteen_seconds() -> Spanned<Span> {
    Spanned::new(0..0, Span(std::time::Duration::from_secs(15)))
}

#[derive(Debug, Deserialize, Clone, Copy, PartialEq, Eq, Default)]
#[serde(rename_all = "snake_case")]
pub(super) enum HoldStyle {
    #[default]
    Local,
    Sendonly,
    Inactive,
}

#[derive(Debug, Deserialize, Clone, Copy, PartialEq, Eq, Default)]
#[serde(rename_all = "snake_case")]
pub(super) enum DtmfMethod {
    #[default]
    Rfc4733,
    Info,
}

#[derive(Debug, Deserialize, Clone, Copy, PartialEq, Eq, Default)]
#[serde(rename_all = "snake_case")]
pub(super) enum TransferMethod {
    #[default]
    Refer,
    Bridge,
    ReferThenBridge,
}

#[derive(Debug, Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum RecordAfterTransfer {
    Stop,
    Continue,
}

pub(super) fn stop() -> Spanned<RecordAfterTransfer> {
    Spanned::new(0..0, RecordAfterTransfer::Stop)
}
