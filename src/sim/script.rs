//! What a seed decides before anything happens: who calls whom, what each means to do, and what goes wrong.

use std::time::Duration;

use rand::Rng as _;
use rand::rngs::StdRng;

use crate::recording::{CallDirection, Obligation};
use crate::sim::wire::Weather;

/// Calls of one world at most.
const CALLS_MAX: usize = 3;

/// One world.
#[derive(Debug, Clone)]
pub struct Script {
    /// Its network.
    pub weather: Weather,
    /// Its calls.
    pub calls: Vec<CallScript>,
    /// The gateway ends all calls then, whatever they do.
    pub shutdown: Option<Duration>,
}

/// One call.
#[derive(Debug, Clone)]
pub struct CallScript {
    /// Who calls.
    pub direction: CallDirection,
    /// When, after the world's begin.
    pub begins: Duration,
    /// Whether it must be recorded.
    pub obligation: Obligation,
    /// What the PBX means to do.
    pub peer: PeerScript,
    /// What the agent means to do.
    pub browser: BrowserScript,
    /// What media and recorder will do.
    pub media: MediaScript,
}

/// A session description's kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// PCMU and PCMA, sendrecv.
    Plain,
    /// The same, PCMA only.
    Alaw,
    /// The same at another port.
    Moved,
    /// Held: sendonly.
    SendOnly,
    /// Held: inactive.
    Inactive,
    /// Held as RFC 2543 did: the address 0.0.0.0.
    NoAddress,
    /// A codec that we do not speak.
    Foreign,
    /// No session description at all, though it says so.
    Garbage,
}

/// What the PBX does once the call is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// Hangs up.
    Bye,
    /// Changes the session; without a description, asks for ours.
    Reinvite(Option<Shape>),
    /// Asks whether we are alive.
    Options,
    /// Speaks a method that nobody knows.
    Unknown,
}

/// What the PBX means to do.
#[derive(Debug, Clone)]
pub struct PeerScript {
    /// As caller: its offer; `None` leaves the offer to us.
    pub offer: Option<Shape>,
    /// As caller: gives up so long after its INVITE.
    pub cancels: Option<Duration>,
    /// So many of its first ACKs are lost on the way.
    pub acks_lost: u8,
    /// Its answer to an offer of ours; `None` sends none.
    pub answer: Option<Shape>,
    /// As callee: provisional responses, each so long after the INVITE, and whether with a description.
    pub provisionals: Vec<(Duration, u16, bool)>,
    /// As callee: the final response, or never one.
    pub verdict: Option<(Duration, u16)>,
    /// As callee: answers though it was cancelled.
    pub answers_late: bool,
    /// Once the call is up.
    pub deeds: Vec<(Duration, Deed)>,
    /// Says and hears nothing any more, so long after the begin.
    pub vanishes: Option<Duration>,
}

/// What an agent decides when it rings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Takes the call.
    Accept,
    /// Refuses it.
    Reject,
    /// Does not hear it.
    Ignore,
}

/// A request beside the script, in time or out of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chatter {
    /// Mutes.
    Mute,
    /// Presses keys.
    Digits,
    /// Accepts once more, or too early.
    Accept,
    /// Describes its transport once more, or too early.
    Transport,
    /// Says that it rings, whatever is.
    Alerting,
}

/// What the agent means to do.
#[derive(Debug, Clone)]
pub struct BrowserScript {
    /// How long the device takes to say that it rings; `None` never.
    pub alerting: Option<Duration>,
    /// How long its transport's description takes; `None` never.
    pub transport: Option<Duration>,
    /// What it decides, so long after the call came in.
    pub decision: (Duration, Decision),
    /// Hangs up so long after the call came in or was dialled.
    pub hangs_up: Option<Duration>,
    /// Closes the page then.
    pub vanishes: Option<Duration>,
    /// Further requests.
    pub chatter: Vec<(Duration, Chatter)>,
}

/// How something of the media plane goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Luck {
    /// As it should.
    Works,
    /// It fails.
    Fails,
    /// Nothing is heard of it.
    Hangs,
}

/// What may befall a call that is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// No RTP comes any more.
    Silence,
    /// The browser's path is gone.
    PathLost,
    /// Frames for the recorder are lost.
    TapOverflow,
    /// The recorder fails.
    RecorderFails,
}

/// What media and recorder will do.
#[derive(Debug, Clone)]
pub struct MediaScript {
    /// Making the offer for the browser.
    pub offer: Luck,
    /// Binding the trunk's port.
    pub bind: Luck,
    /// ICE and DTLS.
    pub connect: Luck,
    /// Beginning to record.
    pub record: Luck,
    /// Sealing.
    pub seal: Luck,
    /// How long each takes at most, in milliseconds.
    pub delay_ms_max: u64,
    /// What befalls it, so long after the gate opened.
    pub trouble: Option<(Duration, Trouble)>,
}

