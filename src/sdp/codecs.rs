//! Payload types: which number means which codec in one media line (RFC 3551 6, RFC 8866 6.6).

use sdp_types::Media;

use crate::codec::TrunkCodec;

/// What a payload type means to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Audio.
    Audio(TrunkCodec),
    /// telephone-event at 8000 Hz (RFC 4733).
    TelephoneEvent,
}

/// The static payload type, which is also the one that we offer.
pub const fn static_payload_type(codec: TrunkCodec) -> u8 {
    match codec {
        TrunkCodec::Pcmu => 0,
        TrunkCodec::Pcma => 8,
    }
}

/// The encoding name of RFC 3551.
pub const fn encoding_name(codec: TrunkCodec) -> &'static str {
    match codec {
        TrunkCodec::Pcmu => "PCMU",
        TrunkCodec::Pcma => "PCMA",
    }
}

/// The payload types of a media line that we understand, in its order.
pub fn formats(media: &Media) -> Vec<(u8, Format)> {
    let payload_types =
        media.fmt.split_ascii_whitespace().filter_map(|text| text.parse().ok()).filter(|number| *number < 128);
    payload_types.filter_map(|number| meaning(media, number).map(|format| (number, format))).collect()
}

/// An `a=rtpmap` overrides a static number; without one, 0 and 8 mean what RFC 3551 says.
fn meaning(media: &Media, payload_type: u8) -> Option<Format> {
    let maps = media.attributes.iter().filter(|attribute| attribute.attribute == "rtpmap");
    let mapped = maps
        .filter_map(|attribute| attribute.value.as_deref()?.trim().split_once(' '))
        .find(|(number, _)| number.parse() == Ok(payload_type));
    match (mapped, payload_type) {
        (Some((_, encoding)), _) => encoded(encoding.trim()),
        (None, 0) => Some(Format::Audio(TrunkCodec::Pcmu)),
        (None, 8) => Some(Format::Audio(TrunkCodec::Pcma)),
        (None, _) => None,
    }
}

fn encoded(encoding: &str) -> Option<Format> {
    let mut parts = encoding.split('/');
    let (name, rate, channels) = (parts.next()?, parts.next()?, parts.next());
    if rate != "8000" || channels.is_some_and(|channels| channels != "1") {
        return None;
    }
    if name.eq_ignore_ascii_case("telephone-event") {
        return Some(Format::TelephoneEvent);
    }
    [TrunkCodec::Pcmu, TrunkCodec::Pcma]
        .into_iter()
        .find(|codec| encoding_name(*codec).eq_ignore_ascii_case(name))
        .map(Format::Audio)
}

/// Packet times that we can send with, in milliseconds.
const PTIMES_MS: [u8; 5] = [10, 20, 30, 40, 60];

/// The packet time to send with: what the peer asks for (`ptime`), else ours, never past its `maxptime`; the nearest
/// that we can from below.
pub fn send_ptime_ms(media: &Media, ours_ms: u8) -> u8 {
    let value = |name: &str| -> Option<u32> {
        let text = media.attributes.iter().find(|attribute| attribute.attribute == name)?.value.as_deref()?.trim();
        text.split('.').next()?.parse().ok().filter(|ms| *ms > 0)
    };
    let wanted = value("ptime").unwrap_or_else(|| u32::from(ours_ms)).min(value("maxptime").unwrap_or(u32::MAX));
    PTIMES_MS.into_iter().rev().find(|ms| u32::from(*ms) <= wanted).unwrap_or(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn media(lines: &str) -> Media {
        let text = format!("v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\n{}\r\n", lines.replace('\n', "\r\n"));
        sdp_types::Session::parse(text.as_bytes()).unwrap().medias.remove(0)
    }

    #[test]
    fn static_numbers_need_no_map_and_a_map_overrides_them() {
        let found = formats(&media("m=audio 4000 RTP/AVP 8 0 3 18"));
        assert_eq!(found, [(8, Format::Audio(TrunkCodec::Pcma)), (0, Format::Audio(TrunkCodec::Pcmu))]);
        assert_eq!(formats(&media("m=audio 4000 RTP/AVP 0\na=rtpmap:0 G729/8000")), []);
        let dynamic = formats(&media(
            "m=audio 4000 RTP/AVP 96 97 98\na=rtpmap:96 pcma/8000/1\na=rtpmap:97 PCMU/16000\na=rtpmap:98 PCMU/8000/2",
        ));
        assert_eq!(dynamic, [(96, Format::Audio(TrunkCodec::Pcma))]);
    }

    #[test]
    fn telephone_event_counts_at_8000_only() {
        let lines =
            "m=audio 4000 RTP/AVP 0 100 101\na=rtpmap:100 telephone-event/48000\na=rtpmap:101 Telephone-Event/8000";
        assert_eq!(formats(&media(lines)).last(), Some(&(101, Format::TelephoneEvent)));
        assert_eq!(formats(&media(lines)).len(), 2);
    }

    #[test]
    fn packet_time_follows_the_peer_within_its_limit() {
        for (attributes, expected) in [
            ("", 20),
            ("\na=ptime:30", 30),
            ("\na=ptime:50", 40),
            ("\na=ptime:200", 60),
            ("\na=ptime:5", 10),
            ("\na=ptime:20.0", 20),
            ("\na=ptime:0", 20),
            ("\na=ptime:x", 20),
            ("\na=maxptime:10", 10),
            ("\na=ptime:60\na=maxptime:40", 40),
        ] {
            assert_eq!(
                send_ptime_ms(&media(&format!("m=audio 4000 RTP/AVP 0{attributes}")), 20),
                expected,
                "{attributes}"
            );
        }
    }
}
