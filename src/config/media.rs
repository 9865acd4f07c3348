//! What a trunk's keys on media come to: SRTP, from where media is taken, and whether it is recorded.

use std::sync::Arc;

use crate::call::SrtpPolicy;
use crate::config::error::ConfigError;
use crate::config::error::Source;
use crate::config::raw;
use crate::media::hold_music::HoldMusic;
use crate::recording::Obligation;
use crate::sip::Transport;
use crate::worker::MediaNetwork;
use crate::worker::MediaSource;
use crate::worker::SrtpSuite;

/// The trunk's rule on SRTP, where it has one.
pub(super) fn srtp(trunk: &raw::Trunk, source: &Source) -> Result<Option<SrtpPolicy>, ConfigError> {
    let mode = *trunk.srtp.get_ref();
    let wrong = |message: &str| Err(source.wrong(trunk.srtp.span(), message.to_owned()));
    if trunk.downgrade && mode != raw::SrtpMode::Optional {
        return wrong("`downgrade` is for srtp = \"optional\" only; expected it to be left out here");
    }
    if mode == raw::SrtpMode::Off {
        return Ok(None);
    }
    let in_the_clear = |target: &crate::config::value::Target| target.0.transport != Some(Transport::Tls);
    if trunk.targets.get_ref().iter().any(in_the_clear) && !trunk.insecure_sdes {
        return wrong(
            "the keys of SRTP stand in the signalling, and a target of this trunk is udp or tcp, which anybody on the \
             way can read; expected tls targets only, or `insecure_sdes = true`",
        );
    }
    let suites: Vec<SrtpSuite> = trunk.srtp_suites.get_ref().iter().copied().map(suite).collect();
    if suites.is_empty() {
        return Err(source.wrong(trunk.srtp_suites.span(), "expected at least one suite".to_owned()));
    }
    Ok(Some(SrtpPolicy { required: mode == raw::SrtpMode::Required, suites, downgrade: trunk.downgrade }))
}

const fn suite(suite: raw::Suite) -> SrtpSuite {
    match suite {
        raw::Suite::AesCm128HmacSha1_80 => SrtpSuite::AesCm128HmacSha1_80,
        raw::Suite::AesCm128HmacSha1_32 => SrtpSuite::AesCm128HmacSha1_32,
        raw::Suite::AeadAes128Gcm => SrtpSuite::AeadAes128Gcm,
        raw::Suite::AeadAes256Gcm => SrtpSuite::AeadAes256Gcm,
    }
}

/// From where the trunk's media is taken.
pub(super) fn media_source(trunk: &raw::Trunk, source: &Source) -> Result<MediaSource, ConfigError> {
    match trunk.media_source.get_ref() {
        raw::MediaSource::Exact => Ok(MediaSource::Exact),
        raw::MediaSource::SameHost => Ok(MediaSource::SameHost),
        raw::MediaSource::Symmetric if trunk.media_networks.is_empty() => {
            let message = "expected `media_networks` beside it: the first packet from there is locked onto".to_owned();
            Err(source.wrong(trunk.media_source.span(), message))
        }
        raw::MediaSource::Symmetric => {
            let network = |network: &crate::config::value::Network| {
                let (address, prefix_len) = network.0;
                MediaNetwork { address, prefix_len }
            };
            let networks: Arc<[MediaNetwork]> = trunk.media_networks.iter().map(network).collect();
            Ok(MediaSource::Symmetric(networks))
        }
    }
}

/// Whether calls must be recorded.
pub(super) const fn obligation(obligation: raw::RecordingObligation) -> Obligation {
    match obligation {
        raw::RecordingObligation::Required => Obligation::Required,
        raw::RecordingObligation::BestEffort => Obligation::BestEffort,
        raw::RecordingObligation::Never => Obligation::Never,
    }
}

/// The music that held callers hear.
pub(super) fn hold_music(media: &raw::Media, source: &Source) -> Result<HoldMusic, ConfigError> {
    let Some(file) = &media.hold_music_file else { return Ok(HoldMusic::default()) };
    let path = source.path.parent().unwrap_or_else(|| std::path::Path::new("")).join(file.get_ref());
    let bytes = std::fs::read(&path).map_err(|error| {
        source.wrong(file.span(), format!("{} cannot be read: {error}; expected a WAV file", path.display()))
    })?;
    HoldMusic::from_wav(&bytes).map_err(|error| {
        source.wrong(file.span(), format!("{}: {error}; expected 16-bit PCM, mono, 8000 Hz", path.display()))
    })
}
