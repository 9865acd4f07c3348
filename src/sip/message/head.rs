//! The head of a message: start line and header lines (RFC 3261 7.1–7.3).
//!
//! This is the first code that sees bytes from the network. It keeps going after a fault, so that a refusal can
//! still name its request.

use std::borrow::Cow;

use crate::limits::SIP_HEADERS_MAX;
use crate::sip::StatusCode;
use crate::sip::message::ParseError;
use crate::sip::message::header_name::HeaderName;
use crate::sip::message::headers::Headers;
use crate::sip::message::method::Method;
use crate::sip::message::raw_text;
use crate::sip::message::scan;
use crate::sip::message::uri::Uri;

/// How many header fields room is made for at once: what most messages have.
const FIELDS_USUAL: usize = 16;

/// A head as it was read, with its first fault.
#[derive(Debug)]
pub(crate) struct Head {
    /// The first line.
    pub(crate) start_line: String,
    /// The header lines that could be read.
    pub(crate) headers: Headers,
    /// The first thing wrong with the lines.
    pub(crate) fault: Option<ParseError>,
}

/// What the first line says.
#[derive(Debug)]
pub(crate) enum StartLine {
    Request { method: Method, uri: Uri },
    Response { status: StatusCode, reason: String },
}

/// The end of the head in `bytes`: the offset just past the empty line. Begins to look at `from`.
pub(crate) fn end_of_head(bytes: &[u8], from: usize) -> Option<usize> {
    let tail = bytes.get(from..)?;
    memchr::memmem::find(tail, b"\r\n\r\n").map(|at| from + at + 4)
}

/// Reads the lines of a head. The empty line at its end may be there or not.
pub(crate) fn parse_head(bytes: &[u8]) -> Head {
    let mut lines = Lines(bytes);
    let start_line = lines.next().unwrap_or_default();
    let mut head =
        Head { start_line: raw_text::decode(start_line), headers: Headers::with_capacity(FIELDS_USUAL), fault: None };
    if has_line_break(start_line) {
        head.fault = Some(ParseError::LineBreak);
    }
    let mut field: Option<Cow<'_, [u8]>> = None;
    for line in lines.take_while(|line| !line.is_empty()) {
        if has_line_break(line) {
            head.fault.get_or_insert(ParseError::LineBreak);
        }
        if !line.starts_with(b" ") && !line.starts_with(b"\t") {
            head.take_field(field.replace(Cow::Borrowed(line)));
        } else if let Some(field) = &mut field {
            // A folded line is one space (RFC 3261 7.3.1).
            let field = field.to_mut();
            field.truncate(field.trim_ascii_end().len());
            field.push(b' ');
            field.extend_from_slice(line.trim_ascii_start());
        } else {
            head.fault.get_or_insert(ParseError::HeaderLine);
        }
    }
    head.take_field(field);
    head
}

impl Head {
    fn take_field(&mut self, line: Option<Cow<'_, [u8]>>) {
        let Some(line) = line else { return };
        if self.headers.len() == SIP_HEADERS_MAX {
            self.fault.get_or_insert(ParseError::TooManyHeaders);
            return;
        }
        let colon = memchr::memchr(b':', &line).unwrap_or(line.len());
        let (name, value) = line.split_at_checked(colon).unwrap_or_default();
        let name = std::str::from_utf8(name).unwrap_or_default().trim_end_matches(scan::is_space);
        match value.strip_prefix(b":") {
            Some(value) if scan::is_token(name) => {
                self.headers.push(HeaderName::from_wire(name), raw_text::decode(scan::trim_bytes(value)));
            }
            Some(_) | None => {
                self.fault.get_or_insert(ParseError::HeaderLine);
            }
        }
    }

    /// Whether the first line is a status line, be it good or bad. Nobody answers those.
    pub(crate) fn is_response(&self) -> bool {
        self.start_line.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("SIP/"))
    }
}

impl StartLine {
    /// Reads a first line: exactly one space between its parts.
    pub(crate) fn parse(line: &str) -> Result<Self, ParseError> {
        let (first, rest) = line.split_once(' ').ok_or(ParseError::StartLine)?;
        if first.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("SIP/")) {
            return Self::parse_status(first, rest);
        }
        let (uri, version) = rest.rsplit_once(' ').ok_or(ParseError::StartLine)?;
        if !is_version(version) {
            return Err(ParseError::StartLine);
        }
        if !version.eq_ignore_ascii_case("SIP/2.0") {
            return Err(ParseError::Version);
        }
        let method = Method::parse(first).ok_or(ParseError::StartLine)?;
        let uri = Uri::parse(uri).map_err(ParseError::RequestUri)?;
        Ok(Self::Request { method, uri })
    }

    fn parse_status(version: &str, rest: &str) -> Result<Self, ParseError> {
        if !version.eq_ignore_ascii_case("SIP/2.0") {
            return Err(ParseError::Version);
        }
        let (code, reason) = rest.split_once(' ').unwrap_or((rest, ""));
        let status = if code.len() == 3 { scan::number(code).and_then(StatusCode::new) } else { None };
        Ok(Self::Response { status: status.ok_or(ParseError::StartLine)?, reason: reason.to_owned() })
    }
}

/// Whether `text` is `SIP/` with a version number behind it, any.
fn is_version(text: &str) -> bool {
    let number =
        text.split_at_checked(4).filter(|(name, _)| name.eq_ignore_ascii_case("SIP/")).map(|(_, number)| number);
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    number.and_then(|number| number.split_once('.')).is_some_and(|(major, minor)| digits(major) && digits(minor))
}

fn has_line_break(line: &[u8]) -> bool {
    memchr::memchr2(b'\r', b'\n', line).is_some()
}

/// Lines ended by CRLF, without it.
struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let ends = memchr::memchr_iter(b'\n', self.0).filter_map(|at| at.checked_sub(1));
        let at = ends.into_iter().find(|at| self.0.get(*at) == Some(&b'\r'));
        let (line, rest) = self.0.split_at_checked(at.unwrap_or(self.0.len()))?;
        self.0 = rest.get(2..).unwrap_or_default();
        Some(line)
    }
}
