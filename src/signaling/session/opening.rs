//! A socket before its session: the first message must be `session.open`, in time, with a good token.

use std::collections::VecDeque;
use std::time::Instant;

use crate::auth::Identity;
use crate::limits::{SIGNALING_MESSAGE_BYTES_MAX, SIGNALING_OPEN_TIMEOUT};
use crate::signaling::message::{ClientRequest, Frame, RequestId, Resume, failure};
use crate::signaling::{CloseCode, Error};
use crate::timer::Timers;

/// What happens to a socket that has no session yet.
#[derive(Debug)]
pub enum OpeningInput {
    /// A text frame.
    Text(String),
    /// A binary frame.
    Binary,
    /// What became of the token: whose it is, or `None` where it is not good.
    Verified(Option<Verified>),
}

/// What to do.
#[derive(Debug)]
pub enum OpeningOutput {
    /// Verify this token, and give the answer back as [`OpeningInput::Verified`].
    Verify(String),
    /// Send this text.
    Send(String),
    /// Close the socket; nothing follows.
    Close(CloseCode),
    /// The socket may have its session; nothing follows.
    Opened(Box<Opened>),
}

/// Whose a token is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The person.
    pub identity: Identity,
    /// A name of the login that the token comes from, so that its end closes the session: see `Presence::close_login`.
    pub login: Option<String>,
}

/// A `session.open` whose token is good.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The request, for its answer.
    pub id: RequestId,
    /// Who.
    pub identity: Identity,
    /// The login that the token comes from.
    pub login: Option<String>,
    /// Name and version of the client.
    pub client: String,
    /// The session to go on with.
    pub resume: Option<Resume>,
}

/// The timers of an [`Opening`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum OpeningTimer {
    /// The client must have sent `session.open`, and its token have been verified.
    Open,
}

#[derive(Debug)]
enum Phase {
    Silent,
    Verifying { id: RequestId, client: String, resume: Option<Resume> },
    Done,
}

/// The machine of a socket until its session opens.
#[derive(Debug)]
pub struct Opening {
    phase: Phase,
    timers: Timers<OpeningTimer>,
    outputs: VecDeque<OpeningOutput>,
}

impl Opening {
    /// A socket that connected at `now`.
    pub fn new(now: Instant) -> Self {
        let mut timers = Timers::default();
        timers.set(OpeningTimer::Open, now + SIGNALING_OPEN_TIMEOUT);
        Self { phase: Phase::Silent, timers, outputs: VecDeque::new() }
    }

    /// Takes one input.
    pub fn handle(&mut self, input: OpeningInput, _now: Instant) {
        match (std::mem::replace(&mut self.phase, Phase::Done), input) {
            (Phase::Silent, OpeningInput::Text(text)) => self.on_first_message(&text),
            (Phase::Verifying { id, client, resume }, OpeningInput::Verified(verified)) => match verified {
                Some(Verified { identity, login }) => {
                    self.timers.clear();
                    self.outputs.push_back(OpeningOutput::Opened(Box::new(Opened {
                        id,
                        identity,
                        login,
                        client,
                        resume,
                    })));
                }
                None => self.refuse(&id, "the token is not valid; log in again"),
            },
            (Phase::Silent | Phase::Verifying { .. }, _) => self.close(CloseCode::BadMessage),
            (Phase::Done, _) => {}
        }
    }

    fn on_first_message(&mut self, text: &str) {
        if text.len() > SIGNALING_MESSAGE_BYTES_MAX {
            return self.close(CloseCode::BadMessage);
        }
        let Frame::Request { id: Some(id), request } = Frame::read(text) else {
            return self.close(CloseCode::BadMessage);
        };
        let ClientRequest::Open(params) = *request else {
            return self.refuse(&id, "the first message must be session.open");
        };
        self.outputs.push_back(OpeningOutput::Verify(params.token));
        self.phase = Phase::Verifying { id, client: params.client, resume: params.resume };
    }

    fn refuse(&mut self, id: &RequestId, message: &str) {
        let error = Error::new("session.unauthenticated", message, false);
        self.outputs.push_back(OpeningOutput::Send(failure(id, &error)));
        self.close(CloseCode::Authentication);
    }

    fn close(&mut self, code: CloseCode) {
        self.timers.clear();
        self.outputs.push_back(OpeningOutput::Close(code));
    }

