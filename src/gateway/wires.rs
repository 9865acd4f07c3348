//! The ways between the rooms, as the call room sees them.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::mpsc;

use crate::auth::Identity;
use crate::auth::Role;
use crate::auth::io::desk::Desk;
use crate::auth::session_token::LoginId;
use crate::auth::session_token::Purpose;
use crate::call::AgentParty;
use crate::call::CallRecord;
use crate::call::admission::AgentStanding;
use crate::call::io::rooms::Full;
use crate::call::io::rooms::Rooms;
use crate::clock::Clock;
use crate::ids::Extension;
use crate::ids::SignalingId;
use crate::media::tap::TapFrame;
use crate::recording;
use crate::recording::io::thread::RecorderHandle;
use crate::recording::io::thread::TapSource;
use crate::signaling;
use crate::signaling::AgentState;
use crate::signaling::io::presence::Presence;
use crate::signaling::io::socket::TokenVerifier;
use crate::signaling::session::Verified;
use crate::sip;
use crate::sip::io::task::SipHandle;
use crate::telemetry::metrics::ALARMS;
use crate::trace::Observation;
use crate::trace::io::Tracer;
use crate::worker;
use crate::worker::io::recorder_ring::TapConsumer;
use crate::worker::io::thread::WorkerHandle;

/// Handles of every room.
pub(super) struct Wires {
    pub(super) sip: SipHandle,
    pub(super) workers: Vec<WorkerHandle>,
    pub(super) recorder: RecorderHandle,
    pub(super) presence: Arc<Presence>,
    pub(super) records: mpsc::Sender<CallRecord>,
    pub(super) tracer: Tracer,
}

impl Rooms for Wires {
    fn sip(&self, command: sip::Command) -> Result<(), Full> {
        self.sip.try_send(command).map_err(|_full| Full("SIP task"))
    }

    fn worker(&self, worker: usize, command: worker::Command) -> Result<(), Full> {
        let worker = self.workers.get(worker).ok_or(Full("media worker"))?;
        worker.try_send(command).map_err(|_full| Full("media worker"))
    }

    fn workers(&self) -> usize {
        self.workers.len()
    }

    fn recorder(&self, command: recording::Command) -> Result<(), Full> {
        self.recorder.try_send(command).map_err(|_full| Full("recorder"))
    }

    fn signaling(&self, session: SignalingId, command: signaling::Command) {
        if !self.presence.send(session, command) {
            tracing::debug!(%session, "a browser that is gone was to be told something");
        }
    }

    fn record(&self, record: CallRecord) {
        if let Err(error) = self.records.try_send(record) {
            tracing::error!("a call record is lost: {error}");
            metrics::counter!(ALARMS.name, "what" => "call_record_lost").increment(1);
        }
    }

    fn trace(&self, observation: Observation) {
        self.tracer.see(observation);
    }

    fn agent(&self, extension: &Extension) -> Option<AgentStanding> {
        let snapshot = self.presence.agent(extension)?;
        let session = *snapshot.sessions.first()?;
        // A browser without a socket cannot ring; its agent counts as not there until it is back.
        let state = if snapshot.connected { snapshot.state } else { AgentState::Offline };
        Some(AgentStanding { party: party(session, snapshot.identity)?, state })
    }

    fn agent_of(&self, session: SignalingId) -> Option<AgentParty> {
        party(session, self.presence.identity(session)?)
    }
}

fn party(session: SignalingId, identity: Identity) -> Option<AgentParty> {
    let extension = identity.extension.clone().filter(|_| identity.has(Role::Agent))?;
    let number = identity.number.unwrap_or_else(|| extension.to_string());
    Some(AgentParty { session, user: identity.user, name: identity.display_name, extension, number })
}

/// The ring of one worker, as the recorder reads it.
pub(super) struct Ring(pub(super) TapConsumer);

impl TapSource for Ring {
    fn pop(&mut self) -> Option<TapFrame> {
        self.0.listen();
        self.0.pop()
    }
}

/// Lets a signalling token in that the login desk issued and nobody revoked.
pub(super) struct Tokens {
    pub(super) desk: Arc<Desk>,
    pub(super) clock: Clock,
}

#[async_trait]
impl TokenVerifier for Tokens {
    async fn verify(&self, token: &str) -> Option<Verified> {
        let wall = self.clock.wall(self.clock.now());
        let claims = self.desk.verify(Purpose::Signaling, token, wall).ok()?;
        let login = Some(login_name(claims.login));
        (!self.desk.is_revoked(&claims)).then_some(Verified { identity: claims.identity, login })
    }
}

/// The name under which signalling knows a login.
pub(super) fn login_name(login: LoginId) -> String {
    login.to_hex()
}
