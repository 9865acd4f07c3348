use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::rtp::packet::Header;
use crate::rtp::packet::Packet;
use crate::rtp::srtp::SrtpSuite;

const SSRC: u32 = 0xcafe_babe;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] << 4 | pair[1]).unwrap()).collect()
}

fn key(suite: SrtpSuite, seed: u64) -> MasterKey {
    MasterKey::generate(suite, &mut StdRng::seed_from_u64(seed))
}

fn ends(suite: SrtpSuite) -> (Protect, Unprotect) {
    (Protect::new(&key(suite, 1)).unwrap(), Unprotect::new(&key(suite, 1)).unwrap())
}

fn packet(sequence: u16, payload: &[u8]) -> Vec<u8> {
    let header = Header { payload_type: 8, marker: false, sequence, timestamp: 160, ssrc: SSRC };
    let mut bytes = vec![0; 12 + payload.len()];
    header.write(payload, &mut bytes).unwrap();
    bytes
}

fn sealed(protect: &mut Protect, sequence: u16) -> Vec<u8> {
    let mut bytes = packet(sequence, &[7; 160]);
    let length = bytes.len();
    bytes.resize(length + OVERHEAD_BYTES_MAX, 0);
    let protected = protect.rtp(&mut bytes, length).unwrap();
    bytes.truncate(protected);
    bytes
}

fn sealed_rtcp(protect: &mut Protect) -> Vec<u8> {
    let mut bytes = report();
    let length = bytes.len();
    bytes.resize(length + OVERHEAD_BYTES_MAX, 0);
    let protected = protect.rtcp(&mut bytes, length).unwrap();
    bytes.truncate(protected);
    bytes
}

fn report() -> Vec<u8> {
    let mut bytes = vec![0x80, 200, 0, 6];
    bytes.extend(SSRC.to_be_bytes());
    bytes.extend([5; 20]);
    bytes
}

#[test]
fn what_is_protected_comes_out_the_same_and_looked_different() {
    for suite in SrtpSuite::ALL {
        let (mut protect, mut unprotect) = ends(suite);
        let mut bytes = sealed(&mut protect, 1_000);
        assert_eq!(bytes.len(), 172 + suite.rtp_tag_bytes());
        assert_eq!(bytes[..12], packet(1_000, &[7; 160])[..12], "the header stays in the clear");
        assert_ne!(bytes[12..172], [7; 160]);
        assert_eq!(unprotect.rtp(&mut bytes), Ok(172));
        assert_eq!(bytes[..172], packet(1_000, &[7; 160]));

        let mut bytes = sealed_rtcp(&mut protect);
        assert_eq!(bytes.len(), 28 + 4 + suite.rtcp_tag_bytes());
        assert_ne!(bytes[8..28], [5; 20]);
        assert_eq!(unprotect.rtcp(&mut bytes), Ok(28));
        assert_eq!(bytes[..28], report());
    }
}

#[test]
fn csrc_and_extension_stay_in_the_clear() {
    for suite in SrtpSuite::ALL {
        let (mut protect, mut unprotect) = ends(suite);
        let mut whole = packet(5, &[]);
        whole[0] |= 0x10 | 2;
        whole.extend([0xaa; 8]);
        whole.extend([0xbe, 0xde, 0, 1, 1, 2, 3, 4]);
        whole.extend([9; 40]);
        let mut bytes = whole.clone();
        bytes.resize(whole.len() + OVERHEAD_BYTES_MAX, 0);
        let length = protect.rtp(&mut bytes, whole.len()).unwrap();
        assert_eq!(bytes[..28], whole[..28]);
        assert_ne!(bytes[28..68], whole[28..68]);
        let length = unprotect.rtp(&mut bytes[..length]).unwrap();
        assert_eq!(bytes[..length], whole);
        assert_eq!(Packet::parse(&bytes[..length]).unwrap().payload, [9; 40]);
    }
}