impl Script {
    /// The script of a seed's generator.
    pub fn draw(rng: &mut StdRng) -> Self {
        let rough = rng.random_bool(0.4);
        let weather = Weather {
            loss: if rough { rng.random_range(0.0..0.05) } else { 0.0 },
            duplication: if rough { rng.random_range(0.0..0.2) } else { 0.0 },
            delay_ms_max: if rough { rng.random_range(2..300) } else { rng.random_range(1..20) },
        };
        let calls = (0..rng.random_range(1..=CALLS_MAX)).map(|_| CallScript::draw(rng)).collect();
        let shutdown = rng.random_bool(0.05).then(|| within(rng, 40_000));
        Self { weather, calls, shutdown }
    }
}

impl CallScript {
    fn draw(rng: &mut StdRng) -> Self {
        let inbound = rng.random_bool(0.6);
        Self {
            direction: if inbound { CallDirection::Inbound } else { CallDirection::Outbound },
            begins: within(rng, 5_000),
            obligation: one_of(rng, &[Obligation::Required, Obligation::BestEffort, Obligation::Never]),
            peer: PeerScript::draw(rng),
            browser: BrowserScript::draw(rng),
            media: MediaScript::draw(rng),
        }
    }
}

impl PeerScript {
    fn draw(rng: &mut StdRng) -> Self {
        let provisionals = (0..rng.random_range(0..3_u8))
            .map(|_| (within(rng, 8_000), one_of(rng, &[100, 180, 180, 183, 183]), rng.random_bool(0.5)))
            .collect();
        let status = one_of(rng, &[200, 200, 200, 200, 200, 200, 302, 404, 480, 486, 488, 503, 500, 603]);
        Self {
            offer: rng.random_bool(0.85).then(|| usual_shape(rng)),
            cancels: rng.random_bool(0.25).then(|| within(rng, 12_000)),
            acks_lost: if rng.random_bool(0.15) { rng.random_range(1..12) } else { 0 },
            answer: rng.random_bool(0.95).then(|| usual_shape(rng)),
            provisionals,
            verdict: rng.random_bool(0.9).then(|| (within(rng, 12_000), status)),
            answers_late: rng.random_bool(0.3),
            deeds: (0..rng.random_range(0..5_u8)).map(|_| (within(rng, 20_000), deed(rng))).collect(),
            vanishes: rng.random_bool(0.04).then(|| within(rng, 30_000)),
        }
    }
}

impl BrowserScript {
    fn draw(rng: &mut StdRng) -> Self {
        let decision = one_of(
            rng,
            &[
                Decision::Accept,
                Decision::Accept,
                Decision::Accept,
                Decision::Accept,
                Decision::Reject,
                Decision::Ignore,
            ],
        );
        let chatter = (0..rng.random_range(0..3_u8))
            .map(|_| {
                let what = [Chatter::Mute, Chatter::Digits, Chatter::Accept, Chatter::Transport, Chatter::Alerting];
                (within(rng, 20_000), one_of(rng, &what))
            })
            .collect();
        Self {
            alerting: rng.random_bool(0.95).then(|| within(rng, 500)),
            transport: rng.random_bool(0.95).then(|| within(rng, 1_500)),
            decision: (within(rng, 12_000), decision),
            hangs_up: rng.random_bool(0.5).then(|| within(rng, 30_000)),
            vanishes: rng.random_bool(0.05).then(|| within(rng, 30_000)),
            chatter,
        }
    }
}

impl MediaScript {
    fn draw(rng: &mut StdRng) -> Self {
        let troubles = [Trouble::Silence, Trouble::PathLost, Trouble::TapOverflow, Trouble::RecorderFails];
        Self {
            offer: luck(rng),
            bind: luck(rng),
            connect: luck(rng),
            record: luck(rng),
            seal: luck(rng),
            delay_ms_max: one_of(rng, &[1, 10, 200, 2_000]),
            trouble: rng.random_bool(0.1).then(|| (within(rng, 15_000), one_of(rng, &troubles))),
        }
    }
}

fn luck(rng: &mut StdRng) -> Luck {
    if rng.random_bool(0.97) { Luck::Works } else { one_of(rng, &[Luck::Fails, Luck::Hangs]) }
}

fn usual_shape(rng: &mut StdRng) -> Shape {
    if rng.random_bool(0.7) { Shape::Plain } else { shape(rng) }
}

fn shape(rng: &mut StdRng) -> Shape {
    let shapes = [
        Shape::Plain,
        Shape::Alaw,
        Shape::Moved,
        Shape::SendOnly,
        Shape::Inactive,
        Shape::NoAddress,
        Shape::Foreign,
        Shape::Garbage,
    ];
    one_of(rng, &shapes)
}

fn deed(rng: &mut StdRng) -> Deed {
    match rng.random_range(0..10_u8) {
        0..=2 => Deed::Bye,
        3..=6 => Deed::Reinvite(Some(shape(rng))),
        7 => Deed::Reinvite(None),
        8 => Deed::Options,
        _ => Deed::Unknown,
    }
}

fn within(rng: &mut StdRng, ms: u64) -> Duration {
    Duration::from_millis(rng.random_range(0..ms))
}

/// One of a list that is not empty.
fn one_of<T: Copy, const N: usize>(rng: &mut StdRng, choices: &[T; N]) -> T {
    let at = rng.random_range(0..N);
    #[expect(clippy::indexing_slicing, reason = "the index is drawn from the array's own range")]
    choices[at]
}
