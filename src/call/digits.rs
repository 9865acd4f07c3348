//! Digits in the body of SIP INFO: `application/dtmf-relay`, and the bare `application/dtmf`.

use crate::sip::Body;
use crate::worker::DtmfDigit;

/// How long a key is said to be pressed, in milliseconds.
const DURATION_MS: u32 = 160;

/// One digit as `application/dtmf-relay`.
pub fn relay(digit: DtmfDigit) -> Body {
    let content = format!("Signal={}\r\nDuration={DURATION_MS}\r\n", digit.as_char());
    Body { content_type: "application/dtmf-relay".to_owned(), content: content.into() }
}

/// The digit that a body bears; `None` for a hook flash, and for what is no digit.
pub fn pressed(body: &Body) -> Option<DtmfDigit> {
    let text = std::str::from_utf8(&body.content).ok()?;
    let media_type = body.content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let signal = match media_type.as_str() {
        "application/dtmf-relay" => text.lines().find_map(|line| {
            let (key, value) = line.split_once('=')?;
            key.trim().eq_ignore_ascii_case("signal").then(|| value.trim())
        })?,
        "application/dtmf" => text.trim(),
        _ => return None,
    };
    let mut keys = signal.chars();
    match (keys.next(), keys.next()) {
        (Some(key), None) => DtmfDigit::from_char(key),
        // Some peers number the star and the hash as RFC 4733 does.
        _ if signal == "10" => DtmfDigit::from_char('*'),
        _ if signal == "11" => DtmfDigit::from_char('#'),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(content_type: &str, content: &str) -> Body {
        Body { content_type: content_type.to_owned(), content: content.to_owned().into() }
    }

    #[test]
    fn what_we_write_is_what_we_read() {
        for key in "0123456789*#ABCD".chars() {
            let digit = DtmfDigit::from_char(key).unwrap();
            assert_eq!(pressed(&relay(digit)), Some(digit), "{key}");
        }
    }

    #[test]
    fn the_forms_of_other_peers_are_read() {
        let star = DtmfDigit::from_char('*');
        assert_eq!(pressed(&body("application/dtmf-relay", "Signal= *\r\nDuration= 250\r\n")), star);
        assert_eq!(pressed(&body("Application/DTMF-Relay; x=1", "signal=10\nduration=100")), star);
        assert_eq!(pressed(&body("application/dtmf", "5")), DtmfDigit::from_char('5'));
    }

    #[test]
    fn what_is_no_digit_presses_nothing() {
        for (kind, text) in [
            ("application/dtmf-relay", "Signal=hf\r\n"),
            ("application/dtmf-relay", "Duration=250\r\n"),
            ("application/dtmf", "55"),
            ("application/dtmf", ""),
            ("text/plain", "5"),
        ] {
            assert_eq!(pressed(&body(kind, text)), None, "{kind} {text}");
        }
    }
}
