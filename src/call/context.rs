//! What every phase of a call shares: its names, its parties, its record, and the way out for its wishes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;

use crate::call::AgentParty;
use crate::call::CallIds;
use crate::call::CallRecord;
use crate::call::CallTimer;
use crate::call::Cause;
use crate::call::Config;
use crate::call::Destination;
use crate::call::Output;
use crate::call::Partner;
use crate::call::PartnerWord;
use crate::call::TransferMethod;
use crate::call::TrunkPolicy;
use crate::call::recording_state::RecordingState;
use crate::clock::Clock;
use crate::ids::CallId;
use crate::ids::Extension;
use crate::ids::LegId;
use crate::ids::SignalingId;
use crate::ids::TrunkName;
use crate::pii::Pii;
use crate::recording;
use crate::recording::Obligation;
use crate::signaling;
use crate::signaling::AgentState;
use crate::signaling::Notification;
use crate::signaling::RequestToken;
use crate::sip;
use crate::sip::OutgoingInvite;
use crate::sip::Party;
use crate::timer::Timers;
use crate::worker;
use crate::worker::Gate;

/// See the [module](self).
#[derive(Debug)]
pub struct Context {
    /// Names of the call's parts.
    pub ids: CallIds,
    /// The agent's side; until somebody of a group accepts, its first member.
    pub agent: AgentParty,
    /// Everybody who knows of this call.
    pub audience: Vec<(SignalingId, Extension)>,
    /// What the trunk's calls must keep to.
    pub trunk: TrunkPolicy,
    /// The site's rules.
    pub config: Arc<Config>,
    /// The record as it stands.
    pub record: CallRecord,
    /// The other party's number, as it is now.
    pub party: String,
    /// The other party's name, where known.
    pub party_name: Option<String>,
    /// A name for a further trunk leg, should the other side transfer the call.
    pub spare_leg: Option<LegId>,
    /// Of an emergency call, the trunks that are still to try.
    pub emergency: Option<VecDeque<TrunkName>>,
    /// The call that this one is joined to, or was begun for. No agent is on either.
    pub partner: Option<Partner>,
    /// How far the recording is.
    pub recording: RecordingState,
    /// Pending timers.
    pub timers: Timers<CallTimer>,
    pub(super) clock: Clock,
    pub(super) started: Instant,
    pub(super) answered_at: Option<Instant>,
    /// When the recording's last frame was taken, where that was before the call's end.
    pub(super) recorded_until: Option<Instant>,
    outputs: VecDeque<Output>,
}

impl Context {
    /// A context for a call that begins at `now`.
    pub fn new(
        ids: CallIds,
        agent: AgentParty,
        trunk: TrunkPolicy,
        config: Arc<Config>,
        record: CallRecord,
        (clock, now): (Clock, Instant),
    ) -> Self {
        let recording = match trunk.recording {
            Obligation::Never => RecordingState::Unwanted,
            Obligation::Required | Obligation::BestEffort => RecordingState::Wanted,
        };
        let audience = vec![(agent.session, agent.extension.clone())];
        let party = record.remote_number.clone();
        Self {
            party,
            party_name: None,
            spare_leg: None,
            emergency: None,
            partner: None,
            recorded_until: None,
            ids,
            agent,
            audience,
            trunk,
            config,
            record,
            recording,
            timers: Timers::default(),
            clock,
            started: now,
            answered_at: None,
            outputs: VecDeque::with_capacity(crate::call::OUTPUTS_HINT),
        }
    }

    /// The next wish, oldest first.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Starts `timer`, `after` from `now`.
    pub fn start_timer(&mut self, timer: CallTimer, after: Duration, now: Instant) {
        self.timers.set(timer, now + after);
    }

    /// Asks the SIP task.
    pub fn sip(&mut self, command: sip::Command) {
        self.outputs.push_back(Output::Sip(command));
    }

