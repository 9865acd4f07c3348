//! What protects a stream: the suite and its master key (RFC 3711 8.2, RFC 4568 6.2, RFC 7714 14.2).

use std::fmt;

use rand::RngCore;
use zeroize::Zeroizing;

/// Bytes of the longest master key with its salt.
const KEY_AND_SALT_BYTES_MAX: usize = 44;

/// Encryption and authentication of SRTP and SRTCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SrtpSuite {
    /// `AES_CM_128_HMAC_SHA1_80`: counter mode, a tag of 10 bytes.
    AesCm128HmacSha1_80,
    /// `AES_CM_128_HMAC_SHA1_32`: the same with a tag of 4 bytes on RTP; RTCP keeps 10.
    AesCm128HmacSha1_32,
    /// `AEAD_AES_128_GCM`, a tag of 16 bytes.
    AeadAes128Gcm,
    /// `AEAD_AES_256_GCM`, a tag of 16 bytes.
    AeadAes256Gcm,
}

impl SrtpSuite {
    /// Every suite, the strongest first.
    pub const ALL: [Self; 4] =
        [Self::AeadAes256Gcm, Self::AeadAes128Gcm, Self::AesCm128HmacSha1_80, Self::AesCm128HmacSha1_32];

    /// Its name in SDP (RFC 4568 6.2, RFC 7714 14.2).
    pub const fn name(self) -> &'static str {
        match self {
            Self::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Self::AesCm128HmacSha1_32 => "AES_CM_128_HMAC_SHA1_32",
            Self::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Self::AeadAes256Gcm => "AEAD_AES_256_GCM",
        }
    }

    /// Reads the name, in either case.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.name().eq_ignore_ascii_case(name))
    }

    /// Bytes of the master key, and of every encryption key made from it.
    pub const fn key_bytes(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80 | Self::AesCm128HmacSha1_32 | Self::AeadAes128Gcm => 16,
            Self::AeadAes256Gcm => 32,
        }
    }

    /// Bytes of the master salt.
    pub const fn salt_bytes(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80 | Self::AesCm128HmacSha1_32 => 14,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 12,
        }
    }

    /// Bytes of the tag on an RTP packet.
    pub const fn rtp_tag_bytes(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80 => 10,
            Self::AesCm128HmacSha1_32 => 4,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 16,
        }
    }

    /// Bytes of the tag on an RTCP packet.
    pub const fn rtcp_tag_bytes(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80 | Self::AesCm128HmacSha1_32 => 10,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 16,
        }
    }
}

/// A master key with its salt. Never shown, and wiped when dropped.
#[derive(Clone)]
pub struct MasterKey {
    suite: SrtpSuite,
    key_and_salt: Zeroizing<[u8; KEY_AND_SALT_BYTES_MAX]>,
}

impl MasterKey {
    /// From the bytes of an `inline:` parameter: the key, then the salt. `None` where the length is another.
    pub fn new(suite: SrtpSuite, key_and_salt: &[u8]) -> Option<Self> {
        let length = suite.key_bytes() + suite.salt_bytes();
        let mut kept = Zeroizing::new([0; KEY_AND_SALT_BYTES_MAX]);
        if key_and_salt.len() != length {
            return None;
        }
        kept.get_mut(..length)?.copy_from_slice(key_and_salt);
        Some(Self { suite, key_and_salt: kept })
    }

    /// A fresh one.
    pub fn generate(suite: SrtpSuite, rng: &mut dyn RngCore) -> Self {
        let mut kept = Zeroizing::new([0; KEY_AND_SALT_BYTES_MAX]);
        let (used, _) = kept.split_at_mut(suite.key_bytes() + suite.salt_bytes());
        rng.fill_bytes(used);
        Self { suite, key_and_salt: kept }
    }

    /// Its suite.
    pub const fn suite(&self) -> SrtpSuite {
        self.suite
    }

    /// The key, then the salt: what `inline:` carries.
    pub fn key_and_salt(&self) -> &[u8] {
        self.key_and_salt.get(..self.suite.key_bytes() + self.suite.salt_bytes()).unwrap_or_default()
    }

    /// The key.
    pub(crate) fn key(&self) -> &[u8] {
        self.key_and_salt.get(..self.suite.key_bytes()).unwrap_or_default()
    }

    /// The salt.
    pub(crate) fn salt(&self) -> &[u8] {
        self.key_and_salt().get(self.suite.key_bytes()..).unwrap_or_default()
    }
}

impl PartialEq for MasterKey {
    fn eq(&self, other: &Self) -> bool {
        self.suite == other.suite && self.key_and_salt() == other.key_and_salt()
    }
}

impl Eq for MasterKey {}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({})", self.suite.name())
    }
}

/// Both directions of a session: each side sends with its own key (RFC 4568 6.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SrtpKeys {
    /// Ours.
    pub send: MasterKey,
    /// The peer's.
    pub receive: MasterKey,
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn names_read_back_and_lengths_are_those_of_the_rfcs() {
        for (suite, length) in SrtpSuite::ALL.into_iter().zip([44, 28, 30, 30]) {
            assert_eq!(SrtpSuite::parse(&suite.name().to_ascii_lowercase()), Some(suite));
            assert_eq!(MasterKey::generate(suite, &mut StdRng::seed_from_u64(1)).key_and_salt().len(), length);
            assert!(MasterKey::new(suite, &vec![1; length]).is_some());
            assert_eq!(MasterKey::new(suite, &vec![1; length - 1]), None);
            assert_eq!(MasterKey::new(suite, &vec![1; length + 1]), None);
        }
        assert_eq!(SrtpSuite::parse("F8_128_HMAC_SHA1_80"), None);
    }

    #[test]
    fn a_key_is_never_shown() {
        let key = MasterKey::new(SrtpSuite::AesCm128HmacSha1_80, &[0xab; 30]).unwrap();
        let shown = format!("{:?}", SrtpKeys { send: key.clone(), receive: key });
        assert!(!shown.contains("171") && !shown.to_lowercase().contains("abab"), "{shown}");
        assert!(shown.contains("MasterKey(AES_CM_128_HMAC_SHA1_80)"), "{shown}");
    }
}
