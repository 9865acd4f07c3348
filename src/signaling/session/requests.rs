//! A session's requests: which are answered here, which go to the call room, and how its answers come back.

use std::time::Instant;

use serde_json::json;

use super::calls::Once;
use super::{Output, Pending, Session};
use crate::ids::CallId;
use crate::limits::{
    SDP_BYTES_MAX, SIGNALING_DTMF_MAX, SIGNALING_NUMBER_CHARS_MAX, SIGNALING_PENDING_MAX, SIGNALING_REPEATS_MAX,
};
use crate::signaling::message::{
    BAD_PARAMS, ClientRequest, INVALID_REQUEST, RequestId, ServerNotification, failure, refusal, success,
};
use crate::signaling::{AgentState, CallRequest, Error, EventKind, RequestToken};

impl Session {
    pub(super) fn on_request(&mut self, id: Option<RequestId>, request: ClientRequest, now: Instant) {
        let (call, request) = match request {
            ClientRequest::Open(_) => return self.refuse(id, INVALID_REQUEST, "the session is open already"),
            ClientRequest::Ping {} => return self.answer(id, Ok(())),
            ClientRequest::SetState { state } => return self.on_set_state(id, state, now),
            ClientRequest::Stats(report) => {
                self.outputs.push_back(Output::Stats(report));
                return self.answer(id, Ok(()));
            }
            ClientRequest::Dial { call_id, to } => (call_id, CallRequest::Dial { to }),
            ClientRequest::Alerting(params) => (params.call_id, CallRequest::Alerting),
            ClientRequest::Transport { call_id, sdp } => (call_id, CallRequest::Transport { sdp }),
            ClientRequest::Accept(params) => (params.call_id, CallRequest::Accept),
            ClientRequest::Reject(params) => (params.call_id, CallRequest::Reject),
            ClientRequest::Hangup(params) => (params.call_id, CallRequest::Hangup),
            ClientRequest::Mute { call_id, muted } => (call_id, CallRequest::Mute { muted }),
            ClientRequest::Dtmf { call_id, digits } => (call_id, CallRequest::Dtmf { digits }),
            ClientRequest::Hold(params) => (params.call_id, CallRequest::Hold),
            ClientRequest::Resume(params) => (params.call_id, CallRequest::Resume),
            ClientRequest::Transfer { call_id, to: Some(to), consult_call: None } => {
                (call_id, CallRequest::Transfer { to })
            }
            ClientRequest::Transfer { call_id, to: None, consult_call: Some(consult) } => {
                (call_id, CallRequest::TransferTo { consult })
            }
            ClientRequest::Transfer { .. } => {
                return self.refuse(id, BAD_PARAMS, "a transfer names either `to` or `consult_call`");
            }
            ClientRequest::Candidate { call_id, candidate } => (call_id, CallRequest::Candidate { candidate }),
        };
        match fault(&request) {
            Some(fault) => self.refuse(id, BAD_PARAMS, fault),
            None => self.on_call_request(id, call, request),
        }
    }

    fn on_set_state(&mut self, id: Option<RequestId>, state: AgentState, now: Instant) {
        if state != AgentState::Offline && !self.is_agent() {
            return self
                .answer(id, Err(Error::new("agent.forbidden", "only an agent with an extension takes calls", false)));
        }
        self.set_state(state, now);
        self.answer(id, Ok(()));
    }

    pub(super) fn set_state(&mut self, state: AgentState, now: Instant) {
        if state != self.state {
            self.state = state;
            self.outputs.push_back(Output::State(state));
            self.notify(|seq| ServerNotification::AgentState { seq, state }, now);
        }
    }

    fn on_call_request(&mut self, id: Option<RequestId>, call: CallId, request: CallRequest) {
        let once = Once::of(&request);
        if let Some(once) = once
            && (self.calls.is_done(call, once)
                || (matches!(once, Once::Hangup | Once::Reject) && self.calls.has_ended(call)))
        {
            return self.answer(id, Ok(()));
        }
        if let Some(pending) =
            self.pending.values_mut().find(|pending| once.is_some() && pending.call == call && pending.once == once)
        {
            if pending.ids.len() < SIGNALING_REPEATS_MAX {
                pending.ids.extend(id);
            }
            return;
        }
        if let Err(error) = self.admit(call, &request) {
            return self.answer(id, Err(error));
        }
        if let CallRequest::Dial { to } = &request {
            self.calls.dialled(call, to);
            self.outputs.push_back(Output::CallBegan(call));
        }
        let token = RequestToken(self.next_token);
        self.next_token += 1;
        self.pending.insert(token, Pending { call, once, ids: id.into_iter().collect() });
        self.outputs.push_back(Output::Event(EventKind::Request { token, call, request }));
    }

