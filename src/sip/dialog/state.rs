//! The state of one dialog (RFC 3261 12): who, by which route, and how far the sequence numbers are.

use crate::ids::SessionId;
use crate::sip::dialog::DialogId;
use crate::sip::message::CSeq;
use crate::sip::message::HeaderName;
use crate::sip::message::Headers;
use crate::sip::message::Method;
use crate::sip::message::NameAddr;
use crate::sip::message::Request;
use crate::sip::message::Response;
use crate::sip::message::SipUri;
use crate::sip::message::Uri;

/// One dialog.
#[derive(Debug, Clone)]
pub struct Dialog {
    id: DialogId,
    local: NameAddr,
    remote: NameAddr,
    /// In the order in which our requests travel.
    route_set: Vec<NameAddr>,
    remote_target: Uri,
    local_cseq: u32,
    /// The peer's highest so far; `None` until it sent a request.
    remote_cseq: Option<u32>,
    session: SessionPair,
}

/// Both halves of a Session-ID (RFC 7989 5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionPair {
    /// Ours.
    pub local: SessionId,
    /// The peer's: 32 digits; `None` until it sent one.
    pub remote: Option<SessionId>,
}

impl SessionPair {
    /// The header's value: our half first, and 32 zeros for an unknown half.
    pub fn to_header(&self) -> String {
        let remote = self.remote.unwrap_or(SessionId::from_bytes([0; 16]));
        format!("{};remote={remote}", self.local)
    }
}

impl Dialog {
    /// The dialog that our response to `invite` makes (12.1.1). An INVITE of RFC 2543 may have no Contact: its From is
    /// the target then. `None` where it lacks what a dialog is made of; sanity should have refused it.
    pub fn of_uas(invite: &Request, local_tag: &str, session: SessionPair) -> Option<Self> {
        let (mut local, remote) = (invite.headers.to().ok()?, invite.headers.from().ok()?);
        let remote_target = contact_of(&invite.headers).unwrap_or_else(|| remote.uri.clone());
        local.set_tag(local_tag);
        Some(Self {
            id: DialogId::new(invite.headers.call_id().ok()?, local_tag, remote.tag().unwrap_or_default()),
            local,
            remote,
            route_set: invite.headers.record_routes().ok()?,
            remote_target,
            local_cseq: 0,
            remote_cseq: Some(invite.headers.cseq().ok()?.number),
            session,
        })
    }

    /// The dialog that a response to our `invite` makes (12.1.2). A 2xx without Contact breaks 13.3.1.4; the INVITE's own
    /// Request-URI is the best that is known then.
    pub fn of_uac(invite: &Request, response: &Response, session: SessionPair) -> Option<Self> {
        let (local, remote) = (invite.headers.from().ok()?, response.headers.to().ok()?);
        let mut route_set = response.headers.record_routes().ok()?;
        route_set.reverse();
        Some(Self {
            id: DialogId::of_response(&response.headers)?,
            local,
            remote,
            route_set,
            remote_target: contact_of(&response.headers).unwrap_or_else(|| invite.uri.clone()),
            local_cseq: invite.headers.cseq().ok()?.number,
            remote_cseq: None,
            session,
        })
    }

    /// A 2xx confirms an early dialog of ours: its routes and target are the ones that count (13.2.2.4).
    pub fn confirm(&mut self, response: &Response) {
        if let Ok(mut route_set) = response.headers.record_routes() {
            route_set.reverse();
            self.route_set = route_set;
        }
        self.refresh_target(&response.headers);
    }

    /// The peer's address, as From or To names it.
    pub const fn remote(&self) -> &NameAddr {
        &self.remote
    }

    /// Our address.
    pub const fn local(&self) -> &NameAddr {
        &self.local
    }

    /// The peer's Contact.
    pub const fn remote_target(&self) -> &Uri {
        &self.remote_target
    }

    /// Its name.
    pub const fn id(&self) -> &DialogId {
        &self.id
    }

    /// Both Session-ID halves.
    pub const fn session(&self) -> &SessionPair {
        &self.session
    }

    /// Whether a request with this sequence number is in order (12.2.2); if so, it counts from now on.
    ///
    /// Retransmissions never come here: their transaction absorbs them. So the number must have grown.
    pub fn admit(&mut self, cseq: u32) -> bool {
        let in_order = self.remote_cseq.is_none_or(|highest| cseq > highest);
        if in_order {
            self.remote_cseq = Some(cseq);
        }
        in_order
    }

    /// Takes the Contact of a target refresh (12.2.2); one without Contact changes nothing.
    pub fn refresh_target(&mut self, headers: &Headers) {
        if let Some(target) = contact_of(headers) {
            self.remote_target = target;
        }
    }

    /// A new request in this dialog (12.2.1.1), without Via.
    pub fn request(&mut self, method: Method) -> Request {
        let cseq = self.next_cseq();
        self.build(method, cseq)
    }

    /// The sequence number of our next request (12.2.1.1).
    pub const fn next_cseq(&mut self) -> u32 {
        self.local_cseq = self.local_cseq.saturating_add(1);
        self.local_cseq
    }

    /// The sequence number of our last request.
    pub const fn last_cseq(&self) -> u32 {
        self.local_cseq
    }

    /// Our next request comes after that of sequence number `cseq`, which an early form of this dialog sent.
    pub const fn go_on_after(&mut self, cseq: u32) {
        if self.local_cseq < cseq {
            self.local_cseq = cseq;
        }
    }

    /// The ACK of a 2xx to our INVITE of that sequence number (13.2.2.4), without Via.
    pub fn ack(&self, cseq: u32) -> Request {
        self.build(Method::Ack, cseq)
    }

    /// Where our requests go first: the first route, or the remote target.
    pub fn next_hop(&self) -> &Uri {
        self.route_set.first().map_or(&self.remote_target, |route| &route.uri)
    }

    fn build(&self, method: Method, cseq: u32) -> Request {
        let (uri, routes) = self.routing();
        let mut request = Request::new(method, uri);
        let headers = &mut request.headers;
        for route in routes {
            headers.push(HeaderName::Route, route.to_string());
        }
        headers.push(HeaderName::MaxForwards, "70");
        headers.push(HeaderName::From, self.local.to_string());
        headers.push(HeaderName::To, self.remote.to_string());
        headers.push(HeaderName::CallId, self.id.call_id());
        headers.push(HeaderName::CSeq, CSeq { number: cseq, method: request.method.clone() }.to_string());
        headers.push(HeaderName::SessionId, self.session.to_header());
        request
    }

    /// Request-URI and Route: a strict router at the front takes the Request-URI, and the remote target goes last
    /// (12.2.1.1).
    fn routing(&self) -> (Uri, Vec<NameAddr>) {
        match self.route_set.split_first() {
            Some((first, rest)) if !first.uri.as_sip().is_some_and(SipUri::is_loose_router) => {
                let mut routes = rest.to_vec();
                routes.push(NameAddr::new(self.remote_target.clone()));
                (first.uri.clone(), routes)
            }
            _ => (self.remote_target.clone(), self.route_set.clone()),
        }
    }
}

/// The URI of the first Contact.
fn contact_of(headers: &Headers) -> Option<Uri> {
    headers.contacts().ok()?.into_iter().next().map(|contact| contact.uri)
}
