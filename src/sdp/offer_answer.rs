//! Offers and answers over the life of a session (RFC 3264 5–8).

use std::net::SocketAddr;

use aws_lc_rs::digest;
use bytes::Bytes;
use sdp_types::Media;

use crate::codec::TrunkCodec;
use crate::rtp::srtp::SrtpKeys;
use crate::sdp::Local;
use crate::sdp::Negotiated;
use crate::sdp::Refusal;
use crate::sdp::codecs;
use crate::sdp::crypto;
use crate::sdp::crypto::Crypto;
use crate::sdp::hold::Direction;
use crate::sdp::negotiate;
use crate::sdp::negotiate::Stream;

/// Payload type of telephone-event in a first offer.
const TELEPHONE_EVENT: u8 = 101;

/// The descriptions of one session, from our side: owns the o= line and what later offers must keep.
#[derive(Debug, Clone)]
pub struct Session {
    /// The o= line's session id.
    id: u64,
    /// The o= line's version of the last description sent.
    version: u64,
    /// A hash of the last description sent, without its o= line: the text may hold keys.
    sent: Option<[u8; 32]>,
    /// Every media line so far, in order: a later offer must have them all (RFC 3264 8).
    lines: Vec<Line>,
    /// Our payload type of telephone-event, which must not change its meaning (RFC 3264 8.3.2).
    telephone_event: u8,
    /// The peer's last address that said something.
    remote: Option<(SocketAddr, SocketAddr)>,
    /// Whether the stream that was last agreed on is SRTP.
    secure: Option<bool>,
}

/// A media line's place.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Line {
    /// Our audio, with the profile that the peer began with.
    Audio { profile: String },
    /// One that we refuse.
    Refused { media: String, profile: String, formats: String },
}

/// Our offer on its way: spent by its answer. Cloned where a forked request may be answered twice.
#[derive(Debug, Clone)]
#[must_use = "an offer waits for its answer"]
pub struct PendingOffer {
    local: Local,
    telephone_event: u8,
    place: usize,
    secure: bool,
}

/// What one description of ours says of its audio line.
struct Audio<'a> {
    local: &'a Local,
    formats: Vec<(u8, TrunkCodec)>,
    telephone_event: Option<u8>,
    direction: Direction,
    rtcp_mux: bool,
    crypto: Vec<Crypto>,
}

impl Session {
    /// A session whose o= line bears `id`: a random number below 2^63.
    pub const fn new(id: u64) -> Self {
        Self {
            id,
            version: 0,
            sent: None,
            lines: Vec::new(),
            telephone_event: TELEPHONE_EVENT,
            remote: None,
            secure: None,
        }
    }

    /// Answers an offer with the first of our codecs that it has. A refusal leaves the session as it was.
    pub fn answer(&mut self, offer: &[u8], local: &Local) -> Result<(Bytes, Negotiated), Refusal> {
        let parsed = negotiate::parse(offer)?;
        let (place, stream) = negotiate::first_usable(&parsed, local)?;
        let media = parsed.medias.get(place).ok_or(Refusal::NoAudio)?;
        let (payload_type, codec) = preferred(&stream, &local.codecs).ok_or(Refusal::Codec)?;
        let telephone_event = stream.telephone_event.filter(|_| local.telephone_event);
        let keys = local.srtp.as_ref().zip(stream.crypto.as_ref());
        let agreed = keys.and_then(|(srtp, offered)| negotiate::agreed(srtp, offered));
        let srtp =
            agreed.as_ref().map(|(ours, theirs)| SrtpKeys { send: ours.key.clone(), receive: theirs.key.clone() });
        let mut negotiated =
            self.agree(&stream, media, local, (payload_type, payload_type, codec), (telephone_event, telephone_event));
        self.secure = Some(srtp.is_some());
        negotiated.srtp = srtp;
        self.telephone_event = telephone_event.unwrap_or(self.telephone_event);
        self.lines = parsed.medias.iter().enumerate().map(|(index, media)| Line::of(media, index == place)).collect();
        let audio = Audio {
            local,
            // One codec only, so that the peer cannot change it between two packets.
            formats: vec![(payload_type, codec)],
            telephone_event,
            direction: Direction::new(negotiated.send, negotiated.receive),
            rtcp_mux: stream.rtcp_mux,
            crypto: agreed.map(|(ours, _)| ours).into_iter().collect(),
        };
        Ok((self.describe(&audio), negotiated))
    }

