//! Whole calls, played against the machine under virtual time. Only the words of the other rooms are spoken here.

#![expect(clippy::wildcard_enum_match_arm, reason = "a test picks out the one output that it asks for")]

mod answers;
mod bridging;
mod chance;
mod groups;
mod holding;
mod inbound;
mod moving;
mod outbound;
mod quality;
mod reattaching;
mod transferring;

use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::call::AgentParty;
use crate::call::Call;
use crate::call::CallIds;
use crate::call::Candidate;
use crate::call::Cause;
use crate::call::Config;
use crate::call::Hunt;
use crate::call::Input;
use crate::call::Output;
use crate::call::Partner;
use crate::call::SrtpPolicy;
use crate::call::TransferMethod;
use crate::call::TrunkPolicy;
use crate::call::call::Ground;
use crate::clock::Clock;
use crate::ids::CallId;
use crate::ids::Extension;
use crate::ids::LegId;
use crate::ids::RecordingId;
use crate::ids::SessionId;
use crate::ids::SignalingId;
use crate::ids::TrunkName;
use crate::pii::Pii;
use crate::recording;
use crate::recording::Obligation;
use crate::routing::DialPlan;
use crate::routing::DialRule;
use crate::routing::ExtensionRange;
use crate::routing::Group;
use crate::routing::Strategy;
use crate::signaling;
use crate::signaling::CallRequest;
use crate::signaling::Notification;
use crate::signaling::RequestToken;
use crate::sip;
use crate::sip::Invitation;
use crate::sip::Party;
use crate::worker;
use crate::worker::MediaSource;
use crate::worker::TapId;
use crate::worker::TrunkCodec;

pub(crate) const OFFER: &str = "v=0\r\no=pbx 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n\
    m=audio 4000 RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n";

/// One call and what it asked for, oldest first.
pub(super) struct Stage {
    pub(super) call: Call,
    pub(super) ids: CallIds,
    pub(super) now: Instant,
    pub(super) outputs: Vec<Output>,
    tokens: u64,
    /// An INVITE with Replaces came.
    pub(super) replaced: bool,
}

pub(super) fn ids() -> CallIds {
    let mut rng = StdRng::seed_from_u64(5);
    CallIds {
        call: CallId::generate(1, &mut rng),
        session: SessionId::generate(&mut rng),
        trunk_leg: LegId::generate(1, &mut rng),
        agent_leg: LegId::generate(1, &mut rng),
        recording: RecordingId::generate(1, &mut rng),
        tap: TapId(1),
        sdp_session: 77,
        srtp: crate::sdp::SrtpSecret::generate(&mut rng),
    }
}

pub(super) fn agent_session() -> SignalingId {
    SignalingId::generate(1, &mut StdRng::seed_from_u64(6))
}

pub(crate) fn ground(obligation: Obligation, clock: Clock) -> Ground {
    let ids = ids();
    let agent = AgentParty {
        session: agent_session(),
        user: "alice".into(),
        name: "Alice".into(),
        extension: Extension::new("1001"),
        number: "1001".into(),
    };
    let trunk = TrunkPolicy {
        media_address: [127, 0, 0, 1].into(),
        media_advertised: [192, 0, 2, 1].into(),
        codecs: vec![TrunkCodec::Pcmu],
        ptime_ms: 20,
        recording: obligation,
        srtp: None,
        media_source: MediaSource::Exact,
        hold_style: crate::call::HoldStyle::Local,
        dtmf: crate::call::DtmfMethod::Rfc4733,
        transfer: TransferMethod::Refer,
        records_after_transfer: false,
    };
    Ground { ids, agent, trunk, config: Arc::new(Config::default()), clock, emergency: None }
}

pub(crate) fn invitation(offer: Option<&str>) -> Invitation {
    let party = |user: &str| Party { user: Pii::new(user.to_owned()), display_name: None };
    Invitation {
        leg: ids().trunk_leg,
        trunk: TrunkName::new("pbx"),
        called: "1001".into(),
        from: party("600"),
        to: party("1001"),
        sip_call_id: "abc@192.0.2.9".into(),
        session_id: None,
        local_address: [127, 0, 0, 1].into(),
        offer: offer.map(|text| Bytes::copy_from_slice(text.as_bytes())),
        replaces: None,
        anonymous: false,
        diverted_from: Vec::new(),
        user_to_user: None,
        headers: Vec::new(),
    }
}

