//! Secrecy: data keys, their commitments, the encryption of chunks, and the wrapping to recipients' public keys.
//!
//! A data key is random per recording, segment and epoch. AES and commitment keys are derived from it by HKDF-SHA256,
//! and it is wrapped by HPKE (RFC 9180, base mode, X25519, HKDF-SHA256, AES-256-GCM) to public keys: whoever records
//! cannot play.

use std::convert::Infallible;
use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::{constant_time, hkdf, hmac};
use hpke::kem::X25519HkdfSha256;
use hpke::rand_core::{TryCryptoRng, TryRng};
use hpke::{Deserializable as _, Kem, OpModeR, OpModeS, Serializable as _};
use rand::CryptoRng;
use zeroize::{Zeroize, Zeroizing};

use crate::ids::{NodeId, RecordingId};
use crate::recording::chain::{Hash, InvalidKey, sha256, split};
use crate::recording::container::{CHUNK_HEADER_BYTES, TAG_BYTES, nonce};
use crate::recording::model::WrappedKey;
use crate::recording::serial::to_hex;

type Suite = X25519HkdfSha256;

/// What a data key is for; HPKE's info and the commitment's message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyScope {
    /// The recording.
    pub recording: RecordingId,
    /// The segment.
    pub segment_no: u32,
    /// The key epoch.
    pub epoch: u16,
}

impl KeyScope {
    /// recording (16) | segment (4, little endian) | epoch (4, little endian).
    fn to_bytes(self) -> Vec<u8> {
        let mut bytes = self.recording.as_uuid().as_bytes().to_vec();
        bytes.extend_from_slice(&self.segment_no.to_le_bytes());
        bytes.extend_from_slice(&u32::from(self.epoch).to_le_bytes());
        bytes
    }
}

/// The key of one epoch, ready for use. Wiped from memory when dropped.
pub struct DataKey {
    scope: KeyScope,
    secret: Zeroizing<[u8; 32]>,
    aes: LessSafeKey,
    commit: Hash,
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DataKey({:?})", self.scope)
    }
}

impl DataKey {
    /// Draws a new one from chance.
    pub fn generate(scope: KeyScope, rng: &mut dyn CryptoRng) -> Result<Self, InvalidKey> {
        let mut secret = Zeroizing::new([0; 32]);
        rng.fill_bytes(secret.as_mut_slice());
        Self::of_secret(scope, secret)
    }

    fn of_secret(scope: KeyScope, secret: Zeroizing<[u8; 32]>) -> Result<Self, InvalidKey> {
        let root = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(secret.as_slice());
        let aes = derive(&root, b"tandem recording aes-256-gcm")?;
        let commit_key = derive(&root, b"tandem recording commitment")?;
        let aes = UnboundKey::new(&AES_256_GCM, aes.as_slice()).map_err(|_unspecified| InvalidKey)?;
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, commit_key.as_slice()), &scope.to_bytes());
        let commit = tag.as_ref().try_into().map_err(|_length| InvalidKey)?;
        Ok(Self { scope, secret, aes: LessSafeKey::new(aes), commit })
    }

    /// What it is for.
    pub const fn scope(&self) -> KeyScope {
        self.scope
    }

    /// The commitment: HMAC-SHA256 under the derived commitment key over the scope.
    pub const fn commit(&self) -> &Hash {
        &self.commit
    }

    /// Encrypts a chunk's body; the result ends with the tag.
    pub fn encrypt(
        &self,
        header: &[u8; CHUNK_HEADER_BYTES],
        chunk_no: u64,
        mut body: Vec<u8>,
    ) -> Result<Vec<u8>, SealError> {
        let nonce = Nonce::assume_unique_for_key(nonce(self.scope.epoch, chunk_no));
        self.aes
            .seal_in_place_append_tag(nonce, Aad::from(header), &mut body)
            .map_err(|_unspecified| SealError::Encrypt)?;
        Ok(body)
    }

    /// Decrypts body and tag of a chunk.
    pub fn decrypt(&self, header: &[u8; CHUNK_HEADER_BYTES], chunk_no: u64, body: &[u8]) -> Result<Vec<u8>, SealError> {
        let nonce = Nonce::assume_unique_for_key(nonce(self.scope.epoch, chunk_no));
        let mut body = body.to_vec();
        let plain = self
            .aes
            .open_in_place(nonce, Aad::from(header), &mut body)
            .map_err(|_unspecified| SealError::Decrypt)?
            .len();
        body.truncate(plain);
        debug_assert!(body.len() + TAG_BYTES > plain);
        Ok(body)
    }

    /// Wraps it to one recipient.
    pub fn wrap(&self, recipient: &Recipient, node: NodeId, rng: &mut dyn CryptoRng) -> Result<WrappedKey, SealError> {
        let info = self.scope.to_bytes();
        let (encapsulated, ciphertext) =
            hpke::single_shot_seal_with_rng::<hpke::aead::AesGcm256, hpke::kdf::HkdfSha256, Suite>(
                &OpModeS::Base,
                &recipient.key,
                &info,
                self.secret.as_slice(),
                &[],
                &mut Chance(rng),
            )
            .map_err(SealError::Wrap)?;
        Ok(WrappedKey {
            recording: self.scope.recording,
            segment_no: self.scope.segment_no,
            epoch: u32::from(self.scope.epoch),
            node,
            recipient: recipient.id(),
            encapsulated: encapsulated.to_bytes().to_vec(),
            ciphertext,
            key_commit: self.commit,
        })
    }
}

