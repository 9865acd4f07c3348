//! One direction's session keys for RTP or for RTCP, and what is done with them: derive, seal, open.

use std::fmt;

use aws_lc_rs::aead;
use aws_lc_rs::cipher;
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use zeroize::Zeroizing;

use crate::limits::RTP_DATAGRAM_BYTES_MAX;
use crate::rtp::srtp::MasterKey;
use crate::rtp::srtp::SrtpSuite;

/// Which of the two protocols a key is for: the first of its three labels (RFC 3711 4.3.1, 4.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Rtp,
    Rtcp,
}

/// What authenticates beside the packet: the roll-over counter or the SRTCP word, and where a packet stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Position {
    pub(super) ssrc: u32,
    /// ROC and sequence number, or the SRTCP index without E.
    pub(super) index: u64,
}

/// Session keys.
pub(super) enum Transform {
    /// AES counter mode and HMAC-SHA1 (RFC 3711 4.1.1, 4.2.1).
    Cm { cipher: Box<cipher::EncryptingKey>, salt: u128, auth: Box<hmac::Key>, tag_bytes: usize },
    /// AES-GCM (RFC 7714). It opens into the scratch, so that a packet which fails can be tried again.
    Gcm { key: aead::LessSafeKey, salt: [u8; 12], scratch: Box<[u8; RTP_DATAGRAM_BYTES_MAX]> },
}

impl fmt::Debug for Transform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cm { .. } => "Cm",
            Self::Gcm { .. } => "Gcm",
        })
    }
}

impl Transform {
    /// Derives the session keys (key derivation rate 0). `None` only where the library refuses a key of right length.
    pub(super) fn new(master: &MasterKey, protocol: Protocol) -> Option<Self> {
        let first = match protocol {
            Protocol::Rtp => 0,
            Protocol::Rtcp => 3,
        };
        let mut key = Zeroizing::new([0; 32]);
        let key = key.get_mut(..master.suite().key_bytes())?;
        derive(master, first, key)?;
        match master.suite() {
            SrtpSuite::AesCm128HmacSha1_80 | SrtpSuite::AesCm128HmacSha1_32 => {
                let (mut auth, mut salt) = (Zeroizing::new([0; 20]), Zeroizing::new([0; 14]));
                derive(master, first + 1, &mut *auth)?;
                derive(master, first + 2, &mut *salt)?;
                let tag_bytes = match protocol {
                    Protocol::Rtp => master.suite().rtp_tag_bytes(),
                    Protocol::Rtcp => master.suite().rtcp_tag_bytes(),
                };
                Self::cm(key, &*auth, &*salt, tag_bytes)
            }
            SrtpSuite::AeadAes128Gcm | SrtpSuite::AeadAes256Gcm => {
                let mut salt = Zeroizing::new([0; 12]);
                derive(master, first + 2, &mut *salt)?;
                Self::gcm(key, *salt)
            }
        }
    }