/// Extensions 1000–1999; 6xx by the trunk `pbx`, 9xx by another.
pub(crate) fn with_dial_plan(ground: &mut Ground) {
    let rule = |prefix: &str, trunk: &str| DialRule {
        prefix: prefix.into(),
        digits_min: 3,
        digits_max: 3,
        trunk: TrunkName::new(trunk),
        strip: 0,
        prepend: String::new(),
    };
    let mut dial_plan = DialPlan::default();
    dial_plan.extensions.extend(ExtensionRange::new("1000", "1999"));
    dial_plan.rules.extend([rule("6", "pbx"), rule("9", "carrier")]);
    let internal_trunk = Some(TrunkName::new("pbx"));
    ground.config = Arc::new(Config { dial_plan, internal_trunk, ..Config::default() });
}

/// A group whose members ring at once.
pub(crate) fn a_group(extension: &str, members: &[&str]) -> Group {
    Group {
        extension: Extension::new(extension),
        members: members.iter().map(|member| Extension::new(*member)).collect(),
        strategy: Strategy::Parallel,
        ring_time: Duration::from_secs(15),
    }
}

/// A re-INVITE's offer that says `direction`, in `version`.
pub(crate) fn offer_saying(direction: &str, version: u32) -> Bytes {
    format!("{OFFER}a={direction}\r\n").replace("o=pbx 1 1", &format!("o=pbx 1 {version}")).into()
}

/// The hunt of a call for one agent who is free.
pub(crate) fn alone(ground: &Ground) -> Hunt {
    let candidate = Candidate { agent: ground.agent.clone(), leg: ground.ids.agent_leg, waiting: false };
    let ring_time = ground.config.no_answer;
    Hunt { candidates: vec![candidate], one_by_one: false, ring_time, is_group: false }
}

impl Stage {
    pub(super) fn inbound(obligation: Obligation, offer: Option<&str>) -> Self {
        let clock = Clock::system();
        let now = clock.now();
        let ground = ground(obligation, clock);
        let hunt = alone(&ground);
        let call = Call::inbound(ground, hunt, invitation(offer), now);
        Self { call, ids: ids(), now, outputs: Vec::new(), tokens: 0, replaced: false }.drained()
    }

    /// A call that begins with an INVITE as `edit` makes it.
    pub(super) fn inbound_as(edit: impl Fn(&mut Invitation)) -> Self {
        let clock = Clock::system();
        let now = clock.now();
        let ground = ground(Obligation::Never, clock);
        let hunt = alone(&ground);
        let mut invitation = invitation(Some(OFFER));
        edit(&mut invitation);
        let call = Call::inbound(ground, hunt, invitation, now);
        Self { call, ids: ids(), now, outputs: Vec::new(), tokens: 0, replaced: false }.drained()
    }

    /// A ringing call of `hunt`, at a site that `edit` sets up.
    pub(super) fn inbound_at(edit: impl Fn(&mut Ground), hunt: impl Fn(&Ground) -> Hunt) -> Self {
        let clock = Clock::system();
        let now = clock.now();
        let mut ground = ground(Obligation::Never, clock);
        edit(&mut ground);
        let hunt = hunt(&ground);
        let call = Call::inbound(ground, hunt, invitation(Some(OFFER)), now);
        Self { call, ids: ids(), now, outputs: Vec::new(), tokens: 0, replaced: false }.drained()
    }

    pub(super) fn outbound(obligation: Obligation) -> Self {
        let clock = Clock::system();
        let now = clock.now();
        let mut ground = ground(obligation, clock);
        with_dial_plan(&mut ground);
        let call = Call::outbound(ground, TrunkName::new("pbx"), "600".into(), now);
        Self { call, ids: ids(), now, outputs: Vec::new(), tokens: 0, replaced: false }.drained()
    }

    /// An emergency call on a trunk whose recordings are required; `others` are tried afterwards.
    pub(super) fn emergency(others: &[&str]) -> Self {
        let clock = Clock::system();
        let now = clock.now();
        let mut ground = ground(Obligation::Required, clock);
        let others: Vec<TrunkName> = others.iter().map(|name| TrunkName::new(*name)).collect();
        let trunks = others.iter().map(|name| (name.clone(), ground.trunk.clone())).collect();
        ground.config = Arc::new(Config { trunks, ..Config::default() });
        ground.emergency = Some(others);
        let call = Call::outbound(ground, TrunkName::new("pbx"), "112".into(), now);
        Self { call, ids: ids(), now, outputs: Vec::new(), tokens: 0, replaced: false }.drained()
    }

