//! What the trunk's peers say in text: messages, streams of them, URIs, session descriptions.

use std::net::IpAddr;
use std::net::Ipv4Addr;

use crate::sdp;
use crate::sip::message::Message;
use crate::sip::message::ParseError;
use crate::sip::message::Uri;
use crate::sip::message::framing::Framed;
use crate::sip::message::framing::StreamFramer;
use crate::sip::message::sanity;
use crate::sip::message::sanity::Admission;
use crate::trace::head::Head;
use crate::trace::mask;

/// What is admitted is written as a message that is admitted, and then no longer changes; a refusal is a message too.
pub fn sip_message(data: &[u8]) {
    match sanity::admit(data) {
        Admission::Message(message) => {
            let written = message.to_bytes();
            let Admission::Message(again) = sanity::admit(&written) else {
                panic!("what we wrote is not admitted: {:?}", String::from_utf8_lossy(&written));
            };
            assert_eq!(String::from_utf8_lossy(&again.to_bytes()), String::from_utf8_lossy(&written));
        }
        Admission::Reject { response, .. } => {
            let written = response.to_bytes();
            // It repeats the Vias of its request (RFC 3261 8.2.6.2), as many as there are.
            let read = matches!(Message::parse(&written), Ok(_) | Err(ParseError::TooManyHeaders));
            assert!(read, "our refusal is no message: {:?}", String::from_utf8_lossy(&written));
        }
        Admission::Drop { .. } | Admission::KeepAlive => {}
    }
    assert_eq!(mask::sip(data).len(), data.len(), "masking changes no length");
    let _names = Head::read(data);
}

/// A stream gives the same messages however it is cut, and holds no more than one. The first byte says where to cut.
pub fn sip_stream(data: &[u8]) {
    let Some((first, stream)) = data.split_first() else { return };
    let whole = framed(stream, stream.len().max(1));
    let pieces = framed(stream, usize::from(*first % 61) + 1);
    // A line break alone is a pong where more has come, and half a ping where not: only messages must agree.
    let messages = |framed: &[Framed]| -> Vec<Vec<u8>> {
        let message = |framed: &Framed| if let Framed::Message(bytes) = framed { Some(bytes.to_vec()) } else { None };
        framed.iter().filter_map(message).collect()
    };
    assert_eq!(messages(&whole), messages(&pieces));
    for message in messages(&whole) {
        sip_message(&message);
    }
}

fn framed(stream: &[u8], size: usize) -> Vec<Framed> {
    let mut framer = StreamFramer::new();
    let mut framed = Vec::new();
    for piece in stream.chunks(size) {
        framer.push(piece);
        while let Some(next) = framer.next() {
            framed.push(next);
        }
    }
    framed
}

/// A URI is written as one that reads the same, and is equivalent to itself.
pub fn sip_uri(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Ok(uri) = Uri::parse(&text) else { return };
    let written = uri.to_string();
    let again = Uri::parse(&written).unwrap_or_else(|error| panic!("{written:?} is not read again: {error}"));
    assert_eq!(again.to_string(), written);
    assert!(uri.is_equivalent(&again), "{text:?} is not equivalent to {written:?}");
    let _user = uri.user_unescaped();
}

/// An offer is answered or refused, never both; our answer is one that we would take, and to nobody but the offerer.
pub fn sdp(data: &[u8]) {
    let local = |port| sdp::Local {
        address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
        rtp_port: port,
        codecs: vec![sdp::TrunkCodec::Pcma, sdp::TrunkCodec::Pcmu],
        telephone_event: true,
        ptime_ms: 20,
        direction: sdp::Direction::SendRecv,
        srtp: None,
    };
    let mut session = sdp::Session::new(1);
    if let Ok((answer, negotiated)) = session.answer(data, &local(20_000)) {
        assert_ne!(negotiated.remote_rtp.port(), 0);
        assert!(!answer.is_empty());
        // The same offer again: a refresh.
        assert!(session.answer(data, &local(20_000)).is_ok());
    }
    let mut offerer = sdp::Session::new(2);
    let (offer, pending) = offerer.offer(&local(20_002));
    if let Ok(negotiated) = pending.accept(&mut offerer, data) {
        assert_ne!(negotiated.remote_rtp.port(), 0);
    }
    let mut answerer = sdp::Session::new(3);
    assert!(answerer.answer(&offer, &local(20_004)).is_ok(), "our own offer is taken");
}
