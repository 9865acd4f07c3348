//! Server transactions: their table, and the responses that leave through it.

use std::time::Instant;

use crate::ids::LegId;
use crate::sip::StatusCode;
use crate::sip::dialog::state::SessionPair;
use crate::sip::dialog::usage::ALLOW;
use crate::sip::message::HeaderName;
use crate::sip::message::Method;
use crate::sip::message::Request;
use crate::sip::message::Response;
use crate::sip::transaction::ServerInvite;
use crate::sip::transaction::ServerNonInvite;
use crate::sip::transaction::ServerOutput;
use crate::sip::transaction::TransactionKey;
use crate::sip::transaction::server_invite;
use crate::sip::transaction::server_non_invite;
use crate::sip::user_agent::Counter;
use crate::sip::user_agent::Output;
use crate::sip::user_agent::SipTimer;
use crate::sip::user_agent::UserAgent;
use crate::sip::user_agent::Wake;
use crate::sip::user_agent::inspect::RequestName;
use crate::sip::user_agent::reach::ReplyPath;

/// One server transaction, and what its responses need.
#[derive(Debug)]
pub(super) struct ServerEntry {
    pub(super) machine: ServerMachine,
    pub(super) path: ReplyPath,
    pub(super) trunk: usize,
    /// The usage that the request belongs to.
    pub(super) leg: Option<LegId>,
    /// The tag of our responses, unless the request brought one.
    pub(super) local_tag: String,
    pub(super) session: Option<SessionPair>,
    name: Option<RequestName>,
    is_invite_like: bool,
}

#[derive(Debug)]
pub(super) enum ServerMachine {
    Invite(ServerInvite),
    NonInvite(ServerNonInvite),
}

impl ServerMachine {
    fn poll_output(&mut self) -> Option<ServerOutput> {
        match self {
            Self::Invite(machine) => machine.poll_output(),
            Self::NonInvite(machine) => machine.poll_output(),
        }
    }

    fn deadline(&self) -> Option<(Instant, SipTimer)> {
        let next = match self {
            Self::Invite(machine) => machine.poll_timeout(),
            Self::NonInvite(machine) => machine.poll_timeout(),
        };
        next.map(|(at, timer)| (at, SipTimer::Transaction(timer)))
    }

    const fn is_terminated(&self) -> bool {
        match self {
            Self::Invite(machine) => machine.is_terminated(),
            Self::NonInvite(machine) => machine.is_terminated(),
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        match self {
            Self::Invite(machine) => machine.handle_timeout(now),
            Self::NonInvite(machine) => machine.handle_timeout(now),
        }
    }
}

impl UserAgent {
    /// Opens the transaction of a new request.
    pub(super) fn open_server(&mut self, trunk: usize, key: &TransactionKey, path: ReplyPath, request: &Request) {
        let (reliable, timing) = (path.flow.transport.is_reliable(), self.config.timing);
        let machine = if request.method == Method::Invite {
            ServerMachine::Invite(ServerInvite::new(reliable, timing))
        } else {
            ServerMachine::NonInvite(ServerNonInvite::new(reliable, timing))
        };
        let name = RequestName::of(request).filter(|name| !self.requests.contains_key(name));
        if let Some(name) = &name {
            self.requests.insert(name.clone(), key.clone());
        }
        let local_tag = self.new_tag();
        let is_invite_like = request.method == Method::Invite;
        let entry = ServerEntry { machine, path, trunk, leg: None, local_tag, session: None, name, is_invite_like };
        self.servers.insert(key.clone(), Box::new(entry));
    }

    pub(super) fn retransmitted(&mut self, key: &TransactionKey, now: Instant) {
        self.count(Counter::Retransmission);
        if let Some(entry) = self.servers.get_mut(key) {
            match &mut entry.machine {
                ServerMachine::Invite(machine) => machine.handle(server_invite::Input::Retransmitted, now),
                ServerMachine::NonInvite(machine) => machine.handle(server_non_invite::Input::Retransmitted, now),
            }
        }
        self.pump_server(key);
    }

    /// Responds with a bare status.
    pub(super) fn respond_with(&mut self, key: &TransactionKey, request: &Request, status: StatusCode, now: Instant) {
        self.respond(key, Response::for_request(request, status), now);
    }

    /// Sends a response through its transaction, with the headers that all of ours bear.
    pub(super) fn respond(&mut self, key: &TransactionKey, mut response: Response, now: Instant) {
        let Some(entry) = self.servers.get_mut(key) else { return };
        let status = response.status;
        if status != StatusCode::TRYING {
            response.set_to_tag(&entry.local_tag);
        }
        if let Some(session) = &entry.session {
            response.headers.set(HeaderName::SessionId, session.to_header());
        }
        if entry.is_invite_like && status != StatusCode::TRYING && status.as_u16() < 300 {
            let terms = self.config.trunks.get(entry.trunk).map(|trunk| trunk.terms).unwrap_or_default();
            response.headers.set(HeaderName::Allow, ALLOW);
            response.headers.set(HeaderName::Supported, terms.supported());
        }
        response.headers.set(HeaderName::Server, self.config.product.clone());
        let response = response.to_bytes();
        match &mut entry.machine {
            ServerMachine::Invite(machine) => {
                machine.handle(server_invite::Input::Respond { status, response }, now);
            }
            ServerMachine::NonInvite(machine) => {
                machine.handle(server_non_invite::Input::Respond { status, response }, now);
            }
        }
        self.pump_server(key);
    }

    /// Drains a machine. Whether it passed up an ACK that belongs to the dialog.
    pub(super) fn pump_server(&mut self, key: &TransactionKey) -> bool {
        let mut ack_is_for_dialog = false;
        let Some(entry) = self.servers.get_mut(key) else { return false };
        while let Some(output) = entry.machine.poll_output() {
            match output {
                ServerOutput::Send(bytes) => self.output.push_back(Output::Send { flow: entry.path.flow, bytes }),
                ServerOutput::AckReceived => ack_is_for_dialog = true,
                // The peer is gone; the usage ended with its final response.
                ServerOutput::AckTimedOut => {
                    tracing::debug!(peer = %entry.path.flow.remote, "final response was never acknowledged");
                }
            }
        }
        let deadline = entry.machine.deadline();
        let is_over = entry.machine.is_terminated();
        self.schedule.set(&Wake::Server(key.clone()), deadline);
        if is_over {
            self.close_server(key);
        }
        ack_is_for_dialog
    }

    fn close_server(&mut self, key: &TransactionKey) {
        if let Some(name) = self.servers.remove(key).and_then(|entry| entry.name) {
            self.requests.remove(&name);
        }
        self.schedule.set(&Wake::Server(key.clone()), None);
    }

    pub(super) fn server_timeout(&mut self, key: &TransactionKey, now: Instant) {
        if let Some(entry) = self.servers.get_mut(key) {
            entry.machine.handle_timeout(now);
        }
        self.pump_server(key);
    }
}
