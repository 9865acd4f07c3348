//! What the SIP side tells the call room.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;

use crate::ids::LegId;
use crate::ids::SessionId;
use crate::ids::TrunkName;
use crate::sip::Body;
use crate::sip::Party;
use crate::sip::Reason;
use crate::sip::StatusCode;

/// An INVITE that began a new dialog usage, admitted from a trunk.
#[derive(Debug, Clone)]
pub struct Invitation {
    /// Names this usage from now on.
    pub leg: LegId,
    /// The trunk from whose networks it came.
    pub trunk: TrunkName,
    /// Whom the Request-URI names: its unescaped user part.
    pub called: String,
    /// The caller.
    pub from: Party,
    /// The To header's party.
    pub to: Party,
    /// SIP's Call-ID.
    pub sip_call_id: String,
    /// The peer's half of the Session-ID, where it sent one.
    pub session_id: Option<SessionId>,
    /// The address on which it came in: the default interface for the call's media.
    pub local_address: IpAddr,
    /// The session description, if it brought one; `None` is a late offer.
    pub offer: Option<Bytes>,
    /// The call on the same trunk whose place this one takes (Replaces, RFC 3891): the peer had the right to name it.
    pub replaces: Option<LegId>,
    /// Whether the caller wants to stay unknown (Privacy with `id`, `user` or `header`, or an anonymous From).
    pub anonymous: bool,
    /// Who was called before, last first (Diversion, RFC 5806, or History-Info, RFC 7044).
    pub diverted_from: Vec<Party>,
    /// User-to-User (RFC 7433): the header's value.
    pub user_to_user: Option<String>,
    /// The header fields that the trunk's allow-list lets in, in order.
    pub headers: Vec<(String, String)>,
}

impl Invitation {
    /// The caller's number and name as a phone may show them: empty for somebody who wants to stay unknown, though a
    /// trusted trunk told us who it is (RFC 3325 7). The call's record keeps what the trunk said.
    pub fn shown_caller(&self) -> (String, Option<String>) {
        if self.anonymous {
            return (String::new(), None);
        }
        let name = self.from.display_name.as_ref().map(|name| name.expose().clone());
        (self.from.user.expose().clone(), name)
    }
}

