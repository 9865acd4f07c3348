//! Finding messages in a stream (RFC 3261 18.3, RFC 5626 3.5.1 for keep-alives). Sans-IO.

use bytes::{Bytes, BytesMut};

use crate::limits::SIP_MESSAGE_BYTES_MAX;
use crate::sip::StatusCode;
use crate::sip::message::ParseError;
use crate::sip::message::head;

/// What a stream brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Framed {
    /// One whole message, good or bad: its framing is known, so the stream goes on.
    Message(Bytes),
    /// CRLF CRLF: answer with CRLF.
    KeepAlivePing,
    /// CRLF alone: the answer to a ping of ours, or padding before a message.
    Pong,
    /// Where the next message begins is unknown: answer with `status` and close.
    Bad {
        /// 400, or 513 for a message past [`SIP_MESSAGE_BYTES_MAX`].
        status: StatusCode,
        /// What is wrong.
        why: ParseError,
        /// The head as far as it was read, for [`crate::sip::message::sanity::refuse`].
        head: Bytes,
    },
}

/// Cuts a byte stream into messages. Content-Length is mandatory here (RFC 3261 20.14).
///
/// After each [`StreamFramer::push`], call [`StreamFramer::next`] until it gives `None`: then at most one unfinished
/// message is held, below [`SIP_MESSAGE_BYTES_MAX`].
#[derive(Debug, Default)]
pub struct StreamFramer {
    buffer: BytesMut,
    /// Bytes already searched for the end of the head.
    searched: usize,
    /// Size of the message at the front, once its head is read.
    size: Option<usize>,
    failed: bool,
}

