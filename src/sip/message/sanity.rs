//! Admission: what RFC 3261 8.2, 16.3 and 18 ask of a message before any state is made for it.
//!
//! A refusal is built without state from what could be read of the request. What needs more than the message (405,
//! 415, 420, 481, 483, 501) is the user agent's.

use bytes::Bytes;

use crate::limits::SIP_VIAS_MAX;
use crate::sip::StatusCode;
use crate::sip::message::Message;
use crate::sip::message::ParseError;
use crate::sip::message::Request;
use crate::sip::message::Response;
use crate::sip::message::head;
use crate::sip::message::head::StartLine;
use crate::sip::message::header_name::HeaderName;
use crate::sip::message::headers::Headers;
use crate::sip::message::method::Method;
use crate::sip::message::skip_line_breaks;
use crate::sip::message::typed::HeaderError;
use crate::sip::message::uri::Uri;

/// What to do with bytes from the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// A message whose mandatory headers can be read: Via, From, To, Call-ID, CSeq, and Max-Forwards, Contact,
    /// Route, Record-Route and Content-Type where present.
    Message(Message),
    /// A request that is refused: send the response, keep nothing.
    ///
    /// Its top Via may be what is broken: then the response goes to the source of the request.
    Reject {
        /// The finished response, with a To tag.
        response: Box<Response>,
        /// What is wrong, for a counter.
        why: Fault,
    },
    /// Say nothing: a bad response, a bad ACK, or nothing that could be answered.
    Drop {
        /// What is wrong, for a counter.
        why: Fault,
    },
    /// Line breaks or zeros that keep a NAT binding open.
    KeepAlive,
}

/// Why a message is not admitted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Its syntax.
    #[error(transparent)]
    Syntax(#[from] ParseError),
    /// A header.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// CSeq names another method than the request line (RFC 3261 8.1.1.5).
    #[error("CSeq of another method")]
    CSeqMethod,
    /// The Request-URI's scheme is none of sip, sips and tel.
    #[error("unsupported URI scheme")]
    Scheme,
    /// The Request-URI brings headers (RFC 3261 19.1.1).
    #[error("Request-URI with headers")]
    UriHeaders,
    /// A branch with nothing behind the magic cookie would match any other such (RFC 4475 3.2.1).
    #[error("empty branch")]
    Branch,
    /// More Via values than [`SIP_VIAS_MAX`].
    #[error("too many Via values")]
    TooManyVias,
    /// A response with a second Via is not for us (RFC 3261 8.1.3.3).
    #[error("response for another")]
    ForeignResponse,
}

impl Fault {
    /// The status of the refusal.
    const fn status(&self) -> StatusCode {
        match self {
            Self::Syntax(ParseError::Version) => StatusCode::VERSION_NOT_SUPPORTED,
            Self::Scheme => StatusCode::UNSUPPORTED_URI_SCHEME,
            Self::Syntax(_)
            | Self::Header(_)
            | Self::CSeqMethod
            | Self::UriHeaders
            | Self::Branch
            | Self::TooManyVias
            | Self::ForeignResponse => StatusCode::BAD_REQUEST,
        }
    }
}

/// Headers that may occur once. Contents that disagree are a way past whoever looked before us.
const SINGLE: [HeaderName; 11] = [
    HeaderName::From,
    HeaderName::To,
    HeaderName::CallId,
    HeaderName::CSeq,
    HeaderName::MaxForwards,
    HeaderName::ContentType,
    HeaderName::ReferTo,
    HeaderName::Replaces,
    HeaderName::RAck,
    HeaderName::RSeq,
    HeaderName::SessionExpires,
];

