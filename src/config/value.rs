//! Kinds of values that the configuration writes as text: durations, address blocks, port ranges, targets.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::Deserialize;

use crate::routing::ExtensionRange;
use crate::sip::Transport;
use crate::sip::io::resolve::Place;
use crate::sip::message::Host;

macro_rules! text_value {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
        #[serde(try_from = "String")]
        pub(super) struct $name(pub(super) $inner);
    };
}

text_value! {
    /// A time span: `250ms`, `30s`, `5m`, `12h`.
    Span(Duration)
}
text_value! {
    /// An address block: `10.1.0.0/16`, or one address.
    Network((IpAddr, u8))
}
text_value! {
    /// A port range: `20000-29999`.
    Ports(RangeInclusive<u16>)
}
text_value! {
    /// A block of extensions: `1000-1999`, or one.
    Extensions(ExtensionRange)
}
text_value! {
    /// How many digits: `3`, or `8-17`.
    Digits(RangeInclusive<usize>)
}
text_value! {
    /// Where a trunk is reached: `udp:192.0.2.1:5060`, `tls:[2001:db8::1]:5061`, `tcp:pbx.example.com`,
    /// `sip:example.com`.
    Target(Place)
}

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is not a time span; expected a whole number with ms, s, m or h, such as \"30s\"");
        let unit_at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, unit) = text.split_at_checked(unit_at).ok_or_else(wrong)?;
        let number: u64 = number.parse().map_err(|_error: std::num::ParseIntError| wrong())?;
        let milliseconds = match unit {
            "ms" => Some(number),
            "s" => number.checked_mul(1_000),
            "m" => number.checked_mul(60_000),
            "h" => number.checked_mul(3_600_000),
            _ => None,
        };
        milliseconds.map(|ms| Self(Duration::from_millis(ms))).ok_or_else(wrong)
    }
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not an address block; expected such as \"192.0.2.0/24\" or \"192.0.2.7\"");
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text.as_str(), None),
        };
        let address: IpAddr = address.parse().map_err(|_error: std::net::AddrParseError| wrong())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let length = match length {
            Some(length) => length.parse().map_err(|_error: std::num::ParseIntError| wrong())?,
            None => longest,
        };
        if length > longest { Err(wrong()) } else { Ok(Self((address, length))) }
    }
}

/// `a-b`, or `a` for both.
fn ends(text: &str) -> (&str, &str) {
    text.split_once('-').map_or((text, text), |(first, last)| (first.trim(), last.trim()))
}

impl TryFrom<String> for Ports {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (first, last) = ends(&text);
        match (first.parse::<u16>(), last.parse::<u16>()) {
            (Ok(first), Ok(last)) if first > 0 && first < last => Ok(Self(first..=last)),
            _ => Err(format!("{text:?} is not a port range; expected such as \"20000-29999\"")),
        }
    }
}

impl TryFrom<String> for Extensions {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (first, last) = ends(&text);
        ExtensionRange::new(first, last).map(Self).ok_or_else(|| {
            format!("{text:?} is not a block of extensions; expected equally long numbers such as \"1000-1999\"")
        })
    }
}

impl TryFrom<String> for Digits {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (first, last) = ends(&text);
        match (first.parse::<usize>(), last.parse::<usize>()) {
            (Ok(first), Ok(last)) if first > 0 && first <= last => Ok(Self(first..=last)),
            _ => Err(format!("{text:?} is not a count of digits; expected such as \"3\" or \"8-17\"")),
        }
    }
}

impl TryFrom<String> for Target {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        place(&text).map(Self).ok_or_else(|| {
            format!(
                "{text:?} is not a target; expected \"udp:HOST:PORT\", \"tcp:HOST:PORT\", \"tls:HOST:PORT\", the same \
                 without port (DNS SRV), or \"sip:DOMAIN\" (DNS NAPTR)"
            )
        })
    }
}

/// A host with its transport; without a port the host is a name, for which there are SRV records.
fn place(text: &str) -> Option<Place> {
    let (scheme, rest) = text.split_once(':')?;
    let transport = match scheme {
        "sip" => None,
        scheme => Some(Transport::from_name(scheme).filter(|_| scheme.chars().all(|c| c.is_ascii_lowercase()))?),
    };
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port.parse().ok().filter(|port| *port > 0)?)),
        Some(_) | None => (rest, None),
    };
    let place = Place { transport, host: Host::parse(host)?, port };
    let is_name = matches!(place.host, Host::Name(_));
    let fits = if is_name { transport.is_some() || port.is_none() } else { transport.is_some() && port.is_some() };
    fits.then_some(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_units() {
        assert_eq!(Span::try_from("250ms".to_owned()), Ok(Span(Duration::from_millis(250))));
        assert_eq!(Span::try_from("12h".to_owned()), Ok(Span(Duration::from_hours(12))));
        for wrong in ["30", "s", "-1s", "1d", "99999999999999999999s", "18446744073709551615h"] {
            assert!(Span::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_block_is_no_longer_than_its_address() {
        assert_eq!(Network::try_from("10.0.0.0/8".to_owned()), Ok(Network(("10.0.0.0".parse().unwrap(), 8))));
        assert_eq!(Network::try_from("::1".to_owned()), Ok(Network(("::1".parse().unwrap(), 128))));
        for wrong in ["10.0.0.0/33", "10.0.0/8", "pbx.example.com", "10.0.0.0/"] {
            assert!(Network::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn ranges_run_upwards() {
        assert!(Ports::try_from("20000-29999".to_owned()).is_ok());
        assert!(Ports::try_from("29999-20000".to_owned()).is_err());
        assert!(Digits::try_from("8-17".to_owned()).is_ok());
        assert!(Digits::try_from("0".to_owned()).is_err());
        assert!(Extensions::try_from("1999-1000".to_owned()).is_err());
    }

    #[test]
    fn a_target_names_its_transport() {
        let place = |text: &str| Target::try_from(text.to_owned()).map(|target| target.0);
        let host = |text: &str| Host::parse(text).unwrap();
        let expected = |transport, name: &str, port| Ok(Place { transport, host: host(name), port });
        assert_eq!(place("tcp:[::1]:5070"), expected(Some(Transport::Tcp), "[::1]", Some(5070)));
        assert_eq!(place("tls:pbx.example.com:5061"), expected(Some(Transport::Tls), "pbx.example.com", Some(5061)));
        assert_eq!(place("udp:pbx.example.com"), expected(Some(Transport::Udp), "pbx.example.com", None));
        assert_eq!(place("sip:example.com"), expected(None, "example.com", None));
        let wrong = [
            "127.0.0.1:5070",
            "sctp:127.0.0.1:5070",
            "udp:127.0.0.1",
            "tcp:[::1]",
            "sip:example.com:5060",
            "udp:",
            "udp:pbx:0",
        ];
        for wrong in wrong {
            assert!(place(wrong).is_err(), "{wrong}");
        }
    }
}
