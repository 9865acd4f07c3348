//! What an INVITE usage is told and what it wants, and the message parts that it works with.

use bytes::Bytes;

use crate::ids::LegId;
use crate::sip::Body;
use crate::sip::Event;
use crate::sip::Reason;
use crate::sip::Refusal;
use crate::sip::StatusCode;
use crate::sip::message::HeaderName;
use crate::sip::message::Headers;
use crate::sip::message::Request;
use crate::sip::message::Response;
use crate::sip::transaction::Timing;
use crate::sip::transaction::TransactionKey;

/// Timers of an INVITE usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UsageTimer {
    /// Send the last provisional response again, so that no proxy gives up.
    RepeatProvisional,
    /// Send the 2xx again: from T1, doubling up to T2.
    RepeatSuccess,
    /// Nobody acknowledged our 2xx for 64·T1.
    AwaitAck,
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
    /// Our BYE has its final response, or none will come.
    ByeDone,
    /// Send a provisional response.
    Provisional(StatusCode, Option<Body>),
    /// Accept the INVITE or re-INVITE.
    Accept(Bytes),
    /// Refuse the INVITE or re-INVITE.
    Refuse(Refusal),
    /// End the call.
    Bye(Option<Reason>),
}

/// What a usage wants done.
#[derive(Debug, Clone)]
pub enum Output {
    /// Send this response in that transaction.
    Respond(TransactionKey, Box<Response>),
    /// Send this request, which lacks Via, in a transaction of its own; then pass [`Input::ByeDone`].
    SendBye(Box<Request>),
    /// Answer this request as one outside a dialog would be: it changes nothing here.
    Answer(TransactionKey, Box<Request>),
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
