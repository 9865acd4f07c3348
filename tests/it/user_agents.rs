//! Two user agents of Debian's in the PBX's place: they call an agent and are called by one, over every transport.
//!
//! Every sound is a tone of its own, so that what is heard says who spoke: the phone, the agent, or the gateway's music.

use std::path::PathBuf;
use std::time::Duration;

use tandem::clock::Clock;
use tandem::demo::Stage;
use tandem::demo::agent::{Agent, AgentEvent, AgentOptions, AgentRequest, HEARD_RATE, Heard, Mode};
use tandem::demo::gateway::GatewayProcess;
use tandem::demo::phone::{Make, Phone, Plan};
use tandem::demo::tone::{Sine, ToneFigure};
use tandem::demo::wav::Wav;
use tandem::signaling::HeldBy;
use tandem::sip::Transport;
use uuid::Uuid;

use crate::site::{set_stage, talk};

pub(crate) const PHONE_HZ: f64 = 1_000.0;
pub(crate) const AGENT_HZ: f64 = 440.0;
const MUSIC_HZ: f64 = 650.0;
/// How long one step of a call may take.
pub(crate) const STEP: Duration = Duration::from_secs(15);
/// What was on its way when something changed has arrived after this.
const SETTLE: Duration = Duration::from_millis(500);
/// How long both are listened to in each state.
const LISTEN: Duration = Duration::from_millis(1_200);
/// How much of that must be there of a tone, in seconds: the rest is the machine's.
pub(crate) const HEARD_MIN: f64 = 0.5;

/// How a trunk's PBX learns of an agent's hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HoldStyle {
    Local,
    Sendonly,
    Inactive,
}

impl HoldStyle {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Sendonly => "sendonly",
            Self::Inactive => "inactive",
        }
    }
}

/// The gateway anew, with this phone as its trunk.
async fn connect(stage: &mut Stage, plan: &Plan, phone: &Phone, authority: PathBuf, hold: HoldStyle) {
    let (target, security) = match (plan.transport, plan.make) {
        (Transport::Udp | Transport::Tcp | Transport::Memory, _) => (phone.target(), String::new()),
        (Transport::Tls, Make::Baresip) => {
            (phone.target(), format!("tls_ca_file = \"{}\"\nsrtp = \"required\"\n", authority.display()))
        }
        // linphone takes no connection by TLS ("New connection arriving on TLS, not handled !"): it calls by TLS and is
        // called by TCP, its media encrypted either way.
        (Transport::Tls, Make::Linphone) => {
            (format!("tcp:127.0.0.1:{}", plan.port), "srtp = \"required\"\ninsecure_sdes = true\n".to_owned())
        }
    };
    let trunk = format!("targets = [\"{target}\"]\nhold_style = \"{}\"\n{security}", hold.word());
    with_trunk(stage, &trunk, |text| text).await;
}

/// The gateway anew, with these lines in place of its trunk's target, with music for those on hold, and `change`.
pub(crate) async fn with_trunk(stage: &mut Stage, trunk: &str, change: impl FnOnce(String) -> String) {
    stage.gateway.stop();
    let settings = stage.settings.clone();
    let music = settings.directory.join("music.wav");
    std::fs::write(&music, Wav::mono(HEARD_RATE, &Sine::new(MUSIC_HZ, HEARD_RATE).take(80_000)).unwrap()).unwrap();
    let text = std::fs::read_to_string(settings.config_file()).unwrap();
    let (before, rest) = text.split_once("targets = ").unwrap();
    let (_, after) = rest.split_once("codecs = ").unwrap();
    let mut text = format!("{before}{trunk}codecs = {after}");
    if !text.contains("hold_music_file") {
        text = text.replace("[media]\n", &format!("[media]\nhold_music_file = \"{}\"\n", music.display()));
    }
    std::fs::write(settings.config_file(), change(text)).unwrap();
    stage.gateway = GatewayProcess::start(settings).await.unwrap();
}

/// A call between a phone and an agent.
pub(crate) struct Talk<'a> {
    pub(crate) phone: &'a mut Phone,
    /// Whether the phone still writes down what it hears.
    pub(crate) hears: bool,
    pub(crate) alice: &'a mut Agent,
    pub(crate) call_id: String,
    pub(crate) hold: HoldStyle,
}

/// What both heard for a while.
pub(crate) struct Ears {
    /// Of no meaning where it does not write it down.
    phone: Vec<i16>,
    phone_hears: bool,
    agent: Vec<i16>,
}

