//! What the call room makes of `[agents]`, `[[group]]` and the call keys of `[[trunk]]`.

use std::collections::BTreeSet;

use toml::Spanned;

use crate::call::DtmfMethod;
use crate::call::HoldStyle;
use crate::call::TransferMethod;
use crate::config::error::ConfigError;
use crate::config::error::Source;
use crate::config::internal;
use crate::config::raw;
use crate::ids::Extension;
use crate::ids::TrunkName;
use crate::limits::GROUP_MEMBERS_MAX;
use crate::routing::Group;
use crate::routing::Strategy;

pub(super) fn lines_max(lines: &Spanned<usize>, source: &Source) -> Result<usize, ConfigError> {
    if *lines.get_ref() == 0 {
        return Err(source.wrong(lines.span(), "expected at least one line".to_owned()));
    }
    Ok(*lines.get_ref())
}

pub(super) fn groups(groups: &[raw::Group], source: &Source) -> Result<Vec<Group>, ConfigError> {
    let mut seen = BTreeSet::new();
    groups.iter().map(|group| one_group(group, &mut seen, source)).collect()
}

fn one_group(group: &raw::Group, seen: &mut BTreeSet<String>, source: &Source) -> Result<Group, ConfigError> {
    let extension = group.extension.get_ref();
    if !seen.insert(extension.clone()) {
        let message = format!("another group has the extension {extension:?}; expected one of its own");
        return Err(source.wrong(group.extension.span(), message));
    }
    let members = group.members.get_ref();
    let distinct: BTreeSet<&String> = members.iter().collect();
    if members.is_empty() || members.len() > GROUP_MEMBERS_MAX || distinct.len() != members.len() {
        let message = format!("expected 1 to {GROUP_MEMBERS_MAX} extensions, each of them once");
        return Err(source.wrong(group.members.span(), message));
    }
    if group.ring_time.get_ref().0.is_zero() {
        return Err(source.wrong(group.ring_time.span(), "expected a time to ring, such as \"15s\"".to_owned()));
    }
    let strategy = match group.strategy {
        raw::Strategy::Parallel => Strategy::Parallel,
        raw::Strategy::Sequential => Strategy::Sequential,
        raw::Strategy::LongestIdle => Strategy::LongestIdle,
    };
    Ok(Group {
        extension: Extension::new(extension.as_str()),
        members: members.iter().map(|member| Extension::new(member.as_str())).collect(),
        strategy,
        ring_time: group.ring_time.get_ref().0,
    })
}

/// How agents reach each other.
pub(super) struct InternalTrunks {
    /// See [`crate::call::Config::internal_trunk`].
    pub(super) internal: Option<TrunkName>,
    /// See [`crate::call::Config::returning_trunk`].
    pub(super) returning: Option<TrunkName>,
}

/// The trunks by which agents reach each other.
pub(super) fn internal_trunks(
    agents: &raw::Agents,
    trunks: &[raw::Trunk],
    source: &Source,
) -> Result<InternalTrunks, ConfigError> {
    let named = |name: &str| trunks.iter().any(|trunk| trunk.name.get_ref() == name);
    if let Some(wanted) = agents.internal_trunk.as_ref().filter(|wanted| !named(wanted.get_ref())) {
        let message = format!("no trunk is named {:?}; expected the name of a [[trunk]]", wanted.get_ref());
        return Err(source.wrong(wanted.span(), message));
    }
    let first = trunks.first().map(|trunk| trunk.name.get_ref());
    let chosen = agents.internal_trunk.as_ref().map(Spanned::get_ref).or(first);
    let returning = chosen.map(|name| TrunkName::new(name.as_str()));
    Ok(match agents.internal_calls.get_ref() {
        raw::InternalCalls::Off => InternalTrunks { internal: None, returning: None },
        raw::InternalCalls::Local => InternalTrunks { internal: Some(internal::name()), returning },
        raw::InternalCalls::ViaTrunk => InternalTrunks { internal: returning, returning: None },
    })
}

/// How the trunk's transfers are carried out, and whether what follows is recorded.
pub(super) fn transfer(trunk: &raw::Trunk, source: &Source) -> Result<(TransferMethod, bool), ConfigError> {
    let method = match trunk.transfer {
        raw::TransferMethod::Refer => TransferMethod::Refer,
        raw::TransferMethod::Bridge => TransferMethod::Bridge,
        raw::TransferMethod::ReferThenBridge => TransferMethod::ReferThenBridge,
    };
    let continues = *trunk.record_after_transfer.get_ref() == raw::RecordAfterTransfer::Continue;
    if continues && trunk.recording == raw::RecordingObligation::Never {
        let message = "this trunk's calls are not recorded (recording = \"never\"); expected \"stop\"".to_owned();
        return Err(source.wrong(trunk.record_after_transfer.span(), message));
    }
    Ok((method, continues))
}

/// How the trunk's PBX is told of a hold, and gets digits.
pub(super) fn styles(trunk: &raw::Trunk) -> (HoldStyle, DtmfMethod) {
    let hold = match trunk.hold_style {
        raw::HoldStyle::Local => HoldStyle::Local,
        raw::HoldStyle::Sendonly => HoldStyle::SendOnly,
        raw::HoldStyle::Inactive => HoldStyle::Inactive,
    };
    let dtmf = match trunk.dtmf {
        raw::DtmfMethod::Rfc4733 => DtmfMethod::Rfc4733,
        raw::DtmfMethod::Info => DtmfMethod::Info,
    };
    (hold, dtmf)
}
