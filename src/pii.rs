//! Personal data that must not reach a log above DEBUG.

use std::fmt;

/// Wraps a caller's number, a name or the like: `Debug` and `Display` mask all but the last two characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pii<T>(T);

impl<T> Pii<T> {
    /// Wraps a value.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The bare value: for the wire, storage and DEBUG, never for a log line above that.
    pub const fn expose(&self) -> &T {
        &self.0
    }

    /// Takes the bare value out.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T: AsRef<str>> fmt::Display for Pii<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.as_ref();
        let masked = text.chars().count().saturating_sub(2);
        for (index, character) in text.chars().enumerate() {
            write!(f, "{}", if index < masked { '*' } else { character })?;
        }
        Ok(())
    }
}

impl<T: AsRef<str>> fmt::Debug for Pii<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pii({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_two_characters_show() {
        assert_eq!(Pii::new("+4930123456").to_string(), "*********56");
        assert_eq!(format!("{:?}", Pii::new("+4930123456")), "Pii(*********56)");
    }
}
