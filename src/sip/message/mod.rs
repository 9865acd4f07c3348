//! SIP messages (RFC 3261 7): framing, URIs, headers, building, admission.
//!
//! Bytes from the network go through [`sanity::admit`], which gives a message that the layers above may rely on, a
//! finished refusal, or a reason to stay silent. On streams, [`framing::StreamFramer`] stands in front of it.
//! [`Message::parse`] checks syntax only.

pub mod build;
pub mod framing;
mod head;
pub mod header_name;
pub mod headers;
pub mod host;
pub mod method;
pub mod name_addr;
pub mod params;
mod raw_text;
pub mod sanity;
pub(crate) mod scan;
mod status;
pub mod typed;
pub mod uri;
pub mod via;

use bytes::Bytes;

use crate::sip::StatusCode;
use crate::sip::message::head::StartLine;

pub use crate::sip::message::header_name::HeaderName;
pub use crate::sip::message::headers::Headers;
pub use crate::sip::message::host::Host;
pub use crate::sip::message::method::Method;
pub use crate::sip::message::name_addr::NameAddr;
pub use crate::sip::message::params::Params;
pub use crate::sip::message::typed::{CSeq, HeaderError, RAck};
pub use crate::sip::message::uri::{SipUri, TelUri, Uri, UriError};
pub use crate::sip::message::via::Via;

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A request.
    Request(Request),
    /// A response.
    Response(Response),
}

/// A request (RFC 3261 7.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The Request-URI.
    pub uri: Uri,
    /// The header fields.
    pub headers: Headers,
    /// The body.
    pub body: Bytes,
}

/// A response (RFC 3261 7.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The reason phrase; may be empty.
    pub reason: String,
    /// The header fields.
    pub headers: Headers,
    /// The body.
    pub body: Bytes,
}

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Nothing but line breaks.
    #[error("empty message")]
    Empty,
    /// No empty line after the headers.
    #[error("no end of headers")]
    NoEndOfHeaders,
    /// Neither a request line nor a status line.
    #[error("malformed start line")]
    StartLine,
    /// A version other than 2.0.
    #[error("unsupported version")]
    Version,
    /// The Request-URI is none.
    #[error("malformed Request-URI")]
    RequestUri(#[source] UriError),
    /// CR or LF alone within the head.
    #[error("line break other than CRLF")]
    LineBreak,
    /// A line without colon, or whose name is no token.
    #[error("malformed header line")]
    HeaderLine,
    /// More header lines than [`crate::limits::SIP_HEADERS_MAX`].
    #[error("too many headers")]
    TooManyHeaders,
    /// Content-Length is no number, or two differ.
    #[error("malformed Content-Length")]
    ContentLength,
    /// Content-Length says more than there is.
    #[error("body shorter than Content-Length")]
    Truncated,
}

impl Message {
    /// Reads one message from a datagram: leading line breaks are skipped, bytes past Content-Length left
    /// (RFC 3261 18.3), and without Content-Length the body reaches to the end.
    pub fn parse(datagram: &[u8]) -> Result<Self, ParseError> {
        let bytes = skip_line_breaks(datagram);
        if bytes.is_empty() {
            return Err(ParseError::Empty);
        }
        let end = head::end_of_head(bytes, 0).ok_or(ParseError::NoEndOfHeaders)?;
        let (head, rest) = bytes.split_at_checked(end).ok_or(ParseError::NoEndOfHeaders)?;
        let head = head::parse_head(head);
        if let Some(fault) = head.fault {
            return Err(fault);
        }
        let start = StartLine::parse(&head.start_line)?;
        let body = Self::body(&head.headers, rest)?;
        Ok(Self::assemble(start, head.headers, body))
    }

    /// The body that Content-Length leaves of what follows the head.
    fn body(headers: &Headers, rest: &[u8]) -> Result<Bytes, ParseError> {
        let body = match headers.content_length() {
            Ok(Some(length)) => rest.get(..length).ok_or(ParseError::Truncated)?,
            Ok(None) => rest,
            Err(_) => return Err(ParseError::ContentLength),
        };
        Ok(Bytes::copy_from_slice(body))
    }

    fn assemble(start: StartLine, headers: Headers, body: Bytes) -> Self {
        match start {
            StartLine::Request { method, uri } => Self::Request(Request { method, uri, headers, body }),
            StartLine::Response { status, reason } => Self::Response(Response { status, reason, headers, body }),
        }
    }

    /// The header fields.
    pub const fn headers(&self) -> &Headers {
        match self {
            Self::Request(request) => &request.headers,
            Self::Response(response) => &response.headers,
        }
    }

    /// The message as it goes on the wire, with the Content-Length of its body.
    pub fn to_bytes(&self) -> Bytes {
        match self {
            Self::Request(request) => request.to_bytes(),
            Self::Response(response) => response.to_bytes(),
        }
    }
}

/// Drops the line breaks that may stand before a message (RFC 3261 7.5).
fn skip_line_breaks(mut bytes: &[u8]) -> &[u8] {
    while let [b'\r' | b'\n', rest @ ..] = bytes {
        bytes = rest;
    }
    bytes
}
