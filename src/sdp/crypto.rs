//! Keys in the session description: `a=crypto` (RFC 4568), for trunks whose signalling is encrypted.

use std::fmt;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rand::RngCore;
use rand::SeedableRng;
use rand::rngs::StdRng;
use sdp_types::Media;
use zeroize::Zeroizing;

use crate::limits::SDP_CRYPTO_MAX;
use crate::rtp::srtp::MasterKey;
use crate::rtp::srtp::SrtpSuite;

/// Packets that one master key may protect (RFC 3711 9.2).
const LIFETIME_MAX: u64 = 1 << 48;

/// Our side of a session that may be, or must be, SRTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Srtp {
    /// RTP in the clear is refused. Where not, we offer SRTP and answer either.
    pub required: bool,
    /// Our key for each suite that we take, the best first, which stay the same for the session. Never empty.
    pub keys: Vec<MasterKey>,
}

/// A call's secret, from which the SRTP keys of each of its trunk legs come. Never shown.
#[derive(Clone, Copy)]
pub struct SrtpSecret([u8; 32]);

impl SrtpSecret {
    /// A fresh one; `rng` must be fit for keys.
    pub fn generate(rng: &mut dyn RngCore) -> Self {
        let mut secret = [0; 32];
        rng.fill_bytes(&mut secret);
        Self(secret)
    }

    /// Our keys for these suites in the session whose o= line bears `session`. No two legs may share a key, so each
    /// needs a session id of its own.
    pub fn srtp(&self, session: u64, required: bool, suites: &[SrtpSuite]) -> Srtp {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&self.0);
        context.update(&session.to_be_bytes());
        let mut seed = Zeroizing::new([0; 32]);
        for (to, from) in seed.iter_mut().zip(context.finish().as_ref()) {
            *to = *from;
        }
        let mut stream = StdRng::from_seed(*seed);
        Srtp { required, keys: suites.iter().map(|suite| MasterKey::generate(*suite, &mut stream)).collect() }
    }
}

impl fmt::Debug for SrtpSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SrtpSecret")
    }
}

/// One `a=crypto` that we can use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Crypto {
    /// 1 to 9 digits, which tie an answer to its offer.
    pub(crate) tag: u32,
    pub(crate) key: MasterKey,
}

/// The usable `a=crypto` attributes of a media line, in its order.
pub(crate) fn read(media: &Media) -> Vec<Crypto> {
    let values = media.attributes.iter().filter(|attribute| attribute.attribute == "crypto").take(SDP_CRYPTO_MAX);
    values.filter_map(|attribute| parse(attribute.value.as_deref()?)).collect()
}

/// `None` for what we do not know or do not take: another suite, several keys, an MKI, a parameter that would weaken the
/// stream.
fn parse(value: &str) -> Option<Crypto> {
    let mut words = value.split_ascii_whitespace();
    let tag = words.next().filter(|tag| tag.len() <= 9 && tag.bytes().all(|byte| byte.is_ascii_digit()))?;
    let suite = SrtpSuite::parse(words.next()?)?;
    let inline = strip_prefix_ignoring_case(words.next()?, "inline:")?;
    let key = parse_inline(suite, inline)?;
    words.all(is_harmless).then_some(Crypto { tag: tag.parse().ok()?, key })
}

/// `key||salt ["|" lifetime] ["|" MKI ":" length]`. An MKI would stand in every packet: we take none.
fn parse_inline(suite: SrtpSuite, inline: &str) -> Option<MasterKey> {
    let mut parts = inline.split('|');
    let encoded = parts.next()?;
    let rest = (parts.next(), parts.next());
    let lifetime = match rest {
        (None, _) => None,
        (Some(lifetime), None) => Some(lifetime),
        (Some(_), Some(_)) => return None,
    };
    if lifetime.is_some_and(|lifetime| parse_lifetime(lifetime).is_none()) {
        return None;
    }
    // The right length leaves no doubt about the padding, which some leave out.
    let bytes = Zeroizing::new(STANDARD_LENIENT.decode(encoded).ok()?);
    MasterKey::new(suite, &bytes)
}

const STANDARD_LENIENT: base64::engine::GeneralPurpose = base64::engine::GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    base64::engine::GeneralPurposeConfig::new()
        .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent),
);

/// `2^n` or a number of packets: from 1 to 2^48. An MKI, which has a colon, is none.
fn parse_lifetime(text: &str) -> Option<u64> {
    let packets = match text.strip_prefix("2^") {
        Some(exponent) => 1_u64.checked_shl(exponent.parse().ok()?)?,
        None => text.parse().ok()?,
    };
    (1..=LIFETIME_MAX).contains(&packets).then_some(packets)
}

