//! Header field names (RFC 3261 7.3.1), with the compact forms (7.3.3).

use std::cmp::Ordering;
use std::fmt;
use std::mem::discriminant;

macro_rules! header_names {
    ($($variant:ident $name:literal $($compact:literal)?,)*) => {
        /// A header field name. Compares without regard to case; a compact form is the same name.
        #[derive(Debug, Clone)]
        #[expect(missing_docs, reason = "each variant is the header of its name")]
        pub enum HeaderName {
            $($variant,)*
            /// Any other, as written.
            Other(String),
        }

        impl HeaderName {
            const KNOWN: &'static [(&'static str, Option<&'static str>, HeaderName)] =
                &[$(($name, header_names!(@compact $($compact)?), HeaderName::$variant)),*];

            /// The name as we write it.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $name,)*
                    Self::Other(name) => name,
                }
            }
        }
    };
    (@compact $compact:literal) => { Some($compact) };
    (@compact) => { None };
}

header_names! {
    Accept "Accept",
    AcceptContact "Accept-Contact" "a",
    AcceptEncoding "Accept-Encoding",
    AcceptLanguage "Accept-Language",
    AlertInfo "Alert-Info",
    Allow "Allow",
    AllowEvents "Allow-Events" "u",
    Authorization "Authorization",
    CallId "Call-ID" "i",
    CallInfo "Call-Info",
    Contact "Contact" "m",
    ContentDisposition "Content-Disposition",
    ContentEncoding "Content-Encoding" "e",
    ContentLength "Content-Length" "l",
    ContentType "Content-Type" "c",
    CSeq "CSeq",
    Date "Date",
    Diversion "Diversion",
    Event "Event" "o",
    Expires "Expires",
    From "From" "f",
    HistoryInfo "History-Info",
    Identity "Identity" "y",
    IdentityInfo "Identity-Info" "n",
    MaxForwards "Max-Forwards",
    MimeVersion "MIME-Version",
    MinExpires "Min-Expires",
    MinSe "Min-SE",
    PAssertedIdentity "P-Asserted-Identity",
    PPreferredIdentity "P-Preferred-Identity",
    Path "Path",
    Privacy "Privacy",
    ProxyAuthenticate "Proxy-Authenticate",
    ProxyAuthorization "Proxy-Authorization",
    ProxyRequire "Proxy-Require",
    RAck "RAck",
    Reason "Reason",
    RecordRoute "Record-Route",
    ReferTo "Refer-To" "r",
    ReferredBy "Referred-By" "b",
    RejectContact "Reject-Contact" "j",
    RemotePartyId "Remote-Party-ID",
    Replaces "Replaces",
    ReplyTo "Reply-To",
    RequestDisposition "Request-Disposition" "d",
    Require "Require",
    RetryAfter "Retry-After",
    Route "Route",
    RSeq "RSeq",
    Server "Server",
    SessionExpires "Session-Expires" "x",
    SessionId "Session-ID",
    Subject "Subject" "s",
    SubscriptionState "Subscription-State",
    Supported "Supported" "k",
    Timestamp "Timestamp",
    To "To" "t",
    Unsupported "Unsupported",
    UserAgent "User-Agent",
    UserToUser "User-to-User",
    Via "Via" "v",
    Warning "Warning",
    WwwAuthenticate "WWW-Authenticate",
}

impl HeaderName {
    /// The name that `text` writes, in full or compact. Any text is a name here; tokens are checked on the wire.
    pub fn from_wire(text: &str) -> Self {
        let is_compact = text.len() == 1;
        Self::KNOWN
            .iter()
            .find(|(name, compact, _)| {
                let known = if is_compact { compact.unwrap_or_default() } else { name };
                known.eq_ignore_ascii_case(text)
            })
            .map_or_else(|| Self::Other(text.to_owned()), |(_, _, name)| name.clone())
    }
}

impl PartialEq for HeaderName {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Other(_), _) | (_, Self::Other(_)) => self.as_str().eq_ignore_ascii_case(other.as_str()),
            _ => discriminant(self) == discriminant(other),
        }
    }
}

impl Eq for HeaderName {}

impl PartialOrd for HeaderName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for HeaderName {
    fn cmp(&self, other: &Self) -> Ordering {
        let lower = |name: &Self| name.as_str().to_ascii_lowercase();
        lower(self).cmp(&lower(other))
    }
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_compare_without_case_and_compact_forms_are_known() {
        assert_eq!(HeaderName::from_wire("MaX-fOrWaRdS"), HeaderName::MaxForwards);
        assert_eq!(HeaderName::from_wire("i"), HeaderName::CallId);
        assert_eq!(HeaderName::from_wire("I"), HeaderName::CallId);
        assert_eq!(HeaderName::from_wire("x"), HeaderName::SessionExpires);
        assert_eq!(HeaderName::from_wire("X-Foo"), HeaderName::Other("x-foo".to_owned()));
        assert_ne!(HeaderName::from_wire("C%6Fntact"), HeaderName::Contact);
    }

    #[test]
    fn every_known_name_and_compact_form_reads_back() {
        for (name, compact, variant) in HeaderName::KNOWN {
            assert_eq!(&HeaderName::from_wire(name), variant);
            assert_eq!(variant.as_str(), *name);
            if let Some(compact) = compact {
                assert_eq!(&HeaderName::from_wire(compact), variant);
            }
        }
    }
}
