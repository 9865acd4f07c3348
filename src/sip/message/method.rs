//! Request methods (RFC 3261 7.1): case-sensitive tokens.

use std::fmt;

use crate::sip::message::scan;

macro_rules! methods {
    ($($(#[$doc:meta])* $variant:ident $wire:literal,)*) => {
        /// A request method. Methods are case-sensitive: `invite` is not `INVITE`.
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Method {
            $($(#[$doc])* $variant,)*
            /// Any other token.
            Other(String),
        }

        impl Method {
            /// Reads a method; `None` where `text` is no token (RFC 3261 25.1).
            pub fn parse(text: &str) -> Option<Self> {
                match text {
                    $($wire => Some(Self::$variant),)*
                    other if scan::is_token(other) => Some(Self::Other(other.to_owned())),
                    _ => None,
                }
            }

            /// The method as it stands on the wire.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $wire,)*
                    Self::Other(other) => other,
                }
            }
        }
    };
}

methods! {
    /// RFC 3261 13.
    Invite "INVITE",
    /// RFC 3261 17.1.1.3 and 13.2.2.4.
    Ack "ACK",
    /// RFC 3261 15.
    Bye "BYE",
    /// RFC 3261 9.
    Cancel "CANCEL",
    /// RFC 3261 11.
    Options "OPTIONS",
    /// RFC 3261 10.
    Register "REGISTER",
    /// RFC 3262.
    Prack "PRACK",
    /// RFC 3311.
    Update "UPDATE",
    /// RFC 6086.
    Info "INFO",
    /// RFC 3515.
    Refer "REFER",
    /// RFC 6665.
    Notify "NOTIFY",
    /// RFC 6665.
    Subscribe "SUBSCRIBE",
    /// RFC 3428.
    Message "MESSAGE",
    /// RFC 3903.
    Publish "PUBLISH",
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_case_sensitive_tokens() {
        assert_eq!(Method::parse("INVITE"), Some(Method::Invite));
        assert_eq!(Method::parse("Invite"), Some(Method::Other("Invite".to_owned())));
        assert_eq!(Method::parse("RE%47IST%45R"), Some(Method::Other("RE%47IST%45R".to_owned())));
        assert_eq!(Method::parse(""), None);
        assert_eq!(Method::parse("IN VITE"), None);
    }
}