#[test]
fn replays_and_forgeries_are_refused_and_change_nothing() {
    for suite in SrtpSuite::ALL {
        let (mut protect, mut unprotect) = ends(suite);
        let first = sealed(&mut protect, 1);
        assert!(unprotect.rtp(&mut first.clone()).is_ok());
        assert_eq!(unprotect.rtp(&mut first.clone()), Err(Unprotected::Replay));
        let second = sealed(&mut protect, 2);
        for at in 0..second.len() {
            let mut forged = second.clone();
            forged[at] ^= 0x01;
            let before = forged.clone();
            assert!(unprotect.rtp(&mut forged).is_err(), "{} byte {at}", suite.name());
            assert_eq!(forged, before, "{} byte {at}", suite.name());
        }
        assert!(unprotect.rtp(&mut second.clone()).is_ok());

        let report = sealed_rtcp(&mut protect);
        for at in 0..report.len() {
            let mut forged = report.clone();
            forged[at] ^= 0x01;
            assert!(unprotect.rtcp(&mut forged).is_err(), "{} byte {at}", suite.name());
        }
        assert!(unprotect.rtcp(&mut report.clone()).is_ok());
        assert_eq!(unprotect.rtcp(&mut report.clone()), Err(Unprotected::Replay));
    }
}

#[test]
fn the_counter_rolls_over_and_lost_and_reordered_packets_find_it() {
    for suite in SrtpSuite::ALL {
        let (mut protect, mut unprotect) = ends(suite);
        let mut sequence = 60_000_u16;
        for step in 0..200_000_u32 {
            let mut bytes = sealed(&mut protect, sequence);
            sequence = sequence.wrapping_add(1);
            // Only a few need to arrive.
            if step % 9_973 == 0 {
                assert!(unprotect.rtp(&mut bytes).is_ok(), "{} at {step}", suite.name());
            }
        }
        let (early, late) = (sealed(&mut protect, sequence), sealed(&mut protect, sequence.wrapping_add(1)));
        assert!(unprotect.rtp(&mut late.clone()).is_ok());
        assert!(unprotect.rtp(&mut early.clone()).is_ok());
    }
}

#[test]
fn a_wrap_that_happened_during_a_long_hold_is_found() {
    let (mut protect, mut unprotect) = ends(SrtpSuite::AesCm128HmacSha1_80);
    assert!(unprotect.rtp(&mut sealed(&mut protect, 20_000)).is_ok());
    // Between the two, 70,000 packets went by unheard.
    for sequence in (20_001..=65_535).chain(0..24_000) {
        drop(sealed(&mut protect, sequence));
    }
    assert!(unprotect.rtp(&mut sealed(&mut protect, 24_000)).is_ok());
    assert!(unprotect.rtp(&mut sealed(&mut protect, 24_001)).is_ok());
}

#[test]
fn a_stream_that_began_just_before_a_wrap_is_understood_when_its_first_packets_are_lost() {
    let (mut protect, mut unprotect) = ends(SrtpSuite::AeadAes256Gcm);
    drop(sealed(&mut protect, 65_535));
    assert!(unprotect.rtp(&mut sealed(&mut protect, 0)).is_ok());
}

#[test]
fn a_new_key_goes_on_counting_and_a_peer_that_begins_anew_is_understood() {
    for suite in SrtpSuite::ALL {
        let (mut protect, mut unprotect) = ends(suite);
        for sequence in (0..=65_535).chain(0..10) {
            drop(sealed(&mut protect, sequence));
        }
        assert!(unprotect.rtp(&mut sealed(&mut protect, 10)).is_ok());
        let before = sealed_rtcp(&mut protect);
        protect.rekey(&key(suite, 2)).unwrap();
        let mut fresh = unprotect.rekeyed(&key(suite, 2)).unwrap();
        assert!(fresh.rtcp(&mut before.clone()).is_err(), "the old key is no longer taken");
        assert!(fresh.rtp(&mut sealed(&mut protect, 11)).is_ok());
        let report = sealed_rtcp(&mut protect);
        let word = if suite.salt_bytes() == 14 { 28..32 } else { report.len() - 4..report.len() };
        assert_eq!(report[word], [0x80, 0, 0, 1], "the SRTCP index goes on");

        let mut anew = Protect::new(&key(suite, 3)).unwrap();
        let mut fresh = unprotect.rekeyed(&key(suite, 3)).unwrap();
        assert!(fresh.rtp(&mut sealed(&mut anew, 11)).is_ok());
        assert!(fresh.rtp(&mut sealed(&mut anew, 12)).is_ok());
    }
}

