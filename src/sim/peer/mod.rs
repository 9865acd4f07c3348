//! A scripted PBX at one call: both roles, its own retransmissions, and a book of what it was told.
//!
//! It shares the grammar of messages with the gateway and nothing else: transactions and dialogs are its own, after
//! RFC 3261, so that agreement is not agreement with ourselves.

mod asked;
mod caller;
mod habits;
mod reliable;
mod served;
mod shape;

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::sim::agenda::Agenda;
use crate::sim::peer::asked::Asked;
use crate::sim::peer::reliable::Unpracked;
use crate::sim::peer::served::Resending;
use crate::sim::script::{Deed, PeerScript, Shape};
use crate::sip::message::{Message, Method, NameAddr, Request, SipUri, Uri};

pub use shape::describe;

/// Round-trip estimate (RFC 3261 17.1.1.1).
pub const T1: Duration = Duration::from_millis(500);
/// Longest time between two retransmissions.
pub const T2: Duration = Duration::from_secs(4);
/// How long a transaction is tried.
pub const PATIENCE: Duration = Duration::from_secs(32);

/// What the PBX wrote down of its call.
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a thing that was seen or not")]
pub struct Book {
    /// Final statuses that its own INVITE got, each once.
    pub finals: Vec<u16>,
    /// Its INVITE was never answered.
    pub invite_unanswered: bool,
    /// Requests beside the INVITE that were never answered: a word for each.
    pub unanswered: Vec<String>,
    /// It answered the gateway's INVITE with 2xx.
    pub accepted: bool,
    /// Its 2xx was never acknowledged.
    pub unacknowledged: bool,
    /// The gateway ended the call with BYE.
    pub bye_heard: bool,
    /// It ended the call with BYE itself.
    pub bye_said: bool,
    /// A reliable provisional response of its own got no PRACK.
    pub unpracked: bool,
    /// A second phone answered the gateway's INVITE, too.
    pub forked: bool,
    /// The gateway ended that second call.
    pub fork_ended: bool,
    /// Keys that the gateway told by INFO, with the number of their requests.
    pub keys: BTreeMap<u32, char>,
    /// Requests that make no sense to it.
    pub strange: Vec<String>,
}

/// What it does when its time comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Invite,
    Cancel,
    Provisional(u16, bool),
    Verdict(u16),
    Deed(Deed),
    /// Acknowledges the reliable provisional response of that number.
    Prack(u32),
    /// Tells how the agent's transfer goes.
    Notify(u16),
    /// Refreshes the session, and again after its half-life.
    Refresh,
    /// Speaks in a dialog that is over.
    Ghost,
}

/// Who a PBX's party is.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Its own number, unlike that of every other party of the world.
    pub number: usize,
    /// The world's call that it has to do with.
    pub call: usize,
    /// As caller: the dialog whose place it takes.
    pub replaces: Option<String>,
}

/// See the [module](self).
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a thing that it did or not")]
pub struct Peer {
    number: usize,
    call: usize,
    replaces: Option<String>,
    script: PeerScript,
    agenda: Agenda<Act>,
    out: VecDeque<Bytes>,
    book: Book,
    vanishes_at: Option<Instant>,
    call_id: String,
    tag: String,
    /// The gateway's half of the dialog, as From or To of its messages, and its Contact.
    remote: Option<String>,
    target: Uri,
    cseq: u32,
    branches: u32,
    descriptions: u32,
    asked: Vec<Asked>,
    served: BTreeMap<(String, Method), Bytes>,
    /// The gateway's INVITE that waits for our final response.
    pending: Option<Request>,
    resending: Vec<Resending>,
    /// Our last reliable provisional response, until its PRACK.
    unpracked: Option<Unpracked>,
    rseq: u32,
    /// The gateway's last reliable provisional response.
    heard_rseq: Option<u32>,
    /// How long after a refresh the next one is due, where it is ours.
    refreshes_after: Option<Duration>,
    has_referred: bool,
    acks_to_lose: u8,
    cancelled: bool,
    confirmed: bool,
    over: bool,
}

impl Peer {
    /// A party at the PBX that will be called, or calls at `begins`.
    pub fn new(
        Identity { number, call, replaces }: Identity,
        script: PeerScript,
        gateway: SipUri,
        (start, begins): (Instant, Option<Instant>),
    ) -> Self {
        let mut agenda = Agenda::default();
        if let Some(at) = begins {
            agenda.enter(at, Act::Invite);
            if let Some(after) = script.cancels {
                agenda.enter(at + after, Act::Cancel);
            }
        }
        Self {
            number,
            call,
            replaces,
            agenda,
            out: VecDeque::new(),
            book: Book::default(),
            vanishes_at: script.vanishes.map(|after| start + after),
            call_id: format!("peer-{number}"),
            tag: format!("pbx{number}"),
            remote: None,
            target: gateway.into(),
            cseq: 0,
            branches: 0,
            descriptions: 0,
            asked: Vec::new(),
            served: BTreeMap::new(),
            pending: None,
            resending: Vec::new(),
            unpracked: None,
            rseq: 100,
            heard_rseq: None,
            refreshes_after: None,
            has_referred: false,
            acks_to_lose: script.acks_lost,
            cancelled: false,
            confirmed: false,
            over: false,
            script,
        }
    }

