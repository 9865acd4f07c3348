//! Building messages, and their bytes.

use bytes::Bytes;

use crate::sip::Body;
use crate::sip::Refusal;
use crate::sip::StatusCode;
use crate::sip::message::Message;
use crate::sip::message::Request;
use crate::sip::message::Response;
use crate::sip::message::header_name::HeaderName;
use crate::sip::message::headers::Headers;
use crate::sip::message::method::Method;
use crate::sip::message::raw_text;
use crate::sip::message::scan;
use crate::sip::message::typed::CSeq;
use crate::sip::message::typed::reason_value;
use crate::sip::message::uri::Uri;

/// What every response copies from its request (RFC 3261 8.2.6.2).
const COPIED: [HeaderName; 5] = [HeaderName::Via, HeaderName::From, HeaderName::To, HeaderName::CallId, HeaderName::CSeq];

impl Request {
    /// A request without headers or body.
    pub const fn new(method: Method, uri: Uri) -> Self {
        Self { method, uri, headers: Headers::new(), body: Bytes::new() }
    }

    /// Adds a body with its Content-Type.
    pub fn set_body(&mut self, body: Body) {
        self.headers.set(HeaderName::ContentType, body.content_type);
        self.body = body.content;
    }

    /// The CANCEL of a pending INVITE (RFC 3261 9.1): its Request-URI, top Via, From, To, Call-ID, CSeq number and Route.
    pub fn cancel_for(invite: &Self) -> Self {
        Self::hop_by_hop(invite, Method::Cancel, invite.headers.get(&HeaderName::To))
    }

    /// The ACK of a final response that is no success (RFC 3261 17.1.1.3): as the INVITE, with the response's To.
    pub fn ack_for(invite: &Self, response: &Response) -> Self {
        Self::hop_by_hop(invite, Method::Ack, response.headers.get(&HeaderName::To))
    }

    fn hop_by_hop(invite: &Self, method: Method, to: Option<&str>) -> Self {
        let mut request = Self::new(method, invite.uri.clone());
        let headers = &mut request.headers;
        if let Some(line) = invite.headers.get(&HeaderName::Via) {
            let top = scan::split_outside(line, ',', true).into_iter().next().unwrap_or_default();
            headers.push(HeaderName::Via, scan::trim(top));
        }
        headers.push(HeaderName::MaxForwards, "70");
        headers.copy_from(&invite.headers, &HeaderName::Route);
        headers.copy_from(&invite.headers, &HeaderName::From);
        if let Some(to) = to {
            headers.push(HeaderName::To, to);
        }
        headers.copy_from(&invite.headers, &HeaderName::CallId);
        if let Ok(CSeq { number, .. }) = invite.headers.cseq() {
            headers.push(HeaderName::CSeq, CSeq { number, method: request.method.clone() }.to_string());
        }
        request
    }

    /// The request as it goes on the wire, with the Content-Length of its body.
    pub fn to_bytes(&self) -> Bytes {
        write(&format!("{} {} SIP/2.0", self.method, self.uri), &self.headers, &self.body)
    }
}

impl Response {
    /// A response to `request`: Via, From, To, Call-ID and CSeq are copied as they stand (RFC 3261 8.2.6.2), and
    /// Timestamp into a 100. The To tag is the caller's to add, with [`Response::set_to_tag`].
    pub fn for_request(request: &Request, status: StatusCode) -> Self {
        let mut response = Self::from_headers(&request.headers, status);
        if status == StatusCode::TRYING {
            response.headers.copy_from(&request.headers, &HeaderName::Timestamp);
        }
        response
    }

    /// A response from whatever headers could be read: every Via, the first of each other.
    pub(crate) fn from_headers(headers: &Headers, status: StatusCode) -> Self {
        let mut copied = Headers::new();
        for name in &COPIED {
            if *name == HeaderName::Via {
                copied.copy_from(headers, name);
            } else if let Some(value) = headers.get(name) {
                copied.push(name.clone(), value);
            }
        }
        Self { status, reason: status.reason_phrase().to_owned(), headers: copied, body: Bytes::new() }
    }

    /// A refusal with its Reason, Warning and Retry-After. `agent` names us in the Warning: a host, or a token.
    pub fn refusing(request: &Request, refusal: &Refusal, agent: &str) -> Self {
        let mut response = Self::for_request(request, refusal.status);
        if let Some(reason) = &refusal.reason {
            response.headers.push(HeaderName::Reason, reason_value(reason));
        }
        if let Some((code, text)) = &refusal.warning {
            response.headers.push(HeaderName::Warning, format!("{code:03} {agent} {}", scan::quote(text)));
        }
        if let Some(retry_after) = refusal.retry_after {
            response.headers.push(HeaderName::RetryAfter, retry_after.as_secs().to_string());
        }
        response
    }

    /// Adds our tag to To, unless the request brought one already.
    pub fn set_to_tag(&mut self, tag: &str) {
        let Ok(to) = self.headers.to() else { return };
        let present = self.headers.get(&HeaderName::To).unwrap_or_default();
        if !to.params.contains("tag") {
            // Appended, so that the value before it stays byte for byte.
            let tagged = format!("{present};tag={tag}");
            self.headers.set(HeaderName::To, tagged);
        }
    }

    /// Adds a body with its Content-Type.
    pub fn set_body(&mut self, body: Body) {
        self.headers.set(HeaderName::ContentType, body.content_type);
        self.body = body.content;
    }

    /// The response as it goes on the wire, with the Content-Length of its body.
    pub fn to_bytes(&self) -> Bytes {
        write(&format!("SIP/2.0 {} {}", self.status.as_u16(), self.reason), &self.headers, &self.body)
    }
}

impl From<Request> for Message {
    fn from(request: Request) -> Self {
        Self::Request(request)
    }
}

impl From<Response> for Message {
    fn from(response: Response) -> Self {
        Self::Response(response)
    }
}

fn write(start_line: &str, headers: &Headers, body: &[u8]) -> Bytes {
    let mut wire = Vec::with_capacity(1_024 + body.len());
    raw_text::encode(start_line, &mut wire);
    wire.extend_from_slice(b"\r\n");
    let length = body.len().to_string();
    let mut length_written = false;
    for (name, value) in headers.iter() {
        let is_length = *name == HeaderName::ContentLength;
        if is_length && length_written {
            continue;
        }
        length_written |= is_length;
        write_field(name, if is_length { &length } else { value }, &mut wire);
    }
    if !length_written {
        write_field(&HeaderName::ContentLength, &length, &mut wire);
    }
    wire.extend_from_slice(b"\r\n");
    wire.extend_from_slice(body);
    wire.into()
}

fn write_field(name: &HeaderName, value: &str, wire: &mut Vec<u8>) {
    raw_text::encode(name.as_str(), wire);
    wire.extend_from_slice(b": ");
    raw_text::encode(value, wire);
    wire.extend_from_slice(b"\r\n");
}
