//! The B2BUA (RFC 7092): a call with a trunk leg and an agent leg. The only room that sees both sides.
//!
//! [`Call`] is one machine a call; `io/` runs it. It speaks to the other rooms by their commands and events only.

pub mod admission;
#[expect(clippy::module_inception, reason = "the file is named after its main type, `Call`")]
pub mod call;
pub mod cause;
pub mod context;
pub mod digits;
pub mod io;
pub mod leg;
pub mod partner;
pub mod phase;
pub mod policy;
pub mod quality;
pub mod record;
pub mod recorder;
pub mod recording_state;
pub mod ring;

use std::time::Instant;

use crate::ids::CallId;
use crate::ids::LegId;
use crate::ids::RecordingId;
use crate::ids::SessionId;
use crate::ids::SignalingId;
use crate::worker::TapId;

pub use call::Call;
pub use cause::Cause;
pub use partner::Partner;
pub use partner::PartnerWord;
pub use policy::Config;
pub use policy::Destination;
pub use policy::DtmfMethod;
pub use policy::HoldStyle;
pub use policy::SrtpPolicy;
pub use policy::TransferMethod;
pub use policy::TrunkPolicy;
pub use quality::CallQuality;
pub use record::CallRecord;
pub use ring::Candidate;
pub use ring::Hunt;

/// The agent's side of a call, as the presence table knew it when the call began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentParty {
    /// The browser's session.
    pub session: SignalingId,
    /// User name in the directory.
    pub user: String,
    /// Name for people to read.
    pub name: String,
    /// Where the agent is reached.
    pub extension: crate::ids::Extension,
    /// Shown to a trunk when the agent calls.
    pub number: String,
}

/// Names that a call needs, drawn from chance by whoever starts it.
#[derive(Debug, Clone, Copy)]
pub struct CallIds {
    /// The call.
    pub call: CallId,
    /// Our half of the Session-ID.
    pub session: SessionId,
    /// The trunk's leg; for an inbound call, the one of the invitation.
    pub trunk_leg: LegId,
    /// The agent's leg.
    pub agent_leg: LegId,
    /// The recording, if there will be one.
    pub recording: RecordingId,
    /// The tap that feeds it.
    pub tap: TapId,
    /// The session id of our SDP (RFC 8866 5.2).
    pub sdp_session: u64,
    /// From which the SRTP keys of the call's trunk legs come.
    pub srtp: crate::sdp::SrtpSecret,
}

/// What a call is told.
#[derive(Debug, Clone)]
pub enum Input {
    /// From the trunk side.
    Sip(crate::sip::Event),
    /// From the worker.
    Worker(crate::worker::Event),
    /// An agent's browser asks for something; gets exactly one reply.
    Request {
        /// Whose.
        from: SignalingId,
        /// For the answer.
        token: crate::signaling::RequestToken,
        /// What.
        request: crate::signaling::CallRequest,
    },
    /// The agent asks for an attended transfer; gets exactly one reply.
    Consulted {
        /// Whose request.
        from: SignalingId,
        /// For the answer.
        token: crate::signaling::RequestToken,
        /// The agent's other call, if it is one that can be transferred to.
        consultation: Option<Consultation>,
    },
    /// An agent's session is over: it was closed, or did not come back within the grace period.
    AgentGone {
        /// Which.
        session: SignalingId,
    },
    /// The same person's newer session takes the place of one of theirs: the page was reloaded, or opened elsewhere.
    Reattached {
        /// The session that is no more.
        from: SignalingId,
        /// The one in its place.
        session: SignalingId,
        /// A name for the browser leg that it gets.
        leg: LegId,
    },
    /// A name for a further trunk leg, should the call need one. Comes before whatever may need it.
    SpareLeg(LegId),
    /// From the call that this one is, or is to be, joined to.
    Partner {
        /// Which.
        from: Partner,
        /// What it says.
        word: PartnerWord,
    },
    /// From the recorder.
    Recorder(crate::recording::EventKind),
    /// The gateway shuts down and waits no longer.
    Shutdown,
}

/// What a call wants done.
#[derive(Debug, Clone)]
pub enum Output {
    /// For the SIP task.
    Sip(crate::sip::Command),
    /// For the call's worker.
    Worker(crate::worker::Command),
    /// For an agent's browser.
    Signaling {
        /// Whose.
        session: SignalingId,
        /// What it is told.
        command: crate::signaling::Command,
    },
    /// For the recorder.
    Recorder(crate::recording::Command),
    /// For the call that this one is, or is to be, joined to.
    Partner {
        /// Which.
        to: CallId,
        /// What it is told.
        word: PartnerWord,
    },
    /// A call to this destination is wanted, to be joined to this one when it is answered. The registry answers with
    /// `Launched` or `Gone` in the new call's name, or, where it begins none, in this call's own.
    Launch {
        /// Whither, by the agent's dial plan.
        destination: Destination,
        /// Who transfers: the new call is made in their name.
        agent: Box<AgentParty>,
    },
    /// The call record changed; the latest stands.
    Record(Box<CallRecord>),
    /// Something that an operator must hear of: a required recording failed, a bound was reached.
    Alarm(&'static str),
}

/// Named timers of a call: a stuck call says what it waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CallTimer {
    /// The worker must offer and bind.
    Setup,
    /// The agent's device must say that it rings.
    DeviceAlerts,
    /// The agent must accept, or the callee answer.
    Answer,
    /// After accept: transport and required recorder must be up.
    Transport,
    /// The agent's transfer must be carried out: by the other side, or by the party that we call for it.
    Transfer,
    /// The party that the other side transferred us to must answer.
    Move,
    /// A page that was reloaded must bring its transport up.
    Reattach,
    /// A transferor must say BYE.
    Retire,
    /// A joined call has lasted for long enough.
    Joined,
    /// The next digit leaves by INFO.
    Digit,
    /// A `CANCELled` INVITE must end, a session close, a recording seal.
    Ending,
}

/// The other call of an attended transfer, as the registry knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consultation {
    /// Which.
    pub call: CallId,
    /// Its trunk leg.
    pub leg: LegId,
    /// Its trunk.
    pub trunk: crate::ids::TrunkName,
    /// The consulted party.
    pub number: String,
}

/// What others must know of a call: its registry, and through it the next call of the same agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Both sides have been told that it is over: the agent is free again, though media closes.
    pub is_ending: bool,
    /// It was answered.
    pub is_answered: bool,
    /// It goes to an emergency number: a shutdown does not end it.
    pub is_emergency: bool,
    /// Sessions that may ask about it, and whose agents it keeps busy.
    pub audience: Vec<(SignalingId, crate::ids::Extension)>,
    /// The trunk's leg, as it is now.
    pub trunk_leg: LegId,
    /// The other party's number, as it is now.
    pub number: String,
    /// The call that it is, or is to be, joined to.
    pub partner: Option<CallId>,
}

/// How many commands may wait to be taken out of one call; a turn makes a handful.
pub const OUTPUTS_HINT: usize = 16;

/// The moment a machine is called with, and nothing else: kept as a type so that arguments cannot be swapped.
pub type Now = Instant;

#[cfg(test)]
pub(crate) mod tests;