    pub(super) fn cm(key: &[u8], auth: &[u8], salt: &[u8], tag_bytes: usize) -> Option<Self> {
        Some(Self::Cm {
            cipher: Box::new(counter_mode(key)?),
            salt: left_aligned(salt),
            auth: Box::new(hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, auth)),
            tag_bytes,
        })
    }

    pub(super) fn gcm(key: &[u8], salt: [u8; 12]) -> Option<Self> {
        let algorithm = if key.len() == 32 { &aead::AES_256_GCM } else { &aead::AES_128_GCM };
        let key = aead::LessSafeKey::new(aead::UnboundKey::new(algorithm, key).ok()?);
        Some(Self::Gcm { key, salt, scratch: Box::new([0; RTP_DATAGRAM_BYTES_MAX]) })
    }

    pub(super) const fn tag_bytes(&self) -> usize {
        match self {
            Self::Cm { tag_bytes, .. } => *tag_bytes,
            Self::Gcm { .. } => aead::MAX_TAG_LEN,
        }
    }

    /// Encrypts `body` in place and gives the RTP tag's bytes, of which the first [`Self::tag_bytes`] count. `header`
    /// is authenticated only.
    pub(super) fn seal_rtp(&self, at: Position, header: &[u8], body: &mut [u8]) -> Option<[u8; 20]> {
        match self {
            Self::Cm { cipher, salt, auth, .. } => {
                apply_keystream(cipher, *salt, at, body)?;
                Some(authenticate(auth, &[header, body, &roll_over_counter(at.index)]))
            }
            Self::Gcm { key, salt, .. } => seal(key, rtp_nonce(*salt, at), header, body),
        }
    }

    /// Checks the tag, then decrypts `body` in place. `false`, with `body` untouched, where the tag is wrong.
    pub(super) fn open_rtp(&mut self, at: Position, header: &[u8], body: &mut [u8], tag: &[u8]) -> bool {
        match self {
            Self::Cm { cipher, salt, auth, .. } => {
                let expected = authenticate(auth, &[header, body, &roll_over_counter(at.index)]);
                is_same(&expected, tag) && apply_keystream(cipher, *salt, at, body).is_some()
            }
            Self::Gcm { key, salt, scratch } => open(key, rtp_nonce(*salt, at), header, body, tag, scratch),
        }
    }

    /// The same for SRTCP: `word` is E and the index, as it stands in the packet.
    pub(super) fn seal_rtcp(&self, at: Position, header: &[u8], body: &mut [u8], word: [u8; 4]) -> Option<[u8; 20]> {
        match self {
            Self::Cm { cipher, salt, auth, .. } => {
                apply_keystream(cipher, *salt, at, body)?;
                Some(authenticate(auth, &[header, body, &word]))
            }
            Self::Gcm { key, salt, .. } => {
                let mut associated = [0; 12];
                let associated = join(&mut associated, &[header, &word])?;
                seal(key, rtcp_nonce(*salt, at), associated, body)
            }
        }
    }

    /// The same for SRTCP. Without E nothing is encrypted, and everything is authenticated.
    pub(super) fn open_rtcp(
        &mut self,
        at: Position,
        (header, body): (&[u8], &mut [u8]),
        word: [u8; 4],
        tag: &[u8],
    ) -> bool {
        let encrypted = word.first().is_some_and(|flags| flags & 0x80 != 0);
        match self {
            Self::Cm { cipher, salt, auth, .. } => {
                let expected = authenticate(auth, &[header, body, &word]);
                is_same(&expected, tag) && (!encrypted || apply_keystream(cipher, *salt, at, body).is_some())
            }
            Self::Gcm { key, salt, scratch } => {
                let nonce = rtcp_nonce(*salt, at);
                let mut space = [0; RTP_DATAGRAM_BYTES_MAX + 4];
                let clear: &[u8] = if encrypted { &[] } else { body };
                let Some(associated) = join(&mut space, &[header, clear, &word]) else { return false };
                open(key, nonce, associated, if encrypted { body } else { &mut [] }, tag, scratch)
            }
        }
    }
}

/// `x * 2^16` of RFC 3711 4.3.1 for a salt of 14 bytes; one of 12 is padded on its right (RFC 7714 11).
fn left_aligned(salt: &[u8]) -> u128 {
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(salt) {
        *to = *from;
    }
    u128::from_be_bytes(bytes)
}

/// The key stream of the master key at `label` (RFC 3711 4.3.3).
fn derive(master: &MasterKey, label: u8, out: &mut [u8]) -> Option<()> {
    let iv = left_aligned(master.salt()) ^ (u128::from(label) << 64);
    out.fill(0);
    counter(&counter_mode(master.key())?, iv, out)
}

fn counter_mode(key: &[u8]) -> Option<cipher::EncryptingKey> {
    let algorithm = if key.len() == 32 { &cipher::AES_256 } else { &cipher::AES_128 };
    cipher::EncryptingKey::ctr(cipher::UnboundCipherKey::new(algorithm, key).ok()?).ok()
}

fn counter(cipher: &cipher::EncryptingKey, iv: u128, data: &mut [u8]) -> Option<()> {
    let iv = cipher::EncryptionContext::Iv128(FixedLength::from(&iv.to_be_bytes()));
    cipher.less_safe_encrypt(data, iv).ok().map(drop)
}

/// RFC 3711 4.1.1.
fn apply_keystream(cipher: &cipher::EncryptingKey, salt: u128, at: Position, data: &mut [u8]) -> Option<()> {
    counter(cipher, salt ^ (u128::from(at.ssrc) << 64) ^ (u128::from(at.index) << 16), data)
}

fn roll_over_counter(index: u64) -> [u8; 4] {
    let [_, _, r0, r1, r2, r3, _, _] = index.to_be_bytes();
    [r0, r1, r2, r3]
}

fn authenticate(key: &hmac::Key, parts: &[&[u8]]) -> [u8; 20] {
    let mut context = hmac::Context::with_key(key);
    for part in parts {
        context.update(part);
    }
    let mut tag = [0; 20];
    for (to, from) in tag.iter_mut().zip(context.sign().as_ref()) {
        *to = *from;
    }
    tag
}

/// In constant time. The tag is as long as the suite says, never empty: the callers cut it so.
fn is_same(expected: &[u8; 20], tag: &[u8]) -> bool {
    let expected = expected.get(..tag.len()).unwrap_or_default();
    !tag.is_empty() && aws_lc_rs::constant_time::verify_slices_are_equal(expected, tag).is_ok()
}

