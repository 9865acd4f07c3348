//! A call and its media machine together, under virtual time: a hold is silent for as long as it likes, and a line that
//! stays dead afterwards is found. Only SIP and the browser are played by hand.

use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::call::Call;
use crate::call::Cause;
use crate::call::Config;
use crate::call::HoldStyle;
use crate::call::Input;
use crate::call::Output;
use crate::call::TrunkPolicy;
use crate::call::call::Ground;
use crate::call::tests::OFFER;
use crate::call::tests::alone;
use crate::call::tests::ground;
use crate::call::tests::invitation;
use crate::call::tests::offer_saying;
use crate::clock::Clock;
use crate::ids::LegId;
use crate::ids::SignalingId;
use crate::media::vocabulary;
use crate::recording::Obligation;
use crate::signaling::CallRequest;
use crate::signaling::RequestToken;
use crate::sip;
use crate::webrtc;
use crate::webrtc::Certificate;
use crate::worker;
use crate::worker::session;
use crate::worker::session::Session;

const FIVE_MINUTES: Duration = Duration::from_mins(5);

/// A call that is talking, with the media session that its worker would have.
struct House {
    call: Call,
    session: Session,
    now: Instant,
    browser: SignalingId,
    trunk_leg: LegId,
    tokens: u64,
    sequence: u16,
    reinvites: usize,
}

impl House {
    fn talking(hold_style: HoldStyle) -> Self {
        let clock = Clock::system();
        let now = clock.now();
        let base = ground(Obligation::Never, clock);
        let trunk = TrunkPolicy { hold_style, ..base.trunk.clone() };
        let ground = Ground { trunk, config: Arc::new(Config::default()), ..base };
        let (ids, browser, hunt) = (ground.ids, ground.agent.session, alone(&ground));
        let peer = webrtc::Config::new(Certificate::generate().unwrap(), vec!["127.0.0.1:40000".parse().unwrap()]);
        let config = session::Config { peer, media: vocabulary::Config::default() };
        let session = Session::new(ids.call, config, &mut StdRng::seed_from_u64(1), now).unwrap();
        let call = Call::inbound(ground, hunt, invitation(Some(OFFER)), now);
        let trunk_leg = ids.trunk_leg;
        let mut house = Self { call, session, now, browser, trunk_leg, tokens: 0, sequence: 0, reinvites: 0 };
        house.carry();
        house.ask(CallRequest::Alerting);
        let connected = worker::EventKind::PeerConnected;
        let event = worker::Event { call: ids.call, leg: Some(ids.agent_leg), kind: connected };
        house.call.handle(Input::Worker(event), now);
        house.ask(CallRequest::Accept);
        house.sip(sip::Event::Acknowledged { leg: trunk_leg, sdp: None });
        assert_eq!(house.call.phase_name(), "established");
        house
    }

    /// Carries what call and media say to each other until both are silent.
    fn carry(&mut self) {
        loop {
            if let Some(output) = self.call.poll_output() {
                self.wanted_by_call(output);
            } else if let Some(output) = self.session.poll_output() {
                self.wanted_by_media(output);
            } else {
                return;
            }
        }
    }

    fn wanted_by_call(&mut self, output: Output) {
        if let Output::Worker(command) = output {
            self.command(command);
        } else if let Output::Sip(sip::Command::Reinvite { .. }) = output {
            self.reinvites += 1;
        }
    }

    fn wanted_by_media(&mut self, output: session::Output) {
        if let session::Output::Event(event) = output {
            self.call.handle(Input::Worker(event), self.now);
        } else if let session::Output::BindTrunk { leg, .. } = output {
            let local = Some("127.0.0.1:20000".parse().unwrap());
            self.session.handle(session::Input::TrunkBound { leg, local }, self.now);
        }
    }

    /// The browser's leg is played: no handshake is wanted here.
    fn command(&mut self, command: worker::Command) {
        let worker::Command::OfferPeer { call, leg } = command else {
            return self.session.handle(session::Input::Command(command), self.now);
        };
        let kind = worker::EventKind::PeerOffered { sdp: "offer".into() };
        self.call.handle(Input::Worker(worker::Event { call, leg: Some(leg), kind }), self.now);
    }

    fn ask(&mut self, request: CallRequest) {
        self.tokens += 1;
        let input = Input::Request { from: self.browser, token: RequestToken(self.tokens), request };
        self.call.handle(input, self.now);
        self.carry();
    }

    fn sip(&mut self, event: sip::Event) {
        self.call.handle(Input::Sip(event), self.now);
        self.carry();
    }