    /// An INVITE to the call's trunk in the agent's name. A colleague sees the extension, which is what they can call
    /// back; the number is for those outside.
    pub fn outgoing_invite(&self, leg: LegId, called: String, offer: Bytes) -> OutgoingInvite {
        let is_internal = self.record.trunk.is_internal();
        let number = if is_internal { self.agent.extension.to_string() } else { self.agent.number.clone() };
        let from = Party { user: Pii::new(number), display_name: Some(Pii::new(self.agent.name.clone())) };
        OutgoingInvite {
            leg,
            trunk: self.record.trunk.clone(),
            called,
            from,
            session_id: self.ids.session,
            offer: Some(offer),
            replaces: None,
            anonymous: false,
            headers: Vec::new(),
            user_to_user: None,
            diverted_from: None,
        }
    }

    /// Asks the worker.
    pub fn worker(&mut self, command: worker::Command) {
        self.outputs.push_back(Output::Worker(command));
    }

    /// Tells the call's partner, where it has one.
    pub fn tell_partner(&mut self, word: PartnerWord) {
        if let Some(partner) = self.partner {
            self.tell_call(partner.call, word);
        }
    }

    /// Tells another call.
    pub fn tell_call(&mut self, to: CallId, word: PartnerWord) {
        self.outputs.push_back(Output::Partner { to, word });
    }

    /// Asks for a call to `destination` in the agent's name, to be joined to this one.
    pub fn launch(&mut self, destination: Destination) {
        let agent = Box::new(self.agent.clone());
        self.outputs.push_back(Output::Launch { destination, agent });
    }

    /// Tells the agent's browser, as long as there is an agent.
    pub fn notify(&mut self, notification: Notification) {
        if self.partner.is_some() {
            return;
        }
        self.notify_to(self.agent.session, notification);
    }

    /// Tells one browser.
    pub fn notify_to(&mut self, session: SignalingId, notification: Notification) {
        self.outputs.push_back(Output::Signaling { session, command: signaling::Command::Notify(notification) });
    }

    /// Sets what an agent says of their readiness.
    pub fn set_agent_state(&mut self, session: SignalingId, state: AgentState) {
        self.outputs.push_back(Output::Signaling { session, command: signaling::Command::SetState(state) });
    }

    /// Says yes to a request of the agent.
    pub fn grant(&mut self, token: RequestToken) {
        self.grant_to(self.agent.session, token);
    }

    /// Says yes to a request of one browser.
    pub fn grant_to(&mut self, session: SignalingId, token: RequestToken) {
        let command = signaling::Command::Reply { token, result: Ok(()) };
        self.outputs.push_back(Output::Signaling { session, command });
    }

    /// Says no to a request of the agent.
    pub fn deny(&mut self, token: RequestToken, code: &str, message: &str) {
        self.deny_to(self.agent.session, token, code, message);
    }

    /// Says no to a request of one browser.
    pub fn deny_to(&mut self, session: SignalingId, token: RequestToken, code: &str, message: &str) {
        let error = signaling::Error { code: code.to_owned(), message: message.to_owned(), retryable: false };
        let command = signaling::Command::Reply { token, result: Err(error) };
        self.outputs.push_back(Output::Signaling { session, command });
    }

    /// `agent` has the call from now on, with the browser leg `leg`.
    pub fn join(&mut self, agent: AgentParty, leg: LegId) {
        self.record.extension = agent.extension.clone();
        self.record.agent_user = Some(agent.user.clone());
        self.audience = vec![(agent.session, agent.extension.clone())];
        self.agent = agent;
        self.ids.agent_leg = leg;
    }

    /// The agent is on another session from now on.
    pub fn reseat(&mut self, session: SignalingId) {
        self.agent.session = session;
        self.audience = vec![(session, self.agent.extension.clone())];
    }

