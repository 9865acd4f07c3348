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
    /// A message whose mandatory headers can be read: Via, From, To, Call-ID, `CSeq`, and where present Max-Forwards
    /// and Route, Content-Type with a body, and Contact and Record-Route in responses and in requests that use them.
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
    /// `CSeq` names another method than the request line (RFC 3261 8.1.1.5).
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
        (Some(fault), _) | (None, Err(fault)) => Err((fault.into(), head.headers)),
        (None, Ok(start)) => check_and_assemble(start, head.headers, rest),
    };
    match verdict {
        Ok(message) => Admission::Message(message),
        Err((why, _)) if is_response => Admission::Drop { why },
        Err((why, headers)) => {
            let status = why.status();
            refuse_request(&head.start_line, &headers, status, why)
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
pub(crate) fn stateless_tag(headers: &Headers) -> String {
    let hash = headers
        .iter()
        .flat_map(|(_, value)| value.bytes().chain([0]))
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{hash:016x}")
}

/// The message, or what is wrong with it and the headers to refuse it with.
fn check_and_assemble(start: StartLine, headers: Headers, rest: &[u8]) -> Result<Message, (Fault, Headers)> {
    let repeated = SINGLE.iter().find_map(|name| headers.single(name).err());
    if let Some(repeated) = repeated {
        return Err((repeated.into(), headers));
    }
    let body = match Message::body(&headers, rest) {
        Ok(body) => body,
        Err(error) => return Err((error.into(), headers)),
    };
    let message = Message::assemble(start, headers, body);
    let checked = match &message {
        Message::Request(request) => check_request(request),
        Message::Response(response) => check_response(response),
    };
    match (checked, message) {
        (Ok(()), message) => Ok(message),
        (Err(fault), Message::Request(Request { headers, .. }) | Message::Response(Response { headers, .. })) => {
            Err((fault, headers))
        }
    }
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
    if !request.body.is_empty() {
        headers.content_type()?;
    }
    let is_wildcard = request.method == Method::Register && headers.get(&HeaderName::Contact) == Some("*");
    if !is_wildcard && uses_contact(&request.method) {
        headers.contacts()?;
        headers.record_routes()?;
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

/// Whether a request's Contact means something: the others carry it for nothing, and a BYE must not fail for it.
const fn uses_contact(method: &Method) -> bool {
    match method {
        Method::Invite
        | Method::Update
        | Method::Register
        | Method::Refer
        | Method::Subscribe
        | Method::Notify
        | Method::Publish
        | Method::Other(_) => true,
        Method::Ack
        | Method::Bye
        | Method::Cancel
        | Method::Options
        | Method::Prack
        | Method::Info
        | Method::Message => false,
    }
}

fn check_response(response: &Response) -> Result<(), Fault> {
    let headers = &response.headers;
    check_common(headers)?;
    headers.contacts()?;
    headers.record_routes()?;
    if !response.body.is_empty() {
        headers.content_type()?;
    }
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use proptest::prelude::*;

    use super::*;

    fn request(lines: &str) -> Vec<u8> {
        format!("OPTIONS sip:a@gw.test SIP/2.0\r\n{}\r\n\r\n", lines.trim().replace('\n', "\r\n")).into_bytes()
    }

    const GOOD: &str = "Via: SIP/2.0/UDP p.test;branch=z9hG4bK1\nFrom: <sip:b@p.test>;tag=1\nTo: <sip:a@gw.test>\nCall-ID: 1\nCSeq: 1 OPTIONS";

    fn rejected(bytes: &[u8]) -> (Response, Fault) {
        match admit(bytes) {
            Admission::Reject { response, why } => (*response, why),
            other @ (Admission::Message(_) | Admission::Drop { .. } | Admission::KeepAlive) => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_refusal_echoes_what_it_was_given_byte_for_byte() {
        let mut bytes = request(&GOOD.replace("CSeq: 1 OPTIONS", "CSeq: 1 INVITE\nVia:   SIP/2.0/TCP  q.test ; x"));
        let at = bytes.windows(10).position(|window| window == b"Call-ID: 1").unwrap();
        bytes.splice(at + 9..at + 10, *b"caf\xe9@p");
        let (response, why) = rejected(&bytes);
        assert_eq!(why, Fault::CSeqMethod);
        let wire = response.to_bytes();
        for line in [
            &b"Call-ID: caf\xe9@p\r\n"[..],
            b"Via: SIP/2.0/UDP p.test;branch=z9hG4bK1\r\n",
            b"Via: SIP/2.0/TCP  q.test ; x\r\n",
        ] {
            assert!(wire.windows(line.len()).any(|window| window == line), "{wire:?}");
        }
        assert!(wire.starts_with(b"SIP/2.0 400 Bad Request: CSeq of another method\r\n"));
    }

    #[test]
    fn copies_of_a_refused_request_get_the_same_to_tag() {
        let bytes = request(&GOOD.replace("1 OPTIONS", "1 INVITE"));
        let tag = |bytes: &[u8]| rejected(bytes).0.headers.to().unwrap().tag().map(str::to_owned);
        assert!(tag(&bytes).is_some());
        assert_eq!(tag(&bytes), tag(&bytes));
        assert_ne!(tag(&bytes), tag(&request(&GOOD.replace("1 OPTIONS", "2 INVITE"))));
    }

    #[test]
    fn each_mandatory_header_is_asked_for_by_name() {
        for name in ["From", "To", "Call-ID", "CSeq"] {
            let lines: Vec<&str> = GOOD.lines().filter(|line| !line.starts_with(name)).collect();
            let (response, why) = rejected(&request(&lines.join("\n")));
            assert_eq!(why, Fault::Header(HeaderError::Missing(HeaderName::from_wire(name))));
            assert_eq!(response.reason, format!("Bad Request: missing {name}"));
        }
    }

    #[test]
    fn more_vias_and_headers_than_the_limit_are_refused() {
        let vias = "Via: SIP/2.0/UDP p.test;branch=z9hG4bK1\n".repeat(SIP_VIAS_MAX);
        assert_eq!(rejected(&request(&format!("{vias}{GOOD}"))).1, Fault::TooManyVias);
        let many = "X: 1\n".repeat(crate::limits::SIP_HEADERS_MAX);
        assert_eq!(rejected(&request(&format!("{GOOD}\n{many}"))).1, Fault::Syntax(ParseError::TooManyHeaders));
    }

    #[test]
    fn a_bye_does_not_fail_for_a_contact_that_nobody_reads() {
        let lines = format!("{GOOD}\nContact: <sip:broken;;").replace("OPTIONS", "BYE");
        let bye = String::from_utf8(request(&lines)).unwrap().replace("OPTIONS sip", "BYE sip");
        assert_eq!(outcome(&admit(bye.as_bytes())), "message");
        let invite = bye.replace("BYE", "INVITE");
        assert_eq!(rejected(invite.as_bytes()).1, Fault::Header(HeaderError::Malformed(HeaderName::Contact)));
    }

    #[test]
    fn line_breaks_and_zeros_keep_alive() {
        for bytes in [&b""[..], b"\r\n", b"\r\n\r\n", b"\0", b"\0\0\0\0", b"\r\n\r\n\r\n\r\n"] {
            assert_eq!(admit(bytes), Admission::KeepAlive);
        }
    }

    fn rows(directory: &Path) -> Vec<(String, Vec<String>, Vec<u8>)> {
        let table = fs::read_to_string(directory.join("expectations.tsv")).unwrap();
        let rows = table.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(|line| {
            let mut columns = line.split('\t').map(str::to_owned);
            let name = columns.next().unwrap();
            let bytes = fs::read(directory.join(format!("{name}.dat"))).unwrap();
            (name, columns.collect(), bytes)
        });
        rows.collect()
    }

    fn outcome(admission: &Admission) -> String {
        match admission {
            Admission::Message(_) => "message".to_owned(),
            Admission::Reject { response, .. } => response.status.as_u16().to_string(),
            Admission::Drop { .. } => "drop".to_owned(),
            Admission::KeepAlive => "keepalive".to_owned(),
        }
    }

    #[test]
    fn our_torture_messages_are_admitted_as_their_table_says() {
        let rows = rows(Path::new("sip-tests/torture"));
        assert!(rows.len() >= 50);
        let wrong: Vec<String> = rows
            .iter()
            .map(|(name, columns, bytes)| (name, &columns[0], admit(bytes)))
            .filter(|(_, expected, admission)| outcome(admission) != **expected)
            .map(|(name, expected, admission)| format!("{name}: expected {expected}, got {admission:?}"))
            .collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    /// The messages of the RFCs themselves, which are not ours to copy.
    fn shared(name: &str) -> Option<PathBuf> {
        let shared = std::env::var_os("TANDEM_SHARED").map_or_else(|| PathBuf::from("../shared"), PathBuf::from);
        let directory = shared.join("torture").join(name);
        if !directory.is_dir() {
            println!("{} is absent: its messages are not tried", directory.display());
            return None;
        }
        Some(directory)
    }

    /// Whether a cell of the table allows what admission decided. What admission lets through, the user agent answers.
    fn allows(cell: &str, class: &str, outcome: &str) -> bool {
        if cell.starts_with("DROP") {
            return outcome == if class.starts_with("valid") { "message" } else { "drop" };
        }
        if cell.starts_with("any final != 400") {
            return outcome == "message";
        }
        let codes: Vec<&str> = cell.split(|c: char| !c.is_ascii_digit()).filter(|code| code.len() == 3).collect();
        match outcome {
            "message" => {
                let later = codes.iter().any(|code| !["400", "416", "505"].contains(code));
                later || ["valid", "ignored", "same as"].iter().any(|word| cell.contains(word))
            }
            "drop" => cell.contains("DROP"),
            code => codes.contains(&code),
        }
    }

    #[test]
    fn the_messages_of_rfc_4475_are_admitted_as_the_rfc_says() {
        let Some(directory) = shared("rfc4475") else { return };
        let rows = rows(&directory);
        assert_eq!(rows.len(), 49);
        let wrong: Vec<String> = rows
            .iter()
            .map(|(name, columns, bytes)| (name, columns, admit(bytes)))
            .filter(|(_, columns, admission)| !allows(&columns[2], &columns[1], &outcome(admission)))
            .map(|(name, columns, admission)| format!("{name}: allowed {}, got {admission:?}", columns[2]))
            .collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn the_messages_of_rfc_5118_are_admitted_but_for_the_bare_address() {
        let Some(directory) = shared("rfc5118") else { return };
        let mut count = 0;
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            // The files have bare LF, some no empty line at their end, and some a wrong Content-Length.
            let text = String::from_utf8(fs::read(&path).unwrap()).unwrap();
            let (head, body) = text.split_once("\n\n").unwrap_or((text.trim_end(), ""));
            let body = body.replace('\n', "\r\n");
            let head: Vec<&str> = head.lines().filter(|line| !line.starts_with("Content-Length")).collect();
            let bytes = format!("{}\r\nContent-Length: {}\r\n\r\n{body}", head.join("\r\n"), body.len());
            let expected = if name == "ipv6-bad" { "400" } else { "message" };
            assert_eq!(outcome(&admit(bytes.as_bytes())), expected, "{name}");
            count += 1;
        }
        assert_eq!(count, 12);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            drop(admit(&bytes));
        }

        #[test]
        fn mutations_of_a_good_request_never_panic_and_refusals_are_messages(
            at in 0_usize..600, byte in any::<u8>(), cut in 0_usize..600
        ) {
            let mut bytes = request(GOOD);
            if let Some(target) = bytes.get_mut(at) {
                *target = byte;
            }
            bytes.truncate(cut.max(1));
            if let Some(wire) = admit(&bytes).refusal_bytes() {
                prop_assert!(matches!(Message::parse(&wire), Ok(Message::Response(_))), "{:?}", wire);
            }
            if let Ok(message) = Message::parse(&bytes) {
                let wire = message.to_bytes();
                prop_assert_eq!(Message::parse(&wire).map(|again| again.to_bytes()), Ok(wire));
            }
        }

        #[test]
        fn what_is_written_reads_back_and_is_written_the_same(
            name in "[A-Za-z-]{1,12}", value in "[ -~]{0,60}", body in proptest::collection::vec(any::<u8>(), 0..80)
        ) {
            let Admission::Message(mut message) = admit(&request(GOOD)) else { panic!("the good request") };
            if let Message::Request(request) = &mut message {
                request.headers.push(HeaderName::Other(format!("X-{name}")), value);
                request.body = body.into();
            }
            let wire = message.to_bytes();
            let again = Message::parse(&wire).unwrap();
            prop_assert_eq!(again.to_bytes(), wire);
        }
    }
}