    fn admit(&self, call: CallId, request: &CallRequest) -> Result<(), Error> {
        if self.pending.len() >= SIGNALING_PENDING_MAX {
            return Err(Error::new("session.busy", "too many requests wait for their answer", true));
        }
        let CallRequest::Dial { .. } = request else {
            let consulted = if let CallRequest::TransferTo { consult } = request { *consult } else { call };
            let known = self.calls.contains(call) && self.calls.contains(consulted);
            return if known {
                Ok(())
            } else {
                Err(Error::new("call.unknown", "there is no such call, or it is over", false))
            };
        };
        if !self.is_agent() {
            return Err(Error::new("agent.forbidden", "only an agent with an extension places calls", false));
        }
        if self.calls.has_ended(call) || self.calls.contains(call) {
            return Err(Error::new("call.wrong_state", "a call with this id has been", false));
        }
        if self.calls.len() >= self.calls_max {
            return Err(Error::new("agent.limit", "as many calls as this agent may have", true));
        }
        Ok(())
    }

    pub(super) fn on_reply(&mut self, token: RequestToken, result: &Result<(), Error>) {
        let Some(pending) = self.pending.remove(&token) else { return };
        match (result, pending.once) {
            (Ok(()), Some(once)) => self.calls.set_done(pending.call, once),
            (Err(_), Some(Once::Dial)) if self.calls.forget(pending.call) => {
                self.outputs.push_back(Output::CallFailed(pending.call));
            }
            _ => {}
        }
        self.answer_all(pending.ids, result);
    }

    /// Answers what still waited when `call` ended: who wanted its end has it.
    pub(super) fn answer_pending_of(&mut self, call: CallId) {
        let tokens: Vec<RequestToken> =
            self.pending.iter().filter(|(_, pending)| pending.call == call).map(|(token, _)| *token).collect();
        for token in tokens {
            let Some(pending) = self.pending.remove(&token) else { continue };
            let result = match pending.once {
                Some(Once::Hangup | Once::Reject) => Ok(()),
                _ => Err(Error::new("call.unknown", "the call ended", false)),
            };
            self.answer_all(pending.ids, &result);
        }
    }

    fn answer_all(&mut self, ids: Vec<RequestId>, result: &Result<(), Error>) {
        for id in ids {
            self.answer(Some(id), result.clone());
        }
    }

    fn answer(&mut self, id: Option<RequestId>, result: Result<(), Error>) {
        let Some(id) = id else { return };
        self.send(match result {
            Ok(()) => success(&id, &json!({})),
            Err(error) => failure(&id, &error),
        });
    }

    fn refuse(&mut self, id: Option<RequestId>, code: i32, message: &str) {
        if let Some(id) = id {
            self.send(refusal(Some(&id), code, message));
        }
    }
}

/// What is wrong with the parameters of `request`.
fn fault(request: &CallRequest) -> Option<&'static str> {
    match request {
        CallRequest::Dial { to } | CallRequest::Transfer { to } => {
            let good = !to.trim().is_empty()
                && to.chars().count() <= SIGNALING_NUMBER_CHARS_MAX
                && !to.chars().any(char::is_control);
            (!good).then_some("to must be 1 to 128 characters without control characters")
        }
        CallRequest::Transport { sdp } => {
            (sdp.is_empty() || sdp.len() > SDP_BYTES_MAX).then_some("sdp must be 1 to 32768 bytes")
        }
        CallRequest::Candidate { candidate } => {
            (candidate.len() > 1_024).then_some("candidate must be at most 1024 bytes")
        }
        CallRequest::Dtmf { digits } => {
            let known = |digit: char| matches!(digit, '0'..='9' | '*' | '#' | 'A'..='D' | 'a'..='d');
            let good = (1..=SIGNALING_DTMF_MAX).contains(&digits.len()) && digits.chars().all(known);
            (!good).then_some("digits must be 1 to 32 of 0-9, *, #, A-D")
        }
        CallRequest::Alerting
        | CallRequest::Accept
        | CallRequest::Reject
        | CallRequest::Hangup
        | CallRequest::Mute { .. }
        | CallRequest::Hold
        | CallRequest::Resume
        | CallRequest::TransferTo { .. } => None,
    }
}
