//! Session descriptions between us and browsers (JSEP, RFC 8829): what ours say, and what we refuse in theirs.

use str0m::RtcConfig;
use str0m::format::Codec;
use str0m::format::FormatParams;
use str0m::media::Frequency;
use str0m::media::Pt;

use super::candidates;
use crate::limits::SDP_BYTES_MAX;
use crate::limits::SDP_MEDIA_MAX;

/// What we ask of a browser's Opus: narrowband is all that a telephone hears, so it may spend its bits there (RFC 7587 6.1).
const OPUS_FORMAT: &str = "minptime=10;maxplaybackrate=8000;maxaveragebitrate=24000;useinbandfec=1;usedtx=0";

/// Payload types of our own offers.
const PT_OPUS: u8 = 111;
const PT_PCMU: u8 = 0;
const PT_PCMA: u8 = 8;
const PT_EVENT_48K: u8 = 110;
const PT_EVENT_8K: u8 = 126;

/// Why a browser's session description is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadDescription {
    /// More bytes or media lines than we read.
    #[error("the session description is too large")]
    TooLarge,
    /// It does not follow RFC 8866, or is not an answer to our offer.
    #[error("the session description cannot be read")]
    Malformed,
    /// No certificate fingerprint of SHA-256 or stronger (RFC 8122 5).
    #[error("the session description has no strong certificate fingerprint")]
    WeakFingerprint,
    /// A media line without DTLS-SRTP.
    #[error("the session description has media without encryption")]
    Unencrypted,
    /// No audio line with a codec of ours.
    #[error("the session description has no audio that we speak")]
    NoAudio,
}

/// Enables the codecs that we offer, in order of preference.
pub(super) fn configure_codecs(config: &mut RtcConfig) {
    let codecs = config.codec_config();
    codecs.clear();
    let opus = FormatParams { min_p_time: Some(10), use_inband_fec: Some(true), ..FormatParams::default() };
    let events = FormatParams { telephone_event_max: Some(15), ..FormatParams::default() };
    let plain = FormatParams::default();
    let wide = Frequency::FORTY_EIGHT_KHZ;
    let narrow = Frequency::EIGHT_KHZ;
    codecs.add_config(Pt::from(PT_OPUS), None, Codec::Opus, wide, Some(2), opus);
    codecs.add_config(Pt::from(PT_PCMU), None, Codec::PCMU, narrow, None, plain);
    codecs.add_config(Pt::from(PT_PCMA), None, Codec::PCMA, narrow, None, plain);
    codecs.add_config(Pt::from(PT_EVENT_48K), None, Codec::Tele, wide, None, events);
    codecs.add_config(Pt::from(PT_EVENT_8K), None, Codec::Tele, narrow, None, events);
}

/// Rewrites what str0m wrote into what we say: our Opus parameters, and no feedback that we do not use.
pub(super) fn finish_local(sdp: &str) -> String {
    let opus = sdp.lines().find_map(opus_payload_type);
    let mut text = String::with_capacity(sdp.len() + 128);
    for line in sdp.lines() {
        if line.starts_with("a=rtcp-fb:") || is_format_of(line, opus) {
            continue;
        }
        text.push_str(line);
        text.push_str("\r\n");
        if let Some(payload_type) = opus_payload_type(line) {
            text.extend(["a=fmtp:", payload_type, " ", OPUS_FORMAT, "\r\n"]);
        }
    }
    text
}

/// The payload type of an `a=rtpmap` line for Opus.
fn opus_payload_type(line: &str) -> Option<&str> {
    let (payload_type, encoding) = line.strip_prefix("a=rtpmap:")?.split_once(' ')?;
    encoding.get(..5).is_some_and(|name| name.eq_ignore_ascii_case("opus/")).then_some(payload_type)
}

fn is_format_of(line: &str, payload_type: Option<&str>) -> bool {
    let format = line.strip_prefix("a=fmtp:").and_then(|rest| rest.split_once(' '));
    format.is_some_and(|(of, _)| Some(of) == payload_type)
}

