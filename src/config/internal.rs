//! The trunk by which agents call each other inside: made here, for nobody has it in a file.

use std::net::IpAddr;
use std::net::Ipv4Addr;

use crate::call::DtmfMethod;
use crate::call::HoldStyle;
use crate::call::SrtpPolicy;
use crate::call::TransferMethod;
use crate::call::TrunkPolicy;
use crate::codec::TrunkCodec;
use crate::config::error::ConfigError;
use crate::config::error::Source;
use crate::config::media;
use crate::config::raw;
use crate::ids::TrunkName;
use crate::sip::user_agent;
use crate::worker::MediaSource;
use crate::worker::SrtpSuite;

/// How its calls are treated, where there is one. Both ends of its media are ours, on this host: nothing but the negotiated
/// port is heard, and that only with the keys, which no wire carried.
pub(super) fn policy(agents: &raw::Agents) -> Option<TrunkPolicy> {
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    is_wanted(agents).then(|| TrunkPolicy {
        media_address: loopback,
        media_advertised: loopback,
        codecs: vec![TrunkCodec::Pcma, TrunkCodec::Pcmu],
        ptime_ms: 20,
        recording: media::obligation(agents.internal_recording),
        srtp: Some(SrtpPolicy { required: true, suites: SrtpSuite::ALL.to_vec(), downgrade: false }),
        media_source: MediaSource::Exact,
        hold_style: HoldStyle::Local,
        dtmf: DtmfMethod::Rfc4733,
        // The other end is ours: it calls the new party itself, and who talks to whom is known on both sides.
        transfer: TransferMethod::ReferThenBridge,
        records_after_transfer: false,
    })
}

/// What the user agent is told of it, where there is one.
pub(super) fn user_agent_trunk(agents: &raw::Agents) -> Option<user_agent::Trunk> {
    is_wanted(agents).then(|| user_agent::Trunk::internal(name()))
}

/// Its name.
pub(super) fn name() -> TrunkName {
    TrunkName::new(TrunkName::INTERNAL)
}

/// Its name may be no other trunk's, whether there is one now or not: records and metrics bear it.
pub(super) fn check_name(trunk: &raw::Trunk, source: &Source) -> Result<(), ConfigError> {
    if trunk.name.get_ref() != TrunkName::INTERNAL {
        return Ok(());
    }
    let message = format!(
        "{:?} names the trunk by which agents call each other inside; expected another name",
        TrunkName::INTERNAL
    );
    Err(source.wrong(trunk.name.span(), message))
}

fn is_wanted(agents: &raw::Agents) -> bool {
    *agents.internal_calls.get_ref() == raw::InternalCalls::Local
}
