//! Audio codecs: G.711, Opus, concealment, comfort noise. Pure. All PCM is linear, 16 bits, mono, 8 kHz.

pub mod comfort_noise;
pub mod conceal;
pub mod g711;
pub mod opus;

/// Audio codecs of a trunk leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TrunkCodec {
    /// G.711 µ-law, static payload type 0 (RFC 3551).
    Pcmu,
    /// G.711 A-law, static payload type 8 (RFC 3551).
    Pcma,
}

impl TrunkCodec {
    /// The companding law.
    pub const fn law(self) -> g711::Law {
        match self {
            Self::Pcmu => g711::Law::Mu,
            Self::Pcma => g711::Law::A,
        }
    }
}

/// A codec that could not be made.
#[derive(Debug, thiserror::Error)]
#[expect(clippy::error_impl_error, reason = "read as codec::Error")]
pub enum Error {
    /// libopus refused.
    #[error("Opus: {0}")]
    Opus(#[from] ::opus::Error),
}