    /// Offers all our codecs, in order. The version stays where nothing changed since the last description.
    pub fn offer(&mut self, local: &Local) -> (Bytes, PendingOffer) {
        if self.lines.is_empty() {
            self.lines.push(Line::Audio { profile: "RTP/AVP".to_owned() });
        }
        let place = self.lines.iter().position(|line| matches!(line, Line::Audio { .. })).unwrap_or_default();
        let srtp = local.srtp.as_ref().filter(|srtp| srtp.required || self.secure != Some(false));
        if let Some(Line::Audio { profile }) = self.lines.get_mut(place) {
            *profile = protected_profile(profile, srtp.is_some()).to_owned();
        }
        let audio = Audio {
            local,
            formats: local.codecs.iter().map(|codec| (codecs::static_payload_type(*codec), *codec)).collect(),
            telephone_event: local.telephone_event.then_some(self.telephone_event),
            direction: local.direction,
            rtcp_mux: false,
            crypto: srtp.map(crypto::offered).unwrap_or_default(),
        };
        let pending =
            PendingOffer { local: local.clone(), telephone_event: self.telephone_event, place, secure: srtp.is_some() };
        (self.describe(&audio), pending)
    }

    /// What the peer's stream and our wish come to. The pairs are (ours to send with, ours to receive with).
    fn agree(
        &mut self,
        stream: &Stream,
        media: &Media,
        local: &Local,
        (payload_type, receive_payload_type, codec): (u8, u8, TrunkCodec),
        (telephone_event, receive_telephone_event): (Option<u8>, Option<u8>),
    ) -> Negotiated {
        if !stream.address_withdrawn {
            self.remote = Some((stream.rtp, stream.rtcp));
        }
        let (remote_rtp, remote_rtcp) = self.remote.unwrap_or((stream.rtp, stream.rtcp));
        let direction = local.direction.against(stream.direction);
        Negotiated {
            remote_rtp,
            remote_rtcp,
            codec,
            payload_type,
            receive_payload_type,
            telephone_event,
            receive_telephone_event,
            ptime_ms: codecs::send_ptime_ms(media, local.ptime_ms),
            send: direction.sends(),
            receive: direction.receives(),
            srtp: None,
        }
    }

    /// Writes a description, under a new version where it differs from the last one.
    fn describe(&mut self, audio: &Audio<'_>) -> Bytes {
        let body = self.body(audio);
        let mut hash = [0; 32];
        for (to, from) in hash.iter_mut().zip(digest::digest(&digest::SHA256, body.as_bytes()).as_ref()) {
            *to = *from;
        }
        if self.sent.replace(hash) != Some(hash) {
            self.version += 1;
        }
        let (address, family) = (audio.local.address, family(audio.local));
        let text = format!("v=0\r\no=- {} {} IN {family} {address}\r\n{body}", self.id, self.version);
        text.into()
    }

    fn body(&self, audio: &Audio<'_>) -> String {
        let mut body = format!("s=-\r\nc=IN {} {}\r\nt=0 0\r\n", family(audio.local), audio.local.address);
        for line in &self.lines {
            match line {
                Line::Audio { profile } => audio.write(profile, &mut body),
                Line::Refused { media, profile, formats } => {
                    line_of(&mut body, format_args!("m={media} 0 {profile} {formats}"));
                }
            }
        }
        body
    }
}

impl PendingOffer {
    /// Takes the answer. A refusal leaves the session as it was; the call cannot go on with this answer.
    pub fn accept(self, session: &mut Session, answer: &[u8]) -> Result<Negotiated, Refusal> {
        let parsed = negotiate::parse(answer)?;
        let media = parsed
            .medias
            .get(self.place)
            .filter(|media| negotiate::is_audio(media) && media.port != 0)
            .ok_or(Refusal::NoAudio)?;
        let stream = negotiate::read_stream(&parsed, media, self.local.address)?;
        let srtp = self.keys(&stream)?;
        // The answerer's order counts here (RFC 3264 7).
        let (payload_type, codec) =
            stream.audio.iter().copied().find(|(_, codec)| self.local.codecs.contains(codec)).ok_or(Refusal::Codec)?;
        let telephone_event = stream.telephone_event.filter(|_| self.local.telephone_event);
        let receive_telephone_event = telephone_event.map(|_| self.telephone_event);
        let payload_types = (payload_type, codecs::static_payload_type(codec), codec);
        let agreed =
            session.agree(&stream, media, &self.local, payload_types, (telephone_event, receive_telephone_event));
        session.secure = Some(srtp.is_some());
        Ok(Negotiated { srtp, ..agreed })
    }

