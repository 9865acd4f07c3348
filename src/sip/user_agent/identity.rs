//! Who calls whom, and which header fields cross a trunk's edge: by allow-list, in both directions.

use crate::limits;
use crate::pii::Pii;
use crate::sip::Invitation;
use crate::sip::OutgoingInvite;
use crate::sip::Party;
use crate::sip::message::HeaderName;
use crate::sip::message::Headers;
use crate::sip::message::Host;
use crate::sip::message::NameAddr;
use crate::sip::message::SipUri;
use crate::sip::message::Uri;
use crate::sip::message::scan;
use crate::sip::quirk::Quirk;
use crate::sip::user_agent::Trunk;
use crate::sip::user_agent::peering::Direction;
use crate::sip::user_agent::peering::Line;
use crate::sip::user_agent::peering::NumberOf;

/// RFC 3323 4.1.1.3: the From of somebody unknown.
const ANONYMOUS_USER: &str = "anonymous";
const ANONYMOUS_HOST: &str = "anonymous.invalid";

/// Header fields that belong to one hop or dialog, carry secrets, or that we write ourselves: no allow-list passes them.
const NEVER: [HeaderName; 41] = [
    HeaderName::Accept,
    HeaderName::AcceptEncoding,
    HeaderName::Allow,
    HeaderName::Authorization,
    HeaderName::CallId,
    HeaderName::Contact,
    HeaderName::ContentDisposition,
    HeaderName::ContentEncoding,
    HeaderName::ContentLength,
    HeaderName::ContentType,
    HeaderName::CSeq,
    HeaderName::Event,
    HeaderName::Expires,
    HeaderName::From,
    HeaderName::Identity,
    HeaderName::MaxForwards,
    HeaderName::MimeVersion,
    HeaderName::MinSe,
    HeaderName::PAssertedIdentity,
    HeaderName::PPreferredIdentity,
    HeaderName::Path,
    HeaderName::Privacy,
    HeaderName::ProxyAuthenticate,
    HeaderName::ProxyAuthorization,
    HeaderName::ProxyRequire,
    HeaderName::RAck,
    HeaderName::RecordRoute,
    HeaderName::ReferTo,
    HeaderName::RemotePartyId,
    HeaderName::Replaces,
    HeaderName::Require,
    HeaderName::Route,
    HeaderName::RSeq,
    HeaderName::Server,
    HeaderName::SessionExpires,
    HeaderName::SessionId,
    HeaderName::Supported,
    HeaderName::To,
    HeaderName::UserAgent,
    HeaderName::Via,
    HeaderName::WwwAuthenticate,
];

/// Whether an allow-list may name this header field.
pub fn may_cross(name: &str) -> bool {
    scan::is_token(name) && !NEVER.contains(&HeaderName::from_wire(name))
}

/// Whether the list names it, and it may cross.
fn is_listed(list: &[String], name: &HeaderName) -> bool {
    may_cross(name.as_str()) && list.iter().any(|listed| HeaderName::from_wire(listed) == *name)
}

/// Fills in what an INVITE says besides its dialog: numbers in our form, the line it came to, and what may cross.
pub(super) fn complete(invitation: &mut Invitation, trunk: &Trunk, headers: &Headers) {
    let peering = &trunk.peering;
    let rewritten = |number_of, party: &Party| Party {
        user: Pii::new(peering.rewrite(Direction::In, number_of, party.user.expose())),
        display_name: party.display_name.clone(),
    };
    invitation.called = match peering.lines.iter().find(|line| line.contact_user == invitation.called) {
        Some(line) => line.extension.clone(),
        None => peering.rewrite(Direction::In, NumberOf::Called, &invitation.called),
    };
    invitation.from = rewritten(NumberOf::Caller, &invitation.from);
    invitation.anonymous = is_anonymous(headers);
    invitation.diverted_from = diverted_from(headers).iter().map(|party| rewritten(NumberOf::Called, party)).collect();
    let list = &peering.headers_in;
    let value = headers.get(&HeaderName::UserToUser).map(str::to_owned);
    invitation.user_to_user = value.filter(|_| is_listed(list, &HeaderName::UserToUser));
    let crossing = headers.iter().filter(|(name, _)| **name != HeaderName::UserToUser && is_listed(list, name));
    invitation.headers = crossing
        .map(|(name, value)| (name.as_str().to_owned(), value.to_owned()))
        .take(limits::SIP_PASSED_HEADERS_MAX)
        .collect();
}

/// RFC 3323 4.2: the caller asked for privacy, or left no name.
fn is_anonymous(headers: &Headers) -> bool {
    let asks = headers.get_all(&HeaderName::Privacy).any(|value| {
        value
            .split([';', ','])
            .any(|word| ["id", "user", "header"].iter().any(|asked| asked.eq_ignore_ascii_case(word.trim())))
    });
    let is_nobody = |uri: &Uri| {
        let user = uri.user_unescaped().is_some_and(|user| user.eq_ignore_ascii_case(ANONYMOUS_USER));
        let host = uri.as_sip().is_some_and(|uri| uri.host.to_string().eq_ignore_ascii_case(ANONYMOUS_HOST));
        user || host
    };
    asks || headers.from().is_ok_and(|from| is_nobody(&from.uri))
}

