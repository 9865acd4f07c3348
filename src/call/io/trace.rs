//! Tells the trace what a call hears, says and becomes. Its SIP messages are traced where they cross their sockets.

use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::fmt;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;
use serde_json::Value;
use serde_json::json;

use crate::call::Call;
use crate::call::CallIds;
use crate::call::CallTimer;
use crate::call::Cause;
use crate::call::Input;
use crate::call::Output;
use crate::call::io::rooms::Rooms;
use crate::clock::Clock;
use crate::ids::CallId;
use crate::ids::LegId;
use crate::ids::SessionId;
use crate::ids::SignalingId;
use crate::limits::SIGNALING_PENDING_MAX;
use crate::signaling;
use crate::signaling::CallRequest;
use crate::signaling::Notification;
use crate::signaling::RequestToken;
use crate::signaling::message::ServerNotification;
use crate::trace::Direction;
use crate::trace::Event;
use crate::trace::Observation;
use crate::trace::mask;
use crate::worker;

/// Digits behind one of these are sent after the answer: they are no part of the number.
const POST_DIAL: &[char] = &[',', ';'];

/// A call begins; its INVITE, if it brought one, has this Call-ID.
pub(super) fn began(rooms: &dyn Rooms, ids: CallIds, sip_call_id: Option<&str>, at: Instant) {
    let sip_call_id = sip_call_id.map(str::to_owned);
    rooms.trace(Observation::Began { call: ids.call, session: ids.session, sip_call_id, at });
}

/// Somebody called in the other side's place: the new leg's INVITE has this Call-ID.
pub(super) fn joined(rooms: &dyn Rooms, call: CallId, leg: LegId, sip_call_id: &str) {
    let (session, sip_call_id) = (SessionId::of_leg(leg), sip_call_id.to_owned());
    rooms.trace(Observation::Joined { call, session, sip_call_id });
}

/// An agent dialled: the call's first message.
pub(super) fn dialled(rooms: &dyn Rooms, ids: CallIds, to: &str, at: Instant) {
    began(rooms, ids, None, at);
    let (number, after) = to.find(POST_DIAL).and_then(|at| to.split_at_checked(at)).unwrap_or((to, ""));
    let to = format!("{number}{}", "*".repeat(after.chars().count()));
    let event = Event::Signaling { direction: Direction::In, name: "call.dial".to_owned(), body: json!({ "to": to }) };
    rooms.trace(Observation::Noted { call: ids.call, event, at });
}

/// A call begins because another one is to be joined to it.
pub(super) fn launched(rooms: &dyn Rooms, ids: CallIds, by: CallId, at: Instant) {
    began(rooms, ids, None, at);
    let event = Event::State { name: "launched".to_owned(), detail: Some(format!("for call {by}")) };
    rooms.trace(Observation::Noted { call: ids.call, event, at });
}

/// A call that began was refused before anything rang.
pub(super) fn refused(rooms: &dyn Rooms, ids: CallIds, cause: Cause, at: Instant) {
    let event = Event::State { name: "refused".to_owned(), detail: Some(cause.word().to_owned()) };
    rooms.trace(Observation::Noted { call: ids.call, event, at });
    rooms.trace(Observation::Ended { call: ids.call, at });
}

/// The observer of one call. Its end is the trace's, even where the call's task fails.
pub(super) struct CallTracer {
    call: CallId,
    rooms: Arc<dyn Rooms>,
    clock: Clock,
    phase: &'static str,
    /// What took the call to its next phase, where that was no message.
    why: Option<String>,
    /// Why media was dropped, so far: each reason is told once.
    rejected: BTreeSet<worker::MediaRejection>,
    /// Requests without their answer yet.
    asked: VecDeque<((SignalingId, RequestToken), String)>,
}

impl CallTracer {
    pub(super) fn new(call: CallId, rooms: Arc<dyn Rooms>, clock: Clock) -> Self {
        Self { call, rooms, clock, phase: "", why: None, rejected: BTreeSet::new(), asked: VecDeque::new() }
    }

    fn note(&self, event: Event) {
        self.rooms.trace(Observation::Noted { call: self.call, event, at: self.clock.now() });
    }

    fn media(&self, name: impl Into<String>, detail: Option<String>) {
        self.note(Event::Media { name: name.into(), detail });
    }

