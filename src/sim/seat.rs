//! One call's place in the world: its PBX's parties, its pages, its media, and the call itself while there is one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngCore as _, SeedableRng as _};

use crate::call::call::Ground;
use crate::call::{
    AgentParty, Call, CallIds, CallRecord, Candidate, Cause, Config, Destination, DtmfMethod, HoldStyle, Hunt, Output,
    PartnerWord, TransferMethod, TrunkPolicy,
};
use crate::clock::Clock;
use crate::ids::{CallId, Extension, LegId, RecordingId, SessionId, SignalingId};
use crate::recording::{CallDirection, Obligation};
use crate::sdp::SrtpSecret;
use crate::sim::browser::Browser;
use crate::sim::media::Media;
use crate::sim::peer::{Identity, Peer};
use crate::sim::script::{CallScript, PeerScript};
use crate::sip;
use crate::sip::message::{Host, SipUri};
use crate::worker::{MediaSource, TapId, TrunkCodec};

/// Parties of one call at the PBX, at most: a redirection and transfers bring new ones.
const PEERS_MAX: usize = 6;
/// Numbers of the parties of one call are so far apart.
const PEER_STEP: usize = 10;

/// See the [module](self).
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is drawn or noted by itself, and none implies another")]
pub(super) struct Seat {
    pub(super) number: usize,
    pub(super) obligation: Obligation,
    pub(super) direction: CallDirection,
    pub(super) hold_style: HoldStyle,
    pub(super) dtmf: DtmfMethod,
    transfer: TransferMethod,
    records_after_transfer: bool,
    /// The PBX's parties, the first of them the one that the call begins with.
    pub(super) peers: Vec<Peer>,
    target: PeerScript,
    replaced: Option<Duration>,
    replaced_at: Option<Instant>,
    start: Instant,
    gateway: SocketAddr,
    /// The pages: of a group, one for each member.
    pub(super) browsers: Vec<Browser>,
    one_by_one: bool,
    legs_of_agents: Vec<LegId>,
    pub(super) media: Media,
    /// When the page dials, for an outbound call.
    pub(super) dials_at: Option<Instant>,
    pub(super) ids: CallIds,
    /// Every trunk leg that the call has or had, as the registry keeps them.
    pub(super) legs: Vec<LegId>,
    pub(super) call: Option<Call>,
    pub(super) outcome: Option<Cause>,
    /// The registry refused it: nobody was there.
    pub(super) refused_at_the_door: bool,
    pub(super) record: Option<CallRecord>,
    /// The leg whose REFER the call took, until its result is reported.
    pub(super) referring: Option<LegId>,
    /// Keys by INFO that the call was told of while they could reach its agent.
    pub(super) keys_told: usize,
    /// Calls that its call wants, until the world begins them.
    pub(super) launches: Vec<(Destination, AgentParty)>,
    /// Its call was begun for another one: no page knows of it.
    pub(super) is_launched: bool,
    /// What its call told others, until the world passes it on.
    pub(super) partner_words: Vec<(CallId, PartnerWord)>,
    pub(super) faults: Vec<String>,
}

impl Seat {
    pub(super) fn new(
        number: usize,
        script: CallScript,
        (start, gateway): (Instant, SocketAddr),
        rng: &mut StdRng,
    ) -> Self {
        let begins = start + script.begins;
        let inbound = script.direction == CallDirection::Inbound;
        let identity = Identity { number, call: number, replaces: None };
        let called = called_uri(number, gateway);
        let mut ids = ids(rng);
        let legs_of_agents: Vec<LegId> = script.browsers.iter().map(|_| LegId::generate(1, rng)).collect();
        ids.agent_leg = legs_of_agents.first().copied().unwrap_or(ids.agent_leg);
        Self {
            number,
            obligation: script.obligation,
            direction: script.direction,
            hold_style: script.hold_style,
            dtmf: script.dtmf,
            transfer: script.transfer,
            records_after_transfer: script.records_after_transfer,
            peers: vec![Peer::new(identity, script.peer, called, (start, inbound.then_some(begins)))],
            target: script.target,
            replaced: script.replaced,
            replaced_at: None,
            start,
            gateway,
            browsers: script.browsers.into_iter().map(|browser| Browser::new(browser, number, begins)).collect(),
            one_by_one: script.one_by_one,
            legs_of_agents,
            media: Media::new(script.media, StdRng::seed_from_u64(rng.next_u64())),
            dials_at: (!inbound).then_some(begins),
            legs: vec![ids.trunk_leg],
            ids,
            call: None,
            outcome: None,
            refused_at_the_door: false,
            record: None,
            referring: None,
            keys_told: 0,
            launches: Vec::new(),
            is_launched: false,
            partner_words: Vec::new(),
            faults: Vec::new(),
        }
    }

