//! A scripted agent's page at one call.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::ids::CallId;
use crate::signaling;
use crate::signaling::{CallRequest, HeldBy, Notification, RequestToken};
use crate::sim::agenda::Agenda;
use crate::sim::script::{BrowserScript, Chatter, Decision};

/// What the page does when its time comes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Act {
    Ask(CallRequest),
    Vanish,
    Reload,
}

/// What the call is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// A request.
    Request(RequestToken, CallRequest),
    /// The page is gone.
    Gone,
    /// The page was reloaded.
    Reloaded,
}

/// What the page was told.
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a thing that was seen or not")]
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
    /// It rang, or the gateway made an offer, then.
    pub began_at: Option<Instant>,
    /// `call.ended` came then.
    pub ended_at: Option<Instant>,
    /// Its first accept was granted then.
    pub joined_at: Option<Instant>,
    /// It rejected the call while it rang, and the gateway said yes to that.
    pub rejected: bool,
    /// The agent holds, as far as the page knows.
    pub agent_holds: bool,
    /// The other side holds, as far as the page knows.
    pub peer_holds: bool,
    /// Transfers that the gateway took.
    pub transfers: u32,
    /// Transfers that came to an end, well or not.
    pub transfers_ended: u32,
    /// The other side talks to somebody else.
    pub transferred: bool,
    /// When a page that was reloaded in a call lost it, until it hears of it again.
    pub lost_at: Option<Instant>,
    /// Calls that it heard of again.
    pub reattached: u32,
    /// Keys that the gateway took.
    pub keys: String,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Browser {
    script: BrowserScript,
    /// Whom it transfers the call to.
    colleague: String,
    agenda: Agenda<Act>,
    tokens: u64,
    /// What was asked and not answered yet.
    asked: BTreeMap<u64, CallRequest>,
    gone: bool,
    /// How often it was reloaded.
    reloads: u32,
    /// It was reloaded, and has heard of no call since.
    forgot: bool,
    book: Book,
}

impl Browser {
    /// A page of the seat `number`, whose call begins, or may come in, at `begins`.
    pub fn new(script: BrowserScript, number: usize, begins: Instant) -> Self {
        let mut agenda = Agenda::default();
        if let Some(after) = script.vanishes {
            agenda.enter(begins + after, Act::Vanish);
        }
        for after in &script.reloads {
            agenda.enter(begins + *after, Act::Reload);
        }
        let (asked, book) = (BTreeMap::new(), Book::default());
        let colleague = format!("700{number}");
        Self { script, colleague, agenda, tokens: 0, asked, gone: false, reloads: 0, forgot: false, book }
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

    /// How often it was reloaded: each time it has a new session.
    pub const fn reloads(&self) -> u32 {
        self.reloads
    }

    /// Whether it knows of no call since it was reloaded: nothing can be asked about one.
    pub const fn has_forgotten(&self) -> bool {
        self.forgot
    }

    /// It was reloaded while it had an answered call.
    pub const fn lost_call(&mut self, now: Instant) {
        self.book.lost_at = Some(now);
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
                Chatter::Hold => CallRequest::Hold,
                Chatter::Resume => CallRequest::Resume,
                Chatter::Transfer => CallRequest::Transfer { to: self.colleague.clone() },
                // The registry knows which call that is.
                Chatter::Consult => CallRequest::TransferTo { consult: CallId::from_uuid(uuid::Uuid::nil()) },
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
                self.asked.insert(self.tokens, request.clone());
                Some(Word::Request(RequestToken(self.tokens), request))
            }
            Act::Vanish => {
                self.gone = true;
                self.agenda.clear();
                Some(Word::Gone)
            }
            Act::Reload => {
                self.reloads += 1;
                self.forgot = true;
                Some(Word::Reloaded)
            }
        }
    }

    /// Takes what the gateway says.
    pub fn command(&mut self, command: signaling::Command, now: Instant) {
        match command {
            signaling::Command::Reply { token, result } => {
                *self.book.replies.entry(token.0).or_default() += 1;
                if let (Some(request), Ok(())) = (self.asked.remove(&token.0), result) {
                    self.granted(&request, now);
                }
            }
            signaling::Command::Notify(notification) => self.told(&notification, now),
            signaling::Command::SetState(_) | signaling::Command::Close { .. } => {}
        }
    }

    fn granted(&mut self, request: &CallRequest, now: Instant) {
        match request {
            CallRequest::Accept => {
                self.book.joined_at.get_or_insert(now);
            }
            CallRequest::Reject if self.book.joined_at.is_none() && self.book.answered == 0 => {
                self.book.rejected = true;
            }
            CallRequest::Transfer { .. } | CallRequest::TransferTo { .. } => self.book.transfers += 1,
            CallRequest::Dtmf { digits } => self.book.keys.push_str(digits),
            _ => {}
        }
    }

    fn told(&mut self, notification: &Notification, now: Instant) {
        if !self.book.ended.is_empty() {
            self.book.after_end += 1;
        }
        match notification {
            Notification::Incoming { .. } => {
                self.book.began = true;
                self.book.began_at.get_or_insert(now);
                self.forgot = false;
                self.ring(now);
            }
            Notification::Offer { .. } => {
                self.forgot = false;
                self.book.began = true;
                self.book.began_at = Some(now);
                self.describe_transport(now);
            }
            Notification::Reattach { line, .. } => {
                self.forgot = false;
                self.book.reattached += 1;
                self.book.lost_at = None;
                self.book.agent_holds = line.held_by_agent;
                self.book.peer_holds = line.held_by_peer;
                self.describe_transport(now);
            }
            Notification::Answered { .. } => self.book.answered += 1,
            Notification::Ended { reason, .. } => {
                self.book.ended.push(reason.clone());
                self.book.ended_at = Some(now);
                self.agenda.clear();
            }
            Notification::Held { by, .. } => self.hold_changed(*by, true),
            Notification::Resumed { by, .. } => self.hold_changed(*by, false),
            Notification::Transferred { .. } => {
                self.book.transfers_ended += 1;
                self.book.transferred = true;
            }
            Notification::TransferFailed { .. } => self.book.transfers_ended += 1,
            _ => {}
        }
    }

    fn hold_changed(&mut self, by: HeldBy, held: bool) {
        match by {
            HeldBy::Agent => self.book.agent_holds = held,
            HeldBy::Peer => self.book.peer_holds = held,
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