    /// The keys of an answer, which must keep to the offer's profile, and to the suite of one of its tags
    /// (RFC 4568 5.1.3).
    fn keys(&self, stream: &Stream) -> Result<Option<SrtpKeys>, Refusal> {
        let (srtp, answered) = match (self.local.srtp.as_ref().filter(|_| self.secure), &stream.crypto) {
            (Some(srtp), Some(answered)) => (srtp, answered),
            (Some(_), None) => return Err(Refusal::Insecure),
            (None, Some(_)) => return Err(Refusal::Profile),
            (None, None) => return Ok(None),
        };
        let theirs = answered.first().ok_or(Refusal::Crypto)?;
        let ours = crypto::offered(srtp)
            .into_iter()
            .find(|ours| ours.tag == theirs.tag && ours.key.suite() == theirs.key.suite())
            .ok_or(Refusal::Crypto)?;
        Ok(Some(SrtpKeys { send: ours.key, receive: theirs.key.clone() }))
    }
}

impl Line {
    fn of(media: &Media, is_ours: bool) -> Self {
        if is_ours {
            return Self::Audio { profile: media.proto.clone() };
        }
        Self::Refused { media: media.media.clone(), profile: media.proto.clone(), formats: media.fmt.clone() }
    }
}

impl Audio<'_> {
    fn write(&self, profile: &str, body: &mut String) {
        let numbers: Vec<String> = self
            .formats
            .iter()
            .map(|(number, _)| *number)
            .chain(self.telephone_event)
            .map(|number| number.to_string())
            .collect();
        line_of(body, format_args!("m=audio {} {profile} {}", self.local.rtp_port, numbers.join(" ")));
        for (number, codec) in &self.formats {
            line_of(body, format_args!("a=rtpmap:{number} {}/8000", codecs::encoding_name(*codec)));
        }
        if let Some(number) = self.telephone_event {
            line_of(body, format_args!("a=rtpmap:{number} telephone-event/8000"));
            line_of(body, format_args!("a=fmtp:{number} 0-15"));
        }
        line_of(body, format_args!("a=ptime:{}", self.local.ptime_ms));
        line_of(body, format_args!("a={}", self.direction));
        if self.rtcp_mux {
            line_of(body, format_args!("a=rtcp-mux"));
        }
        for crypto in &self.crypto {
            line_of(body, format_args!("a=crypto:{}", *crypto::write(crypto)));
        }
    }
}

/// The profile with or without the S of SRTP; the F of feedback stays as it was.
fn protected_profile(profile: &str, secure: bool) -> &'static str {
    match (secure, profile.to_ascii_uppercase().ends_with('F')) {
        (true, true) => "RTP/SAVPF",
        (true, false) => "RTP/SAVP",
        (false, true) => "RTP/AVPF",
        (false, false) => "RTP/AVP",
    }
}

/// The first of our codecs that the peer has, with the peer's payload type.
fn preferred(stream: &Stream, ours: &[TrunkCodec]) -> Option<(u8, TrunkCodec)> {
    ours.iter().find_map(|wanted| stream.audio.iter().copied().find(|(_, codec)| codec == wanted))
}

const fn family(local: &Local) -> &'static str {
    if local.address.is_ipv4() { "IP4" } else { "IP6" }
}

