//! Addresses that peers are told.

use std::net::IpAddr;
use std::ops::Range;

use crate::config::error::ConfigError;
use crate::config::error::Source;

/// A wildcard can be listened on, but no peer can be told to send there: the address to tell must be given.
pub(super) fn check_shown(
    bind: IpAddr,
    at: Range<usize>,
    shown: bool,
    key: &str,
    source: &Source,
) -> Result<(), ConfigError> {
    if bind.is_unspecified() && !shown {
        let message =
            format!("{bind} cannot be told to a peer; expected an address of this host, or `{key}` beside it");
        return Err(source.wrong(at, message));
    }
    Ok(())
}