fn derive(root: &hkdf::Prk, label: &[u8]) -> Result<Zeroizing<[u8; 32]>, InvalidKey> {
    let mut key = Zeroizing::new([0; 32]);
    let labels = [label];
    let filled = root.expand(&labels, hkdf::HKDF_SHA256).and_then(|material| material.fill(key.as_mut_slice()));
    filled.map_err(|_unspecified| InvalidKey)?;
    Ok(key)
}

/// A public key to which data keys are wrapped: the vault, or an escrow.
#[derive(Clone, PartialEq, Eq)]
pub struct Recipient {
    key: <Suite as Kem>::PublicKey,
}

impl Recipient {
    /// From the 32 bytes of an X25519 public key.
    pub fn of_bytes(bytes: &[u8]) -> Result<Self, InvalidKey> {
        let key = <Suite as Kem>::PublicKey::from_bytes(bytes).map_err(|_rejected| InvalidKey)?;
        Ok(Self { key })
    }

    /// The 32 bytes.
    pub fn to_bytes(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.key.write_exact(&mut bytes);
        bytes
    }

    /// Its name: the first 16 bytes of the key's SHA-256, in hexadecimal.
    pub fn id(&self) -> String {
        let [first, _second] = split(sha256(&[&self.to_bytes()]));
        to_hex(&first)
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recipient({})", self.id())
    }
}

/// The vault's private key. Whoever has it can hear every recording.
pub struct VaultKey {
    secret: <Suite as Kem>::PrivateKey,
    recipient: Recipient,
}

impl fmt::Debug for VaultKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VaultKey({})", self.recipient.id())
    }
}

impl VaultKey {
    /// From the 32 bytes of an X25519 private key, which it wipes.
    pub fn of_bytes(bytes: &mut [u8; 32]) -> Result<Self, InvalidKey> {
        let secret = <Suite as Kem>::PrivateKey::from_bytes(bytes).map_err(|_rejected| InvalidKey);
        bytes.zeroize();
        let secret = secret?;
        let recipient = Recipient { key: <Suite as Kem>::sk_to_pk(&secret) };
        Ok(Self { secret, recipient })
    }

    /// The public half.
    pub const fn recipient(&self) -> &Recipient {
        &self.recipient
    }

