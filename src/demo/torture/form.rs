//! The form in which a message is sent: as it stands in a datagram, and cut to its framing on a stream.

/// One message for a stream of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Streamed {
    /// Its length can be read: it ends where it says, and the stream goes on.
    Whole(Vec<u8>),
    /// It says more than there is: the peer waits, then closes.
    Short(Vec<u8>),
    /// Nobody can tell where it ends: the peer says 400 and closes.
    Endless(Vec<u8>),
}

/// A message that an editor kept with bare line feeds gets its line ends back, and with them its length. Such copies also
/// share one branch, as examples do: `name` makes each a transaction of its own.
pub(super) fn mended(message: Vec<u8>, name: &str) -> Vec<u8> {
    if message.windows(2).any(|pair| pair == b"\r\n") {
        return message;
    }
    let text = String::from_utf8_lossy(&message).into_owned();
    let (head, body) = text.split_once("\n\n").unwrap_or((text.trim_end_matches('\n'), ""));
    let body = body.replace('\n', "\r\n");
    let head = head.replacen(";branch=z9hG4bK", &format!(";branch=z9hG4bK{name}-"), 1);
    let lines = head.lines().map(|line| {
        let is_length = name_of(line.as_bytes()).is_some_and(|name| is_length(&name));
        if is_length { format!("Content-Length: {}\r\n", body.len()) } else { format!("{line}\r\n") }
    });
    format!("{}\r\n{body}", lines.collect::<String>()).into_bytes()
}

/// Cuts a message where its own length says. Without a length it gets one: on a stream it must have it (RFC 3261 18.3).
pub(super) fn streamed(message: &[u8]) -> Streamed {
    if message.iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
        return Streamed::Whole(message.to_vec());
    }
    let Some(end) = message.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Streamed::Short(message.to_vec());
    };
    let (head, body) = message.split_at(end + 4);
    let lengths = lengths(head);
    let first = lengths.first();
    match first {
        None => {
            let mut whole = message.get(..end + 2).unwrap_or_default().to_vec();
            whole.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
            whole.extend_from_slice(body);
            Streamed::Whole(whole)
        }
        Some(Some(length)) if lengths.iter().all(|other| other == &Some(*length)) => match body.get(..*length) {
            Some(body) => Streamed::Whole([head, body].concat()),
            // Past what any peer would wait for, it is refused at once.
            None if *length > 65_536 => Streamed::Endless(message.to_vec()),
            None => Streamed::Short(message.to_vec()),
        },
        Some(_) => Streamed::Endless(message.to_vec()),
    }
}

/// Every Content-Length of a head; `None` for one that is no number.
fn lengths(head: &[u8]) -> Vec<Option<usize>> {
    let unfolded = String::from_utf8_lossy(head).replace("\r\n ", " ").replace("\r\n\t", " ");
    let lines = unfolded.split("\r\n").skip(1);
    let named = lines.filter(|line| name_of(line.as_bytes()).is_some_and(|name| is_length(&name)));
    let values = named.filter_map(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned());
    values.map(|value| value.parse().ok().filter(|_| value.bytes().all(|byte| byte.is_ascii_digit()))).collect()
}

fn name_of(line: &[u8]) -> Option<String> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    Some(String::from_utf8_lossy(line.get(..colon)?).trim().to_ascii_lowercase())
}

fn is_length(name: &str) -> bool {
    name == "content-length" || name == "l"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(lines: &str, body: &str) -> Vec<u8> {
        format!("OPTIONS sip:a SIP/2.0\r\n{lines}\r\n{body}").into_bytes()
    }

    #[test]
    fn a_message_ends_where_its_length_says() {
        for line in ["Content-Length: 2\r\n", "l:2\r\n", "L\t:\r\n  2\r\n", "l: 2\r\nContent-Length: 2\r\n"] {
            assert_eq!(streamed(&message(line, "abINVITE")), Streamed::Whole(message(line, "ab")), "{line}");
        }
        assert_eq!(streamed(b"\r\n\r\n"), Streamed::Whole(b"\r\n\r\n".to_vec()));
    }

    #[test]
    fn a_message_without_length_gets_one() {
        assert_eq!(
            streamed(&message("X: 1\r\n", "ab")),
            Streamed::Whole(message("X: 1\r\nContent-Length: 2\r\n", "ab"))
        );
    }

    #[test]
    fn a_length_that_cannot_be_read_has_no_end_and_one_past_the_end_is_short() {
        for line in ["l: -1\r\n", "l: 1\r\nl: 2\r\n", "l: x\r\n", "l: 99999999999999999999999\r\n", "l: 99999999\r\n"] {
            assert!(matches!(streamed(&message(line, "ab")), Streamed::Endless(_)), "{line}");
        }
        assert!(matches!(streamed(&message("l: 9\r\n", "ab")), Streamed::Short(_)));
        assert!(matches!(streamed(b"OPTIONS sip:a SIP/2.0\r\nX: 1\r\n"), Streamed::Short(_)));
    }

    #[test]
    fn an_editors_copy_gets_its_line_ends_and_length_back() {
        let copy = b"OPTIONS sip:a SIP/2.0\nVia: x;branch=z9hG4bK1\nContent-Length: 9\n\na\nb\n".to_vec();
        let expected = message("Via: x;branch=z9hG4bKodd-1\r\nContent-Length: 6\r\n", "a\r\nb\r\n");
        assert_eq!(mended(copy, "odd"), expected);
        let cut = b"OPTIONS sip:a SIP/2.0\nX: 1\n".to_vec();
        assert_eq!(mended(cut, "odd"), message("X: 1\r\n", ""));
        let whole = message("l: 1\r\n", "\n");
        assert_eq!(mended(whole.clone(), "odd"), whole);
    }
}
