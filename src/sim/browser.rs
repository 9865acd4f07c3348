//! A scripted agent's page at one call.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::signaling;
use crate::signaling::{CallRequest, Notification, RequestToken};
use crate::sim::agenda::Agenda;
use crate::sim::script::{BrowserScript, Chatter, Decision};

/// What the page does when its time comes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Act {
    Ask(CallRequest),
    Vanish,
}

/// What the call is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// A request.
    Request(RequestToken, CallRequest),
    /// The page is gone.
    Gone,
}

/// What the page was told.
#[derive(Debug, Clone, Default)]
pub struct Book {
    /// It rang, or the gateway made an offer.
    pub began: bool,
    /// `call.answered`.
    pub answered: u32,
    /// `call.ended`, with its reason.
    pub ended: Vec<String>,
    /// Replies to each request.
    pub replies: BTreeMap<u64, u32>,
    /// Notifications after the end.
    pub after_end: u32,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Browser {
    script: BrowserScript,
    agenda: Agenda<Act>,
    tokens: u64,
    gone: bool,
    book: Book,
}

impl Browser {
    /// A page whose call begins, or may come in, at `begins`.
    pub fn new(script: BrowserScript, begins: Instant) -> Self {
        let mut agenda = Agenda::default();
        if let Some(after) = script.vanishes {
            agenda.enter(begins + after, Act::Vanish);
        }
        Self { script, agenda, tokens: 0, gone: false, book: Book::default() }
    }

    /// What it was told.
    pub const fn book(&self) -> &Book {
        &self.book
    }

    /// How many requests it made.
    pub const fn requests(&self) -> u64 {
        self.tokens
    }

    /// Whether nobody is there any more.
    pub const fn is_gone(&self) -> bool {
        self.gone
    }

    /// The call exists: from now on it can be spoken of.
    pub fn begin(&mut self, now: Instant) {
        if let Some(after) = self.script.hangs_up {
            self.agenda.enter(now + after, Act::Ask(CallRequest::Hangup));
        }
        for (after, chatter) in self.script.chatter.clone() {
            let request = match chatter {
                Chatter::Mute => CallRequest::Mute { muted: true },
                Chatter::Digits => CallRequest::Dtmf { digits: "12#".to_owned() },
                Chatter::Accept => CallRequest::Accept,
                Chatter::Transport => CallRequest::Transport { sdp: "answer".to_owned() },
                Chatter::Alerting => CallRequest::Alerting,
            };
            self.agenda.enter(now + after, Act::Ask(request));
        }
    }

    /// When it does something next.
    pub fn next_at(&self) -> Option<Instant> {
        self.agenda.next_at()
    }

    /// What it does now.
    pub fn pop_due(&mut self, now: Instant) -> Option<Word> {
        let act = self.agenda.pop_due(now)?;
        match act {
            Act::Ask(request) => {
                self.tokens += 1;
                Some(Word::Request(RequestToken(self.tokens), request))
            }
            Act::Vanish => {
                self.gone = true;
                self.agenda.clear();
                Some(Word::Gone)
            }
        }
    }

    /// Takes what the gateway says.
    pub fn command(&mut self, command: signaling::Command, now: Instant) {
        match command {
            signaling::Command::Reply { token, .. } => *self.book.replies.entry(token.0).or_default() += 1,
            signaling::Command::Notify(notification) => self.told(&notification, now),
            signaling::Command::SetState(_) | signaling::Command::Close { .. } => {}
        }
    }

    fn told(&mut self, notification: &Notification, now: Instant) {
        if !self.book.ended.is_empty() {
            self.book.after_end += 1;
        }
        match notification {
            Notification::Incoming { .. } => {
                self.book.began = true;
                self.ring(now);
            }
            Notification::Offer { .. } => {
                self.book.began = true;
                self.describe_transport(now);
            }
            Notification::Answered { .. } => self.book.answered += 1,
            Notification::Ended { reason, .. } => {
                self.book.ended.push(reason.clone());
                self.agenda.clear();
            }
            _ => {}
        }
    }

    fn ring(&mut self, now: Instant) {
        if let Some(after) = self.script.alerting {
            self.enter(now + after, CallRequest::Alerting);
        }
        self.describe_transport(now);
        let (after, decision) = self.script.decision;
        match decision {
            Decision::Accept => self.enter(now + after, CallRequest::Accept),
            Decision::Reject => self.enter(now + after, CallRequest::Reject),
            Decision::Ignore => {}
        }
    }

    fn describe_transport(&mut self, now: Instant) {
        if let Some(after) = self.script.transport {
            self.enter(now + after, CallRequest::Transport { sdp: "answer".to_owned() });
        }
    }

    /// Hangs up, whatever was meant.
    pub fn hang_up(&mut self, now: Instant) {
        if self.book.ended.is_empty() {
            self.enter(now, CallRequest::Hangup);
        }
    }

    fn enter(&mut self, at: Instant, request: CallRequest) {
        if !self.gone {
            self.agenda.enter(at, Act::Ask(request));
        }
    }
}
