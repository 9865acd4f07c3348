//! Parameters of headers and URIs: `;name` and `;name=value`, in order.

use std::fmt;

use crate::sip::message::raw_text;
use crate::sip::message::scan;

/// Parameters in the order in which they came. Names compare without regard to case.
///
/// Values are kept as written, a quoted string with its quotes.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Params(Vec<(String, Option<String>)>);

impl Params {
    /// No parameters.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Reads header parameters: nothing, or `;name[=value]` repeated, with white space allowed around `;` and `=`.
    pub(crate) fn parse_header(text: &str) -> Option<Self> {
        let text = scan::trim(text);
        if text.is_empty() {
            return Some(Self::new());
        }
        header_params(text.strip_prefix(';')?).map(|param| param.map(owned)).collect::<Option<_>>().map(Self)
    }

    /// The value of one parameter in `text`, which [`Self::parse_header`] takes: for whoever needs no other.
    pub(crate) fn value_in<'a>(text: &'a str, name: &str) -> Option<&'a str> {
        header_params(text.trim_start_matches(scan::is_space).strip_prefix(';')?)
            .flatten()
            .find(|(present, _)| present.eq_ignore_ascii_case(name))?
            .1
    }

    /// Reads URI parameters, what follows the first `;`: no white space, no quotes, names may be escaped.
    pub(crate) fn parse_uri(text: &str) -> Option<Self> {
        text.split(';').map(|piece| uri_param(piece).map(owned)).collect::<Option<_>>().map(Self)
    }

    /// Whether the parameter is there, with or without a value.
    pub fn contains(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// The value as written; `None` where the parameter is absent or has none.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.find(name)?.1.as_deref()
    }

    /// The value without the quotes of a quoted string.
    pub fn unquoted(&self, name: &str) -> Option<String> {
        let value = self.value(name)?;
        let bare = scan::quoted_string(value).map_or_else(|| value.to_owned(), |(content, _)| content);
        Some(raw_text::for_people(&bare).into_owned())
    }

    /// Sets a parameter in its place, or adds it at the end. `value` is written as it stands.
    pub fn set(&mut self, name: &str, value: Option<String>) {
        match self.0.iter_mut().find(|(present, _)| present.eq_ignore_ascii_case(name)) {
            Some((_, present)) => *present = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// Takes a parameter away.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(present, _)| !present.eq_ignore_ascii_case(name));
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_deref()))
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn find(&self, name: &str) -> Option<&(String, Option<String>)> {
        self.0.iter().find(|(present, _)| present.eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(name, value)| match value {
            Some(value) => write!(f, ";{name}={value}"),
            None => write!(f, ";{name}"),
        })
    }
}

/// The parameters between the semicolons of `text`; `None` in the place of a malformed one.
fn header_params(text: &str) -> impl Iterator<Item = Option<(&str, Option<&str>)>> {
    scan::split_outside(text, b';', false).map(header_param)
}

fn owned((name, value): (&str, Option<&str>)) -> (String, Option<String>) {
    (name.to_owned(), value.map(str::to_owned))
}

fn header_param(text: &str) -> Option<(&str, Option<&str>)> {
    let Some((name, value)) = text.split_once('=') else {
        let name = scan::trim(text);
        return scan::is_token(name).then_some((name, None));
    };
    let (name, value) = (scan::trim(name), scan::trim(value));
    let is_value = match scan::after_quoted_string(value) {
        Some(rest) => rest.is_empty(),
        // Tokens, hosts and, for peers that forget the brackets, bare IPv6 addresses (RFC 5118 4.5).
        None => {
            !value.is_empty() && value.bytes().all(|byte| byte > b' ' && byte != 0x7F && !b"\"<>,;".contains(&byte))
        }
    };
    (scan::is_token(name) && is_value).then_some((name, Some(value)))
}

fn uri_param(text: &str) -> Option<(&str, Option<&str>)> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (text, None),
    };
    (!name.is_empty()).then_some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_and_quoted_separators_are_taken() {
        let params = Params::parse_header(r#" ; tag  = 98asjd8 ; text="a;b=c" ; flag"#).unwrap();
        assert_eq!(params.value("TAG"), Some("98asjd8"));
        assert_eq!(params.unquoted("text").as_deref(), Some("a;b=c"));
        assert!(params.contains("flag"));
        assert_eq!(params.value("flag"), None);
        assert_eq!(params.to_string(), r#";tag=98asjd8;text="a;b=c";flag"#);
    }

    #[test]
    fn empty_parameters_are_refused() {
        for text in [";", ";;", ";a;;b", ";a=", "a", ";=b", ";a=\"open", ";a=b c", ";a=<b>"] {
            assert_eq!(Params::parse_header(text), None, "{text}");
        }
    }

    #[test]
    fn a_parameter_is_replaced_in_its_place() {
        let mut params = Params::parse_header(";rport;branch=z").unwrap();
        params.set("rport", Some("5060".to_owned()));
        params.set("received", Some("192.0.2.1".to_owned()));
        assert_eq!(params.to_string(), ";rport=5060;branch=z;received=192.0.2.1");
        params.remove("RPORT");
        assert_eq!(params.to_string(), ";branch=z;received=192.0.2.1");
    }
}
