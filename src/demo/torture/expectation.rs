//! Reads a table of expectations: one message a line, fields parted by tabs, the header naming the columns.
//!
//! The column is called `allowed…` (status codes and a few words, for a whole gateway) or `admission` (`message`,
//! `drop`, `keepalive` or a status code, for the SIP layer alone).

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};

/// What a registrar's absence may answer to REGISTER.
const REGISTER_ANSWERS: [u16; 5] = [401, 403, 404, 405, 501];

/// What may come back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Expectation {
    /// In the table's words.
    pub(super) text: String,
    statuses: Allowed,
    /// No answer is fine.
    silence: bool,
    /// A header that the answer must have.
    header: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Allowed {
    Only(BTreeSet<u16>),
    AllBut(BTreeSet<u16>),
}

/// Names and expectations, in the table's order.
pub(super) fn read_table(text: &str) -> Result<Vec<(String, Expectation)>> {
    let header = text.lines().next().context("an empty table")?;
    let column = header.split('\t').position(|name| name.starts_with("allowed") || name.starts_with("admission"));
    let column = column.context("no column of expectations in the table's header")?;
    let rows = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    rows.map(|row| {
        let name = row.split('\t').next().unwrap_or_default();
        let words = row.split('\t').nth(column).with_context(|| format!("no expectation for {name}"))?;
        Ok((name.to_owned(), Expectation::parse(words)))
    })
    .collect()
}

impl Expectation {
    fn parse(text: &str) -> Self {
        let silent = |silence, statuses| Self { text: text.to_owned(), statuses, silence, header: None };
        if text.eq_ignore_ascii_case("keepalive") || text.to_ascii_uppercase().starts_with("DROP") {
            return silent(true, Allowed::Only(BTreeSet::new()));
        }
        if text == "message" {
            return silent(false, Allowed::AllBut(BTreeSet::from([400, 500])));
        }
        if let Some(rest) = text.strip_prefix("any final != ") {
            let but = rest.split(' ').next().unwrap_or_default();
            return silent(false, Allowed::AllBut(statuses(but)));
        }
        let mut only = statuses(&without_conditions(text));
        if text.contains("any REGISTER") {
            only.extend(REGISTER_ANSWERS);
        }
        let as_valid = text.contains("treated as valid") || text.contains("ignored");
        let statuses = if as_valid { Allowed::AllBut(BTreeSet::from([500])) } else { Allowed::Only(only) };
        let header = text.split_once(" with ").and_then(|(_, rest)| rest.split(' ').next()).map(str::to_owned);
        let header = header.filter(|name| name.starts_with(char::is_uppercase));
        Self { text: text.to_owned(), statuses, silence: text.contains("or DROP"), header }
    }

    /// Whether these answers are among what may come back for `message`.
    pub(super) fn accepts(&self, message: &[u8], finals: &BTreeSet<u16>, answers: &[String]) -> bool {
        // Nothing is ever sent in answer to a response or to an ACK.
        let unanswerable = message.starts_with(b"SIP/2.0") || message.starts_with(b"ACK ");
        if unanswerable || (answers.is_empty() && self.silence) {
            return answers.is_empty();
        }
        let allowed = |status: &u16| match &self.statuses {
            Allowed::Only(these) => these.contains(status),
            Allowed::AllBut(these) => !these.contains(status),
        };
        let named = |name: &String| {
            let line = format!("\n{}:", name.to_ascii_lowercase());
            answers.iter().any(|answer| answer.to_ascii_lowercase().contains(&line))
        };
        finals.len() == 1 && finals.iter().all(allowed) && self.header.as_ref().is_none_or(named)
    }
}

/// `(200 if registrar)` does not apply to a gateway.
fn without_conditions(text: &str) -> String {
    let mut out = String::new();
    for piece in text.split('(') {
        match piece.split_once(')') {
            Some((inside, after)) if inside.contains(" if ") => out.push_str(after),
            Some(_) | None => out.push_str(piece),
        }
        out.push(' ');
    }
    out
}

/// Every three-digit number of its own.
fn statuses(text: &str) -> BTreeSet<u16> {
    text.split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| word.len() == 3)
        .filter_map(|word| word.parse().ok())
        .filter(|status| (200..700).contains(status))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(text: &str, message: &str, answers: &[&str]) -> bool {
        let answers: Vec<String> = answers.iter().map(|&answer| format!("SIP/2.0 {answer}\r\n\r\n")).collect();
        let finals = answers
            .iter()
            .map(|answer| answer.split(' ').nth(1).unwrap().parse().unwrap())
            .filter(|&status| status >= 200);
        Expectation::parse(text).accepts(message.as_bytes(), &finals.collect(), &answers)
    }

    #[test]
    fn the_tables_words_are_understood() {
        let cases: [(&str, &[u16], &[u16]); 8] = [
            ("any final != 400,500 (e.g. 404/480)", &[200, 404, 480], &[400, 500]),
            ("501,405", &[501, 405], &[400]),
            ("same as any REGISTER; exactly ONE response", &[405, 501], &[400, 200]),
            ("400 or treated as valid (200/404)", &[400, 200, 404, 486], &[500]),
            ("400 or Date ignored", &[400, 404], &[500]),
            ("501 (method is literally RE%47IST%45R)", &[501], &[405]),
            ("405/403/404/501/401 (200 if registrar)", &[405, 401], &[200]),
            ("400 (stateless) or RFC2543 matching (200/404)", &[400, 200], &[254, 486]),
        ];
        for (text, good, bad) in cases {
            assert!(good.iter().all(|status| accepts(text, "X", &[&format!("{status} x")])), "{text}");
            assert!(!bad.iter().any(|status| accepts(text, "X", &[&format!("{status} x")])), "{text}");
            assert!(!accepts(text, "X", &[]), "{text}: silence");
            assert!(!accepts(text, "X", &["400 x", "404 x"]), "{text}: two answers");
        }
    }

    #[test]
    fn silence_is_an_answer_only_where_it_is_allowed() {
        assert!(accepts("DROP (no matching transaction)", "SIP/2.0 200 OK", &[]));
        assert!(!accepts("DROP", "INVITE", &["400 x"]));
        assert!(accepts("400 or treated as valid or DROP (file has no final blank line)", "INVITE", &[]));
        assert!(!accepts("message", "INVITE", &[]));
        assert!(accepts("message", "ACK sip:x", &[]));
        assert!(!accepts("message", "SIP/2.0 200 OK", &["404 x"]));
    }

    #[test]
    fn a_provisional_response_before_the_final_one_is_fine() {
        assert!(accepts("404", "INVITE", &["100 Trying", "404 x", "404 x"]));
        assert!(!accepts("404", "INVITE", &["100 Trying"]));
    }

    #[test]
    fn a_header_may_be_asked_for() {
        let text = "420 with Unsupported naming both Require tags";
        assert!(accepts(text, "OPTIONS", &["420 Bad Extension\r\nUnsupported: a"]));
        assert!(!accepts(text, "OPTIONS", &["420 Bad Extension"]));
    }
}