    /// A call on a trunk whose transfers are carried out like that.
    pub(super) fn of_chance(outbound: bool, obligation: Obligation, transfer: TransferMethod) -> Self {
        let clock = Clock::system();
        let now = clock.now();
        let mut ground = ground(obligation, clock);
        ground.trunk.transfer = transfer;
        with_dial_plan(&mut ground);
        let call = if outbound {
            Call::outbound(ground, TrunkName::new("pbx"), "600".into(), now)
        } else {
            let hunt = alone(&ground);
            Call::inbound(ground, hunt, invitation(Some(OFFER)), now)
        };
        Self { call, ids: ids(), now, outputs: Vec::new(), tokens: 0, replaced: false }.drained()
    }

    /// A call to 600 that `partner` asked for.
    pub(super) fn launched(partner: Partner) -> Self {
        let clock = Clock::system();
        let now = clock.now();
        let mut ground = ground(Obligation::Required, clock);
        with_dial_plan(&mut ground);
        let destination = ground.config.destination("600").unwrap();
        let call = Call::launched(ground, destination, partner, now);
        Self { call, ids: ids(), now, outputs: Vec::new(), tokens: 0, replaced: false }.drained()
    }

    pub(super) fn outbound_over_srtp(srtp: SrtpPolicy) -> Self {
        let clock = Clock::system();
        let now = clock.now();
        let ground = ground(Obligation::Never, clock);
        let ground = Ground { trunk: TrunkPolicy { srtp: Some(srtp), ..ground.trunk.clone() }, ..ground };
        let call = Call::outbound(ground, TrunkName::new("pbx"), "600".into(), now);
        Self { call, ids: ids(), now, outputs: Vec::new(), tokens: 0, replaced: false }.drained()
    }

    fn drained(mut self) -> Self {
        self.drain();
        self
    }

    fn drain(&mut self) {
        while let Some(output) = self.call.poll_output() {
            self.outputs.push(output);
        }
    }

    pub(super) fn tell(&mut self, input: Input) {
        self.call.handle(input, self.now);
        self.drain();
    }

    pub(super) fn worker(&mut self, leg: LegId, kind: worker::EventKind) {
        let call = self.ids.call;
        self.tell(Input::Worker(worker::Event { call, leg: Some(leg), kind }));
    }

    pub(super) fn ask(&mut self, request: CallRequest) {
        // An agent who has left may still ask.
        let from = self.call.standing().audience.first().map_or_else(agent_session, |(session, _)| *session);
        self.ask_as(from, request);
    }

    pub(super) fn ask_as(&mut self, from: SignalingId, request: CallRequest) {
        self.tokens += 1;
        self.tell(Input::Request { from, token: RequestToken(self.tokens), request });
    }

    pub(super) fn requests(&self) -> u64 {
        self.tokens
    }

    pub(super) fn sip(&mut self, event: sip::Event) {
        self.tell(Input::Sip(event));
    }

