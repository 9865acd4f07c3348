//! What a seed decides before anything happens: who calls whom, what each means to do, and what goes wrong.

mod draw;

use std::time::Duration;

use crate::call::{DtmfMethod, HoldStyle, TransferMethod};
use crate::recording::{CallDirection, Obligation};
use crate::sim::wire::Weather;

/// One world.
#[derive(Debug, Clone)]
pub struct Script {
    /// Its network.
    pub weather: Weather,
    /// Its calls.
    pub calls: Vec<CallScript>,
    /// The gateway ends all calls then, whatever they do.
    pub shutdown: Option<Duration>,
    /// Calls that the trunk may have at once.
    pub calls_max: Option<usize>,
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
    /// How the agent's hold is told to the PBX.
    pub hold_style: HoldStyle,
    /// How the trunk's transfers are carried out.
    pub transfer: TransferMethod,
    /// Its recordings go on after a transfer that joins two calls.
    pub records_after_transfer: bool,
    /// How the agent's digits leave.
    pub dtmf: DtmfMethod,
    /// What the PBX means to do.
    pub peer: PeerScript,
    /// What whoever does who is called in its place: by a transfer or a redirection.
    pub target: PeerScript,
    /// Somebody at the PBX takes the other party's place, so long after that party was up (Replaces).
    pub replaced: Option<Duration>,
    /// What the agents mean to do: of several, each is a member of the group that is called.
    pub browsers: Vec<BrowserScript>,
    /// A group's members ring one after the other.
    pub one_by_one: bool,
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
    /// Changes the session by UPDATE; without a description, only refreshes it (RFC 3311).
    Update(Option<Shape>),
    /// Presses a key, told by INFO.
    Info,
    /// Asks the gateway to call somebody else (RFC 3515).
    Refer,
    /// Asks whether we are alive.
    Options,
    /// Speaks a method that nobody knows.
    Unknown,
}

/// What a caller says of reliable provisional responses (RFC 3262).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reliability {
    /// Nothing.
    Unknown,
    /// That it can.
    Supported,
    /// That it must be.
    Required,
}

/// A session that has a time to live (RFC 4028).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime {
    /// In seconds.
    pub expires_s: u32,
    /// The gateway is to refresh it, not the PBX.
    pub by_gateway: bool,
    /// Where the PBX is to refresh it: whether it does.
    pub kept: bool,
}

/// How the PBX carries out a transfer that the agent asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransferScript {
    /// It takes the REFER.
    pub taken: bool,
    /// What the new call comes to, so long after; `None` never tells.
    pub result: Option<(Duration, u16)>,
    /// It says BYE by itself after that.
    pub says_bye: bool,
}

/// What the PBX means to do.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a habit that it has or not")]
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
    /// As caller: what it says of reliable provisional responses.
    pub reliability: Reliability,
    /// How long its PRACK takes; `None` never sends one.
    pub prack: Option<Duration>,
    /// As callee: its provisional responses are reliable.
    pub reliable: bool,
    /// The session's time to live that it asks for.
    pub lifetime: Option<Lifetime>,
    /// As callee: a second phone answers, too.
    pub forks: bool,
    /// Where the gateway changes the session, it does so at the same moment.
    pub glares: bool,
    /// Speaks in the dialog once more, so long after the gateway's BYE.
    pub ghost: Option<Duration>,
    /// As transferor: says BYE so long after its REFER was taken.
    pub leaves: Option<Duration>,
    /// What becomes of the agent's transfer.
    pub transfer: TransferScript,
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
    /// Holds.
    Hold,
    /// Resumes.
    Resume,
    /// Transfers to a number.
    Transfer,
    /// Transfers to the party of the world's next call.
    Consult,
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
    /// Reloads the page then.
    pub reloads: Vec<Duration>,
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