    fn state(&self, detail: String) {
        self.note(Event::State { name: self.phase.to_owned(), detail: Some(detail) });
    }

    /// What the call is told.
    pub(super) fn heard(&mut self, input: &Input) {
        if let Input::Worker(event) = input {
            self.heard_of_media(&event.kind);
        } else if let Input::Request { from, token, request } = input {
            self.asked_for((*from, *token), request);
        } else if let Input::Recorder(event) = input {
            self.media(format!("recorder_{}", word(event)), None);
        } else if let Input::Partner { from, word: said } = input {
            self.why = Some(format!("call {} says {}", from.call, word(said)));
        } else if matches!(input, Input::AgentGone { .. } | Input::Reattached { .. } | Input::Shutdown) {
            self.why = Some(word(input));
        }
    }

    fn heard_of_media(&mut self, kind: &worker::EventKind) {
        let is_known =
            matches!(kind, worker::EventKind::MediaRejected { reason, .. } if !self.rejected.insert(*reason));
        if !is_known && !matches!(kind, worker::EventKind::Stats(_)) {
            self.media(word(kind), media_detail(kind));
        }
    }

    fn asked_for(&mut self, token: (SignalingId, RequestToken), request: &CallRequest) {
        let (method, body) = parts(request);
        let name = if matches!(request, CallRequest::Candidate { .. }) {
            format!("media.{method}")
        } else {
            format!("call.{method}")
        };
        self.asked.push_back((token, name.clone()));
        if self.asked.len() > SIGNALING_PENDING_MAX {
            self.asked.pop_front();
        }
        self.note(Event::Signaling { direction: Direction::In, name, body });
    }

    /// Its timer is due.
    pub(super) fn fired(&mut self, timer: Option<(Instant, CallTimer)>) {
        self.why = timer.map(|(_, timer)| format!("timer {}", word(&timer)));
    }

    /// Where the call is after it was told something.
    pub(super) fn stands(&mut self, call: &Call) {
        let phase = call.phase_name();
        let detail = self.why.take();
        if phase != self.phase || detail.is_some() {
            self.phase = phase;
            let detail = call.outcome().map(|cause| cause.word().to_owned()).or(detail);
            self.note(Event::State { name: phase.to_owned(), detail });
        }
    }

    /// What the call wants.
    pub(super) fn wanted(&mut self, output: &Output) {
        if let Output::Signaling { session, command } = output {
            self.told(*session, command);
        } else if let Output::Worker(worker::Command::SetGate { gate, .. }) = output {
            let detail = format!("to_trunk={} to_agent={}", gate.to_trunk, gate.to_agent);
            self.media("gate", Some(detail));
        } else if let Output::Worker(worker::Command::ConnectTrunk { media, .. }) = output {
            let (send, receive) = (media.send, media.receive);
            let detail = format!("{} {:?} send={send} receive={receive}", media.remote, media.codec);
            self.media("connect_trunk", Some(detail));
        } else if let Output::Worker(worker::Command::HearFork { media, .. }) = output {
            self.media("hear_fork", Some(media.remote.to_string()));
        } else if let Output::Worker(worker::Command::SendDtmf { digits, .. }) = output {
            self.media("send_dtmf", Some(format!("{} digits", digits.len())));
        } else if let Output::Partner { to, word: said } = output {
            self.state(format!("tells call {to} {}", word(said)));
        } else if let Output::Launch { destination, .. } = output {
            self.state(format!("wants a call by trunk {}", destination.trunk));
        } else if let Output::Alarm(what) = output {
            self.state(format!("alarm {what}"));
        }
    }

    /// A room had no place for what the call wanted.
    pub(super) fn failed(&mut self, why: &dyn fmt::Display) {
        self.why = Some(why.to_string());
    }

