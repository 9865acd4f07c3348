//! What an INVITE usage is told and what it wants, and the message parts that it works with.

use bytes::Bytes;

use crate::ids::LegId;
use crate::sip::Body;
use crate::sip::Event;
use crate::sip::Reason;
use crate::sip::Refusal;
use crate::sip::StatusCode;
use crate::sip::dialog::terms::Terms;
use crate::sip::message::HeaderName;
use crate::sip::message::Headers;
use crate::sip::message::Method;
use crate::sip::message::Request;
use crate::sip::message::Response;
use crate::sip::quirk::Quirk;
use crate::sip::transaction::Timing;
use crate::sip::transaction::TransactionKey;

/// The methods that we take.
pub const ALLOW: &str = "INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, PRACK, UPDATE, REFER, NOTIFY";

/// Timers of an INVITE usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UsageTimer {
    /// Send the last provisional response again, so that no proxy gives up.
    RepeatProvisional,
    /// Send a reliable provisional response again: from T1, doubling (RFC 3262 3).
    RepeatReliable,
    /// Nobody acknowledged our reliable provisional response for 64·T1.
    AwaitPrack,
    /// Send the 2xx again: from T1, doubling up to T2.
    RepeatSuccess,
    /// Nobody acknowledged our 2xx for 64·T1.
    AwaitAck,
    /// An offer that met 491 may leave again (RFC 3261 14.1).
    RetryOffer,
    /// Our re-INVITE has no final response for 64·T1.
    OfferPatience,
    /// The call room has not answered the peer's UPDATE.
    AwaitCallRoom,
    /// The call room has not answered the callee's offer, which holds up our ACK or PRACK.
    LateAnswer,
    /// Refresh the session (RFC 4028 7.4).
    Refresh,
    /// Nobody refreshed the session (RFC 4028 10).
    SessionExpiry,
    /// The call room has not answered the peer's REFER.
    AwaitReferral,
    /// A transfer's subscription outlived its call by 64·T1.
    Linger,
}

/// What a request of ours within the dialog is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Ends the call.
    Bye,
    /// A re-INVITE or UPDATE: a new offer, or a refresh of the session.
    Offer,
    /// Acknowledges a reliable provisional response.
    Prack,
    /// Asks for a transfer.
    Refer,
    /// Reports on the peer's transfer.
    Notify,
    /// Carries digits.
    Info,
    /// Is sent to see what the peer does.
    Probe,
}

/// What a request of ours came to.
#[derive(Debug, Clone)]
pub enum Reply {
    /// A response.
    Response(Box<Response>),
    /// None within timer B or F.
    TimedOut,
    /// The transport failed.
    TransportFailed,
}

/// What happens to a usage.
#[derive(Debug, Clone)]
pub enum Input {
    /// A request in its dialog, other than ACK, with its new server transaction.
    Request {
        /// The transaction to answer.
        key: TransactionKey,
        /// The request.
        request: Box<Request>,
        /// A number of 0 to 10 drawn by chance, for a Retry-After (RFC 3261 14.2).
        chance: u32,
    },
    /// An ACK in its dialog.
    Ack(Box<Request>),
    /// A CANCEL came for this INVITE, which has no final response yet.
    Cancelled {
        /// The INVITE.
        key: TransactionKey,
        /// The CANCEL's Reason.
        reason: Option<Reason>,
    },
    /// A request of ours came to something.
    Outcome {
        /// What it was for.
        purpose: Purpose,
        /// Its transaction.
        key: TransactionKey,
        /// What it came to.
        reply: Reply,
        /// Any number drawn by chance, for the wait after a 491.
        chance: u32,
    },
    /// A request of ours was challenged and left once more, with credentials.
    SentAgain(Purpose),
    /// Send a provisional response.
    Provisional(StatusCode, Option<Body>),
    /// Accept the INVITE.
    Accept(Bytes),
    /// Refuse the INVITE.
    Refuse(Refusal),
    /// Accept the re-INVITE, UPDATE or PRACK that brought an offer.
    AcceptReinvite(Bytes),
    /// Refuse it.
    RefuseReinvite(Refusal),
    /// Send a new offer.
    Reinvite(Bytes),
    /// Answer the callee's offer.
    Answer(Bytes),
    /// Send REFER with this Refer-To.
    Refer(String),
    /// Take the peer's REFER.
    AcceptRefer,
    /// Refuse the peer's REFER.
    RefuseRefer(Refusal),
    /// Report on the peer's transfer.
    NotifyRefer(StatusCode),
    /// Send INFO.
    Info(Body),
    /// Send a request to see what the peer does.
    Probe {
        /// The method; an INVITE goes without body.
        method: Method,
        /// Header fields to add.
        headers: Vec<(HeaderName, String)>,
        /// The body.
        body: Option<Body>,
    },
    /// End the call.
    Bye(Option<Reason>),
}

/// What a usage wants done.
#[derive(Debug, Clone)]
pub enum Output {
    /// Send this response in that transaction.
    Respond(TransactionKey, Box<Response>),
    /// Send this request, which lacks Via, in a transaction of its own; then pass [`Input::Outcome`].
    Send(Purpose, Box<Request>),
    /// Send this ACK, which lacks Via, for the 2xx to that INVITE; again for each repetition of the 2xx.
    Ack(TransactionKey, Box<Request>),
    /// Answer this request as one outside a dialog would be: it changes nothing here.
    Answer(TransactionKey, Box<Request>),
    /// The peer sent this REFER, whose Refer-To can be read: tell the call room, with Replaces resolved.
    Referred(Box<Request>),
    /// Nobody answers the callee's offer: give the INVITE up.
    GiveUp,
    /// A quirk changed what is done; in one clause, what.
    Quirk(Quirk, String),
    /// Tell the call room.
    Event(Event),
}

/// What stays the same over a usage's life.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The call room's name for it.
    pub leg: LegId,
    /// Our Contact, as it stands in responses.
    pub contact: String,
    /// Our host, for the Warning header.
    pub agent: String,
    /// T1, T2, T4.
    pub timing: Timing,
    /// The trunk's.
    pub terms: Terms,
}

/// A response that makes or refreshes a dialog (RFC 3261 12.1.1): To tag, Contact, Record-Route.
pub(crate) fn dialog_response(request: &Request, status: StatusCode, local_tag: &str, contact: &str) -> Response {
    let mut response = Response::for_request(request, status);
    response.set_to_tag(local_tag);
    response.headers.copy_from(&request.headers, &HeaderName::RecordRoute);
    response.headers.push(HeaderName::Contact, contact);
    response
}

/// The session description of a body, if it is one.
pub(crate) fn sdp_of(headers: &Headers, body: &Bytes) -> Option<Bytes> {
    let is_sdp = headers.content_type().ok().flatten().is_some_and(|kind| kind == "application/sdp");
    (is_sdp && !body.is_empty()).then(|| body.clone())
}

/// The sequence number; sanity has seen that there is one.
pub(crate) fn cseq_of(headers: &Headers) -> u32 {
    headers.cseq().map_or(0, |cseq| cseq.number)
}