/// Session parameters (RFC 4568 6.3): a replay window of another size and derivation rate 0 change nothing for us, and
/// what begins with "-" may be left out. All others, such as `UNENCRYPTED_SRTP`, would.
fn is_harmless(parameter: &str) -> bool {
    let upper = parameter.to_ascii_uppercase();
    parameter.starts_with('-') || upper.starts_with("WSH=") || upper == "KDR=0"
}

fn strip_prefix_ignoring_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// The attribute's value.
pub(crate) fn write(crypto: &Crypto) -> Zeroizing<String> {
    let inline = Zeroizing::new(STANDARD.encode(crypto.key.key_and_salt()));
    Zeroizing::new(format!("{} {} inline:{}", crypto.tag, crypto.key.suite().name(), *inline))
}

/// Our keys as an offer: tags from 1 in order.
pub(crate) fn offered(srtp: &Srtp) -> Vec<Crypto> {
    (1..).zip(&srtp.keys).map(|(tag, key)| Crypto { tag, key: key.clone() }).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const INLINE: &str = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";

    #[test]
    fn the_examples_of_rfc_4568_are_read() {
        let crypto = parse(&format!("1 AES_CM_128_HMAC_SHA1_80 inline:{INLINE}|2^20")).unwrap();
        assert_eq!((crypto.tag, crypto.key.suite()), (1, SrtpSuite::AesCm128HmacSha1_80));
        assert_eq!(crypto.key.key_and_salt(), STANDARD.decode(INLINE).unwrap());
        assert_eq!(*write(&crypto), format!("1 AES_CM_128_HMAC_SHA1_80 inline:{INLINE}"));
    }

    #[test]
    fn only_what_we_can_do_is_taken() {
        let long = STANDARD.encode([7; 44]);
        let short = STANDARD.encode([7; 28]);
        for (value, taken) in [
            (format!("1 AES_CM_128_HMAC_SHA1_32 inline:{INLINE}"), true),
            (format!("1 aes_cm_128_hmac_sha1_32 INLINE:{INLINE}"), true),
            (format!("999999999 AES_CM_128_HMAC_SHA1_80 inline:{INLINE}|2^48"), true),
            (format!("1 AEAD_AES_256_GCM inline:{long}"), true),
            (format!("1 AEAD_AES_128_GCM inline:{short}"), true),
            (format!("1 AEAD_AES_128_GCM inline:{}", short.trim_end_matches('=')), true),
            (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{INLINE}|1000000 WSH=128 KDR=0 -X"), true),
            (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{INLINE}|2^20|1:4"), false),
            (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{INLINE}|1:4"), false),
            (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{INLINE}|2^49"), false),
            (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{INLINE}|2^200"), false),
            (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{INLINE}|0"), false),
            (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{INLINE};inline:{INLINE}"), false),
            (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{short}"), false),
            (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{INLINE} UNENCRYPTED_SRTP"), false),
            (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{INLINE} UNENCRYPTED_SRTCP"), false),
            (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{INLINE} UNAUTHENTICATED_SRTP"), false),
            (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{INLINE} KDR=24"), false),
            (format!("1 F8_128_HMAC_SHA1_80 inline:{INLINE}"), false),
            (format!("1234567890 AES_CM_128_HMAC_SHA1_80 inline:{INLINE}"), false),
            (format!("+1 AES_CM_128_HMAC_SHA1_80 inline:{INLINE}"), false),
            ("1 AES_CM_128_HMAC_SHA1_80 inline:".to_owned(), false),
            ("1 AES_CM_128_HMAC_SHA1_80 uri:x".to_owned(), false),
            (String::new(), false),
        ] {
            assert_eq!(parse(&value).is_some(), taken, "{value}");
        }
    }

    #[test]
    fn a_secret_gives_each_leg_and_suite_its_own_key_and_shows_none() {
        let secret = SrtpSecret::generate(&mut StdRng::seed_from_u64(1));
        let keys = |session| secret.srtp(session, true, &SrtpSuite::ALL).keys;
        assert_eq!(keys(1), keys(1));
        let both = [keys(1), keys(2)].concat();
        let mut all: Vec<&[u8]> = both.iter().map(MasterKey::key_and_salt).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 8);
        assert_eq!(format!("{secret:?}"), "SrtpSecret");
    }

    proptest! {
        #[test]
        fn rubbish_never_panics(value in "\\PC*", tail in "[a-zA-Z0-9+/=|:^; ]{0,60}") {
            drop(parse(&value));
            drop(parse(&format!("1 AES_CM_128_HMAC_SHA1_80 inline:{tail}")));
        }
    }
}
