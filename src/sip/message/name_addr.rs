//! `name-addr` and `addr-spec` with parameters (RFC 3261 25.1): From, To, Contact, Route and their kin.

use std::fmt;

use crate::sip::message::params::Params;
use crate::sip::message::raw_text;
use crate::sip::message::scan;
use crate::sip::message::uri::{Uri, is_bare_addr_spec};

/// A URI with an optional display name and header parameters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameAddr {
    /// The display name, unquoted; `None` where absent or empty.
    pub display_name: Option<String>,
    /// The URI.
    pub uri: Uri,
    /// The header's parameters, such as `tag`.
    pub params: Params,
}

impl NameAddr {
    /// A bare URI.
    pub fn new(uri: impl Into<Uri>) -> Self {
        Self { display_name: None, uri: uri.into(), params: Params::new() }
    }

    /// Reads one value; `None` where its syntax is broken.
    pub fn parse(text: &str) -> Option<Self> {
        let text = scan::trim(text);
        if text.starts_with('"') {
            let (name, rest) = scan::quoted_string(text)?;
            return Self::bracketed(&name, scan::trim(rest));
        }
        if let Some(at) = text.find('<') {
            let (name, rest) = text.split_at_checked(at)?;
            let name = scan::trim(name);
            // Tokens only, says the grammar; devices write much else, and only these would be ambiguous.
            let is_name =
                !name.chars().any(|c| matches!(c, ',' | ';' | '"' | '>' | '\\') || (c.is_control() && c != '\t'));
            return if is_name { Self::bracketed(name, rest) } else { None };
        }
        // Without brackets, parameters belong to the header (RFC 3261 20.10).
        let (uri, params) = match text.find(';') {
            Some(at) => text.split_at_checked(at)?,
            None => (text, ""),
        };
        let uri = uri.trim_end_matches(scan::is_space);
        if !is_bare_addr_spec(uri) {
            return None;
        }
        Some(Self { display_name: None, uri: Uri::parse(uri).ok()?, params: Params::parse_header(params)? })
    }

    fn bracketed(name: &str, rest: &str) -> Option<Self> {
        let (uri, params) = rest.strip_prefix('<')?.split_once('>')?;
        let name = raw_text::for_people(name).into_owned();
        Some(Self {
            display_name: (!name.is_empty()).then_some(name),
            uri: Uri::parse(uri).ok()?,
            params: Params::parse_header(params)?,
        })
    }

    /// The `tag` parameter of a value that [`Self::parse`] takes, read without the rest.
    pub(crate) fn tag_in(text: &str) -> Option<&str> {
        let text = scan::trim(text);
        let rest = if text.starts_with('"') { scan::after_quoted_string(text)? } else { text };
        let params = match rest.split_once('<') {
            Some((_, rest)) => rest.split_once('>')?.1,
            None => rest.get(rest.find(';')?..)?,
        };
        Params::value_in(params, "tag").filter(|tag| !tag.is_empty())
    }

    /// The `tag` parameter; `None` where absent or empty.
    pub fn tag(&self) -> Option<&str> {
        self.params.value("tag").filter(|tag| !tag.is_empty())
    }

    /// Sets the `tag` parameter.
    pub fn set_tag(&mut self, tag: &str) {
        self.params.set("tag", Some(tag.to_owned()));
    }
}

impl fmt::Display for NameAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.display_name {
            write!(f, "{} ", scan::quote(name))?;
        }
        write!(f, "<{}>{}", self.uri, self.params)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Option<String> {
        NameAddr::parse(text).unwrap_or_else(|| panic!("{text}")).display_name
    }

    #[test]
    fn display_names_parse_in_each_form() {
        assert_eq!(
            name(r#""J Rosenberg \\\""       <sip:j@a.example>  ; tag = 98"#).as_deref(),
            Some(r#"J Rosenberg \""#)
        );
        assert_eq!(name("caller<sip:caller@a.example>;tag=323").as_deref(), Some("caller"));
        assert_eq!(
            name("token1~` token2'+_ token3*%!.- <sip:m@a.example>").as_deref(),
            Some("token1~` token2'+_ token3*%!.-")
        );
        assert_eq!(name("Anna (desk) & co/1 <sip:a@b>").as_deref(), Some("Anna (desk) & co/1"));
        assert_eq!(name("<sip:a@b>"), None);
        assert_eq!(name("\"\" <sip:a@b>"), None);
        assert_eq!(name(&format!("\"M{}ller\" <sip:a@b>", raw_text::decode(b"\xfc"))).as_deref(), Some("Müller"));
    }

    #[test]
    fn a_tag_is_read_alone_as_it_is_with_the_rest() {
        for text in [
            r#""a;tag=1 \" <x>" <sip:b@c;tag=2>  ; q=1 ; TAG = 3"#,
            "<sip:b@c;tag=2>",
            "sip:b@c;tag=4",
            "sip:b@c",
            r#"<sip:b@c>;x="a;tag=5";tag=6;tag=7"#,
        ] {
            assert_eq!(NameAddr::tag_in(text), NameAddr::parse(text).unwrap().tag(), "{text}");
        }
    }

    #[test]
    fn parameters_outside_brackets_belong_to_the_header() {
        let bare = NameAddr::parse("sip:+1972@gw.example;unknownparam").unwrap();
        assert_eq!(bare.params.to_string(), ";unknownparam");
        assert_eq!(bare.uri.to_string(), "sip:+1972@gw.example");
        let bracketed = NameAddr::parse("<sip:+1972@gw.example;unknownparam>").unwrap();
        assert!(bracketed.params.is_empty());
        assert_eq!(bracketed.uri.to_string(), "sip:+1972@gw.example;unknownparam");
    }

    #[test]
    fn broken_values_are_refused() {
        for text in [
            "",
            "\"Mr. J. User <sip:j@a.example>",
            "Bell, Alexander <sip:a@b>",
            "\"Watson\" < sip:t@a.example >",
            "<sip:a@b",
            "<sip:a@b>x",
            "<sip:a@b>;;",
            "sip:user@a.example?Route=x",
            "sip:a b@c",
            "nonsense",
            "<>",
        ] {
            assert_eq!(NameAddr::parse(text), None, "{text}");
        }
    }

    #[test]
    fn display_writes_what_parses_to_the_same() {
        let text = r#""a \"b\\" <sip:x@[2001:db8::1]:5061;lr>;tag=1;q=0.3"#;
        let parsed = NameAddr::parse(text).unwrap();
        assert_eq!(parsed.to_string(), text);
        assert_eq!(NameAddr::parse(&parsed.to_string()), Some(parsed));
    }

    #[test]
    fn an_empty_tag_is_no_tag() {
        assert_eq!(NameAddr::parse("<sip:a@b>;tag").unwrap().tag(), None);
        let mut party = NameAddr::parse("<sip:a@b>").unwrap();
        party.set_tag("x1");
        assert_eq!(party.tag(), Some("x1"));
    }
}