    /// The place of a call that another one wanted. Its party at the PBX is found at that one's seat.
    pub(super) fn launched(
        number: usize,
        script: CallScript,
        (start, gateway): (Instant, SocketAddr),
        rng: &mut StdRng,
    ) -> Self {
        let seat = Self::new(number, script, (start, gateway), rng);
        Self {
            obligation: Obligation::Never,
            direction: CallDirection::Outbound,
            peers: Vec::new(),
            browsers: Vec::new(),
            dials_at: None,
            replaced: None,
            is_launched: true,
            ..seat
        }
    }

    pub(super) fn next_at(&self) -> Option<Instant> {
        let call = self.call.as_ref().and_then(|call| call.poll_timeout().map(|(at, _)| at));
        let around = [self.media.next_at(), self.dials_at, self.replaced_at, call];
        let peers = self.peers.iter().filter_map(Peer::poll_timeout);
        let browsers = self.browsers.iter().filter_map(Browser::next_at);
        around.into_iter().flatten().chain(peers).chain(browsers).min()
    }

    /// The session of a page.
    pub(super) fn session(&self, page: usize) -> SignalingId {
        self.session_after(page, self.browsers.get(page).map_or(0, Browser::reloads))
    }

    fn session_after(&self, page: usize, reloads: u32) -> SignalingId {
        let name = u128::from(reloads) << 64 | (self.number * 100 + page + 1) as u128;
        SignalingId::from_uuid(uuid::Uuid::from_u128(name))
    }

    /// The page of a session, and whether that was there before its last reload.
    fn page_of(&mut self, session: SignalingId) -> Option<(&mut Browser, bool)> {
        let sessions = |page: usize, browser: &Browser| {
            (0..=browser.reloads()).rev().position(|reloads| self.session_after(page, reloads) == session)
        };
        let mut pages = self.browsers.iter().enumerate();
        let (page, age) = pages.find_map(|(page, browser)| Some((page, sessions(page, browser)?)))?;
        self.browsers.get_mut(page).map(|browser| (browser, age > 0))
    }

    /// A further party at the PBX, who is called in another's place.
    pub(super) fn add_target(&mut self) -> Option<&mut Peer> {
        self.add_peer(None, None)
    }

    fn add_peer(&mut self, replaces: Option<String>, begins: Option<Instant>) -> Option<&mut Peer> {
        if self.peers.len() >= PEERS_MAX {
            return None;
        }
        let number = self.number + PEER_STEP * self.peers.len();
        let identity = Identity { number, call: self.number, replaces };
        let called = called_uri(self.number, self.gateway);
        self.peers.push(Peer::new(identity, self.target.clone(), called, (self.start, begins)));
        self.peers.last_mut()
    }

    /// Somebody at the PBX takes the first party's place, once that is up and the time has come.
    pub(super) fn replace_peer(&mut self, now: Instant) {
        let dialog = self.peers.first().and_then(Peer::to_be_replaced);
        if self.replaced_at.is_none() {
            self.replaced_at = self.replaced.take_if(|_| dialog.is_some()).map(|after| now + after);
        }
        if self.replaced_at.take_if(|at| *at <= now).is_some() && dialog.is_some() {
            self.add_peer(dialog, Some(now));
        }
    }

    fn party(&self, page: usize) -> AgentParty {
        let number = self.number;
        AgentParty {
            session: self.session(page),
            user: format!("agent{number}-{page}"),
            name: format!("Agent {number} {page}"),
            extension: Extension::new(format!("100{number}{page}")),
            number: format!("100{number}"),
        }
    }

