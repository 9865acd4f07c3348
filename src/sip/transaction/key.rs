//! Which transaction a message belongs to (RFC 3261 17.1.3 and 17.2.3).

use std::hash::DefaultHasher;
use std::hash::Hash;
use std::hash::Hasher;
use std::sync::Arc;

use crate::sip::message::Method;
use crate::sip::message::Request;
use crate::sip::message::Via;

/// A transaction's name: cheap to clone, ordered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TransactionKey {
    /// Compared first: branches of one peer begin alike, and whole fields are compared dozens of times a message.
    hash: u64,
    fields: Arc<Fields>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Fields {
    /// We sent the request; the branch is ours.
    Client { branch: String, method: Method },
    /// The peer's branch bears the cookie. The Call-ID is not asked for by RFC 3261 17.2.3, but it is the same in
    /// whatever belongs together: a peer that uses a branch twice gets two answers, not the first one's again.
    Rfc3261 { branch: String, sent_by: String, call_id: String, method: Method },
    /// It does not: the request itself is the name. The To tag is left out, because the ACK has ours and the INVITE
    /// had none.
    Rfc2543 { uri: String, from_tag: String, call_id: String, cseq: u32, via: String, method: Method },
}

impl TransactionKey {
    fn new(fields: Fields) -> Self {
        let mut hasher = DefaultHasher::new();
        fields.hash(&mut hasher);
        Self { hash: hasher.finish(), fields: Arc::new(fields) }
    }

    /// The key of a request that we send with `branch`.
    pub fn client(branch: &str, method: &Method) -> Self {
        Self::new(Fields::Client { branch: branch.to_owned(), method: method.clone() })
    }

    /// The key of a request that we received; an ACK has the key of its INVITE. `None` where a header that it is made
    /// of is missing or broken.
    pub fn server(request: &Request) -> Option<Self> {
        let method = if request.method == Method::Ack { &Method::Invite } else { &request.method };
        Self::server_as(request, method)
    }

    /// The key of the INVITE that this CANCEL means (RFC 3261 9.2).
    pub fn cancelled_by(cancel: &Request) -> Option<Self> {
        Self::server_as(cancel, &Method::Invite)
    }

    fn server_as(request: &Request, method: &Method) -> Option<Self> {
        let via = request.headers.top_via().ok()?;
        let method = method.clone();
        let fields = match via.rfc3261_branch() {
            Some(branch) => Fields::Rfc3261 {
                branch: branch.to_owned(),
                sent_by: sent_by(&via),
                call_id: request.headers.call_id().ok()?.to_owned(),
                method,
            },
            None => Fields::Rfc2543 {
                uri: request.uri.to_string(),
                from_tag: request.headers.from_tag().unwrap_or_default().to_owned(),
                call_id: request.headers.call_id().ok()?.to_owned(),
                cseq: request.headers.cseq().ok()?.number,
                via: via.to_string(),
                method,
            },
        };
        Some(Self::new(fields))
    }
}

/// The sender's host and port, as a name: two hosts that differ in case only are one.
fn sent_by(via: &Via) -> String {
    let host = via.host.to_string().to_ascii_lowercase();
    via.port.map_or_else(|| host.clone(), |port| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::message::Message;

    fn request(method: &str, via: &str, to_tag: &str) -> Request {
        let text = format!(
            "{method} sip:1001@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP {via}\r\nFrom: <sip:a@b>;tag=f\r\n\
             To: <sip:c@d>{to_tag}\r\nCall-ID: x\r\nCSeq: 7 {method}\r\n\r\n"
        );
        let Ok(Message::Request(request)) = Message::parse(text.as_bytes()) else { panic!("{text}") };
        request
    }

    fn key(method: &str, via: &str, to_tag: &str) -> TransactionKey {
        TransactionKey::server(&request(method, via, to_tag)).unwrap()
    }

    #[test]
    fn the_ack_has_the_key_of_its_invite_and_the_cancel_has_its_own() {
        let via = "192.0.2.9:5070;branch=z9hG4bK1";
        let invite = key("INVITE", via, "");
        assert_eq!(key("ACK", via, ";tag=ours"), invite);
        assert_ne!(key("CANCEL", via, ""), invite);
        assert_eq!(TransactionKey::cancelled_by(&request("CANCEL", via, "")).unwrap(), invite);
    }

    #[test]
    fn the_sent_by_is_part_of_the_key_without_regard_to_case() {
        let invite = key("INVITE", "pbx.example:5070;branch=z9hG4bK1", "");
        assert_eq!(key("INVITE", "PBX.example:5070;branch=z9hG4bK1", ""), invite);
        assert_ne!(key("INVITE", "pbx.example:5071;branch=z9hG4bK1", ""), invite);
    }

    #[test]
    fn a_branch_that_a_peer_uses_for_two_calls_names_two_transactions() {
        let text = |call_id: &str| {
            format!(
                "OPTIONS sip:gw.test SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=f\r\n\
                 To: <sip:c@d>\r\nCall-ID: {call_id}\r\nCSeq: 7 OPTIONS\r\n\r\n"
            )
        };
        let key = |call_id: &str| match Message::parse(text(call_id).as_bytes()) {
            Ok(Message::Request(request)) => TransactionKey::server(&request).unwrap(),
            other => panic!("{other:?}"),
        };
        assert_eq!(key("one"), key("one"));
        assert_ne!(key("one"), key("two"));
    }

    #[test]
    fn without_the_magic_cookie_the_request_itself_is_the_key() {
        let invite = key("INVITE", "192.0.2.9;branch=1", "");
        assert_eq!(key("INVITE", "192.0.2.9;branch=1", ""), invite);
        assert_eq!(key("ACK", "192.0.2.9;branch=1", ";tag=ours"), invite);
        assert_ne!(key("INVITE", "192.0.2.9;branch=2", ""), invite);
        assert_ne!(key("INVITE", "192.0.2.9", ""), invite);
    }

    #[test]
    fn a_bare_magic_cookie_is_no_branch() {
        assert_ne!(key("INVITE", "192.0.2.9;branch=z9hG4bK", ""), {
            let other = request("INVITE", "192.0.2.9;branch=z9hG4bK", "");
            let uri = crate::sip::message::Uri::parse("sip:other@192.0.2.1").unwrap();
            TransactionKey::server(&Request { uri, ..other }).unwrap()
        });
    }
}