impl StreamFramer {
    /// A framer at the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds bytes from the stream. After [`Framed::Bad`] they are dropped.
    pub fn push(&mut self, bytes: &[u8]) {
        if !self.failed {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// Takes a lone CRLF that waits at the end of what came: the answer to a ping that we sent.
    pub fn take_pong(&mut self) -> bool {
        let is_pong = &self.buffer[..] == b"\r\n";
        if is_pong {
            self.buffer.clear();
        }
        is_pong
    }

    /// Whether a message has begun and not ended: then the message timeout runs.
    pub fn is_mid_message(&self) -> bool {
        !self.failed && self.buffer.iter().any(|byte| !matches!(byte, b'\r' | b'\n'))
    }

    /// The next thing in the stream; `None` until more bytes come.
    #[expect(clippy::should_implement_trait, reason = "None is no end here: more may come after the next push")]
    pub fn next(&mut self) -> Option<Framed> {
        if self.failed {
            return None;
        }
        if self.size.is_none() {
            if let Some(keep_alive) = self.keep_alive() {
                return Some(keep_alive);
            }
            if let Err((status, why)) = self.read_head()? {
                return Some(self.fail(status, why));
            }
        }
        let size = self.size.filter(|size| *size <= self.buffer.len())?;
        self.size = None;
        self.searched = 0;
        Some(Framed::Message(self.buffer.split_to(size).freeze()))
    }

    /// Line breaks between messages. One CRLF at the end of what came waits: it may be half a ping.
    fn keep_alive(&mut self) -> Option<Framed> {
        if self.buffer.starts_with(b"\r\n\r\n") {
            drop(self.buffer.split_to(4));
            Some(Framed::KeepAlivePing)
        } else if self.buffer.starts_with(b"\r\n") && !matches!(self.buffer.get(2..), Some(b"" | b"\r")) {
            drop(self.buffer.split_to(2));
            Some(Framed::Pong)
        } else {
            None
        }
    }

    /// Learns the size of the message at the front; `None` while its head is not whole.
    fn read_head(&mut self) -> Option<Result<(), (StatusCode, ParseError)>> {
        if matches!(&self.buffer[..], b"" | b"\r" | b"\r\n" | b"\r\n\r") {
            return None;
        }
        let Some(end) = head::end_of_head(&self.buffer, self.searched.saturating_sub(3)) else {
            self.searched = self.buffer.len();
            let over = self.buffer.len() > SIP_MESSAGE_BYTES_MAX;
            return over.then_some(Err((StatusCode::MESSAGE_TOO_LARGE, ParseError::NoEndOfHeaders)));
        };
        self.searched = end;
        let parsed = head::parse_head(self.buffer.get(..end)?);
        let Ok(Some(length)) = parsed.headers.content_length() else {
            return Some(Err((StatusCode::BAD_REQUEST, ParseError::ContentLength)));
        };
        let size = end.saturating_add(length);
        if size > SIP_MESSAGE_BYTES_MAX {
            return Some(Err((StatusCode::MESSAGE_TOO_LARGE, ParseError::Truncated)));
        }
        self.size = Some(size);
        Some(Ok(()))
    }

    fn fail(&mut self, status: StatusCode, why: ParseError) -> Framed {
        self.failed = true;
        let end = if self.searched == 0 { self.buffer.len() } else { self.searched.min(self.buffer.len()) };
        let head = self.buffer.split_to(end).freeze();
        self.buffer.clear();
        Framed::Bad { status, why, head }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEAD: &str = "OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/TCP c;branch=z9hG4bK1\r\n";

    fn drain(framer: &mut StreamFramer) -> Vec<Framed> {
        std::iter::from_fn(|| framer.next()).collect()
    }

    fn frames(bytes: &[u8]) -> Vec<Framed> {
        let mut framer = StreamFramer::new();
        framer.push(bytes);
        drain(&mut framer)
    }

    fn message(length_line: &str, body: &str) -> String {
        format!("{HEAD}{length_line}\r\n\r\n{body}")
    }

    #[test]
    fn messages_follow_each_other_whatever_the_spelling_of_their_length() {
        for line in [
            "Content-Length: 3",
            "Content-Length : 3",
            "l:3",
            "L\t:\t0003",
            "content-length:\r\n 3",
            "Content-Length: 3\r\nl: 3",
        ] {
            let one = message(line, "abc");
            let found = frames(format!("{one}{one}").as_bytes());
            assert_eq!(found, vec![Framed::Message(one.clone().into()), Framed::Message(one.into())], "{line}");
        }
    }

    #[test]
    fn unknown_framing_is_bad_once_and_the_rest_is_dropped() {
        for line in [
            "X: 1",
            "Content-Length: -1",
            "Content-Length: 99999999999999999999999",
            "l: 3\r\nContent-Length: 5",
            "Content-Length: 1, 2",
            "Content-Length:",
        ] {
            let mut framer = StreamFramer::new();
            framer.push(message(line, "abc").as_bytes());
            let found = drain(&mut framer);
            let expected_head = message(line, "");
            let [Framed::Bad { status, head, .. }] = &found[..] else { panic!("{line}: {found:?}") };
            assert_eq!(status.as_u16(), 400);
            assert_eq!(head, expected_head.as_bytes());
            framer.push(message("l: 0", "").as_bytes());
            assert_eq!(framer.next(), None);
        }
    }

    #[test]
    fn a_bad_message_of_known_framing_leaves_the_stream_alone() {
        let bad = "garbage\r\nContent-Length: 2\r\n\r\nxy";
        let good = message("l: 0", "");
        assert_eq!(
            frames(format!("{bad}{good}").as_bytes()),
            vec![Framed::Message(bad.into()), Framed::Message(good.into())]
        );
    }

    #[test]
    fn a_message_past_the_limit_is_513() {
        let big = message(&format!("Content-Length: {SIP_MESSAGE_BYTES_MAX}"), "");
        assert!(matches!(&frames(big.as_bytes())[..], [Framed::Bad { status: StatusCode::MESSAGE_TOO_LARGE, .. }]));
        let endless = format!("OPTIONS sip:a@b SIP/2.0\r\nX: {}", "x".repeat(SIP_MESSAGE_BYTES_MAX));
        assert!(matches!(&frames(endless.as_bytes())[..], [Framed::Bad { status: StatusCode::MESSAGE_TOO_LARGE, .. }]));
    }

    #[test]
    fn pings_and_pongs_stand_between_messages() {
        let one = message("l: 0", "");
        let found = frames(format!("\r\n\r\n{one}\r\n{one}\r\n\r\n").as_bytes());
        let message = Framed::Message(one.into());
        assert_eq!(found, vec![Framed::KeepAlivePing, message.clone(), Framed::Pong, message, Framed::KeepAlivePing]);
    }

    #[test]
    fn half_a_ping_waits_and_is_no_message() {
        let mut framer = StreamFramer::new();
        framer.push(b"\r\n");
        assert_eq!(framer.next(), None);
        assert!(!framer.is_mid_message());
        framer.push(b"\r\n");
        assert_eq!(framer.next(), Some(Framed::KeepAlivePing));
        framer.push(b"OPTIONS");
        assert_eq!(framer.next(), None);
        assert!(framer.is_mid_message());
    }

    #[test]
    fn the_answer_to_our_ping_is_taken_before_it_becomes_half_of_another() {
        let mut framer = StreamFramer::new();
        for _ in 0..2 {
            framer.push(b"\r\n");
            assert_eq!(framer.next(), None);
            assert!(framer.take_pong());
        }
        assert!(!framer.take_pong());
        framer.push(b"OPTIONS");
        assert!(!framer.take_pong());
    }

    /// Our torture messages on a stream: a bad message is still one message wherever its length can be read.
    #[test]
    fn torture_messages_lose_the_framing_only_where_their_length_is_unknown() {
        let follower = message("l: 0", "");
        let first = |name: &str| {
            let mut bytes = std::fs::read(format!("sip-tests/torture/{name}.dat")).unwrap();
            bytes.extend_from_slice(follower.as_bytes());
            frames(&bytes)
        };
        for name in ["length-negative", "length-huge", "lengths-differ", "no-cookie"] {
            assert!(matches!(&first(name)[..], [Framed::Bad { status: StatusCode::BAD_REQUEST, .. }]), "{name}");
        }
        // It waits for the rest, and the message timeout ends it.
        assert_eq!(first("length-past-end"), []);
        for name in ["folded-everywhere", "binary-body", "quote-open", "colon-missing", "version-9", "cseq-overflow"] {
            let found = first(name);
            assert_eq!(found.len(), 2, "{name}");
            assert_eq!(found.last(), Some(&Framed::Message(follower.clone().into())), "{name}");
        }
    }

    proptest! {
        #[test]
        fn the_cuts_of_the_network_do_not_matter(sizes in proptest::collection::vec(1_usize..40, 1..60)) {
            let stream = format!("{}\r\n\r\n{}{}", message("l: 5", "he\r\no"), message("Content-Length: 0", ""), message("X: 1", ""));
            let whole = frames(stream.as_bytes());
            prop_assert_eq!(whole.len(), 4);
            let mut framer = StreamFramer::new();
            let mut pieces = Vec::new();
            let mut rest = stream.as_bytes();
            for size in sizes.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, after) = rest.split_at((*size).min(rest.len()));
                framer.push(piece);
                pieces.extend(drain(&mut framer));
                rest = after;
            }
            prop_assert_eq!(pieces, whole);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            drop(frames(&bytes));
        }
    }
}