    /// The agents who are there: those ring.
    pub(super) fn hunt(&self, config: &Config) -> Option<Hunt> {
        let there = self.browsers.iter().zip(&self.legs_of_agents).enumerate().filter(|(_, (page, _))| !page.is_gone());
        let candidates: Vec<Candidate> =
            there.map(|(page, (_, leg))| Candidate { agent: self.party(page), leg: *leg, waiting: false }).collect();
        let (one_by_one, is_group) = (self.one_by_one, self.browsers.len() > 1);
        (!candidates.is_empty()).then_some(Hunt { candidates, one_by_one, ring_time: config.no_answer, is_group })
    }

    pub(super) fn ground(&self, agent: AgentParty, leg: LegId, config: &Arc<Config>, clock: Clock) -> Ground {
        let trunk = TrunkPolicy {
            media_address: [192, 0, 2, 1].into(),
            media_advertised: [192, 0, 2, 1].into(),
            codecs: vec![TrunkCodec::Pcmu, TrunkCodec::Pcma],
            ptime_ms: 20,
            recording: self.obligation,
            srtp: None,
            media_source: MediaSource::Exact,
            hold_style: self.hold_style,
            dtmf: self.dtmf,
            transfer: self.transfer,
            records_after_transfer: self.records_after_transfer,
        };
        let ids = CallIds { agent_leg: leg, ..self.ids };
        Ground { ids, agent, trunk, config: Arc::clone(config), clock, emergency: None }
    }

    /// What an agent who dials stands on.
    pub(super) fn ground_of_dialler(&self, config: &Arc<Config>, clock: Clock) -> Ground {
        self.ground(self.party(0), self.ids.agent_leg, config, clock)
    }

    /// As a call's task does; what is for the SIP task is given back.
    pub(super) fn carry_out(&mut self, now: Instant) -> Vec<sip::Command> {
        let mut commands = Vec::new();
        let Some(call) = &mut self.call else { return commands };
        let mut for_pages = Vec::new();
        while let Some(output) = call.poll_output() {
            match output {
                Output::Sip(command) => commands.push(command),
                Output::Worker(command) => self.media.command(&command, now),
                Output::Recorder(command) => self.media.record(&command, now),
                Output::Signaling { session, command } => for_pages.push((session, command)),
                Output::Record(record) => self.record = Some(*record),
                Output::Partner { to, word } => self.partner_words.push((to, word)),
                Output::Launch { destination, agent } => self.launches.push((destination, *agent)),
                Output::Alarm(_) => {}
            }
        }
        let standing = call.standing();
        let is_up = standing.is_answered && standing.partner.is_none() && !standing.is_ending;
        if let Some(cause) = call.outcome() {
            self.outcome = Some(cause);
            self.call = None;
        }
        for (session, command) in for_pages {
            match self.page_of(session) {
                Some((_, true)) if is_up => {
                    self.faults.push("a page that was reloaded was told of its call".to_owned());
                }
                Some((page, _)) => page.command(command, now),
                None => self.faults.push("a page was told of a call that is not its own".to_owned()),
            }
        }
        for command in &commands {
            self.note_referral(command);
        }
        commands
    }

    fn note_referral(&mut self, command: &sip::Command) {
        match command {
            sip::Command::AcceptRefer { leg } => self.referring = Some(*leg),
            sip::Command::NotifyRefer { status, .. } if !status.is_provisional() => self.referring = None,
            _ => {}
        }
    }
}

fn called_uri(number: usize, gateway: SocketAddr) -> SipUri {
    SipUri::with_user(&format!("100{number}"), Host::from(gateway.ip()), Some(gateway.port()))
}

fn ids(rng: &mut StdRng) -> CallIds {
    CallIds {
        call: CallId::generate(1, rng),
        session: SessionId::generate(rng),
        trunk_leg: LegId::generate(1, rng),
        agent_leg: LegId::generate(1, rng),
        recording: RecordingId::generate(1, rng),
        tap: TapId(rng.next_u64()),
        sdp_session: rng.next_u64() >> 1,
        srtp: SrtpSecret::generate(rng),
    }
}