/// Looks at one datagram, or one message that a [`crate::sip::message::framing::StreamFramer`] cut.
pub fn admit(bytes: &[u8]) -> Admission {
    if bytes.len() <= 4 && bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        return Admission::KeepAlive;
    }
    let bytes = skip_line_breaks(bytes);
    if bytes.is_empty() {
        return Admission::KeepAlive;
    }
    let end = head::end_of_head(bytes, 0);
    let (head, rest) = bytes.split_at_checked(end.unwrap_or(bytes.len())).unwrap_or((bytes, b""));
    let head = head::parse_head(head);
    let is_response = head.is_response();
    let start = StartLine::parse(&head.start_line);
    // The version goes before all else: a message of another version may look as it likes.
    let fault = match (&start, head.fault) {
        (Err(ParseError::Version), _) => Some(ParseError::Version),
        (_, Some(fault)) => Some(fault),
        (Err(fault), None) => Some(*fault),
        (Ok(_), None) if end.is_none() => Some(ParseError::NoEndOfHeaders),
        (Ok(_), None) => None,
    };
    let verdict = match (fault, start) {
        (Some(fault), _) | (None, Err(fault)) => Err(fault.into()),
        (None, Ok(start)) => check_and_assemble(start, &head.headers, rest),
    };
    match verdict {
        Ok(message) => Admission::Message(message),
        Err(why) if is_response => Admission::Drop { why },
        Err(why) => {
            let status = why.status();
            refuse_request(&head.start_line, &head.headers, status, why)
        }
    }
}

/// A refusal for a message whose framing on a stream failed: from its head, with `status`.
pub fn refuse(head: &[u8], status: StatusCode, why: ParseError) -> Admission {
    let head = head::parse_head(skip_line_breaks(head));
    if head.is_response() {
        return Admission::Drop { why: why.into() };
    }
    refuse_request(&head.start_line, &head.headers, status, why.into())
}

fn refuse_request(start_line: &str, headers: &Headers, status: StatusCode, why: Fault) -> Admission {
    let method = start_line.split(' ').next().and_then(Method::parse);
    // No response to ACK (RFC 3261 17.1.1.2), and none that would find no way back.
    if method.is_none_or(|method| method == Method::Ack) || !headers.contains(&HeaderName::Via) {
        return Admission::Drop { why };
    }
    let mut response = Response::from_headers(headers, status);
    response.reason = format!("{}: {why}", status.reason_phrase());
    response.set_to_tag(&stateless_tag(&response.headers));
    Admission::Reject { response: Box::new(response), why }
}

/// A To tag that is the same for each copy of a request (RFC 3261 8.2.7): FNV-1a over what names it.
fn stateless_tag(headers: &Headers) -> String {
    let hash = headers.iter().flat_map(|(_, value)| value.bytes().chain([0])).fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

fn check_and_assemble(start: StartLine, headers: &Headers, rest: &[u8]) -> Result<Message, Fault> {
    for name in &SINGLE {
        headers.single(name)?;
    }
    let message = Message::assemble(start, headers.clone(), rest)?;
    match &message {
        Message::Request(request) => check_request(request)?,
        Message::Response(response) => check_response(response)?,
    }
    Ok(message)
}

fn check_common(headers: &Headers) -> Result<(), Fault> {
    if headers.values(&HeaderName::Via).len() > SIP_VIAS_MAX {
        return Err(Fault::TooManyVias);
    }
    headers.vias()?;
    headers.from()?;
    headers.to()?;
    headers.call_id()?;
    headers.cseq()?;
    headers.record_routes()?;
    headers.content_type()?;
    Ok(())
}

fn check_request(request: &Request) -> Result<(), Fault> {
    let headers = &request.headers;
    check_common(headers)?;
    if headers.cseq()?.method != request.method {
        return Err(Fault::CSeqMethod);
    }
    headers.max_forwards()?;
    headers.routes()?;
    if !(request.method == Method::Register && headers.get(&HeaderName::Contact) == Some("*")) {
        headers.contacts()?;
    }
    let top = headers.top_via()?;
    if top.branch().is_some_and(|branch| branch == crate::sip::message::via::MAGIC_COOKIE) {
        return Err(Fault::Branch);
    }
    match &request.uri {
        Uri::Sip(uri) if uri.headers.is_some() => Err(Fault::UriHeaders),
        Uri::Sip(_) | Uri::Tel(_) => Ok(()),
        Uri::Other(_) => Err(Fault::Scheme),
    }
}

fn check_response(response: &Response) -> Result<(), Fault> {
    let headers = &response.headers;
    check_common(headers)?;
    headers.contacts()?;
    if headers.values(&HeaderName::Via).len() > 1 {
        return Err(Fault::ForeignResponse);
    }
    Ok(())
}

impl Admission {
    /// The bytes to send back, where there are some.
    pub fn refusal_bytes(&self) -> Option<Bytes> {
        match self {
            Self::Reject { response, .. } => Some(response.to_bytes()),
            Self::Message(_) | Self::Drop { .. } | Self::KeepAlive => None,
        }
    }
}