/// RFC 7714 8.1.
fn rtp_nonce(salt: [u8; 12], at: Position) -> [u8; 12] {
    let [s0, s1, s2, s3] = at.ssrc.to_be_bytes();
    let [_, _, i0, i1, i2, i3, i4, i5] = at.index.to_be_bytes();
    xored(salt, [0, 0, s0, s1, s2, s3, i0, i1, i2, i3, i4, i5])
}

/// RFC 7714 9.1.
fn rtcp_nonce(salt: [u8; 12], at: Position) -> [u8; 12] {
    let [s0, s1, s2, s3] = at.ssrc.to_be_bytes();
    let [_, _, _, _, i0, i1, i2, i3] = at.index.to_be_bytes();
    xored(salt, [0, 0, s0, s1, s2, s3, 0, 0, i0, i1, i2, i3])
}

fn xored(salt: [u8; 12], mut nonce: [u8; 12]) -> [u8; 12] {
    for (to, from) in nonce.iter_mut().zip(salt) {
        *to ^= from;
    }
    nonce
}

/// The parts one after the other; `None` where there is no space.
fn join<'a>(space: &'a mut [u8], parts: &[&[u8]]) -> Option<&'a [u8]> {
    let mut length = 0;
    for part in parts {
        space.get_mut(length..length + part.len())?.copy_from_slice(part);
        length += part.len();
    }
    space.get(..length)
}

fn seal(key: &aead::LessSafeKey, nonce: [u8; 12], associated: &[u8], body: &mut [u8]) -> Option<[u8; 20]> {
    let nonce = aead::Nonce::assume_unique_for_key(nonce);
    let made = key.seal_in_place_separate_tag(nonce, aead::Aad::from(associated), body).ok()?;
    let mut tag = [0; 20];
    for (to, from) in tag.iter_mut().zip(made.as_ref()) {
        *to = *from;
    }
    Some(tag)
}

fn open(
    key: &aead::LessSafeKey,
    nonce: [u8; 12],
    associated: &[u8],
    body: &mut [u8],
    tag: &[u8],
    scratch: &mut [u8; RTP_DATAGRAM_BYTES_MAX],
) -> bool {
    let Some(plain) = scratch.get_mut(..body.len()) else { return false };
    let nonce = aead::Nonce::assume_unique_for_key(nonce);
    if key.open_separate_gather(nonce, aead::Aad::from(associated), body, tag, plain).is_err() {
        return false;
    }
    body.copy_from_slice(plain);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
        digits.chunks(2).map(|pair| u8::try_from(pair[0] << 4 | pair[1]).unwrap()).collect()
    }

    #[test]
    fn the_key_stream_is_that_of_rfc_3711_b_2() {
        let cipher = counter_mode(&hex("2B7E151628AED2A6ABF7158809CF4F3C")).unwrap();
        let salt = left_aligned(&hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD"));
        let mut stream = vec![0; 0xff02 * 16];
        apply_keystream(&cipher, salt, Position { ssrc: 0, index: 0 }, &mut stream).unwrap();
        assert_eq!(stream[..16], hex("E03EAD0935C95E80E166B16DD92B4EB4"));
        assert_eq!(stream[16..32], hex("D23513162B02D0F72A43A2FE4A5F97AB"));
        assert_eq!(stream[32..48], hex("41E95B3BB0A2E8DD477901E4FCA894C0"));
        assert_eq!(stream[0xfeff * 16..0xff00 * 16], hex("EC8CDF7398607CB0F2D21675EA9EA1E4"));
        assert_eq!(stream[0xff00 * 16..0xff01 * 16], hex("362B7C3C6773516318A077D7FC5073AE"));
        assert_eq!(stream[0xff01 * 16..], hex("6A2CC3787889374FBEB4C81B17BA6C44"));
    }

    #[test]
    fn the_session_keys_are_those_of_rfc_3711_b_3() {
        let master = hex("E1F97A0D3E018BE0D64FA32C06DE4139 0EC675AD498AFEEBB6960B3AABE6");
        let master = MasterKey::new(SrtpSuite::AesCm128HmacSha1_80, &master).unwrap();
        let derived = |label, length| {
            let mut out = vec![0; length];
            derive(&master, label, &mut out).unwrap();
            out
        };
        assert_eq!(derived(0, 16), hex("C61E7A93744F39EE10734AFE3FF7A087"));
        assert_eq!(derived(2, 14), hex("30CBBC08863D8C85D49DB34A9AE1"));
        let auth = "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA48F0A0ACF3C34E2359E6CDBCE
            E049646C43D9327AD175578EF722709863 71C10C9A369AC2F94A8C5FBCDDDC256D6E919A48B610EF17C2041E47403576
            6B68642C59BBFC2F34DB60DBDFB2DC68";
        assert_eq!(derived(1, 94), hex(auth)[..94]);
    }
}
