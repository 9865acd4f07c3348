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

/// Splits at every `separator` that stands neither in a quoted string nor between `<` and `>`.
///
/// An unbalanced quote or bracket swallows the rest into the last piece, where its own parser refuses it.
/// `<` only counts where `brackets` is set: parameters have none.
pub(crate) fn split_outside<'a>(text: &'a str, separator: char, brackets: bool) -> Vec<&'a str> {
    let mut pieces: Vec<&'a str> = Vec::new();
    let mut start = 0;
    let mut quoted = false;
    let mut escaped = false;
    let mut bracketed = false;
    for (at, c) in text.char_indices() {
        if quoted {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => quoted = false,
                _ => {}
            }
            continue;
        }
        match c {
            '"' if !bracketed => quoted = true,
            '<' if brackets => bracketed = true,
            '>' if brackets => bracketed = false,
            _ if c == separator && !bracketed => {
                pieces.push(text.get(start..at).unwrap_or_default());
                start = at + c.len_utf8();
            }
            _ => {}
        }
    }
    pieces.push(text.get(start..).unwrap_or_default());
    pieces
}

/// Reads a quoted string at the start of `text`: its unescaped content, and what follows the closing quote.
pub(crate) fn quoted_string(text: &str) -> Option<(String, &str)> {
    let inner = text.strip_prefix('"')?;
    let mut content = String::new();
    let mut escaped = false;
    for (at, c) in inner.char_indices() {
        match c {
            _ if escaped => {
                content.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return Some((content, inner.get(at + 1..)?)),
            _ => content.push(c),
        }
    }
    None
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
        assert_eq!(split_outside(text, ',', true), vec![r#""a, \", b" <sip:x,y@h>"#, r#" <sip:z@h>;p="1,2""#]);
    }

    #[test]
    fn quoted_strings_unescape_and_quote_back() {
        assert_eq!(quoted_string(r#""a \"b\\" rest"#), Some((r#"a "b\"#.to_owned(), " rest")));
        assert_eq!(quoted_string(r#""open"#), None);
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
