//! Reading the peer's description: which stream is usable, where it lives, what it allows.

use std::net::{IpAddr, SocketAddr};

use sdp_types::{AddrType, Connection, Media, NetType};

use crate::codec::TrunkCodec;
use crate::limits::{SDP_BYTES_MAX, SDP_MEDIA_MAX};
use crate::sdp::Local;
use crate::sdp::Refusal;
use crate::sdp::codecs::Format;
use crate::sdp::codecs::formats;
use crate::sdp::crypto;
use crate::sdp::crypto::Crypto;
use crate::sdp::crypto::Srtp;
use crate::sdp::hold::Direction;

/// The peer's audio stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stream {
    pub(crate) rtp: SocketAddr,
    pub(crate) rtcp: SocketAddr,
    pub(crate) rtcp_mux: bool,
    /// Audio formats that we know, in the peer's order.
    pub(crate) audio: Vec<(u8, TrunkCodec)>,
    pub(crate) telephone_event: Option<u8>,
    /// As the peer says it of itself, hold by `c=0.0.0.0` included.
    pub(crate) direction: Direction,
    /// `c=0.0.0.0` or `c=::`: the address says nothing.
    pub(crate) address_withdrawn: bool,
    /// The keys that the peer offers, or answers with, where the line is SRTP.
    pub(crate) crypto: Option<Vec<Crypto>>,
}

/// Reads a description within our limits.
pub(crate) fn parse(description: &[u8]) -> Result<sdp_types::Session, Refusal> {
    if description.len() > SDP_BYTES_MAX {
        return Err(Refusal::TooLarge);
    }
    let session = sdp_types::Session::parse(description).map_err(Refusal::Malformed)?;
    if session.medias.len() > SDP_MEDIA_MAX { Err(Refusal::TooLarge) } else { Ok(session) }
}

/// The first audio line that we can use, with its place. Otherwise, why the line that came furthest cannot be used.
pub(crate) fn first_usable(session: &sdp_types::Session, local: &Local) -> Result<(usize, Stream), Refusal> {
    let mut best = Refusal::NoAudio;
    let audio = session.medias.iter().enumerate().filter(|(_, media)| is_audio(media) && media.port != 0);
    // Where a peer offers the same twice, SRTP goes before RTP in the clear.
    let (secure, plain): (Vec<_>, Vec<_>) = audio.partition(|(_, media)| profile(media) == Some(Profile::Secure));
    for (index, media) in secure.into_iter().chain(plain) {
        match read_stream(session, media, local.address).and_then(|stream| admit(stream, local)) {
            Ok(stream) if stream.audio.iter().any(|(_, codec)| local.codecs.contains(codec)) => {
                return Ok((index, stream));
            }
            Ok(_) => best = Refusal::Codec,
            Err(refusal) if best == Refusal::NoAudio => best = refusal,
            Err(_) => {}
        }
    }
    Err(best)
}

/// Whether the trunk's rule on SRTP admits the stream.
pub(crate) fn admit(stream: Stream, local: &Local) -> Result<Stream, Refusal> {
    match (&local.srtp, &stream.crypto) {
        (None, Some(_)) => Err(Refusal::Profile),
        (Some(srtp), None) if srtp.required => Err(Refusal::Insecure),
        (Some(srtp), Some(offered)) if agreed(srtp, offered).is_none() => Err(Refusal::Crypto),
        (None | Some(_), None) | (Some(_), Some(_)) => Ok(stream),
    }
}

/// The first key of the peer, in its order, whose suite we take; and ours for it, under the peer's tag.
pub(crate) fn agreed<'a>(srtp: &Srtp, offered: &'a [Crypto]) -> Option<(Crypto, &'a Crypto)> {
    offered.iter().find_map(|theirs| {
        let ours = srtp.keys.iter().find(|ours| ours.suite() == theirs.key.suite())?;
        Some((Crypto { tag: theirs.tag, key: ours.clone() }, theirs))
    })
}

/// How a line is protected, as its profile says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Profile {
    Plain,
    Secure,
}