impl Ears {
    pub(crate) fn at_phone(&self, hz: f64) -> ToneFigure {
        ToneFigure::of(&self.phone, HEARD_RATE, hz)
    }

    pub(crate) fn at_agent(&self, hz: f64) -> ToneFigure {
        ToneFigure::of(&self.agent, HEARD_RATE, hz)
    }

    /// Each hears the other, and nothing else.
    pub(crate) fn both_hear(&self, when: &str) {
        let (at_phone, at_agent) = (self.at_phone(AGENT_HZ), self.at_agent(PHONE_HZ));
        println!("  {when}: at the phone {at_phone}; at the agent {at_agent}");
        assert!(!self.phone_hears || at_phone.seconds >= HEARD_MIN, "{when}, at the phone: {at_phone}");
        assert!(at_agent.seconds >= HEARD_MIN, "{when}, at the agent: {at_agent}");
        self.phone_hears_no(MUSIC_HZ, when);
        silent(self.at_agent(MUSIC_HZ), when);
    }

    /// What is not written down proves nothing.
    fn phone_hears_no(&self, hz: f64, when: &str) {
        if self.phone_hears {
            silent(self.at_phone(hz), when);
        }
    }
}

fn silent(figure: ToneFigure, when: &str) {
    assert_eq!(figure.begins_at, None, "{when}: {figure}");
}

impl Talk<'_> {
    async fn report(&mut self) -> Heard {
        self.alice.request(AgentRequest::Report { call_id: self.call_id.clone() }).await.unwrap();
        let report = |event: &AgentEvent| {
            if let AgentEvent::Report { heard, .. } = event { Some(heard.clone()) } else { None }
        };
        self.alice.wait_for("a report", STEP, report).await.unwrap()
    }

    pub(crate) async fn told(&mut self, event: AgentEvent) {
        let what = format!("{event:?}");
        self.alice.wait_for(&what, STEP, |told| (*told == event).then_some(())).await.unwrap();
    }

    pub(crate) async fn listen(&mut self) -> Ears {
        talk(SETTLE).await;
        self.report().await;
        self.phone.take_heard().unwrap();
        talk(LISTEN).await;
        Ears { agent: self.report().await.samples, phone: self.phone.take_heard().unwrap(), phone_hears: self.hears }
    }

    async fn keys_cross(&mut self) {
        self.report().await;
        self.phone.press("29*#").await.unwrap();
        let mut told = String::new();
        for _ in 0..10 {
            talk(Duration::from_millis(200)).await;
            told += &self.report().await.digits;
            if told.len() >= 4 {
                break;
            }
        }
        assert_eq!(told, "29*#", "the phone's keys at the agent");
        let digits = "150D".to_owned();
        self.alice.request(AgentRequest::Digits { call_id: self.call_id.clone(), digits }).await.unwrap();
        self.phone.is_told("150D").await.unwrap();
        // The last key is let go.
        talk(SETTLE).await;
    }

    /// The phone's hold: neither hears the other.
    pub(crate) async fn phone_holds(&mut self) {
        let (call_id, by) = (self.call_id.clone(), HeldBy::Peer);
        self.phone.hold().await.unwrap();
        self.hears &= self.phone.hears_after_reinvite();
        self.told(AgentEvent::Held { call_id: call_id.clone(), by }).await;
        let ears = self.listen().await;
        ears.phone_hears_no(AGENT_HZ, "held by the phone, at the phone");
        println!("  held by the phone: at the agent {}", ears.at_agent(PHONE_HZ));
        self.phone.resume().await.unwrap();
        self.told(AgentEvent::Resumed { call_id, by }).await;
        self.listen().await.both_hear("resumed by the phone");
    }

    /// The agent's hold: the phone hears our music, or its own side's, as the trunk's style says.
    pub(crate) async fn agent_holds(&mut self) {
        let (call_id, by) = (self.call_id.clone(), HeldBy::Agent);
        self.alice.request(AgentRequest::Hold { call_id: call_id.clone() }).await.unwrap();
        self.told(AgentEvent::Held { call_id: call_id.clone(), by }).await;
        if self.hold != HoldStyle::Local {
            self.hears &= self.phone.hears_after_reinvite();
        }
        let ears = self.listen().await;
        silent(ears.at_agent(PHONE_HZ), "held by the agent, at the agent");
        ears.phone_hears_no(AGENT_HZ, "held by the agent, at the phone");
        let music = ears.at_phone(MUSIC_HZ);
        println!("  held by the agent ({:?}): at the phone {music}", self.hold);
        match self.hold {
            HoldStyle::Local | HoldStyle::Sendonly => {
                assert!(!ears.phone_hears || music.seconds >= HEARD_MIN, "music: {music}");
            }
            HoldStyle::Inactive => ears.phone_hears_no(MUSIC_HZ, "held by the agent"),
        }
        self.alice.request(AgentRequest::Resume { call_id: call_id.clone() }).await.unwrap();
        self.told(AgentEvent::Resumed { call_id, by }).await;
        self.listen().await.both_hear("resumed by the agent");
    }

    async fn converse(&mut self) {
        self.listen().await.both_hear("answered");
        self.keys_cross().await;
        self.agent_holds().await;
        self.phone_holds().await;
    }
}