    /// Lets time pass, firing what is due on the way.
    pub(super) fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some((at, _)) = self.call.poll_timeout().filter(|(at, _)| *at <= until) {
            self.now = at.max(self.now);
            self.call.handle_timeout(self.now);
            self.drain();
        }
        self.now = until;
    }

    /// Both legs offered and bound, as a worker would report.
    pub(super) fn legs_made(&mut self) {
        self.worker(self.ids.agent_leg, worker::EventKind::PeerOffered { sdp: "our offer".into() });
        let local = ([127, 0, 0, 1], 20_000).into();
        self.worker(self.ids.trunk_leg, worker::EventKind::TrunkBound { local });
    }

    pub(super) fn peer_connected(&mut self) {
        self.worker(self.ids.agent_leg, worker::EventKind::PeerConnected);
    }

    pub(super) fn recorder_says(&mut self, event: recording::EventKind) {
        self.tell(Input::Recorder(event));
    }

    /// An inbound call whose audio crosses.
    pub(super) fn talking() -> Self {
        let mut stage = Self::inbound(Obligation::Required, Some(OFFER));
        stage.legs_made();
        stage.ask(CallRequest::Alerting);
        stage.ask(CallRequest::Transport { sdp: "answer".into() });
        stage.peer_connected();
        stage.ask(CallRequest::Accept);
        stage.recorder_says(recording::EventKind::Recording);
        let leg = stage.ids.trunk_leg;
        stage.sip(sip::Event::Acknowledged { leg, sdp: None });
        assert_eq!(stage.call.phase_name(), "established");
        stage.outputs.clear();
        stage
    }

    /// An inbound call whose audio crosses, at a site that `edit` sets up, on a trunk without recordings.
    pub(super) fn talking_at(edit: impl Fn(&mut Ground)) -> Self {
        let mut stage = Self::inbound_at(
            |ground| {
                with_dial_plan(ground);
                edit(ground);
            },
            alone,
        );
        stage.legs_made();
        stage.ask(CallRequest::Alerting);
        stage.peer_connected();
        stage.ask(CallRequest::Accept);
        let leg = stage.ids.trunk_leg;
        stage.sip(sip::Event::Acknowledged { leg, sdp: None });
        assert_eq!(stage.call.phase_name(), "established");
        stage.outputs.clear();
        stage
    }

    /// How often a command to the SIP side was given.
    pub(super) fn sip_count(&self, wanted: impl Fn(&sip::Command) -> bool) -> usize {
        self.sip_commands().into_iter().filter(|command| wanted(command)).count()
    }

    /// The sessions that were told something.
    pub(super) fn told(&self, wanted: impl Fn(&Notification) -> bool) -> Vec<SignalingId> {
        let told = |output: &Output| match output {
            Output::Signaling { session, command: signaling::Command::Notify(notice) } if wanted(notice) => {
                Some(*session)
            }
            _ => None,
        };
        self.outputs.iter().filter_map(told).collect()
    }

    pub(super) fn sip_commands(&self) -> Vec<&sip::Command> {
        self.outputs
            .iter()
            .filter_map(|output| if let Output::Sip(command) = output { Some(command) } else { None })
            .collect()
    }

    pub(super) fn refused_with(&self) -> Option<u16> {
        self.sip_commands().iter().find_map(|command| match command {
            sip::Command::Refuse { refusal, .. } => Some(refusal.status.as_u16()),
            _ => None,
        })
    }

    pub(super) fn accepted(&self) -> bool {
        self.sip_commands().iter().any(|command| matches!(command, sip::Command::Accept { .. }))
    }

    pub(super) fn said_bye(&self) -> bool {
        self.sip_commands().iter().any(|command| matches!(command, sip::Command::Bye { .. }))
    }

    pub(super) fn worker_got(&self, wanted: impl Fn(&worker::Command) -> bool) -> bool {
        self.outputs.iter().any(|output| matches!(output, Output::Worker(command) if wanted(command)))
    }

    pub(super) fn gate_opened(&self) -> bool {
        self.worker_got(|command| matches!(command, worker::Command::SetGate { gate, .. } if gate.to_trunk))
    }

    pub(super) fn recorder_got(&self, wanted: impl Fn(&recording::Command) -> bool) -> bool {
        self.outputs.iter().any(|output| matches!(output, Output::Recorder(command) if wanted(command)))
    }

    pub(super) fn notified(&self, wanted: impl Fn(&Notification) -> bool) -> bool {
        self.outputs
            .iter()
            .any(|output| matches!(output, Output::Signaling { command: signaling::Command::Notify(notice), .. } if wanted(notice)))
    }

    pub(super) fn replies(&self) -> Vec<(u64, bool)> {
        let reply = |output: &Output| match output {
            Output::Signaling { command: signaling::Command::Reply { token, result }, .. } => {
                Some((token.0, result.is_ok()))
            }
            _ => None,
        };
        self.outputs.iter().filter_map(reply).collect()
    }

    pub(super) fn ended_as(&self) -> Option<Cause> {
        self.call.outcome()
    }
}

/// A record as a call publishes it first.
pub(super) fn a_record() -> crate::call::CallRecord {
    let stage = Stage::inbound(Obligation::Never, Some(OFFER));
    let published = stage.outputs.into_iter().find_map(|output| match output {
        Output::Record(record) => Some(*record),
        _ => None,
    });
    published.unwrap()
}
