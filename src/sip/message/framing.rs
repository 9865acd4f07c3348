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