/// The call that comes in, if the event is one.
pub(crate) fn incoming(event: &AgentEvent) -> Option<String> {
    if let AgentEvent::Incoming { call_id, .. } = event { Some(call_id.clone()) } else { None }
}

/// The phone calls the agent, and hangs up.
async fn calls_the_agent(phone: &mut Phone, alice: &mut Agent, stage: &Stage, transport: Transport, hold: HoldStyle) {
    let gateway = match transport {
        Transport::Udp | Transport::Tcp | Transport::Memory => stage.settings.sip,
        Transport::Tls => stage.settings.sip_tls,
    };
    phone.dial("1001", gateway).await.unwrap();
    let call_id = alice.wait_for("the phone's call", STEP, incoming).await.unwrap();
    phone.established().await.unwrap();
    Talk { phone, hears: true, alice, call_id: call_id.clone(), hold }.converse().await;
    phone.hang_up().await.unwrap();
    alice.wait_for("the end", STEP, |event| event.heard_in(&call_id)).await.unwrap();
}

/// The agent calls the phone, and hangs up.
async fn is_called_by_the_agent(phone: &mut Phone, alice: &mut Agent, hold: HoldStyle) {
    let call_id = Uuid::now_v7().to_string();
    alice.request(AgentRequest::Dial { call_id: call_id.clone(), to: "600".into() }).await.unwrap();
    phone.answer().await.unwrap();
    let mut conversation = Talk { phone, hears: true, alice, call_id: call_id.clone(), hold };
    conversation.told(AgentEvent::Answered { call_id: call_id.clone() }).await;
    conversation.phone.established().await.unwrap();
    conversation.converse().await;
    alice.request(AgentRequest::HangUp { call_id: call_id.clone() }).await.unwrap();
    alice.wait_for("the end", STEP, |event| event.heard_in(&call_id)).await.unwrap();
    phone.ended().await.unwrap();
}

/// One phone over the three transports, each with another way to tell of a hold.
async fn over_every_transport(make: Make, host: u8, port: u16) {
    let (directory, mut stage) = set_stage(host, false).await;
    let cases = [
        (Transport::Udp, HoldStyle::Local),
        (Transport::Tcp, HoldStyle::Sendonly),
        (Transport::Tls, HoldStyle::Inactive),
    ];
    for (transport, hold) in cases {
        let place = directory.path().join(format!("phone-{transport:?}"));
        let (number, trusts) = ("600".to_owned(), stage.settings.ca_file());
        let plan = Plan { make, transport, number, port, hz: PHONE_HZ, trusts };
        let mut phone = Phone::start(&place, &plan).await.unwrap();
        connect(&mut stage, &plan, &phone, place.join("phone-ca.pem"), hold).await;
        let options = AgentOptions::of("alice", stage.settings.http, Mode::Tone { hz: AGENT_HZ }, Clock::system());
        let mut alice = Agent::log_in(options).await.unwrap();
        println!("{make:?} by {transport:?} calls");
        calls_the_agent(&mut phone, &mut alice, &stage, transport, hold).await;
        println!("{make:?} by {transport:?} is called");
        is_called_by_the_agent(&mut phone, &mut alice, hold).await;
        let sdes = phone.log().contains("RTP/SAVP ");
        assert_eq!(sdes, transport == Transport::Tls, "SDES by {transport:?}");
        phone.stop().await;
    }
    stage.strike().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn baresip_calls_and_is_called_holds_and_is_held_over_every_transport() {
    over_every_transport(Make::Baresip, 91, 5_901).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn linphone_calls_and_is_called_holds_and_is_held_over_every_transport() {
    over_every_transport(Make::Linphone, 92, 5_904).await;
}
