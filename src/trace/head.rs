//! What the trace must know of a SIP message: its names. Read leniently, because a broken message is traced too; what a
//! message means is decided elsewhere.

use std::ops::Range;

use crate::ids::SessionId;

/// The names in a SIP message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Head {
    /// The first line.
    pub start_line: String,
    /// The method: of a response, that of its `CSeq`.
    pub method: String,
    /// SIP's Call-ID.
    pub call_id: Option<String>,
    /// The sender's half of the Session-ID (RFC 7989 5).
    pub session: Option<SessionId>,
    /// The To header has a tag: the message belongs to a dialog, or answers a request.
    pub has_to_tag: bool,
}

impl Head {
    /// Reads a message; `None` where there is not even a first line, such as a keep-alive.
    pub fn read(message: &[u8]) -> Option<Self> {
        let (head, _) = split(message);
        let head = head.trim_ascii_start();
        let line = head.split(|byte| *byte == b'\n').next().map(<[u8]>::trim_ascii).filter(|line| !line.is_empty())?;
        let start_line = String::from_utf8_lossy(line).into_owned();
        let value = |names: &[&str]| field(head, names).map(|value| String::from_utf8_lossy(value).into_owned());
        let of_cseq = || value(&["cseq"])?.split_ascii_whitespace().nth(1).map(str::to_owned);
        let method = if start_line.starts_with("SIP/") {
            of_cseq().unwrap_or_default()
        } else {
            start_line.split(' ').next().unwrap_or_default().to_owned()
        };
        let session = value(&["session-id"]).and_then(|value| parse_session(value.split(';').next()?.trim()));
        let has_to_tag = value(&["to", "t"]).is_some_and(|to| to.to_ascii_lowercase().contains(";tag="));
        Some(Self { start_line, method, call_id: value(&["call-id", "i"]), session, has_to_tag })
    }

    /// Whether it may be the first that is seen of a call.
    pub fn may_begin_a_call(&self) -> bool {
        matches!(self.method.as_str(), "INVITE" | "CANCEL" | "ACK")
    }

    /// What a ladder says of it.
    pub fn summary(start_line: &str, method: &str) -> String {
        match start_line.strip_prefix("SIP/2.0 ") {
            Some(status) => format!("{status} ({method})"),
            None => start_line.strip_suffix(" SIP/2.0").unwrap_or(start_line).to_owned(),
        }
    }
}

fn parse_session(text: &str) -> Option<SessionId> {
    let number = u128::from_str_radix(text, 16).ok().filter(|_| text.len() == 32)?;
    Some(SessionId::from_bytes(number.to_be_bytes()))
}

/// A message's head, with the empty line that ends it, and its body.
pub fn split(message: &[u8]) -> (&[u8], &[u8]) {
    let crlf = position(message, b"\r\n\r\n", 0).map(|at| at + 4);
    let lf = position(message, b"\n\n", 0).map(|at| at + 2);
    let end = [crlf, lf].into_iter().flatten().min().unwrap_or(message.len());
    message.split_at_checked(end).unwrap_or((message, &[]))
}

/// Where `needle` stands in `bytes` at or after `from`, whatever the case of its letters.
pub fn position(bytes: &[u8], needle: &[u8], from: usize) -> Option<usize> {
    let rest = bytes.get(from..)?;
    rest.windows(needle.len().max(1)).position(|window| window.eq_ignore_ascii_case(needle)).map(|at| at + from)
}

/// The header fields of a head as ranges, each with its continuation lines (RFC 3261 7.3.1); the first is the start
/// line.
pub fn fields(head: &[u8]) -> Vec<Range<usize>> {
    let mut fields: Vec<Range<usize>> = Vec::new();
    let mut at = 0;
    for line in head.split_inclusive(|byte| *byte == b'\n') {
        let range = at..at + line.len();
        at = range.end;
        let continues = line.first().is_some_and(|byte| matches!(byte, b' ' | b'\t'));
        match fields.last_mut().filter(|_| continues) {
            Some(field) => field.end = range.end,
            None => fields.push(range),
        }
    }
    fields
}

/// Where the value of a field begins, and its name in lower case; `None` for a line without a colon.
pub fn name(field: &[u8]) -> Option<(String, usize)> {
    let colon = field.iter().position(|byte| *byte == b':')?;
    let name = String::from_utf8_lossy(field.get(..colon)?.trim_ascii()).to_ascii_lowercase();
    Some((name, colon + 1))
}

/// The first value under one of these names, given in lower case.
fn field<'a>(head: &'a [u8], names: &[&str]) -> Option<&'a [u8]> {
    fields(head).into_iter().skip(1).find_map(|range| {
        let field = head.get(range)?;
        let (name, value) = name(field)?;
        names.contains(&name.as_str()).then(|| field.get(value..)).flatten().map(<[u8]>::trim_ascii)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_a_request_are_read_in_long_and_compact_form() {
        let long = b"INVITE sip:1@h SIP/2.0\r\nTo: <sip:1@h>\r\nCall-ID : abc@h\r\nSession-ID: 000000000000000000000000000000ff;remote=00\r\nCSeq: 1 INVITE\r\n\r\nCall-ID: body";
        let head = Head::read(long).unwrap();
        assert_eq!((head.start_line.as_str(), head.method.as_str()), ("INVITE sip:1@h SIP/2.0", "INVITE"));
        assert_eq!(head.call_id.as_deref(), Some("abc@h"));
        assert_eq!(head.session.unwrap().as_bytes()[15], 0xff);
        assert!(!head.has_to_tag && head.may_begin_a_call());
        let compact = Head::read(b"BYE sip:1@h SIP/2.0\nt: <sip:1@h>;Tag=7\ni: abc\n\n").unwrap();
        assert_eq!(compact.call_id.as_deref(), Some("abc"));
        assert!(compact.has_to_tag && !compact.may_begin_a_call());
    }

    #[test]
    fn the_method_of_a_response_is_that_of_its_request() {
        let head = Head::read(b"SIP/2.0 200 OK\r\nCSeq:\r\n 7 BYE\r\n\r\n").unwrap();
        assert_eq!(Head::summary(&head.start_line, &head.method), "200 OK (BYE)");
        assert_eq!(Head::summary("BYE sip:1@h SIP/2.0", "BYE"), "BYE sip:1@h");
    }

    #[test]
    fn a_keep_alive_has_no_head() {
        assert_eq!(Head::read(b"\r\n\r\n"), None);
        assert_eq!(Head::read(b""), None);
    }
}
