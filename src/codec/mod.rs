//! Audio codecs: G.711, Opus, concealment, comfort noise. Pure.

/// Audio codecs of a trunk leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TrunkCodec {
    /// G.711 µ-law, static payload type 0 (RFC 3551).
    Pcmu,
    /// G.711 A-law, static payload type 8 (RFC 3551).
    Pcma,
}

/// A codec that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// libopus refused.
    #[error("Opus: {0}")]
    Opus(#[from] opus::Error),
}
