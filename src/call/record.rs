//! The call record: what is kept of every call, refused ones too.

use std::borrow::Cow;

use serde::Deserialize;
use serde::Serialize;

use crate::call::CallIds;
use crate::call::CallQuality;
use crate::call::Cause;
use crate::clock::WallTime;
use crate::ids::CallId;
use crate::ids::Extension;
use crate::ids::RecordingId;
use crate::ids::SessionId;
use crate::ids::TrunkName;
use crate::recording::CallDirection;
use crate::recording::serial::as_hex;
use crate::recording::serial::as_ns;
use crate::recording::serial::as_ns_option;
use crate::sip::Invitation;

/// One call, for the index. Written when it begins to ring, when it is answered and when it has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CallRecord {
    /// The call.
    pub call: CallId,
    /// Session-ID (RFC 7989), our half.
    #[serde(with = "as_hex")]
    pub session_id: SessionId,
    /// SIP's Call-ID on the trunk, where the trunk made it.
    pub sip_call_id: Option<String>,
    /// Which way.
    pub direction: CallDirection,
    /// The trunk.
    pub trunk: TrunkName,
    /// The agent's extension, or the number that is none of ours.
    pub extension: Extension,
    /// The agent's user name; `None` where none was found.
    pub agent_user: Option<String>,
    /// The other party's number.
    pub remote_number: String,
    /// The other party's display name.
    pub remote_name: Option<String>,
    /// When the INVITE came, or the agent dialled.
    #[serde(with = "as_ns")]
    pub started: WallTime,
    /// When it was answered.
    #[serde(with = "as_ns_option")]
    pub answered: Option<WallTime>,
    /// When it ended.
    #[serde(with = "as_ns_option")]
    pub ended: Option<WallTime>,
    /// How it ended: the cause table's word.
    pub end_reason: Option<Cow<'static, str>>,
    /// SIP status, where the call was not answered.
    pub sip_status: Option<u16>,
    /// Q.850 cause.
    pub q850: Option<u8>,
    /// Its recording.
    pub recording: Option<RecordingId>,
    /// Why there is none, where one was wanted: the exception that completeness asks for.
    pub recording_exception: Option<String>,
    /// The trunk was offered SRTP, refused it, and got RTP in the clear.
    #[serde(default)]
    pub srtp_downgraded: bool,
    /// The call that it was joined to when its agent left.
    #[serde(default)]
    pub joined_with: Option<CallId>,
    /// How good it was; `None` where nothing was to rate.
    #[serde(default)]
    pub quality: Option<CallQuality>,
}

/// The record of a call that was refused before anything was rung.
pub fn refused_at_the_door(ids: CallIds, invitation: &Invitation, cause: Cause, now: WallTime) -> CallRecord {
    CallRecord {
        call: ids.call,
        session_id: ids.session,
        sip_call_id: Some(invitation.sip_call_id.clone()),
        direction: CallDirection::Inbound,
        trunk: invitation.trunk.clone(),
        extension: Extension::new(invitation.called.as_str()),
        agent_user: None,
        remote_number: invitation.from.user.expose().clone(),
        remote_name: invitation.from.display_name.as_ref().map(|name| name.expose().clone()),
        started: now,
        answered: None,
        ended: Some(now),
        end_reason: Some(Cow::Borrowed(cause.word())),
        sip_status: Some(cause.sip_status()),
        q850: Some(cause.q850()),
        recording: None,
        recording_exception: None,
        srtp_downgraded: false,
        joined_with: None,
        quality: None,
    }
}
