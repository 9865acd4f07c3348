//! Client transactions: requests that leave, the responses that come back, and flows that fail.

use std::time::Instant;

use bytes::Bytes;

use crate::ids::LegId;
use crate::limits;
use crate::sip::Flow;
use crate::sip::Transport;
use crate::sip::dialog::DialogId;
use crate::sip::dialog::usage::Purpose;
use crate::sip::digest::client::Attempts;
use crate::sip::message::HeaderName;
use crate::sip::message::Method;
use crate::sip::message::Request;
use crate::sip::message::Response;
use crate::sip::message::Via;
use crate::sip::transaction::ClientInvite;
use crate::sip::transaction::ClientNonInvite;
use crate::sip::transaction::ClientOutput;
use crate::sip::transaction::TransactionKey;
use crate::sip::transaction::client_invite;
use crate::sip::transaction::client_non_invite;
use crate::sip::user_agent::Counter;
use crate::sip::user_agent::Output;
use crate::sip::user_agent::SipTimer;
use crate::sip::user_agent::UserAgent;
use crate::sip::user_agent::Wake;

/// One client transaction, and what its responses need.
#[derive(Debug)]
pub(super) struct ClientEntry {
    machine: ClientMachine,
    pub(super) flow: Flow,
    pub(super) trunk: usize,
    /// With our Via on top.
    pub(super) request: Request,
    pub(super) owner: Owner,
    /// The ACKs that 2xx got so far, one per fork: a retransmitted 2xx gets the same again.
    pub(super) acks: Vec<(DialogId, Flow, Bytes)>,
    /// The last sequence numbers of its early dialogs when it was decided: a late 2xx of one goes on after them.
    pub(super) early_cseqs: Vec<(DialogId, u32)>,
    /// Where to go instead if the stream that was chosen for a large request cannot be opened (RFC 3261 18.1.1).
    small_path: Option<Flow>,
    /// How often it was sent with credentials, in this shape or an earlier one.
    pub(super) attempts: Attempts,
    /// When an abandoned INVITE that was cancelled is forgotten.
    pub(super) forget_at: Option<Instant>,
}

/// Who wants the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// An outbound INVITE's usage.
    Invite(LegId),
    /// Nobody: a provisional response gets CANCEL, a 2xx gets ACK and BYE.
    Abandoned,
    /// A request within a dialog of a usage.
    InDialog(LegId, Purpose),
    /// A trunk's line.
    Line(usize, usize),
    /// A trunk's target, asked by OPTIONS.
    Probe(usize, usize),
    /// Nobody, and nothing follows.
    Nobody,
}

/// What a client transaction came to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Outcome<'a> {
    Response(&'a Response),
    TimedOut,
    TransportFailed,
}

#[derive(Debug)]
enum ClientMachine {
    Invite(ClientInvite),
    NonInvite(ClientNonInvite),
}

impl ClientMachine {
    fn new(request: &Request, flow: &Flow, agent: &UserAgent, now: Instant) -> Self {
        let (bytes, reliable) = (request.to_bytes(), flow.transport.is_reliable());
        if request.method == Method::Invite {
            Self::Invite(ClientInvite::new(bytes, reliable, agent.config.timing, now))
        } else {
            Self::NonInvite(ClientNonInvite::new(bytes, reliable, agent.config.timing, now))
        }
    }

    fn poll_output(&mut self) -> Option<ClientOutput> {
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
}

impl ClientEntry {
    /// Whether a CANCEL may be sent for it.
    pub(super) const fn is_proceeding(&self) -> bool {
        matches!(&self.machine, ClientMachine::Invite(machine) if machine.is_proceeding())
    }

    fn deadline(&self) -> Option<(Instant, SipTimer)> {
        let forget = self.forget_at.map(|at| (at, SipTimer::Abandoned));
        [self.machine.deadline(), forget].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    fn goes_by(&self, failed: &Flow) -> bool {
        let same_connection =
            self.flow.connection == failed.connection || self.flow.connection.is_none() || failed.connection.is_none();
        self.flow.transport == failed.transport && self.flow.remote == failed.remote && same_connection
    }
}

impl UserAgent {
    /// Sends a request that lacks Via in a transaction of its own, by `flow`. A CANCEL brings its Via along.
    pub(super) fn send_request(
        &mut self,
        trunk: usize,
        mut request: Request,
        flow: Flow,
        owner: Owner,
        now: Instant,
    ) -> TransactionKey {
        let attempts = self.volunteer(trunk, &mut request, &flow);
        let branch = match request.headers.top_branch().map(str::to_owned) {
            Some(branch) => branch,
            None => self.put_via(trunk, &mut request, &flow),
        };
        request.headers.set(HeaderName::UserAgent, self.config.product.clone());
        let (flow, small_path) = self.path_for_size(trunk, &mut request, flow);
        let key = TransactionKey::client(&branch, &request.method);
        let machine = ClientMachine::new(&request, &flow, self, now);
        let entry = ClientEntry {
            machine,
            flow,
            trunk,
            request,
            owner,
            acks: Vec::new(),
            early_cseqs: Vec::new(),
            small_path,
            attempts,
            forget_at: None,
        };
        self.clients.insert(key.clone(), Box::new(entry));
        self.pump_client(&key, None, now);
        key
    }

