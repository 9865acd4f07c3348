//! What names a dialog (RFC 3261 12).

use std::sync::Arc;

use crate::sip::message::Headers;

/// Call-ID and both tags, seen from our side. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DialogId(Arc<Fields>);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Fields {
    call_id: String,
    local_tag: String,
    remote_tag: String,
}

impl DialogId {
    /// A dialog of these names. A peer of RFC 2543 may have no tag: then it is empty (12.1.1).
    pub fn new(call_id: &str, local_tag: &str, remote_tag: &str) -> Self {
        let (call_id, local_tag, remote_tag) = (call_id.to_owned(), local_tag.to_owned(), remote_tag.to_owned());
        Self(Arc::new(Fields { call_id, local_tag, remote_tag }))
    }

    /// The dialog that a received request names: our tag is in To. `None` without a To tag or a Call-ID.
    pub fn of_request(headers: &Headers) -> Option<Self> {
        Some(Self::new(headers.call_id().ok()?, headers.to_tag()?, headers.from_tag().unwrap_or_default()))
    }

    /// The dialog that a received response names: our tag is in From.
    pub fn of_response(headers: &Headers) -> Option<Self> {
        Some(Self::new(headers.call_id().ok()?, headers.from_tag()?, headers.to_tag().unwrap_or_default()))
    }

    /// SIP's Call-ID.
    pub fn call_id(&self) -> &str {
        &self.0.call_id
    }

    /// Our tag.
    pub fn local_tag(&self) -> &str {
        &self.0.local_tag
    }

    /// The peer's tag; empty where it has none.
    pub fn remote_tag(&self) -> &str {
        &self.0.remote_tag
    }
}
