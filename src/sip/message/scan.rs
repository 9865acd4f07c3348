//! The lexical ground of RFC 3261 25.1: tokens, quoted strings, lists.

/// Whether `text` is a non-empty token.
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

/// Whether `byte` may stand in a token.
pub(crate) const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~')
}

/// Whether `c` is white space of a header value. Values are unfolded, so CR and LF do not occur.
pub(crate) const fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t')
}

/// Drops white space at both ends.
pub(crate) fn trim(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// The same for what is not text yet.
pub(crate) const fn trim_bytes(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// Splits at every `separator` that stands neither in a quoted string nor between `<` and `>`.
///
/// An unbalanced quote or bracket swallows the rest into the last piece, where its own parser refuses it.
/// `<` only counts where `brackets` is set: parameters have none. `separator` is ASCII.
pub(crate) const fn split_outside(text: &str, separator: u8, brackets: bool) -> Pieces<'_> {
    Pieces { rest: Some(text), separator, brackets }
}

/// The pieces that [`split_outside`] makes; at least one.
#[derive(Debug)]
pub(crate) struct Pieces<'a> {
    rest: Option<&'a str>,
    separator: u8,
    brackets: bool,
}

impl Pieces<'_> {
    /// Where the separator that ends the first piece of `text` stands.
    fn end_in(&self, text: &str) -> Option<usize> {
        // Most lists have one value: looking for the separator alone is much cheaper.
        memchr::memchr(self.separator, text.as_bytes())?;
        let (mut quoted, mut escaped, mut bracketed) = (false, false, false);
        text.bytes().position(|byte| {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' if !bracketed => quoted = !quoted,
                b'<' if self.brackets && !quoted => bracketed = true,
                b'>' if self.brackets && !quoted => bracketed = false,
                _ => return byte == self.separator && !quoted && !bracketed,
            }
            false
        })
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let text = self.rest.take()?;
        let Some((piece, rest)) = self.end_in(text).and_then(|at| text.split_at_checked(at)) else {
            return Some(text);
        };
        self.rest = rest.get(1..);
        Some(piece)
    }
}

/// Reads a quoted string at the start of `text`: its unescaped content, and what follows the closing quote.
pub(crate) fn quoted_string(text: &str) -> Option<(String, &str)> {
    let rest = after_quoted_string(text)?;
    let inner = text.strip_suffix(rest)?.strip_prefix('"')?.strip_suffix('"')?;
    let mut content = String::with_capacity(inner.len());
    let mut escaped = false;
    for c in inner.chars() {
        escaped = c == '\\' && !escaped;
        if !escaped {
            content.push(c);
        }
    }
    Some((content, rest))
}

/// What follows the quoted string at the start of `text`.
pub(crate) fn after_quoted_string(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('"')?;
    let mut escaped = false;
    let end = inner.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    inner.get(end? + 1..)
}

/// Writes `content` as a quoted string, with `"` and `\` escaped.
pub(crate) fn quote(content: &str) -> String {
    let mut quoted = String::with_capacity(content.len() + 2);
    quoted.push('"');
    for c in content.chars() {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

/// A decimal number without sign; `None` for anything else, and past the type's range.
pub(crate) fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_split_outside_quotes_and_brackets_only() {
        let text = r#""a, \", b" <sip:x,y@h>, <sip:z@h>;p="1,2""#;
        let split = |text| split_outside(text, b',', true).collect::<Vec<&str>>();
        assert_eq!(split(text), [r#""a, \", b" <sip:x,y@h>"#, r#" <sip:z@h>;p="1,2""#]);
        assert_eq!(split("a,,b,"), ["a", "", "b", ""]);
        assert_eq!(split(r#"a,"b,c"#), ["a", r#""b,c"#]);
    }

    #[test]
    fn quoted_strings_unescape_and_quote_back() {
        assert_eq!(quoted_string(r#""a \"b\\" rest"#), Some((r#"a "b\"#.to_owned(), " rest")));
        assert_eq!(quoted_string(r#""open"#), None);
        assert_eq!(after_quoted_string(r#""a \"b\\" rest"#), Some(" rest"));
        assert_eq!(after_quoted_string(r#""open\""#), None);
        assert_eq!(quote(r#"a "b\"#), r#""a \"b\\""#);
    }

    #[test]
    fn numbers_take_no_sign_and_do_not_wrap() {
        assert_eq!(number::<u32>("0009"), Some(9));
        assert_eq!(number::<u32>("+9"), None);
        assert_eq!(number::<u32>("-9"), None);
        assert_eq!(number::<u32>("4294967296"), None);
        assert_eq!(number::<u32>(""), None);
    }
}