    /// Fires what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.timers.pop_due(now).is_some() {
            self.phase = Phase::Done;
            self.close(CloseCode::Authentication);
        }
    }

    /// When to call [`Self::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<(Instant, OpeningTimer)> {
        self.timers.next()
    }

    /// What to do next.
    pub fn poll_output(&mut self) -> Option<OpeningOutput> {
        self.outputs.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use std::collections::BTreeSet;
    use std::time::Duration;

    const OPEN: &str =
        r#"{"jsonrpc":"2.0","id":"o","method":"session.open","params":{"token":"good","client":"test/1"}}"#;

    fn verified() -> Verified {
        let identity = Identity {
            user: "alice".into(),
            display_name: "Alice".into(),
            extension: None,
            number: None,
            roles: BTreeSet::new(),
        };
        Verified { identity, login: None }
    }

    fn started() -> (Opening, Instant) {
        let now = Clock::system().now();
        (Opening::new(now), now)
    }

    fn close_code(opening: &mut Opening) -> Option<CloseCode> {
        std::iter::from_fn(|| opening.poll_output()).find_map(|output| match output {
            OpeningOutput::Close(code) => Some(code),
            OpeningOutput::Verify(_) | OpeningOutput::Send(_) | OpeningOutput::Opened(_) => None,
        })
    }

    #[test]
    fn a_good_token_opens() {
        let (mut opening, now) = started();
        opening.handle(OpeningInput::Text(OPEN.into()), now);
        assert!(matches!(opening.poll_output(), Some(OpeningOutput::Verify(token)) if token == "good"));
        opening.handle(OpeningInput::Verified(Some(verified())), now);
        let Some(OpeningOutput::Opened(opened)) = opening.poll_output() else { panic!() };
        assert_eq!((opened.identity.user.as_str(), opened.client.as_str()), ("alice", "test/1"));
        assert!(opening.poll_timeout().is_none());
    }

    #[test]
    fn silence_for_five_seconds_closes_with_4401() {
        let (mut opening, now) = started();
        assert_eq!(opening.poll_timeout(), Some((now + Duration::from_secs(5), OpeningTimer::Open)));
        opening.handle_timeout(now + Duration::from_millis(4_999));
        assert!(opening.poll_output().is_none());
        opening.handle_timeout(now + Duration::from_secs(5));
        assert_eq!(close_code(&mut opening), Some(CloseCode::Authentication));
    }

    #[test]
    fn a_bad_token_is_told_so_and_closed_with_4401() {
        let (mut opening, now) = started();
        opening.handle(OpeningInput::Text(OPEN.into()), now);
        opening.poll_output();
        opening.handle(OpeningInput::Verified(None), now);
        assert!(
            matches!(opening.poll_output(), Some(OpeningOutput::Send(text)) if text.contains("session.unauthenticated"))
        );
        assert_eq!(close_code(&mut opening), Some(CloseCode::Authentication));
    }

    #[test]
    fn another_method_first_is_closed_with_4401() {
        let (mut opening, now) = started();
        opening.handle(OpeningInput::Text(r#"{"jsonrpc":"2.0","id":1,"method":"session.ping"}"#.into()), now);
        assert_eq!(close_code(&mut opening), Some(CloseCode::Authentication));
    }

    #[test]
    fn what_is_not_json_rpc_is_closed_with_4400() {
        let no_id = r#"{"jsonrpc":"2.0","method":"session.open","params":{"token":"good"}}"#;
        for text in ["hello", "{}", no_id, &"x".repeat(70_000)] {
            let (mut opening, now) = started();
            opening.handle(OpeningInput::Text(text.into()), now);
            assert_eq!(close_code(&mut opening), Some(CloseCode::BadMessage), "{text:.40}");
        }
        let (mut opening, now) = started();
        opening.handle(OpeningInput::Binary, now);
        assert_eq!(close_code(&mut opening), Some(CloseCode::BadMessage));
    }

    #[test]
    fn a_second_message_while_the_token_is_verified_is_closed() {
        let (mut opening, now) = started();
        opening.handle(OpeningInput::Text(OPEN.into()), now);
        opening.handle(OpeningInput::Text(OPEN.into()), now);
        assert_eq!(close_code(&mut opening), Some(CloseCode::BadMessage));
        opening.handle(OpeningInput::Verified(Some(verified())), now);
        assert!(opening.poll_output().is_none());
    }
}