/// Checks a browser's description and leaves out what we ignore: candidates that we cannot use, weak fingerprints, SDES.
pub(super) fn read_remote(sdp: &str) -> Result<String, BadDescription> {
    if sdp.len() > SDP_BYTES_MAX {
        return Err(BadDescription::TooLarge);
    }
    let mut text = String::with_capacity(sdp.len());
    let (mut media, mut strong) = (0, false);
    for line in sdp.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
        if let Some(description) = line.strip_prefix("m=") {
            media += 1;
            check_transport(description)?;
        } else if let Some(fingerprint) = line.strip_prefix("a=fingerprint:") {
            if !is_strong(fingerprint) {
                continue;
            }
            strong = true;
        } else if line.starts_with("a=crypto:")
            || (line.starts_with("a=candidate:") && candidates::parse(line).is_none())
        {
            continue;
        }
        text.push_str(line);
        text.push_str("\r\n");
    }
    if media > SDP_MEDIA_MAX {
        return Err(BadDescription::TooLarge);
    }
    if media == 0 {
        return Err(BadDescription::Malformed);
    }
    if strong { Ok(text) } else { Err(BadDescription::WeakFingerprint) }
}

/// The MID (RFC 9143) of a description's first audio line.
pub(super) fn audio_mid(sdp: &str) -> Option<&str> {
    sdp.lines().skip_while(|line| !line.starts_with("m=audio ")).find_map(|line| line.strip_prefix("a=mid:"))
}

/// Media runs over DTLS: `UDP/TLS/RTP/SAVPF` for audio, `UDP/DTLS/SCTP` for the data channel (RFC 8829 5.1.2, 5.1.3).
fn check_transport(description: &str) -> Result<(), BadDescription> {
    let transport = description.split(' ').nth(2).ok_or(BadDescription::Malformed)?;
    if transport.split('/').any(|part| part == "TLS" || part == "DTLS") {
        Ok(())
    } else {
        Err(BadDescription::Unencrypted)
    }
}

/// SHA-2 of 256 bits or more; SHA-1 and MD5 are not (RFC 8122 5 forbids MD2 and MD5, we add SHA-1).
fn is_strong(fingerprint: &str) -> bool {
    let hash = fingerprint.split(' ').next().unwrap_or_default();
    ["sha-256", "sha-384", "sha-512"].iter().any(|strong| hash.eq_ignore_ascii_case(strong))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=fingerprint:sha-256 AA:BB\r\na=rtpmap:111 opus/48000/2\r\n";

    #[test]
    fn our_opus_asks_for_narrowband_with_fec() {
        let text = finish_local(
            "m=audio 9 UDP/TLS/RTP/SAVPF 111 110\na=rtpmap:111 opus/48000/2\na=rtcp-fb:111 transport-cc\na=fmtp:111 minptime=10\na=fmtp:110 0-15\n",
        );
        assert!(text.contains("a=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;maxplaybackrate=8000;maxaveragebitrate=24000;useinbandfec=1;usedtx=0\r\n"));
        assert!(text.contains("a=fmtp:110 0-15\r\n"));
        assert_eq!(text.matches("a=fmtp:111").count(), 1);
        assert!(!text.contains("rtcp-fb"));
    }

    #[test]
    fn a_fingerprint_of_sha_1_alone_is_refused() {
        let weak = ANSWER.replace("sha-256", "sha-1");
        assert_eq!(read_remote(&weak), Err(BadDescription::WeakFingerprint));
        let both =
            ANSWER.replace("a=fingerprint:sha-256 AA:BB", "a=fingerprint:sha-1 CC\r\na=fingerprint:SHA-256 AA:BB");
        assert!(!read_remote(&both).unwrap().contains("sha-1"));
    }

    #[test]
    fn plain_rtp_is_refused_and_sdes_is_never_read() {
        for transport in ["RTP/AVP", "RTP/SAVP", "RTP/SAVPF"] {
            assert_eq!(read_remote(&ANSWER.replace("UDP/TLS/RTP/SAVPF", transport)), Err(BadDescription::Unencrypted));
        }
        let sdes =
            format!("{ANSWER}a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\n");
        assert!(!read_remote(&sdes).unwrap().contains("crypto"));
    }

    #[test]
    fn candidates_with_names_are_left_out() {
        let text = format!(
            "{ANSWER}a=candidate:1 1 udp 1 x.local 5 typ host\r\na=candidate:1 1 udp 1 192.0.2.1 5 typ host\r\n"
        );
        let read = read_remote(&text).unwrap();
        assert!(!read.contains(".local"));
        assert!(read.contains("192.0.2.1"));
    }

    #[test]
    fn size_and_media_lines_are_bounded() {
        assert_eq!(read_remote(&"a".repeat(SDP_BYTES_MAX + 1)), Err(BadDescription::TooLarge));
        let many = format!("{ANSWER}{}", "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n".repeat(SDP_MEDIA_MAX));
        assert_eq!(read_remote(&many), Err(BadDescription::TooLarge));
        assert_eq!(read_remote("v=0\r\n"), Err(BadDescription::Malformed));
    }
}