    fn told(&mut self, session: SignalingId, command: &signaling::Command) {
        let (name, body) = match command {
            // Statistics, every few seconds.
            signaling::Command::Notify(Notification::Quality { .. }) => return,
            signaling::Command::Notify(notification) => {
                let (name, mut body) = parts(&ServerNotification::new(0, notification.clone()));
                // The running number is the session's, and not known here.
                if let Value::Object(members) = &mut body {
                    members.remove("seq");
                    members.remove("call_id");
                }
                (name, body)
            }
            signaling::Command::Reply { token, result } => {
                let at = self.asked.iter().position(|(asked, _)| *asked == (session, *token));
                let asked = at.and_then(|at| self.asked.remove(at)).map_or_else(String::new, |(_, name)| name);
                match result {
                    Ok(()) => (format!("{asked} ok"), json!({ "result": {} })),
                    Err(error) => (format!("{asked} refused"), json!({ "error": error })),
                }
            }
            signaling::Command::SetState(state) => ("agent.state".to_owned(), json!({ "state": state })),
            signaling::Command::Close { code } => ("close".to_owned(), json!({ "code": code.as_u16() })),
        };
        self.note(Event::Signaling { direction: Direction::Out, name, body: mask::json(body) });
    }
}

impl Drop for CallTracer {
    fn drop(&mut self) {
        self.rooms.trace(Observation::Ended { call: self.call, at: self.clock.now() });
    }
}

/// Method and masked parameters of a message.
fn parts(message: &impl Serialize) -> (String, Value) {
    let Ok(Value::Object(mut message)) = serde_json::to_value(message) else { return Default::default() };
    let method = message.get("method").and_then(Value::as_str).unwrap_or_default().to_owned();
    (method, mask::json(message.remove("params").unwrap_or(Value::Null)))
}

/// What may be told of a media event besides its name. Descriptions stand in the signalling messages; digits nowhere.
fn media_detail(event: &worker::EventKind) -> Option<String> {
    if let worker::EventKind::TrunkBound { local } = event {
        Some(local.to_string())
    } else if let worker::EventKind::LegFailed { reason } = event {
        Some(reason.to_string())
    } else if let worker::EventKind::PeerReachable(reachable) = event {
        Some(reachable.to_string())
    } else if let worker::EventKind::DtmfReceived { duration_ms, .. } = event {
        Some(format!("* for {duration_ms} ms"))
    } else if let worker::EventKind::MediaRejected { reason, source } = event {
        Some(reason.verdict(*source))
    } else if let worker::EventKind::MediaTimeout { silent_for } = event {
        Some(format!("silent for {} s", silent_for.as_secs()))
    } else {
        None
    }
}

/// The name of a variant, and nothing of what it holds: `PeerConnected` is `peer_connected`.
fn word(variant: &dyn fmt::Debug) -> String {
    let mut word = Word(String::new());
    // An error is the end of the name.
    let _ended = write!(word, "{variant:?}");
    word.0
}

struct Word(String);

impl fmt::Write for Word {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            if !character.is_ascii_alphanumeric() {
                return Err(fmt::Error);
            }
            if character.is_ascii_uppercase() && !self.0.is_empty() {
                self.0.push('_');
            }
            self.0.push(character.to_ascii_lowercase());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_the_variants_name_alone() {
        let digit =
            worker::EventKind::DtmfReceived { digit: worker::DtmfDigit::from_char('5').unwrap(), duration_ms: 80 };
        assert_eq!(word(&digit), "dtmf_received");
        assert_eq!(word(&worker::EventKind::PeerReachable(true)), "peer_reachable");
        assert_eq!(word(&Input::Shutdown), "shutdown");
        assert_eq!(media_detail(&digit).unwrap(), "* for 80 ms");
        let reason = worker::MediaRejection::UnexpectedSource;
        let rejected = worker::EventKind::MediaRejected { reason, source: "192.0.2.1:4000".parse().unwrap() };
        assert_eq!(word(&rejected), "media_rejected");
        assert_eq!(media_detail(&rejected).unwrap(), "rtp_from_unexpected_source 192.0.2.1:4000 (trunk.media_source)");
    }

    #[test]
    fn a_request_is_named_as_on_the_wire_and_its_digits_are_masked() {
        let (method, body) = parts(&CallRequest::Dtmf { digits: "159#0".to_owned() });
        assert_eq!((method.as_str(), body), ("dtmf", json!({ "digits": "*****" })));
        let (method, body) = parts(&CallRequest::Transport { sdp: "a=ice-pwd:abc\r\n".to_owned() });
        assert_eq!((method.as_str(), body), ("transport", json!({ "sdp": "a=ice-pwd:***\r\n" })));
        assert_eq!(parts(&CallRequest::Hangup).0, "hangup");
    }
}