fn profile(media: &Media) -> Option<Profile> {
    let is = |names: [&str; 2]| names.iter().any(|name| name.eq_ignore_ascii_case(&media.proto));
    if is(["RTP/AVP", "RTP/AVPF"]) {
        Some(Profile::Plain)
    } else {
        is(["RTP/SAVP", "RTP/SAVPF"]).then_some(Profile::Secure)
    }
}

pub(crate) fn is_audio(media: &Media) -> bool {
    media.media.eq_ignore_ascii_case("audio")
}

/// Reads one audio line with a port.
pub(crate) fn read_stream(session: &sdp_types::Session, media: &Media, ours: IpAddr) -> Result<Stream, Refusal> {
    let profile = profile(media).ok_or(Refusal::Profile)?;
    let connection = media.connections.first().or(session.connection.as_ref()).ok_or(Refusal::NoConnection)?;
    let address = read_address(connection)?;
    if address.is_ipv4() != ours.is_ipv4() {
        return Err(Refusal::Network);
    }
    let rtp = SocketAddr::new(address, media.port);
    let rtcp_mux = media.attributes.iter().any(|attribute| attribute.attribute == "rtcp-mux");
    let address_withdrawn = address.is_unspecified();
    let said = direction(session, media);
    let mut stream = Stream {
        rtp,
        rtcp: if rtcp_mux { rtp } else { rtcp_address(media, rtp) },
        rtcp_mux,
        audio: Vec::new(),
        telephone_event: None,
        direction: if address_withdrawn { said.without_receiving() } else { said },
        address_withdrawn,
        crypto: (profile == Profile::Secure).then(|| crypto::read(media)),
    };
    for (payload_type, format) in formats(media) {
        match format {
            Format::Audio(codec) => stream.audio.push((payload_type, codec)),
            Format::TelephoneEvent => stream.telephone_event = stream.telephone_event.or(Some(payload_type)),
        }
    }
    Ok(stream)
}

/// Names are refused: a lookup here would let a peer choose whom we ask, and when we answer.
fn read_address(connection: &Connection) -> Result<IpAddr, Refusal> {
    if connection.nettype != NetType::In {
        return Err(Refusal::Network);
    }
    let address = connection.try_address().map_err(|_name| Refusal::AddressName)?.ip;
    let agrees = match connection.addrtype {
        AddrType::Ip4 => address.is_ipv4(),
        AddrType::Ip6 => address.is_ipv6(),
        AddrType::Other(_) => false,
    };
    let is_broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    if !agrees {
        Err(Refusal::Network)
    } else if address.is_multicast() || is_broadcast {
        Err(Refusal::Multicast)
    } else {
        Ok(address)
    }
}

/// The line's own attribute, else the session's, else sendrecv.
fn direction(session: &sdp_types::Session, media: &Media) -> Direction {
    let of = |attributes: &[sdp_types::Attribute]| {
        attributes.iter().find_map(|attribute| Direction::parse(&attribute.attribute))
    };
    of(&media.attributes).or_else(|| of(&session.attributes)).unwrap_or_default()
}

/// `a=rtcp:port [IN IP4 address]` (RFC 3605), else the next port. Only the media's own host is taken: the peer
/// cannot point our reports at somebody else.
fn rtcp_address(media: &Media, rtp: SocketAddr) -> SocketAddr {
    let value = media
        .attributes
        .iter()
        .find(|attribute| attribute.attribute == "rtcp")
        .and_then(|attribute| attribute.value.as_deref());
    let mut words = value.unwrap_or_default().split_ascii_whitespace();
    let port = words.next().and_then(|port| port.parse().ok()).filter(|port| *port != 0);
    let address = words.nth(2).map_or(Ok(rtp.ip()), str::parse);
    let named = port.filter(|_| address == Ok(rtp.ip()));
    SocketAddr::new(rtp.ip(), named.or_else(|| rtp.port().checked_add(1)).unwrap_or_else(|| rtp.port()))
}