/// Who was called before, last first: Diversion (RFC 5806) is written so; History-Info (RFC 7044) the other way round,
/// and its last entry is the present one.
fn diverted_from(headers: &Headers) -> Vec<Party> {
    let parties = |name| {
        let values = headers.values(name);
        values
            .into_iter()
            .filter_map(NameAddr::parse)
            .take(limits::SIP_REDIRECTS_MAX)
            .map(|address| party(&address))
            .collect::<Vec<Party>>()
    };
    let diversions = parties(&HeaderName::Diversion);
    if !diversions.is_empty() {
        return diversions;
    }
    let mut history = parties(&HeaderName::HistoryInfo);
    history.pop();
    history.reverse();
    history
}

/// A party as an address names it.
pub(super) fn party(address: &NameAddr) -> Party {
    Party {
        user: Pii::new(address.uri.user_unescaped().unwrap_or_default()),
        display_name: address.display_name.clone().map(Pii::new),
    }
}

/// How an INVITE of ours names its caller.
#[derive(Debug)]
pub(super) struct Caller {
    /// From, without tag.
    pub(super) from: NameAddr,
    /// The user part of our Contact.
    pub(super) contact_user: String,
    /// P-Asserted-Identity.
    asserted: Option<NameAddr>,
    is_anonymous: bool,
}

impl Caller {
    /// The caller of `wanted`: its line's address where a line speaks for it, its number as the trunk writes numbers
    /// otherwise; nobody, where it wants to stay unknown.
    pub(super) fn of(trunk: &Trunk, wanted: &OutgoingInvite, host: Host) -> Self {
        let user = wanted.from.user.expose();
        let display_name = wanted.from.display_name.as_ref().map(|name| name.expose().clone());
        let line = line_for(trunk, user);
        let number = trunk.peering.rewrite(Direction::Out, NumberOf::Caller, user);
        let mut known = if let Some(line) = line {
            line.address()
        } else {
            let mut uri = SipUri::with_user(&number, host, None);
            mark_number(trunk, &mut uri);
            NameAddr::new(uri)
        };
        known.display_name = display_name;
        let contact_user = line.map_or(number, |line| line.contact_user.clone());
        let asserted = Some(known.clone()).filter(|_| trunk.peering.asserts_identity);
        // A registrar authenticates the line by its From: a line cannot hide there, only ask for privacy.
        if !wanted.anonymous || line.is_some() {
            return Self { from: known, contact_user, asserted, is_anonymous: wanted.anonymous };
        }
        let nobody = Host::parse(ANONYMOUS_HOST).map(|host| SipUri::with_user(ANONYMOUS_USER, host, None));
        let mut from = nobody.map_or(known, NameAddr::new);
        from.display_name = Some("Anonymous".to_owned());
        Self { from, contact_user: ANONYMOUS_USER.to_owned(), asserted, is_anonymous: true }
    }

    /// Writes what goes beside From and Contact.
    pub(super) fn write(&self, headers: &mut Headers) {
        if let Some(asserted) = &self.asserted {
            headers.push(HeaderName::PAssertedIdentity, asserted.to_string());
        }
        if self.is_anonymous {
            headers.push(HeaderName::Privacy, "id");
        }
    }
}

/// Says that a URI's user is a telephone number, for a trunk with [`Quirk::UserPhone`].
pub(super) fn mark_number(trunk: &Trunk, uri: &mut SipUri) {
    let is_number = uri.user.as_deref().is_some_and(|user| {
        let digits = user.strip_prefix('+').unwrap_or(user);
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    });
    if is_number && trunk.terms.quirks.contains(Quirk::UserPhone) {
        uri.params.set("user", Some("phone".to_owned()));
    }
}

/// The line whose calls an extension's are.
fn line_for<'a>(trunk: &'a Trunk, user: &str) -> Option<&'a Line> {
    trunk.peering.lines.iter().find(|line| line.extension == user)
}

/// Says whom a call to `callee` was for before.
pub(super) fn write_diversion(trunk: &Trunk, wanted: &OutgoingInvite, callee: &SipUri, headers: &mut Headers) {
    let Some(diversion) = &wanted.diverted_from else { return };
    let list = &trunk.peering.headers_out;
    let user = trunk.peering.rewrite(Direction::Out, NumberOf::Called, diversion.user.expose());
    let mut before = SipUri::with_user(&user, callee.host.clone(), callee.port);
    let code = diversion.status.as_u16();
    if is_listed(list, &HeaderName::Diversion) {
        let reason = if code == 302 { "unconditional" } else { "unknown" };
        headers.push(HeaderName::Diversion, format!("{};reason={reason};counter=1", NameAddr::new(before.clone())));
    }
    if is_listed(list, &HeaderName::HistoryInfo) {
        // The reason is a header of the URI that was left (RFC 7044 5.1, 10.2).
        before.headers = Some(format!("Reason=SIP%3Bcause%3D{code}"));
        let (before, now) = (NameAddr::new(before), NameAddr::new(callee.clone()));
        headers.push(HeaderName::HistoryInfo, format!("{before};index=1, {now};index=1.1;mp=1"));
    }
}

/// Writes what the call room adds, as far as the trunk's list lets it out.
pub(super) fn write_crossing(trunk: &Trunk, wanted: &OutgoingInvite, headers: &mut Headers) {
    let list = &trunk.peering.headers_out;
    if let Some(value) = wanted.user_to_user.as_ref().filter(|_| is_listed(list, &HeaderName::UserToUser)) {
        headers.push(HeaderName::UserToUser, value.clone());
    }
    for (name, value) in wanted.headers.iter().take(limits::SIP_PASSED_HEADERS_MAX) {
        let name = HeaderName::from_wire(name);
        if is_listed(list, &name) && !headers.contains(&name) {
            headers.push(name, value.clone());
        }
    }
}
