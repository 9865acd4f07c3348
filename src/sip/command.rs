//! What the call room asks of the SIP side.

use std::time::Duration;

use bytes::Bytes;

use crate::ids::LegId;
use crate::ids::SessionId;
use crate::ids::TrunkName;
use crate::pii::Pii;
use crate::sip::Body;
use crate::sip::Party;
use crate::sip::Reason;
use crate::sip::Refusal;
use crate::sip::StatusCode;
use crate::sip::message::HeaderName;
use crate::sip::message::Method;

/// A new INVITE to a trunk.
#[derive(Debug, Clone)]
pub struct OutgoingInvite {
    /// Names this usage from now on; made by the caller.
    pub leg: LegId,
    /// The trunk to take; its targets are tried in order.
    pub trunk: TrunkName,
    /// The user part of the Request-URI and To.
    pub called: String,
    /// The caller shown to the trunk.
    pub from: Party,
    /// Our half of the Session-ID.
    pub session_id: SessionId,
    /// Our offer. `None` is a late offer: `Accepted` brings the callee's, and `Command::Answer` our answer to it.
    pub offer: Option<Bytes>,
    /// The call on the same trunk that this one takes the place of (Replaces, RFC 3891).
    pub replaces: Option<LegId>,
    /// Whether the callee is not to learn who calls (Privacy, RFC 3323).
    pub anonymous: bool,
    /// Header fields to add, as far as the trunk's list lets them out; a `Replaces` and a `Referred-By` among them are
    /// those that a REFER asked for, and leave anyway.
    pub headers: Vec<(String, String)>,
    /// User-to-User (RFC 7433): the header's value.
    pub user_to_user: Option<String>,
    /// Whom the call was for before it was sent on: Diversion (RFC 5806) and History-Info (RFC 7044), each where the
    /// trunk's list lets it out.
    pub diverted_from: Option<Diversion>,
}

/// Whom a call was for, before it was sent on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diversion {
    /// The number called before, in our form.
    pub user: Pii<String>,
    /// Of the response that sent the call on: 300–399.
    pub status: StatusCode,
}

/// Whom a transfer of ours names (RFC 3515).
#[derive(Debug, Clone)]
pub struct ReferTarget {
    /// The user part of the Refer-To URI, plain text.
    pub user: String,
    /// For an attended transfer, the consultation on the same trunk that the new call takes the place of: Refer-To
    /// names its dialog with the tags as that PBX sees them (RFC 5589 7.3). Where the leg is no call of this trunk, the
    /// transfer fails with 481.
    pub replaces: Option<LegId>,
}

/// What the call room asks of the user agent. Each names its leg; one for an unknown leg is ignored.
#[derive(Debug, Clone)]
pub enum Command {
    /// Sends a provisional response 101–199.
    Provisional {
        /// The inbound usage.
        leg: LegId,
        /// 180, 182 or 183.
        status: StatusCode,
        /// Early media's session description.
        body: Option<Body>,
    },
    /// Accepts an INVITE with 200 and our answer.
    Accept {
        /// The inbound usage.
        leg: LegId,
        /// The session description.
        sdp: Bytes,
    },
    /// Refuses an INVITE.
    Refuse {
        /// The inbound usage.
        leg: LegId,
        /// The response.
        refusal: Refusal,
    },
    /// Sends a new INVITE.
    Invite(OutgoingInvite),
    /// Gives up an outbound INVITE: CANCEL once a provisional arrived (RFC 3261 9.1); a 200 that crosses it
    /// gets ACK and BYE.
    Cancel {
        /// The outbound usage.
        leg: LegId,
        /// Reason header.
        reason: Option<Reason>,
    },
    /// Ends an established usage with BYE.
    Bye {
        /// The usage, either direction.
        leg: LegId,
        /// Reason header.
        reason: Option<Reason>,
    },
    /// Answers the peer's re-INVITE with 200.
    AcceptReinvite {
        /// The usage.
        leg: LegId,
        /// Our answer (or our offer, where the re-INVITE had none).
        sdp: Bytes,
    },
    /// Refuses the peer's re-INVITE; the session goes on as it was.
    RefuseReinvite {
        /// The usage.
        leg: LegId,
        /// The response.
        refusal: Refusal,
    },
    /// Sends a new offer of ours within the call: hold, resume, another address or codec. It goes by re-INVITE, by
    /// UPDATE before the call is answered (RFC 3311 5.1). A 491 is tried again inside, after the times of RFC 3261 14.1.
    /// Ends in `Renegotiated` or `RenegotiationFailed`; one at a time, and a second waits for the first.
    Reinvite {
        /// The usage.
        leg: LegId,
        /// Our offer.
        sdp: Bytes,
    },
    /// Our answer to the offer that a 2xx brought to an INVITE of ours without one. It leaves in the ACK, which waits
    /// for it no longer than [`crate::limits::SIP_LATE_ANSWER`]: then ACK and BYE leave (RFC 3261 13.2.2.4).
    Answer {
        /// The usage.
        leg: LegId,
        /// The session description.
        sdp: Bytes,
    },
    /// Asks the peer to call somebody else (RFC 3515). `ReferProgressed` says how it goes.
    Refer {
        /// The usage.
        leg: LegId,
        /// Whom.
        to: ReferTarget,
    },
    /// Takes the peer's REFER with 202: from now on `NotifyRefer` tells it how the new call goes.
    AcceptRefer {
        /// The usage.
        leg: LegId,
    },
    /// Refuses the peer's REFER.
    RefuseRefer {
        /// The usage.
        leg: LegId,
        /// The response, 400 or above.
        refusal: Refusal,
    },
    /// Tells the peer how the call that it asked for goes (NOTIFY with message/sipfrag). A final status ends the
    /// subscription. Goes on working after the peer's BYE, for 64·T1.
    NotifyRefer {
        /// The usage.
        leg: LegId,
        /// 100–699.
        status: StatusCode,
    },
    /// Sends a request in an answered call as it stands, whatever is open in it: for who wants to see what the peer does
    /// (`tandem trunks qualify`). What it came to stands on the wire alone, but for an INVITE: it asks for the peer's
    /// offer, which `Renegotiated` brings, and `Answer` is to follow.
    Probe {
        /// The usage.
        leg: LegId,
        /// The method: none that ends the call. An INVITE goes without body.
        method: Method,
        /// Header fields to add.
        headers: Vec<(HeaderName, String)>,
        /// The body.
        body: Option<Body>,
    },
    /// Sends INFO with a body, such as `application/dtmf-relay` (RFC 6086 2, legacy usage).
    Info {
        /// The usage.
        leg: LegId,
        /// The body.
        body: Body,
    },
    /// Answers OPTIONS and new INVITEs with 503 from now on.
    Drain {
        /// The Retry-After given to peers.
        retry_after: Duration,
    },
}