    /// The agent leaves, and the call goes on with `partner`'s party in their place.
    pub fn part_with_agent(&mut self, cause: Cause, partner: Partner) {
        let (call, reason) = (self.ids.call, cause.word().to_owned());
        self.notify(Notification::Ended { call, reason, sip_code: None, q850: Some(cause.q850()) });
        self.audience.clear();
        self.partner = Some(partner);
        self.record.joined_with = Some(partner.call);
        self.publish_record();
    }

    /// Whether `call` is the one that this is joined to.
    pub fn is_joined_to(&self, call: CallId) -> bool {
        self.partner.is_some_and(|partner| partner.call == call)
    }

    /// The session of the partner takes the browser's place.
    pub fn join_media(&mut self, partner: Partner) {
        let Partner { call: partner, worker } = partner;
        self.worker(worker::Command::Join { call: self.ids.call, partner, worker });
    }

    /// How a transfer to somebody on `trunk` is carried out: another trunk's PBX cannot be asked for this call's.
    pub fn transfer_method(&self, trunk: &TrunkName) -> TransferMethod {
        if *trunk == self.record.trunk { self.trunk.transfer } else { TransferMethod::Bridge }
    }

    /// Keeps how a leg was, of the two that talk.
    pub fn note_quality(&mut self, leg: LegId, quality: &worker::LegQuality) {
        let (is_agent, is_trunk) = (leg == self.ids.agent_leg, leg == self.ids.trunk_leg);
        if (is_agent || is_trunk) && *quality != worker::LegQuality::default() {
            let known = self.record.quality.get_or_insert_default();
            let known = if is_agent { &mut known.agent } else { &mut known.trunk };
            known.take(quality);
        }
    }

    /// Asks the recorder.
    pub fn recorder(&mut self, command: recording::Command) {
        self.outputs.push_back(Output::Recorder(command));
    }

    /// Lets an operator hear of it.
    pub fn alarm(&mut self, what: &'static str) {
        self.outputs.push_back(Output::Alarm(what));
    }

    /// Hands the record out as it stands.
    pub fn publish_record(&mut self) {
        self.outputs.push_back(Output::Record(Box::new(self.record.clone())));
    }

    /// Opens or shuts the way between the legs.
    pub fn set_gate(&mut self, gate: Gate) {
        let call = self.ids.call;
        self.worker(worker::Command::SetGate { call, gate });
    }

    /// The next trunk of an emergency call whose trunk failed it, with its policy. `false` where there is none.
    pub fn take_next_trunk(&mut self) -> bool {
        while let Some(name) = self.emergency.as_mut().and_then(VecDeque::pop_front) {
            if let Some(policy) = self.config.trunks.get(&name) {
                self.trunk = policy.clone();
                self.record.trunk = name;
                return true;
            }
        }
        false
    }

    /// Notes the answer in the record and at the recorder, and tells the agent.
    pub fn answered(&mut self, now: Instant) {
        let call = self.ids.call;
        self.record.answered = Some(self.clock.wall(now));
        self.answered_at = Some(now);
        if self.recording == RecordingState::Active {
            self.recorder(recording::Command::Answered { recording: self.ids.recording, at: now });
        }
        self.notify(Notification::Answered { call });
        self.publish_record();
    }

    /// Notes the end in the record, and tells the agent.
    pub fn ended(&mut self, cause: Cause, now: Instant) {
        let answered = self.record.answered.is_some();
        let sip_code = (!answered).then_some(cause.sip_status());
        self.record.ended = Some(self.clock.wall(now));
        self.record.end_reason = Some(cause.word().into());
        self.record.sip_status = sip_code;
        self.record.q850 = Some(cause.q850());
        let (call, reason) = (self.ids.call, cause.word().to_owned());
        let ended = Notification::Ended { call, reason, sip_code, q850: Some(cause.q850()) };
        for (session, _) in self.audience.clone() {
            self.notify_to(session, ended.clone());
        }
        self.publish_record();
    }
}
