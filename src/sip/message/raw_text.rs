//! Bytes to text and back without loss.
//!
//! A SIP header should be UTF-8 (RFC 3261 7), but PBXs send Latin-1, and a Call-ID must be echoed byte for byte.
//! Each byte that is no part of valid UTF-8 becomes one character of a private-use range, and becomes that byte
//! again when the message is written. Characters of that range that arrive as valid UTF-8 are taken apart in the
//! same way, so that every input survives.

use std::borrow::Cow;

/// The character that stands for byte 0; bytes 0x80–0xFF use 0x10FE80–0x10FEFF.
const BASE: u32 = 0x10_FE00;

/// The first byte of every stand-in's UTF-8.
const LEAD: u8 = 0xF4;

fn stand_in(byte: u8) -> char {
    char::from_u32(BASE + u32::from(byte)).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// The byte that `c` stands for, if it stands for one.
fn stood_for(c: char) -> Option<u8> {
    u8::try_from(u32::from(c).checked_sub(BASE)?).ok().filter(|byte| *byte >= 0x80)
}

/// Bytes from the wire as text.
pub(crate) fn decode(bytes: &[u8]) -> String {
    // The stand-ins are the characters whose UTF-8 begins with this byte, and some others.
    if let Some(plain) = std::str::from_utf8(bytes).ok().filter(|_| memchr::memchr(LEAD, bytes).is_none()) {
        return plain.to_owned();
    }
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if stood_for(c).is_some() {
                let mut buffer = [0; 4];
                text.extend(c.encode_utf8(&mut buffer).bytes().map(stand_in));
            } else {
                text.push(c);
            }
        }
        text.extend(chunk.invalid().iter().copied().map(stand_in));
    }
    text
}

/// Text for the wire, appended to `out`. CR and LF become spaces: a value can never begin a header of its own.
pub(crate) fn encode(text: &str, out: &mut Vec<u8>) {
    if memchr::memchr3(b'\r', b'\n', LEAD, text.as_bytes()).is_none() {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    let mut buffer = [0; 4];
    for c in text.chars() {
        match stood_for(c) {
            Some(byte) => out.push(byte),
            None if matches!(c, '\r' | '\n') => out.push(b' '),
            None => out.extend_from_slice(c.encode_utf8(&mut buffer).as_bytes()),
        }
    }
}

/// Text for people: bytes that are not UTF-8 are read as Latin-1.
pub(crate) fn for_people(text: &str) -> Cow<'_, str> {
    if text.chars().any(|c| stood_for(c).is_some()) {
        Cow::Owned(text.chars().map(|c| stood_for(c).map_or(c, char::from)).collect())
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn latin_1_is_kept_for_the_wire_and_read_for_people() {
        let text = decode(b"M\xfcller");
        assert_eq!(for_people(&text), "Müller");
        let mut wire = Vec::new();
        encode(&text, &mut wire);
        assert_eq!(wire, b"M\xfcller");
    }

    #[test]
    fn a_line_break_never_reaches_the_wire() {
        let mut wire = Vec::new();
        encode("a\r\nEvil: 1", &mut wire);
        assert_eq!(wire, b"a  Evil: 1");
    }

    proptest! {
        #[test]
        fn every_byte_string_without_line_breaks_survives(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let bytes: Vec<u8> = bytes.into_iter().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
            let mut wire = Vec::new();
            encode(&decode(&bytes), &mut wire);
            prop_assert_eq!(wire, bytes);
        }

        #[test]
        fn the_stand_ins_themselves_survive(text in "[\u{10FE00}-\u{10FF00}a-z]{0,20}") {
            let mut wire = Vec::new();
            encode(&decode(text.as_bytes()), &mut wire);
            prop_assert_eq!(wire, text.into_bytes());
        }
    }
}