    /// Puts our Via on top; its branch.
    pub(super) fn put_via(&mut self, trunk: usize, request: &mut Request, flow: &Flow) -> String {
        let branch = self.new_branch();
        if let Some(trunk) = self.config.trunks.get(trunk) {
            let host = trunk.shown_host(flow.local);
            let via = Via::new(flow.transport.via_name(), host, Some(flow.local.port()), &branch);
            request.headers.insert_top(HeaderName::Via, via.to_string());
        }
        branch
    }

    /// A request too large for a datagram takes TCP where the target offers it (RFC 3261 18.1.1).
    fn path_for_size(&self, trunk: usize, request: &mut Request, flow: Flow) -> (Flow, Option<Flow>) {
        // The size is looked at last: it costs a whole serialisation, and most trunks have no other way.
        let trunk = self.config.trunks.get(trunk).filter(|trunk| {
            flow.transport == Transport::Udp
                && trunk.targets.iter().any(|target| target.tcp_for_large && target.address == flow.remote)
                && request.to_bytes().len() > limits::SIP_UDP_REQUEST_BYTES_MAX
        });
        let Some(stream) = trunk.and_then(|trunk| self.config.path_to(trunk, Transport::Tcp, flow.remote)) else {
            return (flow, None);
        };
        set_via_transport(request, &stream);
        (stream, Some(flow))
    }

    pub(super) fn response(&mut self, trunk: usize, flow: Flow, response: &Response, now: Instant) {
        let names = response.headers.top_branch().zip(response.headers.cseq().ok());
        let key = names.map(|(branch, cseq)| TransactionKey::client(branch, &cseq.method));
        let entry = key.and_then(|key| self.clients.get_mut(&key).map(|entry| (key, entry)));
        let Some((key, entry)) = entry.filter(|(_, entry)| entry.trunk == trunk) else {
            self.count(Counter::StrayResponse);
            return;
        };
        entry.small_path = None;
        // What follows goes by the stream that is known to work.
        if flow.transport.is_reliable() {
            entry.flow.connection = flow.connection;
        }
        let status = response.status;
        match &mut entry.machine {
            ClientMachine::Invite(machine) => {
                let is_failure = status.as_u16() >= 300;
                let ack = if is_failure { Request::ack_for(&entry.request, response).to_bytes() } else { Bytes::new() };
                machine.handle(client_invite::Input::Response { status, ack }, now);
            }
            ClientMachine::NonInvite(machine) => machine.handle(client_non_invite::Input::Response(status), now),
        }
        self.pump_client(&key, Some(response), now);
    }

    /// Drains a machine and tells its owner what it came to.
    fn pump_client(&mut self, key: &TransactionKey, response: Option<&Response>, now: Instant) {
        let Some(entry) = self.clients.get_mut(key) else { return };
        let mut outcome = None;
        while let Some(output) = entry.machine.poll_output() {
            match output {
                ClientOutput::Send(bytes) => self.output.push_back(Output::Send { flow: entry.flow, bytes }),
                ClientOutput::ResponseReceived => outcome = response.map(Outcome::Response),
                ClientOutput::TimedOut => outcome = Some(Outcome::TimedOut),
                ClientOutput::TransportFailed => outcome = Some(Outcome::TransportFailed),
            }
        }
        let owner = entry.owner;
        self.settle_client(key);
        if let Some(outcome) = outcome {
            self.tell_owner(owner, key, outcome, now);
        }
        if self.clients.get(key).is_some_and(|entry| entry.machine.is_terminated()) {
            self.forget_client(key);
        }
    }

    /// Brings the schedule up to date.
    pub(super) fn settle_client(&mut self, key: &TransactionKey) {
        let deadline = self.clients.get(key).and_then(|entry| entry.deadline());
        self.schedule.set(&Wake::Client(key.clone()), deadline);
    }

    pub(super) fn forget_client(&mut self, key: &TransactionKey) {
        self.clients.remove(key);
        self.schedule.set(&Wake::Client(key.clone()), None);
    }

