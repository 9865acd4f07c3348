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
const COPIED: [HeaderName; 5] =
    [HeaderName::Via, HeaderName::From, HeaderName::To, HeaderName::CallId, HeaderName::CSeq];

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

    /// The CANCEL of a pending INVITE (RFC 3261 9.1): its Request-URI, top Via, From, To, Call-ID, `CSeq` number and Route.
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
            let top = scan::split_outside(line, b',', true).next().unwrap_or_default();
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
        headers.copy_from(&invite.headers, &HeaderName::SessionId);
        request
    }

    /// The request as it goes on the wire, with the Content-Length of its body.
    pub fn to_bytes(&self) -> Bytes {
        write(&format!("{} {} SIP/2.0", self.method, self.uri), &self.headers, &self.body)
    }
}

impl Response {
    /// A response to `request`: Via, From, To, Call-ID and `CSeq` are copied as they stand (RFC 3261 8.2.6.2), and
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sip::Reason;

    fn invite() -> Request {
        let text = "INVITE sip:1001@gw.test SIP/2.0\r\nv: SIP/2.0/UDP p.test;branch=z9hG4bK1;rport, SIP/2.0/UDP q.test;branch=z9hG4bK2\r\n\
            Route: <sip:r.test;lr>\r\nMax-Forwards: 9\r\nf: <sip:b@p.test>;tag=1\r\nt:  \"A\"<sip:1001@gw.test>\r\ni: c1\r\nCSeq: 7 INVITE\r\n\
            Timestamp: 54\r\nContent-Type: application/sdp\r\nl: 4\r\n\r\nv=0\n";
        match Message::parse(text.as_bytes()).unwrap() {
            Message::Request(request) => request,
            Message::Response(_) => unreachable!(),
        }
    }

    #[test]
    fn a_response_copies_what_names_its_request() {
        let mut response = Response::for_request(&invite(), StatusCode::BUSY_HERE);
        response.set_to_tag("t1");
        response.set_to_tag("t2");
        let text = String::from_utf8(response.to_bytes().to_vec()).unwrap();
        assert_eq!(
            text,
            "SIP/2.0 486 Busy Here\r\nVia: SIP/2.0/UDP p.test;branch=z9hG4bK1;rport, SIP/2.0/UDP q.test;branch=z9hG4bK2\r\n\
             From: <sip:b@p.test>;tag=1\r\nTo: \"A\"<sip:1001@gw.test>;tag=t1\r\nCall-ID: c1\r\nCSeq: 7 INVITE\r\nContent-Length: 0\r\n\r\n"
        );
    }

    #[test]
    fn trying_brings_the_timestamp_back() {
        let timestamp =
            |status| Response::for_request(&invite(), status).headers.get(&HeaderName::Timestamp).map(str::to_owned);
        assert_eq!(timestamp(StatusCode::TRYING).as_deref(), Some("54"));
        assert_eq!(timestamp(StatusCode::RINGING), None);
    }

    #[test]
    fn ack_and_cancel_carry_the_top_via_and_route_of_their_invite() {
        let invite = invite();
        let mut busy = Response::for_request(&invite, StatusCode::BUSY_HERE);
        busy.set_to_tag("x");
        let ack = Request::ack_for(&invite, &busy);
        assert_eq!(ack.headers.values(&HeaderName::Via), ["SIP/2.0/UDP p.test;branch=z9hG4bK1;rport"]);
        assert_eq!(ack.headers.to().unwrap().tag(), Some("x"));
        assert_eq!(ack.headers.get(&HeaderName::CSeq), Some("7 ACK"));
        assert_eq!(ack.headers.get(&HeaderName::Route), Some("<sip:r.test;lr>"));
        let cancel = Request::cancel_for(&invite);
        assert_eq!(cancel.headers.to().unwrap().tag(), None);
        assert_eq!(cancel.headers.get(&HeaderName::CSeq), Some("7 CANCEL"));
        assert!(cancel.body.is_empty());
    }

    #[test]
    fn a_refusal_brings_reason_warning_and_retry_after() {
        let refusal = Refusal {
            status: StatusCode::NOT_ACCEPTABLE_HERE,
            reason: Some(Reason { protocol: "Q.850".to_owned(), cause: Some(88), text: None }),
            warning: Some((305, "no \"codec\" in common".to_owned())),
            retry_after: Some(Duration::from_secs(5)),
        };
        let response = Response::refusing(&invite(), &refusal, "gw.test");
        assert_eq!(response.headers.get(&HeaderName::Reason), Some("Q.850;cause=88"));
        assert_eq!(response.headers.get(&HeaderName::Warning), Some(r#"305 gw.test "no \"codec\" in common""#));
        assert_eq!(response.headers.get(&HeaderName::RetryAfter), Some("5"));
    }

    #[test]
    fn content_length_is_that_of_the_body_and_stands_once() {
        let mut request = invite();
        request.headers.push(HeaderName::ContentLength, "4");
        request.set_body(Body::sdp(&b"v=0\r\n"[..]));
        let text = String::from_utf8(request.to_bytes().to_vec()).unwrap();
        assert_eq!(text.matches("Content-Length: 5\r\n").count(), 1);
        assert_eq!(text.matches("Content-Length").count(), 1);
    }

    /// rsip reads plain messages only; on those we agree.
    #[test]
    fn plain_messages_mean_the_same_to_another_parser() {
        use rsip::prelude::{HeadersExt, ToTypedHeader, UntypedHeader};
        for (method, uri) in
            [("INVITE", "sip:1001@gw.test"), ("BYE", "sip:1001@192.0.2.1:5080"), ("OPTIONS", "sip:gw.test")]
        {
            let text = format!(
                "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP p.test:5070;branch=z9hG4bK77\r\nMax-Forwards: 70\r\n\
                 From: \"Anna\" <sip:200@p.test>;tag=f1\r\nTo: <sip:1001@gw.test>;tag=t1\r\nCall-ID: c@p\r\nCSeq: 4 {method}\r\nContent-Length: 0\r\n\r\n"
            );
            let theirs = rsip::Request::try_from(text.as_bytes()).unwrap();
            let Message::Request(ours) = Message::parse(text.as_bytes()).unwrap() else { panic!("a request") };
            assert_eq!(ours.method.as_str(), theirs.method.to_string());
            assert_eq!(ours.uri.to_string(), theirs.uri.to_string());
            assert_eq!(ours.headers.call_id().unwrap(), theirs.call_id_header().unwrap().value());
            let (from, their_from) = (ours.headers.from().unwrap(), theirs.from_header().unwrap().typed().unwrap());
            assert_eq!(
                from.display_name,
                their_from.display_name.as_deref().map(|name| name.trim_matches('"').to_owned())
            );
            assert_eq!(from.uri.to_string(), their_from.uri.to_string());
            let their_tag = their_from
                .params
                .iter()
                .find_map(|param| if let rsip::Param::Tag(tag) = param { Some(tag.value()) } else { None });
            assert_eq!(from.tag(), their_tag);
            let (cseq, their_cseq) = (ours.headers.cseq().unwrap(), theirs.cseq_header().unwrap().typed().unwrap());
            assert_eq!((cseq.number, cseq.method.as_str()), (their_cseq.seq, &*their_cseq.method.to_string()));
            let (via, their_via) = (ours.headers.top_via().unwrap(), theirs.via_header().unwrap().typed().unwrap());
            assert_eq!(via.port, their_via.uri.port().map(|port| *port.value()));
            assert_eq!(via.branch(), their_via.branch().map(rsip::param::Branch::value));
        }
    }
}
