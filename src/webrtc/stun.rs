//! The one thing that a shared port must know of STUN (RFC 8489) before it knows the peer: whom a request is for.

/// Bytes of the fixed header.
const HEADER: usize = 20;
/// The magic cookie (RFC 8489 5).
const COOKIE: [u8; 4] = [0x21, 0x12, 0xA4, 0x42];
/// Binding request.
const BINDING_REQUEST: [u8; 2] = [0x00, 0x01];
/// The USERNAME attribute.
const USERNAME: [u8; 2] = [0x00, 0x06];

/// What kind of datagram arrived on a port shared by STUN, DTLS and SRTP (RFC 7983 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatagramKind {
    /// STUN: first byte 0–3.
    Stun,
    /// DTLS: first byte 20–63.
    Dtls,
    /// SRTP or SRTCP: first byte 128–191.
    Srtp,
}

/// Tells by the first byte what a datagram is; `None` for anything that we do not speak.
pub fn kind(datagram: &[u8]) -> Option<DatagramKind> {
    match datagram.first()? {
        0..=3 if datagram.len() >= HEADER => Some(DatagramKind::Stun),
        20..=63 => Some(DatagramKind::Dtls),
        128..=191 => Some(DatagramKind::Srtp),
        _ => None,
    }
}

/// The receiver's ufrag of a Binding request: the first half of USERNAME (RFC 8445 7.2.2).
pub fn local_ufrag(datagram: &[u8]) -> Option<&str> {
    let (header, mut attributes) = datagram.split_at_checked(HEADER)?;
    if !header.starts_with(&BINDING_REQUEST) || header.get(4..8)? != COOKIE {
        return None;
    }
    loop {
        let (head, rest) = attributes.split_at_checked(4)?;
        let length = usize::from(u16::from_be_bytes([*head.get(2)?, *head.get(3)?]));
        if head.starts_with(&USERNAME) {
            let username = std::str::from_utf8(rest.get(..length)?).ok()?;
            return username.split_once(':').map(|(local, _)| local);
        }
        attributes = rest.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(username: &str) -> Vec<u8> {
        let mut bytes = vec![0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42];
        bytes.extend([7; 12]);
        bytes.extend([0x80, 0x22, 0, 3, b'a', b'b', b'c', 0]); // SOFTWARE, padded
        bytes.extend([0, 6, 0, u8::try_from(username.len()).unwrap()]);
        bytes.extend(username.as_bytes());
        bytes.extend(vec![0; username.len().next_multiple_of(4) - username.len()]);
        bytes
    }

    #[test]
    fn the_first_half_of_the_username_names_the_receiver() {
        assert_eq!(local_ufrag(&request("ours:theirs")), Some("ours"));
    }

    #[test]
    fn truncated_or_foreign_messages_name_nobody() {
        let whole = request("ours:theirs");
        for length in 0..whole.len() - 1 {
            assert_eq!(local_ufrag(&whole[..length]), None, "{length}");
        }
        let mut response = whole.clone();
        response[0] = 1;
        assert_eq!(local_ufrag(&response), None);
        assert_eq!(local_ufrag(&request("no-colon")), None);
    }

    #[test]
    fn the_first_byte_tells_the_protocol() {
        assert_eq!(kind(&request("a:b")), Some(DatagramKind::Stun));
        assert_eq!(kind(&[22, 254, 253]), Some(DatagramKind::Dtls));
        assert_eq!(kind(&[128, 0]), Some(DatagramKind::Srtp));
        assert_eq!(kind(b"INVITE"), None);
        assert_eq!(kind(&[]), None);
    }
}
