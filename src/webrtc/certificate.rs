//! The DTLS certificate that every peer of the process shares: one key, made once, instead of one per call.

use str0m::config::DtlsCert;
use str0m::crypto::from_feature_flags;

/// A self-signed ECDSA certificate and its private key, both DER.
#[derive(Clone)]
pub struct Certificate(DtlsCert);

/// No certificate could be made.
#[derive(Debug, thiserror::Error)]
#[error("the cryptographic library made no certificate")]
pub struct CertificateError;

impl Certificate {
    /// Makes a P-256 certificate. The key comes from the cryptographic library's own generator.
    pub fn generate() -> Result<Self, CertificateError> {
        from_feature_flags().dtls_provider.generate_certificate().map(Self).ok_or(CertificateError)
    }

    /// Wraps a certificate and its PKCS#8 private key, both DER.
    pub const fn from_der(certificate: Vec<u8>, private_key: Vec<u8>) -> Self {
        Self(DtlsCert { certificate, private_key })
    }

    pub(super) fn to_dtls(&self) -> DtlsCert {
        self.0.clone()
    }
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Certificate({} bytes)", self.0.certificate.len())
    }
}
