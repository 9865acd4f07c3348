//! One user agent, spoken to in raw text.

use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::ANSWER;
use super::config;
use super::first_line;
use super::udp;
use super::word;
use crate::clock::Clock;
use crate::ids::LegId;
use crate::sip::Command;
use crate::sip::Event;
use crate::sip::Flow;
use crate::sip::quirk::QuirkFired;
use crate::sip::user_agent::Counter;
use crate::sip::user_agent::Input;
use crate::sip::user_agent::Output;
use crate::sip::user_agent::UserAgent;

pub(super) struct Bench {
    pub(super) agent: UserAgent,
    pub(super) now: Instant,
    pub(super) sent: Vec<(Flow, String)>,
    pub(super) events: Vec<Event>,
    pub(super) counted: Vec<Counter>,
    pub(super) fired: Vec<QuirkFired>,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(super) fn with(change: impl FnOnce(&mut super::Config)) -> Self {
        let now = Clock::system().now();
        let mut config = config("10.0.0.1:5060", &["10.0.0.2:5060"], now);
        change(&mut config);
        let agent = UserAgent::new(config, StdRng::seed_from_u64(3));
        Self { agent, now, sent: Vec::new(), events: Vec::new(), counted: Vec::new(), fired: Vec::new() }
    }

    pub(super) fn feed(&mut self, input: Input) -> Vec<String> {
        self.agent.handle(input, self.now);
        self.drain()
    }

    /// The start lines of what it sent.
    pub(super) fn drain(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(output) = self.agent.poll_output() {
            match output {
                Output::Send { flow, bytes } => {
                    lines.push(first_line(&bytes));
                    self.sent.push((flow, String::from_utf8_lossy(&bytes).into_owned()));
                }
                Output::Event(event) => self.events.push(event),
                Output::Count(counter) => self.counted.push(counter),
                Output::Trunk(_) => {}
                Output::Quirk(fired) => self.fired.push(fired),
            }
        }
        lines
    }

    pub(super) fn say_from(&mut self, remote: &str, text: &str) -> Vec<String> {
        let bytes = Bytes::from(text.replace('\n', "\r\n"));
        self.feed(Input::Received { flow: udp("10.0.0.1:5060", remote), bytes })
    }

    pub(super) fn say(&mut self, text: &str) -> Vec<String> {
        self.say_from("10.0.0.2:5060", text)
    }

    pub(super) fn command(&mut self, command: Command) -> Vec<String> {
        self.feed(Input::Command(command))
    }

    pub(super) fn wait(&mut self, time: Duration) -> Vec<String> {
        self.now += time;
        self.agent.handle_timeout(self.now);
        self.drain()
    }

    pub(super) fn last(&self) -> &str {
        &self.sent.last().unwrap().1
    }

    pub(super) fn words(&mut self) -> Vec<String> {
        self.events.drain(..).map(|event| word(&event)).collect()
    }

    pub(super) fn invited(&self) -> LegId {
        self.events
            .iter()
            .find_map(|event| if let Event::Invited(invitation) = event { Some(invitation.leg) } else { None })
            .unwrap()
    }

    /// An answered and acknowledged call; its leg and our tag.
    pub(super) fn talking(&mut self) -> (LegId, String) {
        self.say(&request("INVITE", 1, "b1", "", OFFER));
        let leg = self.invited();
        self.command(accept(leg));
        let tag = to_tag(self.last());
        assert!(self.say(&request("ACK", 1, "b2", &tag, "")).is_empty());
        assert_eq!(self.words(), ["invited 1001", "acknowledged"]);
        (leg, tag)
    }
}

pub(super) const OFFER: &str = "Content-Type: application/sdp\n\nv=0";
/// Another offer of the same peer.
pub(super) const HOLD: &str = "Content-Type: application/sdp\n\nv=0 hold";

/// A request of call `c1`; `rest` ends the headers: empty, or header lines, an empty line and a body.
pub(super) fn request(method: &str, cseq: u32, branch: &str, to_tag: &str, rest: &str) -> String {
    let tag = if to_tag.is_empty() { String::new() } else { format!(";tag={to_tag}") };
    let rest = if rest.is_empty() { "\n" } else { rest };
    format!(
        "{method} sip:1001@10.0.0.1 SIP/2.0\nVia: SIP/2.0/UDP 10.0.0.2:5060;branch=z9hG4bK{branch}\nMax-Forwards: 70\n\
         From: <sip:2000@pbx>;tag=theirs\nTo: <sip:1001@gw>{tag}\nCall-ID: c1\nCSeq: {cseq} {method}\n\
         Contact: <sip:2000@10.0.0.2:5060>\n{rest}"
    )
}

pub(super) fn accept(leg: LegId) -> Command {
    Command::Accept { leg, sdp: Bytes::from_static(ANSWER.as_bytes()) }
}

pub(super) fn header<'a>(message: &'a str, name: &str) -> &'a str {
    message
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        .unwrap_or_else(|| panic!("no {name} in {message}"))
}

pub(super) fn to_tag(message: &str) -> String {
    header(message, "To").split_once("tag=").unwrap().1.to_owned()
}

/// The response of a peer to the last request that we sent, from fork `tag`.
pub(super) fn response(to: &str, status: &str, tag: &str) -> String {
    let copied = ["Via", "From", "Call-ID", "CSeq"].map(|name| format!("{name}: {}", header(to, name))).join("\n");
    format!("SIP/2.0 {status}\n{copied}\nTo: <sip:1001@10.0.0.2>;tag={tag}\nContact: <sip:{tag}@10.0.0.2>\n\n")
}

/// The response of the peer with the tag `theirs` to a request of ours; `rest` ends the headers, as in [`request`].
pub(super) fn response_with(to: &str, status: &str, rest: &str) -> String {
    let copied = ["Via", "From", "Call-ID", "CSeq"].map(|name| format!("{name}: {}", header(to, name))).join("\n");
    let peer = header(to, "To").split(";tag=").next().unwrap_or_default().to_owned();
    let rest = if rest.is_empty() { "\n" } else { rest };
    format!("SIP/2.0 {status}\n{copied}\nTo: {peer};tag=theirs\nContact: <sip:2000@10.0.0.2:5060>\n{rest}")
}