#[test]
fn sources_under_one_key_are_bounded_and_forgeries_take_no_place() {
    let (mut protect, mut unprotect) = ends(SrtpSuite::AeadAes128Gcm);
    let with_ssrc = |ssrc: u32| {
        let mut bytes = packet(1, &[1; 20]);
        bytes[8..12].copy_from_slice(&ssrc.to_be_bytes());
        bytes.resize(32 + OVERHEAD_BYTES_MAX, 0);
        bytes
    };
    for ssrc in 0..2_000 {
        assert!(unprotect.rtp(&mut with_ssrc(ssrc)).is_err());
    }
    for ssrc in (0..).take(SRTP_SOURCES_MAX) {
        let mut bytes = with_ssrc(ssrc);
        let length = protect.rtp(&mut bytes, 32).unwrap();
        assert!(unprotect.rtp(&mut bytes[..length]).is_ok());
    }
    assert_eq!(protect.rtp(&mut with_ssrc(9_999_999), 32), None);
    assert_eq!(unprotect.rtp(&mut with_ssrc(9_999_999)), Err(Unprotected::Sources));
}

#[test]
fn a_packet_in_the_clear_is_refused() {
    for suite in SrtpSuite::ALL {
        let (_, mut unprotect) = ends(suite);
        assert_eq!(unprotect.rtp(&mut packet(1, &[7; 160])), Err(Unprotected::Authentication));
        assert_eq!(unprotect.rtp(&mut packet(1, &[])), Err(Unprotected::Length));
        assert!(unprotect.rtcp(&mut report()).is_err());
        assert_eq!(unprotect.rtp(&mut vec![0x80; RTP_DATAGRAM_BYTES_MAX + 1]), Err(Unprotected::Length));
    }
}

#[test]
fn a_buffer_without_room_is_refused_and_nothing_is_used_up() {
    let (mut protect, mut unprotect) = ends(SrtpSuite::AesCm128HmacSha1_80);
    let mut bytes = packet(1, &[7; 20]);
    assert_eq!(protect.rtp(&mut bytes, 32), None);
    assert_eq!(protect.rtcp(&mut report(), 28), None);
    assert!(unprotect.rtp(&mut sealed(&mut protect, 1)).is_ok());
}

/// RFC 7714 16.1.1 and 16.2.1.
#[test]
fn rtp_under_gcm_is_as_rfc_7714_16_shows() {
    let clear = "8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973 20646976 69736120 696e2070 61727465
        73207472 6573";
    for (key, protected) in [
        (
            "00010203 04050607 08090a0b 0c0d0e0f",
            "8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f 42a5f47a 51c7d19b
             36de3adf 8833899d 7f27beb1 6a9152cf 765ee439 0cce",
        ),
        (
            "00010203 04050607 08090a0b 0c0d0e0f 10111213 14151617 18191a1b 1c1d1e1f",
            "8040f17b 8041f8d3 5501a0b2 32b1de78 a822fe12 ef9f78fa 332e33aa b1801238 9a58e2f3 b50b2a02 76ffae0f
             1ba63799 b87b7aa3 db36dfff d6b0f9bb 7878d7a7 6c13",
        ),
    ] {
        let salt = hex("51756964 2070726f 2071756f").try_into().unwrap();
        let mut transform = Transform::gcm(&hex(key), salt).unwrap();
        let (mut bytes, protected) = (hex(clear), hex(protected));
        let at = Position { ssrc: 0x5501_a0b2, index: 0xf17b };
        let (header, body) = bytes.split_at_mut(12);
        let tag = transform.seal_rtp(at, header, body).unwrap();
        assert_eq!([&bytes, &tag[..16]].concat(), protected);
        let (header, body) = bytes.split_at_mut(12);
        assert!(transform.open_rtp(at, header, body, &tag[..16]));
        assert_eq!(bytes, hex(clear));
    }
}

