//! An INVITE of ours until its 2xx.

use crate::sip::Body;
use crate::sip::Flow;
use crate::sip::OutgoingInvite;
use crate::sip::dialog::InviteUsage;
use crate::sip::dialog::OutboundInvite;
use crate::sip::dialog::session_timer::SessionTimer;
use crate::sip::dialog::state::SessionPair;
use crate::sip::dialog::usage::ALLOW;
use crate::sip::message::CSeq;
use crate::sip::message::HeaderName;
use crate::sip::message::Host;
use crate::sip::message::Method;
use crate::sip::message::NameAddr;
use crate::sip::message::Request;
use crate::sip::message::SipUri;
use crate::sip::user_agent::Target;
use crate::sip::user_agent::Trunk;
use crate::sip::user_agent::identity;
use crate::sip::user_agent::identity::Caller;
use crate::sip::user_agent::peering::Direction;
use crate::sip::user_agent::peering::NumberOf;
use crate::sip::user_agent::transfer::asked_for;

/// An outbound INVITE: its machine, and what each attempt is built from.
#[derive(Debug)]
pub(super) struct Outbound {
    pub(super) machine: OutboundInvite,
    pub(super) wanted: OutgoingInvite,
    pub(super) call_id: String,
    pub(super) tag: String,
    /// The Replaces header, where the new call takes the place of another.
    pub(super) replaces: Option<String>,
    /// What we ask of the session's time to live.
    pub(super) session_timer: SessionTimer,
    /// The early dialogs of the latest attempt, in the order of their coming.
    pub(super) early: Vec<InviteUsage>,
}

impl Outbound {
    /// The INVITE of one attempt.
    pub(super) fn invite(&self, trunk: &Trunk, target: &Target, flow: &Flow, cseq: u32) -> Request {
        let wanted = &self.wanted;
        let shown = trunk.shown_host(flow.local);
        let domain = trunk.domain.as_deref().and_then(Host::parse);
        let callee_host = domain.clone().unwrap_or_else(|| Host::from(target.address.ip()));
        let callee_port = if domain.is_some() { None } else { Some(target.address.port()) };
        let called = trunk.peering.rewrite(Direction::Out, NumberOf::Called, &wanted.called);
        let mut callee = SipUri::with_user(&called, callee_host, callee_port);
        identity::mark_number(trunk, &mut callee);
        let caller = Caller::of(trunk, wanted, domain.unwrap_or(shown));
        let mut from = caller.from.clone();
        from.set_tag(&self.tag);
        let to = NameAddr::new(callee.clone());

        let mut request = Request::new(Method::Invite, callee.clone().into());
        let session = SessionPair { local: wanted.session_id, remote: None };
        let headers = &mut request.headers;
        headers.push(HeaderName::MaxForwards, "70");
        headers.push(HeaderName::From, from.to_string());
        headers.push(HeaderName::To, to.to_string());
        headers.push(HeaderName::CallId, self.call_id.clone());
        headers.push(HeaderName::CSeq, CSeq { number: cseq, method: Method::Invite }.to_string());
        headers.push(HeaderName::Contact, trunk.contact(&caller.contact_user, flow));
        headers.push(HeaderName::Allow, ALLOW);
        headers.push(HeaderName::Supported, trunk.terms.supported());
        self.session_timer.ask(headers);
        if let Some(replaces) = &self.replaces {
            headers.push(HeaderName::Replaces, replaces.clone());
            headers.push(HeaderName::Require, "replaces");
        }
        if let Some(referrer) = asked_for(wanted, &HeaderName::ReferredBy) {
            headers.push(HeaderName::ReferredBy, referrer);
        }
        headers.push(HeaderName::SessionId, session.to_header());
        caller.write(headers);
        identity::write_diversion(trunk, wanted, &callee, headers);
        identity::write_crossing(trunk, wanted, headers);
        for (name, value) in &trunk.headers {
            headers.push(HeaderName::from_wire(name), value.clone());
        }
        if let Some(offer) = &wanted.offer {
            request.set_body(Body::sdp(offer.clone()));
        }
        request
    }
}