    /// Time goes by, every timer on its time.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            let call = self.call.poll_timeout().map(|(at, _)| at);
            let media = self.session.poll_timeout().map(|(at, _)| at);
            let Some(at) = call.into_iter().chain(media).min().filter(|at| *at <= until) else { break };
            self.now = at.max(self.now);
            self.call.handle_timeout(self.now);
            self.session.handle_timeout(self.now);
            self.carry();
        }
        self.now = until;
    }

    /// The trunk sends RTP for a second.
    fn trunk_talks(&mut self) {
        for _ in 0..50 {
            self.sequence += 1;
            let ([s0, s1], [t0, t1]) = (self.sequence.to_be_bytes(), (self.sequence * 160).to_be_bytes());
            let mut bytes = vec![0x80, 0, s0, s1, 0, 0, t0, t1, 0, 0, 0, 9];
            bytes.extend([0xFF; 160]);
            let (leg, source) = (self.trunk_leg, "192.0.2.9:4000".parse().unwrap());
            let datagram = session::Input::TrunkDatagram { leg, rtcp: false, source, bytes: &mut bytes };
            self.session.handle(datagram, self.now);
            self.carry();
            self.pass(Duration::from_millis(20));
        }
    }

    fn is_up(&self) -> bool {
        !self.call.is_ending()
    }
}

/// How a hold begins and ends.
#[derive(Debug, Clone, Copy)]
enum Form {
    Agent(HoldStyle),
    Peer(&'static str),
    /// The way of old: the connection address is 0.0.0.0 (RFC 3264 8.4).
    PeerByAddress,
}

const FORMS: [Form; 6] = [
    Form::Agent(HoldStyle::Local),
    Form::Agent(HoldStyle::SendOnly),
    Form::Agent(HoldStyle::Inactive),
    Form::Peer("sendonly"),
    Form::Peer("inactive"),
    Form::PeerByAddress,
];

impl Form {
    fn talking(self) -> House {
        let mut house = House::talking(if let Self::Agent(style) = self { style } else { HoldStyle::Local });
        house.trunk_talks();
        house
    }

    fn hold(self, house: &mut House) {
        match self {
            Self::Agent(style) => turn(house, style, CallRequest::Hold, style_answer(style), 2),
            Self::Peer(direction) => reinvited(house, offer_saying(direction, 2)),
            Self::PeerByAddress => {
                let offer = OFFER.replace("c=IN IP4 192.0.2.9", "c=IN IP4 0.0.0.0").replace("pbx 1 1", "pbx 1 2");
                reinvited(house, offer.into());
            }
        }
    }

    fn resume(self, house: &mut House) {
        match self {
            Self::Agent(style) => turn(house, style, CallRequest::Resume, "sendrecv", 3),
            Self::Peer(_) | Self::PeerByAddress => reinvited(house, offer_saying("sendrecv", 3)),
        }
    }
}

const fn style_answer(style: HoldStyle) -> &'static str {
    if matches!(style, HoldStyle::Inactive) { "inactive" } else { "recvonly" }
}

/// The agent holds or resumes; a PBX that is told of it answers.
fn turn(house: &mut House, style: HoldStyle, request: CallRequest, answer: &str, version: u32) {
    let before = house.reinvites;
    house.ask(request);
    let told = usize::from(style != HoldStyle::Local);
    assert_eq!(house.reinvites, before + told, "{style:?}");
    if told == 1 {
        let leg = house.trunk_leg;
        house.sip(sip::Event::Renegotiated { leg, sdp: offer_saying(answer, version) });
    }
}

fn reinvited(house: &mut House, offer: Bytes) {
    let leg = house.trunk_leg;
    house.sip(sip::Event::Reinvited { leg, offer: Some(offer) });
    house.sip(sip::Event::Acknowledged { leg, sdp: None });
}

#[test]
fn five_minutes_of_hold_without_rtp_or_rtcp_do_not_end_a_call() {
    for form in FORMS {
        let mut house = form.talking();
        form.hold(&mut house);
        house.pass(FIVE_MINUTES);
        assert!(house.is_up(), "{form:?}: held");
        form.resume(&mut house);
        assert!(house.is_up(), "{form:?}: resumed");
        for _ in 0..3 {
            house.pass(Duration::from_secs(40));
            house.trunk_talks();
        }
        assert!(house.is_up(), "{form:?}: talking again");
    }
}

#[test]
fn a_line_that_stays_dead_after_the_hold_is_ended_within_the_rtp_timeout() {
    for form in FORMS {
        let mut house = form.talking();
        form.hold(&mut house);
        house.pass(FIVE_MINUTES);
        form.resume(&mut house);
        house.pass(Duration::from_secs(59));
        assert!(house.is_up(), "{form:?}: too early");
        house.pass(Duration::from_secs(2));
        assert!(!house.is_up(), "{form:?}: nobody is there");
        house.pass(Duration::from_secs(30));
        assert_eq!(house.call.outcome(), Some(Cause::MediaTimeout), "{form:?}");
    }
}

#[test]
fn both_hold_and_each_resumption_lifts_its_own() {
    let (agent, peer) = (Form::Agent(HoldStyle::Local), Form::Peer("sendonly"));
    for (first, second) in [(agent, peer), (peer, agent)] {
        let mut house = agent.talking();
        agent.hold(&mut house);
        peer.hold(&mut house);
        house.pass(FIVE_MINUTES);
        first.resume(&mut house);
        house.pass(FIVE_MINUTES);
        assert!(house.is_up(), "{second:?} still holds");
        second.resume(&mut house);
        house.pass(Duration::from_secs(61));
        assert!(!house.is_up(), "nobody holds, and nobody is heard");
    }
}
