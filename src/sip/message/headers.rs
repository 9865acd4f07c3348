//! The header fields of a message, in order.

use std::fmt;

use crate::sip::message::header_name::HeaderName;
use crate::sip::message::scan;
use crate::sip::message::via::Via;

/// Header fields in the order in which they came, unfolded, one entry a line.
///
/// Values are text; bytes that are not UTF-8 stand as private-use characters and leave as the bytes they were.
/// A value that is written can hold no line break: CR and LF become spaces.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers {
    fields: Vec<(HeaderName, String)>,
}

impl Headers {
    /// No fields.
    pub const fn new() -> Self {
        Self { fields: Vec::new() }
    }

    /// No fields, and room for `count`.
    pub(crate) fn with_capacity(count: usize) -> Self {
        Self { fields: Vec::with_capacity(count) }
    }

    /// The value of the first field of that name.
    pub fn get(&self, name: &HeaderName) -> Option<&str> {
        self.get_all(name).next()
    }

    /// The value of each field of that name, one a line, lists unsplit.
    pub fn get_all<'a>(&'a self, name: &HeaderName) -> impl Iterator<Item = &'a str> {
        self.fields.iter().filter(move |(present, _)| present == name).map(|(_, value)| value.as_str())
    }

    /// The values of a list header over all its lines: split at commas outside quotes and brackets, trimmed.
    ///
    /// Empty values are kept, so that a parser can refuse them.
    pub fn values(&self, name: &HeaderName) -> Vec<&str> {
        self.get_all(name).flat_map(|line| scan::split_outside(line, b',', true)).map(scan::trim).collect()
    }

    /// Whether a list header such as Require or Supported names `token`, without regard to case.
    pub fn lists(&self, name: &HeaderName, token: &str) -> bool {
        self.values(name).iter().any(|value| value.eq_ignore_ascii_case(token))
    }

    /// Whether a field of that name is there.
    pub fn contains(&self, name: &HeaderName) -> bool {
        self.get(name).is_some()
    }

    /// Adds a field at the end.
    pub fn push(&mut self, name: HeaderName, value: impl Into<String>) {
        self.fields.push((name, one_line(value.into())));
    }

    /// Adds a field above all others: a Via of ours, or a Record-Route.
    pub fn insert_top(&mut self, name: HeaderName, value: impl Into<String>) {
        self.fields.insert(0, (name, one_line(value.into())));
    }

    /// Makes this the only field of that name, in the place of the first.
    pub fn set(&mut self, name: HeaderName, value: impl Into<String>) {
        let value = one_line(value.into());
        let mut value = Some(value);
        self.fields.retain_mut(|(present, text)| {
            if *present != name {
                return true;
            }
            value.take().map(|value| *text = value).is_some()
        });
        if let Some(value) = value {
            self.fields.push((name, value));
        }
    }

    /// Takes all fields of that name away.
    pub fn remove(&mut self, name: &HeaderName) {
        self.fields.retain(|(present, _)| present != name);
    }

    /// Writes the topmost Via anew, as `received` and `rport` ask for, and leaves those below as they were.
    /// Without a Via, does nothing.
    pub fn set_top_via(&mut self, via: &Via) {
        if let Some((_, line)) = self.fields.iter_mut().find(|(name, _)| *name == HeaderName::Via) {
            let mut values = vec![via.to_string()];
            values.extend(scan::split_outside(line, b',', true).skip(1).map(|value| scan::trim(value).to_owned()));
            *line = values.join(", ");
        }
    }

    /// Appends the fields of that name from another message, as they stand.
    pub fn copy_from(&mut self, other: &Self, name: &HeaderName) {
        self.fields.extend(other.fields.iter().filter(|(present, _)| present == name).cloned());
    }

    /// All fields, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&HeaderName, &str)> {
        self.fields.iter().map(|(name, value)| (name, value.as_str()))
    }

    /// How many fields there are.
    pub const fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }
}

/// Shows the names only: values are personal data, and some are credentials.
impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.fields.iter().map(|(name, _)| name.as_str())).finish()
    }
}

/// The value on one line, without white space at its ends.
fn one_line(value: String) -> String {
    let broken = memchr::memchr2(b'\r', b'\n', value.as_bytes()).is_some();
    let value = if broken { value.replace(['\r', '\n'], " ") } else { value };
    let trimmed = scan::trim(&value);
    if trimmed.len() == value.len() { value } else { trimmed.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vias() -> Headers {
        let mut headers = Headers::new();
        headers.push(HeaderName::Via, "SIP/2.0/UDP a;branch=1, SIP/2.0/TCP b;branch=2");
        headers.push(HeaderName::To, "<sip:x@y>");
        headers.push(HeaderName::from_wire("v"), "SIP/2.0/UDP c;branch=3");
        headers
    }

    #[test]
    fn lists_span_lines_and_lines_stay_whole() {
        let headers = vias();
        assert_eq!(headers.get_all(&HeaderName::Via).count(), 2);
        assert_eq!(
            headers.values(&HeaderName::Via),
            vec!["SIP/2.0/UDP a;branch=1", "SIP/2.0/TCP b;branch=2", "SIP/2.0/UDP c;branch=3"]
        );
    }

    #[test]
    fn set_replaces_the_first_and_removes_the_rest() {
        let mut headers = vias();
        headers.set(HeaderName::Via, "x");
        assert_eq!(
            headers.iter().map(|(name, value)| (name.as_str(), value)).collect::<Vec<_>>(),
            vec![("Via", "x"), ("To", "<sip:x@y>")]
        );
        headers.set(HeaderName::From, "y");
        assert_eq!(headers.get(&HeaderName::From), Some("y"));
    }

    #[test]
    fn the_top_via_changes_alone() {
        let mut headers = vias();
        let mut top = Via::parse(headers.values(&HeaderName::Via)[0]).unwrap();
        top.set_received("192.0.2.1".parse().unwrap());
        headers.set_top_via(&top);
        assert_eq!(
            headers.get(&HeaderName::Via),
            Some("SIP/2.0/UDP a;branch=1;received=192.0.2.1, SIP/2.0/TCP b;branch=2")
        );
        assert_eq!(headers.values(&HeaderName::Via).len(), 3);
    }

    #[test]
    fn a_value_cannot_begin_a_header_of_its_own() {
        let mut headers = Headers::new();
        headers.push(HeaderName::Subject, "a\r\nRoute: <sip:evil>");
        assert_eq!(headers.get(&HeaderName::Subject), Some("a  Route: <sip:evil>"));
    }

    #[test]
    fn debug_shows_no_value() {
        assert_eq!(format!("{:?}", vias()), r#"["Via", "To", "Via"]"#);
    }
}
