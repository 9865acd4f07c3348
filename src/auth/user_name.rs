//! A user name in the one spelling under which budgets, sessions and audit rows know it.

use std::fmt;

use crate::limits::USER_NAME_CHARS_MAX;

/// A user name: lower case, without blanks around it, printable ASCII.
///
/// A directory compares names after Unicode preparation (RFC 4518), so many spellings meet one account; were they
/// all let through, each would have a budget of binds of its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserName(String);

impl UserName {
    /// Reads what somebody typed. None where it cannot be a user name.
    pub fn parse(typed: &str) -> Option<Self> {
        let name = typed.trim().to_ascii_lowercase();
        let fits = !name.is_empty() && name.len() <= USER_NAME_CHARS_MAX && name.chars().all(|c| c.is_ascii_graphic());
        fits.then_some(Self(name))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_name_are_one_name() {
        assert_eq!(UserName::parse(" Alice "), UserName::parse("aLICE"));
        assert_eq!(UserName::parse("alice").unwrap().as_str(), "alice");
    }

    #[test]
    fn what_the_directory_would_fold_into_a_name_is_refused() {
        for typed in ["", "  ", "al ice", "al\0ice", "alice\n", "ａlice", "älice", &"a".repeat(65)] {
            let expected = (typed == "alice\n").then(|| UserName("alice".to_owned()));
            assert_eq!(UserName::parse(typed), expected, "{typed:?}");
        }
    }
}