    /// Unwraps a data key that was wrapped to this key, and checks its commitment.
    pub fn unwrap_key(&self, wrapped: &WrappedKey) -> Result<DataKey, SealError> {
        let epoch = u16::try_from(wrapped.epoch).map_err(|_range| SealError::Unwrap)?;
        let scope = KeyScope { recording: wrapped.recording, segment_no: wrapped.segment_no, epoch };
        let encapsulated = <Suite as Kem>::EncappedKey::from_bytes(&wrapped.encapsulated).map_err(SealError::Wrap)?;
        let plain = hpke::single_shot_open::<hpke::aead::AesGcm256, hpke::kdf::HkdfSha256, Suite>(
            &OpModeR::Base,
            &self.secret,
            &encapsulated,
            &scope.to_bytes(),
            &wrapped.ciphertext,
            &[],
        )
        .map(Zeroizing::new)
        .map_err(SealError::Wrap)?;
        let secret: [u8; 32] = plain.as_slice().try_into().map_err(|_length| SealError::Unwrap)?;
        let key = DataKey::of_secret(scope, Zeroizing::new(secret)).map_err(|InvalidKey| SealError::Unwrap)?;
        constant_time::verify_slices_are_equal(&key.commit, &wrapped.key_commit)
            .map_err(|_unequal| SealError::Commitment)?;
        Ok(key)
    }
}

/// Why sealing or opening failed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// AES-GCM refused to encrypt.
    #[error("the chunk could not be encrypted")]
    Encrypt,
    /// The tag does not match: another key, or altered bytes.
    #[error("the chunk could not be decrypted")]
    Decrypt,
    /// HPKE failed.
    #[error("the data key could not be wrapped or unwrapped")]
    Wrap(#[source] hpke::HpkeError),
    /// What came out is no data key.
    #[error("the wrapped key does not hold a data key")]
    Unwrap,
    /// The key is another than the container commits to.
    #[error("the data key does not match its commitment")]
    Commitment,
    /// FLAC refused.
    #[error("the samples could not be coded")]
    Codec(#[source] flac_codec::Error),
}

/// Lends our generator to HPKE, which speaks a later `rand_core`.
struct Chance<'a>(&'a mut dyn CryptoRng);

impl TryRng for Chance<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.0.next_u32())
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.0.next_u64())
    }

    fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill_bytes(to);
        Ok(())
    }
}

impl TryCryptoRng for Chance<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    fn scope(epoch: u16) -> KeyScope {
        KeyScope { recording: RecordingId::from_uuid(uuid::Uuid::from_bytes([7; 16])), segment_no: 3, epoch }
    }

    #[test]
    fn a_wrapped_key_opens_for_each_of_two_recipients_and_nobody_else() {
        let mut rng = StdRng::seed_from_u64(1);
        let vaults = [[1; 32], [2; 32], [3; 32]].map(|mut seed| VaultKey::of_bytes(&mut seed).unwrap());
        let key = DataKey::generate(scope(5), &mut rng).unwrap();
        for vault in &vaults[..2] {
            let wrapped = key.wrap(vault.recipient(), NodeId::from_bytes([0; 16]), &mut rng).unwrap();
            assert_eq!(vault.unwrap_key(&wrapped).unwrap().secret, key.secret);
            assert!(vaults[2].unwrap_key(&wrapped).is_err());
        }
    }

    #[test]
    fn a_wrapped_key_does_not_open_under_another_scope() {
        let mut rng = StdRng::seed_from_u64(1);
        let vault = VaultKey::of_bytes(&mut [1; 32]).unwrap();
        let key = DataKey::generate(scope(5), &mut rng).unwrap();
        let wrapped = key.wrap(vault.recipient(), NodeId::from_bytes([0; 16]), &mut rng).unwrap();
        assert!(vault.unwrap_key(&WrappedKey { segment_no: 4, ..wrapped.clone() }).is_err());
        assert!(vault.unwrap_key(&WrappedKey { epoch: 6, ..wrapped.clone() }).is_err());
        assert!(matches!(vault.unwrap_key(&WrappedKey { key_commit: [0; 32], ..wrapped }), Err(SealError::Commitment)));
    }

    #[test]
    fn a_chunk_decrypts_only_with_its_header_and_number() {
        let key = DataKey::generate(scope(0), &mut StdRng::seed_from_u64(1)).unwrap();
        let sealed = key.encrypt(&[1; 64], 9, b"hello".to_vec()).unwrap();
        assert_eq!(sealed.len(), 5 + TAG_BYTES);
        assert_eq!(key.decrypt(&[1; 64], 9, &sealed).unwrap(), b"hello");
        assert!(key.decrypt(&[2; 64], 9, &sealed).is_err());
        assert!(key.decrypt(&[1; 64], 8, &sealed).is_err());
    }
}