/// What happened on the trunk side, for the call room.
#[derive(Debug, Clone)]
pub enum Event {
    /// A new INVITE was admitted; 100 was sent.
    Invited(Box<Invitation>),
    /// The caller gave up before our final response. CANCEL got 200 and the INVITE 487 already; the usage is over.
    Cancelled {
        /// The usage.
        leg: LegId,
        /// The Reason of the CANCEL, such as "call completed elsewhere".
        reason: Option<Reason>,
    },
    /// Our 200 was acknowledged.
    Acknowledged {
        /// The usage.
        leg: LegId,
        /// The session description in the ACK: the answer to our late offer.
        sdp: Option<Bytes>,
    },
    /// The callee sent a provisional response.
    Progressed {
        /// The outbound usage.
        leg: LegId,
        /// Which early dialog: forks of one INVITE have numbers of their own, from 0 in the order of their coming.
        early: u32,
        /// 101–199.
        status: StatusCode,
        /// Early media's session description. Where our INVITE had no offer, the callee's: a reliable response waits
        /// for `Command::Answer` then.
        sdp: Option<Bytes>,
    },
    /// The callee accepted; the ACK is sent already, unless the INVITE had no offer: then it waits for
    /// `Command::Answer`.
    Accepted {
        /// The outbound usage.
        leg: LegId,
        /// The answer, where this response or an earlier one of the same early dialog carried it. To an INVITE without
        /// offer, the callee's offer.
        sdp: Option<Bytes>,
    },
    /// The outbound INVITE failed on every target, or was cancelled (487). The usage is over.
    Refused {
        /// The usage.
        leg: LegId,
        /// The final status; 408 for silence, 503 for no reachable target.
        status: StatusCode,
        /// Reason header.
        reason: Option<Reason>,
        /// Of a 3xx: the user parts of the Contacts that name this trunk's own hosts, best first (RFC 3261 8.1.3.4).
        redirect: Vec<String>,
        /// Retry-After.
        retry_after: Option<Duration>,
    },
    /// The peer sent a re-INVITE (or UPDATE with an offer); answer with `AcceptReinvite` or `RefuseReinvite`.
    Reinvited {
        /// The usage.
        leg: LegId,
        /// The new offer; `None` asks for ours.
        offer: Option<Bytes>,
    },
    /// The peer answered our `Command::Reinvite`.
    Renegotiated {
        /// The usage.
        leg: LegId,
        /// Its answer.
        sdp: Bytes,
    },
    /// The peer refused our `Command::Reinvite`; the session goes on as it was.
    RenegotiationFailed {
        /// The usage.
        leg: LegId,
        /// The final status; 408 for silence, 488 for a 2xx without an answer, 491 where the peer never had the time.
        status: StatusCode,
    },
    /// An offer of the peer's came before our `Command::Reinvite` could be said, or said again after a glare: it will
    /// not be. What it was to say is for the answer to that offer, or for another.
    RenegotiationOvertaken {
        /// The usage.
        leg: LegId,
    },
    /// The peer asks for a transfer (RFC 3515); answer with `AcceptRefer` or `RefuseRefer`.
    Referred {
        /// The usage.
        leg: LegId,
        /// To whom.
        to: ReferTo,
    },
    /// How a transfer of ours goes: the response to REFER where it was refused, then what NOTIFY says.
    ReferProgressed {
        /// The usage.
        leg: LegId,
        /// What the new call came to so far.
        status: StatusCode,
        /// The peer refused to be asked: it called nobody.
        is_refused: bool,
        /// Whether nothing more will come. Without any NOTIFY that happens at the call's end, with the last status.
        is_over: bool,
    },
    /// The peer sent INFO with digits (`application/dtmf-relay`, `application/dtmf`); it was answered 200.
    InfoReceived {
        /// The usage.
        leg: LegId,
        /// The body.
        body: Body,
    },
    /// The usage is over: BYE from the peer, no ACK for 64·T1 (BYE was sent), or 481/408 in the dialog.
    Ended {
        /// The usage.
        leg: LegId,
        /// Who or what ended it.
        cause: EndCause,
        /// The Reason of a BYE.
        reason: Option<Reason>,
    },
}

impl Event {
    /// The usage that it is about.
    pub fn leg(&self) -> LegId {
        match self {
            Self::Invited(invitation) => invitation.leg,
            Self::Cancelled { leg, .. }
            | Self::Acknowledged { leg, .. }
            | Self::Progressed { leg, .. }
            | Self::Accepted { leg, .. }
            | Self::Refused { leg, .. }
            | Self::Reinvited { leg, .. }
            | Self::Renegotiated { leg, .. }
            | Self::RenegotiationFailed { leg, .. }
            | Self::RenegotiationOvertaken { leg }
            | Self::Referred { leg, .. }
            | Self::ReferProgressed { leg, .. }
            | Self::InfoReceived { leg, .. }
            | Self::Ended { leg, .. } => *leg,
        }
    }
}

/// Whom a REFER of the peer names.
#[derive(Debug, Clone)]
pub struct ReferTo {
    /// The user part of the Refer-To URI, unescaped, or the number of a `tel:` URI.
    pub user: String,
    /// Of an attended transfer: the call of the same trunk that the new one takes the place of, where it is one of
    /// ours.
    pub replaces: Option<LegId>,
    /// Where it is none of ours, but the target's: the Replaces header that the new INVITE is to carry.
    pub replaces_header: Option<String>,
    /// The Referred-By that the new INVITE is to carry, where the REFER had one (RFC 3892 2.2).
    pub referred_by: Option<String>,
}

/// How an established usage ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndCause {
    /// The peer sent BYE.
    PeerBye,
    /// Nobody acknowledged our 200 within 64·T1 (RFC 3261 13.3.1.4).
    NoAck,
    /// The peer does not know the dialog any more (481), or answers nothing (408).
    DialogLost,
    /// Our own BYE is done with.
    LocalBye,
    /// The session timer ran out without a refresh; BYE was sent (RFC 4028 10).
    SessionExpired,
}