    fn tell_owner(&mut self, owner: Owner, key: &TransactionKey, outcome: Outcome<'_>, now: Instant) {
        // The silence of a request that nobody waited for any more was counted when it was given up.
        let is_old_silence = matches!(owner, Owner::Abandoned | Owner::Nobody) && matches!(outcome, Outcome::TimedOut);
        if !is_old_silence {
            self.observe(key, outcome, now);
        }
        if let Outcome::Response(response) = outcome
            && self.authenticate(owner, key, response, now)
        {
            return;
        }
        match owner {
            Owner::Invite(leg) => self.invite_outcome(leg, key, outcome, now),
            Owner::Abandoned => self.abandoned_outcome(key, outcome, now),
            Owner::InDialog(leg, purpose) => self.in_dialog_outcome((leg, purpose), key, outcome, now),
            Owner::Line(trunk, line) => self.line_outcome((trunk, line), outcome, now),
            Owner::Probe(trunk, target) => self.probe_outcome(trunk, target, outcome, now),
            Owner::Nobody => {}
        }
    }

    /// Nobody waits for this INVITE: a provisional response gets CANCEL, a 2xx gets ACK and BYE.
    pub(super) fn abandoned_outcome(&mut self, key: &TransactionKey, outcome: Outcome<'_>, now: Instant) {
        let Outcome::Response(response) = outcome else { return };
        if response.status.is_success() {
            self.end_stray_call(key, response, now);
        } else if response.status.is_provisional() {
            let patience = self.config.timing.patience();
            if let Some(entry) = self.clients.get_mut(key).filter(|entry| entry.forget_at.is_none()) {
                entry.forget_at = Some(now + patience);
                self.settle_client(key);
                self.send_cancel(key, None, now);
            }
        }
    }

    /// CANCEL for an INVITE of ours, by the same path (RFC 3261 9.1).
    pub(super) fn send_cancel(&mut self, invite: &TransactionKey, reason: Option<String>, now: Instant) {
        let Some(entry) = self.clients.get(invite) else { return };
        let mut cancel = Request::cancel_for(&entry.request);
        if let Some(reason) = reason {
            cancel.headers.push(HeaderName::Reason, reason);
        }
        let (trunk, flow) = (entry.trunk, entry.flow);
        self.send_request(trunk, cancel, flow, Owner::Nobody, now);
    }

    pub(super) fn client_timeout(&mut self, key: &TransactionKey, now: Instant) {
        let Some(entry) = self.clients.get_mut(key) else { return };
        if entry.forget_at.is_some_and(|at| at <= now) && entry.is_proceeding() {
            self.forget_client(key);
            return;
        }
        entry.forget_at = entry.forget_at.filter(|at| *at > now);
        match &mut entry.machine {
            ClientMachine::Invite(machine) => machine.handle_timeout(now),
            ClientMachine::NonInvite(machine) => machine.handle_timeout(now),
        }
        self.pump_client(key, None, now);
    }

    /// A path is no more: requests on it fail, responses and calls look for another.
    pub(super) fn flow_failed(&mut self, failed: &Flow, now: Instant) {
        for entry in self.usages.values_mut().filter(|entry| entry.flow.connection.is_some()) {
            if entry.flow.connection == failed.connection && entry.flow.remote == failed.remote {
                entry.flow.connection = None;
            }
        }
        for entry in self.servers.values_mut() {
            if let Some(fallback) = entry.path.fallback.filter(|_| entry.path.flow == *failed) {
                entry.path.flow = fallback;
                entry.path.fallback = None;
            }
        }
        let affected: Vec<TransactionKey> =
            self.clients.iter().filter(|(_, entry)| entry.goes_by(failed)).map(|(key, _)| key.clone()).collect();
        for key in affected {
            self.client_path_failed(&key, now);
        }
    }

    fn client_path_failed(&mut self, key: &TransactionKey, now: Instant) {
        let Some(mut entry) = self.clients.remove(key) else { return };
        if let Some(datagrams) = entry.small_path.take() {
            set_via_transport(&mut entry.request, &datagrams);
            entry.flow = datagrams;
            entry.machine = ClientMachine::new(&entry.request, &datagrams, self, now);
        } else {
            match &mut entry.machine {
                // A stream that closed while it rings: the callee may still answer over another.
                ClientMachine::Invite(machine) if machine.is_proceeding() => entry.flow.connection = None,
                ClientMachine::Invite(machine) => machine.handle(client_invite::Input::TransportFailed, now),
                ClientMachine::NonInvite(machine) => machine.handle(client_non_invite::Input::TransportFailed, now),
            }
        }
        self.clients.insert(key.clone(), entry);
        self.pump_client(key, None, now);
    }
}

fn set_via_transport(request: &mut Request, flow: &Flow) {
    if let Ok(mut via) = request.headers.top_via() {
        flow.transport.via_name().clone_into(&mut via.transport);
        via.port = Some(flow.local.port());
        request.headers.set_top_via(&via);
    }
}