    /// Its Call-ID.
    pub fn call_id(&self) -> &str {
        &self.call_id
    }

    /// Its dialog, as a Replaces of another party names it to the gateway; `None` before there is one, and after.
    pub fn to_be_replaced(&self) -> Option<String> {
        let remote = self.remote.as_deref().filter(|_| self.confirmed && !self.over)?;
        let theirs = NameAddr::parse(remote)?.tag()?.to_owned();
        Some(format!("{};to-tag={theirs};from-tag={}", self.call_id, self.tag))
    }

    /// What it wrote down.
    pub const fn book(&self) -> &Book {
        &self.book
    }

    /// Whether it is gone without a word.
    pub fn has_vanished(&self, now: Instant) -> bool {
        self.vanishes_at.is_some_and(|at| at <= now)
    }

    /// Whether the gateway took the call of its second phone, and ended that of the first.
    pub const fn second_phone_talks(&self) -> bool {
        self.book.forked && !self.book.fork_ended && self.book.bye_heard
    }

    /// Whether it goes without a word at some time.
    pub const fn vanishes(&self) -> bool {
        self.vanishes_at.is_some()
    }

    /// Whether its answer to an offer of ours is none that a session can go on with.
    pub const fn may_answer_badly(&self) -> bool {
        matches!(self.script.answer, None | Some(Shape::Foreign | Shape::Garbage))
    }

    /// Takes a message of the gateway.
    pub fn handle(&mut self, message: Message, now: Instant) {
        if self.has_vanished(now) {
            return;
        }
        match message {
            Message::Request(request) => self.request(request, now),
            Message::Response(response) => self.response(&response, now),
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.has_vanished(now) {
            self.agenda.clear();
            self.asked.clear();
            self.resending.clear();
            self.unpracked = None;
            return;
        }
        while let Some(act) = self.agenda.pop_due(now) {
            match act {
                Act::Invite => self.invite(now),
                Act::Cancel => self.cancel(now),
                Act::Provisional(status, described) => self.progress(status, described, now),
                Act::Verdict(status) => self.decide(status, now),
                Act::Deed(deed) => self.act(deed, now),
                Act::Prack(rseq) => self.prack(rseq, now),
                Act::Notify(status) => self.report_transfer(status, now),
                Act::Refresh => self.refresh(now),
                Act::Ghost => self.speak_after_the_end(now),
            }
        }
        self.retransmit(now);
    }

    /// When something is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let asked = self.asked.iter().filter_map(Asked::next_at);
        let resending = self.resending.iter().map(Resending::next_at);
        let unpracked = self.unpracked.as_ref().map(Unpracked::next_at);
        asked.chain(resending).chain(unpracked).chain(self.agenda.next_at()).min()
    }

    /// The next datagram.
    pub fn poll_output(&mut self) -> Option<Bytes> {
        self.out.pop_front()
    }

    fn begin_deeds(&mut self, now: Instant) {
        for (after, deed) in self.script.deeds.clone() {
            self.agenda.enter(now + after, Act::Deed(deed));
        }
        if let Some(after) = self.refreshes_after {
            self.agenda.enter(now + after, Act::Refresh);
        }
    }

    fn description(&mut self, shape: Shape) -> String {
        self.descriptions += 1;
        describe(shape, self.number, self.descriptions)
    }

    fn retransmit(&mut self, now: Instant) {
        for asked in &mut self.asked {
            self.out.extend(asked.due(now));
        }
        let (given_up, under_way) = std::mem::take(&mut self.asked).into_iter().partition(|asked| asked.is_over(now));
        self.asked = under_way;
        for asked in given_up {
            self.given_up(&asked);
        }
        for resending in &mut self.resending {
            self.out.extend(resending.due(now));
        }
        let (lost, waiting): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.resending).into_iter().partition(|resending| resending.is_over(now));
        self.resending = waiting;
        if !lost.is_empty() {
            self.book.unacknowledged = true;
            self.act(Deed::Bye, now);
        }
        self.repeat_unpracked(now);
    }

    /// Its user has talked enough.
    pub fn hang_up(&mut self, now: Instant) {
        self.act(Deed::Bye, now);
    }

    fn given_up(&mut self, asked: &Asked) {
        if asked.is_answered() {
            return;
        }
        if asked.is_first_invite() {
            self.book.invite_unanswered = true;
        } else {
            self.book.unanswered.push(asked.method().to_string());
        }
    }
}