fn line_of(body: &mut String, line: std::fmt::Arguments<'_>) {
    body.push_str(&line.to_string());
    body.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::IpAddr;
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::rtp::srtp::MasterKey;
    use crate::rtp::srtp::SrtpSuite;
    use crate::sdp::Srtp;

    fn local() -> Local {
        Local {
            address: IpAddr::from([192, 0, 2, 1]),
            rtp_port: 40_000,
            codecs: vec![TrunkCodec::Pcma, TrunkCodec::Pcmu],
            telephone_event: true,
            ptime_ms: 20,
            direction: Direction::SendRecv,
            srtp: None,
        }
    }

    fn description(version: u64, connection: &str, lines: &str) -> Vec<u8> {
        let text = format!("v=0\no=pbx 5 {version} IN IP4 192.0.2.10\ns=-\nc=IN IP4 {connection}\nt=0 0\n{lines}\n");
        text.replace('\n', "\r\n").into_bytes()
    }

    fn text(bytes: &Bytes) -> String {
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    fn version(bytes: &Bytes) -> u64 {
        let text = text(bytes);
        let origin = text.lines().find_map(|line| line.strip_prefix("o=- 7 ")).unwrap();
        origin.split(' ').next().unwrap().parse().unwrap()
    }

    const PLAIN: &str = "m=audio 4000 RTP/AVP 8 0 96\na=rtpmap:96 telephone-event/8000";

    #[test]
    fn offers_are_answered_as_the_golden_pairs_say() {
        let directory = Path::new("tests/golden/sdp");
        let bless = std::env::var_os("TANDEM_BLESS").is_some();
        let mut count = 0;
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let Some(name) = path.file_name().unwrap().to_str().unwrap().strip_suffix(".offer.sdp") else { continue };
            let offer = fs::read_to_string(&path).unwrap().replace('\n', "\r\n");
            let ours = if name.strip_suffix(".srtp").is_some() { secure(false) } else { local() };
            let (kind, found) = match Session::new(7).answer(offer.as_bytes(), &ours) {
                Ok((answer, _)) => ("answer.sdp", text(&answer).replace("\r\n", "\n")),
                Err(refusal) => {
                    ("refusal", format!("{} {}\n", refusal.status(), refusal.warning().map_or(0, |(code, _)| code)))
                }
            };
            let golden = directory.join(format!("{name}.{kind}"));
            if bless {
                fs::write(&golden, &found).unwrap();
            }
            assert_eq!(found, fs::read_to_string(&golden).unwrap_or_default(), "{name}");
            count += 1;
        }
        assert!(count >= 28, "{count}");
    }

    #[test]
    fn an_answer_takes_the_peers_payload_types_both_ways() {
        let (answer, negotiated) = Session::new(7).answer(&description(1, "192.0.2.10", PLAIN), &local()).unwrap();
        assert!(text(&answer).contains("m=audio 40000 RTP/AVP 8 96\r\n"));
        assert_eq!(negotiated.remote_rtp, "192.0.2.10:4000".parse::<SocketAddr>().unwrap());
        assert_eq!(negotiated.remote_rtcp, "192.0.2.10:4001".parse::<SocketAddr>().unwrap());
        assert_eq!((negotiated.telephone_event, negotiated.receive_telephone_event), (Some(96), Some(96)));
        assert!(negotiated.send && negotiated.receive);
    }

    #[test]
    fn payload_types_may_differ_by_direction_in_an_answer_to_our_offer() {
        let mut session = Session::new(7);
        let (offer, pending) = session.offer(&local());
        assert!(text(&offer).contains("m=audio 40000 RTP/AVP 8 0 101\r\n"));
        let answer = description(
            1,
            "192.0.2.10",
            "m=audio 4000 RTP/AVP 110 97\na=rtpmap:110 PCMU/8000\na=rtpmap:97 telephone-event/8000",
        );
        let negotiated = pending.accept(&mut session, &answer).unwrap();
        assert_eq!(negotiated.codec, TrunkCodec::Pcmu);
        assert_eq!((negotiated.payload_type, negotiated.receive_payload_type), (110, 0));
        assert_eq!((negotiated.telephone_event, negotiated.receive_telephone_event), (Some(97), Some(101)));
    }

    #[test]
    fn an_answer_without_telephone_event_has_none_either_way() {
        let mut session = Session::new(7);
        let (_, pending) = session.offer(&local());
        let negotiated = pending.accept(&mut session, &description(1, "192.0.2.10", "m=audio 4000 RTP/AVP 0")).unwrap();
        assert_eq!((negotiated.telephone_event, negotiated.receive_telephone_event), (None, None));
    }

    #[test]
    fn a_refresh_keeps_the_version_and_a_change_raises_it() {
        let mut session = Session::new(7);
        let (first, before) = session.answer(&description(1, "192.0.2.10", PLAIN), &local()).unwrap();
        let (refresh, after) = session.answer(&description(1, "192.0.2.10", PLAIN), &local()).unwrap();
        assert_eq!(first, refresh);
        assert_eq!(before, after);
        let (held, _) =
            session.answer(&description(2, "192.0.2.10", &format!("{PLAIN}\na=sendonly")), &local()).unwrap();
        assert_eq!(version(&held), version(&first) + 1);
    }

    #[test]
    fn hold_and_resume_by_sendonly() {
        let mut session = Session::new(7);
        let (_, talking) = session.answer(&description(1, "192.0.2.10", PLAIN), &local()).unwrap();
        let (answer, held) =
            session.answer(&description(2, "192.0.2.10", &format!("{PLAIN}\na=sendonly")), &local()).unwrap();
        assert!(text(&answer).contains("a=recvonly\r\n"));
        assert_eq!((held.send, held.receive), (false, true));
        let (answer, resumed) = session.answer(&description(3, "192.0.2.10", PLAIN), &local()).unwrap();
        assert!(text(&answer).contains("a=sendrecv\r\n"));
        assert_eq!(resumed, talking);
    }

    #[test]
    fn hold_by_the_zero_address_keeps_the_address_of_before() {
        let mut session = Session::new(7);
        let (_, talking) = session.answer(&description(1, "192.0.2.10", PLAIN), &local()).unwrap();
        let (answer, held) = session.answer(&description(2, "0.0.0.0", PLAIN), &local()).unwrap();
        assert!(text(&answer).contains("a=recvonly\r\n"));
        assert_eq!((held.send, held.receive), (false, true));
        assert_eq!(held.remote_rtp, talking.remote_rtp);
        let (_, resumed) = session.answer(&description(3, "192.0.2.10", PLAIN), &local()).unwrap();
        assert!(resumed.send);
    }

    #[test]
    fn both_holding_is_inactive_and_each_lifts_its_own() {
        let mut session = Session::new(7);
        let holding = Local { direction: Direction::SendOnly, ..local() };
        let (answer, _) =
            session.answer(&description(1, "192.0.2.10", &format!("{PLAIN}\na=sendonly")), &holding).unwrap();
        assert!(text(&answer).contains("a=inactive\r\n"));
        let (answer, _) = session.answer(&description(2, "192.0.2.10", PLAIN), &holding).unwrap();
        assert!(text(&answer).contains("a=sendonly\r\n"));
    }

    #[test]
    fn our_hold_offer_answered_recvonly_only_sends() {
        let mut session = Session::new(7);
        let (offer, pending) = session.offer(&Local { direction: Direction::SendOnly, ..local() });
        assert!(text(&offer).contains("a=sendonly\r\n"));
        let negotiated =
            pending.accept(&mut session, &description(1, "192.0.2.10", &format!("{PLAIN}\na=recvonly"))).unwrap();
        assert_eq!((negotiated.send, negotiated.receive), (true, false));
    }

    #[test]
    fn a_moved_port_and_a_changed_codec_are_taken() {
        let mut session = Session::new(7);
        session.answer(&description(1, "192.0.2.10", "m=audio 4000 RTP/AVP 8"), &local()).unwrap();
        let (answer, moved) =
            session.answer(&description(2, "192.0.2.11", "m=audio 5000 RTP/AVP 0"), &local()).unwrap();
        assert_eq!(moved.remote_rtp, "192.0.2.11:5000".parse::<SocketAddr>().unwrap());
        assert_eq!(moved.codec, TrunkCodec::Pcmu);
        assert!(text(&answer).contains("m=audio 40000 RTP/AVP 0\r\n"));
    }

    #[test]
    fn a_later_offer_keeps_every_line_and_the_payload_type_of_events() {
        let mut session = Session::new(7);
        let lines = format!("m=video 5000 RTP/AVP 31\n{PLAIN}");
        session.answer(&description(1, "192.0.2.10", &lines), &local()).unwrap();
        let (offer, pending) = session.offer(&local());
        let offer = text(&offer);
        let media: Vec<&str> = offer.lines().filter(|line| line.starts_with("m=")).collect();
        assert_eq!(media, ["m=video 0 RTP/AVP 31", "m=audio 40000 RTP/AVP 8 0 96"]);
        let answer = description(2, "192.0.2.10", &format!("m=video 0 RTP/AVP 31\n{PLAIN}"));
        assert!(pending.accept(&mut session, &answer).is_ok());
    }

    #[test]
    fn a_refused_offer_leaves_the_session_as_it_was() {
        let mut session = Session::new(7);
        let (first, _) = session.answer(&description(1, "192.0.2.10", PLAIN), &local()).unwrap();
        assert_eq!(
            session.answer(&description(2, "192.0.2.66", "m=audio 4000 RTP/AVP 18"), &local()),
            Err(Refusal::Codec)
        );
        let (again, negotiated) = session.answer(&description(3, "192.0.2.10", PLAIN), &local()).unwrap();
        assert_eq!(first, again);
        assert_eq!(negotiated.remote_rtp.ip(), IpAddr::from([192, 0, 2, 10]));
    }

    #[test]
    fn answers_that_refuse_or_invent_are_refused() {
        for (lines, refusal) in [
            ("m=audio 0 RTP/AVP 8", Refusal::NoAudio),
            ("m=video 5000 RTP/AVP 31", Refusal::NoAudio),
            ("", Refusal::NoAudio),
            ("m=audio 4000 RTP/AVP 18", Refusal::Codec),
            ("m=audio 4000 RTP/SAVP 8", Refusal::Profile),
        ] {
            let mut session = Session::new(7);
            let (_, pending) = session.offer(&local());
            assert_eq!(pending.accept(&mut session, &description(1, "192.0.2.10", lines)), Err(refusal), "{lines}");
        }
    }

    #[test]
    fn rtcp_goes_where_the_peer_says_but_not_to_another_host() {
        let rtcp = |attributes: &str| {
            let offer = description(1, "192.0.2.10", &format!("m=audio 4000 RTP/AVP 8\n{attributes}"));
            Session::new(7).answer(&offer, &local()).unwrap().1.remote_rtcp.to_string()
        };
        assert_eq!(rtcp("a=rtcp:4555"), "192.0.2.10:4555");
        assert_eq!(rtcp("a=rtcp:4555 IN IP4 192.0.2.10"), "192.0.2.10:4555");
        assert_eq!(rtcp("a=rtcp:4555 IN IP4 198.51.100.1"), "192.0.2.10:4001");
        assert_eq!(rtcp("a=rtcp:0"), "192.0.2.10:4001");
        assert_eq!(rtcp("a=rtcp-mux"), "192.0.2.10:4000");
    }

    #[test]
    fn ipv6_is_offered_and_answered_as_such() {
        let six = Local { address: "2001:db8::1".parse().unwrap(), ..local() };
        let offer =
            b"v=0\r\no=- 1 1 IN IP6 2001:db8::7\r\ns= \r\nc=IN IP6 2001:db8::7\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";
        let (answer, negotiated) = Session::new(7).answer(offer, &six).unwrap();
        assert!(text(&answer).contains("c=IN IP6 2001:db8::1\r\n"));
        assert_eq!(negotiated.remote_rtp, "[2001:db8::7]:4000".parse::<SocketAddr>().unwrap());
    }

    #[test]
    fn size_limits_are_413_and_nonsense_is_400() {
        let long = description(1, "192.0.2.10", &format!("{PLAIN}\na=x:{}", "y".repeat(crate::limits::SDP_BYTES_MAX)));
        assert_eq!(Session::new(7).answer(&long, &local()).unwrap_err().status(), 413);
        let many = description(1, "192.0.2.10", &[PLAIN; 33].join("\n"));
        assert_eq!(Session::new(7).answer(&many, &local()).unwrap_err().status(), 413);
        for bytes in [&b""[..], b"hello", b"v=1\r\n", b"v=0\r\no=x\r\n", b"v=0\r\nm=audio 99999 RTP/AVP 0\r\n"] {
            assert_eq!(Session::new(7).answer(bytes, &local()).unwrap_err().status(), 400, "{bytes:?}");
        }
    }

    const THEIRS: &str = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";

    fn secure(required: bool) -> Local {
        let keys = [SrtpSuite::AeadAes256Gcm, SrtpSuite::AesCm128HmacSha1_80];
        let keys = keys.map(|suite| MasterKey::new(suite, &vec![9; suite.key_bytes() + suite.salt_bytes()]).unwrap());
        Local { srtp: Some(Srtp { required, keys: keys.to_vec() }), ..local() }
    }

    fn savp(attributes: &str) -> String {
        format!("m=audio 4000 RTP/SAVP 8\n{attributes}")
    }

    #[test]
    fn an_srtp_offer_is_answered_with_the_first_suite_in_common_under_its_tag() {
        let lines = savp(&format!(
            "a=crypto:1 F8_128_HMAC_SHA1_80 inline:{THEIRS}\na=crypto:4 AES_CM_128_HMAC_SHA1_80 inline:{THEIRS}|2^31\na=crypto:5 AEAD_AES_256_GCM inline:x"
        ));
        for required in [false, true] {
            let mut session = Session::new(7);
            let (answer, negotiated) =
                session.answer(&description(1, "192.0.2.10", &lines), &secure(required)).unwrap();
            let answer = text(&answer);
            assert!(answer.contains("m=audio 40000 RTP/SAVP 8\r\n"), "{answer}");
            assert_eq!(answer.matches("a=crypto:").count(), 1);
            assert!(
                answer
                    .contains("a=crypto:4 AES_CM_128_HMAC_SHA1_80 inline:CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJ\r\n")
            );
            let keys = negotiated.srtp.unwrap();
            assert_eq!(keys.send.key_and_salt(), [9; 30]);
            assert_ne!(keys.receive.key_and_salt(), keys.send.key_and_salt());
            assert!(!format!("{session:?}").contains("CQkJ"), "no key in what may be logged");
        }
    }

    #[test]
    fn what_srtp_rule_a_trunk_has_decides_which_profiles_are_taken() {
        let plain = "m=audio 4000 RTP/AVP 8".to_owned();
        let good = savp(&format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{THEIRS}"));
        let keyless = savp("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:short");
        let both = format!("{plain}\n{}", good.replace("4000", "5000"));
        for (local, lines, secure_port) in [
            (local(), &plain, Ok((false, 4_000))),
            (local(), &good, Err(Refusal::Profile)),
            (local(), &both, Ok((false, 4_000))),
            (secure(false), &plain, Ok((false, 4_000))),
            (secure(false), &good, Ok((true, 4_000))),
            (secure(false), &keyless, Err(Refusal::Crypto)),
            (secure(false), &both, Ok((true, 5_000))),
            (secure(true), &plain, Err(Refusal::Insecure)),
            (secure(true), &both, Ok((true, 5_000))),
        ] {
            let found = Session::new(7).answer(&description(1, "192.0.2.10", lines), &local);
            let found = found.map(|(_, negotiated)| (negotiated.srtp.is_some(), negotiated.remote_rtp.port()));
            assert_eq!(found, secure_port, "{lines}");
        }
    }

    #[test]
    fn our_srtp_offer_has_every_suite_and_its_answer_must_keep_to_one() {
        for (lines, expected) in [
            (savp(&format!("a=crypto:2 AES_CM_128_HMAC_SHA1_80 inline:{THEIRS}")), None),
            (savp(&format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{THEIRS}")), Some(Refusal::Crypto)),
            (savp(&format!("a=crypto:3 AES_CM_128_HMAC_SHA1_80 inline:{THEIRS}")), Some(Refusal::Crypto)),
            (savp("a=ptime:20"), Some(Refusal::Crypto)),
            ("m=audio 4000 RTP/AVP 8".to_owned(), Some(Refusal::Insecure)),
        ] {
            let mut session = Session::new(7);
            let (offer, pending) = session.offer(&secure(false));
            let offer = text(&offer);
            assert!(offer.contains("m=audio 40000 RTP/SAVP 8 0 101\r\n"), "{offer}");
            assert!(offer.contains("a=crypto:1 AEAD_AES_256_GCM ") && offer.contains("a=crypto:2 AES_CM_128_"));
            let found = pending.accept(&mut session, &description(1, "192.0.2.10", &lines));
            assert_eq!(found.as_ref().err(), expected.as_ref(), "{lines}");
            assert!(found.is_err() || found.unwrap().srtp.is_some_and(|keys| keys.send.key_and_salt() == [9; 30]));
        }
    }

    #[test]
    fn a_refresh_keeps_key_and_version_and_a_new_key_of_the_peer_is_taken() {
        let mut session = Session::new(7);
        let lines = savp(&format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{THEIRS}"));
        let (first, before) = session.answer(&description(1, "192.0.2.10", &lines), &secure(true)).unwrap();
        let (again, _) = session.answer(&description(1, "192.0.2.10", &lines), &secure(true)).unwrap();
        assert_eq!(first, again);
        let rekeyed = lines.replace("WVNf", "AAAA");
        let (answer, after) = session.answer(&description(2, "192.0.2.10", &rekeyed), &secure(true)).unwrap();
        assert_eq!(answer, first, "our key stays");
        assert_ne!(before.srtp.unwrap().receive, after.srtp.unwrap().receive);
    }

    #[test]
    fn a_later_offer_keeps_the_profile_of_the_stream() {
        let mut session = Session::new(7);
        session.answer(&description(1, "192.0.2.10", PLAIN), &secure(false)).unwrap();
        let (offer, _pending) = session.offer(&secure(false));
        assert!(text(&offer).contains(" RTP/AVP 8 0 96\r\n") && !text(&offer).contains("crypto"));
        let mut session = Session::new(7);
        let lines = savp(&format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{THEIRS}"));
        session.answer(&description(1, "192.0.2.10", &lines), &secure(false)).unwrap();
        let (offer, _pending) = session.offer(&secure(false));
        assert!(text(&offer).contains(" RTP/SAVP 8 0 101\r\n") && text(&offer).contains("a=crypto:1 "));
    }

    #[test]
    fn a_downgraded_offer_is_plain_and_of_a_new_version() {
        let mut session = Session::new(7);
        let (first, _refused) = session.offer(&secure(false));
        let (second, pending) = session.offer(&Local { srtp: None, ..secure(false) });
        assert!(text(&second).contains("RTP/AVP ") && !text(&second).contains("crypto"));
        assert_eq!(version(&second), version(&first) + 1);
        assert_eq!(
            pending.accept(&mut session, &description(1, "192.0.2.10", "m=audio 4000 RTP/AVP 8")).unwrap().srtp,
            None
        );
    }

    #[test]
    fn an_offer_while_the_peer_holds_does_not_mirror_its_hold() {
        // RFC 6337 5.3: an offerless re-INVITE is answered with what we want, not with what the peer last said.
        for held in [format!("{PLAIN}\na=sendonly"), format!("{PLAIN}\na=inactive")] {
            let mut session = Session::new(7);
            session.answer(&description(1, "192.0.2.10", &held), &local()).unwrap();
            let (offer, pending) = session.offer(&local());
            assert!(text(&offer).contains("a=sendrecv\r\n"));
            assert!(text(&offer).contains(" RTP/AVP 8 0 96\r\n"), "every codec again");
            let negotiated = pending.accept(&mut session, &description(2, "192.0.2.10", PLAIN)).unwrap();
            assert!(negotiated.send && negotiated.receive);
            let (offer, _pending) = session.offer(&Local { direction: Direction::SendOnly, ..local() });
            assert!(text(&offer).contains("a=sendonly\r\n"));
        }
    }

    #[test]
    fn each_form_of_hold_is_answered_and_lifted() {
        for (connection, attribute, answered, send, receive) in [
            ("192.0.2.10", "a=sendonly", "recvonly", false, true),
            ("192.0.2.10", "a=inactive", "inactive", false, false),
            ("192.0.2.10", "a=recvonly", "sendonly", true, false),
            ("0.0.0.0", "a=sendrecv", "recvonly", false, true),
            ("0.0.0.0", "a=sendonly", "recvonly", false, true),
            ("0.0.0.0", "a=inactive", "inactive", false, false),
        ] {
            let mut session = Session::new(7);
            session.answer(&description(1, "192.0.2.10", PLAIN), &local()).unwrap();
            let offer = description(2, connection, &format!("{PLAIN}\n{attribute}"));
            let (answer, held) = session.answer(&offer, &local()).unwrap();
            assert!(text(&answer).contains(&format!("a={answered}\r\n")), "{connection} {attribute}");
            assert_eq!((held.send, held.receive), (send, receive), "{connection} {attribute}");
            assert_eq!(held.remote_rtp.ip(), IpAddr::from([192, 0, 2, 10]));
            let (answer, resumed) = session.answer(&description(3, "192.0.2.10", PLAIN), &local()).unwrap();
            assert!(text(&answer).contains("a=sendrecv\r\n"));
            assert!(resumed.send && resumed.receive);
        }
    }

    #[test]
    fn packet_times_may_differ_by_direction() {
        let offer = description(1, "192.0.2.10", &format!("{PLAIN}\na=ptime:30"));
        let (answer, negotiated) = Session::new(7).answer(&offer, &local()).unwrap();
        assert_eq!(negotiated.ptime_ms, 30, "we send what the peer asks for");
        assert!(text(&answer).contains("a=ptime:20\r\n"), "and ask for ours");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            drop(Session::new(7).answer(&bytes, &local()));
        }

        #[test]
        fn mutations_of_a_good_offer_never_panic_and_answers_read_back(at in 0_usize..200, byte in any::<u8>(), port in any::<u16>()) {
            let mut offer = description(1, "192.0.2.10", &format!("m=audio {port} RTP/AVP 8 0 96\na=rtpmap:96 telephone-event/8000\na=rtcp:{port}\na=ptime:30"));
            if let Some(target) = offer.get_mut(at) {
                *target = byte;
            }
            if let Ok((answer, negotiated)) = Session::new(7).answer(&offer, &local()) {
                prop_assert!(sdp_types::Session::parse(&answer).is_ok());
                prop_assert_ne!(negotiated.remote_rtp.port(), 0);
                prop_assert_ne!(negotiated.remote_rtcp.port(), 0);
            }
        }
    }
}
