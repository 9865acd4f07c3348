//! Session descriptions by kind.

use crate::sim::script::Shape;

/// A description of `shape`, the `version`-th of call `number`.
pub fn describe(shape: Shape, number: usize, version: u32) -> String {
    if shape == Shape::Garbage {
        return "this is no session description".to_owned();
    }
    let address = if shape == Shape::NoAddress { "0.0.0.0" } else { "192.0.2.9" };
    let port = 20_000 + 10 * number + if shape == Shape::Moved { 2 } else { 0 };
    let codecs = match shape {
        Shape::Foreign => "18\r\na=rtpmap:18 G729/8000",
        Shape::Alaw => "8 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000",
        Shape::Plain | Shape::Moved | Shape::SendOnly | Shape::Inactive | Shape::NoAddress | Shape::Garbage => {
            "0 8 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000"
        }
    };
    let direction = match shape {
        Shape::SendOnly => "sendonly",
        Shape::Inactive => "inactive",
        Shape::Plain | Shape::Alaw | Shape::Moved | Shape::NoAddress | Shape::Foreign | Shape::Garbage => "sendrecv",
    };
    format!(
        "v=0\r\no=pbx {number} {version} IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP {codecs}\r\na={direction}\r\n"
    )
}