/// RFC 7714 17.1 and 17.2.
#[test]
fn rtcp_under_gcm_is_as_rfc_7714_17_shows() {
    let clear = "81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930 4c756e61 deadbeef deadbeef deadbeef
        deadbeef deadbeef";
    let salt: [u8; 12] = hex("51756964 2070726f 2071756f").try_into().unwrap();
    let at = Position { ssrc: 0x4d61_7273, index: 0x05d4 };
    let word = [0x80, 0, 0x05, 0xd4];
    for (key, body, tag) in [
        (
            "00010203 04050607 08090a0b 0c0d0e0f",
            "63e94885 dcdab67c a727d766 2f6b7e99 7ff5c0f7 6c06f32d c676a5f1 730d6fda 4ce09b46 86303ded 0bb9275b",
            "c84aa458 96cf4d2f c5abf872 45d9eade",
        ),
        (
            "00010203 04050607 08090a0b 0c0d0e0f 10111213 14151617 18191a1b 1c1d1e1f",
            "d50ae4d1 f5ce5d30 4ba297e4 7d470c28 2c3ece5d bffe0a50 a2eaa5c1 110555be 8415f658 c61de047 6f1b6fad",
            "1d1eb30c 4446839f 57ff6f6c b26ac3be",
        ),
    ] {
        let mut transform = Transform::gcm(&hex(key), salt).unwrap();
        let mut bytes = hex(clear);
        let (header, plain) = bytes.split_at_mut(8);
        let made = transform.seal_rtcp(at, header, plain, word).unwrap();
        assert_eq!(plain, hex(body));
        assert_eq!(made[..16], hex(tag));
        assert!(transform.open_rtcp(at, (header, plain), word, &made[..16]));
        assert_eq!(bytes, hex(clear));
    }
}

#[test]
fn rtcp_that_is_only_authenticated_is_taken_and_its_tag_checked() {
    let salt = [3; 12];
    let at = Position { ssrc: SSRC, index: 7 };
    let word = 7_u32.to_be_bytes();
    let bytes = report();
    // RFC 7714 9.3: everything is associated data, and there is no ciphertext.
    let key = aws_lc_rs::aead::UnboundKey::new(&aws_lc_rs::aead::AES_128_GCM, &[1; 16]).unwrap();
    let key = aws_lc_rs::aead::LessSafeKey::new(key);
    let mut nonce = [0; 12];
    nonce[2..6].copy_from_slice(&SSRC.to_be_bytes());
    nonce[8..].copy_from_slice(&7_u32.to_be_bytes());
    let nonce = aws_lc_rs::aead::Nonce::assume_unique_for_key(nonce.map(|byte| byte ^ 3));
    let whole = [&bytes[..], &word].concat();
    let tag = key.seal_in_place_separate_tag(nonce, aws_lc_rs::aead::Aad::from(whole), &mut []).unwrap();

    let mut transform = Transform::gcm(&[1; 16], salt).unwrap();
    let mut taken = bytes.clone();
    let (header, body) = taken.split_at_mut(8);
    assert!(transform.open_rtcp(at, (header, body), word, tag.as_ref()));
    body[0] ^= 1;
    assert!(!transform.open_rtcp(at, (header, body), word, tag.as_ref()));

    let mut cm = Transform::cm(&[1; 16], &[2; 20], &[3; 14], 10).unwrap();
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &[2; 20]);
    let tag = aws_lc_rs::hmac::sign(&key, &[&bytes[..], &word].concat());
    let mut taken = bytes.clone();
    let (header, body) = taken.split_at_mut(8);
    assert!(cm.open_rtcp(at, (header, body), word, &tag.as_ref()[..10]));
    assert_eq!(taken, bytes);
}

