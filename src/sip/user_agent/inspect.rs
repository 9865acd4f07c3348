//! What RFC 3261 8.2 and 16.3 ask of a request before anything is done for it, in the RFC's order.

use crate::sip::Refusal;
use crate::sip::StatusCode;
use crate::sip::dialog::Terms;
use crate::sip::dialog::usage::ALLOW;
use crate::sip::message::HeaderName;
use crate::sip::message::Method;
use crate::sip::message::Request;
use crate::sip::message::Response;
use crate::sip::transaction::TransactionKey;
use crate::sip::user_agent::Trunk;
use crate::sip::user_agent::UserAgent;

/// What makes two requests the same one that came on two paths (RFC 3261 8.2.2.2). The Request-URI is part of it: a
/// proxy may fork one call to two of our extensions.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RequestName {
    call_id: String,
    from_tag: String,
    cseq: u32,
    method: Method,
    uri: String,
}

impl RequestName {
    /// `None` for a request within a dialog, and for those that belong to another request.
    pub(super) fn of(request: &Request) -> Option<Self> {
        if matches!(request.method, Method::Ack | Method::Cancel) || request.headers.to_tag().is_some() {
            return None;
        }
        Some(Self {
            call_id: request.headers.call_id().ok()?.to_owned(),
            from_tag: request.headers.from_tag().unwrap_or_default().to_owned(),
            cseq: request.headers.cseq().ok()?.number,
            method: request.method.clone(),
            uri: request.uri.to_string(),
        })
    }
}

impl UserAgent {
    /// The refusal of a request that must not go on; `None` where it may.
    pub(super) fn inspect(&self, trunk: usize, key: &TransactionKey, request: &Request) -> Option<Response> {
        if request.method == Method::Cancel {
            return None;
        }
        refuse_method(request)
            .or_else(|| self.refuse_merged(key, request))
            .or_else(|| self.refuse_loop(trunk, request))
            .or_else(|| refuse_extensions(request, &self.terms_of(trunk)))
            .or_else(|| refuse_content(request))
            .or_else(|| self.refuse_new_call(request))
    }

    /// RFC 3261 8.2.2.2.
    fn refuse_merged(&self, key: &TransactionKey, request: &Request) -> Option<Response> {
        let first = self.requests.get(&RequestName::of(request)?)?;
        (first != key).then(|| Response::for_request(request, StatusCode::LOOP_DETECTED))
    }

    /// What the trunk's configuration says of its dialogs.
    pub(super) fn terms_of(&self, trunk: usize) -> Terms {
        self.config.trunks.get(trunk).map(|trunk| trunk.terms).unwrap_or_default()
    }

    /// An INVITE of ours that came back as it left. With another Request-URI it is a spiral: a proxy brings our own
    /// call to one of our extensions, which is no error (RFC 3261 16.3). On the trunk to ourselves each of them does.
    fn refuse_loop(&self, trunk: usize, request: &Request) -> Option<Response> {
        let is_internal = self.config.trunks.get(trunk).is_some_and(Trunk::is_internal);
        let vias = request.headers.vias().ok().filter(|_| request.method == Method::Invite && !is_internal)?;
        let is_loop = vias.iter().filter_map(|via| via.branch()).any(|branch| {
            let sent = self.clients.get(&TransactionKey::client(branch, &Method::Invite));
            sent.is_some_and(|sent| sent.request.uri == request.uri)
        });
        is_loop.then(|| Response::for_request(request, StatusCode::LOOP_DETECTED))
    }

    fn refuse_new_call(&self, request: &Request) -> Option<Response> {
        if request.headers.to_tag().is_some() {
            return None;
        }
        if let Some(retry_after) = self.draining.filter(|_| matches!(request.method, Method::Invite | Method::Options))
        {
            let refusal = Refusal { retry_after: Some(retry_after), ..Refusal::new(StatusCode::SERVICE_UNAVAILABLE) };
            return Some(Response::refusing(request, &refusal, ""));
        }
        if request.method != Method::Invite {
            return None;
        }
        let is_spent = request.headers.max_forwards() == Ok(Some(0));
        is_spent.then(|| Response::for_request(request, StatusCode::TOO_MANY_HOPS))
    }
}

/// RFC 3261 8.2.1: 405 for a method that is a method, 501 for a token that no registered method could be.
fn refuse_method(request: &Request) -> Option<Response> {
    use Method::{Ack, Bye, Cancel, Info, Invite, Notify, Options, Prack, Refer, Update};
    if matches!(request.method, Invite | Ack | Bye | Cancel | Options | Info | Prack | Update | Refer | Notify) {
        return None;
    }
    let is_word = request.method.as_str().bytes().all(|byte| byte.is_ascii_uppercase());
    let status = if is_word { StatusCode::METHOD_NOT_ALLOWED } else { StatusCode::NOT_IMPLEMENTED };
    let mut response = Response::for_request(request, status);
    response.headers.push(HeaderName::Allow, ALLOW);
    Some(response)
}

/// RFC 3261 8.2.2.3.
fn refuse_extensions(request: &Request, terms: &Terms) -> Option<Response> {
    let required: Vec<&str> = request
        .headers
        .values(&HeaderName::Require)
        .into_iter()
        .filter(|tag| !tag.is_empty() && !terms.supports(tag))
        .collect();
    if required.is_empty() {
        return None;
    }
    let mut response = Response::for_request(request, StatusCode::BAD_EXTENSION);
    response.headers.push(HeaderName::Unsupported, required.join(", "));
    Some(response)
}

/// RFC 3261 8.2.3 for the body that came, and 20.1 for the one that we would send.
fn refuse_content(request: &Request) -> Option<Response> {
    let headers = &request.headers;
    if !matches!(request.method, Method::Invite | Method::Options) {
        return None;
    }
    let is_optional =
        headers.get(&HeaderName::ContentDisposition).is_some_and(|value| value.contains("handling=optional"));
    if !request.body.is_empty() && !is_optional {
        let encodings = headers.values(&HeaderName::ContentEncoding);
        if encodings.iter().any(|encoding| !encoding.is_empty() && !encoding.eq_ignore_ascii_case("identity")) {
            return Some(unsupported_media(request, HeaderName::AcceptEncoding, "identity"));
        }
        if headers.content_type().ok().flatten().as_deref() != Some("application/sdp") {
            return Some(unsupported_media(request, HeaderName::Accept, "application/sdp"));
        }
    }
    let accepted = headers.values(&HeaderName::Accept);
    let takes_sdp = accepted.iter().any(|range| {
        let range = range.split(';').next().unwrap_or_default().trim();
        ["application/sdp", "application/*", "*/*"].iter().any(|ours| ours.eq_ignore_ascii_case(range))
    });
    let refuses_sdp = request.method == Method::Invite && accepted.iter().any(|range| !range.is_empty()) && !takes_sdp;
    refuses_sdp.then(|| Response::for_request(request, StatusCode::NOT_ACCEPTABLE))
}

pub(super) fn unsupported_media(request: &Request, name: HeaderName, value: &str) -> Response {
    let mut response = Response::for_request(request, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    response.headers.push(name, value);
    response
}
