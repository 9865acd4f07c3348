//! What is wrong with a configuration, in words that name file, line, column and what was expected.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use miette::NamedSource;
use miette::SourceSpan;

/// Why the configuration cannot be used. The process exits with 78 (`EX_CONFIG`).
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration {} cannot be read", path.display())]
    #[diagnostic(help("name another with --config FILE; config/tandem.example.toml shows every key"))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A key or a value is wrong.
    #[error("{place}: {message}")]
    Wrong {
        /// `file:line:column`.
        place: String,
        /// What was found, and what was expected.
        message: String,
        /// The file's text.
        #[source_code]
        text: Arc<NamedSource<String>>,
        /// Where in it.
        #[label("here")]
        span: SourceSpan,
        /// The key that was probably meant, or the like.
        #[help]
        help: Option<String>,
    },
    /// An environment variable has no place in the configuration.
    #[error("{variable}: {message}")]
    Environment {
        /// Its name.
        variable: String,
        /// What is wrong.
        message: String,
    },
    /// Something that a value names cannot be used.
    #[error("{key}: {message}")]
    Unusable {
        /// The key, as `section.key`.
        key: &'static str,
        /// What is wrong.
        message: String,
    },
}

/// The text of a configuration and where it came from.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) text: String,
}

impl Source {
    /// A complaint about `range` of this text.
    pub(super) fn wrong(&self, range: Range<usize>, message: String) -> ConfigError {
        let before = self.text.get(..range.start).unwrap_or(&self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |text| text.chars().count()) + 1;
        let place = format!("{}:{line}:{column}", self.path.display());
        let help = likely_key(&message);
        let name = self.path.display().to_string();
        ConfigError::Wrong {
            place,
            message,
            text: Arc::new(NamedSource::new(name, self.text.clone())),
            span: range.into(),
            help,
        }
    }

    /// The parser's complaint.
    pub(super) fn rejected(&self, error: &toml::de::Error) -> ConfigError {
        self.wrong(error.span().unwrap_or(0..0), error.message().replace('\n', "; "))
    }
}

/// From "unknown field `x`, expected one of `a`, `b`" the name that is nearest to `x`.
fn likely_key(message: &str) -> Option<String> {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = quoted.next().filter(|_| message.starts_with("unknown field"))?;
    let (distance, key) = quoted.map(|key| (edit_distance(unknown, key), key)).min()?;
    (distance <= 3).then(|| format!("did you mean `{key}`?"))
}

/// Levenshtein's distance, one row at a time.
fn edit_distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (index, a) in from.chars().enumerate() {
        let mut next = vec![index + 1];
        for ((b, above_left), above) in to.iter().zip(&row).zip(row.iter().skip(1)) {
            let left = next.last().copied().unwrap_or_default();
            let replaced = above_left + usize::from(a != *b);
            next.push(replaced.min(above + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_counted_in_lines_and_columns_from_one() {
        let source = Source { path: "tandem.toml".into(), text: "[sip]\nüdp = 1\n".to_owned() };
        let start = source.text.find('1').unwrap();
        let error = source.wrong(start..start + 1, "expected an address".to_owned());
        assert_eq!(error.to_string(), "tandem.toml:2:7: expected an address");
    }

    #[test]
    fn a_misspelt_key_gets_its_likely_name() {
        let message = "unknown field `upd`, expected one of `udp`, `tcp`";
        assert_eq!(likely_key(message).as_deref(), Some("did you mean `udp`?"));
        assert_eq!(likely_key("unknown field `zebra`, expected one of `udp`, `tcp`"), None);
    }
}