proptest! {
    #[test]
    fn any_payload_comes_through_any_suite(
        which in 0_usize..4, payload in proptest::collection::vec(any::<u8>(), 0..500), start in any::<u16>(), seed in any::<u64>(),
    ) {
        let suite = SrtpSuite::ALL[which];
        let mut protect = Protect::new(&key(suite, seed)).unwrap();
        let mut unprotect = Unprotect::new(&key(suite, seed)).unwrap();
        for step in 0..3 {
            let clear = packet(start.wrapping_add(step), &payload);
            let mut bytes = clear.clone();
            bytes.resize(clear.len() + OVERHEAD_BYTES_MAX, 0);
            let length = protect.rtp(&mut bytes, clear.len()).unwrap();
            prop_assert_eq!(unprotect.rtp(&mut bytes[..length]), Ok(clear.len()));
            prop_assert_eq!(&bytes[..clear.len()], &clear[..]);
        }
    }

    #[test]
    fn rubbish_never_panics(which in 0_usize..4, bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let (mut protect, mut unprotect) = ends(SrtpSuite::ALL[which]);
        prop_assert!(unprotect.rtp(&mut bytes.clone()).is_err());
        prop_assert!(unprotect.rtcp(&mut bytes.clone()).is_err());
        let (mut roomy, length) = (bytes.clone(), bytes.len());
        roomy.resize(length + OVERHEAD_BYTES_MAX, 0);
        prop_assert!(protect.rtp(&mut roomy, length).is_none_or(|protected| protected > length));
        prop_assert!(protect.rtcp(&mut roomy, length).is_none_or(|protected| protected > length));
    }
}

/// An independent implementation on the other side.
#[cfg(feature = "demo")]
mod against_rtc {
    use rtc_srtp::context::Context;
    use rtc_srtp::protection_profile::ProtectionProfile;

    use super::*;

    fn theirs(suite: SrtpSuite, key: &MasterKey) -> Context {
        let profile = match suite {
            SrtpSuite::AesCm128HmacSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
            SrtpSuite::AesCm128HmacSha1_32 => ProtectionProfile::Aes128CmHmacSha1_32,
            SrtpSuite::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
            SrtpSuite::AeadAes256Gcm => ProtectionProfile::AeadAes256Gcm,
        };
        let provider = rtc_srtp::crypto::default_provider().unwrap();
        Context::new(key.key(), key.salt(), profile, None, None, provider.crypto()).unwrap()
    }

    #[test]
    fn each_reads_what_the_other_writes() {
        for suite in SrtpSuite::ALL {
            exchange(suite);
        }
    }

    fn exchange(suite: SrtpSuite) {
        let key = key(suite, 9);
        let (mut protect, mut unprotect) = (Protect::new(&key).unwrap(), Unprotect::new(&key).unwrap());
        let (mut sender, mut receiver) = (theirs(suite, &key), theirs(suite, &key));
        for step in 0..70_000_u32 {
            let sequence = 60_000_u16.wrapping_add((step & 0xffff) as u16);
            let ours = sealed(&mut protect, sequence);
            // Of each thousand, three are heard: the counter rolls over unheard.
            if step % 1_000 < 3 {
                compare(&ours, sequence, &mut receiver, &mut sender, &mut unprotect);
            }
        }
        for _ in 0..5 {
            let ours = sealed_rtcp(&mut protect);
            assert_eq!(receiver.decrypt_rtcp(&ours).unwrap()[..], report(), "{}", suite.name());
            let mut written = sender.encrypt_rtcp(&report()).unwrap().to_vec();
            assert_eq!(unprotect.rtcp(&mut written), Ok(28), "{}", suite.name());
            assert_eq!(written[..28], report());
        }
    }

    fn compare(ours: &[u8], sequence: u16, receiver: &mut Context, sender: &mut Context, unprotect: &mut Unprotect) {
        let clear = packet(sequence, &[7; 160]);
        assert_eq!(receiver.decrypt_rtp(ours).unwrap()[..], clear, "{unprotect:?} {sequence}");
        let mut written = sender.encrypt_rtp(&clear).unwrap().to_vec();
        assert_eq!(unprotect.rtp(&mut written), Ok(172), "{sequence}");
        assert_eq!(written[..172], clear);
    }
}
